//! How mail lies on disk: which user a path belongs to, and what a Maildir file is called.

use std::path::Path;

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
    use std::io::Read;
    let mut head = Vec::new();
    std::fs::File::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    gateway_id(&String::from_utf8_lossy(&head), gateways)
}

#[cfg(test)]
mod tests {
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
    fn only_files_in_new_and_cur_are_messages() {
        assert_eq!(message("example.org/anna/cur/1.M2.h,S=10:2,FS"), Some("1.M2.h,S=10"));
        assert_eq!(message("example.org/anna/.Sent/new/1.M2.h"), Some("1.M2.h"));
        assert_eq!(message("example.org/anna/dovecot-uidlist"), None);
        assert_eq!(message("example.org/anna/tmp/1.M2.h"), None);
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
