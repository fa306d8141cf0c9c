use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::switch::Switch;

const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const SECOND: Duration = Duration::from_secs(1);

fn host(switch: &Switch, name: &str, last: u8) -> Lan {
    let config = LanConfig {
        mac: [2, 0, 0, 0, 0, last],
        addresses: vec![(Ipv4Addr::new(10, 0, 0, last), 24)],
    };
    Lan::start(switch.attach_local(name), &config)
}

/// A listening socket of the stack, so that the two hosts can speak to one another.
fn listen(lan: &Lan, port: u16) -> LanStream {
    let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.listen(port).unwrap();
    LanStream::new(lan.clone(), lan.shared.stack().sockets.add(socket))
}

fn pair() -> (Switch, Lan, Lan) {
    let switch = Switch::new();
    let (here, there) = (host(&switch, "here", 1), host(&switch, "there", 2));
    (switch, here, there)
}

#[tokio::test]
async fn bytes_cross_whole_in_both_directions() {
    let (_switch, here, there) = pair();
    let mut server = listen(&there, 80);
    let mut client = here
        .connect(HERE, SocketAddrV4::new(THERE, 80), 5 * SECOND)
        .await
        .unwrap();
    let sent: Arc<Vec<u8>> = Arc::new((0..1_000_000u32).map(|n| (n % 251) as u8).collect());
    let echoed = sent.clone();
    let echo = tokio::spawn(async move {
        let mut got = vec![0; echoed.len()];
        server.read_exact(&mut got).await.unwrap();
        server.write_all(&got).await.unwrap();
        server.flush().await.unwrap();
        server
    });
    client.write_all(&sent).await.unwrap();
    let mut back = vec![0; sent.len()];
    client.read_exact(&mut back).await.unwrap();
    assert!(back == *sent);
    drop(echo.await.unwrap());
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let (_switch, here, _there) = pair();
    let result = here.connect(HERE, SocketAddrV4::new(THERE, 80), 5 * SECOND).await;
    assert_eq!(result.err(), Some(DialError::Refused));
}

#[tokio::test]
async fn behind_a_cut_link_there_is_silence() {
    let (switch, here, there) = pair();
    let _server = listen(&there, 80);
    switch.cut("here", "there");
    let result = here.connect(HERE, SocketAddrV4::new(THERE, 80), SECOND / 5).await;
    assert_eq!(result.err(), Some(DialError::Silent(SECOND / 5)));
    assert!(switch.counts("here", "there").hits > 0);
}

#[tokio::test]
async fn the_end_of_one_half_is_read_as_the_end_and_the_other_half_goes_on() {
    let (_switch, here, there) = pair();
    let mut server = listen(&there, 80);
    let mut client = here
        .connect(HERE, SocketAddrV4::new(THERE, 80), 5 * SECOND)
        .await
        .unwrap();
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    assert!(server.established().await);
    server.read_to_end(&mut heard).await.unwrap();
    server.write_all(b"answer").await.unwrap();
    let mut answer = [0; 6];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!((heard.as_slice(), &answer), (b"question".as_slice(), b"answer"));
}

