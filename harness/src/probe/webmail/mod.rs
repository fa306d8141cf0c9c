//! Webmail as a browser uses it: the whole Roundcube log-in through the load balancer (form, token, session, message
//! list, log-out), and a light look at the front page.

mod browser;
mod page;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use rustls::ClientConfig;

use super::deadline::{Deadline, Elapsed, Failure};
use super::dial::{Dial, DialError};
use super::tls::TlsError;
use crate::record::Outcome;
use browser::{Browser, Load, Page};
use page::{ListReply, LoginForm};

/// Where webmail is.
pub struct Site<'a> {
    /// Its host name: sent in SNI and `Host`, verified in the certificate.
    pub host: &'a str,
    /// Address and port of the load balancer.
    pub address: SocketAddrV4,
    /// Trust in the cluster's authority, see [`super::tls::trusting`].
    pub tls: Arc<ClientConfig>,
    /// The node that served this browser before: its cookie is sent along, so that the load balancer chooses that node as
    /// long as it is up. A browser that was never here has none.
    pub node: Option<&'a str>,
}

/// One request of a visit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// What was requested.
    pub step: &'static str,
    /// HTTP status.
    pub status: u16,
    /// The node that names itself in `X-Served-By`; the load balancer's own answers have none.
    pub node: Option<String>,
}

/// A log-in from form to log-out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// Messages that the list of INBOX counted.
    pub messages: u64,
    /// Who served each request, in order.
    pub served: Vec<Served>,
}

impl Visit {
    /// The node that served the message list.
    pub fn node(&self) -> Option<&str> {
        self.served.iter().find(|served| served.step == LIST)?.node.as_deref()
    }
}

/// What went wrong on a visit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebmailCause {
    /// No connection came about.
    #[error("{0}")]
    Unreachable(#[from] DialError),
    /// No TLS session came about, or the certificate does not verify.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// An answer with a status that the step does not lead to; 503 is the load balancer without a node to turn to.
    #[error("HTTP status {0}")]
    Status(u16),
    /// The page holds something else than the step needs, for example an error page with status 200.
    #[error("{0}")]
    Page(String),
    /// User name or password were not accepted.
    #[error("log-in refused: {0}")]
    LoginRefused(String),
    /// Webmail answers and says itself that something behind it is broken.
    #[error("webmail complains: {0}")]
    Complaint(String),
    /// The session is not known any more, or not known on the node that was asked.
    #[error("session lost: {0}")]
    SessionLost(String),
    /// The message list is missing.
    #[error("no message list: {0}")]
    ListMissing(String),
    /// The connection broke.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The deadline passed.
    #[error("no answer before the deadline")]
    Silent,
}

impl From<Elapsed> for WebmailCause {
    fn from(_: Elapsed) -> Self {
        WebmailCause::Silent
    }
}

const FORM: &str = "log-in form";
const LOG_IN: &str = "log-in";
const MAIL: &str = "mail page";
const LIST: &str = "message list";
const LOG_OUT: &str = "log-out";

/// Logs in, lists INBOX and logs out. One session, no retries.
pub async fn log_in(
    dial: &dyn Dial,
    from: Ipv4Addr,
    site: &Site<'_>,
    user: &str,
    password: &str,
    deadline: Duration,
) -> Result<Visit, Failure<WebmailCause>> {
    let mut browser = Browser::new(dial, from, site, Deadline::after(deadline));
    match session(&mut browser, user, password).await {
        Ok(messages) => Ok(Visit {
            messages,
            served: browser.served,
        }),
        Err(cause) => Err(failure(&browser, site, cause)),
    }
}

/// Asks for the front page and tells the status and who answered; any status is an answer.
pub async fn front_page(
    dial: &dyn Dial,
    from: Ipv4Addr,
    site: &Site<'_>,
    deadline: Duration,
) -> Result<Served, Failure<WebmailCause>> {
    let mut browser = Browser::new(dial, from, site, Deadline::after(deadline));
    let answer = browser.request("front page", Method::GET, "/", Load::Nothing).await;
    match (answer, browser.served.pop()) {
        (Ok(_), Some(served)) => Ok(served),
        (Ok(_), None) => Err(failure(
            &browser,
            site,
            WebmailCause::Page("no answer was noted".into()),
        )),
        (Err(cause), _) => Err(failure(&browser, site, cause)),
    }
}

fn failure(browser: &Browser<'_>, site: &Site<'_>, cause: WebmailCause) -> Failure<WebmailCause> {
    let last_line = browser.served.last().map(|served| {
        let node = served.node.as_deref().unwrap_or("no node");
        format!("HTTP {} to the {} by {node}", served.status, served.step)
    });
    Failure {
        host: format!("{} ({})", site.host, site.address),
        step: browser.step,
        deadline: browser.deadline.total(),
        last_line,
        cause,
    }
}

