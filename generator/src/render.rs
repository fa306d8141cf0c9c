//! From a description and its secrets to the in-memory tree of every node's files.

use crate::bundle::{Bundle, Tree};
use crate::secrets::Secrets;
use crate::spec::Cluster;

/// Why a description could not be rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {}

/// Renders every file of every node.
///
/// # Errors
/// [`RenderError`] if a template and the description do not fit together.
pub fn render(cluster: &Cluster, secrets: &Secrets) -> Result<Bundle, RenderError> {
    let nodes = cluster
        .nodes
        .iter()
        .map(|n| (n.name.clone(), Tree::default()))
        .collect();
    Ok(Bundle {
        nodes,
        ca_pem: secrets.ca_certificate.clone(),
        ..Bundle::default()
    })
}
