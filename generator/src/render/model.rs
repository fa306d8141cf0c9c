//! What templates see: plain values, made from the description and the secrets, nothing computed in a template.

use std::collections::BTreeMap;

use serde::Serialize;

use super::access::Access;
use super::authenticity::Signing;
use super::election::Election;
use super::filter::Filter;
use super::pmg::Pmg;
use super::store::Store;
use super::tls::Tls;
use super::virtual_address::VirtualAddress;
use super::{RenderError, Service, services};
use crate::secrets::{Certificate, Secrets};
use crate::spec::{Amavisd, CheckProfile, Cluster, Node, Role, Sogo};

/// Everything a template of one node may use.
#[derive(Serialize)]
pub(super) struct Model {
    cluster: Identity,
    network: Network,
    /// Further open ports of this node.
    allowed: Vec<Allowed>,
    node: Machine,
    /// What runs on this node.
    services: Vec<Service>,
    /// The other mail node; on machines of other roles the primary.
    peer: Machine,
    nodes: Vec<Machine>,
    mail_nodes: Vec<Machine>,
    gateways: Vec<Machine>,
    balancers: Vec<Machine>,
    /// The address that moves between them; nothing where none does.
    virtual_address: Option<VirtualAddress>,
    mailboxes: Vec<Account>,
    database: Database,
    mail: Mail,
    webmail: Webmail,
    store: Option<Store>,
    /// The program that decides who is the writer; nothing where a person does.
    election: Option<Election>,
    /// The mail nodes in the order of the description, in which they are numbered for good.
    voters: Vec<Machine>,
    access: Access,
    /// What the load balancers publish under names of its own.
    published: Vec<Published>,
    /// Networks from which Prometheus asks; nothing where none does.
    monitoring: Option<Vec<String>>,
    tls: Tls,
    /// Nothing where mail is not signed.
    signing: Option<Signing>,
    filter: Option<Filter>,
    /// Nothing where it does not run.
    sogo: Option<Sogo>,
    /// Nothing where it does not run.
    amavisd: Option<Amavisd>,
    /// Whether somebody marks mail for the folder Junk.
    junk: bool,
    /// Nothing where no gateway is a Proxmox Mail Gateway.
    pmg: Option<Pmg>,
    secrets: Secret,
}

#[derive(Serialize)]
struct Identity {
    name: String,
    domain: String,
    domains: Vec<String>,
}

#[derive(Serialize)]
struct Network {
    subnet: String,
    router: String,
    admin_from: Vec<String>,
    time_servers: Vec<String>,
}

#[derive(Serialize)]
struct Allowed {
    from: String,
    port: u16,
}

/// Something that the load balancers publish.
#[derive(Serialize)]
struct Published {
    /// `mta-sts`, `autoconfig` or `autodiscover`.
    what: &'static str,
    host: String,
    domain: String,
}

#[derive(Serialize, Clone)]
pub(super) struct Machine {
    name: String,
    fqdn: String,
    address: String,
    role: &'static str,
    /// `debian-13`, `pmg` or `iredmail`.
    target: &'static str,
    primary: bool,
    /// 1 for the primary mail node, 2 for the other, 0 for machines of other roles: server id, GTID domain, offset.
    number: usize,
}

#[derive(Serialize)]
struct Account {
    address: String,
    domain: String,
    name: String,
    quota_mib: u64,
    hash: String,
}

