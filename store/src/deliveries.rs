//! Which message of a gateway has gone to which mailbox, by the gateway's queue id. Two ways lead into a mailbox: Dovecot's
//! LMTP, by the commit proxy, and the merge of a tail. Each has to know what came by the other one, or a message that the
//! gateway delivers again, because the dead writer never acknowledged it, is there twice. What Dovecot has stored too late for
//! an answer is known in the same way. Dovecot's own record (`.dovecot.lda-dupes`) is written later than the message: a
//! snapshot, and what a power cut leaves, may have the message and not the record. So what a mailbox has got last is looked up
//! at a take-over, and at the first delivery to it.
//!
//! What a merge brings is written down in the store itself before it is brought: the next writer has to know it too, for as
//! long as the gateway may deliver it again. What the proxy has delivered is remembered in memory only: a merge finds it in
//! the mailboxes as well, unless its owner has removed it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::warn;

use crate::config::MailConfig;
use crate::outside::{gateway_id, home_of, newest_ids};

/// Mailboxes with the queue ids of messages.
pub type Ids = BTreeMap<String, BTreeSet<String>>;

/// Folder of the lists, below the root of the store. No home lies there: a home has a domain above it.
const FOLDER: &str = ".merged";

/// So many deliveries are remembered; those of some days on a small system, of an hour on a large one.
const REMEMBERED: usize = 100_000;

/// So many messages of a mailbox, the newest ones, are looked at for what the gateway may deliver again after a take-over: it
/// has not more of them under way to one mailbox than it has connections.
const UNANSWERED: usize = 100;

/// What came so long before a mailbox's last message is in Dovecot's record, which is written right after each message and in
/// the pool some seconds later. On a large system nearly every mailbox is read for one or two messages so.
const RECORDED: Duration = Duration::from_secs(3600);

/// Mailbox and queue id.
type Key = (String, String);

#[derive(Debug, Default)]
struct State {
    under_way: HashMap<Key, usize>,
    delivered: Remembered,
    merged: HashSet<Key>,
    /// What mailboxes had got last when they were looked at.
    last: HashMap<String, BTreeSet<String>>,
    /// Take-overs so far.
    take_overs: u64,
}

/// What was delivered last.
#[derive(Debug, Default)]
struct Remembered {
    all: HashSet<Key>,
    /// In their order.
    order: VecDeque<Key>,
}

