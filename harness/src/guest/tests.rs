//! The agent's connection against a fake agent that misbehaves in every way that was seen on real machines.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::fake::{Act, fake};
use super::wire::Wire;
use super::{Agent, GuestError};
use crate::fleet::qemu::Exit;

const LIMIT: Duration = Duration::from_secs(10);

fn name(command: &Value) -> &str {
    command["execute"].as_str().expect("a command has a name")
}

/// An agent as it should be, that runs every command for `polls` questions.
fn healthy(polls: usize) -> impl FnMut(usize, &Value) -> Act + Send {
    let mut asked = 0;
    move |_, command| match name(command) {
        "guest-sync-delimited" => Act::sync(command),
        "guest-exec" => Act::reply(json!({ "pid": 7 })),
        "guest-exec-status" if asked < polls => {
            asked += 1;
            Act::reply(json!({ "exited": false }))
        }
        "guest-exec-status" => {
            Act::reply(json!({ "exited": true, "exitcode": 0, "out-data": "b3V0Cg==", "err-data": "ZXJyCg==" }))
        }
        _ => Act::reply(json!({})),
    }
}

#[tokio::test]
async fn a_healthy_agent_answers() {
    let fake = fake(healthy(0));
    fake.agent.ping(LIMIT).await.expect("an answer");
}

#[tokio::test]
async fn both_outputs_of_a_command_are_kept_apart() {
    let fake = fake(healthy(2));
    let output = fake.agent.exec(&["true"], None, LIMIT).await.expect("an output");
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
}

#[tokio::test]
async fn what_an_earlier_conversation_left_is_skipped() {
    let fake = fake(|_, command| match name(command) {
        "guest-sync-delimited" => {
            let Act::Say(sync) = Act::sync(command) else {
                unreachable!("a sync is said")
            };
            let garbage =
                b"{\"return\": {\"pid\": 1}}\n{\"error\": half a line \xFF{\"return\": 1}\n\xFF\xFF{}\n".as_slice();
            Act::Say([garbage, &sync].concat())
        }
        _ => Act::reply(json!(1_700_000_000_000_000_000_i64)),
    });
    fake.agent.time(LIMIT).await.expect("the right answer");
}

#[tokio::test]
async fn an_agent_that_starts_late_is_reached_by_a_fresh_connection() {
    let fake = fake(|connection, command| match (connection, name(command)) {
        (0, _) => Act::Close,
        (_, "guest-sync-delimited") => Act::sync(command),
        _ => Act::reply(json!({})),
    });
    fake.agent.ping(LIMIT).await.expect("an answer");
}

#[tokio::test]
async fn an_agent_that_hangs_is_given_up_at_the_deadline() {
    let fake = fake(|_, _| Act::Hang);
    let error = fake
        .agent
        .ping(Duration::from_millis(150))
        .await
        .expect_err("no answer");
    insta::assert_snapshot!(error, @"mail1: guest agent: not done within 150ms; the guest agent did not answer to being brought in step");
}

#[tokio::test]
async fn the_connection_recovers_by_itself_after_a_hang() {
    let fake = fake(|connection, command| match (connection, name(command)) {
        (_, "guest-sync-delimited") => Act::sync(command),
        (0, _) => Act::Hang,
        _ => Act::reply(json!({})),
    });
    fake.agent
        .ping(Duration::from_millis(100))
        .await
        .expect_err("no answer at first");
    fake.agent.ping(LIMIT).await.expect("an answer later");
}

#[tokio::test]
async fn a_command_is_sent_once_even_if_its_answer_never_comes() {
    let (sender, mut sent) = tokio::sync::mpsc::unbounded_channel();
    let fake = fake(move |connection, command| match name(command) {
        "guest-sync-delimited" => Act::sync(command),
        "guest-exec" => {
            sender.send(connection).expect("the test listens");
            Act::Close
        }
        _ => Act::reply(json!({})),
    });
    fake.agent.exec(&["true"], None, LIMIT).await.expect_err("no answer");
    fake.agent.ping(LIMIT).await.expect("an answer to something else");
    assert_eq!((sent.recv().await, sent.try_recv().ok()), (Some(0), None));
}

#[tokio::test]
async fn the_end_of_the_machine_ends_every_wait_at_once() {
    let fake = fake(|_, _| Act::Hang);
    let agent = fake.agent.clone();
    let begin = Instant::now();
    let (result, ()) = tokio::join!(agent.ping(LIMIT), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        fake.exit.announce(Exit::Signal(Signal::SIGKILL));
    });
    assert!(matches!(result, Err(GuestError::MachineEnded { .. })) && begin.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_hang_up_of_the_agent_ends_the_command_under_way() {
    let fake = fake(|connection, command| match (connection, name(command)) {
        (_, "guest-sync-delimited") => Act::sync(command),
        (0, _) => Act::Hang,
        _ => Act::reply(json!({})),
    });
    let agent = fake.agent.clone();
    let (result, ()) = tokio::join!(agent.ping(LIMIT), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        fake.agent.hang_up();
    });
    insta::assert_snapshot!(result.expect_err("no answer"), @"mail1: guest agent: the guest agent hung up");
}

