//! Sessions over real sockets, with a backend that plays Dovecot.

mod late;
mod limits;
mod merged;
mod tls;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpStream, UnixListener, UnixStream};

use super::*;
use crate::config::{CommitLimits, Span};

/// Ends a message that a gateway has given this queue id.
const FROM_GATEWAY: &str =
    "Received: from x\r\n\tby gw.test (Postfix) with ESMTP id A1;\r\n\tMon\r\n\r\nhello\r\n.\r\n";

/// What the backend does with the text of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Takes it; recipients whose name begins with `full` are refused then.
    Takes,
    /// Hangs up after the final dot.
    HangsUp,
    /// Takes it, answers, and hangs up then.
    ServesOnce,
    /// Takes it, and answers when the test lets it.
    Dawdles,
}

/// Messages that the backend has got whole.
type Got = Arc<Mutex<Vec<String>>>;

async fn dovecot(
    stream: UnixStream,
    manner: Manner,
    got: Got,
    mut stored: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 dovecot\r\n").await?;
    let mut recipients = Vec::new();
    while let Some(line) = lines.next_line().await? {
        let reply = match line.get(..4) {
            Some("LHLO") => "250-dovecot\r\n250 8BITMIME\r\n",
            Some("RCPT") if line.contains("unknown") => "550 5.1.1 Unknown\r\n",
            Some("RCPT") => {
                recipients.push(line);
                "250 2.1.5 OK\r\n"
            }
            Some("DATA") => {
                write.write_all(b"354 OK\r\n").await?;
                let mut text = String::new();
                loop {
                    let Some(line) = lines.next_line().await? else {
                        return Ok(());
                    };
                    if line == "." {
                        break;
                    }
                    text += &line;
                }
                got.lock().expect("got").push(text);
                if manner == Manner::HangsUp {
                    return Ok(());
                }
                if manner == Manner::Dawdles && stored.wait_for(|stored| *stored).await.is_err() {
                    return Ok(());
                }
                for recipient in recipients.drain(..) {
                    let full = recipient.contains("full");
                    write
                        .write_all(if full {
                            b"452 4.2.2 Full\r\n"
                        } else {
                            b"250 2.0.0 Saved\r\n"
                        })
                        .await?;
                }
                if manner == Manner::ServesOnce {
                    return Ok(());
                }
                continue;
            }
            _ => "250 2.0.0 OK\r\n",
        };
        write.write_all(reply.as_bytes()).await?;
    }
    Ok(())
}

/// Confirms when it is told to, many at once.
struct Confirms {
    ready: Result<(), &'static str>,
    outcome: Committed,
    go: watch::Receiver<bool>,
    waiting: AtomicUsize,
}

#[async_trait]
impl Committer for Confirms {
    fn ready(&self) -> Result<(), &'static str> {
        self.ready
    }

    async fn commit(&self) -> Committed {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut go = self.go.clone();
        let told = go.wait_for(|go| *go).await;
        assert!(told.is_ok(), "the test has ended");
        self.outcome
    }
}

/// How a stage differs from another one.
struct Setup {
    manner: Manner,
    outcome: Committed,
    go: bool,
    ready: Result<(), &'static str>,
    /// The backend has to answer within this.
    backend_limit: Duration,
    tls: Option<TlsAcceptor>,
}

impl Setup {
    fn of(manner: Manner) -> Setup {
        Setup {
            manner,
            outcome: Committed::Both,
            go: true,
            ready: Ok(()),
            backend_limit: Duration::from_secs(10),
            tls: None,
        }
    }
}

struct Stage {
    _folder: tempfile::TempDir,
    address: std::net::SocketAddr,
    got: Got,
    go: watch::Sender<bool>,
    /// Whether a backend that dawdles answers.
    stored: watch::Sender<bool>,
    confirms: Arc<Confirms>,
    metrics: Arc<Metrics>,
    /// Of the backend, so far.
    connections: Arc<AtomicUsize>,
    deliveries: Arc<Deliveries>,
    _tasks: JoinSet<()>,
}

