//! The folder of one run's sockets and disks: private, short-named, gone at the end. What a killed harness left behind
//! is cleared away by the next one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

/// How such folders' names begin.
const PREFIX: &str = "mail-cluster-";

/// The lock file inside, held while the run lives.
const LOCK: &str = "lock";

/// A folder without a lock that is younger than this is another run at its very beginning.
const NEWBORN: Duration = Duration::from_secs(60);

/// Longest path of a folder: a unix socket's path has 108 bytes (unix(7)), of which its file name needs some.
const LONGEST: usize = 70;

/// A folder that lives as long as the run. Dropping it removes it.
#[derive(Debug)]
pub struct RunDir {
    folder: TempDir,
    _lock: File,
}

impl RunDir {
    /// Makes a folder under `$XDG_RUNTIME_DIR`, or else under the folder for temporary files, and removes those of
    /// runs that were killed.
    ///
    /// # Errors
    /// No folder can be made.
    pub fn create() -> io::Result<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let candidates = runtime.into_iter().chain([std::env::temp_dir(), PathBuf::from("/tmp")]);
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no folder for temporary files");
        for base in candidates.filter(|base| base.as_os_str().len() + PREFIX.len() + 8 < LONGEST) {
            match Self::create_in(&base) {
                Ok(run) => return Ok(run),
                Err(error) => last = io::Error::new(error.kind(), format!("{}: {error}", base.display())),
            }
        }
        Err(last)
    }

    /// Makes a folder under `base`.
    fn create_in(base: &Path) -> io::Result<Self> {
        clear(base, SystemTime::now());
        let folder = tempfile::Builder::new().prefix(PREFIX).rand_bytes(6).tempdir_in(base)?;
        // Under its name only once it is held: whoever finds it free may clear the folder away.
        let unnamed = folder.path().join("new-lock");
        let lock = File::create(&unnamed)?;
        lock.lock()?;
        fs::rename(&unnamed, folder.path().join(LOCK))?;
        Ok(Self { folder, _lock: lock })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders of runs that no longer live. Whatever cannot be looked at or removed stays: it may be another
/// user's, or be on its way out already.
fn clear(base: &Path, now: SystemTime) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_abandoned(&entry.path(), now) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether a folder is ours and its run has ended.
fn is_abandoned(folder: &Path, now: SystemTime) -> bool {
    let Ok(meta) = fs::symlink_metadata(folder) else {
        return false;
    };
    let old = meta
        .modified()
        .is_ok_and(|made| now.duration_since(made).is_ok_and(|age| age > NEWBORN));
    let ours = meta.is_dir() && meta.uid() == nix::unistd::geteuid().as_raw();
    let Ok(lock) = File::open(folder.join(LOCK)) else {
        return ours && old;
    };
    ours && lock.try_lock().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_folder_is_gone_when_dropped() {
        let base = tempfile::tempdir().expect("a base");
        let run = RunDir::create_in(base.path()).expect("a run folder");
        let path = run.path().to_owned();
        drop(run);
        assert!(!path.exists());
    }

    #[test]
    fn the_folder_of_a_living_run_is_left_alone() {
        let base = tempfile::tempdir().expect("a base");
        let run = RunDir::create_in(base.path()).expect("a run folder");
        clear(base.path(), SystemTime::now() + Duration::from_secs(3600));
        assert!(run.path().exists());
    }

    #[test]
    fn the_folder_of_a_killed_run_is_cleared_away() {
        let base = tempfile::tempdir().expect("a base");
        let left = base.path().join(format!("{PREFIX}killed"));
        fs::create_dir(&left).expect("a folder");
        File::create(left.join(LOCK)).expect("a lock file that nobody holds");
        clear(base.path(), SystemTime::now());
        assert!(!left.exists());
    }

    #[test]
    fn a_folder_that_another_run_is_just_making_is_left_alone() {
        let base = tempfile::tempdir().expect("a base");
        let newborn = base.path().join(format!("{PREFIX}newborn"));
        fs::create_dir(&newborn).expect("a folder");
        clear(base.path(), SystemTime::now());
        assert!(newborn.exists());
    }

    #[test]
    fn foreign_folders_are_left_alone() {
        let base = tempfile::tempdir().expect("a base");
        let foreign = base.path().join("somebody-elses");
        fs::create_dir(&foreign).expect("a folder");
        clear(base.path(), SystemTime::now() + Duration::from_secs(3600));
        assert!(foreign.exists());
    }
}
