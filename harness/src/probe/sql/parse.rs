//! What the `mariadb` client prints, read back. Pure.

use std::collections::HashMap;

use crate::fleet::ReplicationStatus;

/// An error that the `mariadb` client printed: `ERROR 1062 (23000) at line 1: Duplicate entry ...`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct ServerError {
    /// Error number of server (1000 and above) or client (2000 and above).
    pub code: u32,
    /// What it says.
    pub text: String,
}

/// What an error tells of the statement that met it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// The statement certainly has no effect.
    NoEffect,
    /// The connection ended under way: it may have an effect.
    Unclear,
}

impl ServerError {
    /// The first error on the client's standard error.
    pub fn find(stderr: &str) -> Option<Self> {
        stderr.lines().find_map(|line| {
            let rest = line.strip_prefix("ERROR ")?;
            let (code, rest) = rest.split_once(' ')?;
            let text = rest.split_once(": ").map_or(rest, |(_, text)| text);
            Some(Self {
                code: code.parse().ok()?,
                text: text.to_owned(),
            })
        })
    }

    /// Whether the statement can have had an effect all the same (MariaDB Knowledge Base, "MariaDB Error Codes"): server
    /// shut down 1053, connection aborted or killed 1927, 3185 and in between; client codes: only a connection that was
    /// never made is certain.
    pub fn certainty(&self) -> Certainty {
        match self.code {
            2002 | 2003 | 2005 => Certainty::NoEffect,
            1053 | 1077..=1080 | 1152 | 1158..=1161 | 1184 | 1927 | 2000..=2999 => Certainty::Unclear,
            _ => Certainty::NoEffect,
        }
    }
}

/// The value that the client printed as `text`; in batch mode it escapes tab, line feed, backslash and NUL (mariadb(1),
/// `--raw`).
pub fn unescape(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        value.push(match escaped {
            Some('t') => '\t',
            Some('n') => '\n',
            Some('0') => '\0',
            Some(other) => other,
            None => c,
        });
    }
    value
}

/// The checksum of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    /// Database.
    pub database: String,
    /// Table.
    pub table: String,
    /// The sum, a decimal number.
    pub sum: String,
}

/// Reads lines of `database.table<TAB>sum`; an error for a table that has no sum, which is one that cannot be read.
pub fn checksums(stdout: &str) -> Result<Vec<Checksum>, String> {
    let lines = stdout.lines().map(|line| {
        let (table, sum) = line.split_once('\t').ok_or_else(|| format!("no checksum: {line:?}"))?;
        let (database, table) = table.split_once('.').ok_or_else(|| format!("no database: {line:?}"))?;
        if sum.is_empty() || !sum.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("{database}.{table} cannot be read: its checksum is {sum}"));
        }
        Ok(Checksum {
            database: database.into(),
            table: table.into(),
            sum: sum.into(),
        })
    });
    lines.collect()
}

/// Reads `SHOW REPLICA STATUS\G` followed by `gtid_current_pos`. A node without replication says nothing of it; that
/// is a state of its own kind of error, and nothing runs.
pub fn replication(stdout: &str) -> Result<ReplicationStatus, String> {
    let fields: HashMap<&str, &str> = stdout
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    let gtid = fields
        .get("gtid_current_pos")
        .ok_or_else(|| format!("no position: {stdout:?}"))?
        .to_string();
    let (Some(io), Some(sql)) = (fields.get("Slave_IO_Running"), fields.get("Slave_SQL_Running")) else {
        let error = "replication is not set up".to_owned();
        return Ok(ReplicationStatus {
            io_running: false,
            sql_running: false,
            refused: false,
            error,
            gtid,
        });
    };
    let errors = ["Last_SQL_Error", "Last_IO_Error"]
        .into_iter()
        .filter_map(|name| fields.get(name).copied());
    let errors: Vec<&str> = errors.filter(|text| !text.is_empty()).collect();
    Ok(ReplicationStatus {
        io_running: *io == "Yes",
        sql_running: *sql == "Yes",
        refused: *sql != "Yes" && fields.get("Last_SQL_Errno").is_some_and(|number| *number != "0"),
        error: errors.join("; "),
        gtid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Recorded from MariaDB 11.8.9 on Debian 13.

    #[test]
    fn a_running_replica() {
        insta::assert_debug_snapshot!(replication(include_str!("fixtures/replica-running.txt")).unwrap());
    }

    #[test]
    fn a_replica_stopped_by_a_duplicate_key() {
        insta::assert_debug_snapshot!(replication(include_str!("fixtures/replica-conflict.txt")).unwrap());
    }

    #[test]
    fn a_replica_that_its_primary_does_not_let_in() {
        insta::assert_debug_snapshot!(replication(include_str!("fixtures/replica-refused.txt")).unwrap());
    }

    #[test]
    fn a_node_without_replication_runs_nothing_and_says_so() {
        let status = replication("*** 1. row ***\ngtid_current_pos: 1-1-59\n").unwrap();
        assert!(!status.io_running && !status.sql_running);
        assert_eq!(
            (status.error.as_str(), status.gtid.as_str()),
            ("replication is not set up", "1-1-59")
        );
    }

    #[test]
    fn silence_is_no_status() {
        assert!(replication("").is_err());
    }

    #[test]
    fn checksums_are_read_by_database_and_table() {
        let read = checksums("roundcubemail.cache\t0\nroundcubemail.users\t1676347661\n").unwrap();
        let sum = |table: &str, sum: &str| Checksum {
            database: "roundcubemail".into(),
            table: table.into(),
            sum: sum.into(),
        };
        assert_eq!(read, [sum("cache", "0"), sum("users", "1676347661")]);
        assert_eq!(checksums("").unwrap(), []);
    }

    #[test]
    fn a_table_without_checksum_is_an_error() {
        assert!(checksums("sogo.broken\tNULL\n").unwrap_err().contains("sogo.broken"));
    }

    #[test]
    fn a_value_reads_back_from_batch_mode() {
        assert_eq!(unescape(r"a\\tb \t\n\0|ü\\"), "a\\tb \t\n\0|ü\\");
    }

    #[test]
    fn errors_are_found_behind_the_echoed_statement() {
        let stderr = "--------------\nselect sleep(5)\n--------------\n\nERROR 2013 (HY000) at line 1: Lost connection to server during query\n";
        let error = ServerError::find(stderr).unwrap();
        assert_eq!(
            error,
            ServerError {
                code: 2013,
                text: "Lost connection to server during query".into()
            }
        );
        assert_eq!(error.certainty(), Certainty::Unclear);
    }

    #[test]
    fn an_error_of_the_statement_itself_is_certain() {
        for code in [1062, 1146, 1205, 1290, 1792, 2002] {
            assert_eq!(
                ServerError {
                    code,
                    text: String::new()
                }
                .certainty(),
                Certainty::NoEffect,
                "{code}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_output_makes_the_readers_panic(text in "(ERROR |Slave_IO_Running: |gtid_current_pos:|[a-z.:\t ])*\n?.{0,40}") {
            let _ = (ServerError::find(&text), checksums(&text), replication(&text));
        }
    }
}
