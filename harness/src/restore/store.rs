//! The restore points in the cache: a folder each, made whole or not at all, removed only when nobody uses it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::key::Ingredients;
use super::point::{Damage, Manifest, Point};
use crate::progress::Progress;
use crate::tools::ToolError;
use crate::tools::cache::{Cache, Lock, Staging, remove_tree};

/// The folder in the cache.
const FOLDER: &str = "restore";
const MANIFEST: &str = "manifest.json";
/// Locked by everybody who uses the point; its age is the time since the last use.
const IN_USE: &str = "in-use";

/// The restore points of a cache.
#[derive(Debug, Clone)]
pub struct Points {
    cache: Cache,
}

/// Why a restore point could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The cache fails.
    #[error(transparent)]
    Cache(#[from] ToolError),
    /// The limit of all points together cannot be understood.
    #[error("HARNESS_RESTORE_LIMIT: `{0}` is no size: write it as 5GiB or 800MiB")]
    Limit(String),
    /// A file of the point cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// A point as `harness restore list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Name of its folder: layer and key.
    pub name: String,
    /// For people.
    pub title: String,
    /// Bytes that it takes on the disk.
    pub bytes: u64,
    /// Time since it was made.
    pub age: Duration,
    /// Time since it was last used.
    pub unused: Duration,
}

impl Points {
    /// The points of a cache.
    pub fn new(cache: Cache) -> Points {
        Points { cache }
    }

    /// Keeps two processes from making the same point: the second waits, and then finds it made.
    ///
    /// # Errors
    /// The lock cannot be taken.
    pub async fn lock(&self, ingredients: &Ingredients, progress: &Progress) -> Result<Lock, RestoreError> {
        Ok(self
            .cache
            .lock(&format!("restore-{}", ingredients.key()), progress)
            .await?)
    }

    /// Finds a point and looks it through. `Ok(None)` if there is none.
    ///
    /// # Errors
    /// It is there but damaged.
    pub fn find(&self, ingredients: &Ingredients) -> Result<Option<Point>, Damage> {
        let Some(point) = self.open(ingredients)? else {
            return Ok(None);
        };
        point.look_through()?;
        // Its age counts from here; a cache that cannot be written to can still be read.
        let _ = File::options()
            .write(true)
            .open(point.folder().join(IN_USE))
            .and_then(|file| file.set_modified(SystemTime::now()));
        Ok(Some(point))
    }

    fn open(&self, ingredients: &Ingredients) -> Result<Option<Point>, Damage> {
        let folder = self.folder(ingredients);
        let Ok(in_use) = File::open(folder.join(IN_USE)) else {
            return Ok(None);
        };
        // Whoever holds it alone is removing the point.
        if in_use.try_lock_shared().is_err() || !folder.join(MANIFEST).exists() {
            return Ok(None);
        }
        let damage = |reason: String| Damage {
            file: folder.join(MANIFEST).display().to_string(),
            reason,
        };
        let text = fs::read_to_string(folder.join(MANIFEST)).map_err(|error| damage(error.to_string()))?;
        let manifest: Manifest = serde_json::from_str(&text).map_err(|error| damage(error.to_string()))?;
        if manifest.ingredients != *ingredients.map() {
            return Err(damage("it is the manifest of something else".into()));
        }
        Ok(Some(Point::new(folder, manifest, in_use)))
    }

    /// A folder to make a point in.
    ///
    /// # Errors
    /// The cache cannot be written to, or has less than `need` bytes free.
    pub fn stage(&self, ingredients: &Ingredients, need: u64) -> Result<Staging, RestoreError> {
        self.cache.require(need)?;
        Ok(self.cache.stage(FOLDER, &name(ingredients))?)
    }

    /// Seals what lies in a staged folder and puts the point in its place.
    ///
    /// # Errors
    /// A file cannot be read or written, the disk is full.
    pub fn commit(&self, staging: Staging, manifest: &Manifest) -> Result<(), RestoreError> {
        let write = |name: &str, text: &[u8]| {
            let path = staging.path().join(name);
            fs::write(&path, text).map_err(|source| RestoreError::Io { path, source })
        };
        write(IN_USE, b"")?;
        let text = serde_json::to_vec_pretty(manifest).unwrap_or_default();
        write(MANIFEST, &text)?;
        staging.commit()?;
        Ok(())
    }

