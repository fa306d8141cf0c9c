//! The commands of the model.

use async_trait::async_trait;
use tokio::io::AsyncReadExt;

use super::receive::{guid_in, made, receive};
use super::{FakeDataset, FakePool, FakeSnapshot, Wire, apply, failed};
use crate::zfs::{
    Change, Dataset, Disk, Guid, Mark, NewProperties, Received, Sending, Since, Snapshot, Stream, Zfs, ZfsError,
};

#[async_trait]
impl Zfs for FakePool {
    async fn look(&self, name: &str) -> Result<Vec<Dataset>, ZfsError> {
        self.run(|inner| {
            if inner.no_pool {
                let pool = name.split('/').next().unwrap_or(name).to_owned();
                return Err(ZfsError::NoPool { pool });
            }
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
                        written: Some(s.written),
                        held: s.held,
                        cloned: inner.is_cloned(&format!("{found}@{}", s.name)),
                    })
                    .collect(),
                bookmarks: dataset.bookmarks.clone(),
            };
            Ok(seen.map(view).collect())
        })
    }

    async fn disks(&self, _: &str) -> Result<Vec<Disk>, ZfsError> {
        self.run(|inner| {
            Ok(vec![Disk {
                name: "/dev/one".to_owned(),
                state: "ONLINE".to_owned(),
                read: 0,
                write: 0,
                checksum: inner.checksum_errors,
            }])
        })
    }

    async fn sync(&self, _: &str) -> Result<(), ZfsError> {
        self.run(|inner| {
            inner.datasets.values_mut().for_each(FakeDataset::commit);
            Ok(())
        })
    }

    fn activity(&self, _: &str) -> Option<u64> {
        None
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
                written: Some(written),
                held: false,
                cloned: false,
            })
        })
    }

    async fn hold(&self, name: &str, snapshots: &[&str]) -> Result<(), ZfsError> {
        self.on_snapshots(name, snapshots, |found| found.held = true)
    }

    async fn release(&self, name: &str, snapshots: &[&str]) -> Result<(), ZfsError> {
        self.on_snapshots(name, snapshots, |found| found.held = false)
    }

    async fn bookmark(&self, name: &str, snapshot: &str) -> Result<(), ZfsError> {
        self.run(|inner| {
            let dataset = inner.get(name)?;
            let found = dataset.snapshots.iter().find(|found| found.name == snapshot);
            let guid = found.ok_or_else(|| failed(snapshot, "snapshot does not exist"))?.guid;
            dataset.bookmarks.insert(snapshot.to_owned(), Guid(guid));
            Ok(())
        })
    }

    async fn destroy_bookmark(&self, name: &str, bookmark: &str) -> Result<(), ZfsError> {
        self.on(name, |dataset| {
            dataset.bookmarks.remove(bookmark);
        })
    }

    async fn destroy_snapshots(&self, name: &str, snapshots: &[&str]) -> Result<(), ZfsError> {
        self.run(|inner| {
            if snapshots.iter().any(|one| inner.is_cloned(&format!("{name}@{one}"))) {
                return Err(failed("zfs destroy", "snapshot has dependent clones"));
            }
            let dataset = inner.get(name)?;
            let is_meant = |found: &FakeSnapshot| snapshots.contains(&found.name.as_str());
            if dataset.snapshots.iter().any(|found| is_meant(found) && found.held) {
                return Err(failed("zfs destroy", "dataset is busy"));
            }
            dataset.snapshots.retain(|found| !is_meant(found));
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
        self.run(|inner| {
            if readonly && inner.writers > 0 {
                return Err(failed("zfs set", "cannot set mount attributes"));
            }
            inner.get(name)?.readonly = readonly;
            Ok(())
        })
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
                        Since::Bookmark(base) => Some(inner.get(dataset)?.bookmarks.get(base).ok_or_else(missing)?.0),
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
    ) -> Result<Option<Received>, ZfsError> {
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
            let received = Received {
                name: wire.name.clone(),
                guid: Guid(wire.guid),
            };
            receive(inner, name, origin, properties, wire)?;
            Ok(Some(received))
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
