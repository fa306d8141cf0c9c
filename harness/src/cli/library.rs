//! Where scenarios and clusters come from: a file, the `scenarios/` folder of the working directory, or the copies that
//! are built into the program, in this order.

use std::path::{Path, PathBuf};

use generator::diag;
use include_dir::{Dir, include_dir};

use crate::fleet::{ClusterFile, Topology};
use crate::scenario::{Parsed, Scenario, check, parse};

static SCENARIOS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../scenarios");
static CLUSTERS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../generator/examples");

/// The folder of scenarios that must come out as failed, below the others.
const MUST_FAIL: &str = "must-fail";

/// A scenario that was found and read.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where it comes from, for messages.
    pub origin: String,
    /// The folder that its paths are relative to; `None` for a built-in one.
    folder: Option<PathBuf>,
    text: String,
    parsed: Parsed,
    /// The seed of this round, where it is played several times.
    seed: Option<u64>,
}

/// Which scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// Those that must hold.
    Plain,
    /// Those that must fail.
    MustFail,
}

/// Something that was asked for is not there or is wrong; the text says what, where, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub String);

impl Entry {
    /// The scenario.
    pub fn scenario(&self) -> &Scenario {
        &self.parsed.scenario
    }

    /// The seed of its round; nothing unless it is played several times.
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// The same scenario with a seed of its own, which is part of its name from here on: of its folder, its report and its
    /// line in the table.
    pub fn with_seed(&self, seed: u64) -> Entry {
        let mut entry = self.clone();
        entry.parsed.scenario.head.name = format!("{}-seed-{seed}", self.scenario().name());
        entry.seed = Some(seed);
        entry
    }

    fn read(origin: String, folder: Option<PathBuf>, text: String, color: bool) -> Result<Entry, Unusable> {
        match parse(&text) {
            Ok(parsed) => Ok(Entry {
                origin,
                folder,
                text,
                parsed,
                seed: None,
            }),
            Err(problems) => Err(Unusable(diag::render(&problems, &origin, &text, color))),
        }
    }

    /// The cluster that the scenario plays on, unless another one is asked for, and what of the scenario plays there. The
    /// cluster's description is read, and everything that the scenario names must be in it.
    ///
    /// # Errors
    /// The cluster cannot be found or read, or does not have what the scenario names.
    pub fn placed(&self, other: Option<&Path>, color: bool) -> Result<(ClusterFile, Entry), Unusable> {
        let cluster = match other {
            Some(path) => cluster_file(path)?,
            None => self.own_cluster()?,
        };
        let description = cluster.read().map_err(Unusable)?;
        let topology = Topology::from(&description);
        let mut entry = self.clone();
        entry.parsed.scenario = self.scenario().on_cluster(topology.has_store());
        if let Some(path) = other {
            entry.parsed.scenario.head.cluster = path.display().to_string();
        }
        let problems = check::against(entry.scenario(), &self.parsed.spans, &topology);
        if problems.is_empty() {
            return Ok((cluster, entry));
        }
        Err(Unusable(diag::render(&problems, &self.origin, &self.text, color)))
    }

    fn own_cluster(&self) -> Result<ClusterFile, Unusable> {
        let name = &self.scenario().head.cluster;
        if name.ends_with(".toml") {
            return cluster_file(&self.folder.clone().unwrap_or_default().join(name));
        }
        example(name).map_err(|Unusable(reason)| {
            let reason = reason.trim_start_matches("error: ");
            Unusable(format!("error: {}: {reason}", self.origin))
        })
    }
}

/// A cluster by the name of its example, or by the path of its description.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn find_cluster(word: &str) -> Result<ClusterFile, Unusable> {
    if word.ends_with(".toml") || word.contains('/') {
        return cluster_file(Path::new(word));
    }
    example(word)
}

fn example(name: &str) -> Result<ClusterFile, Unusable> {
    let local = Path::new("generator/examples").join(format!("{name}.toml"));
    if local.is_file() {
        return cluster_file(&local);
    }
    let built_in = CLUSTERS.get_file(format!("{name}.toml"));
    match built_in.and_then(|file| file.contents_utf8()) {
        Some(text) => Ok(ClusterFile {
            origin: format!("built-in {name}.toml"),
            text: text.to_owned(),
        }),
        None => {
            let known: Vec<String> = stems(&CLUSTERS);
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let help = diag::did_you_mean(name, &known).unwrap_or_default();
            Err(Unusable(format!("error: there is no cluster `{name}`\nhelp: {help}\n")))
        }
    }
}

