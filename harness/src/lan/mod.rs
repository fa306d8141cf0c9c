//! The harness's own place on the virtual network: one smoltcp host that holds the router's address, a neighbour's
//! address in the subnet, and the addresses of hosts outside, which the machines reach through the router.

mod announcement;
mod device;
pub mod name_server;
mod stream;
#[cfg(test)]
mod tests;
pub mod zones;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::{Socket, tcp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpListenEndpoint, Ipv4Cidr};
use tokio::sync::Notify;

use crate::probe::dial::{Dial, DialError, Stream};
use crate::switch::LocalPort;
use device::Queues;
pub use stream::LanStream;

/// Bytes buffered in each direction of a connection.
const BUFFER: usize = 64 * 1024;

/// First of the ports from which connections are made (RFC 6335 section 6).
const FIRST_EPHEMERAL: u16 = 49152;

/// How long a closed connection may take to say good-bye before its socket is reclaimed.
const LINGER: Duration = Duration::from_secs(5);

/// The host's addresses. The first is the one that neighbours in the subnet are asked from.
#[derive(Debug, Clone)]
pub struct LanConfig {
    /// Hardware address.
    pub mac: [u8; 6],
    /// Addresses, each with its prefix length.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

/// The harness's host. Clones are handles on the same one; it ends with the last of them.
#[derive(Clone)]
pub struct Lan {
    shared: Arc<Shared>,
    _driver: Arc<Driver>,
}

struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Shared {
    stack: Mutex<Stack>,
    /// Something was written, read, opened or closed: the stack has to be polled.
    work: Notify,
}

struct Stack {
    hardware: EthernetAddress,
    interface: Interface,
    sockets: SocketSet<'static>,
    queues: Queues,
    next_port: u16,
    /// Sockets whose owner is gone, and since when.
    orphans: Vec<(SocketHandle, Instant)>,
}

impl Shared {
    fn stack(&self) -> MutexGuard<'_, Stack> {
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lan {
    /// Brings the host up on a port of the switch. Needs a tokio runtime.
    pub fn start(port: LocalPort, config: &LanConfig) -> Lan {
        let mut queues = Queues::default();
        let hardware = EthernetAddress(config.mac);
        let mut settings = Config::new(HardwareAddress::Ethernet(hardware));
        settings.random_seed = rand::random();
        let mut interface = Interface::new(settings, &mut queues, Instant::now());
        interface.update_ip_addrs(|list| {
            for (address, prefix) in &config.addresses {
                // The stack holds eight addresses (feature `iface-max-addr-count-8`); more would be a mistake here.
                let _ = list.push(IpCidr::Ipv4(Ipv4Cidr::new(*address, *prefix)));
            }
        });
        let stack = Stack {
            hardware,
            interface,
            sockets: SocketSet::new(Vec::new()),
            queues,
            next_port: FIRST_EPHEMERAL,
            orphans: Vec::new(),
        };
        let shared = Arc::new(Shared {
            stack: Mutex::new(stack),
            work: Notify::new(),
        });
        let driver = tokio::spawn(drive(shared.clone(), port));
        Lan {
            shared,
            _driver: Arc::new(Driver(driver)),
        }
    }

    /// Opens a connection from one of the host's addresses.
    ///
    /// # Errors
    /// [`DialError::Refused`] on a reset, [`DialError::Silent`] if nothing answered in time.
    pub async fn connect(&self, from: Ipv4Addr, to: SocketAddrV4, deadline: Duration) -> Result<LanStream, DialError> {
        let handle = self.shared.stack().open(from, to)?;
        self.shared.work.notify_one();
        let stream = LanStream::new(self.clone(), handle);
        match tokio::time::timeout(deadline, stream.established()).await {
            Ok(true) => Ok(stream),
            Ok(false) => Err(DialError::Refused),
            Err(_) => {
                stream.abort();
                Err(DialError::Silent(deadline))
            }
        }
    }

    /// Waits until somebody connects to one of the host's addresses, and says who.
    ///
    /// # Errors
    /// [`DialError::Silent`] if nobody came in time.
    pub async fn accept(&self, at: SocketAddrV4, deadline: Duration) -> Result<(LanStream, Ipv4Addr), DialError> {
        let handle = self.shared.stack().listen(at)?;
        let stream = LanStream::new(self.clone(), handle);
        if !matches!(tokio::time::timeout(deadline, stream.established()).await, Ok(true)) {
            stream.abort();
            return Err(DialError::Silent(deadline));
        }
        match stream.with(|socket| socket.remote_endpoint()) {
            Some(client) => {
                let IpAddress::Ipv4(address) = client.addr;
                Ok((stream, address))
            }
            None => Err(DialError::Refused),
        }
    }
}

#[async_trait]
impl Dial for Lan {
    async fn dial(&self, from: Ipv4Addr, to: SocketAddrV4, deadline: Duration) -> Result<Box<dyn Stream>, DialError> {
        Ok(Box::new(self.connect(from, to, deadline).await?))
    }
}

impl Stack {
    /// Takes a frame in, and beside it what it says of an address that has moved.
    fn arrive(&mut self, frame: Bytes) {
        let host = self.interface.ipv4_addr();
        let moved = host.and_then(|host| announcement::as_answer(&frame, self.hardware, host));
        self.queues.arrived.extend(std::iter::once(frame).chain(moved));
    }

