//! The machines' name server: it stands at the router's address, where they look for one, and answers from zones. Nobody is
//! asked beyond it, so that a name which no zone has is known not to exist.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::task::Poll;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, MX, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp;

use super::zones::Zones;
use super::{Lan, Shared};
use crate::probe::dial::DialError;

/// The port for questions (RFC 1035 section 4.2.1).
const DOMAIN: u16 = 53;
/// The longest answer to somebody who does not say how much he takes, octets (RFC 1035 section 4.2.1).
const UNASKED: u16 = 512;
/// For how long an answer is kept, seconds: shorter than any scenario, so that what changes is seen.
const TTL: u32 = 5;
/// The longest string within a TXT record, octets (RFC 1035 section 3.3).
const STRING: usize = 255;
/// Questions and answers that wait; each has room for what Ethernet carries.
const PACKETS: usize = 32;
/// Octets of one question or answer.
const PACKET: usize = 1472;

/// A name server that runs. It ends when this is dropped.
pub struct NameServer(tokio::task::JoinHandle<()>);

impl Drop for NameServer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Lan {
    /// Answers questions at one of the host's addresses.
    ///
    /// # Errors
    /// The port is taken.
    pub fn serve_names(&self, at: Ipv4Addr, zones: Arc<Zones>) -> Result<NameServer, DialError> {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; PACKETS], vec![0; PACKETS * PACKET]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket
            .bind((at, DOMAIN))
            .map_err(|error| DialError::Other(format!("wait for questions at {at}: {error:?}")))?;
        let handle = self.shared.stack().sockets.add(socket);
        Ok(NameServer(tokio::spawn(serve(self.shared.clone(), handle, zones))))
    }
}

async fn serve(shared: Arc<Shared>, handle: SocketHandle, zones: Arc<Zones>) {
    loop {
        std::future::poll_fn(|context| {
            let mut stack = shared.stack();
            let socket = stack.sockets.get_mut::<udp::Socket>(handle);
            while let Ok((question, from)) = socket.recv() {
                let answer = answer(&zones, question);
                // Who has no room for an answer asks again.
                let _ = answer.map(|answer| socket.send_slice(&answer, from.endpoint));
            }
            socket.register_recv_waker(context.waker());
            drop(stack);
            shared.work.notify_one();
            Poll::<()>::Pending
        })
        .await;
    }
}

/// The answer to a question; nothing to what is none.
fn answer(zones: &Zones, question: &[u8]) -> Option<Vec<u8>> {
    let asked = Message::from_vec(question).ok()?;
    let query = asked.queries.first()?;
    let mut answer = Message::response(asked.metadata.id, OpCode::Query);
    answer.metadata.recursion_desired = asked.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    let name = query.name().to_ascii();
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    answer.add_answers(records(zones, &name, query.query_type(), query.name()));
    if !zones.exists(&name) {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    answer.edns.clone_from(&asked.edns);
    let room = asked
        .edns
        .as_ref()
        .map_or(UNASKED, |edns| edns.max_payload())
        .max(UNASKED);
    let whole = answer.to_vec().ok()?;
    if whole.len() <= usize::from(room) {
        return Some(whole);
    }
    answer.truncate().to_vec().ok()
}

fn records(zones: &Zones, name: &str, kind: RecordType, owner: &Name) -> Vec<Record> {
    let data: Vec<RData> = match kind {
        RecordType::A => zones.addresses(name).iter().map(|a| RData::A(A(*a))).collect(),
        RecordType::MX => zones
            .exchangers(name)
            .filter_map(|(preference, host)| {
                Some(RData::MX(MX::new(
                    preference,
                    Name::from_ascii(format!("{host}.")).ok()?,
                )))
            })
            .collect(),
        RecordType::TXT => zones.texts(name).iter().map(|text| RData::TXT(strings(text))).collect(),
        _ => Vec::new(),
    };
    data.into_iter()
        .map(|data| Record::from_rdata(owner.clone(), TTL, data))
        .collect()
}

/// A text as the strings of one record.
fn strings(text: &str) -> TXT {
    let strings = text.as_bytes().chunks(STRING);
    TXT::new(
        strings
            .map(|string| String::from_utf8_lossy(string).into_owned())
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hickory_proto::op::{Edns, Query};

    use super::*;

    fn zones() -> Zones {
        let text = format!(
            "@ IN MX 10 mail.example.org.\nmail IN A 192.168.1.20\n@ IN TXT \"v=spf1 mx -all\"\n\
             @ IN TXT \"another\"\nlong IN TXT \"{}\"\n",
            "x".repeat(600)
        );
        Zones::parse(&BTreeMap::from([("example.org".to_owned(), text)]))
    }

    fn ask(name: &str, kind: RecordType, room: Option<u16>) -> Message {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        if let Some(room) = room {
            let mut edns = Edns::new();
            edns.set_max_payload(room);
            question.set_edns(edns);
        }
        let answer = answer(&zones(), &question.to_vec().expect("octets")).expect("an answer");
        let answer = Message::from_vec(&answer).expect("a message");
        assert_eq!(answer.metadata.id, question.metadata.id);
        answer
    }

    fn said(answer: &Message) -> Vec<String> {
        answer.answers.iter().map(|record| record.data.to_string()).collect()
    }

    #[test]
    fn addresses_exchangers_and_texts_are_answered_whatever_the_case() {
        assert_eq!(said(&ask("Mail.Example.org.", RecordType::A, None)), ["192.168.1.20"]);
        assert_eq!(
            said(&ask("example.org.", RecordType::MX, None)),
            ["10 mail.example.org."]
        );
        assert_eq!(
            said(&ask("example.org.", RecordType::TXT, None)),
            ["v=spf1 mx -all", "another"]
        );
    }

    #[test]
    fn a_name_without_such_a_record_exists_and_an_unknown_one_does_not() {
        let without = ask("mail.example.org.", RecordType::MX, None);
        assert_eq!(
            (without.metadata.response_code, without.answers.len()),
            (ResponseCode::NoError, 0)
        );
        let unknown = ask("nowhere.example.", RecordType::A, None);
        assert_eq!(unknown.metadata.response_code, ResponseCode::NXDomain);
    }

    #[test]
    fn a_name_above_others_exists() {
        let above = ask("org.", RecordType::A, None);
        assert_eq!(above.metadata.response_code, ResponseCode::NoError);
    }

    #[test]
    fn a_long_answer_is_given_whole_only_to_who_takes_it() {
        let short = ask("long.example.org.", RecordType::TXT, None);
        assert!(short.metadata.truncation && short.answers.is_empty());
        let long = ask("long.example.org.", RecordType::TXT, Some(1232));
        assert_eq!((long.metadata.truncation, long.answers.len()), (false, 1));
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        assert_eq!(answer(&zones(), b"hello"), None);
    }
}
