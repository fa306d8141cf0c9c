//! What the proxy refuses by itself.

use super::*;

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_for_good_and_the_session_goes_on() {
    let stage = Stage::new(Manner::Takes, Committed::Both, true).await;
    let mut client = stage.client().await;
    assert!(client.ask("MAIL FROM:<a@b> SIZE=1001").await.starts_with("552"));
    client.begin(&["anna"]).await;
    client.send(&"x".repeat(1001)).await;
    assert!(client.ask("\r\n.").await.starts_with("552"));
    assert_eq!(stage.got(), 0);
    client.begin(&["anna"]).await;
    assert!(client.ask("short\r\n.").await.starts_with("250"));
}

#[tokio::test]
async fn more_recipients_than_allowed_are_told_to_come_later() {
    let stage = Stage::new(Manner::Takes, Committed::Both, true).await;
    let mut client = stage.client().await;
    client.ask("MAIL FROM:<a@b>").await;
    for _ in 0..3 {
        assert!(client.ask("RCPT TO:<anna@b>").await.starts_with("250"));
    }
    assert!(client.ask("RCPT TO:<anna@b>").await.starts_with("452 4.5.3"));
}

#[tokio::test]
async fn commands_out_of_order_are_refused() {
    let stage = Stage::new(Manner::Takes, Committed::Both, true).await;
    let mut client = stage.client().await;
    for line in ["RCPT TO:<a@b>", "DATA"] {
        assert!(client.ask(line).await.starts_with("503"), "{line}");
    }
    assert!(client.ask("EHLO gw").await.starts_with("500"));
}
