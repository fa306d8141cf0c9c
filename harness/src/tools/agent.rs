//! The store agent, `cluster-store`, as the mail nodes get it: one static binary, made from the workspace that this harness
//! was made from, so that what is tested is what is in the sources. cargo itself knows whether it is up to date.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncReadExt;

use super::ToolError;
use super::command::{Program, Running, failed};
use crate::progress::{Phase, Progress};

/// Environment variable that names a finished binary, for a harness that runs away from its sources.
pub const VARIABLE: &str = "HARNESS_STORE_AGENT";

/// Name of the program.
const NAME: &str = "cluster-store";

/// How long compiling may take: two slow cores and an empty target folder.
const DEADLINE: Duration = Duration::from_secs(1800);

/// The file of the agent, compiled if need be.
///
/// # Errors
/// When there is neither a binary nor sources, or compiling fails.
pub async fn agent(progress: &Progress) -> Result<PathBuf, ToolError> {
    if let Some(file) = std::env::var_os(VARIABLE) {
        return given(file.into());
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if !sources.join("store/Cargo.toml").is_file() {
        return Err(ToolError::Missing {
            what: format!(
                "the store agent's sources in {}, from which this harness was made",
                sources.display()
            ),
            mend: format!("export {VARIABLE}=/path/to/cluster-store   (a static binary)"),
        });
    }
    let phase = progress.phase("store agent", "compiling cluster-store, unless it is up to date");
    let file = build(&sources, &phase).await?;
    phase.done("");
    Ok(file)
}

fn given(file: PathBuf) -> Result<PathBuf, ToolError> {
    if file.is_file() {
        return Ok(file);
    }
    Err(ToolError::Missing {
        what: format!("the store agent {}, which {VARIABLE} names", file.display()),
        mend: format!("unset {VARIABLE}   to have it compiled"),
    })
}

async fn build(sources: &Path, phase: &Phase) -> Result<PathBuf, ToolError> {
    // `cargo run` tells its children which cargo they come from.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let host = host(&cargo, sources).await?;
    let mut command = Program::host(cargo).command();
    command
        .current_dir(sources)
        .args([
            "build",
            "--locked",
            "--profile",
            "agent",
            "--package",
            "store",
            "--target",
        ])
        .arg(&host)
        .arg("--message-format=json-render-diagnostics")
        // With a target named, these do not reach build scripts and procedural macros, which cannot be static.
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    let mut running = Running::start(command, Stdio::null(), Stdio::piped())?;
    let mut pipe = running.child.stdout.take();
    let messages = async move {
        let mut text = String::new();
        match pipe.as_mut() {
            Some(pipe) => pipe.read_to_string(&mut text).await.map(|_| text),
            None => Ok(text),
        }
    };
    let told = |line: &str| phase.detail(line.trim());
    let (end, messages) = tokio::join!(running.finish_with("compile cluster-store", DEADLINE, told), messages);
    let (status, said) = end?;
    if !status.success() {
        return Err(failed("compile cluster-store", status, &said));
    }
    let messages = messages.map_err(|source| ToolError::io("read what cargo says", source))?;
    executable(&messages).ok_or_else(|| ToolError::Failed {
        step: "compile cluster-store".to_owned(),
        reason: "cargo names no such program".to_owned(),
        output: String::new(),
    })
}

/// The target that the compiler itself runs on. The machines have the host's architecture.
async fn host(cargo: &std::ffi::OsStr, sources: &Path) -> Result<String, ToolError> {
    let mut command = Program::host(cargo).command();
    command.current_dir(sources).args(["version", "--verbose"]);
    let output = super::command::run("ask cargo for its host", command, Duration::from_secs(60)).await?;
    let host = output.stdout.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(|host| host.trim().to_owned())
        .ok_or_else(|| ToolError::Failed {
            step: "ask cargo for its host".to_owned(),
            reason: "it names none".to_owned(),
            output: super::command::tail(&output.stdout),
        })
}

/// One line of `cargo build --message-format=json`; see "External tools" in the Cargo book.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    executable: Option<PathBuf>,
}

fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .filter_map(|message| message.executable)
        .find(|file| file.file_name().is_some_and(|name| name == NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_where_cargo_says_it_is() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"serde"},"executable":null,"fresh":true}
not json
{"reason":"compiler-artifact","target":{"name":"cluster-store"},"executable":"/t/x/agent/cluster-store","fresh":true}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages), Some(PathBuf::from("/t/x/agent/cluster-store")));
    }

    #[test]
    fn a_build_without_the_program_is_noticed() {
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn a_binary_that_is_not_there_is_told_with_the_variable_that_names_it() {
        let error = given("/nowhere/cluster-store".into()).unwrap_err().to_string();
        assert!(
            error.contains(VARIABLE) && error.contains("/nowhere/cluster-store"),
            "{error}"
        );
    }
}
