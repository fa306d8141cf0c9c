//! The real cluster: machines, the network they share, and the clients that the harness puts on it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio_rustls::rustls::ClientConfig;

use super::address::Addresses;
use super::elsewhere::Elsewhere;
use super::process::peak_memory;
use super::release::Release;
use super::{Node, RunDir, ailment};
use crate::fault::{self, Fault, Receipt};
use crate::fleet::{
    Delivery, Departure, Door, ExecOutput, Fleet, FleetError, FoundMail, Mail, MailSession, NodeInfo,
    ReplicationStatus, Role, Topology, Vantage,
};
use crate::guest::GuestError;
use crate::lan::Lan;
use crate::lan::name_server::NameServer;
use crate::lan::zones::Zones;
use crate::probe::dial::{Dial, DialError};
use crate::probe::exec::{Exec, ExecError};
use crate::probe::smtp::{MxHost, Sender, StartTls};
use crate::probe::{imap, imap_session, queue, smtp, sql, webmail};
use crate::record::Outcome;
use crate::report::{Facts, Pace};
use crate::restore::Point;
use crate::switch::Switch;
use crate::tools::Qemu;

/// How long a question to a node through its guest agent may take with hardware virtualisation.
const ASK: Duration = Duration::from_secs(20);

/// How long a port is knocked at before its silence is believed. A kernel answers at once even where its programs are
/// slow, so this is not stretched: open doors of emulated machines were seen to answer within 0.1 s.
const KNOCK: Duration = Duration::from_secs(5);

/// A cluster of QEMU machines.
pub struct QemuFleet {
    pub(super) topology: Topology,
    /// Passwords of the accounts, by address.
    pub(super) passwords: BTreeMap<String, String>,
    /// What runs its machines and makes their disks.
    pub(super) qemu: Qemu,
    /// What its files are made of.
    pub(super) release: Release,
    /// Trusts the cluster's authority and nobody else.
    pub(super) trusting: Arc<ClientConfig>,
    /// Believes anybody, as servers do that encrypt when they can (RFC 7435).
    pub(super) opportunistic: Arc<ClientConfig>,
    pub(super) nodes: BTreeMap<String, Arc<Node>>,
    pub(super) switch: Switch,
    pub(super) lan: Lan,
    /// The cluster's zones, and those of others.
    pub(super) zones: Arc<Zones>,
    /// Who is not of the cluster.
    pub(super) elsewhere: Elsewhere,
    /// Answers the machines' questions for as long as they run.
    #[expect(dead_code, reason = "it ends when it is dropped")]
    pub(super) names: NameServer,
    pub(super) addresses: Addresses,
    pub(super) slowness: f64,
    /// What reports say of this cluster.
    pub(super) facts: Facts,
    /// Measured once the machines are warm.
    pub(super) pace: OnceLock<Pace>,
    /// The restore point that it goes on from; it may not be removed meanwhile.
    pub(super) point: Option<Point>,
    /// Sockets, disks and consoles; goes last, after the machines.
    pub(super) run_dir: RunDir,
}

impl QemuFleet {
    pub(super) fn node(&self, name: &str) -> Result<&Arc<Node>, FleetError> {
        self.nodes
            .get(name)
            .ok_or_else(|| error(name, "find the machine", "no machine has this name"))
    }

    /// Whether both mail nodes have one mail store, of which one is the writer.
    pub(super) fn has_store(&self) -> bool {
        self.topology.delivery == Delivery::Store
    }

    pub(super) fn stretch(&self, limit: Duration) -> Duration {
        limit.mul_f64(self.slowness)
    }

    pub(super) fn info(&self, name: &str) -> Result<&NodeInfo, FleetError> {
        let found = self.topology.nodes.iter().find(|info| info.name == name);
        found.ok_or_else(|| error(name, "find the node", "no node has this name"))
    }

    pub(super) fn password(&self, user: &str) -> Result<&str, FleetError> {
        let found = self.passwords.get(user).map(String::as_str);
        found.ok_or_else(|| error("cluster", &format!("log in as {user}"), "the account is not described"))
    }

