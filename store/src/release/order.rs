//! The order in which both nodes are changed: the standby first, and the writer only when that went well. Taken back in the
//! same order.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::job::{Progress, Task};
use super::{Ask, Host, HostError, Name, Release, Told, current, last_touched};

/// Where what goes on is told.
pub type Out<'a> = &'a (dyn Fn(&str) + Sync);

/// A node and how it stands, for people.
#[derive(Clone, Copy)]
pub struct Party<'a> {
    /// Its name.
    pub name: &'a str,
    /// It.
    pub host: &'a dyn Host,
}

/// Both nodes, and how long things may take.
#[derive(Clone, Copy)]
pub struct Both<'a> {
    /// The one that is changed first.
    pub standby: Party<'a>,
    /// The one that is changed last.
    pub writer: Party<'a>,
    /// Of an installation on one node.
    pub limit: Duration,
    /// Between two looks at one.
    pub interval: Duration,
}

/// Says whether the standby follows the writer again, after it was changed.
#[async_trait::async_trait]
pub trait Follows: Sync {
    /// Nothing if it does, else why not.
    async fn obstacle(&self) -> Option<String>;
}

/// Why a release is not in place on both nodes as it should be.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Nothing was begun.
    #[error("{node}: {source}")]
    Before {
        /// Where.
        node: String,
        /// Why.
        source: HostError,
    },
    /// A node did not do it; the nodes that come later were not touched.
    #[error("{node}: {what} failed{after}")]
    Failed {
        /// Where.
        node: String,
        /// What was done.
        what: &'static str,
        /// What that means for the other node, and what to do.
        after: String,
    },
    /// It is not known how it ended.
    #[error("{node}: {what} has not ended within {limit:?}; last: {last}")]
    Late {
        /// Where.
        node: String,
        /// What was done.
        what: &'static str,
        /// How long was waited.
        limit: Duration,
        /// What was heard last.
        last: String,
    },
    /// There is nothing to take back.
    #[error("nothing to take back: no release is installed on {standby} or {writer}")]
    Nothing {
        /// A node.
        standby: String,
        /// The other one.
        writer: String,
    },
}

fn before(party: Party<'_>) -> impl Fn(HostError) -> OrderError {
    let node = party.name.to_owned();
    move |source| OrderError::Before {
        node: node.clone(),
        source,
    }
}

fn otherwise() -> HostError {
    HostError::Lost("it answered something else".to_owned())
}

/// The releases of a node.
///
/// # Errors
/// It does not tell.
pub async fn releases(host: &dyn Host) -> Result<Vec<Release>, HostError> {
    match host.ask(Ask::List).await? {
        Told::Releases(releases) => Ok(releases),
        _ => Err(otherwise()),
    }
}

