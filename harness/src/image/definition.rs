//! What an image contains, as data: the files of `vm-images/`, which are part of this program and can be replaced by a
//! folder. Pure: reads text, gives values and their hash.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::module::ModuleDefinition;
use crate::tools::apt::Request;
use crate::tools::package::Lock;

/// How the names of files end that define kernel modules.
const MODULE_ENDING: &str = "-module.toml";

/// The images there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ImageRole {
    /// A bare Debian that every other image extends.
    Base,
    /// A mail node.
    Mail,
    /// A gateway.
    Gateway,
    /// A load balancer.
    LoadBalancer,
}

impl ImageRole {
    /// All of them, the slowest to build first.
    pub const ALL: [ImageRole; 4] = [
        ImageRole::Mail,
        ImageRole::Gateway,
        ImageRole::LoadBalancer,
        ImageRole::Base,
    ];

    /// The name in files and on the command line: `load-balancer`.
    pub fn as_str(self) -> &'static str {
        match self {
            ImageRole::Base => "base",
            ImageRole::Mail => "mail",
            ImageRole::Gateway => "gateway",
            ImageRole::LoadBalancer => "load-balancer",
        }
    }

    /// Name of its package set in the lock.
    pub fn set(self) -> String {
        format!("image-{}", self.as_str())
    }
}

impl std::fmt::Display for ImageRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<generator::spec::Role> for ImageRole {
    fn from(role: generator::spec::Role) -> Self {
        match role {
            generator::spec::Role::Mail => ImageRole::Mail,
            generator::spec::Role::Gateway => ImageRole::Gateway,
            generator::spec::Role::LoadBalancer => ImageRole::LoadBalancer,
        }
    }
}

/// One image's contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Definition {
    /// One line for people.
    pub description: String,
    /// Size of the disk in MiB; it is sparse.
    pub disk_mib: u64,
    /// Debian packages; what they depend on comes with them, what they recommend does not.
    pub packages: Vec<String>,
    /// Answers to packages' questions: `package question type value` (debconf-set-selections(1)).
    #[serde(default)]
    pub debconf: Vec<String>,
    /// Kernel modules that are needed before the disk can be mounted.
    #[serde(default)]
    pub initramfs_modules: Vec<String>,
    /// Definitions of kernel modules that are built from source: `zfs` for `zfs-module.toml`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_modules: Vec<String>,
    /// The kernel's parameters.
    #[serde(default)]
    pub kernel_parameters: Vec<String>,
    /// Units that start at boot.
    #[serde(default)]
    pub enable: Vec<String>,
    /// Units of the packages that do not start until the node's files turn them on.
    #[serde(default)]
    pub disable: Vec<String>,
    /// Units that never start.
    #[serde(default)]
    pub mask: Vec<String>,
    /// Files by absolute path, with their content.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Shell commands that are run in the tree at last.
    #[serde(default)]
    pub commands: Vec<String>,
}

impl Definition {
    /// This definition on top of the base.
    fn on(self, base: &Definition) -> Definition {
        let join = |base: &[String], own: Vec<String>| base.iter().cloned().chain(own).collect();
        Definition {
            description: self.description,
            disk_mib: self.disk_mib,
            packages: join(&base.packages, self.packages),
            debconf: join(&base.debconf, self.debconf),
            initramfs_modules: join(&base.initramfs_modules, self.initramfs_modules),
            kernel_modules: join(&base.kernel_modules, self.kernel_modules),
            kernel_parameters: join(&base.kernel_parameters, self.kernel_parameters),
            enable: join(&base.enable, self.enable),
            disable: join(&base.disable, self.disable),
            mask: join(&base.mask, self.mask),
            files: base.files.clone().into_iter().chain(self.files).collect(),
            commands: join(&base.commands, self.commands),
        }
    }

    /// What has to be asked of the package archives.
    pub fn request(&self) -> Request {
        Request {
            packages: self.packages.clone(),
            bare: Vec::new(),
            essential: true,
        }
    }

