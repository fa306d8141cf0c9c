//! Who is not of the cluster: a domain whose mail is signed and whose policy is strict, and two whose mail nobody may send.
//! Their records are what machines learn from the name server; names are from RFC 2606.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::DkimSigner;

/// The domain that signs.
pub(super) const DOMAIN: &str = "elsewhere.example";
/// Its key's name.
const SELECTOR: &str = "s1";

/// The domain elsewhere, and its key.
pub struct Elsewhere {
    server: Ipv4Addr,
    key: Vec<u8>,
    public: Vec<u8>,
}

impl Elsewhere {
    /// With a new key, and a mail server at this address.
    ///
    /// # Errors
    /// The host has no random numbers.
    pub(super) fn new(server: Ipv4Addr) -> Result<Elsewhere, String> {
        let key = Ed25519Key::generate_pkcs8().map_err(|error| error.to_string())?;
        let public = Ed25519Key::from_pkcs8_der(&key).map_err(|error| error.to_string())?;
        Ok(Elsewhere {
            server,
            public: public.public_key(),
            key,
        })
    }

    /// What the name server knows of them: domain to zone.
    pub(super) fn zones(&self) -> BTreeMap<String, String> {
        let (server, public) = (self.server, STANDARD.encode(&self.public));
        let signs = format!(
            "@ IN A {server}\n@ IN MX 10 {DOMAIN}.\n@ IN TXT \"v=spf1 ip4:{server} -all\"\n\
             {SELECTOR}._domainkey IN TXT \"v=DKIM1; k=ed25519; p={public}\"\n_dmarc IN TXT \"v=DMARC1; p=reject\"\n"
        );
        let nobody = |policy: &str| {
            format!("@ IN MX 10 {DOMAIN}.\n@ IN TXT \"v=spf1 -all\"\n_dmarc IN TXT \"v=DMARC1; p={policy}\"\n")
        };
        [
            (DOMAIN, signs),
            ("strict.example", nobody("reject")),
            ("doubtful.example", nobody("quarantine")),
        ]
        .map(|(domain, zone)| (domain.to_owned(), zone))
        .into()
    }

    /// A message with the domain's signature, lines ended by CRLF.
    ///
    /// # Errors
    /// mail-auth cannot sign it.
    pub(super) fn signed(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let key = Ed25519Key::from_pkcs8_der(&self.key).map_err(|error| error.to_string())?;
        let signer = DkimSigner::from_key(key).domain(DOMAIN).selector(SELECTOR);
        let signature = signer
            .headers(["From", "To", "Subject", "Date", "Message-ID"])
            .sign(message)
            .map_err(|error| error.to_string())?;
        Ok([signature.to_header().as_bytes(), message].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lan::zones::Zones;
    use crate::probe::dkim;

    #[tokio::test]
    async fn what_it_signs_holds_by_the_key_that_it_publishes() {
        let elsewhere = Elsewhere::new(Ipv4Addr::LOCALHOST).expect("a key");
        let message = b"From: a@elsewhere.example\r\nTo: b@example.org\r\nSubject: Hello\r\n\
                        Date: Fri, 27 Nov 2026 08:00:00 +0000\r\nMessage-ID: <1@elsewhere.example>\r\n\r\nHello.\r\n";
        let signed = elsewhere.signed(message).expect("signed");
        let said = dkim::verify(&signed, &Zones::parse(&elsewhere.zones()).keys()).await;
        assert_eq!(said.expect("holds"), "signed by elsewhere.example with the key s1");
    }
}
