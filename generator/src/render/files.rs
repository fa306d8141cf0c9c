//! Owner, mode and secrecy of every emitted file, in one place.

/// How a file lies on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Permission bits.
    pub mode: u32,
    /// Owning user.
    pub owner: &'static str,
    /// Owning group.
    pub group: &'static str,
    /// Holds a password or a key.
    pub secret: bool,
}

/// The attributes of the file at an absolute path. A group is named only where a daemon reads the file after it gave up
/// root; what is read by root alone belongs to root alone.
pub(super) fn attributes(path: &str) -> Attributes {
    let secret = |mode, group| Attributes {
        mode,
        owner: "root",
        group,
        secret: true,
    };
    let public = |mode| Attributes {
        mode,
        owner: "root",
        group: "root",
        secret: false,
    };
    match path {
        // MariaDB opens its key as the user mysql; every other daemon as root. `ssl-cert` is the group that Debian
        // provides for this, and the install script puts mysql into it.
        "/etc/ssl/cluster/node.key" => secret(0o640, "ssl-cert"),
        "/etc/haproxy/certs/webmail.pem" => secret(0o600, "root"),
        // Dovecot and Postfix read it as root.
        "/etc/ssl/programs/programs.key" => secret(0o600, "root"),
        // proxymap(8) and the table lookups of smtpd(8) run as postfix.
        path if path.starts_with("/etc/postfix/mysql/") => secret(0o640, "postfix"),
        "/etc/dovecot/accounts.conf" => secret(0o600, "root"),
        // Read by PHP.
        "/etc/roundcube/config.inc.php" | "/etc/cluster-webmail/roundcube.inc.php" | "/srv/health/index.php" => {
            secret(0o640, "www-data")
        }
        // Read by programs that are never root.
        "/etc/sogo/sogo.conf" => secret(0o640, "sogo"),
        "/etc/amavis/conf.d/50-user" => secret(0o640, "amavis"),
        // Password hashes and the replication secret.
        "/usr/local/share/cluster/accounts.sql"
        | "/usr/local/share/cluster/link.sql"
        | "/usr/local/share/cluster/peer.cnf"
        | "/usr/local/share/cluster/mailboxes.sql" => secret(0o600, "root"),
        // Read by rspamd, which is never root.
        "/etc/rspamd/dkim.key" => secret(0o640, "_rspamd"),
        // Postfix and PMG's filter read them as root.
        "/etc/pmg/pmg-tls.pem" => secret(0o600, "root"),
        path if path.starts_with("/etc/pmg/dkim/") && path.ends_with(".private") => secret(0o600, "root"),
        "/etc/corosync/authkey" => secret(0o400, "root"),
        path if path.starts_with("/usr/local/sbin/") || path.starts_with("/usr/lib/ocf/") => public(0o755),
        "/etc/nftables.conf" => public(0o755),
        _ => public(0o644),
    }
}
