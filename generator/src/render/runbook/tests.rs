use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::bundle::{Bundle, Tree};
use crate::render::{Agent, render};

const PAIR: &str = include_str!("../../../examples/pair.toml");
const NO_GATEWAY: &str = include_str!("../../../examples/no-gateway.toml");
const REDUNDANT: &str = include_str!("../../../examples/redundant.toml");
const STORE: &str = include_str!("../../../examples/store.toml");
const ROLE: &str = include_str!("../../../examples/role.toml");
const ACCESS: &str = include_str!("../../../examples/access.toml");
const GROUPWARE: &str = include_str!("../../../examples/groupware.toml");
const PROXMOX: &str = include_str!("../../../examples/proxmox.toml");
const IREDMAIL: &str = include_str!("../../../examples/iredmail.toml");

fn rendered(text: &str) -> (Cluster, Bundle) {
    let cluster: Cluster = toml::from_str(text).unwrap();
    let secrets = Secrets::from_seed(&cluster, 1).unwrap();
    let bundle = render(&cluster, &secrets, Some(&Agent::stand_in())).unwrap();
    (cluster, bundle)
}

/// The examples, and the pair with a second gateway and another balancer.
fn clusters() -> Vec<(Cluster, Bundle)> {
    let second = |name: &str, role: &str, address: &str| {
        format!("[[node]]\nname = \"{name}\"\nrole = \"{role}\"\naddress = \"{address}\"\n\n")
    };
    let more = second("mx2", "gateway", "192.168.1.21") + &second("lb2", "load-balancer", "192.168.1.31");
    let twice = PAIR.replace("[webmail]\n", &(more + "[webmail]\n"));
    [
        PAIR, NO_GATEWAY, &twice, REDUNDANT, STORE, ROLE, ACCESS, GROUPWARE, PROXMOX, IREDMAIL,
    ]
    .map(rendered)
    .into()
}

/// What is run where: the machines that stand after `sh` of a fence, and its lines.
fn commands(book: &str) -> Vec<(Vec<&str>, &str)> {
    let (mut found, mut machines) = (Vec::new(), None);
    for line in book.lines() {
        match line.strip_prefix("```") {
            Some("") => machines = None,
            Some(info) => {
                let mut words = info.split(' ');
                assert_eq!(words.next(), Some("sh"), "{line}");
                machines = Some(words.collect::<Vec<_>>());
            }
            None => found.extend(machines.clone().map(|machines| (machines, line))),
        }
    }
    assert!(found.len() > 40);
    found
}

/// The simple commands of a line: what stands between `|`, `&&`, `;` and within `$(...)`, and what ssh is given in quotes.
fn simple(line: &str) -> Vec<String> {
    let (mut parts, mut quote) = (vec![String::new()], None);
    for c in line.chars() {
        match (c, quote) {
            ('\'' | '"', None) => {
                if parts.last().is_some_and(|part| part.trim_start().starts_with("ssh ")) {
                    parts.push(String::new());
                }
                quote = Some(c);
            }
            (c, Some(open)) if c == open => quote = None,
            ('|' | '&' | ';' | '(' | ')', None) => parts.push(String::new()),
            (c, _) => parts.last_mut().unwrap().push(c),
        }
    }
    let trimmed = parts.iter().map(|part| part.trim().to_owned());
    trimmed
        .filter(|part| !part.is_empty() && !part.ends_with("=$"))
        .collect()
}

/// What Debian's own packages bring, those of the roles included; the rest has to be ours.
const PROGRAMS: [&str; 48] = [
    "pmgconfig",
    "cat",
    "promtool",
    "corosync-cfgtool",
    "corosync-qnetd-tool",
    "corosync-quorumtool",
    "crm_mon",
    "crm_resource",
    "crm_standby",
    "cluster-store",
    "cp",
    "doveadm",
    "attrd_updater",
    "mail-doors",
    "mail-fit",
    "zfs",
    "zpool",
    "apt-get",
    "awk",
    "chown",
    "curl",
    "df",
    "dig",
    "amavisd-release",
    "generator",
    "grep",
    "haproxy-answers",
    "install",
    "ip",
    "journalctl",
    "mariadb",
    "mariadb-backup",
    "mbstream",
    "mv",
    "openssl",
    "postqueue",
    "rm",
    "rspamadm",
    "sleep",
    "ssh",
    "systemctl",
    "tail",
    "nft",
    "postfix",
    "tar",
    "mkdir",
    "sort",
    "perl",
];

