//! What Debian mail nodes can run besides webmail and delivery: SOGo and amavisd.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// SOGo on both mail nodes: calendars and address books (CalDAV, CardDAV) and its own webmail, at `/SOGo/` under webmail's
/// name. Users log in with their mailbox's address and password. What they keep lies in the database `sogo`, which has to be
/// replicated. Left out, it does not run.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sogo {
    /// The time zone of whoever has not chosen one, as in `/usr/share/zoneinfo`: `Europe/Istanbul`.
    #[serde(default = "utc")]
    pub time_zone: String,
}

/// amavisd on both mail nodes, between Postfix and the mailboxes: marks spam by SpamAssassin's rules, for the folder Junk, and
/// keeps back attachments that Windows would run. What it keeps back lies in the database `amavisd`, which has to be
/// replicated, so that either node can release it. Left out, it does not run; a gateway's `[filter]` is another thing, and
/// both can be described.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Amavisd {
    /// Whether SpamAssassin asks lists in the internet about senders and links, too. Without them it knows less.
    #[serde(default = "yes")]
    pub network_tests: bool,
    /// Days for which it is kept what was seen, and what was kept back.
    #[serde(default = "thirty")]
    pub quarantine_days: u32,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn yes() -> bool {
    true
}

fn thirty() -> u32 {
    30
}
