//! A pool in memory, for tests. It knows what matters here: what is in the pool, what only in memory, and what in the
//! intent log; a crash loses the second, and only a mount brings back the third. Any step of any command can crash it.

mod commands;
mod receive;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Guid, Mark, Marks, ZfsError};

/// Contents by path.
pub type Files = BTreeMap<String, String>;

#[derive(Debug, Clone, Default)]
struct FakeSnapshot {
    name: String,
    guid: u64,
    files: Files,
    written: u64,
    held: bool,
}

#[derive(Debug, Clone, Default)]
struct FakeDataset {
    readonly: bool,
    mounted: bool,
    origin: Option<String>,
    marks: Marks,
    /// As programs see it.
    head: Files,
    /// As it is after a crash, before the intent log is replayed.
    synced: Files,
    /// Writes with fsync since the last transaction group.
    log: Vec<(String, Option<String>)>,
    snapshots: Vec<FakeSnapshot>,
    bookmarks: BTreeMap<String, Guid>,
    /// Snapshot of which a receive was cut off.
    partial: Option<u64>,
    age: Duration,
}

#[derive(Debug, Clone, Default)]
struct Inner {
    datasets: BTreeMap<String, FakeDataset>,
    fuse: Option<u32>,
    down: bool,
    created: u64,
    /// Distinguishes the snapshots of two pools.
    seed: u64,
    forced_receive: bool,
    receives_refused: bool,
    no_pool: bool,
    checksum_errors: u64,
    /// Programs with a file open for writing.
    writers: u32,
}

/// The model.
#[derive(Debug)]
pub struct FakePool(Mutex<Inner>);

/// The guid comes first, so that the head of a stream that was cut off says what it is of.
#[derive(Serialize, Deserialize)]
struct Wire {
    guid: u64,
    name: String,
    from: Option<u64>,
    files: Files,
    written: u64,
    resumed: bool,
}

fn failed(command: &str, stderr: &str) -> ZfsError {
    ZfsError::Failed {
        command: command.to_owned(),
        status: "exit status: 1".to_owned(),
        stderr: stderr.to_owned(),
    }
}

fn distance(a: &Files, b: &Files) -> u64 {
    let changed = a.iter().filter(|(path, data)| b.get(*path) != Some(data)).count();
    (changed + b.keys().filter(|path| !a.contains_key(*path)).count()) as u64
}

impl FakeDataset {
    fn newest_files(&self, base: &Files) -> Files {
        self.snapshots
            .last()
            .map_or_else(|| base.clone(), |snapshot| snapshot.files.clone())
    }

    fn commit(&mut self) {
        // The log of a file system that is not mounted has not been replayed, and stays.
        if self.mounted {
            self.synced = self.head.clone();
            self.log.clear();
        }
    }
}

