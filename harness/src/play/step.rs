//! Takes one step: faults and their healing with receipts, commands, waiting for traffic; expectations are in `expect`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::PlayedStep;
use super::expect;
use super::run::Run;
use super::store;
use crate::fault::Fault;
use crate::record::{StepResult, What};
use crate::scenario::model::{Hold, Run as Command};
use crate::scenario::plan::span;
use crate::scenario::{Action, Step};

/// How often a step that waits looks whether all machines are still there.
const LOOK: Duration = Duration::from_secs(1);

/// How often somebody who watches is told what a step still waits for.
const TELL: Duration = Duration::from_secs(20);

/// By how much the guard of a command grows at most on slow machines.
const LONGEST_COMMAND: f64 = 4.0;

/// How often over a promised time may pass before the wait for what was promised ends: by then the promise is broken for
/// certain, and how far it was missed is known well enough.
pub(super) const BROKEN_FOR_CERTAIN: u32 = 5;

/// Where the steps are taken: what is broken at the moment, and what came of the steps so far.
pub(super) struct Stage {
    pub run: Arc<Run>,
    /// Faults that are not healed, oldest first.
    pub broken: Vec<Fault>,
    pub played: Vec<PlayedStep>,
    total: usize,
}

impl Stage {
    pub fn new(run: Arc<Run>, total: usize) -> Stage {
        Stage {
            run,
            broken: Vec::new(),
            played: Vec::new(),
            total,
        }
    }

    /// Takes a step of the file and says whether the next one may follow.
    pub async fn take(&mut self, index: usize, step: &Step) -> bool {
        self.begin(index, step.action.kind(), &step.title);
        if let Some(after) = &step.after {
            let pause = after.pause(self.run.settings.seed, index);
            self.run
                .note(format!("this step begins after {:.1} s", pause.as_secs_f64()));
            sleep(pause).await;
        }
        let began = Instant::now();
        let within = self.within(step);
        let result = match &step.action {
            Action::Fault { fault, .. } => self.inject(fault, within).await,
            Action::Heal { fault, .. } => self.heal(fault, within).await,
            Action::Expect(expectation) => {
                let expect = expect::expect(&self.run, expectation, began + within);
                self.unless_fallen(expect).await
            }
            Action::Run(command) => self.unless_fallen(self.command(command, began + within)).await,
            Action::Role(role) => {
                let change = store::change_role(&self.run, role, began + within);
                self.unless_fallen(change).await
            }
            Action::Rotate(rotate) => {
                let rotation = bounded(within, self.run.fleet.rotate_secrets(&rotate.rotate));
                self.unless_fallen(async { said(rotation.await) }).await
            }
            Action::Rendered(step) => {
                let laid = bounded(within, self.run.fleet.lay_out_rendered(&step.node, &step.rendered));
                self.unless_fallen(async { said(laid.await) }).await
            }
            Action::Hold(hold) => self.unless_fallen(self.hold(hold, began + within)).await,
        };
        let took = began.elapsed();
        let result = keep_promise(result, step.budget, took);
        let held = matches!(result, StepResult::Held { .. });
        self.end(index, result, took);
        held
    }

    /// What came of a step, or the news that a machine has ended that no fault took the power of: what the step waits for
    /// may never come then, and says nothing about the cluster.
    async fn unless_fallen(&self, step: impl Future<Output = StepResult>) -> StepResult {
        let fallen = async {
            loop {
                match self.fallen() {
                    Some(detail) => return StepResult::Inconclusive { detail },
                    None => sleep(LOOK).await, // poll: nothing else is announced to a step
                }
            }
        };
        tokio::select! {
            biased;
            result = step => result,
            fallen = fallen => fallen,
        }
    }

    /// A machine that has ended without a power cut of this run, in words.
    pub fn fallen(&self) -> Option<String> {
        let cut = |name: &str| {
            let cuts = |fault: &Fault| fault.takes_power() && fault.node() == name;
            self.broken.iter().any(cuts)
        };
        let ended = self.run.fleet.without_power();
        let (node, how) = ended.into_iter().find(|(node, _)| !cut(node))?;
        Some(format!(
            "{node}: its machine {how}, and no fault of the scenario did that"
        ))
    }

