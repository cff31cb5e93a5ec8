//! Announcements as records of DNS-SD (RFC 6763) in multicast DNS (RFC 6762).
//!
//! Each announcement is an instance of the service, with a name made of its own random bytes, and stands in the TXT record under
//! the key `a`. Names that are random need no probing (RFC 6762, section 8.1). SRV and A are there for browsers of services; we take the address from the packet itself.

use std::net::Ipv4Addr;

use common::lan::{Announcement, SERVICE};
use simple_dns::rdata::{A, PTR, RData, SRV, TXT};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, ResourceRecord, TYPE};

/// How long others keep a record that names a host (RFC 6762, section 10).
const TTL: u32 = 120;
const KEY: &str = "a";
/// Announcements that are read from one packet; ours have one.
const AT_MOST: usize = 4;

/// What a packet of multicast DNS says that concerns us.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::net) enum Said {
    /// Who is there?
    Question,
    /// Messages of [`common::lan`], perhaps.
    Announcements(Vec<Vec<u8>>),
    Nothing,
}

/// An unsolicited response (RFC 6762, section 8.3) that announces us at this address. `None`: it has no tags, or does not fit.
pub(super) fn response(announcement: &Announcement, own: Ipv4Addr) -> Option<Vec<u8>> {
    let named = announcement.nonce.0.into_iter().take(4).chain(announcement.tags.first()?.0.into_iter().take(4));
    let label: String = named.map(|byte| format!("{byte:02x}")).collect();
    let (instance, host) = (format!("{label}.{SERVICE}"), format!("{label}.local"));
    let (service, instance, host) = (Name::new(SERVICE).ok()?, Name::new(&instance).ok()?, Name::new(&host).ok()?);
    let bytes = announcement.encode();
    let text = TXT::new().with_attribute(KEY, Some(&bytes)).ok()?;
    let place = SRV { priority: 0, weight: 0, port: announcement.port, target: host.clone() };
    // Others may have the same service, so that one is not unique.
    let shared = ResourceRecord::new(service, CLASS::IN, TTL, RData::PTR(PTR(instance.clone())));
    let unique =
        |name: &Name<'static>, data| ResourceRecord::new(name.clone(), CLASS::IN, TTL, data).with_cache_flush(true);
    let (instance, host) = (instance.into_owned(), host.into_owned());
    let mut packet = Packet::new_reply(0);
    packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    packet.answers.push(shared);
    packet.answers.push(unique(&instance, RData::SRV(place)));
    packet.answers.push(unique(&instance, RData::TXT(text)));
    packet.additional_records.push(unique(&host, RData::A(A { address: own.to_bits() })));
    packet.build_bytes_vec_compressed().ok()
}

/// Reads a packet.
pub(in crate::net) fn read(packet: &[u8]) -> Said {
    // Most packets are about printers.
    let ours = SERVICE.split('.').next().unwrap_or(SERVICE).as_bytes();
    if !packet.windows(ours.len()).any(|window| window.eq_ignore_ascii_case(ours)) {
        return Said::Nothing;
    }
    let (Ok(packet), Ok(service)) = (Packet::parse(packet), Name::new(SERVICE)) else { return Said::Nothing };
    if !packet.has_flags(PacketFlag::RESPONSE) {
        let asks = |qtype| matches!(qtype, QTYPE::ANY | QTYPE::TYPE(TYPE::PTR));
        let asked = packet.questions.iter().any(|question| question.qname == service && asks(question.qtype));
        return if asked { Said::Question } else { Said::Nothing };
    }
    let records = packet.answers.iter().chain(&packet.additional_records);
    let texts =
        records.filter(|record| record.name.is_subdomain_of(&service)).filter_map(|record| match &record.rdata {
            RData::TXT(text) => text.iter_raw().find(|(key, _)| key.eq_ignore_ascii_case(KEY.as_bytes()))?.1,
            _ => None,
        });
    Said::Announcements(texts.take(AT_MOST).map(<[u8]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use common::lan::{LanNonce, LanTag, MAX_TAGS};
    use proptest::prelude::*;
    use simple_dns::{QCLASS, Question};

    use super::*;

    fn announcement(tags: usize) -> Announcement {
        let tags = (0..tags).map(|n| LanTag([n as u8; 8])).collect();
        Announcement { nonce: LanNonce([0xab; 16]), port: 4000, tags }
    }

    #[test]
    fn the_longest_announcement_is_found_again_in_its_records() {
        for tags in [4, MAX_TAGS] {
            let announcement = announcement(tags);
            let packet = response(&announcement, Ipv4Addr::new(192, 168, 1, 7)).expect("it fits");
            assert!(packet.len() < 512, "{}", packet.len());
            assert_eq!(read(&packet), Said::Announcements(vec![announcement.encode()]));
        }
        assert_eq!(response(&announcement(0), Ipv4Addr::LOCALHOST), None, "nobody to be found by");
    }

    #[test]
    fn the_records_are_those_of_a_service_and_name_nobody() {
        let packet = response(&announcement(1), Ipv4Addr::new(192, 168, 1, 7)).expect("it fits");
        let packet = Packet::parse(&packet).expect("DNS");
        assert!(packet.has_flags(PacketFlag::RESPONSE | PacketFlag::AUTHORITATIVE_ANSWER));
        let records = packet.answers.iter().chain(&packet.additional_records);
        let told: Vec<String> =
            records.map(|r| format!("{} {:?} {} {}", r.name, r.rdata.type_code(), r.ttl, r.cache_flush)).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        _punchline._udp.local PTR 120 false
        abababab00000000._punchline._udp.local SRV 120 true
        abababab00000000._punchline._udp.local TXT 120 true
        abababab00000000.local A 120 true
        ");
    }

    #[test]
    fn a_browser_of_our_service_is_understood_and_others_are_not_our_business() {
        let question = |name, qtype| {
            let mut packet = Packet::new_query(0);
            packet.questions.push(Question::new(Name::new_unchecked(name), qtype, QCLASS::CLASS(CLASS::IN), false));
            read(&packet.build_bytes_vec().expect("it fits"))
        };
        assert_eq!(question(SERVICE, QTYPE::TYPE(TYPE::PTR)), Said::Question);
        assert_eq!(question("_Punchline._UDP.local", QTYPE::ANY), Said::Question);
        assert_eq!(question(SERVICE, QTYPE::TYPE(TYPE::A)), Said::Nothing);
        assert_eq!(question("_ipp._tcp.local", QTYPE::TYPE(TYPE::PTR)), Said::Nothing);
    }

    proptest! {
        #[test]
        fn junk_is_nothing_and_never_a_panic(mut junk: Vec<u8>, at: prop::sample::Index, response: bool) {
            let _ = read(&junk);
            junk.resize(junk.len().max(12), 0);
            junk[2] = if response { 0x84 } else { 0 };
            junk.splice(at.index(junk.len())..at.index(junk.len()), *b"\x0a_punchline\x04_udp\x05local\x00");
            let _ = read(&junk);
        }

        #[test]
        fn a_changed_packet_is_read_or_not_and_never_a_panic(at: prop::sample::Index, to: u8) {
            let mut packet = super::response(&announcement(4), Ipv4Addr::new(192, 168, 1, 7)).expect("it fits");
            let at = at.index(packet.len());
            packet[at] = to;
            let _ = read(&packet);
        }
    }
}
