//! Launches each cluster, plays its scenarios one after the other, judges the records, writes the reports.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::exit::Exit;
use super::interrupt::interrupted;
use super::library::{Entry, Unusable};
use super::terminal::{self, Ended, Teller};
use crate::fleet::fake::FAKE;
use crate::fleet::{Begin, ClusterFile, Fleet, LaunchError, LaunchRequest, launch};
use crate::oracle::{Verdict, judge};
use crate::play::{Settings, play, terms};
use crate::progress::Progress;
use crate::record::Recorder;
use crate::report::{Facts, Pace, Report, journals, trails, write_junit};
use crate::scenario::Scenario;
use crate::scenario::defect::Defect;

/// The record's file in a scenario's folder.
const EVENTS: &str = "events.jsonl";

/// Why a scenario was not played.
const NO_CLUSTER: &str = "no cluster came up";

/// How long the consoles and journals of an interrupted run may take to be kept.
const JOURNALS: Duration = Duration::from_secs(30);

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

impl Group {
    /// Its scenarios have to fail.
    pub fn is_planted(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.scenario().head.must_fail.is_some())
    }
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
    /// Processors of each mail node.
    pub processors: u32,
    /// How many scenarios play side by side, each on a copy of its own.
    pub jobs: usize,
    /// Leave the last cluster running until Ctrl-C.
    pub keep: bool,
    /// No scenario on machines begins after this moment.
    pub begin_until: Option<std::time::Instant>,
    /// What still plays on machines at this moment is broken off.
    pub end_until: Option<std::time::Instant>,
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
    let planned: Vec<Entry> = groups.iter().flat_map(|group| group.entries.clone()).collect();
    let last = groups.len().saturating_sub(1);
    for (number, group) in groups.into_iter().enumerate() {
        let runtime = match runtime(group.fake) {
            Ok(runtime) => runtime,
            Err(cause) => {
                eprintln!("error: threads cannot be started: {cause}");
                return Ok(Exit::Environment);
            }
        };
        let session = Session {
            options,
            group,
            keep: options.keep && number == last,
            number,
            ended: Mutex::default(),
            playing: Mutex::default(),
        };
        let ended = runtime.block_on(async {
            tokio::select! {
                ended = session.play() => return ended,
                () = interrupted() => session.keep_journals("interrupted").await,
                () = session.out_of_time() => {
                    let playing: Vec<usize> = session.playing().keys().copied().collect();
                    session.keep_journals("out of time").await;
                    session.break_off(&playing);
                    return Exit::Holds;
                }
            }
            Exit::Interrupted
        });
        // Tasks that still run hold the machines; they end here.
        runtime.shutdown_timeout(Duration::from_secs(10));
        exit = exit.worst(ended);
        all.extend(session.into_ended());
        if exit == Exit::Interrupted {
            eprintln!(
                "interrupted: every machine has ended; what was recorded lies in {}",
                options.report.display()
            );
            break;
        }
    }
    let known: Vec<String> = all.iter().map(|ended| ended.name().to_owned()).collect();
    let unplayed = planned.iter().map(Entry::scenario);
    all.extend(
        unplayed
            .filter(|scenario| !known.iter().any(|name| name == scenario.name()))
            .map(|scenario| Ended::not_played(scenario, "interrupted")),
    );
    if let Err(error) = write_all(&all, &options.report) {
        eprintln!("error: {error}");
        exit = exit.worst(Exit::Environment);
    }
    terminal::closing(&all, options);
    if none_ended(&all) {
        eprintln!("help: there was no time for any scenario on machines; --begin-within or --end-within is too short");
        exit = exit.worst(Exit::Inconclusive);
    }
    Ok(all.iter().map(Ended::exit).fold(exit, Exit::worst))
}

/// Something was left out for lack of time, and nothing was played on machines: what is left shows nothing of the cluster.
fn none_ended(ended: &[Ended]) -> bool {
    let left_out = |ended: &Ended| matches!(ended, Ended::LeftOut { .. } | Ended::BrokenOff { .. });
    let real = |ended: &Ended| matches!(ended, Ended::Judged(report) if report.fleet != FAKE);
    ended.iter().any(left_out) && !ended.iter().any(real)
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

/// A thread that panicked while it held the lock leaves values that are whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Clusters, and folders for what their machines tell, by the places of what plays there.
type Playing = BTreeMap<usize, (Arc<dyn Fleet>, PathBuf)>;

/// One cluster and its scenarios.
struct Session<'a> {
    options: &'a Options,
    group: Group,
    keep: bool,
    number: usize,
    /// What has become of the scenarios so far, by their places in the group: an interruption loses none of it.
    ended: Mutex<BTreeMap<usize, Ended>>,
    /// The clusters on which something plays now, and where their consoles and journals belong.
    playing: Mutex<Playing>,
}

