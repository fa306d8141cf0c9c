//! TLS for the clients: trust in the cluster's own authority and in nobody else, or, as mail servers do among
//! strangers (RFC 7435), encryption without asking who the other side is.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::dial::Stream;

/// Why a TLS configuration or session could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The authority's PEM holds no certificate, or one that cannot be read.
    #[error("the authority's certificate cannot be used: {0}")]
    Authority(String),
    /// The name to be verified is no host name.
    #[error("{0:?} is not a host name")]
    Name(String),
    /// The handshake failed; among the reasons is a certificate that does not verify.
    #[error("TLS handshake: {0}")]
    Handshake(String),
}

/// A client configuration that trusts the authorities in `ca_pem` only and verifies names.
pub fn trusting(ca_pem: &str) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|e| TlsError::Authority(e.to_string()))?;
        roots.add(certificate).map_err(|e| TlsError::Authority(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TlsError::Authority("no certificate in the PEM text".into()));
    }
    let config = builder()?.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

/// A client configuration that encrypts and accepts every certificate (opportunistic security, RFC 7435).
pub fn opportunistic() -> Result<Arc<ClientConfig>, TlsError> {
    let config = builder()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(Arc::new(ring::default_provider()))))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Authority(e.to_string()))
}

/// Runs the client's side of a handshake over `stream`; `name` goes into SNI and is verified if the configuration
/// verifies. Has no time limit of its own.
pub async fn handshake(
    config: &Arc<ClientConfig>,
    name: &str,
    stream: Box<dyn Stream>,
) -> Result<TlsStream<Box<dyn Stream>>, TlsError> {
    let server = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))?;
    let connector = TlsConnector::from(config.clone());
    connector
        .connect(server, stream)
        .await
        .map_err(|e| TlsError::Handshake(e.to_string()))
}

/// Accepts every certificate, and still checks that the other side holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