/// Waits until the stack has seen the whole good-bye of a connection.
async fn over(stream: &LanStream) {
    let closed = async {
        while stream.with(|socket| socket.state()) != tcp::State::Closed {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(5 * SECOND, closed).await.unwrap();
}

#[tokio::test]
async fn the_last_words_are_read_to_their_end_after_both_sides_closed() {
    let (_switch, here, there) = pair();
    let mut server = listen(&there, 25);
    let mut client = here
        .connect(HERE, SocketAddrV4::new(THERE, 25), 5 * SECOND)
        .await
        .unwrap();
    server.write_all(b"221 bye").await.unwrap();
    server.shutdown().await.unwrap();
    let mut start = [0; 4];
    client.read_exact(&mut start).await.unwrap();
    while client.with(|socket| socket.state()) != tcp::State::CloseWait {
        tokio::task::yield_now().await;
    }
    client.shutdown().await.unwrap();
    over(&client).await;
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(rest, "bye");
}

#[tokio::test]
async fn a_reset_is_read_as_a_reset() {
    let (_switch, here, there) = pair();
    let server = listen(&there, 25);
    let mut client = here
        .connect(HERE, SocketAddrV4::new(THERE, 25), 5 * SECOND)
        .await
        .unwrap();
    assert!(server.established().await);
    server.abort();
    let error = client.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn without_an_address_asked_for_the_host_takes_one_of_its_own() {
    let (_switch, here, there) = pair();
    let _server = listen(&there, 25);
    let to = SocketAddrV4::new(THERE, 25);
    assert!(here.connect(Ipv4Addr::UNSPECIFIED, to, 5 * SECOND).await.is_ok());
}

#[tokio::test]
async fn a_client_from_a_foreign_address_is_an_error_and_not_silence() {
    let (_switch, here, there) = pair();
    let _server = listen(&there, 25);
    let from = Ipv4Addr::new(203, 0, 113, 25);
    let error = here.connect(from, SocketAddrV4::new(THERE, 25), SECOND).await.err();
    assert_eq!(
        error.unwrap().to_string(),
        "connect from 203.0.113.25 to 10.0.0.2:25: 203.0.113.25 is no address of this host"
    );
}

#[tokio::test]
async fn what_a_cut_held_back_arrives_after_the_join() {
    let (switch, here, there) = pair();
    let mut server = listen(&there, 25);
    let mut client = here
        .connect(HERE, SocketAddrV4::new(THERE, 25), 5 * SECOND)
        .await
        .unwrap();
    switch.cut("here", "there");
    client.write_all(b"during").await.unwrap();
    while switch.counts("here", "there").hits == 0 {
        tokio::task::yield_now().await;
    }
    switch.join("here", "there");
    let mut heard = [0; 6];
    tokio::time::timeout(10 * SECOND, server.read_exact(&mut heard))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&heard, b"during");
    assert!(switch.counts("here", "there").passed > 0);
}

/// A machine that takes over the address of `there`.
fn successor(switch: &Switch) -> Lan {
    let config = LanConfig {
        mac: [2, 0, 0, 0, 0, 3],
        addresses: vec![(THERE, 24)],
    };
    Lan::start(switch.attach_local("successor"), &config)
}

#[tokio::test]
async fn an_address_that_moved_is_found_where_it_is_announced() {
    let (switch, here, there) = pair();
    let _former = listen(&there, 80);
    here.connect(HERE, SocketAddrV4::new(THERE, 80), 5 * SECOND)
        .await
        .unwrap();
    // The former machine is dead: nothing reaches it, and it says nothing.
    for (from, to) in [
        ("here", "there"),
        ("there", "here"),
        ("there", "successor"),
        ("successor", "there"),
    ] {
        switch.cut(from, to);
    }
    let next = successor(&switch);
    let _listening = listen(&next, 80);
    let without = here.connect(HERE, SocketAddrV4::new(THERE, 80), SECOND / 5).await;
    assert_eq!(without.err(), Some(DialError::Silent(SECOND / 5)));
    let crier = switch.attach_local("crier");
    crier.send(announcement::announcement(EthernetAddress([2, 0, 0, 0, 0, 3]), THERE));
    let told = here.connect(HERE, SocketAddrV4::new(THERE, 80), 5 * SECOND).await;
    assert!(told.is_ok(), "{:?}", told.err());
}

#[tokio::test]
async fn whoever_connects_is_known_by_address() {
    let (_switch, here, there) = pair();
    let at = SocketAddrV4::new(THERE, 25);
    let (accepted, connected) = tokio::join!(there.accept(at, 5 * SECOND), here.connect(HERE, at, 5 * SECOND));
    let (_stream, client) = accepted.unwrap();
    assert_eq!(client, HERE);
    drop(connected.unwrap());
}

#[tokio::test]
async fn that_nobody_connects_is_known_in_time() {
    let (_switch, _here, there) = pair();
    let nobody = there.accept(SocketAddrV4::new(THERE, 25), SECOND / 10).await;
    assert!(matches!(nobody, Err(DialError::Silent(_))));
}
