use super::*;
use crate::probe::testing::{Host, Move, Stage, authority};
use crate::probe::tls;
use Move::{Hang, Hear, Until};

const LB: [u8; 4] = [192, 168, 1, 30];
const TEN_SECONDS: Duration = Duration::from_secs(10);

/// An answer with these header lines and body.
fn answer(status: &str, headers: &str, body: &str) -> Move {
    let headers: String = headers.lines().map(|line| format!("{line}\r\n")).collect();
    Move::Say(format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// A request whose first line holds `line`, and the answer to it.
fn get(line: &'static str, answer: Move) -> [Move; 3] {
    [Hear(line), Until(b"\r\n\r\n"), answer]
}

fn post(answer: Move) -> [Move; 3] {
    [Hear("POST /?_task=login HTTP/1.1"), Until(b"_pass=p%26ss+word"), answer]
}

const BY_MAIL1: &str = "X-Served-By: mail1";

fn front() -> [Move; 3] {
    let headers = "Set-Cookie: roundcube_sessid=first; path=/; secure; HttpOnly\nX-Served-By: mail1";
    get(
        "GET / HTTP/1.1",
        answer("200 OK", headers, include_str!("fixtures/login.html")),
    )
}

fn welcome() -> [Move; 3] {
    let headers = "Set-Cookie: roundcube_sessauth=-del-; Max-Age=0; path=/; secure\n\
        Set-Cookie: roundcube_sessid=second; path=/; secure; HttpOnly\n\
        Set-Cookie: roundcube_sessauth=secret-1; path=/; secure; HttpOnly\n\
        Location: /?_task=mail&_token=Y7pm\nX-Served-By: mail1";
    post(answer("302 Found", headers, ""))
}

fn mail() -> [Move; 3] {
    get(
        "GET /?_task=mail&_token=Y7pm",
        answer("200 OK", BY_MAIL1, include_str!("fixtures/mail.html")),
    )
}

fn list_answered(with: Move) -> [Move; 3] {
    get("GET /?_task=mail&_action=list&_mbox=INBOX&_remote=1", with)
}

fn list() -> [Move; 3] {
    list_answered(answer("200 OK", BY_MAIL1, include_str!("fixtures/list.json")))
}

fn bye() -> [Move; 3] {
    get(
        "GET /?_task=logout&_token=",
        answer("200 OK", BY_MAIL1, include_str!("fixtures/logged-out.html")),
    )
}

/// A stage on which each script is one TLS connection to the load balancer.
fn stage(scripts: Vec<Vec<Move>>) -> (Stage, String) {
    let (ca, server) = authority();
    let scripts = scripts.into_iter().map(|script| {
        let mut whole = vec![Move::Tls(server.clone())];
        whole.extend(script);
        whole
    });
    (Stage::default().host(LB, Host::Plays(scripts.collect())), ca)
}

async fn visit_on(stage: &Stage, ca: &str) -> Result<Visit, Failure<WebmailCause>> {
    log_in(
        stage,
        Ipv4Addr::UNSPECIFIED,
        &site(ca),
        "alice@example.org",
        "p&ss word",
        TEN_SECONDS,
    )
    .await
}

fn site(ca: &str) -> Site<'static> {
    Site {
        host: "webmail.example.org",
        address: SocketAddrV4::new(LB.into(), 443),
        tls: tls::trusting(ca).unwrap(),
        node: None,
    }
}

/// A visit over one connection.
async fn visit(steps: impl IntoIterator<Item = [Move; 3]>) -> Result<Visit, Failure<WebmailCause>> {
    let (stage, ca) = stage(vec![steps.into_iter().flatten().collect()]);
    visit_on(&stage, &ca).await
}

async fn cause(steps: impl IntoIterator<Item = [Move; 3]>) -> WebmailCause {
    visit(steps).await.unwrap_err().cause
}

#[tokio::test(start_paused = true)]
async fn a_whole_visit_counts_the_messages_and_names_who_served_it() {
    let visit = visit([front(), welcome(), mail(), list(), bye()]).await.unwrap();
    assert_eq!(
        (visit.messages, visit.node(), visit.served.len()),
        (2, Some("mail1"), 5)
    );
}

#[tokio::test(start_paused = true)]
async fn the_session_travels_in_cookies_token_and_form() {
    let steps = [front(), welcome(), mail(), list(), bye()];
    let (stage, ca) = stage(vec![steps.into_iter().flatten().collect()]);
    visit_on(&stage, &ca).await.unwrap();
    let heard = stage
        .heard(0)
        .replace("\r\n", "\n")
        .replace("POST", "\n\nPOST")
        .replace("GET", "\nGET");
    insta::assert_snapshot!(heard);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_the_server_closes_in_order_is_followed_by_another() {
    let closing = get(
        "GET / HTTP/1.1",
        answer(
            "200 OK",
            "Connection: close\nX-Served-By: mail1",
            include_str!("fixtures/login.html"),
        ),
    );
    let rest = [welcome(), mail(), list(), bye()].into_iter().flatten().collect();
    let (stage, ca) = stage(vec![closing.into(), rest]);
    assert_eq!(visit_on(&stage, &ca).await.unwrap().messages, 2);
    assert_eq!(stage.dialled().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_load_balancer_without_nodes_is_a_status() {
    let error = visit([get("GET / ", answer("503 Service Unavailable", "", "<html>"))])
        .await
        .unwrap_err();
    insta::assert_snapshot!(error, @r#"webmail.example.org (192.168.1.30:443): log-in form: HTTP status 503 (deadline 10s; last line: "HTTP 503 to the log-in form by no node")"#);
}

#[tokio::test(start_paused = true)]
async fn an_error_page_with_status_200_is_no_log_in_form() {
    let page = answer("200 OK", BY_MAIL1, include_str!("fixtures/database-down.html"));
    let expected = "a page without log-in form, titled \"Internal Error\"";
    assert_eq!(cause([get("GET / ", page)]).await, WebmailCause::Page(expected.into()));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_a_refusal() {
    let refusal = post(answer(
        "401 Unauthorized",
        BY_MAIL1,
        include_str!("fixtures/refused.html"),
    ));
    assert_eq!(
        cause([front(), refusal]).await,
        WebmailCause::LoginRefused("Login failed.".into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_log_in_without_imap_behind_it_is_no_refusal_of_the_password() {
    let page = post(answer(
        "401 Unauthorized",
        BY_MAIL1,
        include_str!("fixtures/storage-down.html"),
    ));
    let expected = WebmailCause::Complaint("Connection to storage server failed.".into());
    assert_eq!(cause([front(), page]).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_the_other_node_does_not_know_is_a_lost_session() {
    let page = post(answer(
        "401 Unauthorized",
        "X-Served-By: mail2",
        include_str!("fixtures/token-not-known.html"),
    ));
    let expected = WebmailCause::SessionLost("Invalid request! No data was saved.".into());
    assert_eq!(cause([front(), page]).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_mail_page_that_is_the_log_in_form_is_a_lost_session() {
    let page = answer(
        "200 OK",
        "X-Served-By: mail2",
        include_str!("fixtures/session-lost.html"),
    );
    let expected = WebmailCause::SessionLost("Your session is invalid or expired.".into());
    assert_eq!(
        cause([front(), welcome(), get("GET /?_task=mail", page)]).await,
        expected
    );
}

#[tokio::test(start_paused = true)]
async fn a_mail_page_that_complains_is_no_mail_page() {
    let page = answer("200 OK", BY_MAIL1, include_str!("fixtures/mail-storage-down.html"));
    let expected = WebmailCause::Complaint("Connection to storage server failed.".into());
    assert_eq!(
        cause([front(), welcome(), get("GET /?_task=mail", page)]).await,
        expected
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_for_an_unknown_session_is_a_lost_session() {
    let lost = list_answered(answer(
        "200 OK",
        BY_MAIL1,
        include_str!("fixtures/list-session-lost.json"),
    ));
    let expected = WebmailCause::SessionLost("Your session is invalid or expired.".into());
    assert_eq!(cause([front(), welcome(), mail(), lost]).await, expected);
}

#[tokio::test(start_paused = true)]
async fn the_empty_list_of_a_dead_imap_server_fails_the_visit() {
    let empty = list_answered(answer(
        "200 OK",
        BY_MAIL1,
        include_str!("fixtures/list-storage-down.json"),
    ));
    let expected = WebmailCause::Complaint("Connection to storage server failed.".into());
    assert_eq!(cause([front(), welcome(), mail(), empty]).await, expected);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_list_fails_the_visit() {
    let none = list_answered(answer("200 OK", BY_MAIL1, r#"{"action":"list","exec":""}"#));
    assert!(matches!(
        cause([front(), welcome(), mail(), none]).await,
        WebmailCause::ListMissing(_)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_log_out_that_is_not_answered_fails_the_visit() {
    let error = visit([front(), welcome(), mail(), list(), get("GET /?_task=logout", Hang)])
        .await
        .unwrap_err();
    assert_eq!((error.step, error.cause), ("log-out", WebmailCause::Silent));
}

#[tokio::test(start_paused = true)]
async fn a_page_cut_short_is_a_lost_connection() {
    let cut = Move::Say("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n<html>".into());
    let cause = cause([get("GET / ", cut)]).await;
    assert!(matches!(cause, WebmailCause::Lost(_)), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_freezes_amid_a_visit_is_given_up_at_the_deadline() {
    let began = tokio::time::Instant::now();
    let error = visit([front(), welcome(), get("GET /?_task=mail", Hang)])
        .await
        .unwrap_err();
    assert_eq!(
        (error.step, error.cause, began.elapsed()),
        ("mail page", WebmailCause::Silent, TEN_SECONDS)
    );
}

#[tokio::test(start_paused = true)]
async fn a_redirect_to_another_site_is_not_followed() {
    let away = post(answer(
        "302 Found",
        "Location: https://elsewhere.example/?_task=mail",
        "",
    ));
    assert!(matches!(cause([front(), away]).await, WebmailCause::Page(_)));
}

#[tokio::test(start_paused = true)]
async fn a_dead_load_balancer_is_unreachable() {
    let (stage, ca) = stage(vec![]);
    let error = visit_on(&stage, &ca).await.unwrap_err();
    assert_eq!(
        (error.step, error.cause),
        ("connect", WebmailCause::Unreachable(DialError::Refused))
    );
}

#[tokio::test(start_paused = true)]
async fn a_load_balancer_that_accepts_and_says_nothing_is_given_up_in_the_handshake() {
    let (ca, _) = authority();
    let stage = Stage::default().plays(LB, vec![Hang]);
    let error = visit_on(&stage, &ca).await.unwrap_err();
    assert_eq!((error.step, error.cause), ("TLS handshake", WebmailCause::Silent));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_of_another_authority_is_a_tls_error() {
    let (stage, _) = stage(vec![front().into()]);
    let cluster = toml::from_str(include_str!("../../../../generator/examples/pair.toml")).unwrap();
    let stranger = generator::secrets::Secrets::from_seed(&cluster, 8)
        .unwrap()
        .ca_certificate;
    let error = visit_on(&stage, &stranger).await.unwrap_err();
    assert!(
        matches!(error.cause, WebmailCause::Tls(TlsError::Handshake(_))),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_front_page_tells_status_and_node_whatever_they_are() {
    let (stage, ca) = stage(vec![get("GET / ", answer("503 Service Unavailable", "", "")).into()]);
    let served = front_page(&stage, Ipv4Addr::UNSPECIFIED, &site(&ca), TEN_SECONDS)
        .await
        .unwrap();
    assert_eq!(
        served,
        Served {
            step: "front page",
            status: 503,
            node: None
        }
    );
}
