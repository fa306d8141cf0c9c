//! The program as it is called: exit statuses, help, messages.

use std::path::{Path, PathBuf};

use common::{err, folder, generator, here, out, status};

mod common;

#[test]
fn help_teaches() {
    insta::assert_snapshot!("help", out(&generator(&["--help"])));
    for verb in ["check", "secrets", "render", "diff", "schema", "completions", "man"] {
        insta::assert_snapshot!(format!("help-{verb}"), out(&generator(&[verb, "--help"])));
    }
    for verb in ["init", "check", "import", "rotate"] {
        insta::assert_snapshot!(
            format!("help-secrets-{verb}"),
            out(&generator(&["secrets", verb, "--help"]))
        );
    }
}

#[test]
fn a_good_description_holds() {
    let output = generator(&["check", "tests/fixtures/good.toml"]);
    assert_eq!(status(&output), 0);
    assert_eq!(out(&output), "tests/fixtures/good.toml: nothing to object to\n");
}

#[test]
fn warnings_alone_hold() {
    let dir = tempfile::tempdir().unwrap();
    let output = generator(&["check", &outspoken(&dir, "")]);
    assert_eq!(status(&output), 0);
    insta::assert_snapshot!(out(&output).replace(dir.path().to_str().unwrap(), "DIR"));
}

#[test]
fn the_default_example_says_why_it_accepts_what_the_check_finds() {
    let output = generator(&["check", "examples/pair.toml"]);
    assert_eq!(status(&output), 0);
    assert_eq!(out(&output), "examples/pair.toml: nothing to object to, 4 silenced\n");
    let json: serde_json::Value =
        serde_json::from_slice(&generator(&["check", "examples/pair.toml", "--format", "json"]).stdout).unwrap();
    for silenced in json["silenced"].as_array().unwrap() {
        assert!(silenced["reason"].as_str().unwrap().len() > 60, "{silenced}");
    }
}

#[test]
fn an_error_does_not_hold() {
    let output = generator(&["check", "tests/fixtures/duplicate-address.toml"]);
    assert_eq!(status(&output), 1);
    insta::assert_snapshot!(out(&output));
}

#[test]
fn an_error_in_json_carries_the_place() {
    let output = generator(&["check", "tests/fixtures/duplicate-address.toml", "--format", "json"]);
    assert_eq!(status(&output), 1);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["errors"], 1);
    assert_eq!(json["findings"][0]["code"], "duplicate-address");
    assert_eq!(json["findings"][0]["line"], 23);
    assert_eq!(json["findings"][0]["related"][0]["line"], 17);
}

#[test]
fn a_malformed_description_is_bad_input_in_both_formats() {
    let (dir, _) = folder();
    let path = dir.path().join("c.toml");
    std::fs::write(&path, "[cluster]\nnmae = \"x\"\n").unwrap();
    let path = path.to_str().unwrap();
    let text = generator(&["check", path]);
    assert_eq!(status(&text), 3);
    assert!(err(&text).contains("did you mean `name`?"), "{}", err(&text));
    let json = generator(&["check", path, "--format", "json"]);
    assert_eq!(status(&json), 3);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["findings"][0]["code"], "unknown-key");
}

#[test]
fn what_cannot_be_read_is_bad_input() {
    assert_eq!(status(&generator(&["check", "no-such-file.toml"])), 3);
    assert_eq!(status(&generator(&["chekc", "examples/pair.toml"])), 3);
    assert_eq!(status(&generator(&["check"])), 3);
}

#[test]
fn the_rules_can_be_listed() {
    let output = generator(&["check", "--rules"]);
    assert_eq!(status(&output), 0);
    insta::assert_snapshot!(out(&output));
}

#[test]
fn a_rule_is_explained_with_its_sources() {
    let output = generator(&["check", "--explain", "smtp-fallback-relay"]);
    assert_eq!(status(&output), 0);
    insta::assert_snapshot!(out(&output));
}

#[test]
fn an_unknown_rule_is_bad_input_and_the_nearest_is_told() {
    let output = generator(&["check", "--explain", "smtp-fallback"]);
    assert_eq!(status(&output), 3);
    assert_eq!(
        err(&output),
        "error: there is no rule \"smtp-fallback\"; did you mean `smtp-fallback-relay`?\n"
    );
}

/// The pair with its gateway accepted as it is, in a file.
fn silenced(dir: &tempfile::TempDir) -> String {
    outspoken(
        dir,
        "[[silence]]\ncode = \"single-gateway\"\nreason = \"a second one comes in May\"\n",
    )
}

