//! From a description to a healthy cluster of machines: tools, images, network, boot, install, health.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use generator::render::render;
use generator::secrets::Secrets;
use generator::spec::{Cluster, Role};
use tokio::time::Instant;

use super::address::Addresses;
use super::cluster::{QemuFleet, error};
use super::{Accelerator, BootLimits, MachineSpec, Memory, Node, RunDir, Timing, boot_all};
use crate::fleet::{Fleet, FleetError, LaunchError, LaunchRequest};
use crate::guest::{NetworkPlan, install_bundle, provision};
use crate::image::{self, Definitions, Image, ImageRole, Store};
use crate::lan::zones::Zones;
use crate::lan::{Lan, LanConfig};
use crate::probe::{sql, tls};
use crate::progress::Progress;
use crate::report::Facts;
use crate::switch::Switch;
use crate::tools::{self, Kind, Qemu, ToolError};

/// Limits for one node with hardware virtualisation; stretched under emulation and when nodes share processors.
const PROVISION: Duration = Duration::from_secs(20);
const INSTALL: Duration = Duration::from_secs(120);
const HEALTH: Duration = Duration::from_secs(60);

/// Pause between two looks at the cluster's health.
const PAUSE: Duration = Duration::from_secs(2);

/// Boots, installs and waits for health.
///
/// # Errors
/// [`LaunchError`]: the description, the environment, or a cluster that does not come up.
pub async fn bring_up(
    cluster: &Cluster,
    request: &LaunchRequest,
    progress: &Progress,
) -> Result<Arc<dyn Fleet>, LaunchError> {
    let bad = |reason: String| LaunchError::Input(format!("{}: {reason}", request.cluster.origin));
    let secrets = Secrets::from_seed(cluster, request.seed).map_err(|e| bad(e.to_string()))?;
    let bundle = render(cluster, &secrets).map_err(|e| bad(e.to_string()))?;
    let addresses = Addresses::plan(cluster).ok_or_else(|| bad("the subnet has no room for a test client".into()))?;

    let mut stages = Stages::default();
    let qemu = tools::qemu(progress).await.map_err(environment)?;
    let accelerator = tools::accelerator(&qemu, progress).await.map_err(environment)?;
    progress.note(
        "accelerator",
        &format!("{}: {}", accelerator.kind.as_str(), accelerator.reason),
    );
    stages.end("tools");
    let images = images(cluster, progress).await?;
    stages.end("image");

    let run_dir = RunDir::create().map_err(|e| io("make a folder for the machines", &e))?;
    let switch = Switch::new();
    let mut specs = Vec::new();
    for (index, node) in cluster.nodes.iter().enumerate() {
        let image = &images[&node.role];
        specs.push(machine(&qemu, accelerator.kind, image, &run_dir, &node.name, node.role, index).await?);
        let socket = &specs[index].network;
        switch
            .attach_socket(&node.name, socket)
            .map_err(|e| io("open a port of the switch", &e))?;
    }
    let lan = Lan::start(
        switch.attach_local("harness"),
        &LanConfig {
            mac: [0x52, 0x54, 0, 0, 1, 0xfe],
            addresses: vec![
                (addresses.router, cluster.network.subnet.prefix_len()),
                (addresses.inside, cluster.network.subnet.prefix_len()),
                (addresses.sender, 32),
                (addresses.client, 32),
            ],
        },
    );

    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let slowness = accelerator.slowness;
    let limits = BootLimits::new(slowness, specs.len(), cores);
    let phase = progress.phase("boot", format!("{} machines", specs.len()));
    let booted = boot_all(&specs, slowness, cores, &limits, &|name, stage| {
        phase.detail(&format!("{name}: {}", stage.words()));
    })
    .await
    .map_err(|e| LaunchError::Cluster(e.to_string()))?;
    phase.done(format!("{} machines answer", specs.len()));
    stages.end("boot");

    let mut nodes = BTreeMap::new();
    for (machine, _) in booted {
        let node = Node::adopt(machine, Timing { slowness, boot: limits })
            .await
            .map_err(not_up)?;
        nodes.insert(node.name().to_owned(), Arc::new(node));
    }
    let mut fleet = QemuFleet {
        topology: cluster.into(),
        passwords: secrets.mailbox_passwords.clone(),
        trusting: tls::trusting(&bundle.ca_pem).map_err(|e| bad(e.to_string()))?,
        opportunistic: tls::opportunistic().map_err(|e| bad(e.to_string()))?,
        nodes,
        switch,
        lan,
        zones: Zones::parse(&bundle.zones),
        addresses,
        // Machines that share processors are slower still.
        slowness: slowness * (cluster.nodes.len() as f64 / cores as f64).max(1.0),
        facts: Facts {
            fleet: "qemu".to_owned(),
            accelerator: Some(crate::report::Accelerator {
                name: accelerator.kind.as_str().to_owned(),
                reason: accelerator.reason.clone(),
            }),
            versions: BTreeMap::from([("qemu".to_owned(), qemu.version.clone())]),
            ..Facts::default()
        },
        _run_dir: run_dir,
    };
    let result = set_up(&fleet, cluster, &bundle, progress, &mut stages).await;
    fleet.facts.timings = stages.ended;
    if let Err(error) = result {
        let kept = match fleet.collect(&request.report).await {
            Ok(()) => format!("consoles and journals are in {}", request.report.display()),
            Err(error) => format!("consoles and journals could not be kept: {error}"),
        };
        fleet.shut_down().await;
        return Err(LaunchError::Cluster(format!("{error}\n{kept}")));
    }
    Ok(Arc::new(fleet))
}

