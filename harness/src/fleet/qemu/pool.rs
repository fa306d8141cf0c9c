//! One real mail machine with a pool on its data disk: what ZFS does there, and what is left of it after a power cut and
//! in a copy of a frozen machine. Run it with `cargo test -p harness --lib pool -- --ignored --nocapture`; it takes a
//! minute under emulation and prints what the steps took.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::freeze::{MOVE, freeze, wake};
use super::plan::cores;
use super::{Accelerator, BootLimits, Machine, MachineSpec, Memory, Node, RunDir, Start, Timing, boot_all, disks};
use crate::image::{self, Image, ImageRole};
use crate::progress::Progress;
use crate::restore::{Ingredients, disk_file, memory_file, state_file};
use crate::switch::Switch;
use crate::tools::{self, Kind, Qemu};

/// The machine's name.
const NAME: &str = "mail";
/// A step of this test that does not end within this, with hardware virtualisation, never will.
const LIMIT: Duration = Duration::from_secs(60);

/// A pool made as a node would make it, and mail in it that was flushed.
const MAKE: &str = "
    zgenhostid
    zpool create -o ashift=12 -o autotrim=on -O compression=lz4 -O atime=off -O xattr=sa -O acltype=posixacl \\
        -O mountpoint=none mail /dev/disk/by-id/virtio-pool0
    zfs create -o mountpoint=/srv/vmail mail/store
    head -c 20000000 /dev/urandom > /srv/vmail/first
    sync /srv/vmail/first";
/// A second copy of the store by the way that replication takes.
const REPLICATE: &str = "
    zfs snapshot mail/store@one
    zfs send mail/store@one | zfs recv -u mail/copy
    printf more > /srv/vmail/second; sync /srv/vmail/second
    zfs snapshot mail/store@two
    zfs send -i @one mail/store@two | zfs recv -u mail/copy";
const SUM: &str = "cat /srv/vmail/* | sha256sum";
/// The same without what the power cut may take.
const SUM_FLUSHED: &str = "cat /srv/vmail/[a-y]* | sha256sum";
/// Mail that was flushed and mail that was not, before the power is cut.
const GO_ON: &str = "
    printf third > /srv/vmail/third; sync /srv/vmail/third
    printf lost > /srv/vmail/zz-not-flushed
    cat /srv/vmail/[a-y]* | sha256sum";
/// Whether every block that was written can be read.
const SCRUB: &str = "
    zpool scrub -w mail
    zpool status -x mail | grep -q 'is healthy'";

fn disk() -> [String; 1] {
    ["pool0".to_owned()]
}

struct Bench {
    run_dir: RunDir,
    kept: TempDir,
    _switch: Switch,
    qemu: Qemu,
    image: Image,
    spec: MachineSpec,
    timing: Timing,
}

impl Bench {
    async fn set_up() -> Bench {
        let progress = Progress::terminal();
        let qemu = tools::qemu(&progress).await.expect("QEMU");
        let accelerator = tools::accelerator(&qemu, &progress).await.expect("an accelerator");
        let image = image::ensure(ImageRole::Mail, &progress).await.expect("an image");
        let run_dir = RunDir::create().expect("a folder for sockets");
        let kept = tempfile::tempdir().expect("a folder for files");
        let switch = Switch::new();
        let network = run_dir.path().join("net");
        switch.attach_socket(NAME, &network).expect("a port of the switch");
        let spec = MachineSpec {
            name: NAME.to_owned(),
            qemu: qemu.system.argv.clone(),
            env: qemu.system.env.clone(),
            accelerator: match accelerator.kind {
                Kind::Kvm => Accelerator::Kvm,
                Kind::Tcg => Accelerator::Tcg,
            },
            kernel: image.kernel.clone(),
            initrd: image.initrd.clone(),
            command_line: image.command_line.clone(),
            disk: disk_file(kept.path(), NAME),
            data_disks: disks::attached(&disk(), kept.path(), NAME),
            memory_mib: 1024,
            memory: Memory::Shared(memory_file(kept.path(), NAME)),
            start: Start::Boot,
            cpus: 1,
            plain: false,
            watchdog: false,
            mac: "52:54:00:00:00:01".to_owned(),
            network,
            sockets: run_dir.path().to_owned(),
            logs: run_dir.path().to_owned(),
        };
        let boot = BootLimits::new(accelerator.slowness, 1, cores());
        Bench {
            run_dir,
            kept,
            _switch: switch,
            qemu,
            image,
            spec,
            timing: Timing {
                slowness: accelerator.slowness,
                boot,
            },
        }
    }

    fn limit(&self) -> Duration {
        LIMIT.mul_f64(self.timing.slowness.max(1.0))
    }

