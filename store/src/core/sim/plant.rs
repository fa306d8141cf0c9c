//! Planted defects that change what a node decides.

use super::*;

impl World {
    pub(super) async fn plant(&self, index: usize, pool: &Pool, peer: Option<&PeerView>, decision: &mut Decision) {
        let (Some(live), Some(peer)) = (&pool.live, peer) else {
            return;
        };
        let base = live.snapshots.iter().rev().find(|s| peer.snapshots.contains(&s.guid));
        match (self.defect, &decision) {
            (Defect::ForcedReceive, Decision::Rest(why)) if why.contains("mail of its own, which comes first") => {
                if let (Some(base), Some(newest)) = (base, live.newest()) {
                    let other = &self.nodes[1 - index].pool;
                    other.force_receives();
                    let what = crate::zfs::Sending::Snapshot {
                        dataset: MAIL.to_owned(),
                        from: crate::zfs::Since::Snapshot(base.name.clone()),
                        snapshot: newest.name.clone(),
                    };
                    if let Ok(stream) = self.nodes[index].pool.send(&what).await {
                        let _ = other
                            .receive(MAIL, None, &crate::zfs::NewProperties::default(), stream)
                            .await;
                    }
                }
            }
            (
                Defect::NoMerge,
                Decision::Do(Action::Send {
                    target: Target::Tail, ..
                }),
            ) => {
                let base = base.map(|base| base.name.clone()).unwrap_or_default();
                *decision = Decision::Do(Action::Replace { base });
            }
            (Defect::CarelessTidy, Decision::Do(Action::Tidy(tidy))) if self.replicated => {
                let mut tidy = tidy.clone();
                tidy.release.append(&mut tidy.hold);
                tidy.release
                    .extend(live.snapshots.iter().filter(|s| s.held).map(|s| s.name.clone()));
                tidy.release.dedup();
                *decision = Decision::Do(Action::Tidy(tidy));
            }
            (Defect::UnanchoredTidy, Decision::Do(Action::Tidy(tidy))) if self.replicated => {
                let mut tidy = tidy.clone();
                let common = live
                    .snapshots
                    .iter()
                    .position(|s| base.is_some_and(|base| base.guid == s.guid));
                let old = (common.unwrap_or(0) + 1).saturating_sub(self.layout.keep);
                for snapshot in live.snapshots[..old].iter().filter(|snapshot| !snapshot.cloned) {
                    if snapshot.held && !tidy.release.contains(&snapshot.name) {
                        tidy.release.push(snapshot.name.clone());
                    }
                }
                *decision = Decision::Do(Action::Tidy(tidy));
            }
            _ => {}
        }
    }
}
