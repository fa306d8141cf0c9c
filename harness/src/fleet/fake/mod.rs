//! A simulated cluster that plays scenarios in milliseconds: machines, mail, webmail and databases as far as clients
//! see them, on tokio's clock (paused in tests), reproducible from a seed, and able to carry one planted [`Defect`].
//!
//! Time is simulated by events: whatever should have happened since the last look happens when somebody looks.

mod address;
mod breaks;
mod doors;
mod mail;
mod programs;
mod sql;
mod store;
mod web;
mod world;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use generator::spec::CheckProfile;
use tokio::time::{Instant, sleep};

use self::store::FakeSession;
use self::world::{Reach, World};
use super::{
    Arrival, Departure, Door, ExecOutput, Fleet, FleetError, FoundMail, Mail, MailSession, ReplicationStatus, Topology,
    Vantage,
};
use crate::fault::{Fault, Receipt};
use crate::record::Outcome;
use crate::report::Facts;
use crate::scenario::defect::Defect;

/// What reports call the simulation.
pub const FAKE: &str = "fake";
/// How long a client that names no deadline waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time between two looks for a message on a disk.
const AWAIT: Duration = Duration::from_millis(50);

/// A simulated cluster.
pub struct FakeFleet {
    topology: Topology,
    born: Instant,
    world: Mutex<World>,
}

/// What a client operation needs before its end can be known.
pub(in crate::fleet::fake) struct Attempt {
    /// How long it takes; `Duration::MAX` if it is never answered.
    wait: Duration,
    effect: Effect,
}

/// What an operation does at its end.
pub(in crate::fleet::fake) enum Effect {
    /// Nothing but success.
    Nothing,
    /// It fails.
    Fail(String),
    /// A host takes a message.
    Accept { node: String, mail: Mail },
    /// A log-in is done.
    Login {
        through: String,
        node: String,
        user: String,
    },
    /// A row is committed.
    Insert {
        node: String,
        database: String,
        row: String,
    },
}

impl Attempt {
    fn fail(wait: Duration, reason: &str) -> Attempt {
        Attempt {
            wait,
            effect: Effect::Fail(reason.to_owned()),
        }
    }

    fn hang(reason: &str) -> Attempt {
        Attempt {
            wait: Duration::MAX,
            effect: Effect::Fail(reason.to_owned()),
        }
    }
}

impl FakeFleet {
    /// A healthy cluster. `seed` fixes every delay, `defect` is what it gets wrong on purpose.
    pub fn new(topology: Topology, profile: CheckProfile, defect: Option<Defect>, seed: u64) -> FakeFleet {
        let world = World::new(topology.clone(), profile, defect, seed);
        FakeFleet {
            topology,
            born: Instant::now(),
            world: Mutex::new(world),
        }
    }

    /// The world as it is now.
    pub(in crate::fleet::fake) fn look(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance(self.born.elapsed());
        world
    }

    async fn finish(&self, attempt: Attempt, deadline: Duration) -> Outcome {
        if attempt.wait > deadline {
            sleep(deadline).await;
            let reason = match attempt.effect {
                Effect::Fail(reason) => format!("{reason} within {deadline:?}"),
                _ => format!("no answer within {deadline:?}"),
            };
            return Outcome::Fail { reason };
        }
        sleep(attempt.wait).await;
        let mut world = self.look();
        match attempt.effect {
            Effect::Nothing => Outcome::Ok { served_by: None },
            Effect::Fail(reason) => Outcome::Fail { reason },
            Effect::Accept { node, mail } => world.finish_submit(&node, &mail),
            Effect::Login { through, node, user } => world.finish_login(&through, &node, &user),
            Effect::Insert { node, database, row } => world.finish_insert(&node, &database, &row),
        }
    }
}

fn error(node: &str, what: &str, reason: impl Into<String>) -> FleetError {
    FleetError {
        node: node.to_owned(),
        what: what.to_owned(),
        reason: reason.into(),
    }
}

#[async_trait]
impl Fleet for FakeFleet {
    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn facts(&self) -> Facts {
        Facts {
            fleet: FAKE.into(),
            ..Facts::default()
        }
    }

    fn slowness(&self) -> f64 {
        1.0
    }

    fn without_power(&self) -> Vec<(String, String)> {
        let world = self.look();
        let ended = |name: &String| (name.clone(), "ended by SIGKILL".to_owned());
        world.without_power().map(ended).collect()
    }

    async fn send_mail(&self, mail: &Mail, deadline: Duration) -> Outcome {
        let attempt = self.look().submit(mail);
        self.finish(attempt, deadline).await
    }

