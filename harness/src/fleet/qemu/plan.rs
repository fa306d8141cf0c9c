//! What is known of a cluster before its first machine starts: files, tools, images, addresses, and how each machine is
//! made of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use generator::bundle::Bundle;
use generator::render::{Agent, render};
use generator::secrets::Secrets;
use generator::spec::{Cluster, Node as NodeSpec, Role};
use tokio::time::Instant;

use super::address::Addresses;
use super::cluster::QemuFleet;
use super::disks;
use super::elsewhere::Elsewhere;
use super::release::Release;
use super::{Accelerator, BootLimits, MachineSpec, Memory, Node, RunDir, Start, Timing, args};
use crate::fleet::{LaunchError, LaunchRequest};
use crate::guest::NetworkPlan;
use crate::image::{self, Definitions, Image, ImageRole, Store};
use crate::lan::name_server::NameServer;
use crate::lan::zones::Zones;
use crate::lan::{Lan, LanConfig};
use crate::probe::tls;
use crate::progress::Progress;
use crate::report::Facts;
use crate::restore::{Ingredients, disk_file, update};
use crate::switch::Switch;
use crate::tools::accelerator::Accelerator as Accelerated;
use crate::tools::{self, Kind, Qemu, ToolError};

/// The seed of a test cluster's secrets. It does not follow the seed of a run: that one is for traffic, and with other
/// secrets every run would be another cluster, for which no restore point fits.
const SECRETS: u64 = 1;

/// The kernel module of the only watchdog card that machines can have.
const WATCHDOG: &str = "i6300esb";

/// Everything that a launch decides beforehand.
pub(super) struct Plan<'a> {
    pub cluster: &'a Cluster,
    pub request: &'a LaunchRequest,
    pub secrets: Secrets,
    pub bundle: Bundle,
    agent: Option<Agent>,
    pub addresses: Addresses,
    pub qemu: Qemu,
    pub accelerator: Accelerated,
    pub images: BTreeMap<Role, Image>,
    /// Serial numbers of each role's data disks.
    data_disks: BTreeMap<Role, Vec<String>>,
}

/// The network of a cluster, before its machines: the switch with their ports, and the harness's own host on it.
pub(super) struct Net {
    pub run_dir: RunDir,
    pub switch: Switch,
    pub lan: Lan,
    pub zones: Arc<Zones>,
    pub elsewhere: Elsewhere,
    pub names: NameServer,
}

