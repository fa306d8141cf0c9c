//! A small browser: one site over TLS, cookies, connections kept alive, a note of who served each request.

use std::net::Ipv4Addr;

use bytes::Bytes;
use cookie::{Cookie, CookieJar};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use super::{Served, Site, WebmailCause};
use crate::probe::deadline::Deadline;
use crate::probe::dial::Dial;
use crate::probe::tls;

/// The header in which the mail nodes' web servers name themselves.
const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
/// The load balancer's cookie that names the node of a session.
const NODE_COOKIE: &str = "NODE";
/// The largest page that is read, bytes.
const LARGEST_PAGE: usize = 8 << 20;

/// An answer of the site.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) status: u16,
    /// Path and query that a redirect leads to.
    pub(super) location: Option<String>,
    pub(super) body: String,
}

/// What is sent along with a request.
pub(super) enum Load<'a> {
    /// Nothing.
    Nothing,
    /// The fields of a form.
    Form(&'a [(String, String)]),
    /// The session's token, as Roundcube's scripts send it.
    Token(&'a str),
}

pub(super) struct Browser<'a> {
    dial: &'a dyn Dial,
    from: Ipv4Addr,
    site: &'a Site<'a>,
    jar: CookieJar,
    connection: Option<Connection>,
    pub(super) deadline: Deadline,
    /// The step under way, for errors: a request, or the connection that it needs first.
    pub(super) step: &'static str,
    /// Who served each request, in order.
    pub(super) served: Vec<Served>,
}

/// A connection with the task that drives it; the task ends with it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl<'a> Browser<'a> {
    pub(super) fn new(dial: &'a dyn Dial, from: Ipv4Addr, site: &'a Site<'a>, deadline: Deadline) -> Self {
        let (mut jar, connection, served) = (CookieJar::new(), None, Vec::new());
        if let Some(node) = site.node {
            jar.add(Cookie::new(NODE_COOKIE, node.to_owned()));
        }
        Self {
            dial,
            from,
            site,
            jar,
            connection,
            deadline,
            step: "connect",
            served,
        }
    }

    /// Requests `path` (with query); redirects are not followed.
    pub(super) async fn request(
        &mut self,
        step: &'static str,
        method: Method,
        path: &str,
        load: Load<'_>,
    ) -> Result<Page, WebmailCause> {
        let mut connection = self.connection().await?;
        self.step = step;
        let request = self.compose(method, path, load)?;
        let response = self.deadline.within(connection.sender.send_request(request)).await?;
        let response = response.map_err(|e| WebmailCause::Lost(whole_story(&e)))?;
        self.note(step, &response);
        let page = self.read(response).await?;
        self.connection = Some(connection);
        Ok(page)
    }

    /// The connection kept from the last request if the server keeps it too, else a new one. No request is ever sent
    /// twice.
    async fn connection(&mut self) -> Result<Connection, WebmailCause> {
        if let Some(mut kept) = self.connection.take()
            && let Ok(()) = self.deadline.within(kept.sender.ready()).await?
        {
            return Ok(kept);
        }
        self.step = "connect";
        let dialled = self.dial.dial(self.from, self.site.address, self.deadline.left());
        let stream = self.deadline.within(dialled).await??;
        self.step = "TLS handshake";
        let stream = self
            .deadline
            .within(tls::handshake(&self.site.tls, self.site.host, stream))
            .await??;
        let handshake = self.deadline.within(http1::handshake(TokioIo::new(stream))).await?;
        let (sender, driver) = handshake.map_err(|e| WebmailCause::Lost(whole_story(&e)))?;
        let driver = tokio::spawn(async move {
            // What goes wrong on the connection is told to the request that waits for it.
            let _ = driver.await;
        });
        Ok(Connection { sender, driver })
    }

    fn compose(&self, method: Method, path: &str, load: Load<'_>) -> Result<Request<Full<Bytes>>, WebmailCause> {
        let host = match self.site.address.port() {
            443 => self.site.host.to_owned(),
            port => format!("{}:{port}", self.site.host),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host)
            .header(header::USER_AGENT, "Mozilla/5.0 (compatible; harness)")
            .header(header::ACCEPT_LANGUAGE, "en-US,en");
        let mut cookies: Vec<String> = self.jar.iter().map(|c| format!("{}={}", c.name(), c.value())).collect();
        cookies.sort_unstable();
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        let body = match load {
            Load::Nothing => Bytes::new(),
            Load::Form(fields) => {
                request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
                form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(fields)
                    .finish()
                    .into()
            }
            Load::Token(token) => {
                request = request
                    .header("X-Roundcube-Request", token)
                    .header("X-Requested-With", "XMLHttpRequest")
                    .header(header::ACCEPT, "application/json");
                Bytes::new()
            }
        };
        request
            .body(Full::new(body))
            .map_err(|e| WebmailCause::Page(format!("no request can be made of {path:?}: {e}")))
    }

    fn note(&mut self, step: &'static str, response: &Response<Incoming>) {
        let node = text(response.headers(), &SERVED_BY);
        self.served.push(Served {
            step,
            status: response.status().as_u16(),
            node,
        });
    }

    async fn read(&mut self, response: Response<Incoming>) -> Result<Page, WebmailCause> {
        let (head, body) = response.into_parts();
        self.keep_cookies(&head.headers);
        let location = text(&head.headers, &header::LOCATION)
            .map(|to| self.own_path(&to))
            .transpose()?;
        let body = self.deadline.within(Limited::new(body, LARGEST_PAGE).collect()).await?;
        let body = body.map_err(|e| WebmailCause::Lost(format!("page cut short: {e}")))?;
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok(Page {
            status: head.status.as_u16(),
            location,
            body,
        })
    }

    /// Takes the cookies of an answer; one with `Max-Age=0` is deleted (RFC 6265 section 5.3).
    fn keep_cookies(&mut self, headers: &HeaderMap<HeaderValue>) {
        for value in headers.get_all(header::SET_COOKIE) {
            let Some(cookie) = value.to_str().ok().and_then(|v| Cookie::parse(v.to_owned()).ok()) else {
                continue;
            };
            if cookie.max_age().is_some_and(|age| age.whole_seconds() <= 0) {
                self.jar.force_remove(cookie.name());
            } else {
                self.jar.add(cookie);
            }
        }
    }

    /// Path and query of a link of this site.
    pub(super) fn own_path(&self, link: &str) -> Result<String, WebmailCause> {
        let path = match link.split_once("://") {
            Some((_, rest)) => {
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                let host = authority.split(':').next().unwrap_or_default();
                if !host.eq_ignore_ascii_case(self.site.host) {
                    return Err(WebmailCause::Page(format!("the site leads away to {link:?}")));
                }
                path
            }
            None => link.trim_start_matches("./").trim_start_matches('/'),
        };
        Ok(format!("/{path}"))
    }
}

fn text(headers: &HeaderMap<HeaderValue>, name: &HeaderName) -> Option<String> {
    headers
        .get(name)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// An error with all its sources; hyper tells the reason only there.
fn whole_story(error: &dyn std::error::Error) -> String {
    let mut story = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        story.push_str(": ");
        story.push_str(&cause.to_string());
        source = cause.source();
    }
    story
}
