//! A tree as a gzipped tar: the same tree gives the same bytes, on any machine and at any time.

use flate2::{Compression, GzBuilder};

use super::{Tree, TreeError};

impl Tree {
    /// The tree as `tar.gz`: `install`, `manifest`, then `root/...`, sorted, with time 0 and owner 0. Everything in
    /// it but `install` has mode 0600 (folders 0700); `install` applies the owners and modes of the manifest.
    ///
    /// # Errors
    /// [`TreeError`] if the tree cannot be laid out ([`Tree::validate`]).
    pub fn tar_gz(&self) -> Result<Vec<u8>, TreeError> {
        self.validate()?;
        // Operating system 255 is "unknown" (RFC 1952): the header must not depend on where it was written.
        let gzip = GzBuilder::new()
            .mtime(0)
            .operating_system(255)
            .write(Vec::new(), Compression::new(6));
        let mut tar = tar::Builder::new(gzip);
        append(&mut tar, "install", 0o755, self.install.as_bytes());
        append(&mut tar, "manifest", 0o600, self.manifest().as_bytes());
        append_folder(&mut tar, "root/");
        let mut folders = std::collections::BTreeSet::new();
        for (path, file) in &self.files {
            for (slash, _) in path.match_indices('/').skip(1) {
                if folders.insert(&path[..slash]) {
                    append_folder(&mut tar, &format!("root{}/", &path[..slash]));
                }
            }
            append(&mut tar, &format!("root{path}"), 0o600, &file.contents);
        }
        Ok(tar
            .into_inner()
            .and_then(flate2::write::GzEncoder::finish)
            .expect(IN_MEMORY))
    }
}

const IN_MEMORY: &str = "writing to memory cannot fail";

fn append(tar: &mut tar::Builder<impl std::io::Write>, path: &str, mode: u32, contents: &[u8]) {
    let mut header = header(tar::EntryType::Regular, mode);
    header.set_size(contents.len() as u64);
    tar.append_data(&mut header, path, contents).expect(IN_MEMORY);
}

fn append_folder(tar: &mut tar::Builder<impl std::io::Write>, path: &str) {
    let mut header = header(tar::EntryType::Directory, 0o700);
    header.set_size(0);
    tar.append_data(&mut header, path, std::io::empty()).expect(IN_MEMORY);
}

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use super::super::File;
    use super::*;

    fn tree() -> Tree {
        let file = |contents: &str| File {
            contents: contents.into(),
            mode: 0o640,
            owner: "root".into(),
            group: "root".into(),
            secret: true,
        };
        let long = format!("/opt/{}/config", "d".repeat(120));
        Tree {
            files: [
                ("/etc/b/two".into(), file("2")),
                ("/etc/a".into(), file("1")),
                (long, file("3")),
            ]
            .into(),
            install: "#!/bin/sh\n".into(),
        }
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes() {
        assert_eq!(tree().tar_gz(), tree().tar_gz());
    }

    #[test]
    fn the_archive_holds_install_manifest_and_the_files_in_order() {
        let bytes = tree().tar_gz().unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let listed: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                assert_eq!(
                    (header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()),
                    (0, 0, 0)
                );
                format!("{:o} {}", header.mode().unwrap(), entry.path().unwrap().display())
            })
            .collect();
        let long = "d".repeat(120);
        assert_eq!(
            listed,
            [
                "755 install".into(),
                "600 manifest".into(),
                "700 root/".into(),
                "700 root/etc/".into(),
                "600 root/etc/a".into(),
                "700 root/etc/b/".into(),
                "600 root/etc/b/two".into(),
                "700 root/opt/".into(),
                format!("700 root/opt/{long}/"),
                format!("600 root/opt/{long}/config"),
            ]
        );
    }
}
