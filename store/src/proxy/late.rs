//! Messages of which Dovecot has the end and has not said in time what became of them. The gateway was told to come again, and
//! Dovecot may store them all the same. Until that is known nothing else is delivered to these mailboxes: Dovecot's record of
//! what was delivered before would lose the message, and the gateway's next try would be a second copy.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;
use tracing::{info, warn};

use super::backend::{Backend, Reply};
use super::mailboxes::Kept;
use crate::deliveries::UnderWay;

/// For so long Dovecot is believed to store it still (RFC 5321, 4.5.3.2.6, for the end of DATA).
const LONGEST: Duration = Duration::from_secs(600);

/// A message that Dovecot stores, and what it keeps from others meanwhile.
pub struct Late {
    /// The connection on which Dovecot owes its replies.
    pub backend: Backend,
    /// Replies that have come, one a recipient.
    pub replies: Vec<Reply>,
    /// How many there have to be.
    pub recipients: usize,
    /// The message, if a gateway has given it a queue id.
    pub under_way: Option<UnderWay>,
    /// Its mailboxes.
    pub kept: Vec<Kept>,
    /// Its turn to be delivered.
    pub turn: Option<OwnedSemaphorePermit>,
}

impl Late {
    /// Waits until Dovecot has answered, or has gone, and remembers what it has stored.
    pub async fn end(mut self) {
        let begun = Instant::now();
        self.backend.be_patient(LONGEST);
        while self.replies.len() < self.recipients {
            match self.backend.reply().await {
                Ok(reply) => self.replies.push(reply),
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    warn!("a message that Dovecot took {LONGEST:?} ago is not waited for any more");
                    break;
                }
                // Its own record has what it stored.
                Err(_) => break,
            }
        }
        let stored: Vec<bool> = self.replies.iter().map(Reply::is_good).collect();
        if stored.contains(&true) {
            info!(
                "Dovecot has stored a message {:.0?} after it was answered for",
                begun.elapsed()
            );
        }
        if let Some(under_way) = self.under_way.take() {
            under_way.delivered(&stored);
        }
        // Only now: whoever gets the mailbox next has to find that message among those delivered.
        drop((self.kept, self.turn));
    }
}
