//! `harness doctor`: what the harness finds on this host, and the exact command for whatever is missing.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::runtime::Runtime;

use super::exit::Exit;
use super::image::{definitions, finish};
use crate::image::{ImageError, ImageRole, Store};
use crate::progress::Progress;
use crate::tools::builder::Builder;
use crate::tools::{Accelerator, Qemu, ToolError};

/// Memory that the default cluster's machines use at most.
const MEMORY_MIB: u64 = 4 * 1024;
/// Disk that tools, images and one run use.
const DISK_BYTES: u64 = 8_000_000_000;
/// How long the mirror may take to answer.
const MIRROR_DEADLINE: Duration = Duration::from_secs(20);

/// Arguments of `harness doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Folder with other image definitions than the built-in ones
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(args: DoctorArgs) -> Exit {
    finish(Runtime::new(), examine(args))
}

/// One line of the examination.
struct Finding {
    what: &'static str,
    good: bool,
    text: String,
}

impl Finding {
    fn good(what: &'static str, text: impl Into<String>) -> Self {
        Finding {
            what,
            good: true,
            text: text.into(),
        }
    }

    fn bad(what: &'static str, text: impl Into<String>) -> Self {
        Finding {
            what,
            good: false,
            text: text.into(),
        }
    }

    fn of<T>(what: &'static str, result: Result<T, ToolError>, text: impl FnOnce(T) -> String) -> Self {
        match result {
            Ok(value) => Self::good(what, text(value)),
            Err(error) => Self::bad(what, error.to_string()),
        }
    }

    fn print(&self) {
        let mark = if self.good { "✓" } else { "✗" };
        println!(
            "{mark} {:<12} {}",
            self.what,
            self.text.replace('\n', "\n               ")
        );
    }
}

async fn examine(args: DoctorArgs) -> Result<Exit, ImageError> {
    let progress = Progress::terminal();
    let mut healthy = true;
    let mut say = |finding: Finding| {
        healthy &= finding.good;
        finding.print();
    };
    host().into_iter().for_each(&mut say);
    let store = match Store::open(definitions(args.images.as_ref())?, false).await {
        Ok(store) => store,
        Err(ImageError::Tool { source, .. }) => {
            say(Finding::bad("packages", source.to_string()));
            return Ok(Exit::Environment);
        }
        Err(error) => return Err(error),
    };
    say(disk(&store));
    say(mirror(&store).await);
    match Qemu::ensure(&store.supply, &progress).await {
        Ok(qemu) => {
            say(Finding::good("QEMU", format!("{}, {}", qemu.version, qemu.origin)));
            let decided = Accelerator::decide(&qemu, &store.supply.cache, &progress).await;
            say(Finding::of("accelerator", decided, |accelerator| {
                format!(
                    "{}, time limits x {}: {}",
                    accelerator.kind.as_str(),
                    accelerator.slowness,
                    accelerator.reason
                )
            }));
        }
        Err(error) => say(Finding::bad("QEMU", error.to_string())),
    }
    say(Finding::of(
        "builder",
        Builder::ensure(&store.supply, &progress).await,
        |builder| builder.origin,
    ));
    say(Finding::of(
        "namespaces",
        crate::image::namespace::check().await,
        |()| "images can be built".into(),
    ));
    for role in ImageRole::ALL {
        say(match store.find(role)? {
            Some(image) => Finding::good("image", format!("{role}: {}", image.disk.display())),
            None => Finding::good("image", format!("{role}: not built yet; harness image build {role}")),
        });
    }
    Ok(if healthy { Exit::Holds } else { Exit::Environment })
}

/// System, processor and memory.
fn host() -> Vec<Finding> {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .unwrap_or("unknown")
        .trim_matches('"');
    let processor = std::env::consts::ARCH;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = memory
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemAvailable:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        })
        .map_or(0, |kib| kib / 1024);
    vec![
        if processor == "x86_64" {
            Finding::good("system", format!("{name}, {processor}, {cores} cores"))
        } else {
            Finding::bad(
                "system",
                format!("{name}, {processor}: the machines are x86_64; use such a host"),
            )
        },
        if available >= MEMORY_MIB {
            Finding::good("memory", format!("{available} MiB available"))
        } else {
            Finding::bad(
                "memory",
                format!("{available} MiB available; four machines want {MEMORY_MIB} MiB"),
            )
        },
    ]
}

fn disk(store: &Store) -> Finding {
    let cache = &store.supply.cache;
    let place = cache.root().display();
    match cache.free_bytes() {
        Ok(free) if free >= DISK_BYTES => Finding::good("disk", format!("{} MB free in {place}", free / 1_000_000)),
        Ok(_) => Finding::of("disk", cache.require(DISK_BYTES), |()| String::new()),
        Err(error) => Finding::bad("disk", error.to_string()),
    }
}

async fn mirror(store: &Store) -> Finding {
    let address = store.supply.apt.mirror.main.clone();
    let answered = tokio::time::timeout(MIRROR_DEADLINE, store.supply.apt.reach()).await;
    let answered = answered.unwrap_or_else(|_| {
        Err(ToolError::Mirror {
            address: address.clone(),
            reason: format!(" no answer within {} s", MIRROR_DEADLINE.as_secs()),
        })
    });
    Finding::of("mirror", answered, |()| format!("{address} answers"))
}