    /// Removes a point that nobody uses; false if somebody does or it is not there.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, ingredients: &Ingredients) -> Result<bool, RestoreError> {
        self.remove_named(&name(ingredients))
    }

    /// As [`Points::remove`], by the name of its folder.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_named(&self, name: &str) -> Result<bool, RestoreError> {
        let folder = self.cache.root().join(FOLDER).join(name);
        if !folder.exists() {
            return Ok(false);
        }
        if let Ok(in_use) = File::open(folder.join(IN_USE)) {
            match in_use.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(false),
                Err(TryLockError::Error(source)) => {
                    let path = folder.join(IN_USE);
                    return Err(RestoreError::Io { path, source });
                }
            }
        }
        remove_tree(&folder)?;
        Ok(true)
    }

    /// All points, the one that was not used for the longest time first.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, RestoreError> {
        let root = self.cache.folder(FOLDER)?;
        let unreadable = |source| RestoreError::Io {
            path: root.clone(),
            source,
        };
        let mut all = Vec::new();
        for entry in fs::read_dir(&root).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') && entry.path().is_dir() {
                all.push(listed(&entry.path(), name));
            }
        }
        all.sort_by_key(|point| std::cmp::Reverse(point.unused));
        Ok(all)
    }

    /// The manifests of all points that can be read, the one that was used last first.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn manifests(&self) -> Result<Vec<Manifest>, RestoreError> {
        let folder = self.cache.root().join(FOLDER);
        let mut listed = self.list()?;
        listed.reverse();
        let read = |point: Listed| serde_json::from_slice(&fs::read(folder.join(point.name).join(MANIFEST)).ok()?).ok();
        Ok(listed.into_iter().filter_map(read).collect())
    }

    /// Removes the points that were not used for the longest time until all together take at most `limit` bytes. What is
    /// in use stays, and so does the one that was used last. Gives the names of what was removed.
    ///
    /// # Errors
    /// A point cannot be listed or removed.
    pub fn shrink(&self, limit: u64) -> Result<Vec<String>, RestoreError> {
        let all = self.list()?;
        let mut total: u64 = all.iter().map(|point| point.bytes).sum();
        let mut removed = Vec::new();
        let dispensable = all.len().saturating_sub(1);
        for point in all.into_iter().take(dispensable) {
            if total <= limit {
                break;
            }
            if self.remove_named(&point.name)? {
                total -= point.bytes;
                removed.push(point.name);
            }
        }
        Ok(removed)
    }

    /// Removes what killed processes left half made. What somebody is making at this moment stays.
    ///
    /// # Errors
    /// A folder cannot be read or removed.
    pub fn clear_leftovers(&self) -> Result<Vec<String>, RestoreError> {
        let root = self.cache.folder(FOLDER)?;
        let locks = self.cache.folder("locks")?;
        let unreadable = |source| RestoreError::Io {
            path: root.clone(),
            source,
        };
        let mut removed = Vec::new();
        for entry in fs::read_dir(&root).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
            let Some(key) = name.strip_suffix(".partial").and_then(|stem| stem.rsplit('-').next()) else {
                continue;
            };
            let lock = locks.join(format!("restore-{key}"));
            let Ok(lock) = File::options().create(true).truncate(false).write(true).open(lock) else {
                continue;
            };
            if lock.try_lock().is_ok() {
                remove_tree(&root.join(&name))?;
                removed.push(name);
            }
        }
        Ok(removed)
    }

    fn folder(&self, ingredients: &Ingredients) -> PathBuf {
        self.cache.root().join(FOLDER).join(name(ingredients))
    }
}

fn name(ingredients: &Ingredients) -> String {
    let layer = ingredients.map().get("layer").map_or("", String::as_str);
    format!("{layer}-{}", ingredients.key())
}

/// A point whose manifest cannot be read is listed all the same: it takes room and can be removed.
fn listed(folder: &Path, name: String) -> Listed {
    let manifest: Option<Manifest> = fs::read(folder.join(MANIFEST))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    let made = manifest.as_ref().map_or(UNIX_EPOCH, |manifest| {
        UNIX_EPOCH + Duration::from_secs(manifest.made_at)
    });
    let used = fs::metadata(folder.join(IN_USE)).and_then(|meta| meta.modified());
    let since = |moment: SystemTime| SystemTime::now().duration_since(moment).unwrap_or_default();
    Listed {
        title: manifest.map_or_else(|| "without a readable manifest".into(), |manifest| manifest.title),
        bytes: on_disk(folder),
        age: since(made),
        unused: since(used.unwrap_or(made)),
        name,
    }
}

/// Bytes that the files of a folder take, holes left out.
fn on_disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| meta.blocks() * 512)
        .sum()
}

#[cfg(test)]
mod tests;
