//! Secrets as the program handles them: made once, checked, rotated, never shown.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use common::{err, folder, generator, here, out, status};

mod common;

const PAIR: &str = "examples/pair.toml";

/// A cluster's secrets in a folder of their own.
struct Kept {
    dir: tempfile::TempDir,
    file: String,
    files: String,
}

impl Kept {
    fn new() -> Kept {
        let (dir, files) = folder();
        let file = dir.path().join("secrets.toml").to_str().unwrap().to_owned();
        let output = generator(&["secrets", "init", PAIR, "--secrets", &file]);
        assert_eq!(status(&output), 0, "{}", err(&output));
        Kept { dir, file, files }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap()
    }

    /// Changes the file, which keeps its mode.
    fn edit(&self, line: &str, instead: &str) {
        let text = self.text();
        let edited = text
            .lines()
            .map(|l| if l.starts_with(line) { instead } else { l }.to_owned() + "\n");
        std::fs::write(&self.file, edited.collect::<String>()).unwrap();
    }

    /// Every value of the file that nobody may see.
    fn values(&self) -> Vec<String> {
        let secrets = generator::secrets::Secrets::load(Path::new(&self.file)).unwrap();
        let mut values = vec![
            secrets.replication_password,
            secrets.roundcube_des_key,
            secrets.salt_key,
        ];
        values.extend(secrets.previous.replication_password);
        values.extend(
            secrets
                .database_passwords
                .into_values()
                .chain(secrets.mailbox_passwords.into_values()),
        );
        let keys = secrets
            .certificates
            .into_values()
            .map(|c| c.key)
            .chain([secrets.ca_key]);
        values.extend(keys.map(|key| key.lines().nth(1).unwrap().to_owned()));
        values
    }

    /// Runs a verb of `secrets` on the file, and makes sure that it shows none of it.
    fn secrets(&self, verb: &str, more: &[&str]) -> std::process::Output {
        let before = self.values();
        let output = generator(&[&["secrets", verb, PAIR, "--secrets", &self.file], more].concat());
        let said = out(&output) + &err(&output);
        for value in before.into_iter().chain(self.values()) {
            assert!(!said.contains(&value), "{verb} shows a secret: {said}");
        }
        output
    }

    fn render(&self) -> std::process::Output {
        generator(&["render", PAIR, "--out", &self.files, "--secrets", &self.file])
    }

    /// What the program said, without the names of this folder.
    fn plain(&self, text: &str) -> String {
        text.replace(self.dir.path().to_str().unwrap(), "DIR")
    }
}

