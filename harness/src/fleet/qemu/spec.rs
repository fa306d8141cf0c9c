//! What a machine is made of.

use std::ffi::OsString;
use std::path::PathBuf;

/// One machine: what its QEMU process needs to know. Starting it again after a power cut uses the same description.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    /// Short name; file names and error texts bear it.
    pub name: String,
    /// How to run QEMU: the words that come before its own options (a private loader and its library path, say).
    pub qemu: Vec<OsString>,
    /// Environment that QEMU needs besides the harness's own.
    pub env: Vec<(OsString, OsString)>,
    /// What executes the guest.
    pub accelerator: Accelerator,
    /// Kernel, for direct boot.
    pub kernel: PathBuf,
    /// Initial RAM disk.
    pub initrd: PathBuf,
    /// Kernel command line.
    pub command_line: String,
    /// Its own disk, qcow2: an overlay on an image.
    pub disk: PathBuf,
    /// Disks beside it, in the order in which the guest sees them: `/dev/vdb`, `/dev/vdc`.
    pub data_disks: Vec<DataDisk>,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Where the memory lies.
    pub memory: Memory,
    /// How it comes to life.
    pub start: Start,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Whether an emulated CPU has the instructions only that every x86-64 has, and none for vectors beyond SSE3.
    pub plain: bool,
    /// Whether it has a watchdog card, an Intel 6300ESB (kernel module `i6300esb`), which resets a machine that stops
    /// feeding it.
    pub watchdog: bool,
    /// Hardware address of its network card.
    pub mac: String,
    /// Unix socket on which the switch listens; QEMU connects to it.
    pub network: PathBuf,
    /// Folder for its sockets; its path has to be short (see [`super::RunDir`]).
    pub sockets: PathBuf,
    /// Folder for its console and QEMU's error output, which outlive restarts.
    pub logs: PathBuf,
}

/// A disk of a machine beside its system disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDisk {
    /// Its serial number, by which the guest finds it whatever its place: `/dev/disk/by-id/virtio-SERIAL`. At most 20 bytes
    /// (virtio 1.2, section 5.2.6.1).
    pub serial: String,
    /// Its file, qcow2.
    pub file: PathBuf,
}

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The host's processor.
    Kvm,
    /// QEMU's own translation.
    Tcg,
}

/// Where a machine's memory lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Memory {
    /// With the QEMU process; gone with it.
    Private,
    /// In a file that is mapped shared, so that it can be kept beside the machine's saved state.
    Shared(PathBuf),
    /// In a file that is mapped copy-on-write: what the machine writes stays its own, so that any number of machines can
    /// use the file at once.
    Fork(PathBuf),
}

/// How a machine comes to life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// It boots its kernel.
    Boot,
    /// It goes on where a saved one stopped: this file holds the state of its devices, [`Memory`] its memory.
    Restore(PathBuf),
}

impl MachineSpec {
    /// The same machine as it comes up after a power cut: from its disk, with empty memory.
    pub fn after_power_cut(&self) -> MachineSpec {
        MachineSpec {
            memory: Memory::Private,
            start: Start::Boot,
            ..self.clone()
        }
    }

    /// The QMP socket.
    pub fn qmp_socket(&self) -> PathBuf {
        self.sockets.join(format!("{}.qmp", self.name))
    }

    /// The guest agent's socket.
    pub fn agent_socket(&self) -> PathBuf {
        self.sockets.join(format!("{}.qga", self.name))
    }

    /// The other end of the guest's `/dev/hvc0`.
    pub fn terminal_socket(&self) -> PathBuf {
        self.sockets.join(format!("{}.tty", self.name))
    }

    /// What the serial console printed, of all starts, one after the other.
    pub fn console_log(&self) -> PathBuf {
        self.logs.join(format!("{}.console", self.name))
    }

    /// What QEMU itself complained of.
    pub fn qemu_log(&self) -> PathBuf {
        self.logs.join(format!("{}.qemu", self.name))
    }
}
