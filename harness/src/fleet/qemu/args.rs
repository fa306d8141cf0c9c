//! The argument vector of a machine's QEMU. Pure: one small builder a part.

use std::ffi::OsString;
use std::path::Path;

use super::spec::{Accelerator, DataDisk, MachineSpec, Memory, Start};

/// The name of the agent's port in QEMU's events.
pub const AGENT_PORT: &str = "agent-port";

/// QEMU's options for a machine, without the program itself.
///
/// There is no `-no-reboot`: a guest that restarts itself has to come back.
pub fn arguments(spec: &MachineSpec) -> Vec<OsString> {
    let parts = [
        base(spec),
        processor(spec),
        memory(spec),
        boot(spec),
        console(spec),
        disk(spec),
        data_disks(spec),
        network(spec),
        watchdog(spec),
        agent(spec),
        terminal(spec),
        control(spec),
        generation(),
        life(spec),
    ];
    parts.into_iter().flatten().collect()
}

/// A bare board: no configuration files of the host, no default devices, no window.
fn base(spec: &MachineSpec) -> Vec<OsString> {
    let name = format!("{},debug-threads=on", spec.name);
    words([
        "-name",
        &name,
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-machine",
        "q35,memory-backend=ram",
    ])
}

/// All that QEMU can emulate but for what makes guests slow there: with ERMS and FSRM kernels and C libraries copy by
/// `rep movsb`, which is emulated byte by byte, and with LA57 each translation of an address walks one table more. Without
/// them a file is read 3.6 times as fast, and a program is started in 3.6 ms instead of 5.8.
const EMULATED: &str = "max,-erms,-fsrm,-la57";

fn processor(spec: &MachineSpec) -> Vec<OsString> {
    let cpus = spec.cpus.to_string();
    let (accelerator, model) = match spec.accelerator {
        Accelerator::Kvm => ("kvm", "host"),
        Accelerator::Tcg if spec.plain => ("tcg,thread=multi", "qemu64,+rdrand"),
        Accelerator::Tcg => ("tcg,thread=multi", EMULATED),
    };
    words(["-accel", accelerator, "-cpu", model, "-smp", &cpus])
}

fn memory(spec: &MachineSpec) -> Vec<OsString> {
    let size = format!("{}M", spec.memory_mib);
    let backend = match &spec.memory {
        Memory::Private => OsString::from(format!("memory-backend-ram,id=ram,size={size}")),
        Memory::Shared(file) => option(
            &format!("memory-backend-file,id=ram,size={size},share=on,mem-path="),
            file,
            "",
        ),
        Memory::Fork(file) => option(
            &format!("memory-backend-file,id=ram,size={size},share=off,mem-path="),
            file,
            "",
        ),
    };
    let mut args = words(["-m", &size]);
    args.extend(["-object".into(), backend]);
    args
}

fn boot(spec: &MachineSpec) -> Vec<OsString> {
    vec![
        "-kernel".into(),
        spec.kernel.clone().into(),
        "-initrd".into(),
        spec.initrd.clone().into(),
        "-append".into(),
        spec.command_line.clone().into(),
    ]
}

/// The serial console, added to the log of earlier starts.
fn console(spec: &MachineSpec) -> Vec<OsString> {
    let log = option("file,id=console,append=on,path=", &spec.console_log(), "");
    vec!["-chardev".into(), log, "-serial".into(), "chardev:console".into()]
}

/// The system disk, `/dev/vda`.
fn disk(spec: &MachineSpec) -> Vec<OsString> {
    virtio_disk("disk", &spec.disk, "")
}

/// The disks beside it, `/dev/vdb` and on: a guest numbers them in the order of the devices.
fn data_disks(spec: &MachineSpec) -> Vec<OsString> {
    let attached = |disk: &DataDisk| virtio_disk(&disk.serial, &disk.file, &format!(",serial={}", disk.serial));
    spec.data_disks.iter().flat_map(attached).collect()
}

