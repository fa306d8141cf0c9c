//! A mail program as people have it on their desks: it keeps what it knows of folders by UID, comes back every few seconds to
//! whichever node lets it in, fetches what is new, and works on it: stores drafts, flags, files and removes messages. What it
//! sees and what it is told goes into the record; it judges nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::Mutex;

use super::run::Run;
use crate::fleet::{Look, MailSession, Role, SessionError, Stored, VIRTUAL_ADDRESS};
use crate::record::{ClientAction, Operation, Outcome, SeenMail, What};

const INBOX: &str = "INBOX";
const DRAFTS: &str = "Drafts";
const TRASH: &str = "Trash";
const SEEN: &str = "\\Seen";
const FLAGGED: &str = "\\Flagged";

/// What a program knows, by account.
#[derive(Default)]
pub(super) struct Desk {
    programs: Mutex<BTreeMap<String, Arc<Mutex<Program>>>>,
}

/// One account's program. Its cache is void when UIDVALIDITY changes, as RFC 9051 asks for.
struct Program {
    rng: ChaCha8Rng,
    /// Node that let it in last.
    node: Option<String>,
    folders: BTreeMap<String, Cache>,
}

#[derive(Default)]
struct Cache {
    uid_validity: u32,
    uid_next: u32,
    mails: BTreeMap<u32, Stored>,
}

/// One session of the account's program; a second one waits until the first has ended.
pub(super) async fn session(run: &Run, user: &str, deadline: Duration) -> Outcome {
    let program = {
        let mut programs = run.desk.programs.lock().await;
        let seed = run.settings.seed ^ programs.len() as u64;
        let new = || Arc::new(Mutex::new(Program::new(seed)));
        programs.entry(user.to_owned()).or_insert_with(new).clone()
    };
    let mut program = program.lock().await;
    let operation = Operation::MailProgram { user: user.to_owned() };
    // A call may take all of the deadline; the whole session a few calls.
    run.operate(operation, deadline * 4, program.visit(run, user, deadline))
        .await
}

/// A look as the record has it.
pub(super) fn seen(node: &str, user: &str, folder: &str, from: u32, look: &Look) -> What {
    let mails = look.mails.iter().map(|mail| SeenMail {
        uid: mail.uid,
        id: mail.id.clone(),
        flags: mail.flags.clone(),
    });
    What::Folder {
        node: node.to_owned(),
        user: user.to_owned(),
        folder: folder.to_owned(),
        uid_validity: look.uid_validity,
        uid_next: look.uid_next,
        from,
        mails: mails.collect(),
    }
}

/// Where a program is connected.
struct Visit<'a> {
    run: &'a Run,
    node: String,
    user: &'a str,
    session: Box<dyn MailSession + 'a>,
}

impl Program {
    fn new(seed: u64) -> Program {
        Program {
            rng: ChaCha8Rng::seed_from_u64(seed),
            node: None,
            folders: BTreeMap::new(),
        }
    }

    async fn visit(&mut self, run: &Run, user: &str, deadline: Duration) -> Outcome {
        let mut visit = match self.connect(run, user, deadline).await {
            Ok(visit) => visit,
            Err(reason) => return Outcome::Fail { reason },
        };
        match self.work(&mut visit).await {
            Ok(()) => {
                let served_by = Some(visit.node.clone());
                match visit.session.close().await {
                    Ok(()) => Outcome::Ok { served_by },
                    Err(error) => Outcome::Fail {
                        reason: format!("{}: {error}", visit.node),
                    },
                }
            }
            Err(error) => Outcome::Fail {
                reason: format!("{}: {error}", visit.node),
            },
        }
    }