    /// A hash over everything in it.
    pub fn hash(&self) -> String {
        // A structure of strings, numbers and sorted maps always has a JSON form.
        hex::encode(Sha256::digest(serde_json::to_vec(self).unwrap_or_default()))
    }

    /// The kernel's command line.
    pub fn command_line(&self) -> String {
        self.kernel_parameters.join(" ")
    }
}

/// The definitions of all images and the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definitions {
    files: BTreeMap<String, String>,
    folder: Option<PathBuf>,
}

/// Why a definition cannot be used: the input is bad, exit status 3.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct DefinitionError {
    /// The file.
    pub file: String,
    /// Line, place and reason.
    pub reason: String,
}

impl Definitions {
    /// Those that this program was built with.
    pub fn built_in() -> Self {
        let files = [
            ("base.toml", include_str!("../../../vm-images/base.toml")),
            ("mail.toml", include_str!("../../../vm-images/mail.toml")),
            ("gateway.toml", include_str!("../../../vm-images/gateway.toml")),
            (
                "load-balancer.toml",
                include_str!("../../../vm-images/load-balancer.toml"),
            ),
            ("zfs-module.toml", include_str!("../../../vm-images/zfs-module.toml")),
            ("lock.toml", include_str!("../../../vm-images/lock.toml")),
        ];
        let files = files
            .into_iter()
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .collect();
        Definitions { files, folder: None }
    }

    /// Those of a folder with the same file names, and what lies there as `NAME-module.toml`. A missing lock is an empty
    /// one.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of_folder(folder: &Path) -> Result<Self, DefinitionError> {
        let mut files = BTreeMap::new();
        let images = ImageRole::ALL.iter().map(|role| format!("{role}.toml"));
        for name in images.chain(module_files(folder)) {
            let path = folder.join(&name);
            let text = std::fs::read_to_string(&path).map_err(|error| DefinitionError {
                file: path.display().to_string(),
                reason: error.to_string(),
            })?;
            files.insert(name, text);
        }
        if let Ok(text) = std::fs::read_to_string(folder.join("lock.toml")) {
            files.insert("lock.toml".into(), text);
        }
        Ok(Definitions {
            files,
            folder: Some(folder.to_owned()),
        })
    }

    /// The folder they were read from, if any.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    fn shown(&self, name: &str) -> String {
        self.folder.as_ref().map_or_else(
            || format!("vm-images/{name}"),
            |folder| folder.join(name).display().to_string(),
        )
    }

    fn read(&self, role: ImageRole) -> Result<Definition, DefinitionError> {
        let name = format!("{role}.toml");
        let text = self.files.get(&name).map_or("", String::as_str);
        toml::from_str(text)
            .map_err(|error| DefinitionError {
                file: self.shown(&name),
                reason: error.to_string(),
            })
            .and_then(|definition| check(definition, &self.shown(&name)))
    }

    /// The complete definition of an image.
    ///
    /// # Errors
    /// When a file is no definition, with line and place.
    pub fn of(&self, role: ImageRole) -> Result<Definition, DefinitionError> {
        let base = self.read(ImageRole::Base)?;
        if role == ImageRole::Base {
            Ok(base)
        } else {
            Ok(self.read(role)?.on(&base))
        }
    }

    /// The definition of kernel modules that are built from source.
    ///
    /// # Errors
    /// When there is none of this name, or the file is no definition, with line and place.
    pub fn module(&self, name: &str) -> Result<ModuleDefinition, DefinitionError> {
        let file = format!("{name}{MODULE_ENDING}");
        let bad = |reason: String| DefinitionError {
            file: self.shown(&file),
            reason,
        };
        let text = self
            .files
            .get(&file)
            .ok_or_else(|| bad("there is no such file".into()))?;
        ModuleDefinition::parse(text).map_err(bad)
    }

    /// The lock.
    ///
    /// # Errors
    /// A sentence when it cannot be read.
    pub fn lock(&self) -> Result<Lock, String> {
        self.files.get("lock.toml").map_or_else(
            || Ok(Lock::default()),
            |text| Lock::parse(text).map_err(|reason| format!("{}: {reason}", self.shown("lock.toml"))),
        )
    }
}

