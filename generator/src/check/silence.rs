//! Silences: findings that the operator accepts, with a reason, in the description itself.
//!
//! A warning can always be silenced, an error only where it is a matter of judgement ([`Rule::silenceable`]): not where
//! the files would not work, lose data or let strangers in.

use super::rules::{RULES, Rule};
use super::{Examined, Finding, Findings, Silenced};
use crate::diag::{Fix, did_you_mean};
use crate::spec::Silence;

pub(super) fn apply(findings: Findings<'_>) -> Examined {
    let loaded = findings.loaded;
    let silences = &loaded.cluster.silences;
    let mut told = Findings {
        loaded,
        found: Vec::new(),
    };
    let effective: Vec<bool> = (0..silences.len()).map(|index| is_valid(&mut told, index)).collect();
    let mut used = vec![false; silences.len()];
    let mut silenced = Vec::new();
    for finding in findings.found {
        let by = silences
            .iter()
            .enumerate()
            .filter(|(index, silence)| effective[*index] && covers(&told, silence, &finding));
        let by: Vec<usize> = by.map(|(index, _)| index).collect();
        by.iter().for_each(|index| used[*index] = true);
        match by.first() {
            Some(index) => silenced.push(Silenced {
                finding,
                reason: silences[*index].reason.clone(),
            }),
            None => told.push(finding),
        }
    }
    for index in (0..silences.len()).filter(|index| effective[*index] && !used[*index]) {
        let finding = unused(&told, index);
        told.push(finding);
    }
    Examined {
        findings: told.found,
        silenced,
    }
}

/// Whether a silence counts. If not, says why.
fn is_valid(told: &mut Findings<'_>, index: usize) -> bool {
    let silence = &told.cluster().silences[index];
    let path = format!("silence[{index}]");
    let finding = match RULES.iter().find(|rule| rule.code == silence.code) {
        None => unknown(told, &format!("{path}.code"), &silence.code),
        Some(rule) if !rule.silenceable => refused(told, &format!("{path}.code"), rule),
        Some(_) if silence.reason.trim().is_empty() => told
            .at(
                "silence-without-reason",
                &format!("{path}.reason"),
                "empty",
                format!("nothing says why {} is accepted", silence.code),
            )
            .why("whoever reads the description next year cannot tell a decision from a forgotten experiment")
            .help("write the reason, in a sentence"),
        Some(_) => return true,
    };
    told.push(finding);
    false
}

fn unknown(told: &Findings<'_>, path: &str, code: &str) -> Finding {
    let codes: Vec<&str> = RULES.iter().filter(|r| r.silenceable).map(|r| r.code).collect();
    let near = crate::diag::nearest(code, codes.iter().copied());
    let help = match near {
        Some(_) => did_you_mean(code, &codes).unwrap_or_default(),
        None => "`generator check --rules` lists the codes".to_owned(),
    };
    told.at(
        "silence-unknown-code",
        path,
        "no rule",
        format!("there is no rule {code:?}"),
    )
    .why("the silence covers nothing, and what it was meant for goes on being told")
    .help(help)
    .fix(near.and_then(|near| told.instead(path, super::toml(near))))
}

fn refused(told: &Findings<'_>, path: &str, rule: &Rule) -> Finding {
    told.at(
        "silence-refused",
        path,
        "cannot be silenced",
        format!("{} is no matter of opinion", rule.code),
    )
    .why("with it the files do not work, lose what was acknowledged, or let strangers in")
    .help(format!(
        "mend what the finding shows; generator check --explain {} says more",
        rule.code
    ))
}

fn unused(told: &Findings<'_>, index: usize) -> Finding {
    let silence = &told.cluster().silences[index];
    let place = silence.at.as_ref().map_or_else(String::new, |at| format!(" at {at}"));
    told.at(
        "silence-unused",
        &format!("silence[{index}]"),
        "needed by nothing",
        format!("there is no finding {}{place} to silence", silence.code),
    )
    .why("a silence that is left behind hides the next fault of its kind")
    .help("remove the silence")
    .fix(whole(told, index))
}

