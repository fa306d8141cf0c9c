//! Booting: waiting for a machine stage by stage, each with a time limit of its own, and starting several machines so
//! that they do not starve each other.

use std::time::Duration;

use futures::future::try_join_all;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::console::{Console, Stage, dead_end, stage_of};
use super::machine::{Machine, MachineError};
use super::spec::MachineSpec;

/// Pause between two looks at the console.
const PAUSE: Duration = Duration::from_millis(100);

/// How long one question to the agent may take before its socket is opened anew.
const AGENT_ATTEMPT: Duration = Duration::from_secs(4);

/// Time limits of the stages, each counted from the beginning of its stage. They guard against hanging; no budget of a
/// scenario depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootLimits {
    /// From the start to the kernel's first line.
    pub firmware: Duration,
    /// From there to systemd's first line.
    pub kernel: Duration,
    /// From there to the first answer of the guest agent.
    pub init: Duration,
}

impl BootLimits {
    /// Limits for a machine that executes `slowness` times slower than with hardware virtualisation and boots together
    /// with `others` machines on `cores` processors.
    pub fn new(slowness: f64, machines: usize, cores: usize) -> Self {
        let crowd = (machines as f64 / cores.max(1) as f64).max(1.0);
        let scale = |seconds: u64| Duration::from_secs(seconds).mul_f64(slowness.max(1.0) * crowd);
        Self {
            firmware: scale(10),
            kernel: scale(15),
            init: scale(30),
        }
    }

    fn of(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Firmware => self.firmware,
            Stage::Kernel => self.kernel,
            Stage::Init | Stage::Agent => self.init,
        }
    }
}

/// When a machine reached its stages, counted from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BootTimes {
    /// First line of the kernel.
    pub kernel: Duration,
    /// First line of systemd.
    pub init: Duration,
    /// First answer of the guest agent.
    pub agent: Duration,
}

/// Called when a machine reaches a stage.
pub type OnStage<'a> = dyn Fn(&str, Stage) + Send + Sync + 'a;

/// Waits until a machine that was just started has booted and its agent answers.
///
/// # Errors
/// A stage took longer than its limit, the machine ended, or its console shows that it never will come up.
pub async fn boot(machine: &Machine, limits: &BootLimits, on_stage: &OnStage<'_>) -> Result<BootTimes, MachineError> {
    let beginning = Beginning {
        mark: 0,
        console: machine.console().clone(),
    };
    Watch::new(machine, beginning, limits, on_stage)
        .until(Stage::Agent)
        .await
}

/// As [`boot`], for a machine that restarts itself.
///
/// # Errors
/// As [`boot`].
pub async fn boot_again(
    machine: &Machine,
    beginning: Beginning,
    limits: &BootLimits,
    on_stage: &OnStage<'_>,
) -> Result<BootTimes, MachineError> {
    Watch::new(machine, beginning, limits, on_stage)
        .until(Stage::Agent)
        .await
}

/// From where on the signs of a boot count.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// Events of QEMU after this mark.
    pub mark: usize,
    /// What the console printed since.
    pub console: Console,
}

/// Starts machines and waits until all have booted. At most `at_once` of them are between start and the answer of
/// their agent at a time.
///
/// # Errors
/// The first machine that does not come up; the others lose their power.
pub async fn boot_all(
    specs: &[MachineSpec],
    slowness: f64,
    at_once: usize,
    limits: &BootLimits,
    on_stage: &OnStage<'_>,
) -> Result<Vec<(Machine, BootTimes)>, MachineError> {
    let turns = Semaphore::new(at_once.max(1));
    let turns = &turns;
    try_join_all(specs.iter().map(|spec| async move {
        // The semaphore is never closed.
        let _turn = turns.acquire().await;
        let machine = Machine::start(spec, slowness).await?;
        let times = boot(&machine, limits, on_stage).await?;
        Ok((machine, times))
    }))
    .await
}

/// The watch over one boot.
struct Watch<'a> {
    machine: &'a Machine,
    beginning: Beginning,
    limits: &'a BootLimits,
    on_stage: &'a OnStage<'a>,
    start: Instant,
    stage: Stage,
    since: Instant,
    times: BootTimes,
}

impl<'a> Watch<'a> {
    fn new(machine: &'a Machine, beginning: Beginning, limits: &'a BootLimits, on_stage: &'a OnStage<'a>) -> Self {
        let start = Instant::now();
        Self {
            machine,
            beginning,
            limits,
            on_stage,
            start,
            stage: Stage::Firmware,
            since: start,
            times: BootTimes::default(),
        }
    }

    async fn until(mut self, last: Stage) -> Result<BootTimes, MachineError> {
        let agent = self.agent_answers();
        tokio::pin!(agent);
        while self.stage < last {
            tokio::select! {
                biased;
                exit = self.machine.exit().wait() => {
                    return Err(self.machine.ended(&self.step(), &exit));
                }
                () = &mut agent => self.reach(Stage::Agent),
                () = tokio::time::sleep(PAUSE) => self.look()?,
            }
        }
        Ok(self.times)
    }

    /// Reads the console, and judges.
    fn look(&mut self) -> Result<(), MachineError> {
        let printed = self.beginning.console.text();
        self.reach(stage_of(&printed));
        if let Some(why) = dead_end(&printed) {
            return Err(self.machine.error(&self.step(), why.to_owned()));
        }
        let limit = self.limits.of(self.stage);
        if self.since.elapsed() > limit {
            let reason = format!("not past this stage within {}", humantime::format_duration(limit));
            return Err(self.machine.error(&self.step(), reason));
        }
        Ok(())
    }

    fn reach(&mut self, stage: Stage) {
        if stage <= self.stage {
            return;
        }
        let (took, before) = (self.start.elapsed(), self.stage);
        // A stage that was passed over between two looks was reached by now at the latest.
        for (passed, time) in [
            (Stage::Kernel, &mut self.times.kernel),
            (Stage::Init, &mut self.times.init),
            (Stage::Agent, &mut self.times.agent),
        ] {
            if before < passed && passed <= stage {
                *time = took;
            }
        }
        self.stage = stage;
        self.since = Instant::now();
        (self.on_stage)(self.machine.name(), stage);
    }

    fn step(&self) -> String {
        format!("booting ({})", self.stage.words())
    }

    /// Done when the guest agent answers. It is asked once its port was opened in the guest, which QEMU tells: a
    /// question that is sent earlier may never be seen.
    fn agent_answers(&self) -> impl Future<Output = ()> + use<'a> {
        let (machine, mark) = (self.machine, self.beginning.mark);
        async move {
            machine.agent_opened(mark).await;
            while machine.agent().ping(AGENT_ATTEMPT).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