async fn set_up(
    fleet: &QemuFleet,
    cluster: &Cluster,
    bundle: &generator::bundle::Bundle,
    progress: &Progress,
    stages: &mut Stages,
) -> Result<(), FleetError> {
    try_join_all(cluster.nodes.iter().enumerate().map(|(index, node)| async move {
        let agent = fleet.node(&node.name)?.agent();
        let plan = NetworkPlan {
            hostname: node.name.clone(),
            mac: mac(index),
            address: node.address,
            prefix: cluster.network.subnet.prefix_len(),
            gateway: cluster.network.router,
            // Nobody answers there: the firewall's loopback rule makes look-ups fail at once instead of timing out.
            dns: vec![std::net::Ipv4Addr::LOCALHOST],
            domain: cluster.cluster.domain.clone(),
        };
        let phase = progress.phase(&node.name, "install");
        provision(&agent, &plan, fleet.stretch(PROVISION)).await?;
        let archive = bundle.nodes[&node.name]
            .tar_gz()
            .map_err(|e| error(&node.name, "pack the bundle", &e.to_string()))?;
        install_bundle(&agent, &archive, fleet.stretch(INSTALL), |_, line| phase.detail(line)).await?;
        phase.done("installed");
        Ok::<(), FleetError>(())
    }))
    .await?;
    stages.end("install");
    wait_healthy(fleet, progress).await?;
    prepare_probe_tables(fleet).await?;
    stages.end("ready");
    Ok(())
}

/// How long each stage of a launch took.
struct Stages {
    began: Instant,
    ended: Vec<crate::report::Timing>,
}

impl Default for Stages {
    fn default() -> Stages {
        Stages {
            began: Instant::now(),
            ended: Vec::new(),
        }
    }
}

impl Stages {
    /// The stage under way ends here, and the next one begins.
    fn end(&mut self, stage: &str) {
        self.ended.push(crate::report::Timing {
            stage: stage.to_owned(),
            took: crate::record::micros(self.began.elapsed()),
        });
        self.began = Instant::now();
    }
}