/// The pair without its own silences, with something more, in a file.
fn outspoken(dir: &tempfile::TempDir, more: &str) -> String {
    let path = dir.path().join("pair.toml");
    let pair = std::fs::read_to_string(here("examples/pair.toml")).unwrap();
    let (pair, _) = pair.split_once("# Findings of the check").unwrap();
    std::fs::write(&path, pair.to_owned() + more).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_is_silenced_is_counted_and_listed_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = silenced(&dir);
    let text = out(&generator(&["check", &path]));
    assert!(
        text.ends_with(": 0 errors, 3 warnings, 1 silenced\n") && !text.contains("single-gateway"),
        "{text}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&out(&generator(&["check", &path, "--format", "json"]))).unwrap();
    assert_eq!(json["silenced"][0]["code"], "single-gateway");
    assert_eq!(json["silenced"][0]["reason"], "a second one comes in May");
}

#[test]
fn sarif_carries_rules_regions_and_suppressions() {
    let dir = tempfile::tempdir().unwrap();
    let output = generator(&["check", &silenced(&dir), "--format", "sarif"]);
    assert_eq!(status(&output), 0);
    let log: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let run = &log["runs"][0];
    let results = run["results"].as_array().unwrap();
    let by_code = |code: &str| results.iter().find(|r| r["ruleId"] == code).unwrap();
    let balancer = by_code("single-load-balancer");
    assert_eq!(balancer["locations"][0]["physicalLocation"]["region"]["startLine"], 29);
    let rule = &run["tool"]["driver"]["rules"][balancer["ruleIndex"].as_u64().unwrap() as usize];
    assert_eq!(rule["id"], "single-load-balancer");
    assert_eq!(by_code("single-gateway")["suppressions"][0]["kind"], "inSource");
}

#[test]
fn a_seed_gives_the_same_files_each_time() {
    let (dir, files) = folder();
    let again = dir.path().join("again").to_str().unwrap().to_owned();
    for path in [&files, &again] {
        let output = generator(&["render", "examples/pair.toml", "--out", path, "--seed", "7"]);
        assert_eq!(status(&output), 0, "{}", err(&output));
    }
    assert_eq!(contents(Path::new(&files)), contents(Path::new(&again)));
    assert!(!Path::new(&files).join("secrets.toml").exists());
}

/// Every file below a folder with its bytes, sorted.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut todo, mut found) = (vec![dir.to_owned()], Vec::new());
    while let Some(next) = todo.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                found.push((
                    path.strip_prefix(dir).unwrap().to_owned(),
                    std::fs::read(&path).unwrap(),
                ));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

#[test]
fn with_errors_nothing_is_written() {
    let (_dir, files) = folder();
    let output = generator(&["render", "tests/fixtures/soft-bounce.toml", "--out", &files]);
    assert_eq!(status(&output), 1);
    assert!(err(&output).ends_with("\nnothing was written\n"), "{}", err(&output));
    assert!(!Path::new(&files).exists());
}

#[test]
fn an_agent_that_runs_nowhere_else_is_refused_with_the_command_that_builds_it() {
    let (dir, path) = folder();
    let agent = dir.path().join("agent");
    std::fs::write(&agent, "#!/bin/sh\n").unwrap();
    let agent = agent.to_str().unwrap();
    let arguments = [
        "render",
        "examples/store.toml",
        "--out",
        &path,
        "--seed",
        "1",
        "--store-agent",
        agent,
    ];
    let output = generator(&arguments);
    assert_eq!(status(&output), 3);
    let said = err(&output).replace(agent, "AGENT");
    insta::assert_snapshot!(said);
    assert!(!Path::new(&path).exists());
}

#[test]
fn the_example_with_a_mail_store_says_why_it_accepts_what_the_check_finds() {
    let output = generator(&["check", "examples/store.toml"]);
    assert_eq!(status(&output), 0);
    assert_eq!(out(&output), "examples/store.toml: nothing to object to, 6 silenced\n");
}

#[test]
fn the_example_whose_engine_decides_says_why_it_accepts_what_the_check_finds() {
    let output = generator(&["check", "examples/role.toml"]);
    assert_eq!(status(&output), 0);
    assert_eq!(out(&output), "examples/role.toml: nothing to object to, 4 silenced\n");
}

#[test]
fn a_foreign_folder_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
    let output = generator(&["render", "examples/pair.toml", "--out", dir.path().to_str().unwrap()]);
    assert_eq!(status(&output), 3);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn the_schema_names_every_table() {
    let output = generator(&["schema"]);
    assert_eq!(status(&output), 0);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for table in [
        "cluster", "network", "node", "webmail", "mailbox", "database", "mail", "dns",
    ] {
        assert!(schema["properties"][table].is_object(), "{table}");
    }
    assert_eq!(schema["additionalProperties"], false);
}

/// Calls `see` with each key of a schema that a description may hold, its path and its value.
fn keys(path: &str, value: &serde_json::Value, see: &mut impl FnMut(&str, &serde_json::Value)) {
    if let Some(properties) = value["properties"].as_object() {
        for (name, property) in properties {
            see(&format!("{path}.{name}"), property);
        }
    }
    for inner in ["$defs", "properties"] {
        for (name, below) in value[inner].as_object().into_iter().flatten() {
            keys(&format!("{path}.{name}"), below, see);
        }
    }
}

#[test]
fn the_schema_describes_every_key_table_and_word() {
    let schema: serde_json::Value = serde_json::from_slice(&generator(&["schema"]).stdout).unwrap();
    let described = |value: &serde_json::Value| {
        let text = value["description"].as_str().unwrap_or_default().to_owned();
        // The text comes from the source; a link of the source means nothing to an editor.
        text.len() > 3 && !text.contains("[`")
    };
    let mut seen = 0;
    keys("", &schema, &mut |path, value| {
        assert!(described(value), "{path}: {value}");
        seen += 1;
    });
    assert!(seen > 40, "{seen}");
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        assert!(described(definition), "{name}");
        for word in definition["oneOf"].as_array().into_iter().flatten() {
            assert!(described(word), "{name}: {word}");
        }
    }
}

