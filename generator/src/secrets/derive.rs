//! One master key, one independent stream of bytes a label.
//!
//! Every secret is drawn from its own stream, so adding a mailbox or a node never changes the secrets of the others,
//! and the order in which they are made does not matter. The master comes from a number (tests) or from the operating
//! system (production) and is dropped afterwards.

use rand::TryRng;
use rand::rngs::SysRng;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::SecretsError;

const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Where the bytes of new secrets come from.
pub(super) struct Source {
    master: [u8; 32],
}

impl Source {
    /// The same number gives the same secrets, always and everywhere.
    pub(super) fn seeded(seed: u64) -> Source {
        let mut hash = Sha256::new();
        hash.update(b"cluster secrets from a seed\0");
        hash.update(seed.to_be_bytes());
        Source {
            master: hash.finalize().into(),
        }
    }

    /// Randomness of the operating system.
    pub(super) fn system() -> Result<Source, SecretsError> {
        let mut master = [0; 32];
        SysRng
            .try_fill_bytes(&mut master)
            .map_err(|e| SecretsError::Randomness(e.to_string()))?;
        Ok(Source { master })
    }

    fn stream(&self, label: &str) -> ChaCha20Rng {
        let mut hash = Sha256::new();
        hash.update(self.master);
        hash.update(label.as_bytes());
        ChaCha20Rng::from_seed(hash.finalize().into())
    }

    /// `N` bytes of the label's stream.
    pub(super) fn bytes<const N: usize>(&self, label: &str) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream(label).fill_bytes(&mut bytes);
        bytes
    }

    /// `length` characters out of `A-Za-z0-9`, each equally likely (5.95 bits a character).
    pub(super) fn password(&self, label: &str, length: usize) -> String {
        let mut stream = self.stream(label);
        let mut password = String::with_capacity(length);
        let mut byte = [0];
        while password.len() < length {
            stream.fill_bytes(&mut byte);
            // 248 = 4 * 62: a modulus over all 256 values would prefer the first eight characters.
            if byte[0] < 248 {
                password.push(char::from(ALPHANUMERIC[usize::from(byte[0]) % ALPHANUMERIC.len()]));
            }
        }
        password
    }

    /// A P-256 private key. Candidates outside the group order are skipped, as FIPS 186-5 A.2.2 describes.
    pub(super) fn p256_key(&self, label: &str) -> p256::SecretKey {
        let mut stream = self.stream(label);
        let mut candidate = [0; 32];
        loop {
            stream.fill_bytes(&mut candidate);
            if let Ok(key) = p256::SecretKey::from_slice(&candidate) {
                return key;
            }
        }
    }

    /// An RSA private key.
    ///
    /// # Errors
    /// The stream gives no key of that size; with sizes that are in use this does not happen.
    pub(super) fn rsa_key(&self, label: &str, bits: usize) -> rsa::Result<rsa::PrivateKey> {
        rsa::PrivateKey::new(&mut self.stream(label), bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_label_give_the_same_bytes() {
        assert_eq!(Source::seeded(7).bytes::<8>("a"), Source::seeded(7).bytes::<8>("a"));
        assert_ne!(Source::seeded(7).bytes::<8>("a"), Source::seeded(8).bytes::<8>("a"));
        assert_ne!(Source::seeded(7).bytes::<8>("a"), Source::seeded(7).bytes::<8>("b"));
    }

    #[test]
    fn a_password_has_the_asked_length_and_only_letters_and_digits() {
        let password = Source::seeded(1).password("p", 1000);
        assert_eq!(password.len(), 1000);
        assert!(password.bytes().all(|b| b.is_ascii_alphanumeric()));
    }

    #[test]
    fn two_draws_from_the_system_differ() {
        let (a, b) = (Source::system().unwrap(), Source::system().unwrap());
        assert_ne!(a.bytes::<16>("x"), b.bytes::<16>("x"));
    }
}
