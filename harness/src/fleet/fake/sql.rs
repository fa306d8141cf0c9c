//! Simulated databases: a set of tables a node, and replication both ways with a lag.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::{Reach, Tick, World};
use super::{Attempt, Effect};
use crate::fleet::{ReplicationStatus, Topology};
use crate::record::Outcome;
use crate::scenario::defect::Defect;

/// How soon a replica tries to reach its peer again (`MASTER_CONNECT_RETRY=1`).
const RECONNECT: Duration = Duration::from_secs(1);
/// How long a semi-synchronous commit waits for the peer before it goes on alone.
const SEMI_SYNC_TIMEOUT: Duration = Duration::from_secs(2);
/// The table that [`World::insert`] writes into.
const LEDGER: &str = "ledger";

type Table = BTreeMap<String, String>;

/// The databases of all mail nodes.
#[derive(Debug)]
pub(super) struct Databases {
    nodes: BTreeMap<String, Server>,
}

#[derive(Debug)]
struct Server {
    /// Database and table to rows.
    tables: BTreeMap<(String, String), Table>,
    /// What was written here first, in order.
    log: Vec<Change>,
    /// How much of the peer's log lies here in the relay log.
    received: usize,
    /// How much of the peer's log was applied here.
    applied: usize,
    /// An apply is scheduled.
    due: bool,
    io_running: bool,
    sql_running: bool,
    semi_sync: bool,
}

#[derive(Debug, Clone)]
struct Change {
    database: String,
    table: String,
    key: String,
    value: String,
}

impl Databases {
    pub fn new(mail_nodes: &[String], topology: &Topology, defect: Option<Defect>) -> Databases {
        let server = |second: bool| {
            let mut tables: BTreeMap<(String, String), Table> = BTreeMap::new();
            for database in &topology.databases {
                tables.insert((database.clone(), LEDGER.to_owned()), Table::new());
            }
            tables.insert(("roundcubemail".into(), "users".into()), Table::new());
            let accounts = topology.users.iter().map(|user| (user.clone(), String::new()));
            let mut accounts: Table = accounts.collect();
            if second && defect == Some(Defect::DivergeTable) {
                accounts.insert("ghost".into(), String::new());
            }
            tables.insert(("vmail".into(), "mailbox".into()), accounts);
            Server {
                tables,
                log: Vec::new(),
                received: 0,
                applied: 0,
                due: false,
                io_running: !(second && defect == Some(Defect::StopIoThread)),
                sql_running: true,
                semi_sync: true,
            }
        };
        let nodes = mail_nodes
            .iter()
            .enumerate()
            .map(|(index, node)| (node.clone(), server(index > 0)))
            .collect();
        Databases { nodes }
    }
}

impl World {
    /// An insert begins.
    pub fn insert(&mut self, node: &str, database: &str, row: &str) -> Attempt {
        let mut wait = self.between(5, 60);
        if self.paused(Defect::PauseSql) {
            return Attempt::hang("the database does not answer");
        }
        match self.reach(None, node, &["mariadb"]) {
            Reach::Answers => {}
            Reach::Refuses => return Attempt::fail(Duration::from_millis(5), "connection refused"),
            Reach::Silent => return Attempt::hang("the database does not answer"),
        }
        let second = self.is_second(node);
        if self.has(Defect::RefuseWrites) && second {
            return Attempt::fail(wait, "ERROR 1290 (HY000): running with the --read-only option");
        }
        let peer_up = self.peer_reach(node) == Reach::Answers;
        if let Some(server) = self.sql.nodes.get_mut(node) {
            if server.semi_sync && !peer_up {
                wait += SEMI_SYNC_TIMEOUT;
            }
            server.semi_sync = peer_up;
        }
        let effect = Effect::Insert {
            node: node.to_owned(),
            database: database.to_owned(),
            row: row.to_owned(),
        };
        Attempt { wait, effect }
    }

    /// The insert is committed, or the server is gone and nobody knows.
    pub fn finish_insert(&mut self, node: &str, database: &str, row: &str) -> Outcome {
        if self.reach(None, node, &["mariadb"]) != Reach::Answers {
            if self.between(0, 1).is_zero() {
                self.write(node, database, LEDGER, row, "");
            }
            return Outcome::Unknown {
                reason: "connection lost during COMMIT".into(),
            };
        }
        self.write(node, database, LEDGER, row, "");
        Outcome::Ok {
            served_by: Some(node.to_owned()),
        }
    }

