//! What a run is judged by: the budgets and oracle settings of its scenario, and the cluster's nodes, users, databases.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::{Delivery, Service};
use crate::units::Span;

/// Everything the judges need beside the record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Terms {
    /// `[oracle]` of the scenario.
    pub oracle: OracleConfig,
    /// `[budget]` of the scenario.
    pub budget: Budgets,
    /// Names of the mail nodes: each has every user's mailbox and every database.
    pub mail_nodes: Vec<String>,
    /// Mail addresses of the accounts.
    pub users: Vec<String>,
    /// The replicated databases.
    pub databases: Vec<String>,
    /// Where mail lies.
    pub delivery: Delivery,
}

/// Which oracles judge, and how strictly. Steps, receipts and outages with a budget are always judged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OracleConfig {
    /// The mail ledger: everything accepted is found once, in the right mailbox. Left out, it judges whenever mail was
    /// sent; `true` makes a run without mail inconclusive.
    pub ledger: Option<bool>,
    /// Accepted mail may still wait in a queue at the end.
    pub mail_may_wait: bool,
    /// Every acknowledged row is on both nodes, tables are equal, replica threads run. Left out, it judges whenever
    /// rows were written; `true` makes a run without rows inconclusive.
    pub replication: Option<bool>,
    /// What mail programs saw and did holds: UIDs, and everything that was acknowledged. Left out, it judges whenever a mail
    /// program was used; `true` makes a run without one inconclusive.
    pub client: Option<bool>,
    /// Each of these databases must have an acknowledged row, or the run is inconclusive.
    pub rows_in: Vec<String>,
    /// What must have been seen for the run to mean anything; a missing one makes it inconclusive.
    pub witness: Vec<Witness>,
}

impl OracleConfig {
    /// The same settings, with the oracles of the services that the scenario's traffic uses switched on where the
    /// scenario leaves it open: traffic that never ran must not look like none wanted.
    pub fn with_traffic(&self, services: &[Service]) -> OracleConfig {
        let on = |service| services.contains(&service).then_some(true);
        OracleConfig {
            ledger: self.ledger.or(on(Service::MailIn)),
            client: self.client.or(on(Service::ImapClient)),
            replication: self.replication.or(on(Service::Sql)),
            ..self.clone()
        }
    }
}

/// Something that must have happened for a run to show what it is meant to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "saw", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Witness {
    /// After the first fault took hold, a successful operation of the service was served by this node.
    ServedBy {
        /// The service.
        service: Service,
        /// The node.
        node: String,
    },
    /// The service was served by one node and, after a fault took hold, by another.
    Moved {
        /// The service.
        service: Service,
    },
    /// After the first fault took hold, at least one operation of the service did not succeed.
    Outage {
        /// The service.
        service: Service,
    },
    /// Mail was seen waiting in the node's queue.
    Queued {
        /// The node.
        node: String,
    },
}

/// The longest outage that each service may have, and the longest that replication may take to converge.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Budgets {
    /// The webmail log-in.
    pub webmail: Option<Span>,
    /// Acceptance of mail.
    pub mail_in: Option<Span>,
    /// IMAP, for each mail node apart.
    pub imap: Option<Span>,
    /// Database writes, for each mail node apart.
    pub sql: Option<Span>,
    /// A mail program's sessions, on whichever node lets it in.
    pub imap_client: Option<Span>,
    /// From a sender's 250 until the message lies in the copy of the mail store.
    pub lag: LagBudget,
    /// From the last healing or the end of traffic, whichever came later, until both nodes are equal.
    pub converge: Option<Span>,
    /// How many operations of a service may fail in the whole run, however short the outages are.
    pub failures: FailureBudget,
    /// Limits for single nodes, by node name; they go before `imap` and `sql`.
    pub on: BTreeMap<String, NodeBudgets>,
}

/// How far the copy of the mail store may be behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LagBudget {
    /// For half of the messages.
    pub p50: Option<Span>,
    /// For 99 of 100 messages.
    pub p99: Option<Span>,
    /// For every message.
    pub max: Option<Span>,
}

