//! A foreign mail server that takes one message (RFC 5321) and keeps it as it came. It offers nothing that a server may leave
//! out: no TLS, no pipelining.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

/// Most that is taken of a line, and of a message, octets.
const LONGEST_LINE: usize = 4096;
const LARGEST: usize = 1 << 20;

/// A message as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// What the client called itself.
    pub helo: String,
    /// MAIL, without the command's name.
    pub from: String,
    /// RCPT, each without the command's name.
    pub to: Vec<String>,
    /// The text, with dots as they were meant and lines ended by CRLF.
    pub message: Vec<u8>,
}

/// Talks to a client until it has handed a message over.
///
/// # Errors
/// The client left before, or what it sent was too long.
pub async fn receive<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> io::Result<Received> {
    let mut client = BufReader::new(stream);
    let mut received = Received::default();
    say(&mut client, "220 elsewhere ESMTP").await?;
    loop {
        let line = line(&mut client).await?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let (verb, rest) = line.split_once([' ', ':']).unwrap_or((&line, ""));
        let reply = match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => {
                rest.clone_into(&mut received.helo);
                "250 elsewhere"
            }
            "MAIL" => {
                rest.clone_into(&mut received.from);
                "250 2.1.0 OK"
            }
            "RCPT" => {
                received.to.push(rest.to_owned());
                "250 2.1.5 OK"
            }
            "DATA" => {
                say(&mut client, "354 Go on").await?;
                received.message = text(&mut client).await?;
                say(&mut client, "250 2.0.0 OK").await?;
                return Ok(received);
            }
            "RSET" | "NOOP" => "250 2.0.0 OK",
            "QUIT" => return Err(io::Error::other("the client left without a message")),
            _ => "502 5.5.1 Not known here",
        };
        say(&mut client, reply).await?;
    }
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(client: &mut BufReader<S>, reply: &str) -> io::Result<()> {
    client.get_mut().write_all(format!("{reply}\r\n").as_bytes()).await?;
    client.get_mut().flush().await
}

async fn line<S: AsyncRead + AsyncWrite + Unpin>(client: &mut BufReader<S>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut limited = tokio::io::AsyncReadExt::take(client, LONGEST_LINE as u64);
    limited.read_until(b'\n', &mut line).await?;
    match line.last() {
        Some(b'\n') => Ok(line),
        Some(_) => Err(io::Error::other(
            "a line is too long, or the client left in the middle of it",
        )),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Up to the final dot (RFC 5321 section 4.5.2: a dot that begins a line stands for one that the client has doubled).
async fn text<S: AsyncRead + AsyncWrite + Unpin>(client: &mut BufReader<S>) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        let line = line(client).await?;
        match line.strip_prefix(b".") {
            Some(b"\r\n" | b"\n") => return Ok(text),
            Some(rest) => text.extend_from_slice(rest),
            None => text.extend_from_slice(&line),
        }
        if text.len() > LARGEST {
            return Err(io::Error::other("the message is too long"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn from(script: &str) -> io::Result<Received> {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        client.write_all(script.as_bytes()).await.unwrap();
        // The rest of the conversation is the client's silence, and then its end.
        client.shutdown().await.unwrap();
        receive(server).await
    }

    #[tokio::test]
    async fn a_message_is_kept_as_it_was_meant() {
        let script = "EHLO gateway\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@[192.0.2.1]>\r\nDATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n";
        let received = from(script).await.unwrap();
        assert_eq!(received.helo, "gateway");
        assert_eq!(received.from, "FROM:<a@b>");
        assert_eq!(received.to, ["TO:<c@[192.0.2.1]>"]);
        assert_eq!(received.message, b"Subject: x\r\n\r\n.dot\r\n");
    }

    #[tokio::test]
    async fn a_client_that_leaves_in_the_middle_has_handed_nothing_over() {
        for script in [
            "EHLO gateway\r\nQUIT\r\n",
            "EHLO gateway\r\nDATA\r\nSubject: x\r\n",
            "EHLO gate",
        ] {
            assert!(from(script).await.is_err(), "{script}");
        }
    }
}
