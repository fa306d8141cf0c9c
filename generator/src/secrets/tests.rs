use std::os::unix::fs::PermissionsExt;

use super::*;

fn pair() -> Cluster {
    toml::from_str(include_str!("../../examples/pair.toml")).unwrap()
}

#[test]
fn a_seed_gives_the_same_secrets_each_time() {
    let (a, b) = (
        Secrets::from_seed(&pair(), 1).unwrap(),
        Secrets::from_seed(&pair(), 1).unwrap(),
    );
    assert!(a == b);
    assert!(a != Secrets::from_seed(&pair(), 2).unwrap());
}

#[test]
fn a_further_mailbox_changes_no_other_secret() {
    let mut cluster = pair();
    let before = Secrets::from_seed(&cluster, 1).unwrap();
    let dave = crate::spec::Mailbox {
        address: "dave@example.org".into(),
        name: String::new(),
        quota_mib: 0,
    };
    cluster.mailboxes.insert(0, dave);
    let mut after = Secrets::from_seed(&cluster, 1).unwrap();
    assert!(after.mailbox_passwords.remove("dave@example.org").is_some());
    assert!(before == after);
}

#[test]
fn random_secrets_differ_from_one_another() {
    let (a, b) = (Secrets::random(&pair()).unwrap(), Secrets::random(&pair()).unwrap());
    assert_ne!(a.replication_password, b.replication_password);
    assert_ne!(a.ca_key, b.ca_key);
}

#[test]
fn every_password_is_long_and_different_from_the_others() {
    let secrets = Secrets::from_seed(&pair(), 1).unwrap();
    let mut values: Vec<&str> = secrets.passwords().into_iter().map(|(_, v)| v).collect();
    assert!(values.iter().all(|v| v.len() >= 24));
    let count = values.len();
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), count);
}

#[test]
fn debug_shows_no_secret() {
    let secrets = Secrets::from_seed(&pair(), 1).unwrap();
    let shown = format!("{secrets:?} {:?}", secrets.certificates);
    assert!(!shown.contains("PRIVATE"));
    assert!(secrets.passwords().iter().all(|(_, v)| !shown.contains(v)));
}

#[test]
fn a_saved_file_is_for_its_owner_only_and_reads_back_equal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secrets.toml");
    let secrets = Secrets::from_seed(&pair(), 1).unwrap();
    secrets.save(&path).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(Secrets::load(&path).unwrap() == secrets);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_others_can_read_is_refused_with_the_fix() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secrets.toml");
    Secrets::from_seed(&pair(), 1).unwrap().save(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = Secrets::load(&path).unwrap_err().to_string();
    assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
}

#[test]
fn an_error_in_the_file_quotes_nothing_of_it() {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secrets.toml");
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .unwrap();
    file.write_all(b"\ndatabase_passwords = \"hunter2\"").unwrap();
    let error = Secrets::load(&path).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    assert!(error.to_string().contains("line 2"), "{error}");
}

#[test]
fn completing_adds_only_what_is_missing() {
    let mut cluster = pair();
    let before = Secrets::from_seed(&cluster, 1).unwrap();
    let (same, added) = before.complete(&cluster, rcgen::date_time_ymd(2030, 1, 1)).unwrap();
    assert!(same == before && added.is_empty(), "{added:?}");

    cluster.nodes[1].address = [192, 168, 1, 12].into();
    cluster.mailboxes[0].address = "new@example.org".into();
    let (after, added) = before.complete(&cluster, rcgen::date_time_ymd(2030, 1, 1)).unwrap();
    assert_eq!(
        added,
        [
            "password of the mailbox new@example.org",
            "certificate of the node mail2"
        ]
    );
    assert!(after.certificates["mail1"] == before.certificates["mail1"]);
    assert!(after.certificates["mail2"].names.contains(&"192.168.1.12".to_owned()));
}

#[test]
fn completing_renews_certificates_that_end_soon() {
    let before = Secrets::from_seed(&pair(), 1).unwrap();
    let (_, added) = before.complete(&pair(), rcgen::date_time_ymd(2043, 12, 15)).unwrap();
    assert_eq!(added.len(), 4, "{added:?}");
}

