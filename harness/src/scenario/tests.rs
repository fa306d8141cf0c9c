use generator::diag;

use super::check;
use super::parse;
use crate::fleet::Topology;

/// What a user reads of a file that cannot be used on the pair.
fn complaint(text: &str) -> String {
    let found = match parse(text) {
        Err(found) => found,
        Ok(parsed) => {
            let pair = toml::from_str(include_str!("../../../generator/examples/pair.toml")).expect("an example");
            check::against(&parsed.scenario, &parsed.spans, &Topology::from(&pair))
        }
    };
    diag::render(&found, "mine.toml", text, false)
}

const HEAD: &str = "name = \"mine\"\nsummary = \"a try\"\n";

fn with(rest: &str) -> String {
    complaint(&format!("{HEAD}{rest}"))
}

const HEALTHY: &str = "[[step]]\nexpect = \"healthy\"\n";

#[test]
fn a_sound_scenario_has_nothing_to_say() {
    assert_eq!(with(HEALTHY), "");
}

#[test]
fn a_misspelt_key_names_the_nearest_one() {
    insta::assert_snapshot!(with("sumary = \"x\"\n[[step]]\nexpect = \"healthy\"\n"));
}

#[test]
fn a_misspelt_step_names_the_nearest_one() {
    insta::assert_snapshot!(with("[[step]]\nexpekt = \"healthy\"\n"));
}

#[test]
fn a_duration_needs_a_unit() {
    insta::assert_snapshot!(with("[[step]]\nexpect = \"healthy\"\nwithin = \"15\"\n"));
}

#[test]
fn a_step_does_one_thing() {
    insta::assert_snapshot!(with("[[step]]\nexpect = \"healthy\"\nheal = \"x\"\n"));
}

#[test]
fn a_scenario_without_steps_is_told_what_to_add() {
    insta::assert_snapshot!(with(""));
}

#[test]
fn what_is_healed_must_be_broken() {
    let text = "[[step]]\nfault = \"power-cut\"\nnode = \"mail1\"\nas = \"cut\"\n[[step]]\nheal = \"cat\"\n";
    insta::assert_snapshot!(with(text));
}

#[test]
fn a_budget_needs_traffic_that_can_miss_it() {
    insta::assert_snapshot!(with(&format!("[budget]\nwebmail = \"15s\"\n{HEALTHY}")));
}

#[test]
fn a_budget_for_clusters_with_a_store_needs_traffic_there() {
    let text = "[traffic.webmail]\nevery = \"3s\"\nstore = false\n[budget-with-store]\nimap-client = \"15s\"\n";
    insta::assert_snapshot!(with(&format!("{text}{HEALTHY}")));
}

#[test]
fn what_is_healed_with_a_store_must_be_broken_there() {
    let broken = "[[step]]\nfault = \"power-cut\"\nnode = \"mail1\"\nas = \"cut\"\nstore = false\n";
    insta::assert_snapshot!(with(&format!("{broken}[[step]]\nheal = \"cut\"\n")));
}

#[test]
fn a_node_must_be_in_the_cluster() {
    insta::assert_snapshot!(with("[[step]]\nfault = \"power-cut\"\nnode = \"mial1\"\n"));
}

#[test]
fn a_writer_needs_a_mail_store() {
    insta::assert_snapshot!(with("[[step]]\nexpect = \"writer\"\nnode = \"mail1\"\n"));
}

#[test]
fn a_rotation_names_secrets_and_plays_on_machines() {
    insta::assert_snapshot!(with("[[step]]\nrotate = []\n"));
    let sound = "fleet = \"machines\"\n[[step]]\nrotate = [\"certificates\"]\n[[step]]\nrotate = [\"--finish\"]\n";
    assert_eq!(with(sound), "");
}

#[test]
fn rendered_files_lie_below_root_and_play_on_machines() {
    insta::assert_snapshot!(with("[[step]]\nrendered = \"/etc\"\nnode = \"gateway\"\n"));
    let sound = "fleet = \"machines\"\n[[step]]\nrendered = \"/root/rendered\"\nnode = \"lb\"\n";
    assert_eq!(with(sound), "");
}

#[test]
fn a_pause_before_a_step_is_drawn_from_the_seed_and_no_longer_than_said() {
    let text = format!("{HEAD}[[step]]\nexpect = \"healthy\"\nafter = {{ random = \"20s\" }}\n");
    let after = parse(&text).expect("valid").scenario.steps[0].after.expect("a pause");
    let pauses: Vec<_> = (0..50).map(|seed| after.pause(seed, 3)).collect();
    assert_eq!(pauses[7], after.pause(7, 3));
    assert!(pauses.iter().all(|pause| pause.as_secs_f64() <= 20.0));
    assert!(pauses.iter().any(|pause| pause.as_secs_f64() > 12.0));
    assert!(pauses.iter().any(|pause| pause.as_secs_f64() < 8.0));
}

#[test]
fn machines_carry_no_planted_defect() {
    let text = "[must-fail]\nreason = \"ledger.lost\"\ndefect = \"lose-mail\"\nfleet = \"real\"\n";
    insta::assert_snapshot!(with(&format!("{text}{HEALTHY}")));
}

#[test]
fn where_a_scenario_plays_is_said_once() {
    let text = "fleet = \"machines\"\n[must-fail]\nreason = \"ledger.lost\"\n";
    insta::assert_snapshot!(with(&format!("{text}{HEALTHY}")));
}

#[test]
fn a_file_that_is_no_toml_shows_the_place() {
    insta::assert_snapshot!(with("traffic = [\n"));
}