#[derive(Serialize)]
struct Database {
    names: Vec<String>,
    replication_host: String,
    options: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Mail {
    queue_days: u32,
    /// How long it is known which messages were delivered, in seconds: a day longer than a queue keeps one.
    remembered: u64,
    message_size_mib: u32,
    message_size_bytes: u64,
    options: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Webmail {
    host: String,
    check: &'static str,
    options: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Secret {
    replication: String,
    /// The password that a rotation replaced and that is accepted still; empty if there is none.
    replication_former: String,
    database: BTreeMap<String, String>,
    roundcube_des_key: String,
    /// Empty where no program decides who is the writer.
    corosync_authkey: String,
    ca_certificate: String,
    certificate: String,
    key: String,
    /// What mail programs are shown; nothing where that is the node's own.
    programs: Option<Shown>,
}

/// A certificate chain and its key, PEM.
#[derive(Serialize)]
struct Shown {
    certificate: String,
    key: String,
}

impl Model {
    /// The model of one node.
    pub(super) fn new(cluster: &Cluster, secrets: &Secrets, node: &Node) -> Result<Model, RenderError> {
        let mail_nodes: Vec<Machine> = cluster
            .mail_nodes()
            .into_iter()
            .map(|other| Machine::new(cluster, other))
            .collect();
        let [first, second] = mail_nodes.as_slice() else {
            return Err(RenderError::Description(format!(
                "it needs two mail nodes, it has {}",
                mail_nodes.len()
            )));
        };
        let peer = if node.name == first.name {
            second.clone()
        } else {
            first.clone()
        };
        let of_role = |role| {
            cluster
                .of_role(role)
                .map(|other| Machine::new(cluster, other))
                .collect()
        };
        let missing = |what: &str| RenderError::Secret { what: what.to_owned() };
        let certificate = secrets
            .certificates
            .get(&node.name)
            .ok_or_else(|| missing(&node.name))?;
        let mailboxes = cluster
            .mailboxes
            .iter()
            .map(|mailbox| {
                let hash = secrets
                    .mailbox_hash(&mailbox.address)
                    .ok_or_else(|| missing(&mailbox.address))?;
                let domain = mailbox
                    .address
                    .rsplit_once('@')
                    .map_or("", |(_, domain)| domain)
                    .to_owned();
                Ok(Account {
                    address: mailbox.address.clone(),
                    domain,
                    name: mailbox.name.clone(),
                    quota_mib: mailbox.quota_mib,
                    hash,
                })
            })
            .collect::<Result<_, RenderError>>()?;
        let admin_from = match cluster.network.admin_from.as_slice() {
            [] => vec![cluster.network.subnet.trunc().to_string()],
            nets => nets.iter().map(ToString::to_string).collect(),
        };
        let signing = Signing::new(cluster, secrets)?;
        Ok(Model {
            cluster: Identity {
                name: cluster.cluster.name.clone(),
                domain: cluster.cluster.domain.clone(),
                domains: cluster.domains().map(str::to_owned).collect(),
            },
            network: Network {
                subnet: cluster.network.subnet.trunc().to_string(),
                router: cluster.network.router.to_string(),
                admin_from,
                time_servers: cluster.network.time_servers.clone(),
            },
            allowed: allowed(cluster, node.role),
            node: Machine::new(cluster, node),
            services: services(cluster, node),
            nodes: cluster.nodes.iter().map(|other| Machine::new(cluster, other)).collect(),
            gateways: of_role(Role::Gateway),
            balancers: of_role(Role::LoadBalancer),
            virtual_address: VirtualAddress::new(cluster, node),
            mailboxes,
            database: Database {
                names: cluster.database.replicate.clone(),
                replication_host: cluster
                    .database
                    .replication_host
                    .clone()
                    .unwrap_or_else(|| peer.address.clone()),
                options: cluster.database.options.clone(),
            },
            mail: Mail {
                queue_days: cluster.mail.queue_days,
                remembered: (u64::from(cluster.mail.queue_days) + 1) * 86_400,
                message_size_mib: cluster.mail.message_size_mib,
                message_size_bytes: u64::from(cluster.mail.message_size_mib) << 20,
                options: cluster.mail.options.clone(),
            },
            webmail: Webmail {
                host: cluster.webmail.host.clone(),
                check: match cluster.webmail.check {
                    CheckProfile::Classic => "classic",
                    CheckProfile::Fast => "fast",
                },
                options: cluster.webmail.options.clone(),
            },
            store: Store::new(cluster, node),
            election: Election::new(cluster, node)?,
            voters: of_role(Role::Mail),
            access: Access::new(cluster),
            published: published(cluster),
            monitoring: cluster.monitoring.as_ref().map(|monitoring| {
                let nets = monitoring.from.iter();
                nets.map(|net| net.trunc().to_string()).collect()
            }),
            tls: Tls::new(cluster.tls.profile),
            pmg: Pmg::new(cluster, signing.as_ref()),
            signing,
            filter: Filter::new(cluster),
            sogo: cluster.sogo.clone(),
            amavisd: cluster.amavisd.clone(),
            junk: cluster.marks_junk(),
            secrets: Secret {
                replication: secrets.replication_password.clone(),
                replication_former: secrets.previous.replication_password.clone().unwrap_or_default(),
                database: secrets.database_passwords.clone(),
                roundcube_des_key: secrets.roundcube_des_key.clone(),
                corosync_authkey: authkey(cluster, secrets)?,
                ca_certificate: secrets.trusted(),
                certificate: certificate.certificate.clone(),
                key: certificate.key.clone(),
                programs: for_programs(cluster, secrets).map(|shown| Shown {
                    certificate: shown.certificate.clone(),
                    key: shown.key.clone(),
                }),
            },
            peer,
            mail_nodes,
        })
    }
}

/// The certificate of its own that mail programs are shown; nothing where there is none or no program is let in.
pub(super) fn for_programs<'a>(cluster: &Cluster, secrets: &'a Secrets) -> Option<&'a Certificate> {
    let shown = secrets.programs_certificate.as_ref();
    shown.filter(|_| cluster.access.is_some())
}

/// The key of corosync, where a program decides.
fn authkey(cluster: &Cluster, secrets: &Secrets) -> Result<String, RenderError> {
    match &secrets.corosync_authkey {
        _ if !cluster.decides_itself() => Ok(String::new()),
        Some(key) => Ok(key.clone()),
        None => Err(RenderError::Secret {
            what: "corosync (`corosync_authkey`)".to_owned(),
        }),
    }
}

fn published(cluster: &Cluster) -> Vec<Published> {
    let all = cluster.published().into_iter();
    all.map(|published| Published {
        what: published.what.label(),
        host: published.host,
        domain: published.domain,
    })
    .collect()
}

fn allowed(cluster: &Cluster, role: Role) -> Vec<Allowed> {
    let all = cluster.network.allowed.iter().filter(|allowed| allowed.role == role);
    all.map(|allowed| Allowed {
        from: allowed.from.trunc().to_string(),
        port: allowed.port.get(),
    })
    .collect()
}

impl Machine {
    pub(super) fn new(cluster: &Cluster, node: &Node) -> Machine {
        let position = cluster.mail_nodes().iter().position(|other| other.name == node.name);
        Machine {
            name: node.name.clone(),
            fqdn: cluster.fqdn(node),
            address: node.address.to_string(),
            role: node.role.as_str(),
            target: node.target.as_str(),
            primary: node.primary,
            number: position.map_or(0, |index| index + 1),
        }
    }
}
