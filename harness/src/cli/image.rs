//! `harness image build|list|prune`: the machines' disk images in the cache.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tokio::runtime::Runtime;

use super::exit::Exit;
use crate::image::{DefinitionError, Definitions, ImageError, ImageRole, Store, ensure_all, lock};
use crate::progress::Progress;

/// Arguments of `harness image`.
#[derive(Debug, Args)]
pub struct ImageArgs {
    #[command(subcommand)]
    verb: Verb,
    /// Folder with other image definitions than the built-in ones
    #[arg(long, value_name = "DIR", global = true)]
    images: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build what is not in the cache yet
    Build {
        /// Which images; all of them when none is named
        roles: Vec<ImageRole>,
        /// Insist on the package versions of vm-images/lock.toml
        #[arg(long, conflicts_with = "update_lock")]
        locked: bool,
        /// Take the newest versions and write them into vm-images/lock.toml
        #[arg(long)]
        update_lock: bool,
    },
    /// Show the images and kernel modules in the cache
    List,
    /// Remove what the definitions do not ask for any more
    Prune {
        /// Remove everything, also what is in use
        #[arg(long)]
        all: bool,
    },
}

/// Runs the verb.
pub fn run(args: ImageArgs) -> Exit {
    finish(Runtime::new(), work(args))
}

/// Runs a piece of work until its end or until Ctrl-C; programs that it started end with it.
pub(super) fn finish(runtime: std::io::Result<Runtime>, work: impl Future<Output = Result<Exit, ImageError>>) -> Exit {
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(cause) => {
            eprintln!("error: threads cannot be started: {cause}");
            return Exit::Environment;
        }
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = work => outcome,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        }
    });
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        match error {
            ImageError::Definition(_) => Exit::Input,
            ImageError::Tool { .. } => Exit::Environment,
        }
    })
}

pub(super) fn definitions(folder: Option<&PathBuf>) -> Result<Definitions, DefinitionError> {
    folder.map_or_else(|| Ok(Definitions::built_in()), |folder| Definitions::of_folder(folder))
}

async fn work(args: ImageArgs) -> Result<Exit, ImageError> {
    let progress = Progress::terminal();
    let definitions = definitions(args.images.as_ref())?;
    match args.verb {
        Verb::Build {
            roles,
            locked,
            update_lock,
        } => {
            let mut store = Store::open(definitions, locked).await?;
            if update_lock {
                let updated = lock::update(&store, &progress).await?;
                tell(&updated);
                store.supply.lock = updated.lock;
            }
            let roles = if roles.is_empty() {
                ImageRole::ALL.to_vec()
            } else {
                roles
            };
            for image in ensure_all(&store, &roles, &progress).await? {
                println!("{:<14} {}", image.role.as_str(), image.disk.display());
            }
        }
        Verb::List => list(&Store::open(definitions, false).await?)?,
        Verb::Prune { all } => {
            let freed = Store::open(definitions, false).await?.prune(all, &progress).await?;
            println!("{} MB freed", freed / 1_000_000);
        }
    }
    Ok(Exit::Holds)
}

fn tell(updated: &lock::Updated) {
    for (set, changes) in &updated.changes {
        println!("{set}: {} changes", changes.len());
        for change in changes {
            println!("  {change}");
        }
    }
    println!("wrote {}", updated.file.display());
}

fn list(store: &Store) -> Result<(), ImageError> {
    let listed = store.list()?;
    if listed.is_empty() {
        println!(
            "no images in {}; harness image build makes them",
            store.supply.cache.root().display()
        );
    }
    for image in listed {
        let state = match (image.current, image.differs_from_lock) {
            (true, false) => "current",
            (true, true) => "current, newer than the lock",
            (false, _) => "stale",
        };
        println!(
            "{:<14} {:>5} MB {:>4} packages  {state}  {}",
            image.role.as_str(),
            image.bytes / 1_000_000,
            image.packages,
            image.folder.display()
        );
    }
    for modules in store.list_modules()? {
        println!(
            "{:<14} {:>5} MB  for {}  {}  {}",
            format!("{} modules", modules.name),
            modules.bytes / 1_000_000,
            modules.kernel,
            if modules.current { "current" } else { "stale" },
            modules.folder.display()
        );
    }
    Ok(())
}
