//! What Roundcube's pages say, read the way a browser and its scripts would read them. Pure.

use scraper::{ElementRef, Html, Selector};
use serde::Deserialize;
use serde_json::Value;

/// The log-in form of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginForm {
    /// Where it is posted to, as written in the page.
    pub action: String,
    /// Its hidden fields in order, among them `_token`.
    pub hidden: Vec<(String, String)>,
}

impl LoginForm {
    /// The log-in form of a page, if it has one.
    pub fn find(html: &str) -> Option<Self> {
        let page = Html::parse_document(html);
        let password = page.select(&selector("form input[name=_pass]")?).next()?;
        let form = password
            .ancestors()
            .filter_map(ElementRef::wrap)
            .find(|e| e.value().name() == "form")?;
        let inputs = selector("input[type=hidden][name]")?;
        let hidden = form.select(&inputs).map(|input| {
            let attribute = |name| input.attr(name).unwrap_or_default().to_owned();
            (attribute("name"), attribute("value"))
        });
        Some(Self {
            action: form.attr("action").unwrap_or_default().to_owned(),
            hidden: hidden.collect(),
        })
    }
}

fn selector(css: &str) -> Option<Selector> {
    Selector::parse(css).ok()
}

/// A message that a page pops up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The text.
    pub text: String,
    /// `error`, `warning`, `notice`, `confirmation`...
    pub kind: String,
}

/// Every message that a page or a script answer pops up, in order.
pub fn notices(script: &str) -> Vec<Notice> {
    let calls = script.split("display_message(").skip(1);
    calls
        .filter_map(|arguments| {
            let (text, rest) = json_prefix::<String>(arguments)?;
            let (kind, _) = json_prefix::<String>(rest.strip_prefix(',')?)?;
            Some(Notice { text, kind })
        })
        .collect()
}

/// The first message that is an error.
pub fn complaint(script: &str) -> Option<String> {
    notices(script)
        .into_iter()
        .find(|notice| notice.kind == "error")
        .map(|notice| notice.text)
}

/// The page's environment, the argument of `rcmail.set_env`.
pub fn environment(html: &str) -> Option<Environment> {
    let arguments = html.split("rcmail.set_env(").nth(1)?;
    json_prefix(arguments).map(|(environment, _)| environment)
}

/// What the client needs to know of a page's environment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Environment {
    /// `login`, `mail`, `settings`...
    pub task: String,
    /// The token that requests of this session carry.
    pub request_token: String,
}

/// The title of a page, for errors.
pub fn title(html: &str) -> String {
    let page = Html::parse_document(html);
    let title = selector("title").and_then(|s| page.select(&s).next().map(|t| t.text().collect::<String>()));
    title.unwrap_or_default().trim().to_owned()
}

/// The answer to `_action=list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListReply {
    /// The list of INBOX.
    List {
        /// How many messages lie in it, on all pages of the list.
        messages: u64,
    },
    /// The session is not known.
    SessionLost(String),
    /// Something behind webmail is broken.
    Complaint(String),
    /// None of these.
    NoList(String),
}

impl ListReply {
    /// Reads the JSON of an answer. Roundcube sends an empty list along with its complaint when IMAP is down, so a
    /// list counts only where nothing is complained of.
    pub fn read(json: &str) -> Self {
        let Ok(answer) = serde_json::from_str::<Value>(json) else {
            return ListReply::NoList(format!("no JSON: {:?}", json.chars().take(80).collect::<String>()));
        };
        let exec = answer["exec"].as_str().unwrap_or_default();
        if exec.contains("session_error(") {
            return ListReply::SessionLost(complaint(exec).unwrap_or_default());
        }
        if let Some(text) = complaint(exec) {
            return ListReply::Complaint(text);
        }
        let is_inbox = answer["action"] == "list" && answer["env"]["mailbox"] == "INBOX";
        match answer["env"]["messagecount"].as_u64() {
            Some(messages) if is_inbox && exec.contains("set_rowcount(") => ListReply::List { messages },
            _ => ListReply::NoList(format!(
                "an answer without a list: {}",
                exec.chars().take(80).collect::<String>()
            )),
        }
    }
}

