//! One restore point: what lies in it, and looking it through for damage.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::seal::Seal;

/// What lies in a restore point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// `base` (a booted machine) or `configured` (a healthy cluster).
    pub layer: String,
    /// For people: the cluster, or the role of the machine.
    pub title: String,
    /// When it was made, seconds since 1970.
    pub made_at: u64,
    /// What was written into the memory of each machine, and nowhere else, before it was saved.
    pub nonce: String,
    /// What went into it.
    pub ingredients: BTreeMap<String, String>,
    /// The machines.
    pub machines: Vec<SavedMachine>,
}

/// One machine of a restore point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedMachine {
    /// Its name.
    pub name: String,
    /// The kernel's number of the boot.
    pub boot_id: String,
    /// Its memory.
    pub memory: Seal,
    /// The state of its devices.
    pub state: Seal,
    /// Its disk, an overlay on the image.
    pub disk: Seal,
    /// Its disks beside that one, by serial number.
    #[serde(default)]
    pub data_disks: BTreeMap<String, Seal>,
}

/// A restore point that may be used. It is not removed while this lives.
#[derive(Debug)]
pub struct Point {
    folder: PathBuf,
    manifest: Manifest,
    _in_use: File,
}

/// A point that cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct Damage {
    /// The file.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The file of a machine's memory in a point's folder.
pub fn memory_file(folder: &Path, machine: &str) -> PathBuf {
    folder.join(format!("{machine}.ram"))
}

/// The file of the state of a machine's devices.
pub fn state_file(folder: &Path, machine: &str) -> PathBuf {
    folder.join(format!("{machine}.state"))
}

/// A machine's system disk.
pub fn disk_file(folder: &Path, machine: &str) -> PathBuf {
    folder.join(format!("{machine}.qcow2"))
}

/// A machine's disk with this serial number beside its system disk.
pub fn data_disk_file(folder: &Path, machine: &str, serial: &str) -> PathBuf {
    folder.join(format!("{machine}.{serial}.qcow2"))
}

impl SavedMachine {
    /// Its files in a point's folder, each with its seal.
    fn files(&self, folder: &Path) -> Vec<(PathBuf, &Seal)> {
        let data_disks = self
            .data_disks
            .iter()
            .map(|(serial, seal)| (data_disk_file(folder, &self.name, serial), seal));
        [
            (memory_file(folder, &self.name), &self.memory),
            (state_file(folder, &self.name), &self.state),
            (disk_file(folder, &self.name), &self.disk),
        ]
        .into_iter()
        .chain(data_disks)
        .collect()
    }
}

impl Point {
    /// The point in a folder, which is held by the lock on `in_use`.
    pub(super) fn new(folder: PathBuf, manifest: Manifest, in_use: File) -> Point {
        Point {
            folder,
            manifest,
            _in_use: in_use,
        }
    }

    /// What lies in it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Compares every file with its seal, all at the same time.
    pub(super) fn look_through(&self) -> Result<(), Damage> {
        let files: Vec<(PathBuf, &Seal)> = self
            .manifest
            .machines
            .iter()
            .flat_map(|machine| machine.files(&self.folder))
            .collect();
        std::thread::scope(|scope| {
            let looks: Vec<_> = files
                .iter()
                .map(|(path, seal)| scope.spawn(|| look(path, seal)))
                .collect();
            looks.into_iter().try_for_each(|look| {
                look.join().unwrap_or_else(|_| {
                    Err(Damage {
                        file: self.folder.display().to_string(),
                        reason: "it could not be looked through".into(),
                    })
                })
            })
        })
    }
}

fn look(path: &Path, seal: &Seal) -> Result<(), Damage> {
    let damage = |reason: String| Damage {
        file: path.display().to_string(),
        reason,
    };
    match Seal::of(path) {
        Ok(now) if now == *seal => Ok(()),
        Ok(now) if now.length != seal.length => Err(damage(format!(
            "it has {} bytes where {} were written",
            now.length, seal.length
        ))),
        Ok(_) => Err(damage("it does not hold what was written".into())),
        Err(error) => Err(damage(error.to_string())),
    }
}
