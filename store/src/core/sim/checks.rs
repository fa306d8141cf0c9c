//! What is checked after every action.

use super::ends::{SimOutside, SimPeer};
use super::*;

impl World {
    /// Each action once more, from the same sight: it must change nothing.
    pub(super) async fn twice_is_once(&self, index: usize, action: &Action, pool: &Pool) {
        let node = &self.nodes[index];
        if node.pool.is_down() {
            return;
        }
        let again = Node {
            pool: node.pool.copy(),
            goal: node.goal,
            doors: Mutex::new(Doors::Unknown),
            boot: node.boot.clone(),
            starts: node.starts,
            seed: node.seed,
            blind_merge: node.blind_merge,
            resume_failed: false,
            modified: false,
            waiters: Waiters::default(),
            view: Mutex::default(),
            written: node.written,
            tidying: None,
            steps: 0,
            heard: Mutex::default(),
            alone: node.alone,
        };
        again.pool.fuse(None);
        let before = again.pool.state();
        let boot = again.boot.clone();
        let outside = SimOutside(&again);
        let peer = SimPeer {
            world: self,
            other: 1 - index,
        };
        let other_before = self.nodes[1 - index].pool.state();
        let remote = matches!(
            action,
            Action::AskAbort { .. } | Action::Send { .. } | Action::Resume { .. }
        );
        if remote && (self.cut_next || self.lose_reply) {
            return;
        }
        let action = match action {
            Action::TakeOver { epoch } if self.defect == Defect::EpochTwice => &Action::TakeOver { epoch: epoch + 1 },
            action => action,
        };
        let _ = self.hands(&again, &outside, &peer, &boot).perform(action, pool).await;
        assert_eq!(before, again.pool.state(), "{action:?} twice is not once");
        if remote && !self.nodes[1 - index].pool.is_down() {
            assert_eq!(
                other_before,
                self.nodes[1 - index].pool.state(),
                "{action:?} twice is not once there"
            );
        }
    }

    /// What a node knows of its pool is what it would see if it looked. That a snapshot which has come was not empty, how
    /// much was written since the newest, and how old all is, nobody needs to know at once.
    pub(super) async fn views_are_true(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(mut view) = node.view.lock().expect("a view").clone() else {
                continue;
            };
            let copy = node.pool.copy();
            copy.fuse(None);
            let mut found = Pool::new(
                &self.layout,
                copy.look(MAIL).await.expect("a node that knows its pool is up"),
            );
            for pool in [&mut view, &mut found] {
                for dataset in pool.live.iter_mut().chain(&mut pool.tails).chain(&mut pool.olds) {
                    dataset.written = 0;
                    dataset
                        .snapshots
                        .iter_mut()
                        .for_each(|snapshot| snapshot.written = None);
                }
            }
            assert_eq!(
                view,
                found,
                "what node {index} knows of its pool is wrong: {:?}",
                self.trace.last()
            );
        }
    }
}
