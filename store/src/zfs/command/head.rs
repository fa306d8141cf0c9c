//! The record with which a send stream begins (`struct drr_begin` in OpenZFS's `zfs_ioctl.h`), read in passing. It names the
//! snapshot that the stream carries, so that nobody has to ask the pool what has come.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use crate::zfs::{Guid, Received, Stream};

/// Bytes of the record: type, length of its payload, then [`MAGIC`], three numbers, two guids and the name.
const LENGTH: usize = 312;

/// `DMU_BACKUP_MAGIC`, in the byte order of the sender.
const MAGIC: u64 = 0x0002_F5BA_CBAC;

const MAGIC_AT: usize = 8;
const GUID_AT: usize = 40;
const NAME_AT: usize = 56;

/// A stream whose beginning is kept.
pub struct Headed {
    stream: Stream,
    head: Vec<u8>,
}

impl Headed {
    /// Nothing is read yet.
    pub fn new(stream: Stream) -> Headed {
        Headed {
            stream,
            head: Vec::with_capacity(LENGTH),
        }
    }

    /// What the stream carries; `None` if that cannot be read.
    pub fn head(&self) -> Option<Received> {
        let number = |at: usize| -> Option<[u8; 8]> { self.head.get(at..at + 8)?.try_into().ok() };
        let guid = match number(MAGIC_AT)? {
            magic if u64::from_le_bytes(magic) == MAGIC => u64::from_le_bytes(number(GUID_AT)?),
            magic if u64::from_be_bytes(magic) == MAGIC => u64::from_be_bytes(number(GUID_AT)?),
            _ => return None,
        };
        let name = self.head.get(NAME_AT..LENGTH)?.split(|byte| *byte == 0).next()?;
        let (_, name) = std::str::from_utf8(name).ok()?.split_once('@')?;
        Some(Received {
            name: name.to_owned(),
            guid: Guid(guid),
        })
    }
}

impl AsyncRead for Headed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let wanted = LENGTH - self.head.len();
        let read = &buf.filled()[before..];
        self.head.extend_from_slice(&read[..read.len().min(wanted)]);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
pub mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    /// A stream of nothing but its first record.
    pub fn record(name: &str, guid: u64) -> Vec<u8> {
        let mut record = vec![0; LENGTH];
        record[MAGIC_AT..MAGIC_AT + 8].copy_from_slice(&MAGIC.to_le_bytes());
        record[GUID_AT..GUID_AT + 8].copy_from_slice(&guid.to_le_bytes());
        record[NAME_AT..NAME_AT + name.len()].copy_from_slice(name.as_bytes());
        record
    }

    async fn head(bytes: Vec<u8>) -> Option<Received> {
        let mut headed = Headed::new(Box::new(std::io::Cursor::new(bytes)));
        headed.read_to_end(&mut Vec::new()).await.expect("in memory");
        headed.head()
    }

    #[tokio::test]
    async fn the_first_record_names_the_snapshot() {
        let mut bytes = record("tank/mail@cs-1-7", 77);
        bytes.extend([9; 1000]);
        let received = head(bytes).await.expect("a head");
        assert_eq!((received.name.as_str(), received.guid), ("cs-1-7", Guid(77)));
    }

    #[tokio::test]
    async fn what_is_no_stream_or_too_short_names_nothing() {
        assert_eq!(head(vec![7; 1000]).await, None);
        assert_eq!(head(record("tank/mail@cs-1-7", 77)[..100].to_vec()).await, None);
    }
}
