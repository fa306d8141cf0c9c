//! The mail store of a cluster of machines: what keeps it from being in order, and who is its writer at first where no engine
//! decides that.

use std::time::Duration;

use generator::spec::{Cluster, Engine};
use serde::Deserialize;
use tokio::time::Instant;

use super::cluster::{QemuFleet, error};
use crate::fleet::{Fleet, FleetError, Role};

/// A change of role may take this long with hardware virtualisation; the agent's own limit is in its file.
const ROLE: Duration = Duration::from_secs(60);

/// A question to an agent.
const ASK: Duration = Duration::from_secs(20);

/// What `cluster-store status --json` says, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Told {
    standing: String,
    doors: String,
    follows: bool,
    doing: String,
    trouble: Option<String>,
}

impl Told {
    fn serves(&self) -> bool {
        self.standing == "writer" && self.doors == "open"
    }
}

/// What ails the store by what the agents of all mail nodes say.
fn ailments(told: &[(String, Result<Told, FleetError>)]) -> Vec<String> {
    let mut found = Vec::new();
    for (node, told) in told {
        match told {
            Err(error) => found.push(error.to_string()),
            Ok(told) => {
                let at = |what: &str| format!("{node}: mail store: {what}");
                found.extend(told.trouble.as_deref().map(at));
                match (told.standing.as_str(), told.doors.as_str()) {
                    ("writer", "open") if !told.follows => {
                        found.push(at(&format!("the other node does not follow yet ({})", told.doing)));
                    }
                    ("writer", "open") | ("standby", "closed") => {}
                    (standing, doors) => found.push(at(&format!("{standing}, doors {doors} ({})", told.doing))),
                }
            }
        }
    }
    let writers = told.iter().filter(|(_, told)| told.as_ref().is_ok_and(Told::serves));
    match writers.count() {
        1 => {}
        count => found.push(format!("mail store: {count} nodes are writer")),
    }
    found
}

impl QemuFleet {
    async fn agent(&self, node: &str, words: &[&str], limit: Duration) -> Result<String, FleetError> {
        let argv: Vec<String> = std::iter::once("cluster-store")
            .chain(words.iter().copied())
            .map(str::to_owned)
            .collect();
        let output = self.exec(node, &argv, self.stretch(limit)).await?;
        match output.status {
            0 => Ok(output.stdout),
            status => Err(error(
                node,
                &format!("cluster-store {}", words.join(" ")),
                &format!("status {status}: {}", output.stderr.trim()),
            )),
        }
    }

    async fn told(&self, node: &str) -> Result<Told, FleetError> {
        let text = self.agent(node, &["status", "--json"], ASK).await?;
        serde_json::from_str(&text).map_err(|e| error(node, "cluster-store status --json", &e.to_string()))
    }

    /// What keeps the mail store from being in order.
    pub(super) async fn store_ailments(&self) -> Vec<String> {
        let nodes = self.topology.of_role(Role::Mail);
        let asked = nodes
            .into_iter()
            .map(|node| async move { (node.to_owned(), self.told(node).await) });
        ailments(&futures::future::join_all(asked).await)
    }

    /// Makes the primary the first writer where a person decides, as the runbook tells that person.
    pub(super) async fn first_writer(&self, cluster: &Cluster) -> Result<(), FleetError> {
        if cluster.store.is_none() || cluster.election.engine != Engine::Manual {
            return Ok(());
        }
        let primary = cluster.mail_nodes().first().map(|node| node.name.clone());
        let primary = primary.ok_or_else(|| error("cluster", "choose the first writer", "there is no mail node"))?;
        let deadline = Instant::now() + self.stretch(ROLE);
        while let Err(late) = self.told(&primary).await {
            if Instant::now() >= deadline {
                return Err(late);
            }
            tokio::time::sleep(Duration::from_millis(500)).await; // poll: the agent has just been started
        }
        if self.told(&primary).await?.serves() {
            return Ok(());
        }
        self.agent(&primary, &["promote"], ROLE).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(node: &str, standing: &str, doors: &str, follows: bool) -> (String, Result<Told, FleetError>) {
        let told = Told {
            standing: standing.to_owned(),
            doors: doors.to_owned(),
            follows,
            doing: "in step".to_owned(),
            trouble: None,
        };
        (node.to_owned(), Ok(told))
    }

    #[test]
    fn a_writer_whom_the_other_follows_is_in_order() {
        let both = [
            told("mail1", "writer", "open", true),
            told("mail2", "standby", "closed", false),
        ];
        assert_eq!(ailments(&both), Vec::<String>::new());
    }

    #[test]
    fn a_writer_whom_nobody_follows_is_not() {
        let both = [
            told("mail1", "writer", "open", false),
            told("mail2", "standby", "closed", false),
        ];
        assert_eq!(
            ailments(&both),
            ["mail1: mail store: the other node does not follow yet (in step)"]
        );
    }

    #[test]
    fn two_writers_or_none_are_named() {
        let writer = |node| told(node, "writer", "open", true);
        assert_eq!(
            ailments(&[writer("mail1"), writer("mail2")]),
            ["mail store: 2 nodes are writer"]
        );
        let standby = |node| told(node, "standby", "closed", false);
        assert_eq!(
            ailments(&[standby("mail1"), standby("mail2")]),
            ["mail store: 0 nodes are writer"]
        );
    }

    #[test]
    fn a_standby_with_open_doors_is_named() {
        let both = [
            told("mail1", "writer", "open", true),
            told("mail2", "standby", "open", false),
        ];
        assert_eq!(ailments(&both), ["mail2: mail store: standby, doors open (in step)"]);
    }
}
