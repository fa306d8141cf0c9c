//! Where sets of packages come from: the lock says which files a set consists of; when the mirror no longer has one of
//! them the set is resolved anew and the difference is told, or, when the lock is insisted on, the archive of Debian's
//! past is asked.

use super::ToolError;
use super::apt::{Apt, Request};
use super::cache::Cache;
use super::mirror::Mirror;
use super::package::{Lock, Package, differences};
use crate::progress::Progress;

/// Debian's archive of everything that it ever published.
const SNAPSHOT: &str = "http://snapshot.debian.org/archive";

/// How many differences are told one by one.
const TOLD_DIFFERENCES: usize = 20;

/// The source of packages.
#[derive(Debug, Clone)]
pub struct Supply {
    /// Where everything is kept.
    pub cache: Cache,
    /// The private apt.
    pub apt: Apt,
    /// Versions and hashes that are to be used.
    pub lock: Lock,
    /// Whether the lock is insisted on.
    pub locked: bool,
}

impl Supply {
    /// All package files of a set, present in the cache when this returns.
    ///
    /// # Errors
    /// [`ToolError::Vanished`] when the lock is insisted on and cannot be met; otherwise what the mirror or the disk
    /// did.
    pub async fn obtain(&self, set: &str, request: &Request, progress: &Progress) -> Result<Vec<Package>, ToolError> {
        let locked = self.lock.sets.get(set).filter(|packages| request.is_met_by(packages));
        let Some(locked) = locked else {
            if self.locked {
                return Err(ToolError::NotInLock { set: set.to_owned() });
            }
            progress.note(set, "the lock does not cover it; resolving");
            let fresh = self.resolve(request, progress).await?;
            return self.fetch_fresh(set, fresh, progress).await;
        };
        let phase = self.fetching(set, locked, progress);
        let mut vanished = self.apt.download(locked, &phase).await?;
        if vanished.is_empty() {
            phase.done("");
            return Ok(locked.clone());
        }
        if self.locked {
            vanished = self.ask_the_past(vanished, &phase).await;
            if vanished.is_empty() {
                phase.done("partly from snapshot.debian.org");
                return Ok(locked.clone());
            }
            return Err(ToolError::Vanished {
                set: set.to_owned(),
                packages: names(&vanished),
            });
        }
        phase.done(format!("{} versions are no longer on the mirror", vanished.len()));
        let fresh = self.resolve(request, progress).await?;
        tell(set, &differences(locked, &fresh), progress);
        self.fetch_fresh(set, fresh, progress).await
    }

    /// Resolves a request by the archives of now.
    ///
    /// # Errors
    /// What the mirror or apt says.
    pub async fn resolve(&self, request: &Request, progress: &Progress) -> Result<Vec<Package>, ToolError> {
        self.apt.update(&self.cache, progress).await?;
        self.apt.resolve(request).await
    }

    async fn fetch_fresh(
        &self,
        set: &str,
        fresh: Vec<Package>,
        progress: &Progress,
    ) -> Result<Vec<Package>, ToolError> {
        let phase = self.fetching(set, &fresh, progress);
        let vanished = self.apt.download(&fresh, &phase).await?;
        if !vanished.is_empty() {
            // The index names them and the pool lacks them: the mirror is being updated.
            return Err(ToolError::Vanished {
                set: set.to_owned(),
                packages: names(&vanished),
            });
        }
        phase.done("");
        Ok(fresh)
    }

    fn fetching(&self, set: &str, packages: &[Package], progress: &Progress) -> crate::progress::Phase {
        let missing: Vec<&Package> = packages
            .iter()
            .filter(|package| !self.apt.deb(package).exists())
            .collect();
        let bytes: u64 = missing.iter().map(|package| package.size).sum();
        progress.phase(
            set,
            format!(
                "{} packages, {} of them to fetch ({:.0} MB)",
                packages.len(),
                missing.len(),
                bytes as f64 / 1e6
            ),
        )
    }

    /// Asks Debian's archive of the past for what is missing, and returns what is missing after that.
    async fn ask_the_past(&self, vanished: Vec<Package>, phase: &crate::progress::Phase) -> Vec<Package> {
        let archive = |name: &str| format!("{SNAPSHOT}/{name}/{}", self.lock.snapshot);
        let past = Mirror {
            main: archive("debian"),
            security: archive("debian-security"),
        };
        // That archive being out of reach changes nothing in what the caller has to say: the packages are not to be had.
        let _ = self.apt.download_from(&past, &vanished, phase).await;
        vanished
            .into_iter()
            .filter(|package| !self.apt.deb(package).exists())
            .collect()
    }
}

fn names(packages: &[Package]) -> Vec<String> {
    packages
        .iter()
        .map(|package| format!("{} {}", package.name, package.version))
        .collect()
}

/// Prints what changed against the lock.
fn tell(set: &str, changes: &[String], progress: &Progress) {
    for change in changes.iter().take(TOLD_DIFFERENCES) {
        progress.note(set, &format!("differs from the lock: {change}"));
    }
    if changes.len() > TOLD_DIFFERENCES {
        progress.note(
            set,
            &format!("and {} more differences", changes.len() - TOLD_DIFFERENCES),
        );
    }
}
