//! A scenario as types: what runs beside it, its steps, its budgets, what the oracles are told.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::Deserialize;

use super::defect::Defect;
use super::expectation::Expectation;
use super::traffic::Traffic;
use crate::fault::Fault;
use crate::oracle::{Budgets, OracleConfig};
use crate::record::Service;
use crate::units::Span;

/// One scenario file.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Everything but the steps.
    pub head: Head,
    /// The steps, played in this order.
    pub steps: Vec<Step>,
}

/// A scenario file without its steps.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Short name; the file's name without `.toml`.
    pub name: String,
    /// What the scenario shows, one sentence.
    pub summary: String,
    /// The cluster that it plays on: `pair`, `no-gateway`, or the path of a `cluster.toml` relative to the scenario.
    #[serde(default = "pair")]
    pub cluster: String,
    /// Where it plays; `machines` if its steps need what the simulation does not have, `fake` if machines do not have it. One that must fail says it in
    /// `[must-fail]`.
    pub fleet: Option<Stage>,
    /// It takes many minutes on machines: a whole suite leaves it out there, unless `--long` is given.
    #[serde(default)]
    pub long: bool,
    /// What clients do all the time.
    #[serde(default)]
    pub traffic: Traffic,
    /// The longest outage that each service may have.
    #[serde(default)]
    pub budget: Budgets,
    /// Limits that take the place of those of `[budget]` on a cluster with a mail store.
    #[serde(rename = "budget-with-store")]
    pub budget_with_store: Option<Budgets>,
    /// What the oracles are told.
    #[serde(default)]
    pub oracle: OracleConfig,
    /// Turns the result round: the run must fail, and for this reason.
    #[serde(rename = "must-fail")]
    pub must_fail: Option<MustFail>,
}

/// The reason for which a scenario must fail.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MustFail {
    /// Code of the finding that must come out, e.g. `mail-lost`.
    pub reason: String,
    /// Codes of findings that follow from the same defect and may come out beside it. Any other finding is wrong.
    #[serde(default)]
    pub also: Vec<String>,
    /// What the simulation gets wrong. Left out, the scenario itself is the plant: it asks for what is not so.
    pub defect: Option<Defect>,
    /// Where it plays.
    #[serde(default)]
    pub fleet: Stage,
}

/// Where a scenario plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// On the simulation; only it can carry a defect.
    #[default]
    Fake,
    /// On real machines, or on the simulation when that is asked for.
    Real,
    /// On real machines only: the steps use something there that the simulation does not have.
    Machines,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The step in words; made from the action if the file gives none.
    pub title: String,
    /// What is done or expected.
    pub action: Action,
    /// Guard against hanging, before it is stretched for slow machines.
    pub within: Duration,
    /// A promise: the step is broken if it took longer. Multiplied on hosts that are measured to be slower.
    pub budget: Option<Duration>,
    /// How long the step waits before it begins.
    pub after: Option<After>,
    /// Only on clusters with a mail store, or only on others; on both if left out.
    pub store: Option<bool>,
    /// Position in the file, from 0.
    pub position: usize,
}

/// A pause before a step, so that it meets the cluster at a moment that nobody chose.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// At most this long; how long in this run follows from its seed.
    pub random: Span,
}

impl After {
    /// The pause of the step at this position.
    pub fn pause(&self, seed: u64, step: usize) -> Duration {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(1000 + step as u64);
        self.random.0.mul_f64(rng.random_range(0.0..=1.0))
    }
}

/// What a step does or expects.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Breaks something.
    Fault {
        /// What is broken.
        fault: Fault,
        /// The name by which a later step heals it.
        name: Option<String>,
    },
    /// Heals a fault by its name.
    Heal {
        /// The name given with `as`.
        name: String,
        /// The fault of that name.
        fault: Fault,
    },
    /// Expects something of the cluster.
    Expect(Expectation),
    /// Runs a command on a node.
    Run(Run),
    /// Changes who is the writer of the mail store.
    Role(RoleStep),
    /// Brings files with new secrets to the machines.
    Rotate(Rotate),
    /// Brings rendered files to a node, ready to be worked with there.
    Rendered(Rendered),
    /// Lets traffic go on until enough operations succeeded.
    Hold(Hold),
}

/// A command on a node, and what must come of it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Program and arguments; no shell.
    pub run: Vec<String>,
    /// The node.
    pub node: String,
    /// The expected exit status.
    #[serde(default)]
    pub status: i32,
    /// Text that standard output must contain.
    pub stdout: Option<String>,
}

/// New values for secrets that are in use. Each machine whose files differ has them afterwards in `/root/bundle`, ready to be
/// installed.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// Their names, as `generator secrets rotate` takes them; or `--finish` alone, which drops what was replaced.
    pub rotate: Vec<String>,
}

/// What `generator render --out` writes, in a folder of a node: a folder a node, and `monitoring`. `run` changes files there,
/// and makes of them what an administrator would: a release of the mail store, the settings of Prometheus.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rendered {
    /// The folder, absolute; what is there is replaced.
    pub rendered: String,
    /// The node.
    pub node: String,
}

/// What ends a rotation, in place of names.
pub const FINISH: &str = "--finish";

/// Another role for a node of the mail store, on purpose.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleStep {
    /// What is done.
    pub role: RoleChange,
    /// The node.
    pub node: String,
}

/// What becomes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RoleChange {
    /// The node becomes the writer; the other one must not be it any more.
    Promote,
    /// The node becomes standby.
    Demote,
    /// The other node hands the role over to this one.
    SwitchOver,
}

/// Traffic goes on until so many operations that began in this step succeeded.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// The service; it must have traffic.
    pub hold: Service,
    /// How many operations.
    pub operations: u64,
}

fn pair() -> String {
    "pair".into()
}

impl Action {
    /// The kind of step in the record: the kind of the expectation, or `fault`, `heal`, `run`, `hold`, `role`, `rotate`, `rendered`.
    pub fn kind(&self) -> &'static str {
        match self {
            Action::Fault { .. } => "fault",
            Action::Heal { .. } => "heal",
            Action::Expect(expectation) => expectation.kind(),
            Action::Run(_) => "run",
            Action::Hold(_) => "hold",
            Action::Role(_) => "role",
            Action::Rotate(_) => "rotate",
            Action::Rendered(_) => "rendered",
        }
    }
}

impl Scenario {
    /// Short name.
    pub fn name(&self) -> &str {
        &self.head.name
    }

    /// Where it plays when nobody asks for something else.
    pub fn stage(&self) -> Stage {
        let must_fail = self.head.must_fail.as_ref().map(|must_fail| must_fail.fleet);
        must_fail.or(self.head.fleet).unwrap_or(Stage::Real)
    }

    /// Whether it takes many minutes where it plays when nobody asks for something else.
    pub fn takes_long(&self) -> bool {
        self.head.long && self.stage() != Stage::Fake
    }

    /// What the simulation is to get wrong.
    pub fn defect(&self) -> Option<Defect> {
        self.head.must_fail.as_ref().and_then(|must_fail| must_fail.defect)
    }
}