impl Remembered {
    /// Forgets the oldest one where there are too many.
    fn add(&mut self, key: Key) {
        if !self.all.insert(key.clone()) {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }
}

/// All that is known of deliveries.
#[derive(Debug)]
pub struct Deliveries {
    mountpoint: PathBuf,
    folder: PathBuf,
    retention: Duration,
    homes: String,
    gateways: Vec<String>,
    state: Mutex<State>,
    ended: Notify,
}

/// A message that is being delivered. Dropped without [`UnderWay::delivered`], nobody knows what became of it.
pub struct UnderWay {
    deliveries: Arc<Deliveries>,
    keys: Vec<Key>,
}

impl Deliveries {
    /// Of a store that is mounted there. Lists are kept for `retention`.
    pub fn new(mountpoint: &Path, retention: Duration, mail: &MailConfig) -> Deliveries {
        Deliveries {
            mountpoint: mountpoint.to_owned(),
            folder: mountpoint.join(FOLDER),
            retention,
            homes: mail.homes.clone(),
            gateways: mail.gateways.clone(),
            state: Mutex::default(),
            ended: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is a single call that leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to be the writer, before mail is taken: reads which messages came by merges, on whichever node, and forgets
    /// what it has delivered itself, since of that the store may have been replaced. Old lists go.
    pub fn load(&self) {
        let mut merged = HashSet::new();
        let read = lists(&self.folder).map(|lists| {
            for list in lists {
                match self.list(&list) {
                    Ok(Some(text)) => merged.extend(keys(&text)),
                    Ok(None) => {}
                    Err(error) => warn!(
                        "{}: {error}; mail that came by a merge may be doubled if the gateway delivers it again",
                        list.display()
                    ),
                }
            }
        });
        if let Err(error) = read {
            warn!("{}: {error}", self.folder.display());
        }
        let mut state = self.state();
        state.merged = merged;
        state.delivered = Remembered::default();
    }

    /// A list, unless it was too old and is removed.
    fn list(&self, path: &Path) -> io::Result<Option<String>> {
        let age = SystemTime::now().duration_since(fs::metadata(path)?.modified()?);
        if age.is_ok_and(|age| age > self.retention) {
            fs::remove_file(path)?;
            return Ok(None);
        }
        fs::read_to_string(path).map(Some)
    }

    /// Begins a take-over, behind closed doors: what is known of mailboxes is of another store, perhaps.
    pub fn forget(&self) {
        let mut state = self.state();
        state.last.clear();
        state.take_overs += 1;
    }

    /// The queue id of a message with this head, if it comes from a gateway.
    pub fn id_of(&self, head: &str) -> Option<String> {
        gateway_id(head, &self.gateways)
    }

    /// Finds out what these mailboxes have got last, where nobody has looked yet: to be called before [`Deliveries::begin`].
    pub async fn look(&self, mailboxes: &[String]) {
        for mailbox in mailboxes {
            while self.look_into(mailbox).await {}
        }
    }

    /// True if the store was replaced meanwhile, perhaps, so that nothing is known yet.
    async fn look_into(&self, mailbox: &str) -> bool {
        let before = {
            let state = self.state();
            if state.last.contains_key(mailbox) {
                return false;
            }
            state.take_overs
        };
        let home = self.mountpoint.join(home_of(mailbox, &self.homes));
        let gateways = self.gateways.clone();
        let found = tokio::task::spawn_blocking(move || newest_ids(&home, RECORDED, UNANSWERED, &gateways)).await;
        let Ok(found) = found else { return false };
        let mut state = self.state();
        if state.take_overs != before {
            return true;
        }
        // Another delivery to it may have begun meanwhile, and what that brings is no part of it.
        state.last.entry(mailbox.to_owned()).or_insert(found);
        false
    }

    /// Begins to deliver a message.
    ///
    /// # Errors
    /// These of the mailboxes have it already; none of them if it is being delivered to one.
    pub fn begin(self: &Arc<Self>, mailboxes: &[String], id: &str) -> Result<UnderWay, BTreeSet<String>> {
        let mut state = self.state();
        let keys: Vec<Key> = mailboxes
            .iter()
            .map(|mailbox| (mailbox.clone(), id.to_owned()))
            .collect();
        let was_last = |(mailbox, id): &Key| state.last.get(mailbox).is_some_and(|last| last.contains(id));
        let is_here = |key: &Key| state.merged.contains(key) || state.delivered.all.contains(key) || was_last(key);
        let known = keys.iter().filter(|key| is_here(key));
        let known: BTreeSet<String> = known.map(|(mailbox, _)| mailbox.clone()).collect();
        if !known.is_empty() || keys.iter().any(|key| state.under_way.contains_key(key)) {
            return Err(known);
        }
        for key in &keys {
            *state.under_way.entry(key.clone()).or_default() += 1;
        }
        Ok(UnderWay {
            deliveries: self.clone(),
            keys,
        })
    }

    /// Announces what a merge is about to bring: it is written down, and none of it is delivered any more afterwards. It may
    /// be announced again.
    ///
    /// # Errors
    /// It cannot be written down; or a message of them is being delivered, and takes longer than `longest`.
    pub async fn announce(&self, tail: &str, ids: &Ids, longest: Duration) -> io::Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let text = ids
            .iter()
            .flat_map(|(mailbox, ids)| ids.iter().map(move |id| format!("{mailbox} {id}\n")));
        self.write(tail, &text.collect::<String>())?;
        let announced: HashSet<Key> = all(ids).collect();
        self.state().merged.extend(announced.iter().cloned());
        let free = async {
            loop {
                let ended = self.ended.notified();
                tokio::pin!(ended);
                // Whoever ends between the look and the wait is not missed.
                ended.as_mut().enable();
                if !announced.iter().any(|key| self.state().under_way.contains_key(key)) {
                    return;
                }
                ended.await;
            }
        };
        let late = |_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                "mail that the tail has is being delivered all the time",
            )
        };
        timeout(longest, free).await.map_err(late)
    }

