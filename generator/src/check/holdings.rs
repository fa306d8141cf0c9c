//! Does a file of secrets belong to the description: what it lacks, what nothing needs, and what a rotation left.

use super::{Finding, rules};
use crate::secrets::{CERTIFICATES, COROSYNC, DATABASE, DKIM, MAILBOXES, PROGRAMS, Secrets, database_accounts};
use crate::spec::Cluster;

pub(super) fn check(secrets: &Secrets, cluster: &Cluster) -> Vec<Finding> {
    let needed = needed(cluster);
    let held = held(secrets);
    let lacking = needed.iter().filter(|name| !held.contains(name));
    let unused = secrets
        .programs_certificate
        .as_ref()
        .filter(|_| cluster.access.is_none());
    let unused = unused.map(|_| PROGRAMS.to_owned());
    let surplus = held.iter().filter(|name| !needed.contains(name)).chain(&unused);
    let mut found: Vec<Finding> = lacking
        .map(|name| {
            rules::finding("missing-secret", format!("`{name}` is missing"))
                .why("a file that is made of it cannot be rendered")
                .help("generator secrets rotate adds what is missing and leaves everything else as it is")
        })
        .collect();
    found.extend(surplus.map(|name| {
        rules::finding("unknown-secret", format!("`{name}` belongs to nothing in the description"))
            .why("a secret that nothing needs is one more that can be lost; or its name is misspelt, and the one that is needed is made anew")
            .help("remove it from the file, or mend the name")
    }));
    found.extend(secrets.previous.names().into_iter().map(|name| {
        rules::finding(
            "former-secret",
            format!("the former value of `{name}` is accepted still"),
        )
        .why("a rotation has its effect only when the value that it replaced is worth nothing")
        .help("once every node is installed: generator secrets rotate --finish, then render and install once more")
    }));
    found
}

fn needed(cluster: &Cluster) -> Vec<String> {
    let accounts = database_accounts(cluster)
        .into_iter()
        .map(|account| format!("{DATABASE}.{account}"));
    let mailboxes = cluster.mailboxes.iter().map(|m| format!("{MAILBOXES}.{:?}", m.address));
    let nodes = cluster.nodes.iter().map(|node| format!("{CERTIFICATES}.{}", node.name));
    let key = cluster.decides_itself().then(|| COROSYNC.to_owned());
    let signatures = cluster.authenticity.as_ref().map(|_| DKIM.to_owned());
    let keys = key.into_iter().chain(signatures);
    keys.chain(accounts).chain(mailboxes).chain(nodes).collect()
}

fn held(secrets: &Secrets) -> Vec<String> {
    let accounts = secrets
        .database_passwords
        .keys()
        .map(|account| format!("{DATABASE}.{account}"));
    let mailboxes = secrets
        .mailbox_passwords
        .keys()
        .map(|address| format!("{MAILBOXES}.{address:?}"));
    let nodes = secrets.certificates.keys().map(|node| format!("{CERTIFICATES}.{node}"));
    let key = secrets.corosync_authkey.as_ref().map(|_| COROSYNC.to_owned());
    let signatures = secrets.dkim.as_ref().map(|_| DKIM.to_owned());
    let keys = key.into_iter().chain(signatures);
    keys.chain(accounts).chain(mailboxes).chain(nodes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl Fn(&mut Secrets)) -> Vec<String> {
        let cluster = toml::from_str(include_str!("../../examples/pair.toml")).unwrap();
        let mut secrets = Secrets::from_seed(&cluster, 1).unwrap();
        change(&mut secrets);
        let found = check(&secrets, &cluster);
        found
            .into_iter()
            .map(|f| format!("{}: {}", f.code, f.message))
            .collect()
    }

    #[test]
    fn made_for_the_description_there_is_nothing_to_say() {
        assert_eq!(with(|_| {}), [""; 0]);
    }

    #[test]
    fn what_is_missing_and_what_is_unknown_is_named() {
        let found = with(|s| {
            let password = s.mailbox_passwords.remove("alice@example.org").unwrap();
            s.mailbox_passwords.insert("alcie@example.org".into(), password);
            s.certificates.remove("lb");
            s.database_passwords.insert("sogo".into(), "x".into());
        });
        assert_eq!(
            found,
            [
                "missing-secret: `mailbox_passwords.\"alice@example.org\"` is missing",
                "missing-secret: `certificates.lb` is missing",
                "unknown-secret: `database_passwords.sogo` belongs to nothing in the description",
                "unknown-secret: `mailbox_passwords.\"alcie@example.org\"` belongs to nothing in the description",
            ]
        );
    }

    #[test]
    fn a_rotation_that_waits_for_its_end_is_named() {
        let found = with(|s| s.previous.replication_password = Some("former".into()));
        assert_eq!(
            found,
            ["former-secret: the former value of `replication_password` is accepted still"]
        );
    }
}