/// The correction that takes a whole `[[silence]]` out.
fn whole(told: &Findings<'_>, index: usize) -> Option<Fix> {
    let (spans, source) = (&told.loaded.spans, &told.loaded.source);
    let path = format!("silence[{index}]");
    let header = spans.value(&path)?;
    let last = spans
        .below(&path)
        .filter_map(|key| spans.value(key))
        .map(|span| span.end)
        .max()?;
    let end = source.get(last..)?.find('\n').map_or(source.len(), |at| last + at + 1);
    let block = source.get(header.start..end)?;
    // An inline table shares its lines with others.
    block.starts_with("[[").then(|| Fix {
        span: header.start..end,
        replacement: String::new(),
    })
}

fn covers(told: &Findings<'_>, silence: &Silence, finding: &Finding) -> bool {
    if finding.code != silence.code {
        return false;
    }
    let Some(at) = silence.at.as_deref() else {
        return true;
    };
    let path = finding.span.as_ref().and_then(|span| told.loaded.spans.path_at(span));
    path.and_then(|path| path.strip_prefix(at))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use crate::check::examine;
    use crate::spec::Cluster;

    /// Codes of what is told and of what is silenced, for the pair with an addition in place of its own silences.
    fn told(addition: &str) -> (Vec<String>, Vec<String>) {
        let pair = include_str!("../../examples/pair.toml")
            .split("[[silence]]")
            .next()
            .unwrap();
        let text = format!("{pair}\n{addition}");
        let examined = examine(&Cluster::parse("c.toml", &text).unwrap());
        let codes = |f: &crate::check::Finding| f.code.to_string();
        (
            examined.findings.iter().map(codes).collect(),
            examined.silenced.iter().map(|s| codes(&s.finding)).collect(),
        )
    }

    fn silence(code: &str, reason: &str, at: &str) -> String {
        format!("[[silence]]\ncode = {code:?}\nreason = {reason:?}\n{at}\n")
    }

    #[test]
    fn a_finding_with_a_reason_is_silenced_and_not_lost() {
        let (findings, silenced) = told(&silence("single-gateway", "a second one comes in May", ""));
        assert!(!findings.contains(&"single-gateway".to_owned()));
        assert_eq!(silenced, ["single-gateway"]);
    }

    #[test]
    fn a_place_limits_a_silence() {
        let options = "[mail.options]\nqueue_run_delay = \"300s\"\ntransport_retry_time = \"300s\"\n";
        // Both are in the template, too; as retry times they are told about first.
        let here = options.to_owned() + &silence("slow-retries", "slow disks", "at = \"mail.options.queue_run_delay\"");
        let (findings, silenced) = told(&here);
        assert_eq!(findings.iter().filter(|c| *c == "slow-retries").count(), 1);
        assert_eq!(silenced, ["slow-retries"]);
        let (_, silenced) = told(&(options.to_owned() + &silence("slow-retries", "slow disks", "at = \"mail\"")));
        assert_eq!(silenced.len(), 2);
        let (findings, _) = told(&silence("single-gateway", "one is enough", "at = \"node[0]\""));
        assert!(findings.contains(&"silence-unused".to_owned()));
    }

    #[test]
    fn what_makes_the_files_unsafe_cannot_be_silenced() {
        let relay = "[mail.options]\nmynetworks = \"0.0.0.0/0\"\n".to_owned();
        let (findings, silenced) = told(&(relay + &silence("open-relay", "everybody is welcome", "")));
        assert!(findings.contains(&"open-relay".to_owned()) && findings.contains(&"silence-refused".to_owned()));
        assert_eq!(silenced, [""; 0]);
    }

    #[test]
    fn a_silence_cannot_silence_silences() {
        let (findings, _) = told(&silence("silence-unused", "tidy", ""));
        assert!(findings.contains(&"silence-refused".to_owned()));
    }
}
