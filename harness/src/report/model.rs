//! What `report.json` holds. Lengths and moments are microseconds of the record's clock, as in `events.jsonl`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Pace, words};
use crate::fault::Fault;
use crate::oracle::{Judgement, MailStore, Outage, Reason, Replicated, Tally, Verdict, describe_fault};
use crate::record::{Event, Micros, StepResult, What};

/// Version of the layout of `report.json`. It grows when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// What a report holds beside the record and the judgement.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Name of the cluster.
    pub cluster: String,
    /// `qemu`, or `fake` for the simulation.
    pub fleet: String,
    /// The accelerator of the machines; the simulation has none.
    pub accelerator: Option<Accelerator>,
    /// Versions of programs: `harness`, `qemu`, and of what the images hold.
    pub versions: BTreeMap<String, String>,
    /// How fast emulated machines are; others need no measure.
    pub pace: Option<Pace>,
    /// The most memory that each machine's process has held so far, bytes (`VmHWM`, proc_pid_status(5)).
    pub memory: BTreeMap<String, u64>,
    /// What was done before the record began: `tools`, `image`, `boot`, `install`, `ready`.
    pub timings: Vec<Timing>,
    /// For a scenario that must fail: the code that must come out, and those that may come out beside it.
    pub must_fail: Option<(String, Vec<String>)>,
}

/// How the machines' processors are run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accelerator {
    /// `kvm` or `tcg`.
    pub name: String,
    /// Why this one.
    pub reason: String,
}

/// How long a stage of a run took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// The stage.
    pub stage: String,
    /// Its length.
    pub took: Micros,
}

/// Everything about one run of a scenario, for machines and for later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this layout, [`SCHEMA`].
    pub schema: u32,
    /// Unit of every length and moment: `microseconds`.
    pub unit: String,
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the cluster.
    pub cluster: String,
    /// `qemu` or `fake`.
    pub fleet: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Mark of the run: ids of its mails and rows begin with it.
    pub run: String,
    /// The verdict; of a scenario that must fail it is turned round.
    pub verdict: Verdict,
    /// The verdict in words.
    pub words: String,
    /// What speaks against a pass, failures first.
    pub reasons: Vec<Reason>,
    /// What the journals say about messages that the reasons name, by their ids.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trails: BTreeMap<String, Vec<String>>,
    /// How a scenario that must fail was judged; absent for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must_fail: Option<MustFail>,
    /// The mail ledger, if it applies.
    pub ledger: Option<Tally>,
    /// Each service that was used or has a budget: limit and what was measured.
    pub outages: Vec<Outage>,
    /// Replication, if it applies.
    pub replication: Option<Replicated>,
    /// What was measured of a mail store.
    #[serde(flatten)]
    pub store: MailStore,
    /// The steps that were begun, in their order.
    pub steps: Vec<StepReport>,
    /// The faults that were asked for, in their order.
    pub faults: Vec<FaultReport>,
    /// How long the stages took; `scenario` is the record from its first to its last event.
    pub timings: Vec<Timing>,
    /// All stages together.
    pub wall: Micros,
    /// The accelerator of the machines.
    pub accelerator: Option<Accelerator>,
    /// How fast emulated machines are: limits of budgets grow by its factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
    /// The most memory that each machine's process held, bytes; empty on the simulation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub memory: BTreeMap<String, u64>,
    /// Versions of programs.
    pub versions: BTreeMap<String, String>,
}

/// A scenario with a planted defect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MustFail {
    /// The code that must come out.
    pub reason: String,
    /// Codes that may come out beside it.
    pub also: Vec<String>,
    /// What came out.
    pub found: Vec<Reason>,
}

/// One step that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// Position in the plan, from 0.
    pub step: usize,
    /// Kind of the step.
    pub kind: String,
    /// The step in words.
    pub title: String,
    /// What it came to; absent if it never ended.
    #[serde(flatten)]
    pub result: Option<StepResult>,
    /// When it began.
    pub at: Micros,
    /// How long it took; until the last event if it never ended.
    pub took: Micros,
}

