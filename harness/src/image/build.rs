//! One image from its definition and its packages: mmdebstrap installs them into a tree and writes it as a tar archive,
//! which mke2fs reads from a pipe into a file system; kernel and initial RAM disk are read back out of that.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::definition::Definition;
use crate::progress::Phase;
use crate::tools::ToolError;
use crate::tools::apt::{Apt, SUITE};
use crate::tools::builder::Builder;
use crate::tools::command::{Program, Running, failed, find_on_host, run};
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
        write(&work.join("essential.sh"), ESSENTIAL)?;
        write(&work.join("in-tree.sh"), &in_tree_script(self.definition))?;
        write(&work.join("customize.sh"), CUSTOMIZE)
    }

    async fn install(&self, work: &Path, phase: &Phase) -> Result<(), ToolError> {
        let mut mmdebstrap = Running::start(self.mmdebstrap(work)?, Stdio::null(), Stdio::piped())?;
        let pipe = mmdebstrap
            .child
            .stdout
            .take()
            .and_then(|stdout| stdout.into_owned_fd().ok());
        let pipe = pipe.map_or_else(Stdio::null, Stdio::from);
        let mke2fs = Running::start(self.mke2fs(), pipe, Stdio::null())?;
        let log = work.join("install.log");
        let following = follow(&mut mmdebstrap, log.clone(), phase);
        let (said, finished) = tokio::join!(following, mke2fs.finish("make the file system", INSTALL_DEADLINE));
        let (status, _) = mmdebstrap.finish("install packages", LOCAL_DEADLINE).await?;
        if !status.success() {
            return Err(failed("install packages", status, &said));
        }
        let (status, stderr) = finished?;
        if !status.success() {
            return Err(failed("make the file system", status, &stderr));
        }
        Ok(())
    }

    fn mmdebstrap(&self, work: &Path) -> Result<Command, ToolError> {
        let mmdebstrap = &self.builder.mmdebstrap;
        let mut command = namespace()?;
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

/// Whether this user may build images on this host.
///
/// # Errors
/// What is missing, with the command that mends it.
pub fn can_build() -> Result<(), ToolError> {
    namespace().map(|_| ())
}

/// A wrapper that gives the build namespaces of its own, which end with it: mounts, processes and, for users who are
/// not root, user numbers.
fn namespace() -> Result<Command, ToolError> {
    let missing = |what: &str, mend: &str| ToolError::Missing {
        what: what.into(),
        mend: mend.into(),
    };
    let unshare = find_on_host("unshare").ok_or_else(|| missing("unshare", "apt-get install util-linux"))?;
    let mut command = unshare.command();
    // Propagation is mmdebstrap's to change: unshare would insist on it even where the root is no mount point (chroot).
    command.args([
        "--mount",
        "--propagation",
        "unchanged",
        "--pid",
        "--fork",
        "--kill-child=KILL",
    ]);
    if !nix::unistd::geteuid().is_root() {
        let why = "to build images without root";
        if find_on_host("newuidmap").is_none() {
            return Err(missing(&format!("newuidmap ({why})"), "sudo apt-get install uidmap"));
        }
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid())
            .ok()
            .flatten()
            .map(|user| user.name);
        let user = user.unwrap_or_else(|| nix::unistd::geteuid().to_string());
        let listed = |file: &str| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            text.lines().any(|line| line.split(':').next() == Some(user.as_str()))
        };
        if !listed("/etc/subuid") || !listed("/etc/subgid") {
            return Err(missing(
                &format!("subordinate user numbers for {user} ({why})"),
                &format!("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"),
            ));
        }
        let forbidden = std::fs::read_to_string("/proc/sys/kernel/unprivileged_userns_clone");
        if forbidden.is_ok_and(|text| text.trim() == "0") {
            return Err(missing(
                &format!("user namespaces ({why})"),
                "sudo sysctl kernel.unprivileged_userns_clone=1",
            ));
        }
        command.args(["--user", "--map-root-user", "--map-auto"]);
    }
    command.arg("--");
    Ok(command)
}

/// Reads what mmdebstrap says, keeps it, and passes its headings on.
async fn follow(running: &mut Running, log: PathBuf, phase: &Phase) -> String {
    let mut said = String::new();
    let Some(stderr) = running.child.stderr.take() else {
        return said;
    };
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(heading) = line.strip_prefix("I: ") {
            phase.detail(heading.trim_end_matches('.'));
        }
        said.push_str(&line);
        said.push('\n');
    }
    // Only of use for somebody who looks into a failed build; the error carries the last lines anyway.
    let _ = std::fs::write(log, &said);
    said
}

