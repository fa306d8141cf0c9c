//! A pool in memory, for tests. It knows what matters here: what is in the pool, what only in memory, and what in the
//! intent log; a crash loses the second, and only a mount brings back the third. Any step of any command can crash it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

use super::{Change, Dataset, Guid, Mark, Marks, NewProperties, Sending, Since, Snapshot, Stream, Zfs, ZfsError};

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
    bookmarks: BTreeSet<String>,
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

    fn on_snapshot<T>(
        &self,
        name: &str,
        snapshot: &str,
        command: impl FnOnce(&mut FakeSnapshot) -> T,
    ) -> Result<T, ZfsError> {
        self.run(|inner| {
            let dataset = inner.get(name)?;
            let found = dataset.snapshots.iter_mut().find(|found| found.name == snapshot);
            found
                .map(command)
                .ok_or_else(|| failed(snapshot, "snapshot does not exist"))
        })
    }
}

fn receive(
    inner: &mut Inner,
    name: &str,
    origin: Option<&str>,
    new: &NewProperties,
    wire: Wire,
) -> Result<(), ZfsError> {
    let forced = inner.forced_receive;
    let snapshot = FakeSnapshot {
        name: wire.name,
        guid: wire.guid,
        files: wire.files,
        written: wire.written,
        held: false,
    };
    let exists = inner.datasets.contains_key(name);
    if exists
        && inner
            .get(name)?
            .partial
            .is_some_and(|partial| !wire.resumed || partial != snapshot.guid)
    {
        return Err(failed("zfs receive", "destination contains partially-complete state"));
    }
    let waits_for_rest = exists && inner.get(name)?.partial.is_some() && inner.get(name)?.snapshots.is_empty();
    if exists && !waits_for_rest {
        let dataset = inner.get(name)?;
        let from = dataset.snapshots.iter().position(|s| Some(s.guid) == wire.from);
        let Some(from) = from else {
            return Err(failed(
                "zfs receive",
                "most recent snapshot does not match incremental source",
            ));
        };
        if forced {
            dataset.snapshots.truncate(from + 1);
            dataset.head = dataset.snapshots[from].files.clone();
        }
        if from + 1 != dataset.snapshots.len() {
            return Err(failed(
                "zfs receive",
                "most recent snapshot does not match incremental source",
            ));
        }
        if dataset.head != dataset.snapshots[from].files || !dataset.log.is_empty() {
            return Err(failed(
                "zfs receive",
                "destination has been modified since most recent snapshot",
            ));
        }
    } else if !exists {
        let found = origin.map(|origin| inner.at(origin).map(|snapshot| snapshot.guid));
        if found.flatten() != wire.from {
            return Err(failed("zfs receive", "local origin does not match the stream"));
        }
        inner.datasets.insert(name.to_owned(), made(new, origin));
    }
    let dataset = inner.get(name)?;
    dataset.partial = None;
    dataset.head = snapshot.files.clone();
    dataset.synced = snapshot.files.clone();
    dataset.log.clear();
    dataset.snapshots.push(snapshot);
    Ok(())
}

fn guid_in(head: &[u8]) -> Option<u64> {
    let head = std::str::from_utf8(head).ok()?;
    head.strip_prefix("{\"guid\":")?.split(',').next()?.parse().ok()
}

fn made(new: &NewProperties, origin: Option<&str>) -> FakeDataset {
    let mut dataset = FakeDataset {
        readonly: new.readonly,
        origin: origin.map(str::to_owned),
        ..FakeDataset::default()
    };
    apply(&mut dataset.marks, &new.marks);
    dataset
}

#[async_trait]
impl Zfs for FakePool {
    async fn look(&self, name: &str) -> Result<Vec<Dataset>, ZfsError> {
        self.run(|inner| {
            let beside = format!("{name}-");
            let seen = inner
                .datasets
                .iter()
                .filter(|(found, _)| *found == name || found.starts_with(&beside));
            let view = |(found, dataset): (&String, &FakeDataset)| Dataset {
                name: found.clone(),
                readonly: dataset.readonly,
                mounted: dataset.mounted,
                origin: dataset.origin.clone(),
                resume_token: dataset.partial.map(|guid| guid.to_string()),
                written: inner.written(found),
                age: dataset.age,
                marks: dataset.marks.clone(),
                snapshots: dataset
                    .snapshots
                    .iter()
                    .map(|s| Snapshot {
                        name: s.name.clone(),
                        guid: Guid(s.guid),
                        written: s.written,
                        held: s.held,
                        cloned: inner.is_cloned(&format!("{found}@{}", s.name)),
                    })
                    .collect(),
                bookmarks: dataset.bookmarks.clone(),
            };
            Ok(seen.map(view).collect())
        })
    }

    async fn sync(&self, _: &str) -> Result<(), ZfsError> {
        self.run(|inner| {
            inner.datasets.values_mut().for_each(FakeDataset::commit);
            Ok(())
        })
    }

    async fn written(&self, name: &str) -> Result<u64, ZfsError> {
        self.run(|inner| Ok(inner.written(name)))
    }

