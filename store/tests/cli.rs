//! The program as it is called: exit status and what it says.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

fn cluster_store(config: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster-store"));
    command.arg("--config").arg(config).args(args);
    command.output().expect("it runs")
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/store.toml")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_example_is_a_configuration_and_what_it_names_is_looked_for() {
    let output = cluster_store(&example(), &["check"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        said(&output).contains("/etc/cluster-store/ca.crt cannot be used"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_key_that_is_unknown_is_shown_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("store.toml");
    let text = std::fs::read_to_string(example())
        .expect("the example")
        .replace("keep = 3", "keeep = 3");
    std::fs::write(&file, text).expect("written");
    let output = cluster_store(&file, &["check"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        said(&output).contains("keeep") && said(&output).contains("line"),
        "{}",
        said(&output)
    );
}

#[test]
fn without_the_daemon_the_verbs_say_how_to_start_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("store.toml");
    let socket = format!("control = {:?}\n", folder.path().join("control.sock"));
    let text = socket + &std::fs::read_to_string(example()).expect("the example");
    std::fs::write(&file, text).expect("written");
    for verb in ["status", "promote", "demote", "reseed"] {
        let output = cluster_store(&file, &[verb]);
        assert_eq!(output.status.code(), Some(4), "{verb}");
        assert!(
            said(&output).contains("systemctl start cluster-store"),
            "{}",
            said(&output)
        );
    }
}

/// A daemon on a machine whose pool is empty and whose peer is off.
struct Daemon {
    folder: tempfile::TempDir,
    child: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already if the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn certificates(folder: &Path) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(
        folder.join("ca.crt"),
        params.self_signed(&key).expect("a certificate").pem(),
    )
    .expect("written");
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let node = CertificateParams::new(vec!["mail1".to_owned()]).expect("parameters");
    std::fs::write(
        folder.join("node.crt"),
        node.signed_by(&key, &issuer).expect("signed").pem(),
    )
    .expect("written");
    std::fs::write(folder.join("node.key"), key.serialize_pem()).expect("written");
}

impl Daemon {
    fn start() -> Daemon {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path();
        certificates(place);
        std::fs::write(place.join("zfs"), "#!/bin/sh\nexit 0\n").expect("a script");
        std::fs::set_permissions(place.join("zfs"), std::fs::Permissions::from_mode(0o755)).expect("it can run");
        let shown = place.display();
        let text = format!(
            "name = \"mail1\"\ndataset = \"tank/mail\"\nmountpoint = \"/var/vmail\"\ncontrol = \"{shown}/control\"\n\
             [peer]\nname = \"mail2\"\naddress = \"127.0.0.1:1\"\n\
             [link]\nlisten = \"127.0.0.1:0\"\ncertificate = \"{shown}/node.crt\"\nkey = \"{shown}/node.key\"\n\
             authority = \"{shown}/ca.crt\"\n[doors]\nopen = [[\"true\"]]\nclose = [[\"true\"]]\n[replication]\ndrain_limit = \"100ms\"\n"
        );
        std::fs::write(place.join("store.toml"), text).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_cluster-store"));
        command
            .arg("--config")
            .arg(place.join("store.toml"))
            .arg("run")
            .env("PATH", place_first(place));
        let child = command.stderr(Stdio::null()).spawn().expect("it runs");
        Daemon { folder, child }
    }

    fn ask(&self, args: &[&str]) -> Output {
        cluster_store(&self.folder.path().join("store.toml"), args)
    }

    /// Asks until the answer is as it should be; the last answer if that never comes.
    fn until(&self, args: &[&str], holds: impl Fn(&Output) -> bool) -> Output {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let output = self.ask(args);
            if holds(&output) || Instant::now() > deadline {
                return output;
            }
            std::thread::yield_now();
        }
    }
}

fn place_first(place: &Path) -> String {
    format!("{}:{}", place.display(), std::env::var("PATH").unwrap_or_default())
}

#[test]
fn a_daemon_says_how_it_stands_refuses_what_is_unsafe_and_ends_when_it_is_told_to() {
    let mut daemon = Daemon::start();
    let closed = |output: &Output| String::from_utf8_lossy(&output.stdout).contains("\"doors\": \"closed\"");
    let status = daemon.until(&["status", "--json"], closed);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!(
        (&status["standing"], &status["goal"], &status["peer"]),
        (&"empty".into(), &"standby".into(), &().into())
    );
    let words = daemon.ask(&["status"]);
    assert!(String::from_utf8_lossy(&words.stdout).contains("The peer cannot be reached."));
    let refused = daemon.ask(&["promote"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("the peer cannot be asked whether it has one"),
        "{}",
        said(&refused)
    );
    let id = daemon.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .expect("kill runs")
            .success()
    );
    assert_eq!(daemon.child.wait().expect("it ends").code(), Some(0));
}
