//! A finding of the check that the operator has looked at and accepts.

use schemars::JsonSchema;
use serde::Deserialize;

/// A rule that says nothing more, and why.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// The rule's code, e.g. `single-gateway`.
    pub code: String,
    /// Why the finding is accepted, for whoever reads the description next.
    pub reason: String,
    /// Only findings at this key or below it, e.g. `mail.options.soft_bounce` or `node[2]`; unset: all of the rule.
    #[serde(default)]
    pub at: Option<String>,
}
