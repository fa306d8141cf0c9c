//! What happens around the nodes: mail comes, machines crash, the engine decides.

use super::*;

impl World {
    /// The gateway offers a message to the node whose doors are open.
    pub fn deliver(&mut self, id: u32) {
        self.acknowledged.entry(id).or_insert(false);
        let lonely = !self.link || self.nodes.iter().any(|node| node.pool.is_down());
        let open = |node: &&mut Node| {
            *node.doors.lock().expect("doors") == Doors::Open
                && node.pool.is_writable(MAIL)
                && node.goal == Role::Writer
        };
        let Some(node) = self.nodes.iter_mut().find(open) else {
            return;
        };
        // Dovecot knows mail that it has by the gateway's queue id.
        let known = node.pool.files(MAIL).values().any(|known| *known == id.to_string());
        if !known {
            let path = format!("user{}/new/{id}.{}.{}", id % 3, node.seed, node.boot);
            assert!(
                node.pool.write(MAIL, &path, Some(&id.to_string())),
                "an open node takes mail"
            );
        }
        node.waiters.push(id);
        if lonely && self.policy == Policy::Accept {
            self.acknowledged.insert(id, true);
            node.alone = true;
        }
        self.trace.push(format!("delivered {id}"));
    }

    /// The machine loses its power.
    pub fn crash(&mut self, index: usize) {
        self.trace.push(format!("{index} crashes"));
        self.nodes[index].pool.crash();
        self.nodes[index].forget();
    }

    /// The machine starts again, if it was off.
    pub fn start(&mut self, index: usize) {
        if !self.nodes[index].pool.is_down() {
            return;
        }
        self.trace.push(format!("{index} starts"));
        let node = &mut self.nodes[index];
        node.pool.start();
        node.starts += 1;
        node.boot = node.starts.to_string();
        node.goal = Role::Standby;
        node.resume_failed = false;
        node.modified = false;
    }

    /// The engine looks: without a writer it promotes a node, once the other is surely none.
    pub async fn engine(&mut self) {
        let is_writer = |node: &Node| !node.pool.is_down() && node.goal == Role::Writer;
        if self.nodes.iter().any(is_writer) {
            return;
        }
        let hasty = self.defect == Defect::HastyEngine;
        let preferred = self.writer.map_or(0, |writer| 1 - writer);
        for index in [preferred, 1 - preferred] {
            let other = &self.nodes[1 - index].pool;
            let fenced = hasty || other.is_down() || !other.is_writable(MAIL);
            if self.nodes[index].pool.is_down() || !fenced {
                continue;
            }
            let peer = self.peer_of(index).await;
            let Some(pool) = self.look(index).await else { continue };
            if may_promote(&self.situation(index, &pool, peer.as_ref())).is_ok() {
                self.trace.push(format!("engine promotes {index}"));
                self.nodes[index].goal = Role::Writer;
                self.nodes[index].knows(None);
                self.writer = Some(index);
                return;
            }
        }
    }

    /// So much time passes that every node looks at its pool again.
    pub fn age(&mut self, by: Duration) {
        for node in &self.nodes {
            node.pool.age(by);
            node.knows(None);
        }
    }

    /// The engine demotes the writer.
    pub fn demote(&mut self) {
        for node in &mut self.nodes {
            node.goal = Role::Standby;
            // 4xx or a lost connection: the gateway keeps what was not answered.
            node.waiters.all();
        }
        self.trace.push("engine demotes".to_owned());
    }

    /// What the commit proxy answers while the other node does not follow.
    pub(super) fn answer_without_peer(&mut self, index: usize, peer: Option<&PeerView>) {
        let alone = peer.is_none_or(|peer| peer.standing != Standing::Standby);
        if alone && self.policy == Policy::Accept {
            for id in self.nodes[index].waiters.all() {
                self.acknowledged.insert(id, true);
                self.nodes[index].alone = true;
            }
        }
        if alone && self.policy == Policy::Defer {
            // 4xx: the gateway keeps its mail.
            self.nodes[index].waiters.all();
        }
    }
}
