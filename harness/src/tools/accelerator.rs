//! Which accelerator to use. `/dev/kvm` may exist, open, create a machine and still not run a guest, so the decision is
//! made by running one (`probe.S`), once for a QEMU, a kernel and a processor, and remembered with its reason.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ToolError;
use super::cache::Cache;
use super::command::Running;
use super::qemu::Qemu;
use crate::progress::Progress;

/// The guest, which QEMU maps to the end of the first MiB.
const GUEST: &[u8] = include_bytes!("probe.bin");
/// QEMU wants firmware in multiples of this.
const FIRMWARE_BYTES: usize = 64 * 1024;
/// QEMU's exit status when the guest came to its end.
const SUCCESS: i32 = 67;
/// The guest needs under a second even when emulated on a busy machine.
const KVM_DEADLINE: Duration = Duration::from_secs(10);
/// Emulation may wait for its turn on a machine that is overloaded.
const TCG_DEADLINE: Duration = Duration::from_secs(60);
/// How long the guest takes under emulation on the machine that time limits were measured on.
const REFERENCE: Duration = Duration::from_millis(200);
/// How much slower than hardware virtualisation booting is there.
const REFERENCE_SLOWNESS: f64 = 10.0;
/// Limits of the factor: neither a lucky nor an unlucky measurement may make time limits useless.
const SLOWNESS_RANGE: (f64, f64) = (8.0, 40.0);

/// How guests are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The processor's virtualisation, through the kernel.
    Kvm,
    /// QEMU's own translation, entirely in software.
    Tcg,
}

impl Kind {
    /// QEMU's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Kvm => "kvm",
            Kind::Tcg => "tcg",
        }
    }
}

/// The decision with its reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accelerator {
    /// What to use.
    pub kind: Kind,
    /// Why, in words for people.
    pub reason: String,
    /// Factor for time limits that guard against hanging: 1 for hardware virtualisation.
    pub slowness: f64,
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    key: String,
    accelerator: Accelerator,
}

/// What became of one attempt.
enum Attempt {
    Ran(Duration),
    Failed(String),
}

impl Accelerator {
    /// Decides by running a guest, or remembers the last decision for the same QEMU, kernel and processor.
    ///
    /// # Errors
    /// When not even emulation runs the guest.
    pub async fn decide(qemu: &Qemu, cache: &Cache, progress: &Progress) -> Result<Self, ToolError> {
        let key = key(qemu);
        let memory = cache.root().join("accelerator.json");
        let remembered = std::fs::read_to_string(&memory).ok();
        let remembered = remembered.and_then(|text| serde_json::from_str::<Remembered>(&text).ok());
        if let Some(remembered) = remembered.filter(|remembered| remembered.key == key) {
            return Ok(remembered.accelerator);
        }
        let phase = progress.phase("accelerator", "running a guest to see which one works");
        let accelerator = Self::find(qemu).await?;
        phase.done(format!("{}: {}", accelerator.kind.as_str(), accelerator.reason));
        let text = serde_json::to_string_pretty(&Remembered {
            key,
            accelerator: accelerator.clone(),
        })
        .map_err(|source| ToolError::io("remember the accelerator", source.into()))?;
        std::fs::write(&memory, text).map_err(|source| ToolError::io(format!("write {}", memory.display()), source))?;
        Ok(accelerator)
    }

    async fn find(qemu: &Qemu) -> Result<Self, ToolError> {
        let refused = match kvm_device() {
            Ok(()) => match attempt(qemu, Kind::Kvm, KVM_DEADLINE).await? {
                Attempt::Ran(_) => {
                    let reason = "a guest ran on /dev/kvm".into();
                    return Ok(Accelerator {
                        kind: Kind::Kvm,
                        reason,
                        slowness: 1.0,
                    });
                }
                Attempt::Failed(reason) => format!("/dev/kvm exists but does not run a guest: {reason}"),
            },
            Err(reason) => reason,
        };
        match attempt(qemu, Kind::Tcg, TCG_DEADLINE).await? {
            Attempt::Ran(took) => Ok(Accelerator {
                kind: Kind::Tcg,
                reason: refused,
                slowness: slowness(took),
            }),
            Attempt::Failed(reason) => Err(ToolError::Failed {
                step: format!("run a guest with QEMU {} ({})", qemu.version, qemu.origin),
                reason,
                output: format!("\n    and {refused}"),
            }),
        }
    }
}