    fn standpoint(&self, vantage: Vantage) -> Ipv4Addr {
        match vantage {
            Vantage::Outside => self.addresses.client,
            Vantage::Inside => self.addresses.inside,
        }
    }

    /// Where webmail is: what its name stands for in the generated zone.
    pub(super) fn webmail_address(&self) -> Result<SocketAddrV4, FleetError> {
        let host = &self.topology.webmail_host;
        let address = self.zones.address(host);
        let address =
            address.ok_or_else(|| error("cluster", &format!("look up {host}"), "the zone has no such name"))?;
        Ok(SocketAddrV4::new(address, 443))
    }

    /// Webmail as a browser finds it that this node served before, if one is named.
    pub(super) fn webmail<'a>(&'a self, node: Option<&'a str>) -> Result<webmail::Site<'a>, FleetError> {
        Ok(webmail::Site {
            host: &self.topology.webmail_host,
            address: self.webmail_address()?,
            tls: self.trusting.clone(),
            node,
        })
    }

    /// A webmail log-in through the load balancer, by a browser that this node served before if one is named.
    pub(super) async fn log_in(&self, user: &str, node: Option<&str>, deadline: Duration) -> Outcome {
        let (site, password) = match (self.webmail(node), self.password(user)) {
            (Ok(site), Ok(password)) => (site, password),
            (Err(error), _) | (_, Err(error)) => {
                return Outcome::Fail {
                    reason: error.to_string(),
                };
            }
        };
        webmail::log_in(&self.lan, self.addresses.client, &site, user, password, deadline)
            .await
            .into()
    }

    pub(super) async fn ask(&self, node: &str, what: &str, argv: &[String]) -> Result<String, FleetError> {
        let output = self.exec(node, argv, self.stretch(ASK)).await?;
        match output.status {
            0 => Ok(output.stdout),
            status => Err(error(node, what, &format!("status {status}: {}", output.stderr.trim()))),
        }
    }

    pub(super) fn commands(&self, node: &str) -> Result<Commands, FleetError> {
        Ok(Commands(self.node(node)?.clone()))
    }

    async fn ailments_of(&self, node: &NodeInfo) -> Vec<String> {
        let mut units = ailment::services(node.role).to_vec();
        if self.has_store() && node.role == Role::Mail {
            units.push("cluster-store");
        }
        if self.topology.virtual_address.is_some() && node.role == Role::LoadBalancer {
            units.push("keepalived");
        }
        let mut found = match self
            .exec(&node.name, &ailment::is_active_argv(&units), self.stretch(ASK))
            .await
        {
            Ok(output) => ailment::inactive(&units, &output.stdout),
            Err(error) => return vec![error.to_string()],
        };
        match node.role {
            Role::Mail => match self.replication_status(&node.name).await {
                Ok(status) if status.io_running && status.sql_running => {}
                Ok(status) if status.error.is_empty() => {
                    found.push("replication from the peer does not run yet".into())
                }
                Ok(status) => found.push(format!("replication from the peer stands: {}", status.error)),
                Err(error) => found.push(error.to_string()),
            },
            Role::LoadBalancer => {
                match self
                    .ask(&node.name, "ask HAProxy for its servers", &ailment::haproxy_argv())
                    .await
                {
                    Ok(csv) if self.has_store() => found.extend(ailment::not_one_up(&csv)),
                    Ok(csv) => found.extend(ailment::servers_down(&csv)),
                    Err(error) => found.push(error.to_string()),
                }
            }
            Role::Gateway => {}
        }
        found
            .into_iter()
            .map(|ailment| format!("{}: {ailment}", node.name))
            .collect()
    }
}

/// Names the node that served instead of the name that its MX record has for it.
fn by_node(topology: &Topology, outcome: Outcome) -> Outcome {
    let Outcome::Ok { served_by: Some(host) } = outcome else {
        return outcome;
    };
    let label = host.split('.').next().unwrap_or_default();
    let node = topology.nodes.iter().find(|node| node.name == label);
    let served_by = Some(node.map_or(host.clone(), |node| node.name.clone()));
    Outcome::Ok { served_by }
}