    async fn snapshot(&self, name: &str, snapshot: &str) -> Result<Snapshot, ZfsError> {
        self.run(|inner| {
            // A snapshot is made in a transaction group of its own.
            inner.get(name)?.commit();
            let written = inner.written(name);
            inner.created += 1;
            let guid = inner.seed * 1_000_000 + inner.created;
            let dataset = inner.get(name)?;
            if dataset.snapshots.iter().any(|found| found.name == snapshot) {
                return Err(failed("zfs snapshot", "dataset already exists"));
            }
            dataset.snapshots.push(FakeSnapshot {
                name: snapshot.to_owned(),
                guid,
                files: dataset.synced.clone(),
                written,
                held: false,
            });
            Ok(Snapshot {
                name: snapshot.to_owned(),
                guid: Guid(guid),
                written,
                held: false,
                cloned: false,
            })
        })
    }

    async fn hold(&self, name: &str, snapshot: &str) -> Result<(), ZfsError> {
        self.on_snapshot(name, snapshot, |found| found.held = true)
    }

    async fn release(&self, name: &str, snapshot: &str) -> Result<(), ZfsError> {
        self.on_snapshot(name, snapshot, |found| found.held = false)
    }

    async fn bookmark(&self, name: &str, snapshot: &str) -> Result<(), ZfsError> {
        self.on(name, |dataset| {
            dataset.bookmarks.insert(snapshot.to_owned());
        })
    }

    async fn destroy_bookmark(&self, name: &str, bookmark: &str) -> Result<(), ZfsError> {
        self.on(name, |dataset| {
            dataset.bookmarks.remove(bookmark);
        })
    }

    async fn destroy_snapshot(&self, name: &str, snapshot: &str) -> Result<(), ZfsError> {
        self.run(|inner| {
            if inner.is_cloned(&format!("{name}@{snapshot}")) {
                return Err(failed("zfs destroy", "snapshot has dependent clones"));
            }
            let dataset = inner.get(name)?;
            if dataset
                .snapshots
                .iter()
                .any(|found| found.name == snapshot && found.held)
            {
                return Err(failed("zfs destroy", "dataset is busy"));
            }
            dataset.snapshots.retain(|found| found.name != snapshot);
            Ok(())
        })
    }

    async fn destroy(&self, name: &str) -> Result<(), ZfsError> {
        self.run(|inner| {
            if inner.get(name)?.snapshots.iter().any(|found| found.held) {
                return Err(failed("zfs destroy", "dataset is busy"));
            }
            let inside = format!("{name}@");
            if inner
                .datasets
                .values()
                .any(|d| d.origin.as_deref().is_some_and(|o| o.starts_with(&inside)))
            {
                return Err(failed("zfs destroy", "filesystem has dependent clones"));
            }
            inner.datasets.remove(name);
            Ok(())
        })
    }

    async fn mark(&self, name: &str, marks: &[Mark]) -> Result<(), ZfsError> {
        self.on(name, |dataset| apply(&mut dataset.marks, marks))
    }

    async fn set_readonly(&self, name: &str, readonly: bool) -> Result<(), ZfsError> {
        self.on(name, |dataset| dataset.readonly = readonly)
    }

    async fn set_mountpoint(&self, name: &str, _: Option<&str>) -> Result<(), ZfsError> {
        self.on(name, |_| ())
    }

    async fn mount(&self, name: &str) -> Result<(), ZfsError> {
        self.on(name, |dataset| {
            if dataset.mounted {
                return;
            }
            dataset.mounted = true;
            for (path, contents) in std::mem::take(&mut dataset.log) {
                match contents {
                    Some(contents) => dataset.head.insert(path, contents),
                    None => dataset.head.remove(&path),
                };
            }
            dataset.synced = dataset.head.clone();
        })
    }

    async fn unmount(&self, name: &str) -> Result<(), ZfsError> {
        self.on(name, |dataset| {
            dataset.commit();
            dataset.mounted = false;
        })
    }

    async fn create(&self, name: &str, properties: &NewProperties) -> Result<(), ZfsError> {
        self.run(|inner| {
            inner.absent(name)?;
            inner.datasets.insert(name.to_owned(), made(properties, None));
            Ok(())
        })
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), ZfsError> {
        self.run(|inner| {
            inner.absent(to)?;
            let moved = inner
                .datasets
                .remove(from)
                .ok_or_else(|| failed(from, "dataset does not exist"))?;
            inner.datasets.insert(to.to_owned(), moved);
            let inside = format!("{from}@");
            for dataset in inner.datasets.values_mut() {
                let snapshot = dataset
                    .origin
                    .as_deref()
                    .and_then(|origin| origin.strip_prefix(&inside));
                if let Some(origin) = snapshot.map(|snapshot| format!("{to}@{snapshot}")) {
                    dataset.origin = Some(origin);
                }
            }
            Ok(())
        })
    }

    async fn clone_from(&self, origin: &str, name: &str, properties: &NewProperties) -> Result<(), ZfsError> {
        self.run(|inner| {
            inner.absent(name)?;
            let files = inner
                .at(origin)
                .ok_or_else(|| failed(origin, "no such snapshot"))?
                .files
                .clone();
            let mut dataset = made(properties, Some(origin));
            dataset.head = files.clone();
            dataset.synced = files;
            inner.datasets.insert(name.to_owned(), dataset);
            Ok(())
        })
    }

