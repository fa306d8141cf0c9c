//! Other files for a running cluster, brought to the machines as an administrator brings them: those that follow from new
//! values for secrets, or all that was rendered. Installing is a step of its own.

use std::time::Duration;

use futures::future::try_join_all;
use generator::bundle::Bundle;
use generator::render::{Agent, render};
use generator::secrets::Secrets;
use generator::spec::Cluster;
use time::OffsetDateTime;
use tokio::sync::Mutex;

use super::cluster::{QemuFleet, error};
use crate::fleet::FleetError;
use crate::guest::{unpack_bundle, unpack_bundle_in};
use crate::scenario::model::FINISH;

/// How long a machine may take to get its files, with hardware virtualisation.
const UNPACK: Duration = Duration::from_secs(30);

/// What the files of the running cluster are made of.
pub(super) struct Release {
    cluster: Cluster,
    agent: Option<Agent>,
    /// As they are on the machines, or are to be.
    secrets: Mutex<Secrets>,
}

impl Release {
    pub fn new(cluster: Cluster, agent: Option<Agent>, secrets: Secrets) -> Release {
        Release {
            cluster,
            agent,
            secrets: Mutex::new(secrets),
        }
    }

    fn bundle(&self, secrets: &Secrets) -> Result<Bundle, String> {
        render(&self.cluster, secrets, self.agent.as_ref()).map_err(|e| e.to_string())
    }
}

impl QemuFleet {
    /// What `generator render` writes, in a folder of one node.
    pub(super) async fn lay_out(&self, node: &str, folder: &str) -> Result<String, FleetError> {
        let failed = |reason: String| error(node, &format!("lay out rendered files in {folder}"), &reason);
        let secrets = self.release.secrets.lock().await;
        let bundle = self.release.bundle(&secrets).map_err(failed)?;
        let agent = self.node(node)?.agent();
        for (name, tree) in &bundle.nodes {
            let archive = tree.tar_gz().map_err(|e| failed(e.to_string()))?;
            unpack_bundle_in(&agent, &format!("{folder}/{name}"), &archive, self.stretch(UNPACK)).await?;
        }
        let monitoring = format!("{folder}/monitoring");
        if !bundle.monitoring.is_empty() {
            agent.run(&["mkdir", "-p", &monitoring], self.stretch(UNPACK)).await?;
        }
        for (name, text) in &bundle.monitoring {
            let path = format!("{monitoring}/{name}");
            agent
                .write_file(&path, text.as_bytes(), 0o644, self.stretch(UNPACK))
                .await?;
        }
        let folders = bundle.nodes.keys().map(String::as_str);
        let folders: Vec<&str> = folders
            .chain((!bundle.monitoring.is_empty()).then_some("monitoring"))
            .collect();
        Ok(format!("{folder} on {node}: {}", folders.join(", ")))
    }

    pub(super) async fn rotate(&self, words: &[String]) -> Result<String, FleetError> {
        let failed = |reason: String| error("cluster", &format!("rotate {}", words.join(" ")), &reason);
        let release = &self.release;
        let mut secrets = release.secrets.lock().await;
        let rotated = match words {
            [word] if word == FINISH => secrets.finish_rotation(),
            names => secrets.rotate(&release.cluster, names, OffsetDateTime::now_utc()),
        };
        let rotated = rotated.map_err(|e| failed(e.to_string()))?;
        let (old, new) = (release.bundle(&secrets), release.bundle(&rotated.secrets));
        let (old, new) = (old.map_err(failed)?, new.map_err(failed)?);
        let differs = |name: &&String| old.nodes.get(*name) != new.nodes.get(*name);
        let nodes: Vec<&String> = new.nodes.keys().filter(differs).collect();
        try_join_all(nodes.iter().map(|name| async {
            let archive = new.nodes[*name].tar_gz();
            let archive = archive.map_err(|e| error(name, "pack the bundle", &e.to_string()))?;
            unpack_bundle(&self.node(name)?.agent(), &archive, self.stretch(UNPACK)).await?;
            Ok::<(), FleetError>(())
        }))
        .await?;
        *secrets = rotated.secrets;
        let nodes: Vec<&str> = nodes.into_iter().map(String::as_str).collect();
        Ok(format!(
            "{}: other files for {}",
            rotated.changed.join(", "),
            nodes.join(", ")
        ))
    }
}
