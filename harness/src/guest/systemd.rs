//! The state of a systemd unit, as `systemctl show` tells it.

use std::fmt;
use std::time::Duration;

use super::agent::Agent;
use super::error::GuestError;

/// The properties that are asked for.
const PROPERTIES: &str = "--property=LoadState,ActiveState,SubState,MainPID,ControlGroup,Result,FreezerState";

/// What systemd says of a unit (`org.freedesktop.systemd1(5)`), and the processes that the kernel has in its control
/// group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnitState {
    /// `loaded`, `not-found`, `masked`.
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`, `deactivating`.
    pub active: String,
    /// Finer state, e.g. `running`, `dead`.
    pub sub: String,
    /// Main process; 0 is none.
    pub main_pid: u32,
    /// Control group path below `/sys/fs/cgroup`; empty while the unit has none.
    pub control_group: String,
    /// How it ended last: `success`, `signal`, `exit-code`.
    pub result: String,
}

impl UnitState {
    /// Reads `systemctl show` output. Unknown lines are left aside; missing ones stay empty.
    pub fn parse(text: &str) -> Self {
        let mut state = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "LoadState" => value.clone_into(&mut state.load),
                "ActiveState" => value.clone_into(&mut state.active),
                "SubState" => value.clone_into(&mut state.sub),
                "MainPID" => state.main_pid = value.trim().parse().unwrap_or(0),
                "ControlGroup" => value.clone_into(&mut state.control_group),
                "Result" => value.clone_into(&mut state.result),
                _ => {}
            }
        }
        state
    }

    /// Whether the unit is up.
    pub fn is_active(&self) -> bool {
        self.active == "active"
    }

    /// Whether the unit is down and nobody is working on it.
    pub fn is_down(&self) -> bool {
        matches!(self.active.as_str(), "inactive" | "failed")
    }
}

impl fmt::Display for UnitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.active, self.sub)?;
        match self.main_pid {
            0 => Ok(()),
            pid => write!(f, ", main process {pid}"),
        }
    }
}

/// The full name of a unit: scenario files leave `.service` out.
pub fn unit_name(service: &str) -> String {
    let typed = [".service", ".socket", ".timer", ".target", ".mount"]
        .iter()
        .any(|suffix| service.ends_with(suffix));
    if typed {
        service.to_owned()
    } else {
        format!("{service}.service")
    }
}

impl Agent {
    /// The state of a unit.
    ///
    /// # Errors
    /// The deadline passed, the machine ended, or there is no such unit.
    pub async fn unit(&self, service: &str, limit: Duration) -> Result<UnitState, GuestError> {
        let unit = unit_name(service);
        let state = UnitState::parse(&self.run(&["systemctl", "show", PROPERTIES, &unit], limit).await?);
        if state.load == "not-found" {
            return Err(self.refused(&format!("state of {unit}"), "there is no such unit".to_owned()));
        }
        Ok(state)
    }

    /// The processes in a control group and below it.
    ///
    /// # Errors
    /// The deadline passed, or the machine ended.
    pub async fn processes_of(&self, control_group: &str, limit: Duration) -> Result<Vec<u32>, GuestError> {
        if control_group.is_empty() {
            return Ok(Vec::new());
        }
        let script = r#"
            if [ -d "/sys/fs/cgroup$1" ]; then
                find "/sys/fs/cgroup$1" -name cgroup.procs -exec cat {} +
            fi"#;
        let listing = self
            .script("processes of a control group", script, &[control_group], limit)
            .await?;
        Ok(listing.lines().filter_map(|line| line.trim().parse().ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_unit_is_read_whole() {
        let text = "MainPID=512\nResult=success\nControlGroup=/system.slice/nginx.service\nLoadState=loaded\n\
                    ActiveState=active\nSubState=running\nFreezerState=running\n";
        insta::assert_debug_snapshot!(UnitState::parse(text), @r#"
        UnitState {
            load: "loaded",
            active: "active",
            sub: "running",
            main_pid: 512,
            control_group: "/system.slice/nginx.service",
            result: "success",
        }
        "#);
    }

    #[test]
    fn a_killed_unit_is_down_without_a_main_process() {
        let state = UnitState::parse("MainPID=0\nResult=signal\nControlGroup=\nActiveState=failed\nSubState=failed\n");
        assert!(state.is_down() && state.main_pid == 0);
    }

    #[test]
    fn a_unit_that_is_about_to_restart_is_not_down() {
        assert!(!UnitState::parse("ActiveState=activating\nSubState=auto-restart\n").is_down());
    }

    #[test]
    fn a_control_group_with_an_equals_sign_is_kept_whole() {
        assert_eq!(UnitState::parse("ControlGroup=/a=b\n").control_group, "/a=b");
    }

    #[test]
    fn a_bare_name_is_a_service() {
        assert_eq!(unit_name("php8.4-fpm"), "php8.4-fpm.service");
    }

    #[test]
    fn a_name_with_a_unit_type_is_left_alone() {
        assert_eq!(unit_name("dovecot.socket"), "dovecot.socket");
    }
}
