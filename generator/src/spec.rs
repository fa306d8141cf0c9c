//! The cluster description (`cluster.toml`) as strict types: an unknown key anywhere is an error.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::Deserialize;

mod access;
mod allowed;
mod authenticity;
mod election;
mod filter;
mod groupware;
mod load;
mod monitoring;
mod published;
mod silence;
mod span;
mod storage;
mod store;
mod target;
mod tls;
mod virtual_address;

pub use access::{Access, DOORS, Door, Encryption};
pub use allowed::Allowed;
pub use authenticity::{Authenticity, DmarcPolicy, TransportPolicy};
pub use election::{Election, Engine, LOOKS, SOFTWARE_WATCHDOG};
pub use filter::{Authentication, Filter, Signatures};
pub use groupware::{Amavisd, Sogo};
pub use load::{LoadError, Loaded};
pub use monitoring::Monitoring;
pub use published::{Publication, Published};
pub use silence::Silence;
pub use span::Span;
pub use storage::{Disks, Existing, Filesystem, Storage, Synchronised};
pub use store::{Layout, PeerMissing, Store};
pub use target::{MAIL_NODES, Pmg, Setting, Target};
pub use tls::{Tls, TlsProfile};
pub use virtual_address::VirtualAddress;

/// The six databases that the cluster may replicate, in the order in which they are created.
pub const KNOWN_DATABASES: [&str; 6] = ["amavisd", "iredadmin", "iredapd", "roundcubemail", "sogo", "vmail"];

/// A whole cluster, as the operator describes it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Identity of the cluster.
    pub cluster: Identity,
    /// The network that the nodes share.
    pub network: Network,
    /// The machines.
    #[serde(rename = "node")]
    pub nodes: Vec<Node>,
    /// Webmail: the name users type, and how the load balancer watches the nodes.
    pub webmail: Webmail,
    /// How mail programs reach the cluster; left out, they do not.
    #[serde(default)]
    pub access: Option<Access>,
    /// Which clients the cluster's TLS is made for.
    #[serde(default)]
    pub tls: Tls,
    /// How receivers tell the cluster's mail from forgeries; left out, it is not signed.
    #[serde(default)]
    pub authenticity: Option<Authenticity>,
    /// What the gateways look at before they take mail in; left out, nothing.
    #[serde(default)]
    pub filter: Option<Filter>,
    /// Calendars and address books on the mail nodes; left out, there are none.
    #[serde(default)]
    pub sogo: Option<Sogo>,
    /// What looks at mail on the mail nodes; left out, nothing does there.
    #[serde(default)]
    pub amavisd: Option<Amavisd>,
    /// Further settings of gateways that are Proxmox Mail Gateways.
    #[serde(default)]
    pub pmg: Option<Pmg>,
    /// Mail accounts to create at the first installation; more are added in the `vmail` database later.
    #[serde(default, rename = "mailbox")]
    pub mailboxes: Vec<Mailbox>,
    /// The replicated databases.
    #[serde(default)]
    pub database: Database,
    /// How the gateway (or, without one, the nodes) treats mail in transit.
    #[serde(default)]
    pub mail: Mail,
    /// Additional DNS records of the zone.
    #[serde(default)]
    pub dns: Dns,
    /// What mail lies on; unstated, nothing is said about it. With `[store]`, that says it.
    #[serde(default)]
    pub storage: Option<Storage>,
    /// The mail store on ZFS; unstated, mailboxes are local to each mail node.
    #[serde(default)]
    pub store: Option<Store>,
    /// Who decides which mail node is the writer of the mail store.
    #[serde(default, rename = "role")]
    pub election: Election,
    /// Who reads figures for Prometheus; left out, nothing is exported.
    #[serde(default)]
    pub monitoring: Option<Monitoring>,
    /// Findings of the check that are accepted.
    #[serde(default, rename = "silence")]
    pub silences: Vec<Silence>,
}

/// Name and mail domains of the cluster.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// A short name: letters, digits and hyphens.
    pub name: String,
    /// The mail domain, without a final dot, e.g. `example.org`. Node names get it as their suffix.
    pub domain: String,
    /// Further mail domains.
    #[serde(default)]
    pub more_domains: Vec<String>,
}

/// The network that the nodes share.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The subnet of every node address, e.g. `192.168.1.0/24`.
    #[schemars(with = "String")]
    pub subnet: Ipv4Net,
    /// The router to the outside.
    pub router: Ipv4Addr,
    /// The address that clients know of two load balancers: webmail's name and the one for mail programs lead to it, and
    /// whichever of the two is well has it (VRRP). A free address of the subnet, beside the balancers' own.
    #[serde(default)]
    pub virtual_address: Option<Ipv4Addr>,
    /// Hosts or networks from which administrators reach SSH; empty: the subnet.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub admin_from: Vec<Ipv4Net>,
    /// Time servers (NTP), names or addresses. Given, each node's `systemd-timesyncd` follows them; not given, keeping the
    /// clocks is left to the operator.
    #[serde(default)]
    pub time_servers: Vec<String>,
    /// Further ports that the nodes' firewalls let in.
    #[serde(default, rename = "allow")]
    pub allowed: Vec<Allowed>,
}

