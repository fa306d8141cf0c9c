use std::collections::BTreeMap;

use super::*;
use crate::check::{check, has_errors};
use crate::secrets::Certificate;

fn example(name: &str) -> Cluster {
    let path = format!("{}/examples/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Secrets that say what they are: nothing that could be mistaken for a password reaches a snapshot.
fn placeholders(cluster: &Cluster) -> Secrets {
    let mut secrets = Secrets::from_seed(cluster, 1).unwrap();
    secrets.replication_password = "<replication password>".into();
    secrets.roundcube_des_key = "<des_key>".into();
    secrets.ca_certificate = "<cluster CA certificate>\n".into();
    secrets.corosync_authkey = secrets.corosync_authkey.map(|_| "<corosync authkey>".into());
    if let Some(key) = &mut secrets.dkim {
        key.private = "<key for signatures>\n".into();
    }
    for (account, password) in &mut secrets.database_passwords {
        *password = format!("<database password of {account}>");
    }
    for (node, certificate) in &mut secrets.certificates {
        let Certificate {
            certificate: pem, key, ..
        } = certificate;
        *pem = format!("<certificate of {node}>\n");
        *key = format!("<key of {node}>\n");
    }
    secrets
}

fn page(bundle: &Bundle, node: &str) -> String {
    let tree = &bundle.nodes[node];
    let mut page = format!("##### install\n{}", tree.install);
    for (path, file) in &tree.files {
        // A program is no text to review; its digest is in the manifest.
        let text = match path == agent::PATH {
            true => "<program>\n".to_owned(),
            false => String::from_utf8(file.contents.clone()).unwrap(),
        };
        let hidden = if file.secret { " secret" } else { "" };
        page += &format!(
            "\n##### {path} {:04o} {}:{}{hidden}\n{text}",
            file.mode, file.owner, file.group
        );
    }
    page
}

#[test]
fn every_file_of_every_node_of_the_examples_is_as_reviewed() {
    for name in [
        "pair",
        "access",
        "groupware",
        "iredmail",
        "no-gateway",
        "proxmox",
        "redundant",
        "store",
        "role",
    ] {
        let cluster = example(name);
        let bundle = render(&cluster, &placeholders(&cluster), Some(&Agent::stand_in())).unwrap();
        let mut settings = insta::Settings::clone_current();
        // Hashes of the mailbox passwords differ from secrets to secrets.
        settings.add_filter(r"\{SHA512-CRYPT\}[^']+", "<password hash>");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_snapshot_path("../../snapshots");
        settings.bind(|| {
            for node in bundle.nodes.keys() {
                insta::assert_snapshot!(format!("{name}-{node}"), page(&bundle, node));
            }
            insta::assert_snapshot!(format!("{name}-runbook"), bundle.runbook);
            for (domain, zone) in &bundle.zones {
                insta::assert_snapshot!(format!("{name}-zone-{domain}"), zone);
            }
        });
    }
}

#[test]
fn whatever_passes_the_check_is_rendered() {
    let folders = ["tests/fixtures", "examples"].map(|folder| format!("{}/{folder}", env!("CARGO_MANIFEST_DIR")));
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    for file in files.map(|entry| entry.unwrap().path()) {
        let text = std::fs::read_to_string(&file).unwrap();
        let Ok(loaded) = Cluster::parse("cluster.toml", &text) else {
            continue;
        };
        if has_errors(&check(&loaded)) {
            continue;
        }
        let rendered = render(
            &loaded.cluster,
            &placeholders(&loaded.cluster),
            Some(&Agent::stand_in()),
        );
        assert!(rendered.is_ok(), "{}: {:?}", file.display(), rendered.err());
    }
}

/// An example with figures for Prometheus.
fn watched(name: &str) -> Cluster {
    let path = format!("{}/examples/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap() + "\n[monitoring]\nfrom = [\"192.168.1.5/32\"]\n";
    Cluster::parse(name, &text).unwrap().cluster
}

/// In a snapshot beside those of the examples.
fn reviewed(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path("../../snapshots");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn prometheus_is_told_whom_to_ask_and_when_to_wake_somebody() {
    for name in ["pair", "redundant", "role"] {
        let cluster = watched(name);
        let bundle = render(&cluster, &placeholders(&cluster), Some(&Agent::stand_in())).unwrap();
        for (file, text) in &bundle.monitoring {
            reviewed(&format!("{name}-monitoring-{file}"), text);
        }
    }
}

#[test]
fn what_monitoring_adds_to_each_node_is_as_reviewed() {
    let (plain, cluster) = (example("pair"), watched("pair"));
    let secrets = placeholders(&cluster);
    let without = render(&plain, &secrets, None).unwrap();
    let bundle = render(&cluster, &secrets, None).unwrap();
    for (node, tree) in &bundle.nodes {
        let before = &without.nodes[node].files;
        let mut text = String::new();
        for (path, file) in tree.files.iter().filter(|(path, file)| before.get(*path) != Some(file)) {
            let contents = String::from_utf8_lossy(&file.contents);
            let old = before.get(path).map(|file| String::from_utf8_lossy(&file.contents));
            let known: std::collections::BTreeSet<&str> = old.iter().flat_map(|old| old.lines()).collect();
            text += &format!("\n##### {path} {:04o} {}:{}\n", file.mode, file.owner, file.group);
            for line in contents.lines().filter(|line| !known.contains(line)) {
                text += &format!("{line}\n");
            }
        }
        reviewed(&format!("pair-monitoring-{node}"), &text);
    }
}

#[test]
fn without_monitoring_nothing_is_exported() {
    let cluster = example("pair");
    let bundle = render(&cluster, &placeholders(&cluster), None).unwrap();
    assert!(bundle.monitoring.is_empty());
    let figures = |path: &&String| path.contains("prometheus") || path.contains("cluster-figures");
    assert_eq!(bundle.nodes["mail1"].files.keys().find(figures), None);
}

#[test]
fn rendering_twice_gives_the_same_bytes() {
    let cluster = example("pair");
    let archives = || -> BTreeMap<String, Vec<u8>> {
        let bundle = render(&cluster, &Secrets::from_seed(&cluster, 7).unwrap(), None).unwrap();
        bundle
            .nodes
            .iter()
            .map(|(node, tree)| (node.clone(), tree.tar_gz().unwrap()))
            .collect()
    };
    assert_eq!(archives(), archives());
}

#[test]
fn every_secret_stays_in_files_that_are_marked_secret() {
    let cluster = example("pair");
    let secrets = Secrets::from_seed(&cluster, 7).unwrap();
    let bundle = render(&cluster, &secrets, Some(&Agent::stand_in())).unwrap();
    let mut words: Vec<&str> = secrets.database_passwords.values().map(String::as_str).collect();
    words.extend([
        secrets.replication_password.as_str(),
        secrets.roundcube_des_key.as_str(),
    ]);
    words.extend(
        secrets
            .certificates
            .values()
            .map(|certificate| certificate.key.as_str()),
    );
    for tree in bundle.nodes.values() {
        for (path, file) in tree.files.iter().filter(|(_, file)| !file.secret) {
            let text = String::from_utf8_lossy(&file.contents);
            assert!(!words.iter().any(|word| text.contains(word)), "{path} holds a secret");
        }
        assert!(
            !words.iter().any(|word| tree.install.contains(word)),
            "the install script holds a secret"
        );
    }
}

#[test]
fn a_mail_node_without_gateway_takes_mail_from_anywhere_and_with_one_only_from_it() {
    let rule = |name: &str| {
        let cluster = example(name);
        let bundle = render(&cluster, &placeholders(&cluster), Some(&Agent::stand_in())).unwrap();
        let file = &bundle.nodes["mail1"].files["/etc/nftables.conf"];
        let text = String::from_utf8(file.contents.clone()).unwrap();
        text.lines()
            .find(|line| line.contains("dport 25 "))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(rule("pair"), "ip saddr { 192.168.1.20 } tcp dport 25 accept");
    assert_eq!(rule("no-gateway"), "tcp dport 25 accept");
}

#[test]
fn a_database_that_is_not_replicated_leaves_no_schema() {
    let mut cluster = example("pair");
    cluster.database.replicate.retain(|name| name != "sogo");
    let bundle = render(&cluster, &placeholders(&cluster), Some(&Agent::stand_in())).unwrap();
    assert!(
        !bundle.nodes["mail1"]
            .files
            .contains_key("/usr/local/share/cluster/schema/sogo.sql")
    );
    assert!(
        bundle.nodes["mail1"]
            .files
            .contains_key("/usr/local/share/cluster/schema/vmail.sql")
    );
}

#[test]
fn what_is_described_in_addition_is_rendered() {
    let path = format!("{}/examples/pair.toml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap().replace(
        "[webmail]\n",
        "[[network.allow]]\nrole = \"mail\"\nport = 9100\nfrom = \"192.168.1.5/32\"\n\n[webmail]\noptions = { \"timeout server\" = \"90s\" }\n",
    );
    let text = text.replace(
        "[network]\n",
        "[network]\ntime_servers = [\"ntp.example.org\", \"192.0.2.1\"]\n",
    );
    let cluster: Cluster = toml::from_str(&text).unwrap();
    let bundle = render(&cluster, &placeholders(&cluster), Some(&Agent::stand_in())).unwrap();
    let file = |node: &str, path: &str| String::from_utf8(bundle.nodes[node].files[path].contents.clone()).unwrap();
    let line = "        ip saddr 192.168.1.5/32 tcp dport 9100 accept\n";
    assert!(file("mail1", "/etc/nftables.conf").contains(line));
    assert!(!file("lb", "/etc/nftables.conf").contains("9100"));
    assert!(file("lb", "/etc/haproxy/haproxy.cfg").contains("\n    timeout server 90s\n    server mail1 "));
    let clock = file("gateway", "/etc/systemd/timesyncd.conf.d/cluster.conf");
    assert!(clock.ends_with("[Time]\nNTP=ntp.example.org 192.0.2.1\n"), "{clock}");
    let install = &bundle.nodes["lb"].install;
    assert!(
        install.contains("units='nftables haproxy systemd-timesyncd'"),
        "{install}"
    );
}

#[test]
fn no_file_restarts_what_holds_the_role() {
    let cluster = example("role");
    let bundle = render(&cluster, &placeholders(&cluster), Some(&Agent::stand_in())).unwrap();
    let paths = bundle.nodes["mail1"].files.keys().map(String::as_str);
    let restarted = restarts(&cluster, cluster.node("mail1").unwrap(), paths);
    for unit in ["sbd", "corosync", "pacemaker"] {
        assert!(!restarted.contains(&unit), "{unit}");
    }
    assert!(restarted.contains(&"mail-role"), "{restarted:?}");
}

#[test]
fn the_third_vote_goes_to_whichever_machine_is_named() {
    let mut cluster = example("role");
    cluster.election.third = Some("gateway".to_owned());
    let bundle = render(&cluster, &placeholders(&cluster), Some(&Agent::stand_in())).unwrap();
    let vote = "/etc/systemd/system/corosync-qnetd.service.d/mail-role.conf";
    let voting = bundle.nodes.iter().filter(|(_, tree)| tree.files.contains_key(vote));
    assert_eq!(voting.map(|(node, _)| node.as_str()).collect::<Vec<_>>(), ["gateway"]);
    let file = |node: &str, path: &str| String::from_utf8(bundle.nodes[node].files[path].contents.clone()).unwrap();
    assert!(file("gateway", "/etc/nftables.conf").contains("tcp dport 5403 accept\n"));
    assert!(!file("lb", "/etc/nftables.conf").contains("5403"));
    assert!(file("mail2", "/etc/corosync/corosync.conf").contains("host: 192.168.1.20\n"));
}

#[test]
fn without_access_no_door_for_mail_programs_opens() {
    let cluster = example("pair");
    let bundle = render(&cluster, &placeholders(&cluster), None).unwrap();
    for (node, path) in [
        ("lb", "/etc/haproxy/haproxy.cfg"),
        ("lb", "/etc/nftables.conf"),
        ("mail1", "/etc/dovecot/dovecot.conf"),
        ("mail1", "/etc/postfix/master.cf"),
        ("mail1", "/etc/nftables.conf"),
    ] {
        let text = String::from_utf8(bundle.nodes[node].files[path].contents.clone()).unwrap();
        for word in ["4190,", "10465", "10993", "haproxy = yes", "send-proxy"] {
            assert!(!text.contains(word), "{node} {path}: {word}");
        }
    }
    assert!(!bundle.zones["example.org"].contains("SRV"));
}

#[test]
fn the_modern_profile_names_no_older_version_anywhere() {
    let mut cluster = example("access");
    cluster.tls.profile = crate::spec::TlsProfile::Modern;
    let bundle = render(&cluster, &placeholders(&cluster), None).unwrap();
    for node in ["lb", "mail1"] {
        for (path, file) in &bundle.nodes[node].files {
            let text = String::from_utf8(file.contents.clone()).unwrap();
            assert!(!text.contains("TLSv1.2"), "{node} {path}");
            assert!(!text.contains("ECDHE-"), "{node} {path}");
        }
    }
}

/// The cluster of redundant.toml with the mail store and the engine of role.toml.
fn redundant_store() -> Cluster {
    let mut cluster = example("role");
    let redundant = example("redundant");
    (cluster.nodes, cluster.network) = (redundant.nodes, redundant.network);
    cluster.election.third = Some("lb1".to_owned());
    cluster
}

#[test]
fn a_store_takes_mail_from_both_gateways_and_hands_what_users_send_to_either() {
    let cluster = redundant_store();
    let bundle = render(&cluster, &placeholders(&cluster), Some(&Agent::stand_in())).unwrap();
    let file = |node: &str, path: &str| String::from_utf8(bundle.nodes[node].files[path].contents.clone()).unwrap();
    for node in ["mail1", "mail2"] {
        let allowed = "ip saddr { 192.168.1.20, 192.168.1.21 } tcp dport 24 accept\n";
        assert!(file(node, "/etc/nftables.conf").contains(allowed));
        let known = file(node, "/etc/dovecot/sieve/once.sieve");
        for gateway in ["gateway1", "gateway2"] {
            assert!(
                known.contains(&format!("\"*by {gateway}.example.org (Postfix)* id *\"")),
                "{known}"
            );
        }
        let hosts = file(node, "/etc/hosts");
        assert!(
            hosts.ends_with("\n192.168.1.20 gateways.internal\n192.168.1.21 gateways.internal\n"),
            "{hosts}"
        );
        let master = file(node, "/etc/postfix/master.cf");
        assert_eq!(
            master.matches("smtpd_proxy_filter=inet:gateways.internal:25\n").count(),
            4
        );
        assert_eq!(master.matches("smtpd_proxy_filter").count(), 4);
    }
    let quorum = file("mail1", "/etc/corosync/corosync.conf");
    assert!(quorum.contains("host: 192.168.1.30\n"), "{quorum}");
}

#[test]
fn two_load_balancers_differ_in_who_they_are_and_in_nothing_else_of_vrrp() {
    let cluster = redundant_store();
    let bundle = render(&cluster, &placeholders(&cluster), Some(&Agent::stand_in())).unwrap();
    let path = "/etc/keepalived/keepalived.conf";
    let file = |node: &str| String::from_utf8(bundle.nodes[node].files[path].contents.clone()).unwrap();
    let (first, second) = (file("lb1"), file("lb2"));
    let differ: Vec<(&str, &str)> = first.lines().zip(second.lines()).filter(|(a, b)| a != b).collect();
    let told: Vec<String> = differ
        .iter()
        .map(|(a, b)| format!("{} | {}", a.trim(), b.trim()))
        .collect();
    assert_eq!(
        told,
        [
            "# Written by the generator: lb1 of cluster role. keepalived.conf(5) explains every line. | \
             # Written by the generator: lb2 of cluster role. keepalived.conf(5) explains every line.",
            "router_id lb1 | router_id lb2",
            "priority 150 | priority 100",
            "unicast_src_ip 192.168.1.30 | unicast_src_ip 192.168.1.31",
            "192.168.1.31 | 192.168.1.30",
        ]
    );
    assert_eq!(first.lines().count(), second.lines().count());
}

#[test]
fn a_load_balancer_alone_has_no_address_that_moves() {
    let mut cluster = example("pair");
    cluster.network.virtual_address = Some("192.168.1.40".parse().unwrap());
    let bundle = render(&cluster, &placeholders(&cluster), None).unwrap();
    assert!(!bundle.nodes["lb"].files.keys().any(|path| path.contains("keepalived")));
    assert!(bundle.zones["example.org"].contains("webmail IN A 192.168.1.30\n"));
}

#[test]
fn mail_programs_are_shown_a_certificate_of_their_own_and_nothing_else_changes_with_it() {
    let cluster = example("access");
    let mut secrets = placeholders(&cluster);
    let without = render(&cluster, &secrets, Some(&Agent::stand_in())).unwrap();
    secrets.programs_certificate = secrets.certificates.get("lb").cloned();
    let with = render(&cluster, &secrets, Some(&Agent::stand_in())).unwrap();
    let (without, with) = (&without.nodes["mail1"].files, &with.nodes["mail1"].files);
    let changed: Vec<&str> = with
        .iter()
        .filter(|(path, file)| without.get(*path) != Some(file))
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(
        changed,
        [
            "/etc/dovecot/dovecot.conf",
            "/etc/postfix/main.cf",
            "/etc/ssl/programs/programs.key",
            "/etc/ssl/programs/programs.pem",
            "/usr/local/sbin/cluster-figures",
        ]
    );
    assert!(with["/etc/ssl/programs/programs.key"].secret);
    let node = cluster.nodes.iter().find(|node| node.name == "mail1").unwrap();
    let renewed = ["/etc/ssl/programs/programs.key", "/etc/ssl/programs/programs.pem"];
    assert_eq!(restarts(&cluster, node, renewed.into_iter()), ["dovecot", "postfix"]);
}
