//! Mail by LMTP, through the proxy and the agent to the other node.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::zfs::fake::FakePool;

/// Dovecot: keeps each message in the pool, and answers 250.
async fn dovecot(stream: tokio::net::UnixStream, pool: Arc<FakePool>, number: usize) -> std::io::Result<()> {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
    let (read, mut write) = stream.into_split();
    let mut lines = tokio::io::BufReader::new(read).lines();
    write.write_all(b"220 dovecot\r\n").await?;
    let (mut text, mut message) = (false, 0);
    while let Some(line) = lines.next_line().await? {
        let reply = match (text, line.as_str()) {
            (true, ".") => {
                text = false;
                message += 1;
                pool.write(MAIL, &format!("anna/new/{number}.{message}"), Some("mail"));
                "250 2.0.0 Saved\r\n"
            }
            (true, _) => continue,
            (false, "DATA") => {
                text = true;
                "354 OK\r\n"
            }
            (false, _) => "250 2.0.0 OK\r\n",
        };
        write.write_all(reply.as_bytes()).await?;
    }
    Ok(())
}

/// Delivers one message to this user by LMTP; the answer to the final dot.
async fn deliver(address: SocketAddr, user: usize) -> String {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
    let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let mut stream = tokio::io::BufReader::new(stream);
    let mut last = String::new();
    let recipient = format!("RCPT TO:<user{user}@b>");
    for (line, replies) in [
        ("", 1),
        ("LHLO gw", 5),
        ("MAIL FROM:<a@b>", 1),
        (recipient.as_str(), 1),
        ("DATA", 1),
        (".", 1),
    ] {
        if !line.is_empty() {
            stream
                .get_mut()
                .write_all(format!("{line}\r\n").as_bytes())
                .await
                .expect("sent");
        }
        for _ in 0..replies {
            last.clear();
            stream.read_line(&mut last).await.expect("answered");
        }
    }
    last
}

#[tokio::test]
async fn messages_to_a_hundred_users_by_lmtp_are_on_both_nodes_when_they_are_acknowledged() {
    let duo = Duo::in_step(Policy::Defer).await;
    let folder = tempfile::tempdir().expect("a folder");
    let backend = folder.path().join("lmtp");
    let socket = tokio::net::UnixListener::bind(&backend).expect("a socket");
    let pool = duo.nodes[0].pool.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for number in 0.. {
            let Ok((stream, _)) = socket.accept().await else { return };
            tokio::spawn(dovecot(stream, pool.clone(), number));
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let config = crate::config::CommitConfig {
        listen: address,
        backend,
        peer_missing: Policy::Defer,
        tls: false,
        limits: crate::config::CommitLimits {
            // However many processors this machine has.
            deliveries: 16,
            ..crate::config::CommitLimits::default()
        },
    };
    let committer = crate::proxy::Agent {
        commands: duo.nodes[0].commands.clone(),
        status: duo.nodes[0].status.clone(),
        policy: Policy::Defer,
    };
    let mail = crate::config::MailConfig::default();
    let deliveries = crate::deliveries::Deliveries::new(folder.path(), std::time::Duration::from_secs(3600), &mail);
    let name = "mail1".to_owned();
    let proxy = crate::proxy::Proxy::new(
        config,
        name,
        None,
        Arc::new(committer),
        Arc::default(),
        Arc::new(deliveries),
    );
    tasks.spawn(crate::proxy::serve(listener, Arc::new(proxy)));
    let before = duo.nodes[0].pool.snapshots_taken();
    let answers = futures_all((0..100).map(|user| deliver(address, user))).await;
    let there = duo.nodes[1].pool.files(MAIL).len();
    assert!(answers.iter().all(|answer| answer.starts_with("250")), "{answers:?}");
    assert_eq!(there, 100);
    let taken = duo.nodes[0].pool.snapshots_taken() - before;
    assert!(taken < 50, "{taken} snapshots for 100 messages");
}