impl Both<'_> {
    /// Installs a release on both nodes, or shows what that would change.
    ///
    /// # Errors
    /// [`OrderError`]; the writer is not touched if the standby fails.
    pub async fn install(
        &self,
        id: &str,
        dry_run: bool,
        follows: &dyn Follows,
        out: Out<'_>,
    ) -> Result<(), OrderError> {
        let task = if dry_run { Task::DryRun } else { Task::Install };
        for party in [self.standby, self.writer] {
            let there = releases(party.host).await.map_err(before(party))?;
            if !there.iter().any(|release| release.name.id == id) {
                let text = format!("release {id} is not here: `cluster-store release FOLDER` on the writer sends it");
                return Err(before(party)(HostError::Refused(text)));
            }
        }
        let back = format!("`cluster-store back-out` takes it back on {}", self.standby.name);
        let untouched = format!("; {} is as it was. {back}", self.writer.name);
        self.carry_out(self.standby, id, task, if dry_run { "" } else { &untouched }, out)
            .await?;
        if !dry_run {
            self.until_it_follows(follows, out).await?;
        }
        let also = "; `cluster-store back-out` takes it back on both nodes";
        self.carry_out(self.writer, id, task, if dry_run { "" } else { also }, out)
            .await
    }

    /// Takes back the release that was installed last, wherever it was.
    ///
    /// # Errors
    /// [`OrderError`]; what is taken back already stays so.
    pub async fn back_out(&self, follows: &dyn Follows, out: Out<'_>) -> Result<String, OrderError> {
        let mut touched = Vec::new();
        for party in [self.standby, self.writer] {
            let there = releases(party.host).await.map_err(before(party))?;
            touched.push((party, last_touched(&there).cloned()));
        }
        let last = touched.iter().filter_map(|(_, release)| release.as_ref());
        let last = last
            .max_by_key(|release| release.at)
            .map(|release| release.name.id.clone());
        let id = last.ok_or_else(|| OrderError::Nothing {
            standby: self.standby.name.to_owned(),
            writer: self.writer.name.to_owned(),
        })?;
        out(&format!("taking release {id} back"));
        for (party, release) in touched {
            if release.is_none_or(|release| release.name.id != id) {
                out(&format!("{}: it is not in place here", party.name));
                continue;
            }
            self.carry_out(party, &id, Task::Undo, "", out).await?;
            if party.name == self.standby.name {
                self.until_it_follows(follows, out).await?;
            }
        }
        Ok(id)
    }

    /// Does something on one node and waits for its end. The node may be gone for a while: its agent may be restarted.
    async fn carry_out(
        &self,
        party: Party<'_>,
        id: &str,
        task: Task,
        after: &str,
        out: Out<'_>,
    ) -> Result<(), OrderError> {
        let what = task.word();
        let begin = Ask::Begin {
            id: id.to_owned(),
            task,
        };
        let number = match party.host.ask(begin).await.map_err(before(party))? {
            Told::Begun(number) => number,
            _ => return Err(before(party)(otherwise())),
        };
        let deadline = Instant::now() + self.limit;
        let mut from = 0;
        let mut last = "nothing".to_owned();
        loop {
            let asked = timeout_at(deadline, party.host.ask(Ask::Progress { number, from })).await;
            match asked {
                Ok(Ok(Told::Progress(Progress { well, said, next }))) => {
                    out(&said);
                    if let Some(line) = said.trim_end().lines().last() {
                        line.clone_into(&mut last);
                    }
                    let more = next > from;
                    from = next;
                    match well {
                        // What is left of the log comes first.
                        _ if more => continue,
                        Some(true) => return Ok(()),
                        Some(false) => {
                            return Err(OrderError::Failed {
                                node: party.name.to_owned(),
                                what,
                                after: after.to_owned(),
                            });
                        }
                        None => {}
                    }
                }
                Ok(Ok(_)) => return Err(before(party)(otherwise())),
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => {}
            }
            if Instant::now() >= deadline {
                return Err(OrderError::Late {
                    node: party.name.to_owned(),
                    what,
                    limit: self.limit,
                    last,
                });
            }
            sleep(self.interval).await;
        }
    }

    async fn until_it_follows(&self, follows: &dyn Follows, out: Out<'_>) -> Result<(), OrderError> {
        let deadline = Instant::now() + self.limit;
        let mut told = false;
        while let Some(obstacle) = follows.obstacle().await {
            if !std::mem::replace(&mut told, true) {
                out(&format!("waiting for {}: {obstacle}", self.standby.name));
            }
            if Instant::now() >= deadline {
                return Err(OrderError::Late {
                    node: self.standby.name.to_owned(),
                    what: "following the writer",
                    limit: self.limit,
                    last: obstacle,
                });
            }
            sleep(self.interval).await;
        }
        Ok(())
    }
}

/// Sees to it that the other node has a release: sends it unless it is there. Says whether it was sent.
///
/// # Errors
/// The other node does not take it.
pub async fn deliver(
    peer: &dyn Host,
    name: &Name,
    stream: impl Future<Output = Result<crate::zfs::Stream, HostError>>,
) -> Result<bool, HostError> {
    if releases(peer).await?.iter().any(|release| release.name == *name) {
        return Ok(false);
    }
    peer.take(name.clone(), stream.await?).await?;
    Ok(true)
}

/// One line for each release of a node, oldest first.
pub fn show(releases: &[Release]) -> String {
    let place = current(releases).map(|release| &release.name);
    let line = |release: &Release| {
        let state = match Some(&release.name) == place {
            true => "in place".to_owned(),
            false if release.state == super::State::Installed => "replaced".to_owned(),
            false => release.state.to_string(),
        };
        format!("  {}  {state}\n", release.name.id)
    };
    match releases.is_empty() {
        true => "  none\n".to_owned(),
        false => releases.iter().map(line).collect(),
    }
}
