//! One client: commands are passed to Dovecot one by one, its replies passed back; the reply to the final dot waits.

use std::collections::BTreeSet;
use std::io;

use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter, ReadHalf, WriteHalf,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::{info, warn};

use super::Proxy;
use super::backend::{Backend, Reply};
use super::data::Text;
use super::late::Late;
use super::mailboxes::{Kept, mailbox};
use crate::agent::Committed;
use crate::deliveries::UnderWay;

/// Longest command line, bytes (RFC 5321, 4.5.3.1.4 asks for 512; extensions add to it).
const LINE: u64 = 4096;

/// Bytes of a message in which the gateway's queue id is looked for.
const HEAD: usize = 64 * 1024;

/// Bytes of a message passed on together.
const PIECE: usize = 64 * 1024;

/// 4xx, since a 5xx would bounce the mail of a gateway that has the files of before.
const NO_TLS: &str = "451 4.7.0 Start TLS first";

const SYNTAX: &str = "501 5.5.4 Syntax error";
const NO_BACKEND: &str = "451 4.3.0 The mail store does not answer";

struct Session<'a, C> {
    read: BufReader<ReadHalf<C>>,
    write: BufWriter<WriteHalf<C>>,
    proxy: &'a Proxy,
    /// It runs inside of TLS.
    secured: bool,
    greeted: bool,
    backend: Option<Backend>,
    in_mail: bool,
    /// To deliver, from MAIL until Dovecot has answered for the message.
    turn: Option<OwnedSemaphorePermit>,
    /// Mailboxes of the recipients that the backend has taken.
    recipients: Vec<String>,
    /// Those of the message that the backend stores just now.
    kept: Vec<Kept>,
    /// That message, if a gateway has given it a queue id.
    under_way: Option<UnderWay>,
}

/// How a message's text ended.
enum Taken {
    /// It is with the backend.
    Whole,
    /// It is too long; the client has sent its end.
    TooLong,
    /// The backend is gone; the client has sent its end.
    NoBackend,
    /// It is here already, for these mailboxes, or is still being delivered; the backend has not got its end.
    Known(BTreeSet<String>),
}

/// What comes after a command.
enum Next {
    Command,
    /// The client has said goodbye.
    End,
    /// The client begins a TLS handshake.
    Tls,
}

