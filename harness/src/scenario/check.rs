//! Rules that need to know the cluster a scenario plays on: nodes, accounts and databases must exist.

use generator::diag::{Diagnostic, Spans, did_you_mean};

use super::expectation::Expectation;
use super::model::{Action, Scenario};
use super::shape::problem;
use crate::fault::Fault;
use crate::fleet::{Role, Topology};
use crate::oracle::Witness;

/// Checks what plays on this cluster against it.
pub fn against(scenario: &Scenario, spans: &Spans, topology: &Topology) -> Vec<Diagnostic> {
    let mut checker = Checker {
        spans,
        topology,
        problems: Vec::new(),
    };
    checker.traffic(scenario);
    checker.terms(scenario);
    for step in &scenario.steps {
        checker.step(step.position, &step.action);
    }
    checker.problems
}

struct Checker<'a> {
    spans: &'a Spans,
    topology: &'a Topology,
    problems: Vec<Diagnostic>,
}

impl Checker<'_> {
    fn one_of(&mut self, path: String, noun: &str, word: &str, known: &[&str]) {
        if !known.contains(&word) {
            let message = format!("cluster `{}` has no {noun} `{word}`", self.topology.name);
            let mut found = problem(self.spans, "not-in-cluster", &path, message);
            found.help = did_you_mean(word, known);
            self.problems.push(found);
        }
    }

    fn node(&mut self, path: String, node: &str) {
        let known: Vec<&str> = self.topology.nodes.iter().map(|node| node.name.as_str()).collect();
        self.one_of(path, "node", node, &known);
    }

    fn mail_node(&mut self, path: String, node: &str) {
        let known = self.topology.of_role(Role::Mail);
        self.one_of(path, "mail node", node, &known);
    }

    /// Tables that the cluster's description would need: whether one is missing, the code, what is not there, the table.
    fn lacks(&mut self, at: &str, tables: &[(bool, &'static str, &str, &str)]) {
        for (_, code, what, table) in tables.iter().filter(|(lacks, ..)| *lacks) {
            let found = problem(self.spans, code, at, format!("this cluster has {what}"));
            self.problems
                .push(found.help(format!("add `{table}` to its description")));
        }
    }

    /// A mail node, or a load balancer that leads mail programs to one.
    fn imap_host(&mut self, path: String, node: &str) {
        let known = [self.topology.of_role(Role::Mail), self.topology.doors()].concat();
        self.one_of(
            path,
            "mail node or load balancer with doors for mail programs",
            node,
            &known,
        );
    }

    fn queueing(&mut self, path: String, node: &str) {
        let known = self.topology.queueing();
        self.one_of(path, "host that takes mail", node, &known);
    }

    /// A load balancer of two that share an address.
    fn shares_address(&mut self, path: &str, node: &str) {
        if self.topology.virtual_address.is_none() {
            let message = format!("cluster `{}` has no virtual address", self.topology.name);
            let found = problem(self.spans, "no-virtual-address", &format!("{path}.expect"), message);
            self.problems.push(
                found.help("name a cluster whose description has `network.virtual_address` and two load balancers"),
            );
        }
        let known = self.topology.of_role(Role::LoadBalancer);
        self.one_of(format!("{path}.node"), "load balancer", node, &known);
    }

    fn user(&mut self, path: String, user: &str) {
        let known: Vec<&str> = self.topology.users.iter().map(String::as_str).collect();
        self.one_of(path, "account", user, &known);
    }

    fn store(&mut self, path: String, what: &str) {
        if !self.topology.has_store() {
            let message = format!(
                "cluster `{}` has no mail store, so it has no {what}",
                self.topology.name
            );
            let found = problem(self.spans, "no-store", &path, message);
            self.problems
                .push(found.help("name a cluster whose description has `[store]`"));
        }
    }

    fn databases(&mut self, path: &str, databases: &[String]) {
        let known: Vec<&str> = self.topology.databases.iter().map(String::as_str).collect();
        for (index, database) in databases.iter().enumerate() {
            self.one_of(
                format!("{path}.databases[{index}]"),
                "replicated database",
                database,
                &known,
            );
        }
    }

    fn service(&mut self, path: &str, node: &str, service: &str) {
        self.node(format!("{path}.node"), node);
        if let Some(info) = self.topology.nodes.iter().find(|info| info.name == node) {
            let known = self.topology.services_of(info);
            self.one_of(
                format!("{path}.service"),
                &format!("service on {node} called"),
                service,
                &known,
            );
        }
    }

    fn traffic(&mut self, scenario: &Scenario) {
        let traffic = &scenario.head.traffic;
        let no_lists = (&[][..], &[][..]);
        for (key, (users, nodes)) in [
            (
                "mail",
                traffic.mail.as_ref().map_or(no_lists, |mail| (&mail.users, &[])),
            ),
            (
                "webmail",
                traffic
                    .webmail
                    .as_ref()
                    .map_or(no_lists, |webmail| (&webmail.users, &[])),
            ),
            ("sql", traffic.sql.as_ref().map_or(no_lists, |sql| (&[], &sql.nodes))),
            (
                "imap-client",
                traffic
                    .imap_client
                    .as_ref()
                    .map_or(no_lists, |program| (&program.users, &[])),
            ),
            (
                "imap",
                traffic
                    .imap
                    .as_ref()
                    .map_or(no_lists, |imap| (&imap.users, &imap.nodes)),
            ),
        ] {
            for (index, user) in users.iter().enumerate() {
                self.user(format!("traffic.{key}.users[{index}]"), user);
            }
            for (index, node) in nodes.iter().enumerate() {
                let path = format!("traffic.{key}.nodes[{index}]");
                match key {
                    "imap" => self.imap_host(path, node),
                    _ => self.mail_node(path, node),
                }
            }
        }
        if traffic.imap_client.is_some() {
            self.store("traffic.imap-client".into(), "account that is the same on every node");
        }
        if let Some(sql) = &traffic.sql {
            self.databases("traffic.sql", &sql.databases);
        }
    }

    /// Nodes and databases that budgets and oracles name.
    fn terms(&mut self, scenario: &Scenario) {
        if scenario.head.budget.lag.limits().next().is_some() {
            self.store("budget.lag".into(), "copy");
        }
        for (node, own) in &scenario.head.budget.on {
            let path = format!("budget.on.{node}");
            match own.sql {
                Some(_) => self.mail_node(path, node),
                None => self.imap_host(path, node),
            }
        }
        let known: Vec<&str> = self.topology.databases.iter().map(String::as_str).collect();
        for (index, database) in scenario.head.oracle.rows_in.iter().enumerate() {
            self.one_of(
                format!("oracle.rows_in[{index}]"),
                "replicated database",
                database,
                &known,
            );
        }
        for (index, witness) in scenario.head.oracle.witness.iter().enumerate() {
            if let Witness::ServedBy { node, .. } | Witness::Queued { node } = witness {
                self.node(format!("oracle.witness[{index}].node"), node);
            }
        }
    }

    fn step(&mut self, index: usize, action: &Action) {
        let path = format!("step[{index}]");
        match action {
            Action::Fault { fault, .. } => self.fault(&path, fault),
            Action::Expect(expectation) => self.expectation(&path, expectation),
            Action::Run(run) => self.node(format!("{path}.node"), &run.node),
            Action::Rendered(rendered) => self.node(format!("{path}.node"), &rendered.node),
            Action::Role(role) => {
                self.mail_node(format!("{path}.node"), &role.node);
                self.store(format!("{path}.role"), "roles");
            }
            Action::Heal { .. } | Action::Hold(_) | Action::Rotate(_) => {}
        }
    }

    fn fault(&mut self, path: &str, fault: &Fault) {
        match fault {
            Fault::PowerCut { node } | Fault::Freeze { node } | Fault::Reboot { node } => {
                self.node(format!("{path}.node"), node);
            }
            Fault::DiskFull { node } | Fault::DiskFlip { node } | Fault::DiskNew { node } => {
                self.mail_node(format!("{path}.node"), node);
                self.store(format!("{path}.fault"), "pool");
            }
            Fault::ServiceStop { node, service }
            | Fault::ServiceKill { node, service }
            | Fault::ServiceFreeze { node, service } => self.service(path, node, service),
            Fault::LinkCut { from, to, .. } => {
                self.node(format!("{path}.from"), from);
                self.node(format!("{path}.to"), to);
                if from == to {
                    let message = format!("{from} has no link with itself");
                    self.problems
                        .push(problem(self.spans, "link-to-itself", &format!("{path}.to"), message));
                }
            }
        }
    }

    fn expectation(&mut self, path: &str, expectation: &Expectation) {
        let at = |key: &str| format!("{path}.{key}");
        match expectation {
            Expectation::Webmail { user, served_by } => {
                user.iter().for_each(|user| self.user(at("user"), user));
                served_by.iter().for_each(|node| self.mail_node(at("served_by"), node));
            }
            Expectation::MailAccepted { to, by } => {
                to.iter().for_each(|user| self.user(at("to"), user));
                by.iter().for_each(|node| self.queueing(at("by"), node));
            }
            Expectation::MailDelivered { to, on } => {
                to.iter().for_each(|user| self.user(at("to"), user));
                on.iter().for_each(|node| self.mail_node(at("on"), node));
            }
            Expectation::MailSubmitted {
                from, to, served_by, ..
            } => {
                from.iter().for_each(|user| self.user(at("from"), user));
                to.iter().for_each(|user| self.user(at("to"), user));
                served_by.iter().for_each(|node| self.mail_node(at("served_by"), node));
                if self.topology.doors().is_empty() {
                    let message = "this cluster has no doors for mail programs";
                    let found = problem(self.spans, "no-access", &at("expect"), message);
                    self.problems.push(found.help("add `[access]` to its description"));
                }
            }
            Expectation::MailSealed { to, by } => {
                to.iter().for_each(|user| self.user(at("to"), user));
                by.iter().for_each(|node| self.node(at("by"), node));
                let lacks = [
                    (
                        !self.topology.signs,
                        "no-signatures",
                        "no key to seal with",
                        "[authenticity]",
                    ),
                    (
                        !self.topology.authenticates,
                        "no-authentication",
                        "no gateway that finds out who mail is from",
                        "[filter.authentication]",
                    ),
                ];
                self.lacks(&at("expect"), &lacks);
            }
            Expectation::MailSigned { from, by } => {
                from.iter().for_each(|user| self.user(at("from"), user));
                by.iter().for_each(|node| self.node(at("by"), node));
                let lacks = [
                    (
                        self.topology.doors().is_empty(),
                        "no-access",
                        "no doors for mail programs",
                        "[access]",
                    ),
                    (
                        !self.topology.signs,
                        "no-signatures",
                        "no signed mail",
                        "[authenticity]",
                    ),
                ];
                self.lacks(&at("expect"), &lacks);
            }
            Expectation::SqlWrite { node, databases } => {
                self.mail_node(at("node"), node);
                self.databases(path, databases);
            }
            Expectation::RowReplicated { from, databases, .. } => {
                from.iter().for_each(|node| self.mail_node(at("from"), node));
                self.databases(path, databases);
            }
            Expectation::LoginReplicated { user, served_by } => {
                self.user(at("user"), user);
                served_by.iter().for_each(|node| self.mail_node(at("served_by"), node));
            }
            Expectation::QueueHolds { node: Some(node), .. } | Expectation::QueueEmpty { node: Some(node) } => {
                self.queueing(at("node"), node);
            }
            Expectation::QueueHolds { node: None, .. } if self.topology.of_role(Role::Gateway).is_empty() => {
                let message = "this cluster has no gateway to keep mail";
                let found = problem(self.spans, "no-gateway", &at("expect"), message);
                self.problems
                    .push(found.help("name the node whose queue is meant with `node = \"...\"`"));
            }
            Expectation::Writer { node } => {
                node.iter().for_each(|node| self.mail_node(at("node"), node));
                self.store(at("expect"), "writer");
            }
            Expectation::AddressAt { node } => self.shares_address(path, node),
            Expectation::StoreInStep => self.store(at("expect"), "copy"),
            Expectation::Door { node, .. } | Expectation::SmtpRefuses { node, .. } => self.node(at("node"), node),
            Expectation::QueueHolds { .. }
            | Expectation::QueueEmpty { .. }
            | Expectation::AllDelivered
            | Expectation::ReplicationRunning
            | Expectation::Converged
            | Expectation::NothingBounced
            | Expectation::Healthy => {}
        }
    }
}
