//! `generator schema`: the JSON Schema of a description.

use super::Outcome;
use crate::spec::Cluster;

/// Print the JSON Schema of cluster.toml
///
/// Editors complete and check a TOML file with it, e.g. with `#:schema ./cluster.schema.json` as
/// its first line (Taplo, Even Better TOML).
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Example:\n  generator schema > cluster.schema.json"
)]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> Result<Outcome, Outcome> {
    let schema = schemars::schema_for!(Cluster);
    Ok(Outcome::holds(format!("{:#}\n", schema.as_value())))
}
