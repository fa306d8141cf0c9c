//! What `harness bench` measures of a running cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use generator::spec::Role;

use super::cluster::{QemuFleet, error};
use crate::fleet::FleetError;
use crate::probe::webmail::{self, Served};
use crate::record::Micros;

impl QemuFleet {
    /// Asks for webmail's front page through the load balancer, once.
    ///
    /// # Errors
    /// It did not answer, in words.
    pub async fn front_page(&self, deadline: Duration) -> Result<Served, FleetError> {
        let site = self.webmail(None)?;
        let answer = webmail::front_page(&self.lan, self.addresses.client, &site, deadline).await;
        answer.map_err(|reason| error("cluster", "ask for webmail's front page", &reason.to_string()))
    }

    /// The memory of all machines' processes together.
    pub fn memory(&self) -> Memory {
        let pids = self.nodes.values().map(|node| node.machine().pid());
        pids.filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok())
            .map(|text| Memory::parse(&text))
            .fold(Memory::default(), Memory::plus)
    }
}

/// Time of the measurements between two guests.
const SECONDS: u64 = 5;
/// Lets `$1` reach the port, and answers there: what comes after a zero byte is thrown away, every other byte is sent back.
const SERVE: &str = r#"
    nft list chain inet cluster input | grep -q "tcp dport 13307 " \
        || nft insert rule inet cluster input ip saddr "$1" tcp dport 13307 accept
    systemd-run --quiet --collect --expand-environment=no --unit=harness-measure -- perl -MIO::Socket::INET -e '
        $s = IO::Socket::INET->new(LocalPort => 13307, Listen => 5, ReuseAddr => 1) or die $!;
        for (1, 2) {
            $c = $s->accept;
            while (sysread $c, $b, 65536) { syswrite $c, $b unless ord $b == 0 }
            close $c;
        }'"#;

/// Counts the bytes that go through in `$2` seconds, then the turns of one byte there and back.
const ASK: &str = r#"
    exec perl -MIO::Socket::INET -MTime::HiRes=time -e '
        ($host, $seconds) = @ARGV;
        sub dial { for (1 .. 50) { $c = IO::Socket::INET->new(PeerAddr => "$host:13307", Timeout => 2); return $c if $c; select undef, undef, undef, 0.2 } die "no answer from $host\n" }
        $c = dial(); $zeros = "\0" x 65536; $sent = 0; $began = time;
        while (time - $began < $seconds) { $sent += syswrite $c, $zeros }
        shutdown $c, 1; sysread $c, $b, 1;
        $rate = $sent / (time - $began); close $c;
        $c = dial(); $turns = 0; $began = time;
        while (time - $began < $seconds) { syswrite $c, "a"; sysread $c, $b, 1; $turns++ }
        printf "%d %d\n", $rate, 1e6 * (time - $began) / $turns' "$1" "$2""#;

/// What two guests find between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Between {
    /// Bytes a second, one TCP connection, one way.
    pub bytes_per_second: u64,
    /// One byte there and back, microseconds.
    pub round_trip: Micros,
}

impl QemuFleet {
    /// Measures between the first two mail nodes.
    ///
    /// # Errors
    /// There are no two, or a node does not answer.
    pub async fn between_mail_nodes(&self) -> Result<Between, FleetError> {
        let limit = self.stretch(Duration::from_secs(SECONDS + 20));
        let nodes = self.topology.nodes.iter().filter(|info| info.role == Role::Mail);
        let [from, to] = nodes.take(2).collect::<Vec<_>>()[..] else {
            return Err(error(
                "cluster",
                "measure between mail nodes",
                "there are no two of them",
            ));
        };
        let asks = from.address.to_string();
        let server = self.node(&to.name)?.agent();
        server.script("answering a measurement", SERVE, &[&asks], limit).await?;
        let client = self.node(&from.name)?.agent();
        let words = [to.address.to_string(), SECONDS.to_string()];
        let told = client.script("measuring", ASK, &[&words[0], &words[1]], limit).await?;
        let mut figures = told.split_whitespace().map(str::parse);
        match (figures.next(), figures.next()) {
            (Some(Ok(bytes_per_second)), Some(Ok(round_trip))) => Ok(Between {
                bytes_per_second,
                round_trip,
            }),
            _ => Err(error(&from.name, "measure between mail nodes", &told)),
        }
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
