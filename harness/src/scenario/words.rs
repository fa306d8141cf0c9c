//! Steps, faults and traffic in words, and how long each action may take before it counts as hung.

use std::time::Duration;

use super::expectation::{DoorState, Expectation, Refusal};
use super::model::{Action, FINISH, RoleChange, Rotate};
use crate::fault::Fault;
use crate::fleet::Vantage;
use crate::record::Service;

/// How long an action may take if the file says nothing. Generous: guests may be emulated in software, and this is only
/// a guard against waiting for ever.
pub fn patience(action: &Action) -> Duration {
    let seconds = match action {
        Action::Fault {
            fault: Fault::Reboot { .. },
            ..
        } => 180,
        Action::Fault { .. } => 60,
        Action::Heal { .. } => 180,
        Action::Expect(expectation) => match expectation {
            Expectation::Door { .. } => 30,
            Expectation::Converged | Expectation::AllDelivered | Expectation::StoreInStep => 120,
            Expectation::Healthy => 300,
            _ => 60,
        },
        Action::Run(_) => 60,
        Action::Role(_) | Action::Rotate(_) | Action::Rendered(_) => 60,
        Action::Hold(_) => 120,
    };
    Duration::from_secs(seconds)
}

/// An action as a short sentence without a final dot.
pub fn action(action: &Action) -> String {
    match action {
        Action::Fault { fault, .. } => breaking(fault),
        Action::Heal { fault, .. } => healing(fault),
        Action::Expect(expectation) => expecting(expectation),
        Action::Run(run) => format!("run `{}` on {}", run.run.join(" "), run.node),
        Action::Role(step) => match step.role {
            RoleChange::Promote => format!("make {} the writer", step.node),
            RoleChange::Demote => format!("make {} standby", step.node),
            RoleChange::SwitchOver => format!("hand the writer's role over to {}", step.node),
        },
        Action::Rotate(rotate) if is_end(rotate) => "drop the secrets that were replaced".to_owned(),
        Action::Rotate(rotate) => format!("make files with new values of {}", rotate.rotate.join(", ")),
        Action::Rendered(step) => format!("lay all rendered files in {} on {}", step.rendered, step.node),
        Action::Hold(hold) => {
            format!(
                "let traffic go on until {} more {} operations succeeded",
                hold.operations,
                service(hold.hold)
            )
        }
    }
}

fn is_end(rotate: &Rotate) -> bool {
    rotate.rotate == [FINISH]
}

/// What a fault breaks.
pub fn breaking(fault: &Fault) -> String {
    match fault {
        Fault::PowerCut { node } => format!("cut the power of {node}"),
        Fault::Freeze { node } => format!("freeze {node}"),
        Fault::Reboot { node } => format!("reboot {node}"),
        Fault::ServiceStop { node, service } => format!("stop {service} on {node}"),
        Fault::ServiceKill { node, service } => format!("kill {service} on {node}"),
        Fault::ServiceFreeze { node, service } => format!("freeze {service} on {node}"),
        Fault::DiskFull { node } => format!("fill the pool of {node}"),
        Fault::DiskFlip { node } => format!("change a byte on one disk of {node}"),
        Fault::DiskNew { node } => format!("cut the power of {node} and give it an empty disk"),
        Fault::LinkCut {
            from,
            to,
            both_ways: true,
        } => format!("cut the link between {from} and {to}"),
        Fault::LinkCut {
            from,
            to,
            both_ways: false,
        } => format!("cut the link from {from} to {to}, one way"),
    }
}

/// What heals a fault.
pub fn healing(fault: &Fault) -> String {
    match fault {
        Fault::PowerCut { node } => format!("give {node} its power back"),
        Fault::Freeze { node } => format!("thaw {node}"),
        Fault::Reboot { node } => format!("wait until {node} is up again"),
        Fault::ServiceStop { node, service } | Fault::ServiceKill { node, service } => {
            format!("start {service} on {node}")
        }
        Fault::ServiceFreeze { node, service } => format!("thaw {service} on {node}"),
        Fault::DiskFull { node } => format!("give the pool of {node} its room back"),
        Fault::DiskFlip { node } => format!("scrub the pool of {node}"),
        Fault::DiskNew { node } => format!("start {node} with its empty disk"),
        Fault::LinkCut { from, to, .. } => format!("join the link between {from} and {to}"),
    }
}

