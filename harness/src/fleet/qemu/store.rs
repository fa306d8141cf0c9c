//! The mail store of a cluster of machines: what keeps it from being in order, and who is its writer at first.

use std::time::Duration;

use generator::spec::{Cluster, Engine};
use tokio::time::Instant;

use super::cluster::{QemuFleet, error};
use crate::fleet::store::{Statuses, Writer, writer};
use crate::fleet::{Fleet, FleetError, Role, StoreRole};

/// A change of role may take this long with hardware virtualisation; the agent's own limit is in its file.
const ROLE: Duration = Duration::from_secs(60);

/// What ails the store by what the agents of all mail nodes say.
fn ailments(seen: &Statuses) -> Vec<String> {
    let mut found = Vec::new();
    for (node, status) in seen {
        let at = |what: &str| format!("{node}: mail store: {what}");
        match status {
            Err(reason) => found.push(at(reason)),
            Ok(status) if status.serves() && !status.follows => {
                found.push(at(&format!("the other node does not follow yet: {}", status.words())));
            }
            Ok(status) if status.serves() || status.stands_by() => {}
            Ok(status) => found.push(at(&status.words())),
        }
        found.extend(status.iter().filter_map(|status| status.trouble.as_deref()).map(at));
    }
    match writer(seen) {
        Writer::One(_) => {}
        Writer::Nobody => found.push("mail store: no node is the writer".to_owned()),
        Writer::Several(nodes) => found.push(format!("mail store: several writers: {}", nodes.join(", "))),
    }
    found
}

impl QemuFleet {
    /// What keeps the mail store from being in order.
    pub(super) async fn store_ailments(&self) -> Vec<String> {
        let nodes = self.topology.of_role(Role::Mail);
        let asked = nodes.into_iter().map(|node| async move {
            let status = self.store_status(node).await.map_err(|error| error.to_string());
            (node.to_owned(), status)
        });
        ailments(&futures::future::join_all(asked).await)
    }

    /// Gives the role back to the primary where an engine decides: scenarios begin with it, and an agent that was installed
    /// anew over a frozen cluster may have lost it. True if it was elsewhere.
    pub(super) async fn primary_is_writer(&self, cluster: &Cluster) -> Result<bool, FleetError> {
        if cluster.store.is_none() || cluster.election.engine != Engine::Pacemaker {
            return Ok(false);
        }
        let Some(primary) = cluster.mail_nodes().first().map(|node| node.name.clone()) else {
            return Ok(false);
        };
        if self.store_status(&primary).await?.serves() {
            return Ok(false);
        }
        let limit = self.stretch(ROLE);
        self.store_move(&primary, limit).await?;
        let deadline = Instant::now() + limit;
        loop {
            match self.store_status(&primary).await {
                Ok(status) if status.serves() => return Ok(true),
                Ok(status) if Instant::now() >= deadline => {
                    let what = format!("give the role back within {limit:?}");
                    return Err(error(&primary, &what, &status.words()));
                }
                Err(late) if Instant::now() >= deadline => return Err(late),
                _ => tokio::time::sleep(Duration::from_millis(500)).await, // poll: pacemaker moves it
            }
        }
    }

    /// Makes the primary the first writer where a person decides, as the runbook tells that person.
    pub(super) async fn first_writer(&self, cluster: &Cluster) -> Result<(), FleetError> {
        if cluster.store.is_none() || cluster.election.engine != Engine::Manual {
            return Ok(());
        }
        let primary = cluster.mail_nodes().first().map(|node| node.name.clone());
        let primary = primary.ok_or_else(|| error("cluster", "choose the first writer", "there is no mail node"))?;
        let deadline = Instant::now() + self.stretch(ROLE);
        let status = loop {
            match self.store_status(&primary).await {
                Ok(status) => break status,
                Err(late) if Instant::now() >= deadline => return Err(late),
                Err(_) => tokio::time::sleep(Duration::from_millis(500)).await, // poll: the agent has just been started
            }
        };
        if status.serves() {
            return Ok(());
        }
        self.store_role(&primary, StoreRole::Promote, self.stretch(ROLE))
            .await
            .map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::StoreStatus;

    fn says(node: &str, standing: &str, doors: &str, follows: bool) -> (String, Result<StoreStatus, String>) {
        let json = format!(
            r#"{{"standing": "{standing}", "goal": "{standing}", "doors": "{doors}", "epoch": 3, "newest": 7, "peer": null,
                "peer_newest": 7, "follows": {follows}, "doing": "resting", "trouble": null, "unmerged": 0, "kept": [],
                "waiting": 0}}"#
        );
        (node.to_owned(), StoreStatus::parse(&json))
    }

    fn standby() -> (String, Result<StoreStatus, String>) {
        says("mail2", "standby", "closed", false)
    }

    #[test]
    fn a_writer_whom_the_other_follows_is_in_order() {
        assert_eq!(
            ailments(&vec![says("mail1", "writer", "open", true), standby()]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_writer_whom_nobody_follows_is_not() {
        let found = ailments(&vec![says("mail1", "writer", "open", false), standby()]);
        assert!(
            matches!(found.as_slice(), [one] if one.starts_with("mail1: mail store: the other node does not follow yet")),
            "{found:?}"
        );
    }

    #[test]
    fn two_writers_or_none_are_named() {
        let writer = |node| says(node, "writer", "open", true);
        assert_eq!(
            ailments(&vec![writer("mail1"), writer("mail2")]),
            ["mail store: several writers: mail1, mail2"]
        );
        assert_eq!(ailments(&vec![standby()]), ["mail store: no node is the writer"]);
    }

    #[test]
    fn a_standby_with_open_doors_is_named() {
        let found = ailments(&vec![
            says("mail1", "writer", "open", true),
            says("mail2", "standby", "open", false),
        ]);
        assert!(
            matches!(found.as_slice(), [one] if one.starts_with("mail2: mail store: ")),
            "{found:?}"
        );
    }
}
