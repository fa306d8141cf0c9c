//! Whether a message is signed as a receiver wants it: a DKIM signature (RFC 6376) of the domain in its From line, whole, over
//! what people read, with the key that the zone publishes. Verified by mail-auth; nothing is asked of any name server.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::hash::Hash;
use std::time::Instant;

use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::dkim::Signature;
use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::{
    AuthenticatedMessage, DkimResult, DnsError, Error, MessageAuthenticator, Parameters, ResolverCache, Txt,
};

/// What has to be signed: what a person sees of a message, and what tells it from a copy (RFC 6376 section 5.4.1).
const SIGNED: [&str; 5] = ["from", "to", "subject", "date", "message-id"];

/// The keys that zones publish: whole name, in small letters and without a final dot, to the text of its TXT record.
pub type Keys = BTreeMap<String, String>;

/// Why a receiver would not take a message for the domain's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsigned {
    /// It is no message.
    #[error("it cannot be read as a message")]
    NoMessage,
    /// Nobody has signed it.
    #[error("it has no DKIM signature")]
    NoSignature,
    /// The signature does not hold.
    #[error("the signature of {domain} by the key {selector} does not hold: {reason}")]
    Invalid {
        /// Who signed.
        domain: String,
        /// The key's name.
        selector: String,
        /// What mail-auth says.
        reason: String,
    },
    /// Somebody else has signed it (RFC 7489 section 3.1.1).
    #[error("it is from {from}, and signed by {domain}")]
    NotAligned {
        /// The domain of the From line.
        from: String,
        /// Who signed.
        domain: String,
    },
    /// Something that people read can be changed under way.
    #[error("the signature does not cover {0}")]
    Uncovered(&'static str),
    /// What stands behind the signed part can be anything (RFC 6376 section 8.2).
    #[error("the signature covers the first {0} octets of the body only")]
    Partial(u64),
}

/// Verifies a message, and says who has signed it with which key.
///
/// # Errors
/// [`Unsigned`]: what a receiver would object to.
pub async fn verify(message: &[u8], keys: &Keys) -> Result<String, Unsigned> {
    let message = AuthenticatedMessage::parse(message).ok_or(Unsigned::NoMessage)?;
    let from = message.from.first().and_then(|from| from.rsplit_once('@'));
    let (_, from) = from.ok_or(Unsigned::NoMessage)?;
    let published = Published(keys);
    // Whatever is looked up is found in the zones, or known not to be there: no name server is named.
    let nobody = MessageAuthenticator::new(ResolverConfig::default(), ResolverOpts::default());
    let nobody = nobody.map_err(|_| Unsigned::NoMessage)?;
    let question = Parameters::from(&message).with_txt_cache(&published);
    let mut objection = Unsigned::NoSignature;
    for output in nobody.verify_dkim(question).await {
        let Some(signature) = output.signature() else { continue };
        match judge(signature, output.result(), from) {
            Ok(()) => return Ok(format!("signed by {} with the key {}", signature.d, signature.s)),
            Err(found) => objection = found,
        }
    }
    Err(objection)
}

fn judge(signature: &Signature, result: &DkimResult, from: &str) -> Result<(), Unsigned> {
    match result {
        DkimResult::Pass => {}
        DkimResult::Neutral(reason)
        | DkimResult::Fail(reason)
        | DkimResult::PermError(reason)
        | DkimResult::TempError(reason) => {
            return Err(Unsigned::Invalid {
                domain: signature.d.clone(),
                selector: signature.s.clone(),
                reason: reason.to_string(),
            });
        }
        DkimResult::None => return Err(Unsigned::NoSignature),
    }
    if !signature.d.eq_ignore_ascii_case(from) {
        return Err(Unsigned::NotAligned {
            from: from.to_owned(),
            domain: signature.d.clone(),
        });
    }
    let covers = |name: &&str| signature.h.iter().any(|covered| covered.eq_ignore_ascii_case(name));
    if let Some(missing) = SIGNED.iter().find(|name| !covers(name)) {
        return Err(Unsigned::Uncovered(missing));
    }
    match signature.l {
        0 => Ok(()),
        length => Err(Unsigned::Partial(length)),
    }
}

/// The zones, as mail-auth asks them.
pub(super) struct Published<'a>(pub(super) &'a Keys);

