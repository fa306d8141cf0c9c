//! The services of each role and the files they take notice of: what `install` enables and restarts, told from one table
//! to the script, to `generator diff` and to whoever plans a change.

use serde::Serialize;

use crate::spec::{Cluster, Node, Role, Signatures, Target};

/// A systemd unit of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Its name; `.service` is left out.
    pub unit: &'static str,
    /// Where its files lie: a change below one of these prefixes restarts it.
    pub files: &'static [&'static str],
    /// Whether an installation enables it; what is not is started by the system itself.
    pub enabled: bool,
    /// Whether it is started by its name; what is not is pulled in by another unit, and refuses to be.
    pub by_name: bool,
}

const fn service(unit: &'static str, files: &'static [&'static str]) -> Service {
    Service {
        unit,
        files,
        enabled: true,
        by_name: true,
    }
}

const COMMON: [Service; 2] = [
    service("nftables", &["/etc/nftables.conf"]),
    Service {
        enabled: false,
        ..service("systemd-sysctl", &["/etc/sysctl.d/"])
    },
];
const POSTFIX: Service = service("postfix", &["/etc/postfix/", "/etc/ssl/cluster/"]);
const POSTFIX_OF_PROGRAMS: Service = service("postfix", &["/etc/postfix/", "/etc/ssl/cluster/", "/etc/ssl/programs/"]);
const MARIADB: Service = service("mariadb", &["/etc/mysql/", "/etc/ssl/cluster/"]);
const DATABASE: Service = service(
    "cluster-database",
    &[
        "/usr/local/sbin/",
        "/usr/local/share/cluster/accounts.sql",
        "/usr/local/share/cluster/link.sql",
        "/usr/local/share/cluster/mailboxes.sql",
        "/usr/local/share/cluster/peer.cnf",
        "/usr/local/share/cluster/schema/",
        "/usr/local/share/cluster/webmail-users.sql",
    ],
);
const REPLICA: Service = service("cluster-replica.timer", &["/etc/systemd/system/cluster-replica."]);
const NGINX: Service = service("nginx", &["/etc/nginx/", "/etc/ssl/cluster/"]);
const MAIL: [Service; 9] = [
    MARIADB,
    DATABASE,
    REPLICA,
    service("roundcube-gc.timer", &[]),
    service("roundcube-cleandb.timer", &[]),
    service(
        "dovecot",
        &[
            "/etc/dovecot/",
            "/etc/ssl/cluster/",
            "/etc/ssl/programs/",
            "/etc/systemd/system/dovecot.service.d/",
        ],
    ),
    POSTFIX_OF_PROGRAMS,
    service("php8.4-fpm", &["/etc/php/", "/etc/roundcube/", "/srv/health/"]),
    NGINX,
];
/// What makes webmail's entries for new mailboxes.
const WEBMAIL_USERS: Service = service(
    "cluster-webmail-users.timer",
    &["/etc/systemd/system/cluster-webmail-users."],
);
/// SOGo and what it keeps sessions' data in.
const SOGO: [Service; 2] = [
    service("memcached", &[]),
    service("sogo", &["/etc/sogo/", "/etc/systemd/system/sogo.service.d/"]),
];
const AMAVISD: Service = service(
    "amavis",
    &[
        "/etc/amavis/",
        "/etc/spamassassin/",
        "/etc/systemd/system/amavis.service.d/",
    ],
);
/// Fetches SpamAssassin's rules.
const SPAM_RULES: Service = service("spamassassin-maintenance.timer", &[]);
/// What takes old rows out of the databases of these.
const TIDY: Service = service("cluster-tidy.timer", &["/etc/systemd/system/cluster-tidy."]);
/// The agent of the mail store, and what imports the pool at a start.
const STORE: [Service; 4] = [
    service("zfs-load-module", &[]),
    service("zfs-import-cache", &[]),
    service("zfs-import.target", &[]),
    service(
        "cluster-store",
        &[
            "/usr/local/sbin/cluster-store",
            "/etc/cluster-store/store.toml",
            "/etc/ssl/cluster/",
            "/etc/systemd/system/cluster-store.service",
        ],
    ),
];
/// What decides who is the writer. A change restarts none of corosync, sbd and pacemaker, since that would move the role.
/// corosync pulls sbd in.
const ELECTION: [Service; 7] = [
    Service {
        enabled: false,
        ..service("systemd-modules-load", &["/etc/modules-load.d/"])
    },
    Service {
        by_name: false,
        ..service("sbd", &[])
    },
    service("corosync", &[]),
    service(
        "corosync-qdevice",
        &[
            "/etc/ssl/cluster/",
            "/etc/systemd/system/corosync-qdevice.service.d/",
            "/usr/local/sbin/vote-keys",
        ],
    ),
    service("pacemaker", &[]),
    service(
        "mail-role",
        &["/etc/mail-role/", "/etc/systemd/system/mail-role.service"],
    ),
    service(
        "mail-fit",
        &["/usr/local/sbin/mail-fit", "/etc/systemd/system/mail-fit.service"],
    ),
];
const THIRD_VOTE: Service = service(
    "corosync-qnetd",
    &[
        "/etc/ssl/cluster/",
        "/etc/systemd/system/corosync-qnetd.service.d/",
        "/usr/local/sbin/vote-keys",
    ],
);
/// The firewall reads the doors' rules, too.
const DOORS: Service = service("nftables", &["/etc/nftables.conf", "/etc/cluster-store/doors.nft"]);
const GATEWAY: [Service; 1] = [POSTFIX];
/// Of a Proxmox Mail Gateway. Where a setting has changed it restarts them by itself (`pmgconfig sync`).
const PMG: [Service; 3] = [
    service("pmg-smtp-filter", &["/etc/pmg/dkim/"]),
    service("pmgpolicy", &[]),
    service("postfix", &["/etc/pmg/pmg-tls.pem"]),
];
/// Of an iRedMail node: what takes notice of our files. The rest is iRedMail's, and runs already.
const IREDMAIL: [Service; 7] = [
    MARIADB,
    DATABASE,
    REPLICA,
    service(
        "iredapd",
        &[
            "/usr/local/share/cluster/patch/opt/iredapd/",
            "/opt/iredapd/",
            "/opt/iRedAPD",
        ],
    ),
    POSTFIX,
    service("php8.4-fpm", &["/etc/cluster-webmail/", "/srv/health/"]),
    NGINX,
];
/// What signs and filters stands before what asks it to.
const RSPAMD: Service = service("rspamd", &["/etc/rspamd/", "/etc/systemd/system/rspamd.service.d/"]);
/// What rspamd counts with, clamd, and what asks it for Postfix.
const FILTER: [Service; 3] = [
    service("valkey-server", &["/etc/valkey/"]),
    service(
        "clamav-daemon",
        &[
            "/etc/clamav/clamd.conf",
            "/etc/clamav/signatures/",
            "/etc/systemd/system/clamav-daemon.",
        ],
    ),
    service(
        "clamav-milter",
        &["/etc/clamav/clamav-milter.conf", "/etc/systemd/system/clamav-milter."],
    ),
];
/// What keeps clamd's databases new.
const FRESHCLAM: Service = service("clamav-freshclam", &[]);
const LOAD_BALANCER: [Service; 1] = [service("haproxy", &["/etc/haproxy/", "/etc/ssl/cluster/"])];
/// What moves the virtual address. HAProxy comes first: without it the node never takes the address.
const VIRTUAL_ADDRESS: Service = service(
    "keepalived",
    &[
        "/etc/keepalived/",
        "/etc/systemd/system/keepalived.service.d/",
        "/usr/local/sbin/haproxy-answers",
        "/usr/local/sbin/network-card",
    ],
);
/// Exporters for Prometheus.
const MONITORING: [Service; 2] = [
    service("prometheus-node-exporter", &["/etc/default/prometheus-node-exporter"]),
    service("cluster-figures.timer", &["/etc/systemd/system/cluster-figures."]),
];
const MONITORING_DATABASE: Service = service(
    "prometheus-mysqld-exporter",
    &["/etc/default/prometheus-mysqld-exporter", "/etc/cluster-monitoring/"],
);
const CLOCK: Service = service("systemd-timesyncd", &["/etc/systemd/timesyncd.conf.d/"]);

/// The services of a node, in the order in which its installation names them.
pub fn services(cluster: &Cluster, node: &Node) -> Vec<Service> {
    let monitoring: &[Service] = if cluster.monitoring.is_some() { &MONITORING } else { &[] };
    if node.target == Target::Pmg {
        return PMG.iter().chain(monitoring).copied().collect();
    }
    let of_role: &[Service] = match node.role {
        Role::Mail if node.target == Target::Iredmail => &IREDMAIL,
        Role::Mail => &MAIL,
        Role::Gateway => &GATEWAY,
        Role::LoadBalancer => &LOAD_BALANCER,
    };
    let clock = (!cluster.network.time_servers.is_empty()).then_some(CLOCK);
    let store: &[Service] = match node.role {
        Role::Mail if cluster.store.is_some() => &STORE,
        _ => &[],
    };
    let guarded = |service: Service| match service.unit {
        "nftables" if !store.is_empty() => DOORS,
        _ => service,
    };
    let election: &[Service] = match node.role {
        Role::Mail if cluster.decides_itself() => &ELECTION,
        _ => &[],
    };
    let third = cluster.has_third_vote(node).then_some(THIRD_VOTE);
    let address = cluster.shares_address(node).then_some(VIRTUAL_ADDRESS);
    let databases = (cluster.monitoring.is_some() && node.role == Role::Mail).then_some(MONITORING_DATABASE);
    let gateway = node.role == Role::Gateway;
    let filter = cluster.filter.as_ref().filter(|_| gateway);
    let rspamd = (gateway && (cluster.authenticity.is_some() || cluster.filter.is_some())).then_some(RSPAMD);
    let scanning: &[Service] = if filter.is_some() { &FILTER } else { &[] };
    let fetching = filter
        .is_some_and(|filter| filter.signatures == Signatures::Freshclam)
        .then_some(FRESHCLAM);
    let mail = node.role == Role::Mail;
    let sogo: &[Service] = if mail && cluster.sogo.is_some() { &SOGO } else { &[] };
    let amavisd = cluster.amavisd.as_ref().filter(|_| mail);
    let looking = amavisd.map(|_| AMAVISD);
    let rules = amavisd
        .is_some_and(|amavisd| amavisd.network_tests)
        .then_some(SPAM_RULES);
    let debian = mail && node.target == Target::Debian13;
    let users = (debian && node.primary).then_some(WEBMAIL_USERS);
    let tidy = (mail && (cluster.sogo.is_some() || cluster.amavisd.is_some())).then_some(TIDY);
    let all = COMMON
        .iter()
        .chain(store)
        .chain(election)
        .chain(&fetching)
        .chain(&rspamd)
        .chain(scanning)
        .chain(&looking)
        .chain(of_role)
        .chain(sogo)
        .chain(&rules)
        .chain(&tidy)
        .chain(&users)
        .copied();
    let rest = address
        .into_iter()
        .chain(third)
        .chain(clock)
        .chain(monitoring.iter().copied())
        .chain(databases);
    all.map(guarded).chain(rest).collect()
}

/// The units of a node that an installation restarts if these files change.
pub fn restarts<'a>(
    cluster: &Cluster,
    node: &Node,
    changed: impl Iterator<Item = &'a str> + Clone,
) -> Vec<&'static str> {
    let notices = |service: &Service| {
        let mut paths = changed.clone();
        paths.any(|path| service.files.iter().any(|prefix| path.starts_with(prefix)))
    };
    services(cluster, node)
        .into_iter()
        .filter(notices)
        .map(|service| service.unit)
        .collect()
}
