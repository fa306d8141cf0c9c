//! Boots the generated files of a mail cluster on virtual machines, breaks the cluster by script, and says with
//! recorded evidence whether it kept its promises.
//!
//! The pure core ([`scenario`], [`oracle`], [`record`]) knows neither QEMU nor the network; [`play`] takes the steps of a
//! scenario on any fleet; the edge ([`fleet`],
//! [`switch`], [`lan`], [`guest`], [`probe`], [`tools`], [`image`]) does the I/O. [`cli`] joins the two.

pub mod cli;
pub mod fault;
pub mod fleet;
pub mod guest;
pub mod image;
pub mod lan;
pub mod live;
pub mod oracle;
pub mod play;
pub mod probe;
pub mod progress;
pub mod record;
pub mod report;
pub mod restore;
pub mod scenario;
pub mod switch;
pub mod tools;
pub mod units;
