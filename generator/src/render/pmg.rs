//! What templates of Proxmox Mail Gateways see: the sections of `pmg.conf`, each with its settings in order.

use std::collections::BTreeMap;

use serde::Serialize;

use super::authenticity::Signing;
use crate::spec::{Cluster, Target};

/// The folder of its templates.
pub(super) const FOLDER: &str = "pmg";

/// What stands in the path of a template for the selector of signatures.
const SELECTOR: &str = "SELECTOR";

/// Where a file lies whose template has this path.
pub(super) fn path(path: &str, signing: Option<&Signing>) -> String {
    path.replace(SELECTOR, signing.map_or("", Signing::selector))
}

/// Whether a file at this path is for a node with this target, of those that every node has.
pub(super) fn shares(target: Target, path: &str) -> bool {
    // The rest of the system belongs to whoever looks after the product.
    const SHARED: [&str; 3] = [
        "etc/default/prometheus-",
        "etc/systemd/system/cluster-figures.",
        "usr/local/sbin/cluster-figures",
    ];
    target != Target::Pmg || SHARED.iter().any(|prefix| path.starts_with(prefix))
}

/// What there is to say to them.
#[derive(Serialize)]
pub(super) struct Pmg {
    /// The name with MX records for both mail nodes.
    mail_nodes: String,
    sections: Vec<Section>,
}

#[derive(Serialize)]
struct Section {
    name: &'static str,
    settings: BTreeMap<String, String>,
}

impl Pmg {
    /// Nothing where no gateway is one.
    pub(super) fn new(cluster: &Cluster, signing: Option<&Signing>) -> Option<Pmg> {
        cluster.pmg_gateways().next()?;
        let described = cluster.pmg.clone().unwrap_or_default();
        let sections = described.sections().map(|(name, settings)| {
            let settings = settings.iter().map(|(key, value)| (key.clone(), value.to_string()));
            let settings = settings.chain(ours(cluster, signing, name)).collect();
            Section { name, settings }
        });
        Some(Pmg {
            mail_nodes: cluster.mail_nodes_name(),
            sections: sections
                .into_iter()
                .filter(|section| !section.settings.is_empty())
                .collect(),
        })
    }
}

/// What follows from the rest of the description.
fn ours(cluster: &Cluster, signing: Option<&Signing>, section: &str) -> Vec<(String, String)> {
    let pairs: Vec<(&str, String)> = match (section, signing) {
        // The domain of the From line is the one that DMARC compares with (RFC 7489 section 3.1.1).
        ("admin", Some(signing)) => vec![
            ("dkim_sign", "1".into()),
            ("dkim_selector", signing.selector().to_owned()),
            ("dkim-use-domain", "header".into()),
        ],
        ("mail", _) => vec![
            ("maxsize", (u64::from(cluster.mail.message_size_mib) << 20).to_string()),
            ("queue-lifetime", cluster.mail.queue_days.to_string()),
            ("relay", cluster.mail_nodes_name()),
            ("tls", "1".into()),
            ("verifyreceivers", "550".into()),
        ],
        _ => Vec::new(),
    };
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
