//! What strangers meet: open and closed ports, and SMTP dialogues that must be refused.

use std::time::Duration;

use tokio::time::Instant;

use super::specimens;
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
    let user = run.topology.users.first().map_or("", String::as_str);
    let dialogues = dialogues(what, &run.topology.domain, user);
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

/// Lines to send, and which of the replies must be a refusal.
struct Dialogue {
    /// What is refused, for people.
    what: String,
    lines: Vec<String>,
    /// Position of the reply, of which the greeting is the first.
    refused: usize,
    /// What the reply must tell of, in small letters.
    tells: &'static str,
    /// The reply is to be 4xx, so that the message comes again.
    for_now: bool,
    /// A message is sent: the reply before must be a 354.
    message: bool,
    /// Replies to EHLO must not offer AUTH.
    without_auth: bool,
}

const EHLO: &str = "EHLO probe.sender.example";
const FROM: &str = "MAIL FROM:<ledger@sender.example>";
/// Its policy is to refuse what nobody vouches for, and nobody may send for it.
const FORGED: &str = "ledger@strict.example";
const QUIT: &str = "QUIT";

/// Position of the reply to the end of a message.
const END_OF_MESSAGE: usize = 5;

fn dialogue(refused: &str, before: &[&str], position: usize) -> Dialogue {
    let last = [refused, QUIT];
    let lines = before.iter().chain(&last);
    Dialogue {
        what: refused.to_owned(),
        lines: lines.map(|line| (*line).to_owned()).collect(),
        refused: position,
        tells: "",
        for_now: false,
        message: false,
        without_auth: false,
    }
}

/// A message whose end must be refused.
fn message(what: &str, to: &str, contents: &str, tells: &'static str) -> Dialogue {
    message_from([FROM, "From: ledger@sender.example"], what, to, contents, tells)
}

/// As [`message`] by the sender in these two lines: the command, and what people read.
fn message_from(sender: [&str; 2], what: &str, to: &str, contents: &str, tells: &'static str) -> Dialogue {
    let [envelope, from] = sender;
    let recipient = format!("RCPT TO:<{to}>");
    let headers = [
        from,
        &format!("To: {to}"),
        &format!("Subject: {what}"),
        "MIME-Version: 1.0",
    ]
    .map(str::to_owned);
    let begin = [EHLO, envelope, &recipient, "DATA"].map(str::to_owned);
    let end = [".", QUIT].map(str::to_owned);
    let contents = contents.lines().map(str::to_owned);
    Dialogue {
        what: what.to_owned(),
        lines: begin.into_iter().chain(headers).chain(contents).chain(end).collect(),
        refused: END_OF_MESSAGE,
        tells,
        for_now: false,
        message: true,
        without_auth: false,
    }
}

fn dialogues(what: Refusal, domain: &str, user: &str) -> Vec<Dialogue> {
    let recipient = |address: String| dialogue(&format!("RCPT TO:<{address}>"), &[EHLO, FROM], 3);
    match what {
        Refusal::Relay => vec![
            recipient("stranger@elsewhere.example".into()),
            recipient(format!("stranger%elsewhere.example@{domain}")),
            recipient(format!("\"stranger@elsewhere.example\"@{domain}")),
            recipient(format!("@{domain}:stranger@elsewhere.example")),
        ],
        Refusal::UnknownUser => vec![recipient(format!("nobody-of-that-name@{domain}"))],
        // base64 of NUL "probe" NUL "probe": the reply is the same for any password, so none is needed.
        Refusal::ClearTextLogin => vec![Dialogue {
            without_auth: true,
            ..dialogue("AUTH PLAIN AHByb2JlAHByb2Jl", &[EHLO], 2)
        }],
        Refusal::SpamTest => vec![message(
            "the test message for spam",
            user,
            &specimens::spam_test(),
            "gtube",
        )],
        Refusal::Virus => vec![
            message("the test file for viruses", user, &specimens::virus_attached(), "virus"),
            message(
                "the same in a forwarded message",
                user,
                &specimens::virus_forwarded(),
                "virus",
            ),
        ],
        Refusal::Program => vec![message("a program", user, &specimens::program(), "attachment")],
        Refusal::Forgery => {
            let (envelope, from) = (format!("MAIL FROM:<{FORGED}>"), format!("From: {FORGED}"));
            let forged = |what: &str, envelope: &str| {
                let tells = "not from whom it says";
                message_from([envelope, &from], what, user, &specimens::harmless(), tells)
            };
            vec![
                forged("a forged sender", &envelope),
                forged("a forged From line behind an envelope of its own", FROM),
            ]
        }
        Refusal::Unseen => vec![Dialogue {
            for_now: true,
            ..message("a harmless message", user, &specimens::harmless(), "")
        }],
    }
}

