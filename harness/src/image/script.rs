//! The shell scripts that mmdebstrap calls while it builds a tree: what they do is data of the definition and the same
//! for every host. Pure text.

use std::fmt::Write as _;

use super::definition::Definition;

/// Runs when only the essential packages are there; `$1` is the tree, `$2` the work folder.
pub(super) const ESSENTIAL: &str = r#"set -eu
# Manuals and translations nobody reads in a test machine, and copies of licences stay.
cat > "$1/etc/dpkg/dpkg.cfg.d/50-lean" <<'END'
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/lintian/*
END
chroot "$1" debconf-set-selections < "$2/debconf"
"#;

/// Copies the definition's files and runs the last script in the tree.
pub(super) const CUSTOMIZE: &str = r#"set -eu
cp -R "$2/files/." "$1/"
chroot "$1" sh -eu < "$2/in-tree.sh"
"#;

/// Runs in the complete tree, as its root.
pub(super) fn in_tree(definition: &Definition) -> String {
    let mut script = String::from("export LC_ALL=C.UTF-8\n");
    for (verb, units) in [
        ("enable", &definition.enable),
        ("disable", &definition.disable),
        ("mask", &definition.mask),
    ] {
        for unit in units {
            let _ = writeln!(script, "systemctl {verb} '{unit}' 2>&1");
        }
    }
    for command in &definition.commands {
        let _ = writeln!(script, "{command}");
    }
    let _ = writeln!(script, "modules='{}'", definition.initramfs_modules.join(" "));
    script.push_str(FINISH);
    script
}

/// The kernel, unpacked, and an initial RAM disk that does nothing but mount the disk: a general one takes eight seconds
/// of an emulated processor. Then away with what only the build needed.
///
/// Where the compressed kernel lies in its file is told by its header (the kernel's Documentation/arch/x86/boot.rst:
/// setup_sects, payload_offset, payload_length; the last four bytes are the unpacked size).
const FINISH: &str = r#"version=$(ls /lib/modules)
depmod "$version"
kernel="/boot/vmlinuz-$version"
number() { od -A n -t "u$2" -j "$1" -N "$2" "$kernel" | tr -d ' '; }
start=$(( ($(number 497 1) + 1) * 512 + $(number 584 4) ))
length=$(( $(number 588 4) - 4 ))
tail -c "+$((start + 1))" "$kernel" | head -c "$length" | zstd -q -d > /boot/vmlinux

disk=$(mktemp -d)
mkdir -p "$disk/dev" "$disk/root" "$disk/bin" "$disk/usr/lib" "$disk/modules"
for program in sh mount umount insmod sleep run-init; do
    cp "/usr/lib/klibc/bin/$program" "$disk/bin/"
done
cp /usr/lib/klibc-*.so "$disk/usr/lib/"
number=100
for module in $modules; do
    modprobe --set-version "$version" --show-depends "$module" | while read -r kind file _; do
        [ "$kind" = insmod ] || continue
        name=$(basename "$file" .ko.xz)
        [ -z "$(find "$disk/modules" -name "*-$name.ko")" ] || continue
        number=$((number + 1))
        xz -d < "$file" > "$disk/modules/$number-$name.ko"
    done
    number=$((number + 100))
done
cat > "$disk/init" <<'END'
#!/bin/sh
mount -t devtmpfs dev /dev
for module in /modules/*; do
    insmod "$module"
done
tries=0
until [ -b /dev/vda ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { echo "no disk"; exit 1; }
    sleep 0.1
done
mount -t ext4 -o rw,noatime /dev/vda /root || exit 1
umount /dev
exec run-init /root /sbin/init
END
chmod 755 "$disk/init"
(cd "$disk" && find . -mindepth 1 | sort | cpio --quiet --reproducible -o -H newc -R 0:0) > /boot/initrd.img
rm -r "$disk"

passwd --lock root
# Each machine makes its own identity at its first boot.
: > /etc/machine-id
rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed
mkdir -p /var/log/journal
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb /var/cache/debconf/*-old /var/lib/dpkg/*-old
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/apt.conf.d/99mmdebstrap /etc/dpkg/dpkg.cfg.d/99mmdebstrap
find /var/log -type f -delete
# What a first boot would bring up to date is up to date.
/usr/lib/systemd/systemd-update-done
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Definitions, ImageRole};

    #[test]
    fn the_tree_is_finished_by_these_commands() {
        let definition = Definitions::built_in().of(ImageRole::LoadBalancer).unwrap();
        insta::assert_snapshot!(in_tree(&definition));
    }
}
