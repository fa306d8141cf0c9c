//! Launches each cluster, plays its scenarios one after the other, judges the records, writes the reports.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::exit::Exit;
use super::library::{Entry, Unusable};
use super::terminal::{self, Ended, Teller};
use crate::fleet::{ClusterFile, Fleet, LaunchError, LaunchRequest, launch};
use crate::oracle::{Verdict, judge};
use crate::play::{Settings, play, terms};
use crate::progress::Progress;
use crate::record::Recorder;
use crate::report::{Facts, Report, write_junit};
use crate::scenario::Scenario;
use crate::scenario::defect::Defect;

/// The record's file in a scenario's folder.
const EVENTS: &str = "events.jsonl";

/// How long a cluster gets to become healthy between two scenarios, before it is stretched.
const RECOVERY: Duration = Duration::from_secs(120);

/// Scenarios that play on one cluster.
#[derive(Debug, Clone)]
pub struct Group {
    /// The cluster's description.
    pub cluster: ClusterFile,
    /// On the simulation.
    pub fake: bool,
    /// What the simulation gets wrong on purpose.
    pub defect: Option<Defect>,
    /// The scenarios, in this order.
    pub entries: Vec<Entry>,
}

/// What is fixed for all scenarios of one call.
#[derive(Debug, Clone)]
pub struct Options {
    /// Seed of everything random.
    pub seed: u64,
    /// Folder of all reports, one folder a scenario in it.
    pub report: PathBuf,
    /// Boot from the images.
    pub cold: bool,
    /// Leave the last cluster running until Ctrl-C.
    pub keep: bool,
    /// Beginning of all run ids of this call.
    pub mark: String,
}

/// Plays all groups and prints the table at the end.
///
/// # Errors
/// The input is bad in a way that only launching showed.
pub fn run(groups: Vec<Group>, options: &Options) -> Result<Exit, Unusable> {
    if let Err(cause) = std::fs::create_dir_all(&options.report) {
        eprintln!(
            "error: {}: {cause}\nhelp: name a folder that can be written with --report DIR",
            options.report.display()
        );
        return Ok(Exit::Environment);
    }
    if let Some(earlier) = earlier_record(&groups, &options.report) {
        eprintln!(
            "error: {} is the record of an earlier run\nhelp: name another folder with --report DIR, or remove this one",
            earlier.display()
        );
        return Ok(Exit::Input);
    }
    let mut all = Vec::new();
    let mut exit = Exit::Holds;
    let last = groups.len().saturating_sub(1);
    for (number, group) in groups.into_iter().enumerate() {
        let runtime = match runtime(group.fake) {
            Ok(runtime) => runtime,
            Err(cause) => {
                eprintln!("error: threads cannot be started: {cause}");
                return Ok(Exit::Environment);
            }
        };
        let mut session = Session {
            options,
            group,
            keep: options.keep && number == last,
            number,
            ended: Vec::new(),
        };
        let ended = runtime.block_on(async {
            tokio::select! {
                ended = session.play() => ended,
                () = interrupted() => Exit::Interrupted,
            }
        });
        // Tasks that still run hold the machines; they end here.
        runtime.shutdown_timeout(Duration::from_secs(10));
        exit = exit.worst(ended);
        all.append(&mut session.ended);
        if exit == Exit::Interrupted {
            eprintln!(
                "interrupted: every machine has ended; what was recorded lies in {}",
                options.report.display()
            );
            break;
        }
    }
    if let Err(error) = write_all(&all, &options.report) {
        eprintln!("error: {error}");
        exit = exit.worst(Exit::Environment);
    }
    terminal::closing(&all, options);
    Ok(all.iter().map(Ended::exit).fold(exit, Exit::worst))
}

/// A record that is in the way: none is ever written over, and minutes of booting are not spent before that is known.
fn earlier_record(groups: &[Group], report: &Path) -> Option<PathBuf> {
    let entries = groups.iter().flat_map(|group| &group.entries);
    entries
        .map(|entry| report.join(entry.scenario().name()).join(EVENTS))
        .find(|record| record.exists())
}

/// Real machines need threads and a real clock; the simulation is quick because its clock jumps.
fn runtime(fake: bool) -> std::io::Result<Runtime> {
    if fake {
        Builder::new_current_thread().enable_all().start_paused(true).build()
    } else {
        Builder::new_multi_thread().enable_all().build()
    }
}

/// Ends when somebody wants the program to end.
async fn interrupted() {
    let ends = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let ended = ends.into_iter().flatten().map(|mut end| {
        Box::pin(async move {
            end.recv().await;
        })
    });
    let ended: Vec<_> = ended.collect();
    if ended.is_empty() {
        std::future::pending::<()>().await;
    }
    futures::future::select_all(ended).await;
}

/// One cluster and its scenarios.
struct Session<'a> {
    options: &'a Options,
    group: Group,
    keep: bool,
    number: usize,
    ended: Vec<Ended>,
}

