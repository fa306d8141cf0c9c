//! The file in which secrets are kept: TOML, readable by its owner only.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::{Secrets, SecretsError};

const HEADING: &str = "# Secrets of a mail cluster: passwords, keys, certificates. Whoever reads this file owns the cluster.\n\
                       # Keep it out of version control, and readable by its owner only.\n\n";

impl Secrets {
    /// Reads a file that [`Secrets::save`] wrote.
    ///
    /// # Errors
    /// [`SecretsError::TooOpen`] if the group or others can read the file; [`SecretsError::Malformed`] if it is not a
    /// file of secrets (the text quotes nothing of it); [`SecretsError::Io`].
    pub fn load(path: &Path) -> Result<Secrets, SecretsError> {
        let io = |source| SecretsError::Io {
            path: path.display().to_string(),
            source,
        };
        let mut file = File::open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 && !is_credential(path) {
            return Err(SecretsError::TooOpen {
                path: path.display().to_string(),
                mode,
            });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io)?;
        Secrets::parse(&path.display().to_string(), &text)
    }

    /// Reads secrets from a text; `name` stands for the file in messages.
    ///
    /// # Errors
    /// [`SecretsError::Malformed`].
    pub fn parse(name: &str, text: &str) -> Result<Secrets, SecretsError> {
        toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(0, |s| text[..s.start].matches('\n').count() + 1);
            SecretsError::Malformed {
                path: name.to_owned(),
                reason: reason(e.message(), line),
            }
        })
    }

    /// Writes the secrets with mode 0600: beside the file first, then renamed over it, so that it is whole at any time.
    ///
    /// # Errors
    /// [`SecretsError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), SecretsError> {
        self.write(path, |beside| std::fs::rename(beside, path))
    }

    /// As [`Secrets::save`], but never over a file that is there.
    ///
    /// # Errors
    /// [`SecretsError::Exists`], [`SecretsError::Io`].
    pub fn create(&self, path: &Path) -> Result<(), SecretsError> {
        // A link is made only where nothing is, even if somebody else does the same at this moment.
        let written = self.write(path, |beside| {
            std::fs::hard_link(beside, path).and_then(|()| std::fs::remove_file(beside))
        });
        match written {
            Err(SecretsError::Io { path, source }) if source.kind() == ErrorKind::AlreadyExists => {
                Err(SecretsError::Exists { path })
            }
            other => other,
        }
    }

    fn write(&self, path: &Path, place: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), SecretsError> {
        let io = |source| SecretsError::Io {
            path: path.display().to_string(),
            source,
        };
        let body = toml::to_string(self).expect("strings, integers, lists and tables are all TOML");
        let beside = path.with_extension(format!("new-{}", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| {
                file.write_all(HEADING.as_bytes())?;
                file.write_all(body.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| place(&beside));
        if written.is_err() {
            // The failed write is the error worth telling; a leftover that cannot be removed is not.
            let _ = std::fs::remove_file(&beside);
        }
        written.map_err(io)
    }
}

/// A credential that systemd hands to the service in which this program runs (systemd.exec(5), `LoadCredential=`): the
/// folder is the service's own, and an access list for its user looks like a permission of the group.
fn is_credential(path: &Path) -> bool {
    std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|folder| path.starts_with(folder))
}

/// serde's messages name keys ("missing field `ca_key`") but may also quote values ("invalid type: string ..."), and
/// those are secrets here.
fn reason(message: &str, line: usize) -> String {
    let named = message.starts_with("missing field") || message.starts_with("unknown field");
    if named {
        format!("{message} (line {line})")
    } else {
        format!("line {line} is not what it should be")
    }
}
