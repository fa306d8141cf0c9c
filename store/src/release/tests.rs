use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;

use super::order::{Both, Follows, Party, deliver, releases};
use super::*;
use crate::zfs::Stream;

const ID: &str = "20260101T000000Z-aaaaaaaa";

/// A node in memory, which notes what it is asked for in a diary that both share.
struct Node<'a> {
    name: &'static str,
    diary: &'a Mutex<Vec<String>>,
    releases: Mutex<Vec<Release>>,
    fails: bool,
    /// So many questions for progress find nobody.
    away: Mutex<u32>,
}

impl<'a> Node<'a> {
    fn new(name: &'static str, diary: &'a Mutex<Vec<String>>) -> Node<'a> {
        Node {
            name,
            diary,
            releases: Mutex::new(vec![release(ID, State::Ready, None)]),
            fails: false,
            away: Mutex::new(0),
        }
    }
}

pub(super) fn release(id: &str, state: State, at: Option<u64>) -> Release {
    Release {
        name: Name {
            id: id.to_owned(),
            seal: Seal::of(id),
        },
        state,
        at,
        installation: None,
    }
}

#[async_trait]
impl Host for Node<'_> {
    async fn ask(&self, ask: Ask) -> Result<Told, HostError> {
        match ask {
            Ask::List => Ok(Told::Releases(self.releases.lock().expect("releases").clone())),
            Ask::Begin { id, task } => {
                let line = format!("{} {} {id}", self.name, task.word());
                self.diary.lock().expect("diary").push(line);
                Ok(Told::Begun(7))
            }
            Ask::Progress { number: 7, from } => {
                let mut away = self.away.lock().expect("away");
                if *away > 0 {
                    *away -= 1;
                    return Err(HostError::Lost("connection reset".to_owned()));
                }
                let said = "done\n"[usize::try_from(from).expect("a place")..].to_owned();
                Ok(Told::Progress(Progress {
                    well: Some(!self.fails),
                    said,
                    next: 5,
                }))
            }
            Ask::Progress { .. } => panic!("another installation was asked for"),
        }
    }

    async fn take(&self, name: Name, _: Stream) -> Result<(), HostError> {
        self.diary
            .lock()
            .expect("diary")
            .push(format!("{} takes {}", self.name, name.id));
        Ok(())
    }
}

struct Following;

#[async_trait]
impl Follows for Following {
    async fn obstacle(&self) -> Option<String> {
        None
    }
}

fn both<'a>(standby: &'a Node<'_>, writer: &'a Node<'_>) -> Both<'a> {
    Both {
        standby: Party {
            name: standby.name,
            host: standby,
        },
        writer: Party {
            name: writer.name,
            host: writer,
        },
        limit: Duration::from_secs(60),
        interval: Duration::from_secs(1),
    }
}

fn quiet(_: &str) {}

#[tokio::test(start_paused = true)]
async fn the_standby_comes_first() {
    let diary = Mutex::default();
    let (standby, writer) = (Node::new("mail2", &diary), Node::new("mail1", &diary));
    let done = both(&standby, &writer).install(ID, false, &Following, &quiet).await;
    done.expect("it is installed");
    let diary = diary.lock().expect("diary").join(", ");
    assert_eq!(diary, format!("mail2 install {ID}, mail1 install {ID}"));
}

