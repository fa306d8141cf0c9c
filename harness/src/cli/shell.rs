//! `harness shell NODE`: a shell on a node of a live cluster, in this very terminal.

use std::io::{IsTerminal, Read, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::time::Duration;

use clap::Args;
use nix::sys::termios::{self, SetArg, Termios};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::exit::Exit;
use super::library::Unusable;
use super::live::{Which, choose, finish};
use crate::live::{Answer, Ask, Conversation, Entry, LiveError, Size, ask};

/// How long what an ended shell wrote last may be on its way.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Arguments of `harness shell`.
#[derive(Debug, Args)]
#[command(after_help = "It ends with the shell (exit, Ctrl-D), whose status becomes its own.")]
pub struct ShellArgs {
    #[command(flatten)]
    which: Which,
    /// The node
    node: String,
}

/// Runs a shell on a node.
///
/// # Errors
/// There is no such live cluster, or this is no terminal.
pub fn run(args: &ShellArgs) -> Result<Exit, Unusable> {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return Err(Unusable(
            "error: a shell needs a terminal\nhelp: harness exec NODE -- CMD runs one command without one\n".into(),
        ));
    }
    let entry = choose(&args.which)?;
    Ok(finish(shell(&entry, &args.node), |answer| match answer {
        Answer::Output(output) => {
            // What the shell itself said went through the terminal; this is why it could not be started.
            eprint!("{}", output.stderr);
            Exit::Command(u8::try_from(output.status).unwrap_or(u8::MAX))
        }
        _ => Exit::Environment,
    }))
}

async fn shell(entry: &Entry, node: &str) -> Result<Answer, LiveError> {
    let failed = |error: std::io::Error| LiveError::Failed(error.to_string());
    let begin = Ask::Shell {
        node: node.to_owned(),
        size: size(),
        kind: std::env::var("TERM").unwrap_or_else(|_| "vt100".into()),
    };
    let mut conversation = Conversation::begin(entry, &begin).await?;
    let Answer::Terminal { socket } = conversation.next().await? else {
        return Err(LiveError::Ended(entry.name.clone()));
    };
    let mut machine = UnixStream::connect(socket).await.map_err(failed)?;
    let mut typed = keyboard();
    let mut resized = signal(SignalKind::window_change()).map_err(failed)?;
    let _raw = Raw::enter().map_err(|error| failed(error.into()))?;
    let mut bytes = [0; 4096];
    loop {
        tokio::select! {
            ended = conversation.next() => {
                while let Ok(Ok(count @ 1..)) = timeout(LAST_WORDS, machine.read(&mut bytes)).await {
                    show(&bytes[..count]);
                }
                return ended;
            }
            read = machine.read(&mut bytes) => match read {
                Ok(count @ 1..) => show(&bytes[..count]),
                _ => return Err(LiveError::Failed(format!("{node}: its machine has ended"))),
            },
            Some(keys) = typed.recv() => machine.write_all(&keys).await.map_err(failed)?,
            Some(()) = resized.recv() => {
                let resize = Ask::Resize { node: node.to_owned(), size: size() };
                // A size that could not be told is a matter of looks.
                let _ = ask(entry, &resize).await;
            }
        }
    }
}

/// What is typed, read by a thread that ends with the program: a read of a terminal cannot be given up.
fn keyboard() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut keys = [0; 1024];
        while let Ok(count @ 1..) = stdin().lock().read(&mut keys) {
            if sender.blocking_send(keys[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

fn show(bytes: &[u8]) {
    let mut out = stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

fn size() -> Size {
    let (rows, columns) = console::Term::stdout().size();
    Size { rows, columns }
}

/// A terminal that hands on every key as it is; what it was like before comes back when this is dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> nix::Result<Raw> {
        let terminal = stdin();
        let before = termios::tcgetattr(terminal.as_fd())?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(terminal.as_fd(), SetArg::TCSADRAIN, &raw)?;
        Ok(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(stdin().as_fd(), SetArg::TCSADRAIN, &self.0);
    }
}
