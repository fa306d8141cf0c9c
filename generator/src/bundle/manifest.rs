//! The manifest of a tree, and what a tree must be like so that the manifest is unambiguous.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::Tree;

/// Why a tree cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The path is not absolute and plain.
    #[error("{path:?}: a path in a tree is absolute, without `.`, `..`, `//`, white space or control characters")]
    Path {
        /// The path.
        path: String,
    },
    /// The owner or group is no name that a manifest line can carry.
    #[error("{path}: {name:?} is not a user or group name")]
    Owner {
        /// The file.
        path: String,
        /// The name.
        name: String,
    },
    /// The mode has bits beyond `0o7777`, or lets everybody read or write a secret.
    #[error("{path}: mode {mode:o} {reason}")]
    Mode {
        /// The file.
        path: String,
        /// The mode.
        mode: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// One path is a file and, for another file, a folder.
    #[error("{file} is a file, and {below} lies below it")]
    FileAndFolder {
        /// The path that is a file.
        file: String,
        /// The path below it.
        below: String,
    },
}

impl Tree {
    /// Checks that the tree can be laid out: plain absolute paths, names for owners, no secret that everybody can read.
    ///
    /// # Errors
    /// The first [`TreeError`] by path.
    pub fn validate(&self) -> Result<(), TreeError> {
        for (path, file) in &self.files {
            if !is_plain(path) {
                return Err(TreeError::Path { path: path.clone() });
            }
            if let Some(name) = [&file.owner, &file.group].into_iter().find(|n| !is_name(n)) {
                return Err(TreeError::Owner {
                    path: path.clone(),
                    name: name.clone(),
                });
            }
            let wrong = match file.mode {
                mode if mode > 0o7777 => Some("has bits beyond the permissions"),
                mode if file.secret && mode & 0o007 != 0 => Some("lets everybody at a secret"),
                mode if mode & 0o002 != 0 => Some("lets everybody write the file"),
                _ => None,
            };
            if let Some(reason) = wrong {
                return Err(TreeError::Mode {
                    path: path.clone(),
                    mode: file.mode,
                    reason,
                });
            }
            let folder = format!("{path}/");
            if let Some((below, _)) = self
                .files
                .range(folder.clone()..)
                .next()
                .filter(|(p, _)| p.starts_with(&folder))
            {
                return Err(TreeError::FileAndFolder {
                    file: path.clone(),
                    below: below.clone(),
                });
            }
        }
        Ok(())
    }

    /// The manifest: a line a file, `sha256 mode owner group path`, sorted by path (see the [module](super)).
    pub fn manifest(&self) -> String {
        let mut manifest = String::new();
        for (path, file) in &self.files {
            let sha256 = hex::encode(Sha256::digest(&file.contents));
            writeln!(
                manifest,
                "{sha256} {:04o} {} {} {path}",
                file.mode, file.owner, file.group
            )
            .expect("writing to a string cannot fail");
        }
        manifest
    }
}

fn is_plain(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !path.chars().any(|c| c.is_whitespace() || c.is_control())
    })
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::super::File;
    use super::*;

    fn tree(path: &str, mode: u32, secret: bool) -> Tree {
        let file = File {
            contents: b"test".to_vec(),
            mode,
            owner: "root".into(),
            group: "postfix".into(),
            secret,
        };
        Tree {
            files: [(path.to_owned(), file)].into(),
            install: String::new(),
        }
    }

    #[test]
    fn a_line_carries_digest_mode_owner_group_and_path() {
        assert_eq!(
            tree("/etc/x", 0o640, false).manifest(),
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 0640 root postfix /etc/x\n"
        );
    }

    #[test]
    fn paths_that_leave_the_root_or_break_a_line_are_refused() {
        for path in ["etc/x", "/", "/etc/../x", "/etc//x", "/etc/x/", "/etc/a b", "/etc/a\nb"] {
            let error = tree(path, 0o644, false).validate().unwrap_err();
            assert_eq!(error, TreeError::Path { path: path.into() });
        }
    }

    #[test]
    fn a_secret_for_everybody_is_refused() {
        assert!(matches!(
            tree("/etc/x", 0o644, true).validate(),
            Err(TreeError::Mode { .. })
        ));
        assert!(tree("/etc/x", 0o640, true).validate().is_ok());
        assert!(matches!(
            tree("/etc/x", 0o666, false).validate(),
            Err(TreeError::Mode { .. })
        ));
    }

    #[test]
    fn a_path_cannot_be_file_and_folder() {
        let mut both = tree("/etc/x", 0o644, false);
        both.files.extend(tree("/etc/x-y", 0o644, false).files);
        assert!(both.validate().is_ok());
        both.files.extend(tree("/etc/x/y", 0o644, false).files);
        assert!(matches!(both.validate(), Err(TreeError::FileAndFolder { .. })));
    }
}
