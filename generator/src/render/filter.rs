//! The filter as templates see it.

use serde::Serialize;

use crate::spec::{Cluster, Signatures};

/// Bytes that a message may have besides what Postfix counts: headers that are added on the way to clamd.
const HEADERS: u64 = 1 << 20;

/// What templates see of the filter.
#[derive(Serialize)]
pub(super) struct Filter {
    freshclam: bool,
    attachments: Vec<String>,
    /// What clamd is given at most, bytes.
    longest: u64,
    outgoing_per_hour: u32,
    authentication: bool,
    trusted_sealers: Vec<String>,
}

impl Filter {
    /// Nothing where nothing is looked at.
    pub(super) fn new(cluster: &Cluster) -> Option<Filter> {
        let filter = cluster.filter.as_ref()?;
        let mut attachments: Vec<String> = filter
            .refused_attachments
            .iter()
            .map(|word| word.to_lowercase())
            .collect();
        attachments.sort();
        attachments.dedup();
        Some(Filter {
            freshclam: filter.signatures == Signatures::Freshclam,
            attachments,
            outgoing_per_hour: filter.outgoing_per_hour,
            authentication: cluster.authenticates(),
            trusted_sealers: sealers(cluster),
            longest: (u64::from(cluster.mail.message_size_mib) << 20) + HEADERS,
        })
    }
}

/// Each once, in small letters, as rspamd compares them.
fn sealers(cluster: &Cluster) -> Vec<String> {
    let authentication = cluster
        .filter
        .as_ref()
        .and_then(|filter| filter.authentication.as_ref());
    let sealers = authentication.into_iter().flat_map(|found| &found.trusted_sealers);
    let sealers: std::collections::BTreeSet<String> = sealers.map(|domain| domain.to_lowercase()).collect();
    sealers.into_iter().collect()
}
