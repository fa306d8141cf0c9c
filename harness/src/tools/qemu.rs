//! QEMU: the host's when it is recent enough, else Debian's in a private root.

use std::ffi::OsString;
use std::time::Duration;

use super::ToolError;
use super::apt::Request;
use super::command::{Program, find_on_host, run};
use super::root::Root;
use super::supply::Supply;
use crate::progress::Progress;

/// The oldest version whose `migrate file:` the restore points can use.
pub const OLDEST_VERSION: (u32, u32) = (8, 2);

/// Name of QEMU's set in the lock.
pub const SET: &str = "tools-qemu";

/// Asking a program for its version.
const VERSION_DEADLINE: Duration = Duration::from_secs(30);

/// What QEMU's private root is made from.
pub fn request() -> Request {
    Request {
        packages: vec!["qemu-system-x86".into(), "qemu-utils".into()],
        ..Request::default()
    }
}

/// A QEMU that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    /// `qemu-system-x86_64`, with the folders of its firmware where they are not compiled in.
    pub system: Program,
    /// `qemu-img`.
    pub img: Program,
    /// Its version: `10.0.13`.
    pub version: String,
    /// Where it is from, for people.
    pub origin: String,
}

impl Qemu {
    /// Finds or fetches it.
    ///
    /// # Errors
    /// When it is neither on the host nor to be had from the mirror, or does not run.
    pub async fn ensure(supply: &Supply, progress: &Progress) -> Result<Self, ToolError> {
        if let Some(qemu) = Self::of_host().await {
            return Ok(qemu);
        }
        let root = Root::ensure(supply, SET, &request(), progress).await?;
        let mut system = root.program("usr/bin/qemu-system-x86_64");
        for folder in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
            system.argv.push("-L".into());
            system.argv.push(root.file(folder).into());
        }
        // Loadable parts of QEMU are looked for beside the program otherwise, or in the host's folders.
        system.env.push((
            "QEMU_MODULE_DIR".into(),
            root.file("usr/lib/x86_64-linux-gnu/qemu").into(),
        ));
        let version = version(&system).await?;
        Ok(Qemu {
            system,
            img: root.program("usr/bin/qemu-img"),
            version,
            origin: format!("Debian {} in {}", super::apt::SUITE, root.path().display()),
        })
    }

    /// The host's QEMU when it is recent enough and complete.
    pub async fn of_host() -> Option<Self> {
        let system = find_on_host("qemu-system-x86_64")?;
        let img = find_on_host("qemu-img")?;
        let version = version(&system).await.ok()?;
        if parse(&version)? < OLDEST_VERSION {
            return None;
        }
        let origin = format!("the host's {}", OsString::from(&system.argv[0]).to_string_lossy());
        Some(Qemu {
            system,
            img,
            version,
            origin,
        })
    }
}

async fn version(system: &Program) -> Result<String, ToolError> {
    let mut command = system.command();
    command.arg("--version");
    let output = run("ask QEMU for its version", command, VERSION_DEADLINE).await?;
    version_of(&output.stdout)
        .map(str::to_owned)
        .ok_or_else(|| ToolError::Failed {
            step: "ask QEMU for its version".into(),
            reason: "it names none".into(),
            output: super::command::tail(&output.stdout),
        })
}

/// `QEMU emulator version 10.0.13 (Debian ...)` names `10.0.13`.
fn version_of(text: &str) -> Option<&str> {
    text.split_once("version ")?.1.split_whitespace().next()
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_qemu_says() {
        let text = "QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)\nCopyright (c)";
        assert_eq!(version_of(text), Some("10.0.13"));
    }

    #[test]
    fn debian_12s_qemu_is_too_old_and_debian_13s_is_not() {
        assert!(parse("7.2.17").unwrap() < OLDEST_VERSION);
        assert!(parse("8.2.0").unwrap() >= OLDEST_VERSION && parse("10.0.13").unwrap() >= OLDEST_VERSION);
    }
}