impl<'a> Plan<'a> {
    /// Renders the files, and finds or fetches tools and images.
    pub async fn make(
        cluster: &'a Cluster,
        request: &'a LaunchRequest,
        progress: &Progress,
        stages: &mut Stages,
    ) -> Result<Plan<'a>, LaunchError> {
        let bad = |reason: String| LaunchError::Input(format!("{}: {reason}", request.cluster.origin));
        let secrets = Secrets::from_seed(cluster, SECRETS).map_err(|e| bad(e.to_string()))?;
        let data_disks = disks::serials(cluster).map_err(bad)?;
        let agent = agent(cluster, progress).await?;
        let bundle = render(cluster, &secrets, agent.as_ref()).map_err(|e| bad(e.to_string()))?;
        let addresses =
            Addresses::plan(cluster).ok_or_else(|| bad("the subnet has no room for a test client".into()))?;
        let qemu = tools::qemu(progress).await.map_err(environment)?;
        let accelerator = tools::accelerator(&qemu, progress).await.map_err(environment)?;
        progress.note(
            "accelerator",
            &format!("{}: {}", accelerator.kind.as_str(), accelerator.reason),
        );
        stages.end("tools");
        let images = images(cluster, progress).await?;
        stages.end("image");
        Ok(Plan {
            cluster,
            request,
            secrets,
            bundle,
            agent,
            addresses,
            qemu,
            accelerator,
            images,
            data_disks,
        })
    }

    /// How much slower one machine executes than with hardware virtualisation.
    pub fn slowness(&self) -> f64 {
        self.accelerator.slowness
    }

    /// Whether the guests' processors are emulated.
    pub fn emulates(&self) -> bool {
        self.accelerator.kind == Kind::Tcg
    }

    /// Limits of the stages of a boot.
    pub fn limits(&self) -> BootLimits {
        BootLimits::new(self.slowness(), self.cluster.nodes.len(), cores())
    }

    /// How a node is known on the network.
    pub fn network_of(&self, node: &NodeSpec) -> NetworkPlan {
        NetworkPlan {
            hostname: node.name.clone(),
            mac: self.mac(node),
            address: node.address,
            prefix: self.cluster.network.subnet.prefix_len(),
            gateway: self.cluster.network.router,
            // Nobody answers at loopback: the firewall's rule for it makes look-ups fail at once instead of timing out, which
            // shows in every cluster that does not describe it that nobody asks.
            dns: vec![if self.cluster.authenticates() {
                self.addresses.router
            } else {
                std::net::Ipv4Addr::LOCALHOST
            }],
            domain: self.cluster.cluster.domain.clone(),
        }
    }

    /// The machine of a node, with sockets and logs in `folder` and its disks in `disks`.
    pub fn machine(&self, node: &NodeSpec, folder: &Path, disks: &Path, memory: Memory, start: Start) -> MachineSpec {
        MachineSpec {
            mac: self.mac(node),
            start,
            ..self.machine_of(&node.name, node.role, folder, disks, memory)
        }
    }

    /// The machine of a role before it is any cluster's, with sockets and logs in `folder` and its disks in `disks`.
    pub fn base_machine(&self, role: Role, folder: &Path, disks: &Path, memory: Memory) -> MachineSpec {
        self.machine_of(base_name(role), role, folder, disks, memory)
    }

    fn machine_of(&self, name: &str, role: Role, folder: &Path, disks: &Path, memory: Memory) -> MachineSpec {
        let image = &self.images[&role];
        MachineSpec {
            name: name.to_owned(),
            qemu: self.qemu.system.argv.clone(),
            env: self.qemu.system.env.clone(),
            accelerator: match self.accelerator.kind {
                Kind::Kvm => Accelerator::Kvm,
                Kind::Tcg => Accelerator::Tcg,
            },
            kernel: image.kernel.clone(),
            initrd: image.initrd.clone(),
            command_line: image.command_line.clone(),
            disk: disk_file(disks, name),
            data_disks: disks::attached(&self.data_disks(role), disks, name),
            memory_mib: self.memory_mib(role),
            memory,
            start: Start::Boot,
            // With two, Linux has to tell the other one of every changed mapping, which is dear under emulation: sixty messages
            // cost a mail node with a store 39 to 57 s of processor time instead of 21 s. So one unless more are asked for.
            cpus: if role == Role::Mail { self.request.processors } else { 1 },
            // rspamd compiles the list of public suffixes with Hyperscan at its first start: seconds of a processor, and more
            // than four minutes of an emulated one. Where Hyperscan cannot run (without SSSE3) it builds a tree of its own,
            // as on other architectures.
            plain: role == Role::Gateway && self.cluster.authenticates(),
            watchdog: role == Role::Mail && self.cluster.decides_itself() && self.cluster.election.watchdog == WATCHDOG,
            mac: mac(0),
            network: network_socket(folder, name),
            sockets: folder.to_path_buf(),
            logs: folder.to_path_buf(),
        }
    }

    /// The hardware address of a node.
    pub fn mac(&self, node: &NodeSpec) -> String {
        let index = self.cluster.nodes.iter().position(|other| other.name == node.name);
        mac(index.unwrap_or_default() + 1)
    }

    /// Size of a node's memory.
    pub fn memory_bytes(&self, node: &NodeSpec) -> u64 {
        self.role_memory_bytes(node.role)
    }

    /// Serial numbers of the data disks of a role's machines.
    pub fn data_disks(&self, role: Role) -> Vec<String> {
        self.data_disks.get(&role).cloned().unwrap_or_default()
    }

    /// Makes the disks of a new machine of a role in `folder`.
    pub async fn make_disks(&self, role: Role, folder: &Path, machine: &str) -> Result<(), LaunchError> {
        disks::make(&self.qemu, &self.images[&role], &self.data_disks(role), folder, machine)
            .await
            .map_err(environment)
    }

    /// Size of the memory of a role's machines.
    pub fn role_memory_bytes(&self, role: Role) -> u64 {
        u64::from(self.memory_mib(role)) << 20
    }

    /// Mebibytes of memory of a role's machines; a mail node with SOGo or amavisd gets half as much again for their processes.
    fn memory_mib(&self, role: Role) -> u32 {
        let more = self.cluster.sogo.is_some() || self.cluster.amavisd.is_some();
        match role {
            Role::Mail if more => 1536,
            Role::Mail => 1024,
            _ => 512,
        }
    }

    /// How much patience machines deserve.
    pub fn timing(&self) -> Timing {
        Timing {
            slowness: self.slowness(),
            boot: self.limits(),
        }
    }

    /// What goes into every restore point, whatever lies in it.
    fn common_ingredients(&self, layer: &str) -> Ingredients {
        let mut ingredients = Ingredients::of_layer(layer);
        ingredients.add("qemu", format!("{} from {}", self.qemu.version, self.qemu.origin));
        ingredients.add("accelerator", self.accelerator.kind.as_str());
        if self.accelerator.kind == Kind::Kvm {
            // The guests see the host's processor, and another one may not go on where this one stopped.
            ingredients.add_hash("processor", processor());
        }
        ingredients
    }

    /// What goes into the restore point of a role's booted machine: nothing of the cluster.
    pub fn base_ingredients(&self, role: Role) -> Ingredients {
        let mut ingredients = self.common_ingredients("base");
        let nowhere = Path::new("/");
        let spec = self.base_machine(role, nowhere, nowhere, Memory::Private);
        ingredients.add("image", self.image_of(role));
        ingredients.add("data disks", disks::sizes(&self.data_disks(role)));
        ingredients.add_hash("machine", format!("{:?}", args::arguments(&spec)));
        ingredients
    }

    /// What goes into the restore point of the configured cluster.
    pub fn ingredients(&self) -> Ingredients {
        let mut ingredients = self.common_ingredients("configured");
        for node in &self.cluster.nodes {
            let name = &node.name;
            ingredients.add(format!("image {name}"), self.image_of(node.role));
            ingredients.add_hash(format!("machine {name}"), self.shape(node));
            ingredients.add(format!("data disks {name}"), disks::sizes(&self.data_disks(node.role)));
            ingredients.add_hash(format!("network {name}"), format!("{:?}", self.network_of(node)));
            let tree = &self.bundle.nodes[name];
            ingredients.add_hash(format!("install {name}"), &tree.install);
            for (path, file) in &tree.files {
                ingredients.add_hash(update::file(name, path), file_as_ingredient(file));
            }
        }
        ingredients.add("databases", self.cluster.database.replicate.join(" "));
        ingredients
    }

    /// The image of a role, and which building of it.
    fn image_of(&self, role: Role) -> String {
        let image = &self.images[&role];
        format!("{} {}", image.hash, image.build)
    }

    /// How QEMU would be called for a node, without the folders of a run.
    fn shape(&self, node: &NodeSpec) -> String {
        let nowhere = Path::new("/");
        let spec = self.machine(node, nowhere, nowhere, Memory::Private, Start::Boot);
        format!("{:?}", args::arguments(&spec))
    }

    /// Nodes on their network as a fleet whose health nobody has looked at yet.
    pub fn fleet(&self, net: Net, nodes: Vec<Node>) -> Result<QemuFleet, LaunchError> {
        let bad = |reason: String| LaunchError::Input(format!("{}: {reason}", self.request.cluster.origin));
        Ok(QemuFleet {
            topology: self.cluster.into(),
            passwords: self.secrets.mailbox_passwords.clone(),
            qemu: self.qemu.clone(),
            release: Release::new(self.cluster.clone(), self.agent.clone(), self.secrets.clone()),
            trusting: tls::trusting(&self.bundle.ca_pem).map_err(|e| bad(e.to_string()))?,
            opportunistic: tls::opportunistic().map_err(|e| bad(e.to_string()))?,
            nodes: nodes
                .into_iter()
                .map(|node| (node.name().to_owned(), Arc::new(node)))
                .collect(),
            switch: net.switch,
            lan: net.lan,
            zones: net.zones,
            elsewhere: net.elsewhere,
            names: net.names,
            addresses: self.addresses,
            // Machines that share processors are slower still.
            slowness: self.slowness() * (self.cluster.nodes.len() as f64 / cores() as f64).max(1.0),
            facts: Facts {
                fleet: "qemu".to_owned(),
                accelerator: Some(crate::report::Accelerator {
                    name: self.accelerator.kind.as_str().to_owned(),
                    reason: self.accelerator.reason.clone(),
                }),
                versions: BTreeMap::from([("qemu".to_owned(), self.qemu.version.clone())]),
                ..Facts::default()
            },
            pace: OnceLock::new(),
            point: None,
            run_dir: net.run_dir,
        })
    }
}