impl Stage {
    async fn new(manner: Manner, outcome: Committed, go: bool) -> Stage {
        let setup = Setup {
            outcome,
            go,
            ..Setup::of(manner)
        };
        Stage::set_up(setup).await
    }

    async fn set_up(setup: Setup) -> Stage {
        let Setup {
            manner,
            outcome,
            go,
            ready,
            backend_limit,
            tls,
        } = setup;
        let folder = tempfile::tempdir().expect("a folder");
        let backend: PathBuf = folder.path().join("lmtp");
        let socket = UnixListener::bind(&backend).expect("a socket");
        let got = Got::default();
        let mut tasks = JoinSet::new();
        let (kept, connections) = (got.clone(), Arc::new(AtomicUsize::new(0)));
        let counted = connections.clone();
        let (stored, answers) = watch::channel(false);
        tasks.spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(dovecot(stream, manner, kept.clone(), answers.clone()));
            }
        });
        let (go, going) = watch::channel(go);
        let mail = crate::config::MailConfig {
            gateways: vec!["gw.test".to_owned()],
            ..crate::config::MailConfig::default()
        };
        let deliveries = Arc::new(Deliveries::new(folder.path(), Duration::from_secs(3600), &mail));
        let confirms = Arc::new(Confirms {
            ready,
            outcome,
            go: going,
            waiting: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let limit = Span(Duration::from_secs(10));
        let metrics = Arc::new(Metrics::default());
        let config = CommitConfig {
            listen: address,
            backend,
            peer_missing: Policy::Defer,
            tls: tls.is_some(),
            limits: CommitLimits {
                message: 1000,
                recipients: 3,
                connections: 150,
                deliveries: 2,
                turn: limit,
                client: limit,
                backend: Span(backend_limit),
                confirm: limit,
            },
        };
        let proxy = Proxy::new(
            config,
            "mail1".to_owned(),
            tls,
            confirms.clone(),
            metrics.clone(),
            deliveries.clone(),
        );
        tasks.spawn(serve(listener, Arc::new(proxy)));
        Stage {
            _folder: folder,
            address,
            got,
            go,
            stored,
            confirms,
            metrics,
            connections,
            deliveries,
            _tasks: tasks,
        }
    }

    async fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.expect("connected");
        let mut client = Client(BufReader::new(stream));
        assert!(client.reply().await.starts_with("220 "));
        client.ask("LHLO gw").await;
        client
    }

    fn got(&self) -> usize {
        self.got.lock().expect("got").len()
    }

    /// Until the backend has so many messages whole.
    async fn until_got(&self, count: usize) {
        let wait = async {
            while self.got() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .expect("they come whole");
    }

    /// Until so many wait for a confirmation.
    async fn until_waiting(&self, count: usize) {
        let wait = async {
            while self.confirms.waiting.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .expect("they come to wait");
    }
}

struct Client<S = TcpStream>(BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.expect("sent");
    }

    /// The last line of the next reply; empty if the other side has hung up.
    async fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(Duration::from_secs(20), self.0.read_line(&mut line)).await;
            read.expect("an answer in time").expect("readable");
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.trim_end().to_owned();
            }
        }
    }

    async fn ask(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n")).await;
        self.reply().await
    }

    async fn begin(&mut self, recipients: &[&str]) {
        assert!(self.ask("MAIL FROM:<a@b> SIZE=10").await.starts_with("250"));
        for recipient in recipients {
            self.ask(&format!("RCPT TO:<{recipient}@b>")).await;
        }
        assert!(self.ask("DATA").await.starts_with("354"));
    }
}

