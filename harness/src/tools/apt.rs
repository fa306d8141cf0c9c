//! A private apt: the host's apt programs with a state of their own inside the cache, so that packages of another
//! release are resolved and fetched without root and without touching the host's packages. What the administrator set
//! for fetching (proxies, certificates, checks of dates) is taken over from the host's configuration; its hooks are not.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::ToolError;
use super::cache::{Cache, create_dir};
use super::command::{Program, find_on_host, run, run_any, tail};
use super::download::failures;
use super::mirror::Mirror;
use super::package::{Package, parse_uris};
use crate::progress::Progress;

/// The release that guests and tools come from.
pub const SUITE: &str = "trixie";

/// The parts of its archives: `contrib` holds what is free and needs something of another licence beside it, as ZFS does.
const COMPONENTS: &str = "main contrib";

/// A download that takes longer than this has no future.
pub(super) const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(3600);
/// Resolving is local work.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(120);

/// What is wanted of the archives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// Packages with everything they depend on (without recommendations).
    pub packages: Vec<String>,
    /// Packages without their dependencies.
    pub bare: Vec<String>,
    /// Also every package that Debian marks as essential.
    pub essential: bool,
}

impl Request {
    /// Whether a set of packages can be an answer: it has everything that was asked for by name.
    pub fn is_met_by(&self, set: &[Package]) -> bool {
        self.packages
            .iter()
            .chain(&self.bare)
            .all(|name| set.iter().any(|package| &package.name == name))
    }
}

/// The private apt.
#[derive(Debug, Clone)]
pub struct Apt {
    state: PathBuf,
    pub(super) debs: PathBuf,
    /// Where packages come from.
    pub mirror: Mirror,
    pub(super) helper: PathBuf,
}

impl Apt {
    /// Prepares the state inside the cache; asks the network nothing.
    ///
    /// # Errors
    /// When the host has no apt, or the cache cannot be written.
    pub async fn prepare(cache: &Cache, mirror: Mirror) -> Result<Self, ToolError> {
        let apt_get = find_on_host("apt-get").ok_or_else(|| ToolError::Missing {
            what: "apt (the harness needs an apt-based Linux, or Nix with the flake's shell)".into(),
            mend: "nix develop".into(),
        })?;
        let helper = helper_beside(Path::new(&apt_get.argv[0])).ok_or_else(|| ToolError::Missing {
            what: "apt-helper, a part of apt".into(),
            mend: "apt-get install --reinstall apt".into(),
        })?;
        // A state a mirror: lists of two mirrors never mix.
        let name = &hex::encode(Sha256::digest(format!("{mirror:?}")))[..12];
        let state = cache.folder(&format!("apt/{name}"))?;
        for folder in ["lists/partial", "archives/partial"] {
            create_dir(&state.join(folder))?;
        }
        let apt = Apt {
            state,
            debs: cache.folder("debs")?,
            mirror,
            helper,
        };
        apt.write_if_changed("status", "")?;
        apt.write_if_changed("apt.conf", &format!("{}{}", apt.own_settings(), host_settings().await?))?;
        Ok(apt)
    }

    fn write_if_changed(&self, name: &str, text: &str) -> Result<(), ToolError> {
        let path = self.state.join(name);
        if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        // Renamed, so that an apt of another harness never reads half a file.
        let partial = self.state.join(format!(".{name}.{}", std::process::id()));
        std::fs::write(&partial, text)
            .and_then(|()| std::fs::rename(&partial, &path))
            .map_err(|source| ToolError::io(format!("write {}", path.display()), source))
    }

