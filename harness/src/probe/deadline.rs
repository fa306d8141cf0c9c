//! One time limit for all steps of an operation, and the error that says where it stood when something went wrong.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// The moment by which an operation must have ended, whatever it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    end: Instant,
    total: Duration,
}

/// A [`Deadline`] passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl Deadline {
    /// Starts now and ends after `total`.
    pub fn after(total: Duration) -> Self {
        Self {
            end: Instant::now() + total,
            total,
        }
    }

    /// The whole time that was granted, for error texts.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// What is left; zero when it has passed.
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// An equal share of what is left for the first of `parts` attempts, so that a silent host cannot use up the time
    /// of those that come after it.
    pub fn share(&self, parts: usize) -> Self {
        let parts = u32::try_from(parts.max(1)).unwrap_or(u32::MAX);
        Self {
            end: Instant::now() + self.left() / parts,
            total: self.total,
        }
    }

    /// The same deadline, or `limit` from now if that is earlier.
    pub fn at_most(&self, limit: Duration) -> Self {
        Self {
            end: self.end.min(Instant::now() + limit),
            total: self.total,
        }
    }

    /// Waits for `work`, but not beyond the deadline.
    pub async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        timeout_at(self.end, work).await.map_err(|_| Elapsed)
    }
}

/// Why an operation of a client failed, and where: the cause is the protocol's own type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure<C> {
    /// The server's name and address.
    pub host: String,
    /// What was being done.
    pub step: &'static str,
    /// The time that the whole operation had.
    pub deadline: Duration,
    /// The last line that the server said, if it said anything.
    pub last_line: Option<String>,
    /// What went wrong.
    pub cause: C,
}

impl<C: fmt::Display> fmt::Display for Failure<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deadline = humantime::format_duration(self.deadline);
        write!(f, "{}: {}: {} (deadline {deadline}", self.host, self.step, self.cause)?;
        match &self.last_line {
            Some(line) => write!(f, "; last line: {line:?})"),
            None => write!(f, "; the server said nothing)"),
        }
    }
}

impl<C: fmt::Debug + fmt::Display> std::error::Error for Failure<C> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_takes_longer_than_the_deadline_is_given_up() {
        let deadline = Deadline::after(Duration::from_secs(3));
        assert_eq!(deadline.within(std::future::pending::<()>()).await, Err(Elapsed));
        assert_eq!(deadline.left(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_leaves_the_rest_for_those_that_come_after() {
        let deadline = Deadline::after(Duration::from_secs(9));
        let first = deadline.share(3);
        assert_eq!(first.left(), Duration::from_secs(3));
        assert_eq!(first.within(std::future::pending::<()>()).await, Err(Elapsed));
        assert_eq!(deadline.share(2).left(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_never_lengthens_a_deadline() {
        let deadline = Deadline::after(Duration::from_secs(2));
        assert_eq!(deadline.at_most(Duration::from_secs(5)).left(), Duration::from_secs(2));
        assert_eq!(deadline.at_most(Duration::from_secs(1)).left(), Duration::from_secs(1));
    }

    #[test]
    fn a_failure_names_host_step_cause_deadline_and_last_line() {
        let mut failure = Failure {
            host: "mail1 (192.168.1.10:993)".into(),
            step: "log in",
            deadline: Duration::from_secs(10),
            last_line: Some("* OK Dovecot ready.".into()),
            cause: "connection closed",
        };
        insta::assert_snapshot!(failure, @r#"mail1 (192.168.1.10:993): log in: connection closed (deadline 10s; last line: "* OK Dovecot ready.")"#);
        failure.last_line = None;
        insta::assert_snapshot!(failure, @"mail1 (192.168.1.10:993): log in: connection closed (deadline 10s; the server said nothing)");
    }
}
