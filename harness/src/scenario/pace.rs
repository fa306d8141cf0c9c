//! A scenario on a slower host: its promises take longer to keep, in the same proportion.

use std::time::Duration;

use super::Scenario;
use crate::oracle::{Budgets, LagBudget, NodeBudgets};
use crate::units::Span;

impl Scenario {
    /// The same scenario with every budget multiplied. Its traffic stays as it is, and so do guards against hanging,
    /// which are stretched on their own.
    #[must_use]
    pub fn at_pace(&self, factor: f64) -> Scenario {
        let mut slower = self.clone();
        slower.head.budget = stretched(&self.head.budget, factor);
        for step in &mut slower.steps {
            step.budget = step.budget.map(|budget| budget.mul_f64(factor));
        }
        slower
    }
}

fn stretched(budget: &Budgets, factor: f64) -> Budgets {
    let times = |span: Option<Span>| span.map(|Span(limit)| Span(whole_millis(limit.mul_f64(factor))));
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
    fn on_a_host_half_as_fast_every_promise_has_twice_the_time_and_no_guard_has() {
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
        let slow = parse(text).expect("valid").scenario.at_pace(2.0);
        let (budget, step) = (&slow.head.budget, &slow.steps[0]);
        assert_eq!(budget.of(Service::Webmail), Some(Duration::from_secs(30)));
        assert_eq!(budget.converge.map(Duration::from), Some(Duration::from_secs(120)));
        assert_eq!(budget.of_node(Service::Sql, "mail2"), Some(Duration::from_secs(10)));
        assert_eq!(
            (step.budget, step.within),
            (Some(Duration::from_secs(20)), Duration::from_secs(45))
        );
    }
}
