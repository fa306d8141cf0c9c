//! Rules of a scenario's own shape: what can be told from the file alone.

use std::collections::BTreeSet;

use generator::diag::{Diagnostic, Spans, did_you_mean};

use super::model::{Action, FINISH, Scenario, Stage};
use super::words;
use crate::record::Service;

/// Checks it, and fills in titles.
pub fn check(scenario: &mut Scenario, spans: &Spans) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    check_name(scenario, spans, &mut problems);
    check_paces(scenario, spans, &mut problems);
    for store in [false, true] {
        let played = scenario.on_cluster(store);
        for found in [check_budgets(&played, spans), check_heals(&played, spans)].concat() {
            // What is the same on both kinds of cluster is wrong once.
            if !problems.contains(&found) {
                problems.push(found);
            }
        }
    }
    check_rotations(scenario, spans, &mut problems);
    check_rendered_folders(scenario, spans, &mut problems);
    check_stage(scenario, spans, &mut problems);
    if let Some(must_fail) = &scenario.head.must_fail
        && must_fail.fleet != Stage::Fake
        && must_fail.defect.is_some()
    {
        let found = problem(
            spans,
            "defect-on-real",
            "must-fail.defect",
            "real machines cannot carry a planted defect",
        );
        problems.push(found.help("leave out `fleet`, or plant the failure in the steps or budgets"));
    }
    if scenario.head.must_fail.is_some() && scenario.head.fleet.is_some() {
        let found = problem(
            spans,
            "two-fleets",
            "fleet",
            "a scenario that must fail says in `[must-fail]` where it plays",
        );
        problems.push(found.help("move `fleet` there"));
    }
    for step in &mut scenario.steps {
        if step.title.is_empty() {
            step.title = words::action(&step.action);
        }
    }
    problems
}

/// A problem at a value, or at what encloses it if it is not written.
pub(super) fn problem(spans: &Spans, code: &'static str, path: &str, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(code, message).at(spans.value_or_enclosing(path), "")
}

fn check_name(scenario: &Scenario, spans: &Spans, problems: &mut Vec<Diagnostic>) {
    let name = &scenario.head.name;
    let fine = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if name.is_empty() || !name.chars().all(fine) {
        let found = problem(
            spans,
            "bad-name",
            "name",
            "a scenario's name is made of small letters, digits and hyphens",
        );
        problems.push(found.help("it is what `harness scenario NAME` takes and what report folders are called"));
    }
}

/// Names, or the word that ends a rotation.
fn check_rotations(scenario: &Scenario, spans: &Spans, problems: &mut Vec<Diagnostic>) {
    for (index, step) in scenario.steps.iter().enumerate() {
        let Action::Rotate(rotate) = &step.action else { continue };
        let path = format!("step[{index}].rotate");
        let words = &rotate.rotate;
        if words.is_empty() || words.len() > 1 && words.iter().any(|word| word == FINISH) {
            let found = problem(
                spans,
                "rotation-of-nothing",
                &path,
                "a rotation has names, or ends one and has none",
            );
            problems.push(found.help(format!(
                "`rotate = [\"replication_password\"]`, and in a later step `rotate = [\"{FINISH}\"]`"
            )));
        }
    }
}

/// A simulation has no files.
fn check_stage(scenario: &Scenario, spans: &Spans, problems: &mut Vec<Diagnostic>) {
    if scenario.stage() == Stage::Machines {
        return;
    }
    for (index, step) in scenario.steps.iter().enumerate() {
        let (key, what) = match &step.action {
            Action::Rotate(_) => ("rotate", "to rotate"),
            Action::Rendered(_) => ("rendered", "to lay out"),
            _ => continue,
        };
        let path = format!("step[{index}].{key}");
        let found = problem(
            spans,
            "only-on-machines",
            &path,
            format!("simulated machines have no files {what}"),
        );
        problems.push(found.help("say `fleet = \"machines\"` to play the scenario on machines only"));
    }
}

