//! Restore points: machines frozen into files, from which any number of copies go on at once. A point is found by a hash
//! of everything that went into it, appears in the cache whole or not at all, and is looked through for damage before
//! each use.

mod key;
mod point;
mod seal;
mod store;
pub mod update;

pub use key::{Ingredients, PROTOCOL};
pub use point::{Damage, Manifest, Point, SavedMachine, data_disk_file, disk_file, memory_file, state_file};
pub use seal::Seal;
pub use store::{Listed, Points, RestoreError};

/// Names the limit of all restore points together, e.g. `5GiB`.
const LIMIT: &str = "HARNESS_RESTORE_LIMIT";

/// Bytes that all restore points together may take before those are removed that were not used for the longest time:
/// `HARNESS_RESTORE_LIMIT`, else 20 GiB.
///
/// # Errors
/// [`RestoreError::Limit`] if the variable holds no size.
pub fn limit() -> Result<u64, RestoreError> {
    limit_of(std::env::var(LIMIT).ok())
}

fn limit_of(text: Option<String>) -> Result<u64, RestoreError> {
    const DEFAULT: u64 = 20 << 30;
    let Some(text) = text else { return Ok(DEFAULT) };
    match text.parse::<bytesize::ByteSize>() {
        Ok(size) => Ok(size.as_u64()),
        Err(_) => Err(RestoreError::Limit(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_a_size_or_an_error_that_shows_one() {
        assert_eq!(limit_of(None).expect("a default"), 20 << 30);
        assert_eq!(limit_of(Some("5GiB".into())).expect("a size"), 5 << 30);
        let error = limit_of(Some("much".into())).expect_err("no size");
        assert_eq!(
            error.to_string(),
            "HARNESS_RESTORE_LIMIT: `much` is no size: write it as 5GiB or 800MiB"
        );
    }
}