    /// Records the beginning of a step.
    pub fn begin(&self, index: usize, kind: &str, title: &str) {
        let begun = What::StepBegin {
            step: index,
            kind: kind.to_owned(),
            title: title.to_owned(),
        };
        self.run.recorder.record(begun);
        self.run.observer.step_began(index, self.total, title);
    }

    /// Records the end of a step.
    pub fn end(&mut self, index: usize, result: StepResult, took: Duration) {
        self.run.recorder.record(What::StepEnd {
            step: index,
            result: result.clone(),
        });
        self.run.observer.step_ended(index, &result, took);
        self.played.push(PlayedStep {
            step: index,
            result,
            took,
        });
    }

    async fn inject(&mut self, fault: &Fault, within: Duration) -> StepResult {
        let record = &self.run.recorder;
        record.record(What::Inject { fault: fault.clone() });
        // Whatever the answer, it may have taken hold, and is healed at the end.
        self.broken.push(fault.clone());
        match bounded(within, self.run.fleet.inject(fault)).await {
            Ok(receipt) => {
                let detail = format!("{}: {}", receipt.source, receipt.observed);
                record.record(What::Injected {
                    fault: fault.clone(),
                    receipt,
                });
                StepResult::Held { detail }
            }
            Err(reason) => {
                record.record(What::NoReceipt {
                    fault: fault.clone(),
                    reason: reason.clone(),
                });
                StepResult::Inconclusive {
                    detail: format!("no receipt that it took hold: {reason}"),
                }
            }
        }
    }

    /// Heals a fault. Without a receipt it still counts as broken, and the end of the run tries again.
    pub async fn heal(&mut self, fault: &Fault, within: Duration) -> StepResult {
        let record = &self.run.recorder;
        record.record(What::Heal { fault: fault.clone() });
        match bounded(within, self.run.fleet.heal(fault)).await {
            Ok(receipt) => {
                let detail = format!("{}: {}", receipt.source, receipt.observed);
                record.record(What::Healed {
                    fault: fault.clone(),
                    receipt,
                });
                if let Some(position) = self.broken.iter().position(|broken| broken == fault) {
                    self.broken.remove(position);
                }
                StepResult::Held { detail }
            }
            Err(reason) => {
                record.record(What::NoReceipt {
                    fault: fault.clone(),
                    reason: reason.clone(),
                });
                StepResult::Inconclusive {
                    detail: format!("no receipt that it was healed: {reason}"),
                }
            }
        }
    }

    fn within(&self, step: &Step) -> Duration {
        guard(step, self.run.stretch(step.within))
    }

    async fn command(&self, command: &Command, until: Instant) -> StepResult {
        poll(&self.run, until, Duration::from_millis(500), async || {
            let deadline = until.saturating_duration_since(Instant::now());
            let output = self.run.fleet.exec(&command.node, &command.run, deadline).await;
            let output = output.map_err(|error| Miss::NotYet(error.to_string()))?;
            if output.status != command.status {
                let seen = last_line(&output.stderr)
                    .or(last_line(&output.stdout))
                    .unwrap_or("nothing said");
                return Err(Miss::NotYet(format!(
                    "status {} where {} is expected: {seen}",
                    output.status, command.status
                )));
            }
            match &command.stdout {
                Some(wanted) if !output.stdout.contains(wanted.as_str()) => {
                    let seen = last_line(&output.stdout).unwrap_or("nothing");
                    Err(Miss::NotYet(format!("`{wanted}` is not in its output: {seen}")))
                }
                _ => Ok(match last_line(&output.stdout) {
                    Some(said) => format!("status {}: {said}", output.status),
                    None => format!("status {}", output.status),
                }),
            }
        })
        .await
    }

    async fn hold(&self, hold: &Hold, until: Instant) -> StepResult {
        let since = Instant::now();
        poll(&self.run, until, Duration::from_millis(200), async || {
            let done = self.run.successes(hold.hold, since);
            let tally = format!("{done} of {} operations succeeded", hold.operations);
            if done >= hold.operations {
                Ok(tally)
            } else {
                Err(Miss::NotYet(tally))
            }
        })
        .await
    }
}

