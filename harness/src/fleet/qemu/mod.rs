//! Real machines: one QEMU process each, that boots a kernel directly, is controlled through QMP and the guest agent,
//! and cannot outlive the harness.

mod address;
mod ailment;
pub mod args;
mod base;
mod boot;
mod bring_up;
mod cluster;
mod console;
mod disks;
mod elsewhere;
mod exit;
mod forwarded;
mod forwards;
mod freeze;
mod link;
mod machine;
mod measure;
mod node;
mod offspring;
mod plan;
#[cfg(test)]
mod pool;
mod process;
mod programs;
mod qmp;
mod release;
mod restore;
mod room;
mod run_dir;
mod spec;
mod state;
mod store;
mod virtual_address;
mod warm;

pub use boot::{Beginning, BootLimits, BootTimes, OnStage, boot, boot_again, boot_all};
pub use bring_up::bring_up;
pub use cluster::QemuFleet;
pub use console::{Console, Stage, dead_end, last_lines, stage_of};
pub use disks::empty_again;
pub use exit::{Exit, ExitNotice, ExitWatch};
pub use machine::{Machine, MachineError};
pub use measure::{Between, Memory as ProcessMemory};
pub use node::{Booted, Node, Timing};
pub use process::Process;
pub use qmp::{Event, OnEvent, Qmp};
pub use run_dir::RunDir;
pub use spec::{Accelerator, DataDisk, MachineSpec, Memory, Start};
