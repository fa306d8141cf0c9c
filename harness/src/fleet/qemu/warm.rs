//! Warming up. An emulated processor translates each piece of code when it is first run, and loses what it translated
//! when a machine is saved: the first log-in then takes ten times as long as every later one. No user of a real machine
//! ever sees that, so the harness takes it upon itself before anything is measured. How fast the machines are then is
//! measured when a scenario asks for it.

use std::time::Duration;

use generator::spec::Role;
use tokio::time::Instant;

use super::cluster::{QemuFleet, error};
use crate::fleet::{Fleet, FleetError};
use crate::progress::Progress;
use crate::record::{Micros, Outcome, micros};
use crate::report::Pace;

/// How long the first log-in may take, before it is stretched.
const FIRST: Duration = Duration::from_secs(10);

/// A log-in to webmail on the machine itself, as far as it comes: a standby lets nobody else in, and cannot write mail.
const BEHIND_DOORS: &str = r#"
    at=$1 host=$2 user=$3 password=$4
    jar=$(mktemp)
    trap 'rm -f "$jar"' EXIT
    get() { curl --insecure --silent --show-error --max-time 120 --cookie "$jar" --cookie-jar "$jar" --resolve "$host:443:$at" "$@"; }
    token=$(get "https://$host/" | sed -n 's/.*name="_token" value="\([^"]*\)".*/\1/p' | head -n 1)
    [ -n "$token" ] || { echo 'the log-in form has no token' >&2; exit 1; }
    get --location --output /dev/null --data-urlencode "_token=$token" --data '_task=login&_action=login' \
        --data-urlencode "_user=$user" --data-urlencode "_pass=$password" "https://$host/?_task=login"
    get --output /dev/null "https://$host/?_task=mail&_action=list&_mbox=INBOX&_remote=1"
"#;

/// Log-ins of which the median is how fast the machines are.
const MEASURED: usize = 5;

impl QemuFleet {
    /// Logs in to webmail once on every mail node, through the load balancer. Each node has a user of its own: rows that
    /// two nodes write at the same moment would not converge. A failure is only told; what is wrong then, the scenario
    /// will show.
    pub(super) async fn warm_up(&self, progress: &Progress) {
        let phase = progress.phase("warm-up", "first log-ins on every mail node");
        let mut nodes = self.topology.of_role(Role::Mail);
        // The other nodes take nobody in.
        let standby = if self.has_store() {
            nodes.split_off(1)
        } else {
            Vec::new()
        };
        let logins = nodes.iter().zip(&self.topology.users).map(|(node, user)| async move {
            match self
                .log_in(user, (!self.has_store()).then_some(*node), self.stretch(FIRST))
                .await
            {
                Outcome::Ok { .. } => None,
                Outcome::Fail { reason } | Outcome::Unknown { reason } => Some(format!("{node}: {reason}")),
            }
        });
        let behind_doors = standby
            .into_iter()
            .zip(self.topology.users.iter().skip(1))
            .map(|(node, user)| async move {
                let outcome = self.log_in_behind_doors(node, user).await;
                outcome.err().map(|error| error.to_string())
            });
        let (failed, failed_there) = tokio::join!(
            futures::future::join_all(logins),
            futures::future::join_all(behind_doors)
        );
        let failed: Vec<String> = failed.into_iter().chain(failed_there).flatten().collect();
        phase.done("");
        for reason in failed {
            progress.note("warm-up", &format!("a first log-in failed: {reason}"));
        }
    }

    async fn log_in_behind_doors(&self, node: &str, user: &str) -> Result<(), FleetError> {
        let address = self.info(node)?.address.to_string();
        let words = [
            "sh",
            "-euc",
            BEHIND_DOORS,
            "sh",
            &address,
            &self.topology.webmail_host,
            user,
        ];
        let mut argv: Vec<String> = words.map(str::to_owned).to_vec();
        argv.push(self.password(user)?.to_owned());
        let output = self.exec(node, &argv, self.stretch(FIRST)).await?;
        match output.status {
            0 => Ok(()),
            status => Err(error(
                node,
                "log in to webmail behind closed doors",
                &format!("status {status}: {}", output.stderr.trim()),
            )),
        }
    }

    /// The time of a log-in, one after the other; the median, for the first may still be slow. Nothing if one fails.
    pub(super) async fn gauge(&self) -> Option<Pace> {
        if let Some(pace) = self.pace.get() {
            return Some(*pace);
        }
        let user = self.topology.users.first()?;
        let mut took: Vec<Micros> = Vec::new();
        for _ in 0..MEASURED {
            let began = Instant::now();
            let outcome = self.log_in(user, None, self.stretch(FIRST)).await;
            matches!(outcome, Outcome::Ok { .. }).then_some(())?;
            took.push(micros(began.elapsed()));
        }
        took.sort_unstable();
        let pace = Pace {
            log_in: took[MEASURED / 2],
        };
        Some(*self.pace.get_or_init(|| pace))
    }
}