pub(super) fn error(node: &str, what: &str, reason: &str) -> FleetError {
    FleetError {
        node: node.to_owned(),
        what: what.to_owned(),
        reason: reason.to_owned(),
    }
}

fn told(node: &str, what: &str) -> impl FnOnce(&dyn std::fmt::Display) -> FleetError {
    move |reason| error(node, what, &reason.to_string())
}

/// Commands on a node, as the SQL client needs them.
pub(super) struct Commands(Arc<Node>);

#[async_trait]
impl Exec for Commands {
    async fn exec(&self, argv: &[String], stdin: &[u8], deadline: Duration) -> Result<ExecOutput, ExecError> {
        let agent = self.0.agent();
        // The agent answers for the command itself; before it answers at all, nothing can have run.
        if let Err(error) = agent.ping(deadline).await {
            return Err(ExecError::NotStarted(error.to_string()));
        }
        let stdin = (!stdin.is_empty()).then_some(stdin);
        agent
            .exec(argv, stdin, deadline)
            .await
            .map_err(|error| ExecError::Unfinished(error.to_string()))
    }
}

#[async_trait]
impl Fleet for QemuFleet {
    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn facts(&self) -> Facts {
        let peaks = self
            .nodes
            .iter()
            .filter_map(|(name, node)| Some((name.clone(), peak_memory(node.machine().pid())?)));
        Facts {
            memory: peaks.collect(),
            pace: self.pace.get().copied(),
            ..self.facts.clone()
        }
    }

    fn slowness(&self) -> f64 {
        self.slowness
    }

    async fn pace(&self) -> Option<Pace> {
        let emulated = self.facts.accelerator.as_ref().is_some_and(|used| used.name == "tcg");
        if emulated { self.gauge().await } else { None }
    }

    async fn send_mail(&self, mail: &Mail, deadline: Duration) -> Outcome {
        let domain = mail.to.rsplit_once('@').map_or("", |(_, domain)| domain);
        let hosts: Vec<MxHost> = self
            .zones
            .mx(domain)
            .into_iter()
            .map(|(preference, name, address)| MxHost {
                preference,
                name,
                address,
            })
            .collect();
        let sender = Sender {
            dial: &self.lan,
            from: self.addresses.sender,
            hello: "mx.sender.example".to_owned(),
            tls: StartTls::Offered(self.opportunistic.clone()),
            port: 25,
            connect_limit: KNOCK,
        };
        by_node(&self.topology, sender.send(&hosts, mail, deadline).await.into())
    }

    async fn webmail_login(&self, user: &str, deadline: Duration) -> Outcome {
        self.log_in(user, None, deadline).await
    }

    async fn imap_list(&self, node: &str, user: &str, deadline: Duration) -> Result<Vec<FoundMail>, FleetError> {
        let info = self.info(node)?;
        let host = format!("{node}.{}", self.topology.domain);
        let account = imap::ImapAccount {
            host: &host,
            address: SocketAddrV4::new(info.address, 993),
            tls: self.trusting.clone(),
            user,
            password: self.password(user)?,
        };
        let holdings = imap::list(&self.lan, self.addresses.client, &account, deadline).await;
        holdings
            .map(|holdings| holdings.inbox)
            .map_err(|e| told(node, "list the inbox by IMAP")(&e))
    }

    async fn program_lists(&self, balancer: &str, user: &str, deadline: Duration) -> Outcome {
        let outcome = self.list_through(balancer, user, deadline).await;
        by_node(&self.topology, outcome)
    }

    async fn program_submits(&self, balancer: &str, port: u16, mail: &Mail, deadline: Duration) -> Outcome {
        let outcome = self.submit_through(balancer, port, mail, deadline).await;
        by_node(&self.topology, outcome)
    }