fn units_of(cluster: &Cluster, name: &str, tree: &Tree) -> BTreeSet<String> {
    let units = services(cluster, cluster.node(name).unwrap());
    let ours = tree
        .files
        .keys()
        .filter_map(|path| path.strip_prefix("/etc/systemd/system/"));
    let ours = ours.map(|file| file.trim_end_matches(".service").to_owned());
    // What iRedMail has installed, and the cluster leaves alone.
    let theirs = cluster
        .iredmail_nodes()
        .any(|node| node.name == name)
        .then(|| "dovecot".to_owned());
    units
        .iter()
        .map(|s| s.unit.to_owned())
        .chain(ours)
        .chain(theirs)
        .collect()
}

/// Whether a path of the text is a file or a folder of the tree, or of Debian.
fn exists(path: &str, tree: &Tree) -> bool {
    let folder = format!("{path}/");
    tree.files.keys().any(|file| file == path || file.starts_with(&folder))
}

#[test]
fn every_command_exists_on_its_machine() {
    for (cluster, bundle) in clusters() {
        for (machines, line) in commands(&bundle.runbook) {
            for command in simple(line) {
                let mut words = command.split_whitespace();
                let program = words.next().unwrap();
                assert!(
                    PROGRAMS.contains(&program) || program == "/root/release/install",
                    "{program}: {line}"
                );
                if machines == ["desk"] {
                    continue;
                }
                for machine in &machines {
                    let tree = bundle
                        .nodes
                        .get(*machine)
                        .unwrap_or_else(|| panic!("{machine}: {line}"));
                    check_words(&cluster, machine, tree, &command, line);
                }
            }
        }
    }
}

fn check_words(cluster: &Cluster, machine: &str, tree: &Tree, command: &str, line: &str) {
    let words: Vec<&str> = command.split_whitespace().collect();
    for path in words
        .iter()
        .filter(|w| ["/etc/", "/usr/local/", "/srv/"].iter().any(|p| w.starts_with(p)))
    {
        assert!(exists(path, tree), "{machine} has no {path}: {line}");
    }
    let units: Vec<&str> = match words[..] {
        ["systemctl", "reboot" | "--failed"] => Vec::new(),
        ["systemctl", _, ref units @ ..] => units.to_vec(),
        ["journalctl", ref rest @ ..] => rest.windows(2).filter(|w| w[0] == "-u").map(|w| w[1]).collect(),
        _ => Vec::new(),
    };
    for unit in units.into_iter().filter(|unit| !unit.contains('*')) {
        assert!(
            units_of(cluster, machine, tree).contains(unit),
            "{machine} has no {unit}: {line}"
        );
    }
}

/// The unit that the agent makes for an installation.
const TRANSIENT: &str = "cluster-release";

#[test]
fn every_name_of_ours_and_every_path_in_the_text_exists() {
    for (cluster, bundle) in clusters() {
        let tree = &bundle.nodes["mail1"];
        let units = units_of(&cluster, "mail1", tree);
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        for word in bundle
            .runbook
            .split(|c| !plain(c))
            .map(|word| word.trim_end_matches('.'))
        {
            if word.starts_with("cluster-") {
                let known =
                    word == TRANSIENT || units.contains(word) || exists(&format!("/usr/local/sbin/{word}"), tree);
                assert!(known, "{word}");
            } else if word.starts_with("/etc/") || word.starts_with("/usr/local/") {
                let somewhere = bundle.nodes.values().any(|tree| exists(word, tree));
                assert!(somewhere, "{word}");
            }
        }
    }
}

#[test]
fn machines_are_called_by_their_own_names_and_addresses() {
    let text = PAIR
        .replace("mail1", "anna")
        .replace("mail2", "berta")
        .replace("192.168.1.", "10.9.8.");
    let (_, bundle) = rendered(&text);
    for foreign in ["mail1", "mail2", "192.168"] {
        assert!(!bundle.runbook.contains(foreign), "{foreign}");
    }
    let addresses = BTreeMap::from([("anna", "10.9.8.10"), ("berta", "10.9.8.11"), ("lb", "10.9.8.30")]);
    for (name, address) in addresses {
        assert!(
            bundle
                .runbook
                .contains(&format!("ssh root@{address} 'rm -rf release && mkdir -m 0700 release && tar -xz -C release' < files/{name}.tar.gz")),
            "{name}"
        );
    }
}

#[test]
fn it_holds_no_secret() {
    let cluster: Cluster = toml::from_str(PAIR).unwrap();
    let secrets = Secrets::from_seed(&cluster, 7).unwrap();
    let book = render(&cluster, &secrets, Some(&Agent::stand_in())).unwrap().runbook;
    for (name, value) in secrets.passwords() {
        assert!(!book.contains(value), "{name}");
    }
    assert!(!book.contains("PRIVATE KEY"));
}

#[test]
fn blank_lines_come_one_at_a_time() {
    for (_, bundle) in clusters() {
        assert!(
            !bundle.runbook.contains("\n\n\n") && bundle.runbook.ends_with("\n"),
            "{}",
            bundle.runbook
        );
    }
}
