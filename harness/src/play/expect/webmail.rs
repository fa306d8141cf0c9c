//! Webmail: log-ins through the load balancer, and their trace in the databases of both nodes.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{SOON, deadline, served};
use crate::fleet::Role;
use crate::play::run::Run;
use crate::play::step::{Miss, poll};
use crate::record::StepResult;

pub(super) async fn log_in(run: &Run, user: &Option<String>, served_by: Option<&str>, until: Instant) -> StepResult {
    let user = run.user_or_first(user);
    poll(run, until, SOON, async || {
        served(run.login(user, deadline(run, until)).await, served_by)
    })
    .await
}

/// A log-in changes the account's row in `roundcubemail.users` (the first one creates it), and the change reaches both
/// nodes: the proof that the replication's own documentation asks for.
pub(super) async fn login_replicated(run: &Run, user: &str, served_by: Option<&str>, until: Instant) -> StepResult {
    let before = match poll_last_logins(run, user, until).await {
        Ok(before) => before,
        Err(result) => return result,
    };
    let login = poll(run, until, SOON, async || {
        served(run.login(user, deadline(run, until)).await, served_by)
    })
    .await;
    let StepResult::Held { detail } = login else {
        return login;
    };
    let seen = poll(run, until, SOON, async || {
        let now = last_logins(run, user).await?;
        match now
            .iter()
            .find(|(node, login)| login.is_none() || before.get(*node) == Some(*login))
        {
            Some((node, None)) => Err(Miss::NotYet(format!(
                "{node} has no row for {user} in roundcubemail.users"
            ))),
            Some((node, _)) => Err(Miss::NotYet(format!("{node} has not seen the new log-in of {user}"))),
            None => Ok(()),
        }?;
        let mut logins: Vec<&Option<String>> = now.values().collect();
        logins.dedup();
        if logins.len() > 1 {
            return Err(Miss::NotYet(format!(
                "the nodes differ about the last log-in of {user}"
            )));
        }
        let first = before.values().all(Option::is_none);
        Ok(if first {
            "the first log-in made a row on both nodes"
        } else {
            "the new log-in is on both nodes"
        }
        .into())
    })
    .await;
    match seen {
        StepResult::Held { detail: rows } => StepResult::Held {
            detail: format!("{detail}; {rows}"),
        },
        other => other,
    }
}

async fn poll_last_logins(
    run: &Run,
    user: &str,
    until: Instant,
) -> Result<BTreeMap<String, Option<String>>, StepResult> {
    let mut logins = BTreeMap::new();
    let read = poll(run, until, SOON, async || {
        logins = last_logins(run, user).await?;
        Ok(String::new())
    })
    .await;
    if matches!(read, StepResult::Held { .. }) {
        Ok(logins)
    } else {
        Err(read)
    }
}

async fn last_logins(run: &Run, user: &str) -> Result<BTreeMap<String, Option<String>>, Miss> {
    let mut logins = BTreeMap::new();
    for node in run.topology.of_role(Role::Mail) {
        let login = run
            .fleet
            .last_login(node, user)
            .await
            .map_err(|error| Miss::NotYet(error.to_string()))?;
        logins.insert(node.to_owned(), login);
    }
    Ok(logins)
}
