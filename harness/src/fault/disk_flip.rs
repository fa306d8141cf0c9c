//! Bytes change on one disk of the pool's mirror, below ZFS: what lies there is no longer what was written. Some of the mail
//! that came last is damaged so, for a single message may have been removed by its owner before anybody looks. Healed by a
//! scrub (zpool-scrub(8)), which finds it by the checksums and mends it from the other disk.

use super::Receipt;
use super::on_node::{failed, receipt};
use crate::fleet::FleetError;
use crate::fleet::qemu::Node;

/// Changes one byte in a block of each of the last messages. ZFS places a block behind the two labels and the boot area that
/// begin each disk, 4 MiB (OpenZFS on-disk format, `VDEV_LABEL_START_SIZE`); `zdb` tells where within that. A mail program may
/// rename a message at any moment, so it is known by its number, which is the same in ZFS as in the file system. Says the disk, and
/// of each block its place in bytes, and the byte before and after as it is read back from the disk.
const FLIP: &str = r#"
    dataset=$(zfs list -H -o name /var/vmail)
    pool=${dataset%%/*}
    zpool status -PL "$pool" | grep -q '^[[:space:]]*mirror-' || { echo "$pool is no mirror: nothing could mend it" >&2; exit 1; }
    disk=$(zpool status -PL "$pool" | awk '$1 ~ "^/dev/" && $2 == "ONLINE" { disk = $1 } END { print disk }')
    zpool sync "$pool"
    block=$(mktemp)
    trap 'rm -f "$block"' EXIT
    byte_at() { dd if="$disk" bs=4096 skip="$1" count=1 iflag=direct status=none | od -An -tu1 -N1 | tr -d ' '; }
    find /var/vmail -xdev -type f \( -path '*/cur/*' -o -path '*/new/*' \) -printf '%T@ %i\n' | sort -rn | head -n "$1" | cut -d' ' -f2 |
    while read -r object; do
        offset=$(zdb -ddddd "$dataset" "$object" 2>/dev/null | sed -nE 's/^ +0 +L0 0:([0-9a-f]+):.*/\1/p' | head -n 1)
        [ -n "$offset" ] || continue
        place=$(( (0x$offset + 0x400000) / 4096 ))
        before=$(byte_at "$place")
        dd if="$disk" of="$block" bs=4096 skip="$place" count=1 iflag=direct status=none
        printf "\\$(printf %o $((before ^ 255)))" | dd of="$block" bs=1 conv=notrunc status=none
        dd if="$block" of="$disk" bs=4096 seek="$place" count=1 oflag=direct conv=notrunc status=none
        echo "$disk $((place * 4096)) $before $(byte_at "$place")"
    done"#;

/// Scrubs, and says what ZFS and then the agent of the mail store tell of the disks. The agent asks at times.
const SCRUB: &str = r#"
    pool=$(zfs list -H -o name /var/vmail)
    pool=${pool%%/*}
    zpool scrub -w "$pool"
    zpool status -PL -p "$pool"
    until="$(($(date +%s) + $1))"
    until said=$(cluster-store status | grep '^Disk: '); do
        [ "$(date +%s)" -lt "$until" ] || { echo "the agent of the mail store does not tell of it" >&2; exit 1; }
        sleep 1
    done
    echo "$said"
    zpool clear "$pool""#;

/// Messages that are damaged.
const MESSAGES: &str = "8";

/// Damages mail on one disk. The evidence is read back from the disk.
pub(super) async fn inject(node: &Node) -> Result<Receipt, FleetError> {
    let what = "changing bytes on one disk of the mirror";
    let text = node
        .agent()
        .script(what, FLIP, &[MESSAGES], node.timing().limit(60))
        .await?;
    let flips: Vec<Flip> = text.lines().filter_map(flip).collect();
    let Some(first) = flips.first() else {
        return Err(failed(node, what, "no message lies on it yet"));
    };
    if !flips.iter().all(Flip::took_hold) {
        return Err(failed(node, what, format!("the disk is as it was: {}", text.trim())));
    }
    Ok(receipt(
        "disk",
        format!(
            "{}: {} blocks of mail have another byte, the first at {}: {}, before {}",
            first.disk,
            flips.len(),
            first.place,
            first.after,
            first.before
        ),
    ))
}

/// Scrubs. The evidence is what ZFS counted on a disk, that no data are lost, and that the agent tells of it.
pub(super) async fn heal(node: &Node) -> Result<Receipt, FleetError> {
    let what = "scrubbing the pool";
    let patience = node.timing().limit(60);
    let text = node
        .agent()
        .script(
            what,
            SCRUB,
            &[&patience.as_secs().to_string()],
            node.timing().limit(180),
        )
        .await?;
    let line = |beginning: &str| {
        let mut lines = text.lines().map(str::trim);
        lines.find(|line| line.starts_with(beginning)).map(str::to_owned)
    };
    let (scan, told) = (line("scan: scrub repaired"), line("Disk: "));
    match (scan, told, line("errors: No known data errors")) {
        (Some(scan), Some(told), Some(_)) if mended(&text) > 0 => Ok(receipt(
            "zfs",
            format!(
                "{scan}; checksums that did not match: {}; the agent: {told}",
                mended(&text)
            ),
        )),
        _ => Err(failed(
            node,
            what,
            format!("nothing was found, or not mended: {}", text.trim()),
        )),
    }
}

/// One changed byte.
struct Flip {
    disk: String,
    /// Of the block, in bytes from the beginning of the disk.
    place: u64,
    before: u8,
    after: u8,
}

impl Flip {
    fn took_hold(&self) -> bool {
        self.before != self.after
    }
}

fn flip(line: &str) -> Option<Flip> {
    let mut words = line.split_whitespace();
    Some(Flip {
        disk: words.next()?.to_owned(),
        place: words.next()?.parse().ok()?,
        before: words.next()?.parse().ok()?,
        after: words.next()?.parse().ok()?,
    })
}

/// Blocks that were not what had been written, over all disks (zpool-status(8), the column CKSUM).
fn mended(status: &str) -> u64 {
    let of_disk = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [name, _, _, _, checksum, ..] if name.starts_with("/dev/") => checksum.parse::<u64>().ok(),
            _ => None,
        }
    };
    status.lines().filter_map(of_disk).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_is_as_before_is_no_fault() {
        assert!(flip("/dev/vdc1 4231168 17 238\n").is_some_and(|flip| flip.took_hold() && flip.place == 4_231_168));
        assert!(flip("/dev/vdc1 4231168 17 17").is_some_and(|flip| !flip.took_hold()));
        assert!(flip("/dev/vdc1 4231168 17").is_none());
    }

    #[test]
    fn errors_are_those_of_disks() {
        let status = "  NAME  STATE READ WRITE CKSUM\n  mail ONLINE 0 0 0\n  mirror-0 ONLINE 0 0 0\n  \
                      /dev/vdb1 ONLINE 0 0 0\n  /dev/vdc1 ONLINE 0 0 7\n";
        assert_eq!(mended(status), 7);
    }
}
