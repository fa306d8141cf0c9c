//! SQL on a node: the `mariadb` client as root over the local socket, since the database's port is closed to everyone
//! but the other mail node. Statements go in by standard input; what comes out is read by `parse`.

mod parse;
mod statement;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use parse::{Checksum, ServerError};
pub use statement::{PROBE_TABLE, identifier, literal};

use super::deadline::Failure;
use super::exec::{Exec, ExecError};
use crate::fleet::{ExecOutput, ReplicationStatus};
use crate::record::Outcome;
use parse::Certainty;

/// Status of a program that `timeout -s KILL` ended: 128 + SIGKILL.
const KILLED: i32 = 137;

/// The database server of a node.
pub struct Database<'a> {
    /// The way to run programs on the node.
    pub exec: &'a dyn Exec,
    /// The node's name, for rows and errors.
    pub node: &'a str,
}

/// What went wrong with a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlCause {
    /// The client could not be run, or its end was not seen.
    #[error("{0}")]
    Exec(#[from] ExecError),
    /// Server or client reported an error.
    #[error("{0}")]
    Server(#[from] ServerError),
    /// The client ended with this status and without an error message.
    #[error("the client ended with status {0}")]
    Status(i32),
    /// The client had not ended by the deadline and was killed.
    #[error("no answer before the deadline")]
    Silent,
    /// The output is not what the statement gives.
    #[error("output not understood: {0}")]
    Output(String),
}

impl SqlCause {
    fn certainty(&self) -> Certainty {
        match self {
            SqlCause::Exec(ExecError::NotStarted(_)) => Certainty::NoEffect,
            SqlCause::Server(error) => error.certainty(),
            _ => Certainty::Unclear,
        }
    }
}

/// How the client prints.
#[derive(Clone, Copy)]
enum Print {
    /// Rows only, tab-separated; tabs and line feeds in values are escaped.
    Rows,
    /// With column names, for `\G`.
    Named,
}

impl Database<'_> {
    /// Makes the probe table in each database, unless it is there already.
    pub async fn prepare(&self, databases: &[&str], deadline: Duration) -> Result<(), Failure<SqlCause>> {
        self.run(
            "create probe tables",
            &[],
            &statement::create_tables(databases),
            Print::Rows,
            deadline,
        )
        .await?;
        Ok(())
    }

    /// Inserts a row with this mark. [`Outcome::Ok`] only when the server acknowledged it; [`Outcome::Fail`] only when
    /// it certainly is not there; everything else, a lost connection or a time-out, is [`Outcome::Unknown`].
    pub async fn insert(&self, database: &str, mark: &str, deadline: Duration) -> Outcome {
        let statement = statement::insert(database, mark, self.node);
        let failure = match self.run("insert", &[], &statement, Print::Rows, deadline).await {
            Ok(output) if output.trim() == statement::INSERTED => {
                return Outcome::Ok {
                    served_by: Some(self.node.to_owned()),
                };
            }
            Ok(output) => self.failure("insert", deadline, "", SqlCause::Output(output)),
            Err(failure) => failure,
        };
        match failure.cause.certainty() {
            Certainty::NoEffect => Outcome::Fail {
                reason: failure.to_string(),
            },
            Certainty::Unclear => Outcome::Unknown {
                reason: failure.to_string(),
            },
        }
    }

    /// The marks of all rows of the probe table of a database, in the order of their ids.
    pub async fn marks(&self, database: &str, deadline: Duration) -> Result<Vec<String>, Failure<SqlCause>> {
        let output = self
            .run("select marks", &[], &statement::marks(database), Print::Rows, deadline)
            .await?;
        Ok(output.lines().map(parse::unescape).collect())
    }

    /// Checksums of every table of the databases.
    pub async fn checksums(&self, databases: &[&str], deadline: Duration) -> Result<Vec<Checksum>, Failure<SqlCause>> {
        let step = "checksum tables";
        let output = self
            .run(step, &[], &statement::checksums(databases), Print::Rows, deadline)
            .await?;
        parse::checksums(&output).map_err(|e| self.failure(step, deadline, "", SqlCause::Output(e)))
    }

    /// The rows of a query as the client prints them: columns separated by tabs; tab, line feed, backslash and NUL within
    /// a value are written `\t`, `\n`, `\\` and `\0`. The server refuses statements that write.
    pub async fn query(
        &self,
        database: &str,
        query: &str,
        deadline: Duration,
    ) -> Result<Vec<String>, Failure<SqlCause>> {
        let database = format!("--database={database}");
        let options = ["--init-command=SET SESSION TRANSACTION READ ONLY", &database];
        let output = self.run("query", &options, query, Print::Rows, deadline).await?;
        Ok(output.lines().map(ToOwned::to_owned).collect())
    }

    /// The state of the replica threads.
    pub async fn replication_status(&self, deadline: Duration) -> Result<ReplicationStatus, Failure<SqlCause>> {
        let step = "replica status";
        let output = self
            .run(step, &[], statement::REPLICA_STATUS, Print::Named, deadline)
            .await?;
        parse::replication(&output).map_err(|e| self.failure(step, deadline, "", SqlCause::Output(e)))
    }

    /// Runs statements and returns what they print; any error of any of them is an error.
    async fn run(
        &self,
        step: &'static str,
        options: &[&str],
        statements: &str,
        print: Print,
        deadline: Duration,
    ) -> Result<String, Failure<SqlCause>> {
        let argv = argv(options, print, deadline);
        let output = self.exec.exec(&argv, statements.as_bytes(), deadline).await;
        let output = output.map_err(|e| self.failure(step, deadline, "", e.into()))?;
        match cause(&output) {
            None => Ok(output.stdout),
            Some(cause) => Err(self.failure(step, deadline, &output.stderr, cause)),
        }
    }

    fn failure(&self, step: &'static str, deadline: Duration, stderr: &str, cause: SqlCause) -> Failure<SqlCause> {
        let last_line = stderr
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .map(ToOwned::to_owned);
        Failure {
            host: self.node.to_owned(),
            step,
            deadline,
            last_line,
            cause,
        }
    }
}

/// What an ended client tells of its statements; `None` when all went well.
fn cause(output: &ExecOutput) -> Option<SqlCause> {
    match (output.status, ServerError::find(&output.stderr)) {
        (0, _) => None,
        (_, Some(error)) => Some(error.into()),
        (KILLED, None) => Some(SqlCause::Silent),
        (status, None) => Some(SqlCause::Status(status)),
    }
}

/// The client's command line. `timeout` ends it on the node itself, so that no statement outlives the interest in it;
/// it comes a little before the deadline, so that its end is still seen.
fn argv(options: &[&str], print: Print, deadline: Duration) -> Vec<String> {
    let limit = format!("{:.3}", deadline.mul_f64(0.9).as_secs_f64());
    let mut argv: Vec<String> = ["timeout", "-s", "KILL", &limit, "mariadb"]
        .map(ToOwned::to_owned)
        .into();
    argv.extend(["--user=root", "--protocol=socket", "--batch"].map(ToOwned::to_owned));
    argv.push("--default-character-set=utf8mb4".into());
    // Nobody listens on a local socket, and the handshake costs an emulated node three times the statement.
    argv.push("--skip-ssl".into());
    if let Print::Rows = print {
        // In binary mode the client acts on none of its own backslash commands, \G among them.
        argv.extend(["--skip-column-names", "--binary-mode"].map(ToOwned::to_owned));
    }
    argv.extend(options.iter().map(ToString::to_string));
    argv
}
