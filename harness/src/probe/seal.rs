//! Whether a message that somebody has forwarded is sealed as its receiver wants it (ARC, RFC 8617): the chain holds by the keys
//! that zones publish, its first link is the cluster's, and says that the message was authentic when it came. Verified by
//! mail-auth; nothing is asked of any name server.

use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters};

use super::dkim::{Keys, Published};

/// What the seal has to say of a message that its domain has signed.
const FOUND: [&str; 2] = ["dkim=pass", "dmarc=pass"];

/// Why a receiver would not believe the seal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsealed {
    /// It is no message.
    #[error("it cannot be read as a message")]
    NoMessage,
    /// Nobody has sealed it.
    #[error("it has no seal (ARC)")]
    NoSeal,
    /// The chain does not hold.
    #[error("the seal of {domain} does not hold: {reason}")]
    Invalid {
        /// Who sealed last.
        domain: String,
        /// What mail-auth says.
        reason: String,
    },
    /// Somebody else has sealed it first.
    #[error("{0} has sealed it first")]
    Foreign(String),
    /// The seal says something else of the message.
    #[error("the seal does not say {missing}: {said}")]
    Says {
        /// What it should say.
        missing: &'static str,
        /// What it says.
        said: String,
    },
}

/// Verifies the seals of a message that `domain` should have sealed first, and says who did with which key.
///
/// # Errors
/// [`Unsealed`]: what a receiver would object to.
pub async fn verify(message: &[u8], domain: &str, keys: &Keys) -> Result<String, Unsealed> {
    let message = AuthenticatedMessage::parse(message).ok_or(Unsealed::NoMessage)?;
    let published = Published(keys);
    let nobody = MessageAuthenticator::new(ResolverConfig::default(), ResolverOpts::default());
    let nobody = nobody.map_err(|_| Unsealed::NoMessage)?;
    let chain = nobody
        .verify_arc(Parameters::from(&message).with_txt_cache(&published))
        .await;
    let (Some(first), Some(last)) = (chain.sets().first(), chain.sets().last()) else {
        return Err(match chain.result() {
            DkimResult::None => Unsealed::NoSeal,
            result => Unsealed::Invalid {
                domain: "somebody".to_owned(),
                reason: result.to_string(),
            },
        });
    };
    if *chain.result() != DkimResult::Pass {
        return Err(Unsealed::Invalid {
            domain: last.seal.header.d.clone(),
            reason: chain.result().to_string(),
        });
    }
    let seal = first.seal.header;
    if !seal.d.eq_ignore_ascii_case(domain) {
        return Err(Unsealed::Foreign(seal.d.clone()));
    }
    let said = String::from_utf8_lossy(first.results.value);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(missing) = FOUND.into_iter().find(|found| !said.contains(found)) {
        return Err(Unsealed::Says { missing, said });
    }
    Ok(format!("sealed by {} with the key {}", seal.d, seal.s))
}

#[cfg(test)]
mod tests {
    use generator::secrets::{DkimKey, Secrets};
    use mail_auth::arc::ArcSealer;
    use mail_auth::common::crypto::{RsaKey, Sha256};
    use mail_auth::common::headers::HeaderWriter;
    use mail_auth::{ArcOutput, AuthenticationResults};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    const MESSAGE: &str = "From: Somebody <somebody@elsewhere.example>\r\nTo: alice@example.org\r\nSubject: Hello\r\n\
                           Date: Fri, 27 Nov 2026 08:00:00 +0000\r\nMessage-ID: <1@elsewhere.example>\r\n\r\nHello.\r\n";

    fn key(seed: u64) -> DkimKey {
        let cluster = toml::from_str(include_str!("../../../generator/examples/access.toml")).expect("a cluster");
        Secrets::from_seed(&cluster, seed)
            .expect("secrets")
            .dkim
            .expect("a key")
    }

    fn zone(key: &DkimKey) -> Keys {
        let text = format!("v=DKIM1; h=sha256; k=rsa; p={}", key.public);
        Keys::from([("dkim1._domainkey.example.org".to_owned(), text)])
    }

    fn sealed(key: &DkimKey, domain: &str, results: &str) -> String {
        let message = AuthenticatedMessage::parse(MESSAGE.as_bytes()).expect("a message");
        // What follows the host's name stands there as it is given.
        let results = format!("gateway.example.org; {results}");
        let said = AuthenticationResults::new(&results);
        let key = PrivateKeyDer::from_pem_slice(key.private.as_bytes()).expect("a key");
        let set = ArcSealer::from_key(RsaKey::<Sha256>::from_key_der(key).expect("a key"))
            .domain(domain)
            .selector("dkim1")
            .headers(["From", "To", "Subject", "Date", "Message-ID"])
            .seal(&message, &said, &ArcOutput::default())
            .expect("sealed");
        format!("{}{MESSAGE}", set.to_header())
    }

    const GOOD: &str = "dkim=pass header.d=elsewhere.example; dmarc=pass header.from=elsewhere.example";

    #[tokio::test]
    async fn a_seal_of_the_cluster_over_what_was_authentic_is_believed() {
        let key = key(1);
        let said = verify(sealed(&key, "example.org", GOOD).as_bytes(), "example.org", &zone(&key)).await;
        assert_eq!(said.expect("believed"), "sealed by example.org with the key dkim1");
    }

    #[tokio::test]
    async fn a_message_that_nobody_has_sealed_is_not() {
        let found = verify(MESSAGE.as_bytes(), "example.org", &zone(&key(1))).await;
        assert_eq!(found, Err(Unsealed::NoSeal));
    }

    #[tokio::test]
    async fn a_body_that_was_changed_after_the_seal_is_found() {
        let key = key(1);
        let message = sealed(&key, "example.org", GOOD).replace("Hello.\r\n", "Hallo.\r\n");
        let found = verify(message.as_bytes(), "example.org", &zone(&key)).await;
        assert!(matches!(found, Err(Unsealed::Invalid { .. })), "{found:?}");
    }

    #[tokio::test]
    async fn another_key_in_the_zone_is_found() {
        let message = sealed(&key(1), "example.org", GOOD);
        let found = verify(message.as_bytes(), "example.org", &zone(&key(2))).await;
        assert!(matches!(found, Err(Unsealed::Invalid { .. })), "{found:?}");
    }

    #[tokio::test]
    async fn a_seal_that_tells_of_no_success_is_found() {
        let key = key(1);
        let message = sealed(&key, "example.org", "dkim=pass header.d=elsewhere.example; dmarc=fail");
        let found = verify(message.as_bytes(), "example.org", &zone(&key)).await;
        assert!(
            matches!(
                found,
                Err(Unsealed::Says {
                    missing: "dmarc=pass",
                    ..
                })
            ),
            "{found:?}"
        );
    }

    #[tokio::test]
    async fn a_seal_of_somebody_else_is_not_the_clusters() {
        let key = key(1);
        let message = sealed(&key, "example.org", GOOD);
        let found = verify(message.as_bytes(), "example.net", &zone(&key)).await;
        assert_eq!(found, Err(Unsealed::Foreign("example.org".to_owned())));
    }
}
