//! How fast the machines are, as their users feel it. Budgets are promises of a cluster, and an emulated one keeps them
//! only as fast as the host emulates: the same log-in was seen to take twice as long on another day. Clients that come
//! every few seconds are as many as such a host can serve.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::record::Micros;
use crate::units::readable;

/// What a log-in to webmail takes on the host on which the budgets of the scenarios were made: two processors, emulated
/// machines, nothing else to do.
const REFERENCE: Micros = 900_000;

/// The most by which budgets grow: on a still slower host they are broken, and rightly.
const MOST: f64 = 2.0;

/// The time of a log-in to a cluster that is healthy and has nothing else to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Microseconds from the first request to the log-out's answer; the median of several.
    pub log_in: Micros,
}

impl Pace {
    /// What the budgets of a scenario are multiplied by: 1 on a host that is as fast as the one they were made on.
    pub fn factor(self) -> f64 {
        self.pauses().min(MOST)
    }

    /// What the pauses of traffic are multiplied by. A load promises nothing, so that no bound is needed.
    pub fn pauses(self) -> f64 {
        (self.log_in as f64 / REFERENCE as f64).max(1.0)
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a log-in takes {}", readable(self.log_in))?;
        match self.factor() {
            1.0 => Ok(()),
            factor => write!(
                out,
                ", {} where the budgets were made: they count {factor:.2} times",
                readable(REFERENCE)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factor(log_in: Micros) -> f64 {
        Pace { log_in }.factor()
    }

    #[test]
    fn a_host_that_is_fast_enough_gets_no_more_time() {
        assert_eq!((factor(100_000), factor(REFERENCE)), (1.0, 1.0));
    }

    #[test]
    fn a_slower_host_gets_as_much_more_as_it_is_slower_up_to_twice() {
        assert_eq!((factor(REFERENCE * 3 / 2), factor(REFERENCE * 9)), (1.5, 2.0));
    }

    #[test]
    fn the_pauses_of_traffic_grow_as_far_as_the_host_is_slow() {
        let pauses = |log_in| Pace { log_in }.pauses();
        assert_eq!((pauses(100_000), pauses(REFERENCE * 9)), (1.0, 9.0));
    }

    #[test]
    fn budgets_that_grew_are_told() {
        let told = |log_in| Pace { log_in }.to_string();
        assert_eq!(told(600_000), "a log-in takes 0.60 s");
        assert_eq!(
            told(1_350_000),
            "a log-in takes 1.35 s, 0.90 s where the budgets were made: they count 1.50 times"
        );
    }
}
