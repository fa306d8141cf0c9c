//! Fetching package files through the private apt: only what is missing, every hash checked, and packages that are gone
//! told from a mirror that fails.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;

use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::ToolError;
use super::apt::{Apt, DOWNLOAD_DEADLINE};
use super::command::{Running, tail};
use super::mirror::Mirror;
use super::package::Package;
use crate::progress::Phase;

impl Apt {
    /// Fetches what is not in the cache yet, checks every hash, and returns the packages that the mirror does not have
    /// any more.
    ///
    /// # Errors
    /// When the mirror cannot be reached, the disk is full, or a file has another hash.
    pub async fn download(&self, packages: &[Package], phase: &Phase) -> Result<Vec<Package>, ToolError> {
        self.download_from(&self.mirror, packages, phase).await
    }

    /// The same from another mirror.
    ///
    /// # Errors
    /// As [`Apt::download`].
    pub async fn download_from(
        &self,
        mirror: &Mirror,
        packages: &[Package],
        phase: &Phase,
    ) -> Result<Vec<Package>, ToolError> {
        let wanted: Vec<&Package> = packages.iter().filter(|package| !self.deb(package).exists()).collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let staging = tempfile::Builder::new()
            .prefix(".partial-")
            .tempdir_in(&self.debs)
            .map_err(|source| ToolError::io(format!("write to {}", self.debs.display()), source))?;
        let mut command = self.command(&self.helper);
        command.args(["-q", "download-file"]);
        for package in &wanted {
            command
                .arg(format!("{}/{}", mirror.archive(&package.archive), package.path))
                .arg(staging.path().join(package.file_name()))
                .arg(format!("SHA256:{}", package.sha256));
        }
        let errors = fetch(command, wanted.len(), phase).await?;
        let mut missing = Vec::new();
        for package in wanted {
            let partial = staging.path().join(package.file_name());
            if partial.exists() && file_hash(&partial).await? == package.sha256 {
                std::fs::rename(&partial, self.deb(package))
                    .map_err(|source| ToolError::io(format!("store {}", package.file_name()), source))?;
            } else {
                missing.push(package.clone());
            }
        }
        judge(mirror, &errors, missing)
    }
}

/// Runs the download and returns what it wrote to standard error.
async fn fetch(command: Command, count: usize, phase: &Phase) -> Result<String, ToolError> {
    let mut running = Running::start(command, Stdio::null(), Stdio::piped())?;
    let stdout = running.child.stdout.take();
    let counting = async {
        let Some(stdout) = stdout else { return };
        let (mut lines, mut begun) = (BufReader::new(stdout).lines(), 0);
        while let Ok(Some(line)) = lines.next_line().await {
            if line.starts_with("Get:") {
                begun += 1;
                phase.detail(&format!("{begun} of {count}"));
            }
        }
    };
    let (finished, ()) = tokio::join!(running.finish("download packages", DOWNLOAD_DEADLINE), counting);
    Ok(finished?.1)
}

/// Tells packages that are gone from the mirror (an answer, and the caller's business) from a mirror that fails.
fn judge(mirror: &Mirror, errors: &str, missing: Vec<Package>) -> Result<Vec<Package>, ToolError> {
    // apt writes addresses with other characters escaped than it was given.
    let refusals: Vec<String> = errors
        .lines()
        .filter(|line| line.contains("Failed to fetch") && (line.contains(" 404 ") || line.contains(" 410 ")))
        .map(unescaped)
        .collect();
    let gone = |package: &Package| refusals.iter().any(|line| line.contains(&unescaped(&package.path)));
    if missing.iter().all(gone) {
        return Ok(missing);
    }
    if errors.contains("No space left on device") {
        return Err(ToolError::Failed {
            step: "download packages".into(),
            reason: "the disk is full".into(),
            output: failures(errors),
        });
    }
    Err(ToolError::Mirror {
        address: mirror.main.clone(),
        reason: failures(errors),
    })
}

/// What apt complained about: the first few lines, and how many more there are.
pub(super) fn failures(errors: &str) -> String {
    const SHOWN: usize = 3;
    let lines: Vec<&str> = errors.lines().filter(|line| line.starts_with("E: ")).collect();
    let mut text = tail(&lines[..lines.len().min(SHOWN)].join("\n"));
    if lines.len() > SHOWN {
        let _ = write!(text, "\n    and {} more", lines.len() - SHOWN);
    }
    text
}

/// An address without percent escapes (RFC 3986 section 2.1); what is no escape stays.
fn unescaped(address: &str) -> String {
    percent_decode_str(address).decode_utf8_lossy().into_owned()
}

async fn file_hash(path: &Path) -> Result<String, ToolError> {
    let path = path.to_owned();
    let hash = tokio::task::spawn_blocking(move || {
        let mut hasher = Sha256::new();
        let mut file = std::fs::File::open(&path)?;
        let mut block = vec![0; 1 << 16];
        loop {
            match std::io::Read::read(&mut file, &mut block)? {
                0 => return Ok(hex::encode(hasher.finalize())),
                count => hasher.update(&block[..count]),
            }
        }
    });
    hash.await
        .map_err(std::io::Error::other)
        .and_then(|result| result)
        .map_err(|source| ToolError::io("check a downloaded package", source))
}

#[cfg(test)]
mod tests {
    use super::super::package::at as package;
    use super::*;

    fn mirror() -> Mirror {
        Mirror {
            main: "http://m/debian".into(),
            security: "http://m/debian-security".into(),
        }
    }

    #[test]
    fn a_file_that_is_gone_is_told_from_a_mirror_that_fails() {
        let gone = "E: Failed to fetch http://m/debian/pool/x_1.deb  404  Not Found [IP: 192.0.2.1 80]\n";
        let dead = "E: Failed to fetch http://m/debian/pool/x_1.deb  Could not connect to m:80\n";
        assert_eq!(judge(&mirror(), gone, vec![package("pool/x_1.deb")]).unwrap().len(), 1);
        let error = judge(&mirror(), dead, vec![package("pool/x_1.deb")]).unwrap_err();
        assert!(error.to_string().contains("Could not connect"), "{error}");
    }

    #[test]
    fn an_escaped_address_is_recognised() {
        let gone = "E: Failed to fetch http://m/debian/pool/x_1%2bdeb.deb  404  Not Found\n";
        assert_eq!(
            judge(&mirror(), gone, vec![package("pool/x_1+deb.deb")]).unwrap().len(),
            1
        );
        assert_eq!(unescaped("a%2bb%zz%"), "a+b%zz%");
    }

    #[test]
    fn many_failures_are_told_by_a_few() {
        let errors: String = (0..30).map(|n| format!("E: Failed to fetch {n}\n")).collect();
        assert!(failures(&errors).ends_with("fetch 2\n    and 27 more"));
    }
}
