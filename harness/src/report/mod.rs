//! Reports derived from a record and its judgement: `report.json`, `junit.xml`, the table on the terminal, and the verdict
//! in words.

mod junit;
mod model;
mod pace;
mod table;
mod trail;
mod words;

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::oracle::Verdict;

pub use self::junit::junit;
pub use self::model::{Accelerator, Facts, FaultReport, MustFail, Report, SCHEMA, StepReport, Timing};
pub use self::pace::Pace;
pub use self::table::table;
pub use self::trail::trails;
pub use self::words::{in_words, measured};

/// Why a report was not written or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {reason}", path.display())]
pub struct ReportError {
    /// What was tried.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What went wrong.
    pub reason: String,
}

impl Report {
    /// Writes `report.json` and `junit.xml` into a folder that exists.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), ReportError> {
        let path = dir.join("report.json");
        let failed = |reason: String| ReportError {
            action: "write",
            path: path.clone(),
            reason,
        };
        let mut json = serde_json::to_string_pretty(self).map_err(|error| failed(error.to_string()))?;
        json.push('\n');
        fs::write(&path, json).map_err(|error| failed(error.to_string()))?;
        write_junit(std::slice::from_ref(self), dir)
    }

    /// Reads a `report.json`.
    ///
    /// # Errors
    /// The file cannot be read, or is of another schema.
    pub fn read(path: &Path) -> Result<Report, ReportError> {
        let failed = |reason: String| ReportError {
            action: "read",
            path: path.to_owned(),
            reason,
        };
        let text = fs::read_to_string(path).map_err(|error: io::Error| failed(error.to_string()))?;
        let report: Report = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        match report.schema {
            SCHEMA => Ok(report),
            other => Err(failed(format!("its schema is {other}, this program reads {SCHEMA}"))),
        }
    }
}

/// Journals that were brought home into a folder with one folder a node, by the nodes' names. One that is not there or cannot
/// be read is left out: it was told of when it was not brought home.
pub fn journals(nodes: &Path) -> Vec<(String, String)> {
    let folders = fs::read_dir(nodes).into_iter().flatten().flatten();
    let journal = |folder: fs::DirEntry| {
        let text = fs::read(folder.path().join("journal.log")).ok()?;
        let node = folder.file_name().to_string_lossy().into_owned();
        Some((node, String::from_utf8_lossy(&text).into_owned()))
    };
    folders.filter_map(journal).collect()
}

/// Writes one `junit.xml` for several runs into a folder that exists.
///
/// # Errors
/// The file cannot be written.
pub fn write_junit(reports: &[Report], dir: &Path) -> Result<(), ReportError> {
    let path = dir.join("junit.xml");
    let failed = |reason: String| ReportError {
        action: "write",
        path: path.clone(),
        reason,
    };
    let xml = junit(reports).map_err(&failed)?;
    fs::write(&path, xml).map_err(|error| failed(error.to_string()))
}

/// The verdict over several runs: the worst of them; without any run nothing is shown.
pub fn overall(reports: &[Report]) -> Verdict {
    reports
        .iter()
        .map(|report| report.verdict)
        .max()
        .unwrap_or(Verdict::Inconclusive)
}
