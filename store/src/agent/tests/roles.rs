//! Who may become writer, and with what.

use super::*;
use crate::zfs::Zfs;
use crate::zfs::fake::FakePool;

#[tokio::test]
async fn a_standby_that_lacks_what_the_writer_acknowledged_alone_is_no_writer_even_after_a_crash() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.crash(1).await;
    duo.write(0, "alone");
    assert_eq!(duo.commit(0).await, Committed::Alone);
    // It comes back, and hears of the mail, but cannot take it in.
    duo.nodes[1].pool.refuse_receives(true);
    duo.start(1).await;
    let pool = duo.nodes[1].pool.clone();
    duo.until(1, "it is noted", |_| pool.state().contains("behind: true"))
        .await;
    duo.crash(0).await;
    duo.crash(1).await;
    duo.start(1).await;
    let why = duo.promote(1).await.unwrap_err();
    assert!(why.contains("acknowledged mail that is not here"), "{why}");
    assert!(!duo.nodes[1].pool.is_writable(MAIL));
    duo.force(1).await.expect("a person says that the other one is lost");
    assert!(duo.nodes[1].pool.is_writable(MAIL));
}

#[tokio::test]
async fn a_standby_that_has_caught_up_may_be_writer() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.crash(1).await;
    duo.write(0, "alone");
    assert_eq!(duo.commit(0).await, Committed::Alone);
    duo.start(1).await;
    duo.until(0, "the peer follows again", |s| s.newest == s.peer_newest && s.follows)
        .await;
    duo.write(0, "both");
    assert_eq!(duo.commit(0).await, Committed::Both);
    let pool = duo.nodes[1].pool.clone();
    duo.until(1, "nothing is noted", |s| {
        s.doing == "following the peer" && !pool.state().contains("behind: true")
    })
    .await;
    duo.crash(0).await;
    duo.promote(1).await.expect("it has all");
    assert!(duo.has(1, "alone") && duo.has(1, "both"));
}

#[tokio::test]
async fn force_is_no_help_against_a_peer_that_answers() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.until(1, "the peer is seen", |status| status.peer == Some(Standing::Writer))
        .await;
    let why = duo.force(1).await.unwrap_err();
    assert!(why.contains("demote it first"), "{why}");
}

#[tokio::test]
async fn a_node_without_a_store_becomes_writer_only_by_force_while_the_peer_is_away() {
    let mut duo = Duo::new(Policy::Accept).await;
    duo.crash(1).await;
    let why = duo.promote(0).await.unwrap_err();
    assert!(why.contains("cannot be asked"), "{why}");
    duo.force(0).await.expect("a person says that the other one is lost");
    assert!(duo.nodes[0].pool.is_writable(MAIL));
}

#[tokio::test]
async fn a_node_with_a_new_disk_gets_a_copy_by_itself() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.write(0, "one");
    assert_eq!(duo.commit(0).await, Committed::Both);
    duo.crash(1).await;
    duo.nodes[1].pool = Arc::new(FakePool::new(3));
    duo.start(1).await;
    duo.until(1, "a copy is there", |s| {
        s.newest.is_some() && s.newest == s.peer_newest && s.standing == Standing::Standby
    })
    .await;
    assert!(duo.has(1, "one"));
}

#[tokio::test]
async fn where_the_common_snapshot_was_destroyed_its_bookmark_is_the_base() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    let pool = duo.nodes[0].pool.clone();
    let live = pool.look(MAIL).await.expect("up").remove(0);
    let newest = live.newest().expect("a snapshot").guid;
    assert!(live.bookmarks.values().any(|of| *of == newest), "it is bookmarked");
    for snapshot in live.snapshots {
        pool.lose_snapshot(MAIL, snapshot.guid);
    }
    // The agent looks again after its first error.
    duo.write(0, "after");
    let before = duo.nodes[0].status.borrow().peer_newest;
    duo.until(0, "the peer follows from the bookmark", |s| {
        s.peer_newest != before && s.newest == s.peer_newest
    })
    .await;
    assert!(duo.has(1, "after"));
}

#[tokio::test]
async fn uids_that_cannot_be_lifted_at_first_delay_the_doors() {
    let duo = Duo::new(Policy::Accept).await;
    duo.nodes[0].lift_fails.store(2, Ordering::SeqCst);
    duo.promote(0).await.expect("at the third try");
    assert_eq!(duo.nodes[0].lift_fails.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn uids_that_cannot_be_lifted_at_all_make_a_promote_fail_with_closed_doors() {
    let mut duo = Duo::new(Policy::Accept).await;
    duo.nodes[0].lift_fails.store(usize::MAX, Ordering::SeqCst);
    let why = duo.promote(0).await.unwrap_err();
    assert!(
        why.contains("UIDs could not be lifted") && why.contains("no Dovecot"),
        "{why}"
    );
    duo.until(0, "it is standby again", |s| {
        s.standing == Standing::Standby && s.doors == Doors::Closed
    })
    .await;
    assert!(!duo.nodes[0].pool.is_writable(MAIL));
}

#[tokio::test]
async fn writers_that_come_one_after_the_other_do_not_keep_the_role() {
    let duo = Duo::in_step(Policy::Accept).await;
    duo.nodes[0].pool.writers(3);
    duo.ask(0, Command::Demote).await.expect("each of them is ended");
    assert!(!duo.nodes[0].pool.is_writable(MAIL));
}