fn cluster_file(path: &Path) -> Result<ClusterFile, Unusable> {
    Ok(ClusterFile {
        origin: path.display().to_string(),
        text: read_file(path)?,
    })
}

fn read_file(path: &Path) -> Result<String, Unusable> {
    std::fs::read_to_string(path).map_err(|cause| Unusable(format!("error: {}: {cause}\n", path.display())))
}

/// Finds a scenario by its name, or by the path of its file.
///
/// # Errors
/// It is not there, or its file is wrong.
pub fn find(word: &str, color: bool) -> Result<Entry, Unusable> {
    if word.ends_with(".toml") || word.contains('/') {
        return from_file(Path::new(word), color);
    }
    for folder in [Path::new("scenarios"), &Path::new("scenarios").join(MUST_FAIL)] {
        let path = folder.join(format!("{word}.toml"));
        if path.is_file() {
            return from_file(&path, color);
        }
    }
    for name in [format!("{word}.toml"), format!("{MUST_FAIL}/{word}.toml")] {
        if let Some(text) = SCENARIOS.get_file(&name).and_then(|file| file.contents_utf8()) {
            return Entry::read(format!("built-in scenarios/{name}"), None, text.to_owned(), color);
        }
    }
    let known = names();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let help = match diag::nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`harness list` shows them all; a file is given by its path".into(),
    };
    Err(Unusable(format!(
        "error: there is no scenario `{word}`\nhelp: {help}\n"
    )))
}

/// All scenarios of a shelf, by name.
///
/// # Errors
/// A file is wrong.
pub fn all(shelf: Shelf, color: bool) -> Result<Vec<Entry>, Unusable> {
    let local = match shelf {
        Shelf::Plain => PathBuf::from("scenarios"),
        Shelf::MustFail => Path::new("scenarios").join(MUST_FAIL),
    };
    let mut entries = Vec::new();
    if local.is_dir() {
        for path in toml_files(&local)? {
            entries.push(from_file(&path, color)?);
        }
    } else {
        let folder = match shelf {
            Shelf::Plain => Some(&SCENARIOS),
            Shelf::MustFail => SCENARIOS.get_dir(MUST_FAIL),
        };
        for file in folder.into_iter().flat_map(Dir::files) {
            let origin = format!("built-in scenarios/{}", file.path().display());
            if let Some(text) = file.contents_utf8() {
                entries.push(Entry::read(origin, None, text.to_owned(), color)?);
            }
        }
    }
    entries.sort_by(|a, b| a.scenario().name().cmp(b.scenario().name()));
    Ok(entries)
}

fn from_file(path: &Path, color: bool) -> Result<Entry, Unusable> {
    let folder = path.parent().map(Path::to_owned);
    Entry::read(path.display().to_string(), folder, read_file(path)?, color)
}

fn toml_files(folder: &Path) -> Result<Vec<PathBuf>, Unusable> {
    let unreadable = |cause: std::io::Error| Unusable(format!("error: {}: {cause}\n", folder.display()));
    let mut paths = Vec::new();
    for item in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = item.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Names of all scenarios, for suggestions and shell completion.
fn names() -> Vec<String> {
    let mut names = Vec::new();
    for folder in [PathBuf::from("scenarios"), Path::new("scenarios").join(MUST_FAIL)] {
        let stem = |path: PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        names.extend(toml_files(&folder).unwrap_or_default().into_iter().filter_map(stem));
    }
    names.extend(stems(&SCENARIOS));
    names.extend(SCENARIOS.get_dir(MUST_FAIL).map(stems).unwrap_or_default());
    names.sort();
    names.dedup();
    names
}

fn stems(dir: &Dir<'_>) -> Vec<String> {
    let stem = |file: &include_dir::File<'_>| file.path().file_stem().map(|stem| stem.to_string_lossy().into_owned());
    dir.files().filter_map(stem).collect()
}
