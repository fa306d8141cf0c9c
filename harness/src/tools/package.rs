//! Debian packages as the harness sees them: a name, a version, where the file lies on a mirror and what its hash is;
//! and the lock, which says for every set of packages (a role's image, the tools) exactly which ones it consists of.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One package file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version with epoch.
    pub version: String,
    /// The archive it lies in: `debian` or `debian-security`.
    pub archive: String,
    /// Path within the archive.
    pub path: String,
    /// Size of the file in bytes.
    pub size: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

impl Package {
    /// Name of the file in the cache: hash and name, so that equal names of different content never meet.
    pub fn file_name(&self) -> String {
        let base = self.path.rsplit('/').next().unwrap_or(&self.name);
        format!(
            "{}-{}",
            &self.sha256[..self.sha256.len().min(12)],
            base.replace("%3a", "_")
        )
    }
}

/// A hash over the packages of a set, independent of their order.
pub fn set_hash(packages: &[Package]) -> String {
    let entries: BTreeSet<String> = packages
        .iter()
        .map(|package| format!("{} {} {}\n", package.name, package.version, package.sha256))
        .collect();
    let mut hasher = Sha256::new();
    for entry in entries {
        hasher.update(entry.as_bytes());
    }
    hex::encode(hasher.finalize())
}

/// Reads what `apt-get --print-uris` with forced SHA-256 prints: `'URI' FILE SIZE SHA256:HASH`. `None` when a line has
/// another form or an address is on neither archive.
pub fn parse_uris(text: &str, main: &str, security: &str) -> Option<Vec<Package>> {
    text.lines()
        .filter(|line| line.starts_with('\''))
        .map(|line| parse_uri(line, main, security))
        .collect()
}

fn parse_uri(line: &str, main: &str, security: &str) -> Option<Package> {
    let mut words = line.split_whitespace();
    let uri = words.next()?.trim_matches('\'');
    let file = words.next()?;
    let size = words.next()?.parse().ok()?;
    let sha256 = words.next()?.strip_prefix("SHA256:")?.to_owned();
    // The security archive's address usually begins with the main one's.
    let (archive, path) = match uri.strip_prefix(security).and_then(|rest| rest.strip_prefix('/')) {
        Some(path) => ("debian-security", path),
        None => ("debian", uri.strip_prefix(main)?.strip_prefix('/')?),
    };
    let mut parts = file.strip_suffix(".deb")?.splitn(3, '_');
    let (name, version) = (parts.next()?.to_owned(), parts.next()?.replace("%3a", ":"));
    Some(Package {
        name,
        version,
        archive: archive.into(),
        path: path.into(),
        size,
        sha256,
    })
}

/// Package versions and hashes for every set, from one look at the archives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lock {
    /// When the archives were looked at, as snapshot.debian.org writes it: `20261121T091544Z`.
    pub snapshot: String,
    /// The sets by name: `image-mail`, `tools-qemu`.
    pub sets: BTreeMap<String, Vec<Package>>,
}

/// The file's form: a line a package, with the sets that it belongs to, so that a change of version is a change of one
/// line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockFile {
    format: u32,
    snapshot: String,
    packages: BTreeMap<String, Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    version: String,
    sha256: String,
    size: u64,
    path: String,
    sets: Vec<String>,
}

/// The lock file's format that this program reads and writes.
const LOCK_FORMAT: u32 = 1;

impl Lock {
    /// Reads the file's text.
    ///
    /// # Errors
    /// A sentence with line and column when it is no lock of this format.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: LockFile = toml::from_str(text).map_err(|error| error.to_string())?;
        if file.format != LOCK_FORMAT {
            return Err(format!("lock format {} where {LOCK_FORMAT} is understood", file.format));
        }
        let mut sets: BTreeMap<String, Vec<Package>> = BTreeMap::new();
        for (name, entry) in file.packages {
            let (archive, path) = entry
                .path
                .split_once('/')
                .filter(|(archive, _)| matches!(*archive, "debian" | "debian-security"))
                .ok_or_else(|| format!("{name}: path begins with neither debian/ nor debian-security/"))?;
            if entry.sha256.len() != 64 || hex::decode(&entry.sha256).is_err() {
                return Err(format!("{name}: sha256 is not 64 hexadecimal digits"));
            }
            for set in &entry.sets {
                sets.entry(set.clone()).or_default().push(Package {
                    name: name.clone(),
                    version: entry.version.clone(),
                    archive: archive.to_owned(),
                    path: path.to_owned(),
                    size: entry.size,
                    sha256: entry.sha256.clone(),
                });
            }
        }
        Ok(Lock {
            snapshot: file.snapshot,
            sets,
        })
    }

    /// The file's text: packages sorted, one a line.
    pub fn to_text(&self) -> String {
        let mut entries: BTreeMap<&str, (&Package, BTreeSet<&str>)> = BTreeMap::new();
        for (set, packages) in &self.sets {
            for package in packages {
                entries
                    .entry(&package.name)
                    .or_insert_with(|| (package, BTreeSet::new()))
                    .1
                    .insert(set);
            }
        }
        let mut text = format!(
            "# Package versions of the images and tools. Written by `harness image build --update-lock`.\n\
             format = {LOCK_FORMAT}\nsnapshot = \"{}\"\n\n[packages]\n",
            self.snapshot
        );
        for (name, (package, sets)) in entries {
            let sets: Vec<String> = sets.iter().map(|set| format!("\"{set}\"")).collect();
            text.push_str(&format!(
                "\"{name}\" = {{ version = \"{}\", sha256 = \"{}\", size = {}, path = \"{}/{}\", sets = [{}] }}\n",
                package.version,
                package.sha256,
                package.size,
                package.archive,
                package.path,
                sets.join(", ")
            ));
        }
        text
    }
}

