//! Built modules in the cache: finding, building, listing.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::build::Job;
use super::{ModuleDefinition, Modules, kernel_of, set};
use crate::image::definition::Definition;
use crate::image::store::{disk_bytes, entries, epoch};
use crate::image::tree::{Tree, write};
use crate::image::{DefinitionError, ImageError, ImageRole, Store};
use crate::progress::Progress;
use crate::tools::ToolError;
use crate::tools::builder::Builder;
use crate::tools::package::Package;

/// The folder in the cache.
const FOLDER: &str = "modules";
/// Name of the file with the facts of a build.
const FACTS: &str = "module.json";
/// The tree, unpacked, takes about this many times the size of its packages.
const SPACE_FACTOR: u64 = 7;

/// What lies beside the modules of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Facts {
    name: String,
    kernel: String,
    hash: String,
    files: Vec<String>,
    decided_by: Vec<String>,
    built_in_seconds: f64,
}

/// Modules in the cache, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedModules {
    /// Name of their definition.
    pub name: String,
    /// The kernel that they are for.
    pub kernel: String,
    /// Their folder.
    pub folder: PathBuf,
    /// Bytes on disk.
    pub bytes: u64,
    /// Whether an image of the definitions and the lock asks for them.
    pub current: bool,
}

impl Store {
    /// The modules that an image needs, from the cache or built; `packages` are the image's.
    ///
    /// # Errors
    /// When they can neither be found nor built; nothing half-made is left.
    pub(in crate::image) async fn modules(
        &self,
        definition: &Definition,
        packages: &[Package],
        builder: &Builder,
        progress: &Progress,
    ) -> Result<Vec<Modules>, ImageError> {
        let mut all = Vec::new();
        for name in &definition.kernel_modules {
            let module = self.definitions().module(name)?;
            let built = self.ensure_modules(name, &module, kernel_of(packages), builder, progress);
            all.push(built.await.map_err(ImageError::tool(format!("modules {name}")))?);
        }
        Ok(all)
    }

    async fn ensure_modules(
        &self,
        name: &str,
        module: &ModuleDefinition,
        kernel: Option<&str>,
        builder: &Builder,
        progress: &Progress,
    ) -> Result<Modules, ToolError> {
        let kernel = kernel.ok_or_else(|| ToolError::Failed {
            step: "find the version of the image's kernel".into(),
            reason: "no package linux-image-VERSION is among the image's".into(),
            output: String::new(),
        })?;
        let request = module.request(kernel);
        let locked = self.locked(&set(name));
        if request.is_met_by(locked)
            && let Some(modules) = self.find_modules(name, &module.content_hash(kernel, locked))
        {
            return Ok(modules);
        }
        let _lock = self.supply.cache.lock(&set(name), progress).await?;
        let packages = self.supply.obtain(&set(name), &request, progress).await?;
        // Another harness may have built it while this one waited.
        match self.find_modules(name, &module.content_hash(kernel, &packages)) {
            Some(modules) => Ok(modules),
            None => {
                self.build_modules((name, module), kernel, &packages, builder, progress)
                    .await
            }
        }
    }

    async fn build_modules(
        &self,
        (name, module): (&str, &ModuleDefinition),
        kernel: &str,
        packages: &[Package],
        builder: &Builder,
        progress: &Progress,
    ) -> Result<Modules, ToolError> {
        let bytes: u64 = packages.iter().map(|package| package.size).sum();
        self.supply.cache.require(bytes * SPACE_FACTOR)?;
        let phase = progress.phase(
            format!("modules {name}"),
            format!("building for {kernel}, once for each version"),
        );
        let hash = module.content_hash(kernel, packages);
        let staging = self.supply.cache.stage(FOLDER, &folder_name(name, &hash))?;
        let job = Job {
            definition: module,
            kernel,
            tree: Tree {
                builder,
                apt: &self.supply.apt,
                packages,
                epoch: epoch(&self.supply.lock.snapshot),
                work: staging.path().join("work"),
            },
            log: &self.supply.cache.folder("logs")?.join(format!("{}.log", set(name))),
        };
        job.run(staging.path(), &phase).await?;
        let deciding = module.deciding(packages);
        let facts = Facts {
            name: name.to_owned(),
            kernel: kernel.to_owned(),
            hash,
            files: module.modules.iter().map(|name| format!("{name}.ko")).collect(),
            decided_by: deciding
                .iter()
                .map(|package| format!("{} {}", package.name, package.version))
                .collect(),
            built_in_seconds: phase.elapsed().as_secs_f64(),
        };
        let text = serde_json::to_string_pretty(&facts)
            .map_err(|error| ToolError::io("describe the modules", error.into()))?;
        write(&staging.path().join(FACTS), &text)?;
        let folder = staging.commit()?;
        phase.done(format!("{} MB", disk_bytes(&folder) / 1_000_000));
        Ok(modules(&folder, facts))
    }

