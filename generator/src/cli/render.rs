//! `generator render`: every file of every node.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::agent::AgentArgs;
use super::{Colors, Outcome, Status, count, keys, load};
use crate::bundle::{Bundle, Layout, WriteError};
use crate::check::{Finding, check, examine_secrets, has_errors};
use crate::diag;
use crate::secrets::Secrets;
use crate::spec::{Cluster, Loaded};

const EXAMPLES: &str = "\
Examples:
  generator secrets init cluster.toml --secrets files/secrets.toml     once
  generator render cluster.toml --out files
  generator render cluster.toml --out files --secrets /safe/place/secrets.toml
  generator render cluster.toml --out files --bundle
  pass show cluster | generator render cluster.toml --out files --secrets -
  generator render cluster.toml --out /tmp/look --seed 1       the same bytes each time, for tests only

The folder holds, for each node, what goes to that machine:
  files/mail1/install         run as root; validates, keeps what it replaces, switches, enables
  files/mail1/manifest        sha256, mode, owner, group and path of each file
  files/mail1/root/...        the files as they lie on the machine
and beside them files/dns/<domain>.zone, files/ca.pem and files/RUNBOOK.md: what to do when, with
this cluster's own names, addresses and commands. With --bundle, for each node the same as one file:
  files/mail1.tar.gz          sha256sum --check SHA256SUMS; unpack it on the machine, run ./install";

/// Write every file of every node, as it lies on the machine
///
/// The description is checked first; with errors nothing is written. The folder appears whole or
/// not at all, and rendering again replaces it. Secrets are made once by `generator secrets init`;
/// rendering reads them and writes none, so the same description and secrets give the same bytes.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(super) struct Args {
    /// The description, e.g. cluster.toml.
    cluster: PathBuf,
    /// The folder to write; an earlier rendering in it is replaced, anything else refused.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Use the secrets of this file instead of DIR/secrets.toml; `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    secrets: Option<PathBuf>,
    /// Make the secrets out of a number: the same bytes each time. Whoever knows the number knows the secrets.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write a tar.gz a node in place of its folder, a description of all files with SHA-256, mode, owner and whether
    /// they are secret (bundle.json), and SHA256SUMS.
    #[arg(long)]
    bundle: bool,
    #[command(flatten)]
    agent: AgentArgs,
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
    let agent = args.agent.load(&loaded.cluster)?;
    let chosen = choose(args, &loaded)?;
    err.push_str(&judge(&chosen, &loaded.cluster, colors)?);
    let bundle = crate::render::render(&loaded.cluster, &chosen.secrets, agent.as_ref())
        .map_err(|e| Outcome::fault(Status::BadInput, chain(&e)))?;
    let layout = if args.bundle { Layout::Archives } else { Layout::Folders };
    let written = bundle.write_dir(&args.out, layout).map_err(|e| unwritable(&e))?;
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
    let file = args.secrets.clone().unwrap_or_else(|| args.out.join("secrets.toml"));
    if args.secrets.is_none() && !file.exists() {
        return Err(absent(&args.cluster, &file));
    }
    Ok(Chosen {
        secrets: keys::load(&file)?,
        note: format!("secrets: {}\n", file.display()),
        file: Some(file),
    })
}

fn absent(cluster: &Path, file: &Path) -> Outcome {
    let (cluster, file) = (cluster.display(), file.display());
    Outcome::fault(
        Status::BadInput,
        format!(
            "{file} does not exist, and without secrets there is nothing to render for production\n\
             help: make them once, then render again: generator secrets init {cluster} --secrets {file}\n\
             help: they lie elsewhere: --secrets FILE; only to look at the files: --seed 1"
        ),
    )
}

/// What is to be said of the secrets; an error of them stops the rendering.
fn judge(chosen: &Chosen, cluster: &Cluster, colors: Colors) -> Result<String, Outcome> {
    let Some(file) = &chosen.file else {
        return Ok(String::new());
    };
    let findings = examine_secrets(&chosen.secrets, cluster, OffsetDateTime::now_utc());
    let said = show(&findings, &file.display().to_string(), "", colors);
    if !has_errors(&findings) {
        return Ok(said);
    }
    Err(Outcome {
        status: Status::Fails,
        out: String::new(),
        err: said + "\nnothing was written\n",
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
