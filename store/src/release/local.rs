//! The releases of this node: made of a rendered folder, taken in from the other node, installed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tracing::info;
use walkdir::WalkDir;

use super::datasets::Datasets;
use super::job::{Files, Progress, Task, UNIT};
use super::seal::{self, LIST, Seal};
use super::{Ask, Host, HostError, Name, Release, State, Told};
use crate::config::Config;
use crate::zfs::command::{Commands, run};
use crate::zfs::{Stream, ZfsError};

/// Where the bundles' script keeps what it replaced.
const BACKUPS: &str = "/var/backups/cluster";

/// The releases of this node.
#[derive(Debug, Clone)]
pub struct Local {
    node: String,
    peer: String,
    datasets: Datasets,
    keep: usize,
    /// Of the installation of one release.
    limit: Duration,
    /// This program, and the configuration that it was started with.
    program: PathBuf,
    config: PathBuf,
    commands_limit: Duration,
}

fn refused(error: impl std::fmt::Display) -> HostError {
    HostError::Refused(error.to_string())
}

fn at(path: &Path) -> impl Fn(io::Error) -> HostError {
    let path = path.display().to_string();
    move |error| HostError::Refused(format!("{path}: {error}"))
}

impl From<ZfsError> for HostError {
    fn from(error: ZfsError) -> HostError {
        refused(error)
    }
}

impl Local {
    /// Of a node with this configuration, which is in this file.
    ///
    /// # Errors
    /// This program does not know where it lies.
    pub fn new(config: &Config, file: &Path, commands: Commands) -> io::Result<Local> {
        Ok(Local {
            node: config.name.clone(),
            peer: config.peer.name.clone(),
            keep: config.releases.keep,
            limit: config.releases.limit.0,
            program: std::env::current_exe()?,
            config: file.to_owned(),
            commands_limit: commands.limit,
            datasets: Datasets {
                commands,
                parent: config.releases_dataset(),
                folder: config.releases.folder.clone(),
            },
        })
    }

