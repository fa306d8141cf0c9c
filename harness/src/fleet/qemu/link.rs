//! Links between machines: cut and joined in the switch, and believed only when its counters prove it.

use std::time::Duration;

use super::cluster::{QemuFleet, error};
use crate::fault::Receipt;
use crate::fleet::{Fleet, FleetError};

/// How long a joined link may take to carry its first frame: replication alone sends one every second.
const REJOIN: Duration = Duration::from_secs(30);

impl QemuFleet {
    /// Waits until the switch has seen what proves a cut or a join: in every direction concerned a frame swallowed, or
    /// one that passed.
    async fn link_receipt(&self, links: &[(&str, &str)], cut: bool) -> Result<Receipt, FleetError> {
        let limit = self.stretch(REJOIN);
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let counts: Vec<_> = links
                .iter()
                .map(|(from, to)| (from, to, self.switch.counts(from, to)))
                .collect();
            let proof = |count: &crate::switch::Counts| if cut { count.hits } else { count.passed };
            if counts.iter().all(|(_, _, count)| proof(count) > 0) {
                let verb = if cut { "swallowed" } else { "passed" };
                let seen = counts
                    .iter()
                    .map(|(from, to, count)| format!("{from} to {to}: {} frames", proof(count)));
                let observed = format!("the switch {verb} {}", seen.collect::<Vec<_>>().join(", "));
                return Ok(Receipt {
                    source: "switch".to_owned(),
                    observed,
                });
            }
            if tokio::time::Instant::now() >= deadline {
                let what = format!(
                    "see a frame in every direction of the link within {}",
                    humantime::format_duration(limit)
                );
                return Err(error(links[0].0, &what, &format!("seen: {counts:?}")));
            }
            // Poll the counters; the machines' own traffic moves them.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(super) async fn link(&self, from: &str, to: &str, both_ways: bool, cut: bool) -> Result<Receipt, FleetError> {
        let mut links = vec![(from, to)];
        if both_ways {
            links.push((to, from));
        }
        self.node(from)?;
        self.node(to)?;
        for (from, to) in &links {
            if cut {
                self.switch.cut(from, to);
            } else {
                self.switch.join(from, to);
            }
        }
        let dead = self.without_power();
        match dead.iter().find(|(node, _)| node == from || node == to) {
            // Nobody is there to send what would prove it; the machine's return will.
            Some((node, _)) if !cut => Ok(Receipt {
                source: "switch".to_owned(),
                observed: format!("joined in the switch; {node} has no power, so that nothing passes yet"),
            }),
            _ => self.link_receipt(&links, cut).await,
        }
    }
}
