//! How many clusters this host carries side by side.

use std::num::NonZero;

/// Processors that one cluster keeps busy whose mail nodes have one each: four machines that are idle most of the time, and
/// seldom all at once.
const PROCESSORS: usize = 2;

/// Memory that one copy of a cluster may come to hold, bytes: four machines of 3 GiB together, of which a quarter stays
/// shared with the other copies or is never touched.
const MEMORY: u64 = 5 << 29;

/// The default of `--jobs`, for clusters whose mail nodes have so many processors each.
pub fn by_host(of_a_mail_node: u32) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    by(
        processors,
        usize::try_from(of_a_mail_node).unwrap_or(1),
        available(&text),
    )
}

fn by(processors: usize, of_a_mail_node: usize, memory: Option<u64>) -> usize {
    let by_memory = memory.map_or(1, |bytes| usize::try_from(bytes / MEMORY).unwrap_or(usize::MAX));
    (processors / (PROCESSORS * of_a_mail_node.max(1)))
        .min(by_memory)
        .max(1)
}

/// `MemAvailable` in bytes (proc_meminfo(5)).
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processors_carry_one_cluster_at_a_time() {
        assert_eq!(by(2, 1, Some(24 << 30)), 1);
    }

    #[test]
    fn many_processors_carry_as_many_as_memory_allows() {
        assert_eq!(by(32, 1, Some(10 << 30)), 4);
    }

    #[test]
    fn mail_nodes_with_more_processors_leave_room_for_fewer_clusters() {
        assert_eq!(by(32, 4, Some(64 << 30)), 4);
    }

    #[test]
    fn there_is_always_one() {
        assert_eq!(by(1, 1, None), 1);
        assert_eq!(by(8, 1, Some(0)), 1);
    }

    #[test]
    fn available_memory_is_read_in_bytes() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(available(""), None);
    }
}
