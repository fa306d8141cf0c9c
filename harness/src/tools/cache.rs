//! The cache folder: where fetched tools, packages and images lie. Things appear in it whole or not at all: they are
//! made in a staging folder beside their place and renamed; a lock file a thing keeps two processes from making it
//! twice.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::ToolError;
use super::command::find_on_host;
use crate::progress::Progress;

/// How often a lock that another process holds is tried again.
const LOCK_POLL: Duration = Duration::from_millis(200);

/// The cache folder.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$HARNESS_CACHE`, else `$XDG_CACHE_HOME/mail-cluster-harness`, else `~/.cache/mail-cluster-harness`. The folder is
    /// created.
    ///
    /// # Errors
    /// When none of the variables is set, or the folder cannot be made.
    pub fn open() -> Result<Self, ToolError> {
        let variable = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let root = variable("HARNESS_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|base| base.join("mail-cluster-harness")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/mail-cluster-harness")))
            .ok_or_else(|| ToolError::Missing {
                what: "a place for the cache".into(),
                mend: "export HARNESS_CACHE=/some/folder".into(),
            })?;
        Self::at(root)
    }

    /// A cache at a given place, which is created.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self, ToolError> {
        let root = std::path::absolute(root.into()).map_err(|source| ToolError::io("find the cache", source))?;
        create_dir(&root)?;
        Ok(Cache { root })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder in the cache, created.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf, ToolError> {
        let path = self.root.join(name);
        create_dir(&path)?;
        Ok(path)
    }

    /// Takes the lock `name`; says so when it has to wait for another process. Released when dropped.
    ///
    /// # Errors
    /// When the lock file cannot be opened.
    pub async fn lock(&self, name: &str, progress: &Progress) -> Result<Lock, ToolError> {
        let path = self.folder("locks")?.join(name);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|source| ToolError::io(format!("open {}", path.display()), source))?;
        let mut told = None;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    told.get_or_insert_with(|| progress.phase(name, "waiting for another harness that makes the same"));
                    tokio::time::sleep(LOCK_POLL).await;
                }
                Err(TryLockError::Error(source)) => {
                    return Err(ToolError::io(format!("lock {}", path.display()), source));
                }
            }
        }
        if let Some(phase) = told {
            phase.done("");
        }
        Ok(Lock { _file: file })
    }

    /// A staging folder for the thing that will be called `name` inside `folder`; leftovers of earlier attempts are
    /// removed. To be used under the thing's lock.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn stage(&self, folder: &str, name: &str) -> Result<Staging, ToolError> {
        let parent = self.folder(folder)?;
        let path = parent.join(format!(".{name}.partial"));
        if path.exists() {
            remove_tree(&path)?;
        }
        create_dir(&path)?;
        Ok(Staging {
            path,
            target: parent.join(name),
            kept: false,
        })
    }

    /// Bytes free for this user where the cache lies.
    ///
    /// # Errors
    /// When the file system cannot be asked.
    pub fn free_bytes(&self) -> Result<u64, ToolError> {
        fs4::available_space(&self.root)
            .map_err(|source| ToolError::io(format!("ask for free space in {}", self.root.display()), source))
    }

    /// Fails unless `need` bytes are free.
    ///
    /// # Errors
    /// [`ToolError::Space`] with both figures.
    pub fn require(&self, need: u64) -> Result<(), ToolError> {
        let free = self.free_bytes()?;
        if free < need {
            Err(ToolError::Space {
                place: self.root.clone(),
                need,
                free,
            })
        } else {
            Ok(())
        }
    }
}

/// A lock that is held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// A folder under construction, removed when dropped unless it was committed.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    target: PathBuf,
    kept: bool,
}

impl Staging {
    /// The folder to fill.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the folder in its place, replacing what was there, and returns the place.
    ///
    /// # Errors
    /// When the rename fails; nothing is left behind then.
    pub fn commit(mut self) -> Result<PathBuf, ToolError> {
        if self.target.exists() {
            remove_tree(&self.target)?;
        }
        std::fs::rename(&self.path, &self.target)
            .map_err(|source| ToolError::io(format!("move {} into place", self.target.display()), source))?;
        self.kept = true;
        Ok(self.target.clone())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.kept {
            // The next attempt removes what could not be removed now.
            let _ = remove_tree(&self.path);
        }
    }
}

/// Creates a folder and its parents.
pub(super) fn create_dir(path: &Path) -> Result<(), ToolError> {
    std::fs::create_dir_all(path).map_err(|source| ToolError::io(format!("create {}", path.display()), source))
}

/// Removes a file or a folder with all it holds.
///
/// # Errors
/// When something in it cannot be removed.
pub fn remove_tree(path: &Path) -> Result<(), ToolError> {
    let removed = if path.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::PermissionDenied && remove_as_subordinates(path) => Ok(()),
        other => other.map_err(|source| ToolError::io(format!("remove {}", path.display()), source)),
    }
}

/// Removes a tree that a build without root left behind: its files belong to the user's subordinate numbers, which only
/// a namespace with those numbers may touch. True if the tree is gone.
fn remove_as_subordinates(path: &Path) -> bool {
    let Some(unshare) = find_on_host("unshare") else {
        return false;
    };
    let mut command = std::process::Command::new(&unshare.argv[0]);
    command
        .args(["--user", "--map-root-user", "--map-auto", "--", "rm", "-rf", "--"])
        .arg(path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success()) && !path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abandoned_staging_folder_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::at(home.path()).unwrap();
        let staging = cache.stage("images", "mail").unwrap();
        std::fs::write(staging.path().join("disk"), "half").unwrap();
        drop(staging);
        assert_eq!(std::fs::read_dir(home.path().join("images")).unwrap().count(), 0);
    }

    #[test]
    fn a_committed_folder_replaces_the_old_one_whole() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::at(home.path()).unwrap();
        for content in ["old", "new"] {
            let staging = cache.stage("images", "mail").unwrap();
            std::fs::write(staging.path().join(content), content).unwrap();
            staging.commit().unwrap();
        }
        let place = home.path().join("images/mail");
        assert!(place.join("new").exists() && !place.join("old").exists());
    }

    #[tokio::test]
    async fn a_second_taker_waits_for_the_first() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::at(home.path()).unwrap();
        let progress = Progress::silent();
        let first = cache.lock("mail", &progress).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(50), cache.lock("mail", &progress)).await;
        assert!(early.is_err(), "two holders at once");
        drop(first);
        cache.lock("mail", &progress).await.unwrap();
    }

    #[test]
    fn a_full_disk_is_told_before_work_begins() {
        let home = tempfile::tempdir().unwrap();
        let error = Cache::at(home.path()).unwrap().require(u64::MAX).unwrap_err();
        assert!(matches!(error, ToolError::Space { .. }), "{error}");
    }
}