#[test]
fn they_are_made_once_and_for_their_owner_only() {
    let kept = Kept::new();
    let mode = Path::new(&kept.file).metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = kept.text();
    let again = kept.secrets("init", &[]);
    assert_eq!(status(&again), 3);
    insta::assert_snapshot!(kept.plain(&err(&again)), @"
    error: DIR/secrets.toml exists already and holds secrets that nodes may be using; nothing was written
    help: generator secrets check looks at it, generator secrets rotate gives new values
    ");
    assert_eq!(kept.text(), before);
}

#[test]
fn a_rendering_without_them_is_an_error_that_names_the_command() {
    let (dir, files) = folder();
    let output = generator(&["render", PAIR, "--out", &files]);
    assert_eq!(status(&output), 3);
    let said = err(&output).replace(dir.path().to_str().unwrap(), "DIR");
    insta::assert_snapshot!(&said[said.find("error: ").unwrap()..], @"
    error: DIR/files/secrets.toml does not exist, and without secrets there is nothing to render for production
    help: make them once, then render again: generator secrets init examples/pair.toml --secrets DIR/files/secrets.toml
    help: they lie elsewhere: --secrets FILE; only to look at the files: --seed 1
    ");
    assert!(!Path::new(&files).exists());
    let command = format!("generator secrets init {PAIR} --secrets {files}/secrets.toml");
    assert!(err(&output).contains(&command));
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    assert_eq!(status(&generator(&words)), 0);
    let output = generator(&["render", PAIR, "--out", &files]);
    assert_eq!(status(&output), 0, "{}", err(&output));
    let before = std::fs::read(Path::new(&files).join("secrets.toml")).unwrap();
    generator(&["render", PAIR, "--out", &files]);
    assert_eq!(std::fs::read(Path::new(&files).join("secrets.toml")).unwrap(), before);
}

#[test]
fn a_file_that_is_named_and_missing_is_not_made_up() {
    let (dir, files) = folder();
    let nowhere = dir.path().join("nowhere.toml");
    let output = generator(&["render", PAIR, "--out", &files, "--secrets", nowhere.to_str().unwrap()]);
    assert_eq!(status(&output), 3);
    assert!(!nowhere.exists() && !Path::new(&files).exists());
}

#[test]
fn a_keeper_of_passwords_hands_them_over_without_a_file() {
    let kept = Kept::new();
    let mut command = Command::cargo_bin("generator").unwrap();
    let arguments = ["render", PAIR, "--out", &kept.files, "--secrets", "-"];
    let output = command
        .current_dir(here(""))
        .args(arguments)
        .write_stdin(kept.text())
        .output()
        .unwrap();
    assert_eq!(status(&output), 0, "{}", err(&output));
    assert!(!Path::new(&kept.files).join("secrets.toml").exists());
}

#[test]
fn what_is_to_be_written_needs_a_file() {
    for verb in ["init", "rotate"] {
        let output = generator(&["secrets", verb, PAIR, "--secrets", "-"]);
        assert_eq!(status(&output), 3);
        assert!(err(&output).contains("--secrets FILE"), "{}", err(&output));
    }
}

#[test]
fn no_secrets_are_made_for_a_description_with_errors() {
    let (dir, _) = folder();
    let file = dir.path().join("secrets.toml");
    let file = file.to_str().unwrap();
    let output = generator(&[
        "secrets",
        "init",
        "tests/fixtures/duplicate-name.toml",
        "--secrets",
        file,
    ]);
    assert_eq!(status(&output), 1);
    assert!(err(&output).ends_with("\nnothing was written\n") && !Path::new(file).exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_the_environments_fault() {
    let output = generator(&["secrets", "init", PAIR, "--secrets", "/proc/none/secrets.toml"]);
    assert_eq!(status(&output), 4);
}

#[test]
fn a_file_that_others_can_read_is_refused_by_every_verb() {
    let kept = Kept::new();
    std::fs::set_permissions(&kept.file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let verbs: [&[&str]; 5] = [
        &["secrets", "check", PAIR],
        &["secrets", "rotate", PAIR],
        &["check", PAIR],
        &["render", PAIR, "--out", &kept.files],
        &["diff", PAIR, "--node", "mail1", "--root", "/"],
    ];
    for verb in verbs {
        let output = generator(&[verb, &["--secrets", &kept.file]].concat());
        assert_eq!(status(&output), 4, "{verb:?}");
        assert!(
            err(&output).contains(&format!("chmod 600 {}", kept.file)),
            "{}",
            err(&output)
        );
    }
}

/// The pair with one mailbox and one node more or less.
fn changed(kept: &Kept) -> PathBuf {
    let path = kept.dir.path().join("changed.toml");
    let pair = std::fs::read_to_string(here(PAIR)).unwrap();
    let pair = pair
        .replace("carol@example.org", "dave@example.org")
        .replace("\"webmail.example.org\"", "\"post.example.org\"");
    std::fs::write(&path, pair).unwrap();
    path
}

#[test]
fn the_check_says_what_is_weak_missing_unknown_and_not_covered() {
    let kept = Kept::new();
    assert_eq!(status(&kept.secrets("check", &[])), 0);
    let good = kept.text();
    kept.edit("replication_password", "replication_password = \"12345678\"");
    let path = changed(&kept);
    let arguments = ["secrets", "check", path.to_str().unwrap(), "--secrets", &kept.file];
    let output = generator(&arguments);
    assert_eq!(status(&output), 1);
    insta::assert_snapshot!(kept.plain(&out(&output)));
    let json = generator(&[&arguments[..], &["--format", "json"]].concat());
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["errors"], &json["warnings"]), (&3.into(), &1.into()));
    // A rendering is refused for the same reasons, and a rotation mends all that is the generator's to mend.
    let render = [
        "render",
        path.to_str().unwrap(),
        "--out",
        &kept.files,
        "--secrets",
        &kept.file,
    ];
    let output = generator(&render);
    assert_eq!(status(&output), 1);
    assert!(err(&output).ends_with("\nnothing was written\n") && !err(&output).contains("12345678"));
    let output = generator(&["secrets", "rotate", path.to_str().unwrap(), "--secrets", &kept.file]);
    assert_eq!(status(&output), 0, "{}", err(&output));
    insta::assert_snapshot!("what_is_due_is_rotated", kept.plain(&out(&output)));
    let output = generator(&render);
    assert_eq!(status(&output), 0, "{}", err(&output));
    // What was good is as it was.
    let line = |text: &str, key: &str| text.lines().find(|l| l.starts_with(key)).unwrap().to_owned();
    for key in ["roundcube_des_key", "health", "\"alice@example.org\""] {
        assert_eq!(line(&kept.text(), key), line(&good, key));
    }
}

#[test]
fn nothing_is_due_when_all_is_well() {
    let kept = Kept::new();
    let before = kept.text();
    let output = kept.secrets("rotate", &[]);
    assert_eq!(
        (status(&output), kept.plain(&out(&output)).as_str()),
        (0, "DIR/secrets.toml: nothing is due\n")
    );
    assert_eq!(kept.text(), before);
}

#[test]
fn a_rotation_says_which_nodes_in_which_order_and_what_restarts() {
    for what in [
        "replication_password",
        "roundcube_des_key",
        "database_passwords.vmail",
        "certificates",
        "mailbox_passwords",
    ] {
        let kept = Kept::new();
        let output = kept.secrets("rotate", &[what]);
        assert_eq!(status(&output), 0, "{}", err(&output));
        insta::assert_snapshot!(format!("rotate-{what}"), kept.plain(&out(&output)));
    }
}

#[test]
fn a_rotation_with_an_overlap_goes_through_its_steps() {
    let kept = Kept::new();
    let mut told = String::new();
    for (words, expected) in [
        (&["ca"][..], 0),
        (&["ca"], 3),
        (&["--finish"], 3),
        (&["certificates"], 0),
        (&["--finish"], 0),
        (&["--finish"], 3),
    ] {
        let output = kept.secrets("rotate", words);
        assert_eq!(status(&output), expected, "{words:?}: {}", err(&output));
        told += &format!("$ rotate {}\n{}{}\n", words.join(" "), out(&output), err(&output));
        // In between every rendering is a good one.
        let output = kept.render();
        assert_eq!(status(&output), 0, "{}", err(&output));
    }
    insta::assert_snapshot!(kept.plain(&told));
}

#[test]
fn during_a_rotation_both_passwords_and_both_authorities_count() {
    let kept = Kept::new();
    kept.secrets("rotate", &["replication_password", "ca"]);
    kept.render();
    let file = |path: &str| std::fs::read_to_string(Path::new(&kept.files).join("mail1/root").join(path)).unwrap();
    assert_eq!(file("etc/ssl/cluster/ca.pem").matches("BEGIN CERTIFICATE").count(), 2);
    let accounts = file("usr/local/share/cluster/accounts.sql");
    let line = accounts
        .lines()
        .find(|l| l.starts_with("ALTER USER 'replicator'"))
        .unwrap();
    assert_eq!(line.matches("mysql_native_password USING PASSWORD('").count(), 2);
    assert_eq!(
        file("usr/local/share/cluster/link.sql")
            .matches("MASTER_PASSWORD")
            .count(),
        1
    );
}

#[test]
fn an_unknown_name_is_bad_input_and_the_nearest_is_told() {
    let kept = Kept::new();
    let before = kept.text();
    let output = kept.secrets("rotate", &["replication-password"]);
    assert_eq!(status(&output), 3);
    assert_eq!(
        err(&output),
        "error: there is no secret \"replication-password\"; did you mean `replication_password`?\n"
    );
    assert_eq!(kept.text(), before);
}

#[test]
fn certificates_that_do_not_cover_a_name_are_found_by_the_check_of_a_description() {
    let kept = Kept::new();
    let output = generator(&["check", changed(&kept).to_str().unwrap(), "--secrets", &kept.file]);
    assert_eq!(status(&output), 1);
    let said = "error[certificate-name]: the certificate of lb does not cover post.example.org\n";
    assert!(out(&output).contains(said), "{}", out(&output));
}

/// The certificate that somebody else's authority gave to the machine `lb`, in files.
fn public_certificate(kept: &Kept) -> (String, String) {
    let file = kept.dir.path().join("elsewhere.toml");
    let output = generator(&["secrets", "init", PAIR, "--secrets", file.to_str().unwrap()]);
    assert_eq!(status(&output), 0, "{}", err(&output));
    let lb = generator::secrets::Secrets::load(&file).unwrap().certificates["lb"].clone();
    let path = |name: &str, text: &str| {
        let path = kept.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    (path("fullchain.pem", &lb.certificate), path("privkey.pem", &lb.key))
}

#[test]
fn a_certificate_of_another_authority_is_taken_over_and_reaches_webmail() {
    let kept = Kept::new();
    let (chain, key) = public_certificate(&kept);
    let imported = kept.secrets("import", &["certificates.lb", "--chain", &chain, "--key", &key]);
    assert_eq!(status(&imported), 0, "{}", err(&imported));
    insta::assert_snapshot!(kept.plain(&out(&imported)));
    assert_eq!(status(&kept.render()), 0);
    let shown = std::fs::read_to_string(format!("{}/lb/root/etc/haproxy/certs/webmail.pem", kept.files)).unwrap();
    assert!(shown.contains(&std::fs::read_to_string(&chain).unwrap()));
    let again = kept.secrets("import", &["certificates.lb", "--chain", &chain, "--key", &key]);
    assert_eq!(
        kept.plain(&out(&again)),
        "DIR/secrets.toml: it is that certificate already\n"
    );
}

#[test]
fn a_certificate_that_does_not_cover_what_clients_look_for_is_not_taken_over() {
    let kept = Kept::new();
    let (chain, key) = public_certificate(&kept);
    let before = kept.text();
    let refused = kept.secrets("import", &["certificates.gateway", "--chain", &chain, "--key", &key]);
    assert_eq!(status(&refused), 1);
    let said = err(&refused);
    assert!(
        said.contains("the certificate of gateway does not cover gateway.example.org"),
        "{said}"
    );
    assert!(said.ends_with("nothing was written\n"), "{said}");
    assert_eq!(kept.text(), before);
}

#[test]
fn a_key_file_that_is_not_there_is_named() {
    let kept = Kept::new();
    let (chain, _) = public_certificate(&kept);
    let refused = kept.secrets("import", &["certificates.lb", "--chain", &chain, "--key", "none.pem"]);
    assert_eq!(status(&refused), 3);
    assert!(err(&refused).starts_with("error: none.pem: "), "{}", err(&refused));
}

#[test]
fn a_credential_of_systemd_is_read_whatever_its_access_list_looks_like() {
    let kept = Kept::new();
    let mode = |mode| std::fs::set_permissions(&kept.file, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o440);
    let check = |folder: &str| {
        let mut command = Command::cargo_bin("generator").unwrap();
        command.args(["secrets", "check", PAIR, "--secrets", &kept.file]);
        command.env("CREDENTIALS_DIRECTORY", folder).current_dir(here(""));
        command.output().unwrap()
    };
    let folder = kept.dir.path().to_str().unwrap().to_owned();
    assert_eq!(status(&check(&folder)), 0);
    let refused = check("/run/credentials/another.service");
    assert_eq!(status(&refused), 4);
    assert!(err(&refused).contains("others can read this file"), "{}", err(&refused));
}
