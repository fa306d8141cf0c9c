//! What `install` does on an iRedMail node: lines of the cluster go into iRedMail's own files, once, and are taken out again.

use std::os::unix::fs::symlink;

use crate::machine::{Files, Machine, files, overlay, text};

const MAIN: &str = "/etc/postfix/main.cf";
const WEBMAIL: &str = "/opt/www/roundcubemail-1.7.0/config/config.inc.php";
const POLICY: &str = "/opt/iRedAPD-5.9/settings.py";
const ROOT: &str = "/var/spool/cron/crontabs/root";
const SOGO: &str = "/var/spool/cron/crontabs/sogo";

/// Files of iRedMail's in the way in which it writes them.
fn live() -> Files {
    files([
        ("/etc/iredmail-release", "1.8.1\n", 0o644),
        (
            MAIN,
            "# Who may send.\nmynetworks = 127.0.0.1,\n    10.0.0.5\nmessage_size_limit = 15728640\n\
             relay_domains =\n    $mydestination\n    proxy:mysql:/etc/postfix/mysql/relay_domains.cf\n",
            0o644,
        ),
        (WEBMAIL, "<?php\n$config['des_key'] = 'of one node';\n", 0o600),
        (
            POLICY,
            "from libs.default_settings import *\nlisten_port = 7777\n",
            0o400,
        ),
        (
            ROOT,
            "30 3 * * * bash /var/vmail/backup/backup_mysql.sh\n\
             1 2 * * * python3 /opt/www/iredadmin/tools/cleanup_amavisd_db.py >/dev/null\n\
             #1 * * * * python3 /opt/iredapd/tools/cleanup_db.py\n\
             2 2 * * * php /opt/www/roundcubemail/bin/cleandb.sh >/dev/null\n\
             2 2 * * * php /opt/www/roundcubemail/bin/gc.sh >/dev/null\n",
            0o600,
        ),
        (SOGO, "* * * * * sogo-tool expire-sessions 30\n", 0o600),
    ])
}

fn node(number: usize, live: &Files) -> Machine {
    let machine = Machine::with_iredmail(number, live);
    symlink("roundcubemail-1.7.0", machine.live("/opt/www/roundcubemail")).unwrap();
    symlink("iRedAPD-5.9", machine.live("/opt/iredapd")).unwrap();
    machine.copy(&overlay(&format!("mail{number}")));
    machine
}

fn read(machine: &Machine, path: &str) -> String {
    std::fs::read_to_string(machine.live(path)).unwrap()
}

/// What the script says against a machine that is not ready, which it has left alone.
fn refused(machine: &Machine) -> String {
    let before = machine.state();
    let output = machine.run(&[]);
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(machine.state(), before);
    text(&output.stderr)
}

#[test]
fn lines_of_the_cluster_are_put_into_files_of_iredmail() {
    let machine = node(2, &live());
    machine.good(&[]);
    let shown: Vec<String> = [MAIN, WEBMAIL, POLICY, ROOT, SOGO]
        .map(|path| format!("##### {path}\n{}", read(&machine, path)))
        .into();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn what_was_not_ours_keeps_its_mode() {
    let machine = node(2, &live());
    machine.good(&[]);
    let state = machine.state();
    assert_eq!(state[POLICY].1, 0o400);
    assert_eq!(state[WEBMAIL].1, 0o600);
}

#[test]
fn a_second_installation_changes_nothing() {
    let machine = node(2, &live());
    machine.good(&[]);
    let before = machine.state();
    assert_eq!(machine.good(&[]), "mail2: all files are in place\nmail2: done\n");
    assert_eq!(machine.state(), before);
}

#[test]
fn an_undo_gives_back_the_files_of_iredmail_as_they_were() {
    let machine = node(2, &live());
    let before = machine.state();
    machine.good(&[]);
    machine.good(&["--undo"]);
    assert_eq!(machine.state(), before);
}

#[test]
fn after_an_upgrade_of_iredmail_the_lines_come_back() {
    let machine = node(2, &live());
    machine.good(&[]);
    let installed = machine.state();
    for path in [MAIN, WEBMAIL, POLICY] {
        std::fs::remove_file(machine.live(path)).unwrap();
        std::fs::write(machine.live(path), &live()[path].0).unwrap();
    }
    machine.calls();
    machine.good(&[]);
    for path in [MAIN, WEBMAIL, POLICY] {
        assert_eq!(read(&machine, path), installed[path].0);
    }
    assert!(machine.calls().contains(&"restart iredapd postfix".to_owned()));
}

#[test]
fn the_primary_clears_up_what_it_once_left_to_the_other_node() {
    let mut live = live();
    let once = "#cluster: 2 2 * * * php /opt/www/roundcubemail/bin/cleandb.sh\n";
    live.insert(ROOT.into(), (once.into(), 0o600));
    let machine = node(1, &live);
    machine.good(&[]);
    assert_eq!(read(&machine, ROOT), once.trim_start_matches("#cluster: "));
}

#[test]
fn a_dry_run_shows_the_lines_and_changes_nothing() {
    let machine = node(2, &live());
    let before = machine.state();
    let said = machine.good(&["--dry-run"]);
    assert!(said.contains("+relayhost = [192.168.1.20]:25\n"), "{said}");
    assert_eq!(machine.state(), before);
}

#[test]
fn a_machine_without_iredmail_is_left_alone() {
    let mut live = live();
    live.remove("/etc/iredmail-release");
    assert!(refused(&node(2, &live)).contains("this is no iRedMail node"));
}

#[test]
fn a_file_to_which_nothing_can_be_added_is_left_alone() {
    let mut live = live();
    live.insert(WEBMAIL.into(), ("<?php\n?>\n".into(), 0o600));
    assert!(refused(&node(2, &live)).contains("take ?> out"));
}

#[test]
fn half_of_the_lines_of_the_cluster_is_left_alone() {
    let mut live = live();
    live.insert(
        POLICY.into(),
        ("# BEGIN cluster: lines\nlisten_port = 7777\n".into(), 0o400),
    );
    assert!(refused(&node(2, &live)).contains("'BEGIN cluster' and 'END cluster' is missing"));
}