fn write(path: &Path, text: &str) -> Result<(), ToolError> {
    std::fs::write(path, text).map_err(|source| ToolError::io(format!("write {}", path.display()), source))
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// Runs when only the essential packages are there; `$1` is the tree, `$2` the work folder.
const ESSENTIAL: &str = r#"set -eu
# Manuals and translations nobody reads in a test machine, and copies of licences stay.
cat > "$1/etc/dpkg/dpkg.cfg.d/50-lean" <<'END'
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/lintian/*
END
chroot "$1" debconf-set-selections < "$2/debconf"
"#;

/// Copies the definition's files and runs the last script in the tree.
const CUSTOMIZE: &str = r#"set -eu
cp -R "$2/files/." "$1/"
chroot "$1" sh -eu < "$2/in-tree.sh"
"#;

/// Runs in the complete tree, as its root.
fn in_tree_script(definition: &Definition) -> String {
    let mut script = String::from("export LC_ALL=C.UTF-8\n");
    for (verb, units) in [
        ("enable", &definition.enable),
        ("disable", &definition.disable),
        ("mask", &definition.mask),
    ] {
        for unit in units {
            let _ = writeln!(script, "systemctl {verb} '{unit}' 2>&1");
        }
    }
    for command in &definition.commands {
        let _ = writeln!(script, "{command}");
    }
    let _ = writeln!(script, "modules='{}'", definition.initramfs_modules.join(" "));
    script.push_str(FINISH);
    script
}

/// The kernel, unpacked, and an initial RAM disk that does nothing but mount the disk: a general one takes eight seconds
/// of an emulated processor. Then away with what only the build needed.
///
/// Where the compressed kernel lies in its file is told by its header (the kernel's Documentation/arch/x86/boot.rst:
/// setup_sects, payload_offset, payload_length; the last four bytes are the unpacked size).
const FINISH: &str = r#"version=$(ls /lib/modules)
depmod "$version"
kernel="/boot/vmlinuz-$version"
number() { od -A n -t "u$2" -j "$1" -N "$2" "$kernel" | tr -d ' '; }
start=$(( ($(number 497 1) + 1) * 512 + $(number 584 4) ))
length=$(( $(number 588 4) - 4 ))
tail -c "+$((start + 1))" "$kernel" | head -c "$length" | zstd -q -d > /boot/vmlinux

disk=$(mktemp -d)
mkdir -p "$disk/dev" "$disk/root" "$disk/bin" "$disk/usr/lib" "$disk/modules"
for program in sh mount umount insmod sleep run-init; do
    cp "/usr/lib/klibc/bin/$program" "$disk/bin/"
done
cp /usr/lib/klibc-*.so "$disk/usr/lib/"
number=100
for module in $modules; do
    modprobe --set-version "$version" --show-depends "$module" | while read -r kind file _; do
        [ "$kind" = insmod ] || continue
        name=$(basename "$file" .ko.xz)
        [ -z "$(find "$disk/modules" -name "*-$name.ko")" ] || continue
        number=$((number + 1))
        xz -d < "$file" > "$disk/modules/$number-$name.ko"
    done
    number=$((number + 100))
done
cat > "$disk/init" <<'END'
#!/bin/sh
mount -t devtmpfs dev /dev
for module in /modules/*; do
    insmod "$module"
done
tries=0
until [ -b /dev/vda ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { echo "no disk"; exit 1; }
    sleep 0.1
done
mount -t ext4 -o rw,noatime /dev/vda /root || exit 1
umount /dev
exec run-init /root /sbin/init
END
chmod 755 "$disk/init"
(cd "$disk" && find . -mindepth 1 | sort | cpio --quiet --reproducible -o -H newc -R 0:0) > /boot/initrd.img
rm -r "$disk"

passwd --lock root
# Each machine makes its own identity at its first boot.
: > /etc/machine-id
rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed
mkdir -p /var/log/journal
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb /var/cache/debconf/*-old /var/lib/dpkg/*-old
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/apt.conf.d/99mmdebstrap /etc/dpkg/dpkg.cfg.d/99mmdebstrap
find /var/log -type f -delete
# What a first boot would bring up to date is up to date.
/usr/lib/systemd/systemd-update-done
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Definitions, ImageRole};

    #[test]
    fn the_tree_is_finished_by_these_commands() {
        let definition = Definitions::built_in().of(ImageRole::LoadBalancer).unwrap();
        insta::assert_snapshot!(in_tree_script(&definition));
    }

    #[test]
    fn a_path_with_a_quote_stays_one_word() {
        assert_eq!(quoted(Path::new("/a'b c")), "'/a'\\''b c'");
    }
}
