//! Where the mail store's agent comes from: a file that is named, or one that was built beside this program.

use std::path::{Path, PathBuf};

use super::{Outcome, Status};
use crate::render::Agent;
use crate::spec::Cluster;

/// The target for which the agent is built: any x86-64 Debian, without its C library.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Makes the agent's program.
const BUILD: &str =
    "RUSTFLAGS='-C target-feature=+crt-static' cargo build --profile agent --target x86_64-unknown-linux-gnu -p store";

/// The option of every verb that renders.
#[derive(Debug, Default, clap::Args)]
pub(super) struct AgentArgs {
    /// The program of the mail store's agent, for a description with [store]; unstated, `cluster-store` beside this program
    /// or where cargo has built it.
    #[arg(long, value_name = "FILE")]
    store_agent: Option<PathBuf>,
}

impl AgentArgs {
    /// The agent, if the description needs one.
    pub(super) fn load(&self, cluster: &Cluster) -> Result<Option<Agent>, Outcome> {
        if cluster.store.is_none() {
            return Ok(None);
        }
        match &self.store_agent {
            Some(file) => read(file).map(Some),
            None => found().map(Some),
        }
    }
}

fn read(file: &Path) -> Result<Agent, Outcome> {
    let bytes = std::fs::read(file).map_err(|error| {
        Outcome::fault(
            Status::BadInput,
            format!("{}: {error}\nhelp: {}", file.display(), help()),
        )
    })?;
    Agent::new(bytes).map_err(|error| {
        Outcome::fault(
            Status::BadInput,
            format!("{}: {error}\nhelp: {}", file.display(), help()),
        )
    })
}

/// The first of the usual places that holds an agent which runs anywhere; what cargo builds for this machine does not.
fn found() -> Result<Agent, Outcome> {
    let places = places(std::env::current_exe().ok().as_deref());
    let usable = places
        .iter()
        .find_map(|place| Agent::new(std::fs::read(place).ok()?).ok());
    usable.ok_or_else(|| {
        let looked: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        Outcome::fault(
            Status::BadInput,
            format!(
                "the description has a mail store, and its agent's program is nowhere: {}\nhelp: {}",
                looked.join(", "),
                help()
            ),
        )
    })
}

fn help() -> String {
    format!("build it: {BUILD}\nhelp: or name it: --store-agent FILE")
}

/// Beside this program, and below cargo's folder in which this program lies (`target/debug/generator`).
fn places(program: Option<&Path>) -> Vec<PathBuf> {
    let Some(folder) = program.and_then(Path::parent) else {
        return Vec::new();
    };
    let built = |target: &Path| target.join(TARGET).join("agent/cluster-store");
    let beside = folder.join("cluster-store");
    std::iter::once(beside).chain(folder.parent().map(built)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_looked_for_beside_the_program_and_where_cargo_builds_it() {
        let places = places(Some(Path::new("/src/target/debug/generator")));
        assert_eq!(
            places,
            [
                Path::new("/src/target/debug/cluster-store"),
                Path::new("/src/target/x86_64-unknown-linux-gnu/agent/cluster-store"),
            ]
        );
    }
}
