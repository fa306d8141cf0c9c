//! What is in the archives of a bundle: for whoever reviews, signs or inventories a release without unpacking it.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Bundle, Tree, WriteError};

/// `bundle.json`.
#[derive(Serialize)]
struct Contents<'a> {
    nodes: BTreeMap<&'a str, Archive<'a>>,
}

#[derive(Serialize)]
struct Archive<'a> {
    archive: String,
    sha256: String,
    bytes: usize,
    /// Digest of the install script; the manifest in the archive has those of the files.
    install_sha256: String,
    files: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    path: &'a str,
    sha256: String,
    mode: String,
    owner: &'a str,
    group: &'a str,
    /// Holds a password or a key; its contents are never shown.
    secret: bool,
}

/// The name of a node's archive.
pub(super) fn archive_name(node: &str) -> String {
    format!("{node}.tar.gz")
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn entries(tree: &Tree) -> Vec<Entry<'_>> {
    let entry = |(path, file)| -> Entry<'_> {
        let (path, file): (&String, &super::File) = (path, file);
        Entry {
            path,
            sha256: digest(&file.contents),
            mode: format!("{:04o}", file.mode),
            owner: &file.owner,
            group: &file.group,
            secret: file.secret,
        }
    };
    tree.files.iter().map(entry).collect()
}

impl Bundle {
    /// Each node's files as a `tar.gz` ([`Tree::tar_gz`]), by node.
    ///
    /// # Errors
    /// [`WriteError::Tree`] if a tree cannot be laid out.
    pub fn archives(&self) -> Result<BTreeMap<String, Vec<u8>>, WriteError> {
        let packed = |(node, tree): (&String, &Tree)| match tree.tar_gz() {
            Ok(archive) => Ok((node.clone(), archive)),
            Err(source) => Err(WriteError::Tree {
                node: node.clone(),
                source,
            }),
        };
        self.nodes.iter().map(packed).collect()
    }

    /// What is in these archives, as JSON: for each node the archive's SHA-256, and of each file path, SHA-256, mode,
    /// owner, group and whether it is secret.
    pub fn contents(&self, archives: &BTreeMap<String, Vec<u8>>) -> String {
        let archive = |(node, tree)| -> Option<(&str, Archive<'_>)> {
            let (node, tree): (&String, &Tree) = (node, tree);
            let packed = archives.get(node)?;
            let archive = Archive {
                archive: archive_name(node),
                sha256: digest(packed),
                bytes: packed.len(),
                install_sha256: digest(tree.install.as_bytes()),
                files: entries(tree),
            };
            Some((node, archive))
        };
        let contents = Contents {
            nodes: self.nodes.iter().filter_map(archive).collect(),
        };
        let json = serde_json::to_string_pretty(&contents).expect("strings, numbers and lists are all JSON");
        json + "\n"
    }
}
