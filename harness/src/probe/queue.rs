//! Postfix's queue as `postqueue -j` prints it: one JSON object a message, one line each (postqueue(1)). Pure; the
//! program is run by whoever can run programs on the node.

use serde::Deserialize;

/// A recipient that a message still waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The message's queue id.
    pub queue_id: String,
    /// `incoming`, `active`, `deferred`, `hold`, `corrupt`, `maildrop`.
    pub queue: String,
    /// Envelope sender; empty for bounces.
    pub sender: String,
    /// The recipient's address.
    pub recipient: String,
    /// Why it was not delivered at the last attempt, if there was one.
    pub reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    queue_name: String,
    queue_id: String,
    #[serde(default)]
    sender: String,
    #[serde(default)]
    recipients: Vec<Recipient>,
}

#[derive(Deserialize)]
struct Recipient {
    address: String,
    delay_reason: Option<String>,
}

/// A line that is no message.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of postqueue -j: {source}: {text:?}")]
pub struct QueueError {
    line: usize,
    text: String,
    source: serde_json::Error,
}

/// The command line whose output [`parse`] reads.
pub const COMMAND: [&str; 2] = ["postqueue", "-j"];

/// Reads the output of `postqueue -j`: one entry a message and recipient, in the order printed. A message whose
/// recipients are not known yet (still being received) is one entry with an empty recipient: it waits, too.
pub fn parse(output: &str) -> Result<Vec<Waiting>, QueueError> {
    let mut waiting = Vec::new();
    for (number, text) in output.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let message: Message = serde_json::from_str(text).map_err(|source| QueueError {
            line: number + 1,
            text: text.chars().take(200).collect(),
            source,
        })?;
        let entry = |recipient: String, reason| Waiting {
            queue_id: message.queue_id.clone(),
            queue: message.queue_name.clone(),
            sender: message.sender.clone(),
            recipient,
            reason,
        };
        if message.recipients.is_empty() {
            waiting.push(entry(String::new(), None));
        }
        waiting.extend(message.recipients.into_iter().map(|r| entry(r.address, r.delay_reason)));
    }
    Ok(waiting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_recorded_queue_gives_one_entry_a_message_and_recipient() {
        insta::assert_debug_snapshot!(parse(include_str!("fixtures/queue.jsonl")).unwrap());
    }

    #[test]
    fn an_empty_queue_is_empty() {
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn a_message_without_known_recipients_waits_too() {
        let output = r#"{"queue_name":"incoming","queue_id":"4f","sender":"a@b","recipients":[]}"#;
        let waiting = parse(output).unwrap();
        assert_eq!((waiting.len(), waiting[0].recipient.as_str()), (1, ""));
    }

    #[test]
    fn a_line_that_is_no_message_is_an_error_with_its_number() {
        let error = parse("{\"queue_name\":\"hold\",\"queue_id\":\"4f\"}\nMail system is down\n").unwrap_err();
        assert!(error.to_string().starts_with("line 2 of postqueue -j"), "{error}");
    }

    proptest! {
        #[test]
        fn every_recipient_of_every_message_is_found(messages in proptest::collection::vec(proptest::collection::vec("[a-z]{1,8}@[a-z]{1,8}", 1..4), 0..6)) {
            let line = |recipients: &Vec<String>| {
                let recipients: Vec<_> = recipients.iter().map(|a| serde_json::json!({ "address": a })).collect();
                serde_json::json!({ "queue_name": "deferred", "queue_id": "4f", "recipients": recipients }).to_string()
            };
            let output: String = messages.iter().map(|m| line(m) + "\n").collect();
            let found: Vec<String> = parse(&output).unwrap().into_iter().map(|w| w.recipient).collect();
            prop_assert_eq!(found, messages.concat());
        }
    }
}