impl Net {
    /// Opens a port of the switch for each machine, and the harness's own.
    pub fn open(plan: &Plan<'_>) -> Result<Net, LaunchError> {
        let run_dir = RunDir::create().map_err(|e| io("make a folder for the machines", &e))?;
        let switch = Switch::new();
        for node in &plan.cluster.nodes {
            let socket = network_socket(run_dir.path(), &node.name);
            switch
                .attach_socket(&node.name, &socket)
                .map_err(|e| io("open a port of the switch", &e))?;
        }
        let prefix = plan.cluster.network.subnet.prefix_len();
        let lan = Lan::start(
            switch.attach_local("harness"),
            &LanConfig {
                mac: [0x52, 0x54, 0, 0, 1, 0xfe],
                addresses: vec![
                    (plan.addresses.router, prefix),
                    (plan.addresses.inside, prefix),
                    (plan.addresses.sender, 32),
                    (plan.addresses.client, 32),
                ],
            },
        );
        let elsewhere = Elsewhere::new(plan.addresses.sender);
        let elsewhere = elsewhere.map_err(|e| io("make a key", &std::io::Error::other(e)))?;
        let published = plan.bundle.zones.clone().into_iter().chain(elsewhere.zones()).collect();
        let zones = Arc::new(Zones::parse(&published));
        let names = lan
            .serve_names(plan.addresses.router, zones.clone())
            .map_err(|e| io("start the machines' name server", &std::io::Error::other(e.to_string())))?;
        Ok(Net {
            run_dir,
            switch,
            lan,
            zones,
            elsewhere,
            names,
        })
    }
}

