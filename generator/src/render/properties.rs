//! What holds of rendered files whatever the description says: a value cannot change the shape of a file.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::check::{check, has_errors};
use crate::spec::{Access, Allowed, DnsRecord, Loaded, Mailbox, Pmg, Setting};

/// One of everything, so that each value has a place in a file.
const EVERYTHING: &str = r#"
[cluster]
name = "all"
domain = "example.org"
more_domains = ["example.net"]
[network]
subnet = "192.168.1.0/24"
router = "192.168.1.1"
virtual_address = "192.168.1.40"
admin_from = ["192.168.1.0/24"]
time_servers = ["ntp.example.org"]
[[network.allow]]
role = "mail"
port = 9100
from = "192.168.1.5/32"
[[node]]
name = "mail1"
role = "mail"
address = "192.168.1.10"
primary = true
[[node]]
name = "mail2"
role = "mail"
address = "192.168.1.11"
[[node]]
name = "gateway"
role = "gateway"
address = "192.168.1.20"
[[node]]
name = "lb"
role = "load-balancer"
address = "192.168.1.30"
[[node]]
name = "lb2"
role = "load-balancer"
address = "192.168.1.31"
[webmail]
host = "webmail.example.org"
options = { fullconn = "100" }
[access]
host = "mail.example.org"
autoconfig = true
[tls]
profile = "modern"
[authenticity]
dmarc_reports = "alice@example.org"
tls_reports = "alice@example.org"
mta_sts = "testing"
[[mailbox]]
address = "alice@example.org"
name = "Alice"
[database]
replication_host = "192.168.1.10/255.255.255.254"
options = { max_connections = "50" }
[sogo]
time_zone = "UTC"
[mail]
options = { smtpd_client_message_rate_limit = "100" }
[[dns.record]]
name = "www"
type = "TXT"
data = "x"
[store]
disks = ["/dev/disk/by-id/a"]
layout = "single"
peer_missing = "defer"
metrics_from = ["192.168.1.5/32"]
[role]
engine = "pacemaker"
"#;

/// Pieces that mean something in one of the languages that are written, and some that mean nothing.
const PIECES: [&str; 40] = [
    "a", "b", "Z", "0", "9", "x.y", "org", " ", "  ", "\t", "\n", "\r\n", "\"", "'", "`", "\\", "%", "%s", "%{user}",
    "$", "${", "$(", "}", ")", "{", "{{ 1 }}", "{% x %}", "#", ";", "--", "/*", "?>", "<?php", "\0", "é", "日本", "..",
    "/", "@", "=",
];

fn odd() -> impl Strategy<Value = String> {
    let short = prop::collection::vec(prop::sample::select(&PIECES[..]), 0..6).prop_map(|pieces| pieces.concat());
    let long = (prop::sample::select(&PIECES[..]), 50usize..3000).prop_map(|(piece, times)| piece.repeat(times));
    let plain = "[a-z][a-z0-9.-]{0,20}";
    prop_oneof![4 => short, 1 => long, 2 => plain, 1 => "\\PC{0,30}"]
}

/// Puts a value into one place of a description.
fn put(cluster: &mut Cluster, place: usize, key: &str, value: &str) {
    let text = value.to_owned();
    match place {
        0 => cluster.cluster.name = text,
        1 => cluster.cluster.domain = text,
        2 => cluster.cluster.more_domains = vec![text],
        3 => cluster.network.time_servers = vec![text],
        4 => cluster.nodes[2].name = text,
        5 => cluster.nodes[0].name = text,
        6 => cluster.webmail.host = format!("{value}.example.org"),
        7 => cluster.webmail.options = [(key.to_owned(), text)].into(),
        8 => cluster.webmail.options = [("timeout server".to_owned(), text)].into(),
        9 => cluster.mailboxes[0].name = text,
        10 => cluster.mailboxes[0].address = format!("{value}@example.org"),
        11 => cluster.database.replication_host = Some(text),
        12 => cluster.database.options = [(key.to_owned(), text)].into(),
        13 => cluster.mail.options = [(key.to_owned(), text)].into(),
        14 => cluster.dns.records[0].name = text,
        15 => cluster.dns.records[0].data = text,
        16 => cluster.dns.records[0].data = format!("\"{value}\""),
        17 => cluster.dns.records[0].kind = text,
        EXCHANGER => {
            cluster.dns.records[0] = DnsRecord {
                name: "@".to_owned(),
                kind: "MX".to_owned(),
                data: format!("10 {value}"),
            }
        }
        19 => {
            cluster.access = Some(Access {
                host: format!("{value}.example.org"),
                autoconfig: true,
            })
        }
        20 => cluster.database.replicate[0] = text,
        21 => cluster.store.as_mut().unwrap().pool = text,
        22 => cluster.store.as_mut().unwrap().disks = vec![text],
        23 => cluster.election.watchdog = text,
        24 => cluster.authenticity.as_mut().unwrap().selector = text,
        25 => cluster.authenticity.as_mut().unwrap().dmarc_reports = text,
        26 => cluster.authenticity.as_mut().unwrap().dmarc_reports = format!("{value}@example.org"),
        27 => cluster.authenticity.as_mut().unwrap().tls_reports = Some(text),
        28 => cluster.sogo.as_mut().unwrap().time_zone = text,
        _ => cluster.nodes[1].disks = vec![text],
    }
}

