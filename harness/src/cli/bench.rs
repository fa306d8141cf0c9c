//! `harness bench`: how long a cluster takes to start, what its copies cost in memory, what the switch carries.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use bytesize::ByteSize;
use clap::Args;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::exit::Exit;
use super::interrupt::until_interrupted;
use super::library::{self, Unusable};
use super::session;
use crate::fleet::qemu::{Between, ProcessMemory, QemuFleet};
use crate::fleet::{Begin, ClusterFile, Fleet, LaunchError, LaunchRequest, launch_machines};
use crate::progress::Progress;
use crate::record::{Micros, micros};
use crate::report::Timing;
use crate::switch::{LocalPort, Switch};
use crate::units::readable;

/// Copies of the cluster whose memory is looked at side by side.
const FORKS: [usize; 3] = [1, 2, 4];
/// Frames sent in one measurement of the switch.
const FRAMES: u64 = 1_000_000;
/// Frames that are under way at a time; the switch drops what a port's queue cannot hold.
const WINDOW: u64 = 512;
/// The largest frame of an Ethernet without jumbo frames, bytes.
const FRAME: usize = 1500;
/// How long webmail may take to answer after a start.
const PATIENCE: Duration = Duration::from_secs(120);
/// Stages of a launch that a changed configuration does not repeat.
const UNCHANGED: [&str; 3] = ["tools", "image", "base"];

/// What to measure.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// The cluster: an example (`pair`, `no-gateway`), or the path of its description
    #[arg(default_value = "pair", value_name = "NAME|FILE")]
    cluster: String,
    /// Boot from the images once, and install on the booted machines once, too: takes minutes
    #[arg(long)]
    cold: bool,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
The restore point of the cluster is made first if there is none.

Examples:
  harness bench --cold                 a cold start beside the warm ones
  harness bench --json > bench.json    for comparing later";

/// What was measured. Times are in microseconds, memory in bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Bench {
    cluster: String,
    /// From the images to a healthy cluster, by stages.
    cold: Option<Vec<Timing>>,
    /// From the booted machines without a configuration to a healthy cluster and its restore point, by stages.
    first_layer: Option<Vec<Timing>>,
    /// From the beginning of the launch until all guest agents answered.
    agents: Micros,
    /// The same until every machine was proven to be the saved one, with its clock set.
    ready: Micros,
    /// From the beginning of the launch until webmail answered through the load balancer.
    webmail: Micros,
    forks: Vec<Forks>,
    /// Frames a second from one port in this process to another.
    frames_per_second: u64,
    /// Time of one frame from one port in this process to another and back, nanoseconds.
    round_trip_nanos: u64,
    /// What two guests find between them, through TCP.
    guests: Between,
}

/// Copies of the cluster side by side, right after their start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Forks {
    copies: usize,
    memory: ProcessMemory,
}

/// Measures and prints.
///
/// # Errors
/// The description cannot be found or read.
pub fn run(args: &BenchArgs) -> Result<Exit, Unusable> {
    let cluster = library::find_cluster(&args.cluster)?;
    Ok(match until_interrupted(measure(&cluster, args.cold)) {
        Ok(None) => Exit::Interrupted,
        Ok(Some(Err(error))) => {
            eprintln!("error: {error}");
            session::exit_of_launch(&error)
        }
        Ok(Some(Ok(bench))) => {
            if args.json {
                super::say(serde_json::to_string_pretty(&bench).unwrap_or_default() + "\n");
            } else {
                super::say(table(&bench));
            }
            Exit::Holds
        }
        Err(reason) => {
            eprintln!("error: {reason}");
            Exit::Environment
        }
    })
}