/// Reads one JSON value at the beginning of `text` and returns it with what follows.
fn json_prefix<'a, T: Deserialize<'a>>(text: &'a str) -> Option<(T, &'a str)> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<T>();
    let value = stream.next()?.ok()?;
    Some((value, text.get(stream.byte_offset()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Recorded from Roundcube 1.6.21 on Debian 13, shortened to what clients read.
    macro_rules! fixture {
        ($name:literal) => {
            include_str!(concat!("fixtures/", $name))
        };
    }

    #[test]
    fn the_log_in_form_is_found_with_its_token() {
        let form = LoginForm::find(fixture!("login.html")).unwrap();
        insta::assert_yaml_snapshot!((form.action, form.hidden));
    }

    #[test]
    fn a_page_without_log_in_form_has_none() {
        assert_eq!(LoginForm::find(fixture!("mail.html")), None);
        assert_eq!(LoginForm::find(fixture!("database-down.html")), None);
    }

    #[test]
    fn a_refusal_is_a_log_in_form_with_a_warning() {
        assert!(LoginForm::find(fixture!("refused.html")).is_some());
        let expected = Notice {
            text: "Login failed.".into(),
            kind: "warning".into(),
        };
        assert_eq!(notices(fixture!("refused.html")), [expected]);
    }

    #[test]
    fn the_mail_page_tells_task_and_token() {
        let environment = environment(fixture!("mail.html")).unwrap();
        assert_eq!(environment.task, "mail");
        assert_eq!(environment.request_token.len(), 32);
        assert_eq!(complaint(fixture!("mail.html")), None);
    }

    #[test]
    fn a_mail_page_without_imap_behind_it_complains() {
        let text = complaint(fixture!("mail-storage-down.html"));
        assert_eq!(text.as_deref(), Some("Connection to storage server failed."));
    }

    #[test]
    fn a_page_of_a_lost_session_is_the_log_in_page() {
        assert_eq!(environment(fixture!("session-lost.html")).unwrap().task, "login");
        assert!(LoginForm::find(fixture!("session-lost.html")).is_some());
    }

    #[test]
    fn the_page_of_a_dead_database_has_a_title_to_quote() {
        assert_eq!(title(fixture!("database-down.html")), "Internal Error");
    }

    #[test]
    fn a_list_tells_its_number_of_messages() {
        assert_eq!(ListReply::read(fixture!("list.json")), ListReply::List { messages: 2 });
        assert_eq!(
            ListReply::read(fixture!("list-empty.json")),
            ListReply::List { messages: 0 }
        );
    }

    #[test]
    fn the_empty_list_of_a_dead_imap_server_is_no_list() {
        let expected = ListReply::Complaint("Connection to storage server failed.".into());
        assert_eq!(ListReply::read(fixture!("list-storage-down.json")), expected);
    }

    #[test]
    fn the_list_of_a_lost_session_says_so() {
        let expected = ListReply::SessionLost("Your session is invalid or expired.".into());
        assert_eq!(ListReply::read(fixture!("list-session-lost.json")), expected);
    }

    #[test]
    fn an_answer_that_is_no_list_is_told_so() {
        for answer in [
            "",
            "<html>",
            "{}",
            "[]",
            r#"{"action":"list","env":{"mailbox":"INBOX"},"exec":""}"#,
        ] {
            assert!(matches!(ListReply::read(answer), ListReply::NoList(_)), "{answer}");
        }
    }

    proptest! {
        #[test]
        fn no_page_makes_the_readers_panic(page in ".{0,60}(<form>|<input name=_pass>|rcmail.set_env\\(\\{|display_message\\(\"|\",).{0,60}") {
            let _ = (LoginForm::find(&page), notices(&page), title(&page), ListReply::read(&page));
            prop_assert_eq!(environment(&page), None);
        }

        #[test]
        fn a_notice_reads_back_whatever_its_text(text in any::<String>(), kind in "[a-z]{1,9}") {
            let script = format!("x;\nthis.display_message({},{},0);\n", Value::from(text.as_str()), Value::from(kind.as_str()));
            let read = notices(&script);
            prop_assert_eq!(read.first(), Some(&Notice { text, kind }));
        }
    }
}
