//! One machine: its QEMU process, its control socket, its agent and its console.

use std::fs;
use std::io;
use std::time::Duration;

use qapi::qmp::{RunState, cont, query_status, quit, stop};
use tokio::time::{Instant, timeout};

use super::args::{self, AGENT_PORT};
use super::console::{Console, last_lines};
use super::exit::{Exit, ExitWatch};
use super::process::{Process, Reins};
use super::qmp::{Event, OnEvent, Qmp};
use super::spec::MachineSpec;
use crate::fleet::FleetError;
use crate::guest::wire::WireError;
use crate::guest::{Agent, GuestError};

/// Longest path of a unix socket with its final zero byte (unix(7), `sun_path`).
const LONGEST_SOCKET_PATH: usize = 107;

/// How long QEMU may take to open its control socket. It needs 0.1 s; a loaded machine may need more.
const QMP_LIMIT: Duration = Duration::from_secs(30);

/// Pause between two attempts to connect to a socket that QEMU is about to open.
const QMP_PAUSE: Duration = Duration::from_millis(10);

/// How long QEMU may take for a command that needs no work of the guest.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// How long an answer of a guest agent may take on a machine with hardware virtualisation.
const AGENT_PATIENCE: Duration = Duration::from_secs(15);

/// Lines of console and QEMU log shown in errors.
const SHOWN_LINES: usize = 12;

/// Why a machine does not do what it should.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{machine}: {step}: {reason}{}", shown(last))]
pub struct MachineError {
    /// Machine.
    pub machine: String,
    /// What was tried, with its time limit.
    pub step: String,
    /// What happened instead.
    pub reason: String,
    /// The last lines of QEMU's complaints or of the console; may be empty.
    pub last: String,
}

fn shown(last: &str) -> String {
    if last.is_empty() {
        String::new()
    } else {
        format!("\n  last lines:\n    {}", last.replace('\n', "\n    "))
    }
}

impl From<MachineError> for FleetError {
    fn from(error: MachineError) -> Self {
        let reason = format!("{}{}", error.reason, shown(&error.last));
        FleetError {
            node: error.machine,
            what: error.step,
            reason,
        }
    }
}

impl From<GuestError> for MachineError {
    fn from(error: GuestError) -> Self {
        let FleetError { node, what, reason } = error.into();
        MachineError {
            machine: node,
            step: what,
            reason,
            last: String::new(),
        }
    }
}

/// A machine that has power. Dropping it cuts the power.
#[derive(Debug)]
pub struct Machine {
    process: Process,
    qmp: Qmp,
    agent: Agent,
    console: Console,
    complaints: Console,
    spec: MachineSpec,
}

