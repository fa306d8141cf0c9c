//! Faults on the simulation: what each does to the machines, and the receipts that it leaves.

use std::time::Duration;

use super::world::{Condition, Power, World};
use crate::fault::{Fault, Receipt};
use crate::scenario::defect::Defect;

/// What was observed and how long the observation takes.
pub(super) type Broken = Result<(Duration, Receipt), (String, String)>;

impl World {
    /// Breaks something.
    pub fn inject(&mut self, fault: &Fault) -> Broken {
        let (wait, source, observed) = self.break_it(fault)?;
        if self.has(Defect::NoReceipt) {
            return Err((source.into(), "nothing shows that it took hold".into()));
        }
        Ok((
            wait,
            Receipt {
                source: source.into(),
                observed,
            },
        ))
    }

    /// Mends what was broken.
    pub fn heal(&mut self, fault: &Fault) -> Broken {
        let (wait, source, observed) = self.mend_it(fault)?;
        if self.has(Defect::NoHealReceipt) {
            return Err((source.into(), "nothing shows that it was healed".into()));
        }
        Ok((
            wait,
            Receipt {
                source: source.into(),
                observed,
            },
        ))
    }

    fn break_it(&mut self, fault: &Fault) -> Result<(Duration, &'static str, String), (String, String)> {
        let now = Duration::from_millis(50);
        match fault {
            Fault::PowerCut { node } => {
                self.machine(node)?.power = Power::Off;
                Ok((
                    now,
                    "process",
                    format!("the machine process of {node} ended by SIGKILL"),
                ))
            }
            Fault::Freeze { node } => {
                self.machine(node)?.frozen = true;
                Ok((now, "qmp", format!("{node} is paused")))
            }
            Fault::Reboot { node } => {
                self.machine(node)?;
                self.power_on(node);
                Ok((Duration::from_secs(1), "qmp", format!("{node} sent RESET")))
            }
            Fault::ServiceStop { node, service } => {
                *self.service(node, service)? = Condition::Stopped;
                Ok((
                    Duration::from_millis(500),
                    "systemd",
                    format!("{service} is inactive on {node}"),
                ))
            }
            Fault::ServiceKill { node, service } => {
                *self.service(node, service)? = Condition::Stopped;
                Ok((now, "cgroup", format!("no process of {service} is left on {node}")))
            }
            Fault::ServiceFreeze { node, service } => {
                *self.service(node, service)? = Condition::Frozen;
                Ok((
                    now,
                    "cgroup",
                    format!("all processes of {service} on {node} are stopped (T)"),
                ))
            }
            Fault::DiskFull { node } => {
                self.disk(node)?.full = true;
                Ok((now, "zfs", format!("the store of {node} has 0 bytes left")))
            }
            Fault::DiskFlip { node } => {
                self.disk(node)?;
                Ok((
                    now,
                    "zpool",
                    format!("one disk of the mirror of {node} has a checksum error"),
                ))
            }
            Fault::DiskNew { node } => {
                self.disk(node)?;
                self.machine(node)?.power = Power::Off;
                self.store_blank(node);
                Ok((
                    now,
                    "process",
                    format!("{node} ended by SIGKILL; its new disk holds no pool"),
                ))
            }
            Fault::LinkCut { from, to, both_ways } => {
                self.machine(from)?;
                self.machine(to)?;
                self.cuts.insert((from.clone(), to.clone()));
                if *both_ways {
                    self.cuts.insert((to.clone(), from.clone()));
                }
                Ok((now, "switch", format!("frames from {from} to {to} are dropped")))
            }
        }
    }

    fn mend_it(&mut self, fault: &Fault) -> Result<(Duration, &'static str, String), (String, String)> {
        let soon = Duration::from_secs(1);
        match fault {
            Fault::PowerCut { node } => {
                self.machine(node)?;
                self.power_on(node);
                Ok((soon, "process", format!("{node} boots from its own disk")))
            }
            Fault::Freeze { node } => {
                self.machine(node)?.frozen = false;
                Ok((Duration::from_millis(50), "qmp", format!("{node} is running")))
            }
            Fault::Reboot { node } => {
                self.machine(node)?;
                Ok((
                    super::world::BOOT + soon * 3,
                    "guest",
                    format!("{node} has a new boot id"),
                ))
            }
            Fault::ServiceStop { node, service } | Fault::ServiceKill { node, service } => {
                self.service(node, service)?;
                self.start(node, service);
                Ok((
                    super::world::SERVICE_START + soon,
                    "systemd",
                    format!("{service} is active on {node}"),
                ))
            }
            Fault::ServiceFreeze { node, service } => {
                *self.service(node, service)? = Condition::Running;
                Ok((
                    Duration::from_millis(50),
                    "cgroup",
                    format!("the processes of {service} on {node} run again"),
                ))
            }
            Fault::DiskFull { node } => {
                self.disk(node)?.full = false;
                Ok((soon, "zfs", format!("the store of {node} has room again")))
            }
            Fault::DiskFlip { node } => {
                self.disk(node)?;
                Ok((soon * 3, "zpool", format!("scrub repaired 4K with 0 errors on {node}")))
            }
            Fault::DiskNew { node } => {
                self.disk(node)?;
                self.power_on(node);
                Ok((soon, "process", format!("{node} boots, and its pool is made anew")))
            }
            Fault::LinkCut { from, to, both_ways } => {
                self.cuts.remove(&(from.clone(), to.clone()));
                if *both_ways {
                    self.cuts.remove(&(to.clone(), from.clone()));
                }
                Ok((
                    Duration::from_millis(50),
                    "switch",
                    format!("frames from {from} to {to} pass again"),
                ))
            }
        }
    }

    fn machine(&mut self, node: &str) -> Result<&mut super::world::Machine, (String, String)> {
        self.machines
            .get_mut(node)
            .ok_or_else(|| (node.to_owned(), "there is no such machine".into()))
    }

    fn disk(&mut self, node: &str) -> Result<&mut super::store::Replica, (String, String)> {
        let missing = (node.to_owned(), "it has no mail store".into());
        self.replica_mut(node).ok_or(missing)
    }

    fn service(&mut self, node: &str, service: &str) -> Result<&mut Condition, (String, String)> {
        let missing = (node.to_owned(), format!("{service} does not run there"));
        self.machine(node)?.services.get_mut(service).ok_or(missing)
    }
}
