//! What is asked of the mail store on a node itself, through commands there: status and role from its agent, messages from
//! the files: those of the newest snapshot, or those below the mount where what counts is when one comes.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::store::{StoreStatus, maildir};
use super::{ExecOutput, Fleet, FleetError};

/// What one look may take, before it is stretched.
const ASK: Duration = Duration::from_secs(20);

/// What a node of the store can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoreRole {
    /// The writer.
    Promote,
    /// Standby.
    Demote,
}

impl StoreRole {
    /// The agent's verb.
    pub fn verb(self) -> &'static str {
        match self {
            StoreRole::Promote => "promote",
            StoreRole::Demote => "demote",
        }
    }
}

/// When a message came to lie on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// From a moment after the call until it was seen; zero if the first look found it already.
    pub after: Duration,
    /// It lay there at the first look, and may have done so for long.
    pub at_once: bool,
}

/// Mounts the newest snapshot for this process only, and goes on with the folder there. A stream that is received meanwhile
/// takes the files of the live mount away for a moment: a folder that was there for minutes has been answered for as if there
/// were none.
const IN_SNAPSHOT: &str = r#"
    dataset=$(findmnt --noheadings --output SOURCE /var/vmail)
    newest=$(zfs list -H -t snapshot -o name -s createtxg "$dataset" | tail -n 1)
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/copy
    mount -t zfs -o ro "$newest" /mnt/copy
    set -- "/mnt/copy/${1#/var/vmail/}""#;

/// Ids of messages: of each file the first line that carries one.
const IDS: &str = r#"
    [ -d "$1" ] || exit 0
    find "$1" -type f \( -path '*/cur/*' -o -path '*/new/*' \) -exec grep -haim1 '^X-Ledger-Id:' {} +"#;

/// Looks until a file of the last minutes carries the id, and says when that began and ended by the machine's own uptime.
/// It looks again and again since a received stream changes files below the mount without a word to inotify; it is one
/// process which reads no file twice, and looks less often the longer it waits (it is late by a twentieth at most), so that
/// looking does not take the processor from the node that it looks at.
const AWAIT: &str = r#"
    my ($root, $id, $limit) = @ARGV;
    my %known;
    sub uptime { open(my $clock, '<', '/proc/uptime') or die "/proc/uptime: $!\n"; (split ' ', <$clock>)[0] }
    sub names { opendir(my $folder, $_[0]) or return; grep { !/^\.\.?$/ } readdir $folder }
    sub carries {
        my ($path) = @_;
        open(my $mail, '<', $path) or return 0;
        $known{$path} = 1;
        return 0 if (stat $mail)[9] < time - 300;
        while (<$mail>) {
            last if /^\r?$/;
            return 1 if /^X-Ledger-Id:\s*\Q$id\E\s*$/i;
        }
        0
    }
    sub lies_in {
        my ($folder, $has_mail) = @_;
        for (names($folder)) {
            my $path = "$folder/$_";
            if ($has_mail) { return 1 if !$known{$path} and carries($path) }
            elsif ($_ ne 'tmp' and -d $path) { return 1 if lies_in($path, /^(cur|new)$/) }
        }
        0
    }
    my ($began, $looks) = (uptime(), 0);
    until (lies_in($root, 0)) {
        $looks++;
        exit 1 if uptime() >= $began + $limit;
        my $pause = (uptime() - $began) / 20;
        select(undef, undef, undef, $pause < 0.05 ? 0.05 : $pause);
    }
    print join(' ', $began, uptime(), $looks), "\n";"#;

fn error(node: &str, what: &str, reason: impl Into<String>) -> FleetError {
    FleetError {
        node: node.to_owned(),
        what: what.to_owned(),
        reason: reason.into(),
    }
}

fn told(node: &str, what: &str, output: ExecOutput) -> Result<String, FleetError> {
    match output.status {
        0 => Ok(output.stdout),
        status => Err(error(node, what, format!("status {status}: {}", output.stderr.trim()))),
    }
}

fn agent(verb: &[&str]) -> Vec<String> {
    let words = std::iter::once(&"/usr/local/sbin/cluster-store").chain(verb);
    words.map(|word| (*word).to_owned()).collect()
}

