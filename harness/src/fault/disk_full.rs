//! The pool of the mail store has no room left. Nothing is written for it: a dataset beside the store reserves all that is
//! free (zfsprops(7), `refreservation`), and whoever writes to the store hears ENOSPC. Healed by giving the room back.

use super::Receipt;
use super::on_node::{failed, receipt};
use crate::fleet::FleetError;
use crate::fleet::qemu::Node;

/// Takes the room, and says the dataset of the store and what is left in it, bytes.
const FILL: &str = r#"
    store=$(zfs list -H -o name /var/vmail)
    filler="${store%%/*}/filled-on-purpose"
    ! zfs list "$filler" >/dev/null 2>&1 || { echo "it was full before" >&2; exit 1; }
    zfs create -o canmount=off "$filler"
    zpool sync "${store%%/*}"
    free=$(zfs list -Hp -o available "$store")
    # What the filler itself takes lies within what it reserves; and a pool that is in use has less from one moment to the next.
    for less in 0 65536 262144 1048576; do
        size=$((free + $(zfs list -Hp -o used "$filler") - less))
        zfs set refreservation="$size" "$filler" && break
    done
    echo "$store $free $(zfs list -Hp -o available "$store")""#;

/// Gives it back, and says the same.
const EMPTY: &str = r#"
    store=$(zfs list -H -o name /var/vmail)
    full=$(zfs list -Hp -o available "$store")
    zfs destroy "${store%%/*}/filled-on-purpose"
    zpool sync "${store%%/*}"
    echo "$store $full $(zfs list -Hp -o available "$store")""#;

/// What still counts as no room, bytes: a message and its indexes need more.
const NO_ROOM: u64 = 64 << 10;

/// Takes all room. The evidence is what the dataset has left.
pub(super) async fn inject(node: &Node) -> Result<Receipt, FleetError> {
    let what = "filling the pool";
    let text = node.agent().script(what, FILL, &[], node.timing().limit(30)).await?;
    match room(&text) {
        Some((store, before, left)) if left <= NO_ROOM => Ok(receipt(
            "zfs",
            format!("{store} has {left} bytes left, before: {before}"),
        )),
        _ => Err(failed(node, what, format!("there is room still: {}", text.trim()))),
    }
}

/// Gives the room back. The evidence is what the dataset has left.
pub(super) async fn heal(node: &Node) -> Result<Receipt, FleetError> {
    let what = "emptying the pool";
    let text = node.agent().script(what, EMPTY, &[], node.timing().limit(30)).await?;
    match room(&text) {
        Some((store, before, left)) if left > NO_ROOM && left > before => Ok(receipt(
            "zfs",
            format!("{store} has {left} bytes left, before: {before}"),
        )),
        _ => Err(failed(node, what, format!("there is no room yet: {}", text.trim()))),
    }
}

/// Dataset, room before, room now.
fn room(text: &str) -> Option<(&str, u64, u64)> {
    let mut words = text.split_whitespace();
    let store = words.next()?;
    Some((store, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_read_in_bytes() {
        assert_eq!(room("mail/store 1073741824 0\n"), Some(("mail/store", 1 << 30, 0)));
        assert_eq!(room("mail/store 12"), None);
    }
}
