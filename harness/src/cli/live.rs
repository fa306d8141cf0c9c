//! `harness status|exec|fault|heal|logs|down`: what is done with a live cluster from another terminal.

use std::io::Write;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::exit::Exit;
use super::interrupt::until_interrupted;
use super::library::Unusable;
use crate::fault::{Fault, Receipt};
use crate::fleet::ExecOutput;
use crate::live::{Answer, Ask, Entry, LiveError, Registry, ask};
use crate::tools::cache::Cache;

/// Pause between two looks at a journal that is followed.
const FOLLOW: Duration = Duration::from_secs(1);

/// Which live cluster.
#[derive(Debug, Args)]
pub struct Which {
    /// Its name; not needed when only one runs
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Arguments of `harness exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    #[command(flatten)]
    which: Which,
    /// The node
    node: String,
    /// Program and arguments, after `--`; no shell
    #[arg(last = true, required = true, value_name = "CMD")]
    argv: Vec<String>,
}

/// Arguments of `harness fault`.
#[derive(Debug, Args)]
#[command(after_help = FAULTS)]
pub struct FaultArgs {
    #[command(flatten)]
    which: Which,
    /// What happens
    kind: Kind,
    /// The node; of a cut link the sender
    node: String,
    /// The service, or the other end of the link
    what: Option<String>,
    /// Cut the link in this direction only
    #[arg(long)]
    one_way: bool,
}

const FAULTS: &str = "\
Examples:
  harness fault power-cut mail1
  harness fault service-freeze mail1 nginx
  harness fault link-cut mail1 mail2 --one-way";

/// Arguments of `harness heal`.
#[derive(Debug, Args)]
#[command(after_help = "Without arguments everything is healed that is broken, the newest fault first.")]
pub struct HealArgs {
    #[command(flatten)]
    which: Which,
    /// What was broken
    #[arg(requires = "node")]
    kind: Option<Kind>,
    /// The node; of a cut link the sender
    node: Option<String>,
    /// The service, or the other end of the link
    what: Option<String>,
    /// The link was cut in this direction only
    #[arg(long)]
    one_way: bool,
}

/// Arguments of `harness logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    #[command(flatten)]
    which: Which,
    /// The node
    node: String,
    /// Go on with what comes, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines
    #[arg(short = 'n', long, default_value_t = 50)]
    lines: u32,
}

/// The kinds of faults, as scenarios name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The machine loses power
    PowerCut,
    /// The machine stands still
    Freeze,
    /// The machine restarts itself
    Reboot,
    /// A service is stopped
    ServiceStop,
    /// A service is killed
    ServiceKill,
    /// A service stands still
    ServiceFreeze,
    /// The pool of the mail store has no room left
    DiskFull,
    /// Bytes of mail change on one disk of the mirror
    DiskFlip,
    /// The machine gets empty disks for its pool, with the power cut meanwhile
    DiskNew,
    /// Frames between two nodes vanish
    LinkCut,
}

impl Kind {
    fn fault(self, node: &str, what: Option<&str>, one_way: bool) -> Result<Fault, Unusable> {
        let node = node.to_owned();
        let needs = |noun: &str| {
            let what = what.map(str::to_owned);
            what.ok_or_else(|| Unusable(format!("error: {noun} is missing\nhelp: harness fault --help\n")))
        };
        let fault = match self {
            Kind::PowerCut => Fault::PowerCut { node },
            Kind::Freeze => Fault::Freeze { node },
            Kind::Reboot => Fault::Reboot { node },
            Kind::ServiceStop => Fault::ServiceStop {
                service: needs("the service")?,
                node,
            },
            Kind::ServiceKill => Fault::ServiceKill {
                service: needs("the service")?,
                node,
            },
            Kind::ServiceFreeze => Fault::ServiceFreeze {
                service: needs("the service")?,
                node,
            },
            Kind::DiskFull => Fault::DiskFull { node },
            Kind::DiskFlip => Fault::DiskFlip { node },
            Kind::DiskNew => Fault::DiskNew { node },
            Kind::LinkCut => Fault::LinkCut {
                to: needs("the other end of the link")?,
                from: node,
                both_ways: !one_way,
            },
        };
        Ok(fault)
    }
}

