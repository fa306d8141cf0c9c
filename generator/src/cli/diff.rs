//! `generator diff`: what would change on a live root.

use std::path::PathBuf;

use similar::TextDiff;

use super::agent::AgentArgs;
use super::{Colors, Outcome, Status, count, keys, load};
use crate::bundle::{Bundle, File};
use crate::check::{check, has_errors};
use crate::diag;
use crate::render::restarts;
use crate::secrets::Secrets;
use crate::spec::{Cluster, Loaded};
use root::{Entry, Root};

mod root;

const EXAMPLES: &str = "\
Examples:
  generator diff cluster.toml --node mail1 --root / --secrets files/secrets.toml
  generator diff cluster.toml --node mail1 --root /mnt/mail1

The contents of secret files, and of live files that not everybody may read, are never shown.
Without --secrets, files that hold passwords, keys or certificates are not compared at all, and the
last line says how many.";

/// Show what an installation would change on a machine's file system
///
/// Compares the files of one node with a root directory: new files, changed contents as a unified
/// diff, changed mode or owner, and the services that would restart. Nothing is written. Exit
/// status 0 if nothing differs, 1 if something does, 4 if a file could not be read.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(super) struct Args {
    /// The description, e.g. cluster.toml.
    cluster: PathBuf,
    /// The node, by name.
    #[arg(long, value_name = "NAME")]
    node: String,
    /// The root directory: `/` on the machine itself, or where its file system is mounted.
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// The secrets with which the machine was installed; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
    #[command(flatten)]
    agent: AgentArgs,
}

/// What the comparison found.
#[derive(Default)]
struct Comparison {
    text: String,
    new: usize,
    changed: usize,
    unknown: usize,
    /// The paths that are new or changed.
    paths: Vec<String>,
    same: usize,
    skipped: usize,
}

pub(super) fn run(args: &Args, colors: Colors) -> Result<Outcome, Outcome> {
    let loaded = load(&args.cluster, colors)?;
    let findings = check(&loaded);
    if has_errors(&findings) {
        let err = diag::render(&findings, &loaded.name, &loaded.source, colors.err);
        return Err(Outcome {
            status: Status::BadInput,
            out: String::new(),
            err,
        });
    }
    known(&loaded, &args.node)?;
    let root = Root::open(&args.root).map_err(|e| Outcome::fault(Status::Environment, e))?;
    let (expected, other) = renderings(args, &loaded.cluster)?;
    let (Some(tree), other) = (
        expected.nodes.get(&args.node),
        other.as_ref().and_then(|b| b.nodes.get(&args.node)),
    ) else {
        return Err(Outcome::fault(
            Status::BadInput,
            format!("no file is rendered for the node {}", args.node),
        ));
    };
    let mut comparison = Comparison::default();
    for (path, file) in &tree.files {
        let depends_on_secrets = other.is_some_and(|o| o.files.get(path) != Some(file));
        if depends_on_secrets {
            comparison.skipped += 1;
            continue;
        }
        let entry = root.entry(path).map_err(|e| Outcome::fault(Status::Environment, e))?;
        comparison.add(path, file, &entry, &root);
    }
    let node = loaded.cluster.node(&args.node);
    let changed = comparison.paths.iter().map(String::as_str);
    let restarts = node.map_or_else(Vec::new, |node| restarts(&loaded.cluster, node, changed));
    Ok(comparison.outcome(args, &restarts))
}

fn known(loaded: &Loaded, node: &str) -> Result<(), Outcome> {
    if loaded.cluster.node(node).is_some() {
        return Ok(());
    }
    let names: Vec<&str> = loaded.cluster.nodes.iter().map(|n| n.name.as_str()).collect();
    let help = diag::did_you_mean(node, &names).unwrap_or_default();
    Err(Outcome::fault(
        Status::BadInput,
        format!("{} describes no node {node:?}; {help}", loaded.name),
    ))
}

