//! The list of a release's files with their SHA-256, which lies in the release, and the seal: the SHA-256 of that list. By the
//! seal two nodes know that they have the same, and by the list each knows that what it has is whole.

use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

/// The list's name in a release.
pub const LIST: &str = "FILES";

/// SHA-256 of a release's list of files, hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seal(String);

impl Seal {
    /// Of a list.
    pub(super) fn of(list: &str) -> Seal {
        Seal(hexadecimal(&Sha256::digest(list)))
    }

    /// As it was noted.
    pub(super) fn noted(text: &str) -> Seal {
        Seal(text.to_owned())
    }

    /// Enough of it for people.
    pub(super) fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a folder is no release, or not the one it should be.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something that a bundle does not have: a link, a device, a name that is not UTF-8 or has a line break.
    #[error("{0} is no file or folder of a bundle")]
    Strange(PathBuf),
    /// The list itself is another one.
    #[error("its list of files has the seal {found}, not {wanted}")]
    OtherList {
        /// What it should be.
        wanted: Seal,
        /// What it is.
        found: Seal,
    },
    /// A file is not as it is listed, is missing, or is not listed.
    #[error("{0} is not as it was released")]
    Differs(String),
}

fn at(path: &Path) -> impl Fn(io::Error) -> SealError {
    let path = path.to_owned();
    move |source| SealError::Io {
        path: path.clone(),
        source,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One line for each file below the folders of a release, in the order of their paths: SHA-256, mode, path.
///
/// # Errors
/// A file cannot be read, or is none that a bundle has.
pub(super) fn list(root: &Path, folders: &[&str]) -> Result<String, SealError> {
    let mut lines = Vec::new();
    for folder in folders {
        for entry in WalkDir::new(root.join(folder)) {
            let entry = entry.map_err(|error| {
                let path = error.path().unwrap_or(root).to_owned();
                SealError::Io {
                    path,
                    source: error.into(),
                }
            })?;
            let path = entry.path();
            let strange = || SealError::Strange(path.to_owned());
            let kind = entry.file_type();
            if kind.is_dir() {
                continue;
            }
            let relative = path.strip_prefix(root).ok().and_then(Path::to_str);
            let relative = relative.filter(|name| !name.contains('\n')).ok_or_else(strange)?;
            if !kind.is_file() {
                return Err(strange());
            }
            let mode = fs::metadata(path).map_err(at(path))?.permissions().mode() & 0o7777;
            let contents = fs::read(path).map_err(at(path))?;
            lines.push((
                relative.to_owned(),
                format!("{} {mode:04o} {relative}\n", hexadecimal(&Sha256::digest(contents))),
            ));
        }
    }
    lines.sort();
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

/// Holds a release against its seal.
///
/// # Errors
/// It is not that release, or not whole.
pub(super) fn verify(root: &Path, folders: &[&str], seal: &Seal) -> Result<(), SealError> {
    let path = root.join(LIST);
    let listed = fs::read_to_string(&path).map_err(at(&path))?;
    let found = Seal::of(&listed);
    if found != *seal {
        return Err(SealError::OtherList {
            wanted: seal.clone(),
            found,
        });
    }
    let there = list(root, folders)?;
    if there == listed {
        return Ok(());
    }
    let only_in = |one: &str, other: &str| {
        let mut lines = one.lines();
        lines
            .find(|line| !other.lines().any(|known| known == *line))
            .map(str::to_owned)
    };
    let line = only_in(&listed, &there).or_else(|| only_in(&there, &listed));
    let path = line.as_deref().and_then(|line| line.splitn(3, ' ').nth(2));
    Err(SealError::Differs(path.unwrap_or(LIST).to_owned()))
}
