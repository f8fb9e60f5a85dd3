//! What targets do to packets, over IPv4 and IPv6.

use fielato_wire::{Addr, Family, Headers, TcpFlags, checksum, number};

use super::Target;
use crate::context::{Effect, Slot};
use crate::edit::{read16, read32};
use crate::host::{AddressType, Route};
use crate::testkit::{Kit, V4_DST, V4_SRC, V6_DST, V6_SRC, both, tcp, udp, v4, v6};
use crate::verdict::TargetVerdict;
use crate::{Hook, Packet, PacketCt};

fn apply(kit: &mut Kit, target: &Target) -> TargetVerdict {
    target.apply(&mut kit.context(), &mut Slot::None)
}

/// The packet after `target`, whose headers must be what its bytes say and whose checksums must be right.
fn after(packet: Packet, target: &Target) -> Packet {
    let mut kit = Kit::new(with_checksum(packet));
    assert_eq!(apply(&mut kit, target), TargetVerdict::Continue, "{target:?}");
    assert_eq!(kit.packet.headers, Headers::receive(&kit.packet.data).unwrap(), "{target:?}");
    assert!(kit.packet.transport_checksum_ok(), "{target:?}");
    kit.packet
}

/// The packet with its transport checksum filled in.
fn with_checksum(mut packet: Packet) -> Packet {
    let headers = packet.headers;
    let at = match headers.protocol {
        number::TCP => 16,
        number::UDP => 6,
        number::ICMPV6 => 2,
        _ => return packet,
    };
    let bytes = headers.transport_mut(&mut packet.data);
    bytes[at..at + 2].fill(0);
    let check = checksum::transport(headers.src, headers.dst, headers.protocol, bytes);
    bytes[at..at + 2].copy_from_slice(&check.to_be_bytes());
    packet
}

fn effect(kit: &mut Kit) -> Option<Packet> {
    match kit.effects.pop() {
        Some(Effect::Send(packet)) => Some(*packet),
        other => {
            assert!(other.is_none(), "{other:?}");
            None
        }
    }
}

#[test]
fn targets_stay_small() {
    assert!(size_of::<Target>() <= 32, "{}", size_of::<Target>());
}

#[test]
fn marks_are_masked() {
    for (mark, value, mask, new) in [
        (0xff, 0x1, 0xffff_ffff, 0x1),
        (0xf0, 0x0f, 0x0f, 0xff),
        (0xff, 0x0f, 0, 0xf0),
        (0xff, 0, 0x0f, 0xf0),
    ] {
        for mut packet in both(number::UDP, &udp(1, 2, &[])) {
            packet.mark = mark;
            let target = Target::Mark(super::mark::Mark { value, mask });
            assert_eq!(after(packet, &target).mark, new, "{mark:x} {value:x}/{mask:x}");
        }
    }
}

#[test]
fn tos_dscp_and_ttl_keep_the_checksum() {
    use super::ttl::Change;
    let udp = udp(1, 2, &[7; 5]);
    for packet in both(number::UDP, &udp) {
        let tos = Target::Tos(super::tos::Tos { value: 0x12, mask: 0xff });
        let marked = after(packet, &tos);
        assert_eq!(marked.headers.tos, 0x12);
        let dscp = Target::Dscp(super::dscp::Dscp { dscp: 46 });
        assert_eq!(after(marked, &dscp).headers.tos, 46 << 2 | 2);
    }
    for (change, new) in [
        (Change::Set(9), 9),
        (Change::Increase(250), 255),
        (Change::Decrease(3), 61),
        (Change::Decrease(200), 0),
    ] {
        for packet in both(number::UDP, &udp) {
            let family = packet.headers.family;
            let target = Target::Ttl(super::ttl::Ttl { family, change });
            assert_eq!(after(packet, &target).headers.ttl, new);
        }
    }
}

