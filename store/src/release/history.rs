//! Which installation was the last on this node, as the bundles' own script keeps them.

use std::path::{Path, PathBuf};

/// The folder of installations.
pub(super) struct History(PathBuf);

impl History {
    /// In this folder.
    pub(super) fn below(folder: &Path) -> History {
        History(folder.to_owned())
    }

    /// What the last one is called.
    pub(super) fn last(&self) -> Option<String> {
        let target = std::fs::read_link(self.0.join("last")).ok()?;
        target.to_str().map(str::to_owned)
    }
}
