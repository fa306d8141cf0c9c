//! How mail lies on disk: which user a path belongs to, and what a Maildir file is called.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::names;
use crate::config::MailConfig;

/// The user of a path below the mountpoint, by a pattern like `{domain}/{user}`, and what of the path names the home.
pub fn user_of<'a>(path: &'a str, homes: &str) -> Option<(String, &'a str)> {
    let parts: Vec<&str> = homes.split('/').collect();
    let (mut user, mut domain) = (None, None);
    let mut rest = path.split('/');
    let mut length = 0;
    for part in &parts {
        let found = rest.next()?;
        length += found.len() + 1;
        match *part {
            "{user}" => user = Some(found),
            "{domain}" => domain = Some(found),
            fixed if fixed == found => {}
            _ => return None,
        }
    }
    // A file that lies where a home is named belongs to nobody.
    rest.next()?;
    let name = match (user?, domain) {
        (user, Some(domain)) => format!("{user}@{domain}"),
        (user, None) => user.to_owned(),
    };
    Some((name, &path[..length - 1]))
}

/// The path of a user's home below the mountpoint, by a pattern like `{domain}/{user}`.
pub fn home_of(user: &str, homes: &str) -> String {
    let (name, domain) = user.split_once('@').unwrap_or((user, ""));
    homes.replace("{user}", name).replace("{domain}", domain)
}

/// Queue ids of the newest messages of a home, by the times in their names: of those that came within `period` before the
/// last one or later, and not of more than so many. A time to come, which a wrong clock or another system gave, is no last one.
pub fn newest_ids(home: &Path, period: Duration, most: usize, gateways: &[String]) -> BTreeSet<String> {
    let time = |base: &str| base.split('.').next()?.parse().ok().map(Duration::from_secs);
    let messages = messages(home).into_iter();
    let mut messages: Vec<_> = messages.filter_map(|(base, path)| Some((time(&base)?, path))).collect();
    messages.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let last = messages.iter().map(|(time, _)| *time).find(|time| *time <= now);
    let since = last.unwrap_or_default().saturating_sub(period);
    let newest = messages.iter().take(most).take_while(|(time, _)| *time >= since);
    newest.filter_map(|(_, path)| gateway_id_of(path, gateways)).collect()
}

/// The base name of a message: the part before `:2,FLAGS`, which Dovecot takes for the message's GUID as long as its
/// uidlist names no other. `None` for files that are no messages.
pub fn message(path: &str) -> Option<&str> {
    let (folder, name) = path.rsplit_once('/')?;
    let (_, place) = folder.rsplit_once('/').unwrap_or(("", folder));
    if place != "new" && place != "cur" {
        return None;
    }
    Some(name.split(':').next().unwrap_or(name))
}

/// Letters of the flags in a message's name, of keywords too.
pub fn flags(path: &str) -> BTreeSet<char> {
    let letters = path.rsplit_once(":2,").map_or("", |(_, letters)| letters);
    letters.chars().filter(char::is_ascii_alphabetic).collect()
}

