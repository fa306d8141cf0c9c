//! A machine's file system below a directory, as the machine itself would see it.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// As many symbolic links as Linux follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// A root directory with its own names of users and groups.
pub(super) struct Root {
    dir: PathBuf,
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

/// What lies at a path.
pub(super) enum Entry {
    /// Nothing.
    Missing,
    /// A regular file.
    File {
        contents: Vec<u8>,
        mode: u32,
        uid: u32,
        gid: u32,
    },
    /// Something else: its kind in words.
    Other(&'static str),
    /// A file that this user may not read: the reason.
    Unreadable(String),
}

impl Root {
    /// Opens a directory as a root; gives the reason if it is none.
    pub(super) fn open(dir: &Path) -> Result<Root, String> {
        match std::fs::metadata(dir) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(format!("{} is not a directory", dir.display())),
            Err(e) => return Err(format!("{}: {e}", dir.display())),
        }
        let mut root = Root {
            dir: dir.to_owned(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
        };
        root.users = root.names("/etc/passwd");
        root.groups = root.names("/etc/group");
        Ok(root)
    }

    /// The user's name on that machine, or its number.
    pub(super) fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    /// The group's name on that machine, or its number.
    pub(super) fn group(&self, gid: u32) -> String {
        self.groups.get(&gid).cloned().unwrap_or_else(|| gid.to_string())
    }

    /// What lies at an absolute path of the machine. The last component is not followed if it is a link.
    pub(super) fn entry(&self, path: &str) -> Result<Entry, String> {
        let place = match self.place(path) {
            Ok(Some(place)) => place,
            Ok(None) => return Ok(Entry::Missing),
            Err(e) => return self.refused(path, &e),
        };
        let meta = match std::fs::symlink_metadata(&place) {
            Ok(meta) => meta,
            Err(e) if missing(&e) => return Ok(Entry::Missing),
            Err(e) => return self.refused(path, &e),
        };
        let kind = meta.file_type();
        if kind.is_symlink() {
            return Ok(Entry::Other("a symbolic link"));
        } else if kind.is_dir() {
            return Ok(Entry::Other("a directory"));
        } else if !kind.is_file() {
            return Ok(Entry::Other("a device, pipe or socket"));
        }
        match std::fs::read(&place) {
            Ok(contents) => Ok(Entry::File {
                contents,
                mode: meta.mode() & 0o7777,
                uid: meta.uid(),
                gid: meta.gid(),
            }),
            Err(e) => self.refused(path, &e),
        }
    }

    fn refused(&self, path: &str, error: &std::io::Error) -> Result<Entry, String> {
        match error.kind() {
            ErrorKind::PermissionDenied => Ok(Entry::Unreadable("no permission to read it; run as root".into())),
            _ => Err(format!("{}{path}: {error}", self.dir.display())),
        }
    }

    /// Where a path of the machine lies here: links in its folders are followed as on the machine, so an absolute link
    /// never leaves the root. `None` if a folder is missing.
    fn place(&self, path: &str) -> Result<Option<PathBuf>, std::io::Error> {
        let mut todo: VecDeque<String> = parts(Path::new(path));
        let mut inside = PathBuf::new();
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            if part == ".." {
                inside.pop();
                continue;
            }
            let here = self.dir.join(&inside).join(&part);
            if todo.is_empty() {
                return Ok(Some(here));
            }
            let meta = match std::fs::symlink_metadata(&here) {
                Ok(meta) => meta,
                Err(e) if missing(&e) => return Ok(None),
                Err(e) => return Err(e),
            };
            if !meta.file_type().is_symlink() {
                inside.push(part);
                continue;
            }
            links += 1;
            if links > MOST_LINKS {
                return Err(std::io::Error::other("too many levels of symbolic links"));
            }
            let target = std::fs::read_link(&here)?;
            if target.is_absolute() {
                inside.clear();
            }
            for part in parts(&target).into_iter().rev() {
                todo.push_front(part);
            }
        }
        Ok(Some(self.dir.join(inside)))
    }

    /// `name:x:number:...` lines.
    fn names(&self, path: &str) -> BTreeMap<u32, String> {
        let Ok(Entry::File { contents, .. }) = self.entry(path) else {
            return BTreeMap::new();
        };
        let text = String::from_utf8_lossy(&contents);
        let name_of = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            Some((fields.nth(1)?.parse().ok()?, name))
        };
        // The first name of a number counts, as in getpwuid(3).
        text.lines().rev().filter_map(name_of).collect()
    }
}

fn missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn parts(path: &Path) -> VecDeque<String> {
    path.components()
        .filter_map(|c| match c {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            Component::ParentDir => Some("..".to_owned()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc/real")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/:\nmail:x:8:8::/:\n").unwrap();
        std::fs::write(dir.path().join("etc/real/file"), "here").unwrap();
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn users_have_the_names_of_that_machine() {
        let (_dir, root) = root();
        assert_eq!(root.user(8), "mail");
        assert_eq!(root.user(4242), "4242");
    }

    #[test]
    fn absolute_links_stay_within_the_root() {
        let (dir, root) = root();
        std::os::unix::fs::symlink("/etc/real", dir.path().join("etc/link")).unwrap();
        std::os::unix::fs::symlink("../../../../etc", dir.path().join("up")).unwrap();
        for path in ["/etc/link/file", "/up/link/file", "/etc/real/file"] {
            assert!(
                matches!(root.entry(path), Ok(Entry::File { contents, .. }) if contents == b"here"),
                "{path}"
            );
        }
    }

    #[test]
    fn a_ring_of_links_is_an_error_and_not_a_loop() {
        let (dir, root) = root();
        std::os::unix::fs::symlink("/ring", dir.path().join("ring")).unwrap();
        assert!(root.entry("/ring/file").is_err());
    }

    #[test]
    fn nothing_and_folders_are_told_apart() {
        let (_dir, root) = root();
        assert!(matches!(root.entry("/no/such/file"), Ok(Entry::Missing)));
        assert!(matches!(root.entry("/etc/passwd/file"), Ok(Entry::Missing)));
        assert!(matches!(root.entry("/etc/real"), Ok(Entry::Other("a directory"))));
    }
}
