//! What can be broken, and the receipts that prove that a fault took hold or was healed.

pub mod disk_flip;
mod disk_full;
mod disk_new;
pub mod freeze;
mod on_node;
pub mod power_cut;
pub mod reboot;
pub mod service_freeze;
pub mod service_kill;
pub mod service_stop;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use on_node::{heal, inject};

/// Something broken on purpose. Written in scenario files as `fault = "power-cut"` with the fields beside it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "fault", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// The machine loses power at once; memory is gone, its disk stays. Healed by starting it again from that disk.
    PowerCut {
        /// The machine.
        node: String,
    },
    /// All virtual CPUs stand still (a hung machine): its connections stay open and silent. Healed by thawing.
    Freeze {
        /// The machine.
        node: String,
    },
    /// The machine restarts by itself, orderly. Healed when it is up again.
    Reboot {
        /// The machine.
        node: String,
    },
    /// A service is stopped the orderly way. Healed by starting it.
    ServiceStop {
        /// The machine.
        node: String,
        /// systemd unit without `.service`, e.g. `nginx`.
        service: String,
    },
    /// All processes of a service are killed with SIGKILL and it is kept from being restarted. Healed by starting it.
    ServiceKill {
        /// The machine.
        node: String,
        /// systemd unit without `.service`.
        service: String,
    },
    /// All processes of a service stand still at one instant (the kernel's freezer): ports stay open and nothing
    /// answers. Healed by letting them go on.
    ServiceFreeze {
        /// The machine.
        node: String,
        /// systemd unit without `.service`.
        service: String,
    },
    /// The pool of the mail store has no room left. Healed by giving it back.
    DiskFull {
        /// The machine.
        node: String,
    },
    /// A byte changes on one disk of the pool's mirror, below the file system. Healed by a scrub.
    DiskFlip {
        /// The machine.
        node: String,
    },
    /// The machine loses power and its pool's disk, and gets an empty one. Healed by starting it.
    DiskNew {
        /// The machine.
        node: String,
    },
    /// Frames between two nodes vanish. Healed by joining the link again.
    LinkCut {
        /// Sender.
        from: String,
        /// Receiver.
        to: String,
        /// True (the default): both directions; false: only frames from `from` to `to`.
        #[serde(default = "yes")]
        both_ways: bool,
    },
}

impl Fault {
    /// The machine that is broken; of a cut link the sender.
    pub fn node(&self) -> &str {
        match self {
            Fault::PowerCut { node }
            | Fault::Freeze { node }
            | Fault::Reboot { node }
            | Fault::ServiceStop { node, .. }
            | Fault::ServiceKill { node, .. }
            | Fault::ServiceFreeze { node, .. }
            | Fault::DiskFull { node }
            | Fault::DiskFlip { node }
            | Fault::DiskNew { node } => node,
            Fault::LinkCut { from, .. } => from,
        }
    }

    /// True if the machine has no power while it holds.
    pub fn takes_power(&self) -> bool {
        matches!(self, Fault::PowerCut { .. } | Fault::DiskNew { .. })
    }
}

fn yes() -> bool {
    true
}

/// Evidence that a fault took hold, or that it was healed: what was observed, never what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// What was looked at: `qmp`, `process`, `systemd`, `switch`, `cgroup`.
    pub source: String,
    /// What was seen, for people: `QEMU process 4711 ended by SIGKILL`.
    pub observed: String,
}