#[test]
fn tcpmss_lowers_adds_and_never_raises() {
    use super::tcpmss::Tcpmss;
    let options: [&[u8]; 4] = [&[2, 4, 5, 180], &[1, 2, 4, 5, 180, 1, 1, 1], &[], &[1, 1, 1, 1]];
    for option in options {
        for (set, families) in [(1000, [1000, 1000]), (1460, [1460, 1460]), (400, [400, 400])] {
            for (packet, set_in) in both(number::TCP, &tcp(1, 2, TcpFlags::SYN, option)).into_iter().zip(families) {
                let family = packet.headers.family;
                let packet = after(packet, &Target::Tcpmss(Tcpmss::Set(set)));
                let header = packet.tcp_header().unwrap();
                let at = header[20..].windows(2).position(|pair| pair == [2, 4]).unwrap() + 20;
                let has_none = !option.contains(&2);
                let most = match (has_none, family) {
                    (true, Family::V4) => 536,
                    (true, Family::V6) => 1220,
                    (false, _) => 5 * 256 + 180,
                };
                assert_eq!(read16(header, at + 2), Some(set_in.min(most)), "{option:?} {set} {family:?}");
            }
        }
    }
    for (packet, mss) in both(number::TCP, &tcp(1, 2, TcpFlags::SYN, &[2, 4, 5, 180]))
        .into_iter()
        .zip([1360, 1340])
    {
        let mut kit = Kit::new(with_checksum(packet));
        if let Route::Out { mtu, .. } = &mut kit.host.route {
            *mtu = 1400;
        }
        assert_eq!(apply(&mut kit, &Target::Tcpmss(Tcpmss::Clamp)), TargetVerdict::Continue);
        assert_eq!(read16(kit.packet.transport(), 22), Some(mss));
        assert!(kit.packet.transport_checksum_ok());
    }
    // Data behind the header: no option is added.
    let mut with_data = tcp(1, 2, TcpFlags::SYN, &[]);
    with_data.extend_from_slice(b"data");
    for packet in both(number::TCP, &with_data) {
        let before = with_checksum(packet.clone()).data;
        assert_eq!(after(packet, &Target::Tcpmss(Tcpmss::Set(500))).data, before);
    }
}

#[test]
fn tcpoptstrip_leaves_nops() {
    let mut strip = super::tcpoptstrip::Tcpoptstrip::default();
    strip.insert(3);
    strip.insert(8);
    let options = [2, 4, 5, 180, 1, 3, 3, 7, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 4, 2];
    let left = [2, 4, 5, 180, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4, 2];
    for packet in both(number::TCP, &tcp(1, 2, TcpFlags::SYN, &options)) {
        let packet = after(packet, &Target::Tcpoptstrip(strip.clone()));
        assert_eq!(packet.tcp_header().unwrap()[20..], left);
    }
}

/// Sequence number, acknowledgement and flags of a reset.
type Reset = (u32, u32, u8);

