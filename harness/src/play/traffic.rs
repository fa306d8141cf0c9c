//! Background traffic: each service has tasks of its own that begin an operation at every beat, with a seeded jitter, and
//! never have more than the scenario allows under way.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::run::Run;
use super::{program, sample, sender};
use crate::fleet::Role;
use crate::record::{Outcome, Service};
use crate::scenario::traffic::{Pace, Traffic};

/// The tasks of all traffic. Dropping it ends them.
pub(super) struct Tasks {
    beats: JoinSet<()>,
    /// The foreign server's retries go on while the cluster heals.
    retries: JoinSet<()>,
    retries_stop: CancellationToken,
}

impl Tasks {
    /// Waits until every operation under way has ended; they are bounded by their own deadlines.
    pub async fn join(&mut self) {
        finish(&mut self.beats).await;
    }

    /// Ends the foreign server's retries, after the attempt under way.
    pub async fn end_retries(&mut self) {
        self.retries_stop.cancel();
        finish(&mut self.retries).await;
    }
}

/// What one operation is, given the number of the beat.
type Operate = Box<dyn Fn(u64) -> BoxFuture<'static, ()> + Send + Sync>;

/// Starts the traffic of a scenario. It goes on until `stop`.
pub(super) fn start(run: &Arc<Run>, traffic: &Traffic, stop: &CancellationToken) -> Tasks {
    let mut tasks = Tasks {
        beats: JoinSet::new(),
        retries: JoinSet::new(),
        retries_stop: CancellationToken::new(),
    };
    let pace = |service| traffic.pace(service).filter(|pace: &Pace| pace.at_once > 0);
    if let (Some(mail), Some(pace)) = (&traffic.mail, pace(Service::MailIn)) {
        let size = mail.size;
        let users = users_or_all(run, &mail.users);
        tasks.beat(
            run,
            1,
            pace,
            stop,
            mail_operation(run.clone(), users, size, pace.patience()),
        );
    }
    let patience = pace(Service::MailIn).map_or(Duration::from_secs(10), Pace::patience);
    tasks
        .retries
        .spawn(sender::retry(run.clone(), patience, tasks.retries_stop.clone()));
    if let (Some(webmail), Some(pace)) = (&traffic.webmail, pace(Service::Webmail)) {
        let users = users_or_all(run, &webmail.users);
        tasks.beat(
            run,
            2,
            pace,
            stop,
            webmail_operation(run.clone(), users, pace.patience()),
        );
    }
    if let (Some(sql), Some(pace)) = (&traffic.sql, pace(Service::Sql)) {
        for (index, node) in (100..).zip(nodes_or_all(run, &sql.nodes)) {
            let databases = run.databases_or_all(&sql.databases).to_vec();
            tasks.beat(
                run,
                index,
                pace,
                stop,
                sql_operation(run.clone(), node, databases, pace.patience()),
            );
        }
    }
    if let (Some(imap), Some(pace)) = (&traffic.imap, pace(Service::Imap)) {
        for (index, node) in (200..).zip(nodes_or_all(run, &imap.nodes)) {
            let users = users_or_all(run, &imap.users);
            tasks.beat(
                run,
                index,
                pace,
                stop,
                imap_operation(run.clone(), node, users, pace.patience()),
            );
        }
    }
    if let (Some(program), Some(pace)) = (&traffic.imap_client, pace(Service::ImapClient)) {
        for (index, user) in (300..).zip(users_or_all(run, &program.users)) {
            let operation = program_operation(run.clone(), user, pace.patience());
            tasks.beat(run, index, pace, stop, operation);
        }
    }
    tasks
}

impl Tasks {
    fn beat(&mut self, run: &Run, stream: u64, pace: Pace, stop: &CancellationToken, operate: Operate) {
        let mut rng = ChaCha8Rng::seed_from_u64(run.settings.seed);
        rng.set_stream(stream);
        self.beats.spawn(beat(rng, pace, stop.clone(), operate));
    }
}

async fn beat(mut rng: ChaCha8Rng, pace: Pace, stop: CancellationToken, operate: Operate) {
    let mut under_way = JoinSet::new();
    let at_once = usize::try_from(pace.at_once).unwrap_or(usize::MAX);
    // Services do not begin in step.
    let mut pause = pace.every.mul_f64(rng.random_range(0.0..1.0));
    for number in 0.. {
        tokio::select! {
            () = stop.cancelled() => break,
            () = sleep(pause) => {}
        }
        while let Some(ended) = under_way.try_join_next() {
            unwrap_panic(ended);
        }
        if under_way.len() < at_once {
            under_way.spawn(operate(number));
        }
        pause = pace.every.mul_f64(rng.random_range(0.8..1.2));
    }
    finish(&mut under_way).await;
}

async fn finish(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        unwrap_panic(ended);
    }
}

/// A panic of a task is a panic of the run: it must never look like an operation that was not made.
fn unwrap_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

fn mail_operation(run: Arc<Run>, users: Vec<String>, size: usize, patience: Duration) -> Operate {
    Box::new(move |number| {
        let (run, to) = (run.clone(), pick(&users, number));
        Box::pin(async move {
            let mail = run.compose(&to, size);
            let outcome = sender::submit(&run, mail.clone(), patience).await;
            if matches!(outcome, Outcome::Ok { .. }) {
                sample::follow(&run, &mail).await;
            }
        })
    })
}

fn webmail_operation(run: Arc<Run>, users: Vec<String>, patience: Duration) -> Operate {
    Box::new(move |number| {
        let (run, user) = (run.clone(), pick(&users, number));
        Box::pin(async move {
            run.login(&user, patience).await;
        })
    })
}

fn sql_operation(run: Arc<Run>, node: String, databases: Vec<String>, patience: Duration) -> Operate {
    Box::new(move |number| {
        let (run, node, database) = (run.clone(), node.clone(), pick(&databases, number));
        Box::pin(async move {
            run.insert(&node, &database, patience).await;
        })
    })
}

fn imap_operation(run: Arc<Run>, node: String, users: Vec<String>, patience: Duration) -> Operate {
    Box::new(move |number| {
        let (run, node, user) = (run.clone(), node.clone(), pick(&users, number));
        Box::pin(async move {
            run.list(&node, &user, patience).await;
        })
    })
}

fn program_operation(run: Arc<Run>, user: String, patience: Duration) -> Operate {
    Box::new(move |_| {
        let (run, user) = (run.clone(), user.clone());
        Box::pin(async move {
            program::session(&run, &user, patience).await;
        })
    })
}

/// Each in turn.
fn pick(from: &[String], number: u64) -> String {
    let count = u64::try_from(from.len()).unwrap_or(u64::MAX).max(1);
    let index = usize::try_from(number % count).unwrap_or_default();
    from.get(index).cloned().unwrap_or_default()
}

fn users_or_all(run: &Run, users: &[String]) -> Vec<String> {
    if users.is_empty() {
        run.topology.users.clone()
    } else {
        users.to_vec()
    }
}

fn nodes_or_all(run: &Run, nodes: &[String]) -> Vec<String> {
    if nodes.is_empty() {
        run.topology
            .of_role(Role::Mail)
            .into_iter()
            .map(str::to_owned)
            .collect()
    } else {
        nodes.to_vec()
    }
}