/// One disk. `cache=unsafe` leaves out only the host's own fsync: when the guest flushes, QEMU still hands everything
/// to the host's kernel, so what a guest has flushed survives the death of QEMU, and what it has not is lost, as with
/// a real disk. Only a crash of the host would tell the difference.
fn virtio_disk(id: &str, file: &Path, properties: &str) -> Vec<OsString> {
    let drive = format!("if=none,id={id},format=qcow2,cache=unsafe,discard=unmap,file=");
    vec![
        "-drive".into(),
        option(&drive, file, ""),
        "-device".into(),
        format!("virtio-blk-pci,drive={id}{properties}").into(),
    ]
}

/// One network card on the switch. No option ROM: nothing boots from the network, and each would cost seconds.
fn network(spec: &MachineSpec) -> Vec<OsString> {
    let netdev = option("stream,id=lan,server=off,addr.type=unix,addr.path=", &spec.network, "");
    let device = format!("virtio-net-pci,netdev=lan,mac={},romfile=,rx_queue_size=1024", spec.mac);
    vec!["-netdev".into(), netdev, "-device".into(), device.into()]
}

/// A card that resets the machine, as a real one's does; the machine then boots again.
fn watchdog(spec: &MachineSpec) -> Vec<OsString> {
    if !spec.watchdog {
        return Vec::new();
    }
    words(["-device", "i6300esb", "-action", "watchdog=reset"])
}

/// The guest agent's port, and randomness for the guest.
fn agent(spec: &MachineSpec) -> Vec<OsString> {
    let socket = option("socket,id=agent,server=on,wait=off,path=", &spec.agent_socket(), "");
    let mut args = vec!["-chardev".into(), socket];
    args.extend(words([
        "-device",
        "virtio-serial-pci",
        "-device",
        "virtserialport,id=agent-port,chardev=agent,name=org.qemu.guest_agent.0",
        "-object",
        "rng-random,id=entropy,filename=/dev/urandom",
        "-device",
        "virtio-rng-pci,rng=entropy",
    ]));
    args
}

/// A terminal that nothing in the guest uses by itself: `/dev/hvc0` there, on the bus of the agent's port.
fn terminal(spec: &MachineSpec) -> Vec<OsString> {
    let socket = option(
        "socket,id=terminal,server=on,wait=off,path=",
        &spec.terminal_socket(),
        "",
    );
    let mut args = vec!["-chardev".into(), socket];
    args.extend(words(["-device", "virtconsole,chardev=terminal"]));
    args
}

fn control(spec: &MachineSpec) -> Vec<OsString> {
    let socket = option("socket,id=control,server=on,wait=off,path=", &spec.qmp_socket(), "");
    vec![
        "-chardev".into(),
        socket,
        "-mon".into(),
        "chardev=control,mode=control".into(),
    ]
}

/// Tells the guest that it is a copy (ACPI VM generation ID): its kernel then draws new randomness, which two machines
/// restored from one state would share otherwise.
fn generation() -> Vec<OsString> {
    words(["-device", "vmgenid,guid=auto"])
}

/// A machine that is restored waits for its state, and then for the word to go on, so that all start together.
fn life(spec: &MachineSpec) -> Vec<OsString> {
    match spec.start {
        Start::Boot => Vec::new(),
        Start::Restore(_) => words(["-S", "-incoming", "defer"]),
    }
}

fn words<const N: usize>(words: [&str; N]) -> Vec<OsString> {
    words.map(OsString::from).to_vec()
}

