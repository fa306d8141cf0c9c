//! From a description and its secrets to the in-memory tree of every node's files: templates (whose tree mirrors the
//! target's file system) filled from a plain [`model`], with the owner and mode of each file from [`files`].

mod access;
mod agent;
mod authenticity;
mod election;
mod files;
mod filter;
mod iredmail;
mod model;
mod monitoring;
mod pmg;
mod policy;
mod runbook;
mod services;
mod store;
mod tls;
mod virtual_address;
mod zone;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use include_dir::{Dir, DirEntry, include_dir};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use crate::bundle::{Bundle, File, Tree, TreeError};
use crate::secrets::Secrets;
use crate::spec::{Cluster, Node, Role, Signatures, Target};
use model::Model;

pub use agent::{Agent, AgentError};
pub use runbook::rollout;
pub use services::{Service, restarts, services};

static TEMPLATES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/templates");

/// The template of a node's install script, beside the folders of the roles.
const INSTALL: &str = "install.j2";

/// Why a description could not be rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The description lacks something that every cluster needs; `generator check` names the place.
    #[error("the description cannot be rendered: {0}")]
    Description(String),
    /// The secrets do not belong to this description.
    #[error("the secrets hold nothing for {what}; `generator secrets rotate` adds what is missing")]
    Secret {
        /// What they should hold.
        what: String,
    },
    /// The description has a mail store, and there is no program to carry to its nodes.
    #[error("the description has a mail store ([store]), and its program, cluster-store, is not given")]
    NoAgent,
    /// A template and the model do not fit together.
    #[error("template {name}: {source:#}")]
    Template {
        /// Path below the templates folder.
        name: String,
        /// What the template engine says.
        source: minijinja::Error,
    },
    /// A rendered tree cannot be laid out.
    #[error("{node}: {source}")]
    Tree {
        /// The node.
        node: String,
        /// Why.
        source: TreeError,
    },
}

/// Renders every file of every node. The same description, secrets and agent give the same bytes each time. The agent is
/// needed for a description with a mail store only.
///
/// # Errors
/// [`RenderError`] if the description is incomplete, the secrets belong to another one, the agent is missing, or a template
/// does not fit.
pub fn render(cluster: &Cluster, secrets: &Secrets, agent: Option<&Agent>) -> Result<Bundle, RenderError> {
    let environment = environment()?;
    let agent = match (&cluster.store, agent) {
        (None, _) => None,
        (Some(_), Some(agent)) => Some(agent),
        (Some(_), None) => return Err(RenderError::NoAgent),
    };
    let mut nodes = BTreeMap::new();
    for node in &cluster.nodes {
        let mut tree = render_node(environment, cluster, secrets, node)?;
        if let Some(agent) = agent.filter(|_| node.role == Role::Mail) {
            tree.files.insert(agent::PATH.to_owned(), plain(agent.bytes(), 0o755));
        }
        tree.validate().map_err(|source| RenderError::Tree {
            node: node.name.clone(),
            source,
        })?;
        nodes.insert(node.name.clone(), tree);
    }
    let zones = cluster
        .domains()
        .map(|domain| (domain.to_owned(), zone::zone(cluster, secrets, domain)))
        .collect();
    Ok(Bundle {
        nodes,
        zones,
        runbook: runbook::runbook(environment, cluster, secrets)?,
        monitoring: monitoring::monitoring(environment, cluster, secrets)?,
        ca_pem: secrets.trusted(),
    })
}

fn render_node(
    environment: &Environment<'_>,
    cluster: &Cluster,
    secrets: &Secrets,
    node: &Node,
) -> Result<Tree, RenderError> {
    let model = Value::from(Serde(Model::new(cluster, secrets, node)?));
    let signing = authenticity::Signing::new(cluster, secrets)?;
    let fill = |name: &str| -> Result<String, RenderError> {
        let template = environment.get_template(name);
        template
            .and_then(|template| template.render(model.clone()))
            .map_err(|source| RenderError::Template {
                name: name.to_owned(),
                source,
            })
    };
    let mut tree = Tree {
        install: fill(INSTALL)?,
        ..Tree::default()
    };
    for (name, _) in environment.templates() {
        let Some(path) = target(name, cluster, node).filter(|path| wanted(path, cluster, secrets)) else {
            continue;
        };
        let path = iredmail::path(node.target, pmg::path(&path, signing.as_ref()));
        let attributes = files::attributes(&path);
        let file = File {
            contents: fill(name)?.into_bytes(),
            mode: attributes.mode,
            owner: attributes.owner.to_owned(),
            group: attributes.group.to_owned(),
            secret: attributes.secret,
        };
        tree.files.insert(path, file);
    }
    if node.role == Role::LoadBalancer {
        for domain in cluster.domains() {
            if let Some(policy) = policy::transport(cluster, domain) {
                tree.files.insert(policy::path(domain), plain(policy.as_bytes(), 0o644));
            }
        }
    }
    if node.role == Role::Mail && node.target == Target::Debian13 {
        for domain in cluster.domains() {
            let path = format!("/usr/local/share/cluster/zone/{domain}.zone");
            tree.files
                .insert(path, plain(zone::zone(cluster, secrets, domain).as_bytes(), 0o644));
        }
    }
    Ok(tree)
}