/// The node's files. Without secrets, a second rendering with others: what differs between the two holds secrets.
fn renderings(args: &Args, cluster: &Cluster) -> Result<(Bundle, Option<Bundle>), Outcome> {
    let agent = args.agent.load(cluster)?;
    let render = |secrets: &Secrets| {
        crate::render::render(cluster, secrets, agent.as_ref())
            .map_err(|e| Outcome::fault(Status::BadInput, super::render::chain(&e)))
    };
    match &args.secrets {
        Some(file) => Ok((render(&keys::load(file)?)?, None)),
        None => {
            let seeded = |seed| Secrets::from_seed(cluster, seed).map_err(|e| keys::fault(&e));
            Ok((render(&seeded(0)?)?, Some(render(&seeded(1)?)?)))
        }
    }
}

impl Comparison {
    fn add(&mut self, path: &str, file: &File, entry: &Entry, root: &Root) {
        let before = self.text.len();
        match entry {
            Entry::Missing => {
                self.new += 1;
                self.paths.push(path.to_owned());
                let (mode, owner, group) = (file.mode, &file.owner, &file.group);
                self.say(format_args!(
                    "new: {path} ({mode:04o} {owner}:{group}, {} bytes)",
                    file.contents.len()
                ));
                return;
            }
            Entry::Unreadable(reason) => {
                self.unknown += 1;
                return self.say(format_args!("unknown: {path}: {reason}"));
            }
            Entry::Other(what) => self.say(format_args!("changed: {path} is {what}, would become a file")),
            Entry::File {
                contents,
                mode,
                uid,
                gid,
            } => {
                if *contents != file.contents {
                    self.contents(path, file, contents, *mode);
                }
                if *mode != file.mode {
                    self.say(format_args!("mode: {path} {mode:04o} would become {:04o}", file.mode));
                }
                let (owner, group) = (root.user(*uid), root.group(*gid));
                if owner != file.owner || group != file.group {
                    self.say(format_args!(
                        "owner: {path} {owner}:{group} would become {}:{}",
                        file.owner, file.group
                    ));
                }
            }
        }
        if self.text.len() == before {
            self.same += 1;
        } else {
            self.changed += 1;
            self.paths.push(path.to_owned());
        }
    }

    fn contents(&mut self, path: &str, file: &File, live: &[u8], mode: u32) {
        // What not everybody may read may hold a secret, whatever will stand there.
        if file.secret || mode & 0o007 == 0 {
            return self.say(format_args!("changed: {path} differs (secret, not shown)"));
        }
        match (std::str::from_utf8(live), std::str::from_utf8(&file.contents)) {
            (Ok(old), Ok(new)) => {
                self.say(format_args!("changed: {path}"));
                let diff = TextDiff::from_lines(old, new);
                let (a, b) = (format!("a{path}"), format!("b{path}"));
                self.text
                    .push_str(&diff.unified_diff().context_radius(3).header(&a, &b).to_string());
            }
            _ => self.say(format_args!("changed: {path} differs (not text)")),
        }
    }

    fn say(&mut self, line: std::fmt::Arguments<'_>) {
        self.text.push_str(&format!("{line}\n"));
    }

    fn outcome(self, args: &Args, restarts: &[&str]) -> Outcome {
        let mut out = self.text;
        if !restarts.is_empty() {
            out.push_str(&format!("would restart: {}\n", restarts.join(" ")));
        }
        let (node, root) = (&args.node, args.root.display());
        out.push_str(&format!(
            "{node} on {root}: {} new, {} changed, {} the same",
            self.new, self.changed, self.same
        ));
        if self.unknown > 0 {
            out.push_str(&format!(", {} unknown", self.unknown));
        }
        if self.skipped > 0 {
            let files = count(self.skipped, "file");
            out.push_str(&format!(
                ", {files} with passwords, keys or certificates not compared (give --secrets FILE)"
            ));
        }
        out.push('\n');
        let status = if self.new + self.changed > 0 {
            Status::Fails
        } else if self.unknown > 0 {
            Status::Environment
        } else {
            Status::Holds
        };
        Outcome {
            status,
            out,
            err: String::new(),
        }
    }
}

#[cfg(test)]
mod tests;
