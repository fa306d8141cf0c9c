//! What is to be done so that rotated secrets reach the nodes: in which order, what restarts, and what comes after.

use std::fmt::Write;
use std::path::Path;

use time::OffsetDateTime;

use crate::bundle::{Bundle, Tree};
use crate::render::{Agent, render, restarts, rollout};
use crate::secrets::Secrets;
use crate::spec::{Cluster, Node};

/// A node that gets other files, and what an installation restarts there.
struct Step<'a> {
    node: &'a Node,
    restarts: Vec<&'static str>,
}

/// The steps that follow a rotation, as a numbered list.
pub(super) fn steps(cluster: &Cluster, before: &Secrets, after: &Secrets, description: &Path, file: &Path) -> String {
    // Secrets that lacked something are compared as if they had it, with other values.
    let whole = before
        .complete(cluster, OffsetDateTime::now_utc())
        .map(|(whole, _)| whole);
    // Secrets are in no program, so that what stands for the agent is as good as the agent.
    let agent = Agent::stand_in();
    let old = whole
        .ok()
        .and_then(|whole| render(cluster, &whole, Some(&agent)).ok())
        .unwrap_or_default();
    let new = render(cluster, after, Some(&agent)).unwrap_or_default();
    let steps: Vec<Step<'_>> = rollout(cluster)
        .filter_map(|node| step(cluster, node, &old, &new))
        .collect();
    let (description, file) = (description.display(), file.display());
    let mut text = String::new();
    let mut number = 0;
    let mut say = |lines: String| {
        number += 1;
        let _ = writeln!(text, "{number}. {lines}");
    };
    if steps.is_empty() {
        say("Nothing: no file of a node holds what has changed.".to_owned());
        return text;
    }
    say(format!(
        "Render:\n     generator render {description} --out DIR --secrets {file}"
    ));
    if before.dkim != after.dkim {
        say(PUBLISH.to_owned());
    }
    say(format!(
        "Install on one node after the other; go on when the one before it is healthy:\n{}",
        table(&steps)
    ));
    for further in further(before, after) {
        say(further.replace("SECRETS", &format!("{description} --secrets {file}")));
    }
    text
}

fn step<'a>(cluster: &Cluster, node: &'a Node, old: &Bundle, new: &Bundle) -> Option<Step<'a>> {
    let nothing = Tree::default();
    let old = old.nodes.get(&node.name).unwrap_or(&nothing);
    let files = &new.nodes.get(&node.name)?.files;
    let changed: Vec<&str> = files
        .iter()
        .filter(|(path, file)| old.files.get(*path) != Some(file))
        .map(|(path, _)| path.as_str())
        .collect();
    (!changed.is_empty()).then(|| Step {
        node,
        restarts: restarts(cluster, node, changed.iter().copied()),
    })
}

fn table(steps: &[Step<'_>]) -> String {
    let width = steps.iter().map(|step| step.node.name.len()).max().unwrap_or(0);
    let line = |step: &Step<'_>| {
        let restarts = match step.restarts.as_slice() {
            [] => "nothing".to_owned(),
            units => units.join(" "),
        };
        format!("     {:width$}  restarts {restarts}", step.node.name)
    };
    steps.iter().map(line).collect::<Vec<_>>().join("\n")
}

const PUBLISH: &str =
    "Publish the zones in DIR/dns, and wait until every name server of theirs has them and what was answered before is
     forgotten (5 minutes): signatures of the new key need it there.";
const UNSIGNED: &str = "Mail that the former key signed may lie in a queue for days: wait a week before the next step.";
const WITHDRAW: &str = "Publish the zones once more: the former key goes out of them.";
const RELINK: &str =
    "On each mail node, so that its link uses the new password (until both are installed, cluster-database
     may note once that the other one denied access: it does not know the new password yet):
     mariadb -e 'STOP REPLICA' && mariadb < /usr/local/share/cluster/link.sql && mariadb -e 'START REPLICA'";
const REKEY: &str =
    "corosync goes on with the former key until it is restarted, and a mail node that is restarted by then does not find
     the other one: when both mail nodes are installed, at once, on the one that is not the writer first, then on the
     writer (the role moves, or is away for a moment):
     systemctl restart corosync corosync-qdevice pacemaker";
const REISSUE: &str =
    "When both authorities are trusted everywhere, certificates of the new one; then render and install again:
     generator secrets rotate SECRETS certificates";
const FINISH: &str = "When all that is done, drop the former value; then render and install again in the same order:
     generator secrets rotate SECRETS --finish";

/// What a rotation with an overlap needs afterwards.
fn further(before: &Secrets, after: &Secrets) -> Vec<&'static str> {
    let mut further = Vec::new();
    let (old, new) = (&before.previous, &after.previous);
    if new.replication_password.is_some() && old.replication_password.is_none() {
        further.push(RELINK);
    }
    if new.ca_certificate.is_some() && old.ca_certificate.is_none() {
        further.push(REISSUE);
    }
    if new.dkim.is_some() && old.dkim.is_none() {
        further.push(UNSIGNED);
    }
    if !new.is_empty() {
        further.push(FINISH);
    }
    if new.dkim.is_none() && old.dkim.is_some() {
        further.push(WITHDRAW);
    }
    if before.corosync_authkey.is_some() && before.corosync_authkey != after.corosync_authkey {
        further.push(REKEY);
    }
    if before.roundcube_des_key != after.roundcube_des_key {
        further.push(
            "Users of webmail log in once more; between the two mail nodes' installations also after a failover.",
        );
    }
    further
}