    /// This node's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    pub(super) fn backups(&self) -> &Path {
        Path::new(BACKUPS)
    }

    pub(super) fn files(&self) -> Files {
        Files::below(&self.datasets.folder)
    }

    fn folders(&self) -> [&str; 2] {
        [&self.node, &self.peer]
    }

    /// Releases that are whole here, oldest first.
    ///
    /// # Errors
    /// ZFS does not tell.
    pub async fn list(&self) -> Result<Vec<Release>, HostError> {
        Ok(self.datasets.look().await?.whole)
    }

    /// One of them.
    ///
    /// # Errors
    /// It is not here; the text names those that are.
    pub async fn find(&self, id: &str) -> Result<Release, HostError> {
        let releases = self.list().await?;
        let found = releases.iter().find(|release| release.name.id == id);
        found.cloned().ok_or_else(|| {
            let ids: Vec<&str> = releases.iter().map(|release| release.name.id.as_str()).collect();
            let there = match ids.is_empty() {
                true => "none".to_owned(),
                false => ids.join(", "),
            };
            HostError::Refused(format!("there is no release {id} on {}; there are: {there}", self.node))
        })
    }

    /// Makes a release of a folder that `generator render` wrote. If there is one with the same contents it is that one; the
    /// second of what is returned says whether it is new.
    ///
    /// # Errors
    /// The folder is none of a rendering, or ZFS refuses.
    pub async fn release(&self, folder: &Path) -> Result<(Name, bool), HostError> {
        let _lock = self.lock()?;
        for node in self.folders() {
            for file in ["install", "manifest"] {
                if !folder.join(node).join(file).is_file() {
                    return Err(HostError::Refused(format!(
                        "{}: {node}/{file} is missing; a release is made of a folder that `generator render --out` wrote, \
                         with the folders of {} and {}",
                        folder.display(),
                        self.node,
                        self.peer
                    )));
                }
            }
        }
        let list = seal::list(folder, &self.folders()).map_err(refused)?;
        let seal = Seal::of(&list);
        let found = self.datasets.look().await?;
        if let Some(same) = found.whole.iter().find(|release| release.name.seal == seal) {
            return Ok((same.name.clone(), false));
        }
        self.clear(&found.unfinished).await?;
        let stamp = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let id = format!("{}-{}", stamp.replace(['-', ':'], ""), seal.short());
        let name = Name { id, seal };
        let place = self.datasets.create(&name.id).await?;
        self.fill(folder, &place, &list)?;
        seal::verify(&place, &self.folders(), &name.seal).map_err(refused)?;
        self.datasets.finish(&name.id).await?;
        self.datasets.unmount(&name.id).await?;
        self.datasets.seal(&name).await?;
        self.prune().await?;
        Ok((name, true))
    }

    /// Copies both bundles, and lays the list beside them. Nobody but root gets at them: they hold secrets.
    fn fill(&self, from: &Path, to: &Path, list: &str) -> Result<(), HostError> {
        fs::set_permissions(to, fs::Permissions::from_mode(0o700)).map_err(at(to))?;
        for node in self.folders() {
            for entry in WalkDir::new(from.join(node)) {
                let entry = entry.map_err(refused)?;
                let path = entry.path().strip_prefix(from).map_err(refused)?;
                let target = to.join(path);
                match entry.file_type().is_dir() {
                    true => fs::create_dir(&target).map_err(at(&target))?,
                    // With its mode.
                    false => fs::copy(entry.path(), &target).map(drop).map_err(at(&target))?,
                }
            }
        }
        let path = to.join(LIST);
        fs::write(&path, list).map_err(at(&path))
    }

    /// What goes to the other node.
    ///
    /// # Errors
    /// ZFS refuses.
    pub async fn stream(&self, id: &str) -> Result<Stream, HostError> {
        Ok(self.datasets.send(id).await?)
    }

    async fn take_in(&self, name: &Name, stream: Stream) -> Result<(), HostError> {
        let _lock = self.lock()?;
        let found = self.datasets.look().await?;
        if found.whole.iter().any(|release| release.name == *name) {
            return Err(HostError::Refused(format!("release {} is here already", name.id)));
        }
        self.clear(&found.unfinished).await?;
        self.datasets.receive(&name.id, stream).await?;
        let place = self.datasets.mount(&name.id).await?;
        let verified = seal::verify(&place, &self.folders(), &name.seal);
        self.datasets.unmount(&name.id).await?;
        if let Err(error) = verified {
            self.datasets.destroy(&name.id).await?;
            return Err(HostError::Refused(format!(
                "release {} did not come whole: {error}",
                name.id
            )));
        }
        self.datasets.seal(name).await?;
        info!("release {} is here, and whole", name.id);
        self.prune().await
    }

    async fn clear(&self, unfinished: &[String]) -> Result<(), HostError> {
        for id in unfinished {
            info!("removing release {id}, which did not come to be whole");
            self.datasets.destroy(id).await?;
        }
        Ok(())
    }

    async fn prune(&self) -> Result<(), HostError> {
        let releases = self.list().await?;
        for id in superfluous(&releases, self.keep) {
            info!("removing release {id}: {} newer ones are kept", self.keep);
            self.datasets.destroy(&id).await?;
        }
        Ok(())
    }

    /// Held while a release is made or taken in.
    fn lock(&self) -> Result<File, HostError> {
        let folder = &self.datasets.folder;
        fs::create_dir_all(folder).map_err(at(folder))?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(at(folder))?;
        let path = folder.join("lock");
        let file = File::create(&path).map_err(at(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                Err(HostError::Refused("another release is being made or taken in".into()))
            }
            Err(TryLockError::Error(error)) => Err(at(&path)(error)),
        }
    }

    pub(super) async fn note(&self, id: &str, state: State, installation: Option<&str>) -> Result<(), HostError> {
        Ok(self.datasets.note(id, state, installation).await?)
    }

    pub(super) async fn mount(&self, id: &str) -> Result<PathBuf, HostError> {
        Ok(self.datasets.mount(id).await?)
    }

    pub(super) async fn unmount(&self, id: &str) -> Result<(), HostError> {
        Ok(self.datasets.unmount(id).await?)
    }

    async fn begin(&self, id: &str, task: Task) -> Result<u64, HostError> {
        let release = self.find(id).await?;
        if self.runs().await? {
            return Err(HostError::Refused(format!(
                "an installation is under way on {}",
                self.node
            )));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let number = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let words = [
            "--quiet".to_owned(),
            "--collect".to_owned(),
            format!("--unit={UNIT}"),
            format!(
                "--description=Configuration release {}: {}",
                release.name.id,
                task.word()
            ),
            format!("--property=RuntimeMaxSec={}s", self.limit.as_secs()),
            "--".to_owned(),
            self.program.to_string_lossy().into_owned(),
            "--config".to_owned(),
            self.config.to_string_lossy().into_owned(),
            "carry-out".to_owned(),
            id.to_owned(),
            task.word().to_owned(),
            number.to_string(),
        ];
        run("systemd-run", &words, self.commands_limit).await?;
        info!("{} of release {id} has begun", task.word());
        Ok(number)
    }

    /// Whether an installation runs.
    async fn runs(&self) -> Result<bool, HostError> {
        let unit = format!("{UNIT}.service");
        let words = ["show", "--property=ActiveState", "--value", &unit];
        let said = run("systemctl", &words, self.commands_limit).await?;
        Ok(!matches!(said.trim(), "inactive" | "failed"))
    }

    async fn progress(&self, number: u64, from: u64) -> Result<Progress, HostError> {
        let files = self.files();
        let mut well = files.ended(number);
        if well.is_none() && !self.runs().await? {
            // Its end may have come between both looks; else it was killed.
            well = Some(files.ended(number).unwrap_or(false));
        }
        let (said, next) = files.heard(number, from).map_err(refused)?;
        Ok(Progress { well, said, next })
    }
}

