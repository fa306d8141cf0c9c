//! A pool that is not there, and disks that are not well.

use super::*;

#[tokio::test]
async fn a_node_without_a_pool_keeps_its_doors_closed_is_no_writer_and_says_why() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.crash(1).await;
    duo.nodes[1].pool.without_pool(true);
    duo.start(1).await;
    duo.until(1, "its doors are closed", |s| {
        s.standing == Standing::Empty && s.doors == Doors::Closed && s.trouble.is_some()
    })
    .await;
    assert_eq!(
        duo.nodes[1].status.borrow().trouble.as_deref(),
        Some("there is no pool tank")
    );
    let said = duo.ask(1, Command::Demote).await.expect("it is no writer");
    assert_eq!(said, "this node has no pool, and its doors are closed");
    assert!(duo.promote(1).await.is_err());
    // The writer goes on, and does not take the other one for empty.
    duo.write(0, "alone");
    assert_eq!(duo.commit(0).await, Committed::Alone);
    duo.until(0, "the other node does not say what it has", |s| {
        s.peer == Some(Standing::Unsettled)
    })
    .await;
}

#[tokio::test]
async fn a_pool_that_was_made_anew_is_filled_from_the_writer() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.write(0, "before");
    assert_eq!(duo.commit(0).await, Committed::Both);
    duo.crash(1).await;
    duo.nodes[1].pool.without_pool(true);
    duo.start(1).await;
    duo.until(1, "it waits for a pool", |s| s.doing == "waiting for a pool")
        .await;
    duo.until(0, "it is heard of", |s| s.peer == Some(Standing::Unsettled))
        .await;
    duo.nodes[1].pool.without_pool(false);
    duo.until(0, "the other node follows", |s| s.newest == s.peer_newest && s.follows)
        .await;
    assert!(duo.has(1, "before") && !duo.nodes[1].pool.is_writable(MAIL));
}

#[tokio::test]
async fn a_writer_whose_pool_is_gone_serves_nobody() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.nodes[0].pool.without_pool(true);
    duo.until(0, "it has given up", |s| {
        s.goal == crate::zfs::Role::Standby && s.doors == Doors::Closed && s.standing == Standing::Empty
    })
    .await;
    duo.promote(1).await.expect("the other one takes over");
}

#[tokio::test]
async fn errors_of_a_disk_are_told_until_they_are_cleared() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    assert!(duo.nodes[0].status.borrow().disks.is_empty());
    duo.nodes[0].pool.rot(2);
    duo.until(0, "the errors are told", |s| {
        s.disks.len() == 1 && s.disks[0].checksum == 2
    })
    .await;
    let said = duo.nodes[0].status.borrow().to_string();
    assert!(
        said.contains("Disk: /dev/one is ONLINE; errors: 0 read, 0 write, 2 checksum\n"),
        "{said}"
    );
    duo.nodes[0].pool.rot(0);
    duo.until(0, "nothing is left of them", |s| s.disks.is_empty()).await;
}