#[test]
fn reject_resets_as_the_kernel_does() {
    // Flags and payload of the packet, and the answer.
    let cases: [(u8, usize, Option<Reset>); 4] = [
        (TcpFlags::SYN, 0, Some((0, 1, TcpFlags::RST | TcpFlags::ACK))),
        (TcpFlags::ACK, 10, Some((0, 0, TcpFlags::RST))),
        (TcpFlags::FIN, 3, Some((0, 4, TcpFlags::RST | TcpFlags::ACK))),
        (TcpFlags::RST, 0, None),
    ];
    for (flags, payload, answer) in cases {
        let mut bytes = tcp(1000, 80, flags, &[]);
        bytes.resize(20 + payload, 9);
        for packet in both(number::TCP, &bytes) {
            let mut kit = Kit::new(with_checksum(packet));
            let reset = Target::Reject(super::reject::Reject::TcpReset);
            assert_eq!(apply(&mut kit, &reset), TargetVerdict::Drop);
            let sent = effect(&mut kit);
            assert_eq!(sent.is_some(), answer.is_some(), "{flags:x}");
            let (Some(sent), Some((seq, ack, flags))) = (sent, answer) else {
                continue;
            };
            assert_eq!(
                (sent.headers.src, sent.headers.dst),
                (kit.packet.headers.dst, kit.packet.headers.src)
            );
            assert_eq!((sent.headers.sport, sent.headers.dport, sent.headers.ttl), (80, 1000, 64));
            let tcp = sent.transport();
            assert_eq!((read32(tcp, 4), read32(tcp, 8), tcp[13]), (Some(seq), Some(ack), flags));
            assert!(sent.transport_checksum_ok() && Headers::receive(&sent.data).is_ok());
            // A wrong checksum is not answered.
            let mut wrong = kit.packet;
            *wrong.data.last_mut().unwrap() ^= 1;
            wrong.summed = Default::default();
            let mut kit = Kit::new(wrong);
            apply(&mut kit, &reset);
            assert!(effect(&mut kit).is_none());
        }
    }
}

#[test]
fn reject_quotes_and_keeps_silent() {
    let unreachable = |family| Target::Reject(super::reject::Reject::default_for(family));
    for packet in both(number::UDP, &udp(1000, 53, &[5; 2000])) {
        let (family, quoted) = match packet.headers.family {
            Family::V4 => (Family::V4, 548),
            Family::V6 => (Family::V6, 1232),
        };
        let mut kit = Kit::new(with_checksum(packet));
        let own = if family == Family::V4 {
            Addr::v4(V4_DST)
        } else {
            Addr::v6(V6_DST)
        };
        kit.host.address = Some(own);
        assert_eq!(apply(&mut kit, &unreachable(family)), TargetVerdict::Drop);
        let sent = effect(&mut kit).unwrap();
        let icmp = sent.transport();
        let kind = if family == Family::V4 { [3, 3] } else { [1, 4] };
        assert_eq!((&icmp[..2], icmp.len()), (&kind[..], 8 + quoted));
        assert_eq!(icmp[8..], kit.packet.data[..quoted]);
        assert_eq!((sent.headers.src, sent.headers.dst), (own, kit.packet.headers.src));
        assert!(sent.transport_checksum_ok() && Headers::receive(&sent.data).is_ok());
        assert_eq!(sent.headers.tos, if family == Family::V4 { 0xc0 } else { 0 });
        // Its answer in turn is an error, and is not answered.
        let mut kit = Kit::new(Packet::received(sent.data, crate::testkit::interface(1, "eth0")).unwrap());
        kit.host.address = Some(own);
        apply(&mut kit, &unreachable(family));
        assert!(effect(&mut kit).is_none());
    }
    // To everybody, or a later fragment.
    let mut kit = Kit::new(v4(number::UDP, &udp(1, 2, &[])));
    kit.host.address = Some(Addr::v4(V4_DST));
    kit.host.kinds.push((Addr::v4(V4_DST), AddressType::Broadcast));
    apply(&mut kit, &unreachable(Family::V4));
    assert!(effect(&mut kit).is_none());
    for packet in [
        crate::testkit::v4_fragment(number::UDP, 8, false, &[0; 16]),
        crate::testkit::v6_fragment(number::UDP, 8, false, &[0; 16]),
    ] {
        let family = packet.headers.family;
        let mut kit = Kit::new(packet);
        kit.host.address = Some(Addr::ZERO);
        apply(&mut kit, &unreachable(family));
        assert!(effect(&mut kit).is_none());
    }
}

