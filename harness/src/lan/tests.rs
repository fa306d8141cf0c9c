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
