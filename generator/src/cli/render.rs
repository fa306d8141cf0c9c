//! `generator render`: every file of every node.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::{Colors, Outcome, Status, count, keys, load};
use crate::bundle::{Bundle, WriteError};
use crate::check::{Finding, check, check_secrets, has_errors};
use crate::diag;
use crate::secrets::Secrets;
use crate::spec::{Cluster, Loaded};

const EXAMPLES: &str = "\
Examples:
  generator render cluster.toml --out files
  generator render cluster.toml --out files --secrets /safe/place/secrets.toml
  generator render cluster.toml --out /tmp/look --seed 1       the same bytes each time, for tests only

The folder holds, for each node, what goes to that machine:
  files/mail1/install         run as root; validates, keeps what it replaces, switches, enables
  files/mail1/manifest        sha256, mode, owner, group and path of each file
  files/mail1/root/...        the files as they lie on the machine
and beside them files/dns/<domain>.zone, files/ca.pem and files/secrets.toml.";

/// Write every file of every node, as it lies on the machine
///
/// The description is checked first; with errors nothing is written. The folder appears whole or
/// not at all, and rendering again replaces it. Secrets are made on the first use, kept in
/// DIR/secrets.toml (readable by its owner only) and used again afterwards.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(super) struct Args {
    /// The description, e.g. cluster.toml.
    cluster: PathBuf,
    /// The folder to write; an earlier rendering in it is replaced, anything else refused.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Use the secrets of this file instead of DIR/secrets.toml.
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    secrets: Option<PathBuf>,
    /// Make the secrets out of a number: the same bytes each time. Whoever knows the number knows the secrets.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Secrets, where they are kept, and what is to be told about them.
struct Chosen {
    secrets: Secrets,
    /// The file of the secrets; `None` for those of a seed.
    file: Option<PathBuf>,
    note: String,
}

pub(super) fn run(args: &Args, colors: Colors) -> Result<Outcome, Outcome> {
    let loaded = load(&args.cluster, colors)?;
    let findings = check(&loaded);
    let mut err = show(&findings, &loaded.name, &loaded.source, colors);
    if has_errors(&findings) {
        err.push_str("\nnothing was written\n");
        return Err(Outcome {
            status: Status::Fails,
            out: String::new(),
            err,
        });
    }
    Bundle::may_replace(&args.out).map_err(|e| unwritable(&e))?;
    let chosen = choose(args, &loaded)?;
    refuse_weak(&chosen, colors)?;
    let bundle = crate::render::render(&loaded.cluster, &chosen.secrets)
        .map_err(|e| Outcome::fault(Status::BadInput, chain(&e)))?;
    let written = bundle.write_dir(&args.out).map_err(|e| unwritable(&e))?;
    err.push_str(&chosen.note);
    let out = format!(
        "{}: {} of {} ({} KiB)\n",
        args.out.display(),
        count(written.files, "file"),
        count(bundle.nodes.len(), "node"),
        written.bytes.div_ceil(1024)
    );
    Ok(Outcome {
        status: Status::Holds,
        out,
        err,
    })
}

fn show(findings: &[Finding], name: &str, source: &str, colors: Colors) -> String {
    if findings.is_empty() {
        String::new()
    } else {
        diag::render(findings, name, source, colors.err)
    }
}

fn choose(args: &Args, loaded: &Loaded) -> Result<Chosen, Outcome> {
    if let Some(seed) = args.seed {
        let secrets = Secrets::from_seed(&loaded.cluster, seed).map_err(|e| keys::fault(&e))?;
        let note = format!("secrets: from the seed {seed}, for tests only: anybody can make them\n");
        return Ok(Chosen {
            secrets,
            file: None,
            note,
        });
    }
    let own = args.out.join("secrets.toml");
    match &args.secrets {
        Some(file) => kept(file, &loaded.cluster),
        None if own.exists() => kept(&own, &loaded.cluster),
        None => fresh(&args.out, &own, &loaded.cluster),
    }
}

/// Secrets of a file, with what the description needs in addition.
fn kept(file: &Path, cluster: &Cluster) -> Result<Chosen, Outcome> {
    let secrets = keys::load(file)?;
    let (secrets, added) = secrets
        .complete(cluster, OffsetDateTime::now_utc())
        .map_err(|e| keys::fault(&e))?;
    let mut note = format!("secrets: {}\n", file.display());
    if !added.is_empty() {
        secrets.save(file).map_err(|e| keys::fault(&e))?;
        note.push_str(&format!("secrets: added there: {}\n", added.join(", ")));
    }
    Ok(Chosen {
        secrets,
        file: Some(file.to_owned()),
        note,
    })
}

/// New secrets. They are on disk before the first file that holds one of them.
fn fresh(out: &Path, file: &Path, cluster: &Cluster) -> Result<Chosen, Outcome> {
    let secrets = Secrets::random(cluster).map_err(|e| keys::fault(&e))?;
    std::fs::create_dir_all(out).map_err(|e| Outcome::fault(Status::Environment, format!("{}: {e}", out.display())))?;
    secrets.save(file).map_err(|e| keys::fault(&e))?;
    let file_name = file.display();
    let note =
        format!("secrets: new ones in {file_name} (mode 0600); they are used again next time, so keep the file\n");
    Ok(Chosen {
        secrets,
        file: Some(file.to_owned()),
        note,
    })
}

fn refuse_weak(chosen: &Chosen, colors: Colors) -> Result<(), Outcome> {
    let (Some(file), findings) = (&chosen.file, check_secrets(&chosen.secrets)) else {
        return Ok(());
    };
    if !has_errors(&findings) {
        return Ok(());
    }
    let err = show(&findings, &file.display().to_string(), "", colors) + "\nnothing was written\n";
    Err(Outcome {
        status: Status::Fails,
        out: String::new(),
        err,
    })
}

fn unwritable(error: &WriteError) -> Outcome {
    let status = match error {
        WriteError::Tree { .. } | WriteError::Name { .. } | WriteError::NotOurs { .. } => Status::BadInput,
        WriteError::Io { .. } => Status::Environment,
    };
    Outcome::fault(status, error)
}

/// An error with everything that caused it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        // Many errors already say their cause.
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