/// One machine.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Short host name, unique: `mail1`.
    pub name: String,
    /// What the machine does.
    pub role: Role,
    /// Its address within the subnet, unique.
    pub address: Ipv4Addr,
    /// Exactly one mail node is the primary: webmail's first choice, and the first next hop of mail.
    #[serde(default)]
    pub primary: bool,
    /// What is installed on it: `debian-13`, for a gateway also `pmg`, for mail nodes also `iredmail`.
    #[serde(default)]
    pub target: Target,
    /// A mail node's own disks for the pool of the mail store, where they differ from those in `[store]`.
    #[serde(default)]
    pub disks: Vec<String>,
}

/// What a machine does. The kebab-case name is also the name of its templates folder and its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Webmail, Postfix, Dovecot, MariaDB.
    Mail,
    /// Postfix in front of the mail nodes: the public MX.
    Gateway,
    /// HAProxy in front of webmail.
    LoadBalancer,
}

impl Role {
    /// The role's name as it is written in files: `mail`, `gateway`, `load-balancer`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Mail => "mail",
            Role::Gateway => "gateway",
            Role::LoadBalancer => "load-balancer",
        }
    }
}

/// Webmail and its load balancing.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webmail {
    /// The name users type, without a final dot: `webmail.example.org`.
    pub host: String,
    /// How soon a dead node is noticed.
    #[serde(default)]
    pub check: CheckProfile,
    /// Raw additional settings of HAProxy's backend `webmail`, by keyword: `"timeout server" = "90s"`.
    #[serde(default)]
    pub options: std::collections::BTreeMap<String, String>,
}

/// The health-check profile of the load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckProfile {
    /// `inter 3s fall 3 rise 2`, the values of the source document.
    #[default]
    Classic,
    /// `inter 1s fastinter 200ms fall 2` with retries on the other node.
    Fast,
}

/// A mail account.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mailbox {
    /// Full address: `alice@example.org`. Its password comes from the secrets.
    pub address: String,
    /// The person's name.
    #[serde(default)]
    pub name: String,
    /// Quota in mebibytes; 0 is unlimited.
    #[serde(default)]
    pub quota_mib: u64,
}

/// The replicated databases.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// Names out of `amavisd`, `iredadmin`, `iredapd`, `roundcubemail`, `sogo` and `vmail`; unset, all of them.
    pub replicate: Vec<String>,
    /// The host part of the replication account. Unset, it is the peer's address, which is right; anything else is
    /// checked (`%` is refused).
    pub replication_host: Option<String>,
    /// Data that a mail node holds before the cluster is made.
    pub existing: Option<Existing>,
    /// Raw additional options of the `[mariadbd]` section.
    pub options: std::collections::BTreeMap<String, String>,
}

impl Default for Database {
    fn default() -> Self {
        Database {
            replicate: KNOWN_DATABASES.map(str::to_owned).to_vec(),
            replication_host: None,
            existing: None,
            options: Default::default(),
        }
    }
}

/// Mail in transit.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mail {
    /// Days for which undelivered mail waits in a queue (`maximal_queue_lifetime`, `bounce_queue_lifetime`).
    pub queue_days: u32,
    /// The largest accepted message, mebibytes.
    pub message_size_mib: u32,
    /// Raw additional options of the gateway's `main.cf` (or, without a gateway, of the mail nodes').
    pub options: std::collections::BTreeMap<String, String>,
}

impl Default for Mail {
    fn default() -> Self {
        Mail {
            queue_days: 5,
            message_size_mib: 25,
            options: Default::default(),
        }
    }
}

/// Additional DNS records.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// Extra records of the zone.
    #[serde(rename = "record")]
    pub records: Vec<DnsRecord>,
}

/// One DNS record in master-file terms.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsRecord {
    /// Owner: `@` or a name relative to the domain, or absolute with a final dot.
    pub name: String,
    /// Record type: `MX`, `A`, `TXT`, `CNAME`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Record data as in a zone file, e.g. `10 mail.example.org.`; names end with a dot.
    pub data: String,
}

impl Cluster {
    /// The mail nodes in the order of the description, the primary first.
    pub fn mail_nodes(&self) -> Vec<&Node> {
        let mut nodes: Vec<&Node> = self.nodes.iter().filter(|n| n.role == Role::Mail).collect();
        nodes.sort_by_key(|n| !n.primary);
        nodes
    }

    /// The nodes of one role, in the order of the description.
    pub fn of_role(&self, role: Role) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |n| n.role == role)
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.name == name)
    }

    /// Fully qualified name of a node, without a final dot.
    pub fn fqdn(&self, node: &Node) -> String {
        format!("{}.{}", node.name, self.cluster.domain)
    }

    /// Hosts and networks that read the figures of the mail store's agents.
    pub fn read_store(&self) -> Vec<Ipv4Net> {
        let named = self.store.iter().flat_map(|store| &store.metrics_from);
        let monitoring = self.monitoring.iter().flat_map(|monitoring| &monitoring.from);
        let mut all: Vec<Ipv4Net> = named.chain(monitoring).map(Ipv4Net::trunc).collect();
        all.sort();
        all.dedup();
        all
    }

    /// All mail domains, the main one first.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.cluster.domain.as_str()).chain(self.cluster.more_domains.iter().map(String::as_str))
    }
}