impl Machine {
    /// Starts the QEMU process and connects to its control socket; the guest begins to boot. `slowness` stretches the
    /// limits that guard against hanging.
    ///
    /// # Errors
    /// A socket's path is too long, QEMU cannot be started, or it ends or stays silent; its complaints are told.
    pub async fn start(spec: &MachineSpec, slowness: f64) -> Result<Self, MachineError> {
        let step = "starting QEMU";
        let complaints = Console::from_now(&spec.qemu_log());
        let fail = |reason: String| MachineError {
            machine: spec.name.clone(),
            step: step.to_owned(),
            reason,
            last: last_lines(&complaints.text(), SHOWN_LINES),
        };
        prepare(spec).map_err(|error| fail(error.to_string()))?;
        let console = Console::from_now(&spec.console_log());
        let mut argv = spec.qemu.clone();
        argv.extend(args::arguments(spec));
        let process = Process::start(&argv, &spec.env, &spec.qemu_log()).map_err(|error| fail(not_started(&error)))?;
        let patience = AGENT_PATIENCE.mul_f64(slowness.max(1.0));
        let agent = Agent::new(&spec.name, spec.agent_socket(), process.exit().clone(), patience);
        let reins = process.reins();
        let qmp = tokio::select! {
            biased;
            exit = process.exit().wait() => Err(format!("QEMU {exit}")),
            qmp = connect(spec, &agent, &reins, QMP_LIMIT.mul_f64(slowness.max(1.0))) => qmp,
        };
        let qmp = qmp.map_err(fail)?;
        Ok(Self {
            process,
            qmp,
            agent,
            console,
            complaints,
            spec: spec.clone(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What it is made of.
    pub fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    /// The number of its QEMU process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its guest agent.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Its console since this start.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// A watch on the end of its QEMU process.
    pub fn exit(&self) -> &ExitWatch {
        self.process.exit()
    }

    /// Whether it has power.
    pub fn has_power(&self) -> bool {
        self.exit().ended().is_none()
    }

    /// How many events QEMU has told so far; see [`Machine::wait_event`].
    pub fn event_mark(&self) -> usize {
        self.qmp.mark()
    }

    /// Waits for an event of QEMU after `mark`.
    ///
    /// # Errors
    /// The machine ended or the time limit passed before.
    pub async fn wait_event(
        &self,
        step: &str,
        mark: usize,
        limit: Duration,
        fits: impl Fn(&Event) -> bool,
    ) -> Result<Event, MachineError> {
        let event = self.qmp.wait_event(mark, fits);
        match timeout(limit, self.or_end(step, event)).await {
            Ok(Ok(Some(event))) => Ok(event),
            Ok(Ok(None)) => Err(self.error(step, "QEMU closed its control socket".to_owned())),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.error(
                step,
                format!("QEMU told no such event within {}", humantime::format_duration(limit)),
            )),
        }
    }

    /// Waits until the guest has opened its agent's port after `mark`. The caller sets the time limit.
    pub async fn agent_opened(&self, mark: usize) {
        if self
            .qmp
            .wait_event(mark, |event| agent_port(event) == Some(true))
            .await
            .is_none()
        {
            // The control socket is gone, so no event will come: whoever waits watches the process, too.
            std::future::pending().await
        }
    }

    /// Stops all virtual CPUs.
    ///
    /// # Errors
    /// The machine ended, or QEMU refused or stayed silent.
    pub async fn stop(&self) -> Result<(), MachineError> {
        self.execute("stopping the virtual CPUs", &stop {}).await.map(|_| ())
    }

    /// Lets the virtual CPUs go on.
    ///
    /// # Errors
    /// The machine ended, or QEMU refused or stayed silent.
    pub async fn cont(&self) -> Result<(), MachineError> {
        self.execute("letting the virtual CPUs go on", &cont {})
            .await
            .map(|_| ())
    }

    /// The state that QEMU tells.
    ///
    /// # Errors
    /// The machine ended, or QEMU refused or stayed silent.
    pub async fn run_state(&self) -> Result<RunState, MachineError> {
        Ok(self.execute("asking for the state", &query_status {}).await?.status)
    }

    /// Cuts the power and waits for the end of the process: nothing of its memory, and nothing of its disk that the
    /// guest had not flushed, is saved.
    ///
    /// # Errors
    /// The kernel refused, or the process did not end within the limit.
    pub async fn kill(&self) -> Result<Exit, MachineError> {
        let step = "cutting the power";
        self.process
            .kill()
            .map_err(|error| self.error(step, error.to_string()))?;
        let late = |_| self.error(step, format!("process {} did not end", self.pid()));
        timeout(COMMAND_LIMIT, self.exit().wait()).await.map_err(late)
    }

    /// Ends QEMU the orderly way: its caches are written, its sockets removed. The guest is not asked.
    ///
    /// # Errors
    /// QEMU did not end within the limit.
    pub async fn quit(&self) -> Result<Exit, MachineError> {
        let step = "ending QEMU";
        // QEMU may hang up before it has answered; what counts is that it ends.
        let _ = self.qmp.execute(&quit {}, COMMAND_LIMIT).await;
        let late = |_| self.error(step, format!("process {} did not end", self.pid()));
        timeout(COMMAND_LIMIT, self.exit().wait()).await.map_err(late)
    }

    /// An error of this machine, with the last lines of its console.
    pub fn error(&self, step: &str, reason: String) -> MachineError {
        let last = last_lines(&self.console.text(), SHOWN_LINES);
        MachineError {
            machine: self.spec.name.clone(),
            step: step.to_owned(),
            reason,
            last,
        }
    }

    /// Waits for `work`, but not on a machine that has ended.
    pub(super) async fn or_end<T>(&self, step: &str, work: impl Future<Output = T>) -> Result<T, MachineError> {
        tokio::select! {
            biased;
            exit = self.exit().wait() => Err(self.ended(step, &exit)),
            result = work => Ok(result),
        }
    }

    /// The error of a machine whose process has ended.
    pub(super) fn ended(&self, step: &str, exit: &Exit) -> MachineError {
        let mut error = self.error(step, format!("its QEMU process {exit}"));
        let said = last_lines(&self.complaints.text(), SHOWN_LINES);
        if !said.is_empty() {
            error.last = format!("{said}\n{}", error.last);
        }
        error
    }

    pub(super) async fn execute<C: qapi::qmp::QmpCommand>(
        &self,
        step: &str,
        command: &C,
    ) -> Result<C::Ok, MachineError> {
        let answer = self.or_end(step, self.qmp.execute(command, COMMAND_LIMIT)).await?;
        answer.map_err(|error| match error {
            WireError::Refused(reason) => self.error(step, format!("QEMU refused: {reason}")),
            WireError::Io(error) => self.error(step, error.to_string()),
        })
    }
}

/// Makes the folders, removes sockets of an earlier start, and looks whether the kernel would take the sockets' paths.
fn prepare(spec: &MachineSpec) -> io::Result<()> {
    fs::create_dir_all(&spec.logs)?;
    fs::create_dir_all(&spec.sockets)?;
    for socket in [spec.qmp_socket(), spec.agent_socket()] {
        if socket.as_os_str().len() > LONGEST_SOCKET_PATH {
            let text = format!(
                "the socket path {} is longer than {LONGEST_SOCKET_PATH} bytes",
                socket.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Whether an event tells that the guest opened (true) or closed (false) the agent's port.
fn agent_port(event: &Event) -> Option<bool> {
    let ours = event.name == "VSERPORT_CHANGE" && event.data.get("id")?.as_str()? == AGENT_PORT;
    if ours { event.data.get("open")?.as_bool() } else { None }
}

/// Whether an event tells that the host had no room for what the guest wrote. QEMU stops the guest then
/// (`werror=enospc`, its default) until somebody makes room, which nobody will while everybody waits for the guest.
fn is_out_of_space(event: &Event) -> bool {
    event.name == "BLOCK_IO_ERROR" && event.data.get("nospace").and_then(serde_json::Value::as_bool) == Some(true)
}

/// Tells the agent's users when the guest has closed its end, and gives up a machine whose disk cannot grow.
fn watch_events(agent: &Agent, reins: &Reins) -> OnEvent {
    let (agent, reins) = (agent.clone(), reins.clone());
    Box::new(move |event| {
        if agent_port(event) == Some(false) || event.name == "RESET" {
            agent.hang_up();
        }
        if is_out_of_space(event) {
            reins.give_up("no space left on the host for what it writes to its disk");
        }
    })
}

async fn connect(spec: &MachineSpec, agent: &Agent, reins: &Reins, limit: Duration) -> Result<Qmp, String> {
    let deadline = Instant::now() + limit;
    loop {
        match Qmp::open(&spec.qmp_socket(), limit, watch_events(agent, reins)).await {
            Ok(qmp) => return Ok(qmp),
            Err(error) if Instant::now() >= deadline => {
                let limit = humantime::format_duration(limit);
                return Err(format!("QEMU did not open its control socket within {limit}: {error}"));
            }
            Err(_) => tokio::time::sleep(QMP_PAUSE).await,
        }
    }
}

fn not_started(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        return "setpriv is missing, which ties machines to this process; install it: apt-get install util-linux"
            .into();
    }
    error.to_string()
}
