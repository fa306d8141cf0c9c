//! `run`: puts the daemon together. It ends on SIGTERM without changing the node's role: what takes the role away is
//! `demote`.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::{ENVIRONMENT, say};
use crate::agent::{Agent, Parts, Status, Timing};
use crate::config::{Config, Policy};
use crate::core::PeerView;
use crate::deliveries::Deliveries;
use crate::link::client::{Client, Limits};
use crate::link::{Heard, Tls, server::Server};
use crate::metrics::Metrics;
use crate::outside::Machine;
use crate::proxy::{self, Proxy};
use crate::release::Local;
use crate::zfs::command::Commands;
use crate::{control, metrics};

/// Runs the daemon.
pub fn run(config: Config, file: &Path) -> ExitCode {
    // The journal knows the time.
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return say(ENVIRONMENT, &error.to_string()),
    };
    match runtime.block_on(daemon(config, file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            error!("{why}");
            ExitCode::from(ENVIRONMENT)
        }
    }
}

async fn bind(what: &str, address: std::net::SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("{what}: cannot listen on {address}: {error}"))
}

async fn daemon(config: Config, file: &Path) -> Result<(), String> {
    let boot =
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(|error| format!("boot id: {error}"))?;
    let tls = Tls::new(&config).map_err(|error| error.to_string())?;
    let limits = Limits {
        connect: config.link.connect_limit.0,
        silence: config.link.silence_limit.0,
        state: config.link.answer_limit.0,
        answer: config.replication.command_limit.0,
    };
    let client = Arc::new(Client::new(
        tls.clone(),
        config.name.clone(),
        config.peer.address,
        limits,
    ));
    let metrics = Arc::new(Metrics::default());
    let (commands, commands_in) = mpsc::channel(1024);
    let (calls, calls_in) = mpsc::channel(1);
    // Until the agent has looked, the peer may conclude nothing from this node.
    let (view, view_out) = watch::channel(PeerView::unknown());
    let (status, status_out) = watch::channel(Status::unknown());
    let (peer_state, _) = watch::channel(Heard::nothing());
    let mut tasks = JoinSet::new();
    let commands_of_zfs = Commands::of(&config);
    let releases = Local::new(&config, file, commands_of_zfs.clone()).map_err(|error| error.to_string())?;
    let server = Server {
        tls,
        peer: config.peer.name.clone(),
        view: view_out,
        calls,
        releases: Arc::new(releases),
        silence: config.link.silence_limit.0,
    };
    tasks.spawn(server.run(bind("link", config.link.listen).await?));
    tasks.spawn(client.clone().watch_peer(config.link.heartbeat.0, peer_state.clone()));
    if let Some(figures) = &config.metrics {
        tasks.spawn(metrics::serve(bind("metrics", figures.listen).await?, metrics.clone()));
    }
    let socket = control::bind(&config.control).map_err(|error| format!("{}: {error}", config.control.display()))?;
    let deliveries = Arc::new(Deliveries::new(
        &config.mountpoint,
        config.replication.retention.0,
        &config.mail,
    ));
    if let Some(commit) = &config.commit {
        let committer = proxy::Agent {
            commands: commands.clone(),
            status: status_out.clone(),
            policy: commit.peer_missing,
        };
        let tls = commit.tls.then(|| Tls::for_gateways(&config.link)).transpose();
        let proxy = Proxy::new(
            commit.clone(),
            config.name.clone(),
            tls.map_err(|error| error.to_string())?,
            Arc::new(committer),
            metrics.clone(),
            deliveries.clone(),
        );
        tasks.spawn(proxy::serve(bind("commit", commit.listen).await?, Arc::new(proxy)));
    }
    tasks.spawn(control::serve(socket, commands.clone(), status_out));
    let agent = Agent::new(Parts {
        zfs: Arc::new(commands_of_zfs),
        outside: Arc::new(Machine::new(&config, deliveries)),
        peer: client,
        layout: config.layout(),
        boot: boot.trim().to_owned(),
        timing: timing(&config),
        policy: config
            .commit
            .as_ref()
            .map_or(Policy::Accept, |commit| commit.peer_missing),
        commands: commands_in,
        calls: calls_in,
        peer_state,
        view,
        status,
        metrics,
    });
    tasks.spawn(agent.run());
    ready();
    until_stopped(tasks).await
}

fn timing(config: &Config) -> Timing {
    Timing {
        interval: config.replication.interval.0,
        role: config.replication.role_limit.0,
        lift: config.mail.lift_limit.0,
        tidy: config.replication.tidy.0,
        look: config.replication.look.0,
        disks: config.replication.disks.0,
        drain: config.replication.drain_limit.0,
        confirm: config
            .commit
            .as_ref()
            .map_or(Duration::from_secs(20), |commit| commit.limits.confirm.0),
    }
}

fn ready() {
    // Without systemd there is nobody to tell.
    if let Err(error) = sd_notify::notify(true, &[NotifyState::Ready]) {
        warn!("systemd is not told: {error}");
    }
    info!("ready");
}

/// Ends with an error if any task ends: none of them should.
async fn until_stopped(mut tasks: JoinSet<()>) -> Result<(), String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = tasks.join_next() => return Err(format!("a part of the daemon ended: {ended:?}")),
    }
    info!("ending; the node keeps its role");
    tasks.shutdown().await;
    Ok(())
}