/// A file of root's that holds no secret.
fn plain(contents: &[u8], mode: u32) -> File {
    File {
        contents: contents.to_vec(),
        mode,
        owner: "root".to_owned(),
        group: "root".to_owned(),
        secret: false,
    }
}

/// Where a template's file lies on a node; nothing if the template is not for that node.
fn target(template: &str, cluster: &Cluster, node: &Node) -> Option<String> {
    let (folder, path) = template.split_once('/')?;
    let (meant, path) = match folder {
        election::FOLDER => {
            let (part, path) = path.split_once('/')?;
            (election::has(part, cluster, node), path)
        }
        "common" => {
            let shared = pmg::shares(node.target, path) && iredmail::shares_common(node.target, path);
            (shared, path)
        }
        pmg::FOLDER => (node.target == Target::Pmg, path),
        iredmail::FOLDER => (node.target == Target::Iredmail, path),
        _ => {
            let whole = node.target == Target::Debian13;
            let shared = node.target == Target::Iredmail && iredmail::shares_mail(path);
            (folder == node.role.as_str() && (whole || shared), path)
        }
    };
    meant.then(|| format!("/{}", path.trim_end_matches(".j2")))
}

/// Files that only the mail store needs.
const OF_STORE: [&str; 5] = [
    "/etc/cluster-store/",
    "/etc/haproxy/hold.lua",
    "/etc/modprobe.d/cluster-store.conf",
    "/etc/systemd/system/cluster-store.service",
    "/usr/local/sbin/mail-doors",
];

/// Files that only the settings of mail programs need.
const OF_AUTOCONFIG: [&str; 2] = ["/etc/haproxy/autoconfig.xml", "/etc/haproxy/autodiscover.xml"];

/// The key that signs, and for whom.
const OF_AUTHENTICITY: [&str; 2] = ["/etc/pmg/dkim/", "/etc/rspamd/dkim.key"];

/// Files of what signs and filters.
const OF_RSPAMD: [&str; 2] = ["/etc/rspamd/", "/etc/systemd/system/rspamd.service.d/"];

/// Files that only the filter needs.
const OF_FILTER: [&str; 4] = [
    "/etc/clamav/",
    "/etc/rspamd/functions.lua",
    "/etc/systemd/system/clamav-",
    "/etc/valkey/",
];

/// What clamd knows where nothing is fetched.
const OF_LOCAL_SIGNATURES: [&str; 1] = ["/etc/clamav/signatures/"];

/// Names that attachments may not have.
const ATTACHMENTS: &str = "/etc/rspamd/refused-attachments.map";

/// Files that only SOGo needs.
const OF_SOGO: [&str; 2] = ["/etc/sogo/", "/etc/systemd/system/sogo.service.d/"];

/// Files that only amavisd needs.
const OF_AMAVISD: [&str; 3] = [
    "/etc/amavis/",
    "/etc/spamassassin/",
    "/etc/systemd/system/amavis.service.d/",
];

/// What puts marked mail into Junk.
const JUNK: &str = "/etc/dovecot/sieve/junk.sieve";

/// Suffixes of the cluster's own domains, where nobody else's are asked for.
const SUFFIXES: &str = "/etc/rspamd/suffixes.dat";

/// What takes old rows out of the databases of either.
const OF_TIDYING: [&str; 2] = ["/etc/systemd/system/cluster-tidy.", "/usr/local/share/cluster/tidy.sql"];

/// Files that only the exporters need.
const OF_MONITORING: [&str; 4] = [
    "/etc/default/prometheus-",
    "/etc/cluster-monitoring/",
    "/etc/systemd/system/cluster-figures.",
    "/usr/local/sbin/cluster-figures",
];