    /// By the name that people's programs are set to, where there is one. Else the node that let it in last comes first.
    async fn connect<'a>(&mut self, run: &'a Run, user: &'a str, deadline: Duration) -> Result<Visit<'a>, String> {
        if run.topology.access_host.is_some() {
            return connect_by_name(run, user, deadline).await;
        }
        let mut nodes = run.topology.of_role(Role::Mail);
        nodes.sort_by_key(|node| Some(*node) != self.node.as_deref());
        let mut reasons = Vec::new();
        for node in nodes {
            match run.fleet.imap_open(node, user, deadline).await {
                Ok(session) => {
                    self.node = Some(node.to_owned());
                    let node = node.to_owned();
                    return Ok(Visit {
                        run,
                        node,
                        user,
                        session,
                    });
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        Err(reasons.join("; "))
    }

    async fn work(&mut self, visit: &mut Visit<'_>) -> Result<(), SessionError> {
        self.store_draft(visit).await?;
        // Now and then a program reads everything anew, so that UIDs are seen again.
        let anew = self.rng.random_range(0..3) == 0;
        self.fetch(visit, INBOX, anew).await?;
        let mails: Vec<Stored> = self
            .folders
            .get(INBOX)
            .map(|cache| cache.mails.values().cloned().collect())
            .unwrap_or_default();
        for mail in mails.iter().rev().filter(|mail| visit.run.is_ours(&mail.id)).take(4) {
            self.handle(visit, mail).await?;
        }
        self.fetch(visit, TRASH, false).await
    }

    async fn store_draft(&mut self, visit: &mut Visit<'_>) -> Result<(), SessionError> {
        let mail = visit.run.fresh_id();
        let stored = visit.session.append(DRAFTS, &mail).await;
        let folder = DRAFTS.to_owned();
        visit.told(ClientAction::Append { folder, mail }, stored)
    }

    /// What is new in a folder since the last time, or everything.
    async fn fetch(&mut self, visit: &mut Visit<'_>, folder: &str, anew: bool) -> Result<(), SessionError> {
        let cache = self.folders.entry(folder.to_owned()).or_default();
        let from = if anew { 1 } else { cache.uid_next.max(1) };
        let look = match visit.session.look(folder, from).await {
            // A folder that nobody has made yet.
            Err(SessionError::Refused(_)) => return Ok(()),
            look => look?,
        };
        visit
            .run
            .recorder
            .record(seen(&visit.node, visit.user, folder, from, &look));
        if look.uid_validity != cache.uid_validity || from == 1 {
            cache.mails.clear();
        }
        (cache.uid_validity, cache.uid_next) = (look.uid_validity, look.uid_next);
        cache.mails.extend(look.mails.into_iter().map(|mail| (mail.uid, mail)));
        Ok(())
    }

    /// Does one thing with a message, or nothing.
    async fn handle(&mut self, visit: &mut Visit<'_>, mail: &Stored) -> Result<(), SessionError> {
        let uid = mail.uid;
        let (folder, id) = (INBOX.to_owned(), mail.id.clone());
        let has = |flag: &str| mail.flags.iter().any(|known| known == flag);
        match self.rng.random_range(0..10) {
            0..=3 if !has(SEEN) || !has(FLAGGED) => {
                let flag = if has(SEEN) { FLAGGED } else { SEEN };
                let done = visit.session.flag(uid, flag).await;
                let set = done.is_ok();
                let action = ClientAction::Flag {
                    folder,
                    uid,
                    mail: id,
                    flag: flag.to_owned(),
                };
                visit.told(action, done)?;
                if let Some(known) = self.known(uid).filter(|_| set) {
                    known.flags.push(flag.to_owned());
                }
                Ok(())
            }
            4..=5 => {
                let to = TRASH.to_owned();
                let done = visit.session.shift(uid, TRASH).await;
                self.forget(uid);
                let action = ClientAction::Move {
                    folder,
                    uid,
                    mail: id,
                    to,
                };
                visit.told(action, done)
            }
            6 if !visit.run.sampler.follows(&id) => {
                let done = visit.session.expunge(uid).await;
                self.forget(uid);
                visit.run.may_be_removed(&id);
                visit.told(ClientAction::Expunge { folder, uid, mail: id }, done)
            }
            _ => Ok(()),
        }
    }

    fn known(&mut self, uid: u32) -> Option<&mut Stored> {
        self.folders.get_mut(INBOX)?.mails.get_mut(&uid)
    }

    fn forget(&mut self, uid: u32) {
        if let Some(cache) = self.folders.get_mut(INBOX) {
            cache.mails.remove(&uid);
        }
    }
}

async fn connect_by_name<'a>(run: &'a Run, user: &'a str, deadline: Duration) -> Result<Visit<'a>, String> {
    let mut reasons = Vec::new();
    // Programs know one name, and what it leads to; of several load balancers without one address, each.
    let doors = run.topology.doors();
    let shared = doors.iter().position(|door| *door == VIRTUAL_ADDRESS);
    let asked = shared.map_or(&doors[..], |index| &doors[index..=index]);
    for balancer in asked {
        match run.fleet.program_opens(balancer, user, deadline).await {
            Ok((node, session)) => {
                return Ok(Visit {
                    run,
                    node,
                    user,
                    session,
                });
            }
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(reasons.join("; "))
}

impl Visit<'_> {
    /// Records what became of a change. A refusal is an answer like any other; a lost connection ends the session.
    fn told<T>(&self, action: ClientAction, done: Result<T, SessionError>) -> Result<(), SessionError> {
        let (outcome, end) = match done {
            Ok(_) => (Outcome::Ok { served_by: None }, Ok(())),
            Err(SessionError::Refused(reason)) => (Outcome::Fail { reason }, Ok(())),
            Err(SessionError::Lost(reason)) => {
                let outcome = Outcome::Unknown { reason: reason.clone() };
                (outcome, Err(SessionError::Lost(reason)))
            }
        };
        self.run.recorder.record(What::Acted {
            node: self.node.clone(),
            user: self.user.to_owned(),
            action,
            outcome,
        });
        end
    }
}