#[tokio::test]
async fn the_answer_to_the_final_dot_waits_for_the_confirmation() {
    let stage = Stage::new(Manner::Takes, Committed::Both, false).await;
    let mut client = stage.client().await;
    client.begin(&["anna"]).await;
    client.send("hello\r\n.\r\n").await;
    stage.until_waiting(1).await;
    assert_eq!(stage.got(), 1, "the backend has it already");
    assert!(client.0.buffer().is_empty());
    stage.go.send_replace(true);
    assert!(client.reply().await.starts_with("250"));
    assert_eq!(stage.metrics.confirmed.get(), 1);
}

#[tokio::test]
async fn pipelined_recipients_get_one_answer_each_in_their_order() {
    let stage = Stage::new(Manner::Takes, Committed::Both, true).await;
    let mut client = stage.client().await;
    client
        .send("MAIL FROM:<a@b>\r\nRCPT TO:<anna@b>\r\nRCPT TO:<unknown@b>\r\nRCPT TO:<full@b>\r\nDATA\r\n")
        .await;
    let expected = ["250", "250", "550", "250", "354"];
    for code in expected {
        assert!(client.reply().await.starts_with(code));
    }
    client.send("hello\r\n.\r\nQUIT\r\n").await;
    for code in ["250", "452", "221"] {
        assert!(
            client.reply().await.starts_with(code),
            "one for each recipient that was taken"
        );
    }
}

#[tokio::test]
async fn a_message_that_nobody_got_needs_no_confirmation() {
    let stage = Stage::new(Manner::Takes, Committed::Both, false).await;
    let mut client = stage.client().await;
    client.begin(&["full"]).await;
    assert!(client.ask("hello\r\n.").await.starts_with("452"));
}

#[tokio::test]
async fn a_message_that_is_not_confirmed_is_put_off_and_counted() {
    let stage = Stage::new(Manner::Takes, Committed::Deferred, true).await;
    let mut client = stage.client().await;
    client.begin(&["anna", "full"]).await;
    client.send("hello\r\n.\r\n").await;
    assert!(client.reply().await.starts_with("451 4.3.0"));
    assert!(client.reply().await.starts_with("452"));
    assert_eq!(stage.metrics.deferred.get(), 1);
}

#[tokio::test]
async fn with_accept_a_message_that_only_this_node_has_is_acknowledged_and_counted() {
    let stage = Stage::new(Manner::Takes, Committed::Alone, true).await;
    let mut client = stage.client().await;
    client.begin(&["anna"]).await;
    assert!(client.ask("hello\r\n.").await.starts_with("250"));
    assert_eq!(stage.metrics.alone.get(), 1);
}

#[tokio::test]
async fn a_node_that_cannot_confirm_turns_mail_away_before_the_backend_sees_it() {
    let setup = Setup {
        ready: Err("this node takes no mail now"),
        ..Setup::of(Manner::Takes)
    };
    let stage = Stage::set_up(setup).await;
    let mut client = stage.client().await;
    assert_eq!(
        client.ask("MAIL FROM:<a@b>").await,
        "451 4.3.2 this node takes no mail now"
    );
}

#[tokio::test]
async fn a_backend_that_hangs_up_after_the_dot_leaves_nothing_acknowledged() {
    let stage = Stage::new(Manner::HangsUp, Committed::Both, true).await;
    let mut client = stage.client().await;
    client.begin(&["anna", "ben"]).await;
    client.send("hello\r\n.\r\n").await;
    assert!(client.reply().await.starts_with("451"));
    assert!(client.reply().await.starts_with("451"));
    client.begin(&["anna"]).await;
}