/// Why an attempt to see something did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Miss {
    /// It may still come.
    NotYet(String),
    /// It is certain that it does not hold.
    Wrong(String),
}

/// Tries until it holds, is certainly wrong, or `until` has passed.
pub(super) async fn poll(
    run: &Run,
    until: Instant,
    pause: Duration,
    mut attempt: impl AsyncFnMut() -> Result<String, Miss>,
) -> StepResult {
    let began = Instant::now();
    let mut last = None;
    let mut told = began;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // An attempt has deadlines of its own; this one catches what ignores them.
        match timeout(left + Duration::from_secs(30), attempt()).await {
            Ok(Ok(detail)) => return StepResult::Held { detail },
            Ok(Err(Miss::Wrong(detail))) => return StepResult::Broken { detail },
            // An attempt that had no time left says only that; what was seen before says why.
            Ok(Err(Miss::NotYet(reason))) if last.is_none() || !left.is_zero() => last = Some(reason),
            Ok(Err(Miss::NotYet(_))) | Err(_) => {}
        }
        let seen = last.as_deref().unwrap_or("nothing was seen");
        if told.elapsed() >= TELL {
            told = Instant::now();
            run.observer.waiting(seen, began.elapsed());
        }
        if Instant::now() >= until {
            let waited = span(Duration::from_millis(
                began.elapsed().as_millis().try_into().unwrap_or(u64::MAX),
            ));
            return StepResult::Broken {
                detail: format!("{seen} (waited {waited})"),
            };
        }
        sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
    }
}

/// What a node said it did, as what came of a step.
fn said(answer: Result<String, String>) -> StepResult {
    match answer {
        Ok(detail) => StepResult::Held { detail },
        Err(detail) => StepResult::Broken { detail },
    }
}

async fn bounded<T>(
    within: Duration,
    future: impl Future<Output = Result<T, crate::fleet::FleetError>>,
) -> Result<T, String> {
    match timeout(within, future).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("nothing was seen within {}", span(within))),
    }
}

/// The guard of a step, of what it is stretched to on a slow machine. A command's grows less than that of what boots
/// machines: what fails again and again will go on to. Nor does anybody wait for what comes far too late anyway.
fn guard(step: &Step, stretched: Duration) -> Duration {
    let longest = match (&step.action, step.budget) {
        (Action::Run(_), _) => step.within.mul_f64(LONGEST_COMMAND),
        (_, Some(budget)) => step.within.max(budget * BROKEN_FOR_CERTAIN),
        (_, None) => stretched,
    };
    stretched.min(longest)
}

/// A promise that was kept too late was not kept.
fn keep_promise(result: StepResult, budget: Option<Duration>, took: Duration) -> StepResult {
    match (result, budget) {
        (StepResult::Held { detail }, Some(budget)) if took > budget => {
            let late = format!(
                "took {:.1} s, promised in {}: {detail}",
                took.as_secs_f64(),
                span(budget)
            );
            StepResult::Broken { detail: late }
        }
        (result, _) => result,
    }
}

fn last_line(text: &str) -> Option<&str> {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::expectation::Expectation;

    const MINUTE: Duration = Duration::from_secs(60);

    fn step(budget: Option<u64>) -> Step {
        Step {
            title: "All mail is there".into(),
            action: Action::Expect(Expectation::AllDelivered),
            within: MINUTE,
            budget: budget.map(Duration::from_secs),
            after: None,
            store: None,
            position: 0,
        }
    }

    #[test]
    fn a_guard_without_a_promise_is_stretched_as_far_as_the_machine_is_slow() {
        assert_eq!(guard(&step(None), MINUTE * 16), MINUTE * 16);
    }

    #[test]
    fn nobody_waits_for_a_promise_that_is_broken_for_certain() {
        assert_eq!(guard(&step(Some(20)), MINUTE * 16), Duration::from_secs(100));
    }

    #[test]
    fn a_promise_does_not_shorten_the_guard_as_it_is_written() {
        assert_eq!(guard(&step(Some(1)), MINUTE * 16), MINUTE);
    }
}
