//! The name that was probably meant.

/// The candidate closest to `name`, if one is close enough to be a slip of the fingers: at most a third of its letters
/// differ (swapped neighbours count once), or one is the beginning of the other.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = plain(name);
    candidates
        .into_iter()
        .map(|candidate| (distance(&name, &plain(candidate)), candidate))
        .filter_map(|(distance, candidate)| distance.map(|d| (d, candidate)))
        .min()
        .map(|(_, candidate)| candidate)
}

/// A sentence for the help of an unknown name: the nearest candidate, or all of them.
pub fn did_you_mean(name: &str, candidates: &[&str]) -> Option<String> {
    match (nearest(name, candidates.iter().copied()), candidates) {
        (Some(nearest), _) => Some(format!("did you mean `{nearest}`?")),
        (None, []) => None,
        (None, [only]) => Some(format!("the only possible name is `{only}`")),
        (None, many) => {
            let names: Vec<String> = many.iter().map(|n| format!("`{n}`")).collect();
            Some(format!("possible names: {}", names.join(", ")))
        }
    }
}

fn plain(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

fn distance(name: &str, candidate: &str) -> Option<usize> {
    let distance = strsim::damerau_levenshtein(name, candidate);
    let letters = name.chars().count().max(candidate.chars().count());
    let beginning = name.chars().count() >= 3
        && candidate.chars().count() >= 3
        && (candidate.starts_with(name) || name.starts_with(candidate));
    (distance <= letters.div_ceil(3) && distance < letters || beginning).then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name() {
        for slip in ["adress", "addres", "Address", "addr", "adderss", "address_"] {
            assert_eq!(
                nearest(slip, ["name", "role", "address", "primary"]),
                Some("address"),
                "{slip}"
            );
        }
    }

    #[test]
    fn something_else_finds_nothing() {
        assert_eq!(nearest("colour", ["name", "role", "address"]), None);
        assert_eq!(nearest("", ["name"]), None);
        assert_eq!(nearest("x", ["y"]), None);
    }

    #[test]
    fn without_a_near_name_all_names_are_told() {
        assert_eq!(
            did_you_mean("colour", &["name", "role"]).unwrap(),
            "possible names: `name`, `role`"
        );
        assert_eq!(
            did_you_mean("colour", &["name"]).unwrap(),
            "the only possible name is `name`"
        );
        assert_eq!(did_you_mean("colour", &[]), None);
    }
}
