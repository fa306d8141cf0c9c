//! Who reads the cluster's figures, for Prometheus and its alerts.

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::Deserialize;

/// Figures for Prometheus. With this section every node runs Debian's exporters and tells of its queue, certificates and
/// units, HAProxy and the mail store's agents are asked, too, and `monitoring/` in the output holds what Prometheus needs to
/// know: whom to ask, and when to wake somebody. Left out, nothing is exported.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Monitoring {
    /// Hosts or networks from which Prometheus asks: `192.168.1.5/32`. At least one.
    #[schemars(with = "Vec<String>")]
    pub from: Vec<Ipv4Net>,
}
