//! Who waits for which snapshot. Somebody who asks while a snapshot is being taken waits for the next one: only what was
//! there before a snapshot began is certain to be in it.

use crate::zfs::Guid;

/// People who wait, in groups: one confirmation serves all of a group.
#[derive(Debug)]
pub struct Waiters<T> {
    open: Vec<T>,
    taking: Vec<T>,
    taken: Vec<(Guid, Vec<T>)>,
}

impl<T> Default for Waiters<T> {
    fn default() -> Waiters<T> {
        Waiters {
            open: Vec::new(),
            taking: Vec::new(),
            taken: Vec::new(),
        }
    }
}

impl<T> Waiters<T> {
    /// Somebody whose mail is on disk waits from now on.
    pub fn push(&mut self, waiter: T) {
        self.open.push(waiter);
    }

    /// True if somebody waits for whom no snapshot has begun.
    pub fn want_snapshot(&self) -> bool {
        !self.open.is_empty()
    }

    /// A snapshot begins.
    pub fn begin(&mut self) {
        self.taking.append(&mut self.open);
    }

    /// It is taken.
    pub fn taken(&mut self, guid: Guid) {
        let group = std::mem::take(&mut self.taking);
        self.taken.push((guid, group));
    }

    /// It was not: everybody waits for another one.
    pub fn not_taken(&mut self) {
        self.open.append(&mut self.taking);
    }

    /// Everybody whose snapshot the other node has, or a later one of this node.
    pub fn confirmed(&mut self, there: &[Guid]) -> Vec<T> {
        let Some(last) = self.taken.iter().rposition(|(guid, _)| there.contains(guid)) else {
            return Vec::new();
        };
        self.taken.drain(..=last).flat_map(|(_, group)| group).collect()
    }

    /// Everybody, whatever they wait for.
    pub fn all(&mut self) -> Vec<T> {
        let mut all: Vec<T> = self.taken.drain(..).flat_map(|(_, group)| group).collect();
        all.append(&mut self.taking);
        all.append(&mut self.open);
        all
    }

    /// All who wait.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.taken
            .iter()
            .flat_map(|(_, group)| group)
            .chain(&self.taking)
            .chain(&self.open)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.open.len() + self.taking.len() + self.taken.iter().map(|(_, group)| group.len()).sum::<usize>()
    }

    /// True if nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_while_a_snapshot_is_taken_waits_for_the_next() {
        let mut waiters = Waiters::default();
        waiters.push("early");
        waiters.begin();
        waiters.push("late");
        waiters.taken(Guid(1));
        assert_eq!(waiters.confirmed(&[Guid(1)]), ["early"]);
        assert!(waiters.want_snapshot());
    }

    #[test]
    fn a_later_snapshot_confirms_the_earlier_ones() {
        let mut waiters = Waiters::default();
        for guid in [1, 2] {
            waiters.push(guid);
            waiters.begin();
            waiters.taken(Guid(guid));
        }
        assert_eq!(waiters.confirmed(&[Guid(2)]), [1, 2]);
    }

    #[test]
    fn after_a_snapshot_that_failed_everybody_waits_for_another() {
        let mut waiters = Waiters::default();
        waiters.push("mail");
        waiters.begin();
        waiters.not_taken();
        assert!(waiters.want_snapshot());
        assert!(waiters.confirmed(&[Guid(1)]).is_empty());
    }
}
