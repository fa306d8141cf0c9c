//! Two agents over real TLS, each with a pool in memory.

mod duo;
mod lmtp;
mod pool;
mod roles;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use self::duo::{Duo, MAIL, futures_all};
use super::*;
use crate::core::{Doors, Standing};

#[tokio::test]
async fn a_new_cluster_begins_with_a_promote_and_the_other_node_gets_its_copy() {
    let duo = Duo::in_step(Policy::Defer).await;
    assert!(duo.nodes[0].pool.is_writable(MAIL) && !duo.nodes[1].pool.is_writable(MAIL));
}

#[tokio::test]
async fn mail_is_confirmed_only_when_the_peer_has_it() {
    let duo = Duo::in_step(Policy::Defer).await;
    duo.write(0, "one");
    assert_eq!(duo.commit(0).await, Committed::Both);
    assert!(duo.has(1, "one"));
}

#[tokio::test]
async fn what_nobody_waits_for_reaches_the_peer_as_well() {
    let mut duo = Duo::in_step(Policy::Defer).await;
    duo.write(0, "flags");
    let before = duo.nodes[0].status.borrow().newest;
    duo.until(0, "a new snapshot is there", |s| {
        s.newest != before && s.newest == s.peer_newest
    })
    .await;
    assert!(duo.has(1, "flags"));
}

#[tokio::test]
async fn many_who_wait_share_few_snapshots() {
    let duo = Duo::in_step(Policy::Defer).await;
    let before = duo.nodes[0].pool.snapshots_taken();
    for index in 0..100 {
        duo.write(0, &index.to_string());
    }
    let waits = (0..100).map(|_| duo.commit(0));
    let all = futures_all(waits).await;
    assert!(all.iter().all(|committed| *committed == Committed::Both));
    let taken = duo.nodes[0].pool.snapshots_taken() - before;
    assert!(taken <= 10, "{taken} snapshots for 100 messages");
}

#[tokio::test]
async fn without_the_peer_the_policy_decides() {
    for (policy, expected) in [(Policy::Accept, Committed::Alone), (Policy::Defer, Committed::Deferred)] {
        let mut duo = Duo::in_step(policy).await;
        duo.crash(1).await;
        duo.write(0, "alone");
        assert_eq!(duo.commit(0).await, expected);
    }
}

#[tokio::test]
async fn a_switch_over_loses_nothing_and_makes_no_tail() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.write(0, "last");
    let text = duo.ask(0, Command::Demote).await.expect("demoted");
    assert!(text.contains("has everything"), "{text}");
    duo.promote(1).await.expect("promoted");
    assert!(duo.has(1, "last"));
    duo.write(1, "first");
    duo.until(1, "the old writer follows", |s| {
        s.newest == s.peer_newest && s.doing == "in step"
    })
    .await;
    assert!(duo.nodes[0].status.borrow().kept.is_empty());
}

#[tokio::test]
async fn a_second_writer_is_refused() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.until(1, "the peer is seen", |status| status.peer == Some(Standing::Writer))
        .await;
    let why = duo.promote(1).await.unwrap_err();
    assert!(why.contains("demote it first"), "{why}");
    assert!(!duo.nodes[1].pool.is_writable(MAIL));
}

#[tokio::test]
async fn promote_and_demote_may_be_asked_for_twice() {
    let duo = Duo::in_step(Policy::Accept).await;
    let epoch = duo.nodes[0].status.borrow().epoch;
    duo.promote(0).await.expect("it is the writer");
    assert_eq!(duo.nodes[0].status.borrow().epoch, epoch);
    for _ in 0..2 {
        duo.ask(0, Command::Demote).await.expect("it is standby");
    }
}

#[tokio::test]
async fn the_tail_of_a_crashed_writer_is_merged_when_it_returns() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.crash(1).await;
    duo.write(0, "tail");
    duo.crash(0).await;
    duo.start(1).await;
    duo.until(1, "it is standby", |status| {
        status.doors == Doors::Closed && status.standing == Standing::Standby
    })
    .await;
    duo.promote(1).await.expect("promoted");
    duo.write(1, "new");
    assert!(!duo.has(1, "tail"));
    duo.start(0).await;
    duo.until(1, "the old writer follows", |s| {
        s.newest.is_some() && s.newest == s.peer_newest && s.doing == "in step" && s.unmerged == 0 && !s.kept.is_empty()
    })
    .await;
    for node in 0..2 {
        assert!(
            duo.has(node, "tail") && duo.has(node, "new"),
            "node {node} lacks something"
        );
    }
    assert_eq!(duo.nodes[0].status.borrow().kept.len(), 1, "its old store is kept");
}

#[tokio::test]
async fn a_writer_that_comes_up_again_has_what_only_its_intent_log_had() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.crash(1).await;
    duo.until(0, "it is alone", |status| status.peer.is_none()).await;
    duo.nodes[0].tasks.shutdown().await;
    duo.write(0, "late");
    duo.crash(0).await;
    duo.start(0).await;
    duo.promote(0).await.expect("promoted");
    assert!(duo.has(0, "late"));
}

#[tokio::test]
async fn an_agent_that_is_only_started_again_goes_on_as_writer() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.nodes[0].tasks.shutdown().await;
    duo.nodes[0].boots -= 1;
    duo.start(0).await;
    duo.until(0, "it is writer again", |s| {
        s.standing == Standing::Writer && s.doors == Doors::Open
    })
    .await;
}

#[tokio::test]
async fn a_reseed_keeps_what_was_there_and_takes_a_new_copy() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.until(1, "the peer is seen", |status| status.peer == Some(Standing::Writer))
        .await;
    let text = duo.ask(1, Command::Reseed).await.expect("put aside");
    assert!(text.contains("tank/mail-old-"), "{text}");
    duo.until(1, "a new copy is there", |s| {
        s.newest.is_some() && s.newest == s.peer_newest
    })
    .await;
    assert_eq!(duo.nodes[1].status.borrow().kept.len(), 1);
    let why = duo.ask(0, Command::Reseed).await.unwrap_err();
    assert!(why.contains("only a standby"), "{why}");
}

#[tokio::test]
async fn doors_that_do_not_close_do_not_keep_the_store_writable() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.nodes[0].stuck.store(true, Ordering::SeqCst);
    let (answer, answered) = oneshot::channel();
    let sent = duo.nodes[0].commands.send(Command::Demote(answer)).await;
    assert!(sent.is_ok(), "the agent runs");
    duo.until(0, "the trouble is told", |s| {
        s.trouble.as_ref().is_some_and(|t| t.contains("stuck"))
    })
    .await;
    let pool = duo.nodes[0].pool.clone();
    duo.until(0, "it is not writable", |_| !pool.is_writable(MAIL)).await;
    duo.nodes[0].stuck.store(false, Ordering::SeqCst);
    answered.await.expect("an answer").expect("demoted");
}
