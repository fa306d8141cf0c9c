//! Private roots: packages unpacked into a folder of the cache, whose programs run through the folder's own dynamic
//! loader and libraries. They neither need nor touch anything that is installed on the host.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};

use super::ToolError;
use super::apt::Request;
use super::command::{Program, run};
use super::package::{Package, set_hash};
use super::supply::Supply;
use crate::progress::Progress;

/// Unpacking one package is local work.
const UNPACK_DEADLINE: Duration = Duration::from_secs(300);
/// Unpacked packages are about this many times the size of their files.
const UNPACKED_FACTOR: u64 = 6;

/// Folder of the programs' libraries on Debian for this processor.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The dynamic loader that the programs are run through.
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";

/// A folder with unpacked packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    path: PathBuf,
}

impl Root {
    /// The private root of a set of packages, made when it is not in the cache yet.
    ///
    /// # Errors
    /// When packages cannot be fetched or unpacked, or the disk is full.
    pub async fn ensure(supply: &Supply, set: &str, request: &Request, progress: &Progress) -> Result<Self, ToolError> {
        let name = |packages: &[Package]| format!("{set}-{}", &set_hash(packages)[..12]);
        let folder = supply.cache.folder("tools")?;
        if let Some(locked) = supply.lock.sets.get(set).filter(|locked| request.is_met_by(locked)) {
            let path = folder.join(name(locked));
            if path.exists() {
                return Ok(Root { path });
            }
        }
        let _lock = supply.cache.lock(set, progress).await?;
        let packages = supply.obtain(set, request, progress).await?;
        let name = name(&packages);
        let path = folder.join(&name);
        if path.exists() {
            return Ok(Root { path });
        }
        supply
            .cache
            .require(packages.iter().map(|package| package.size).sum::<u64>() * UNPACKED_FACTOR)?;
        let phase = progress.phase(set, format!("unpacking {} packages", packages.len()));
        let staging = supply.cache.stage("tools", &name)?;
        let unpack = |package: &Package| {
            let mut command = Program::host("dpkg-deb").command();
            command.arg("-x").arg(supply.apt.deb(package)).arg(staging.path());
            let step = format!("unpack {}", package.name);
            async move { run(&step, command, UNPACK_DEADLINE).await.map(|_| ()) }
        };
        stream::iter(packages.iter().map(unpack))
            .buffer_unordered(std::thread::available_parallelism().map_or(2, usize::from))
            .try_collect::<Vec<()>>()
            .await?;
        let path = staging.commit()?;
        phase.done("");
        Ok(Root { path })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }

    /// A compiled program of it, run through its loader.
    pub fn program(&self, path: &str) -> Program {
        let libraries = self.file(LIBRARIES);
        let mut search = OsString::from(&libraries);
        search.push(":");
        search.push(self.file("usr/lib"));
        Program {
            argv: vec![
                self.file(LOADER).into(),
                "--library-path".into(),
                search,
                self.file(path).into(),
            ],
            env: Vec::new(),
        }
    }

    /// A Perl script of it, run by its own Perl with its own modules.
    pub fn perl_script(&self, path: &str) -> Program {
        let mut program = self.program("usr/bin/perl");
        // The versioned folder's name is the interpreter's and known only by looking.
        let modules: Vec<PathBuf> = ["etc/perl", "usr/share/perl5"]
            .iter()
            .map(|folder| self.file(folder))
            .chain(versioned(&self.file(&format!("{LIBRARIES}/perl"))))
            .chain(versioned(&self.file("usr/share/perl")))
            .chain([self.file(&format!("{LIBRARIES}/perl-base"))])
            .collect();
        for folder in modules {
            program.argv.push("-I".into());
            program.argv.push(folder.into());
        }
        program.argv.push(self.file(path).into());
        program
    }
}

/// Subfolders whose names begin with a digit.
fn versioned(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with(|first: char| first.is_ascii_digit())
        })
        .map(|entry| entry.path())
        .collect()
}
