use std::net::SocketAddrV4;

use super::*;
use crate::probe::testing::{Move, Stage, authority, say};
use crate::probe::tls;
use Move::Hear;

const MAIL1: [u8; 4] = [192, 168, 1, 10];

/// Opens the account of a server that plays `script` behind TLS after the log-in.
async fn opened(script: Vec<Move>) -> Box<OpenAccount> {
    let (ca, server) = authority();
    let mut whole = vec![
        Move::Tls(server),
        say("* OK [CAPABILITY IMAP4rev1] Dovecot ready."),
        Hear("A0001 LOGIN"),
        say("A0001 OK Logged in"),
    ];
    whole.extend(script);
    let stage = Stage::default().plays(MAIL1, whole);
    let account = ImapAccount {
        host: "mail1.example.org",
        address: SocketAddrV4::new(MAIL1.into(), 993),
        tls: tls::trusting(&ca).unwrap(),
        user: "alice@example.org",
        password: "secret",
    };
    let opened = open(&stage, Ipv4Addr::UNSPECIFIED, &account, Duration::from_secs(10)).await;
    Box::new(opened.map_err(|failure| failure.to_string()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_look_gives_what_is_new_with_flags_and_the_folder_s_numbers() {
    let header = "X-Ledger-Id: r1-7\r\n\r\n";
    let fetched = |uid: u32| {
        let length = header.len();
        Move::Say(format!(
            "* 1 FETCH (UID {uid} FLAGS (\\Seen) BODY[HEADER.FIELDS (X-LEDGER-ID MESSAGE-ID)] {{{length}}}\r\n{header})\r\n"
        ))
    };
    let mut account = opened(vec![
        Hear("A0002 SELECT"),
        say("* 9 EXISTS\n* OK [UIDVALIDITY 1790000001] valid\n* OK [UIDNEXT 12] next\nA0002 OK [READ-WRITE] done"),
        Hear("UID FETCH 8:* (UID FLAGS"),
        fetched(7),
        fetched(11),
        say("A0003 OK done"),
    ])
    .await;
    let look = account.look("INBOX", 8).await.unwrap();
    let mail = Stored {
        uid: 11,
        id: "r1-7".into(),
        flags: vec!["\\Seen".into()],
    };
    let expected = Look {
        uid_validity: 1_790_000_001,
        uid_next: 12,
        mails: vec![mail],
    };
    assert_eq!(look, expected);
}

#[tokio::test(start_paused = true)]
async fn a_move_that_touches_no_message_was_not_done() {
    let mut account = opened(vec![Hear("UID MOVE 7 \"Trash\""), say("A0002 OK No messages found.")]).await;
    let refused = account.shift(7, "Trash").await.unwrap_err();
    assert!(matches!(refused, SessionError::Refused(_)), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_move_whose_message_goes_was_done() {
    let mut account = opened(vec![
        Hear("UID MOVE 7 \"Trash\""),
        say("* OK [COPYUID 1 7 3] Moved UIDs.\n* 2 EXPUNGE\nA0002 OK Move completed."),
    ])
    .await;
    assert_eq!(account.shift(7, "Trash").await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_message_is_removed_by_its_uid_alone() {
    let mut account = opened(vec![
        Hear("UID STORE 7 +FLAGS.SILENT (\\Deleted)"),
        say("A0002 OK done"),
        Hear("UID EXPUNGE 7"),
        say("* 2 EXPUNGE\nA0003 OK done"),
    ])
    .await;
    assert_eq!(account.expunge(7).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_connection_nobody_knows() {
    let mut account = opened(vec![Hear("UID STORE 7 +FLAGS (\\Seen)")]).await;
    let lost = account.flag(7, "\\Seen").await.unwrap_err();
    assert!(matches!(lost, SessionError::Lost(_)), "{lost}");
}