/// Ids of releases that go: all but the newest, the one that is in place and the one before it, and any that is half installed.
fn superfluous(releases: &[Release], keep: usize) -> Vec<String> {
    let mut installed: Vec<&Release> = releases
        .iter()
        .filter(|release| release.state == State::Installed)
        .collect();
    installed.sort_by_key(|release| std::cmp::Reverse(release.at));
    let needed = |release: &Release| {
        installed.iter().take(2).any(|kept| kept.name == release.name)
            || matches!(release.state, State::Installing | State::Failed)
    };
    let older = releases.len().saturating_sub(keep);
    let go = releases[..older].iter().filter(|release| !needed(release));
    go.map(|release| release.name.id.clone()).collect()
}

#[async_trait]
impl Host for Local {
    async fn ask(&self, ask: Ask) -> Result<Told, HostError> {
        match ask {
            Ask::List => Ok(Told::Releases(self.list().await?)),
            Ask::Begin { id, task } => Ok(Told::Begun(self.begin(&id, task).await?)),
            Ask::Progress { number, from } => Ok(Told::Progress(self.progress(number, from).await?)),
        }
    }

    async fn take(&self, name: Name, stream: Stream) -> Result<(), HostError> {
        self.take_in(&name, stream).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::current;
    use super::super::tests::release;
    use super::*;

    #[test]
    fn what_is_in_place_and_what_was_before_it_stay_however_old() {
        let releases = [
            release("1", State::Installed, Some(1)),
            release("2", State::Installed, Some(9)),
            release("3", State::Installed, Some(3)),
            release("4", State::TakenBack, Some(4)),
            release("5", State::Failed, Some(5)),
            release("6", State::Ready, None),
        ];
        assert_eq!(superfluous(&releases, 1), ["1", "4"]);
        assert!(superfluous(&releases, 6).is_empty());
        assert_eq!(current(&releases).map(|release| release.name.id.as_str()), Some("2"));
    }
}
