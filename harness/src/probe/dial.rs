//! How a client reaches a server: [`Dial`] opens a TCP stream from one address to another, over whatever network the
//! implementation stands on. [`TcpDial`] is the host's own TCP, for loopback tests.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio::time::timeout;

/// A connected byte stream, whatever carries it. Implemented for every type that has the four traits.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Why no connection came about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// A reset or an ICMP answer came back.
    #[error("connection refused")]
    Refused,
    /// Nothing answered within this time.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Silent(Duration),
    /// The attempt failed on this side, or in a way that is neither of the above.
    #[error("{0}")]
    Other(String),
}

/// Opens TCP connections.
#[async_trait]
pub trait Dial: Send + Sync {
    /// Connects from `from` to `to`; gives up with [`DialError::Silent`] after `deadline`.
    ///
    /// `from` must be an address that the implementation owns: on the virtual LAN it decides on which side of the
    /// router the client stands, [`Ipv4Addr::UNSPECIFIED`] leaves the choice to the implementation.
    async fn dial(&self, from: Ipv4Addr, to: SocketAddrV4, deadline: Duration) -> Result<Box<dyn Stream>, DialError>;
}

/// The host's own TCP stack, for servers on loopback. Refuses every address outside 127.0.0.0/8: no client of the
/// harness ever speaks to the host's network.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDial;

#[async_trait]
impl Dial for TcpDial {
    async fn dial(&self, from: Ipv4Addr, to: SocketAddrV4, deadline: Duration) -> Result<Box<dyn Stream>, DialError> {
        if !to.ip().is_loopback() {
            return Err(DialError::Other(format!("{to} is not a loopback address")));
        }
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddrV4::new(from, 0).into())?;
            socket.connect(to.into()).await
        };
        match timeout(deadline, connect).await {
            Err(_) => Err(DialError::Silent(deadline)),
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(e)) if e.kind() == std::io::ErrorKind::ConnectionRefused => Err(DialError::Refused),
            Ok(Err(e)) => Err(DialError::Other(e.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const SECOND: Duration = Duration::from_secs(1);

    fn v4(addr: std::net::SocketAddr) -> SocketAddrV4 {
        match addr {
            std::net::SocketAddr::V4(a) => a,
            std::net::SocketAddr::V6(a) => panic!("expected IPv4, got {a}"),
        }
    }

    #[tokio::test]
    async fn a_listening_port_gives_a_stream_from_the_address_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = v4(listener.local_addr().unwrap());
        let from = Ipv4Addr::new(127, 0, 0, 9);
        let (dialled, accepted) = tokio::join!(TcpDial.dial(from, to, SECOND), listener.accept());
        let (mut client, (mut server, peer)) = (dialled.unwrap(), accepted.unwrap());
        assert_eq!(*v4(peer).ip(), from);
        server.write_all(b"220 hello").await.unwrap();
        drop(server);
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "220 hello");
    }

    #[tokio::test]
    async fn a_closed_port_is_refused() {
        // Its own address: no other test gets the port while it is closed.
        let listener = TcpListener::bind("127.0.0.8:0").await.unwrap();
        let to = v4(listener.local_addr().unwrap());
        drop(listener);
        let error = TcpDial.dial(Ipv4Addr::LOCALHOST, to, SECOND).await.err().unwrap();
        assert_eq!(error, DialError::Refused);
    }

    #[tokio::test]
    async fn an_address_outside_loopback_is_never_dialled() {
        let to = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 25);
        let error = TcpDial.dial(Ipv4Addr::UNSPECIFIED, to, SECOND).await.err().unwrap();
        assert_eq!(error, DialError::Other("192.0.2.1:25 is not a loopback address".into()));
    }
}
