//! What a scenario plays on a cluster with a mail store, and on one without: parts say `store = true` or `store = false`, and
//! `[budget-with-store]` has other limits.

use std::collections::BTreeMap;

use super::model::{Action, Scenario, Step};
use super::traffic::Traffic;
use crate::fault::Fault;
use crate::oracle::{Budgets, FailureBudget, LagBudget, NodeBudgets};
use crate::record::Service;

impl Scenario {
    /// The scenario without what is for other clusters than this: one with a mail store, or one without. Limits of services
    /// that nobody uses there are gone as well.
    #[must_use]
    pub fn on_cluster(&self, store: bool) -> Scenario {
        let mut played = self.clone();
        played.steps.retain(|step| step.store.is_none_or(|only| only == store));
        fill_heals(&mut played.steps);
        let head = &mut played.head;
        keep(&mut head.traffic, store);
        if let Some(other) = head.budget_with_store.take().filter(|_| store) {
            head.budget = over(other, &head.budget);
        }
        for service in Service::ALL {
            if self.head.traffic.pace(service).is_some() && head.traffic.pace(service).is_none() {
                forget(&mut head.budget, service);
            }
        }
        played
    }
}

/// Gives each `heal` the fault of its name. Where there is none the rules complain.
fn fill_heals(steps: &mut [Step]) {
    let mut open: BTreeMap<String, Fault> = BTreeMap::new();
    for step in steps {
        match &mut step.action {
            Action::Fault {
                fault,
                name: Some(name),
            } => {
                open.insert(name.clone(), fault.clone());
            }
            Action::Heal { name, fault } => {
                if let Some(broken) = open.remove(name) {
                    *fault = broken;
                }
            }
            _ => {}
        }
    }
}

fn keep(traffic: &mut Traffic, store: bool) {
    let here = |only: Option<bool>| only.is_none_or(|only| only == store);
    let Traffic {
        mail,
        webmail,
        sql,
        imap,
        imap_client,
    } = traffic;
    mail.take_if(|mail| !here(mail.store));
    webmail.take_if(|webmail| !here(webmail.store));
    sql.take_if(|sql| !here(sql.store));
    imap.take_if(|imap| !here(imap.store));
    imap_client.take_if(|programs| !here(programs.store));
}

/// Each limit of the first, and of the second what the first has not.
fn over(first: Budgets, second: &Budgets) -> Budgets {
    let mut on = second.on.clone();
    for (node, own) in first.on {
        let before = on.remove(&node).unwrap_or_default();
        let own = NodeBudgets {
            imap: own.imap.or(before.imap),
            sql: own.sql.or(before.sql),
        };
        on.insert(node, own);
    }
    Budgets {
        webmail: first.webmail.or(second.webmail),
        mail_in: first.mail_in.or(second.mail_in),
        imap: first.imap.or(second.imap),
        sql: first.sql.or(second.sql),
        imap_client: first.imap_client.or(second.imap_client),
        lag: LagBudget {
            p50: first.lag.p50.or(second.lag.p50),
            p99: first.lag.p99.or(second.lag.p99),
            max: first.lag.max.or(second.lag.max),
        },
        converge: first.converge.or(second.converge),
        failures: FailureBudget {
            webmail: first.failures.webmail.or(second.failures.webmail),
            mail_in: first.failures.mail_in.or(second.failures.mail_in),
            imap_client: first.failures.imap_client.or(second.failures.imap_client),
        },
        on,
    }
}

fn forget(budget: &mut Budgets, service: Service) {
    match service {
        Service::Webmail => (budget.webmail, budget.failures.webmail) = (None, None),
        Service::MailIn => {
            (budget.mail_in, budget.failures.mail_in) = (None, None);
            budget.lag = LagBudget::default();
        }
        Service::ImapClient => (budget.imap_client, budget.failures.imap_client) = (None, None),
        Service::Imap => {
            budget.imap = None;
            budget.on.values_mut().for_each(|own| own.imap = None);
        }
        Service::Sql => {
            budget.sql = None;
            budget.on.values_mut().for_each(|own| own.sql = None);
        }
    }
    budget.on.retain(|_, own| own.imap.is_some() || own.sql.is_some());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::fault::Fault;
    use crate::record::Service;
    use crate::scenario::{Action, Scenario, parse};

    const TEXT: &str = r#"
        name = "both"
        summary = "Plays on both kinds of cluster"
        [traffic.mail]
        every = "2s"
        [traffic.imap]
        every = "8s"
        store = false
        [traffic.imap-client]
        every = "8s"
        store = true
        [budget]
        mail-in = "10s"
        imap = "30s"
        [budget.on.mail2]
        imap = "20s"
        sql = "5s"
        [budget-with-store]
        mail-in = "20s"
        imap-client = "60s"
        [[step]]
        fault = "service-stop"
        node = "mail1"
        service = "postfix"
        as = "first"
        store = false
        [[step]]
        fault = "service-stop"
        node = "mail1"
        service = "dovecot"
        as = "first"
        store = true
        [[step]]
        heal = "first"
    "#;

    fn played(store: bool) -> Scenario {
        parse(TEXT).expect("valid").scenario.on_cluster(store)
    }

    #[test]
    fn steps_for_other_clusters_are_left_out_and_a_heal_has_the_fault_of_this_one() {
        for (store, stopped) in [(false, "postfix"), (true, "dovecot")] {
            let steps = played(store).steps;
            assert_eq!(steps.len(), 2);
            let Action::Heal {
                fault: Fault::ServiceStop { service, .. },
                ..
            } = &steps[1].action
            else {
                panic!("{steps:?}");
            };
            assert_eq!(service, stopped);
        }
    }

    #[test]
    fn steps_keep_their_place_in_the_file() {
        let places: Vec<usize> = played(true).steps.iter().map(|step| step.position).collect();
        assert_eq!(places, [1, 2]);
    }

    #[test]
    fn limits_with_a_store_take_the_place_of_the_others() {
        let of = |store, service| played(store).head.budget.of(service).map(|limit| limit.as_secs());
        assert_eq!(
            (of(false, Service::MailIn), of(true, Service::MailIn)),
            (Some(10), Some(20))
        );
        assert_eq!(of(true, Service::ImapClient), Some(60));
        assert_eq!(of(false, Service::ImapClient), None);
    }

    #[test]
    fn limits_of_what_nobody_uses_there_are_gone() {
        let with_store = played(true).head;
        assert_eq!(with_store.traffic.pace(Service::Imap), None);
        assert_eq!(with_store.budget.of(Service::Imap), None);
        let sql_of_mail2 = with_store.budget.of_node(Service::Sql, "mail2");
        assert_eq!(sql_of_mail2, Some(Duration::from_secs(5)));
        assert_eq!(with_store.budget.of_node(Service::Imap, "mail2"), None);
    }
}