async fn session(browser: &mut Browser<'_>, user: &str, password: &str) -> Result<u64, WebmailCause> {
    let form = browser.request(FORM, Method::GET, "/", Load::Nothing).await?;
    let form = login_form(&form)?;
    let path = browser.own_path(&form.action)?;
    let answer = browser
        .request(LOG_IN, Method::POST, &path, Load::Form(&filled(form, user, password)))
        .await?;
    let path = admitted(&answer)?;
    let mail = browser.request(MAIL, Method::GET, &path, Load::Nothing).await?;
    let token = mail_token(&mail)?;
    let path = "/?_task=mail&_action=list&_mbox=INBOX&_remote=1";
    let list = browser.request(LIST, Method::GET, path, Load::Token(&token)).await?;
    let messages = listed(&list)?;
    let path = format!("/?_task=logout&_token={token}");
    let bye = browser.request(LOG_OUT, Method::GET, &path, Load::Nothing).await?;
    login_form(&bye)?;
    Ok(messages)
}

fn login_form(page: &Page) -> Result<LoginForm, WebmailCause> {
    if page.status != 200 {
        return Err(WebmailCause::Status(page.status));
    }
    LoginForm::find(&page.body).ok_or_else(|| unexpected(page, "log-in form"))
}

fn unexpected(page: &Page, wanted: &str) -> WebmailCause {
    WebmailCause::Page(format!("a page without {wanted}, titled {:?}", page::title(&page.body)))
}

/// The form's fields as a browser sends them: scripts set the time zone, people the rest.
fn filled(form: LoginForm, user: &str, password: &str) -> Vec<(String, String)> {
    let mut fields = form.hidden;
    fields.retain(|(name, _)| name != "_timezone");
    let typed = [("_timezone", "UTC"), ("_user", user), ("_pass", password)];
    fields.extend(typed.map(|(name, value)| (name.to_owned(), value.to_owned())));
    fields
}

/// Where an accepted log-in leads; Roundcube answers any other with its form and a warning, under status 401.
fn admitted(answer: &Page) -> Result<String, WebmailCause> {
    match (answer.status, &answer.location) {
        (302 | 303, Some(path)) if path.contains("_task=mail") => Ok(path.clone()),
        (302 | 303, Some(path)) => Err(WebmailCause::SessionLost(format!("led to {path}"))),
        (200 | 401, _) if LoginForm::find(&answer.body).is_some() => Err(turned_away(&answer.body)),
        (200, _) => Err(unexpected(answer, "log-in form")),
        (status, _) => Err(WebmailCause::Status(status)),
    }
}

/// Why the log-in form came back. The texts are those of Roundcube's English localisation.
fn turned_away(body: &str) -> WebmailCause {
    let text = page::notices(body)
        .into_iter()
        .next()
        .map(|notice| notice.text)
        .unwrap_or_default();
    if text.starts_with("Invalid request") || text.contains("session is invalid") {
        WebmailCause::SessionLost(text)
    } else if text.starts_with("Connection to storage server") || text.starts_with("Server Error") {
        WebmailCause::Complaint(text)
    } else {
        WebmailCause::LoginRefused(text)
    }
}

/// The token of the mail page, which proves that someone is logged in.
fn mail_token(page: &Page) -> Result<String, WebmailCause> {
    match (page.status, &page.location) {
        (200, _) => {}
        (302 | 303, Some(path)) => return Err(WebmailCause::SessionLost(format!("led to {path}"))),
        (status, _) => return Err(WebmailCause::Status(status)),
    }
    match page::environment(&page.body) {
        Some(environment) if environment.task == "mail" => match page::complaint(&page.body) {
            Some(text) => Err(WebmailCause::Complaint(text)),
            None => Ok(environment.request_token),
        },
        Some(environment) if environment.task == "login" => Err(WebmailCause::SessionLost(
            page::complaint(&page.body).unwrap_or_default(),
        )),
        _ => Err(unexpected(page, "a logged-in user")),
    }
}

fn listed(page: &Page) -> Result<u64, WebmailCause> {
    if page.status != 200 {
        return Err(WebmailCause::Status(page.status));
    }
    match ListReply::read(&page.body) {
        ListReply::List { messages } => Ok(messages),
        ListReply::SessionLost(text) => Err(WebmailCause::SessionLost(text)),
        ListReply::Complaint(text) => Err(WebmailCause::Complaint(text)),
        ListReply::NoList(text) => Err(WebmailCause::ListMissing(text)),
    }
}

impl From<Result<Visit, Failure<WebmailCause>>> for Outcome {
    fn from(visit: Result<Visit, Failure<WebmailCause>>) -> Self {
        match visit {
            Ok(visit) => Outcome::Ok {
                served_by: visit.node().map(ToOwned::to_owned),
            },
            Err(failure) => Outcome::Fail {
                reason: failure.to_string(),
            },
        }
    }
}