impl ResolverCache<Box<str>, Txt> for Published<'_> {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let asked = self.0.iter().find(|(known, _)| {
            let known: Box<str> = format!("{known}.").into();
            known.borrow() == name
        });
        Some(match asked.map(|(_, text)| DomainKey::parse(text.as_bytes())) {
            Some(Ok(key)) => Txt::DomainKey(key.into()),
            Some(Err(error)) => Txt::Error(error),
            None => Txt::Error(Error::Dns(DnsError::Resolver("the zone has no such key".to_owned()))),
        })
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
}

#[cfg(test)]
mod tests {
    use generator::secrets::{DkimKey, Secrets};
    use mail_auth::common::crypto::{RsaKey, Sha256};
    use mail_auth::common::headers::HeaderWriter;
    use mail_auth::dkim::DkimSigner;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    const MESSAGE: &str = "From: Alice <alice@example.org>\r\nTo: somebody@example.net\r\nSubject: Hello\r\n\
                           Date: Fri, 27 Nov 2026 08:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\r\nDear somebody,\r\n\r\nbye.\r\n";

    fn key(seed: u64) -> DkimKey {
        let cluster = toml::from_str(include_str!("../../../generator/examples/access.toml")).unwrap();
        Secrets::from_seed(&cluster, seed).unwrap().dkim.unwrap()
    }

    fn zone(key: &DkimKey) -> Keys {
        let text = format!("v=DKIM1; h=sha256; k=rsa; p={}", key.public);
        Keys::from([("dkim1._domainkey.example.org".to_owned(), text)])
    }

    fn signed(key: &DkimKey, domain: &str, headers: &[&'static str]) -> String {
        let key = PrivateKeyDer::from_pem_slice(key.private.as_bytes()).unwrap();
        let signature = DkimSigner::from_key(RsaKey::<Sha256>::from_key_der(key).unwrap())
            .domain(domain)
            .selector("dkim1")
            .headers(headers.iter().copied())
            .sign(MESSAGE.as_bytes())
            .unwrap();
        format!("{}{MESSAGE}", signature.to_header())
    }

    const ALL: [&str; 5] = ["From", "To", "Subject", "Date", "Message-ID"];

    #[tokio::test]
    async fn a_message_that_the_domain_has_signed_passes() {
        let key = key(1);
        let said = verify(signed(&key, "example.org", &ALL).as_bytes(), &zone(&key)).await;
        assert_eq!(said.unwrap(), "signed by example.org with the key dkim1");
    }

    #[tokio::test]
    async fn one_that_nobody_has_signed_does_not() {
        assert_eq!(
            verify(MESSAGE.as_bytes(), &zone(&key(1))).await,
            Err(Unsigned::NoSignature)
        );
    }

    #[tokio::test]
    async fn a_body_or_a_subject_that_was_changed_under_way_is_found() {
        let key = key(1);
        let message = signed(&key, "example.org", &ALL);
        for changed in [
            message.replace("bye", "by"),
            message.replace("Subject: Hello", "Subject: Hallo"),
        ] {
            let found = verify(changed.as_bytes(), &zone(&key)).await;
            assert!(matches!(found, Err(Unsigned::Invalid { .. })), "{found:?}");
        }
    }

    #[tokio::test]
    async fn another_key_in_the_zone_and_none_at_all_are_found() {
        let message = signed(&key(1), "example.org", &ALL);
        let other = verify(message.as_bytes(), &zone(&key(2))).await;
        assert!(matches!(other, Err(Unsigned::Invalid { .. })), "{other:?}");
        let none = verify(message.as_bytes(), &Keys::new()).await.unwrap_err();
        assert!(none.to_string().contains("the zone has no such key"), "{none}");
    }

    #[tokio::test]
    async fn a_signature_of_another_domain_does_not_vouch_for_this_one() {
        let key = key(1);
        let keys = Keys::from([(
            "dkim1._domainkey.example.net".to_owned(),
            zone(&key)["dkim1._domainkey.example.org"].clone(),
        )]);
        let found = verify(signed(&key, "example.net", &ALL).as_bytes(), &keys).await;
        let (from, domain) = ("example.org".to_owned(), "example.net".to_owned());
        assert_eq!(found, Err(Unsigned::NotAligned { from, domain }));
    }

    #[tokio::test]
    async fn a_line_that_people_read_has_to_be_covered() {
        let key = key(1);
        let found = verify(
            signed(&key, "example.org", &["From", "To", "Date", "Message-ID"]).as_bytes(),
            &zone(&key),
        )
        .await;
        assert_eq!(found, Err(Unsigned::Uncovered("subject")));
    }
}
