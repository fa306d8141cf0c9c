//! The layer-2 network of the machines, inside this process: a learning switch whose links can be cut by direction,
//! with counters that prove what a cut did. Machines connect through unix sockets (QEMU's `-netdev stream`: each frame
//! behind its length, four bytes, big-endian), the harness itself through a [`LocalPort`].

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

#[cfg(test)]
mod tests;

/// Frames that may wait for a port before further ones are dropped, as a real switch drops them.
const QUEUE: usize = 1024;

/// The longest frame taken: what QEMU's network back ends send at most.
const LONGEST_FRAME: usize = 68 * 1024;

/// The switch. Clones are handles on the same one.
#[derive(Clone, Default)]
pub struct Switch {
    fabric: Arc<Mutex<Fabric>>,
}

#[derive(Default)]
struct Fabric {
    ports: Vec<Port>,
    /// Which port a hardware address was last seen on.
    learned: HashMap<[u8; 6], usize>,
    links: HashMap<(usize, usize), Link>,
}

struct Port {
    name: String,
    /// Nobody is connected while this is empty.
    out: Option<mpsc::Sender<Bytes>>,
    dropped: u64,
}

/// One direction between two ports.
#[derive(Default)]
struct Link {
    cut: bool,
    hits: u64,
    passed: u64,
}

/// What a link that was cut or joined did since then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Frames that the cut swallowed.
    pub hits: u64,
    /// Frames that went through.
    pub passed: u64,
}

impl Switch {
    /// A switch without ports.
    pub fn new() -> Switch {
        Switch::default()
    }

    fn fabric(&self) -> MutexGuard<'_, Fabric> {
        self.fabric.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a port on a unix socket. A machine that ended may connect again; the newest connection has the port.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn attach_socket(&self, name: &str, path: &Path) -> io::Result<()> {
        let listener = UnixListener::bind(path)?;
        let port = self.fabric().add(name);
        let switch = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                switch.serve(port, stream);
            }
        });
        Ok(())
    }

    /// Opens a port for somebody in this process.
    pub fn attach_local(&self, name: &str) -> LocalPort {
        let (out, frames) = mpsc::channel(QUEUE);
        let mut fabric = self.fabric();
        let port = fabric.add(name);
        fabric.ports[port].out = Some(out);
        LocalPort {
            switch: self.clone(),
            port,
            frames,
        }
    }

    /// Makes frames from one port to another vanish, in this direction only. Unknown names change nothing.
    pub fn cut(&self, from: &str, to: &str) {
        self.set(from, to, true);
    }

    /// Lets frames from one port to another pass again.
    pub fn join(&self, from: &str, to: &str) {
        self.set(from, to, false);
    }

    /// What the link did since it was last cut or joined.
    pub fn counts(&self, from: &str, to: &str) -> Counts {
        let fabric = self.fabric();
        let link = fabric.pair(from, to).and_then(|pair| fabric.links.get(&pair));
        link.map_or_else(Counts::default, |link| Counts {
            hits: link.hits,
            passed: link.passed,
        })
    }

    /// Frames that a port's full queue dropped.
    pub fn dropped(&self, name: &str) -> u64 {
        self.fabric()
            .ports
            .iter()
            .find(|port| port.name == name)
            .map_or(0, |port| port.dropped)
    }

    fn set(&self, from: &str, to: &str, cut: bool) {
        let mut fabric = self.fabric();
        if let Some(pair) = fabric.pair(from, to) {
            fabric.links.insert(pair, Link { cut, ..Link::default() });
        }
    }

    fn serve(&self, port: usize, stream: UnixStream) {
        let (out, mut frames) = mpsc::channel::<Bytes>(QUEUE);
        self.fabric().ports[port].out = Some(out);
        let (reader, writer) = stream.into_split();
        let switch = self.clone();
        tokio::spawn(async move {
            let mut reader = BufReader::with_capacity(128 * 1024, reader);
            while let Ok(length) = reader.read_u32().await {
                let length = length as usize;
                if length > LONGEST_FRAME {
                    break;
                }
                let mut frame = vec![0; length];
                if reader.read_exact(&mut frame).await.is_err() {
                    break;
                }
                switch.fabric().forward(port, &Bytes::from(frame));
            }
        });
        tokio::spawn(async move {
            let mut writer = BufWriter::with_capacity(128 * 1024, writer);
            while let Some(frame) = frames.recv().await {
                let mut next = Some(frame);
                while let Some(frame) = next {
                    let length = u32::try_from(frame.len()).unwrap_or(0);
                    if writer.write_u32(length).await.is_err() || writer.write_all(&frame).await.is_err() {
                        return;
                    }
                    next = frames.try_recv().ok();
                }
                if writer.flush().await.is_err() {
                    return;
                }
            }
        });
    }
}

impl Fabric {
    fn add(&mut self, name: &str) -> usize {
        self.ports.push(Port {
            name: name.to_owned(),
            out: None,
            dropped: 0,
        });
        self.ports.len() - 1
    }

    fn pair(&self, from: &str, to: &str) -> Option<(usize, usize)> {
        let index = |name: &str| self.ports.iter().position(|port| port.name == name);
        Some((index(from)?, index(to)?))
    }

    fn forward(&mut self, from: usize, frame: &Bytes) {
        let (Some(target), Some(source)) = (address(frame, 0), address(frame, 6)) else {
            return;
        };
        self.learned.insert(source, from);
        let group = target[0] & 1 == 1;
        match self.learned.get(&target) {
            Some(to) if !group => {
                let to = *to;
                if to != from {
                    self.send(from, to, frame);
                }
            }
            _ => {
                for to in (0..self.ports.len()).filter(|to| *to != from) {
                    self.send(from, to, frame);
                }
            }
        }
    }

    /// A frame counts as passed only once somebody took it: the count is the proof that a link was healed.
    fn send(&mut self, from: usize, to: usize, frame: &Bytes) {
        let link = self.links.get_mut(&(from, to));
        if let Some(link) = link
            && link.cut
        {
            link.hits += 1;
            return;
        }
        let port = &mut self.ports[to];
        let Some(out) = &port.out else { return };
        match out.try_send(frame.clone()) {
            Ok(()) => {
                if let Some(link) = self.links.get_mut(&(from, to)) {
                    link.passed += 1;
                }
            }
            Err(mpsc::error::TrySendError::Full(_)) => port.dropped += 1,
            Err(mpsc::error::TrySendError::Closed(_)) => port.out = None,
        }
    }
}

fn address(frame: &[u8], at: usize) -> Option<[u8; 6]> {
    frame.get(at..at + 6)?.try_into().ok()
}

/// A port for somebody in this process.
pub struct LocalPort {
    switch: Switch,
    port: usize,
    frames: mpsc::Receiver<Bytes>,
}

impl LocalPort {
    /// Hands a frame to the switch.
    pub fn send(&self, frame: Bytes) {
        self.switch.fabric().forward(self.port, &frame);
    }

    /// The next frame for this port; `None` only when the switch is gone.
    pub async fn recv(&mut self) -> Option<Bytes> {
        self.frames.recv().await
    }

    /// A frame that is there already.
    pub fn try_recv(&mut self) -> Option<Bytes> {
        self.frames.try_recv().ok()
    }
}
