//! `generator check`: what an expert would object to.

use std::path::PathBuf;

use super::{Colors, Outcome, Status, count, keys};
use crate::check::{Finding, RULES, check, check_secrets, has_errors};
use crate::diag;
use crate::spec::{Cluster, LoadError};

const EXAMPLES: &str = "\
Examples:
  generator check cluster.toml
  generator check cluster.toml --secrets files/secrets.toml
  generator check cluster.toml --format json | jq '.findings[].code'
  generator check --rules";

/// Check a description as a senior mail engineer would
///
/// Each finding shows the place in the file, what is wrong, why it matters and how to mend it.
/// Errors stop a rendering (exit status 1), warnings do not. A file that cannot be read as a
/// description at all gives exit status 3.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(super) struct Args {
    /// The description, e.g. cluster.toml.
    #[arg(required_unless_present = "rules")]
    cluster: Option<PathBuf>,
    /// For people (text) or for programs (json).
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Look at this file of secrets too: weak, well-known and repeated ones are errors.
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
    /// List what the check can find, and stop.
    #[arg(long)]
    rules: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// The findings of one file.
struct Part {
    name: String,
    source: String,
    findings: Vec<Finding>,
}

pub(super) fn run(args: &Args, colors: Colors) -> Result<Outcome, Outcome> {
    let Some(path) = args.cluster.as_ref().filter(|_| !args.rules) else {
        return Ok(Outcome::holds(rules()));
    };
    let loaded = match Cluster::load(path) {
        Ok(loaded) => loaded,
        Err(error) => return Err(malformed(error, args.format, colors)),
    };
    let mut parts = vec![Part {
        findings: check(&loaded),
        name: loaded.name,
        source: loaded.source,
    }];
    if let Some(file) = &args.secrets {
        let secrets = keys::load(file)?;
        let findings = check_secrets(&secrets);
        parts.push(Part {
            findings,
            name: file.display().to_string(),
            source: String::new(),
        });
    }
    let status = if parts.iter().any(|p| has_errors(&p.findings)) {
        Status::Fails
    } else {
        Status::Holds
    };
    let out = match args.format {
        Format::Text => text(&parts, colors.out),
        Format::Json => json(&parts),
    };
    Ok(Outcome {
        status,
        out,
        err: String::new(),
    })
}

fn malformed(error: LoadError, format: Format, colors: Colors) -> Outcome {
    match (error, format) {
        (
            LoadError::Malformed {
                name,
                source_text,
                diagnostics,
            },
            Format::Json,
        ) => {
            let out = json(&[Part {
                name,
                source: source_text,
                findings: diagnostics,
            }]);
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
    blocks.push(match (errors, warnings) {
        (0, 0) => format!("{names}: nothing to object to\n"),
        _ => format!("{names}: {}, {}\n", count(errors, "error"), count(warnings, "warning")),
    });
    blocks.join("\n")
}

/// One object for the description; with secrets, their findings stand in the same list without line and column.
fn json(parts: &[Part]) -> String {
    let mut whole = serde_json::Value::Null;
    for part in parts {
        let value = diag::to_json(&part.findings, &part.name, &part.source);
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

fn rules() -> String {
    let width = RULES.iter().map(|r| r.code.len()).max().unwrap_or(0);
    let line = |r: &crate::check::Rule| {
        let severity = if r.severity == diag::Severity::Error {
            "error  "
        } else {
            "warning"
        };
        format!("{severity}  {:width$}  {}\n", r.code, r.summary)
    };
    RULES.iter().map(line).collect()
}
