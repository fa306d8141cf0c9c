//! Real clients: SMTP as a foreign mail server, IMAP, the webmail log-in, SQL. One file a protocol.
//!
//! Every client is generic over [`Dial`] (or [`Exec`], for what runs on a node itself), so the same code speaks over
//! the virtual LAN and over loopback TCP in tests. Every call takes one deadline for all of its steps, and every error
//! names host, step, deadline and the last line that the server said.

pub mod deadline;
pub mod dial;
pub mod dkim;
pub mod exec;
mod heard;
pub mod imap;
pub mod imap_session;
pub mod queue;
pub mod seal;
pub mod smtp;
pub mod sql;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod webmail;

pub use deadline::{Deadline, Failure};
pub use dial::{Dial, DialError, Stream, TcpDial};
pub use exec::{Exec, ExecError};
