//! The image builder: mmdebstrap, which installs a system into a tar archive, and e2fsprogs, which make a file system of
//! one. The host's are used when they can do it, else Debian's in a private root with the Perl that mmdebstrap needs.

use std::time::Duration;

use super::ToolError;
use super::apt::Request;
use super::command::{Program, find_on_host, run};
use super::root::Root;
use super::supply::Supply;
use crate::progress::Progress;

/// Name of the builder's set in the lock.
pub const SET: &str = "tools-builder";

const PROBE_DEADLINE: Duration = Duration::from_secs(30);

/// What the builder's private root is made from.
pub fn request() -> Request {
    Request {
        packages: ["perl", "e2fsprogs", "libarchive13t64"].map(str::to_owned).to_vec(),
        // Its dependencies are the host's apt, which is there, and Python for features that are not used.
        bare: vec!["mmdebstrap".into()],
        essential: false,
    }
}

/// The programs that make an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builder {
    /// `mmdebstrap`.
    pub mmdebstrap: Program,
    /// `mke2fs`, able to read a tar archive.
    pub mke2fs: Program,
    /// `debugfs`, which reads files out of a file system.
    pub debugfs: Program,
    /// Where they are from, for people.
    pub origin: String,
}

impl Builder {
    /// Finds or fetches it.
    ///
    /// # Errors
    /// When it is neither on the host nor to be had from the mirror.
    pub async fn ensure(supply: &Supply, progress: &Progress) -> Result<Self, ToolError> {
        if let Some(builder) = Self::of_host().await {
            return Ok(builder);
        }
        let root = Root::ensure(supply, SET, &request(), progress).await?;
        let mut mke2fs = root.program("usr/sbin/mke2fs");
        mke2fs
            .env
            .push(("MKE2FS_CONFIG".into(), root.file("etc/mke2fs.conf").into()));
        Ok(Builder {
            mmdebstrap: root.perl_script("usr/bin/mmdebstrap"),
            mke2fs,
            debugfs: root.program("usr/sbin/debugfs"),
            origin: format!("Debian {} in {}", super::apt::SUITE, root.path().display()),
        })
    }

    /// The host's programs when all of them are there and mke2fs reads archives (e2fsprogs 1.47.1 with libarchive).
    pub async fn of_host() -> Option<Self> {
        let builder = Builder {
            mmdebstrap: find_on_host("mmdebstrap")?,
            mke2fs: find_on_host("mke2fs")?,
            debugfs: find_on_host("debugfs")?,
            origin: "the host's mmdebstrap and e2fsprogs".into(),
        };
        let folder = tempfile::tempdir().ok()?;
        // An empty tar archive is two blocks of zeros.
        std::fs::write(folder.path().join("empty.tar"), [0; 1024]).ok()?;
        let mut command = builder.mke2fs.command();
        command
            .args(["-q", "-t", "ext4", "-d", "empty.tar", "disk", "8M"])
            .current_dir(folder.path());
        run("try mke2fs on an archive", command, PROBE_DEADLINE).await.ok()?;
        Some(builder)
    }
}
