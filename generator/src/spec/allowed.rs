//! A port that the nodes' firewalls let in besides those of the cluster's own services.

use std::num::NonZeroU16;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Role;

/// A TCP port of every node of a role, and who may reach it: monitoring, a backup server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// The machines.
    pub role: Role,
    /// The TCP port.
    pub port: NonZeroU16,
    /// The network or host that may reach it, e.g. `192.168.1.5/32`.
    #[schemars(with = "String")]
    pub from: Ipv4Net,
}