fn script(text: &str, arguments: &[&str]) -> Vec<String> {
    let words = ["sh", "-euc", text, "sh"].into_iter().chain(arguments.iter().copied());
    words.map(str::to_owned).collect()
}

fn awaiting(folder: &str, id: &str, seconds: &str) -> Vec<String> {
    ["perl", "-we", AWAIT, folder, id, seconds].map(str::to_owned).to_vec()
}

fn folder(node: &str, what: &str, user: &str) -> Result<String, FleetError> {
    maildir(user).ok_or_else(|| error(node, what, format!("{user} has no folder of its own")))
}

pub(super) async fn status<F: Fleet + ?Sized>(fleet: &F, node: &str) -> Result<StoreStatus, FleetError> {
    let what = "ask for the state of the mail store";
    let limit = ASK.mul_f64(fleet.slowness().max(1.0));
    let output = fleet.exec(node, &agent(&["status", "--json"]), limit).await?;
    StoreStatus::parse(&told(node, what, output)?).map_err(|reason| error(node, what, reason))
}

pub(super) async fn change_role<F: Fleet + ?Sized>(
    fleet: &F,
    node: &str,
    role: StoreRole,
    deadline: Duration,
) -> Result<String, FleetError> {
    let output = fleet.exec(node, &agent(&[role.verb()]), deadline).await?;
    Ok(told(node, role.verb(), output)?.trim().to_owned())
}

/// The wish ends by itself: what is asked for once shall not hold for ever (crm_resource(8), `--lifetime`).
pub(super) async fn move_role<F: Fleet + ?Sized>(
    fleet: &F,
    node: &str,
    deadline: Duration,
) -> Result<String, FleetError> {
    let words = "crm_resource --move --resource mail-writer --lifetime PT60S --node";
    let words = words.split(' ').chain([node]).map(str::to_owned);
    let output = fleet.exec(node, &words.collect::<Vec<_>>(), deadline).await?;
    told(node, "ask pacemaker to move the role", output)?;
    Ok("pacemaker was asked to move the role here".to_owned())
}

pub(super) async fn ids<F: Fleet + ?Sized>(fleet: &F, node: &str, user: &str) -> Result<Vec<String>, FleetError> {
    let what = "read the files of the mail store";
    let folder = folder(node, what, user)?;
    let limit = ASK.mul_f64(fleet.slowness().max(1.0));
    let inside = script(&[IN_SNAPSHOT, IDS].concat(), &[&folder]);
    let argv: Vec<String> = ["unshare", "--mount"]
        .map(str::to_owned)
        .into_iter()
        .chain(inside)
        .collect();
    let output = fleet.exec(node, &argv, limit).await?;
    // `find -exec +` hands on that grep found nothing in some file, which mail of others may well be.
    if !output.stderr.trim().is_empty() {
        return Err(error(node, what, output.stderr.trim()));
    }
    let id = |line: &str| line.split_once(':').map(|(_, id)| id.trim().to_owned());
    Ok(output.stdout.lines().filter_map(id).collect())
}

pub(super) async fn wait_for<F: Fleet + ?Sized>(
    fleet: &F,
    node: &str,
    user: &str,
    id: &str,
    deadline: Duration,
) -> Result<Arrival, FleetError> {
    let what = format!("wait for {id} in the files of the mail store");
    let folder = folder(node, &what, user)?;
    let seconds = deadline.as_secs().max(1).to_string();
    let argv = awaiting(&folder, id, &seconds);
    let output = fleet.exec(node, &argv, deadline + ASK).await?;
    let text = told(node, &what, output)?;
    arrival(&text).ok_or_else(|| error(node, &what, format!("no times: {text:?}")))
}

