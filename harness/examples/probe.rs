//! Runs one client of the harness against a real daemon on loopback and prints what it found: for trying the clients
//! on a server of your own, without machines.
//!
//! ```text
//! probe smtp     ADDRESS:PORT NAME SENDER RECIPIENT BYTES [CA.pem]     with a CA, STARTTLS is demanded and verified
//! probe dialogue ADDRESS:PORT LINE...
//! probe imap     ADDRESS:PORT NAME USER PASSWORD CA.pem
//! probe webmail  ADDRESS:PORT NAME USER PASSWORD CA.pem
//! probe front    ADDRESS:PORT NAME CA.pem
//! probe sql      STEP [ARGUMENT...]                                    STEP: prepare insert marks checksums status query
//! probe queue
//! ```

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use harness::fleet::{ExecOutput, Mail};
use harness::probe::imap::{self, ImapAccount};
use harness::probe::smtp::{self, MxHost, Sender, StartTls};
use harness::probe::sql::Database;
use harness::probe::webmail::{self, Site};
use harness::probe::{Exec, ExecError, TcpDial, queue, tls};
use tokio::io::AsyncWriteExt;

const DEADLINE: Duration = Duration::from_secs(20);
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    match run().await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let began = Instant::now();
    match arguments.as_slice() {
        ["smtp", address, name, from, to, bytes, ca @ ..] => {
            println!("{}", send(address, name, from, to, bytes.parse()?, ca).await?);
        }
        ["dialogue", address, lines @ ..] => {
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            for reply in smtp::dialogue(&TcpDial, HERE, address.parse()?, &lines, DEADLINE).await? {
                println!("{reply}");
            }
        }
        ["imap", address, host, user, password, ca] => {
            let account = ImapAccount {
                host,
                address: address.parse()?,
                tls: trust(ca)?,
                user,
                password,
            };
            println!("{:#?}", imap::list(&TcpDial, HERE, &account, DEADLINE).await?);
        }
        ["webmail", address, host, user, password, ca] => {
            let site = Site {
                host,
                address: address.parse()?,
                tls: trust(ca)?,
                node: None,
            };
            println!(
                "{:#?}",
                webmail::log_in(&TcpDial, HERE, &site, user, password, DEADLINE).await?
            );
        }
        ["front", address, host, ca] => {
            let site = Site {
                host,
                address: address.parse()?,
                tls: trust(ca)?,
                node: None,
            };
            println!("{:?}", webmail::front_page(&TcpDial, HERE, &site, DEADLINE).await?);
        }
        ["sql", step, rest @ ..] => sql(step, rest).await?,
        ["queue"] => {
            let argv = queue::COMMAND.map(ToOwned::to_owned);
            println!("{:#?}", queue::parse(&Here.exec(&argv, b"", DEADLINE).await?.stdout)?);
        }
        _ => return Err("see the head of this file for the arguments".into()),
    }
    eprintln!("took {:?}", began.elapsed());
    Ok(())
}

fn trust(ca: &str) -> Result<Arc<rustls::ClientConfig>, Box<dyn Error>> {
    Ok(tls::trusting(&std::fs::read_to_string(ca)?)?)
}

async fn send(
    address: &str,
    name: &str,
    from: &str,
    to: &str,
    body_bytes: usize,
    ca: &[&str],
) -> Result<smtp::Delivery, Box<dyn Error>> {
    let address: SocketAddrV4 = address.parse()?;
    let tls = match ca {
        [] => StartTls::Offered(tls::opportunistic()?),
        [ca, ..] => StartTls::Demanded(trust(ca)?),
    };
    let hello = "mx.sender.example".to_owned();
    let sender = Sender {
        dial: &TcpDial,
        from: HERE,
        hello,
        tls,
        port: address.port(),
        connect_limit: DEADLINE,
    };
    let hosts = [MxHost {
        preference: 10,
        name: name.to_owned(),
        address: *address.ip(),
    }];
    let id = format!("probe-{}", std::process::id());
    let mail = Mail {
        id,
        from: from.to_owned(),
        to: to.to_owned(),
        body_bytes,
    };
    Ok(sender.send(&hosts, &mail, DEADLINE).await)
}

async fn sql(step: &str, rest: &[&str]) -> Result<(), Box<dyn Error>> {
    let database = Database {
        exec: &Here,
        node: "here",
    };
    match (step, rest) {
        ("prepare", databases) => database.prepare(databases, DEADLINE).await?,
        ("insert", [name, mark]) => println!("{:?}", database.insert(name, mark, DEADLINE).await),
        ("marks", [name]) => println!("{:?}", database.marks(name, DEADLINE).await?),
        ("checksums", databases) => println!("{:#?}", database.checksums(databases, DEADLINE).await?),
        ("status", []) => println!("{:#?}", database.replication_status(DEADLINE).await?),
        ("query", [name, query]) => println!("{:?}", database.query(name, query, DEADLINE).await?),
        _ => return Err("no such step of sql".into()),
    }
    Ok(())
}

/// Runs programs on this host.
struct Here;

#[async_trait]
impl Exec for Here {
    async fn exec(&self, argv: &[String], stdin: &[u8], deadline: Duration) -> Result<ExecOutput, ExecError> {
        let (program, arguments) = argv
            .split_first()
            .ok_or_else(|| ExecError::NotStarted("no program".into()))?;
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .map_err(|e| ExecError::NotStarted(format!("{program}: {e}")))?;
        let unfinished = |e: std::io::Error| ExecError::Unfinished(e.to_string());
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(stdin).await.map_err(unfinished)?;
        }
        let output = tokio::time::timeout(deadline, child.wait_with_output()).await;
        let output = output
            .map_err(|_| ExecError::Unfinished("deadline passed".into()))?
            .map_err(unfinished)?;
        Ok(ExecOutput {
            status: output.status.code().unwrap_or(137),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}