impl Session<'_> {
    fn note(&self, index: usize, ended: Ended) {
        lock(&self.ended).insert(index, ended);
    }

    fn playing(&self) -> MutexGuard<'_, Playing> {
        lock(&self.playing)
    }

    /// An end before its time does not lose what the machines tell of the time until then, unless somebody is in a hurry.
    async fn keep_journals(&self, why: &str) {
        let playing = std::mem::take(&mut *self.playing());
        for (fleet, folder) in playing.into_values().filter(|_| !self.group.fake) {
            eprintln!("{why}: consoles and journals are kept in {}", folder.display());
            tokio::select! {
                collected = timeout(JOURNALS, fleet.collect(&folder)) => match collected {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => eprintln!("they are not complete: {error}"),
                    Err(_) => eprintln!("they are not complete: the machines took longer than {} s", JOURNALS.as_secs()),
                },
                () = interrupted() => eprintln!("they are not complete"),
            }
        }
    }

    fn into_ended(self) -> impl Iterator<Item = Ended> {
        self.ended
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .into_values()
    }

    async fn play(&self) -> Exit {
        if self.options.cold || self.group.fake {
            self.play_on_one().await
        } else {
            self.play_on_copies().await
        }
    }

    /// The time of this call is over for scenarios on machines; one that is under way goes on to its end.
    fn is_over(&self) -> bool {
        let ends = [self.options.begin_until, self.options.end_until];
        let now = std::time::Instant::now();
        !self.group.fake && ends.into_iter().flatten().any(|until| now >= until)
    }

    /// The moment at which machines have to be gone; never for the simulation, which takes no time.
    async fn out_of_time(&self) {
        match self.options.end_until.filter(|_| !self.group.fake) {
            Some(until) => sleep_until(until.into()).await,
            None => std::future::pending().await,
        }
    }

    /// What has not ended is broken off if it plays, and left out if it does not.
    fn break_off(&self, playing: &[usize]) {
        let ended: Vec<usize> = lock(&self.ended).keys().copied().collect();
        for (index, entry) in self.group.entries.iter().enumerate() {
            if playing.contains(&index) {
                self.note(index, Ended::broken_off(entry.scenario()));
            } else if !ended.contains(&index) {
                self.note(index, Ended::left_out(entry.scenario()));
            }
        }
    }

    /// One booted cluster serves all scenarios, one after the other.
    async fn play_on_one(&self) -> Exit {
        let mut fleet: Option<Arc<dyn Fleet>> = None;
        let mut relaunched = false;
        let entries = &self.group.entries;
        for (index, entry) in entries.iter().enumerate() {
            if self.is_over() {
                self.note(index, Ended::left_out(entry.scenario()));
                continue;
            }
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
                        let why = format!("the cluster did not recover: {ailments}");
                        self.none_of(index, &why);
                        return Exit::Fails;
                    }
                }
            }
            let fresh = fleet.is_none();
            let running = match fleet.take() {
                Some(running) => running,
                None => match self.launch(&self.group_name()).await {
                    Ok(launched) => launched,
                    Err(error) => {
                        eprintln!("error: {error}");
                        self.none_of(index, NO_CLUSTER);
                        return exit_of_launch(&error);
                    }
                },
            };
            self.note(index, self.play_one(&running, entry, index, fresh).await);
            fleet = Some(running);
        }
        if let Some(fleet) = fleet {
            self.leave(fleet).await;
        }
        Exit::Holds
    }

    /// Each scenario has a copy of the restored cluster to itself, so several may play side by side. Once a cluster does
    /// not come up, no further scenario is begun.
    async fn play_on_copies(&self) -> Exit {
        let entries = &self.group.entries;
        let last = entries.len().saturating_sub(1);
        let failed: OnceLock<Exit> = OnceLock::new();
        let plays = stream::iter(entries.iter().enumerate()).map(|(index, entry)| {
            let failed = &failed;
            async move {
                if failed.get().is_some() {
                    return self.note(index, Ended::not_played(entry.scenario(), NO_CLUSTER));
                }
                if self.is_over() {
                    return self.note(index, Ended::left_out(entry.scenario()));
                }
                let fleet = match self.launch(entry.scenario().name()).await {
                    Ok(fleet) => fleet,
                    Err(error) => {
                        eprintln!("error: {error}");
                        failed.get_or_init(|| exit_of_launch(&error));
                        return self.note(index, Ended::not_played(entry.scenario(), NO_CLUSTER));
                    }
                };
                self.note(index, self.play_one(&fleet, entry, index, true).await);
                if index == last {
                    self.leave(fleet).await;
                } else {
                    fleet.shut_down().await;
                }
            }
        });
        plays.buffer_unordered(self.options.jobs.max(1)).collect::<()>().await;
        failed.get().copied().unwrap_or(Exit::Holds)
    }

    /// Ends a cluster, or lets it run until Ctrl-C when that was asked for.
    async fn leave(&self, fleet: Arc<dyn Fleet>) {
        if self.keep {
            eprintln!("the cluster keeps running; Ctrl-C ends it");
            std::future::pending::<()>().await;
        }
        fleet.shut_down().await;
    }

    fn group_name(&self) -> String {
        format!("cluster-{}", self.number + 1)
    }

    /// Launches a cluster; should it not come up, its consoles and journals lie in this folder of the report.
    async fn launch(&self, folder: &str) -> Result<Arc<dyn Fleet>, LaunchError> {
        let request = LaunchRequest {
            cluster: self.group.cluster.clone(),
            seed: self.options.seed,
            report: self.options.report.join("launch").join(folder),
            begin: Begin::cold(self.options.cold),
            processors: self.options.processors,
            warm_up: true,
            fake: self.group.fake,
            defect: self.group.defect,
        };
        launch(&request, &Progress::terminal()).await
    }

    async fn play_one(&self, fleet: &Arc<dyn Fleet>, entry: &Entry, index: usize, fresh: bool) -> Ended {
        let pace = fleet.pace().await;
        if let Some(pace) = pace {
            eprintln!("{}: {pace}", entry.scenario().name());
        }
        let scenario = &entry
            .scenario()
            .at_pace(pace.map_or(1.0, Pace::factor), pace.map_or(1.0, Pace::pauses));
        let folder = self.options.report.join(scenario.name());
        let recorder = match begin(&folder) {
            Ok(recorder) => recorder,
            Err(cause) => return Ended::not_played(scenario, cause),
        };
        let nodes = folder.join("nodes");
        self.playing().insert(index, (fleet.clone(), nodes.clone()));
        let teller = Arc::new(Teller::new(scenario, self.group.fake, self.options.jobs > 1));
        let settings = Settings {
            seed: entry.seed().unwrap_or(self.options.seed),
            run_id: format!("{}x{}x{index}", self.options.mark, self.number),
        };
        play(fleet.clone(), scenario, &settings, recorder.clone(), teller).await;
        if let Err(error) = fleet.collect(&nodes).await {
            eprintln!("consoles and journals are not complete: {error}");
        }
        self.playing().remove(&index);
        let events = match recorder.events() {
            Ok(events) => events,
            Err(error) => return Ended::not_played(scenario, error.to_string()),
        };
        let judgement = judge(&events, &terms(scenario, fleet.topology()));
        let mut report = Report::new(facts(scenario, fleet.as_ref(), fresh), &events, &judgement);
        if report.verdict == Verdict::Fail {
            report.trails = trails(&report, &journals(&nodes));
        }
        if let Err(error) = report.write(&folder) {
            return Ended::not_played(scenario, error.to_string());
        }
        terminal::verdict(&report);
        Ended::Judged(Box::new(report))
    }

    /// The scenarios from this place on are not played.
    fn none_of(&self, from: usize, why: &str) {
        for (index, entry) in self.group.entries.iter().enumerate().skip(from) {
            self.note(index, Ended::not_played(entry.scenario(), why));
        }
    }
}

/// The exit status of a launch that failed.
pub(super) fn exit_of_launch(error: &LaunchError) -> Exit {
    match error {
        LaunchError::Input(_) => Exit::Input,
        LaunchError::Environment { .. } => Exit::Environment,
        LaunchError::Cluster(_) => Exit::Fails,
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
        Ended::NotPlayed { .. } | Ended::LeftOut { .. } | Ended::BrokenOff { .. } => None,
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

#[cfg(test)]
mod tests {
    use super::super::library;
    use super::*;

    fn left_out() -> Ended {
        let entry = library::find("failover", false).expect("a built-in scenario");
        Ended::left_out(entry.scenario())
    }

    #[test]
    fn a_scenario_for_which_there_was_no_time_counts_neither_way() {
        assert_eq!(left_out().exit(), Exit::Holds);
    }

    #[test]
    fn a_call_that_ended_nothing_on_machines_is_no_pass() {
        assert!(none_ended(&[left_out()]));
        assert!(!none_ended(&[]));
    }
}
