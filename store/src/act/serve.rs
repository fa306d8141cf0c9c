//! The other side of a send, and what is known of a pool after an action without looking.

use super::{Hands, Outcome, Served};
use crate::core::{Accepted, Action, Offer, Pool, Refusal, Situation, Target, accept};
use crate::zfs::{Guid, Mark, NewProperties, Role, Snapshot, Stream, ZfsError};

fn refused(error: ZfsError) -> Refusal {
    Refusal::Zfs(error.to_string())
}

impl Hands<'_> {
    /// Takes in what the other node offers. The stream is read only if the offer is taken. What goes on top of the mail
    /// dataset costs one command: the sender waits, and mail with it.
    ///
    /// # Errors
    /// The offer is not taken, or its stream did not come whole; what came stays for a resume.
    pub async fn serve(&self, situation: &Situation<'_>, offer: &Offer, stream: Stream) -> Result<Served, Refusal> {
        let Accepted::Into { dataset, origin, new } = accept(situation, offer)? else {
            return Ok(Served::Already);
        };
        let properties = match (new, offer.target) {
            (true, Target::Live) => self.properties(offer.epoch),
            (true, Target::Tail) => NewProperties {
                readonly: true,
                marks: vec![Mark::Epoch(offer.epoch)],
                ..NewProperties::default()
            },
            // The epoch comes before the data: a node never has data of an epoch that it has not noted.
            (false, _) => {
                let known = situation.pool.live.as_ref().map(|live| live.marks.epoch);
                if known < Some(offer.epoch) {
                    let marks = [Mark::Epoch(offer.epoch), Mark::Role(Role::Standby)];
                    self.zfs.mark(&dataset, &marks).await.map_err(refused)?;
                }
                NewProperties::default()
            }
        };
        let received = self.zfs.receive(&dataset, origin.as_deref(), &properties, stream).await;
        let on_top = !new && offer.resume.is_none();
        match received.map_err(refused)? {
            Some(received) if on_top && received.guid == offer.snapshot => Ok(Served::OnTop(Snapshot {
                name: received.name,
                guid: received.guid,
                written: None,
                held: false,
                cloned: false,
            })),
            _ => self.hold_received(&dataset, offer).await,
        }
    }

    /// Looks for what should have come, and holds it: there may be nothing yet that both nodes hold.
    async fn hold_received(&self, dataset: &str, offer: &Offer) -> Result<Served, Refusal> {
        let found = self.zfs.look(dataset).await.map_err(refused)?;
        let found = found.iter().find(|found| found.name == dataset);
        let received = found.and_then(|found| match &offer.resume {
            Some(_) => found.newest(),
            None => found.by_guid(offer.snapshot),
        });
        let received = received.ok_or_else(|| Refusal::Zfs("the snapshot has not come".to_owned()))?;
        self.zfs.hold(dataset, &[&received.name]).await.map_err(refused)?;
        Ok(Served::Look)
    }

    /// Throws away what is half received.
    ///
    /// # Errors
    /// ZFS did not.
    pub async fn serve_abort(&self, target: Target, snapshot: Guid) -> Result<(), Refusal> {
        let dataset = match target {
            Target::Live => self.layout.dataset.clone(),
            Target::Tail => self.layout.tail(snapshot),
        };
        self.zfs
            .abort_receive(&dataset)
            .await
            .map_err(|error| Refusal::Zfs(error.to_string()))
    }
}

impl Pool {
    /// The pool after an action that changes only what is known from its outcome; false if it has to be looked at.
    pub fn after(&mut self, action: &Action, outcome: &Outcome) -> bool {
        match (action, outcome, &mut self.live) {
            (_, Outcome::Peer(_) | Outcome::Doors, _) => true,
            (_, Outcome::Taken(snapshot), Some(live)) => {
                live.snapshots.push(snapshot.clone());
                live.written = 0;
                true
            }
            (Action::Tidy(tidy), Outcome::Tidied, Some(live)) => {
                for snapshot in &mut live.snapshots {
                    snapshot.held |= tidy.hold.contains(&snapshot.name);
                }
                let marked = tidy.bookmark.as_ref().and_then(|name| {
                    let of = live.snapshots.iter().find(|snapshot| snapshot.name == *name)?;
                    Some((name.clone(), of.guid))
                });
                live.snapshots.retain(|snapshot| !tidy.destroy.contains(&snapshot.name));
                live.bookmarks.extend(marked);
                live.bookmarks.retain(|name, _| !tidy.unmark.contains(name));
                true
            }
            _ => false,
        }
    }

    /// The pool after something was taken in; false if it has to be looked at.
    pub fn after_serving(&mut self, offer: &Offer, served: &Served) -> bool {
        match (served, &mut self.live) {
            (Served::Already, _) => true,
            (Served::OnTop(snapshot), Some(live)) => {
                live.snapshots.push(snapshot.clone());
                live.marks.epoch = live.marks.epoch.max(offer.epoch);
                true
            }
            _ => false,
        }
    }
}
