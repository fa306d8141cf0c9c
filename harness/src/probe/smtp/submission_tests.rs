use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::*;
use crate::probe::testing::{Move, Stage, authority, say};
use Move::{Hear, Tls, Until};

const BALANCER: [u8; 4] = [192, 168, 1, 30];

fn letter() -> Mail {
    Mail {
        id: "m1".into(),
        from: "ann@example.org".into(),
        to: "bob@example.org".into(),
        body_bytes: 100,
    }
}

/// What a server hears and says once the connection is encrypted and introduced.
fn goes_along(answer_to_dot: &str) -> Vec<Move> {
    vec![
        // base64 of NUL ann@example.org NUL secret
        Hear("AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ="),
        say("235 2.7.0 Authentication successful"),
        Hear("MAIL FROM:<ann@example.org>"),
        say("250 2.1.0 Ok"),
        Hear("RCPT TO:<bob@example.org>"),
        say("250 2.1.5 Ok"),
        Hear("DATA"),
        say("354 go on"),
        Until(b"\r\n.\r\n"),
        say(answer_to_dot),
        Hear("QUIT"),
        say("221 Bye"),
    ]
}

fn introduced() -> Vec<Move> {
    vec![
        say("220 mail1.example.org ESMTP"),
        Hear("EHLO"),
        say("250-mail1.example.org\n250-STARTTLS\n250 AUTH PLAIN"),
    ]
}

/// A script for port 465.
fn implicit(answer_to_dot: &str) -> Vec<Move> {
    let (_, server) = authority();
    [vec![Tls(server)], introduced(), goes_along(answer_to_dot)].concat()
}

async fn submitted(port: u16, host: &str, script: Vec<Move>) -> (Outcome, Stage) {
    let (ca, _) = authority();
    let stage = Stage::default().plays(BALANCER, script);
    let account = Account {
        host,
        address: SocketAddrV4::new(BALANCER.into(), port),
        tls: tls::trusting(&ca).unwrap(),
        password: "secret",
    };
    let client = Ipv4Addr::new(203, 0, 113, 80);
    let outcome = submit(&stage, client, &account, &letter(), Duration::from_secs(10)).await;
    (outcome, stage)
}

fn taken_by_mail1() -> Outcome {
    Outcome::Ok {
        served_by: Some("mail1.example.org".into()),
    }
}

#[tokio::test(start_paused = true)]
async fn at_465_everything_is_said_within_tls_and_the_greeting_names_the_server() {
    let (outcome, stage) = submitted(465, "mail.example.org", implicit("250 2.0.0 Ok: queued as 4f")).await;
    assert_eq!(outcome, taken_by_mail1());
    assert!(!stage.heard(0).contains("STARTTLS"));
}

#[tokio::test(start_paused = true)]
async fn at_587_nothing_is_told_before_starttls() {
    let (_, server) = authority();
    let encrypted = vec![
        Hear("STARTTLS"),
        say("220 go ahead"),
        Tls(server),
        Hear("EHLO"),
        say("250-mail1.example.org\n250 AUTH PLAIN"),
    ];
    let script = [introduced(), encrypted, goes_along("250 Ok")].concat();
    assert_eq!(submitted(587, "mail.example.org", script).await.0, taken_by_mail1());
}

#[tokio::test(start_paused = true)]
async fn a_server_without_starttls_at_587_gets_no_password() {
    let script = vec![
        say("220 mail1.example.org ESMTP"),
        Hear("EHLO"),
        say("250 AUTH PLAIN"),
        Move::Hang,
    ];
    let (outcome, stage) = submitted(587, "mail.example.org", script).await;
    assert!(matches!(outcome, Outcome::Fail { .. }), "{outcome:?}");
    assert!(!stage.heard(0).contains("AUTH"));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_for_another_name_ends_it() {
    let (outcome, stage) = submitted(465, "mail.elsewhere.example", implicit("250 Ok")).await;
    assert!(matches!(outcome, Outcome::Fail { .. }), "{outcome:?}");
    assert_eq!(stage.heard(0), "");
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_is_a_failure_and_an_unheard_answer_is_unknown() {
    let (refused, _) = submitted(465, "mail.example.org", implicit("451 4.3.0 later")).await;
    assert!(matches!(refused, Outcome::Fail { .. }), "{refused:?}");
    let mut script = implicit("250 Ok");
    script.truncate(script.len() - 3);
    let (unheard, _) = submitted(465, "mail.example.org", script).await;
    assert!(matches!(unheard, Outcome::Unknown { .. }), "{unheard:?}");
}
