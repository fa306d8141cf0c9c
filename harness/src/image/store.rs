//! The images in the cache: finding, building, listing, removing.

use std::path::{Path, PathBuf};

use super::build::{DISK, INITRD, Job, KERNEL};
use super::{Definitions, Facts, Image, ImageError, ImageRole, content_hash};
use crate::progress::Progress;
use crate::tools::apt::Apt;
use crate::tools::builder::Builder;
use crate::tools::cache::remove_tree;
use crate::tools::mirror::Mirror;
use crate::tools::package::{Package, set_hash};
use crate::tools::{Cache, Supply, ToolError};

/// Name of the file with an image's facts.
const FACTS: &str = "image.json";

/// While a tree is installed it exists as a tree, as a copy of its packages and as a file system.
const SPACE_FACTOR: u64 = 14;

/// The images of one set of definitions.
#[derive(Debug, Clone)]
pub struct Store {
    /// Where packages come from.
    pub supply: Supply,
    definitions: Definitions,
}

/// An image that lies in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it is for.
    pub role: ImageRole,
    /// Its folder.
    pub folder: PathBuf,
    /// Bytes on disk.
    pub bytes: u64,
    /// Number of packages.
    pub packages: usize,
    /// Whether it is what the definitions ask for now.
    pub current: bool,
    /// Whether it was built from other versions than the lock's.
    pub differs_from_lock: bool,
}

impl Store {
    /// Opens the cache for a set of definitions; `locked` insists on the lock.
    ///
    /// # Errors
    /// When the lock cannot be read, the cache cannot be opened, or the host has no apt.
    pub async fn open(definitions: Definitions, locked: bool) -> Result<Self, ImageError> {
        let lock = definitions.lock().map_err(|reason| super::DefinitionError {
            file: "lock".into(),
            reason,
        })?;
        let environment = async {
            let cache = Cache::open()?;
            let apt = Apt::prepare(&cache, Mirror::of_host()).await?;
            Ok(Supply {
                cache,
                apt,
                lock,
                locked,
            })
        };
        let supply = environment.await.map_err(ImageError::tool("images"))?;
        Ok(Store { supply, definitions })
    }

    /// The definitions.
    pub fn definitions(&self) -> &Definitions {
        &self.definitions
    }

    /// Name of the folder that an image is looked for in: role and hash of definition and locked packages.
    fn name(&self, role: ImageRole) -> Result<String, ImageError> {
        let definition = self.definitions.of(role)?;
        let modules = self.locked_modules(role, &definition)?;
        let hash = content_hash(&definition, self.locked(&role.set()), &modules);
        Ok(format!("{role}-{}", &hash[..12]))
    }

    /// The packages that the lock has for a set; none if it does not know it.
    pub(super) fn locked(&self, set: &str) -> &[Package] {
        self.supply.lock.sets.get(set).map(Vec::as_slice).unwrap_or_default()
    }

    /// The image if the cache has it.
    ///
    /// # Errors
    /// When the definition cannot be read.
    pub fn find(&self, role: ImageRole) -> Result<Option<Image>, ImageError> {
        let folder = self.supply.cache.root().join("images").join(self.name(role)?);
        let facts = read_facts(&folder).filter(|facts| !(self.supply.locked && facts.differs_from_lock));
        Ok(facts.map(|facts| image(&folder, facts)))
    }

    /// The image, from the cache or built.
    ///
    /// # Errors
    /// When it can neither be found nor built; nothing half-made is left.
    pub async fn ensure(&self, role: ImageRole, progress: &Progress) -> Result<Image, ImageError> {
        if let Some(image) = self.find(role)? {
            return Ok(image);
        }
        let subject = format!("image {role}");
        let lock = self.supply.cache.lock(&role.set(), progress).await;
        let _lock = lock.map_err(ImageError::tool(&subject))?;
        if let Some(image) = self.find(role)? {
            return Ok(image);
        }
        self.build(role, progress).await
    }