impl Dialogue {
    fn judge(&self, replies: &[String]) -> Result<String, Miss> {
        let offers_auth = |reply: &String| {
            reply.lines().any(|line| {
                let word = line.get(4..).unwrap_or_default().trim_start();
                word.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("AUTH"))
            })
        };
        if self.for_now {
            return self.judge_for_now(replies);
        }
        let Some(reply) = replies.get(self.refused) else {
            return Err(Miss::NotYet(format!(
                "the server hung up after {} replies",
                replies.len()
            )));
        };
        if self.without_auth && replies.get(1).is_some_and(offers_auth) {
            return Err(Miss::Wrong("AUTH is offered before STARTTLS".into()));
        }
        let before = &replies[self.refused - 1];
        if self.message && !before.starts_with("354") {
            let text = format!("`{}` could not be sent: {}", self.what, before.trim());
            return Err(Miss::NotYet(text));
        }
        match reply.chars().next() {
            Some('5') if reply.to_lowercase().contains(self.tells) => Ok(reply.trim().to_owned()),
            Some('5') => Err(Miss::NotYet(format!(
                "`{}` is refused for another reason than {:?}: {}",
                self.what,
                self.tells,
                reply.trim()
            ))),
            Some('4') => Err(Miss::NotYet(format!(
                "`{}` is only refused for now: {}",
                self.what,
                reply.trim()
            ))),
            _ => Err(Miss::Wrong(format!("`{}` is not refused: {}", self.what, reply.trim()))),
        }
    }

    /// Any reply may be the one that puts the sender off, but the message must not have been taken, nor be lost.
    fn judge_for_now(&self, replies: &[String]) -> Result<String, Miss> {
        let off = replies.iter().skip(1).find(|reply| !reply.starts_with(['2', '3']));
        match off {
            Some(reply) if reply.starts_with('4') => Ok(reply.trim().to_owned()),
            Some(reply) => Err(Miss::Wrong(format!(
                "`{}` is refused for good: {}",
                self.what,
                reply.trim()
            ))),
            None if replies.len() > self.refused => Err(Miss::Wrong(format!(
                "`{}` is taken: {}",
                self.what,
                replies[self.refused].trim()
            ))),
            None => Err(Miss::NotYet(format!(
                "the server hung up after {} replies",
                replies.len()
            ))),
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
        let dialogue = &dialogues(Refusal::Relay, "example.org", "alice@example.org")[0];
        let seen = dialogue.judge(&replies(&["220 hi", "250 hi", "250 ok", "250 ok", "221 bye"]));
        assert!(matches!(seen, Err(Miss::Wrong(_))), "{seen:?}");
    }

    #[test]
    fn a_temporary_refusal_proves_nothing() {
        let dialogue = &dialogues(Refusal::Relay, "example.org", "alice@example.org")[0];
        let seen = dialogue.judge(&replies(&["220 hi", "250 hi", "250 ok", "450 later", "221 bye"]));
        assert!(matches!(seen, Err(Miss::NotYet(_))), "{seen:?}");
    }

    #[test]
    fn auth_in_a_clear_text_greeting_is_wrong_even_if_it_is_not_taken() {
        let dialogue = &dialogues(Refusal::ClearTextLogin, "example.org", "alice@example.org")[0];
        let seen = dialogue.judge(&replies(&[
            "220 hi",
            "250-hi\n250-AUTH PLAIN\n250 OK",
            "530 TLS first",
            "221 bye",
        ]));
        assert!(matches!(seen, Err(Miss::Wrong(_))), "{seen:?}");
    }

    /// What is seen of the test virus with these answers to its recipient and to what follows.
    fn virus(answers: &[&str]) -> Result<String, Miss> {
        let greetings = ["220 hi", "250 hi", "250 ok"];
        let dialogue = dialogues(Refusal::Virus, "example.org", "alice@example.org").remove(0);
        dialogue.judge(&replies(&[&greetings, answers].concat()))
    }

    #[test]
    fn a_virus_that_is_taken_is_wrong() {
        let seen = virus(&["250 ok", "354 go", "250 queued"]);
        assert!(matches!(seen, Err(Miss::Wrong(_))), "{seen:?}");
    }

    #[test]
    fn a_virus_that_could_not_be_sent_proves_nothing() {
        let seen = virus(&["550 who?", "554 no valid recipients", "500 what?"]);
        assert!(matches!(seen, Err(Miss::NotYet(_))), "{seen:?}");
    }

    #[test]
    fn a_virus_that_is_refused_for_another_reason_proves_nothing() {
        let seen = virus(&["250 ok", "354 go", "554 5.7.1 an attachment of this kind is not taken"]);
        assert!(matches!(seen, Err(Miss::NotYet(_))), "{seen:?}");
    }

    #[test]
    fn mail_that_nobody_looked_at_must_wait_and_not_be_lost() {
        let dialogue = &dialogues(Refusal::Unseen, "example.org", "alice@example.org")[0];
        let off = dialogue.judge(&replies(&["220 hi", "250 hi", "451 4.7.1 come again", "503 what?"]));
        assert!(off.is_ok(), "{off:?}");
        let lost = dialogue.judge(&replies(&[
            "220 hi",
            "250 hi",
            "250 ok",
            "250 ok",
            "354 go",
            "554 5.7.1 no",
        ]));
        assert!(matches!(lost, Err(Miss::Wrong(_))), "{lost:?}");
        let taken = dialogue.judge(&replies(&[
            "220 hi",
            "250 hi",
            "250 ok",
            "250 ok",
            "354 go",
            "250 queued",
            "221 bye",
        ]));
        assert!(matches!(taken, Err(Miss::Wrong(_))), "{taken:?}");
    }
}