#[test]
fn there_is_a_manual_page_for_each_verb() {
    let (_dir, pages) = folder();
    let output = generator(&["man", "--out", &pages]);
    assert_eq!(status(&output), 0, "{}", err(&output));
    assert!(out(&output).ends_with(": 12 pages\n"), "{}", out(&output));
    let read = |name: &str| std::fs::read_to_string(Path::new(&pages).join(name)).unwrap();
    for verb in [
        "check",
        "secrets",
        "secrets-init",
        "secrets-check",
        "secrets-import",
        "secrets-rotate",
        "render",
        "diff",
        "schema",
        "completions",
        "man",
    ] {
        let page = read(&format!("generator-{verb}.1"));
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{verb}");
    }
    assert!(read("generator.1").contains("Exit status:"));
    assert_eq!(status(&generator(&["man", "--out", "/proc/none"])), 4);
}

#[test]
fn completions_know_the_verbs() {
    let output = generator(&["completions", "bash"]);
    assert_eq!(status(&output), 0);
    assert!(out(&output).contains("render"));
}

#[test]
fn a_bundle_is_the_same_bytes_each_time_and_its_description_and_checksums_are_true() {
    let (dir, files) = folder();
    let again = dir.path().join("again").to_str().unwrap().to_owned();
    for path in [&files, &again] {
        let output = generator(&["render", "examples/pair.toml", "--out", path, "--seed", "7", "--bundle"]);
        assert_eq!(status(&output), 0, "{}", err(&output));
    }
    assert_eq!(contents(Path::new(&files)), contents(Path::new(&again)));
    let shell = |command: &str| {
        let mut shell = std::process::Command::new("sh");
        let output = shell.args(["-euc", command]).current_dir(&files).output().unwrap();
        assert!(output.status.success(), "{command}: {}", err(&output));
        out(&output)
    };
    shell("sha256sum --check --quiet --strict SHA256SUMS");
    shell("mkdir unpacked && tar -xzf mail1.tar.gz -C unpacked");
    let bundle: serde_json::Value =
        serde_json::from_slice(&std::fs::read(Path::new(&files).join("bundle.json")).unwrap()).unwrap();
    let told = bundle["nodes"]["mail1"]["files"].as_array().unwrap();
    let field = |file: &serde_json::Value, name: &str| file[name].as_str().unwrap().to_owned();
    let lines = told.iter().map(|file| {
        ["sha256", "mode", "owner", "group", "path"]
            .map(|name| field(file, name))
            .join(" ")
            + "\n"
    });
    assert_eq!(lines.collect::<String>(), shell("cat unpacked/manifest"));
    let secret = told
        .iter()
        .filter(|file| file["secret"] == true)
        .map(|file| field(file, "path"));
    let secret: Vec<String> = secret.collect();
    assert!(
        secret.contains(&"/etc/ssl/cluster/node.key".to_owned()) && secret.len() < told.len(),
        "{secret:?}"
    );
}