const PLACES: usize = 30;
const EXCHANGER: usize = 18;

fn everything() -> Loaded {
    Cluster::parse("everything.toml", EVERYTHING).unwrap()
}

/// Secrets for a description, however odd, without making a key for each.
fn secrets(cluster: &Cluster) -> Secrets {
    static MADE: LazyLock<Secrets> = LazyLock::new(|| Secrets::from_seed(&everything().cluster, 1).unwrap());
    let mut secrets = MADE.clone();
    let certificate = secrets.certificates["mail1"].clone();
    for node in &cluster.nodes {
        secrets.certificates.insert(node.name.clone(), certificate.clone());
    }
    for mailbox in &cluster.mailboxes {
        secrets
            .mailbox_passwords
            .insert(mailbox.address.clone(), "x".to_owned());
    }
    secrets
}

fn bundle(cluster: &Cluster) -> Bundle {
    render(cluster, &secrets(cluster), Some(&Agent::stand_in())).unwrap()
}

/// Lines of each file, by node's place in the description and by path; zones by their place among the domains.
fn shape(cluster: &Cluster, bundle: &Bundle) -> BTreeMap<(usize, String), usize> {
    let mut shape = BTreeMap::new();
    for (place, node) in cluster.nodes.iter().enumerate() {
        for (path, file) in &bundle.nodes[&node.name].files {
            let path = match cluster
                .domains()
                .position(|domain| path.ends_with(&format!("/zone/{domain}.zone")) || *path == policy::path(domain))
            {
                Some(domain) => format!("{} of domain {domain}", path.rsplit_once('.').unwrap_or_default().1),
                None => path.clone(),
            };
            shape.insert(
                (place, path),
                file.contents.iter().filter(|byte| **byte == b'\n').count(),
            );
        }
    }
    shape
}

/// A program without its single-quoted strings, in which a backslash takes the next character along.
fn skeleton(bundle: &Bundle, node: &str, path: &str) -> String {
    let text = String::from_utf8(bundle.nodes[node].files[path].contents.clone()).unwrap();
    let (mut kept, mut characters) = (String::new(), text.chars());
    let mut inside = false;
    while let Some(c) = characters.next() {
        match c {
            '\\' if inside => drop(characters.next()),
            '\'' => inside = !inside,
            c if !inside => kept.push(c),
            _ => {}
        }
    }
    assert!(!inside, "{path}: a string is not closed");
    kept
}