/// Everything of a file that an installation puts on a node. Not its debug form: a program has megabytes.
fn file_as_ingredient(file: &generator::bundle::File) -> Vec<u8> {
    let attributes = format!("{:04o} {}:{} {}\n", file.mode, file.owner, file.group, file.secret);
    [attributes.as_bytes(), &file.contents].concat()
}

/// Where the switch waits for a machine.
fn network_socket(folder: &Path, node: &str) -> PathBuf {
    folder.join(format!("{node}.net"))
}

fn mac(number: usize) -> String {
    format!("52:54:00:00:00:{number:02x}")
}

/// The name of a role's machine before it is a node.
pub(super) fn base_name(role: Role) -> &'static str {
    role.as_str()
}

/// Processors of this host.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What the host's processors can do.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of_interest = |line: &&str| line.starts_with("model name") || line.starts_with("flags");
    text.lines().filter(of_interest).take(2).collect()
}

/// The program of the mail store's agent, for a cluster that has one.
async fn agent(cluster: &Cluster, progress: &Progress) -> Result<Option<Agent>, LaunchError> {
    if cluster.store.is_none() {
        return Ok(None);
    }
    let file = tools::agent::agent(progress).await.map_err(environment)?;
    let bytes = tokio::fs::read(&file)
        .await
        .map_err(|e| io(&format!("read {}", file.display()), &e))?;
    let agent = Agent::new(bytes).map_err(|reason| LaunchError::Environment {
        what: format!("{}: {reason}", file.display()),
        mend: format!("name a static binary by {}, or unset it", tools::agent::VARIABLE),
    });
    agent.map(Some)
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

pub(super) fn environment(error: ToolError) -> LaunchError {
    LaunchError::Environment {
        what: error.to_string(),
        mend: "harness doctor   tells what is missing".into(),
    }
}

pub(super) fn io(what: &str, error: &std::io::Error) -> LaunchError {
    LaunchError::Environment {
        what: format!("cannot {what}: {error}"),
        mend: "see the reason above".into(),
    }
}

/// How long each stage of a launch took.
pub(super) struct Stages {
    began: Instant,
    pub ended: Vec<crate::report::Timing>,
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
    pub fn end(&mut self, stage: &str) {
        self.ended.push(crate::report::Timing {
            stage: stage.to_owned(),
            took: crate::record::micros(self.began.elapsed()),
        });
        self.began = Instant::now();
    }
}
