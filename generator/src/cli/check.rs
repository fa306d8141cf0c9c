//! `generator check`: what an expert would object to.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::{Colors, Outcome, Status, count, keys, rules};
use crate::check::{Finding, examine, examine_secrets, has_errors};
use crate::diag::{self, sarif};
use crate::secrets::Secrets;
use crate::spec::{Cluster, LoadError};

const EXAMPLES: &str = "\
Examples:
  generator check cluster.toml
  generator check cluster.toml --secrets files/secrets.toml
  generator check cluster.toml --format json | jq '.findings[].code'
  generator check cluster.toml --format sarif > check.sarif
  generator check --rules
  generator check --explain smtp-fallback-relay

Silence a finding that you accept, in the description itself; the reason is not optional:
  [[silence]]
  code = \"single-gateway\"
  reason = \"a second one comes in May\"
  at = \"node[2]\"                  only at this key or below it; may be left out";

/// Check a description as a senior mail engineer would
///
/// Each finding shows the place in the file, what is wrong, why it matters and how to mend it.
/// Errors stop a rendering (exit status 1), warnings do not. A file that cannot be read as a
/// description at all gives exit status 3.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(super) struct Args {
    /// The description, e.g. cluster.toml.
    #[arg(required_unless_present_any = ["rules", "explain"])]
    cluster: Option<PathBuf>,
    /// For people (text), for programs (json), or for code-review tools (sarif: SARIF 2.1.0).
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Look at this file of secrets too (`-`: standard input), as `generator secrets check` does.
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
    /// List what the check can find, and stop.
    #[arg(long)]
    rules: bool,
    /// Tell the long form of a finding, with sources, and stop.
    #[arg(long, value_name = "CODE", conflicts_with_all = ["rules", "cluster"])]
    explain: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
    Sarif,
}

/// The findings of one file.
pub(super) struct Part {
    name: String,
    source: String,
    findings: Vec<Finding>,
    silenced: Vec<(Finding, String)>,
}

pub(super) fn run(args: &Args, colors: Colors) -> Result<Outcome, Outcome> {
    if let Some(code) = &args.explain {
        return rules::explain(code);
    }
    let Some(path) = args.cluster.as_ref().filter(|_| !args.rules) else {
        return Ok(Outcome::holds(rules::list()));
    };
    let loaded = match Cluster::load(path) {
        Ok(loaded) => loaded,
        Err(error) => return Err(malformed(error, args.format, colors)),
    };
    let examined = examine(&loaded);
    let silenced = examined.silenced.into_iter().map(|s| (s.finding, s.reason));
    let mut parts = vec![Part {
        findings: examined.findings,
        silenced: silenced.collect(),
        name: loaded.name,
        source: loaded.source,
    }];
    if let Some(file) = &args.secrets {
        let secrets = keys::load(file)?;
        parts.push(Part::of_secrets(file, &secrets, &loaded.cluster));
    }
    Ok(told(&parts, args.format, colors))
}

impl Part {
    /// What is to be said of a file of secrets.
    pub(super) fn of_secrets(file: &Path, secrets: &Secrets, cluster: &Cluster) -> Part {
        Part {
            findings: examine_secrets(secrets, cluster, OffsetDateTime::now_utc()),
            silenced: Vec::new(),
            name: file.display().to_string(),
            source: String::new(),
        }
    }
}

/// The findings in the wanted form, and the status that they give.
pub(super) fn told(parts: &[Part], format: Format, colors: Colors) -> Outcome {
    let status = if parts.iter().any(|p| has_errors(&p.findings)) {
        Status::Fails
    } else {
        Status::Holds
    };
    let out = match format {
        Format::Text => text(parts, colors.out),
        Format::Json => json(parts),
        Format::Sarif => sarif(parts),
    };
    Outcome {
        status,
        out,
        err: String::new(),
    }
}

fn malformed(error: LoadError, format: Format, colors: Colors) -> Outcome {
    match (error, format) {
        (
            LoadError::Malformed {
                name,
                source_text,
                diagnostics,
            },
            Format::Json | Format::Sarif,
        ) => {
            let parts = [Part {
                name,
                source: source_text,
                findings: diagnostics,
                silenced: Vec::new(),
            }];
            let out = if format == Format::Json {
                json(&parts)
            } else {
                sarif(&parts)
            };
            Outcome {
                status: Status::BadInput,
                out,
                err: String::new(),
            }
        }
        (error, _) => Outcome {
            status: Status::BadInput,
            out: String::new(),
            err: error.render(colors.err),
        },
    }
}

fn text(parts: &[Part], color: bool) -> String {
    let mut blocks: Vec<String> = parts
        .iter()
        .filter(|p| !p.findings.is_empty())
        .map(|p| diag::render(&p.findings, &p.name, &p.source, color))
        .collect();
    let all = || parts.iter().flat_map(|p| &p.findings);
    let errors = all().filter(|f| f.is_error()).count();
    let warnings = all().count() - errors;
    let names: Vec<&str> = parts.iter().map(|p| p.name.as_str()).collect();
    let names = names.join(" and ");
    let silenced: usize = parts.iter().map(|p| p.silenced.len()).sum();
    let silenced = if silenced == 0 {
        String::new()
    } else {
        format!(", {silenced} silenced")
    };
    blocks.push(match (errors, warnings) {
        (0, 0) => format!("{names}: nothing to object to{silenced}\n"),
        _ => format!(
            "{names}: {}, {}{silenced}\n",
            count(errors, "error"),
            count(warnings, "warning")
        ),
    });
    blocks.join("\n")
}

/// One object for the description; with secrets, their findings stand in the same list without line and column. What the
/// description silences stands apart, each with its `reason`.
fn json(parts: &[Part]) -> String {
    let mut whole = serde_json::Value::Null;
    for part in parts {
        let mut value = diag::to_json(&part.findings, &part.name, &part.source);
        let (silenced, reasons): (Vec<Finding>, Vec<&String>) =
            part.silenced.iter().map(|(f, r)| (f.clone(), r)).unzip();
        value["silenced"] = diag::to_json(&silenced, &part.name, &part.source)["findings"].take();
        for (index, reason) in reasons.into_iter().enumerate() {
            value["silenced"][index]["reason"] = reason.as_str().into();
        }
        if whole.is_null() {
            whole = value;
            continue;
        }
        for count in ["errors", "warnings"] {
            whole[count] = (whole[count].as_u64().unwrap_or(0) + value[count].as_u64().unwrap_or(0)).into();
        }
        if let (Some(all), Some(more)) = (whole["findings"].as_array_mut(), value["findings"].as_array()) {
            all.extend(more.iter().cloned());
        }
    }
    format!("{whole:#}\n")
}

fn sarif(parts: &[Part]) -> String {
    let files: Vec<sarif::Examined<'_>> = parts
        .iter()
        .map(|part| sarif::Examined {
            name: &part.name,
            source: &part.source,
            findings: &part.findings,
            silenced: &part.silenced,
        })
        .collect();
    let log = sarif::to_sarif("generator", env!("CARGO_PKG_VERSION"), &rules::texts(), &files);
    format!("{log:#}\n")
}
