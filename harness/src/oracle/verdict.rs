//! Verdicts and the reasons for them. A failure outweighs a doubt, and a doubt outweighs a pass.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::record::Service;

/// What a run came to. Ordered: of several, the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The cluster kept its promises, and there is evidence of it.
    Pass,
    /// It cannot be told: evidence is missing.
    Inconclusive,
    /// The cluster broke a promise.
    Fail,
}

impl Verdict {
    /// The exit status of the contract: 0 it holds, 1 it does not, 2 it cannot be told.
    pub fn exit_status(self) -> u8 {
        match self {
            Verdict::Pass => 0,
            Verdict::Fail => 1,
            Verdict::Inconclusive => 2,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Verdict::Pass => "passed",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Fail => "failed",
        })
    }
}

/// Why a run did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What it is, in a stable word such as `ledger.lost`: see [`Code`].
    pub code: String,
    /// What it makes of the run: a failure or a doubt.
    pub verdict: Verdict,
    /// What was seen, for people.
    pub detail: String,
}

impl Reason {
    /// The reason of that code; what it makes of the run follows from the code.
    pub fn new(code: Code, detail: impl Into<String>) -> Reason {
        Reason {
            code: code.to_string(),
            verdict: code.verdict(),
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.code, self.detail)
    }
}

/// Every reason that a judge can give. The words are a contract: scenarios that must fail name them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// Accepted mail is in no mailbox and no queue.
    LedgerLost,
    /// A message is found more often than it was accepted, over all nodes.
    LedgerDoubled,
    /// A message is found in a mailbox of somebody else.
    LedgerMisdelivered,
    /// A message of this run is found that was never sent.
    LedgerPhantom,
    /// A message is found although the sender was told that it was not taken.
    LedgerContradicted,
    /// Accepted mail still waits in a queue at the end.
    LedgerWaiting,
    /// No mail was accepted, so nothing is shown.
    LedgerNothingAccepted,
    /// A mailbox was not looked into after the last mail was sent.
    LedgerNotSeen,
    /// Accepted mail is on the writer, but not in the copy of the store.
    LedgerNotCopied,
    /// The copy of an account was not looked into after the last mail was sent.
    LedgerCopyNotSeen,
    /// A mail program saw two messages under one UID.
    UidReused,
    /// A folder's UIDVALIDITY changed.
    UidValidityChanged,
    /// A folder's UIDNEXT went down.
    UidNextBack,
    /// No mail program saw a message twice, so nothing is shown of UIDs.
    UidNotSeen,
    /// A message that a mail program stored is gone.
    ActionAppendLost,
    /// A flag that was set is gone.
    ActionFlagLost,
    /// A message that was moved is not where it was moved to.
    ActionMoveLost,
    /// A message that was removed for good is there again.
    ActionExpungeUndone,
    /// Nothing that a mail program did was acknowledged.
    ActionNothingAcknowledged,
    /// An account was not looked into after the last thing that a mail program did.
    ActionNotSeen,
    /// The copy of the store was further behind than allowed.
    LagOver,
    /// A message did not come to the copy of the store while it was waited for.
    LagNever,
    /// There is a limit for the lag, but no message was followed to the copy.
    LagUnseen,
    /// Two nodes were writers at once.
    StoreTwoWriters,
    /// A service was away for longer than its budget.
    Outage(Service),
    /// More operations of a service failed than its budget allows.
    OutageFailed(Service),
    /// A service with a budget was never used, or only once.
    OutageUnseen(Service),
    /// Nobody used the service for longer than its budget, or nobody used it after a fault: an outage could hide there.
    OutageBlind(Service),
    /// The service was away when traffic ended; so far within its budget.
    OutageNotBack(Service),
    /// An acknowledged row is missing on a node.
    RowMissing,
    /// A row that was not acknowledged is on one node and not on the other.
    RowDisagrees,
    /// A row of this run is found that was never written.
    RowPhantom,
    /// A row is found more than once on a node.
    RowDoubled,
    /// A row is found although the writer was told that it was not taken.
    RowContradicted,
    /// A table differs between the nodes.
    ChecksumDiffers,
    /// A table is missing on a node.
    TableMissing,
    /// The thread that fetches the peer's changes does not run.
    IoStopped,
    /// The thread that applies the peer's changes does not run.
    SqlStopped,
    /// Replication converged too late.
    ConvergedLate,
    /// Replication did not converge while it was waited for.
    NotConverged,
    /// No row was acknowledged (at all, or in a database that must have one), so nothing is shown.
    NothingAcknowledged,
    /// The rows of a database were not looked at after the last write.
    RowsNotSeen,
    /// The checksum of a table is unknown.
    ChecksumNotSeen,
    /// The replica threads of a node were not looked at.
    ThreadsNotSeen,
    /// There is a limit for convergence, but it was not measured.
    ConvergenceNotSeen,
    /// A fault left no evidence that it took hold.
    InjectReceiptMissing,
    /// The healing of a fault left no evidence.
    HealReceiptMissing,
    /// What the scenario is about did not happen.
    WitnessMissing,
    /// A step came to something else than expected; the kind of the step.
    StepBroken(String),
    /// A step could not be judged; the kind of the step.
    StepInconclusive(String),
    /// A step was not ended, or not begun.
    StepUnfinished,
    /// The record does not begin and end as a whole run does.
    RecordUnfinished,
    /// The record contradicts itself.
    RecordMalformed,
    /// Nothing was judged at all.
    NothingJudged,
    /// A judge panicked.
    JudgeCrashed,
    /// A scenario that must fail did not, or failed for another reason.
    MustFail,
}