/// The differences of two sets for people: `openssl 3.5.1-1 -> 3.5.4-1`, `+ name version`, `- name version`.
pub fn differences(old: &[Package], new: &[Package]) -> Vec<String> {
    let by_name = |set: &[Package]| -> BTreeMap<String, String> {
        set.iter()
            .map(|package| (package.name.clone(), package.version.clone()))
            .collect()
    };
    let (old, new) = (by_name(old), by_name(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| match (old.get(name), new.get(name)) {
            (Some(before), Some(after)) if before != after => Some(format!("{name} {before} -> {after}")),
            (Some(before), None) => Some(format!("- {name} {before}")),
            (None, Some(after)) => Some(format!("+ {name} {after}")),
            _ => None,
        })
        .collect()
}

/// A package of this name and version, for tests.
#[cfg(test)]
pub(crate) fn named(name: &str, version: &str) -> Package {
    Package {
        name: name.into(),
        version: version.into(),
        archive: "debian".into(),
        path: format!("pool/main/{name}_{version}_amd64.deb"),
        size: 7,
        sha256: hex::encode(Sha256::digest(format!("{name}{version}"))),
    }
}

/// A package at a path of the mirror, for tests.
#[cfg(test)]
pub(super) fn at(path: &str) -> Package {
    Package {
        name: "x".into(),
        version: "1".into(),
        archive: "debian".into(),
        path: path.into(),
        size: 1,
        sha256: "0".repeat(64),
    }
}

#[cfg(test)]
mod tests {
    use super::named as package;
    use super::*;

    const MAIN: &str = "http://deb.debian.org/debian";
    const SECURITY: &str = "http://deb.debian.org/debian-security";

    #[test]
    fn apts_list_of_addresses_is_read() {
        let hash = "5b".repeat(32);
        let text = format!(
            "'{MAIN}/pool/main/g/galera/galera-4_26.4.1-1_amd64.deb' galera-4_26.4.1-1_amd64.deb 10 SHA256:{hash}\n\
             '{SECURITY}/pool/updates/q/qemu/q_10.0%2bds-1_amd64.deb' q_1%3a10.0+ds-1_amd64.deb 20 SHA256:{hash}\n"
        );
        let packages = parse_uris(&text, MAIN, SECURITY).unwrap();
        assert_eq!(
            (packages[0].name.as_str(), packages[0].archive.as_str()),
            ("galera-4", "debian")
        );
        assert_eq!(
            (packages[1].version.as_str(), packages[1].archive.as_str()),
            ("1:10.0+ds-1", "debian-security")
        );
        assert_eq!(packages[1].path, "pool/updates/q/qemu/q_10.0%2bds-1_amd64.deb");
    }

    #[test]
    fn an_address_of_neither_archive_is_not_accepted() {
        let line = format!(
            "'http://elsewhere.example/x_1_all.deb' x_1_all.deb 1 SHA256:{}",
            "0".repeat(64)
        );
        assert_eq!(parse_uris(&line, MAIN, SECURITY), None);
    }

    #[test]
    fn a_lock_survives_being_written_and_read() {
        let lock = Lock {
            snapshot: "20261121T091544Z".into(),
            sets: BTreeMap::from([
                ("image-base".into(), vec![package("apt", "3.0"), package("bash", "5.2")]),
                ("tools-qemu".into(), vec![package("bash", "5.2")]),
            ]),
        };
        assert_eq!(Lock::parse(&lock.to_text()).unwrap(), lock);
        insta::assert_snapshot!(lock.to_text());
    }

    #[test]
    fn a_lock_of_another_format_is_refused() {
        let error = Lock::parse("format = 9\nsnapshot = \"\"\n[packages]\n").unwrap_err();
        assert_eq!(error, "lock format 9 where 1 is understood");
    }

    #[test]
    fn a_set_hash_depends_on_versions_and_not_on_order() {
        let (a, b) = (package("a", "1"), package("b", "1"));
        assert_eq!(set_hash(&[a.clone(), b.clone()]), set_hash(&[b.clone(), a.clone()]));
        assert_ne!(set_hash(&[a]), set_hash(&[package("a", "2")]));
    }

    #[test]
    fn differences_name_old_and_new_versions() {
        let old = [package("a", "1"), package("b", "1"), package("c", "1")];
        let new = [package("a", "1"), package("b", "2"), package("d", "1")];
        assert_eq!(differences(&old, &new), ["b 1 -> 2", "- c 1", "+ d 1"]);
    }
}
