//! One image from its definition and its packages: mmdebstrap installs them into a tree and writes it as a tar archive,
//! which mke2fs reads from a pipe into a file system; kernel and initial RAM disk are read back out of that.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::definition::Definition;
use super::{namespace, script};
use crate::progress::Phase;
use crate::tools::ToolError;
use crate::tools::apt::{Apt, SUITE};
use crate::tools::builder::Builder;
use crate::tools::command::{Program, Running, failed, run};
use crate::tools::package::Package;

/// Installing a mail node's packages takes about a minute; an overloaded machine may take many times that.
const INSTALL_DEADLINE: Duration = Duration::from_secs(3600);
const LOCAL_DEADLINE: Duration = Duration::from_secs(120);

/// Names in an image's folder.
pub const DISK: &str = "disk.raw";
/// The kernel, not compressed.
pub const KERNEL: &str = "vmlinux";
/// The initial RAM disk.
pub const INITRD: &str = "initrd";

/// What a build needs.
pub struct Job<'a> {
    /// The programs.
    pub builder: &'a Builder,
    /// Where the package files lie.
    pub apt: &'a Apt,
    /// The contents.
    pub definition: &'a Definition,
    /// The packages.
    pub packages: &'a [Package],
    /// Seconds since 1970 that files get at most as their time, so that equal inputs give equal images.
    pub epoch: u64,
    /// Where to keep what a failed installation said.
    pub log: PathBuf,
    /// The folder to fill; it also holds what is only needed meanwhile.
    pub folder: &'a Path,
}

