//! A mail program's session with a simulated writer.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use super::super::world::{Power, World};
use super::super::{FakeFleet, Reach};
use super::{Contents, Standing};
use crate::fleet::mailbox::{Look, MailSession, SessionError};
use crate::scenario::defect::Defect;

/// How long a command takes.
const ANSWER: Duration = Duration::from_millis(40);

/// An open account.
pub(in crate::fleet::fake) struct FakeSession<'a> {
    fleet: &'a FakeFleet,
    node: String,
    user: String,
    folder: String,
    boots: u64,
    epoch: u64,
}

impl<'a> FakeSession<'a> {
    pub fn new(fleet: &'a FakeFleet, node: &str, user: &str) -> FakeSession<'a> {
        let world = fleet.look();
        FakeSession {
            fleet,
            node: node.to_owned(),
            user: user.to_owned(),
            folder: String::new(),
            boots: boots(&world, node),
            epoch: world.replica(node).map_or(0, |replica| replica.epoch),
        }
    }

    /// One command. If the writer is lost before it answers, nobody knows whether it did it.
    async fn call<T>(
        &self,
        changes: bool,
        act: impl FnOnce(&mut Contents) -> Option<T> + Send,
    ) -> Result<T, SessionError> {
        sleep(ANSWER).await;
        let mut world = self.fleet.look();
        let world = &mut *world;
        let open = world.reach_mail(None, &self.node, &["dovecot", "mariadb"]) == Reach::Answers;
        let same = boots(world, &self.node) == self.boots
            && world
                .replica(&self.node)
                .is_some_and(|replica| replica.epoch == self.epoch);
        let cut_off = world
            .machines
            .get(&self.node)
            .is_some_and(|machine| machine.power == Power::Off);
        let perhaps = cut_off && changes && world.between(0, 1).is_zero();
        let alive = open && same;
        let Some(replica) = world.replica_mut(&self.node) else {
            return Err(SessionError::Lost("there is no store".into()));
        };
        if alive || (perhaps && same && replica.standing == Standing::Writer) {
            if changes && replica.full {
                return Err(SessionError::Refused("NO [OVERQUOTA] No space left on device".into()));
            }
            let done = act(&mut replica.live);
            if done.is_some() && changes {
                replica.writes += 1;
            }
            if alive {
                return done.ok_or_else(|| SessionError::Refused("NO [NONEXISTENT] there is none".into()));
            }
        }
        Err(SessionError::Lost("connection reset by peer".into()))
    }
}

fn boots(world: &World, node: &str) -> u64 {
    world.machines.get(node).map_or(0, |machine| machine.boots)
}

#[async_trait]
impl MailSession for FakeSession<'_> {
    async fn folders(&mut self) -> Result<Vec<String>, SessionError> {
        let user = self.user.clone();
        self.call(false, move |contents| Some(contents.folders(&user))).await
    }

    async fn look(&mut self, folder: &str, from: u32) -> Result<Look, SessionError> {
        self.folder = folder.to_owned();
        let (user, folder) = (self.user.clone(), folder.to_owned());
        let seen = self
            .call(false, move |contents| contents.look(&user, &folder, from))
            .await;
        // Less than before any take-over lifted it.
        let back = self.epoch > 1 && self.fleet.look().has(Defect::StoreUidNextBack);
        seen.map(|(uid_validity, uid_next, mails)| Look {
            uid_validity,
            uid_next: if back { 1 } else { uid_next },
            mails,
        })
    }

    async fn append(&mut self, folder: &str, id: &str) -> Result<Option<u32>, SessionError> {
        let (user, folder, id) = (self.user.clone(), folder.to_owned(), id.to_owned());
        self.call(true, move |contents| contents.store(&user, &folder, &id))
            .await
            .map(Some)
    }

    async fn flag(&mut self, uid: u32, flag: &str) -> Result<(), SessionError> {
        let (user, folder, flag) = (self.user.clone(), self.folder.clone(), flag.to_owned());
        let set = move |contents: &mut Contents| {
            let mail = contents.folder_mut(&user, &folder)?.mails.get_mut(&uid)?;
            mail.flags.insert(flag);
            Some(())
        };
        self.call(true, set).await
    }

    async fn shift(&mut self, uid: u32, to: &str) -> Result<(), SessionError> {
        let (user, folder, to) = (self.user.clone(), self.folder.clone(), to.to_owned());
        let moved = self
            .call(true, move |contents| contents.shift(&user, &folder, uid, &to))
            .await;
        moved.map(|_| ())
    }

    async fn expunge(&mut self, uid: u32) -> Result<(), SessionError> {
        let (user, folder) = (self.user.clone(), self.folder.clone());
        self.call(true, move |contents| contents.expunge(&user, &folder, uid))
            .await
    }

    async fn close(self: Box<Self>) -> Result<(), SessionError> {
        Ok(())
    }
}