/// Serves a client until it leaves, or until it wants to go on inside of TLS: then the connection comes back, and is served anew
/// as `secured`.
pub async fn run<C: AsyncRead + AsyncWrite + Unpin>(
    connection: C,
    proxy: &Proxy,
    secured: bool,
) -> io::Result<Option<C>> {
    let (read, write) = tokio::io::split(connection);
    let mut session = Session {
        read: BufReader::with_capacity(PIECE, read),
        write: BufWriter::new(write),
        proxy,
        secured,
        greeted: false,
        backend: None,
        in_mail: false,
        turn: None,
        recipients: Vec::new(),
        kept: Vec::new(),
        under_way: None,
    };
    if !secured {
        session.say(&format!("220 {} LMTP cluster-store", proxy.name)).await?;
    }
    loop {
        let Some(line) = session.line().await? else {
            return Ok(None);
        };
        match session.command(&line).await? {
            Next::Command => {}
            Next::End => {
                session.write.flush().await?;
                session.write.shutdown().await?;
                return Ok(None);
            }
            Next::Tls => {
                session.write.flush().await?;
                return Ok(Some(session.read.into_inner().unsplit(session.write.into_inner())));
            }
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> Session<'_, C> {
    async fn say(&mut self, line: &str) -> io::Result<()> {
        self.write.write_all(line.as_bytes()).await?;
        self.write.write_all(b"\r\n").await
    }

    async fn pass(&mut self, reply: &Reply) -> io::Result<()> {
        for line in &reply.0 {
            self.say(line).await?;
        }
        Ok(())
    }

    /// The next command; `None` when the client has left. Replies go out when the client has nothing more on its way, so
    /// that a pipelining client gets them in one piece.
    async fn line(&mut self) -> io::Result<Option<String>> {
        if self.read.buffer().is_empty() {
            self.write.flush().await?;
        }
        let mut line = Vec::new();
        let limit = self.proxy.config.limits.client.0;
        let read = timeout(limit, (&mut self.read).take(LINE).read_until(b'\n', &mut line)).await;
        let Ok(read) = read else {
            self.say("421 4.4.2 Silent for too long").await?;
            self.write.flush().await?;
            return Ok(None);
        };
        if read? == 0 {
            return Ok(None);
        }
        if !line.ends_with(b"\n") {
            self.say("500 5.5.2 Line too long").await?;
            self.write.flush().await?;
            return Ok(None);
        }
        Ok(Some(
            String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned(),
        ))
    }

    async fn command(&mut self, line: &str) -> io::Result<Next> {
        let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "LHLO" => self.hello(line).await?,
            "HELO" | "EHLO" => self.say("500 5.5.1 This is LMTP: say LHLO (RFC 2033)").await?,
            "NOOP" => self.say("250 2.0.0 OK").await?,
            "VRFY" => self.say("252 2.5.0 Try to deliver").await?,
            "RSET" => {
                self.reset().await;
                self.say("250 2.0.0 OK").await?;
            }
            "QUIT" => {
                self.say("221 2.0.0 Bye").await?;
                return Ok(Next::End);
            }
            "STARTTLS" if self.proxy.tls.is_some() && !self.secured => return self.start_tls().await,
            "MAIL" | "RCPT" | "DATA" if !self.greeted => self.say("503 5.5.1 Say LHLO first").await?,
            "MAIL" if self.proxy.tls.is_some() && !self.secured => self.say(NO_TLS).await?,
            "MAIL" => self.mail(line).await?,
            "RCPT" => self.recipient(line).await?,
            "DATA" => self.data().await?,
            _ => self.say("500 5.5.2 Unknown command").await?,
        }
        Ok(Next::Command)
    }

    /// What was said before counts for nothing afterwards (RFC 3207, 4.2), least of all what somebody in between has sent along
    /// with the command.
    async fn start_tls(&mut self) -> io::Result<Next> {
        if !self.read.buffer().is_empty() {
            self.say("501 5.5.1 Nothing may follow STARTTLS").await?;
            return Ok(Next::End);
        }
        self.say("220 2.0.0 Go ahead").await?;
        Ok(Next::Tls)
    }

    async fn hello(&mut self, line: &str) -> io::Result<()> {
        if line.split_whitespace().nth(1).is_none() {
            return self.say(SYNTAX).await;
        }
        self.greeted = true;
        self.reset().await;
        let (name, size) = (self.proxy.name.clone(), self.proxy.config.limits.message);
        let offered = (self.proxy.tls.is_some() && !self.secured).then_some("STARTTLS");
        let abilities = [&name, "PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME"];
        for ability in abilities.into_iter().chain(offered) {
            self.say(&format!("250-{ability}")).await?;
        }
        self.say(&format!("250 SIZE {size}")).await
    }

    /// Forgets a message that was begun. A backend that does not follow is dropped.
    async fn reset(&mut self) {
        self.in_mail = false;
        self.turn = None;
        self.recipients.clear();
        if let Some(backend) = &mut self.backend
            && !matches!(backend.ask("RSET").await, Ok(reply) if reply.is_good())
        {
            self.backend = None;
        }
    }

    async fn mail(&mut self, line: &str) -> io::Result<()> {
        if self.in_mail {
            return self.say("503 5.5.1 A message is begun already").await;
        }
        if let Err(why) = self.proxy.committer.ready() {
            return self.say(&format!("451 4.3.2 {why}")).await;
        }
        let Some((line, size)) = without_size(line) else {
            return self.say(SYNTAX).await;
        };
        if size > self.proxy.config.limits.message {
            return self.say("552 5.3.4 Message too long").await;
        }
        self.take_turn().await;
        let mut reply = None;
        // A connection that was idle may have been closed; nothing has been said on it that counts.
        while reply.is_none() && self.reuse() {
            reply = self.ask(&line).await;
        }
        if reply.is_none() {
            self.connect().await;
            reply = self.ask(&line).await;
        }
        self.in_mail = reply.as_ref().is_some_and(Reply::is_good);
        if !self.in_mail {
            self.turn = None;
        }
        self.answer(reply).await
    }

    /// Waits for a turn. Clients that stall in the middle of a message may not keep the others out: after a while it goes on
    /// without one.
    async fn take_turn(&mut self) {
        let turn = timeout(
            self.proxy.config.limits.turn.0,
            self.proxy.turns.clone().acquire_owned(),
        )
        .await;
        self.turn = turn.ok().and_then(Result::ok);
    }

    /// True if there is a connection that has been used before.
    fn reuse(&mut self) -> bool {
        self.backend = self.backend.take().or_else(|| self.proxy.idle.take());
        self.backend.is_some()
    }

    async fn connect(&mut self) {
        let config = &self.proxy.config;
        match Backend::connect(&config.backend, config.limits.backend.0).await {
            Ok(backend) => self.backend = Some(backend),
            Err(error) => warn!("{}: {error}", config.backend.display()),
        }
    }

    async fn recipient(&mut self, line: &str) -> io::Result<()> {
        if !self.in_mail {
            return self.say("503 5.5.1 Say MAIL first").await;
        }
        if self.recipients.len() >= self.proxy.config.limits.recipients {
            return self.say("452 4.5.3 Too many recipients").await;
        }
        let reply = self.ask(line).await;
        if reply.as_ref().is_some_and(Reply::is_good) {
            self.recipients.push(mailbox(line));
        }
        self.answer(reply).await
    }

    /// Asks the backend; `None` if it is gone.
    async fn ask(&mut self, line: &str) -> Option<Reply> {
        match self.backend.as_mut()?.ask(line).await {
            Ok(reply) => Some(reply),
            Err(error) => {
                warn!("the backend broke off: {error}");
                self.backend = None;
                None
            }
        }
    }

    async fn answer(&mut self, reply: Option<Reply>) -> io::Result<()> {
        match reply {
            Some(reply) => self.pass(&reply).await,
            None => self.say(NO_BACKEND).await,
        }
    }

    async fn data(&mut self) -> io::Result<()> {
        if self.recipients.is_empty() {
            return self.say("503 5.5.1 No recipient has been taken").await;
        }
        let reply = self.ask("DATA").await;
        if reply.as_ref().map(Reply::class) != Some(3) {
            return self.answer(reply).await;
        }
        self.answer(reply).await?;
        self.write.flush().await?;
        let mailboxes = std::mem::take(&mut self.recipients);
        let recipients = mailboxes.len();
        self.in_mail = false;
        let replies = match self.text(&mailboxes).await? {
            Taken::Whole => {
                let replies = self.delivered(recipients).await;
                // Whoever comes next needs it more than one who waits.
                self.backend
                    .take()
                    .into_iter()
                    .for_each(|backend| self.proxy.idle.give(backend));
                replies
            }
            Taken::TooLong => vec![Reply(vec!["552 5.3.4 Message too long".to_owned()]); recipients],
            Taken::NoBackend => vec![Reply(vec![NO_BACKEND.to_owned()]); recipients],
            Taken::Known(known) => mailboxes.iter().map(|mailbox| again(known.contains(mailbox))).collect(),
        };
        if let Some(under_way) = self.under_way.take() {
            let taken: Vec<bool> = replies.iter().map(Reply::is_good).collect();
            under_way.delivered(&taken);
        }
        self.kept.clear();
        self.turn = None;
        for reply in self.committed(replies).await {
            self.pass(&reply).await?;
        }
        Ok(())
    }

    /// Passes the text on, its end only when nothing else is delivered to these mailboxes. A client that leaves before its
    /// end is an error, and the backend, which never sees an end, drops what it has.
    async fn text(&mut self, mailboxes: &[String]) -> io::Result<Taken> {
        let (mut text, mut out, mut length) = (Text::default(), Vec::with_capacity(PIECE), 0);
        let mut head = Vec::new();
        let limits = &self.proxy.config.limits;
        let mut taken = Taken::Whole;
        loop {
            let silent = |_| io::Error::new(io::ErrorKind::TimedOut, "silent in the middle of a message");
            let bytes = timeout(limits.client.0, self.read.fill_buf()).await.map_err(silent)??;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let end = text.take(bytes, &mut out);
            let used = end.unwrap_or(bytes.len());
            self.read.consume(used);
            length += out.len();
            if length > limits.message && matches!(taken, Taken::Whole) {
                taken = Taken::TooLong;
                self.backend = None;
            }
            head.extend_from_slice(&out[..out.len().min(HEAD - head.len())]);
            if end.is_some() && self.backend.is_some() {
                self.kept = self.proxy.mailboxes.keep(mailboxes, limits.backend.0).await;
                if let Err(known) = self.begin(mailboxes, &head).await {
                    self.backend = None;
                    return Ok(Taken::Known(known));
                }
            }
            if let Some(backend) = &mut self.backend {
                if end.is_some() {
                    out.extend_from_slice(b".\r\n");
                }
                if let Err(error) = backend.send(&out).await {
                    warn!("the backend broke off in the middle of a message: {error}");
                    taken = Taken::NoBackend;
                    self.backend = None;
                }
            }
            out.clear();
            if end.is_some() {
                return Ok(taken);
            }
        }
    }

    /// Begins to deliver a message with this head; the error is who has it already, or nobody if it is being delivered.
    async fn begin(&mut self, mailboxes: &[String], head: &[u8]) -> Result<(), BTreeSet<String>> {
        let Some(id) = self.proxy.deliveries.id_of(&String::from_utf8_lossy(head)) else {
            return Ok(());
        };
        self.proxy.deliveries.look(mailboxes).await;
        match self.proxy.deliveries.begin(mailboxes, &id) {
            Ok(under_way) => self.under_way = Some(under_way),
            Err(known) => {
                match known.is_empty() {
                    true => info!("{id} is being delivered, and is not delivered again meanwhile"),
                    false => info!("{id} is here already, and is not delivered again"),
                }
                return Err(known);
            }
        }
        Ok(())
    }

    /// One reply of the backend for each recipient (RFC 2033, 4.2). Of those that it owes when it breaks off nobody knows
    /// whether they were delivered: 4xx, and the mail comes again.
    async fn delivered(&mut self, recipients: usize) -> Vec<Reply> {
        let mut replies = Vec::new();
        while let Some(backend) = &mut self.backend
            && replies.len() < recipients
        {
            match backend.reply().await {
                Ok(reply) => replies.push(reply),
                Err(error) => {
                    warn!("the backend broke off after the end of a message: {error}");
                    let backend = self.backend.take();
                    if let Some(backend) = backend.filter(|_| error.kind() == io::ErrorKind::TimedOut) {
                        self.left_to_itself(backend, &replies, recipients);
                    }
                }
            }
        }
        replies.resize(recipients, Reply(vec![NO_BACKEND.to_owned()]));
        replies
    }

    /// The backend may still store a message for which it has not answered in time.
    fn left_to_itself(&mut self, backend: Backend, replies: &[Reply], recipients: usize) {
        let late = Late {
            backend,
            replies: replies.to_vec(),
            recipients,
            under_way: self.under_way.take(),
            kept: std::mem::take(&mut self.kept),
            turn: self.turn.take(),
        };
        tokio::spawn(late.end());
    }

    /// Waits for the other node, if the backend has taken the message for anybody.
    async fn committed(&self, replies: Vec<Reply>) -> Vec<Reply> {
        if !replies.iter().any(Reply::is_good) {
            return replies;
        }
        let metrics = &self.proxy.metrics;
        match self.proxy.committer.commit().await {
            Committed::Both => metrics.confirmed.inc(),
            Committed::Alone => metrics.alone.inc(),
            Committed::Deferred => {
                metrics.deferred.inc();
                info!("a message is put off: the other node has not confirmed it");
                let later = Reply(vec!["451 4.3.0 Not confirmed by the other node yet".to_owned()]);
                let put_off = |reply: Reply| if reply.is_good() { later.clone() } else { reply };
                return replies.into_iter().map(put_off).collect();
            }
        };
        replies
    }
}

/// The reply for a mailbox when a message is here already for it, or is being delivered, or is here for others of its
/// recipients.
fn again(known: bool) -> Reply {
    let line = if known {
        "250 2.0.0 It is here already"
    } else {
        "451 4.3.0 Deliver it again later, by itself"
    };
    Reply(vec![line.to_owned()])
}

/// A MAIL command without its SIZE parameter, which Dovecot need not know, and the size; `None` if it is no number.
fn without_size(line: &str) -> Option<(String, usize)> {
    let mut size = 0;
    let mut kept = Vec::new();
    for word in line.split(' ') {
        match word.get(..5) {
            Some(name) if name.eq_ignore_ascii_case("SIZE=") => size = word[5..].parse().ok()?,
            _ => kept.push(word),
        }
    }
    Some((kept.join(" "), size))
}
