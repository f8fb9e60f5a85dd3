//! Connections of the kernel, in a namespace of our own.

mod common;

use std::net::{TcpListener, TcpStream, UdpSocket};

use fielato_kernel::netlink::Netlink;
use fielato_kernel::{conntrack, link, nft};
use fielato_wire::{Addr, Family, number};

use common::namespace;

/// The kernel tracks where a rule needs it.
const RULES: &str = "table inet ours {
    chain output {
        type filter hook output priority filter; policy accept;
        ct state established counter accept
    }
}
";

#[test]
fn connections_are_listed_and_ended_one_by_one() {
    let Some(netns) = namespace("connections_are_listed_and_ended_one_by_one") else {
        return;
    };
    netns.run_in(list_and_end).unwrap();
}

fn list_and_end() {
    let mut netlink = Netlink::open().unwrap();
    let loopback = link::get(&mut netlink, "lo").unwrap();
    link::set_up(&mut netlink, &loopback, true).unwrap();
    nft::apply(RULES).unwrap();
    for (family, address) in [(Family::V4, "127.0.0.1"), (Family::V6, "::1")] {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect((address, port)).unwrap();
        let datagrams = UdpSocket::bind((address, 0)).unwrap();
        datagrams.send_to(b"x", (address, port)).unwrap();

        let listed = conntrack::list(family).unwrap();
        let of = |protocol| {
            let mut found = listed
                .iter()
                .filter(|one| one.original.protocol == protocol && one.original.dport == port);
            (found.next().unwrap(), found.count())
        };
        let (tcp, others) = of(number::TCP);
        assert_eq!(others, 0, "{listed:?}");
        let own = Addr::from(client.local_addr().unwrap().ip());
        assert_eq!((tcp.original.src, tcp.original.dst), (own, own));
        assert_eq!(tcp.original.sport, client.local_addr().unwrap().port());
        assert_eq!(Some(tcp.reply), tcp.original.invert());
        let (udp, _) = of(number::UDP);

        assert_eq!(conntrack::delete([tcp]).unwrap(), 1);
        assert_eq!(conntrack::delete([tcp]).unwrap(), 0, "it is gone");
        let left = conntrack::list(family).unwrap();
        assert!(
            left.contains(udp) && !left.iter().any(|one| one.original == tcp.original),
            "{left:?}"
        );
    }
}