/// Directory of the folder in which a message lies.
pub fn place(path: &str) -> &str {
    let inside = path.rsplit_once('/').map_or("", |(place, _)| place);
    inside.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The folder in which a message lies, as Dovecot names it; one whose name only Dovecot can tell is said to be `INBOX`.
pub fn mailbox_of(path: &str, mail: &MailConfig) -> Option<String> {
    let (place, _) = path.rsplit_once('/')?;
    user_of(path, &mail.homes)?;
    Some(folder_of(place, mail).unwrap_or_else(|| "INBOX".to_owned()))
}

/// The folder to which a file or directory directly inside its directory belongs, as Dovecot names it with `/` between its
/// parts: `INBOX`, `Lists/One`, `Entwürfe`. `None` for a name that no folder is stored by, or that lies outside of a Maildir.
pub fn folder_of(path: &str, mail: &MailConfig) -> Option<String> {
    let (_, home) = user_of(path, &mail.homes)?;
    let inside = path[home.len()..].trim_start_matches('/');
    let inside = inside.strip_prefix(mail.maildir.trim_matches('/'))?;
    let (name, _) = inside.trim_start_matches('/').rsplit_once('/').unwrap_or_default();
    let name = match mail.layout.as_deref() {
        Some("fs") => name.to_owned(),
        _ => name.trim_start_matches('.').replace('.', "/"),
    };
    match name.as_str() {
        "" => Some("INBOX".to_owned()),
        name => names::decoded(name),
    }
}

/// All messages below a directory, by their base names. What cannot be read is not among them.
pub fn messages(below: &Path) -> Vec<(String, PathBuf)> {
    let files = walkdir::WalkDir::new(below).into_iter().flatten();
    let named = files.filter_map(|entry| {
        let base = message(entry.path().to_str()?)?.to_owned();
        Some((base, entry.into_path()))
    });
    named.collect()
}

/// The queue id that a gateway gave to a message: of the first `Received` line that one of them wrote.
pub fn gateway_id(head: &str, gateways: &[String]) -> Option<String> {
    let end = head
        .find("\n\n")
        .or_else(|| head.find("\r\n\r\n"))
        .unwrap_or(head.len());
    let unfolded = head[..end]
        .replace("\r\n", "\n")
        .replace("\n\t", " ")
        .replace("\n ", " ");
    for line in unfolded.lines() {
        let Some(value) = line
            .get(..9)
            .filter(|name| name.eq_ignore_ascii_case("received:"))
            .map(|_| &line[9..])
        else {
            continue;
        };
        let words: Vec<&str> = value.split_whitespace().collect();
        let after = |word: &str| words.windows(2).find(|pair| pair[0] == word).map(|pair| pair[1]);
        if after("by").is_some_and(|by| gateways.iter().any(|gateway| gateway == by)) {
            return after("id").map(|id| id.trim_end_matches(';').to_owned());
        }
    }
    None
}

/// Longest head of a message that is looked at, bytes.
const HEAD: u64 = 64 * 1024;

/// The queue id of a message on disk; `None` as well if it cannot be read.
pub fn gateway_id_of(path: &Path, gateways: &[String]) -> Option<String> {
    let mut file = BufReader::new(File::open(path).ok()?.take(HEAD));
    let (mut head, mut line) = (Vec::new(), 0);
    while file.read_until(b'\n', &mut head).ok()? > 0 && !matches!(&head[line..], b"\n" | b"\r\n") {
        line = head.len();
    }
    gateway_id(&String::from_utf8_lossy(&head), gateways)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_path_names_its_user_by_the_pattern() {
        let found = user_of("example.org/anna/cur/1.M2.h:2,S", "{domain}/{user}");
        assert_eq!(found, Some(("anna@example.org".to_owned(), "example.org/anna")));
        assert_eq!(
            user_of("users/anna/mail/new/1", "users/{user}").map(|u| u.0),
            Some("anna".to_owned())
        );
        assert_eq!(user_of("stray-file", "{domain}/{user}"), None);
        assert_eq!(user_of("example.org/anna", "{domain}/{user}"), None);
    }

    #[test]
    fn the_folder_of_a_message_follows_from_the_layout() {
        let mail = |maildir: &str, layout: Option<&str>| MailConfig {
            maildir: maildir.to_owned(),
            layout: layout.map(str::to_owned),
            ..MailConfig::default()
        };
        let fs = mail("Maildir", Some("fs"));
        let of = |path: &str, mail: &MailConfig| mailbox_of(path, mail).expect("a message");
        assert_eq!(of("example.org/anna/Maildir/new/1", &fs), "INBOX");
        assert_eq!(of("example.org/anna/Maildir/Lists/One/cur/1:2,", &fs), "Lists/One");
        assert_eq!(of("example.org/anna/Maildir/Entw&APw-rfe/cur/1", &fs), "Entwürfe");
        assert_eq!(of("example.org/anna/Maildir/R&D/cur/1", &fs), "INBOX");
        let plain = mail("", None);
        assert_eq!(of("example.org/anna/cur/1", &plain), "INBOX");
        assert_eq!(of("example.org/anna/.Lists.One/cur/1", &plain), "Lists/One");
    }

    #[test]
    fn only_files_in_new_and_cur_are_messages() {
        assert_eq!(message("example.org/anna/cur/1.M2.h,S=10:2,FS"), Some("1.M2.h,S=10"));
        assert_eq!(message("example.org/anna/.Sent/new/1.M2.h"), Some("1.M2.h"));
        assert_eq!(message("example.org/anna/dovecot-uidlist"), None);
        assert_eq!(message("example.org/anna/tmp/1.M2.h"), None);
    }

    #[test]
    fn the_home_of_a_user_follows_the_pattern_too() {
        assert_eq!(home_of("anna@example.org", "{domain}/{user}"), "example.org/anna");
        assert_eq!(home_of("anna", "users/{user}"), "users/anna");
    }

    const THREE: [(&str, &str); 3] = [
        ("new/9.M1.h", "A1"),
        ("cur/100.M1.h:2,S", "A2"),
        (".Junk/new/99.M1.h", "A3"),
    ];

    /// Queue ids of the newest of these messages.
    fn newest(messages: &[(&str, &str)], period: u64, most: usize) -> Vec<String> {
        let home = tempfile::tempdir().expect("a folder");
        for (name, id) in messages {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, format!("Received: from x by gw.test with ESMTP id {id};\n\n")).expect("written");
        }
        let ids = newest_ids(home.path(), Duration::from_secs(period), most, &["gw.test".to_owned()]);
        ids.into_iter().collect()
    }

    #[test]
    fn the_newest_messages_are_found_in_all_folders() {
        assert_eq!(newest(&THREE, 1000, 2), ["A2", "A3"]);
        assert_eq!(newest(&THREE, 1000, 3), ["A1", "A2", "A3"]);
    }

    #[test]
    fn what_came_long_before_the_last_message_is_not_read() {
        assert_eq!(newest(&THREE, 90, 3), ["A2", "A3"]);
        assert_eq!(newest(&THREE, 0, 3), ["A2"]);
    }

    #[test]
    fn a_message_from_a_time_to_come_hides_no_other() {
        let messages = [&THREE[..], &[("new/99999999999.M1.h", "A4")]].concat();
        assert_eq!(newest(&messages, 1, 4), ["A2", "A3", "A4"]);
    }

    #[test]
    fn only_the_head_of_a_message_tells() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("1.M.h");
        let id = |text: &str| {
            fs::write(&path, text).expect("written");
            gateway_id_of(&path, &["gw.test".to_owned()])
        };
        let line = "Received: by gw.test id A1";
        assert_eq!(
            id(&format!("Subject: x\r\n{line}\r\n\r\nHello\r\n")),
            Some("A1".to_owned())
        );
        assert_eq!(id(line), Some("A1".to_owned()));
        assert_eq!(id(&format!("Subject: x\n\n{line}\n\n")), None);
    }

    #[test]
    fn the_gateways_own_line_gives_the_id_and_no_other() {
        let head = "Return-Path: <a@b>\nReceived: from gw.test (gw.test [10.0.0.5])\n\tby mail1.test with LMTP\n\tid AAAA\n\t\
                    for <u@test>; Mon\nReceived: from x (x [1.2.3.4])\n\tby gw.test (Postfix) with ESMTPS id 4bTz5q0ZQvz1x;\n\tMon\n\
                    Received: by gw.test id FORGED\n\nby gw.test id BODY";
        assert_eq!(
            gateway_id(head, &["gw.test".to_owned()]),
            Some("4bTz5q0ZQvz1x".to_owned())
        );
        assert_eq!(gateway_id(head, &["other.test".to_owned()]), None);
    }
}
