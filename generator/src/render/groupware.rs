//! SOGo and amavisd as templates see them.

use serde::Serialize;

use crate::spec::Cluster;

/// What templates see of SOGo.
#[derive(Serialize)]
pub(super) struct Sogo {
    time_zone: String,
}

impl Sogo {
    /// Nothing where it does not run.
    pub(super) fn new(cluster: &Cluster) -> Option<Sogo> {
        let sogo = cluster.sogo.as_ref()?;
        Some(Sogo {
            time_zone: sogo.time_zone.clone(),
        })
    }
}

/// What templates see of amavisd.
#[derive(Serialize)]
pub(super) struct Amavisd {
    network_tests: bool,
    quarantine_days: u32,
}

impl Amavisd {
    /// Nothing where it does not run.
    pub(super) fn new(cluster: &Cluster) -> Option<Amavisd> {
        let amavisd = cluster.amavisd.as_ref()?;
        Some(Amavisd {
            network_tests: amavisd.network_tests,
            quarantine_days: amavisd.quarantine_days,
        })
    }
}
