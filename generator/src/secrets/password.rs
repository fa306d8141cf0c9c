//! Hashes of mailbox passwords in the form that Dovecot reads from the `vmail` database.

use sha_crypt::{Algorithm, CustomizedPasswordHasher, Params, ShaCrypt};

/// Rounds of SHA-512-crypt: the scheme's own default (crypt(5)).
pub const ROUNDS: u32 = 5000;

/// `{SHA512-CRYPT}$6$...` of a password: Dovecot's scheme prefix and the crypt(5) string. The salt's twelve bytes
/// become its sixteen characters; the same password and salt give the same hash.
pub fn mailbox_hash(password: &str, salt: &[u8; 12]) -> String {
    let params = Params::new(ROUNDS).expect("5000 rounds lie within the scheme's limits of 1000 and 999999999");
    let hash = ShaCrypt::new(Algorithm::Sha512Crypt, params)
        .hash_password_customized(password.as_bytes(), salt, None, None, params)
        .expect("twelve bytes are a sixteen-character salt, the longest that the scheme takes");
    format!("{{SHA512-CRYPT}}{}", hash.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_what_crypt_computes() {
        // Computed with `openssl passwd -6 -salt 'rounds=5000$V7qMYJaNbVKOeh4P' secret`.
        assert_eq!(
            mailbox_hash("secret", b"abcdefghijkl"),
            "{SHA512-CRYPT}$6$rounds=5000$V7qMYJaNbVKOeh4P$v1TccBL3GYE945hru3koMlBAsr0IOPKddqg3W.0lWytKSwsdubWiWWfz6.\
             WPgO4EfXY.b0GYFI03hBoDS1WZ9/"
        );
    }

    #[test]
    fn another_salt_gives_another_hash() {
        assert_ne!(
            mailbox_hash("secret", b"abcdefghijkl"),
            mailbox_hash("secret", b"abcdefghijkm")
        );
    }
}
