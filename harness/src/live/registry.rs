//! Which live clusters there are: a file each in the cache, locked by the process that runs the cluster. A file whose
//! lock is free was left behind by a killed process, and goes when somebody sees it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::forward::Forward;
use crate::tools::ToolError;
use crate::tools::cache::Cache;

/// A live cluster as others find it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name, chosen with `--name`.
    pub name: String,
    /// Name of the cluster's description.
    pub cluster: String,
    /// The process that runs it.
    pub pid: u32,
    /// Its control socket.
    pub socket: PathBuf,
    /// Where its services are reached on this host.
    pub forwards: Vec<Forward>,
    /// Mail addresses and passwords of its accounts.
    pub accounts: Vec<(String, String)>,
}

/// The folder of the entries.
#[derive(Debug, Clone)]
pub struct Registry {
    folder: PathBuf,
}

/// A name that this process holds. Given back when dropped.
#[derive(Debug)]
pub struct Seat {
    path: PathBuf,
    file: File,
}

impl Registry {
    /// The registry in a cache.
    ///
    /// # Errors
    /// Its folder cannot be made.
    pub fn open(cache: &Cache) -> Result<Registry, ToolError> {
        Ok(Registry {
            folder: cache.folder("live")?,
        })
    }

    /// Takes a name; `None` if another live cluster has it.
    ///
    /// # Errors
    /// The entry's file cannot be made.
    pub fn sit(&self, name: &str) -> io::Result<Option<Seat>> {
        let path = self.path(name);
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        match file.try_lock() {
            // Somebody may have removed the file between opening and locking it: then it is not the one by that name.
            Ok(()) if same_file(&file, &path) => Ok(Some(Seat { path, file })),
            Ok(()) => self.sit(name),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// All live clusters, by name.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn all(&self) -> io::Result<Vec<Entry>> {
        let mut all = Vec::new();
        for item in fs::read_dir(&self.folder)? {
            let path = item?.path();
            let Ok(file) = File::open(&path) else { continue };
            if file.try_lock_shared().is_ok() {
                // Nobody runs it any more; who removes it twice does no harm.
                let _ = fs::remove_file(&path);
                continue;
            }
            // One that is still coming up has an empty file.
            if let Ok(entry) = serde_json::from_slice(&fs::read(&path)?) {
                all.push(entry);
            }
        }
        all.sort_by(|a: &Entry, b: &Entry| a.name.cmp(&b.name));
        Ok(all)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }
}

impl Seat {
    /// Makes the cluster known.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn announce(&mut self, entry: &Entry) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        // It holds passwords.
        self.file.set_permissions(fs::Permissions::from_mode(0o600))?;
        self.file.set_len(0)?;
        self.file.write_all(&serde_json::to_vec_pretty(entry)?)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // A file that stays has a free lock, and is removed by the next who looks.
        let _ = fs::remove_file(&self.path);
    }
}

fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => ours.ino() == there.ino() && ours.dev() == there.dev(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> (tempfile::TempDir, Registry) {
        let home = tempfile::tempdir().expect("a temporary folder");
        let cache = Cache::at(home.path()).expect("a cache");
        let registry = Registry::open(&cache).expect("a registry");
        (home, registry)
    }

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.into(),
            cluster: "pair".into(),
            pid: 1,
            socket: "/tmp/x".into(),
            forwards: Vec::new(),
            accounts: Vec::new(),
        }
    }

    #[test]
    fn a_live_cluster_is_found_until_its_seat_is_given_back() {
        let (_home, registry) = registry();
        let mut seat = registry.sit("one").expect("a file").expect("free");
        seat.announce(&entry("one")).expect("written");
        assert_eq!(registry.all().expect("a list"), [entry("one")]);
        drop(seat);
        assert!(registry.all().expect("a list").is_empty());
    }

    #[test]
    fn a_name_is_given_once() {
        let (_home, registry) = registry();
        let seat = registry.sit("one").expect("a file").expect("free");
        assert!(registry.sit("one").expect("a file").is_none());
        drop(seat);
        assert!(registry.sit("one").expect("a file").is_some());
    }

    #[test]
    fn what_a_killed_process_left_behind_is_cleared_away() {
        let (home, registry) = registry();
        let left = home.path().join("live/dead.json");
        fs::write(&left, serde_json::to_vec(&entry("dead")).expect("json")).expect("written");
        assert!(registry.all().expect("a list").is_empty() && !left.exists());
    }

    #[test]
    fn one_that_is_still_coming_up_is_not_listed() {
        let (_home, registry) = registry();
        let _seat = registry.sit("young").expect("a file").expect("free");
        assert!(registry.all().expect("a list").is_empty());
    }
}
