//! The programs that the harness uses: QEMU and the image builder. They are taken from the host when they are there and
//! recent enough, else fetched from Debian into the cache, without root and without touching the host's packages.

use std::path::PathBuf;

pub mod accelerator;
pub mod agent;
pub mod apt;
pub mod builder;
pub mod cache;
pub mod command;
mod download;
pub mod mirror;
pub mod package;
pub mod qemu;
pub mod root;
pub mod supply;

pub use accelerator::{Accelerator, Kind};
pub use cache::Cache;
pub use command::Program;
pub use qemu::Qemu;
pub use supply::Supply;

use crate::progress::Progress;

/// Why a tool or package is not to be had: always the environment's fault, exit status 4.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// Something has to be installed or set by the user.
    #[error("missing: {what}\n  mend it with: {mend}")]
    Missing {
        /// What.
        what: String,
        /// The exact command.
        mend: String,
    },
    /// A program that was run ended badly.
    #[error("cannot {step}: {reason}{output}")]
    Failed {
        /// What was being done.
        step: String,
        /// Its exit status, or the deadline that passed.
        reason: String,
        /// Its last lines.
        output: String,
    },
    /// The operating system refused something.
    #[error("cannot {step}: {source}")]
    Io {
        /// What was being done.
        step: String,
        /// What it said.
        source: std::io::Error,
    },
    /// Too little room for what is to be made.
    #[error(
        "too little room in {}: {} MB are needed, {} MB are free\n  mend it with: harness image prune, or export HARNESS_CACHE=/a/larger/disk",
        place.display(), need / 1_000_000, free / 1_000_000
    )]
    Space {
        /// Where.
        place: PathBuf,
        /// Bytes needed.
        need: u64,
        /// Bytes free.
        free: u64,
    },
    /// The package mirror does not answer as it should.
    #[error(
        "the package mirror {address} fails:{reason}\n  mend it with: a working network or proxy (apt's Acquire::http::Proxy is honoured), or export HARNESS_MIRROR=http://another/debian"
    )]
    Mirror {
        /// Its address.
        address: String,
        /// What apt said.
        reason: String,
    },
    /// The lock is insisted on, and names package versions that are nowhere to be had.
    #[error(
        "{set}: no longer on the mirror{}:\n    {}\n  mend it with: harness image build --update-lock",
        " nor on snapshot.debian.org", packages.join("\n    ")
    )]
    Vanished {
        /// The set of packages.
        set: String,
        /// Names and versions.
        packages: Vec<String>,
    },
    /// The lock is insisted on and does not cover what a definition asks for.
    #[error(
        "{set}: the lock does not have every package that the definition asks for\n  mend it with: harness image build --update-lock"
    )]
    NotInLock {
        /// The set of packages.
        set: String,
    },
}

impl ToolError {
    /// The same with more output of the program that failed.
    pub(crate) fn with(self, more: &str) -> Self {
        match self {
            ToolError::Failed { step, reason, output } => ToolError::Failed {
                step,
                reason,
                output: format!("{output}{more}"),
            },
            other => other,
        }
    }

    /// The error of an operation of the operating system; a full disk is told as such by its own text.
    pub(crate) fn io(step: impl Into<String>, source: std::io::Error) -> Self {
        ToolError::Io {
            step: step.into(),
            source,
        }
    }
}

/// QEMU, from the host or fetched, by the lock that comes with this program.
///
/// # Errors
/// When it cannot be had.
pub async fn qemu(progress: &Progress) -> Result<Qemu, ToolError> {
    Qemu::ensure(&supply().await?, progress).await
}

/// The accelerator for this QEMU on this host, decided by running a guest.
///
/// # Errors
/// When none works.
pub async fn accelerator(qemu: &Qemu, progress: &Progress) -> Result<Accelerator, ToolError> {
    Accelerator::decide(qemu, &Cache::open()?, progress).await
}

/// The source of packages for this host: its cache, its mirror, the lock that comes with this program, not insisted on.
///
/// # Errors
/// When the cache cannot be opened or the host has no apt.
pub async fn supply() -> Result<Supply, ToolError> {
    let definitions = crate::image::Definitions::built_in();
    let lock = definitions.lock().map_err(|reason| ToolError::Failed {
        step: "read the lock".into(),
        reason,
        output: String::new(),
    })?;
    let cache = Cache::open()?;
    let apt = apt::Apt::prepare(&cache, mirror::Mirror::of_host()).await?;
    Ok(Supply {
        cache,
        apt,
        lock,
        locked: false,
    })
}
