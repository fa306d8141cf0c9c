//! Messages that the backend stores later than it has to answer.

use super::*;

/// A message for anna, of which the backend has the end and has not answered in time.
async fn put_off() -> (Stage, Client) {
    put_off_for("anna").await
}

async fn put_off_for(recipient: &str) -> (Stage, Client) {
    let setup = Setup {
        backend_limit: Duration::from_millis(100),
        ..Setup::of(Manner::Dawdles)
    };
    let stage = Stage::set_up(setup).await;
    let mut client = stage.client().await;
    client.begin(&[recipient]).await;
    client.send(FROM_GATEWAY).await;
    assert!(client.reply().await.starts_with("451"));
    assert_eq!(stage.got(), 1);
    (stage, client)
}

/// The next try of the gateway.
async fn again(client: &mut Client) -> String {
    client.begin(&["anna"]).await;
    client.send(FROM_GATEWAY).await;
    client.reply().await
}

#[tokio::test]
async fn a_message_that_is_still_being_stored_is_not_stored_again() {
    let (stage, mut client) = put_off().await;
    assert_eq!(again(&mut client).await, "451 4.3.0 Deliver it again later, by itself");
    assert_eq!(stage.got(), 1);
}

#[tokio::test]
async fn a_message_that_was_stored_late_is_acknowledged_when_it_comes_again() {
    let (stage, mut client) = put_off().await;
    stage.stored.send_replace(true);
    assert_eq!(again(&mut client).await, "250 2.0.0 It is here already");
    assert_eq!(stage.got(), 1);
}

#[tokio::test]
async fn nothing_else_is_stored_in_the_mailbox_meanwhile() {
    let (stage, mut client) = put_off().await;
    client.begin(&["anna"]).await;
    client.send("hello\r\n.\r\n").await;
    let early = tokio::time::timeout(Duration::from_millis(50), stage.until_got(2)).await;
    assert!(early.is_err(), "the first is not stored yet");
    stage.stored.send_replace(true);
    assert!(client.reply().await.starts_with("250"));
}

#[tokio::test]
async fn a_message_that_was_not_stored_after_all_is_stored_when_it_comes_again() {
    let (stage, mut client) = put_off_for("full").await;
    stage.stored.send_replace(true);
    client.begin(&["full"]).await;
    client.send(FROM_GATEWAY).await;
    assert_eq!(client.reply().await, "452 4.2.2 Full");
    assert_eq!(stage.got(), 2);
}
