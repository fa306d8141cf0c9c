//! What to do when: one text a cluster, with its own names, addresses and commands.

use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;

use super::model::{Machine, Model};
use super::{RenderError, services};
use crate::secrets::Secrets;
use crate::spec::{Cluster, Node, Role};

/// The template, beside the folders of the roles.
const TEMPLATE: &str = "runbook.j2";

/// What the template sees beside the model of the primary, which stands for the cluster.
#[derive(Serialize)]
struct Book {
    #[serde(flatten)]
    model: Model,
    /// In the order of the description.
    machines: Vec<Listed>,
    /// In the order in which a release is installed.
    rollout: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    node: Machine,
    units: Vec<&'static str>,
}

/// The stand-by first: what goes wrong there nobody notices. The primary next, then what stands before both. What has the
/// third vote comes before all, since a mail node that is installed alone needs it to have a majority.
pub fn rollout(cluster: &Cluster) -> impl Iterator<Item = &Node> {
    let mut mail = cluster.mail_nodes();
    mail.reverse();
    let third = |node: &&Node| cluster.has_third_vote(node);
    let before_both = || {
        cluster
            .of_role(Role::Gateway)
            .chain(cluster.of_role(Role::LoadBalancer))
    };
    before_both()
        .filter(third)
        .chain(mail)
        .chain(before_both().filter(move |node| !third(node)))
}

/// The runbook. It holds no secret.
pub(super) fn runbook(
    environment: &Environment<'_>,
    cluster: &Cluster,
    secrets: &Secrets,
) -> Result<String, RenderError> {
    let Some(primary) = cluster.mail_nodes().first().copied() else {
        return Err(RenderError::Description("it has no mail node".to_owned()));
    };
    let listed = |node: &Node| Listed {
        node: Machine::new(cluster, node),
        units: services(cluster, node)
            .iter()
            .filter(|s| s.enabled)
            .map(|s| s.unit)
            .collect(),
    };
    let book = Book {
        model: Model::new(cluster, secrets, primary)?,
        machines: cluster.nodes.iter().map(listed).collect(),
        rollout: rollout(cluster).map(listed).collect(),
    };
    let template = environment.get_template(TEMPLATE);
    template
        .and_then(|template| template.render(minijinja::Value::from(Serde(book))))
        .map(|text| single_blank_lines(&text))
        .map_err(|source| RenderError::Template {
            name: TEMPLATE.to_owned(),
            source,
        })
}

/// What a loop or a condition of the template leaves between two paragraphs is one blank line.
fn single_blank_lines(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.dedup_by(|next, line| next.is_empty() && line.is_empty());
    lines.join("\n").trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests;
