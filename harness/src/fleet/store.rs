//! The mail store of a cluster as it is seen from outside: whether there is one, what the agent on each node says, and who
//! therefore is the writer. Pure; what asks the nodes is [`super::Fleet`].

pub use crate::record::{Delivery, StoreStatus};

/// Nodes and what each said, or why it said nothing.
pub type Statuses = Vec<(String, Result<StoreStatus, String>)>;

/// Who the writer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writer<'a> {
    /// This node, and no other.
    One(&'a str),
    /// Several at once: what must never be.
    Several(Vec<&'a str>),
    /// Nobody that was seen.
    Nobody,
}

/// The writer by what each node said.
pub fn writer(seen: &Statuses) -> Writer<'_> {
    let serving = seen
        .iter()
        .filter(|(_, status)| status.as_ref().is_ok_and(StoreStatus::serves));
    let nodes: Vec<&str> = serving.map(|(node, _)| node.as_str()).collect();
    match nodes.as_slice() {
        [] => Writer::Nobody,
        [one] => Writer::One(one),
        _ => Writer::Several(nodes),
    }
}

/// What each node said, in words.
pub fn in_words(seen: &Statuses) -> String {
    let words = seen.iter().map(|(node, status)| match status {
        Ok(status) => format!("{node}: {}", status.words()),
        Err(reason) => format!("{node}: {reason}"),
    });
    words.collect::<Vec<_>>().join("; ")
}

/// Names the directories of an account's mail below the store, as Dovecot's `mail_home` has them, for a shell.
pub(super) fn maildir(user: &str) -> Option<String> {
    let (name, domain) = user.split_once('@')?;
    let plain = |text: &str| {
        let fine = |letter: char| letter.is_ascii_alphanumeric() || ".-_+".contains(letter);
        !text.is_empty() && !text.starts_with('.') && text.chars().all(fine)
    };
    (plain(name) && plain(domain)).then(|| format!("/var/vmail/{domain}/{name}/Maildir"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(standing: &str, doors: &str) -> Result<StoreStatus, String> {
        StoreStatus::parse(&format!(
            r#"{{"standing": "{standing}", "goal": "writer", "doors": "{doors}", "epoch": 3, "newest": 7, "peer": "standby",
                "peer_newest": 7, "follows": true, "doing": "nothing", "trouble": null, "unmerged": 0, "kept": [],
                "waiting": 0}}"#
        ))
    }

    fn seen(one: Result<StoreStatus, String>, other: Result<StoreStatus, String>) -> Statuses {
        vec![("mail1".into(), one), ("mail2".into(), other)]
    }

    #[test]
    fn the_writer_is_the_node_that_says_so_and_has_open_doors() {
        let both = seen(status("writer", "open"), status("standby", "closed"));
        assert_eq!(writer(&both), Writer::One("mail1"));
        let dead = seen(Err("no answer".into()), status("writer", "open"));
        assert_eq!(writer(&dead), Writer::One("mail2"));
    }

    #[test]
    fn a_writer_behind_closed_doors_is_none_yet() {
        let both = seen(status("writer", "closed"), status("standby", "closed"));
        assert_eq!(writer(&both), Writer::Nobody);
    }

    #[test]
    fn two_writers_are_told_from_one() {
        let both = seen(status("writer", "open"), status("writer", "open"));
        assert_eq!(writer(&both), Writer::Several(vec!["mail1", "mail2"]));
    }

    #[test]
    fn a_store_is_in_step_when_the_peer_has_the_newest_snapshot_and_no_tail_waits() {
        let whole = status("writer", "open").expect("a status");
        assert!(whole.in_step());
        for broken in [
            StoreStatus {
                peer_newest: Some(6),
                ..whole.clone()
            },
            StoreStatus {
                unmerged: 1,
                ..whole.clone()
            },
            StoreStatus {
                peer: None,
                ..whole.clone()
            },
            StoreStatus {
                newest: None,
                peer_newest: None,
                ..whole.clone()
            },
            StoreStatus {
                follows: false,
                ..whole
            },
        ] {
            assert!(!broken.in_step(), "{broken:?}");
        }
    }

    #[test]
    fn an_address_that_could_be_more_than_a_folder_has_none() {
        assert_eq!(
            maildir("alice@example.org").as_deref(),
            Some("/var/vmail/example.org/alice/Maildir")
        );
        assert_eq!(maildir("../x@example.org"), None);
        assert_eq!(maildir("a$(b)@example.org"), None);
    }
}
