//! One image from its definition and its packages: mmdebstrap installs them into a tree and writes it as a tar archive,
//! which mke2fs reads from a pipe into a file system; kernel and initial RAM disk are read back out of that.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::definition::Definition;
use super::module::Modules;
use super::script;
use super::tree::{Scripts, Tree, create, headings, write};
use crate::progress::Phase;
use crate::tools::ToolError;
use crate::tools::apt::Apt;
use crate::tools::builder::Builder;
use crate::tools::command::{Running, failed, run};
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
    /// Kernel modules beside those of the packages.
    pub modules: &'a [Modules],
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
        let tree = Tree {
            builder: self.builder,
            apt: self.apt,
            packages: self.packages,
            epoch: self.epoch,
            work: self.folder.join("work"),
        };
        let scripts = Scripts {
            essential: script::ESSENTIAL,
            customize: script::CUSTOMIZE,
        };
        tree.prepare(&scripts, phase).await?;
        self.write_files(&tree.work)?;
        self.install(&tree, phase).await?;
        phase.detail("taking out the kernel");
        self.extract_boot_files().await?;
        tree.clear()
    }

    /// The definition's files, the modules, and what the scripts read.
    fn write_files(&self, work: &Path) -> Result<(), ToolError> {
        let files = work.join("files");
        for (path, content) in &self.definition.files {
            let file = files.join(path.trim_start_matches('/'));
            if let Some(parent) = file.parent() {
                create(parent)?;
            }
            write(&file, content)?;
        }
        for modules in self.modules {
            modules.copy_into(&files)?;
        }
        write(
            &work.join("debconf"),
            &format!("{}\n", self.definition.debconf.join("\n")),
        )?;
        write(&work.join("in-tree.sh"), &script::in_tree(self.definition))
    }

    async fn install(&self, tree: &Tree<'_>, phase: &Phase) -> Result<(), ToolError> {
        let mut mmdebstrap = Running::start(tree.install("tar", "-")?, Stdio::null(), Stdio::piped())?;
        let archive = mmdebstrap.child.stdout.take();
        let archive = archive
            .and_then(|pipe| pipe.into_owned_fd().ok())
            .map_or_else(Stdio::null, Stdio::from);
        let mke2fs = Running::start(self.mke2fs(), archive, Stdio::null())?;
        let (installed, made) = tokio::join!(
            mmdebstrap.finish_with("install packages", INSTALL_DEADLINE, headings(phase)),
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