/// A folder that is replaced has to be said whole, and must be none of the system's.
fn check_rendered_folders(scenario: &Scenario, spans: &Spans, problems: &mut Vec<Diagnostic>) {
    for (index, step) in scenario.steps.iter().enumerate() {
        let Action::Rendered(step) = &step.action else {
            continue;
        };
        let below_root = step.rendered.strip_prefix("/root/");
        if below_root.is_none_or(|name| name.is_empty() || name.contains("..")) {
            let path = format!("step[{index}].rendered");
            let found = problem(
                spans,
                "bad-folder",
                &path,
                "the folder is replaced, so it has to lie below /root",
            );
            problems.push(found.help("`rendered = \"/root/rendered\"`"));
        }
    }
}

fn check_paces(scenario: &Scenario, spans: &Spans, problems: &mut Vec<Diagnostic>) {
    for service in Service::ALL {
        let Some(pace) = scenario.head.traffic.pace(service) else {
            continue;
        };
        let path = format!("traffic.{}", traffic_key(service));
        if pace.every.is_zero() {
            problems.push(problem(
                spans,
                "no-pause",
                &format!("{path}.every"),
                "traffic needs a pause between operations",
            ));
        }
        if pace.at_once == 0 {
            problems.push(problem(
                spans,
                "no-traffic",
                &format!("{path}.at_once"),
                "`at_once = 0` would be no traffic",
            ));
        }
    }
}

fn check_budgets(scenario: &Scenario, spans: &Spans) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for service in Service::ALL {
        let key = words::service(service);
        let budget = &scenario.head.budget;
        let stated = [
            (budget.of(service).is_some(), format!("budget.{key}")),
            (budget.failures.of(service).is_some(), format!("budget.failures.{key}")),
        ];
        let unused = scenario.head.traffic.pace(service).is_none();
        for (_, path) in stated.into_iter().filter(|(stated, _)| *stated && unused) {
            let path = match spans.place(&path) {
                Some(_) => path,
                None => path.replacen("budget", "budget-with-store", 1),
            };
            let message = format!("a budget for {key}, but nothing uses it");
            let found = problem(spans, "budget-without-traffic", &path, message);
            problems.push(found.help(format!("add `[traffic.{}]`", traffic_key(service))));
        }
    }
    if scenario.head.budget.lag.limits().next().is_some() && scenario.head.traffic.mail.is_none() {
        let message = "a budget for the lag, but no mail is sent";
        let found = problem(spans, "budget-without-traffic", "budget.lag", message);
        problems.push(found.help("add `[traffic.mail]`"));
    }
    for step in &scenario.steps {
        if let Action::Hold(hold) = &step.action
            && scenario.head.traffic.pace(hold.hold).is_none()
        {
            let key = words::service(hold.hold);
            let found = problem(
                spans,
                "hold-without-traffic",
                &format!("step[{}].hold", step.position),
                format!("waits for {key}, but nothing uses it"),
            );
            problems.push(found.help(format!("add `[traffic.{}]`", traffic_key(hold.hold))));
        }
    }
    problems
}

fn traffic_key(service: Service) -> &'static str {
    match service {
        Service::MailIn => "mail",
        other => words::service(other),
    }
}

/// Complains where nothing of the name is broken at that moment, or something is still broken.
fn check_heals(scenario: &Scenario, spans: &Spans) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let mut open: BTreeSet<&str> = BTreeSet::new();
    for step in &scenario.steps {
        let at = |key: &str| format!("step[{}].{key}", step.position);
        match &step.action {
            Action::Fault { name: Some(name), .. } if !open.insert(name) => {
                let found = problem(
                    spans,
                    "still-broken",
                    &at("as"),
                    format!("`{name}` is still broken here"),
                );
                problems.push(found.help("heal it first, or take another name"));
            }
            Action::Heal { name, .. } if !open.remove(name.as_str()) => {
                let known: Vec<&str> = open.iter().copied().collect();
                let message = format!("nothing called `{name}` is broken at this point");
                let help = did_you_mean(name, &known);
                let help = help.unwrap_or_else(|| "name an earlier fault with `as = \"...\"`".to_owned());
                problems.push(problem(spans, "nothing-to-heal", &at("heal"), message).help(help));
            }
            _ => {}
        }
    }
    problems
}
