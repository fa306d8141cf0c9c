use super::*;
use crate::secrets::Secrets;

fn access() -> Cluster {
    toml::from_str(include_str!("../../../examples/access.toml")).unwrap()
}

/// Secrets of another cluster of the same names: its authority is the public one here.
fn elsewhere(cluster: &Cluster) -> Secrets {
    let mut other = cluster.clone();
    other.cluster.name = "elsewhere".into();
    Secrets::from_seed(&other, 2).unwrap()
}

fn refused(name: &str, chain: impl Fn(&Secrets) -> String, key: impl Fn(&Secrets) -> String) -> String {
    let cluster = access();
    let other = elsewhere(&cluster);
    let secrets = Secrets::from_seed(&cluster, 1).unwrap();
    match secrets.import(&cluster, name, &chain(&other), &key(&other)) {
        Ok(_) => "taken over".into(),
        Err(error) => error.to_string(),
    }
}

fn lb(secrets: &Secrets) -> &Certificate {
    &secrets.certificates["lb"]
}

fn key_of_lb(secrets: &Secrets) -> String {
    lb(secrets).key.clone()
}

fn full_chain(secrets: &Secrets) -> String {
    format!("{}{}", lb(secrets).certificate, secrets.ca_certificate)
}

#[test]
fn a_chain_and_its_key_take_the_place_of_the_own_certificate() {
    let cluster = access();
    let other = elsewhere(&cluster);
    let secrets = Secrets::from_seed(&cluster, 1).unwrap();
    let text = format!("Bag Attributes\r\n{}", full_chain(&other).replace('\n', "\r\n"));
    let imported = secrets
        .import(&cluster, "certificates.lb", &text, &lb(&other).key)
        .unwrap();
    assert_eq!(lb(&imported).certificate, full_chain(&other));
    assert_eq!(lb(&imported).key, lb(&other).key);
    assert_eq!(lb(&imported).expires, lb(&other).expires);
    assert!(lb(&imported).names.contains(&cluster.webmail.host));
    assert_eq!(imported.foreign().collect::<Vec<_>>(), ["lb"]);
}

#[test]
fn mail_programs_have_one_of_their_own() {
    let cluster = access();
    let other = elsewhere(&cluster);
    let secrets = Secrets::from_seed(&cluster, 1).unwrap();
    let own = &other.certificates["mail1"];
    let imported = secrets.import(&cluster, PROGRAMS, &own.certificate, &own.key).unwrap();
    assert_eq!(imported.programs_certificate.unwrap().key, own.key);
    assert!(imported.certificates == secrets.certificates);
}

#[test]
fn what_the_nodes_show_each_other_stays_the_own_authority_s() {
    insta::assert_snapshot!(refused("certificates.mail1", full_chain, key_of_lb), @r"
    `certificates.mail1` cannot have a certificate of another authority: mail nodes show it to each other, and believe the cluster's own authority only
    help: what can: certificates.gateway, certificates.lb, programs_certificate
    ");
}

#[test]
fn a_name_that_is_none_is_told_with_those_that_are() {
    insta::assert_snapshot!(refused("lb", full_chain, key_of_lb), @r"
    `lb` cannot have a certificate of another authority
    help: what can: certificates.gateway, certificates.lb, programs_certificate
    ");
}

#[test]
fn without_mail_programs_there_is_none_for_them() {
    let cluster: Cluster = toml::from_str(include_str!("../../../examples/pair.toml")).unwrap();
    let secrets = Secrets::from_seed(&cluster, 1).unwrap();
    let error = secrets.import(&cluster, PROGRAMS, "", "").unwrap_err();
    assert!(error.to_string().contains("lets no mail programs in"), "{error}");
}

#[test]
fn a_chain_that_begins_with_the_authority_is_refused() {
    let turned = |s: &Secrets| format!("{}{}", s.ca_certificate, lb(s).certificate);
    let told = refused("certificates.lb", turned, key_of_lb);
    assert_eq!(
        told,
        "the chain begins with the certificate of an authority, CN=elsewhere cluster authority; the server's own comes first"
    );
}

#[test]
fn a_chain_with_a_stranger_in_it_is_refused() {
    let mixed = |s: &Secrets| format!("{}{}", lb(s).certificate, s.certificates["gateway"].certificate);
    let told = refused("certificates.lb", mixed, key_of_lb);
    assert!(
        told.starts_with("certificate 2 of the chain, CN=gateway.example.org, did not issue"),
        "{told}"
    );
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let told = refused("certificates.lb", full_chain, |s| s.certificates["gateway"].key.clone());
    assert_eq!(told, "the key does not belong to the certificate of CN=lb.example.org");
}

#[test]
fn a_key_that_daemons_cannot_read_is_refused_with_the_command_that_mends_it() {
    let told = |from: &str, to: &str| refused("certificates.lb", full_chain, |s| key_of_lb(s).replace(from, to));
    assert_eq!(told("PRIVATE KEY", "EC PRIVATE KEY"), OTHER_FORM);
    assert_eq!(told("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), LOCKED);
    assert_eq!(told("-----", "#"), NO_KEY);
    assert_eq!(told("M", "N"), UNKNOWN_KEY);
}

#[test]
fn anything_else_is_no_chain() {
    assert!(refused("certificates.lb", |_| "none".into(), key_of_lb).starts_with("there is no certificate"));
    let broken = |s: &Secrets| lb(s).certificate.replace("MII", "AAA");
    assert_eq!(
        refused("certificates.lb", broken, key_of_lb),
        "certificate 1 of the chain cannot be read"
    );
}
