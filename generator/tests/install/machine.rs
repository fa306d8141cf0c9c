//! A machine for the script `install`: a folder that stands for `/`, and stubs that stand for daemons and for systemd.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use generator::bundle::Tree;
use generator::render::{Agent, render};
use generator::secrets::Secrets;
use generator::spec::Cluster;

/// The script of the pair's first mail node.
static PAIR: LazyLock<String> = LazyLock::new(|| script_of(include_str!("../../examples/pair.toml"), "mail1"));

/// The script of a mail node with the mail store.
static STORE: LazyLock<String> = LazyLock::new(|| script_of(include_str!("../../examples/store.toml"), "mail1"));

/// The script of a mail node whose cluster decides by itself who is the writer.
static ROLE: LazyLock<String> = LazyLock::new(|| script_of(include_str!("../../examples/role.toml"), "mail1"));

/// The script of a load balancer with a virtual address.
static LOAD_BALANCER: LazyLock<String> =
    LazyLock::new(|| script_of(include_str!("../../examples/redundant.toml"), "lb1"));

/// The scripts of the two iRedMail nodes.
static IREDMAIL: LazyLock<[String; 2]> =
    LazyLock::new(|| ["mail1", "mail2"].map(|node| script_of(IREDMAIL_PAIR, node)));

/// The description of two iRedMail nodes.
const IREDMAIL_PAIR: &str = include_str!("../../examples/iredmail.toml");

/// The script of a Proxmox Mail Gateway.
static PMG: LazyLock<String> = LazyLock::new(|| script_of(include_str!("../../examples/proxmox.toml"), "gateway"));

fn script_of(description: &str, node: &str) -> String {
    tree_of(description, node).install
}

fn tree_of(description: &str, node: &str) -> Tree {
    let cluster: Cluster = toml::from_str(description).unwrap();
    let secrets = Secrets::from_seed(&cluster, 1).unwrap();
    let mut bundle = render(&cluster, &secrets, Some(&Agent::stand_in())).unwrap();
    bundle.nodes.remove(node).unwrap()
}

/// What is laid over the files of an iRedMail node.
pub fn overlay(node: &str) -> Files {
    let files = tree_of(IREDMAIL_PAIR, node).files.into_iter();
    files
        .map(|(path, file)| (path, (String::from_utf8(file.contents).unwrap(), file.mode)))
        .collect()
}

/// Path to contents and mode.
pub type Files = BTreeMap<String, (String, u32)>;

/// Files of a bundle or of a machine: path, contents, mode.
pub fn files<const N: usize>(files: [(&str, &str, u32); N]) -> Files {
    let entry = |(path, contents, mode): (&str, &str, u32)| (path.to_owned(), (contents.to_owned(), mode));
    files.into_iter().map(entry).collect()
}

/// One machine, gone with the value.
pub struct Machine {
    dir: tempfile::TempDir,
    script: &'static str,
}

const SYSTEMCTL: &str = r#"#!/bin/sh
verb='' units=''
for word in "$@"; do
    case $word in --*) ;; *) if [ -z "$verb" ]; then verb=$word; else units="$units $word"; fi ;; esac
done
printf '%s\n' "$verb$units" >> "$state/log"
if [ -e "$state/fails-once.$verb" ]; then rm "$state/fails-once.$verb"; exit 1; fi
listed() { sed 's/^[^.]*$/&.service/; s/$/ loaded active/' "$1"; }
with() { for unit in $units; do grep -qxF "$unit" "$1" || echo "$unit" >> "$1"; done; }
without() { for unit in $units; do { grep -vxF "$unit" "$1" || :; } > "$1.new"; mv "$1.new" "$1"; done; }
case $verb in
    list-units) listed "$state/running" ;;
    start | restart) with "$state/running" ;;
    stop) without "$state/running" ;;
    enable | disable)
        for unit in $units; do
            case $unit in *.*) ;; *) unit=$unit.service ;; esac
            # A link that is there stays, as with systemd: there is no moment without it.
            case $verb in
                disable) rm -f "$wants/$unit" ;;
                enable) [ -L "$wants/$unit" ] || ln -s "/usr/lib/systemd/system/$unit" "$wants/$unit" ;;
            esac
        done ;;
esac
"#;

/// Stubs by name; `$state` is the folder of what they note and are told.
const STUBS: [(&str, &str); 38] = [
    ("udevadm", "#!/bin/sh\necho \"udevadm $1\" >> \"$state/log\"\n"),
    ("pmgconfig", "#!/bin/sh\necho \"pmgconfig $*\" >> \"$state/log\"\n"),
    ("certutil", "#!/bin/sh\n"),
    ("cibadmin", "#!/bin/sh\n"),
    ("corosync", "#!/bin/sh\n"),
    ("crm_mon", "#!/bin/sh\n"),
    ("crm_resource", "#!/bin/sh\n"),
    ("openssl", "#!/bin/sh\n"),
    ("pacemakerd", "#!/bin/sh\n"),
    ("pk12util", "#!/bin/sh\n"),
    ("sbd", "#!/bin/sh\n"),
    ("corosync-qdevice", "#!/bin/sh\n"),
    (
        "zpool",
        r#"#!/bin/sh
case $1$# in
    list*) [ -e "$state/pool" ] ;;
    import3) cat "$state/importable" 2> /dev/null ;;
    import* | create*) [ ! -e "$state/no-pool" ] || exit 1; echo "zpool $*" >> "$state/log"; touch "$state/pool" ;;
