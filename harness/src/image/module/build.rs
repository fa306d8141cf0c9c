//! Compiling modules in a tree that is thrown away; only they come out of it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::ModuleDefinition;
use crate::image::tree::{Scripts, Tree, create, headings, write};
use crate::progress::Phase;
use crate::tools::ToolError;
use crate::tools::command::{Running, failed};

/// Compiling takes three minutes of two processors; an overloaded machine may take many times that.
const BUILD_DEADLINE: Duration = Duration::from_secs(2 * 3600);

/// What a build needs.
pub(super) struct Job<'a> {
    /// What is built.
    pub definition: &'a ModuleDefinition,
    /// The kernel that it is built for.
    pub kernel: &'a str,
    /// The tree that it is built in.
    pub tree: Tree<'a>,
    /// Where to keep what a failed build said.
    pub log: &'a Path,
}

impl Job<'_> {
    /// Puts the modules into `folder`, `NAME.ko` each.
    ///
    /// # Errors
    /// When a program fails, with its last lines, or the disk is full.
    pub async fn run(&self, folder: &Path, phase: &Phase) -> Result<(), ToolError> {
        let scripts = Scripts {
            essential: ESSENTIAL,
            customize: CUSTOMIZE,
        };
        self.tree.prepare(&scripts, phase).await?;
        let out = self.tree.work.join("out");
        create(&out)?;
        write(
            &self.tree.work.join("in-tree.sh"),
            &in_tree(self.definition, self.kernel),
        )?;
        let build = Running::start(self.tree.install("null", "/dev/null")?, Stdio::null(), Stdio::null())?;
        let step = format!("build the modules {}", self.definition.modules.join(", "));
        let (status, said) = build.finish_with(&step, BUILD_DEADLINE, headings(phase)).await?;
        if !status.success() {
            write(self.log, &said)?;
            let error = failed(&step, status, &said);
            return Err(error.with(&format!("\n    (all of it is in {})", self.log.display())));
        }
        for name in &self.definition.modules {
            let (from, to) = (out.join(format!("{name}.ko")), folder.join(format!("{name}.ko")));
            std::fs::rename(&from, &to)
                .map_err(|source| ToolError::io(format!("take {name}.ko out of the tree"), source))?;
        }
        self.tree.clear()
    }
}

/// Runs when only the essential packages are there; `$1` is the tree. Nothing is built while packages are installed: that
/// is for the kernel that runs, which is the host's. Nor is anything signed, by a key made on the way: nobody trusts it, and
/// no two builds would be equal.
const ESSENTIAL: &str = r#"set -eu
mkdir -p "$1/etc/dkms/framework.conf.d"
: > "$1/etc/dkms/no-autoinstall"
echo 'sign_file=/dev/null' > "$1/etc/dkms/framework.conf.d/50-unsigned.conf"
cat > "$1/etc/dpkg/dpkg.cfg.d/50-lean" <<'END'
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/doc/*
END
"#;

/// Builds in the tree `$1` and takes the modules out into the work folder `$2`.
const CUSTOMIZE: &str = r#"set -eu
chroot "$1" sh -eu < "$2/in-tree.sh"
cp "$1"/modules/*.ko "$2/out/"
"#;

/// Runs in the complete tree, as its root.
fn in_tree(definition: &ModuleDefinition, kernel: &str) -> String {
    let (source, modules) = (&definition.source, definition.modules.join(" "));
    format!("export LC_ALL=C.UTF-8\nsource='{source}'\nkernel='{kernel}'\nmodules='{modules}'\n{BUILD}")
}

/// DKMS keeps modules compressed if the kernel's own are.
const BUILD: &str = r#"version=$(ls /usr/src | sed -n "s/^$source-//p")
home="/var/lib/dkms/$source/$version"
dkms build -m "$source" -v "$version" -k "$kernel" -a x86_64 > /dkms.log 2>&1 &
building=$!
while kill -0 "$building" 2> /dev/null; do
    done=$(grep -c 'CC \[M\]' "$home/build/make.log" 2> /dev/null || true)
    echo "I: compiling $source $version for $kernel: ${done:-0} files" >&2
    sleep 2
done
wait "$building" || {
    tail -n 100 "$home/build/make.log" >&2
    cat /dkms.log >&2
    exit 1
}
mkdir /modules
for module in $modules; do
    built="$home/$kernel/x86_64/module/$module.ko"
    case $(ls "$built"*) in
        *.xz) xz -d < "$built.xz" > "/modules/$module.ko" ;;
        *.zst) zstd -q -d < "$built.zst" > "/modules/$module.ko" ;;
        *) cp "$built" "/modules/$module.ko" ;;
    esac
done
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Definitions;

    #[test]
    fn zfs_is_built_by_these_commands() {
        let definition = Definitions::built_in().module("zfs").unwrap();
        insta::assert_snapshot!(in_tree(&definition, "6.12.118+deb13-cloud-amd64"));
    }
}