    /// A new machine that has booted.
    async fn boot(&self) -> Arc<Node> {
        let folder = self.kept.path();
        disks::make(&self.qemu, &self.image, &disk(), folder, NAME)
            .await
            .expect("disks");
        let booted = boot_all(
            std::slice::from_ref(&self.spec),
            self.timing.slowness,
            1,
            &self.timing.boot,
            &|_, _| (),
        );
        let (machine, times) = booted.await.expect("booted").remove(0);
        eprintln!("agent after {:.1} s", times.agent.as_secs_f64());
        Arc::new(Node::adopt(machine, self.timing).await.expect("adopted"))
    }

    /// A copy of the frozen machine that goes on.
    async fn go_on(&self, boot_id: String) -> Arc<Node> {
        let (from, to) = (self.kept.path(), self.run_dir.path());
        disks::fork(&self.qemu, &disk(), NAME, from, to).await.expect("disks");
        let spec = MachineSpec {
            disk: disk_file(to, NAME),
            data_disks: disks::attached(&disk(), to, NAME),
            memory: Memory::Fork(memory_file(from, NAME)),
            start: Start::Restore(state_file(from, NAME)),
            ..self.spec.clone()
        };
        let machine = Machine::start(&spec, self.timing.slowness).await.expect("started");
        machine.load_state(MOVE).await.expect("state");
        machine.cont().await.expect("going on");
        Arc::new(Node::go_on(machine, self.timing, boot_id).await.expect("answers"))
    }

    /// Runs a script in the guest, says what it took, and gives what it printed.
    async fn time(&self, node: &Node, step: &str, script: &str) -> String {
        let began = Instant::now();
        let printed = node.agent().script(step, script, &[], self.limit()).await;
        let printed = printed.unwrap_or_else(|error| panic!("{step}: {error}"));
        eprintln!("{step}: {:.2} s", began.elapsed().as_secs_f64());
        printed
    }
}

fn lengths(folder: &Path) -> String {
    let disks = disks::attached(&disk(), folder, NAME);
    let mib = |path: &Path| image::store::disk_bytes(path) >> 20;
    let data: Vec<String> = disks.iter().map(|disk| format!("{} MiB", mib(&disk.file))).collect();
    format!(
        "system disk {} MiB, data disks {}",
        mib(&disk_file(folder, NAME)),
        data.join(", ")
    )
}

#[tokio::test]
#[ignore = "boots a machine, under emulation for a minute"]
async fn a_pool_lives_through_freezing_restoring_and_a_power_cut() {
    let bench = Bench::set_up().await;
    let node = bench.boot().await;
    let settled = "systemctl is-system-running --wait || true; cat /proc/uptime; free -m | sed -n 2p";
    eprintln!("{}", bench.time(&node, "services", settled).await);
    let unloaded = bench.time(&node, "modules", "grep -c ^zfs /proc/modules || true").await;
    assert_eq!(unloaded.trim(), "0", "ZFS is loaded before anybody uses it");
    bench.time(&node, "modprobe zfs", "modprobe zfs").await;
    eprintln!("{}", bench.time(&node, "memory", "free -m | sed -n 2p").await);
    bench.time(&node, "pool and mail", MAKE).await;
    bench.time(&node, "two sends", REPLICATE).await;
    let before = bench.time(&node, "checksum", SUM).await;
    eprintln!(
        "{}",
        bench.time(&node, "memory", "free -m | sed -n 2p; zpool list").await
    );

    let began = Instant::now();
    let boot_id = node.boot_id();
    let ingredients = Ingredients::of_layer("test");
    let nodes = [Arc::clone(&node)];
    let frozen = freeze(&nodes, bench.kept.path(), NAME.into(), &ingredients, bench.limit()).await;
    let manifest = frozen.expect("frozen");
    eprintln!(
        "freeze: {:.2} s; {}",
        began.elapsed().as_secs_f64(),
        lengths(bench.kept.path())
    );
    assert!(manifest.machines[0].data_disks["pool0"].data > 20_000_000);

    let began = Instant::now();
    let node = bench.go_on(boot_id).await;
    wake(&node, &manifest.machines[0], &manifest.nonce, bench.limit())
        .await
        .expect("it goes on");
    eprintln!("restore: {:.2} s", began.elapsed().as_secs_f64());
    assert_eq!(bench.time(&node, "checksum in the copy", SUM).await, before);
    let flushed = bench.time(&node, "another flushed file", GO_ON).await;

    node.machine().kill().await.expect("without power");
    let booted = node.power_on().await.expect("booted after the power cut");
    eprintln!(
        "agent after {:.1} s, with a pool on the disk",
        booted.times.agent.as_secs_f64()
    );
    bench.time(&node, "import", "zpool import mail").await;
    let after = bench.time(&node, "checksum after the power cut", SUM_FLUSHED).await;
    assert_eq!(after, flushed, "what was flushed is not all there");
    bench.time(&node, "scrub", SCRUB).await;
    eprintln!(
        "{}",
        bench
            .time(&node, "what was not flushed", "ls -l /srv/vmail; zpool status mail")
            .await
    );
    node.machine().quit().await.expect("ended");
}
