//! Packets as they pass an interface, in a namespace of our own.

mod common;

use std::net::UdpSocket;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fielato_kernel::link;
use fielato_kernel::packet::PacketSocket;

use common::{namespace, netlink};

#[test]
fn udp_of_one_port_is_seen_with_time_direction_and_length() {
    let Some(netns) = namespace("udp_of_one_port_is_seen_with_time_direction_and_length") else {
        return;
    };
    let mut netlink = netlink(&netns);
    let loopback = link::get(&mut netlink, "lo").unwrap();
    link::set_up(&mut netlink, &loopback, true).unwrap();
    netns
        .run_in(|| {
            let mut one_port = PacketSocket::open_udp(loopback.index, 4001).unwrap();
            let mut all = PacketSocket::open(loopback.index).unwrap();
            assert_eq!(one_port.receive().unwrap(), None);
            let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            for address in ["127.0.0.1", "::1"] {
                // From the port, to the port, and neither.
                for (from, to) in [(4001, 4002), (4003, 4001), (4004, 4005)] {
                    let socket = UdpSocket::bind((address, from)).unwrap();
                    // Somebody must listen, or there would be ICMP errors too.
                    let _listener = UdpSocket::bind((address, to)).unwrap();
                    socket.send_to(&[from as u8; 1000], (address, to)).unwrap();
                }
            }
            let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();

            let mut seen = Vec::new();
            while let Some(packet) = one_port.receive().unwrap() {
                assert!((before..after + Duration::from_secs(1)).contains(&packet.at), "{packet:?}");
                assert_eq!(packet.len, packet.bytes.len());
                seen.push((packet.outbound, packet.len, *packet.bytes.last().unwrap()));
            }
            // The loopback shows each packet twice. Ethernet, IP and UDP headers come before the payload.
            let each = |len, last| [(true, len, last), (false, len, last)];
            let wanted = [
                each(1042, 4001_u16 as u8),
                each(1042, 4003_u16 as u8),
                each(1062, 4001_u16 as u8),
                each(1062, 4003_u16 as u8),
            ];
            assert_eq!(seen, wanted.concat());

            let mut count = 0;
            while all.receive().unwrap().is_some() {
                count += 1;
            }
            assert_eq!(count, 12);
            assert_eq!((one_port.lost(), all.lost()), (0, 0));
        })
        .unwrap();
}

#[test]
fn what_nobody_reads_is_counted() {
    let Some(netns) = namespace("what_nobody_reads_is_counted") else {
        return;
    };
    let mut netlink = netlink(&netns);
    let loopback = link::get(&mut netlink, "lo").unwrap();
    link::set_up(&mut netlink, &loopback, true).unwrap();
    netns
        .run_in(|| {
            let mut all = PacketSocket::open(loopback.index).unwrap();
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(socket.local_addr().unwrap()).unwrap();
            // More than the socket's buffer holds.
            const SENT: u64 = 3000;
            for _ in 0..SENT {
                socket.send(&[7; 30_000]).ok();
            }
            let mut read = 0;
            while all.receive().unwrap().is_some() {
                read += 1;
            }
            let lost = all.lost();
            assert!(lost > 0 && read > 0);
            assert_eq!(read + lost, 2 * SENT);
            assert_eq!(all.lost(), lost, "the count does not start anew");
            // An interface that goes down says so.
            link::set_up(&mut netlink, &loopback, false).unwrap();
            assert_eq!(all.receive().unwrap_err().raw_os_error(), Some(100), "ENETDOWN");
        })
        .unwrap();
}
