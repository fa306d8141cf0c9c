//! What templates see of the doors for mail programs.

use serde::Serialize;

use crate::spec::{Cluster, DOORS, Encryption};

/// The doors, and the name behind which they stand. Without them the list is empty.
#[derive(Serialize)]
pub(super) struct Access {
    /// Empty if there are no doors.
    host: String,
    doors: Vec<Door>,
}

#[derive(Serialize)]
struct Door {
    name: &'static str,
    port: u16,
    inner: u16,
    /// TLS from the first byte.
    implicit: bool,
}

impl Access {
    pub(super) fn new(cluster: &Cluster) -> Access {
        let Some(access) = &cluster.access else {
            return Access {
                host: String::new(),
                doors: Vec::new(),
            };
        };
        let door = |door: &crate::spec::Door| Door {
            name: door.name,
            port: door.port,
            inner: door.inner,
            implicit: door.encryption == Encryption::Implicit,
        };
        Access {
            host: access.host.clone(),
            doors: DOORS.iter().map(door).collect(),
        }
    }
}
