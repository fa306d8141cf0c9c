//! No text, a description or not, makes reading, checking, showing or rendering panic or hang. Good beginnings are the
//! descriptions in `../tests/fixtures` and `../examples`, as `../run` has it.

#![no_main]

use generator::check::{examine, has_errors};
use generator::diag;
use generator::render::{Agent, render};
use generator::secrets::Secrets;
use generator::spec::Cluster;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let loaded = match Cluster::parse("fuzz.toml", text) {
        Ok(loaded) => loaded,
        Err(error) => {
            error.render(true);
            return;
        }
    };
    let examined = examine(&loaded);
    diag::render(&examined.findings, &loaded.name, text, true);
    diag::to_json(&examined.findings, &loaded.name, text);
    for finding in &examined.findings {
        // A correction leaves a description behind.
        let mended = diag::apply(text, &finding.fixes);
        assert!(Cluster::parse("mended.toml", &mended).is_ok(), "{}", finding.code);
    }
    let secrets = Secrets::from_seed(&loaded.cluster, 1);
    if has_errors(&examined.findings) {
        // Nobody renders such a description; it must not panic all the same.
        if let Ok(secrets) = secrets {
            let _ = render(&loaded.cluster, &secrets, Some(&Agent::stand_in()));
        }
    } else {
        // What passes the check is rendered.
        let secrets = secrets.expect("names that pass the check stand in certificates");
        render(&loaded.cluster, &secrets, Some(&Agent::stand_in())).expect("a description that passes the check is rendered");
    }
});