/// Finds what types do not forbid.
fn check(definition: Definition, file: &str) -> Result<Definition, DefinitionError> {
    let bad = |reason: String| DefinitionError {
        file: file.to_owned(),
        reason,
    };
    if let Some(path) = definition
        .files
        .keys()
        .find(|path| !path.starts_with('/') || path.contains("/../"))
    {
        return Err(bad(format!(
            "[files] \"{path}\": a path begins with / and has no .. in it"
        )));
    }
    let words = [
        &definition.packages,
        &definition.kernel_modules,
        &definition.enable,
        &definition.disable,
        &definition.mask,
    ];
    if let Some(name) = words.into_iter().flatten().find(is_no_word) {
        return Err(bad(format!("\"{name}\" is no name of a package, unit or module")));
    }
    Ok(definition)
}

/// Whether something that scripts and programs take for a name is none.
pub(super) fn is_no_word(name: &&String) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '@' | '_' | '\\');
    name.is_empty() || !name.chars().all(allowed)
}

/// Names of the files in a folder that define kernel modules.
fn module_files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(MODULE_ENDING))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::module::{self, kernel_of};

    #[test]
    fn every_built_in_image_has_the_agent_and_what_is_its_own() {
        for (role, own) in [
            (ImageRole::Base, "systemd-sysv"),
            (ImageRole::Mail, "mariadb-server"),
            (ImageRole::Gateway, "postfix"),
            (ImageRole::LoadBalancer, "haproxy"),
            (ImageRole::LoadBalancer, "keepalived"),
        ] {
            let packages = Definitions::built_in().of(role).unwrap().packages;
            for name in ["qemu-guest-agent", "linux-image-cloud-amd64", own] {
                assert!(packages.iter().any(|package| package == name), "{role} lacks {name}");
            }
        }
    }

    #[test]
    fn the_lock_covers_every_built_in_image_and_the_tools() {
        let definitions = Definitions::built_in();
        let lock = definitions.lock().unwrap();
        for role in ImageRole::ALL {
            let set = lock
                .sets
                .get(&role.set())
                .unwrap_or_else(|| panic!("the lock lacks {role}"));
            assert!(
                definitions.of(role).unwrap().request().is_met_by(set),
                "the lock of {role} is stale"
            );
        }
        let mail = definitions.of(ImageRole::Mail).unwrap();
        let kernel = kernel_of(&lock.sets[&ImageRole::Mail.set()]).unwrap();
        for name in mail.kernel_modules {
            let request = definitions.module(&name).unwrap().request(kernel);
            assert!(
                request.is_met_by(&lock.sets[&module::set(&name)]),
                "the lock of {name} is stale"
            );
        }
        assert!(crate::tools::qemu::request().is_met_by(&lock.sets[crate::tools::qemu::SET]));
        assert!(crate::tools::builder::request().is_met_by(&lock.sets[crate::tools::builder::SET]));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line() {
        let home = tempfile::tempdir().unwrap();
        for role in ImageRole::ALL {
            std::fs::write(
                home.path().join(format!("{role}.toml")),
                "description = \"x\"\ndisk-mib = 1\npackages = []\npakages = []\n",
            )
            .unwrap();
        }
        let error = Definitions::of_folder(home.path())
            .unwrap()
            .of(ImageRole::Mail)
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 4") && error.contains("pakages"), "{error}");
    }

    #[test]
    fn a_file_outside_the_tree_is_refused() {
        let definition = Definition {
            files: BTreeMap::from([("/etc/../../x".into(), String::new())]),
            ..Definitions::built_in().of(ImageRole::Base).unwrap()
        };
        assert!(check(definition, "x.toml").is_err());
    }

    #[test]
    fn the_hash_changes_with_any_content() {
        let base = Definitions::built_in().of(ImageRole::Base).unwrap();
        let mut other = base.clone();
        other.mask.push("x.timer".into());
        assert_ne!(base.hash(), other.hash());
    }
}
