//! Hashes of mailbox passwords that were computed already. One takes milliseconds, on purpose; every node's files, and every
//! rendering with the same secrets, need the same ones.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::password::mailbox_hash;

/// By password and salt, so that a changed password is never met by the hash of the former one. Two are equal whatever was
/// computed so far: it follows from the secrets.
#[derive(Default)]
pub(super) struct Hashes(Mutex<BTreeMap<(String, [u8; 12]), String>>);

impl Hashes {
    /// The hash of a password with this salt, computed once.
    pub(super) fn of(&self, password: &str, salt: [u8; 12]) -> String {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = known.entry((password.to_owned(), salt));
        hash.or_insert_with(|| mailbox_hash(password, &salt)).clone()
    }
}

impl Clone for Hashes {
    fn clone(&self) -> Hashes {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Hashes(Mutex::new(known.clone()))
    }
}

impl PartialEq for Hashes {
    fn eq(&self, _: &Hashes) -> bool {
        true
    }
}

impl Eq for Hashes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_what_is_computed() {
        let (hashes, salt) = (Hashes::default(), *b"abcdefghijkl");
        let first = hashes.of("secret", salt);
        assert_eq!(first, mailbox_hash("secret", &salt));
        assert_eq!(hashes.of("secret", salt), first);
        assert_eq!(hashes.clone().of("secret", salt), first);
    }

    #[test]
    fn another_password_has_another_hash() {
        let (hashes, salt) = (Hashes::default(), *b"abcdefghijkl");
        assert_ne!(hashes.of("secret", salt), hashes.of("other", salt));
    }
}