#[test]
fn log_lines_are_the_kernels() {
    let log = |flags| {
        Target::Log(super::log::Log {
            level: 4,
            flags: super::log::LogFlags(flags),
            prefix: "test: ".into(),
        })
    };
    let mut kit = Kit::new(v4(number::TCP, &tcp(1000, 80, TcpFlags::SYN, &[2, 4, 5, 180])));
    kit.packet.out_interface = crate::testkit::interface(2, "eth1");
    kit.packet.mark = 0x10;
    let all = super::log::LogFlags::TCP_SEQUENCE | super::log::LogFlags::TCP_OPTIONS;
    assert_eq!(apply(&mut kit, &log(all)), TargetVerdict::Continue);
    let line = |kit: &mut Kit| match kit.effects.pop() {
        Some(Effect::Log { level: 4, line }) => line,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        line(&mut kit),
        "test: IN=eth0 OUT=eth1 MAC= SRC=10.0.0.1 DST=10.0.1.2 LEN=44 TOS=0x00 PREC=0x00 TTL=64 ID=4660 PROTO=TCP SPT=1000 DPT=80 \
         SEQ=0 ACK=0 WINDOW=65535 RES=0x00 SYN URGP=0 OPT (020405B4) MARK=0x10 "
    );
    let mut kit = Kit::new(v6(number::ICMPV6, &[128, 0, 0, 0, 0, 7, 0, 9]));
    apply(&mut kit, &log(0));
    assert_eq!(
        line(&mut kit),
        "test: IN=eth0 OUT= MAC= SRC=2001:0db8:0000:0000:0000:0000:0000:0001 DST=2001:0db8:0000:0001:0000:0000:0000:0002 LEN=48 \
         TC=0 HOPLIMIT=64 FLOWLBL=0 PROTO=ICMPv6 TYPE=128 CODE=0 ID=7 SEQ=9 "
    );
    // An error shows what it is about, cut short or not.
    let mut error = vec![3, 1, 0, 0, 0, 0, 0, 0];
    error.extend_from_slice(&v4(number::UDP, &udp(5, 6, &[])).data);
    let mut kit = Kit::new(v4(number::ICMP, &error));
    apply(&mut kit, &log(0));
    let text = line(&mut kit);
    assert!(
        text.contains("PROTO=ICMP TYPE=3 CODE=1 [SRC=10.0.0.1 DST=10.0.1.2 LEN=28 "),
        "{text}"
    );
    assert!(text.ends_with("PROTO=UDP SPT=5 DPT=6 LEN=8 ] "), "{text}");
    for len in 0..kit.packet.data.len() {
        // No length of what follows the IP header makes it panic.
        if let Ok(packet) = Packet::local(v4(number::ICMP, &error[..len.min(error.len())]).data) {
            crate::log_line::line("", &packet, super::log::LogFlags(0xff), &mut kit.host);
        }
    }
}

#[test]
fn nfqueue_keeps_a_flow_in_its_queue() {
    let target = Target::Nfqueue(super::nfqueue::Nfqueue {
        queue: 10,
        total: 4,
        bypass: true,
        cpu_fanout: false,
    });
    let mut used = [0; 4];
    for last in 1..100u8 {
        let mut packet = v4(number::UDP, &udp(1, 2, &[]));
        packet.headers.src = Addr::read(&[10, 0, 0, last]);
        let mut kit = Kit::new(packet);
        let there = apply(&mut kit, &target);
        std::mem::swap(&mut kit.packet.headers.src, &mut kit.packet.headers.dst);
        assert_eq!(apply(&mut kit, &target), there);
        let TargetVerdict::Queue { number, bypass: true } = there else {
            panic!("{there:?}")
        };
        used[usize::from(number - 10)] += 1;
    }
    assert!(used.iter().all(|&flows| flows > 5), "{used:?}");
}

#[test]
fn ct_leaves_a_template_or_nothing() {
    for packet in both(number::UDP, &udp(1, 2, &[])) {
        let mut kit = Kit::new(packet);
        let mut ct = super::ct::Ct::default();
        ct.template.zone.id = 7;
        apply(&mut kit, &Target::Ct(ct.clone()));
        assert_eq!(kit.packet.template.as_ref().map(|template| template.zone.id), Some(7));
        kit.packet.template = None;
        ct.notrack = true;
        apply(&mut kit, &Target::Ct(ct));
        assert_eq!((kit.packet.ct, kit.packet.template.is_none()), (PacketCt::Untracked, true));
    }
}

