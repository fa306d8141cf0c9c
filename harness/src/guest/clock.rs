//! A machine's clock and the number that tells one boot from another.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use qapi::qga::guest_get_time;

use super::agent::{Agent, Deadline};
use super::error::GuestError;

impl Agent {
    /// The guest's clock.
    ///
    /// # Errors
    /// The deadline passed, or the machine ended.
    pub async fn time(&self, limit: Duration) -> Result<SystemTime, GuestError> {
        let step = "asking the time";
        let nanoseconds = self.call(step, &guest_get_time {}, Deadline::after(limit)).await?;
        match u64::try_from(nanoseconds) {
            Ok(nanoseconds) => Ok(UNIX_EPOCH + Duration::from_nanos(nanoseconds)),
            Err(_) => Err(self.refused(step, format!("a time before 1970: {nanoseconds} ns"))),
        }
    }

    /// Sets the guest's clock to the host's. By `date(1)`, for the agent's own command wants a hardware clock tool
    /// that small images lack. What remains is the round trip of one command.
    ///
    /// # Errors
    /// The deadline passed, the machine ended, or the clock could not be set.
    pub async fn set_time(&self, limit: Duration) -> Result<(), GuestError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let when = format!("@{}.{:09}", now.as_secs(), now.subsec_nanos());
        self.run(&["date", "--utc", "--set", &when], limit).await.map(|_| ())
    }

    /// The kernel's random number of this boot (`/proc/sys/kernel/random/boot_id`, random(4)): another one means that
    /// the machine was started anew in between.
    ///
    /// # Errors
    /// The deadline passed, or the machine ended.
    pub async fn boot_id(&self, limit: Duration) -> Result<String, GuestError> {
        let id = self.read_file("/proc/sys/kernel/random/boot_id", limit).await?;
        Ok(String::from_utf8_lossy(&id).trim().to_owned())
    }
}

/// How far a guest's clock is behind (positive) or ahead (negative) of the host's, in seconds.
pub fn lag_seconds(host: SystemTime, guest: SystemTime) -> f64 {
    match host.duration_since(guest) {
        Ok(behind) => behind.as_secs_f64(),
        Err(ahead) => -ahead.duration().as_secs_f64(),
    }
}
