//! What `install` does on a load balancer: HAProxy takes its new files by a reload, so that nobody is refused, and one that
//! does not take them is told of.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use crate::machine::{Files, Machine, files, text};

const CERTIFICATE: &str = "/etc/haproxy/certs/webmail.pem";
const KEEPALIVED: &str = "/etc/keepalived/keepalived.conf";

fn bundle(certificate: &str, keepalived: &str) -> Files {
    files([(CERTIFICATE, certificate, 0o600), (KEEPALIVED, keepalived, 0o644)])
}

/// A load balancer on which both run.
fn installed() -> Machine {
    let machine = Machine::with_load_balancer(&files([]));
    machine.copy(&bundle("first", "first"));
    machine.good(&[]);
    machine.calls();
    machine
}

/// HAProxy's master, which is asked once; gives what it was asked.
fn master(machine: &Machine, answer: &'static str) -> JoinHandle<String> {
    let listener = UnixListener::bind(machine.live("/run/haproxy-master.sock")).unwrap();
    std::thread::spawn(move || {
        let (mut asking, _) = listener.accept().unwrap();
        let mut asked = String::new();
        BufReader::new(&asking).read_line(&mut asked).unwrap();
        asking.write_all(answer.as_bytes()).unwrap();
        asked
    })
}

fn restarted(machine: &Machine) -> Vec<String> {
    let calls = machine.calls().into_iter();
    calls.filter(|call| call.starts_with("restart")).collect()
}

#[test]
fn a_running_haproxy_is_reloaded_and_the_others_are_restarted() {
    let machine = installed();
    let master = master(&machine, "Success=1\n--\n");
    machine.copy(&bundle("second", "second"));
    machine.good(&[]);
    assert_eq!(master.join().unwrap(), "reload\n");
    assert_eq!(restarted(&machine), ["restart keepalived"]);
}

#[test]
fn nothing_is_restarted_for_a_new_certificate_nor_when_it_is_taken_back() {
    let machine = installed();
    let first = master(&machine, "Success=1\n--\n");
    machine.copy(&bundle("second", "first"));
    machine.good(&[]);
    first.join().unwrap();
    std::fs::remove_file(machine.live("/run/haproxy-master.sock")).unwrap();
    let second = master(&machine, "Success=1\n--\n");
    machine.good(&["--undo"]);
    assert_eq!(second.join().unwrap(), "reload\n");
    assert_eq!(restarted(&machine), [""; 0]);
}

#[test]
fn a_haproxy_that_goes_on_with_its_former_files_is_told_of() {
    let machine = installed();
    let master = master(&machine, "Success=0\n--\n[ALERT] cannot bind socket [0.0.0.0:443]\n");
    machine.copy(&bundle("second", "first"));
    let output = machine.run(&[]);
    master.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("goes on with the former ones"), "{said}");
    assert!(said.contains("cannot bind socket [0.0.0.0:443]"), "{said}");
    assert!(said.contains("install again, or take them back with"), "{said}");
}

#[test]
fn a_haproxy_without_a_master_is_restarted() {
    let machine = installed();
    machine.copy(&bundle("second", "first"));
    machine.good(&[]);
    assert_eq!(restarted(&machine), ["restart haproxy"]);
}