impl LagBudget {
    /// The limits that there are, with their names.
    pub fn limits(&self) -> impl Iterator<Item = (&'static str, Span)> {
        let all = [("p50", self.p50), ("p99", self.p99), ("max", self.max)];
        all.into_iter().filter_map(|(name, limit)| Some((name, limit?)))
    }
}

/// How many operations may fail: 0 where clients are to wait instead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct FailureBudget {
    /// Webmail log-ins.
    pub webmail: Option<usize>,
    /// Messages that a sender hands over. It tries again later, so each refusal counts.
    pub mail_in: Option<usize>,
    /// A mail program's sessions.
    pub imap_client: Option<usize>,
}

impl FailureBudget {
    /// The limit of a service.
    pub fn of(&self, service: Service) -> Option<usize> {
        match service {
            Service::Webmail => self.webmail,
            Service::MailIn => self.mail_in,
            Service::ImapClient => self.imap_client,
            Service::Imap | Service::Sql => None,
        }
    }
}

/// Limits of one node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct NodeBudgets {
    /// IMAP.
    pub imap: Option<Span>,
    /// Database writes.
    pub sql: Option<Span>,
}

impl Budgets {
    /// The limit of a service, wherever it is served.
    pub fn of(&self, service: Service) -> Option<Duration> {
        let span = match service {
            Service::Webmail => self.webmail,
            Service::MailIn => self.mail_in,
            Service::Imap => self.imap,
            Service::Sql => self.sql,
            Service::ImapClient => self.imap_client,
        };
        span.map(Duration::from)
    }

    /// The limit of a service on one node: the node's own if it has one, else the service's.
    pub fn of_node(&self, service: Service, node: &str) -> Option<Duration> {
        let own = self.on.get(node).and_then(|budgets| match service {
            Service::Imap => budgets.imap,
            Service::Sql => budgets.sql,
            Service::Webmail | Service::MailIn | Service::ImapClient => None,
        });
        own.map(Duration::from).or_else(|| self.of(service))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        oracle: OracleConfig,
        #[serde(default)]
        budget: Budgets,
    }

    fn refused(text: &str) -> String {
        toml::from_str::<File>(text).expect_err(text).message().to_owned()
    }

    #[test]
    fn budgets_and_oracle_settings_are_read_as_written() {
        let text = r#"
            [oracle]
            ledger = true
            rows_in = ["vmail"]
            witness = [{ saw = "served-by", service = "webmail", node = "mail2" }]
            [budget]
            mail-in = "10s"
            sql = "1m"
            [budget.on.mail2]
            sql = "5s"
        "#;
        let File { oracle, budget } = toml::from_str(text).expect("valid");
        assert_eq!((oracle.ledger, oracle.replication), (Some(true), None));
        assert_eq!(
            oracle.witness,
            [Witness::ServedBy {
                service: Service::Webmail,
                node: "mail2".into()
            }]
        );
        assert_eq!(budget.of(Service::MailIn), Some(Duration::from_secs(10)));
        assert_eq!(budget.of(Service::Webmail), None);
        assert_eq!(budget.of_node(Service::Sql, "mail1"), Some(Duration::from_secs(60)));
        assert_eq!(budget.of_node(Service::Sql, "mail2"), Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_key_that_nobody_knows_is_refused() {
        assert!(refused("budget.webmial = \"1s\"").starts_with("unknown field `webmial`"));
        assert!(refused("budget.failures.sql = 0").starts_with("unknown field `sql`"));
        assert!(refused("budget.on.mail2.webmail = \"1s\"").starts_with("unknown field `webmail`"));
        assert!(refused("oracle.ledgre = true").starts_with("unknown field `ledgre`"));
        let witness = "oracle.witness = [{ saw = \"moved\", service = \"webmail\", node = \"mail2\" }]";
        assert!(refused(witness).starts_with("unknown field `node`"));
    }

    #[test]
    fn a_budget_without_a_unit_is_refused() {
        assert!(refused("budget.webmail = 15").contains("has no unit"));
    }
}