    fn own_settings(&self) -> String {
        let state = self.state.display();
        format!(
            "Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
             Dir::Etc::sourcelist \"{state}/sources.list\";\nDir::State \"{state}\";\nDir::State::lists \"{state}/lists\";\n\
             Dir::State::status \"{state}/status\";\nDir::Cache \"{state}\";\nDir::Cache::archives \"{state}/archives\";\n\
             Dir::Log \"{state}\";\nAPT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\n\
             APT::Sandbox::User \"root\";\nAPT::Install-Recommends \"false\";\nAcquire::Languages \"none\";\n\
             Acquire::ForceHash \"sha256\";\n"
        )
    }

    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Program::host(program).command();
        command
            .env("APT_CONFIG", self.state.join("apt.conf"))
            .env("LC_ALL", "C.UTF-8");
        command.env_remove("LANGUAGE");
        command
    }

    /// Reads the archives' indexes anew.
    ///
    /// # Errors
    /// When the mirror does not answer or its signature does not hold.
    pub async fn update(&self, cache: &Cache, progress: &Progress) -> Result<(), ToolError> {
        let _lock = cache.lock("apt", progress).await?;
        let phase = progress.phase("packages", format!("reading the indexes of {}", self.mirror.main));
        let keyring = keyring(cache).await?;
        let signed = format!("deb [signed-by={}]", keyring.display());
        let (main, security) = (&self.mirror.main, &self.mirror.security);
        self.write_if_changed(
            "sources.list",
            &format!(
                "{signed} {main} {SUITE} {COMPONENTS}\n{signed} {main} {SUITE}-updates {COMPONENTS}\n\
                 {signed} {security} {SUITE}-security {COMPONENTS}\n"
            ),
        )?;
        let mut command = self.command(Path::new("apt-get"));
        command.args(["-q", "update", "--error-on=any"]);
        let (status, output) = run_any("read package indexes", command, DOWNLOAD_DEADLINE).await?;
        if !status.success() {
            return Err(self.mirror_error(&failures(&output.stderr)));
        }
        phase.done("");
        Ok(())
    }

    /// Asks the mirror for one small file.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn reach(&self) -> Result<(), ToolError> {
        let folder = tempfile::tempdir_in(&self.state).map_err(|source| ToolError::io("write to the cache", source))?;
        let mut command = self.command(&self.helper);
        command
            .arg("download-file")
            .arg(format!("{}/dists/{SUITE}/Release", self.mirror.main));
        command.arg(folder.path().join("Release"));
        let (status, output) = run_any("ask the mirror", command, DOWNLOAD_DEADLINE).await?;
        if status.success() {
            Ok(())
        } else {
            Err(self.mirror_error(&tail(&output.stderr)))
        }
    }

    fn mirror_error(&self, reason: &str) -> ToolError {
        ToolError::Mirror {
            address: self.mirror.main.clone(),
            reason: reason.to_owned(),
        }
    }

    /// Everything that has to be installed on an empty system so that the request is met, by the indexes that
    /// [`Apt::update`] read.
    ///
    /// # Errors
    /// When a package does not exist or the dependencies contradict each other.
    pub async fn resolve(&self, request: &Request) -> Result<Vec<Package>, ToolError> {
        let mut found = Vec::new();
        if !request.packages.is_empty() || request.essential {
            let mut wanted = request.packages.clone();
            if request.essential {
                wanted.push("?essential".into());
            }
            found.extend(
                self.print_uris(&["install", "--no-install-recommends", "-y"], &wanted)
                    .await?,
            );
        }
        if !request.bare.is_empty() {
            found.extend(self.print_uris(&["download"], &request.bare).await?);
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    async fn print_uris(&self, verb: &[&str], wanted: &[String]) -> Result<Vec<Package>, ToolError> {
        let mut command = self.command(Path::new("apt-get"));
        command.args(["-qq", "--print-uris"]).args(verb).args(wanted);
        let step = "resolve package dependencies";
        let output = run(step, command, RESOLVE_DEADLINE).await?;
        parse_uris(&output.stdout, &self.mirror.main, &self.mirror.security).ok_or_else(|| ToolError::Failed {
            step: step.into(),
            reason: "apt printed a list of another form than expected".into(),
            output: tail(&output.stdout),
        })
    }

    /// The time of the newest index that [`Apt::update`] read, as snapshot.debian.org writes it.
    pub fn snapshot(&self) -> String {
        let files = std::fs::read_dir(self.state.join("lists"))
            .into_iter()
            .flatten()
            .flatten();
        files
            .filter(|entry| entry.file_name().to_string_lossy().ends_with("Release"))
            .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
            .filter_map(|text| snapshot_name(text.lines().find_map(|line| line.strip_prefix("Date: "))?))
            .max()
            .unwrap_or_default()
    }

    /// Path of a package file in the cache; it exists after [`Apt::download`].
    pub fn deb(&self, package: &Package) -> PathBuf {
        self.debs.join(package.file_name())
    }
}

/// apt's helper lies in its library folder: `/usr/lib/apt` on Debian, beside `bin` elsewhere.
fn helper_beside(apt_get: &Path) -> Option<PathBuf> {
    let real = apt_get.canonicalize().ok()?;
    let prefix = real.parent()?.parent()?;
    ["lib/apt/apt-helper", "libexec/apt/apt-helper"]
        .iter()
        .map(|path| prefix.join(path))
        .chain(["/usr/lib/apt/apt-helper".into()])
        .find(|path| path.exists())
}

/// The host's settings for fetching, in apt.conf's form.
async fn host_settings() -> Result<String, ToolError> {
    let mut command = Program::host("apt-config").command();
    command
        .args(["dump", "--no-empty", "--format", "%F \"%v\";%n"])
        .env("LC_ALL", "C.UTF-8");
    let output = run("read the host's apt settings", command, RESOLVE_DEADLINE).await?;
    Ok(fetching_settings(&output.stdout))
}

/// Keeps what concerns fetching and leaves what concerns the host's own indexes.
fn fetching_settings(dump: &str) -> String {
    const NOT_OURS: [&str; 5] = [
        "IndexTargets",
        "Languages",
        "CompressionTypes",
        "GzipIndexes",
        "ForceHash",
    ];
    let mut kept = String::new();
    for line in dump.lines() {
        let Some(rest) = line.strip_prefix("Acquire::") else {
            continue;
        };
        if !NOT_OURS.iter().any(|name| rest.starts_with(name)) {
            let _ = writeln!(kept, "{line}");
        }
    }
    kept
}

/// A keyring that knows the release's keys: the host's when it is recent enough, else the newest that the host's own
/// apt can fetch (and so verifies).
async fn keyring(cache: &Cache) -> Result<PathBuf, ToolError> {
    let usable = |root: &Path| {
        let folder = root.join("usr/share/keyrings");
        let knows = folder.join(format!("debian-archive-{SUITE}-stable.gpg"));
        let all = folder.join("debian-archive-keyring.gpg");
        (knows.exists() && all.exists()).then_some(all)
    };
    let fetched = cache.folder("keyring")?;
    if let Some(keyring) = usable(Path::new("/")).or_else(|| usable(&fetched)) {
        return Ok(keyring);
    }
    let mend = || ToolError::Missing {
        what: format!("Debian's archive keys for {SUITE}"),
        mend: "apt-get update && apt-get install debian-archive-keyring".into(),
    };
    let folder = tempfile::tempdir_in(&fetched).map_err(|source| ToolError::io("write to the cache", source))?;
    let mut download = Program::host("apt-get").command();
    download
        .args(["-q", "download", "debian-archive-keyring"])
        .current_dir(folder.path());
    run("fetch debian-archive-keyring", download, DOWNLOAD_DEADLINE)
        .await
        .map_err(|_| mend())?;
    let deb = std::fs::read_dir(folder.path())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .next();
    let mut unpack = Program::host("dpkg-deb").command();
    unpack.arg("-x").arg(deb.ok_or_else(mend)?).arg(&fetched);
    run("unpack debian-archive-keyring", unpack, RESOLVE_DEADLINE).await?;
    usable(&fetched).ok_or_else(mend)
}

/// `Sat, 21 Nov 2026 09:15:44 UTC` as `20261121T091544Z`.
fn snapshot_name(date: &str) -> Option<String> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let words: Vec<&str> = date.split_whitespace().collect();
    let [_, day, month, year, time, "UTC" | "GMT" | "+0000"] = words[..] else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    Some(format!(
        "{year}{month:02}{:02}T{}Z",
        day.parse::<u8>().ok()?,
        time.replace(':', "")
    ))
}

