//! A place in the cluster: the description of its machine, and the machine that has power there now. Faults act on it,
//! for a power cut takes the machine away and its healing puts another one in its place.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::boot::{Beginning, BootLimits, BootTimes, boot, boot_again};
use super::console::Stage;
use super::machine::Machine;
use super::spec::MachineSpec;
use crate::fleet::FleetError;
use crate::guest::Agent;

/// How much patience a node deserves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// Factor for every limit that guards against hanging: 1 with hardware virtualisation.
    pub slowness: f64,
    /// Limits of the stages of a boot.
    pub boot: BootLimits,
}

impl Timing {
    /// A limit of so many seconds on a machine with hardware virtualisation.
    pub fn limit(&self, seconds: u64) -> Duration {
        Duration::from_secs(seconds).mul_f64(self.slowness.max(1.0))
    }
}

/// A node of the cluster.
#[derive(Debug)]
pub struct Node {
    spec: MachineSpec,
    timing: Timing,
    machine: Mutex<Arc<Machine>>,
    boot_id: Mutex<String>,
    restart: Mutex<Option<Beginning>>,
}

impl Node {
    /// Takes a machine that has booted, and notes which boot it is.
    ///
    /// # Errors
    /// The agent does not tell the number of the boot.
    pub async fn adopt(machine: Machine, timing: Timing) -> Result<Self, FleetError> {
        let boot_id = machine.agent().boot_id(timing.limit(10)).await?;
        Ok(Self::of(machine, timing, boot_id))
    }

    /// Takes a machine that goes on from where it was saved, in the boot that it was saved in.
    ///
    /// # Errors
    /// The agent does not answer.
    pub async fn go_on(machine: Machine, timing: Timing, boot_id: String) -> Result<Self, FleetError> {
        machine.agent().ping(timing.limit(10)).await?;
        Ok(Self::of(machine, timing, boot_id))
    }

    fn of(machine: Machine, timing: Timing, boot_id: String) -> Self {
        Self {
            spec: machine.spec().after_power_cut(),
            timing,
            machine: Mutex::new(Arc::new(machine)),
            boot_id: Mutex::new(boot_id),
            restart: Mutex::new(None),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// How much patience it deserves.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// The machine that has power there now, or had it last.
    pub fn machine(&self) -> Arc<Machine> {
        Arc::clone(&self.machine.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The agent of that machine.
    pub fn agent(&self) -> Agent {
        self.machine().agent().clone()
    }

    /// The kernel's number of the boot that was last known to be good.
    pub fn boot_id(&self) -> String {
        self.boot_id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that the machine restarts itself, and from where on the signs of its next boot count.
    pub fn note_restart(&self, beginning: Beginning) {
        *self.restart.lock().unwrap_or_else(PoisonError::into_inner) = Some(beginning);
    }

    /// Whether it restarts itself and has not been seen up again.
    pub fn is_restarting(&self) -> bool {
        self.restart.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Starts the machine again from its own disk after a power cut, and waits until it has booted.
    ///
    /// # Errors
    /// It has power already, or does not come up.
    pub async fn power_on(&self) -> Result<Booted, FleetError> {
        let last = self.machine();
        if last.has_power() {
            return Err(last
                .error("starting it again", "it has power already".to_owned())
                .into());
        }
        let machine = Arc::new(Machine::start(&self.spec, self.timing.slowness).await?);
        *self.restart.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.machine.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&machine);
        let times = boot(&machine, &self.timing.boot, &quiet).await?;
        self.confirm_boot(&machine, times).await
    }

    /// Waits until the machine is up again that was noted to restart itself.
    ///
    /// # Errors
    /// No restart was noted, or it does not come up.
    pub async fn wait_restarted(&self) -> Result<Booted, FleetError> {
        let machine = self.machine();
        let noted = self.restart.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(beginning) = noted else {
            return Err(machine
                .error("waiting for its restart", "no restart was seen".to_owned())
                .into());
        };
        let times = boot_again(&machine, beginning, &self.timing.boot, &quiet).await?;
        let booted = self.confirm_boot(&machine, times).await?;
        *self.restart.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(booted)
    }

    /// Asks for the number of the boot, which must differ from the last one.
    async fn confirm_boot(&self, machine: &Machine, times: BootTimes) -> Result<Booted, FleetError> {
        let now = machine.agent().boot_id(self.timing.limit(20)).await?;
        let before = std::mem::replace(
            &mut *self.boot_id.lock().unwrap_or_else(PoisonError::into_inner),
            now.clone(),
        );
        if now == before {
            let reason = format!("its boot id is still {before}: it did not boot anew");
            return Err(machine.error("booting", reason).into());
        }
        Ok(Booted { before, now, times })
    }

    /// Writes its console, QEMU's complaints and, if it answers, its journal into `folder`. What could not be had is
    /// told in the result; the rest is written all the same.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub async fn collect(&self, folder: &Path, limit: Duration) -> std::io::Result<Vec<String>> {
        std::fs::create_dir_all(folder)?;
        std::fs::copy(self.spec.console_log(), folder.join("console.log"))?;
        std::fs::copy(self.spec.qemu_log(), folder.join("qemu.log"))?;
        match self.agent().journal(limit).await {
            Ok(journal) => std::fs::write(folder.join("journal.log"), journal).map(|()| Vec::new()),
            Err(error) => Ok(vec![format!("no journal: {error}")]),
        }
    }
}

/// A boot that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booted {
    /// The number of the boot before.
    pub before: String,
    /// The number of this boot.
    pub now: String,
    /// When the stages were reached.
    pub times: BootTimes,
}

fn quiet(_: &str, _: Stage) {}
