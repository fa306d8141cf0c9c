//! Where a verb takes the secrets from.

use std::path::Path;

use super::{Outcome, Status};
use crate::secrets::{Secrets, SecretsError};

/// Reads a file of secrets, or says why it cannot be used. `-` is standard input: a keeper of passwords hands them over
/// without a file.
pub(super) fn load(path: &Path) -> Result<Secrets, Outcome> {
    if path != Path::new("-") {
        return Secrets::load(path).map_err(|e| fault(&e));
    }
    let text = std::io::read_to_string(std::io::stdin())
        .map_err(|e| Outcome::fault(Status::Environment, format!("standard input: {e}")))?;
    Secrets::parse("standard input", &text).map_err(|e| fault(&e))
}

/// The outcome for an error with secrets: the machine's fault unless the file's contents are bad.
pub(super) fn fault(error: &SecretsError) -> Outcome {
    let status = match error {
        SecretsError::Malformed { .. }
        | SecretsError::Key(_)
        | SecretsError::Certificate(_)
        | SecretsError::Exists { .. } => Status::BadInput,
        SecretsError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Status::BadInput,
        _ => Status::Environment,
    };
    Outcome::fault(status, error)
}