/// Shows a live cluster, or all of them.
///
/// # Errors
/// There is none by that name.
pub fn status(which: &Which) -> Result<Exit, Unusable> {
    let entries = match &which.name {
        Some(_) => vec![choose(which)?],
        None => all()?,
    };
    if entries.is_empty() {
        super::say("no live cluster; harness up starts one\n");
    }
    let mut exit = Exit::Holds;
    for entry in entries {
        super::say(described(&entry));
        exit = exit.worst(finish(ask(&entry, &Ask::Status), |answer| {
            let Answer::Status { ailments, broken } = answer else {
                return Exit::Environment;
            };
            super::say(state(&ailments, &broken));
            if ailments.is_empty() { Exit::Holds } else { Exit::Fails }
        }));
    }
    Ok(exit)
}

/// Runs a command on a node: its output and its status become this call's own.
///
/// # Errors
/// There is no such live cluster.
pub fn exec(args: &ExecArgs) -> Result<Exit, Unusable> {
    let entry = choose(&args.which)?;
    let run = Ask::Exec {
        node: args.node.clone(),
        argv: args.argv.clone(),
    };
    Ok(finish(ask(&entry, &run), |answer| match answer {
        Answer::Output(output) => {
            print(&output);
            Exit::Command(u8::try_from(output.status).unwrap_or(u8::MAX))
        }
        _ => Exit::Environment,
    }))
}

/// Breaks something.
///
/// # Errors
/// There is no such live cluster, or the fault is not complete.
pub fn fault(args: &FaultArgs) -> Result<Exit, Unusable> {
    let fault = args.kind.fault(&args.node, args.what.as_deref(), args.one_way)?;
    let entry = choose(&args.which)?;
    Ok(finish(ask(&entry, &Ask::Break { fault }), receipts))
}

/// Mends what is broken.
///
/// # Errors
/// There is no such live cluster, or the fault is not complete.
pub fn heal(args: &HealArgs) -> Result<Exit, Unusable> {
    let fault = match (args.kind, &args.node) {
        (Some(kind), Some(node)) => Some(kind.fault(node, args.what.as_deref(), args.one_way)?),
        _ => None,
    };
    let entry = choose(&args.which)?;
    Ok(finish(ask(&entry, &Ask::Heal { fault }), receipts))
}

/// Shows the journal of a node.
///
/// # Errors
/// There is no such live cluster.
pub fn logs(args: &LogsArgs) -> Result<Exit, Unusable> {
    let entry = choose(&args.which)?;
    Ok(finish(read_journal(&entry, args), |()| Exit::Holds))
}

/// Ends a live cluster.
///
/// # Errors
/// There is none by that name.
pub fn down(which: &Which) -> Result<Exit, Unusable> {
    let entry = choose(which)?;
    Ok(finish(ask(&entry, &Ask::Down), |_| {
        super::say(format_args!("{} has ended\n", entry.name));
        Exit::Holds
    }))
}

/// Runs a conversation until its end or until Ctrl-C.
pub(super) fn finish<T>(work: impl Future<Output = Result<T, LiveError>>, end: impl FnOnce(T) -> Exit) -> Exit {
    match until_interrupted(work) {
        Ok(Some(Ok(answer))) => end(answer),
        Ok(Some(Err(error))) => {
            eprintln!("error: {error}");
            match error {
                LiveError::Failed(_) => Exit::Fails,
                _ => Exit::Environment,
            }
        }
        Ok(None) => Exit::Interrupted,
        Err(reason) => {
            eprintln!("error: {reason}");
            Exit::Environment
        }
    }
}

fn all() -> Result<Vec<Entry>, Unusable> {
    let told = |error: &dyn std::fmt::Display| Unusable(format!("error: {error}\n"));
    let registry = Cache::open()
        .and_then(|cache| Registry::open(&cache))
        .map_err(|e| told(&e))?;
    registry.all().map_err(|e| told(&e))
}

/// The live cluster that is meant.
pub(super) fn choose(which: &Which) -> Result<Entry, Unusable> {
    pick(all()?, which.name.as_deref()).map_err(Unusable)
}

