//! What keeps a cluster from being healthy, read from the machines themselves: services, replica threads, and the load
//! balancer's own opinion of its back ends.

use std::collections::BTreeMap;

use generator::spec::Role;

/// systemd units that have to be active on a machine of a role (they are what the install script enables).
pub fn services(role: Role) -> &'static [&'static str] {
    match role {
        Role::Mail => &[
            "nftables",
            "mariadb",
            "dovecot",
            "postfix",
            "php8.4-fpm",
            "nginx",
            "cluster-database",
        ],
        Role::Gateway => &["nftables", "postfix"],
        Role::LoadBalancer => &["nftables", "haproxy"],
    }
}

/// Asks systemd for the state of all units at once: one line a unit, in the order asked (systemctl(1), `is-active`).
pub fn is_active_argv(units: &[&str]) -> Vec<String> {
    ["systemctl", "is-active"]
        .iter()
        .chain(units)
        .map(|word| (*word).to_owned())
        .collect()
}

/// The units that are not active, with their state.
pub fn inactive(units: &[&str], answer: &str) -> Vec<String> {
    let mut states = answer.lines();
    units
        .iter()
        .filter_map(|unit| match states.next().unwrap_or("unknown") {
            "active" => None,
            state => Some(format!("{unit} is {state}")),
        })
        .collect()
}

/// Asks HAProxy's admin socket for its statistics (HAProxy management guide, 9.3 "show stat"). Perl speaks to the socket
/// because it is the one client for unix sockets that every Debian has.
pub fn haproxy_argv() -> Vec<String> {
    let script = r#"my $s = IO::Socket::UNIX->new("/run/haproxy/admin.sock") or die "admin socket: $!\n";
print $s "show stat\n"; print while <$s>;"#;
    ["perl", "-MIO::Socket::UNIX", "-e", script].map(str::to_owned).to_vec()
}

/// A back-end server as HAProxy sees it.
struct Server<'a> {
    proxy: &'a str,
    name: &'a str,
    status: &'a str,
}

/// The back-end servers in the CSV of `show stat`.
///
/// # Errors
/// The CSV cannot be read, or holds none, in words.
fn servers(csv: &str) -> Result<Vec<Server<'_>>, String> {
    let mut lines = csv.lines();
    let header: Vec<&str> = lines.next().unwrap_or("").trim_start_matches("# ").split(',').collect();
    let column = |name: &str| header.iter().position(|field| *field == name);
    let (Some(proxy), Some(name), Some(status)) = (column("pxname"), column("svname"), column("status")) else {
        return Err("HAProxy's statistics cannot be read".to_owned());
    };
    let server = |line| {
        let fields: Vec<&'_ str> = str::split(line, ',').collect();
        let field = |index: usize| fields.get(index).copied();
        Some(Server {
            proxy: field(proxy)?,
            name: field(name)?,
            status: field(status)?,
        })
    };
    let is_server = |server: &Server<'_>| {
        !matches!(server.name, "FRONTEND" | "BACKEND" | "") && !matches!(server.status, "OPEN" | "no check")
    };
    let servers: Vec<Server<'_>> = lines.filter_map(server).filter(is_server).collect();
    if servers.is_empty() {
        return Err("HAProxy has no servers".to_owned());
    }
    Ok(servers)
}

/// The back-end servers that are not up. A back end without servers is an ailment as well.
pub fn servers_down(csv: &str) -> Vec<String> {
    let servers = match servers(csv) {
        Ok(servers) => servers,
        Err(ailment) => return vec![ailment],
    };
    let down = servers.iter().filter(|server| server.status != "UP");
    down.map(|server| {
        let Server { proxy, name, status } = server;
        format!("HAProxy holds {proxy}/{name} for {status}")
    })
    .collect()
}

/// The back ends of which not exactly one server is up: of a mail store's nodes one has open doors.
pub fn not_one_up(csv: &str) -> Vec<String> {
    let servers = match servers(csv) {
        Ok(servers) => servers,
        Err(ailment) => return vec![ailment],
    };
    let mut up: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for server in &servers {
        let names = up.entry(server.proxy).or_default();
        names.extend((server.status == "UP").then_some(server.name));
    }
    let wrong = up.into_iter().filter(|(_, names)| names.len() != 1);
    wrong
        .map(|(proxy, names)| match names.as_slice() {
            [] => format!("HAProxy holds no server of {proxy} for up"),
            names => format!("HAProxy holds several servers of {proxy} for up: {}", names.join(", ")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATS: &str = "# pxname,svname,qcur,status,weight\n\
        webmail_https,FRONTEND,,OPEN,\n\
        webmail,mail1,0,UP,1\n\
        webmail,mail2,0,DOWN 1/2,1\n\
        webmail,BACKEND,0,UP,1\n";

    #[test]
    fn units_that_are_not_active_are_named_with_their_state() {
        assert_eq!(inactive(&["postfix", "nginx"], "active\nfailed\n"), ["nginx is failed"]);
    }

    #[test]
    fn a_unit_without_an_answer_is_not_taken_for_active() {
        assert_eq!(inactive(&["postfix", "nginx"], "active\n"), ["nginx is unknown"]);
    }

    #[test]
    fn only_servers_that_are_fully_up_count_as_up() {
        assert_eq!(servers_down(STATS), ["HAProxy holds webmail/mail2 for DOWN 1/2"]);
    }

    #[test]
    fn a_balancer_without_servers_is_not_healthy() {
        assert_eq!(
            servers_down("# pxname,svname,qcur,status\nstats,FRONTEND,,OPEN\n"),
            ["HAProxy has no servers"]
        );
        assert_eq!(servers_down(""), ["HAProxy's statistics cannot be read"]);
    }

    #[test]
    fn of_a_mail_stores_nodes_exactly_one_is_up() {
        assert_eq!(not_one_up(STATS), Vec::<String>::new());
        let both = STATS.replace("DOWN 1/2", "UP");
        assert_eq!(
            not_one_up(&both),
            ["HAProxy holds several servers of webmail for up: mail1, mail2"]
        );
        let none = STATS.replace("mail1,0,UP", "mail1,0,DOWN");
        assert_eq!(not_one_up(&none), ["HAProxy holds no server of webmail for up"]);
    }
}
