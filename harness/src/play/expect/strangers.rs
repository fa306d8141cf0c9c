//! What strangers meet: open and closed ports, and SMTP dialogues that must be refused.

use std::time::Duration;

use tokio::time::Instant;

use crate::fleet::{Door, Vantage};
use crate::play::run::Run;
use crate::play::step::{Miss, poll};
use crate::record::StepResult;
use crate::scenario::expectation::{DoorState, Refusal};

/// Time between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// A closed door that is seen open is wrong at once; an open one may need time.
pub(super) async fn door(
    run: &Run,
    from: Vantage,
    node: &str,
    port: u16,
    state: DoorState,
    until: Instant,
) -> StepResult {
    poll(run, until, PAUSE, async || {
        let seen = run
            .fleet
            .knock(from, node, port)
            .await
            .map_err(|error| Miss::NotYet(error.to_string()))?;
        match (state, seen) {
            (DoorState::Open, Door::Open) => Ok("it is open".into()),
            (DoorState::Closed, Door::Refused) => Ok("it is refused".into()),
            (DoorState::Closed, Door::Silent) => Ok("nothing answers".into()),
            (DoorState::Closed, Door::Open) => Err(Miss::Wrong(format!("port {port} of {node} is open"))),
            (DoorState::Open, Door::Refused) => Err(Miss::NotYet(format!("port {port} of {node} is refused"))),
            (DoorState::Open, Door::Silent) => Err(Miss::NotYet(format!("port {port} of {node} does not answer"))),
        }
    })
    .await
}

/// Plays the dialogues of a refusal; the first reply that should have been a refusal and is none is wrong at once.
pub(super) async fn smtp_refuses(
    run: &Run,
    from: Vantage,
    node: &str,
    port: u16,
    what: Refusal,
    until: Instant,
) -> StepResult {
    let dialogues = dialogues(what, &run.topology.domain);
    poll(run, until, PAUSE, async || {
        let mut seen = Vec::new();
        for dialogue in &dialogues {
            let lines: Vec<String> = dialogue.lines.clone();
            let replies = run.fleet.smtp_dialogue(from, node, port, &lines).await;
            let replies = replies.map_err(|error| Miss::NotYet(error.to_string()))?;
            seen.push(dialogue.judge(&replies)?);
        }
        let count = seen.len();
        let first = seen.into_iter().next().unwrap_or_default();
        Ok(format!("{count} of {count} attempts refused: {first}"))
    })
    .await
}

/// Lines to send, and which of them must be refused.
struct Dialogue {
    lines: Vec<String>,
    /// Position of the line that must be refused.
    refused: usize,
    /// Replies to EHLO must not offer AUTH.
    without_auth: bool,
}

fn dialogues(what: Refusal, domain: &str) -> Vec<Dialogue> {
    let ehlo = "EHLO probe.sender.example".to_owned();
    let from = "MAIL FROM:<ledger@sender.example>".to_owned();
    let quit = "QUIT".to_owned();
    let recipient = |address: String| Dialogue {
        lines: vec![ehlo.clone(), from.clone(), format!("RCPT TO:<{address}>"), quit.clone()],
        refused: 2,
        without_auth: false,
    };
    match what {
        Refusal::Relay => vec![
            recipient("stranger@elsewhere.example".into()),
            recipient(format!("stranger%elsewhere.example@{domain}")),
            recipient(format!("\"stranger@elsewhere.example\"@{domain}")),
            recipient(format!("@{domain}:stranger@elsewhere.example")),
        ],
        Refusal::UnknownUser => vec![recipient(format!("nobody-of-that-name@{domain}"))],
        Refusal::ClearTextLogin => vec![Dialogue {
            // base64 of NUL "probe" NUL "probe": the reply is the same for any password, so none is needed.
            lines: vec![ehlo.clone(), "AUTH PLAIN AHByb2JlAHByb2Jl".into(), quit.clone()],
            refused: 1,
            without_auth: true,
        }],
    }
}

impl Dialogue {
    fn judge(&self, replies: &[String]) -> Result<String, Miss> {
        // replies[0] is the greeting.
        let offers_auth = |reply: &String| {
            reply.lines().any(|line| {
                let word = line.get(4..).unwrap_or_default().trim_start();
                word.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("AUTH"))
            })
        };
        let Some(reply) = replies.get(self.refused + 1) else {
            return Err(Miss::NotYet(format!(
                "the server hung up after {} replies",
                replies.len()
            )));
        };
        if self.without_auth && replies.get(1).is_some_and(offers_auth) {
            return Err(Miss::Wrong("AUTH is offered before STARTTLS".into()));
        }
        let line = &self.lines[self.refused];
        match reply.chars().next() {
            Some('5') => Ok(reply.trim().to_owned()),
            Some('4') => Err(Miss::NotYet(format!(
                "`{line}` is only refused for now: {}",
                reply.trim()
            ))),
            _ => Err(Miss::Wrong(format!("`{line}` is not refused: {}", reply.trim()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn an_accepted_foreign_recipient_is_wrong() {
        let dialogue = &dialogues(Refusal::Relay, "example.org")[0];
        let seen = dialogue.judge(&replies(&["220 hi", "250 hi", "250 ok", "250 ok", "221 bye"]));
        assert!(matches!(seen, Err(Miss::Wrong(_))), "{seen:?}");
    }

    #[test]
    fn a_temporary_refusal_proves_nothing() {
        let dialogue = &dialogues(Refusal::Relay, "example.org")[0];
        let seen = dialogue.judge(&replies(&["220 hi", "250 hi", "250 ok", "450 later", "221 bye"]));
        assert!(matches!(seen, Err(Miss::NotYet(_))), "{seen:?}");
    }

    #[test]
    fn auth_in_a_clear_text_greeting_is_wrong_even_if_it_is_not_taken() {
        let dialogue = &dialogues(Refusal::ClearTextLogin, "example.org")[0];
        let seen = dialogue.judge(&replies(&[
            "220 hi",
            "250-hi\n250-AUTH PLAIN\n250 OK",
            "530 TLS first",
            "221 bye",
        ]));
        assert!(matches!(seen, Err(Miss::Wrong(_))), "{seen:?}");
    }
}