fn pick(entries: Vec<Entry>, name: Option<&str>) -> Result<Entry, String> {
    let names: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
    let known = names.join(", ");
    let mut fits = entries
        .into_iter()
        .filter(|entry| name.is_none_or(|name| entry.name == name));
    match (fits.next(), fits.next(), name) {
        (Some(one), None, _) => Ok(one),
        (Some(_), Some(_), _) => Err(format!(
            "error: several live clusters run: {known}\nhelp: choose one with --name\n"
        )),
        (None, _, Some(name)) if !names.is_empty() => Err(format!(
            "error: there is no live cluster {name}\nhelp: these run: {known}\n"
        )),
        (None, ..) => Err("error: no live cluster runs\nhelp: harness up starts one\n".to_owned()),
    }
}

/// A live cluster and how it is reached.
pub(super) fn described(entry: &Entry) -> String {
    let mut text = format!("{}: cluster {}, process {}\n", entry.name, entry.cluster, entry.pid);
    for forward in &entry.forwards {
        text += &format!("  {:<42} {}\n", forward.service, forward.here);
    }
    for (user, password) in &entry.accounts {
        text += &format!("  {user:<42} password {password}\n");
    }
    text
}

fn state(ailments: &[String], broken: &[Fault]) -> String {
    let mut text = match ailments {
        [] => "  healthy\n".to_owned(),
        some => some.iter().map(|ailment| format!("  ails: {ailment}\n")).collect(),
    };
    for fault in broken {
        text += &format!("  broken on purpose: {}\n", crate::oracle::describe_fault(fault));
    }
    text
}

fn receipts(answer: Answer) -> Exit {
    let Answer::Receipts { receipts } = answer else {
        return Exit::Environment;
    };
    if receipts.is_empty() {
        super::say("nothing was broken\n");
    }
    for Receipt { source, observed } in receipts {
        super::say(format_args!("{source}: {observed}\n"));
    }
    Exit::Holds
}

fn print(output: &ExecOutput) {
    super::say(&output.stdout);
    let _ = write!(std::io::stderr().lock(), "{}", output.stderr);
}

/// Reads from where the last look ended, by the journal's own cursor.
async fn read_journal(entry: &Entry, args: &LogsArgs) -> Result<(), LiveError> {
    let mut from = format!("--lines={}", args.lines);
    loop {
        let argv = [
            "journalctl",
            "--quiet",
            "--no-pager",
            "--show-cursor",
            "--output=short-iso",
            &from,
        ];
        let look = Ask::Exec {
            node: args.node.clone(),
            argv: argv.map(str::to_owned).to_vec(),
        };
        let Answer::Output(output) = ask(entry, &look).await? else {
            return Err(LiveError::Ended(entry.name.clone()));
        };
        if output.status != 0 {
            return Err(LiveError::Failed(output.stderr));
        }
        for line in output.stdout.lines() {
            match line.strip_prefix("-- cursor: ") {
                Some(cursor) => from = format!("--after-cursor={cursor}"),
                None => super::say(format_args!("{line}\n")),
            }
        }
        if !args.follow {
            return Ok(());
        }
        tokio::time::sleep(FOLLOW).await; // poll: the guest agent has no streams
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.into(),
            cluster: "pair".into(),
            pid: 42,
            socket: "/tmp/control".into(),
            forwards: vec![crate::live::Forward {
                service: "webmail (HTTPS)".into(),
                here: ([127, 0, 0, 1], 40443).into(),
                there: std::net::SocketAddrV4::new([192, 168, 1, 30].into(), 443),
            }],
            accounts: vec![("alice@example.org".into(), "secret".into())],
        }
    }

    #[test]
    fn the_only_live_cluster_needs_no_name() {
        assert_eq!(pick(vec![entry("live")], None), Ok(entry("live")));
    }

    #[test]
    fn one_of_several_is_chosen_by_name() {
        assert_eq!(pick(vec![entry("a"), entry("b")], Some("b")), Ok(entry("b")));
    }

    #[test]
    fn the_message_names_what_runs() {
        let several = pick(vec![entry("a"), entry("b")], None).expect_err("unclear");
        let unknown = pick(vec![entry("a")], Some("x")).expect_err("unknown");
        let none = pick(Vec::new(), None).expect_err("none");
        insta::assert_snapshot!([several, unknown, none].join("\n"));
    }

    #[test]
    fn a_live_cluster_is_described_with_doors_and_accounts() {
        insta::assert_snapshot!(described(&entry("live")));
    }

    #[test]
    fn a_fault_without_its_service_is_refused() {
        let refused = Kind::ServiceStop.fault("mail1", None, false).expect_err("no service");
        assert!(refused.0.starts_with("error: the service is missing"));
    }
}
