//! The counters that OpenZFS keeps for each mounted dataset (`objset-0x...` in `/proc/spl/kstat/zfs/POOL`,
//! `dataset_kstats.c`): reading them costs no command, and they tell at once whether anything was written.

use std::path::Path;

/// Writes, files that were removed, and everything that an fsync brought to the intent log: names, attributes, renames.
const COUNTED: [&str; 3] = ["writes", "nunlinks", "zil_itx_count"];

/// The sum of what changes with each change of a dataset.
pub fn of(folder: &Path, dataset: &str) -> Option<u64> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let counters = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("objset-"));
    let mut texts = counters.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    texts.find_map(|text| sum(&text, dataset))
}

fn sum(text: &str, dataset: &str) -> Option<u64> {
    let rows = || text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let value = |name: &str| rows().find_map(|row| (row.len() == 3 && row[0] == name).then(|| row[2].to_owned()));
    if value("dataset_name")? != dataset {
        return None;
    }
    COUNTED.iter().map(|name| value(name)?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(dataset: &str, writes: u64) -> String {
        format!(
            "60 1 0x01 27 7600 18 61\nname                            type data\ndataset_name                    7    {dataset}\n\
             writes                          4    {writes}\nnunlinks                        4    10\nnunlinked 4 10\n\
             zil_itx_count                   4    100\n"
        )
    }

    #[test]
    fn the_dataset_is_found_by_its_name_among_others() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("objset-0x36"), counters("mail", 1)).expect("written");
        std::fs::write(folder.path().join("objset-0x51"), counters("mail/store", 2)).expect("written");
        std::fs::write(folder.path().join("guid"), "5").expect("written");
        assert_eq!(of(folder.path(), "mail/store"), Some(112));
        assert_eq!(of(folder.path(), "mail/other"), None);
    }

    #[test]
    fn without_counters_there_is_no_number() {
        assert_eq!(of(Path::new("/nowhere"), "mail/store"), None);
    }
}
