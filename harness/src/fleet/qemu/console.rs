//! What a machine prints on its serial console (or QEMU on its own behalf): how far it has booted, whether it has given up, its last lines.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// How far a machine has come. Later stages are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The firmware runs; nothing on the console.
    Firmware,
    /// The kernel runs.
    Kernel,
    /// systemd runs.
    Init,
    /// The guest agent answers.
    Agent,
}

impl Stage {
    /// The stage in words: what the machine is doing.
    pub fn words(self) -> &'static str {
        match self {
            Stage::Firmware => "firmware",
            Stage::Kernel => "kernel",
            Stage::Init => "init",
            Stage::Agent => "guest agent",
        }
    }
}

/// Signs of a stage, the latest first.
const SIGNS: [(Stage, &[&str]); 2] = [
    (
        Stage::Init,
        &["systemd[1]: ", "Welcome to ", "Started ", "Reached target "],
    ),
    (Stage::Kernel, &["Linux version ", "] Command line: "]),
];

/// Signs that a boot will never end, and what they mean.
const DEAD_ENDS: [(&str, &str); 4] = [
    ("Kernel panic - not syncing", "the kernel panicked"),
    (
        "(initramfs)",
        "the root file system was not found; the machine stopped in its initial RAM disk",
    ),
    ("You are in emergency mode", "systemd went into emergency mode"),
    ("Press Enter for maintenance", "systemd went into emergency mode"),
];

/// How far a machine has come that has printed this.
pub fn stage_of(printed: &str) -> Stage {
    let reached = SIGNS
        .iter()
        .find(|(_, signs)| signs.iter().any(|sign| printed.contains(sign)));
    reached.map_or(Stage::Firmware, |(stage, _)| *stage)
}

/// Why a machine that has printed this will never come up, if so.
pub fn dead_end(printed: &str) -> Option<&'static str> {
    DEAD_ENDS
        .iter()
        .find(|(sign, _)| printed.contains(sign))
        .map(|(_, meaning)| *meaning)
}

/// The last lines of a console, without terminal control sequences.
pub fn last_lines(printed: &str, count: usize) -> String {
    let plain = console::strip_ansi_codes(printed);
    let lines: Vec<&str> = plain
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The log of a console, read from a moment on.
#[derive(Debug, Clone)]
pub struct Console {
    log: PathBuf,
    from: u64,
}

impl Console {
    /// The console in `log`, from its present end on: what earlier starts printed does not count.
    pub fn from_now(log: &Path) -> Self {
        let from = log.metadata().map_or(0, |meta| meta.len());
        Self {
            log: log.to_owned(),
            from,
        }
    }

    /// What was printed since.
    pub fn text(&self) -> String {
        self.read()
            .map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: &str = "[    0.000000] Linux version 6.12.57+deb13-cloud-amd64\n";

    #[test]
    fn a_silent_machine_is_in_its_firmware() {
        assert_eq!(stage_of(""), Stage::Firmware);
    }

    #[test]
    fn the_first_line_of_the_kernel_shows_the_kernel() {
        assert_eq!(stage_of(KERNEL), Stage::Kernel);
    }

    #[test]
    fn the_greeting_of_systemd_shows_init() {
        assert_eq!(
            stage_of(&format!("{KERNEL}Welcome to Debian GNU/Linux 13 (trixie)!\n")),
            Stage::Init
        );
    }

    #[test]
    fn a_quiet_kernel_is_passed_over() {
        assert_eq!(
            stage_of("[    9.1] systemd[1]: Detected virtualization qemu.\n"),
            Stage::Init
        );
    }

    #[test]
    fn a_panic_is_a_dead_end() {
        assert_eq!(
            dead_end("[ 1.0] Kernel panic - not syncing: VFS: Unable to mount root fs"),
            Some("the kernel panicked")
        );
    }

    #[test]
    fn a_usual_boot_is_no_dead_end() {
        assert_eq!(dead_end(KERNEL), None);
    }

    #[test]
    fn last_lines_have_no_colours_and_no_blank_lines() {
        let printed = "one\n\u{1b}[0;32m  OK  \u{1b}[0m Started nginx\r\n\r\nthree\n";
        assert_eq!(last_lines(printed, 2), "  OK   Started nginx\nthree");
    }

    #[test]
    fn what_an_earlier_start_printed_does_not_count() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("console");
        std::fs::write(&log, KERNEL).expect("written");
        let console = Console::from_now(&log);
        assert_eq!(stage_of(&console.text()), Stage::Firmware);
    }
}