    async fn build(&self, role: ImageRole, progress: &Progress) -> Result<Image, ImageError> {
        let definition = self.definitions.of(role)?;
        let (name, subject) = (self.name(role)?, format!("image {role}"));
        let prepare = async {
            let builder = Builder::ensure(&self.supply, progress).await?;
            let packages = self.supply.obtain(&role.set(), &definition.request(), progress).await?;
            Ok((builder, packages))
        };
        let (builder, packages) = prepare.await.map_err(ImageError::tool(&subject))?;
        let modules = self.modules(&definition, &packages, &builder, progress).await?;
        let hashes: Vec<String> = modules.iter().map(|modules| modules.hash.clone()).collect();
        let differs_from_lock = set_hash(self.locked(&role.set())) != set_hash(&packages)
            || self.locked_modules(role, &definition)? != hashes;
        let work = async {
            let bytes: u64 = packages.iter().map(|package| package.size).sum();
            self.supply.cache.require(bytes * SPACE_FACTOR)?;
            let phase = progress.phase(&subject, format!("installing {} packages", packages.len()));
            let staging = self.supply.cache.stage("images", &name)?;
            let job = Job {
                builder: &builder,
                apt: &self.supply.apt,
                definition: &definition,
                packages: &packages,
                modules: &modules,
                epoch: epoch(&self.supply.lock.snapshot),
                log: self.supply.cache.folder("logs")?.join(format!("{}.log", role.set())),
                folder: staging.path(),
            };
            job.run(&phase).await?;
            let facts = Facts {
                role,
                hash: content_hash(&definition, &packages, &hashes),
                build: format!("{:016x}", rand::random::<u64>()),
                command_line: definition.command_line(),
                packages: packages
                    .iter()
                    .map(|package| format!("{} {}", package.name, package.version))
                    .collect(),
                differs_from_lock,
                built_in_seconds: phase.elapsed().as_secs_f64(),
            };
            write_facts(staging.path(), &facts)?;
            let folder = staging.commit()?;
            phase.done(format!("{} MB on disk", disk_bytes(&folder) / 1_000_000));
            Ok(image(&folder, facts))
        };
        work.await.map_err(ImageError::tool(&subject))
    }

    /// Every image in the cache, also those of other definitions.
    ///
    /// # Errors
    /// When a definition cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, ImageError> {
        let current: Vec<String> = ImageRole::ALL
            .iter()
            .map(|role| self.name(*role))
            .collect::<Result<_, ImageError>>()?;
        let entries = std::fs::read_dir(self.supply.cache.root().join("images"))
            .into_iter()
            .flatten()
            .flatten();
        let mut listed: Vec<Listed> = entries
            .filter_map(|entry| {
                let facts = read_facts(&entry.path())?;
                Some(Listed {
                    role: facts.role,
                    bytes: disk_bytes(&entry.path()),
                    packages: facts.packages.len(),
                    current: current.iter().any(|name| entry.file_name() == name.as_str()),
                    differs_from_lock: facts.differs_from_lock,
                    folder: entry.path(),
                })
            })
            .collect();
        listed.sort_by(|a, b| (a.role, &a.folder).cmp(&(b.role, &b.folder)));
        Ok(listed)
    }

    /// Removes images, modules, tools and packages that the definitions and the lock do not ask for (with `all`, every
    /// one), and leftovers of builds that were killed. Returns the bytes that were freed.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub async fn prune(&self, all: bool, progress: &Progress) -> Result<u64, ImageError> {
        let mut doomed = Vec::new();
        for listed in self.list()? {
            if all || !listed.current {
                doomed.push((listed.role.set(), listed.folder));
            }
        }
        let root = self.supply.cache.root();
        let kept: Vec<&Package> = self.supply.lock.sets.values().flatten().collect();
        let wanted = |path: &Path| !all && kept.iter().any(|package| self.supply.apt.deb(package) == path);
        doomed.extend(
            entries(&root.join("debs"))
                .filter(|path| !wanted(path))
                .map(|path| ("debs".into(), path)),
        );
        let tools: Vec<String> = self
            .supply
            .lock
            .sets
            .iter()
            .map(|(set, packages)| format!("{set}-{}", &set_hash(packages)[..12]))
            .collect();
        let current = |path: &Path| {
            !all && path
                .file_name()
                .is_some_and(|name| tools.iter().any(|tool| name == tool.as_str()))
        };
        doomed.extend(
            entries(&root.join("tools"))
                .filter(|path| !current(path))
                .map(|path| ("tools".into(), path)),
        );
        let leftovers = entries(&root.join("images")).filter(|path| read_facts(path).is_none());
        doomed.extend(leftovers.map(|path| ("images".into(), path)));
        let modules = self.doomed_modules(all)?;
        doomed.extend(modules.into_iter().map(|path| ("modules".into(), path)));
        self.remove(doomed, progress).await.map_err(ImageError::tool("prune"))
    }

    async fn remove(&self, doomed: Vec<(String, PathBuf)>, progress: &Progress) -> Result<u64, ToolError> {
        // Nobody may be building while files go away under him.
        let mut locks = Vec::new();
        let modules = self.supply.lock.sets.keys().filter(|set| set.starts_with("module-"));
        // An image's builder takes the image's lock first, then those of its modules.
        for name in ImageRole::ALL.iter().map(|role| role.set()).chain(modules.cloned()) {
            locks.push(self.supply.cache.lock(&name, progress).await?);
        }
        let mut freed = 0;
        // What was half made when it was looked at may be whole by now, under its own name.
        for (_, path) in doomed.iter().filter(|(_, path)| path.exists()) {
            freed += disk_bytes(path);
            remove_tree(path)?;
        }
        Ok(freed)
    }
}

