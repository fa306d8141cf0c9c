//! What Prometheus needs to know about a cluster: whom to ask, and when to wake somebody.

use std::collections::BTreeMap;

use minijinja::Environment;
use minijinja::Value;
use minijinja::value::Serde;

use super::RenderError;
use super::model::Model;
use crate::secrets::Secrets;
use crate::spec::Cluster;

/// The files and their templates.
const FILES: [(&str, &str); 2] = [
    ("alerts.yml", "monitoring/alerts.yml.j2"),
    ("prometheus.yml", "monitoring/prometheus.yml.j2"),
];

/// The files by name; none without `[monitoring]`. They hold no secret.
pub(super) fn monitoring(
    environment: &Environment<'_>,
    cluster: &Cluster,
    secrets: &Secrets,
) -> Result<BTreeMap<String, String>, RenderError> {
    if cluster.monitoring.is_none() {
        return Ok(BTreeMap::new());
    }
    let Some(primary) = cluster.mail_nodes().first().copied() else {
        return Err(RenderError::Description("it has no mail node".to_owned()));
    };
    let model = Value::from(Serde(Model::new(cluster, secrets, primary)?));
    let fill = |(name, template): (&str, &str)| {
        let filled = environment
            .get_template(template)
            .and_then(|found| found.render(&model));
        let text = filled.map_err(|source| RenderError::Template {
            name: template.to_owned(),
            source,
        })?;
        Ok((name.to_owned(), text))
    };
    FILES.into_iter().map(fill).collect()
}
