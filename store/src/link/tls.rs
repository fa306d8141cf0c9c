//! TLS 1.3 between the agents. Each side proves by a certificate of the cluster's authority that it is the node it says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::config::{Config, LinkConfig};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be used: {what}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// The name of the peer is no DNS name.
    #[error("{0:?} is no name that a certificate can carry")]
    Name(String),
    /// The certificate and the key, or the versions, do not go together.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The authority cannot judge clients.
    #[error("the authority cannot be used: {0}")]
    Authority(String),
}

/// Both directions.
#[derive(Clone)]
pub struct Tls {
    /// For who dials.
    pub connector: TlsConnector,
    /// For who listens.
    pub acceptor: TlsAcceptor,
    /// Name that the other side has to prove.
    pub peer: ServerName<'static>,
}

fn file_error(path: &Path, what: &impl ToString) -> TlsError {
    TlsError::File {
        path: path.to_owned(),
        what: what.to_string(),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| file_error(path, &error))?;
    let found: Vec<_> = read
        .collect::<Result<_, _>>()
        .map_err(|error| file_error(path, &error))?;
    match found.is_empty() {
        true => Err(file_error(path, &"there is no certificate in it")),
        false => Ok(found),
    }
}

/// This node's certificate with its chain, and its key.
fn identity(link: &LinkConfig) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let key = PrivateKeyDer::from_pem_file(&link.key).map_err(|error| file_error(&link.key, &error))?;
    Ok((certificates(&link.certificate)?, key))
}

impl Tls {
    /// From the files that the configuration names.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn new(config: &Config) -> Result<Tls, TlsError> {
        Tls::from_files(&config.link, &config.peer.name)
    }

    pub(super) fn from_files(link: &LinkConfig, peer: &str) -> Result<Tls, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&link.authority)? {
            roots.add(certificate)?;
        }
        let roots = Arc::new(roots);
        let (chain, key) = identity(link)?;
        let provider = Arc::new(ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(chain.clone(), key.clone_key())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| TlsError::Authority(error.to_string()))?;
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        Ok(Tls {
            connector: TlsConnector::from(Arc::new(client)),
            acceptor: TlsAcceptor::from(Arc::new(server)),
            peer: ServerName::try_from(peer.to_owned()).map_err(|_| TlsError::Name(peer.to_owned()))?,
        })
    }

    /// TLS 1.3 for those who show no certificate and see this node's, such as a gateway's Postfix.
    ///
    /// # Errors
    /// One of the files cannot be used.
    pub fn for_gateways(link: &LinkConfig) -> Result<TlsAcceptor, TlsError> {
        let (chain, key) = identity(link)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        // Postfix writes each ticket to its cache (tlsmgr(8)) over the one before, and resumes with the last.
        config.send_tls13_tickets = 1;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// True if the certificate that a client showed is the peer's. That the authority signed it has been verified.
    pub fn is_peer(&self, shown: Option<&[CertificateDer<'_>]>) -> bool {
        let Some(first) = shown.and_then(<[_]>::first) else {
            return false;
        };
        webpki::EndEntityCert::try_from(first)
            .is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(&self.peer).is_ok())
    }
}
