//! Receiving in the model: what zfs-receive(8) refuses without `-F` is refused here.

use super::{FakeDataset, FakeSnapshot, Inner, Wire, apply, failed};
use crate::zfs::{NewProperties, ZfsError};

pub fn receive(
    inner: &mut Inner,
    name: &str,
    origin: Option<&str>,
    new: &NewProperties,
    wire: Wire,
) -> Result<(), ZfsError> {
    if inner.receives_refused {
        return Err(failed("zfs receive", "out of space"));
    }
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

pub fn guid_in(head: &[u8]) -> Option<u64> {
    let head = std::str::from_utf8(head).ok()?;
    head.strip_prefix("{\"guid\":")?.split(',').next()?.parse().ok()
}

pub fn made(new: &NewProperties, origin: Option<&str>) -> FakeDataset {
    let mut dataset = FakeDataset {
        readonly: new.readonly,
        origin: origin.map(str::to_owned),
        ..FakeDataset::default()
    };
    apply(&mut dataset.marks, &new.marks);
    dataset
}
