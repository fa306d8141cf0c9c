//! Forwarded ports: doors on 127.0.0.1 into the virtual network. Each connection there becomes one from the harness's own
//! host to a service of the cluster.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;

use crate::fleet::FleetError;
use crate::lan::Lan;

/// How long a service may take to accept.
const CONNECT: Duration = Duration::from_secs(20);

/// One forwarded port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// The service: `webmail (HTTPS)`.
    pub service: String,
    /// Where it is reached on this host.
    pub here: SocketAddr,
    /// Where it is in the virtual network.
    pub there: SocketAddrV4,
}

/// Opened before each connection, for services that the network cannot reach.
pub type Opener = Arc<dyn Fn() -> BoxFuture<'static, Result<(), FleetError>> + Send + Sync>;

impl Forward {
    /// Opens one, at a port that the kernel chooses. It is open as long as the runtime lives.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn open(
        lan: &Lan,
        from: Ipv4Addr,
        service: &str,
        there: SocketAddrV4,
        opener: Option<Opener>,
    ) -> io::Result<Forward> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let here = listener.local_addr()?;
        let lan = lan.clone();
        tokio::spawn(async move {
            while let Ok((mut outside, _)) = listener.accept().await {
                let (lan, opener) = (lan.clone(), opener.clone());
                tokio::spawn(async move {
                    // A service that refuses shows itself to the caller as a connection that ends at once.
                    if let Some(opener) = opener
                        && opener().await.is_err()
                    {
                        return;
                    }
                    if let Ok(mut inside) = lan.connect(from, there, CONNECT).await {
                        let _ = copy_bidirectional(&mut outside, &mut inside).await;
                    }
                });
            }
        });
        Ok(Forward {
            service: service.to_owned(),
            here,
            there,
        })
    }
}