impl Job<'_> {
    /// Builds the image into the folder.
    ///
    /// # Errors
    /// When a program fails, with its last lines, or the disk is full.
    pub async fn run(&self, phase: &Phase) -> Result<(), ToolError> {
        let work = self.folder.join("work");
        for folder in ["repository", "files", "tmp"] {
            let path = work.join(folder);
            std::fs::create_dir_all(&path)
                .map_err(|source| ToolError::io(format!("create {}", path.display()), source))?;
        }
        namespace::check().await?;
        phase.detail("writing a repository of the locked packages");
        self.write_repository(&work.join("repository")).await?;
        self.write_scripts(&work)?;
        self.install(&work, phase).await?;
        phase.detail("taking out the kernel");
        self.extract_boot_files().await?;
        std::fs::remove_dir_all(&work).map_err(|source| ToolError::io(format!("remove {}", work.display()), source))
    }

    /// A repository with exactly the locked packages, so that nothing else can get in (deb-src(5), "flat").
    async fn write_repository(&self, repository: &Path) -> Result<(), ToolError> {
        let mut index = String::new();
        for package in self.packages {
            let deb = self.apt.deb(package);
            let mut command = Program::host("dpkg-deb").command();
            command.arg("-f").arg(&deb);
            let step = format!("read {}", deb.display());
            let control = run(&step, command, LOCAL_DEADLINE).await?.stdout;
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

    /// The definition's files and the scripts that mmdebstrap calls with the tree's path.
    fn write_scripts(&self, work: &Path) -> Result<(), ToolError> {
        for (path, content) in &self.definition.files {
            let file = work.join("files").join(path.trim_start_matches('/'));
            if let Some(parent) = file.parent() {
                std::fs::create_dir_all(parent)
                    .map_err(|source| ToolError::io(format!("create {}", parent.display()), source))?;
            }
            write(&file, content)?;
        }
        write(
            &work.join("debconf"),
            &format!("{}\n", self.definition.debconf.join("\n")),
        )?;
        write(&work.join("essential.sh"), script::ESSENTIAL)?;
        write(&work.join("in-tree.sh"), &script::in_tree(self.definition))?;
        write(&work.join("customize.sh"), script::CUSTOMIZE)
    }

    async fn install(&self, work: &Path, phase: &Phase) -> Result<(), ToolError> {
        let mut mmdebstrap = Running::start(self.mmdebstrap(work)?, Stdio::null(), Stdio::piped())?;
        let archive = mmdebstrap.child.stdout.take();
        let archive = archive
            .and_then(|pipe| pipe.into_owned_fd().ok())
            .map_or_else(Stdio::null, Stdio::from);
        let mke2fs = Running::start(self.mke2fs(), archive, Stdio::null())?;
        let headings = |line: &str| {
            if let Some(heading) = line.strip_prefix("I: ") {
                phase.detail(heading.trim_end_matches('.'));
            }
        };
        let (installed, made) = tokio::join!(
            mmdebstrap.finish_with("install packages", INSTALL_DEADLINE, headings),
            mke2fs.finish("make the file system", INSTALL_DEADLINE),
        );
        let ((status, said), (made, stderr)) = (installed?, made?);
        // A full disk breaks the pipe, and then mmdebstrap only tells of a broken pipe.
        let file_system_first = !made.success() && stderr.contains("No space left on device");
        if !status.success() && !file_system_first {
            // The error carries the last lines; whoever wants to know more finds all of it.
            write(&self.log, &said)?;
            let error = failed("install packages", status, &said);
            return Err(error.with(&format!("\n    (all of it is in {})", self.log.display())));
        }
        if !made.success() {
            return Err(failed("make the file system", made, &stderr));
        }
        Ok(())
    }

    fn mmdebstrap(&self, work: &Path) -> Result<Command, ToolError> {
        let mmdebstrap = &self.builder.mmdebstrap;
        let mut command = namespace::command()?;
        command.args(&mmdebstrap.argv).envs(mmdebstrap.env.iter().cloned());
        command.args([
            "--mode=root",
            "--variant=apt",
            "--format=tar",
            "--skip=cleanup/apt,cleanup/reproducible",
        ]);
        command.args([
            "--aptopt=APT::Install-Recommends \"false\"",
            "--aptopt=Acquire::Languages \"none\"",
        ]);
        command.arg("--dpkgopt=force-unsafe-io");
        let names: Vec<&str> = self.packages.iter().map(|package| package.name.as_str()).collect();
        command.arg(format!("--include={}", names.join(",")));
        for (hook, script) in [("essential", "essential.sh"), ("customize", "customize.sh")] {
            command.arg(format!(
                "--{hook}-hook=sh {} \"$1\" {}",
                quoted(&work.join(script)),
                quoted(work)
            ));
        }
        command.args([SUITE, "-"]);
        command.arg(format!(
            "deb [trusted=yes] copy:{} ./",
            work.join("repository").display()
        ));
        command
            .env("TMPDIR", work.join("tmp"))
            .env("SOURCE_DATE_EPOCH", self.epoch.to_string());
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("LANGUAGE");
        // The initial RAM disk is made once, at the end, and not by every package on the way.
        command.env("INITRD", "No").env_remove("APT_CONFIG");
        Ok(command)
    }

    fn mke2fs(&self) -> Command {
        let mut command = self.builder.mke2fs.command();
        command.args(["-q", "-F", "-t", "ext4", "-L", "root", "-i", "32768", "-m", "0"]);
        command.args(["-E", "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0", "-d", "-"]);
        command
            .arg(self.folder.join(DISK))
            .arg(format!("{}M", self.definition.disk_mib));
        // libarchive gives up on a name that the locale cannot express, and certificates have such names.
        command
            .env("SOURCE_DATE_EPOCH", self.epoch.to_string())
            .env("LC_ALL", "C.UTF-8");
        command
    }

    async fn extract_boot_files(&self) -> Result<(), ToolError> {
        for (from, to) in [("/boot/vmlinux", KERNEL), ("/boot/initrd.img", INITRD)] {
            let target = self.folder.join(to);
            let mut command = self.builder.debugfs.command();
            command
                .arg("-R")
                .arg(format!("dump {from} {}", target.display()))
                .arg(self.folder.join(DISK));
            let step = format!("take {from} out of the image");
            let output = run(&step, command, LOCAL_DEADLINE).await?;
            // debugfs ends with status 0 whatever happened.
            if std::fs::metadata(&target).map_or(0, |meta| meta.len()) == 0 {
                return Err(ToolError::Failed {
                    step,
                    reason: "it is not there".into(),
                    output: output.stderr,
                });
            }
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Result<(), ToolError> {
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