    fn write(&self, tail: &str, text: &str) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let path = self.folder.join(tail);
        let new = self.folder.join(format!("{tail}.new"));
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(new, path)
    }

    /// Ids of what this node has delivered to a mailbox, as far as it is remembered.
    pub fn delivered(&self, mailbox: &str) -> BTreeSet<String> {
        let state = self.state();
        let of_mailbox = state.delivered.order.iter().filter(|(other, _)| other == mailbox);
        of_mailbox.map(|(_, id)| id.clone()).collect()
    }
}

fn all(ids: &Ids) -> impl Iterator<Item = Key> {
    ids.iter()
        .flat_map(|(mailbox, ids)| ids.iter().map(|id| (mailbox.clone(), id.clone())))
}

fn lists(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn keys(text: &str) -> impl Iterator<Item = Key> {
    text.lines()
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(mailbox, id)| (mailbox.to_owned(), id.to_owned()))
}

impl UnderWay {
    /// Dovecot has taken the message for these of the mailboxes.
    pub fn delivered(self, taken: &[bool]) {
        let mut state = self.deliveries.state();
        let taken = self.keys.iter().zip(taken).filter(|(_, taken)| **taken);
        taken.for_each(|(key, _)| state.delivered.add(key.clone()));
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.deliveries.state();
        for key in &self.keys {
            if let Some(number) = state.under_way.get_mut(key) {
                *number -= 1;
                if *number == 0 {
                    state.under_way.remove(key);
                }
            }
        }
        drop(state);
        self.deliveries.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(20);

    fn mail() -> MailConfig {
        MailConfig {
            gateways: vec!["gw.test".to_owned()],
            ..MailConfig::default()
        }
    }

    fn store() -> (tempfile::TempDir, Arc<Deliveries>) {
        let root = tempfile::tempdir().expect("a folder");
        let deliveries = Arc::new(Deliveries::new(root.path(), LONG, &mail()));
        (root, deliveries)
    }

    fn ids(of: &[(&str, &str)]) -> Ids {
        let mut ids = Ids::new();
        for (mailbox, id) in of {
            ids.entry((*mailbox).to_owned()).or_default().insert((*id).to_owned());
        }
        ids
    }

    fn boxes(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// A merge that is about to bring message A1 to anna.
    async fn announce(deliveries: &Deliveries, longest: Duration) {
        let announced = deliveries.announce("t", &ids(&[("anna", "A1")]), longest).await;
        announced.expect("announced");
    }

    #[tokio::test]
    async fn what_a_merge_brings_is_not_delivered_again_to_that_mailbox() {
        let (_root, deliveries) = store();
        announce(&deliveries, LONG).await;
        let known = deliveries.begin(&boxes(&["anna", "bert"]), "A1").err();
        assert_eq!(known, Some(BTreeSet::from(["anna".to_owned()])));
        assert!(deliveries.begin(&boxes(&["bert"]), "A1").is_ok());
        assert!(deliveries.begin(&boxes(&["anna"]), "A2").is_ok());
    }

    #[tokio::test]
    async fn the_next_writer_knows_it_too_until_the_list_is_old() {
        let (root, deliveries) = store();
        announce(&deliveries, LONG).await;
        let next = Arc::new(Deliveries::new(root.path(), LONG, &mail()));
        next.load();
        assert!(next.begin(&boxes(&["anna"]), "A1").is_err());
        let much_later = Arc::new(Deliveries::new(root.path(), Duration::ZERO, &mail()));
        much_later.load();
        assert!(much_later.begin(&boxes(&["anna"]), "A1").is_ok());
        assert_eq!(lists(&root.path().join(FOLDER)).expect("read"), Vec::<PathBuf>::new());
    }

    #[tokio::test]
    async fn a_merge_waits_for_what_is_being_delivered_and_learns_what_became_of_it() {
        let (_root, deliveries) = store();
        let under_way = deliveries.begin(&boxes(&["anna", "bert"]), "A1").expect("begun");
        let announced = ids(&[("anna", "A1")]);
        let late = deliveries.announce("t", &announced, SHORT).await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        let merge = deliveries.announce("t", &announced, LONG);
        let delivery = async { under_way.delivered(&[true, false]) };
        let (merge, ()) = tokio::join!(merge, delivery);
        merge.expect("announced");
        assert_eq!(deliveries.delivered("anna"), BTreeSet::from(["A1".to_owned()]));
        assert_eq!(deliveries.delivered("bert"), BTreeSet::new());
    }

    /// A mailbox with message A1, of which nobody has told the list.
    fn with_mail() -> (tempfile::TempDir, Arc<Deliveries>, Vec<String>) {
        let (root, deliveries) = store();
        let folder = root.path().join("example.org/anna/new");
        fs::create_dir_all(&folder).expect("made");
        let head = "Received: from x by gw.test with ESMTP id A1;\n\n";
        fs::write(folder.join("1.M.h"), head).expect("written");
        (root, deliveries, boxes(&["anna@example.org"]))
    }

    #[tokio::test]
    async fn what_a_mailbox_has_is_not_delivered_again_although_dovecot_may_not_know_it() {
        let (_root, deliveries, anna) = with_mail();
        deliveries.look(&anna).await;
        assert!(deliveries.begin(&anna, "A1").is_err());
        assert!(deliveries.begin(&anna, "A2").is_ok());
    }

    #[tokio::test]
    async fn what_was_there_at_the_take_over_is_known_when_its_owner_has_removed_it() {
        let (root, deliveries, anna) = with_mail();
        deliveries.look(&anna).await;
        fs::remove_file(root.path().join("example.org/anna/new/1.M.h")).expect("removed");
        deliveries.load();
        deliveries.look(&anna).await;
        assert!(deliveries.begin(&anna, "A1").is_err());
    }

    #[tokio::test]
    async fn of_a_store_that_was_replaced_nothing_is_known() {
        let (root, deliveries, anna) = with_mail();
        deliveries.look(&anna).await;
        fs::remove_file(root.path().join("example.org/anna/new/1.M.h")).expect("removed");
        deliveries.forget();
        deliveries.look(&anna).await;
        assert!(deliveries.begin(&anna, "A1").is_ok());
    }

    #[tokio::test]
    async fn a_look_into_a_store_that_is_replaced_meanwhile_is_begun_anew() {
        let (root, deliveries, anna) = with_mail();
        let message = root.path().join("example.org/anna/new/1.M.h");
        fs::remove_file(&message).expect("removed");
        let pipe = std::process::Command::new("mkfifo").arg(&message).status();
        assert!(pipe.expect("it can run").success());
        let (looking, mailboxes) = (deliveries.clone(), anna.clone());
        let look = tokio::spawn(async move { looking.look(&mailboxes).await });
        let end = message.clone();
        // Opens when the look reads at the other end.
        let end = tokio::task::spawn_blocking(move || File::options().write(true).open(end));
        let mut end = end.await.expect("no panic").expect("a pipe");
        deliveries.forget();
        fs::remove_file(&message).expect("removed");
        end.write_all(b"Received: from x by gw.test with ESMTP id A1;\n\n")
            .expect("written");
        drop(end);
        look.await.expect("no panic");
        assert!(deliveries.begin(&anna, "A1").is_ok());
    }

    #[tokio::test]
    async fn a_merge_does_not_wait_for_other_mail() {
        let (_root, deliveries) = store();
        let _other = deliveries.begin(&boxes(&["anna"]), "A2").expect("begun");
        announce(&deliveries, SHORT).await;
    }
}