/// The certificate that mail programs are shown, where it is not the node's own.
const OF_PROGRAMS: &str = "/etc/ssl/programs/";

/// Files that only two load balancers with one address need.
const OF_VIRTUAL_ADDRESS: [&str; 4] = [
    "/etc/keepalived/",
    "/etc/systemd/system/keepalived.service.d/",
    "/usr/local/sbin/haproxy-answers",
    "/usr/local/sbin/network-card",
];

/// Whether a path begins with one of these.
fn below(path: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| path.starts_with(prefix))
}

/// The schema of a database that is not replicated is left out, and so are time servers and a mail store that are not
/// described.
fn wanted(path: &str, cluster: &Cluster, secrets: &Secrets) -> bool {
    if below(path, &OF_STORE) {
        return cluster.store.is_some();
    }
    if below(path, &OF_MONITORING) {
        return cluster.monitoring.is_some();
    }
    if below(path, &OF_SOGO) {
        return cluster.sogo.is_some();
    }
    if below(path, &OF_AMAVISD) {
        return cluster.amavisd.is_some();
    }
    if path == JUNK {
        return cluster.marks_junk();
    }
    if path == SUFFIXES && cluster.authenticates() {
        return false;
    }
    if below(path, &OF_TIDYING) {
        return cluster.sogo.is_some() || cluster.amavisd.is_some();
    }
    if path.starts_with(OF_PROGRAMS) {
        return model::for_programs(cluster, secrets).is_some();
    }
    if below(path, &OF_VIRTUAL_ADDRESS) {
        return cluster.virtual_address().is_some();
    }
    if below(path, &OF_AUTHENTICITY) {
        return cluster.authenticity.is_some();
    }
    let filter = cluster.filter.as_ref();
    if path == ATTACHMENTS {
        return filter.is_some_and(|filter| !filter.refused_attachments.is_empty());
    }
    if below(path, &OF_LOCAL_SIGNATURES) {
        return filter.is_some_and(|filter| filter.signatures == Signatures::Local);
    }
    if below(path, &OF_FILTER) {
        return filter.is_some();
    }
    if below(path, &OF_RSPAMD) {
        return cluster.authenticity.is_some() || filter.is_some();
    }
    if OF_AUTOCONFIG.contains(&path) {
        return cluster.access.as_ref().is_some_and(|access| access.autoconfig);
    }
    // Without a gateway nobody's mail has been looked at before.
    if path == "/etc/postfix/cluster-networks" || path == "/usr/local/share/cluster/patch/opt/iredapd/settings.py" {
        return cluster.of_role(Role::Gateway).next().is_some();
    }
    // Where there is a store, no Postfix of a mail node looks up mailboxes.
    if path.starts_with("/etc/postfix/mysql/") && cluster.store.is_some() {
        return false;
    }
    if path.starts_with("/etc/systemd/timesyncd.conf.d/") {
        return !cluster.network.time_servers.is_empty();
    }
    let schema = path
        .strip_prefix("/usr/local/share/cluster/schema/")
        .and_then(|name| name.strip_suffix(".sql"));
    schema.is_none_or(|name| cluster.database.replicate.iter().any(|database| database == name))
}

/// All templates, read once: they are part of the program, and reading them takes longer than filling them.
fn environment() -> Result<&'static Environment<'static>, RenderError> {
    static READ: OnceLock<Environment<'static>> = OnceLock::new();
    match READ.get() {
        Some(environment) => Ok(environment),
        None => {
            let environment = read_templates()?;
            Ok(READ.get_or_init(|| environment))
        }
    }
}

fn read_templates() -> Result<Environment<'static>, RenderError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build();
    environment.set_syntax(syntax.map_err(|source| RenderError::Template {
        name: "syntax".to_owned(),
        source,
    })?);
    add_templates(&mut environment, &TEMPLATES)?;
    Ok(environment)
}

fn add_templates(environment: &mut Environment<'static>, folder: &'static Dir<'static>) -> Result<(), RenderError> {
    for entry in folder.entries() {
        match entry {
            DirEntry::Dir(folder) => add_templates(environment, folder)?,
            DirEntry::File(file) => {
                let (Some(name), Some(text)) = (file.path().to_str(), file.contents_utf8()) else {
                    continue;
                };
                environment
                    .add_template(name, text)
                    .map_err(|source| RenderError::Template {
                        name: name.to_owned(),
                        source,
                    })?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
