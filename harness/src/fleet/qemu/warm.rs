//! Warming up. An emulated processor translates each piece of code when it is first run, and loses what it translated
//! when a machine is saved: the first log-in then takes ten times as long as every later one. No user of a real machine
//! ever sees that, so the harness takes it upon itself before anything is measured.

use std::time::Duration;

use generator::spec::Role;

use super::cluster::QemuFleet;
use crate::progress::Progress;
use crate::record::Outcome;

/// How long the first log-in may take, before it is stretched.
const FIRST: Duration = Duration::from_secs(10);

impl QemuFleet {
    /// Logs in to webmail once on every mail node, through the load balancer. Each node has a user of its own: rows that
    /// two nodes write at the same moment would not converge. A failure is only told; what is wrong then, the scenario
    /// will show.
    pub(super) async fn warm_up(&self, progress: &Progress) {
        let phase = progress.phase("warm-up", "a first log-in on every mail node");
        let nodes = self.topology.of_role(Role::Mail);
        let logins = nodes.iter().zip(&self.topology.users).map(|(node, user)| async move {
            match self.log_in(user, Some(node), self.stretch(FIRST)).await {
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
}
