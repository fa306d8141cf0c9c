//! What `harness bench` measures of a running cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cluster::QemuFleet;
use crate::fleet::FleetError;
use crate::probe::webmail::{self, Served};

impl QemuFleet {
    /// Asks for webmail's front page through the load balancer, once.
    ///
    /// # Errors
    /// It did not answer, in words.
    pub async fn front_page(&self, deadline: Duration) -> Result<Served, FleetError> {
        let site = self.webmail(None)?;
        let answer = webmail::front_page(&self.lan, self.addresses.client, &site, deadline).await;
        answer.map_err(|reason| super::cluster::error("cluster", "ask for webmail's front page", &reason.to_string()))
    }

    /// The memory of all machines' processes together.
    pub fn memory(&self) -> Memory {
        let pids = self.nodes.values().map(|node| node.machine().pid());
        pids.filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok())
            .map(|text| Memory::parse(&text))
            .fold(Memory::default(), Memory::plus)
    }
}

/// Memory of processes in bytes (`smaps_rollup`, proc_pid_smaps(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Memory {
    /// What belongs to these processes alone.
    pub private: u64,
    /// What they share with others, each page counted by its share: with the private part this adds up over processes.
    pub shared: u64,
}

impl Memory {
    fn parse(text: &str) -> Memory {
        let fields: BTreeMap<&str, u64> = text
            .lines()
            .filter_map(|line| {
                let (name, rest) = line.split_once(':')?;
                Some((name, rest.split_whitespace().next()?.parse::<u64>().ok()? * 1024))
            })
            .collect();
        let field = |name: &str| fields.get(name).copied().unwrap_or_default();
        let private = field("Private_Clean") + field("Private_Dirty");
        Memory {
            private,
            shared: field("Pss").saturating_sub(private),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Memory) -> Memory {
        Memory {
            private: self.private + other.private,
            shared: self.shared + other.shared,
        }
    }

    /// All of it.
    pub fn total(self) -> u64 {
        self.private + self.shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_and_shared_memory_add_up_to_the_proportional_set() {
        let text = "5581a000-7ffc2000 ---p 00000000 00:00 0 [rollup]\n\
                    Rss:   1000 kB\nPss:   600 kB\nShared_Clean:  500 kB\nPrivate_Clean:  100 kB\nPrivate_Dirty:  300 kB\n";
        let memory = Memory::parse(text);
        assert_eq!((memory.private, memory.shared), (400 << 10, 200 << 10));
        assert_eq!(memory.total(), 600 << 10);
    }
}
