//! How long things took lately: of the last few hundred times, in milliseconds.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// So many times are kept.
const KEPT: usize = 500;

/// The last times that something took.
#[derive(Debug, Default)]
pub struct Times {
    last: VecDeque<Duration>,
    figures: Figures,
}

/// What they come to. All are 0 if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// How many times are counted, at most 500.
    pub count: usize,
    /// Half of them took no longer, milliseconds.
    pub p50_ms: u64,
    /// 99 in a hundred took no longer, milliseconds.
    pub p99_ms: u64,
    /// The longest, milliseconds.
    pub max_ms: u64,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Figures {
            p50_ms, p99_ms, max_ms, ..
        } = self;
        write!(f, "{p50_ms} ms (p50), {p99_ms} ms (p99), {max_ms} ms (max)")
    }
}

impl Times {
    /// Adds some.
    pub fn add(&mut self, times: impl IntoIterator<Item = Duration>) {
        self.last.extend(times);
        self.last.drain(..self.last.len().saturating_sub(KEPT));
        let mut sorted: Vec<u64> = self.last.iter().map(|time| milliseconds(*time)).collect();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).copied().unwrap_or_default()
        };
        self.figures = Figures {
            count: sorted.len(),
            p50_ms: at(50),
            p99_ms: at(99),
            max_ms: at(100),
        };
    }

    /// What they come to.
    pub fn figures(&self) -> Figures {
        self.figures
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_times_all_figures_are_nought() {
        assert_eq!(Times::default().figures(), Figures::default());
    }

    #[test]
    fn a_hundred_times_give_their_percentiles() {
        let mut times = Times::default();
        times.add((1..=100).map(Duration::from_millis));
        let Figures {
            count,
            p50_ms,
            p99_ms,
            max_ms,
        } = times.figures();
        assert_eq!((count, p50_ms, p99_ms, max_ms), (100, 50, 99, 100));
    }

    #[test]
    fn old_times_are_forgotten() {
        let mut times = Times::default();
        times.add([Duration::from_secs(60)]);
        times.add(std::iter::repeat_n(Duration::from_millis(5), KEPT));
        assert_eq!((times.figures().count, times.figures().max_ms), (KEPT, 5));
    }
}
