use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::probe::deadline::Failure;
use crate::probe::testing::{Host, Move, Stage, authority, say};
use crate::probe::tls::{self, TlsError};
use crate::record::Outcome;
use Move::{Hang, Hear, Until};

const MX1: [u8; 4] = [192, 168, 1, 10];
const MX2: [u8; 4] = [192, 168, 1, 11];
const TEN_SECONDS: Duration = Duration::from_secs(10);

fn letter() -> Mail {
    Mail {
        id: "m1".into(),
        from: "ann@sender.example".into(),
        to: "bob@example.org".into(),
        body_bytes: 300,
    }
}

/// The backup is listed first, as DNS may do; the preference decides.
fn hosts() -> Vec<MxHost> {
    vec![
        MxHost {
            preference: 20,
            name: "mail2.example.org".into(),
            address: MX2.into(),
        },
        MxHost {
            preference: 10,
            name: "mail1.example.org".into(),
            address: MX1.into(),
        },
    ]
}

fn sender(stage: &Stage, tls: StartTls) -> Sender<'_> {
    Sender {
        dial: stage,
        from: Ipv4Addr::new(203, 0, 113, 5),
        hello: "mx.sender.example".into(),
        tls,
        port: 25,
        connect_limit: Duration::from_secs(3),
    }
}

async fn deliver(stage: &Stage) -> Delivery {
    sender(stage, StartTls::Never)
        .send(&hosts(), &letter(), TEN_SECONDS)
        .await
}

/// A server that goes along up to and with the message's final dot.
fn up_to_dot() -> Vec<Move> {
    let mut script = up_to_data();
    script.push(Until(b"\r\n.\r\n"));
    script
}

fn up_to_data() -> Vec<Move> {
    vec![
        say("220-mail1.example.org\n220 ESMTP"),
        Hear("EHLO mx.sender.example"),
        say("250-mail1.example.org\n250-SIZE 10240000\n250 PIPELINING"),
        Hear("MAIL FROM:<ann@sender.example>"),
        say("250 2.1.0 Ok"),
        Hear("RCPT TO:<bob@example.org>"),
        say("250 2.1.5 Ok"),
        Hear("DATA"),
        say("354 End data with <CR><LF>.<CR><LF>"),
    ]
}

fn accepting() -> Vec<Move> {
    let mut script = up_to_dot();
    script.extend([say("250 2.0.0 Ok: queued as 4fXyZ"), Hear("QUIT"), say("221 2.0.0 Bye")]);
    script
}

/// A server that answers RCPT with `reply`.
fn at_rcpt(reply: &str) -> Vec<Move> {
    let mut script = up_to_data();
    script.truncate(6);
    script.extend([say(reply), Hear("QUIT"), say("221 Bye")]);
    script
}

fn with(mut script: Vec<Move>, more: impl IntoIterator<Item = Move>) -> Vec<Move> {
    script.extend(more);
    script
}