impl Inner {
    /// A point at which the machine may lose its power.
    fn step(&mut self) -> Result<(), ZfsError> {
        if self.down {
            return Err(failed("zfs", "the machine is off"));
        }
        match &mut self.fuse {
            Some(0) => {
                self.crash();
                Err(failed("zfs", "the machine lost its power"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn crash(&mut self) {
        self.down = true;
        self.fuse = None;
        for dataset in self.datasets.values_mut() {
            dataset.head = dataset.synced.clone();
            dataset.mounted = false;
        }
    }

    fn get(&mut self, name: &str) -> Result<&mut FakeDataset, ZfsError> {
        let missing = || failed(name, "dataset does not exist");
        self.datasets.get_mut(name).ok_or_else(missing)
    }

    fn absent(&self, name: &str) -> Result<(), ZfsError> {
        match self.datasets.contains_key(name) {
            true => Err(failed(name, "dataset already exists")),
            false => Ok(()),
        }
    }

    fn base_of(&self, name: &str) -> Files {
        let origin = self.datasets.get(name).and_then(|dataset| dataset.origin.as_deref());
        origin
            .and_then(|origin| self.at(origin))
            .map(|snapshot| snapshot.files.clone())
            .unwrap_or_default()
    }

    fn at(&self, full: &str) -> Option<&FakeSnapshot> {
        let (dataset, name) = full.split_once('@')?;
        self.datasets
            .get(dataset)?
            .snapshots
            .iter()
            .find(|snapshot| snapshot.name == name)
    }

    fn is_cloned(&self, full: &str) -> bool {
        self.datasets
            .values()
            .any(|dataset| dataset.origin.as_deref() == Some(full))
    }

    fn written(&self, name: &str) -> u64 {
        self.datasets.get(name).map_or(0, |dataset| {
            distance(&dataset.synced, &dataset.newest_files(&self.base_of(name)))
        })
    }
}

fn apply(marks: &mut Marks, changes: &[Mark]) {
    for change in changes {
        match change.clone() {
            Mark::Epoch(epoch) => marks.epoch = epoch,
            Mark::Role(role) => marks.role = role,
            Mark::Boot(boot) => marks.boot = Some(boot),
            Mark::Lifted(epoch) => marks.lifted = epoch,
            Mark::Rebase(base) => marks.rebase = base,
            Mark::Merged => marks.merged = true,
            Mark::Behind(behind) => marks.behind = behind,
        }
    }
}

impl FakePool {
    /// An empty pool; pools of different seeds never give the same guid.
    pub fn new(seed: u64) -> FakePool {
        FakePool(Mutex::new(Inner {
            seed,
            ..Inner::default()
        }))
    }

    /// The disks are there, but there is no pool on them (true), or it was made and is empty (false).
    pub fn without_pool(&self, without: bool) {
        let mut inner = self.lock();
        inner.no_pool = without;
        inner.datasets.clear();
    }

    /// Its one disk has counted so many blocks that are not what was written.
    pub fn rot(&self, checksum_errors: u64) {
        self.lock().checksum_errors = checksum_errors;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no test panicked with the pool")
    }

    /// Crashes after so many further steps; every command has one before and one after its effect.
    pub fn fuse(&self, steps: Option<u32>) {
        self.lock().fuse = steps;
    }

    /// Loses its power now.
    pub fn crash(&self) {
        self.lock().crash();
    }

    /// True between a crash and the next start.
    pub fn is_down(&self) -> bool {
        self.lock().down
    }

    /// Comes back, with nothing mounted.
    pub fn start(&self) {
        let mut inner = self.lock();
        inner.down = false;
        inner.fuse = None;
    }

    /// A planted defect: receives roll back first, as `recv -F` does.
    pub fn force_receives(&self) {
        self.lock().forced_receive = true;
    }

    /// So many programs have a file open for writing: nothing becomes read-only.
    pub fn writers(&self, writers: u32) {
        self.lock().writers = writers;
    }

    /// One of them ends.
    pub fn end_writer(&self) {
        let mut inner = self.lock();
        inner.writers = inner.writers.saturating_sub(1);
    }

    /// Its disks take nothing in.
    pub fn refuse_receives(&self, refuse: bool) {
        self.lock().receives_refused = refuse;
    }

    /// Snapshots so far.
    pub fn snapshots_taken(&self) -> u64 {
        self.lock().created
    }

    /// The same pool once more.
    pub fn copy(&self) -> FakePool {
        FakePool(Mutex::new(self.lock().clone()))
    }

    /// Everything in it, to compare.
    pub fn state(&self) -> String {
        format!("{:#?}", self.lock().datasets)
    }

    /// True if programs can write.
    pub fn is_writable(&self, name: &str) -> bool {
        let inner = self.lock();
        !inner.down && inner.datasets.get(name).is_some_and(|d| d.mounted && !d.readonly)
    }

    /// A program writes a file and syncs it, as LMTP does before it answers 250; without contents it removes it.
    pub fn write(&self, name: &str, path: &str, contents: Option<&str>) -> bool {
        let mut inner = self.lock();
        if inner.down {
            return false;
        }
        let Some(dataset) = inner.datasets.get_mut(name).filter(|d| d.mounted && !d.readonly) else {
            return false;
        };
        match contents {
            Some(contents) => dataset.head.insert(path.to_owned(), contents.to_owned()),
            None => dataset.head.remove(path),
        };
        dataset.log.push((path.to_owned(), contents.map(str::to_owned)));
        true
    }

    /// What programs see.
    pub fn files(&self, name: &str) -> Files {
        self.lock()
            .datasets
            .get(name)
            .map(|d| d.head.clone())
            .unwrap_or_default()
    }

    /// Lets time pass.
    pub fn age(&self, by: Duration) {
        for dataset in self.lock().datasets.values_mut() {
            dataset.age += by;
        }
    }

    /// Runs one command: a crash may come before it and after it.
    fn run<T>(&self, command: impl FnOnce(&mut Inner) -> Result<T, ZfsError>) -> Result<T, ZfsError> {
        let mut inner = self.lock();
        inner.step()?;
        let done = command(&mut inner)?;
        inner.step()?;
        Ok(done)
    }

    fn on<T>(&self, name: &str, command: impl FnOnce(&mut FakeDataset) -> T) -> Result<T, ZfsError> {
        self.run(|inner| inner.get(name).map(command))
    }

    /// Each is a transaction of its own, as with the real command.
    fn on_snapshots(
        &self,
        name: &str,
        snapshots: &[&str],
        command: impl Fn(&mut FakeSnapshot),
    ) -> Result<(), ZfsError> {
        for snapshot in snapshots {
            self.run(|inner| {
                let dataset = inner.get(name)?;
                let found = dataset.snapshots.iter_mut().find(|found| found.name == *snapshot);
                found
                    .map(&command)
                    .ok_or_else(|| failed(snapshot, "snapshot does not exist"))
            })?;
        }
        Ok(())
    }

    /// Somebody removes a snapshot behind the agent's back, hold or not.
    pub fn lose_snapshot(&self, name: &str, guid: Guid) {
        if let Ok(dataset) = self.lock().get(name) {
            dataset.snapshots.retain(|snapshot| snapshot.guid != guid.0);
        }
    }
}