    async fn promote(&self, name: &str) -> Result<(), ZfsError> {
        self.run(|inner| {
            let origin = inner
                .get(name)?
                .origin
                .take()
                .ok_or_else(|| failed(name, "not a cloned filesystem"))?;
            let (old, base) = origin.split_once('@').unwrap_or((&origin, ""));
            let parent = inner.get(old)?;
            let upto = parent
                .snapshots
                .iter()
                .position(|s| s.name == base)
                .map_or(0, |at| at + 1);
            let mut moved: Vec<FakeSnapshot> = parent.snapshots.drain(..upto).collect();
            let grand = parent.origin.replace(format!("{name}@{base}"));
            let promoted = inner.get(name)?;
            promoted.origin = grand;
            moved.append(&mut promoted.snapshots);
            promoted.snapshots = moved;
            let names: Vec<String> = promoted.snapshots.iter().map(|s| s.name.clone()).collect();
            // Other clones of the snapshots that moved follow them.
            let inside = format!("{old}@");
            for dataset in inner.datasets.values_mut() {
                let snapshot = dataset
                    .origin
                    .as_deref()
                    .and_then(|origin| origin.strip_prefix(&inside));
                if let Some(snapshot) = snapshot.filter(|s| names.iter().any(|n| n == s)).map(str::to_owned) {
                    dataset.origin = Some(format!("{name}@{snapshot}"));
                }
            }
            Ok(())
        })
    }

    async fn send(&self, what: &Sending) -> Result<Stream, ZfsError> {
        let wire = self.run(|inner| {
            let (snapshot, from, resumed) = match what {
                Sending::Resume { token } => {
                    let guid: u64 = token.parse().unwrap_or(0);
                    let found = inner
                        .datasets
                        .values()
                        .flat_map(|d| &d.snapshots)
                        .find(|s| s.guid == guid);
                    (
                        found.ok_or_else(|| failed("zfs send -t", "snapshot is gone"))?.clone(),
                        None,
                        true,
                    )
                }
                Sending::Snapshot {
                    dataset,
                    from,
                    snapshot,
                } => {
                    let missing = || failed("zfs send", "no such snapshot");
                    let to = inner.at(&format!("{dataset}@{snapshot}")).ok_or_else(missing)?.clone();
                    let from = match from {
                        Since::Nothing => None,
                        Since::Snapshot(base) => Some(inner.at(&format!("{dataset}@{base}")).ok_or_else(missing)?.guid),
                    };
                    (to, from, false)
                }
            };
            Ok(Wire {
                name: snapshot.name,
                guid: snapshot.guid,
                from,
                files: snapshot.files,
                written: snapshot.written,
                resumed,
            })
        })?;
        let bytes = serde_json::to_vec(&wire).map_err(|error| failed("zfs send", &error.to_string()))?;
        Ok(Box::new(std::io::Cursor::new(bytes)))
    }

    async fn receive(
        &self,
        name: &str,
        origin: Option<&str>,
        properties: &NewProperties,
        mut stream: Stream,
    ) -> Result<(), ZfsError> {
        let mut bytes = Vec::new();
        let whole = stream.read_to_end(&mut bytes).await;
        self.run(|inner| {
            if let Err(broken) = whole {
                if let Some(guid) = guid_in(&bytes) {
                    let dataset = inner.datasets.entry(name.to_owned());
                    dataset.or_insert_with(|| made(properties, origin)).partial = Some(guid);
                }
                return Err(ZfsError::Stream(broken));
            }
            let mut wire: Wire =
                serde_json::from_slice(&bytes).map_err(|error| failed("zfs receive", &error.to_string()))?;
            if wire.resumed {
                let dataset = inner.get(name)?;
                wire.from = dataset.snapshots.last().map(|snapshot| snapshot.guid);
            }
            receive(inner, name, origin, properties, wire)
        })
    }

    async fn abort_receive(&self, name: &str) -> Result<(), ZfsError> {
        self.run(|inner| {
            let dataset = inner.get(name)?;
            dataset.partial = None;
            if dataset.snapshots.is_empty() {
                inner.datasets.remove(name);
            }
            Ok(())
        })
    }

    async fn diff(&self, from: &str, to: &str) -> Result<Vec<Change>, ZfsError> {
        self.run(|inner| {
            let missing = || failed("zfs diff", "no such snapshot");
            let before = inner.at(from).ok_or_else(missing)?.files.clone();
            let after = match inner.at(to) {
                Some(snapshot) => snapshot.files.clone(),
                None => inner.get(to)?.head.clone(),
            };
            let added = after
                .keys()
                .filter(|path| !before.contains_key(*path))
                .cloned()
                .map(Change::Added);
            let gone = before
                .keys()
                .filter(|path| !after.contains_key(*path))
                .cloned()
                .map(Change::Removed);
            Ok(added.chain(gone).collect())
        })
    }
}