/// What lies in a folder, nothing if there is none.
pub(super) fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

fn image(folder: &Path, facts: Facts) -> Image {
    Image {
        role: facts.role,
        kernel: folder.join(KERNEL),
        initrd: folder.join(INITRD),
        disk: folder.join(DISK),
        command_line: facts.command_line,
        hash: facts.hash,
        build: facts.build,
    }
}

fn read_facts(folder: &Path) -> Option<Facts> {
    let hidden = folder.file_name()?.to_string_lossy().starts_with('.');
    let complete = [DISK, KERNEL, INITRD].iter().all(|name| folder.join(name).exists());
    let text = std::fs::read_to_string(folder.join(FACTS)).ok()?;
    (complete && !hidden)
        .then(|| serde_json::from_str(&text).ok())
        .flatten()
}

fn write_facts(folder: &Path, facts: &Facts) -> Result<(), ToolError> {
    let text =
        serde_json::to_string_pretty(facts).map_err(|error| ToolError::io("describe the image", error.into()))?;
    let path = folder.join(FACTS);
    std::fs::write(&path, text).map_err(|source| ToolError::io(format!("write {}", path.display()), source))
}

/// Bytes that a file or folder really occupies.
pub fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(meta) = std::fs::symlink_metadata(path) else {
        return 0;
    };
    let own = meta.blocks() * 512;
    if meta.is_dir() {
        own + entries(path).map(|path| disk_bytes(&path)).sum::<u64>()
    } else {
        own
    }
}

/// Seconds since 1970 of a snapshot's name, the start of 2026 when there is none.
pub(super) fn epoch(snapshot: &str) -> u64 {
    const START_OF_2026: u64 = 1_767_225_600;
    let parse = || {
        let (year, month, day) = (snapshot.get(0..4)?, snapshot.get(4..6)?, snapshot.get(6..8)?);
        let (hour, minute, second) = (snapshot.get(9..11)?, snapshot.get(11..13)?, snapshot.get(13..15)?);
        let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
        let time = humantime::parse_rfc3339(&text).ok()?;
        Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs())
    };
    parse().unwrap_or(START_OF_2026)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_name_is_a_time() {
        assert_eq!(epoch("20261121T091544Z"), 1_795_252_544);
        assert_eq!(epoch(""), 1_767_225_600);
    }

    #[test]
    fn an_image_without_its_kernel_is_none() {
        let home = tempfile::tempdir().unwrap();
        let facts = Facts {
            role: ImageRole::Mail,
            hash: "x".into(),
            build: "b".into(),
            command_line: String::new(),
            packages: Vec::new(),
            differs_from_lock: false,
            built_in_seconds: 1.0,
        };
        write_facts(home.path(), &facts).unwrap();
        for name in [DISK, INITRD] {
            std::fs::write(home.path().join(name), "x").unwrap();
        }
        assert_eq!(read_facts(home.path()), None);
        std::fs::write(home.path().join(KERNEL), "x").unwrap();
        // A temporary folder's name begins with a dot, as a staging folder's does.
        let place = tempfile::Builder::new().prefix("image-").tempdir().unwrap();
        for name in [DISK, INITRD, KERNEL, FACTS] {
            std::fs::copy(home.path().join(name), place.path().join(name)).unwrap();
        }
        assert_eq!(read_facts(place.path()), Some(facts));
    }
}
