//! What the simulated nodes show to strangers: open ports, an SMTP dialogue in clear text, the few commands they know.

use std::time::Duration;

use super::world::{Condition, Power, Reach, World};
use crate::fleet::{Door, ExecOutput, Role, Vantage};
use crate::scenario::defect::Defect;

impl World {
    /// What a connection attempt from outside the nodes meets.
    pub fn door(&self, from: Vantage, node: &str, port: u16) -> Result<Door, String> {
        let info = self
            .topology
            .nodes
            .iter()
            .find(|info| info.name == node)
            .ok_or("there is no such machine")?;
        let behind_gateway = !self.of_role(Role::Gateway).is_empty();
        let service = match (info.role, port, from) {
            (Role::Mail, 25, _) if !behind_gateway => Some("postfix"),
            (Role::Mail, 465 | 587, _) => Some("postfix"),
            (Role::Mail, 993, _) => Some("dovecot"),
            (Role::Mail, 3306, _) if self.has(Defect::OpenDoor) => Some("mariadb"),
            (Role::Gateway, 25, _) => Some("postfix"),
            (Role::LoadBalancer, 80 | 443, _) => Some("haproxy"),
            _ => None,
        };
        let Some(service) = service else {
            return Ok(Door::Silent);
        };
        let machine = self.machines.get(node).ok_or("there is no such machine")?;
        if machine.power != Power::On || machine.frozen {
            return Ok(Door::Silent);
        }
        if info.role == Role::Mail && service != "mariadb" && !self.lets_in(node) {
            return Ok(Door::Refused);
        }
        Ok(match machine.services.get(service) {
            Some(Condition::Running | Condition::Frozen) => Door::Open,
            _ => Door::Refused,
        })
    }

    /// The replies of a node's Postfix to a dialogue, `None` if it does not answer.
    pub fn dialogue(&mut self, node: &str, lines: &[String]) -> Option<Vec<String>> {
        if self.reach(None, node, &["postfix"]) != Reach::Answers {
            return None;
        }
        let mut replies = vec![format!("220 {node}.{} ESMTP", self.topology.domain)];
        let mut message: Option<String> = None;
        for line in lines {
            if let Some(text) = message.as_mut().filter(|_| line != ".") {
                text.push_str(line);
                text.push('\n');
                continue;
            }
            let reply = match message.take() {
                Some(text) => self.opinion(node, &text),
                None if line == "DATA" && replies.last().is_some_and(|last| last.starts_with("250 2.1.5")) => {
                    message = Some(String::new());
                    "354 End data with <CR><LF>.<CR><LF>".to_owned()
                }
                None => self.reply(line),
            };
            let last = reply.starts_with("221");
            replies.push(reply);
            if last {
                break;
            }
        }
        Some(replies)
    }

    /// What is said to a message: the filter looks at it by its outer marks.
    fn opinion(&self, node: &str, message: &str) -> String {
        const TAKEN: &str = "250 2.0.0 Ok: queued";
        if !self.topology.filters || self.has(Defect::BlindFilter) {
            return TAKEN.into();
        }
        if !self.filter_works(node) {
            return "451 4.7.1 Service unavailable - try again later".into();
        }
        // The beginning of the test file for viruses, base64.
        let marks = [
            ("GTUBE-STANDARD", "554 5.7.1 Gtube pattern"),
            ("WDVPIVAlQEFQ", "550 5.7.1 virus found: Eicar-Test-Signature"),
            (".EXE\"", "554 5.7.1 an attachment of this kind is not taken"),
            ("@strict.example", "554 5.7.1 this message is not from whom it says"),
        ];
        let found = marks.into_iter().find(|(mark, _)| message.contains(mark));
        found.map_or(TAKEN, |(_, refusal)| refusal).into()
    }

    /// Whether everything that looks at mail runs on a gateway.
    pub(super) fn filter_works(&self, node: &str) -> bool {
        let services = ["rspamd", "clamav-daemon", "clamav-milter"];
        self.reach(None, node, &services) == Reach::Answers
    }

    fn reply(&self, line: &str) -> String {
        let upper = line.to_ascii_uppercase();
        let verb = upper.split_whitespace().next().unwrap_or_default();
        match verb {
            "EHLO" if self.has(Defect::ClearTextAuth) => {
                "250-PIPELINING\n250-STARTTLS\n250-AUTH PLAIN LOGIN\n250 SMTPUTF8".into()
            }
            "EHLO" => "250-PIPELINING\n250-STARTTLS\n250 SMTPUTF8".into(),
            "AUTH" if self.has(Defect::ClearTextAuth) => "334 ".into(),
            "AUTH" => "503 5.5.1 Error: authentication not enabled".into(),
            "MAIL" | "HELO" | "RSET" | "NOOP" => "250 2.1.0 Ok".into(),
            "RCPT" => self.recipient(line),
            "DATA" => "554 5.5.1 Error: no valid recipients".into(),
            "QUIT" => "221 2.0.0 Bye".into(),
            _ => "502 5.5.2 Error: command not recognized".into(),
        }
    }

    fn recipient(&self, line: &str) -> String {
        let address = line.split(['<', '>']).nth(1).unwrap_or_default();
        let local = address.rsplit('@').next() == Some(self.topology.domain.as_str());
        match (local, self.topology.users.iter().any(|user| user == address)) {
            (true, true) => "250 2.1.5 Ok".into(),
            (true, false) => format!("550 5.1.1 <{address}>: Recipient address rejected: User unknown"),
            (false, _) if self.has(Defect::OpenRelay) => "250 2.1.5 Ok".into(),
            (false, _) => format!("554 5.7.1 <{address}>: Relay access denied"),
        }
    }

    /// Runs one of the few commands that the simulation knows: `hostname`, `true`, `false`, `systemctl is-active UNIT`.
    pub fn exec(&mut self, node: &str, argv: &[String]) -> Result<ExecOutput, String> {
        let machine = self.machines.get(node).ok_or("there is no such machine")?;
        if machine.power != Power::On || machine.frozen {
            return Err(format!(
                "the guest agent did not answer within {:?}",
                Duration::from_secs(10)
            ));
        }
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        if let ["/usr/local/sbin/cluster-store", verb @ ..] = words.as_slice() {
            return Ok(self.cluster_store(node, verb));
        }
        if let ["crm_resource", "--move", .., to] = words.as_slice() {
            return Ok(self.move_role(to));
        }
        let machine = self.machines.get(node).ok_or("there is no such machine")?;
        let (status, stdout, stderr) = match words.as_slice() {
            ["true"] => (0, String::new(), String::new()),
            ["false"] => (1, String::new(), String::new()),
            ["hostname"] => (0, format!("{node}\n"), String::new()),
            ["systemctl", "is-active", unit] => match machine.services.get(unit.trim_end_matches(".service")) {
                Some(Condition::Running | Condition::Frozen) => (0, "active\n".into(), String::new()),
                Some(Condition::Starting) => (3, "activating\n".into(), String::new()),
                _ => (3, "inactive\n".into(), String::new()),
            },
            _ => (127, String::new(), "the simulation does not know this command\n".into()),
        };
        Ok(ExecOutput { status, stdout, stderr })
    }
}
