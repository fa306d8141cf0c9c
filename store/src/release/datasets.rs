//! Releases as datasets: `POOL/config/release-ID`, read-only, mounted only while somebody needs what is in it. What a node did
//! with one is in user properties of its own dataset (zfsprops(7)); a send carries none of them.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Name, Release, Seal, State};
use crate::zfs::command::Commands;
use crate::zfs::{NewProperties, Sending, Since, Stream, Zfs, ZfsError};

/// Begins the last part of a release's dataset.
const PREFIX: &str = "release-";

/// The one snapshot of a release.
const SNAPSHOT: &str = "release";

const COLUMNS: &str =
    "name,cluster-store:seal,cluster-store:release,cluster-store:release-at,cluster-store:installation";

/// The datasets of one node.
#[derive(Debug, Clone)]
pub(super) struct Datasets {
    pub commands: Commands,
    /// In which they are.
    pub parent: String,
    /// Below which they are mounted.
    pub folder: PathBuf,
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Found {
    /// Oldest first.
    pub whole: Vec<Release>,
    /// Ids of those that did not come to be whole.
    pub unfinished: Vec<String>,
}

impl Datasets {
    fn dataset(&self, id: &str) -> String {
        format!("{}/{PREFIX}{id}", self.parent)
    }

    /// Where a release is mounted.
    pub fn place(&self, id: &str) -> PathBuf {
        self.folder.join(id)
    }

    fn properties(&self, id: &str, readonly: bool) -> NewProperties {
        NewProperties {
            mountpoint: Some(self.place(id).to_string_lossy().into_owned()),
            readonly,
            marks: Vec::new(),
        }
    }

    pub async fn look(&self) -> Result<Found, ZfsError> {
        Ok(found(
            &self.commands.children(&self.parent, COLUMNS).await?,
            &self.parent,
        ))
    }

    /// An empty one, mounted, to be filled.
    pub async fn create(&self, id: &str) -> Result<PathBuf, ZfsError> {
        let dataset = self.dataset(id);
        self.commands.create(&dataset, &self.properties(id, false)).await?;
        self.commands.mount(&dataset).await?;
        Ok(self.place(id))
    }

    /// It is filled: nobody changes it any more.
    pub async fn finish(&self, id: &str) -> Result<(), ZfsError> {
        let dataset = self.dataset(id);
        self.commands.snapshot(&dataset, SNAPSHOT).await?;
        self.commands.set_readonly(&dataset, true).await
    }

    pub async fn send(&self, id: &str) -> Result<Stream, ZfsError> {
        let what = Sending::Snapshot {
            dataset: self.dataset(id),
            from: Since::Nothing,
            snapshot: SNAPSHOT.to_owned(),
        };
        self.commands.send(&what).await
    }

    pub async fn receive(&self, id: &str, stream: Stream) -> Result<(), ZfsError> {
        let properties = self.properties(id, true);
        let received = self
            .commands
            .receive(&self.dataset(id), None, &properties, stream)
            .await;
        received.map(drop)
    }

    /// Notes that it is whole.
    pub async fn seal(&self, name: &Name) -> Result<(), ZfsError> {
        let seal = format!("cluster-store:seal={}", name.seal);
        let state = format!("cluster-store:release={}", State::Ready.word());
        self.set(&name.id, &[seal, state]).await
    }

    /// Notes what was done with it. `-` is how ZFS shows what is not there, so it stands for none.
    pub async fn note(&self, id: &str, state: State, installation: Option<&str>) -> Result<(), ZfsError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let properties = [
            format!("cluster-store:release={}", state.word()),
            format!("cluster-store:release-at={}", now.as_secs()),
            format!("cluster-store:installation={}", installation.unwrap_or("-")),
        ];
        self.set(id, &properties).await
    }

    async fn set(&self, id: &str, properties: &[String]) -> Result<(), ZfsError> {
        let dataset = self.dataset(id);
        let mut args = vec!["set"];
        args.extend(properties.iter().map(String::as_str));
        args.push(&dataset);
        self.commands.zfs(&args).await.map(drop)
    }

    pub async fn mount(&self, id: &str) -> Result<PathBuf, ZfsError> {
        self.commands.mount(&self.dataset(id)).await?;
        Ok(self.place(id))
    }

    pub async fn unmount(&self, id: &str) -> Result<(), ZfsError> {
        self.commands.unmount(&self.dataset(id)).await
    }

    /// Removes one, with the folder that it was mounted on.
    pub async fn destroy(&self, id: &str) -> Result<(), ZfsError> {
        self.commands.destroy(&self.dataset(id)).await?;
        remove_empty(&self.place(id));
        Ok(())
    }
}

/// It holds nothing, so it is in nobody's way if it stays.
fn remove_empty(place: &Path) {
    let _ = std::fs::remove_dir(place);
}

/// What `zfs list` shows.
fn found(listed: &str, parent: &str) -> Found {
    let mut found = Found::default();
    let beginning = format!("{parent}/{PREFIX}");
    for line in listed.lines() {
        let mut columns = line
            .split('\t')
            .map(|column| Some(column).filter(|column| *column != "-"));
        let mut next = || columns.next().flatten();
        let Some(id) = next().and_then(|name| name.strip_prefix(&beginning)) else {
            continue;
        };
        let (seal, state, at, installation) = (next(), next(), next(), next());
        let state = state.and_then(|word| State::ALL.into_iter().find(|state| state.word() == word));
        match (seal, state) {
            (Some(seal), Some(state)) => found.whole.push(Release {
                name: Name {
                    id: id.to_owned(),
                    seal: Seal::noted(seal),
                },
                state,
                at: at.and_then(|at| at.parse().ok()),
                installation: installation.map(str::to_owned),
            }),
            _ => found.unfinished.push(id.to_owned()),
        }
    }
    found.whole.sort_by(|one, other| one.name.id.cmp(&other.name.id));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_whole_once_that_is_noted() {
        let listed = "tank/config\t-\t-\t-\t-\n\
            tank/config/release-20260201T000000Z-bb\tbb\tinstalled\t1769904000\t20260201-1\n\
            tank/config/release-20260101T000000Z-aa\taa\tready\t-\t-\n\
            tank/config/release-20260301T000000Z-cc\t-\t-\t-\t-\n\
            tank/config/mine\t-\t-\t-\t-\n";
        let found = found(listed, "tank/config");
        let ids: Vec<&str> = found.whole.iter().map(|release| release.name.id.as_str()).collect();
        assert_eq!(ids, ["20260101T000000Z-aa", "20260201T000000Z-bb"]);
        assert_eq!(found.whole[1].state, State::Installed);
        assert_eq!(found.whole[1].installation.as_deref(), Some("20260201-1"));
        assert_eq!(found.unfinished, ["20260301T000000Z-cc"]);
    }
}
