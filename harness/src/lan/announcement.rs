//! Addresses that move: a machine that takes an address over announces it to everybody (gratuitous ARP, RFC 5227 section 3),
//! and a router that knows the address believes it. The stack takes notice of what is addressed to itself only, so that
//! announcements are handed to it in that form; without them it would send to the former machine for up to a minute.

use std::net::Ipv4Addr;

use bytes::Bytes;
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr};

/// What an announcement of an address says, as an answer to a question of the host with these addresses. Nothing if the
/// frame is none.
pub(super) fn as_answer(frame: &[u8], hardware: EthernetAddress, host: Ipv4Addr) -> Option<Bytes> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Arp {
        return None;
    }
    let packet = ArpPacket::new_checked(ethernet.payload()).ok()?;
    let ArpRepr::EthernetIpv4 {
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = ArpRepr::parse(&packet).ok()?
    else {
        return None;
    };
    if source_protocol_addr != target_protocol_addr {
        return None;
    }
    let answer = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr,
        source_protocol_addr,
        target_hardware_addr: hardware,
        target_protocol_addr: host,
    };
    Some(framed(&answer, source_hardware_addr, hardware))
}

/// An ARP packet in a frame.
fn framed(arp: &ArpRepr, from: EthernetAddress, to: EthernetAddress) -> Bytes {
    let header = EthernetRepr {
        src_addr: from,
        dst_addr: to,
        ethertype: EthernetProtocol::Arp,
    };
    let mut bytes = vec![0; header.buffer_len() + arp.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    header.emit(&mut frame);
    arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    bytes.into()
}

/// The frame by which a machine says that it has an address now.
#[cfg(test)]
pub(super) fn announcement(hardware: EthernetAddress, address: Ipv4Addr) -> Bytes {
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: hardware,
        source_protocol_addr: address,
        target_hardware_addr: EthernetAddress::BROADCAST,
        target_protocol_addr: address,
    };
    framed(&arp, hardware, EthernetAddress::BROADCAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
    const OTHER: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);

    #[test]
    fn an_announcement_becomes_an_answer_to_the_host() {
        let (host, moved) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 40));
        let answer = as_answer(&announcement(OTHER, moved), HOST, host).unwrap();
        let packet =
            ArpPacket::new_checked(EthernetFrame::new_checked(&answer[..]).unwrap().payload().to_vec()).unwrap();
        let expected = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: OTHER,
            source_protocol_addr: moved,
            target_hardware_addr: HOST,
            target_protocol_addr: host,
        };
        assert_eq!(ArpRepr::parse(&packet).unwrap(), expected);
    }

    #[test]
    fn a_question_and_what_is_no_arp_are_left_alone() {
        let host = Ipv4Addr::new(10, 0, 0, 1);
        let question = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: OTHER,
            source_protocol_addr: Ipv4Addr::new(10, 0, 0, 2),
            target_hardware_addr: EthernetAddress::BROADCAST,
            target_protocol_addr: host,
        };
        assert_eq!(
            as_answer(&framed(&question, OTHER, EthernetAddress::BROADCAST), HOST, host),
            None
        );
        assert_eq!(as_answer(&[0; 60], HOST, host), None);
        assert_eq!(as_answer(&[], HOST, host), None);
    }
}