/// An option that holds a path. A comma in a path is doubled, or QEMU takes what follows for another key.
fn option(before: &str, path: &Path, after: &str) -> OsString {
    let path = path.to_string_lossy().replace(',', ",,");
    OsString::from(format!("{before}{path}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> MachineSpec {
        MachineSpec {
            name: "mail1".to_owned(),
            qemu: vec!["qemu-system-x86_64".into()],
            env: Vec::new(),
            accelerator: Accelerator::Tcg,
            kernel: "/images/mail/vmlinuz".into(),
            initrd: "/images/mail/initrd".into(),
            command_line: "root=/dev/vda rw console=ttyS0".to_owned(),
            disk: "/run/disks/mail1.qcow2".into(),
            data_disks: vec![DataDisk {
                serial: "pool0".to_owned(),
                file: "/run/disks/mail1.pool0.qcow2".into(),
            }],
            memory_mib: 1024,
            memory: Memory::Private,
            start: Start::Boot,
            cpus: 1,
            plain: false,
            watchdog: false,
            mac: "52:54:00:00:00:0a".to_owned(),
            network: "/tmp/mch-x/switch".into(),
            sockets: "/tmp/mch-x".into(),
            logs: "/tmp/mch-x/logs".into(),
        }
    }

    /// One option a line, with its value beside it.
    fn shown(spec: &MachineSpec) -> String {
        let mut text = String::new();
        for argument in arguments(spec) {
            let argument = argument.to_string_lossy().into_owned();
            text.push(if argument.starts_with('-') { '\n' } else { ' ' });
            text.push_str(&argument);
        }
        text.trim().to_owned()
    }

    #[test]
    fn a_machine_under_emulation_has_these_arguments() {
        insta::assert_snapshot!(shown(&spec()));
    }

    #[test]
    fn a_plain_processor_is_one_that_is_emulated() {
        let plain = |accelerator| {
            let spec = MachineSpec {
                accelerator,
                plain: true,
                ..spec()
            };
            shown(&spec)
        };
        assert!(plain(Accelerator::Tcg).contains("-cpu qemu64,+rdrand\n"));
        assert!(plain(Accelerator::Kvm).contains("-cpu host\n"));
    }

    #[test]
    fn hardware_virtualisation_uses_the_hosts_processor() {
        let spec = MachineSpec {
            accelerator: Accelerator::Kvm,
            ..spec()
        };
        assert!(shown(&spec).contains("-accel kvm\n-cpu host\n"));
    }

    #[test]
    fn shared_memory_lies_in_its_file() {
        let spec = MachineSpec {
            memory: Memory::Shared("/restore/mail1.ram".into()),
            ..spec()
        };
        assert!(shown(&spec).contains("memory-backend-file,id=ram,size=1024M,share=on,mem-path=/restore/mail1.ram"));
    }

    #[test]
    fn a_restored_machine_waits_for_its_state_and_writes_into_its_own_memory() {
        let spec = MachineSpec {
            memory: Memory::Fork("/restore/mail1.ram".into()),
            start: Start::Restore("/restore/mail1.state".into()),
            ..spec()
        };
        let shown = shown(&spec);
        assert!(shown.contains("size=1024M,share=off,mem-path=/restore/mail1.ram"));
        assert!(shown.ends_with("-S\n-incoming defer"));
    }

    #[test]
    fn a_machine_with_a_watchdog_is_reset_by_it() {
        let spec = MachineSpec {
            watchdog: true,
            ..spec()
        };
        let line = arguments(&spec);
        let at = line.iter().position(|word| word == "i6300esb").expect("a card");
        assert_eq!(line[at + 1..at + 3], ["-action", "watchdog=reset"]);
    }

    #[test]
    fn a_machine_without_data_disks_has_its_system_disk_alone() {
        let spec = MachineSpec {
            data_disks: Vec::new(),
            ..spec()
        };
        assert_eq!(shown(&spec).matches("virtio-blk-pci").count(), 1);
    }

    #[test]
    fn a_comma_in_a_path_is_doubled() {
        let spec = MachineSpec {
            disk: "/run/a,b.qcow2".into(),
            ..spec()
        };
        assert!(shown(&spec).contains("file=/run/a,,b.qcow2"));
    }

    #[test]
    fn a_guest_may_restart_itself() {
        assert!(!shown(&spec()).contains("-no-reboot"));
    }

    #[test]
    fn no_card_reaches_the_hosts_network() {
        assert!(!shown(&spec()).contains("-netdev user") && !shown(&spec()).contains("-netdev tap"));
    }
}