async fn measure(cluster: &ClusterFile, cold: bool) -> Result<Bench, LaunchError> {
    let (frames_per_second, round_trip_nanos) = (throughput().await, round_trip().await);
    let mut by_stages = Vec::new();
    for begin in [Begin::Images, Begin::Bases].into_iter().filter(|_| cold) {
        let fleet = launch(cluster, begin).await?;
        fleet.shut_down().await;
        by_stages.push(fleet.facts().timings);
    }
    let mut by_stages = by_stages.into_iter();
    // The first one may have to make the restore point, and brings its files into memory.
    launch(cluster, Begin::Restored).await?.shut_down().await;
    let began = Instant::now();
    let fleet = launch(cluster, Begin::Restored).await?;
    let ready = micros(began.elapsed());
    webmail_answers(&fleet).await?;
    let webmail = micros(began.elapsed());
    let agents = until(&fleet.facts().timings, "agents");
    let guests = fleet.between_mail_nodes().await;
    fleet.shut_down().await;
    let guests = guests.map_err(|error| LaunchError::Cluster(error.to_string()))?;
    let mut forks = Vec::new();
    for copies in FORKS {
        forks.push(side_by_side(cluster, copies).await?);
    }
    Ok(Bench {
        cluster: cluster.origin.clone(),
        cold: by_stages.next(),
        first_layer: by_stages.next(),
        agents,
        ready,
        webmail,
        forks,
        frames_per_second,
        round_trip_nanos,
        guests,
    })
}

/// The time from the beginning of a launch to the end of a stage.
fn until(timings: &[Timing], stage: &str) -> Micros {
    let last = timings.iter().position(|timing| timing.stage == stage);
    timings
        .iter()
        .take(last.map_or(0, |last| last + 1))
        .map(|timing| timing.took)
        .sum()
}

async fn launch(cluster: &ClusterFile, begin: Begin) -> Result<QemuFleet, LaunchError> {
    let request = LaunchRequest {
        cluster: cluster.clone(),
        seed: 0,
        report: PathBuf::from("report/bench"),
        begin,
        processors: 1,
        warm_up: false,
        fake: false,
        defect: None,
    };
    launch_machines(&request, &Progress::terminal()).await
}

async fn webmail_answers(fleet: &QemuFleet) -> Result<(), LaunchError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match fleet.front_page(PATIENCE).await {
            Ok(served) if served.status == 200 => return Ok(()),
            Ok(served) if Instant::now() >= until => {
                let status = served.status;
                return Err(LaunchError::Cluster(format!(
                    "webmail answers {status} after its start"
                )));
            }
            Err(error) if Instant::now() >= until => return Err(LaunchError::Cluster(error.to_string())),
            _ => sleep(Duration::from_millis(20)).await, // poll: nothing announces it
        }
    }
}

async fn side_by_side(cluster: &ClusterFile, copies: usize) -> Result<Forks, LaunchError> {
    let mut fleets = Vec::new();
    for _ in 0..copies {
        fleets.push(launch(cluster, Begin::Restored).await?);
    }
    let memory = fleets.iter().map(QemuFleet::memory);
    let memory = memory.fold(ProcessMemory::default(), ProcessMemory::plus);
    for fleet in fleets {
        fleet.shut_down().await;
    }
    Ok(Forks { copies, memory })
}

/// Two ports of a switch that have heard of each other.
async fn two_ports() -> (LocalPort, LocalPort) {
    let switch = Switch::new();
    let (left, mut right) = (switch.attach_local("left"), switch.attach_local("right"));
    left.send(frame(1, 2));
    right.recv().await;
    right.send(frame(2, 1));
    (left, right)
}

fn frame(from: u8, to: u8) -> Bytes {
    let mut bytes = vec![0; FRAME];
    (bytes[5], bytes[11]) = (to, from);
    (bytes[0], bytes[6]) = (2, 2);
    bytes.into()
}

async fn throughput() -> u64 {
    let (left, mut right) = two_ports().await;
    let frame = frame(1, 2);
    let began = Instant::now();
    let (mut sent, mut received) = (0, 0);
    while received < FRAMES {
        while sent < FRAMES && sent - received < WINDOW {
            left.send(frame.clone());
            sent += 1;
        }
        if right.recv().await.is_none() {
            break;
        }
        received += 1;
        while right.try_recv().is_some() {
            received += 1;
        }
    }
    (received as f64 / began.elapsed().as_secs_f64()) as u64
}

