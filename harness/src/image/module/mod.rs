//! Kernel modules that Debian ships as source: compiled once for each version of kernel and source, in a tree that has
//! compiler and kernel headers and is thrown away, and kept in the cache; images get the modules alone. Here what there is
//! to say of them without building any: their definition, and what decides their content.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::definition::is_no_word;
use super::tree::create;
use crate::tools::ToolError;
use crate::tools::apt::Request;
use crate::tools::package::{Package, set_hash};

mod build;
mod store;

pub use store::ListedModules;

/// Version of the way in which modules are built: raise it when equal inputs give other modules.
const FORMAT: u32 = 1;

/// What modules are built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModuleDefinition {
    /// One line for people.
    pub description: String,
    /// Name of the source, as DKMS knows it: it lies in `/usr/src/SOURCE-VERSION`.
    pub source: String,
    /// Names of the modules.
    pub modules: Vec<String>,
    /// Packages of the tree that they are built in, beside the headers of the kernel.
    pub packages: Vec<String>,
    /// The packages of which another version makes other modules: a name, or the beginning of names, which ends in `-`.
    pub decided_by: Vec<String>,
}

impl ModuleDefinition {
    /// Reads the text of its file.
    ///
    /// # Errors
    /// A sentence, with line and place, when it is no definition.
    pub fn parse(text: &str) -> Result<Self, String> {
        let definition: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let words = [&definition.packages, &definition.modules].into_iter().flatten();
        let bad = words.chain([&definition.source]).find(is_no_word).cloned();
        match bad {
            Some(name) => Err(format!("\"{name}\" is no name of a package, source or module")),
            None => Ok(definition),
        }
    }

    /// What has to be asked of the package archives to build for a kernel.
    pub fn request(&self, kernel: &str) -> Request {
        let headers = format!("linux-headers-{kernel}");
        Request {
            packages: self.packages.iter().cloned().chain([headers]).collect(),
            bare: Vec::new(),
            essential: true,
        }
    }

    /// The packages of a tree that decide what the modules are like.
    pub fn deciding(&self, packages: &[Package]) -> Vec<Package> {
        let decides = |package: &&Package| {
            self.decided_by
                .iter()
                .any(|entry| package.name == *entry || (entry.ends_with('-') && package.name.starts_with(entry)))
        };
        packages.iter().filter(decides).cloned().collect()
    }

    /// A hash over everything that decides what the modules for a kernel are like.
    pub fn content_hash(&self, kernel: &str, packages: &[Package]) -> String {
        // A structure of strings always has a JSON form.
        let definition = serde_json::to_string(self).unwrap_or_default();
        let packages = set_hash(&self.deciding(packages));
        hex::encode(Sha256::digest(format!("{FORMAT}|{definition}|{kernel}|{packages}")))
    }
}

/// Name of the package set in the lock that a definition's tree is made of.
pub fn set(name: &str) -> String {
    format!("module-{name}")
}

/// The version of the kernel in a set of packages, as its modules' folder bears it: `6.12.118+deb13-cloud-amd64`.
pub fn kernel_of(packages: &[Package]) -> Option<&str> {
    packages.iter().find_map(|package| {
        let version = package.name.strip_prefix("linux-image-")?;
        // The package without a version only depends on the one with it.
        version
            .starts_with(|first: char| first.is_ascii_digit())
            .then_some(version)
    })
}

/// Modules that lie in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modules {
    /// The kernel that they are for.
    pub kernel: String,
    /// A hash over everything that decides what they are like.
    pub hash: String,
    /// Their files, `NAME.ko`, not compressed: unpacking is work for an emulated processor.
    pub files: Vec<PathBuf>,
}

impl Modules {
    /// Puts them where depmod(8) prefers them to the kernel's own, below a folder that becomes a tree's root.
    ///
    /// # Errors
    /// When a file cannot be copied.
    pub(super) fn copy_into(&self, root: &Path) -> Result<(), ToolError> {
        let folder = root.join("usr/lib/modules").join(&self.kernel).join("updates");
        create(&folder)?;
        for file in &self.files {
            let target = folder.join(file.file_name().unwrap_or_default());
            std::fs::copy(file, &target).map_err(|source| ToolError::io(format!("copy {}", file.display()), source))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Definitions;
    use crate::tools::package::named;

    fn zfs() -> ModuleDefinition {
        Definitions::built_in().module("zfs").unwrap()
    }

    const KERNEL: &str = "6.12.118+deb13-cloud-amd64";

    fn tree() -> Vec<Package> {
        [
            "zfs-dkms",
            "gcc-14-x86-64-linux-gnu",
            "linux-headers-6.12.118+deb13-cloud-amd64",
            "bash",
        ]
        .map(|name| named(name, "1"))
        .to_vec()
    }

    #[test]
    fn what_a_shell_would_not_take_for_a_name_is_refused() {
        let text = "description = \"x\"\nsource = \"zfs; rm\"\nmodules = []\npackages = []\ndecided-by = []\n";
        assert_eq!(
            ModuleDefinition::parse(text).unwrap_err(),
            "\"zfs; rm\" is no name of a package, source or module"
        );
    }

    #[test]
    fn the_headers_of_the_images_own_kernel_are_asked_for() {
        let request = zfs().request(KERNEL);
        assert_eq!(
            request.packages,
            ["zfs-dkms", "linux-headers-6.12.118+deb13-cloud-amd64"]
        );
    }

    #[test]
    fn the_kernels_version_is_read_from_its_package_and_not_from_the_one_that_depends_on_it() {
        let packages = [
            named("linux-image-cloud-amd64", "6.12.118-1"),
            named(&format!("linux-image-{KERNEL}"), "6.12.118-1"),
        ];
        assert_eq!(kernel_of(&packages), Some(KERNEL));
        assert_eq!(kernel_of(&packages[..1]), None);
    }

    #[test]
    fn another_version_of_source_compiler_or_headers_makes_other_modules() {
        let before = zfs().content_hash(KERNEL, &tree());
        for place in 0..3 {
            let mut other = tree();
            other[place].version = "2".into();
            assert_ne!(before, zfs().content_hash(KERNEL, &other), "{}", other[place].name);
        }
        assert_ne!(before, zfs().content_hash("6.12.119+deb13-cloud-amd64", &tree()));
    }

    #[test]
    fn another_shell_in_the_tree_makes_the_same_modules() {
        let mut other = tree();
        other[3].version = "2".into();
        assert_eq!(zfs().content_hash(KERNEL, &tree()), zfs().content_hash(KERNEL, &other));
    }

    #[test]
    fn a_whole_name_does_not_stand_for_longer_ones() {
        assert_eq!(
            zfs()
                .deciding(&[named("dkms-extra", "1"), named("binutils-common", "1")])
                .len(),
            1
        );
    }

    #[test]
    fn modules_lie_where_they_come_before_the_kernels_own() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("zfs.ko");
        std::fs::write(&file, "code").unwrap();
        let modules = Modules {
            kernel: KERNEL.into(),
            hash: String::new(),
            files: vec![file],
        };
        modules.copy_into(&home.path().join("files")).unwrap();
        let place = home
            .path()
            .join("files/usr/lib/modules")
            .join(KERNEL)
            .join("updates/zfs.ko");
        assert_eq!(std::fs::read_to_string(place).unwrap(), "code");
    }
}
