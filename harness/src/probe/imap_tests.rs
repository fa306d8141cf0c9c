use super::*;
use crate::probe::testing::{Host, Move, Stage, authority, say};
use Move::{Hang, Hear};

const MAIL1: [u8; 4] = [192, 168, 1, 10];
const TEN_SECONDS: Duration = Duration::from_secs(10);

/// Lists the account of a server that plays `script` behind TLS.
async fn visit(script: Vec<Move>) -> Result<Holdings, Failure<ImapCause>> {
    let (ca, server) = authority();
    let mut whole = vec![Move::Tls(server)];
    whole.extend(script);
    enter(&Stage::default().plays(MAIL1, whole), &ca, "mail1.example.org").await
}

async fn enter(stage: &Stage, ca: &str, host: &str) -> Result<Holdings, Failure<ImapCause>> {
    let account = ImapAccount {
        host,
        address: SocketAddrV4::new(MAIL1.into(), 993),
        tls: tls::trusting(ca).unwrap(),
        user: "alice@example.org",
        password: "pass \"word\\",
    };
    list(stage, Ipv4Addr::UNSPECIFIED, &account, TEN_SECONDS).await
}

fn logged_in() -> Vec<Move> {
    vec![
        say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] Dovecot ready."),
        Hear(r#"A0001 LOGIN "alice@example.org" "pass \"word\\""#),
        say("* CAPABILITY IMAP4rev1\nA0001 OK Logged in"),
    ]
}

/// EXAMINE of an INBOX with that many messages.
fn examined(messages: u32) -> Vec<Move> {
    let mut script = logged_in();
    script.push(Hear("A0002 EXAMINE"));
    script.push(say(&format!(
        "* FLAGS (\\Seen)\n* OK [PERMANENTFLAGS ()] Read-only.\n* {messages} EXISTS\n* 0 RECENT\n* OK [UIDVALIDITY 1790000001] UIDs valid\n* OK [UIDNEXT 9] next\nA0002 OK [READ-ONLY] done"
    )));
    script
}

/// A FETCH response that carries `header`.
fn fetched(number: u32, uid: u32, header: &str) -> Move {
    let header = header.replace('\n', "\r\n") + "\r\n\r\n";
    let length = header.len();
    Move::Say(format!(
        "* {number} FETCH (UID {uid} BODY[HEADER.FIELDS (X-LEDGER-ID MESSAGE-ID)] {{{length}}}\r\n{header})\r\n"
    ))
}

fn with(mut script: Vec<Move>, more: impl IntoIterator<Item = Move>) -> Vec<Move> {
    script.extend(more);
    script
}

#[tokio::test(start_paused = true)]
async fn an_account_is_listed_with_ledger_ids_and_folders() {
    let script = with(
        examined(3),
        [
            Hear("UID FETCH 1:*"),
            fetched(1, 4, "Message-ID: <m1@sender.example>\nX-Ledger-Id: m1"),
            fetched(2, 7, "Message-ID: <newsletter@elsewhere.example>"),
            say("* 2 FETCH (FLAGS (\\Seen))"),
            fetched(3, 6, ""),
            say("A0003 OK Fetch completed."),
            Hear("LIST"),
            say(
                "* LIST (\\HasNoChildren) \"/\" INBOX\n* LIST (\\Noselect) \"/\" Archive\n* LIST (\\HasNoChildren \\Junk) \"/\" Junk\nA0004 OK done",
            ),
            Hear("STATUS \"Junk\" (MESSAGES)"),
            say("* STATUS Junk (MESSAGES 2)\nA0005 OK done"),
            Hear("LOGOUT"),
            say("* BYE Logging out\nA0006 OK done"),
        ],
    );
    let found = |id: &str, uid| FoundMail { id: id.into(), uid };
    let expected = Holdings {
        inbox: vec![
            found("m1", 4),
            found("uid-6", 6),
            found("newsletter@elsewhere.example", 7),
        ],
        uid_validity: 1_790_000_001,
        folders: vec![("Junk".into(), 2)],
        server: Some("Dovecot".into()),
    };
    assert_eq!(visit(script).await.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_listing_shorter_than_announced_is_an_error_and_no_list() {
    let script = with(
        examined(2),
        [
            Hear("UID FETCH"),
            fetched(1, 4, "X-Ledger-Id: m1"),
            say("A0003 OK Fetch completed."),
        ],
    );
    let error = visit(script).await.unwrap_err();
    assert_eq!(
        error.cause,
        ImapCause::Protocol("2 messages announced, 1 listed".into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_ends_with_no_is_an_error() {
    let script = with(
        examined(1),
        [
            Hear("UID FETCH"),
            fetched(1, 4, "X-Ledger-Id: m1"),
            say("A0003 NO [SERVERBUG] Internal error"),
        ],
    );
    let error = visit(script).await.unwrap_err();
    assert!(matches!(error.cause, ImapCause::Protocol(_)), "{error}");
    assert_eq!(error.step, "UID FETCH");
}

#[tokio::test(start_paused = true)]
async fn a_connection_lost_amid_a_listing_is_an_error() {
    let script = with(examined(2), [Hear("UID FETCH"), fetched(1, 4, "X-Ledger-Id: m1")]);
    let error = visit(script).await.unwrap_err();
    assert!(matches!(error.cause, ImapCause::Lost(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_log_in_quotes_the_server() {
    let mut script = logged_in();
    script[2] = say("A0001 NO [AUTHENTICATIONFAILED] Authentication failed.");
    let error = visit(script).await.unwrap_err();
    let quote = "A0001 NO [AUTHENTICATIONFAILED] Authentication failed.";
    assert_eq!(error.cause, ImapCause::LoginRefused(quote.into()));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_bye_at_once_gives_no_welcome() {
    let error = visit(vec![say("* BYE too many connections")]).await.unwrap_err();
    assert_eq!(error.step, "greeting");
    assert!(matches!(error.cause, ImapCause::Protocol(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_freezes_is_given_up_at_the_deadline_with_its_last_line() {
    let mut script = logged_in();
    script[2] = Hang;
    insta::assert_snapshot!(visit(script).await.unwrap_err(), @r#"mail1.example.org (192.168.1.10:993): LOGIN: no reply before the deadline (deadline 10s; last line: "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] Dovecot ready.")"#);
}

#[tokio::test(start_paused = true)]
async fn a_closed_port_is_unreachable() {
    let (ca, _) = authority();
    let stage = Stage::default().host(MAIL1, Host::Refuses);
    insta::assert_snapshot!(enter(&stage, &ca, "mail1.example.org").await.unwrap_err(), @"mail1.example.org (192.168.1.10:993): connect: connection refused (deadline 10s; the server said nothing)");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_for_another_name_is_a_tls_error() {
    let (ca, server) = authority();
    let stage = Stage::default().plays(MAIL1, vec![Move::Tls(server), Hang]);
    let error = enter(&stage, &ca, "mail2.example.org").await.unwrap_err();
    assert!(matches!(error.cause, ImapCause::Tls(TlsError::Handshake(_))), "{error}");
}

#[test]
fn the_ledger_id_goes_before_the_message_id() {
    assert_eq!(
        ledger_id(b"Message-ID: <a@b>\r\nX-Ledger-Id: m7\r\n\r\n").as_deref(),
        Some("m7")
    );
    assert_eq!(ledger_id(b"Message-ID:\r\n <a@b>\r\n\r\n").as_deref(), Some("a@b"));
    assert_eq!(ledger_id(b"\r\n"), None);
}
