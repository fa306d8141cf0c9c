//! Exit statuses: the contract with scripts.

use std::process::ExitCode;

/// How a verb ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It holds.
    Holds,
    /// It does not: a scenario failed.
    Fails,
    /// It cannot be told: a fault left no receipt, a check saw no operation.
    Inconclusive,
    /// The input is bad.
    Input,
    /// The environment is at fault.
    Environment,
    /// Somebody pressed Ctrl-C.
    Interrupted,
    /// The status of a command that was run on a node.
    Command(u8),
}

impl Exit {
    /// The status that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Exit::Holds => 0,
            Exit::Fails => 1,
            Exit::Inconclusive => 2,
            Exit::Input => 3,
            Exit::Environment => 4,
            Exit::Interrupted => 130,
            Exit::Command(status) => status,
        }
    }

    /// The one to report of two: a failure says most, then what kept us from looking, then what could not be told.
    pub fn worst(self, other: Exit) -> Exit {
        if self.weight() >= other.weight() { self } else { other }
    }

    fn weight(self) -> u8 {
        match self {
            Exit::Holds => 0,
            Exit::Inconclusive => 1,
            Exit::Input => 2,
            Exit::Environment => 3,
            Exit::Fails | Exit::Command(_) => 4,
            Exit::Interrupted => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_outweighs_whatever_else_went_wrong() {
        for other in [Exit::Holds, Exit::Inconclusive, Exit::Input, Exit::Environment] {
            assert_eq!(Exit::Fails.worst(other), Exit::Fails);
            assert_eq!(other.worst(Exit::Fails), Exit::Fails);
        }
    }

    #[test]
    fn what_cannot_be_told_is_never_reported_as_holding() {
        assert_eq!(Exit::Holds.worst(Exit::Inconclusive), Exit::Inconclusive);
    }
}