/// Reads beginning, end and number of looks in vain.
fn arrival(text: &str) -> Option<Arrival> {
    let mut words = text.split_whitespace();
    let began: f64 = words.next()?.parse().ok()?;
    let ended: f64 = words.next()?.parse().ok()?;
    let looks: u64 = words.next()?.parse().ok()?;
    let after = Duration::try_from_secs_f64((ended - began).max(0.0)).ok()?;
    Some(Arrival {
        after: if looks == 0 { Duration::ZERO } else { after },
        at_once: looks == 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_is_the_time_between_two_uptimes() {
        let seen = arrival("100.50 102.75 9\n").expect("times");
        assert_eq!((seen.after, seen.at_once), (Duration::from_millis(2250), false));
    }

    #[test]
    fn what_lay_there_at_the_first_look_has_come_at_an_unknown_time() {
        let seen = arrival("100.50 100.52 0\n").expect("times");
        assert_eq!((seen.after, seen.at_once), (Duration::ZERO, true));
    }

    /// Plays on this host what machines run.
    fn run(argv: &[String]) -> (i32, String, String) {
        let output = std::process::Command::new(&argv[0])
            .args(&argv[1..])
            .output()
            .expect("a shell");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (
            output.status.code().unwrap_or(-1),
            text(output.stdout),
            text(output.stderr),
        )
    }

    fn mail(folder: &std::path::Path, name: &str, id: &str) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folder");
        std::fs::write(
            path,
            format!("From: a@b\nX-Ledger-Id: {id}\n\nX-Ledger-Id: in-the-body\n"),
        )
        .expect("written");
    }

    #[test]
    fn the_script_lists_each_file_of_each_folder_once() {
        let folder = tempfile::tempdir().expect("temporary folder");
        mail(folder.path(), "new/1", "r1-1");
        mail(folder.path(), "Archive/cur/2:2,S", "r1-2");
        mail(folder.path(), "tmp/3", "r1-3");
        let (status, stdout, stderr) = run(&script(IDS, &[&folder.path().display().to_string()]));
        let mut lines: Vec<&str> = stdout.lines().collect();
        lines.sort_unstable();
        assert_eq!(
            (status, lines, stderr.as_str()),
            (0, vec!["X-Ledger-Id: r1-1", "X-Ledger-Id: r1-2"], "")
        );
    }

    #[test]
    fn an_account_that_never_got_mail_has_none() {
        let (status, stdout, stderr) = run(&script(IDS, &["/nonexistent"]));
        assert_eq!((status, stdout.as_str(), stderr.as_str()), (0, "", ""));
    }

    fn wait(folder: &std::path::Path, id: &str, seconds: &str) -> (i32, String, String) {
        run(&awaiting(&folder.display().to_string(), id, seconds))
    }

    #[test]
    fn the_program_that_waits_ends_when_the_message_is_there() {
        let folder = tempfile::tempdir().expect("temporary folder");
        mail(folder.path(), "Archive/cur/1:2,S", "r1-1");
        let (status, stdout, stderr) = wait(folder.path(), "r1-1", "5");
        assert_eq!((status, stderr.as_str()), (0, ""));
        assert!(arrival(&stdout).expect("times").at_once);
    }

    #[test]
    fn the_program_that_waits_sees_what_comes_later() {
        let folder = tempfile::tempdir().expect("temporary folder");
        // Whoever reads the pipe has listed the folder, so the message after it is not found by that look.
        std::fs::create_dir(folder.path().join("new")).expect("folder");
        let pipe = folder.path().join("new/1");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo").success());
        let place = folder.path().to_path_buf();
        let waiting = std::thread::spawn(move || wait(&place, "r1-2", "20"));
        let read = std::fs::OpenOptions::new().write(true).open(&pipe).expect("a reader");
        mail(folder.path(), "tmp/2", "r1-2");
        std::fs::rename(folder.path().join("tmp/2"), folder.path().join("new/2")).expect("delivered");
        drop(read);
        let (status, stdout, _) = waiting.join().expect("no panic");
        assert_eq!(status, 0);
        assert!(!arrival(&stdout).expect("times").at_once, "{stdout}");
    }

    #[test]
    fn the_program_that_waits_takes_no_other_message_for_it() {
        let folder = tempfile::tempdir().expect("temporary folder");
        mail(folder.path(), "new/1", "r1-10");
        mail(folder.path(), "tmp/2", "r1-1");
        std::fs::write(folder.path().join("new/3"), "From: a@b\n\nX-Ledger-Id: r1-1\n").expect("written");
        let (status, stdout, stderr) = wait(folder.path(), "r1-1", "0");
        assert_eq!((status, stdout.as_str(), stderr.as_str()), (1, "", ""));
    }

    #[test]
    fn the_program_that_waits_gives_up_on_time() {
        let (status, stdout, stderr) = wait(std::path::Path::new("/nonexistent"), "r1-1", "0");
        assert_eq!((status, stdout.as_str(), stderr.as_str()), (1, "", ""));
    }
}