esac
"#,
    ),
    (
        "zfs",
        "#!/bin/sh\n[ $1 = list ] && exec test -e \"$state/config\"\necho \"zfs $*\" >> \"$state/log\"\ntouch \"$state/config\"\n",
    ),
    ("wipefs", "#!/bin/sh\nfor disk; do :; done\ncat \"$disk\"\n"),
    ("mountpoint", "#!/bin/sh\ntest -e \"$state/mounted\"\n"),
    ("zgenhostid", "#!/bin/sh\necho zgenhostid >> \"$state/log\"\n"),
    ("systemctl", SYSTEMCTL),
    (
        "id",
        "#!/bin/sh\n[ \"$1\" = -u ] && cat \"$state/uid\" || echo mysql ssl-cert\n",
    ),
    (
        "unshare",
        "#!/bin/sh\necho unshare >> \"$state/log\"\n[ ! -e \"$state/refused\" ] || { cat \"$state/refused\" >&2; exit 1; }\n",
    ),
    (
        "perl",
        "#!/bin/sh\n[ ! -e \"$state/power-cut\" ] || { rm \"$state/power-cut\"; for list; do :; done; head -n 1 \"$list\" > \"$state/one\"; /usr/bin/perl \"$1\" \"$2\" -- \"$4\" \"$state/one\"; exit 1; }\nexec /usr/bin/perl \"$@\"\n",
    ),
    ("postconf", "#!/bin/sh\necho /var/spool/postfix\n"),
    ("chattr", "#!/bin/sh\n"),
    ("chown", "#!/bin/sh\n"),
    ("getent", "#!/bin/sh\n"),
    ("mariadbd", "#!/bin/sh\n"),
    ("doveconf", "#!/bin/sh\n"),
    ("sievec", "#!/bin/sh\n"),
    ("postfix", "#!/bin/sh\n"),
    ("nginx", "#!/bin/sh\n"),
    ("php-fpm8.4", "#!/bin/sh\n"),
    ("nft", "#!/bin/sh\n"),
    ("named-checkzone", "#!/bin/sh\n"),
    ("curl", "#!/bin/sh\n"),
    ("haproxy", "#!/bin/sh\n"),
    ("keepalived", "#!/bin/sh\n"),
    ("groupadd", "#!/bin/sh\n"),
    ("useradd", "#!/bin/sh\n"),
];

/// Where a unit that starts with the system has a link.
const WANTS: &str = "root/etc/systemd/system/multi-user.target.wants";

/// What runs before anything is installed.
const BEFORE: &str = "ssh\nsystemd-sysctl\npostfix\n";

impl Machine {
    /// A machine with these files, for the pair.
    pub fn new(live: &Files) -> Machine {
        Machine::of(&PAIR, live)
    }

    /// A machine with these files, for the cluster with a mail store.
    pub fn with_store(live: &Files) -> Machine {
        Machine::of(&STORE, live)
    }

    /// A machine with these files, for the cluster that decides by itself who is the writer.
    pub fn with_role(live: &Files) -> Machine {
        Machine::of(&ROLE, live)
    }

    /// An iRedMail node with these files: 1 for the primary, 2 for the other.
    pub fn with_iredmail(number: usize, live: &Files) -> Machine {
        Machine::of(&IREDMAIL[number - 1], live)
    }

    /// The first of two load balancers, with these files.
    pub fn with_load_balancer(live: &Files) -> Machine {
        Machine::of(&LOAD_BALANCER, live)
    }

    /// A Proxmox Mail Gateway with these files.
    pub fn with_pmg(live: &Files) -> Machine {
        Machine::of(&PMG, live)
    }

