//! Warming up. An emulated processor translates each piece of code when it is first run, and loses what it translated
//! when a machine is saved: the first log-in then takes ten times as long as every later one. No user of a real machine
//! ever sees that, so the harness takes it upon itself before anything is measured. How fast the machines are then is
//! measured when a scenario asks for it.

use std::time::Duration;

use generator::spec::Role;
use tokio::time::Instant;

use super::cluster::QemuFleet;
use crate::progress::Progress;
use crate::record::{Micros, Outcome, micros};
use crate::report::Pace;

/// How long the first log-in may take, before it is stretched.
const FIRST: Duration = Duration::from_secs(10);

/// Log-ins of which the median is how fast the machines are.
const MEASURED: usize = 5;

impl QemuFleet {
    /// Logs in to webmail once on every mail node, through the load balancer. Each node has a user of its own: rows that
    /// two nodes write at the same moment would not converge. A failure is only told; what is wrong then, the scenario
    /// will show.
    pub(super) async fn warm_up(&self, progress: &Progress) {
        let phase = progress.phase("warm-up", "first log-ins on every mail node");
        let mut nodes = self.topology.of_role(Role::Mail);
        if self.has_store() {
            // The other node takes nobody in.
            nodes.truncate(1);
        }
        let logins = nodes.iter().zip(&self.topology.users).map(|(node, user)| async move {
            match self
                .log_in(user, (!self.has_store()).then_some(*node), self.stretch(FIRST))
                .await
            {
                Outcome::Ok { .. } => None,
                Outcome::Fail { reason } | Outcome::Unknown { reason } => Some(format!("{node}: {reason}")),
            }
        });
        let failed: Vec<String> = futures::future::join_all(logins).await.into_iter().flatten().collect();
        phase.done("");
        for reason in failed {
            progress.note("warm-up", &format!("a first log-in failed: {reason}"));
        }
    }

    /// The time of a log-in, one after the other; the median, for the first may still be slow. Nothing if one fails.
    pub(super) async fn gauge(&self) -> Option<Pace> {
        if let Some(pace) = self.pace.get() {
            return Some(*pace);
        }
        let user = self.topology.users.first()?;
        let mut took: Vec<Micros> = Vec::new();
        for _ in 0..MEASURED {
            let began = Instant::now();
            let outcome = self.log_in(user, None, self.stretch(FIRST)).await;
            matches!(outcome, Outcome::Ok { .. }).then_some(())?;
            took.push(micros(began.elapsed()));
        }
        took.sort_unstable();
        let pace = Pace {
            log_in: took[MEASURED / 2],
        };
        Some(*self.pace.get_or_init(|| pace))
    }
}