/// One fault and its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultReport {
    /// The fault in words.
    pub what: String,
    /// When it was asked for.
    pub at: Micros,
    /// What was observed of it; absent if nothing was.
    pub injected: Option<String>,
    /// When it was seen to be healed, if it was.
    pub healed_at: Option<Micros>,
    /// What was observed of the healing; absent if nothing was.
    pub healed: Option<String>,
}

impl Report {
    /// The report of a run.
    pub fn new(facts: Facts, events: &[Event], judgement: &Judgement) -> Report {
        let (scenario, seed, run) = begin_of(events);
        let turned = facts
            .must_fail
            .as_ref()
            .map(|(reason, also)| judgement.turned_round(reason, also));
        let found = &judgement.reasons;
        let judged = turned.as_ref().unwrap_or(judgement);
        let mut timings = facts.timings;
        timings.push(Timing {
            stage: "scenario".into(),
            took: length_of(events),
        });
        let mut report = Report {
            schema: SCHEMA,
            unit: "microseconds".into(),
            scenario,
            cluster: facts.cluster,
            fleet: facts.fleet,
            seed,
            run,
            verdict: judged.verdict,
            words: String::new(),
            reasons: judged.reasons.clone(),
            trails: BTreeMap::new(),
            must_fail: facts.must_fail.map(|(reason, also)| MustFail {
                reason,
                also,
                found: found.clone(),
            }),
            ledger: judgement.ledger.clone(),
            outages: judgement.outages.clone(),
            replication: judgement.replication.clone(),
            store: judgement.store.clone(),
            steps: steps_of(events),
            faults: faults_of(events),
            wall: timings.iter().map(|timing| timing.took).sum(),
            timings,
            accelerator: facts.accelerator,
            pace: facts.pace,
            memory: facts.memory,
            versions: facts.versions,
        };
        report.words = words::in_words(&report);
        report
    }
}

fn begin_of(events: &[Event]) -> (String, u64, String) {
    let begin = events.iter().find_map(|event| match &event.what {
        What::Begin {
            scenario, seed, run, ..
        } => Some((scenario.clone(), *seed, run.clone())),
        _ => None,
    });
    begin.unwrap_or_default()
}

fn length_of(events: &[Event]) -> Micros {
    let first = events.first().map_or(0, |event| event.at);
    events.last().map_or(0, |event| event.at.saturating_sub(first))
}

fn steps_of(events: &[Event]) -> Vec<StepReport> {
    let end = events.last().map_or(0, |event| event.at);
    let mut steps: Vec<StepReport> = Vec::new();
    for Event { at, what } in events {
        match what {
            What::StepBegin { step, kind, title } => steps.push(StepReport {
                step: *step,
                kind: kind.clone(),
                title: title.clone(),
                result: None,
                at: *at,
                took: end.saturating_sub(*at),
            }),
            What::StepEnd { step, result } => {
                if let Some(begun) = steps.iter_mut().rfind(|begun| begun.step == *step) {
                    begun.took = at.saturating_sub(begun.at);
                    begun.result = Some(result.clone());
                }
            }
            _ => {}
        }
    }
    steps
}

fn faults_of(events: &[Event]) -> Vec<FaultReport> {
    let mut faults: Vec<(&Fault, FaultReport)> = Vec::new();
    for Event { at, what } in events {
        match what {
            What::Inject { fault } => {
                let what = describe_fault(fault);
                faults.push((
                    fault,
                    FaultReport {
                        what,
                        at: *at,
                        injected: None,
                        healed_at: None,
                        healed: None,
                    },
                ));
            }
            What::Injected { fault, receipt } => {
                let open = faults
                    .iter_mut()
                    .find(|(known, report)| *known == fault && report.injected.is_none());
                if let Some((_, report)) = open {
                    report.injected = Some(format!("{}: {}", receipt.source, receipt.observed));
                }
            }
            What::Healed { fault, receipt } => {
                let open = faults
                    .iter_mut()
                    .find(|(known, report)| *known == fault && report.healed.is_none());
                if let Some((_, report)) = open {
                    report.healed_at = Some(*at);
                    report.healed = Some(format!("{}: {}", receipt.source, receipt.observed));
                }
            }
            _ => {}
        }
    }
    faults.into_iter().map(|(_, report)| report).collect()
}
