//! Mailboxes that Dovecot delivers to just now, one message each. Its record of what was delivered before, by which a message
//! that comes again is known, loses what two deliveries add at the same time: each writes back what it read at its beginning
//! and its own entry, and the last one wins (`mail_duplicate_transaction_commit` in Dovecot 2.4.1).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lockable::{AsyncLimit, Lockable, LockableHashMap};
use tokio::time::{Instant, timeout_at};

/// One mailbox, for as long as it is kept.
pub type Kept = <Locks as Lockable<String, ()>>::OwnedGuard;

/// Nothing is ever put into it: a guard can outlive the session that has taken it only with this one of the crate.
type Locks = LockableHashMap<String, ()>;

/// The mailboxes that are being delivered to.
pub struct Mailboxes(Arc<Locks>);

impl Default for Mailboxes {
    fn default() -> Mailboxes {
        Mailboxes(Arc::new(Locks::new()))
    }
}

impl Mailboxes {
    /// Waits until nobody else delivers to any of these recipients, named as by [`mailbox`]. What is not free within `longest`
    /// is not waited for: that a message may be doubled later is better than that it is refused now.
    pub async fn keep(&self, mailboxes: &[String], longest: Duration) -> Vec<Kept> {
        let until = Instant::now() + longest;
        // All in one order, so that two messages for the same people never wait for each other.
        let mailboxes = BTreeSet::from_iter(mailboxes);
        let mut kept = Vec::with_capacity(mailboxes.len());
        for mailbox in mailboxes {
            let free = self.0.async_lock_owned(mailbox.clone(), AsyncLimit::no_limit());
            match timeout_at(until, free).await {
                Ok(Ok(free)) => kept.push(free),
                Err(_) => break,
            }
        }
        kept
    }
}

/// The mailbox that a RCPT command means: `user+tag@Domain` is delivered to `user@domain`.
pub fn mailbox(command: &str) -> String {
    let path = command.split_once('<').map_or(command, |(_, rest)| rest);
    let address = path
        .rsplit_once('>')
        .map_or(path, |(address, _)| address)
        .to_lowercase();
    match address.split_once('@') {
        Some((local, domain)) => format!("{}@{domain}", local.split('+').next().unwrap_or_default()),
        None => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn tags_and_case_make_no_other_mailbox() {
        for command in [
            "RCPT TO:<Anna+list@Example.org>",
            "RCPT TO:<anna@example.org> NOTIFY=NEVER",
        ] {
            assert_eq!(mailbox(command), "anna@example.org");
        }
        assert_ne!(
            mailbox("RCPT TO:<anna@example.org>"),
            mailbox("RCPT TO:<anna@example.com>")
        );
    }

    #[tokio::test]
    async fn a_mailbox_is_kept_by_one_at_a_time() {
        let mailboxes = Mailboxes::default();
        let first = mailboxes.keep(&names(&["anna", "bert"]), SOON).await;
        assert_eq!(first.len(), 2);
        assert!(mailboxes.keep(&names(&["bert"]), SOON).await.is_empty());
        assert_eq!(mailboxes.keep(&names(&["carl"]), SOON).await.len(), 1);
        drop(first);
        assert_eq!(mailboxes.keep(&names(&["bert"]), SOON).await.len(), 1);
    }

    #[tokio::test]
    async fn somebody_who_is_named_twice_does_not_wait_for_himself() {
        assert_eq!(
            Mailboxes::default().keep(&names(&["anna", "anna"]), SOON).await.len(),
            1
        );
    }
}
