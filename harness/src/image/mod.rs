//! Disk images of the machines, one a role: built from the definitions in `vm-images/`, kept in the cache under a hash
//! of what went in, handed out as read-only bases that machines put a thin overlay on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub mod build;
pub mod definition;
pub mod lock;
pub mod module;
pub mod namespace;
mod script;
pub mod store;
mod tree;

pub use definition::{Definition, DefinitionError, Definitions, ImageRole};
pub use store::Store;

use crate::progress::Progress;
use crate::tools::command::run;
use crate::tools::package::{Package, set_hash};
use crate::tools::{Qemu, ToolError};

/// An image that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What it is for.
    pub role: ImageRole,
    /// The kernel, uncompressed, for QEMU's `-kernel`: it is entered by the PVH protocol.
    pub kernel: PathBuf,
    /// The initial RAM disk, for `-initrd`.
    pub initrd: PathBuf,
    /// The disk: an ext4 file system without partitions, raw, never to be written to. Machines use an [`overlay`].
    pub disk: PathBuf,
    /// The kernel's command line, for `-append`; root is the first virtio disk.
    pub command_line: String,
    /// A hash over definition, packages and builder: equal for images of equal content.
    pub hash: String,
    /// Which building it came from. Images of equal content have the same files, but not in the same blocks: a disk that was
    /// laid over one of them is of no use over another.
    pub build: String,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A definition is wrong.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// A tool, a package, the disk or the mirror fails.
    #[error("{subject}: {source}")]
    Tool {
        /// `image mail`.
        subject: String,
        /// What happened.
        source: ToolError,
    },
}

impl ImageError {
    /// The exit status that it stands for: 3 for bad input, 4 for the environment.
    pub fn exit_status(&self) -> u8 {
        match self {
            ImageError::Definition(_) => 3,
            ImageError::Tool { .. } => 4,
        }
    }

    fn tool(subject: impl Into<String>) -> impl FnOnce(ToolError) -> Self {
        let subject = subject.into();
        move |source| ImageError::Tool { subject, source }
    }
}

/// How many images are built at a time: installing is mostly one process, so two keep two cores busy.
const PARALLEL_BUILDS: usize = 2;

/// Making a thin disk writes a few kilobytes.
const DISK_DEADLINE: Duration = Duration::from_secs(60);

/// The image of a role, from the cache or built, by the definitions and the lock that come with this program.
///
/// # Errors
/// When it can neither be found nor built.
pub async fn ensure(role: impl Into<ImageRole>, progress: &Progress) -> Result<Image, ImageError> {
    Store::open(Definitions::built_in(), false)
        .await?
        .ensure(role.into(), progress)
        .await
}

/// The images of several roles, two built at a time, in the order asked for.
///
/// # Errors
/// The first that cannot be had.
pub async fn ensure_all(store: &Store, roles: &[ImageRole], progress: &Progress) -> Result<Vec<Image>, ImageError> {
    let builds = roles.iter().enumerate().map(|(place, role)| async move {
        let image = store.ensure(*role, progress).await?;
        Ok::<_, ImageError>((place, image))
    });
    // Unordered, so that a slow image does not keep the next one from being begun.
    let mut images: Vec<(usize, Image)> = stream::iter(builds)
        .buffer_unordered(PARALLEL_BUILDS)
        .try_collect()
        .await?;
    images.sort_by_key(|(place, _)| *place);
    Ok(images.into_iter().map(|(_, image)| image).collect())
}

/// Makes a thin writable disk on top of an image, at a path that does not exist yet.
///
/// # Errors
/// When qemu-img fails.
pub async fn overlay(qemu: &Qemu, image: &Image, path: &Path) -> Result<(), ToolError> {
    overlay_on(qemu, &image.disk, "raw", path).await
}

/// Makes a thin writable disk on top of another one of this format, which must not change any more.
///
/// # Errors
/// When qemu-img fails.
pub async fn overlay_on(qemu: &Qemu, base: &Path, format: &str, path: &Path) -> Result<(), ToolError> {
    let mut command = qemu.img.command();
    command
        .args(["create", "-q", "-f", "qcow2", "-F", format, "-b"])
        .arg(base)
        .arg(path);
    run(&format!("make the disk {}", path.display()), command, DISK_DEADLINE)
        .await
        .map(|_| ())
}

/// Makes a thin, empty disk of `mib` MiB at a path that does not exist yet.
///
/// # Errors
/// When qemu-img fails.
pub async fn empty_disk(qemu: &Qemu, mib: u64, path: &Path) -> Result<(), ToolError> {
    let mut command = qemu.img.command();
    command
        .args(["create", "-q", "-f", "qcow2"])
        .arg(path)
        .arg(format!("{mib}M"));
    run(&format!("make the disk {}", path.display()), command, DISK_DEADLINE)
        .await
        .map(|_| ())
}

/// What lies beside an image's files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Facts {
    role: ImageRole,
    hash: String,
    build: String,
    command_line: String,
    packages: Vec<String>,
    differs_from_lock: bool,
    built_in_seconds: f64,
}

/// Version of the builder: raise it when equal inputs give another image.
const BUILDER_FORMAT: u32 = 3;

/// A hash over definition, packages, modules that were built (their hashes) and builder.
fn content_hash(definition: &Definition, packages: &[Package], modules: &[String]) -> String {
    let parts: Vec<String> = [BUILDER_FORMAT.to_string(), definition.hash(), set_hash(packages)]
        .into_iter()
        .chain(modules.iter().cloned())
        .collect();
    hex::encode(Sha256::digest(parts.join("|")))
}
