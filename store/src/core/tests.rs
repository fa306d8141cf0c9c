//! Random histories of two nodes, and what must hold in each of them at every moment and at the end.

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

use super::sim::{Defect, MAIL, Policy, World};
use super::*;
use crate::zfs::Zfs;

/// Something that happens.
#[derive(Debug, Clone, Copy)]
enum Event {
    Deliver(u32),
    Step(usize),
    StepAndCrash {
        node: usize,
        peer_too: bool,
        after: u32,
    },
    StepWithCut(usize),
    StepWithLostReply(usize),
    /// By what was heard of the other node last, which may be long ago.
    StepByOldNews(usize),
    Crash(usize),
    Start(usize),
    Engine,
    SwitchOver,
    Link(bool),
    /// Time passes, more than the retention.
    Age,
}

fn event() -> impl Strategy<Value = Event> {
    let node = 0..2_usize;
    prop_oneof![
        6 => (0..40_u32).prop_map(Event::Deliver),
        30 => node.clone().prop_map(Event::Step),
        3 => (node.clone(), any::<bool>(), 0..24_u32)
            .prop_map(|(node, peer_too, after)| Event::StepAndCrash { node, peer_too, after }),
        3 => node.clone().prop_map(Event::StepWithCut),
        1 => node.clone().prop_map(Event::StepWithLostReply),
        6 => node.clone().prop_map(Event::StepByOldNews),
        1 => node.clone().prop_map(Event::Crash),
        3 => node.prop_map(Event::Start),
        4 => Just(Event::Engine),
        1 => Just(Event::SwitchOver),
        2 => any::<bool>().prop_map(Event::Link),
        1 => Just(Event::Age),
    ]
}

async fn happen(world: &mut World, event: Event) {
    match event {
        Event::Deliver(id) => world.deliver(id),
        Event::Step(node) => drop(world.step(node).await),
        Event::StepAndCrash { node, peer_too, after } => {
            let victim = if peer_too { 1 - node } else { node };
            world.nodes[victim].pool.fuse(Some(after));
            world.step(node).await;
            world.nodes[victim].pool.fuse(None);
        }
        Event::StepWithCut(node) => {
            world.cut_next = true;
            world.step(node).await;
        }
        Event::StepWithLostReply(node) => {
            world.lose_reply = true;
            world.step(node).await;
        }
        Event::StepByOldNews(node) => {
            world.old_news = true;
            world.step(node).await;
        }
        Event::Crash(node) => world.crash(node),
        Event::Start(node) => world.start(node),
        Event::Engine => world.engine().await,
        Event::SwitchOver => world.demote(),
        Event::Link(up) => world.link = up,
        Event::Age => world.age(Duration::from_secs(7200)),
    }
}

fn copies(world: &World, node: usize, id: u32) -> usize {
    world.nodes[node]
        .pool
        .files(MAIL)
        .values()
        .filter(|found| **found == id.to_string())
        .count()
}

fn ensure(holds: bool, world: &World, what: &str) -> Result<(), TestCaseError> {
    if holds {
        return Ok(());
    }
    let tail = world
        .trace
        .iter()
        .rev()
        .take(60)
        .rev()
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    Err(TestCaseError::fail(format!("{what}\n{tail}")))
}

/// What holds at every moment.
async fn always(world: &mut World) -> Result<(), TestCaseError> {
    let writable = world.nodes.iter().filter(|node| node.pool.is_writable(MAIL)).count();
    ensure(writable < 2, world, "two nodes are writable")?;
    let mut held = Vec::new();
    for node in &world.nodes {
        let copy = node.pool.copy();
        copy.start();
        let found = copy.look(MAIL).await.expect("a copy of a pool can be looked at");
        let snapshots = found.into_iter().flat_map(|dataset| dataset.snapshots);
        held.push(
            snapshots
                .filter(|snapshot| snapshot.held)
                .map(|snapshot| snapshot.guid)
                .collect::<Vec<_>>(),
        );
    }
    let common = held[0].iter().any(|guid| held[1].contains(guid));
    ensure(common || !world.replicated, world, "no snapshot is held on both nodes")?;
    world.replicated |= common;
    for node in 0..2 {
        let open = *world.nodes[node].doors.lock().expect("doors") == Doors::Open;
        for (id, acknowledged) in world.acknowledged.clone() {
            let found = copies(world, node, id);
            ensure(
                found < 2,
                world,
                &format!("message {id} is {found} times on node {node}"),
            )?;
            let missing = acknowledged && found == 0 && open && world.nodes[node].pool.is_writable(MAIL);
            let promised = world.policy == Policy::Defer;
            ensure(
                !(missing && promised),
                world,
                &format!("acknowledged message {id} is missing on writer {node}"),
            )?;
        }
    }
    Ok(())
}