#[tokio::test(start_paused = true)]
async fn the_writer_is_not_touched_if_the_standby_fails() {
    let diary = Mutex::default();
    let (mut standby, writer) = (Node::new("mail2", &diary), Node::new("mail1", &diary));
    standby.fails = true;
    let failed = both(&standby, &writer).install(ID, false, &Following, &quiet).await;
    insta::assert_snapshot!(failed.expect_err("the standby fails"), @"mail2: install failed; mail1 is as it was. `cluster-store back-out` takes it back on mail2");
    assert_eq!(diary.lock().expect("diary").join(", "), format!("mail2 install {ID}"));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_a_node_lacks_is_installed_nowhere() {
    let diary = Mutex::default();
    let (standby, writer) = (Node::new("mail2", &diary), Node::new("mail1", &diary));
    writer.releases.lock().expect("releases").clear();
    let failed = both(&standby, &writer).install(ID, false, &Following, &quiet).await;
    insta::assert_snapshot!(failed.expect_err("the writer lacks it"), @"mail1: release 20260101T000000Z-aaaaaaaa is not here: `cluster-store release FOLDER` on the writer sends it");
    assert!(diary.lock().expect("diary").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_standby_whose_agent_is_restarted_is_asked_again() {
    let diary = Mutex::default();
    let (standby, writer) = (Node::new("mail2", &diary), Node::new("mail1", &diary));
    *standby.away.lock().expect("away") = 20;
    let done = both(&standby, &writer).install(ID, false, &Following, &quiet).await;
    done.expect("it is installed");
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_stays_away_is_given_up_and_the_writer_not_touched() {
    let diary = Mutex::default();
    let (standby, writer) = (Node::new("mail2", &diary), Node::new("mail1", &diary));
    *standby.away.lock().expect("away") = u32::MAX;
    let failed = both(&standby, &writer).install(ID, false, &Following, &quiet).await;
    insta::assert_snapshot!(failed.expect_err("the standby is away"), @"mail2: install has not ended within 60s; last: it does not answer: connection reset");
    assert_eq!(diary.lock().expect("diary").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_only_the_standby_has_is_taken_back_there_alone() {
    let diary = Mutex::default();
    let (standby, writer) = (Node::new("mail2", &diary), Node::new("mail1", &diary));
    let earlier = release("20250101T000000Z-bbbbbbbb", State::Installed, Some(1));
    *standby.releases.lock().expect("releases") = vec![earlier.clone(), release(ID, State::Failed, Some(2))];
    *writer.releases.lock().expect("releases") = vec![earlier, release(ID, State::Ready, None)];
    let done = both(&standby, &writer).back_out(&Following, &quiet).await;
    assert_eq!(done.expect("it is taken back"), ID);
    assert_eq!(diary.lock().expect("diary").join(", "), format!("mail2 undo {ID}"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_back_where_nothing_was_installed() {
    let diary = Mutex::default();
    let (standby, writer) = (Node::new("mail2", &diary), Node::new("mail1", &diary));
    let failed = both(&standby, &writer).back_out(&Following, &quiet).await;
    insta::assert_snapshot!(failed.expect_err("nothing is installed"), @"nothing to take back: no release is installed on mail2 or mail1");
}

#[tokio::test]
async fn a_release_is_sent_once() {
    let diary = Mutex::default();
    let peer = Node::new("mail2", &diary);
    let stream = async || Ok(Box::new(tokio::io::empty()) as Stream);
    let known = releases(&peer).await.expect("a list")[0].name.clone();
    assert!(!deliver(&peer, &known, stream()).await.expect("it is there"));
    let other = release("20260202T000000Z-cccccccc", State::Ready, None).name;
    assert!(deliver(&peer, &other, stream()).await.expect("it is taken"));
    assert_eq!(
        diary.lock().expect("diary").join(", "),
        "mail2 takes 20260202T000000Z-cccccccc"
    );
}

mod seals {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::super::seal::{self, LIST, Seal};

    const FOLDERS: [&str; 2] = ["mail1", "mail2"];

    /// A release of two bundles, and its seal.
    fn released(root: &Path) -> Seal {
        for node in FOLDERS {
            fs::create_dir_all(root.join(node).join("root/etc")).expect("folders");
            fs::write(root.join(node).join("install"), "#!/bin/sh\n").expect("a script");
            fs::write(root.join(node).join("root/etc/motd"), node).expect("a file");
        }
        let list = seal::list(root, &FOLDERS).expect("a list");
        fs::write(root.join(LIST), &list).expect("the list");
        Seal::of(&list)
    }

    fn differs(root: &Path, seal: &Seal) -> String {
        seal::verify(root, &FOLDERS, seal).expect_err("it differs").to_string()
    }

    #[test]
    fn a_whole_release_is_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let seal = released(folder.path());
        seal::verify(folder.path(), &FOLDERS, &seal).expect("it is whole");
    }

    #[test]
    fn a_changed_a_missing_and_a_further_file_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let seal = released(root);
        let motd = root.join("mail2/root/etc/motd");
        fs::write(&motd, "mail3").expect("a file");
        assert_eq!(differs(root, &seal), "mail2/root/etc/motd is not as it was released");
        fs::remove_file(&motd).expect("a file");
        assert_eq!(differs(root, &seal), "mail2/root/etc/motd is not as it was released");
        released(root);
        fs::write(root.join("mail1/root/etc/issue"), "more").expect("a file");
        assert_eq!(differs(root, &seal), "mail1/root/etc/issue is not as it was released");
    }

    #[test]
    fn a_mode_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let seal = released(folder.path());
        let script = folder.path().join("mail1/install");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o4755)).expect("a mode");
        assert_eq!(differs(folder.path(), &seal), "mail1/install is not as it was released");
    }

    #[test]
    fn another_list_is_another_release() {
        let folder = tempfile::tempdir().expect("a folder");
        let seal = released(folder.path());
        fs::write(folder.path().join("mail1/root/etc/motd"), "other").expect("a file");
        let other = seal::list(folder.path(), &FOLDERS).expect("a list");
        fs::write(folder.path().join(LIST), other).expect("the list");
        assert!(differs(folder.path(), &seal).starts_with("its list of files has the seal"));
    }

    #[test]
    fn a_link_is_no_file_of_a_bundle() {
        let folder = tempfile::tempdir().expect("a folder");
        released(folder.path());
        symlink("/etc/passwd", folder.path().join("mail1/root/etc/passwd")).expect("a link");
        let refused = seal::list(folder.path(), &FOLDERS).expect_err("a link");
        assert!(refused.to_string().ends_with("is no file or folder of a bundle"));
    }
}
