//! From a cluster description to a running, healthy cluster: real machines, or the simulation on request.

use std::path::PathBuf;
use std::sync::Arc;

use generator::check::{Finding, check};
use generator::diag::{Severity, render};
use generator::spec::{Cluster, Loaded, Target};

use super::Fleet;
use super::fake::FakeFleet;
use super::qemu::{QemuFleet, bring_up};
use crate::progress::Progress;
use crate::scenario::defect::Defect;

/// A cluster description as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFile {
    /// Where it comes from, for messages: a path, or `built-in:pair`.
    pub origin: String,
    /// Its text, `cluster.toml`.
    pub text: String,
}

impl ClusterFile {
    /// The description as types. One with errors is refused as `generator render` refuses it: its files would never reach
    /// production, so there is nothing to test. So is one with a node that is no Debian: there is no image of it.
    ///
    /// # Errors
    /// The text that tells what is wrong and where.
    pub fn read(&self) -> Result<Cluster, String> {
        let loaded = self.load()?;
        let mut errors = check(&loaded);
        errors.retain(|finding| finding.severity == Severity::Error);
        errors.extend(foreign(&loaded));
        if errors.is_empty() {
            return Ok(loaded.cluster);
        }
        Err(render(&errors, &self.origin, &self.text, false))
    }

    /// How many warnings an expert would have.
    fn warnings(&self) -> usize {
        self.load().map_or(0, |loaded| {
            let warns = |finding: &&Finding| finding.severity == Severity::Warning;
            check(&loaded).iter().filter(warns).count()
        })
    }

    fn load(&self) -> Result<Loaded, String> {
        Cluster::parse(&self.origin, &self.text).map_err(|error| error.to_string())
    }
}

/// Nodes of which there is no image.
fn foreign(loaded: &Loaded) -> Option<Finding> {
    let nodes = &loaded.cluster.nodes;
    let index = nodes.iter().position(|node| node.target != Target::Debian13)?;
    let (name, target) = (&nodes[index].name, nodes[index].target.as_str());
    let span = loaded.spans.value_or_enclosing(&format!("node[{index}].target"));
    let message = format!("{name} cannot be booted: there is no image of `{target}`");
    let found = Finding::error("target-not-booted", message).at(span, "not Debian");
    Some(found.help("leave `target` out in a copy of the description to play the cluster with a Debian gateway"))
}

/// What a cluster begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Begin {
    /// Its restore point, which is made if there is none: from one in which few files differ, else from booted machines.
    #[default]
    Restored,
    /// Booted machines without a configuration: its restore point is made anew.
    Bases,
    /// The images; restore points are left alone.
    Images,
}

impl Begin {
    /// What `--cold` chooses.
    pub fn cold(cold: bool) -> Begin {
        if cold { Begin::Images } else { Begin::Restored }
    }
}

/// What is to be launched and how.
#[derive(Debug, Clone)]
pub struct LaunchRequest {
    /// The cluster description.
    pub cluster: ClusterFile,
    /// Seed of everything random.
    pub seed: u64,
    /// Folder for consoles, network captures and journals of this launch.
    pub report: PathBuf,
    /// What the machines begin as.
    pub begin: Begin,
    /// Processors of each mail node; the other machines have one.
    pub processors: u32,
    /// Under emulation, log in once on every mail node before anything else: see the fleet's warm-up.
    pub warm_up: bool,
    /// Play on the simulation instead of machines.
    pub fake: bool,
    /// What the simulation gets wrong on purpose. Real machines refuse it.
    pub defect: Option<Defect>,
}

/// Why no cluster came up.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The description is bad; the text points at the place.
    #[error("{0}")]
    Input(String),
    /// The host lacks something.
    #[error("{what}\nhelp: {mend}")]
    Environment {
        /// What is missing.
        what: String,
        /// The exact command or step that mends it.
        mend: String,
    },
    /// The machines came up, but the cluster did not get healthy: that is a finding about the cluster.
    #[error("the cluster did not come up: {0}")]
    Cluster(String),
}

/// Launches a cluster and waits until it is healthy. `progress` hears of whatever takes time.
///
/// # Errors
/// [`LaunchError`].
pub async fn launch(request: &LaunchRequest, progress: &Progress) -> Result<Arc<dyn Fleet>, LaunchError> {
    let cluster = request.cluster.read().map_err(LaunchError::Input)?;
    if request.fake {
        progress.note(
            &cluster.cluster.name,
            "simulated: no machine is booted; this shows the scenario, not the cluster",
        );
        return Ok(Arc::new(FakeFleet::new(
            (&cluster).into(),
            cluster.webmail.check,
            request.defect,
            request.seed,
        )));
    }
    Ok(Arc::new(machines(&cluster, request, progress).await?))
}

/// As [`launch`], on machines.
///
/// # Errors
/// As [`launch`].
pub async fn launch_machines(request: &LaunchRequest, progress: &Progress) -> Result<QemuFleet, LaunchError> {
    let cluster = request.cluster.read().map_err(LaunchError::Input)?;
    machines(&cluster, request, progress).await
}

async fn machines(cluster: &Cluster, request: &LaunchRequest, progress: &Progress) -> Result<QemuFleet, LaunchError> {
    let warnings = request.cluster.warnings();
    if warnings > 0 {
        let origin = &request.cluster.origin;
        progress.note(
            &cluster.cluster.name,
            &format!("`generator check {origin}` has warnings: {warnings}"),
        );
    }
    bring_up(cluster, request, progress).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_with_a_product_that_has_no_image_is_refused() {
        let file = ClusterFile {
            origin: "proxmox.toml".into(),
            text: include_str!("../../../generator/examples/proxmox.toml").into(),
        };
        insta::assert_snapshot!(file.read().expect_err("it has no image"), @r#"
        error[target-not-booted]: gateway cannot be booted: there is no image of `pmg`
          --> proxmox.toml:27:10
           |
        27 | target = "pmg"
           |          ^^^^^ not Debian
           |
           = help: leave `target` out in a copy of the description to play the cluster with a Debian gateway
        "#);
    }
}
