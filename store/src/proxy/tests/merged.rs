//! Messages that a merge brings, and that a gateway delivers again.

use super::*;

fn by_merge(mailbox: &str) -> crate::deliveries::Ids {
    [(mailbox.to_owned(), ["A1".to_owned()].into())].into()
}

#[tokio::test]
async fn what_came_by_a_merge_is_acknowledged_and_not_delivered_again() {
    let stage = Stage::new(Manner::Takes, Committed::Both, true).await;
    let ids = by_merge("anna@b");
    let announced = stage.deliveries.announce("tail", &ids, Duration::from_secs(20));
    announced.await.expect("announced");
    let mut client = stage.client().await;
    client.begin(&["anna"]).await;
    client.send(FROM_GATEWAY).await;
    assert!(client.reply().await.starts_with("250"));
    client.begin(&["anna", "bert"]).await;
    client.send(FROM_GATEWAY).await;
    assert!(client.reply().await.starts_with("250"));
    assert!(client.reply().await.starts_with("451"), "he gets it by itself");
    assert_eq!(stage.got(), 0);
    client.begin(&["bert"]).await;
    client.send(FROM_GATEWAY).await;
    assert!(client.reply().await.starts_with("250"));
    assert_eq!(stage.got(), 1);
}

#[tokio::test]
async fn a_merge_learns_what_was_delivered_while_it_began() {
    let stage = Stage::new(Manner::Dawdles, Committed::Both, true).await;
    let mut client = stage.client().await;
    client.begin(&["anna"]).await;
    client.send(FROM_GATEWAY).await;
    stage.until_got(1).await;
    let ids = by_merge("anna@b");
    let announced = stage.deliveries.announce("tail", &ids, Duration::from_secs(20));
    stage.stored.send_replace(true);
    announced.await.expect("announced");
    assert_eq!(stage.deliveries.delivered("anna@b"), ["A1".to_owned()].into());
}