fn slowness(took: Duration) -> f64 {
    let factor = REFERENCE_SLOWNESS * took.as_secs_f64() / REFERENCE.as_secs_f64();
    (factor.clamp(SLOWNESS_RANGE.0, SLOWNESS_RANGE.1) * 10.0).round() / 10.0
}

/// Whether this user can open `/dev/kvm`; if not, why.
fn kvm_device() -> Result<(), String> {
    let opened = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm");
    opened.map(|_| ()).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no /dev/kvm".to_owned(),
        std::io::ErrorKind::PermissionDenied => {
            "/dev/kvm is not open to this user (mend: sudo usermod -aG kvm $USER, and log in anew)".to_owned()
        }
        _ => format!("/dev/kvm cannot be opened: {error}"),
    })
}

/// Firmware whose last 4 KiB are the guest.
fn firmware() -> Vec<u8> {
    const HALT: u8 = 0xf4;
    let mut image = vec![HALT; FIRMWARE_BYTES - GUEST.len()];
    image.extend_from_slice(GUEST);
    image
}

async fn attempt(qemu: &Qemu, kind: Kind, deadline: Duration) -> Result<Attempt, ToolError> {
    let file = tempfile::NamedTempFile::new()
        .and_then(|mut file| std::io::Write::write_all(&mut file, &firmware()).map(|()| file))
        .map_err(|source| ToolError::io("write the probe guest", source))?;
    let mut command = qemu.system.command();
    // The processor model that the machines get, since it decides what the kernel has to virtualise.
    let cpu = if kind == Kind::Kvm { "host" } else { "max" };
    command.args(["-M", "q35", "-nodefaults", "-display", "none", "-no-reboot", "-m", "16"]);
    command.args(["-accel", kind.as_str(), "-cpu", cpu]);
    command
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-bios"])
        .arg(file.path());
    let began = Instant::now();
    let step = format!("run a guest with {}", kind.as_str());
    match Running::start(command, Stdio::null(), Stdio::null())?
        .finish(&step, deadline)
        .await
    {
        Ok((status, _)) if status.code() == Some(SUCCESS) => Ok(Attempt::Ran(began.elapsed())),
        Ok((status, stderr)) => Ok(Attempt::Failed(
            complaint(&stderr).unwrap_or_else(|| status.to_string()),
        )),
        Err(ToolError::Failed { reason, .. }) => Ok(Attempt::Failed(reason)),
        Err(error) => Err(error),
    }
}

/// QEMU's first line that is no mere warning, without its own name.
fn complaint(stderr: &str) -> Option<String> {
    let line = stderr
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.contains("warning:"))?;
    Some(
        line.split_once("qemu-system-x86_64: ")
            .map_or(line, |(_, rest)| rest)
            .to_owned(),
    )
}

/// What the decision depends on.
fn key(qemu: &Qemu) -> String {
    let kernel = std::fs::read_to_string("/proc/version").unwrap_or_default();
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor: String = processor
        .lines()
        .filter(|line| ["model name", "microcode"].iter().any(|field| line.starts_with(field)))
        .take(2)
        .collect();
    let device = (Path::new("/dev/kvm").exists(), kvm_device().is_ok());
    hex::encode(Sha256::digest(format!(
        "{}|{}|{kernel}|{processor}|{device:?}",
        qemu.version, qemu.origin
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_firmware_ends_with_the_jump_at_the_reset_vector() {
        let image = firmware();
        assert_eq!(image.len(), FIRMWARE_BYTES);
        // ljmp f000:f000
        assert_eq!(image[FIRMWARE_BYTES - 16..][..5], [0xea, 0x00, 0xf0, 0x00, 0xf0]);
    }

    #[test]
    fn the_reason_is_what_qemu_complained_about() {
        let stderr =
            "qemu-system-x86_64: warning: host doesn't support x\nqemu-system-x86_64: error: failed to set MSR 0x10a\n";
        assert_eq!(complaint(stderr).as_deref(), Some("error: failed to set MSR 0x10a"));
    }

    #[test]
    fn a_slow_host_stretches_time_limits_within_reason() {
        assert_eq!(slowness(REFERENCE), 10.0);
        assert_eq!(slowness(Duration::from_millis(1)), 8.0);
        assert_eq!(slowness(Duration::from_secs(50)), 40.0);
    }
}
