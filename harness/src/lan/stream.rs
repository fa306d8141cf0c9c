//! A TCP connection of the harness's host as an asynchronous byte stream.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{self, RecvError, State};
use smoltcp::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Lan;

/// A connection over the virtual network. Dropping it closes it the orderly way.
pub struct LanStream {
    lan: Lan,
    handle: SocketHandle,
}

impl LanStream {
    pub(super) fn new(lan: Lan, handle: SocketHandle) -> LanStream {
        LanStream { lan, handle }
    }

    pub(super) fn with<R>(&self, f: impl FnOnce(&mut tcp::Socket<'static>) -> R) -> R {
        let result = f(self.lan.shared.stack().sockets.get_mut(self.handle));
        self.lan.shared.work.notify_one();
        result
    }

    /// Waits for the end of the handshake: true if connected, false if refused.
    pub(super) async fn established(&self) -> bool {
        poll_fn(|context| {
            let mut stack = self.lan.shared.stack();
            let socket = stack.sockets.get_mut::<tcp::Socket>(self.handle);
            match socket.state() {
                State::Listen | State::SynSent | State::SynReceived => {
                    socket.register_send_waker(context.waker());
                    Poll::Pending
                }
                State::Closed => Poll::Ready(false),
                _ => Poll::Ready(true),
            }
        })
        .await
    }

    pub(super) fn abort(&self) {
        self.with(tcp::Socket::abort);
    }
}

fn reset() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionReset)
}

impl AsyncRead for LanStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|socket| {
            match socket.recv_slice(buffer.initialize_unfilled()) {
                Ok(0) if buffer.remaining() > 0 => {
                    socket.register_recv_waker(context.waker());
                    Poll::Pending
                }
                Ok(read) => {
                    buffer.advance(read);
                    Poll::Ready(Ok(()))
                }
                // The peer closed its half and everything it sent was read (RFC 9293 section 3.6), also if this side
                // closed too and the connection is over by now.
                Err(RecvError::Finished) => Poll::Ready(Ok(())),
                Err(RecvError::InvalidState) => Poll::Ready(Err(reset())),
            }
        })
    }
}

impl AsyncWrite for LanStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|socket| {
            if !socket.may_send() {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::BrokenPipe)));
            }
            if !socket.can_send() {
                socket.register_send_waker(context.waker());
                return Poll::Pending;
            }
            Poll::Ready(socket.send_slice(bytes).map_err(|_| reset()))
        })
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|socket| match socket.state() {
            _ if socket.send_queue() == 0 => Poll::Ready(Ok(())),
            State::Closed => Poll::Ready(Err(reset())),
            _ => {
                socket.register_send_waker(context.waker());
                Poll::Pending
            }
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(tcp::Socket::close);
        Poll::Ready(Ok(()))
    }
}

impl Drop for LanStream {
    fn drop(&mut self) {
        let mut stack = self.lan.shared.stack();
        stack.sockets.get_mut::<tcp::Socket>(self.handle).close();
        stack.orphans.push((self.handle, Instant::now()));
        drop(stack);
        self.lan.shared.work.notify_one();
    }
}