    async fn webmail_login(&self, user: &str, deadline: Duration) -> Outcome {
        let began = Instant::now();
        while self.look().holds_clients() && began.elapsed() < web::HOLD.min(deadline) {
            sleep(AWAIT).await; // poll: as the load balancer does
        }
        let attempt = self.look().login(user);
        self.finish(attempt, deadline.saturating_sub(began.elapsed())).await
    }

    async fn imap_list(&self, node: &str, user: &str, deadline: Duration) -> Result<Vec<FoundMail>, FleetError> {
        let attempt = self.look().list(node);
        match self.finish(attempt, deadline).await {
            Outcome::Ok { .. } => Ok(self.look().mailbox(node, user)),
            Outcome::Fail { reason } | Outcome::Unknown { reason } => Err(error(node, "list INBOX by IMAP", reason)),
        }
    }

    async fn program_lists(&self, balancer: &str, _: &str, deadline: Duration) -> Outcome {
        let (attempt, served_by) = self.look().list_through(balancer);
        match self.finish(attempt, deadline).await {
            Outcome::Ok { .. } => Outcome::Ok { served_by },
            outcome => outcome,
        }
    }

    async fn program_submits(&self, balancer: &str, _: u16, mail: &Mail, deadline: Duration) -> Outcome {
        let attempt = self.look().submit_through(balancer, mail);
        self.finish(attempt, deadline).await
    }

    async fn mail_leaves(&self, balancer: &str, _: &Mail, deadline: Duration) -> Result<Departure, FleetError> {
        let (attempt, departure) = self.look().leave_through(balancer);
        match (self.finish(attempt, deadline).await, departure) {
            (Outcome::Ok { .. }, Some(departure)) => Ok(departure),
            (Outcome::Fail { reason } | Outcome::Unknown { reason }, _) => {
                Err(error(balancer, "send mail away", reason))
            }
            (Outcome::Ok { .. }, None) => Err(error(balancer, "send mail away", "nothing came".to_owned())),
        }
    }

    async fn mail_returns(&self, mail: &Mail, deadline: Duration) -> (Outcome, Result<Departure, FleetError>) {
        let attempt = self.look().submit(mail);
        let taken = self.finish(attempt, deadline).await;
        let back = match &taken {
            Outcome::Ok { served_by: Some(node) } => Ok(self.look().forwarded(node)),
            _ => Err(error(&mail.to, "forward mail", "it was not taken".to_owned())),
        };
        (taken, back)
    }