    fn find_modules(&self, name: &str, hash: &str) -> Option<Modules> {
        let folder = self.supply.cache.root().join(FOLDER).join(folder_name(name, hash));
        read_facts(&folder).map(|facts| modules(&folder, facts))
    }

    /// Hashes of the modules that an image needs by the lock, in the definition's order.
    pub(in crate::image) fn locked_modules(
        &self,
        role: ImageRole,
        definition: &Definition,
    ) -> Result<Vec<String>, DefinitionError> {
        let kernel = kernel_of(self.locked(&role.set())).unwrap_or_default();
        let hash = |name: &String| {
            let module = self.definitions().module(name)?;
            Ok(module.content_hash(kernel, self.locked(&set(name))))
        };
        definition.kernel_modules.iter().map(hash).collect()
    }

    /// All modules in the cache, also those of other definitions.
    ///
    /// # Errors
    /// When a definition cannot be read.
    pub fn list_modules(&self) -> Result<Vec<ListedModules>, ImageError> {
        let mut current = Vec::new();
        for role in ImageRole::ALL {
            current.extend(self.locked_modules(role, &self.definitions().of(role)?)?);
        }
        let listed = |folder: PathBuf| {
            let facts = read_facts(&folder)?;
            Some(ListedModules {
                current: current.contains(&facts.hash),
                name: facts.name,
                kernel: facts.kernel,
                bytes: disk_bytes(&folder),
                folder,
            })
        };
        let mut all: Vec<ListedModules> = self.module_folders().filter_map(listed).collect();
        all.sort_by(|a, b| a.folder.cmp(&b.folder));
        Ok(all)
    }

    /// Folders of modules that no image asks for (with `all`, every one), and leftovers of builds that were killed.
    pub(in crate::image) fn doomed_modules(&self, all: bool) -> Result<Vec<PathBuf>, ImageError> {
        let kept: Vec<PathBuf> = self
            .list_modules()?
            .into_iter()
            .filter(|listed| listed.current && !all)
            .map(|listed| listed.folder)
            .collect();
        Ok(self.module_folders().filter(|folder| !kept.contains(folder)).collect())
    }

    fn module_folders(&self) -> impl Iterator<Item = PathBuf> + use<> {
        entries(&self.supply.cache.root().join(FOLDER))
    }
}

fn folder_name(name: &str, hash: &str) -> String {
    format!("{name}-{}", &hash[..12])
}

fn modules(folder: &Path, facts: Facts) -> Modules {
    Modules {
        files: facts.files.iter().map(|file| folder.join(file)).collect(),
        kernel: facts.kernel,
        hash: facts.hash,
    }
}

/// The facts of a folder that holds everything that they name.
fn read_facts(folder: &Path) -> Option<Facts> {
    let facts: Facts = serde_json::from_str(&std::fs::read_to_string(folder.join(FACTS)).ok()?).ok()?;
    let hidden = folder.file_name()?.to_string_lossy().starts_with('.');
    let complete = facts.files.iter().all(|file| folder.join(file).exists());
    (complete && !hidden).then_some(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            name: "zfs".into(),
            kernel: "6.12.118+deb13-cloud-amd64".into(),
            hash: "0123456789abcdef".into(),
            files: vec!["spl.ko".into(), "zfs.ko".into()],
            decided_by: vec!["zfs-dkms 2.3.9-0+deb13u1".into()],
            built_in_seconds: 243.7,
        }
    }

    fn build(folder: &Path, files: &[&str]) {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join(FACTS), serde_json::to_string(&facts()).unwrap()).unwrap();
        for file in files {
            std::fs::write(folder.join(file), "code").unwrap();
        }
    }

    #[test]
    fn a_build_that_lacks_a_module_is_none() {
        let home = tempfile::tempdir().unwrap();
        let (whole, half) = (
            home.path().join("zfs-0123456789ab"),
            home.path().join("zfs-ba9876543210"),
        );
        build(&whole, &["spl.ko", "zfs.ko"]);
        build(&half, &["spl.ko"]);
        assert_eq!(read_facts(&whole), Some(facts()));
        assert_eq!(read_facts(&half), None);
    }

    #[test]
    fn a_build_under_way_is_none() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".zfs-0123456789ab.partial");
        build(&folder, &["spl.ko", "zfs.ko"]);
        assert_eq!(read_facts(&folder), None);
    }
}
