//! The load that runs beside the steps of a scenario for as long as it lasts.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::record::Service;
use crate::units::Span;

/// What clients do all the time. A service that is left out has no traffic.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Traffic {
    /// A foreign mail server hands over messages.
    pub mail: Option<MailTraffic>,
    /// Users log in to webmail.
    pub webmail: Option<WebmailTraffic>,
    /// Applications write rows.
    pub sql: Option<SqlTraffic>,
    /// Mail programs log in by IMAP and list the inbox.
    pub imap: Option<ImapTraffic>,
    /// Mail programs that keep what they know of their account, and work on it.
    #[serde(rename = "imap-client")]
    pub imap_client: Option<ImapClientTraffic>,
}

/// Messages from a foreign mail server that keeps a queue of its own and tries again.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MailTraffic {
    /// Time between two messages.
    pub every: Span,
    /// Recipients in turn; all accounts of the cluster if left out.
    #[serde(default)]
    pub users: Vec<String>,
    /// Size of a message body, bytes.
    #[serde(default = "two_kibibytes")]
    pub size: usize,
    /// The most messages on their way at once; one is given up after `every` x `at_once`.
    #[serde(default = "ten")]
    pub at_once: u32,
    /// Only on clusters with a mail store, or only on others; on both if left out.
    pub store: Option<bool>,
}

/// Whole webmail log-ins through the load balancer.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebmailTraffic {
    /// Time between two log-ins.
    pub every: Span,
    /// Who logs in, in turn; all accounts of the cluster if left out.
    #[serde(default)]
    pub users: Vec<String>,
    /// The most log-ins at once; one is given up after `every` x `at_once`.
    #[serde(default = "ten")]
    pub at_once: u32,
    /// Only on clusters with a mail store, or only on others; on both if left out.
    pub store: Option<bool>,
}

/// Inserted rows, one node and database after the other.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlTraffic {
    /// Time between two rows on one node.
    pub every: Span,
    /// Nodes written to at the same time; all mail nodes if left out.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// Databases in turn; all replicated ones if left out.
    #[serde(default)]
    pub databases: Vec<String>,
    /// The most inserts at once on one node; one is given up after `every` x `at_once`.
    #[serde(default = "ten")]
    pub at_once: u32,
    /// Only on clusters with a mail store, or only on others; on both if left out.
    pub store: Option<bool>,
}

/// IMAP log-ins straight to the mail nodes, or through a load balancer.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImapTraffic {
    /// Time between two log-ins on one node.
    pub every: Span,
    /// Nodes asked at the same time; all mail nodes if left out. A load balancer is asked as mail programs ask it: by the
    /// name of `[access]`.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// Who logs in, in turn; all accounts of the cluster if left out.
    #[serde(default)]
    pub users: Vec<String>,
    /// The most log-ins at once on one node; one is given up after `every` x `at_once`.
    #[serde(default = "ten")]
    pub at_once: u32,
    /// Only on clusters with a mail store, or only on others; on both if left out.
    pub store: Option<bool>,
}

/// A mail program for each account: it comes back to whichever mail node lets it in, fetches what is new, stores a draft, and
/// flags, moves or removes messages.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImapClientTraffic {
    /// Time between two sessions of one account.
    pub every: Span,
    /// Whose programs; those of all accounts of the cluster if left out.
    #[serde(default)]
    pub users: Vec<String>,
    /// The most sessions that wait on one account; a call in one is given up after `every` x `at_once`.
    #[serde(default = "ten")]
    pub at_once: u32,
    /// Only on clusters with a mail store, or only on others; on both if left out.
    pub store: Option<bool>,
}

fn two_kibibytes() -> usize {
    2048
}

fn ten() -> u32 {
    10
}

/// How often an operation begins and how many may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Time between two beginnings.
    pub every: Duration,
    /// The most under way.
    pub at_once: u32,
}

impl Pace {
    /// After this long an operation is given up, so that its place is free when the next one is due.
    pub fn patience(self) -> Duration {
        self.every * self.at_once
    }
}

impl Traffic {
    /// The pace of a service's traffic, `None` if it has none.
    pub fn pace(&self, service: Service) -> Option<Pace> {
        let (every, at_once) = match service {
            Service::MailIn => self.mail.as_ref().map(|mail| (mail.every, mail.at_once)),
            Service::Webmail => self.webmail.as_ref().map(|webmail| (webmail.every, webmail.at_once)),
            Service::Sql => self.sql.as_ref().map(|sql| (sql.every, sql.at_once)),
            Service::Imap => self.imap.as_ref().map(|imap| (imap.every, imap.at_once)),
            Service::ImapClient => self.imap_client.as_ref().map(|imap| (imap.every, imap.at_once)),
        }?;
        Some(Pace {
            every: every.0,
            at_once,
        })
    }
}