impl Session<'_> {
    async fn play(&mut self) -> Exit {
        let mut fleet: Option<Arc<dyn Fleet>> = None;
        let mut relaunched = false;
        let entries = self.group.entries.clone();
        for (index, entry) in entries.iter().enumerate() {
            if let Some(running) = fleet.take_if(|_| index > 0) {
                match recovered(running.as_ref()).await {
                    Ok(()) => fleet = Some(running),
                    Err(ailments) if !relaunched => {
                        eprintln!("the cluster does not recover ({ailments}); it is launched anew, once");
                        relaunched = true;
                        running.shut_down().await;
                    }
                    Err(ailments) => {
                        eprintln!("the cluster does not recover again: {ailments}");
                        running.shut_down().await;
                        return self.give_up(&entries[index..], &ailments);
                    }
                }
            }
            let fresh = fleet.is_none();
            let running = match fleet.take() {
                Some(running) => running,
                None => match self.launch().await {
                    Ok(launched) => launched,
                    Err(error) => return self.not_launched(&entries[index..], &error),
                },
            };
            let ended = self.play_one(&running, entry, index, fresh).await;
            self.ended.push(ended);
            fleet = Some(running);
        }
        if let Some(fleet) = fleet {
            if self.keep {
                eprintln!("the cluster keeps running; Ctrl-C ends it");
                std::future::pending::<()>().await;
            }
            fleet.shut_down().await;
        }
        Exit::Holds
    }

    async fn launch(&self) -> Result<Arc<dyn Fleet>, LaunchError> {
        let request = LaunchRequest {
            cluster: self.group.cluster.clone(),
            seed: self.options.seed,
            report: self.options.report.join(format!("cluster-{}", self.number + 1)),
            cold: self.options.cold,
            fake: self.group.fake,
            defect: self.group.defect,
        };
        launch(&request, &Progress::terminal()).await
    }

    async fn play_one(&self, fleet: &Arc<dyn Fleet>, entry: &Entry, index: usize, fresh: bool) -> Ended {
        let scenario = entry.scenario();
        let folder = self.options.report.join(scenario.name());
        let recorder = match begin(&folder) {
            Ok(recorder) => recorder,
            Err(cause) => return Ended::not_played(scenario, cause),
        };
        let teller = Arc::new(Teller::new(scenario, self.group.fake));
        let settings = Settings {
            seed: self.options.seed,
            run_id: format!("{}x{}x{index}", self.options.mark, self.number),
        };
        play(fleet.clone(), scenario, &settings, recorder.clone(), teller).await;
        if let Err(error) = fleet.collect(&folder.join("nodes")).await {
            eprintln!("consoles and journals are not complete: {error}");
        }
        let events = match recorder.events() {
            Ok(events) => events,
            Err(error) => return Ended::not_played(scenario, error.to_string()),
        };
        let judgement = judge(&events, &terms(scenario, fleet.topology()));
        let report = Report::new(facts(scenario, fleet.as_ref(), fresh), &events, &judgement);
        if let Err(error) = report.write(&folder) {
            return Ended::not_played(scenario, error.to_string());
        }
        terminal::verdict(&report);
        Ended::Judged(Box::new(report))
    }

    fn not_launched(&mut self, entries: &[Entry], error: &LaunchError) -> Exit {
        eprintln!("error: {error}");
        self.ended.extend(
            entries
                .iter()
                .map(|entry| Ended::not_played(entry.scenario(), "no cluster came up")),
        );
        match error {
            LaunchError::Input(_) => Exit::Input,
            LaunchError::Environment { .. } => Exit::Environment,
            LaunchError::Cluster(_) => Exit::Fails,
        }
    }

    fn give_up(&mut self, entries: &[Entry], ailments: &str) -> Exit {
        let why = format!("the cluster did not recover: {ailments}");
        self.ended.extend(
            entries
                .iter()
                .map(|entry| Ended::not_played(entry.scenario(), why.as_str())),
        );
        Exit::Fails
    }
}

/// Makes the folder of a scenario and begins its record there.
fn begin(folder: &Path) -> Result<Recorder, String> {
    let told = |cause: std::io::Error| format!("{}: {cause}", folder.display());
    std::fs::create_dir_all(folder).map_err(told)?;
    Recorder::create(&folder.join(EVENTS)).map_err(told)
}

/// Waits until nothing ails the cluster any more.
async fn recovered(fleet: &dyn Fleet) -> Result<(), String> {
    let until = Instant::now() + RECOVERY.mul_f64(fleet.slowness().max(1.0));
    loop {
        let ailments = fleet.ailments().await;
        if ailments.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(ailments.join("; "));
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// What the report says beside record and judgement. The time of the launch belongs to the first scenario after it.
fn facts(scenario: &Scenario, fleet: &dyn Fleet, fresh: bool) -> Facts {
    let mut facts = fleet.facts();
    facts.cluster = fleet.topology().name.clone();
    if !fresh {
        facts.timings.clear();
    }
    facts
        .versions
        .insert("harness".into(), env!("CARGO_PKG_VERSION").into());
    let must_fail = scenario.head.must_fail.as_ref();
    facts.must_fail = must_fail.map(|must_fail| (must_fail.reason.clone(), must_fail.also.clone()));
    facts
}

/// One `junit.xml` for all scenarios of the call, for CI.
fn write_all(ended: &[Ended], folder: &Path) -> Result<(), crate::report::ReportError> {
    let judged = ended.iter().filter_map(|ended| match ended {
        Ended::Judged(report) => Some(report.as_ref().clone()),
        Ended::NotPlayed { .. } => None,
    });
    write_junit(&judged.collect::<Vec<Report>>(), folder)
}

/// The exit status of a verdict.
pub(super) fn exit_of(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Pass => Exit::Holds,
        Verdict::Fail => Exit::Fails,
        Verdict::Inconclusive => Exit::Inconclusive,
    }
}
