//! `generator secrets`: passwords, keys and certificates, apart from the description.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::check::{Format, Part, told};
use super::{Colors, Outcome, Status, keys, load};
use crate::check::{check, check_certificate, has_errors, refused_secrets};
use crate::diag;
use crate::secrets::{RotateError, Rotated, Secrets};
use crate::spec::Loaded;

mod plan;

const EXAMPLES: &str = "\
Examples:
  generator secrets init cluster.toml --secrets files/secrets.toml
  generator secrets check cluster.toml --secrets files/secrets.toml
  generator secrets rotate cluster.toml --secrets files/secrets.toml                what is due
  generator secrets rotate cluster.toml --secrets files/secrets.toml replication_password
  generator secrets import cluster.toml --secrets files/secrets.toml certificates.lb --chain fullchain.pem --key privkey.pem";

const IMPORT: &str = "\
What can have a certificate of another authority:
  certificates.NODE      a load balancer (webmail's name), or a gateway (its own name, for MTA-STS)
  programs_certificate   what the mail nodes show to mail programs ([access])

As the hook of an ACME client, e.g. certbot's --deploy-hook, with what then renders and installs:
  generator secrets import cluster.toml --secrets files/secrets.toml certificates.lb \\
      --chain \"$RENEWED_LINEAGE/fullchain.pem\" --key \"$RENEWED_LINEAGE/privkey.pem\"";

const ROTATE: &str = "\
What can be rotated, by its name in the file:
  replication_password       the former one is accepted too, until --finish
  ca                         the authority; the former one is trusted too, until --finish
  certificates               those of all nodes, but for one from another authority
  certificates.NODE          one node's
  dkim                       the key that signs mail; the former one is published too, until --finish
  corosync_authkey           mail nodes that decide by themselves who is the writer; corosync is restarted by hand
  roundcube_des_key          webmail's key; users of webmail log in once more
  database_passwords[.NAME]  accounts that programs of a node use on that node
  mailbox_passwords[.ADDRESS]
                             first passwords; an account that exists keeps its own

Examples:
  generator secrets rotate cluster.toml --secrets files/secrets.toml
  generator secrets rotate cluster.toml --secrets files/secrets.toml ca
  generator secrets rotate cluster.toml --secrets files/secrets.toml certificates.mail1
  generator secrets rotate cluster.toml --secrets files/secrets.toml --finish";

/// Make, check and rotate passwords, keys and certificates
///
/// They lie in a file of their own, apart from the description, which only its owner may read
/// (mode 0600; one that others can read is refused). It is written whole or not at all, and no
/// secret is ever printed.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make the secrets of a cluster, once
    ///
    /// A file that exists is never overwritten: nodes may be using what it holds.
    #[command(verbatim_doc_comment)]
    Init {
        #[command(flatten)]
        files: Files,
    },
    /// Say what is weak, missing, unknown, over or soon over
    ///
    /// Exit status 1 if a rendering would be refused, 0 if there are warnings only.
    #[command(verbatim_doc_comment)]
    Check {
        #[command(flatten)]
        files: Files,
        /// For people (text), for programs (json), or for code-review tools (sarif: SARIF 2.1.0).
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Take over a certificate of another authority, e.g. a public one
    ///
    /// It is refused if the key belongs to another certificate, the chain is out of order, it does
    /// not cover the names that clients look for, or has ended. A rotation leaves it alone unless it
    /// is named; its renewal is imported again.
    #[command(verbatim_doc_comment, after_help = IMPORT)]
    Import {
        #[command(flatten)]
        files: Files,
        /// Whose it is, by its name in the file.
        what: String,
        /// The certificate, followed by those of the authorities in between; PEM.
        #[arg(long, value_name = "FILE")]
        chain: PathBuf,
        /// Its private key; PEM (PKCS#8, without a passphrase).
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Give new values to secrets, and say which nodes are to be installed in which order
    ///
    /// Without WHAT: what is missing, what the check refuses, and certificates that end within 30
    /// days. Where a node would refuse another one until both have the new value, the former one is
    /// kept and accepted until `--finish`. Nothing reaches a node before you render and install.
    #[command(verbatim_doc_comment, after_help = ROTATE)]
    Rotate {
        #[command(flatten)]
        files: Files,
        /// The secrets, by name.
        what: Vec<String>,
        /// Drop the former values of rotations whose new values are on every node.
        #[arg(long, conflicts_with = "what")]
        finish: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Files {
    /// The description, e.g. cluster.toml.
    cluster: PathBuf,
    /// The file of the secrets; `check` takes `-` for standard input, too.
    #[arg(long, value_name = "FILE")]
    secrets: PathBuf,
}

pub(super) fn run(args: &Args, colors: Colors) -> Result<Outcome, Outcome> {
    let (Verb::Init { files } | Verb::Rotate { files, .. } | Verb::Import { files, .. } | Verb::Check { files, .. }) =
        &args.verb;
    if files.secrets == Path::new("-") && !matches!(args.verb, Verb::Check { .. }) {
        let message = "this verb writes the file of the secrets, and `-` is none; name one: --secrets FILE";
        return Err(Outcome::fault(Status::BadInput, message));
    }
    match &args.verb {
        Verb::Init { files } => init(files, &described(&files.cluster, colors)?),
        Verb::Check { files, format } => {
            let loaded = load(&files.cluster, colors)?;
            let secrets = keys::load(&files.secrets)?;
            let part = Part::of_secrets(&files.secrets, &secrets, &loaded.cluster);
            Ok(told(&[part], *format, colors))
        }
        Verb::Import {
            files,
            what,
            chain,
            key,
        } => {
            let loaded = described(&files.cluster, colors)?;
            import(files, what, &text_of(chain)?, &text_of(key)?, &loaded, colors)
        }
        Verb::Rotate { files, what, finish } => rotate(files, what, *finish, &described(&files.cluster, colors)?),
    }
}

/// A description without errors: one with a wrong name would get certificates for it.
fn described(path: &Path, colors: Colors) -> Result<Loaded, Outcome> {
    let loaded = load(path, colors)?;
    let findings = check(&loaded);
    if !has_errors(&findings) {
        return Ok(loaded);
    }
    Err(Outcome {
        status: Status::Fails,
        out: String::new(),
        err: diag::render(&findings, &loaded.name, &loaded.source, colors.err) + "\nnothing was written\n",
    })
}

fn init(files: &Files, loaded: &Loaded) -> Result<Outcome, Outcome> {
    let secrets = Secrets::random(&loaded.cluster).map_err(|e| keys::fault(&e))?;
    if let Some(folder) = files.secrets.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|e| Outcome::fault(Status::Environment, format!("{}: {e}", folder.display())))?;
    }
    secrets.create(&files.secrets).map_err(|e| {
        let mut outcome = keys::fault(&e);
        if outcome.status == Status::BadInput {
            outcome
                .err
                .push_str("help: generator secrets check looks at it, generator secrets rotate gives new values\n");
        }
        outcome
    })?;
    let file = files.secrets.display();
    Ok(Outcome::holds(format!(
        "{file}: secrets of {} nodes and {} mailboxes (mode 0600)\n\
         Keep it apart from the description and somewhere safe: whoever has it has the cluster.\n",
        loaded.cluster.nodes.len(),
        loaded.cluster.mailboxes.len(),
    )))
}

fn text_of(path: &Path) -> Result<String, Outcome> {
    std::fs::read_to_string(path).map_err(|e| {
        let status = match e.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData => Status::BadInput,
            _ => Status::Environment,
        };
        Outcome::fault(status, format!("{}: {e}", path.display()))
    })
}

fn import(
    files: &Files,
    what: &str,
    chain: &str,
    key: &str,
    loaded: &Loaded,
    colors: Colors,
) -> Result<Outcome, Outcome> {
    let before = keys::load(&files.secrets)?;
    let secrets = before
        .import(&loaded.cluster, what, chain, key)
        .map_err(|e| Outcome::fault(Status::BadInput, e))?;
    let findings = check_certificate(&secrets, &loaded.cluster, what, OffsetDateTime::now_utc());
    let told = diag::render(&findings, &loaded.name, &loaded.source, colors.err);
    if has_errors(&findings) {
        return Err(Outcome {
            status: Status::Fails,
            out: String::new(),
            err: told + "\nnothing was written\n",
        });
    }
    let file = files.secrets.display();
    if secrets == before {
        return Ok(Outcome::holds(format!("{file}: it is that certificate already\n")));
    }
    let steps = plan::steps(&loaded.cluster, &before, &secrets, &files.cluster, &files.secrets);
    secrets.save(&files.secrets).map_err(|e| keys::fault(&e))?;
    let mut outcome = Outcome::holds(format!("{file}: new:\n  {what}\n\n{steps}"));
    outcome.err = told;
    Ok(outcome)
}

fn rotate(files: &Files, what: &[String], finish: bool, loaded: &Loaded) -> Result<Outcome, Outcome> {
    let before = keys::load(&files.secrets)?;
    let rotated = if finish {
        before.finish_rotation()
    } else if what.is_empty() {
        before.rotate(&loaded.cluster, &refused_secrets(&before), OffsetDateTime::now_utc())
    } else {
        before.rotate(&loaded.cluster, what, OffsetDateTime::now_utc())
    };
    let Rotated { secrets, changed } = rotated.map_err(|e| match e {
        RotateError::Secrets(e) => keys::fault(&e),
        other => Outcome::fault(Status::BadInput, other),
    })?;
    if changed.is_empty() {
        return Ok(Outcome::holds(format!("{}: nothing is due\n", files.secrets.display())));
    }
    let steps = plan::steps(&loaded.cluster, &before, &secrets, &files.cluster, &files.secrets);
    secrets.save(&files.secrets).map_err(|e| keys::fault(&e))?;
    let word = if finish { "dropped" } else { "new" };
    let list: String = changed.iter().map(|name| format!("  {name}\n")).collect();
    Ok(Outcome::holds(format!(
        "{}: {word}:\n{list}\n{steps}",
        files.secrets.display()
    )))
}