/// What is expected.
pub fn expecting(expectation: &Expectation) -> String {
    match expectation {
        Expectation::Webmail { user, served_by } => {
            format!("{} logs in to webmail{}", who(user), by("served by", served_by))
        }
        Expectation::MailAccepted { to, by: host } => {
            format!("mail to {} is accepted{}", who(to), by("by", host))
        }
        Expectation::MailSubmitted {
            from,
            to,
            port,
            served_by,
        } => {
            let by = by("to", served_by);
            format!(
                "{} submits mail to {} at port {port}{by}, and it lands",
                who(from),
                who(to)
            )
        }
        Expectation::MailSigned { from, by: gateway } => {
            format!(
                "mail from {} to somebody elsewhere leaves{} with a signature that holds",
                who(from),
                by("through", gateway)
            )
        }
        Expectation::MailSealed { to, by: gateway } => {
            format!(
                "mail from elsewhere that {} forwards leaves{} with a seal that it was authentic",
                who(to),
                by("through", gateway)
            )
        }
        Expectation::MailDelivered { to, on } => {
            format!("mail to {} lands in the mailbox{}", who(to), by("on", on))
        }
        Expectation::AllDelivered => "all mail accepted so far lies in its mailbox".into(),
        Expectation::SqlWrite { node, databases } => format!("{node} acknowledges a row in {}", which(databases)),
        Expectation::RowReplicated {
            from: Some(from),
            databases,
            rows,
        } => {
            format!(
                "{} written on {from} in {} reach the other node",
                count(*rows, "row"),
                which(databases)
            )
        }
        Expectation::RowReplicated {
            from: None,
            databases,
            rows,
        } => {
            format!(
                "{} written on both nodes at once in {} cross both ways",
                count(*rows, "row"),
                which(databases)
            )
        }
        Expectation::LoginReplicated { user, served_by } => {
            format!(
                "a log-in of {user}{} is in roundcubemail.users on both nodes",
                by("served by", served_by)
            )
        }
        Expectation::ReplicationRunning => "replication runs both ways".into(),
        Expectation::Converged => "every replicated table is equal on both nodes".into(),
        Expectation::QueueHolds { node, at_least } => {
            format!(
                "{} keeps at least {}",
                node.as_deref().unwrap_or("the gateway"),
                count(*at_least, "message")
            )
        }
        Expectation::QueueEmpty { node: Some(node) } => format!("no mail waits on {node}"),
        Expectation::QueueEmpty { node: None } => "no mail waits in any queue".into(),
        Expectation::NothingBounced => "no mail was bounced".into(),
        Expectation::Writer { node: Some(node) } => format!("{node} is the writer, and no other node"),
        Expectation::Writer { node: None } => "one node is the writer".into(),
        Expectation::StoreInStep => "the copy of the mail store has everything that the writer has".into(),
        Expectation::AddressAt { node } => format!("{node} has the virtual address, and nobody else"),
        Expectation::Door {
            from,
            node,
            port,
            state,
        } => {
            let state = match state {
                DoorState::Open => "open",
                DoorState::Closed => "closed",
            };
            format!("port {port} of {node} is {state} {}", vantage(*from))
        }
        Expectation::SmtpRefuses { from, node, port, what } => {
            let what = match what {
                Refusal::Relay => "to relay",
                Refusal::UnknownUser => "unknown users",
                Refusal::ClearTextLogin => "log-in in clear text",
                Refusal::SpamTest => "the test message for spam",
                Refusal::Virus => "the test file for viruses",
                Refusal::Program => "a program",
                Refusal::Forgery => "a forged sender",
                Refusal::Unseen => "for now what it cannot look at,",
            };
            format!("port {port} of {node} refuses {what} {}", vantage(*from))
        }
        Expectation::Healthy => "nothing ails the cluster".into(),
    }
}

/// A service as people call it.
pub fn service(service: Service) -> &'static str {
    match service {
        Service::Webmail => "webmail",
        Service::MailIn => "mail-in",
        Service::Imap => "imap",
        Service::Sql => "sql",
        Service::ImapClient => "imap-client",
    }
}

fn vantage(from: Vantage) -> &'static str {
    match from {
        Vantage::Outside => "from the internet",
        Vantage::Inside => "from the cluster's own network",
    }
}

fn who(user: &Option<String>) -> &str {
    user.as_deref().unwrap_or("the first account")
}

fn by(word: &str, node: &Option<String>) -> String {
    node.as_ref().map(|node| format!(", {word} {node}")).unwrap_or_default()
}

fn which(databases: &[String]) -> String {
    if databases.is_empty() {
        "every replicated database".into()
    } else {
        databases.join(", ")
    }
}

fn count(number: u32, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