    async fn imap_open<'a>(
        &'a self,
        node: &str,
        user: &str,
        deadline: Duration,
    ) -> Result<Box<dyn MailSession + 'a>, FleetError> {
        let attempt = self.look().list(node);
        match self.finish(attempt, deadline).await {
            Outcome::Ok { .. } => Ok(Box::new(FakeSession::new(self, node, user))),
            Outcome::Fail { reason } | Outcome::Unknown { reason } => Err(error(node, "log in by IMAP", reason)),
        }
    }

    async fn program_opens<'a>(
        &'a self,
        balancer: &str,
        user: &str,
        deadline: Duration,
    ) -> Result<(String, Box<dyn MailSession + 'a>), FleetError> {
        let (attempt, served_by) = self.look().list_through(balancer);
        match (self.finish(attempt, deadline).await, served_by) {
            (Outcome::Ok { .. }, Some(node)) => {
                let session = FakeSession::new(self, &node, user);
                Ok((node, Box::new(session)))
            }
            (Outcome::Fail { reason } | Outcome::Unknown { reason }, _) => {
                Err(error(balancer, "log in by IMAP", reason))
            }
            (Outcome::Ok { .. }, None) => Err(error(balancer, "log in by IMAP", "nobody greets")),
        }
    }

    async fn store_copy(&self, node: &str, user: &str) -> Result<Vec<String>, FleetError> {
        sleep(Duration::from_millis(20)).await;
        let copy = self.look().copy_of(node, user);
        copy.ok_or_else(|| {
            error(
                node,
                "read the files of the mail store",
                "the guest agent did not answer",
            )
        })
    }

    async fn store_await(&self, node: &str, user: &str, id: &str, deadline: Duration) -> Result<Arrival, FleetError> {
        let began = Instant::now();
        let mut at_once = true;
        loop {
            let ids = self.look().copy_of(node, user).unwrap_or_default();
            if ids.iter().any(|known| known == id) {
                let after = began.elapsed();
                return Ok(Arrival { after, at_once });
            }
            at_once = false;
            if began.elapsed() >= deadline {
                return Err(error(
                    node,
                    &format!("wait for {id}"),
                    format!("not seen within {deadline:?}"),
                ));
            }
            sleep(AWAIT).await; // poll: the simulated disk announces nothing
        }
    }

    async fn sql_insert(&self, node: &str, database: &str, row: &str, deadline: Duration) -> Outcome {
        let attempt = self.look().insert(node, database, row);
        self.finish(attempt, deadline).await
    }

    async fn sql_rows(&self, node: &str, database: &str) -> Result<Vec<String>, FleetError> {
        sleep(Duration::from_millis(20)).await;
        self.look()
            .rows(node, database)
            .map_err(|reason| error(node, "read rows", reason))
    }

    async fn checksums(&self, node: &str, database: &str) -> Result<Vec<(String, String)>, FleetError> {
        sleep(Duration::from_millis(20)).await;
        self.look()
            .checksums(node, database)
            .map_err(|reason| error(node, "CHECKSUM TABLE", reason))
    }

    async fn sql_query(&self, node: &str, _database: &str, query: &str) -> Result<Vec<String>, FleetError> {
        Err(error(node, query, "the simulation understands no SQL"))
    }

    async fn last_login(&self, node: &str, user: &str) -> Result<Option<String>, FleetError> {
        sleep(Duration::from_millis(20)).await;
        self.look()
            .last_login(node, user)
            .map_err(|reason| error(node, "read roundcubemail.users", reason))
    }

    async fn replication_status(&self, node: &str) -> Result<ReplicationStatus, FleetError> {
        sleep(Duration::from_millis(20)).await;
        self.look()
            .replication(node)
            .map_err(|reason| error(node, "SHOW REPLICA STATUS", reason))
    }

    async fn queue(&self, node: &str) -> Result<Vec<String>, FleetError> {
        sleep(Duration::from_millis(20)).await;
        Ok(self.look().queue_of(node))
    }

    async fn bounces(&self, node: &str) -> Result<Vec<String>, FleetError> {
        sleep(Duration::from_millis(20)).await;
        Ok(self.look().bounces_of(node))
    }

    async fn knock(&self, from: Vantage, node: &str, port: u16) -> Result<Door, FleetError> {
        let door = self
            .look()
            .door(from, node, port)
            .map_err(|reason| error(node, "connect", reason))?;
        let wait = if door == Door::Silent {
            Duration::from_secs(3)
        } else {
            Duration::from_millis(5)
        };
        sleep(wait).await;
        Ok(door)
    }

    async fn smtp_dialogue(
        &self,
        from: Vantage,
        node: &str,
        port: u16,
        lines: &[String],
    ) -> Result<Vec<String>, FleetError> {
        let what = format!("SMTP dialogue with port {port}");
        if self.knock(from, node, port).await? != Door::Open {
            return Err(error(node, &what, "no connection"));
        }
        sleep(Duration::from_millis(20)).await;
        let replies = self.look().dialogue(node, lines);
        match replies {
            Some(replies) => Ok(replies),
            None => {
                sleep(PATIENCE).await;
                Err(error(node, &what, format!("no greeting within {PATIENCE:?}")))
            }
        }
    }

    async fn exec(&self, node: &str, argv: &[String], deadline: Duration) -> Result<ExecOutput, FleetError> {
        let takes = Duration::from_millis(100);
        sleep(takes.min(deadline)).await;
        if deadline < takes {
            return Err(error(node, &argv.join(" "), "not done in time"));
        }
        self.look()
            .exec(node, argv)
            .map_err(|reason| error(node, &argv.join(" "), reason))
    }

    async fn inject(&self, fault: &Fault) -> Result<Receipt, FleetError> {
        let broken = self.look().inject(fault);
        let (wait, receipt) = broken.map_err(|(node, reason)| error(&node, "break", reason))?;
        sleep(wait).await;
        Ok(receipt)
    }

    async fn heal(&self, fault: &Fault) -> Result<Receipt, FleetError> {
        let mended = self.look().heal(fault);
        let (wait, receipt) = mended.map_err(|(node, reason)| error(&node, "heal", reason))?;
        sleep(wait).await;
        Ok(receipt)
    }

    async fn has_address(&self, node: &str) -> Result<bool, FleetError> {
        sleep(Duration::from_millis(100)).await;
        let world = self.look();
        match world.reach(None, node, &[]) {
            Reach::Answers => Ok(world.holder() == Some(node)),
            _ => Err(error(
                node,
                "look for the virtual address",
                "the guest agent did not answer",
            )),
        }
    }

    async fn ailments(&self) -> Vec<String> {
        sleep(Duration::from_millis(50)).await;
        self.look().ailments()
    }

    async fn collect(&self, dir: &Path) -> Result<(), FleetError> {
        for node in &self.topology.nodes {
            let folder = dir.join(&node.name);
            let text = format!("{} was simulated: there is no console.\n", node.name);
            let written =
                std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join("console.log"), text));
            written.map_err(|cause| error(&node.name, "write console.log", cause.to_string()))?;
        }
        Ok(())
    }
}