async fn wait_healthy(fleet: &QemuFleet, progress: &Progress) -> Result<(), FleetError> {
    let limit = fleet.stretch(HEALTH);
    let deadline = Instant::now() + limit;
    let phase = progress.phase("health", "services, replication, load balancer");
    loop {
        let ailments = fleet.ailments().await;
        let Some(first) = ailments.first() else {
            phase.done("healthy");
            return Ok(());
        };
        if Instant::now() >= deadline {
            let what = format!("get healthy within {}", humantime::format_duration(limit));
            return Err(error("cluster", &what, &ailments.join("; ")));
        }
        phase.detail(first);
        tokio::time::sleep(PAUSE).await; // poll; nothing announces health
    }
}

/// The tables that probes write to are made once, on the primary; they reach the peer by replication like all else.
async fn prepare_probe_tables(fleet: &QemuFleet) -> Result<(), FleetError> {
    let mail_nodes = fleet.topology.of_role(Role::Mail);
    let Some(primary) = mail_nodes.first() else {
        return Ok(());
    };
    let databases: Vec<&str> = fleet.topology.databases.iter().map(String::as_str).collect();
    let limit = fleet.stretch(PROVISION);
    let commands = fleet.commands(primary)?;
    let made = sql::Database {
        exec: &commands,
        node: primary,
    }
    .prepare(&databases, limit)
    .await;
    made.map_err(|e| error(primary, "make the probe tables", &e.to_string()))?;
    let deadline = Instant::now() + limit;
    for node in &mail_nodes {
        for database in &databases {
            while let Err(late) = fleet.sql_rows(node, database).await {
                if Instant::now() >= deadline {
                    return Err(late);
                }
                tokio::time::sleep(Duration::from_millis(500)).await; // poll: the table arrives by replication
            }
        }
    }
    Ok(())
}

async fn images(cluster: &Cluster, progress: &Progress) -> Result<BTreeMap<Role, Image>, LaunchError> {
    let mut roles: Vec<Role> = cluster.nodes.iter().map(|node| node.role).collect();
    roles.sort();
    roles.dedup();
    let wanted: Vec<ImageRole> = roles.iter().map(|role| (*role).into()).collect();
    let failed = |e: image::ImageError| LaunchError::Environment {
        what: e.to_string(),
        mend: "harness doctor   tells what is missing".into(),
    };
    let store = Store::open(Definitions::built_in(), false).await.map_err(failed)?;
    let images = image::ensure_all(&store, &wanted, progress).await.map_err(failed)?;
    Ok(roles.into_iter().zip(images).collect())
}

async fn machine(
    qemu: &Qemu,
    kind: Kind,
    image: &Image,
    run_dir: &RunDir,
    name: &str,
    role: Role,
    index: usize,
) -> Result<MachineSpec, LaunchError> {
    let folder = run_dir.path().to_path_buf();
    let disk = folder.join(format!("{name}.qcow2"));
    image::overlay(qemu, image, &disk).await.map_err(environment)?;
    let argv: Vec<OsString> = qemu.system.argv.clone();
    Ok(MachineSpec {
        name: name.to_owned(),
        qemu: argv,
        env: qemu.system.env.clone(),
        accelerator: match kind {
            Kind::Kvm => Accelerator::Kvm,
            Kind::Tcg => Accelerator::Tcg,
        },
        kernel: image.kernel.clone(),
        initrd: image.initrd.clone(),
        command_line: image.command_line.clone(),
        disk,
        memory_mib: if role == Role::Mail { 1024 } else { 512 },
        memory: Memory::Private,
        cpus: 1,
        mac: mac(index),
        network: folder.join(format!("{name}.net")),
        sockets: folder.clone(),
        logs: folder,
    })
}

fn mac(index: usize) -> String {
    format!("52:54:00:00:00:{:02x}", index + 1)
}

fn not_up(error: FleetError) -> LaunchError {
    LaunchError::Cluster(error.to_string())
}

fn environment(error: ToolError) -> LaunchError {
    LaunchError::Environment {
        what: error.to_string(),
        mend: "harness doctor   tells what is missing".into(),
    }
}

fn io(what: &str, error: &std::io::Error) -> LaunchError {
    LaunchError::Environment {
        what: format!("cannot {what}: {error}"),
        mend: "see the reason above".into(),
    }
}
