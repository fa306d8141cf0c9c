//! The namespaces that a build runs in: mounts and processes of its own, which end with it, and for users who are not
//! root user numbers of their own (user_namespaces(7)).

use std::time::Duration;

use tokio::process::Command;

use crate::tools::ToolError;
use crate::tools::command::{find_on_host, run};

/// Making a namespace is local work.
const CHECK_DEADLINE: Duration = Duration::from_secs(30);

const WHY: &str = "to build images without root";

fn missing(what: impl Into<String>, mend: impl Into<String>) -> ToolError {
    ToolError::Missing {
        what: what.into(),
        mend: mend.into(),
    }
}

/// Whether this user may build images on this host, found out by making the namespaces.
///
/// # Errors
/// What is missing, with the command that mends it.
pub async fn check() -> Result<(), ToolError> {
    let mut attempt = command()?;
    attempt.arg("true");
    let tried = run("make namespaces", attempt, CHECK_DEADLINE).await;
    tried.map(|_| ()).map_err(|error| {
        missing(
            format!("namespaces that this user may make ({error})"),
            if nix::unistd::geteuid().is_root() {
                "running the harness where mounting is allowed (a privileged container, or no container)"
            } else {
                "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run the harness as root"
            },
        )
    })
}

/// A wrapper for the command that is to run in them; its words are to be appended.
///
/// # Errors
/// What is missing, with the command that mends it.
pub fn command() -> Result<Command, ToolError> {
    let unshare = find_on_host("unshare").ok_or_else(|| missing("unshare", "apt-get install util-linux"))?;
    let mut command = unshare.command();
    // Propagation is mmdebstrap's to change: unshare would insist on it even where the root is no mount point (chroot).
    command.args([
        "--mount",
        "--propagation",
        "unchanged",
        "--pid",
        "--fork",
        "--kill-child=KILL",
    ]);
    if !nix::unistd::geteuid().is_root() {
        user_numbers()?;
        command.args(["--user", "--map-root-user", "--map-auto"]);
    }
    command.arg("--");
    Ok(command)
}

/// What a user who is not root needs so that files can belong to other users than him.
fn user_numbers() -> Result<(), ToolError> {
    if find_on_host("newuidmap").is_none() {
        return Err(missing(format!("newuidmap ({WHY})"), "sudo apt-get install uidmap"));
    }
    let uid = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    let user = user.map_or_else(|| uid.to_string(), |user| user.name);
    let text = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    if ["/etc/subuid", "/etc/subgid"]
        .iter()
        .any(|file| !is_listed(&text(file), &user))
    {
        return Err(missing(
            format!("subordinate user numbers for {user} ({WHY})"),
            format!("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"),
        ));
    }
    if text("/proc/sys/kernel/unprivileged_userns_clone").trim() == "0" {
        return Err(missing(
            format!("user namespaces ({WHY})"),
            "sudo sysctl kernel.unprivileged_userns_clone=1",
        ));
    }
    Ok(())
}

/// Whether subuid(5) gives a user numbers.
fn is_listed(subordinates: &str, user: &str) -> bool {
    subordinates.lines().any(|line| line.split(':').next() == Some(user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_listed_by_his_whole_name() {
        let file = "operator:100000:65536\nop2:165536:65536\n";
        assert!(is_listed(file, "operator"));
        assert!(!is_listed(file, "op"));
    }
}