/// What a file of settings says, each by its name; a setting that stands twice fails.
fn settings(text: &str) -> BTreeMap<&str, &str> {
    let mut settings = BTreeMap::new();
    for line in text
        .lines()
        .filter(|l| !l.starts_with(['#', ' ', '\t', '[']) && l.contains('='))
    {
        let (name, value) = line.split_once('=').unwrap();
        assert_eq!(settings.insert(name.trim(), value.trim()), None, "{name} stands twice");
    }
    settings
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the check lets through is rendered, and each file has as many lines as with plain values.
    #[test]
    fn no_value_that_passes_the_check_changes_the_shape_of_a_file(
        place in 0..PLACES,
        key in prop_oneof![odd(), prop::sample::select(vec!["fullconn".to_owned(), "innodb_io_capacity".into(), "header_checks".into()])],
        value in odd(),
    ) {
        let mut plain = everything();
        let mut odd = everything();
        // One MX record more is one line more in the policy for TLS.
        if place == EXCHANGER {
            put(&mut plain.cluster, place, "", "mx.example.net.");
        }
        put(&mut odd.cluster, place, &key, &value);
        if !has_errors(&check(&odd)) {
            let (plain_files, odd_files) = (bundle(&plain.cluster), bundle(&odd.cluster));
            let (mut longer, lines) = (shape(&odd.cluster, &odd_files), shape(&plain.cluster, &plain_files));
            longer.retain(|file, count| lines.get(file) != Some(count));
            prop_assert_eq!(longer, BTreeMap::new());
            let node = &odd.cluster.nodes[1].name;
            for path in ["/usr/local/share/cluster/mailboxes.sql", "/usr/local/share/cluster/accounts.sql", "/etc/roundcube/config.inc.php", "/srv/health/index.php"] {
                // The cluster's name stands in a comment of each.
                if place != 0 {
                    prop_assert_eq!(skeleton(&odd_files, node, path), skeleton(&plain_files, "mail2", path));
                }
            }
        }
    }

    /// An option that passes stands in its file once, with its value as it was given.
    #[test]
    fn an_option_that_passes_is_what_the_daemon_reads(value in odd()) {
        let mut odd = everything();
        odd.cluster.database.options = [("init_connect".to_owned(), value.clone())].into();
        odd.cluster.mail.options = [("header_checks".to_owned(), value.clone())].into();
        if !has_errors(&check(&odd)) {
            let files = bundle(&odd.cluster);
            let text = |node: &str, path: &str| String::from_utf8(files.nodes[node].files[path].contents.clone()).unwrap();
            let mariadb = text("mail1", "/etc/mysql/mariadb.conf.d/90-cluster.cnf");
            prop_assert_eq!(settings(&mariadb)["init_connect"], value.trim());
            let postfix = text("gateway", "/etc/postfix/main.cf");
            prop_assert_eq!(settings(&postfix)["header_checks"], value.trim());
        }
    }

    /// A setting of a Proxmox Mail Gateway is one line of its section, or refused.
    #[test]
    fn a_setting_of_pmg_is_one_line_or_refused(key in odd(), value in odd()) {
        let mut loaded = Cluster::parse("proxmox.toml", include_str!("../../examples/proxmox.toml")).unwrap();
        let spam = [(key.clone(), Setting::Text(value.clone()))].into();
        loaded.cluster.pmg = Some(Pmg { spam, ..Pmg::default() });
        if has_errors(&check(&loaded)) {
            return Ok(());
        }
        let bundle = bundle(&loaded.cluster);
        let text = String::from_utf8(bundle.nodes["gateway"].files["/etc/pmg/pmg.conf"].contents.clone()).unwrap();
        let line = format!("\t{key} {value}");
        prop_assert_eq!(text.split('\n').filter(|other| **other == line).count(), 1);
        let known = |line: &str| line.is_empty() || line.starts_with("section: ") || line.starts_with('\t');
        prop_assert!(text.split('\n').all(known), "{}", text);
    }

    /// Numbers at the ends of their types are refused or fit.
    #[test]
    fn no_number_makes_rendering_panic(days in any::<u32>(), size in any::<u32>(), quota in any::<u64>(), port in 1u16.., prefix in 0u8..=32) {
        let mut cluster = everything().cluster;
        cluster.mail.queue_days = days;
        cluster.mail.message_size_mib = size;
        cluster.mailboxes.push(Mailbox { address: "bob@example.org".into(), name: String::new(), quota_mib: quota });
        cluster.network.allowed = vec![Allowed {
            role: Role::Gateway,
            port: port.try_into().unwrap(),
            from: ipnet::Ipv4Net::new([10, 1, 2, 3].into(), prefix).unwrap(),
        }];
        bundle(&cluster);
    }

    /// Rendering without a check answers, too: with files or with an error.
    #[test]
    fn no_value_makes_rendering_panic(place in 0..PLACES, key in odd(), value in odd()) {
        let mut cluster = everything().cluster;
        put(&mut cluster, place, &key, &value);
        let _ = render(&cluster, &secrets(&cluster), Some(&Agent::stand_in()));
    }
}

proptest! {
    // Each case makes keys.
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Certificates for odd names are made, or the error says why not.
    #[test]
    fn no_name_makes_secrets_panic(place in 0..7usize, value in odd()) {
        let mut cluster = everything().cluster;
        put(&mut cluster, place, "", &value);
        let _ = Secrets::from_seed(&cluster, 1);
    }
}

#[test]
fn the_plain_description_passes_and_has_a_file_of_each_kind() {
    let loaded = everything();
    assert!(!has_errors(&check(&loaded)));
    assert!(shape(&loaded.cluster, &bundle(&loaded.cluster)).len() > 40);
}