#[tokio::test]
async fn a_backend_that_has_closed_an_idle_connection_is_connected_to_again() {
    let stage = Stage::new(Manner::ServesOnce, Committed::Both, true).await;
    let mut client = stage.client().await;
    for _ in 0..3 {
        client.begin(&["anna"]).await;
        assert!(client.ask("hello\r\n.").await.starts_with("250"));
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_dot_has_delivered_nothing() {
    let stage = Stage::new(Manner::Takes, Committed::Both, true).await;
    let mut client = stage.client().await;
    client.begin(&["anna"]).await;
    client.send("half a mess").await;
    drop(client);
    let mut other = stage.client().await;
    other.begin(&["anna"]).await;
    assert!(other.ask("whole\r\n.").await.starts_with("250"));
    assert_eq!(*stage.got.lock().expect("got"), ["whole"]);
}

#[tokio::test]
async fn a_client_that_leaves_after_the_dot_has_delivered() {
    let stage = Stage::new(Manner::Takes, Committed::Both, false).await;
    let mut client = stage.client().await;
    client.begin(&["anna"]).await;
    client.send("hello\r\n.\r\n").await;
    stage.until_waiting(1).await;
    drop(client);
    stage.go.send_replace(true);
    assert_eq!(stage.got(), 1);
}

#[tokio::test]
async fn who_waits_for_the_confirmation_leaves_its_connection_to_the_next() {
    let stage = Stage::new(Manner::Takes, Committed::Both, false).await;
    let mut clients = Vec::new();
    for number in 1..=5 {
        let mut client = stage.client().await;
        client.begin(&["anna"]).await;
        client.send("hello\r\n.\r\n").await;
        stage.until_waiting(number).await;
        clients.push(client);
    }
    assert_eq!((stage.got(), stage.connections.load(Ordering::SeqCst)), (5, 1));
}

#[tokio::test]
async fn only_so_many_are_given_to_the_backend_at_a_time() {
    let stage = Stage::new(Manner::Takes, Committed::Both, true).await;
    let (mut first, mut second) = (stage.client().await, stage.client().await);
    first.begin(&["anna"]).await;
    second.begin(&["anna"]).await;
    let mut third = stage.client().await;
    third.send("MAIL FROM:<a@b>\r\n").await;
    let early = tokio::time::timeout(Duration::from_millis(200), third.reply()).await;
    assert!(early.is_err(), "it has no turn yet: {early:?}");
    first.send("hello\r\n.\r\n").await;
    assert!(third.reply().await.starts_with("250"));
}

#[tokio::test]
async fn of_two_messages_for_one_mailbox_the_second_ends_when_the_first_is_stored() {
    let stage = Stage::new(Manner::Dawdles, Committed::Both, true).await;
    let (mut first, mut second) = (stage.client().await, stage.client().await);
    first.begin(&["anna"]).await;
    second.begin(&["bert", "Anna+list"]).await;
    first.send("hello\r\n.\r\n").await;
    stage.until_got(1).await;
    second.send("hello\r\n.\r\n").await;
    let early = tokio::time::timeout(Duration::from_millis(200), stage.until_got(2)).await;
    assert!(early.is_err(), "the first is not stored yet");
    stage.stored.send_replace(true);
    assert!(first.reply().await.starts_with("250"));
    assert!(second.reply().await.starts_with("250"));
}

#[tokio::test]
async fn messages_for_two_mailboxes_are_stored_at_a_time() {
    let stage = Stage::new(Manner::Dawdles, Committed::Both, true).await;
    let (mut first, mut second) = (stage.client().await, stage.client().await);
    first.begin(&["anna"]).await;
    second.begin(&["bert"]).await;
    first.send("hello\r\n.\r\n").await;
    second.send("hello\r\n.\r\n").await;
    stage.until_got(2).await;
}

#[tokio::test]
async fn a_hundred_messages_wait_together() {
    let stage = Stage::new(Manner::Takes, Committed::Both, false).await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = stage.client().await;
        client.begin(&["anna"]).await;
        client.send("hello\r\n.\r\n").await;
        clients.push(client);
    }
    stage.until_waiting(100).await;
    stage.go.send_replace(true);
    for mut client in clients {
        assert!(client.reply().await.starts_with("250"));
    }
}
