//! A bundle as a folder: written beside its place, then renamed, so that no reader sees half of it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::contents::archive_name;
use super::{Bundle, Tree, TreeError};

/// Lies in every folder that [`Bundle::write_dir`] wrote; a folder without it is not ours to replace.
const MARK: &str = ".generated-bundle";
const MARK_TEXT: &str =
    "Written by `generator render`. The whole folder but `secrets.toml` is replaced at the next rendering.\n";

/// Entries of the folder that survive a new rendering.
const KEPT: [&str; 1] = ["secrets.toml"];

/// Why a bundle could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The folder holds something that a rendering did not write.
    #[error("{path} exists and was not written by a rendering; choose another folder, or remove it yourself")]
    NotOurs {
        /// The folder.
        path: PathBuf,
    },
    /// A name cannot stand in the file system.
    #[error("{name:?} cannot be the name of a file")]
    Name {
        /// The node or domain.
        name: String,
    },
    /// A tree cannot be laid out.
    #[error("node {node}: {source}")]
    Tree {
        /// The node.
        node: String,
        /// What is wrong.
        source: TreeError,
    },
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
}

/// How a node's files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A folder a node, to look at and to copy.
    Folders,
    /// A `tar.gz` a node, with a description of what is in them all and their checksums.
    Archives,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Number of files of all nodes together, zones and the authority's certificate included.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Bundle {
    /// Whether a bundle may be written to `dir`: it does not exist, is empty but for `secrets.toml`, or holds an
    /// earlier rendering.
    ///
    /// # Errors
    /// [`WriteError::NotOurs`] if it holds anything else, [`WriteError::Io`].
    pub fn may_replace(dir: &Path) -> Result<(), WriteError> {
        replaceable(dir).map(|_| ())
    }

    /// Writes the bundle:
    ///
    /// ```text
    /// DIR/<node>/install, DIR/<node>/manifest, DIR/<node>/root/<path on the node>
    /// DIR/dns/<domain>.zone
    /// DIR/ca.pem
    /// DIR/RUNBOOK.md
    /// ```
    ///
    /// As archives, `DIR/<node>.tar.gz` in place of each folder (mode 0600, each holds secrets), `DIR/bundle.json`
    /// ([`Bundle::contents`]) and `DIR/SHA256SUMS` for sha256sum(1).
    ///
    /// A folder of an earlier rendering is replaced in two renames, and `secrets.toml` in it is carried over. Secret
    /// files get mode 0600, other files 0644; the manifest holds the modes that they have on the node.
    ///
    /// # Errors
    /// [`WriteError::NotOurs`] if `dir` holds anything that a rendering did not write; the others as they say. After
    /// an error `dir` is as it was.
    pub fn write_dir(&self, dir: &Path, layout: Layout) -> Result<Written, WriteError> {
        self.names()?;
        for (node, tree) in &self.nodes {
            tree.validate().map_err(|source| WriteError::Tree {
                node: node.clone(),
                source,
            })?;
        }
        let replaces = replaceable(dir)?;
        // A link stays, and what it leads to is replaced; `.` gets a name.
        let real = if replaces {
            dir.canonicalize().map_err(at(dir))?
        } else {
            dir.to_owned()
        };
        let dir = real.as_path();
        let parent = dir
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(at(parent))?;
        let beside = beside(dir, "new");
        let mut writer = Writer {
            written: Written { files: 0, bytes: 0 },
        };
        let outcome = self
            .write_into(&beside, layout, &mut writer)
            .and_then(|()| if replaces { keep(dir, &beside) } else { Ok(()) })
            .and_then(|()| switch(&beside, dir, replaces));
        if outcome.is_err() {
            // The first error is the one worth telling.
            let _ = std::fs::remove_dir_all(&beside);
        }
        outcome.map(|()| writer.written)
    }

    fn names(&self) -> Result<(), WriteError> {
        let reserved = [
            "dns",
            "monitoring",
            "ca.pem",
            "secrets.toml",
            "bundle.json",
            "RUNBOOK.md",
            "SHA256SUMS",
            MARK,
        ];
        let odd = |name: &&String| name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']);
        let node = self
            .nodes
            .keys()
            .find(|name| odd(name) || reserved.contains(&name.as_str()));
        match node.or_else(|| self.zones.keys().find(odd)) {
            Some(name) => Err(WriteError::Name { name: name.clone() }),
            None => Ok(()),
        }
    }

    fn write_into(&self, dir: &Path, layout: Layout, writer: &mut Writer) -> Result<(), WriteError> {
        folder(dir)?;
        writer.file(&dir.join(MARK), 0o644, MARK_TEXT.as_bytes())?;
        writer.written = Written { files: 0, bytes: 0 };
        match layout {
            Layout::Folders => {
                for (node, tree) in &self.nodes {
                    tree.write_into(&dir.join(node), writer)?;
                }
            }
            Layout::Archives => self.write_archives(dir, writer)?,
        }
        let dns = dir.join("dns");
        folder(&dns)?;
        for (domain, zone) in &self.zones {
            writer.file(&dns.join(format!("{domain}.zone")), 0o644, zone.as_bytes())?;
        }
        if !self.monitoring.is_empty() {
            let monitoring = dir.join("monitoring");
            folder(&monitoring)?;
            for (name, text) in &self.monitoring {
                writer.file(&monitoring.join(name), 0o644, text.as_bytes())?;
            }
        }
        writer.file(&dir.join("ca.pem"), 0o644, self.ca_pem.as_bytes())?;
        writer.file(&dir.join("RUNBOOK.md"), 0o644, self.runbook.as_bytes())
    }

    fn write_archives(&self, dir: &Path, writer: &mut Writer) -> Result<(), WriteError> {
        let archives = self.archives()?;
        let contents = self.contents(&archives);
        let mut sums = String::new();
        for (node, archive) in &archives {
            let name = archive_name(node);
            writer.file(&dir.join(&name), 0o600, archive)?;
            sums += &sum(&name, archive);
        }
        writer.file(&dir.join("bundle.json"), 0o644, contents.as_bytes())?;
        sums += &sum("bundle.json", contents.as_bytes());
        writer.file(&dir.join("SHA256SUMS"), 0o644, sums.as_bytes())
    }
}