impl Code {
    /// What a reason of this code makes of a run.
    pub fn verdict(&self) -> Verdict {
        match self {
            Code::LedgerLost
            | Code::LedgerDoubled
            | Code::LedgerMisdelivered
            | Code::LedgerPhantom
            | Code::LedgerContradicted
            | Code::LedgerWaiting
            | Code::LedgerNotCopied
            | Code::UidReused
            | Code::UidValidityChanged
            | Code::UidNextBack
            | Code::ActionAppendLost
            | Code::ActionFlagLost
            | Code::ActionMoveLost
            | Code::ActionExpungeUndone
            | Code::LagOver
            | Code::LagNever
            | Code::StoreTwoWriters
            | Code::Outage(_)
            | Code::OutageFailed(_)
            | Code::RowMissing
            | Code::RowDisagrees
            | Code::RowPhantom
            | Code::RowDoubled
            | Code::RowContradicted
            | Code::ChecksumDiffers
            | Code::TableMissing
            | Code::IoStopped
            | Code::SqlStopped
            | Code::ConvergedLate
            | Code::NotConverged
            | Code::StepBroken(_)
            | Code::MustFail => Verdict::Fail,
            Code::LedgerNothingAccepted
            | Code::LedgerNotSeen
            | Code::LedgerCopyNotSeen
            | Code::UidNotSeen
            | Code::ActionNothingAcknowledged
            | Code::ActionNotSeen
            | Code::LagUnseen
            | Code::OutageUnseen(_)
            | Code::OutageBlind(_)
            | Code::OutageNotBack(_)
            | Code::NothingAcknowledged
            | Code::RowsNotSeen
            | Code::ChecksumNotSeen
            | Code::ThreadsNotSeen
            | Code::ConvergenceNotSeen
            | Code::InjectReceiptMissing
            | Code::HealReceiptMissing
            | Code::WitnessMissing
            | Code::StepInconclusive(_)
            | Code::StepUnfinished
            | Code::RecordUnfinished
            | Code::RecordMalformed
            | Code::NothingJudged
            | Code::JudgeCrashed => Verdict::Inconclusive,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Code::Outage(service) => return write!(out, "outage.{}", service.as_str()),
            Code::OutageFailed(service) => return write!(out, "outage.{}.failed", service.as_str()),
            Code::OutageUnseen(service) => return write!(out, "outage.{}.unseen", service.as_str()),
            Code::OutageBlind(service) => return write!(out, "outage.{}.blind", service.as_str()),
            Code::OutageNotBack(service) => return write!(out, "outage.{}.not-back", service.as_str()),
            Code::StepBroken(kind) => return write!(out, "step.broken:{kind}"),
            Code::StepInconclusive(kind) => return write!(out, "step.inconclusive:{kind}"),
            Code::LedgerLost => "ledger.lost",
            Code::LedgerDoubled => "ledger.doubled",
            Code::LedgerMisdelivered => "ledger.misdelivered",
            Code::LedgerPhantom => "ledger.phantom",
            Code::LedgerContradicted => "ledger.contradicted",
            Code::LedgerWaiting => "ledger.waiting",
            Code::LedgerNothingAccepted => "ledger.nothing-accepted",
            Code::LedgerNotSeen => "ledger.not-seen",
            Code::LedgerNotCopied => "ledger.not-copied",
            Code::LedgerCopyNotSeen => "ledger.copy-not-seen",
            Code::UidReused => "uid.reused",
            Code::UidValidityChanged => "uid.validity-changed",
            Code::UidNextBack => "uid.next-back",
            Code::UidNotSeen => "uid.not-seen",
            Code::ActionAppendLost => "action.append-lost",
            Code::ActionFlagLost => "action.flag-lost",
            Code::ActionMoveLost => "action.move-lost",
            Code::ActionExpungeUndone => "action.expunge-undone",
            Code::ActionNothingAcknowledged => "action.nothing-acknowledged",
            Code::ActionNotSeen => "action.not-seen",
            Code::LagOver => "lag.over",
            Code::LagNever => "lag.never",
            Code::LagUnseen => "lag.unseen",
            Code::StoreTwoWriters => "store.two-writers",
            Code::RowMissing => "replication.row-missing",
            Code::RowDisagrees => "replication.row-disagrees",
            Code::RowPhantom => "replication.phantom",
            Code::RowDoubled => "replication.doubled",
            Code::RowContradicted => "replication.contradicted",
            Code::ChecksumDiffers => "replication.checksum",
            Code::TableMissing => "replication.table-missing",
            Code::IoStopped => "replication.io-stopped",
            Code::SqlStopped => "replication.sql-stopped",
            Code::ConvergedLate => "replication.late",
            Code::NotConverged => "replication.not-converged",
            Code::NothingAcknowledged => "replication.nothing-acknowledged",
            Code::RowsNotSeen => "replication.rows-not-seen",
            Code::ChecksumNotSeen => "replication.checksum-not-seen",
            Code::ThreadsNotSeen => "replication.threads-not-seen",
            Code::ConvergenceNotSeen => "replication.convergence-not-seen",
            Code::InjectReceiptMissing => "receipt.inject-missing",
            Code::HealReceiptMissing => "receipt.heal-missing",
            Code::WitnessMissing => "witness.missing",
            Code::StepUnfinished => "step.unfinished",
            Code::RecordUnfinished => "record.unfinished",
            Code::RecordMalformed => "record.malformed",
            Code::NothingJudged => "judge.nothing-judged",
            Code::JudgeCrashed => "judge.crashed",
            Code::MustFail => "must-fail",
        };
        out.write_str(word)
    }
}

/// At most five of a list, and how many more there are: details stay readable however much went wrong.
pub(super) fn some_of<T: fmt::Display>(all: &[T]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = all.iter().take(SHOWN).map(T::to_string).collect();
    match all.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