fn accepted_by(delivery: &Delivery) -> Option<&str> {
    match delivery {
        Delivery::Accepted { host, .. } => Some(host),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_250_to_the_final_dot_is_acceptance_with_the_queue_id() {
    let stage = Stage::default().plays(MX1, accepting());
    let delivery = deliver(&stage).await;
    let Delivery::Accepted { host, reply, queue_id } = delivery else {
        panic!("{delivery}")
    };
    assert_eq!(
        (host.as_str(), reply.code, queue_id.as_deref()),
        ("mail1.example.org", 250, Some("4fXyZ"))
    );
    assert!(stage.heard(0).ends_with("\r\n.\r\nQUIT\r\n"));
}

#[tokio::test(start_paused = true)]
async fn a_line_that_begins_with_a_dot_crosses_the_wire_doubled() {
    let stage = Stage::default().plays(MX1, accepting());
    deliver(&stage).await;
    assert!(stage.heard(0).contains("\r\n....and it goes on"), "{}", stage.heard(0));
}

#[tokio::test(start_paused = true)]
async fn a_250_stays_acceptance_when_the_server_never_says_goodbye() {
    let stage = Stage::default().plays(MX1, with(up_to_dot(), [say("250 Ok"), Hang]));
    let began = tokio::time::Instant::now();
    assert_eq!(accepted_by(&deliver(&stage).await), Some("mail1.example.org"));
    assert!(began.elapsed() <= QUIT_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn the_next_host_is_tried_when_the_first_refuses_the_connection() {
    let stage = Stage::default().host(MX1, Host::Refuses).plays(MX2, accepting());
    assert_eq!(accepted_by(&deliver(&stage).await), Some("mail2.example.org"));
    assert_eq!(stage.dialled(), [Ipv4Addr::from(MX1), MX2.into()]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_host_leaves_time_for_the_next() {
    let stage = Stage::default().host(MX1, Host::Silent).plays(MX2, accepting());
    assert_eq!(accepted_by(&deliver(&stage).await), Some("mail2.example.org"));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_greets_and_freezes_leaves_time_for_the_next() {
    let stage = Stage::default()
        .plays(MX1, vec![say("220 hi"), Hang])
        .plays(MX2, accepting());
    assert_eq!(accepted_by(&deliver(&stage).await), Some("mail2.example.org"));
}

#[tokio::test(start_paused = true)]
async fn the_next_host_is_tried_when_the_first_puts_the_recipient_off() {
    let stage = Stage::default()
        .plays(MX1, at_rcpt("450 4.2.0 greylisted"))
        .plays(MX2, accepting());
    assert_eq!(accepted_by(&deliver(&stage).await), Some("mail2.example.org"));
    assert!(stage.heard(0).ends_with("QUIT\r\n"));
}

#[tokio::test(start_paused = true)]
async fn the_next_host_is_tried_when_the_first_greets_with_an_error() {
    let stage = Stage::default()
        .plays(MX1, vec![say("554 no service here")])
        .plays(MX2, accepting());
    assert_eq!(accepted_by(&deliver(&stage).await), Some("mail2.example.org"));
}

#[tokio::test(start_paused = true)]
async fn a_permanent_refusal_of_the_recipient_ends_the_matter() {
    let stage = Stage::default()
        .plays(MX1, at_rcpt("550-5.1.1 no\n550 such user"))
        .plays(MX2, accepting());
    let expected = Delivery::Refused {
        host: "mail1.example.org".into(),
        step: "RCPT",
        code: 550,
        text: "5.1.1 no such user".into(),
    };
    assert_eq!(deliver(&stage).await, expected);
    assert_eq!(stage.dialled(), [Ipv4Addr::from(MX1)]);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_refusal_of_the_content_ends_the_matter() {
    let stage = Stage::default()
        .plays(MX1, with(up_to_dot(), [say("554 5.7.1 virus")]))
        .plays(MX2, accepting());
    let delivery = deliver(&stage).await;
    assert!(
        matches!(
            delivery,
            Delivery::Refused {
                code: 554,
                step: "final dot",
                ..
            }
        ),
        "{delivery}"
    );
    assert_eq!(stage.dialled().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_domain_whose_only_host_gives_no_service_for_good_is_a_refusal() {
    let stage = Stage::default().plays(MX1, vec![say("554 no service here")]);
    let delivery = sender(&stage, StartTls::Never)
        .send(&hosts()[1..], &letter(), TEN_SECONDS)
        .await;
    assert!(
        matches!(
            delivery,
            Delivery::Refused {
                code: 554,
                step: "greeting",
                ..
            }
        ),
        "{delivery}"
    );
}

#[tokio::test(start_paused = true)]
async fn when_every_host_puts_it_off_the_mail_is_deferred_and_each_reason_is_kept() {
    let stage = Stage::default()
        .plays(MX1, with(up_to_dot(), [say("451 4.3.0 try later")]))
        .plays(MX2, vec![say("421 4.3.2 shutting down")]);
    insta::assert_snapshot!(deliver(&stage).await, @r#"deferred: mail1.example.org (192.168.1.10): final dot: the server answered 451 4.3.0 try later (deadline 10s; last line: "451 4.3.0 try later"); mail2.example.org (192.168.1.11): greeting: the server answered 421 4.3.2 shutting down (deadline 10s; last line: "421 4.3.2 shutting down")"#);
}

#[tokio::test(start_paused = true)]
async fn when_no_host_is_reached_the_mail_is_deferred() {
    let stage = Stage::default().host(MX1, Host::Silent).host(MX2, Host::Refuses);
    insta::assert_snapshot!(deliver(&stage).await, @"deferred: mail1.example.org (192.168.1.10): connect: no answer within 3s (deadline 10s; the server said nothing); mail2.example.org (192.168.1.11): connect: connection refused (deadline 10s; the server said nothing)");
}

#[tokio::test(start_paused = true)]
async fn a_domain_without_hosts_defers() {
    let delivery = sender(&Stage::default(), StartTls::Never)
        .send(&[], &letter(), TEN_SECONDS)
        .await;
    assert_eq!(delivery, Delivery::Deferred { attempts: vec![] });
}

#[tokio::test(start_paused = true)]
async fn a_break_before_the_final_dot_is_no_delivery_and_the_next_host_is_tried() {
    let stage = Stage::default()
        .plays(MX1, with(up_to_data(), [Until(b"X-Ledger-Id")]))
        .plays(MX2, accepting());
    let mail = Mail {
        body_bytes: 1 << 20,
        ..letter()
    };
    let delivery = sender(&stage, StartTls::Never).send(&hosts(), &mail, TEN_SECONDS).await;
    assert_eq!(accepted_by(&delivery), Some("mail2.example.org"));
}

#[tokio::test(start_paused = true)]
async fn silence_while_the_message_is_on_its_way_is_no_delivery() {
    let stage = Stage::default().plays(MX1, with(up_to_data(), [Hang]));
    let mail = Mail {
        body_bytes: 1 << 20,
        ..letter()
    };
    let delivery = sender(&stage, StartTls::Never).send(&hosts(), &mail, TEN_SECONDS).await;
    let Delivery::Deferred { attempts } = &delivery else {
        panic!("{delivery}")
    };
    assert_eq!((attempts[0].step, &attempts[0].cause), ("message", &SmtpCause::Silent));
}

#[tokio::test(start_paused = true)]
async fn a_break_after_the_final_dot_is_unknown_and_no_other_host_is_tried() {
    let stage = Stage::default().plays(MX1, up_to_dot()).plays(MX2, accepting());
    let delivery = deliver(&stage).await;
    let Delivery::Unknown { why } = &delivery else {
        panic!("{delivery}")
    };
    assert_eq!((why.step, &why.cause), ("final dot", &SmtpCause::Closed));
    assert_eq!(stage.dialled().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn silence_after_the_final_dot_is_unknown_once_the_whole_deadline_has_passed() {
    let stage = Stage::default().plays(MX1, with(up_to_dot(), [Hang]));
    let began = tokio::time::Instant::now();
    let delivery = deliver(&stage).await;
    assert!(
        matches!(&delivery, Delivery::Unknown { why } if why.cause == SmtpCause::Silent),
        "{delivery}"
    );
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_the_final_dot_that_is_cut_short_is_unknown() {
    let stage = Stage::default().plays(MX1, with(up_to_dot(), [Move::Say("250-2.0.0 Ok: que".into())]));
    let delivery = deliver(&stage).await;
    assert!(matches!(delivery, Delivery::Unknown { .. }), "{delivery}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_the_final_dot_that_is_neither_yes_nor_no_is_unknown() {
    for odd in ["354 go on", "HTTP/1.1 200 OK", "252 perhaps"] {
        let stage = Stage::default().plays(MX1, with(up_to_dot(), [say(odd)]));
        let delivery = deliver(&stage).await;
        assert!(matches!(delivery, Delivery::Unknown { .. }), "{odd}: {delivery}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_end_is_neither_ok_nor_fail_in_the_record() {
    let stage = Stage::default().plays(MX1, up_to_dot());
    assert!(matches!(Outcome::from(deliver(&stage).await), Outcome::Unknown { .. }));
}

fn tls_script(server: std::sync::Arc<rustls::ServerConfig>) -> Vec<Move> {
    let mut script = vec![
        say("220 hi"),
        Hear("EHLO"),
        say("250-mail1\n250 STARTTLS"),
        Hear("STARTTLS"),
        say("220 go ahead"),
        Move::Tls(server),
    ];
    script.extend(accepting().into_iter().skip(1));
    script
}

#[tokio::test(start_paused = true)]
async fn starttls_is_taken_where_offered_whoever_signed_the_certificate() {
    let (_, server) = authority();
    let stage = Stage::default().plays(MX1, tls_script(server));
    let tls = StartTls::Offered(tls::opportunistic().unwrap());
    let delivery = sender(&stage, tls).send(&hosts(), &letter(), TEN_SECONDS).await;
    assert_eq!(accepted_by(&delivery), Some("mail1.example.org"), "{delivery}");
    assert_eq!(stage.heard(0).matches("EHLO").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_demanding_sender_verifies_the_certificate_against_the_authority() {
    let (ca, server) = authority();
    let stage = Stage::default().plays(MX1, tls_script(server));
    let tls = StartTls::Demanded(tls::trusting(&ca).unwrap());
    let delivery = sender(&stage, tls).send(&hosts(), &letter(), TEN_SECONDS).await;
    assert_eq!(accepted_by(&delivery), Some("mail1.example.org"), "{delivery}");
}

#[tokio::test(start_paused = true)]
async fn a_demanding_sender_passes_over_a_host_whose_certificate_bears_another_name() {
    let (ca, server) = authority();
    let stage = Stage::default().plays(MX1, tls_script(server));
    let tls = StartTls::Demanded(tls::trusting(&ca).unwrap());
    let stranger = [MxHost {
        preference: 1,
        name: "mx.elsewhere.example".into(),
        address: MX1.into(),
    }];
    let delivery = sender(&stage, tls).send(&stranger, &letter(), TEN_SECONDS).await;
    let Delivery::Deferred { attempts } = &delivery else {
        panic!("{delivery}")
    };
    assert!(
        matches!(&attempts[0].cause, SmtpCause::Tls(TlsError::Handshake(_))),
        "{delivery}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_demanding_sender_passes_over_a_host_without_starttls() {
    let (ca, _) = authority();
    let stage = Stage::default().plays(MX1, accepting());
    let tls = StartTls::Demanded(tls::trusting(&ca).unwrap());
    let delivery = sender(&stage, tls).send(&hosts()[1..], &letter(), TEN_SECONDS).await;
    let Delivery::Deferred { attempts } = &delivery else {
        panic!("{delivery}")
    };
    assert_eq!(attempts[0].cause, SmtpCause::NoStartTls);
}

#[tokio::test(start_paused = true)]
async fn replies_smuggled_in_before_the_handshake_are_not_believed() {
    let script = vec![
        say("220 hi"),
        Hear("EHLO"),
        say("250-mail1\n250 STARTTLS"),
        Hear("STARTTLS"),
        say("220 go ahead\n250 smuggled"),
        Hang,
    ];
    let stage = Stage::default().plays(MX1, script);
    let tls = StartTls::Offered(tls::opportunistic().unwrap());
    let delivery = sender(&stage, tls).send(&hosts()[1..], &letter(), TEN_SECONDS).await;
    let Delivery::Deferred { attempts } = &delivery else {
        panic!("{delivery}")
    };
    assert!(matches!(attempts[0].cause, SmtpCause::Nonsense(_)), "{delivery}");
}

async fn speak(stage: &Stage, lines: &[&str]) -> Result<Vec<String>, Failure<SmtpCause>> {
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    dialogue(
        stage,
        Ipv4Addr::UNSPECIFIED,
        SocketAddrV4::new(MX1.into(), 25),
        &lines,
        TEN_SECONDS,
    )
    .await
}

#[tokio::test(start_paused = true)]
async fn a_dialogue_returns_every_reply_as_it_stood_on_the_wire() {
    let script = vec![
        say("220 hi"),
        Hear("EHLO x"),
        say("250-mail1\n250 SIZE"),
        Hear("AUTH PLAIN"),
        say("538 5.7.11 Encryption required"),
    ];
    let stage = Stage::default().plays(MX1, script);
    let replies = speak(&stage, &["EHLO x", "AUTH PLAIN AGEAYg=="]).await.unwrap();
    assert_eq!(
        replies,
        ["220 hi", "250-mail1\n250 SIZE", "538 5.7.11 Encryption required"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_dialogue_sends_a_message_without_waiting_for_replies_to_its_lines() {
    let script = vec![
        say("220 hi"),
        Hear("DATA"),
        say("354 go on"),
        Until(b"\r\n.\r\n"),
        say("250 Ok"),
    ];
    let stage = Stage::default().plays(MX1, script);
    let replies = speak(&stage, &["DATA", "Subject: x", "", "text", "."]).await.unwrap();
    assert_eq!(replies, ["220 hi", "354 go on", "250 Ok"]);
}

#[tokio::test(start_paused = true)]
async fn a_dialogue_ends_where_the_server_hangs_up() {
    let stage = Stage::default().plays(MX1, vec![say("220 hi"), Hear("FOO"), say("421 enough")]);
    assert_eq!(
        speak(&stage, &["FOO", "BAR", "BAZ"]).await.unwrap(),
        ["220 hi", "421 enough"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_dialogue_with_a_silent_server_fails_at_the_deadline() {
    let stage = Stage::default().plays(MX1, vec![say("220 hi"), Hang]);
    let error = speak(&stage, &["EHLO x"]).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"192.168.1.10:25: dialogue: no reply before the deadline (deadline 10s; last line: "220 hi")"#);
}

#[tokio::test(start_paused = true)]
async fn a_dialogue_with_a_closed_port_says_so() {
    let error = speak(&Stage::default(), &[]).await.unwrap_err();
    assert_eq!(error.cause, SmtpCause::Unreachable(crate::probe::DialError::Refused));
}

#[tokio::test]
async fn hosts_of_equal_preference_share_the_messages() {
    let mut equal = hosts();
    equal[0].preference = 10;
    let mut first = std::collections::BTreeMap::new();
    for number in 0..40 {
        let stage = Stage::default().host(MX1, Host::Refuses).host(MX2, Host::Refuses);
        let mail = Mail {
            id: format!("m{number}"),
            ..letter()
        };
        let delivery = sender(&stage, StartTls::Never).send(&equal, &mail, TEN_SECONDS).await;
        assert!(
            matches!(&delivery, Delivery::Deferred { attempts } if attempts.len() == 2),
            "{delivery}"
        );
        *first.entry(stage.dialled()[0]).or_insert(0) += 1;
    }
    assert_eq!(first.len(), 2, "{first:?}");
    assert!(first.values().all(|count| *count >= 10), "{first:?}");
}
