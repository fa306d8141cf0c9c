use super::*;

fn pair() -> Cluster {
    toml::from_str(include_str!("../../../examples/pair.toml")).unwrap()
}

fn today() -> OffsetDateTime {
    rcgen::date_time_ymd(2030, 1, 1)
}

fn before() -> Secrets {
    Secrets::from_seed(&pair(), 1).unwrap()
}

fn rotated(secrets: &Secrets, names: &[&str]) -> Result<Rotated, RotateError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    secrets.rotate(&pair(), &names, today())
}

#[test]
fn every_name_changes_what_it_names_and_nothing_else() {
    for name in before().rotatable(&pair()) {
        let Rotated { mut secrets, changed } = rotated(&before(), &[&name]).unwrap();
        assert!(secrets != before() && !changed.is_empty(), "{name}");
        // With what was named put back, nothing differs.
        match name.split('.').next().unwrap() {
            REPLICATION => {
                secrets.replication_password = secrets.previous.replication_password.take().unwrap();
            }
            WEBMAIL => secrets.roundcube_des_key = before().roundcube_des_key,
            AUTHORITY => {
                assert_eq!(secrets.ca_name, "pair cluster authority 2");
                secrets.ca_certificate = secrets.previous.ca_certificate.take().unwrap();
                (secrets.ca_key, secrets.ca_name) = (before().ca_key, before().ca_name);
            }
            CERTIFICATES => secrets.certificates = before().certificates,
            DATABASE => secrets.database_passwords = before().database_passwords,
            _ => secrets.mailbox_passwords = before().mailbox_passwords,
        }
        assert!(secrets == before(), "{name}");
    }
}

#[test]
fn one_of_several_changes_alone() {
    let after = rotated(&before(), &["database_passwords.vmail", "certificates.lb"]).unwrap();
    assert_eq!(
        after.changed,
        ["password of the database account vmail", "certificate of the node lb"]
    );
    let kept = |secrets: &Secrets| {
        (
            secrets.database_passwords["health"].clone(),
            secrets.certificates["mail1"].clone(),
        )
    };
    assert!(kept(&after.secrets) == kept(&before()));
}

#[test]
fn an_unknown_name_is_told_with_the_nearest() {
    let error = rotated(&before(), &["certificates.mial1"]).err().unwrap();
    assert_eq!(
        error.to_string(),
        "there is no secret \"certificates.mial1\"; did you mean `certificates.mail1`?"
    );
}

#[test]
fn a_second_rotation_waits_for_the_end_of_the_first() {
    for name in [REPLICATION, AUTHORITY] {
        let once = rotated(&before(), &[name]).unwrap().secrets;
        assert!(
            matches!(rotated(&once, &[name]), Err(RotateError::Unfinished { .. })),
            "{name}"
        );
    }
}

#[test]
fn a_new_authority_is_finished_when_no_certificate_of_the_former_is_shown() {
    assert!(matches!(before().finish_rotation(), Err(RotateError::NothingToFinish)));
    let begun = rotated(&before(), &[AUTHORITY]).unwrap().secrets;
    assert!(begun.trusted().contains(&before().ca_certificate) && begun.trusted() != before().ca_certificate);
    let error = begun.finish_rotation().err().unwrap().to_string();
    assert!(error.contains("(gateway, lb, mail1, mail2)"), "{error}");
    let reissued = rotated(&begun, &[CERTIFICATES]).unwrap().secrets;
    let finished = reissued.finish_rotation().unwrap().secrets;
    assert_eq!(finished.trusted(), finished.ca_certificate);
    assert!(finished.certificates == reissued.certificates);
}

#[test]
fn a_certificate_from_elsewhere_is_not_replaced_unless_it_is_named() {
    let mut other = pair();
    other.cluster.name = "other".into();
    let mut secrets = before();
    let foreign = Secrets::from_seed(&other, 2).unwrap().certificates["lb"].clone();
    secrets.certificates.insert(
        "lb".into(),
        super::super::Certificate {
            expires: 0,
            ..foreign.clone()
        },
    );
    let after = rotated(&secrets, &[CERTIFICATES]).unwrap().secrets;
    assert_eq!(after.certificates["lb"].key, foreign.key);
    assert_ne!(after.certificates["mail1"].key, before().certificates["mail1"].key);
    let named = rotated(&secrets, &["certificates.lb"]).unwrap().secrets;
    assert_ne!(named.certificates["lb"].key, foreign.key);
}

#[test]
fn what_waits_survives_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secrets.toml");
    let secrets = rotated(&before(), &[REPLICATION, AUTHORITY]).unwrap().secrets;
    secrets.save(&path).unwrap();
    assert!(Secrets::load(&path).unwrap() == secrets);
    assert_eq!(secrets.previous.names(), [REPLICATION, AUTHORITY]);
}

#[test]
fn a_new_key_for_signatures_stands_beside_the_former_until_the_end() {
    let cluster: Cluster = toml::from_str(include_str!("../../../examples/access.toml")).unwrap();
    let first = Secrets::from_seed(&cluster, 1).unwrap();
    let selectors = |secrets: &Secrets| {
        let bundle = crate::render::render(&cluster, secrets, None).unwrap();
        let zone = &bundle.zones["example.org"];
        let keys: Vec<String> = zone
            .lines()
            .filter_map(|line| line.split_once("._domainkey"))
            .map(|(selector, _)| selector.to_owned())
            .collect();
        let rspamd = &bundle.nodes["gateway"].files["/etc/rspamd/rspamd.conf"].contents;
        let signs = String::from_utf8_lossy(rspamd).contains(&format!("selector = \"{}\"", keys[0]));
        assert!(signs, "the gateway signs with another key than {keys:?}");
        keys
    };
    assert_eq!(selectors(&first), ["dkim1"]);
    let begun = first.rotate(&cluster, &[DKIM.into()], today()).unwrap().secrets;
    assert_eq!(selectors(&begun), ["dkim2", "dkim1"]);
    assert!(matches!(
        begun.rotate(&cluster, &[DKIM.into()], today()),
        Err(RotateError::Unfinished { name: DKIM })
    ));
    let finished = begun.finish_rotation().unwrap().secrets;
    assert_eq!(selectors(&finished), ["dkim2"]);
    assert!(finished.dkim == begun.dkim && finished.dkim != first.dkim);
}

proptest::proptest! {
    // Each step makes keys.
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(8))]

    /// Whatever is rotated in whatever order, finished or not: the secrets are good, and every file is rendered.
    #[test]
    fn any_rotations_leave_good_secrets(steps in proptest::collection::vec(0usize..20, 1..6)) {
        let cluster = pair();
        let mut secrets = before();
        for step in steps {
            let names = secrets.rotatable(&cluster);
            let outcome = match names.get(step) {
                Some(name) => rotated(&secrets, &[name]),
                None => secrets.finish_rotation(),
            };
            // A refusal leaves what was there.
            if let Ok(after) = outcome {
                proptest::prop_assert!(after.secrets != secrets && !after.changed.is_empty());
                secrets = after.secrets;
            }
            let findings = crate::check::examine_secrets(&secrets, &cluster, today());
            proptest::prop_assert!(!crate::check::has_errors(&findings), "{:?}", findings);
            proptest::prop_assert!(crate::render::render(&cluster, &secrets, None).is_ok());
        }
    }
}