    fn of(script: &'static str, live: &Files) -> Machine {
        let machine = Machine {
            dir: tempfile::tempdir().unwrap(),
            script,
        };
        for folder in ["root/run", "root/var/vmail", "root/etc", WANTS, "stubs", "state"] {
            fs::create_dir_all(machine.path(folder)).unwrap();
        }
        for unit in ["ssh.service", "postfix.service"] {
            let file = Path::new("/usr/lib/systemd/system").join(unit);
            std::os::unix::fs::symlink(file, machine.path(WANTS).join(unit)).unwrap();
        }
        let state = machine.path("state");
        for (name, text) in STUBS {
            let text = text
                .replace("$state", state.to_str().unwrap())
                .replace("$wants", machine.path(WANTS).to_str().unwrap());
            write(&machine.path("stubs").join(name), &text, 0o755);
        }
        for (name, text) in [("uid", "0\n"), ("running", BEFORE), ("log", "")] {
            fs::write(state.join(name), text).unwrap();
        }
        for (path, (contents, mode)) in live {
            write(&machine.live(path), contents, *mode);
        }
        machine
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where a path of the machine lies here.
    pub fn live(&self, path: &str) -> PathBuf {
        self.path("root").join(path.trim_start_matches('/'))
    }

    /// Tells a stub what to do.
    pub fn tell(&self, name: &str, text: &str) {
        fs::write(self.path("state").join(name), text).unwrap();
    }

    /// The units that run, sorted.
    pub fn running(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("state/running")).unwrap();
        let mut units: Vec<String> = text.lines().map(str::to_owned).collect();
        units.sort();
        units
    }

    /// What was called since the last time.
    pub fn calls(&self) -> Vec<String> {
        let log = self.path("state/log");
        let text = fs::read_to_string(&log).unwrap();
        fs::write(log, "").unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Copies a bundle to the machine.
    pub fn copy(&self, bundle: &Files) {
        let place = self.path("bundle");
        let _ = fs::remove_dir_all(&place);
        let owner = self.dir.path().metadata().unwrap();
        let name = |option: &str, number: u32| {
            let told = Command::new("/usr/bin/stat")
                .args(["-c", option])
                .arg(self.dir.path())
                .output();
            let name = String::from_utf8(told.unwrap().stdout).unwrap().trim().to_owned();
            if name == "UNKNOWN" { number.to_string() } else { name }
        };
        let (user, group) = (name("%U", owner.uid()), name("%G", owner.gid()));
        let mut manifest = String::new();
        for (path, (contents, mode)) in bundle {
            write(&place.join("root").join(&path[1..]), contents, 0o600);
            let sha = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(contents.as_bytes()));
            manifest += &format!("{sha} {mode:04o} {user} {group} {path}\n");
        }
        write(&place.join("manifest"), &manifest, 0o600);
        write(&place.join("install"), &self.script(), 0o755);
    }

    /// The script as it is generated, but for two lines: what stands for `/`, and where programs are looked for.
    fn script(&self) -> String {
        let (root, stubs) = (self.path("root"), self.path("stubs"));
        let swaps = [
            ("\nroot=''\n", format!("\nroot='{}'\n", root.display())),
            (" PATH=/usr/sbin:", format!(" PATH={}:/usr/sbin:", stubs.display())),
        ];
        swaps.iter().fold(self.script.to_owned(), |script, (old, new)| {
            assert_eq!(script.matches(old).count(), 1, "{old}");
            script.replace(old, new)
        })
    }

    /// Runs the script.
    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new("/bin/sh")
            .arg(self.path("bundle/install"))
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Runs the script and ends it and everything it started without a warning, after so long.
    pub fn cut(&self, arguments: &[&str], after: Duration) {
        let mut script = Command::new("/bin/sh");
        script.arg(self.path("bundle/install")).args(arguments).process_group(0);
        let mut child = script.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(after);
        let group = format!("-{}", child.id());
        // It may have ended by itself.
        let _ = Command::new("/bin/kill")
            .args(["-KILL", "--", &group])
            .stderr(Stdio::null())
            .status();
        child.wait().unwrap();
        // What it started ends a little later, and holds the lock until then.
        let lock = fs::File::create(self.live("/run/cluster-install.lock")).unwrap();
        lock.lock().unwrap();
    }

    /// Runs the script, which has to succeed; gives what it said.
    pub fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {out}{err}");
        assert_eq!(err, "", "{arguments:?}: {out}");
        out
    }

    /// Every file of the machine but what the script keeps; links by where they lead. Folders end with a slash.
    pub fn state(&self) -> Files {
        let (root, mut found) = (self.path("root"), Files::new());
        let mut todo = vec![root.clone()];
        while let Some(folder) = todo.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = format!("/{}", path.strip_prefix(&root).unwrap().display());
                let meta = path.symlink_metadata().unwrap();
                // What lies in /run is gone with the next start.
                if name == "/var/backups" || name == "/run" {
                    continue;
                } else if meta.is_symlink() {
                    found.insert(name, (format!("-> {}", fs::read_link(&path).unwrap().display()), 0));
                } else if meta.is_dir() {
                    found.insert(name + "/", (String::new(), 0));
                    todo.push(path);
                } else {
                    found.insert(name, (fs::read_to_string(&path).unwrap(), meta.mode() & 0o7777));
                }
            }
        }
        found
    }
}

/// Some moments within the time that a task takes.
pub fn moments(task: impl FnOnce()) -> impl Iterator<Item = Duration> {
    const MOMENTS: u32 = 5;
    let began = Instant::now();
    task();
    let took = began.elapsed();
    (0..MOMENTS).map(move |moment| took * moment / MOMENTS)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn write(path: &Path, contents: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
