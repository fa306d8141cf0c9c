//! A scenario on a slower host: its promises take longer to keep and its clients come less often, in the same proportion.

use std::time::Duration;

use super::Scenario;
use super::traffic::Traffic;
use crate::oracle::{Budgets, LagBudget, NodeBudgets};
use crate::units::Span;

impl Scenario {
    /// The same scenario with every budget multiplied, and by `pauses` the time between two operations of its traffic: log-ins
    /// that come faster than a host can serve them are all given up, whatever the cluster does, and the queue of those
    /// that were given up keeps it from every later one. Guards against hanging stay as they are; they are stretched on
    /// their own.
    #[must_use]
    pub fn at_pace(&self, factor: f64, pauses: f64) -> Scenario {
        let mut slower = self.clone();
        slower.head.budget = stretched(&self.head.budget, factor);
        slow_down(&mut slower.head.traffic, pauses);
        for step in &mut slower.steps {
            step.budget = step.budget.map(|budget| budget.mul_f64(factor));
        }
        slower
    }
}

fn slow_down(traffic: &mut Traffic, factor: f64) {
    let Traffic {
        mail,
        webmail,
        sql,
        imap,
        imap_client,
    } = traffic;
    let paces = [
        mail.as_mut().map(|mail| &mut mail.every),
        webmail.as_mut().map(|webmail| &mut webmail.every),
        sql.as_mut().map(|sql| &mut sql.every),
        imap.as_mut().map(|imap| &mut imap.every),
        imap_client.as_mut().map(|programs| &mut programs.every),
    ];
    for every in paces.into_iter().flatten() {
        *every = times(*every, factor);
    }
}

fn times(Span(span): Span, factor: f64) -> Span {
    Span(whole_millis(span.mul_f64(factor)))
}

fn stretched(budget: &Budgets, factor: f64) -> Budgets {
    let times = |span: Option<Span>| span.map(|span| times(span, factor));
    let node = |own: &NodeBudgets| NodeBudgets {
        imap: times(own.imap),
        sql: times(own.sql),
    };
    Budgets {
        webmail: times(budget.webmail),
        mail_in: times(budget.mail_in),
        imap: times(budget.imap),
        sql: times(budget.sql),
        imap_client: times(budget.imap_client),
        lag: LagBudget {
            p50: times(budget.lag.p50),
            p99: times(budget.lag.p99),
            max: times(budget.lag.max),
        },
        converge: times(budget.converge),
        failures: budget.failures,
        on: budget.on.iter().map(|(name, own)| (name.clone(), node(own))).collect(),
    }
}

/// Nobody reads more of a limit.
fn whole_millis(limit: Duration) -> Duration {
    Duration::from_millis(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::record::Service;
    use crate::scenario::parse;

    #[test]
    fn on_a_host_half_as_fast_promises_and_the_pauses_of_traffic_take_twice_the_time_and_guards_do_not() {
        let text = r#"
            name = "slow"
            summary = "Everything with a limit"
            [traffic]
            webmail.every = "3s"
            sql.every = "3s"
            [budget]
            webmail = "15s"
            converge = "1m"
            [budget.on.mail2]
            sql = "5s"
            [[step]]
            expect = "all-delivered"
            budget = "10s"
            within = "45s"
        "#;
        let slow = parse(text).expect("valid").scenario.at_pace(2.0, 2.0);
        let (budget, step) = (&slow.head.budget, &slow.steps[0]);
        assert_eq!(budget.of(Service::Webmail), Some(Duration::from_secs(30)));
        let pace = |service| slow.head.traffic.pace(service).map(|pace| pace.every.as_secs());
        assert_eq!((pace(Service::Webmail), pace(Service::Sql)), (Some(6), Some(6)));
        assert_eq!(budget.converge.map(Duration::from), Some(Duration::from_secs(120)));
        assert_eq!(budget.of_node(Service::Sql, "mail2"), Some(Duration::from_secs(10)));
        assert_eq!(
            (step.budget, step.within),
            (Some(Duration::from_secs(20)), Duration::from_secs(45))
        );
    }
}