#[test]
fn a_mailbox_hash_is_stable_and_salted_by_the_address() {
    let mut secrets = Secrets::from_seed(&pair(), 1).unwrap();
    let same = secrets.mailbox_passwords["alice@example.org"].clone();
    secrets.mailbox_passwords.insert("bob@example.org".into(), same);
    let alice = secrets.mailbox_hash("alice@example.org").unwrap();
    assert_eq!(Some(&alice), secrets.mailbox_hash("alice@example.org").as_ref());
    assert_ne!(Some(&alice), secrets.mailbox_hash("bob@example.org").as_ref());
    assert_eq!(secrets.mailbox_hash("nobody@example.org"), None);
}

#[test]
fn a_certificate_covers_what_its_node_serves() {
    let secrets = Secrets::from_seed(&pair(), 1).unwrap();
    let names = |node: &str| secrets.certificates[node].names.join(" ");
    assert_eq!(
        names("mail1"),
        "mail1.example.org mail1 192.168.1.10 localhost webmail.example.org"
    );
    assert_eq!(names("gateway"), "gateway.example.org gateway 192.168.1.20");
    assert_eq!(names("lb"), "lb.example.org lb 192.168.1.30 webmail.example.org");
}

/// The digest of everything a seed makes: it changes only with the way in which secrets are made, never with the
/// machine, the day or the order of a map.
#[test]
fn a_seed_gives_the_same_secrets_everywhere() {
    let text = toml::to_string(&Secrets::from_seed(&pair(), 1).unwrap()).unwrap();
    assert_eq!(
        hex::encode(Sha256::digest(text.as_bytes())),
        "0992808217af8f173ccbd4eadf2d3066a2d394aa194e83d2c17b662ce84ad541"
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever is made of one line of a file, reading it gives secrets or an error that quotes nothing.
    #[test]
    fn no_damage_of_a_file_makes_reading_panic_or_tell(line in 0usize..40, instead in "[a-z_]{1,12} ?= ?[\"\\[{']{0,2}hunter2[\\PC]{0,12}") {
        let text = toml::to_string(&Secrets::from_seed(&pair(), 1).unwrap()).unwrap();
        let damaged: Vec<&str> = text.lines().enumerate().map(|(at, old)| if at == line { &instead } else { old }).collect();
        if let Err(error) = Secrets::parse("secrets.toml", &damaged.join("\n")) {
            let told = format!("{error} {error:?}");
            let values = text.lines().filter_map(|line| Some(line.split_once(" = ")?.1.trim_matches('"')));
            for value in values.filter(|value| value.len() > 8).chain(["hunter2"]) {
                proptest::prop_assert!(!told.contains(value), "{}", told);
            }
        }
    }
}

#[test]
fn a_file_from_before_an_engine_decided_lacks_corosyncs_key_until_it_is_completed() {
    let role: Cluster = toml::from_str(include_str!("../../examples/role.toml")).unwrap();
    let store: Cluster = toml::from_str(include_str!("../../examples/store.toml")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secrets.toml");
    Secrets::from_seed(&store, 1).unwrap().save(&path).unwrap();
    let before = Secrets::load(&path).unwrap();
    let now = rcgen::date_time_ymd(2030, 1, 1);
    let found = crate::check::examine_secrets(&before, &role, now);
    let told: Vec<&str> = found.iter().map(|finding| finding.message.as_ref()).collect();
    assert_eq!(
        told,
        [
            "`corosync_authkey` is missing",
            "the certificate of mail1 does not cover store.example.org",
            "the certificate of mail2 does not cover store.example.org",
        ]
    );
    let (after, added) = before.complete(&role, now).unwrap();
    assert_eq!(
        added,
        [
            "key of corosync",
            "certificate of the node mail1",
            "certificate of the node mail2"
        ]
    );
    assert_eq!(crate::check::examine_secrets(&after, &role, now), []);
}

#[test]
fn only_mail_nodes_carry_the_name_by_which_the_third_vote_knows_them() {
    let role: Cluster = toml::from_str(include_str!("../../examples/role.toml")).unwrap();
    let secrets = Secrets::from_seed(&role, 1).unwrap();
    let carry = |(node, c): (&String, &Certificate)| c.names.contains(&role.voting_name()).then(|| node.clone());
    let nodes: Vec<String> = secrets.certificates.iter().filter_map(carry).collect();
    assert_eq!(nodes, ["mail1", "mail2"]);
}
