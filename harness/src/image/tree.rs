//! A system installed into a tree by mmdebstrap, from exactly the given packages: what images are made of, and where
//! kernel modules are compiled.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::namespace;
use crate::progress::Phase;
use crate::tools::ToolError;
use crate::tools::apt::{Apt, SUITE};
use crate::tools::builder::Builder;
use crate::tools::command::{Program, run};
use crate::tools::package::Package;

/// Reading one package's control file.
const READ_DEADLINE: Duration = Duration::from_secs(120);

/// Name of the script that runs when only the essential packages are there; `$1` is the tree, `$2` the work folder.
const ESSENTIAL: &str = "essential.sh";
/// Name of the script that runs when everything is installed, with the same arguments.
const CUSTOMIZE: &str = "customize.sh";

/// What a tree needs.
pub(super) struct Tree<'a> {
    /// The programs.
    pub builder: &'a Builder,
    /// Where the package files lie.
    pub apt: &'a Apt,
    /// The packages.
    pub packages: &'a [Package],
    /// Seconds since 1970 that files get at most as their time, so that equal inputs give equal trees.
    pub epoch: u64,
    /// What is needed meanwhile lies here.
    pub work: PathBuf,
}

/// The scripts that mmdebstrap calls with the tree's path and the work folder.
pub(super) struct Scripts<'a> {
    /// When only the essential packages are there.
    pub essential: &'a str,
    /// When everything is installed.
    pub customize: &'a str,
}

impl Tree<'_> {
    /// Makes the work folder with a repository of the packages and the scripts.
    ///
    /// # Errors
    /// When this user may not build on this host, a package cannot be read, or the disk is full.
    pub async fn prepare(&self, scripts: &Scripts<'_>, phase: &Phase) -> Result<(), ToolError> {
        for folder in ["repository", "files", "tmp"] {
            create(&self.work.join(folder))?;
        }
        namespace::check().await?;
        phase.detail("writing a repository of the locked packages");
        self.write_repository(&self.work.join("repository")).await?;
        write(&self.work.join(ESSENTIAL), scripts.essential)?;
        write(&self.work.join(CUSTOMIZE), scripts.customize)
    }

    /// A repository with exactly the locked packages, so that nothing else can get in (deb-src(5), "flat").
    async fn write_repository(&self, repository: &Path) -> Result<(), ToolError> {
        let mut index = String::new();
        for package in self.packages {
            let deb = self.apt.deb(package);
            let mut command = Program::host("dpkg-deb").command();
            command.arg("-f").arg(&deb);
            let step = format!("read {}", deb.display());
            let control = run(&step, command, READ_DEADLINE).await?.stdout;
            let name = package.file_name();
            let (size, hash) = (package.size, &package.sha256);
            let _ = writeln!(
                index,
                "{}\nFilename: ./{name}\nSize: {size}\nSHA256: {hash}\n",
                control.trim_end()
            );
            let link = repository.join(&name);
            // The same file when the file system can do that, else a copy.
            if std::fs::hard_link(&deb, &link).is_err() {
                std::fs::copy(&deb, &link)
                    .map_err(|source| ToolError::io(format!("copy {}", deb.display()), source))?;
            }
        }
        // mmdebstrap asks for the essential packages of the suite by its name, which only a Release file can tell.
        let release = format!(
            "Suite: {SUITE}\nCodename: {SUITE}\nArchitectures: amd64\nSHA256:\n {} {} Packages\n",
            hex::encode(Sha256::digest(&index)),
            index.len()
        );
        write(&repository.join("Packages"), &index)?;
        write(&repository.join("Release"), &release)
    }

    /// The command that installs the tree and calls the scripts in it. `format` says what becomes of the tree: `tar` is
    /// written to `target`, with `null` it is thrown away.
    ///
    /// # Errors
    /// What this user lacks for building.
    pub fn install(&self, format: &str, target: &str) -> Result<Command, ToolError> {
        let mmdebstrap = &self.builder.mmdebstrap;
        let mut command = namespace::command()?;
        command.args(&mmdebstrap.argv).envs(mmdebstrap.env.iter().cloned());
        command
            .args(["--mode=root", "--variant=apt"])
            .arg(format!("--format={format}"))
            .arg("--skip=cleanup/apt,cleanup/reproducible");
        command.args([
            "--aptopt=APT::Install-Recommends \"false\"",
            "--aptopt=Acquire::Languages \"none\"",
        ]);
        command.arg("--dpkgopt=force-unsafe-io");
        let names: Vec<&str> = self.packages.iter().map(|package| package.name.as_str()).collect();
        command.arg(format!("--include={}", names.join(",")));
        for (hook, script) in [("essential", ESSENTIAL), ("customize", CUSTOMIZE)] {
            command.arg(format!(
                "--{hook}-hook=sh {} \"$1\" {}",
                quoted(&self.work.join(script)),
                quoted(&self.work)
            ));
        }
        command.args([SUITE, target]);
        command.arg(format!(
            "deb [trusted=yes] copy:{} ./",
            self.work.join("repository").display()
        ));
        command
            .env("TMPDIR", self.work.join("tmp"))
            .env("SOURCE_DATE_EPOCH", self.epoch.to_string());
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("LANGUAGE");
        // The initial RAM disk is made once, at the end, and not by every package on the way.
        command.env("INITRD", "No").env_remove("APT_CONFIG");
        Ok(command)
    }

    /// Removes the work folder.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn clear(&self) -> Result<(), ToolError> {
        std::fs::remove_dir_all(&self.work)
            .map_err(|source| ToolError::io(format!("remove {}", self.work.display()), source))
    }
}

/// Shows what mmdebstrap is at.
pub(super) fn headings(phase: &Phase) -> impl Fn(&str) {
    |line: &str| {
        if let Some(heading) = line.strip_prefix("I: ") {
            phase.detail(heading.trim_end_matches('.'));
        }
    }
}

/// Creates a folder and its parents.
pub(super) fn create(path: &Path) -> Result<(), ToolError> {
    std::fs::create_dir_all(path).map_err(|source| ToolError::io(format!("create {}", path.display()), source))
}

/// Writes a text file.
pub(super) fn write(path: &Path, text: &str) -> Result<(), ToolError> {
    std::fs::write(path, text).map_err(|source| ToolError::io(format!("write {}", path.display()), source))
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_quote_stays_one_word() {
        assert_eq!(quoted(Path::new("/a'b c")), "'/a'\\''b c'");
    }
}