#[test]
fn tee_and_tproxy() {
    for packet in both(number::TCP, &tcp(1, 80, TcpFlags::SYN, &[])) {
        let mut kit = Kit::new(packet);
        kit.hook = Hook::Prerouting;
        let tee = Target::Tee(super::tee::Tee {
            gateway: Box::new(Addr::v4(V4_SRC)),
            interface: Box::default(),
        });
        apply(&mut kit, &tee);
        let Some(Effect::Copy { packet, .. }) = kit.effects.pop() else {
            panic!()
        };
        assert_eq!((packet.headers.ttl, packet.ct), (63, PacketCt::Untracked));
        assert!(Headers::receive(&packet.data).is_ok());
        let tproxy = Target::Tproxy(super::tproxy::Tproxy(Box::new(super::tproxy::Parameters {
            mark: 1,
            mask: 1,
            ..Default::default()
        })));
        assert_eq!(apply(&mut kit, &tproxy), TargetVerdict::Drop);
        kit.host.socket = true;
        assert_eq!(apply(&mut kit, &tproxy), TargetVerdict::Accept);
        assert_eq!(kit.packet.mark, 1);
    }
}

#[test]
fn npt_translates_and_no_checksum_changes() {
    let prefixes = super::snpt::Prefixes {
        from: Addr::v6("2001:db8::".parse().unwrap()),
        from_len: 48,
        to: Addr::v6("fd00:1:2::".parse().unwrap()),
        to_len: 48,
    };
    let packet = after(
        v6(number::UDP, &udp(1, 2, &[3; 7])),
        &Target::Snpt(super::snpt::Snpt(Box::new(prefixes))),
    );
    assert!(packet.headers.src.within(prefixes.to, Addr::mask(Family::V6, 48)));
    assert_eq!(packet.headers.dst, Addr::v6(V6_DST));
    assert_ne!(packet.headers.src, Addr::v6(V6_SRC));
}

#[test]
fn ecn_clears_bits() {
    let ecn = Target::Ecn(super::ecn::Ecn {
        ece: Some(false),
        cwr: Some(false),
        codepoint: Some(1),
    });
    let packet = after(
        v4(number::TCP, &tcp(1, 2, TcpFlags::SYN | TcpFlags::ECE | TcpFlags::CWR, &[])),
        &ecn,
    );
    assert_eq!((packet.headers.tcp_flags.0, packet.headers.tos), (TcpFlags::SYN, 1));
}

#[test]
fn hmark_is_the_same_both_ways() {
    let parameters = |family| super::hmark::Parameters {
        source_mask: Some(Addr::mask(family, 128)),
        destination_mask: Some(Addr::mask(family, 128)),
        sport_mask: Some(0xffff),
        dport_mask: Some(0xffff),
        protocol_mask: Some(0xff),
        seed: 4,
        modulus: 42,
        offset: Some(100),
        ..Default::default()
    };
    for (packet, back) in both(number::UDP, &udp(1000, 53, &[]))
        .into_iter()
        .zip(both(number::UDP, &udp(53, 1000, &[])))
    {
        let target = Target::Hmark(super::hmark::Hmark(Box::new(parameters(packet.headers.family))));
        let mut back = back;
        std::mem::swap(&mut back.headers.src, &mut back.headers.dst);
        let (mut there, mut reply) = (Kit::new(packet), Kit::new(back));
        apply(&mut there, &target);
        apply(&mut reply, &target);
        assert!((100..142).contains(&there.packet.mark));
        assert_eq!(there.packet.mark, reply.packet.mark);
    }
}
