//! Figures for Prometheus, in its text form over HTTP; and beside them `/writer`, which is 200 on the writer while its doors
//! are open and 503 otherwise, for load balancers and other programs that only want to know that.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tracing::debug;

use crate::agent::Status;
use crate::core::{Doors, Standing};
use crate::zfs::Disk;

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    writer: Gauge,
    doors_open: Gauge,
    epoch: Gauge,
    peer_reachable: Gauge,
    peer_follows: Gauge,
    waiting: Gauge,
    unmerged: Gauge,
    trouble: Gauge,
    disk_errors: Gauge,
    /// Snapshots taken.
    pub snapshots: Counter,
    /// Streams that the peer has confirmed.
    pub sent: Counter,
    /// Actions that failed.
    pub failures: Counter,
    /// Files that both nodes had changed when a tail was merged.
    pub conflicts: Counter,
    /// Messages acknowledged with the peer's confirmation.
    pub confirmed: Counter,
    confirmation: Histogram,
    /// Messages acknowledged without it. Any increase is worth an alarm.
    pub alone: Counter,
    /// Messages put off because the peer has not confirmed.
    pub deferred: Counter,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::with_prefix("cluster_store");
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let writer = gauge("writer", "1 if this node is the writer");
        let doors_open = gauge("doors_open", "1 if clients reach this node");
        let epoch = gauge("epoch", "Raised by one at each take-over");
        let peer_reachable = gauge("peer_reachable", "1 if the other agent answers");
        let peer_follows = gauge("peer_follows", "1 if the other node confirms what this one writes");
        let waiting = gauge(
            "waiting_messages",
            "Messages that wait for the other node's confirmation",
        );
        let unmerged = gauge("unmerged_tails", "Tails of the other node that wait to be merged");
        let trouble = gauge("trouble", "1 while the last action has failed");
        let disk_errors = gauge(
            "disk_errors",
            "Errors that the pool's disks have counted since these were cleared",
        );
        let confirmation = Histogram::new([0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0]);
        registry.register(
            "confirmation_seconds",
            "From Dovecot's acknowledgement of a message to the other node's",
            confirmation.clone(),
        );
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        Metrics {
            confirmation,
            writer,
            doors_open,
            epoch,
            peer_reachable,
            peer_follows,
            waiting,
            unmerged,
            trouble,
            disk_errors,
            snapshots: counter("snapshots", "Snapshots taken"),
            sent: counter("streams_confirmed", "Streams that the other node has confirmed"),
            failures: counter("failures", "Actions that failed"),
            conflicts: counter(
                "merge_conflicts",
                "Files that both nodes had changed when a tail was merged",
            ),
            confirmed: counter(
                "messages_confirmed",
                "Messages acknowledged with the other node's confirmation",
            ),
            alone: counter("messages_alone", "Messages acknowledged while only this node had them"),
            deferred: counter(
                "messages_deferred",
                "Messages put off because the other node had not confirmed",
            ),
            registry,
        }
    }
}

impl Metrics {
    /// Takes over how a node stands.
    pub fn stands(&self, status: &Status) {
        self.writer.set(i64::from(status.standing == Standing::Writer));
        self.doors_open.set(i64::from(status.doors == Doors::Open));
        self.epoch.set(i64::try_from(status.epoch).unwrap_or(i64::MAX));
        self.peer_reachable.set(i64::from(status.peer.is_some()));
        self.peer_follows.set(i64::from(status.follows));
        self.waiting.set(i64::try_from(status.waiting).unwrap_or(i64::MAX));
        self.unmerged.set(i64::try_from(status.unmerged).unwrap_or(i64::MAX));
        self.trouble.set(i64::from(status.trouble.is_some()));
        let errors = status.disks.iter().map(Disk::errors).fold(0, u64::saturating_add);
        self.disk_errors.set(i64::try_from(errors).unwrap_or(i64::MAX));
    }

    /// Takes over how long messages waited that the peer has confirmed.
    pub fn confirmed_after(&self, waited: &[Duration]) {
        for waited in waited {
            self.confirmation.observe(waited.as_secs_f64());
        }
    }

    /// True if clients are served here.
    fn serves(&self) -> bool {
        self.writer.get() == 1 && self.doors_open.get() == 1
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Of the text form.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whoever connects may take so long to ask, and to take the answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Serves the figures until it is dropped. One asker at a time is enough, and bounds what a flood can cost.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>) {
    loop {
        let Ok((mut tcp, from)) = listener.accept().await else {
            continue;
        };
        let answered = timeout(LIMIT, answer(&mut tcp, &metrics)).await;
        if !matches!(answered, Ok(Ok(()))) {
            debug!("{from} got no figures: {answered:?}");
        }
    }
}

async fn answer(tcp: &mut TcpStream, metrics: &Metrics) -> io::Result<()> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < 16 * 1024 {
        match tcp.read(&mut piece).await? {
            0 => break,
            read => head.extend_from_slice(&piece[..read]),
        }
    }
    let (status, kind, text) = match head.starts_with(b"GET /writer ") {
        true if metrics.serves() => ("200 OK", "text/plain", "writer\n".to_owned()),
        true => ("503 Service Unavailable", "text/plain", "not the writer\n".to_owned()),
        false => ("200 OK", OPEN_METRICS, metrics.text()),
    };
    let length = text.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    tcp.write_all(head.as_bytes()).await?;
    tcp.write_all(text.as_bytes()).await?;
    tcp.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is answered to a request of this path.
    async fn asked(metrics: Metrics, path: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(serve(listener, Arc::new(metrics)));
        let mut tcp = TcpStream::connect(address).await.expect("connected");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.expect("asked");
        let mut text = String::new();
        tcp.read_to_string(&mut text).await.expect("answered");
        server.abort();
        text
    }

    #[tokio::test]
    async fn the_figures_can_be_read_over_http() {
        let metrics = Metrics::default();
        metrics.alone.inc();
        let text = asked(metrics, "/metrics").await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("cluster_store_messages_alone_total 1"), "{text}");
    }

    #[tokio::test]
    async fn only_a_writer_with_open_doors_says_that_it_is_one() {
        let metrics = Metrics::default();
        metrics.writer.set(1);
        assert!(asked(metrics, "/writer").await.starts_with("HTTP/1.1 503 "));
        let metrics = Metrics::default();
        metrics.writer.set(1);
        metrics.doors_open.set(1);
        assert!(asked(metrics, "/writer").await.starts_with("HTTP/1.1 200 "));
    }
}
