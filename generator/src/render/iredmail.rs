//! Which files an iRedMail node gets: those of its own folder, and of a Debian node's those that no file of iRedMail stands
//! for. Blocks for files of iRedMail lie below `/usr/local/share/cluster/patch`, each under the path of the file into which
//! `install` puts it.

use crate::spec::Target;

/// The folder of its templates.
pub(super) const FOLDER: &str = "iredmail";

/// Of the templates in the folder `common`, those that iRedMail's installer, or whoever ran it, has written already.
const OF_COMMON_NOT: [&str; 1] = ["etc/hosts.j2"];

/// Of the templates in the folder `mail`, those that are the same here.
const OF_MAIL: [&str; 12] = [
    "etc/cluster-monitoring/",
    "etc/default/prometheus-mysqld-exporter",
    "etc/mysql/",
    "etc/roundcube/session.php",
    "etc/systemd/system/cluster-database.service",
    "etc/systemd/system/cluster-replica.",
    "srv/health/",
    "usr/local/sbin/cluster-replica",
    "usr/local/share/cluster/accounts.sql",
    "usr/local/share/cluster/link.sql",
    "usr/local/share/cluster/peer.cnf",
    "usr/local/share/cluster/schema/roundcubemail.sql",
];

/// Whether a node with this target has the file of a template that every node has.
pub(super) fn shares_common(target: Target, path: &str) -> bool {
    target != Target::Iredmail || !OF_COMMON_NOT.contains(&path)
}

/// Whether an iRedMail node has the file of a Debian mail node's template.
pub(super) fn shares_mail(path: &str) -> bool {
    OF_MAIL.iter().any(|prefix| path.starts_with(prefix))
}

/// Where a Debian mail node's file lies on an iRedMail node.
pub(super) fn path(target: Target, path: String) -> String {
    if target == Target::Iredmail {
        // `/etc/roundcube` is Debian's package's, which iRedMail does not use.
        return path.replace("/etc/roundcube/", "/etc/cluster-webmail/");
    }
    path
}
