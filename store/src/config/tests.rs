//! Files that are taken and files that are not.

use super::*;

const SMALL: &str = r#"
    name = "mail1"
    dataset = "tank/mail"
    mountpoint = "/var/vmail"
    [peer]
    name = "mail2"
    address = "10.0.0.12:4300"
    [link]
    listen = "10.0.0.11:4300"
    certificate = "/etc/cluster-store/node.crt"
    key = "/etc/cluster-store/node.key"
    authority = "/etc/cluster-store/ca.crt"
    [doors]
    open = [["systemctl", "start", "mail-doors.target"]]
    close = [["systemctl", "stop", "mail-doors.target"]]
"#;

#[test]
fn a_small_file_has_defaults_for_all_else() {
    let config: Config = toml::from_str(SMALL).expect("readable");
    assert_eq!(config.check(), Ok(()));
    assert_eq!((config.replication.keep, config.replication.interval), (3, seconds(1)));
}

#[test]
fn an_unknown_key_is_an_error_that_names_it() {
    let error = toml::from_str::<Config>(&format!("{SMALL}\nlimits = 3"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("limits"), "{error}");
}

#[test]
fn a_duration_without_a_unit_is_an_error() {
    let text = format!("{SMALL}\n[replication]\ninterval = \"1\"");
    assert!(toml::from_str::<Config>(&text).is_err());
}

#[test]
fn values_that_would_lose_the_common_snapshot_are_refused() {
    let text = format!("{SMALL}\n[replication]\nkeep = 1");
    let config: Config = toml::from_str(&text).expect("readable");
    assert!(config.check().is_err_and(|what| what.contains("keep")));
}
