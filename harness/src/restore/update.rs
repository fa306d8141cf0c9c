//! What lies between a cluster that was frozen and one that is wanted, if running the new bundle's `install` on the frozen
//! one leads there as surely as a first installation: then a changed template costs seconds.

use std::collections::{BTreeMap, BTreeSet};

use super::key::Ingredients;

/// Begins the name of an ingredient that is a file of a node: `file NODE PATH`.
const FILE: &str = "file";

/// Files whose contents are no configuration: they are put into the databases at a node's first start, where what an older
/// one has put would stay; and what puts them there.
const ONLY_AT_FIRST: [&str; 2] = ["/usr/local/share/cluster/", "/usr/local/sbin/cluster-database"];

/// Files of programs that an installation leaves running as they are, since a restart would move the role of the writer: the
/// restored cluster would go on with the old ones.
const LEFT_RUNNING: [&str; 3] = ["/etc/corosync/", "/etc/default/", "/etc/modules-load.d/"];

/// The files that differ, by node.
pub type Changes = BTreeMap<String, BTreeSet<String>>;

/// The name of the ingredient of a file.
pub fn file(node: &str, path: &str) -> String {
    format!("{FILE} {node} {path}")
}

/// What differs between two clusters if only the contents, owners or modes of files do that a running node takes over by
/// an installation; `None` if anything else differs: another set of files, an image, an address, the script that
/// installs, or a file that counts at a first start only or of a program that is left running.
pub fn changes(frozen: &BTreeMap<String, String>, wanted: &Ingredients) -> Option<Changes> {
    let wanted = wanted.map();
    if !frozen.keys().eq(wanted.keys()) {
        return None;
    }
    let mut changes = Changes::new();
    for (name, _) in wanted.iter().filter(|(name, value)| frozen[*name] != **value) {
        let mut words = name.splitn(3, ' ');
        let (Some(FILE), Some(node), Some(path)) = (words.next(), words.next(), words.next()) else {
            return None;
        };
        let mut lasting = ONLY_AT_FIRST.iter().chain(&LEFT_RUNNING);
        if lasting.any(|prefix| path.starts_with(prefix)) {
            return None;
        }
        changes.entry(node.to_owned()).or_default().insert(path.to_owned());
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(parts: &[(&str, &str)]) -> Ingredients {
        let mut ingredients = Ingredients::of_layer("configured");
        for (name, value) in parts {
            ingredients.add(*name, value);
        }
        ingredients
    }

    fn between(frozen: &[(&str, &str)], wanted: &[(&str, &str)]) -> Option<Changes> {
        changes(cluster(frozen).map(), &cluster(wanted))
    }

    #[test]
    fn a_changed_file_is_named_with_its_node() {
        let main_cf = file("mail1", "/etc/postfix/main.cf");
        let changes = between(&[(&main_cf, "a"), ("qemu", "10")], &[(&main_cf, "b"), ("qemu", "10")]);
        let expected = Changes::from([("mail1".to_owned(), BTreeSet::from(["/etc/postfix/main.cf".to_owned()]))]);
        assert_eq!(changes, Some(expected));
    }

    #[test]
    fn another_set_of_files_is_installed_from_the_beginning() {
        let (old, new) = (file("mail1", "/etc/a"), file("mail1", "/etc/b"));
        assert_eq!(between(&[(&old, "a")], &[(&old, "a"), (&new, "b")]), None);
        assert_eq!(between(&[(&old, "a"), (&new, "b")], &[(&old, "a")]), None);
    }

    #[test]
    fn another_image_is_installed_from_the_beginning() {
        assert_eq!(between(&[("image mail1", "a")], &[("image mail1", "b")]), None);
    }

    #[test]
    fn another_install_script_is_installed_from_the_beginning() {
        assert_eq!(between(&[("install mail1", "a")], &[("install mail1", "b")]), None);
    }

    #[test]
    fn what_counts_at_a_first_start_only_is_installed_from_the_beginning() {
        for path in [
            "/usr/local/share/cluster/mailboxes.sql",
            "/usr/local/sbin/cluster-database",
        ] {
            let seed = file("mail1", path);
            assert_eq!(between(&[(&seed, "a")], &[(&seed, "b")]), None, "{path}");
        }
    }

    #[test]
    fn what_an_installation_does_not_restart_is_installed_from_the_beginning() {
        for path in ["/etc/corosync/corosync.conf", "/etc/default/sbd"] {
            let settings = file("mail1", path);
            assert_eq!(between(&[(&settings, "a")], &[(&settings, "b")]), None, "{path}");
        }
    }
}
