//! Two ends over real sockets and real TLS.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::client::{Client, Limits};
use super::server::{Call, Server};
use super::*;
use crate::act::{Peer, PeerError};
use crate::config::{LinkConfig, Span};
use crate::core::Standing;
use crate::release::{Host, HostError};
use crate::zfs::Stream;

/// An authority and the certificates it gave.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let folder = tempfile::tempdir().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.path().join("ca.crt"), certificate.pem()).expect("written");
        Authority {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    /// What `name` needs to talk to `peer`.
    pub(crate) fn tls(&self, name: &str, peer: &str) -> Tls {
        Tls::from_files(&self.link(name), peer).expect("files that fit")
    }

    /// Files of `name`.
    pub(crate) fn link(&self, name: &str) -> LinkConfig {
        let path = |end: &str| self.folder.path().join(format!("{name}{end}"));
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::write(path(".crt"), certificate.pem()).expect("written");
        std::fs::write(path(".key"), key.serialize_pem()).expect("written");
        let second = Span(Duration::from_secs(5));
        LinkConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            certificate: path(".crt"),
            key: path(".key"),
            authority: self.folder.path().join("ca.crt"),
            connect_limit: second,
            silence_limit: second,
            answer_limit: second,
            heartbeat: second,
        }
    }
}

/// Keeps what it takes.
#[derive(Default)]
pub(crate) struct Shelf(tokio::sync::Mutex<Vec<(Name, Vec<u8>)>>);

#[async_trait::async_trait]
impl Host for Shelf {
    async fn ask(&self, _: Ask) -> Result<Told, HostError> {
        match self.0.lock().await.len() {
            0 => Err(HostError::Refused("the shelf is empty".to_owned())),
            number => Ok(Told::Begun(number as u64)),
        }
    }

    async fn take(&self, name: Name, mut stream: Stream) -> Result<(), HostError> {
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes).await;
        read.map_err(|error| HostError::Refused(error.to_string()))?;
        self.0.lock().await.push((name, bytes));
        Ok(())
    }
}

pub(crate) fn limits() -> Limits {
    let second = Duration::from_secs(5);
    Limits {
        connect: second,
        silence: second,
        state: second,
        answer: second,
    }
}

fn view(epoch: u64) -> PeerView {
    PeerView {
        standing: Standing::Standby,
        epoch,
        snapshots: vec![Guid(7)],
        held: vec![Guid(7)],
        resume_token: None,
        tails: Vec::new(),
        alone: false,
    }
}

fn offer() -> Offer {
    Offer {
        target: Target::Live,
        standing: Standing::Writer,
        epoch: 1,
        base: None,
        snapshot: Guid(9),
        resume: None,
    }
}

struct Ends {
    client: Client,
    calls: mpsc::Receiver<Call>,
    _server: tokio::task::JoinHandle<()>,
}

/// mail1 dials, mail2 listens, with the certificates that each shows.
async fn ends(client: Tls, server: Tls) -> Ends {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (calls, calls_in) = mpsc::channel(1);
    let (_, shown) = watch::channel(view(3));
    let server = Server {
        tls: server,
        peer: "mail1".to_owned(),
        view: shown,
        calls,
        releases: Arc::new(Shelf::default()),
        silence: Duration::from_secs(5),
    };
    Ends {
        client: Client::new(client, "mail1".to_owned(), address, limits()),
        calls: calls_in,
        _server: tokio::spawn(server.run(listener)),
    }
}

#[tokio::test]
async fn a_peer_with_a_certificate_of_the_cluster_is_told_how_the_node_stands() {
    let authority = Authority::new();
    let ends = ends(authority.tls("mail1", "mail2"), authority.tls("mail2", "mail1")).await;
    let told = ends
        .client
        .state()
        .await
        .map(|(_, said)| said)
        .expect("not busy")
        .expect("answered");
    assert_eq!(told, view(3));
}

#[tokio::test]
async fn a_stranger_is_hung_up_on() {
    let (authority, other) = (Authority::new(), Authority::new());
    let stranger = Tls {
        connector: other.tls("mail1", "mail2").connector,
        ..authority.tls("mail1", "mail2")
    };
    let ends = ends(stranger, authority.tls("mail2", "mail1")).await;
    assert!(matches!(
        ends.client.state().await.map(|(_, said)| said),
        Some(Err(PeerError::Lost(_)))
    ));
}

#[tokio::test]
async fn a_node_of_the_cluster_that_is_not_the_peer_is_hung_up_on() {
    let authority = Authority::new();
    let ends = ends(authority.tls("gw1", "mail2"), authority.tls("mail2", "mail1")).await;
    assert!(matches!(
        ends.client.state().await.map(|(_, said)| said),
        Some(Err(PeerError::Lost(_)))
    ));
}

