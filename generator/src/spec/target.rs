//! What the files of a node are for: Debian with the packages of its role, or a product that brings its own way of being
//! configured.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Cluster, Node, Role};

/// What is installed on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Debian 13 with the packages that the role needs; the node's files are all there is to its configuration.
    #[default]
    #[serde(rename = "debian-13")]
    Debian13,
    /// Proxmox Mail Gateway 9, for gateways: its own files, of which it makes those of Postfix and its filters itself. Its
    /// firewall, and who may log in to it, stay with its administrator.
    Pmg,
    /// iRedMail on Debian 13 with MariaDB, for mail nodes: an overlay of an installation that is there. Accounts stay where
    /// they are administered (iRedAdmin); what the cluster needs is put beside iRedMail's files, or into them.
    Iredmail,
}

impl Target {
    /// As it is written in a description.
    pub fn as_str(self) -> &'static str {
        match self {
            Target::Debian13 => "debian-13",
            Target::Pmg => "pmg",
            Target::Iredmail => "iredmail",
        }
    }
}

/// Settings of every Proxmox Mail Gateway beyond those that follow from the rest of the description, as `pmg.conf` has them.
/// A gateway's `pmg.conf` is written whole: what was set in its web interface belongs here, or is gone (the installation
/// shows the difference first, and keeps the former file).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pmg {
    /// Section `admin`, e.g. `email = "postmaster@example.org"`.
    pub admin: BTreeMap<String, Setting>,
    /// Section `mail`, e.g. `greylist = false`.
    pub mail: BTreeMap<String, Setting>,
    /// Section `spam`.
    pub spam: BTreeMap<String, Setting>,
    /// Section `spamquar`.
    pub spamquar: BTreeMap<String, Setting>,
    /// Section `virusquar`.
    pub virusquar: BTreeMap<String, Setting>,
    /// Section `clamav`.
    pub clamav: BTreeMap<String, Setting>,
}

impl Pmg {
    /// The sections by name.
    pub fn sections(&self) -> [(&'static str, &BTreeMap<String, Setting>); 6] {
        [
            ("admin", &self.admin),
            ("clamav", &self.clamav),
            ("mail", &self.mail),
            ("spam", &self.spam),
            ("spamquar", &self.spamquar),
            ("virusquar", &self.virusquar),
        ]
    }
}

/// A value in `pmg.conf`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Setting {
    /// Written as 1 or 0.
    Switch(bool),
    /// A whole number.
    Number(i64),
    /// One line of text.
    Text(String),
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Setting::Switch(on) => write!(f, "{}", u8::from(*on)),
            Setting::Number(number) => write!(f, "{number}"),
            Setting::Text(text) => write!(f, "{text}"),
        }
    }
}

impl Cluster {
    /// The gateways that are Proxmox Mail Gateways.
    pub fn pmg_gateways(&self) -> impl Iterator<Item = &Node> {
        self.of_role(Role::Gateway).filter(|node| node.target == Target::Pmg)
    }

    /// The mail nodes that are iRedMail's: both, or none.
    pub fn iredmail_nodes(&self) -> impl Iterator<Item = &Node> {
        self.of_role(Role::Mail).filter(|node| node.target == Target::Iredmail)
    }

    /// The name under which Proxmox Mail Gateways find the mail nodes, the primary first: it has MX records, for PMG
    /// knows one next hop, by address or by MX (`relay` and `relaynomx` of pmg.conf), and no list of two.
    pub fn mail_nodes_name(&self) -> String {
        format!("{MAIL_NODES}.{}", self.cluster.domain)
    }
}

/// The first label of the name of all mail nodes.
pub const MAIL_NODES: &str = "mail-nodes";