    /// Writes a row on a node and sets its copying to the peer going.
    pub fn write(&mut self, node: &str, database: &str, table: &str, key: &str, value: &str) {
        let change = Change {
            database: database.to_owned(),
            table: table.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let Some(server) = self.sql.nodes.get_mut(node) else {
            return;
        };
        server.put(&change);
        server.log.push(change);
        if let Some(peer) = self.peer(node) {
            // Semi-synchronous: a commit is acknowledged when the peer has it in its relay log, if the peer is there.
            self.fetch(&peer);
            let lag = match self.defect {
                Some(Defect::LateRows) => Duration::from_secs(120),
                Some(Defect::StallRows) => Duration::from_secs(86_400),
                _ => self.between(20, 120),
            };
            self.apply_after(&peer, lag);
        }
    }

    fn apply_after(&mut self, node: &str, delay: Duration) {
        if let Some(server) = self.sql.nodes.get_mut(node).filter(|server| !server.due) {
            server.due = true;
            self.after(delay, Tick::Apply(node.to_owned()));
        }
    }

    /// A replica's IO thread takes over what its peer has written, and says whether it could reach it.
    fn fetch(&mut self, node: &str) -> bool {
        let reached = self.reach(None, node, &["mariadb"]) == Reach::Answers && self.peer_reach(node) == Reach::Answers;
        let written = self
            .peer(node)
            .and_then(|peer| self.sql.nodes.get(&peer))
            .map_or(0, |peer| peer.log.len());
        let Some(server) = self.sql.nodes.get_mut(node) else {
            return false;
        };
        if reached && server.io_running {
            server.received = written;
        }
        reached
    }

    /// A replica applies what it has of its peer's rows, and tries again later if it could not reach it.
    pub fn apply(&mut self, node: &str) {
        let reached = self.fetch(node);
        let Some(peer) = self.peer(node) else { return };
        let runs = self.reach(None, node, &["mariadb"]) == Reach::Answers;
        let log = self
            .sql
            .nodes
            .get(&peer)
            .map(|peer| peer.log.clone())
            .unwrap_or_default();
        let (stop, drop) = (self.has(Defect::StopSqlThread), self.has(Defect::DropRow));
        let second = self.is_second(node);
        let Some(server) = self.sql.nodes.get_mut(node) else {
            return;
        };
        server.due = false;
        if stop && second && server.applied < server.received {
            server.sql_running = false;
        }
        if runs && server.sql_running {
            for (index, change) in log.iter().enumerate().take(server.received).skip(server.applied) {
                if !(drop && index == 2) {
                    server.put(change);
                }
            }
            server.applied = server.received;
        }
        if !runs || !reached {
            self.apply_after(node, RECONNECT);
        }
    }

    fn is_second(&self, node: &str) -> bool {
        self.sql.nodes.keys().next_back().is_some_and(|last| last == node)
    }

    fn peer_reach(&self, node: &str) -> Reach {
        match self.peer(node) {
            Some(peer) => self.reach(Some(node), &peer, &["mariadb"]),
            None => Reach::Refuses,
        }
    }

    /// The replica threads of a node, or why it cannot be asked.
    pub fn replication(&self, node: &str) -> Result<ReplicationStatus, String> {
        self.ask(node)?;
        let server = self
            .sql
            .nodes
            .get(node)
            .ok_or_else(|| format!("{node} has no database"))?;
        let connected = self.peer_reach(node) == Reach::Answers;
        let io_running = server.io_running && connected;
        let error = match (io_running, server.sql_running) {
            (false, _) => "error connecting to master (2003)",
            (_, false) => "Duplicate entry for key 'PRIMARY' (1062)",
            _ => "",
        };
        let gtid = format!("{}", server.log.len() + server.applied);
        Ok(ReplicationStatus {
            io_running,
            sql_running: server.sql_running,
            refused: !server.sql_running,
            error: error.into(),
            gtid,
        })
    }

    /// Marks of the rows in a database of a node.
    pub fn rows(&self, node: &str, database: &str) -> Result<Vec<String>, String> {
        self.ask(node)?;
        let table = self
            .table(node, database, LEDGER)
            .ok_or_else(|| format!("no database {database}"))?;
        Ok(table.keys().cloned().collect())
    }

    /// Last webmail log-in of a user as a node's database has it.
    pub fn last_login(&self, node: &str, user: &str) -> Result<Option<String>, String> {
        self.ask(node)?;
        Ok(self
            .table(node, "roundcubemail", "users")
            .and_then(|table| table.get(user))
            .cloned())
    }

    /// A checksum for each table of a database on a node.
    pub fn checksums(&self, node: &str, database: &str) -> Result<Vec<(String, String)>, String> {
        self.ask(node)?;
        let server = self
            .sql
            .nodes
            .get(node)
            .ok_or_else(|| format!("{node} has no database"))?;
        let tables = server.tables.iter().filter(|((name, _), _)| name == database);
        Ok(tables
            .map(|((_, table), rows)| (table.clone(), checksum(rows)))
            .collect())
    }

    fn table(&self, node: &str, database: &str, table: &str) -> Option<&Table> {
        self.sql
            .nodes
            .get(node)?
            .tables
            .get(&(database.to_owned(), table.to_owned()))
    }

    fn ask(&self, node: &str) -> Result<(), String> {
        match self.reach(None, node, &["mariadb"]) {
            Reach::Answers => Ok(()),
            Reach::Refuses => Err("the database refuses connections".into()),
            Reach::Silent => Err("the database does not answer".into()),
        }
    }
}

impl Server {
    fn put(&mut self, change: &Change) {
        let table = self
            .tables
            .entry((change.database.clone(), change.table.clone()))
            .or_default();
        table.insert(change.key.clone(), change.value.clone());
    }
}

/// Independent of the order of rows, as `CHECKSUM TABLE` is: the sum of one FNV-1a hash a row.
fn checksum(rows: &Table) -> String {
    let hash = |text: &str| {
        text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    };
    let sum = rows.iter().fold(0_u64, |sum, (key, value)| {
        sum.wrapping_add(hash(&format!("{key}\u{0}{value}")))
    });
    sum.to_string()
}