async fn round_trip() -> u64 {
    const ROUNDS: u32 = 100_000;
    let (mut left, mut right) = two_ports().await;
    left.recv().await;
    let (there, back) = (frame(1, 2), frame(2, 1));
    let began = Instant::now();
    for _ in 0..ROUNDS {
        left.send(there.clone());
        right.recv().await;
        right.send(back.clone());
        left.recv().await;
    }
    u64::try_from(began.elapsed().as_nanos() / u128::from(ROUNDS)).unwrap_or(u64::MAX)
}

fn table(bench: &Bench) -> String {
    let mut lines = Vec::new();
    if let Some(cold) = &bench.cold {
        for timing in cold {
            lines.push((format!("cold: {}", timing.stage), readable(timing.took)));
        }
        // The first log-ins of an emulated cluster come after it is healthy.
        let until_healthy = cold.iter().filter(|timing| timing.stage != "warm-up");
        let total: Micros = until_healthy.map(|timing| timing.took).sum();
        lines.push(("cold: healthy".into(), readable(total)));
        for (what, restored) in [("agents", bench.agents), ("webmail", bench.webmail)] {
            lines.push((
                format!("cold, against {what} restored"),
                format!("{:.0} times slower", total as f64 / restored.max(1) as f64),
            ));
        }
    }
    if let Some(first) = &bench.first_layer {
        for timing in first
            .iter()
            .filter(|timing| !UNCHANGED.contains(&timing.stage.as_str()))
        {
            lines.push((
                format!("changed configuration: {}", timing.stage),
                readable(timing.took),
            ));
        }
    }
    lines.push(("restored: all guest agents answer".into(), readable(bench.agents)));
    lines.push(("restored: proven, clocks set".into(), readable(bench.ready)));
    lines.push(("restored: webmail answers".into(), readable(bench.webmail)));
    for forks in &bench.forks {
        let memory = forks.memory;
        let plural = if forks.copies == 1 { "copy" } else { "copies" };
        lines.push((
            format!("memory of {} {plural}", forks.copies),
            format!(
                "{} ({} private, {} shared)",
                ByteSize(memory.total()),
                ByteSize(memory.private),
                ByteSize(memory.shared)
            ),
        ));
    }
    lines.push((
        "switch, 1500 bytes".into(),
        format!("{} frames a second", bench.frames_per_second),
    ));
    lines.push((
        "switch, there and back".into(),
        format!("{} ns", bench.round_trip_nanos),
    ));
    lines.push((
        "two guests, TCP".into(),
        format!(
            "{} a second, there and back {}",
            ByteSize(bench.guests.bytes_per_second),
            readable(bench.guests.round_trip)
        ),
    ));
    let lines = lines.iter().map(|(what, figure)| format!("{what:<36} {figure}\n"));
    format!("{}\n{}", bench.cluster, lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_figure() {
        let bench = Bench {
            cluster: "pair.toml".into(),
            cold: Some(vec![Timing {
                stage: "boot".into(),
                took: 22_000_000,
            }]),
            agents: 1_500_000,
            ready: 2_000_000,
            webmail: 2_250_000,
            forks: vec![Forks {
                copies: 1,
                memory: ProcessMemory {
                    private: 300 << 20,
                    shared: 100 << 20,
                },
            }],
            frames_per_second: 2_000_000,
            round_trip_nanos: 900,
            first_layer: Some(vec![
                Timing {
                    stage: "base".into(),
                    took: 1_000,
                },
                Timing {
                    stage: "install".into(),
                    took: 47_000_000,
                },
            ]),
            guests: Between {
                bytes_per_second: 30_000_000,
                round_trip: 400,
            },
        };
        insta::assert_snapshot!(table(&bench));
    }
}