#[tokio::test]
async fn a_connection_from_before_a_hang_up_is_not_used_again() {
    let fake = fake(|connection, command| match (connection, name(command)) {
        (_, "guest-sync-delimited") => Act::sync(command),
        (connection, _) => Act::reply(json!(1_000_000_000 * (connection as i64))),
    });
    fake.agent.time(LIMIT).await.expect("an answer");
    fake.agent.hang_up();
    let second = fake.agent.time(LIMIT).await.expect("an answer");
    assert_eq!(second, std::time::UNIX_EPOCH + Duration::from_secs(1));
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_no_answer_to_the_next() {
    let fake = fake(|connection, command| match (connection, name(command)) {
        (_, "guest-sync-delimited") => Act::sync(command),
        (0, _) => Act::Hang,
        _ => Act::reply(json!({})),
    });
    let _ = tokio::time::timeout(Duration::from_millis(50), fake.agent.ping(LIMIT)).await;
    fake.agent.ping(LIMIT).await.expect("an answer");
}

#[tokio::test]
async fn output_that_was_cut_short_is_an_error() {
    let fake = fake(|_, command| match name(command) {
        "guest-sync-delimited" => Act::sync(command),
        "guest-exec" => Act::reply(json!({ "pid": 7 })),
        _ => Act::reply(json!({ "exited": true, "exitcode": 0, "out-data": "eA==", "out-truncated": true })),
    });
    let error = fake.agent.exec(&["yes"], None, LIMIT).await.expect_err("cut short");
    insta::assert_snapshot!(error, @"mail1: yes: its output exceeded the guest agent's limit and was cut short");
}

#[tokio::test]
async fn a_command_that_does_not_end_is_given_up_at_the_deadline() {
    let fake = fake(healthy(usize::MAX));
    let error = fake
        .agent
        .exec(&["sleep", "60"], None, Duration::from_millis(200))
        .await
        .expect_err("running");
    insta::assert_snapshot!(error, @"mail1: sleep 60: not done within 200ms; the command was still running, and may go on");
}

#[tokio::test]
async fn a_command_outlives_a_silence_of_its_agent() {
    let mut silences = 1;
    let mut agent = healthy(0);
    let fake = fake(move |connection, command| {
        if name(command) == "guest-exec-status" && silences > 0 {
            silences -= 1;
            return Act::Hang;
        }
        agent(connection, command)
    });
    let output = fake.agent.exec(&["true"], None, LIMIT).await.expect("an output");
    assert_eq!(output.status, 0);
}

#[tokio::test]
async fn an_agents_refusal_is_told_in_its_words() {
    let fake = fake(|_, command| match name(command) {
        "guest-sync-delimited" => Act::sync(command),
        _ => Act::Say(b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such file\"}}\n".to_vec()),
    });
    let error = fake.agent.read_file("/nowhere", LIMIT).await.expect_err("refused");
    insta::assert_snapshot!(error, @"mail1: reading /nowhere: no such file");
}

#[tokio::test]
async fn a_failed_script_is_told_with_its_status_and_last_words() {
    let fake = fake(|_, command| match name(command) {
        "guest-sync-delimited" => Act::sync(command),
        "guest-exec" => Act::reply(json!({ "pid": 7 })),
        _ => Act::reply(json!({ "exited": true, "exitcode": 3, "out-data": "b3V0Cg==", "err-data": "ZXJyCg==" })),
    });
    let error = fake
        .agent
        .script("unpacking", "exit 3", &[], LIMIT)
        .await
        .expect_err("failed");
    insta::assert_snapshot!(error, @"mail1: unpacking: status 3: err");
}

#[tokio::test]
async fn commands_side_by_side_share_the_connection() {
    let fake = fake(healthy(3));
    let run = |agent: Agent| async move { agent.exec(&["true"], None, LIMIT).await };
    let all = futures::future::join_all((0..8).map(|_| run(fake.agent.clone()))).await;
    assert!(all.iter().all(Result::is_ok));
}

#[tokio::test]
async fn the_first_bytes_on_a_connection_reset_the_agents_parser() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("agent");
    let listener = tokio::net::UnixListener::bind(&socket).expect("a socket");
    let open = tokio::spawn(async move { Wire::open(&socket, 1).await });
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut first = [0];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first)
        .await
        .expect("a byte");
    open.abort();
    assert_eq!(first, [0xFF]);
}

#[tokio::test]
async fn a_missing_socket_is_named() {
    let fake = fake(healthy(0));
    std::fs::remove_file(&fake.socket).expect("removed");
    let error = fake
        .agent
        .ping(Duration::from_millis(100))
        .await
        .expect_err("nobody there");
    insta::assert_snapshot!(error, @"mail1: guest agent: not done within 100ms; the guest agent's socket: No such file or directory (os error 2)");
}
