//! Writing the lock: every set resolved by the archives of now, in one look, so that the sets agree with each other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{DefinitionError, Definitions, ImageError, ImageRole, Store, module};
use crate::progress::Progress;
use crate::tools::apt::Request;
use crate::tools::package::{Lock, differences};
use crate::tools::{ToolError, builder, qemu};

/// What changed in the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updated {
    /// The file that was written.
    pub file: PathBuf,
    /// The new lock.
    pub lock: Lock,
    /// Differences a set, only of sets that have some.
    pub changes: BTreeMap<String, Vec<String>>,
}

/// Resolves every set anew and writes the lock into the definitions' folder, or into this repository when the built-in
/// definitions are used.
///
/// # Errors
/// When the mirror fails, a definition cannot be met, or the file cannot be written.
pub async fn update(store: &Store, progress: &Progress) -> Result<Updated, ImageError> {
    let definitions = store.definitions();
    let file = place(definitions).ok_or_else(|| DefinitionError {
        file: "vm-images/lock.toml".into(),
        reason: "the definitions are built in and their folder is not here; name one with --images DIR".into(),
    })?;
    let lock = resolve(store, progress).await?;
    let changes = lock
        .sets
        .iter()
        .map(|(set, packages)| {
            let old = store.supply.lock.sets.get(set).map(Vec::as_slice).unwrap_or_default();
            (set.clone(), differences(old, packages))
        })
        .filter(|(_, changes)| !changes.is_empty())
        .collect();
    let partial = file.with_extension("toml.partial");
    std::fs::write(&partial, lock.to_text())
        .and_then(|()| std::fs::rename(&partial, &file))
        .map_err(|source| ToolError::io(format!("write {}", file.display()), source))
        .map_err(ImageError::tool("lock"))?;
    Ok(Updated { file, lock, changes })
}

async fn resolve(store: &Store, progress: &Progress) -> Result<Lock, ImageError> {
    let apt = &store.supply.apt;
    apt.update(&store.supply.cache, progress)
        .await
        .map_err(ImageError::tool("lock"))?;
    let mut wanted: Vec<(String, Request)> = vec![
        (qemu::SET.into(), qemu::request()),
        (builder::SET.into(), builder::request()),
    ];
    for role in ImageRole::ALL {
        wanted.push((role.set(), store.definitions().of(role)?.request()));
    }
    let mut lock = Lock {
        snapshot: apt.snapshot(),
        sets: BTreeMap::new(),
    };
    for (set, request) in wanted {
        let packages = apt.resolve(&request).await.map_err(ImageError::tool(&set))?;
        lock.sets.insert(set, packages);
    }
    for role in ImageRole::ALL {
        resolve_modules(store, role, &mut lock).await?;
    }
    Ok(lock)
}

/// The sets that an image's kernel modules are built from, for the kernel that the image has by the new lock.
async fn resolve_modules(store: &Store, role: ImageRole, lock: &mut Lock) -> Result<(), ImageError> {
    for name in store.definitions().of(role)?.kernel_modules {
        let definition = store.definitions().module(&name)?;
        let Some(kernel) = module::kernel_of(&lock.sets[&role.set()]) else {
            return Err(DefinitionError {
                file: format!("{role}.toml"),
                reason: format!("kernel-modules = [\"{name}\"], and no package brings a kernel"),
            }
            .into());
        };
        let (set, request) = (module::set(&name), definition.request(kernel));
        let packages = store.supply.apt.resolve(&request).await;
        lock.sets.insert(set.clone(), packages.map_err(ImageError::tool(&set))?);
    }
    Ok(())
}

/// Where the lock belongs.
fn place(definitions: &Definitions) -> Option<PathBuf> {
    let repository = || {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../vm-images")
            .canonicalize()
            .ok()
    };
    definitions
        .folder()
        .map(PathBuf::from)
        .or_else(repository)
        .map(|folder| folder.join("lock.toml"))
}