/// Everything heals; after a while all is in step, and nothing acknowledged is missing.
async fn finally(world: &mut World) -> Result<(), TestCaseError> {
    world.link = true;
    for node in 0..2 {
        world.start(node);
    }
    let mut quiet = 0;
    for _ in 0..200 {
        world.engine().await;
        let waiting: Vec<u32> = world
            .acknowledged
            .iter()
            .filter(|(_, done)| !**done)
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            world.deliver(id);
        }
        let (first, second) = (world.step(0).await, world.step(1).await);
        always(world).await?;
        quiet = if first || second { 0 } else { quiet + 1 };
        if quiet == 3 {
            break;
        }
    }
    let writer = world.writer.expect("the engine has promoted somebody");
    for (id, acknowledged) in world.acknowledged.clone() {
        ensure(acknowledged, world, &format!("message {id} is never acknowledged"))?;
        let found = copies(world, writer, id);
        ensure(
            found == 1,
            world,
            &format!("acknowledged message {id} is {found} times on the writer"),
        )?;
    }
    let same = world.nodes[0].pool.files(MAIL) == world.nodes[1].pool.files(MAIL);
    ensure(same, world, "the nodes are not in step")
}

fn play(
    policy: Policy,
    defect: Defect,
    events: &[Event],
    seen: &RefCell<BTreeSet<String>>,
) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new(policy, defect);
        for event in events {
            happen(&mut world, *event).await;
            always(&mut world).await?;
        }
        let done = finally(&mut world).await;
        seen.borrow_mut().append(&mut world.done);
        done
    })
}

/// Plays random histories; the error is the shortest one in which something did not hold.
fn histories(policy: Policy, defect: Defect, cases: u32) -> Result<BTreeSet<String>, String> {
    let seen = RefCell::new(BTreeSet::new());
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: if defect == Defect::None { 2_000 } else { 0 },
        ..ProptestConfig::default()
    };
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    runner
        .run(&prop::collection::vec(event(), 20..250), |events| {
            play(policy, defect, &events, &seen)
        })
        .map_err(|error| error.to_string())?;
    Ok(seen.into_inner())
}

fn cases() -> u32 {
    std::env::var("STORE_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(100)
}

#[test]
fn with_defer_nothing_acknowledged_is_missing_at_any_moment() {
    let seen = histories(Policy::Defer, Defect::None, cases());
    assert!(seen.is_ok(), "{}", seen.unwrap_err());
}

#[test]
fn with_accept_nothing_acknowledged_is_missing_in_the_end() {
    let seen = histories(Policy::Accept, Defect::None, cases()).unwrap_or_else(|error| panic!("{error}"));
    // Invariants that hold because nothing happens would show nothing.
    let all = "AskAbort CloneBack CloseDoors Create Discard EndReplace LiftUids MakeReadonly MakeWritable Merge Mount \
               NoteBehind OpenDoors PromoteClone Replace Resume Send Settle Snapshot TakeOver Tidy";
    let unseen: Vec<&str> = all.split_whitespace().filter(|name| !seen.contains(*name)).collect();
    assert!(unseen.is_empty(), "no history came to {unseen:?}");
}

fn is_caught(policy: Policy, defect: Defect, by: &str) {
    let error = histories(policy, defect, 2_000).expect_err("the defect is caught");
    assert!(error.contains(by), "caught by another invariant: {error}");
}

#[test]
fn a_receive_with_rollback_is_caught() {
    is_caught(Policy::Accept, Defect::ForcedReceive, "is 0 times on the writer");
}

#[test]
fn a_snapshot_before_the_mount_is_caught() {
    is_caught(Policy::Accept, Defect::SnapshotBeforeMount, "is 0 times on the writer");
}

#[test]
fn an_answer_before_the_peer_has_confirmed_is_caught() {
    is_caught(Policy::Defer, Defect::EarlyAnswer, "is missing on writer");
}

#[test]
fn a_tail_that_is_dropped_is_caught() {
    is_caught(Policy::Accept, Defect::NoMerge, "is 0 times on the writer");
}

#[test]
fn an_engine_that_does_not_wait_is_caught() {
    is_caught(Policy::Defer, Defect::HastyEngine, "two nodes are writable");
}

#[test]
fn holds_that_are_released_first_are_caught() {
    is_caught(Policy::Defer, Defect::CarelessTidy, "no snapshot is held on both nodes");
}

#[test]
fn a_view_that_holds_what_has_not_come_is_caught() {
    is_caught(Policy::Defer, Defect::HopefulView, "is missing on writer");
}

#[test]
fn tidying_that_does_not_look_at_what_the_other_node_holds_is_caught() {
    is_caught(
        Policy::Defer,
        Defect::UnanchoredTidy,
        "no snapshot is held on both nodes",
    );
}

#[test]
fn a_standby_that_takes_for_its_own_what_it_has_just_got_is_caught() {
    is_caught(
        Policy::Defer,
        Defect::ForgetfulReceiver,
        "a tail is sent of what the writer has",
    );
}

#[test]
fn a_merge_that_does_not_know_mail_again_is_caught() {
    is_caught(Policy::Accept, Defect::BlindMerge, "is 2 times on node");
}

#[test]
fn an_action_that_does_more_when_it_is_repeated_is_caught() {
    is_caught(Policy::Accept, Defect::EpochTwice, "twice is not once");
}
