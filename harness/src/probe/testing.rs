//! Servers that play a script over in-process pipes, for tests of the clients.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use generator::secrets::Secrets;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, crypto::ring};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::dial::{Dial, DialError, Stream};

/// One move of a scripted server.
#[derive(Clone)]
pub enum Move {
    /// Sends these bytes.
    Say(String),
    /// Reads one line, which must contain this; otherwise the server hangs up.
    Hear(&'static str),
    /// Reads up to and with these bytes.
    Until(&'static [u8]),
    /// Runs the server's side of a TLS handshake.
    Tls(Arc<ServerConfig>),
    /// Keeps the connection open and never says anything again.
    Hang,
}

/// What a client meets at an address.
#[derive(Clone)]
pub enum Host {
    /// The connection is refused.
    Refuses,
    /// Nothing answers.
    Silent,
    /// One script a connection, in order; connections beyond the last are refused.
    Plays(Vec<Vec<Move>>),
}

/// The connections in the order they were dialled, each with what the client sent.
type Overheard = Vec<(Ipv4Addr, Vec<u8>)>;

/// A network of scripted hosts. Everything that clients send is kept.
#[derive(Clone, Default)]
pub struct Stage {
    hosts: Arc<Mutex<HashMap<Ipv4Addr, Host>>>,
    heard: Arc<Mutex<Overheard>>,
}

impl Stage {
    pub fn host(self, address: [u8; 4], host: Host) -> Self {
        self.hosts.lock().unwrap().insert(address.into(), host);
        self
    }

    /// A host that plays one script.
    pub fn plays(self, address: [u8; 4], script: Vec<Move>) -> Self {
        self.host(address, Host::Plays(vec![script]))
    }

    /// The addresses dialled, in order.
    pub fn dialled(&self) -> Vec<Ipv4Addr> {
        self.heard.lock().unwrap().iter().map(|(address, _)| *address).collect()
    }

    /// What the server of the `n`-th connection heard (after decryption).
    pub fn heard(&self, n: usize) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()[n].1).into_owned()
    }

    fn next_script(&self, address: &Ipv4Addr) -> Option<Vec<Move>> {
        match self.hosts.lock().unwrap().get_mut(address) {
            Some(Host::Plays(scripts)) if !scripts.is_empty() => Some(scripts.remove(0)),
            _ => None,
        }
    }
}

#[async_trait]
impl Dial for Stage {
    async fn dial(&self, _: Ipv4Addr, to: SocketAddrV4, deadline: Duration) -> Result<Box<dyn Stream>, DialError> {
        let number = {
            let mut heard = self.heard.lock().unwrap();
            heard.push((*to.ip(), Vec::new()));
            heard.len() - 1
        };
        let silent = matches!(self.hosts.lock().unwrap().get(to.ip()), Some(Host::Silent));
        if silent {
            tokio::time::sleep(deadline).await;
            return Err(DialError::Silent(deadline));
        }
        let script = self.next_script(to.ip()).ok_or(DialError::Refused)?;
        let (client, server) = tokio::io::duplex(1 << 16);
        let heard = self.heard.clone();
        tokio::spawn(async move { perform(script, Box::new(server), heard, number).await });
        Ok(Box::new(client))
    }
}

async fn perform(
    script: Vec<Move>,
    mut stream: Box<dyn Stream>,
    heard: Arc<Mutex<Overheard>>,
    number: usize,
) -> Option<()> {
    for step in script {
        match step {
            Move::Say(text) => stream.write_all(text.as_bytes()).await.ok()?,
            Move::Hear(part) => {
                let line = read_until(&mut stream, b"\n", &heard, number).await?;
                if !String::from_utf8_lossy(&line).contains(part) {
                    return None;
                }
            }
            Move::Until(end) => drop(read_until(&mut stream, end, &heard, number).await?),
            Move::Tls(config) => stream = Box::new(TlsAcceptor::from(config).accept(stream).await.ok()?),
            Move::Hang => std::future::pending().await,
        }
    }
    let _ = stream.shutdown().await;
    Some(())
}

async fn read_until(
    stream: &mut Box<dyn Stream>,
    end: &[u8],
    heard: &Mutex<Overheard>,
    number: usize,
) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        let byte = stream.read_u8().await.ok()?;
        heard.lock().unwrap()[number].1.push(byte);
        bytes.push(byte);
    }
    Some(bytes)
}

/// Says `text`, each line ended with CRLF.
pub fn say(text: &str) -> Move {
    Move::Say(text.lines().map(|line| format!("{line}\r\n")).collect())
}

/// The authority of a test cluster (PEM) and a server with its certificate for `mail1.example.org`.
pub fn authority() -> (String, Arc<ServerConfig>) {
    let cluster = toml::from_str(include_str!("../../../generator/examples/access.toml")).unwrap();
    let secrets = Secrets::from_seed(&cluster, 7).unwrap();
    let certificate = &secrets.certificates["mail1"];
    let chain = CertificateDer::pem_slice_iter(certificate.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (secrets.ca_certificate.clone(), Arc::new(config))
}
