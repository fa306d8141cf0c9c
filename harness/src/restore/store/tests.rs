//! Points of clay in a temporary cache: found, damaged, in use, removed.

use std::collections::BTreeMap;

use super::*;
use crate::restore::{SavedMachine, Seal, data_disk_file, disk_file, memory_file, state_file};

struct Bench {
    _home: tempfile::TempDir,
    points: Points,
}

fn bench() -> Bench {
    let home = tempfile::tempdir().expect("a temporary folder");
    let points = Points::new(Cache::at(home.path()).expect("a cache"));
    Bench { _home: home, points }
}

fn ingredients(qemu: &str) -> Ingredients {
    let mut ingredients = Ingredients::of_layer("configured");
    ingredients.add("qemu", qemu);
    ingredients
}

/// A point of one machine with files of clay.
fn make(points: &Points, ingredients: &Ingredients) {
    let staging = points.stage(ingredients, 0).expect("room");
    let folder = staging.path();
    let files = [
        memory_file(folder, "mail1"),
        state_file(folder, "mail1"),
        disk_file(folder, "mail1"),
        pool_file(folder, "mail1"),
    ];
    let seals = files.map(|file| {
        fs::write(&file, vec![b'x'; 70_000]).expect("written");
        Seal::of(&file).expect("sealed")
    });
    let [memory, state, disk, pool] = seals;
    let manifest = Manifest {
        layer: "configured".into(),
        title: "pair".into(),
        made_at: 1_700_000_000,
        nonce: "n".into(),
        ingredients: ingredients.map().clone(),
        machines: vec![SavedMachine {
            name: "mail1".into(),
            boot_id: "b".into(),
            memory,
            state,
            disk,
            data_disks: BTreeMap::from([("pool0".into(), pool)]),
        }],
    };
    points.commit(staging, &manifest).expect("committed");
}

fn pool_file(folder: &Path, machine: &str) -> PathBuf {
    data_disk_file(folder, machine, "pool0")
}

#[test]
fn what_was_never_made_is_not_found() {
    assert!(bench().points.find(&ingredients("10")).expect("no damage").is_none());
}

#[test]
fn a_point_is_found_by_its_ingredients_only() {
    let bench = bench();
    make(&bench.points, &ingredients("10"));
    assert!(bench.points.find(&ingredients("10")).expect("no damage").is_some());
    assert!(bench.points.find(&ingredients("11")).expect("no damage").is_none());
}

#[test]
fn a_point_that_was_never_finished_is_not_believed() {
    let bench = bench();
    let staging = bench.points.stage(&ingredients("10"), 0).expect("room");
    fs::write(memory_file(staging.path(), "mail1"), "half").expect("written");
    // A killed process leaves the folder behind as it is.
    std::mem::forget(staging);
    assert!(bench.points.find(&ingredients("10")).expect("no damage").is_none());
    make(&bench.points, &ingredients("10"));
    assert!(bench.points.find(&ingredients("10")).expect("no damage").is_some());
}

#[test]
fn a_flipped_bit_in_any_file_is_told_with_its_name() {
    for file in [memory_file, state_file, disk_file, pool_file] {
        let bench = bench();
        make(&bench.points, &ingredients("10"));
        let path = file(&bench.points.folder(&ingredients("10")), "mail1");
        let mut bytes = fs::read(&path).expect("read");
        bytes[66_000] ^= 4;
        fs::write(&path, bytes).expect("written");
        let damage = bench.points.find(&ingredients("10")).expect_err("damaged");
        assert_eq!(
            damage.to_string(),
            format!("{}: it does not hold what was written", path.display())
        );
    }
}

#[test]
fn a_truncated_file_is_told_with_both_lengths() {
    let bench = bench();
    make(&bench.points, &ingredients("10"));
    let path = memory_file(&bench.points.folder(&ingredients("10")), "mail1");
    fs::write(&path, "short").expect("written");
    let damage = bench.points.find(&ingredients("10")).expect_err("damaged");
    assert_eq!(damage.reason, "it has 5 bytes where 70000 were written");
}

#[test]
fn a_missing_file_and_a_broken_manifest_are_damage() {
    let bench = bench();
    make(&bench.points, &ingredients("10"));
    fs::remove_file(state_file(&bench.points.folder(&ingredients("10")), "mail1")).expect("removed");
    assert!(bench.points.find(&ingredients("10")).is_err());
    fs::write(bench.points.folder(&ingredients("10")).join(MANIFEST), "{").expect("written");
    assert!(bench.points.find(&ingredients("10")).is_err());
}

#[test]
fn a_point_in_use_is_not_removed() {
    let bench = bench();
    make(&bench.points, &ingredients("10"));
    let used = bench.points.find(&ingredients("10")).expect("no damage");
    assert!(!bench.points.remove(&ingredients("10")).expect("answered"));
    drop(used);
    assert!(bench.points.remove(&ingredients("10")).expect("answered"));
    assert!(bench.points.list().expect("a list").is_empty());
}

#[test]
fn shrinking_removes_what_was_not_used_for_the_longest_time() {
    let bench = bench();
    for (qemu, ago) in [("10", 100), ("11", 300), ("12", 200)] {
        make(&bench.points, &ingredients(qemu));
        let path = bench.points.folder(&ingredients(qemu)).join(IN_USE);
        let file = File::options().write(true).open(path).expect("the file");
        file.set_modified(SystemTime::now() - Duration::from_secs(ago))
            .expect("an age");
    }
    let one = bench.points.list().expect("a list")[0].bytes;
    let removed = bench.points.shrink(one * 3 / 2).expect("shrunk");
    assert_eq!(removed, [name(&ingredients("11")), name(&ingredients("12"))]);
}

#[test]
fn shrinking_never_removes_the_last_one() {
    let bench = bench();
    make(&bench.points, &ingredients("10"));
    assert!(bench.points.shrink(0).expect("shrunk").is_empty());
}

#[tokio::test]
async fn what_a_killed_process_left_half_made_goes_but_not_what_is_being_made() {
    let bench = bench();
    let progress = Progress::silent();
    let making = bench.points.lock(&ingredients("10"), &progress).await.expect("a lock");
    std::mem::forget(bench.points.stage(&ingredients("10"), 0).expect("room"));
    assert!(bench.points.clear_leftovers().expect("cleared").is_empty());
    drop(making);
    let partial = format!(".{}.partial", name(&ingredients("10")));
    assert_eq!(bench.points.clear_leftovers().expect("cleared"), [partial]);
}

#[test]
fn too_little_room_is_told_before_anything_is_made() {
    let error = bench().points.stage(&ingredients("10"), u64::MAX).expect_err("no room");
    assert!(matches!(error, RestoreError::Cache(ToolError::Space { .. })), "{error}");
}
