//! What keeps a cluster from being healthy, read from the machines themselves: services, replica threads, and the load
//! balancer's own opinion of its back ends.

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

/// The back-end servers that are not up, from the CSV of `show stat`. A back end without servers is an ailment as well.
pub fn servers_down(csv: &str) -> Vec<String> {
    let mut lines = csv.lines();
    let header: Vec<&str> = lines.next().unwrap_or("").trim_start_matches("# ").split(',').collect();
    let column = |name: &str| header.iter().position(|field| *field == name);
    let (Some(proxy), Some(server), Some(status)) = (column("pxname"), column("svname"), column("status")) else {
        return vec!["HAProxy's statistics cannot be read".to_owned()];
    };
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let servers: Vec<&Vec<&str>> = rows
        .iter()
        .filter(|row| {
            row.get(server)
                .is_some_and(|name| !matches!(*name, "FRONTEND" | "BACKEND" | ""))
        })
        .filter(|row| {
            row.get(status)
                .is_some_and(|state| !matches!(*state, "OPEN" | "no check"))
        })
        .collect();
    if servers.is_empty() {
        return vec!["HAProxy has no servers".to_owned()];
    }
    servers
        .iter()
        .filter(|row| row.get(status) != Some(&"UP"))
        .map(|row| {
            let field = |index: usize| row.get(index).copied().unwrap_or("?");
            format!("HAProxy holds {}/{} for {}", field(proxy), field(server), field(status))
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
}