#[cfg(test)]
mod tests {
    use super::super::package::at as package;
    use super::*;

    #[test]
    fn proxies_and_date_checks_of_the_host_are_kept_and_its_indexes_are_not() {
        let dump = "APT::Update::Post-Invoke:: \"rm -rf x\";\nAcquire::http::Proxy \"http://p:3128\";\n\
                    Acquire::Check-Valid-Until \"false\";\nAcquire::IndexTargets::deb::DEP-11::X \"y\";\n\
                    Acquire::Languages:: \"none\";\n";
        assert_eq!(
            fetching_settings(dump),
            "Acquire::http::Proxy \"http://p:3128\";\nAcquire::Check-Valid-Until \"false\";\n"
        );
    }

    #[test]
    fn an_index_date_becomes_a_snapshot_name() {
        assert_eq!(
            snapshot_name("Sat, 1 Nov 2026 09:15:44 UTC").as_deref(),
            Some("20261101T091544Z")
        );
        assert_eq!(snapshot_name("yesterday"), None);
    }

    #[test]
    fn a_set_that_lacks_an_asked_package_does_not_meet_the_request() {
        let request = Request {
            packages: vec!["x".into(), "y".into()],
            ..Request::default()
        };
        assert!(!request.is_met_by(&[package("pool/x_1.deb")]));
    }
}