/// A line for `sha256sum --check`.
fn sum(name: &str, contents: &[u8]) -> String {
    format!("{}  {name}\n", hex::encode(Sha256::digest(contents)))
}

impl Tree {
    fn write_into(&self, dir: &Path, writer: &mut Writer) -> Result<(), WriteError> {
        folder(dir)?;
        writer.file(&dir.join("install"), 0o755, self.install.as_bytes())?;
        writer.file(&dir.join("manifest"), 0o644, self.manifest().as_bytes())?;
        let root = dir.join("root");
        folder(&root)?;
        for (path, file) in &self.files {
            let target = root.join(path.trim_start_matches('/'));
            let parent = target.parent().unwrap_or(&root);
            std::fs::create_dir_all(parent).map_err(at(parent))?;
            writer.file(&target, if file.secret { 0o600 } else { 0o644 }, &file.contents)?;
        }
        Ok(())
    }
}

struct Writer {
    written: Written,
}

impl Writer {
    fn file(&mut self, path: &Path, mode: u32, contents: &[u8]) -> Result<(), WriteError> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
            .map_err(at(path))?;
        file.write_all(contents).map_err(at(path))?;
        self.written.files += 1;
        self.written.bytes += contents.len() as u64;
        Ok(())
    }
}

fn folder(path: &Path) -> Result<(), WriteError> {
    DirBuilder::new().mode(0o755).create(path).map_err(at(path))
}

/// Whether `dir` holds a rendering that gives way to a new one; an error if it holds anything else.
fn replaceable(dir: &Path) -> Result<bool, WriteError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(source) => {
            return Err(WriteError::Io {
                path: dir.to_owned(),
                source,
            });
        }
    };
    if dir.join(MARK).is_file() {
        return Ok(true);
    }
    for entry in entries {
        let entry = entry.map_err(at(dir))?;
        if !KEPT.iter().any(|kept| entry.file_name() == *kept) {
            return Err(WriteError::NotOurs { path: dir.to_owned() });
        }
    }
    Ok(true)
}

fn keep(old: &Path, new: &Path) -> Result<(), WriteError> {
    for name in KEPT {
        let (from, to) = (old.join(name), new.join(name));
        // A hard link: the old folder stays whole until the new one is in its place.
        match std::fs::hard_link(&from, &to) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(WriteError::Io { path: to, source: e });
            }
            _ => {}
        }
    }
    Ok(())
}

fn switch(new: &Path, dir: &Path, replaces: bool) -> Result<(), WriteError> {
    if !replaces {
        return std::fs::rename(new, dir).map_err(at(dir));
    }
    let old = beside(dir, "old");
    std::fs::rename(dir, &old).map_err(at(dir))?;
    if let Err(source) = std::fs::rename(new, dir) {
        // Back to what was there; if even that fails, the old folder lies beside under its telling name.
        let _ = std::fs::rename(&old, dir);
        return Err(WriteError::Io {
            path: dir.to_owned(),
            source,
        });
    }
    std::fs::remove_dir_all(&old).map_err(at(&old))
}

fn beside(dir: &Path, word: &str) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!(".{name}.{word}-{}", std::process::id()))
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError::Io { path, source }
}

#[cfg(test)]
mod tests;