#[tokio::test]
async fn a_stream_arrives_as_it_was_and_the_connection_goes_on() {
    let authority = Authority::new();
    let mut ends = ends(authority.tls("mail1", "mail2"), authority.tls("mail2", "mail1")).await;
    let sent: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let stream: crate::zfs::Stream = Box::new(std::io::Cursor::new(sent.clone()));
    let take = async {
        let Some(Call::Offer { mut stream, answer, .. }) = ends.calls.recv().await else {
            panic!("an offer was expected");
        };
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.expect("a whole stream");
        answer.send(Ok(view(4))).expect("somebody waits");
        got
    };
    let (told, got) = tokio::join!(ends.client.offer(offer(), stream), take);
    assert_eq!(told.expect("taken"), view(4));
    assert!(got == sent, "the stream is not as it was");
    assert_eq!(
        ends.client
            .state()
            .await
            .map(|(_, said)| said)
            .expect("not busy")
            .expect("answered"),
        view(3)
    );
}

#[tokio::test]
async fn a_refusal_ends_the_stream_and_says_why() {
    let authority = Authority::new();
    let mut ends = ends(authority.tls("mail1", "mail2"), authority.tls("mail2", "mail1")).await;
    // It has no end: only the refusal ends it.
    let stream: crate::zfs::Stream = Box::new(tokio::io::repeat(7));
    let refuse = async {
        let Some(Call::Offer { answer, .. }) = ends.calls.recv().await else {
            panic!("an offer was expected");
        };
        answer.send(Err(Refusal::WrongBase)).expect("somebody waits");
    };
    let (told, ()) = tokio::join!(ends.client.offer(offer(), stream), refuse);
    assert!(matches!(told, Err(PeerError::Refused(Refusal::WrongBase))), "{told:?}");
    assert!(
        ends.client
            .state()
            .await
            .map(|(_, said)| said)
            .expect("not busy")
            .is_ok(),
        "a new connection is made"
    );
}

/// A stream that fails after its first bytes.
struct Fails(bool);

impl tokio::io::AsyncRead for Fails {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if std::mem::replace(&mut self.0, true) {
            return std::task::Poll::Ready(Err(std::io::Error::other("zfs send failed")));
        }
        buf.put_slice(b"half");
        std::task::Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_stream_that_fails_at_its_source_is_never_whole_for_the_receiver() {
    let authority = Authority::new();
    let mut ends = ends(authority.tls("mail1", "mail2"), authority.tls("mail2", "mail1")).await;
    let take = async {
        let Some(Call::Offer { mut stream, answer, .. }) = ends.calls.recv().await else {
            panic!("an offer was expected");
        };
        let mut got = Vec::new();
        let read = stream.read_to_end(&mut got).await;
        answer
            .send(Err(Refusal::Zfs("broken".to_owned())))
            .expect("somebody waits");
        read.is_err()
    };
    let (told, broken) = tokio::join!(ends.client.offer(offer(), Box::new(Fails(false))), take);
    assert!(broken && told.is_err(), "{told:?}");
}

#[tokio::test]
async fn state_is_not_asked_for_while_a_stream_is_on_its_way() {
    let authority = Authority::new();
    let mut ends = ends(authority.tls("mail1", "mail2"), authority.tls("mail2", "mail1")).await;
    let client = Arc::new(ends.client);
    let sender = client.clone();
    let sending = tokio::spawn(async move { sender.offer(offer(), Box::new(tokio::io::repeat(7))).await.is_err() });
    let Some(Call::Offer { answer, .. }) = ends.calls.recv().await else {
        panic!("an offer was expected");
    };
    assert!(client.state().await.map(|(_, said)| said).is_none());
    answer.send(Err(Refusal::Busy)).expect("somebody waits");
    assert!(sending.await.expect("it ended"));
}

#[tokio::test]
async fn a_peer_that_accepts_and_says_nothing_counts_as_lost() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let short = Limits {
        state: Duration::from_millis(50),
        ..limits()
    };
    let client = Client::new(authority.tls("mail1", "mail2"), "mail1".to_owned(), address, short);
    let told = client.state().await.map(|(_, said)| said);
    assert!(matches!(told, Some(Err(PeerError::Lost(_)))), "{told:?}");
}

#[tokio::test]
async fn a_release_goes_over_and_is_not_the_agents_business() {
    let authority = Authority::new();
    let ends = ends(authority.tls("mail1", "mail2"), authority.tls("mail2", "mail1")).await;
    let name = Name {
        id: "20260101T000000Z-aaaaaaaa".to_owned(),
        seal: serde_json::from_str("\"aa\"").expect("a seal"),
    };
    let refused = Host::ask(&ends.client, Ask::List).await;
    assert_eq!(refused, Err(HostError::Refused("the shelf is empty".to_owned())));
    let bytes = vec![7; 300_000];
    let stream: Stream = Box::new(std::io::Cursor::new(bytes));
    ends.client.take(name, stream).await.expect("it is taken");
    assert_eq!(Host::ask(&ends.client, Ask::List).await, Ok(Told::Begun(1)));
    ends.client
        .state()
        .await
        .expect("a free connection")
        .1
        .expect("it goes on");
}
