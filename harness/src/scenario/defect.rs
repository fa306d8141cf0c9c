//! Planted defects: what the simulated cluster can be made to get wrong, so that every check is seen to fail.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that a cluster under test gets wrong on purpose. Only the simulation can carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Defect {
    /// The third accepted message vanishes.
    LoseMail,
    /// The third accepted message is delivered twice.
    DoubleMail,
    /// The third accepted message lands in another user's mailbox.
    Misdeliver,
    /// Mail waits two minutes in the queue before it is delivered.
    LateMail,
    /// Every message is refused for now (451).
    RefuseMail,
    /// The sender is told that its mail bounced, although it is delivered.
    BounceMail,
    /// The queue looks empty, whatever waits in it.
    HideQueue,
    /// The third row that should be copied to the peer is skipped.
    DropRow,
    /// One table of the second mail node has a row that the first has not.
    DivergeTable,
    /// The SQL thread of the second mail node stops at the first row that it should apply.
    StopSqlThread,
    /// The IO thread of the second mail node never connects, but says that it runs the SQL thread.
    StopIoThread,
    /// Rows reach the peer two minutes late.
    LateRows,
    /// Rows reach the peer a day late.
    StallRows,
    /// The second mail node refuses writes.
    RefuseWrites,
    /// A webmail log-in leaves no row in `roundcubemail.users`.
    ForgetLogin,
    /// The load balancer needs thirty failed checks where three are configured.
    SlowFailover,
    /// Webmail is always served by the first mail node, even when it is said to be down.
    WrongServer,
    /// What users send elsewhere is not signed.
    LoseSignature,
    /// What gateways found out about mail from elsewhere is not sealed.
    LoseSeal,
    /// The filter refuses nothing, and mail is taken in while it is away.
    BlindFilter,
    /// The virtual address stays where it is, whatever becomes of the machine.
    KeepAddress,
    /// Webmail answers nothing for forty seconds.
    PauseWebmail,
    /// No MX host answers for forty seconds.
    PauseMailIn,
    /// The databases answer nothing for forty seconds.
    PauseSql,
    /// IMAP answers nothing for forty seconds.
    PauseImap,
    /// The database port of every mail node is open to the internet.
    OpenDoor,
    /// The host that takes mail relays for anybody.
    OpenRelay,
    /// The host that takes mail offers AUTH before STARTTLS.
    ClearTextAuth,
    /// A service of the second mail node is reported as failed for two minutes.
    Ailing,
    /// Faults take hold, but nothing shows it.
    NoReceipt,
    /// Faults are healed, but nothing shows it.
    NoHealReceipt,
    /// What a lost writer had acknowledged alone is thrown away when it returns.
    StoreLoseTail,
    /// Mail is acknowledged before the standby has it, and gets there 8 seconds late.
    StoreLateCopy,
    /// Mail is acknowledged, and nothing ever gets to the standby.
    StoreStuck,
    /// One message never gets to the standby.
    StoreSkipMail,
    /// A standby that takes over gives UIDs again that clients may have seen.
    StoreReuseUids,
    /// A take-over changes UIDVALIDITY.
    StoreNewValidity,
    /// After a take-over UIDNEXT is told as 1.
    StoreUidNextBack,
    /// Flags do not get to the standby.
    StoreForgetFlags,
    /// Moves do not get to the standby.
    StoreForgetMoves,
    /// Drafts do not get to the standby.
    StoreForgetAppends,
    /// Removed messages are on the standby again.
    StoreUndoExpunge,
    /// Both agents say that their node is the writer.
    StoreTwoWriters,
    /// Nobody takes over.
    StoreNoTakeOver,
    /// The agent refuses to make its node the writer.
    StoreRefuseRole,
}

impl Defect {
    /// Every defect, in the order of the description.
    pub const ALL: [Defect; 45] = [
        Defect::LoseMail,
        Defect::DoubleMail,
        Defect::Misdeliver,
        Defect::LateMail,
        Defect::RefuseMail,
        Defect::BounceMail,
        Defect::HideQueue,
        Defect::DropRow,
        Defect::DivergeTable,
        Defect::StopSqlThread,
        Defect::StopIoThread,
        Defect::LateRows,
        Defect::StallRows,
        Defect::RefuseWrites,
        Defect::ForgetLogin,
        Defect::SlowFailover,
        Defect::WrongServer,
        Defect::LoseSignature,
        Defect::LoseSeal,
        Defect::BlindFilter,
        Defect::KeepAddress,
        Defect::PauseWebmail,
        Defect::PauseMailIn,
        Defect::PauseSql,
        Defect::PauseImap,
        Defect::OpenDoor,
        Defect::OpenRelay,
        Defect::ClearTextAuth,
        Defect::Ailing,
        Defect::NoReceipt,
        Defect::NoHealReceipt,
        Defect::StoreLoseTail,
        Defect::StoreLateCopy,
        Defect::StoreStuck,
        Defect::StoreSkipMail,
        Defect::StoreReuseUids,
        Defect::StoreNewValidity,
        Defect::StoreUidNextBack,
        Defect::StoreForgetFlags,
        Defect::StoreForgetMoves,
        Defect::StoreForgetAppends,
        Defect::StoreUndoExpunge,
        Defect::StoreTwoWriters,
        Defect::StoreNoTakeOver,
        Defect::StoreRefuseRole,
    ];
}
