//! Ctrl-C and its kin: work that ends when somebody wants the program to end.

use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// How long tasks that still run get to let go of their machines.
const LET_GO: Duration = Duration::from_secs(10);

/// Runs work until its end; `None` if somebody wanted the program to end first. All that it started has ended then.
///
/// # Errors
/// Threads cannot be started.
pub(super) fn until_interrupted<T>(work: impl Future<Output = T>) -> Result<Option<T>, String> {
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| format!("threads cannot be started: {cause}"))?;
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = work => Some(ended),
            () = interrupted() => None,
        }
    });
    runtime.shutdown_timeout(LET_GO);
    Ok(ended)
}

/// Ends when somebody wants the program to end.
pub(super) async fn interrupted() {
    let ends = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let ended = ends.into_iter().flatten().map(|mut end| {
        Box::pin(async move {
            end.recv().await;
        })
    });
    let ended: Vec<_> = ended.collect();
    if ended.is_empty() {
        std::future::pending::<()>().await;
    }
    futures::future::select_all(ended).await;
}
