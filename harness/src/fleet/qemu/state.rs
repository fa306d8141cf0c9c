//! Saving the state of a machine's devices into a file, and going on from it. Memory is not written: it lies in a file
//! already, which QEMU leaves alone when `x-ignore-shared` is set (QEMU, docs/devel/migration; measured: 0.03 s to save,
//! 0.07 s to restore).

use std::path::Path;
use std::time::Duration;

use qapi::qmp::{
    MigrationCapability, MigrationCapabilityStatus, MigrationStatus, migrate, migrate_incoming,
    migrate_set_capabilities, query_migrate,
};
use tokio::time::Instant;

use super::machine::{Machine, MachineError};
use super::spec::Start;

/// Pause between two questions for how far QEMU is.
const PAUSE: Duration = Duration::from_millis(5);

impl Machine {
    /// Writes the state of the devices of a stopped machine, whose memory lies in a shared file, into `file`. Afterwards
    /// the disk is closed and the machine can only end.
    ///
    /// # Errors
    /// QEMU refused, could not write (the disk is full, say), ended, or took longer than `limit`.
    pub async fn save_state(&self, file: &Path, limit: Duration) -> Result<(), MachineError> {
        let step = "saving the state";
        self.leave_memory_out(step).await?;
        let save = migrate {
            uri: Some(address(file)),
            channels: None,
            detach: None,
            resume: None,
        };
        self.execute(step, &save).await?;
        self.moved(step, limit).await
    }

    /// Loads the state that the machine's description names; the machine stays stopped.
    ///
    /// # Errors
    /// As [`Machine::save_state`], and when the machine is none that waits for a state.
    pub async fn load_state(&self, limit: Duration) -> Result<(), MachineError> {
        let step = "loading the state";
        let Start::Restore(file) = &self.spec().start else {
            return Err(self.error(step, "it boots its kernel".to_owned()));
        };
        self.leave_memory_out(step).await?;
        let load = migrate_incoming {
            uri: Some(address(file)),
            channels: None,
            exit_on_error: None,
        };
        self.execute(step, &load).await?;
        self.moved(step, limit).await
    }

    async fn leave_memory_out(&self, step: &str) -> Result<(), MachineError> {
        let capabilities = vec![MigrationCapabilityStatus {
            capability: MigrationCapability::x_ignore_shared,
            state: true,
        }];
        self.execute(step, &migrate_set_capabilities { capabilities }).await?;
        Ok(())
    }

    /// Waits until QEMU has moved the state.
    async fn moved(&self, step: &str, limit: Duration) -> Result<(), MachineError> {
        let until = Instant::now() + limit;
        loop {
            let progress = self.execute(step, &query_migrate {}).await?;
            match progress.status {
                Some(MigrationStatus::completed) => return Ok(()),
                Some(MigrationStatus::failed | MigrationStatus::cancelled) => {
                    let reason = progress.error_desc.unwrap_or_else(|| "QEMU gives no reason".into());
                    return Err(self.error(step, reason));
                }
                _ if Instant::now() >= until => {
                    let reason = format!("not done within {}", humantime::format_duration(limit));
                    return Err(self.error(step, reason));
                }
                _ => tokio::time::sleep(PAUSE).await, // poll: the event for it is off by default
            }
        }
    }
}

/// A file as QEMU's migration addresses name it.
fn address(file: &Path) -> String {
    format!("file:{}", file.display())
}