    async fn imap_open<'a>(
        &'a self,
        node: &str,
        user: &str,
        deadline: Duration,
    ) -> Result<Box<dyn MailSession + 'a>, FleetError> {
        let host = format!("{node}.{}", self.topology.domain);
        let account = imap::ImapAccount {
            host: &host,
            address: SocketAddrV4::new(self.info(node)?.address, 993),
            tls: self.trusting.clone(),
            user,
            password: self.password(user)?,
        };
        let opened = imap_session::open(&self.lan, self.addresses.client, &account, deadline).await;
        let opened = opened.map_err(|e| told(node, "log in by IMAP")(&e))?;
        Ok(Box::new(opened))
    }

    async fn program_opens<'a>(
        &'a self,
        balancer: &str,
        user: &str,
        deadline: Duration,
    ) -> Result<(String, Box<dyn MailSession + 'a>), FleetError> {
        let opened = self.open_through(balancer, user, deadline).await?;
        let greeted = opened.server().unwrap_or(balancer);
        let label = greeted.split('.').next().unwrap_or_default();
        let node = self.topology.nodes.iter().find(|node| node.name == label);
        let node = node.map_or(greeted, |node| &node.name).to_owned();
        Ok((node, Box::new(opened)))
    }

    async fn sql_insert(&self, node: &str, database: &str, row: &str, deadline: Duration) -> Outcome {
        match self.commands(node) {
            Ok(commands) => {
                sql::Database { exec: &commands, node }
                    .insert(database, row, deadline)
                    .await
            }
            Err(error) => Outcome::Fail {
                reason: error.to_string(),
            },
        }
    }

    async fn sql_rows(&self, node: &str, database: &str) -> Result<Vec<String>, FleetError> {
        let commands = self.commands(node)?;
        let marks = sql::Database { exec: &commands, node }
            .marks(database, self.stretch(ASK))
            .await;
        marks.map_err(|e| told(node, &format!("read the rows of {database}"))(&e))
    }

    async fn checksums(&self, node: &str, database: &str) -> Result<Vec<(String, String)>, FleetError> {
        let commands = self.commands(node)?;
        let sums = sql::Database { exec: &commands, node }
            .checksums(&[database], self.stretch(ASK))
            .await;
        let sums = sums.map_err(|e| told(node, &format!("checksum the tables of {database}"))(&e))?;
        Ok(sums.into_iter().map(|sum| (sum.table, sum.sum)).collect())
    }

    async fn sql_query(&self, node: &str, database: &str, query: &str) -> Result<Vec<String>, FleetError> {
        let commands = self.commands(node)?;
        let rows = sql::Database { exec: &commands, node }
            .query(database, query, self.stretch(ASK))
            .await;
        rows.map_err(|e| told(node, &format!("query {database}"))(&e))
    }

    async fn replication_status(&self, node: &str) -> Result<ReplicationStatus, FleetError> {
        let commands = self.commands(node)?;
        let status = sql::Database { exec: &commands, node }
            .replication_status(self.stretch(ASK))
            .await;
        status.map_err(|e| told(node, "ask for the state of replication")(&e))
    }

    async fn queue(&self, node: &str) -> Result<Vec<String>, FleetError> {
        let what = "look at the mail queue";
        let text = self.ask(node, what, &queue::COMMAND.map(str::to_owned)).await?;
        let waiting = queue::parse(&text).map_err(|e| told(node, what)(&e))?;
        Ok(waiting.into_iter().map(|waiting| waiting.recipient).collect())
    }

    async fn knock(&self, from: Vantage, node: &str, port: u16) -> Result<Door, FleetError> {
        let to = SocketAddrV4::new(self.info(node)?.address, port);
        match self.lan.dial(self.standpoint(from), to, KNOCK).await {
            Ok(_) => Ok(Door::Open),
            Err(DialError::Refused) => Ok(Door::Refused),
            Err(DialError::Silent(_)) => Ok(Door::Silent),
            Err(DialError::Other(reason)) => Err(error(node, &format!("knock at port {port}"), &reason)),
        }
    }

    async fn smtp_dialogue(
        &self,
        from: Vantage,
        node: &str,
        port: u16,
        lines: &[String],
    ) -> Result<Vec<String>, FleetError> {
        let to = SocketAddrV4::new(self.info(node)?.address, port);
        let replies = smtp::dialogue(&self.lan, self.standpoint(from), to, lines, self.stretch(ASK)).await;
        replies.map_err(|e| told(node, &format!("speak SMTP to port {port}"))(&e))
    }

    async fn exec(&self, node: &str, argv: &[String], deadline: Duration) -> Result<ExecOutput, FleetError> {
        let output: Result<ExecOutput, GuestError> = self.node(node)?.agent().exec(argv, None, deadline).await;
        Ok(output?)
    }

    fn without_power(&self) -> Vec<(String, String)> {
        let ended = |name: &String, node: &Node| Some((name.clone(), node.machine().exit().ended()?.to_string()));
        self.nodes.iter().filter_map(|(name, node)| ended(name, node)).collect()
    }

    fn terminal(&self, node: &str) -> Result<PathBuf, FleetError> {
        Ok(self.node(node)?.machine().spec().terminal_socket())
    }

    async fn inject(&self, fault: &Fault) -> Result<Receipt, FleetError> {
        match fault {
            Fault::LinkCut { from, to, both_ways } => self.link(from, to, *both_ways, true).await,
            _ => fault::inject(self.node(fault.node())?, &self.qemu, fault).await,
        }
    }

    async fn heal(&self, fault: &Fault) -> Result<Receipt, FleetError> {
        match fault {
            Fault::LinkCut { from, to, both_ways } => self.link(from, to, *both_ways, false).await,
            _ => fault::heal(self.node(fault.node())?, fault).await,
        }
    }

    async fn ailments(&self) -> Vec<String> {
        let answers = self.topology.nodes.iter().map(|node| self.ailments_of(node));
        let mut found = futures::future::join_all(answers).await.concat();
        if self.has_store() {
            found.extend(self.store_ailments().await);
        }
        found.extend(self.address_ailment().await);
        found
    }

    async fn has_address(&self, node: &str) -> Result<bool, FleetError> {
        self.holds_address(node).await
    }

    async fn mail_leaves(&self, balancer: &str, mail: &Mail, deadline: Duration) -> Result<Departure, FleetError> {
        self.sends_away(balancer, mail, deadline).await
    }

    async fn mail_returns(&self, mail: &Mail, deadline: Duration) -> (Outcome, Result<Departure, FleetError>) {
        self.forwards(mail, deadline).await
    }

    async fn rotate_secrets(&self, words: &[String]) -> Result<String, FleetError> {
        self.rotate(words).await
    }

    async fn lay_out_rendered(&self, node: &str, folder: &str) -> Result<String, FleetError> {
        self.lay_out(node, folder).await
    }

    async fn collect(&self, dir: &Path) -> Result<(), FleetError> {
        for (name, node) in &self.nodes {
            let collected = node.collect(&dir.join(name), self.stretch(ASK)).await;
            collected.map_err(|e| told(name, "collect console and journal")(&e))?;
        }
        Ok(())
    }

    async fn shut_down(&self) {
        for node in self.nodes.values() {
            // A machine that has ended already is what is wanted.
            let _ = node.machine().kill().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Topology {
        let text = include_str!("../../../../generator/examples/pair.toml");
        let (cluster, _) = generator::diag::parse::<generator::spec::Cluster>(text).expect("the example is sound");
        (&cluster).into()
    }

    fn served(by: &str) -> Outcome {
        Outcome::Ok {
            served_by: Some(by.to_owned()),
        }
    }

    #[test]
    fn a_message_was_taken_by_a_node_not_by_a_host_name() {
        assert_eq!(by_node(&pair(), served("gateway.example.org")), served("gateway"));
        assert_eq!(
            by_node(&pair(), served("mx.elsewhere.example")),
            served("mx.elsewhere.example")
        );
    }
}
