//! The foreign mail server's own queue. A message that was refused for now (4xx) or found no host is tried again every
//! few seconds until it is accepted, as a real server does; each attempt is an operation of its own with the same id, so a
//! message counts as accepted as soon as one attempt got its 250. A permanent refusal (5xx) is final. An attempt whose
//! outcome is unknown is not repeated: a repetition could double a message that was taken.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::run::Run;
use crate::fleet::Mail;
use crate::record::Outcome;

/// Time between two passes through the queue.
const RETRY: Duration = Duration::from_secs(3);

/// What waits to be tried again, oldest first.
#[derive(Default)]
pub(super) struct Sender {
    waiting: Mutex<VecDeque<Mail>>,
}

impl Sender {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Mail>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many messages wait to be tried again.
    pub fn len(&self) -> usize {
        self.waiting().len()
    }
}

/// What a sender does after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing more: accepted, refused for good, or unknown.
    Leave,
    /// Try again later.
    Retry,
}

/// Hands over a message once; if it has to be tried again it goes into the queue.
pub(super) async fn submit(run: &Run, mail: Mail, deadline: Duration) -> Outcome {
    let outcome = run.send(&mail, deadline).await;
    if next(&outcome) == Next::Retry {
        run.sender.waiting().push_back(mail);
    }
    outcome
}

/// Goes through the queue every few seconds until `stop`. A pass ends at the first message that has to wait on, as all
/// would meet the same.
pub(super) async fn retry(run: Arc<Run>, deadline: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(RETRY) => {}
        }
        while let Some(mail) = { run.sender.waiting().front().cloned() } {
            let outcome = run.send(&mail, deadline).await;
            if next(&outcome) == Next::Retry {
                break;
            }
            run.sender.waiting().pop_front();
            if stop.is_cancelled() {
                return;
            }
        }
    }
}

fn next(outcome: &Outcome) -> Next {
    match outcome {
        Outcome::Fail { reason } if !is_permanent(reason) => Next::Retry,
        _ => Next::Leave,
    }
}

/// True if the reason of a failure is a permanent refusal: its reply code (RFC 5321 section 4.2), which is the first word
/// or follows the host's name and a colon, begins with 5.
fn is_permanent(reason: &str) -> bool {
    let code = reason
        .split([' ', '-'])
        .find(|word| word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit()));
    code.is_some_and(|code| code.starts_with('5'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_the_fifth_class_is_final() {
        assert!(is_permanent("gateway: 550 5.1.1 <x@example.org>: User unknown"));
        assert!(is_permanent("554-5.7.1 Relay access denied"));
    }

    #[test]
    fn a_reply_of_the_fourth_class_and_silence_are_not() {
        assert!(!is_permanent("gateway: 451 4.3.0 Temporary lookup failure"));
        assert!(!is_permanent("mail2: no answer"));
    }

    #[test]
    fn an_unknown_outcome_is_not_tried_again() {
        assert_eq!(
            next(&Outcome::Unknown {
                reason: "connection lost".into()
            }),
            Next::Leave
        );
    }
}
