//! STARTTLS.

use tokio_rustls::client::TlsStream;

use super::*;
use crate::link::Tls;
use crate::link::tests::Authority;

/// A proxy that wants TLS, and who can speak it with mail1.
async fn secured() -> (Stage, Tls) {
    let authority = Authority::new();
    let setup = Setup {
        tls: Some(Tls::for_gateways(&authority.link("mail1")).expect("files that fit")),
        ..Setup::of(Manner::Takes)
    };
    (Stage::set_up(setup).await, authority.tls("gw", "mail1"))
}

/// All lines of a reply.
async fn ask_all(client: &mut Client, line: &str) -> Vec<String> {
    client.send(&format!("{line}\r\n")).await;
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        client.0.read_line(&mut line).await.expect("readable");
        let last = line.as_bytes().get(3) != Some(&b'-');
        lines.push(line.trim_end().to_owned());
        if last {
            return lines;
        }
    }
}

async fn inside(mut client: Client, tls: &Tls) -> Client<TlsStream<TcpStream>> {
    assert!(client.ask("STARTTLS").await.starts_with("220"));
    let tcp = client.0.into_inner();
    let stream = tls.connector.connect(tls.peer.clone(), tcp).await;
    Client(BufReader::new(stream.expect("a handshake with mail1")))
}

#[tokio::test]
async fn a_message_inside_of_tls_is_taken() {
    let (stage, tls) = secured().await;
    let mut client = inside(stage.client().await, &tls).await;
    assert!(
        client.ask("MAIL FROM:<a@b>").await.starts_with("503"),
        "nothing said before counts"
    );
    client.ask("LHLO gw").await;
    client.begin(&["anna"]).await;
    assert!(client.ask("hello\r\n.").await.starts_with("250"));
    assert_eq!(stage.got(), 1);
    assert!(client.ask("QUIT").await.starts_with("221"));
}

#[tokio::test]
async fn without_tls_mail_is_put_off_and_not_bounced() {
    let (stage, _) = secured().await;
    let mut client = stage.client().await;
    assert_eq!(client.ask("MAIL FROM:<a@b>").await, "451 4.7.0 Start TLS first");
}

#[tokio::test]
async fn starttls_is_offered_until_it_is_used() {
    let (stage, tls) = secured().await;
    let mut client = stage.client().await;
    let offered = ask_all(&mut client, "LHLO gw").await;
    assert!(offered.contains(&"250-STARTTLS".to_owned()), "{offered:?}");
    let mut client = inside(client, &tls).await;
    assert!(client.ask("STARTTLS").await.starts_with("500"));
}

#[tokio::test]
async fn what_is_sent_along_with_starttls_ends_the_session() {
    let (stage, _) = secured().await;
    let mut client = stage.client().await;
    assert!(client.ask("STARTTLS\r\nMAIL FROM:<a@b>").await.starts_with("501"));
    assert_eq!(client.reply().await, "");
}
