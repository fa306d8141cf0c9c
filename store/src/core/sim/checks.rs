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

    /// What the daemon keeps in mind is what it would see if it looked.
    pub(super) async fn incremental_view_is_true(&self, index: usize, action: &Action, outcome: &Outcome, pool: &Pool) {
        let mut kept = pool.clone();
        if kept.after(action, outcome) && !self.nodes[index].pool.is_down() {
            let copy = self.nodes[index].pool.copy();
            copy.fuse(None);
            let found = Pool::new(&self.layout, copy.look(MAIL).await.expect("a copy is up"));
            assert_eq!(kept, found, "after {action:?} the view kept in mind is wrong");
        }
    }
}