    fn open(&mut self, from: Ipv4Addr, to: SocketAddrV4) -> Result<SocketHandle, DialError> {
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        let failed = |error: String| DialError::Other(format!("connect from {from} to {to}: {error}"));
        let port = self.ephemeral().ok_or_else(|| failed("no free port".to_owned()))?;
        // Without an address of its own the stack takes the first one, the router's.
        let local = match from {
            Ipv4Addr::UNSPECIFIED => IpListenEndpoint::from(port),
            // Sent from a foreign address, the answer would go to somebody else: silence that no cluster is to blame for.
            _ if !self.interface.has_ip_addr(from) => return Err(failed(format!("{from} is no address of this host"))),
            _ => IpListenEndpoint::from((from, port)),
        };
        socket
            .connect(self.interface.context(), (*to.ip(), to.port()), local)
            .map_err(|error| failed(format!("{error:?}")))?;
        Ok(self.sockets.add(socket))
    }

    fn listen(&mut self, at: SocketAddrV4) -> Result<SocketHandle, DialError> {
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket
            .listen((*at.ip(), at.port()))
            .map_err(|error| DialError::Other(format!("wait at {at}: {error:?}")))?;
        Ok(self.sockets.add(socket))
    }

    /// The next port that no connection holds; `None` if all are taken.
    fn ephemeral(&mut self) -> Option<u16> {
        let taken = |port: u16| {
            self.sockets.iter().any(|(_, socket)| match socket {
                Socket::Tcp(tcp) => tcp.local_endpoint().is_some_and(|local| local.port == port),
                _ => false,
            })
        };
        let mut port = self.next_port;
        for _ in FIRST_EPHEMERAL..=u16::MAX {
            let next = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL);
            if !taken(port) {
                self.next_port = next;
                return Some(port);
            }
            port = next;
        }
        None
    }

    /// Gives sockets back whose connection has ended, or had time enough to.
    fn reclaim(&mut self, now: Instant) {
        let orphans = std::mem::take(&mut self.orphans);
        for (handle, since) in orphans {
            let socket = self.sockets.get_mut::<tcp::Socket>(handle);
            if socket.state() == tcp::State::Closed {
                self.sockets.remove(handle);
            } else {
                if now - since > LINGER.into() {
                    socket.abort();
                }
                self.orphans.push((handle, since));
            }
        }
    }
}

/// Moves frames between the switch and the stack, for as long as the host lives.
async fn drive(shared: Arc<Shared>, mut port: LocalPort) {
    loop {
        let wait = {
            let mut stack = shared.stack();
            let now = Instant::now();
            while let Some(frame) = port.try_recv() {
                stack.arrive(frame);
            }
            let Stack {
                interface,
                sockets,
                queues,
                ..
            } = &mut *stack;
            interface.poll(now, queues, sockets);
            for frame in queues.leaving.drain(..) {
                port.send(frame);
            }
            let delay = interface.poll_delay(Instant::now(), sockets);
            stack.reclaim(now);
            delay.map_or(Duration::from_secs(1), Duration::from)
        };
        tokio::select! {
            frame = port.recv() => match frame {
                Some(frame) => shared.stack().arrive(frame),
                None => return,
            },
            () = shared.work.notified() => {}
            () = tokio::time::sleep(wait) => {} // the stack's own timer: retransmission, delayed acknowledgement
        }
    }
}
