//! What the administrator changes while the device runs.

use std::time::SystemTime;

use fielato_wireguard::uapi::{self, Request, SetDevice};
use fielato_wireguard::{DropReason, Outbox, PeerChange, PeerConfig, PublicKey};

use crate::net::{A, B, Case, DATA, INITIATION, Net, packet, seconds};

fn allowed(net: &mut Net, node: usize, peer: usize) -> Vec<String> {
    let allowed_ips = net.peer_status(node, peer).allowed_ips;
    allowed_ips.iter().map(ToString::to_string).collect()
}

fn configure(net: &mut Net, node: usize, changes: &SetDevice) {
    let (now, mut out) = (net.now, Outbox::new());
    net.nodes[node]
        .device
        .with_control(|control| control.configure(changes, now, &mut out));
    assert!(out.is_empty());
}

#[test]
fn an_allowed_ip_moves_to_the_peer_that_is_given_it() {
    let mut net = Net::joined(Case::V4);
    let c = net.add();
    net.introduce(A, c);
    net.change(A, c, |peer| {
        let taken = ["10.0.0.2/32", "10.0.0.3/32"];
        peer.allowed_ips = taken.iter().map(|net| net.parse().unwrap()).collect();
    });
    net.take_log();
    let packet = net.packet(A, B, 10, 1);
    net.tun(A, &packet);
    assert_eq!((net.log[0].to, net.log[0].kind()), (net.nodes[c].address, INITIATION));
    assert_eq!(allowed(&mut net, A, B), ["fd00::2/128"]);
    assert_eq!(allowed(&mut net, A, c), ["10.0.0.2/32", "10.0.0.3/32"]);
    // Neither may B send from it any more.
    net.settle();
    let back = net.packet(B, A, 10, 1);
    net.tun(B, &back);
    net.settle();
    assert_eq!((net.take(A).len(), net.dropped(A, DropReason::SourceNotAllowed)), (0, 1));
    // And back, with a wider one around both.
    net.change(A, c, |peer| peer.allowed_ips = vec!["10.0.0.0/24".parse().unwrap()]);
    net.change(A, B, |_| ());
    let packet = net.packet(A, B, 10, 2);
    net.tun(A, &packet);
    net.settle();
    assert_eq!(net.take(B), [packet]);
    assert_eq!(allowed(&mut net, A, c), ["10.0.0.0/24"]);
}

#[test]
fn a_change_to_one_peer_leaves_the_other_sessions_alone() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        let c = net.add();
        net.introduce(A, c);
        net.apply(A, PeerChange::Remove(net.nodes[c].key.public_key()));
        let mut peer = net.as_peer(B);
        peer.allowed_ips.push("10.0.0.4/32".parse().unwrap());
        peer.allowed_ips.push("fd00::4/128".parse().unwrap());
        net.apply(A, PeerChange::Set(peer.clone()));
        let c_peer = net.as_peer(c);
        net.set(A, vec![peer.clone(), c_peer]);
        net.set(A, vec![peer]);
        net.take_log();
        let packet = net.packet(A, 3, 10, 1);
        net.tun(A, &packet);
        assert_eq!(net.log[0].kind(), DATA, "under the old session");
        net.settle();
        assert_eq!(net.take(B), [packet]);
        assert_eq!(net.status(A).peers.len(), 1);
    }
}

#[test]
fn a_new_private_key_ends_all_sessions() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        let peer = net.as_peer(B);
        net.nodes[A].key = net.key();
        net.set(A, vec![peer]);
        assert_eq!(net.usage(A), Default::default(), "all keys are gone");
        let a_peer = net.as_peer(A);
        net.set(B, vec![a_peer]);
        let packet = net.packet(A, B, 10, 1);
        net.tun(A, &packet);
        assert_eq!(net.count(A, INITIATION), 1);
        net.settle();
        assert_eq!(net.take(B), [packet]);
        assert_eq!(net.status(A).public_key, Some(net.nodes[A].key.public_key()));
    }
}

/// With a persistent keepalive nothing else needs to ask for the sessions under the new key.
#[test]
fn a_new_private_key_and_a_persistent_keepalive() {
    let mut net = Net::joined(Case::V4);
    net.change(A, B, |peer| peer.persistent_keepalive = Some(5));
    net.run(seconds(10));
    net.nodes[A].key = net.key();
    let key = net.nodes[A].key.clone();
    configure(
        &mut net,
        A,
        &SetDevice {
            private_key: Some(Some(key)),
            ..SetDevice::default()
        },
    );
    let a_peer = net.as_peer(A);
    net.set(B, vec![a_peer]);
    net.run(seconds(11));
    let back = net.packet(B, A, 10, 1);
    net.tun(B, &back);
    net.settle();
    assert_eq!((net.take(A), net.count(B, INITIATION)), (vec![back], 0));
}

#[test]
fn the_same_private_key_changes_nothing() {
    let mut net = Net::joined(Case::V4);
    let key = net.nodes[A].key.clone();
    configure(
        &mut net,
        A,
        &SetDevice {
            private_key: Some(Some(key)),
            ..SetDevice::default()
        },
    );
    let packet = net.packet(A, B, 10, 1);
    net.tun(A, &packet);
    assert_eq!(net.count(A, DATA), 1);
}

#[test]
fn a_device_is_not_its_own_peer() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        let own = net.as_peer(A);
        net.apply(A, PeerChange::Set(own));
        assert_eq!(net.status(A).peers.len(), 1);
        // Nor does it stay one when its key becomes a peer's.
        net.nodes[A].key = net.nodes[B].key.clone();
        let peer = net.as_peer(B);
        net.set(A, vec![peer]);
        assert_eq!((net.status(A).peers, net.usage(A)), (vec![], Default::default()));
        let packet = net.packet(A, B, 10, 1);
        net.tun(A, &packet);
        assert_eq!(net.drops(A), [(DropReason::NoPeerForDestination, 1)]);
    }
}

#[test]
fn a_removed_peer_is_gone_with_all_that_is_its() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        let packet = net.packet(B, A, 10, 1);
        let sealed = net.seal(B, &packet);
        let from = net.nodes[B].address;
        net.link = crate::net::Link::CUT;
        net.run(seconds(181));
        let waits = net.packet(A, B, 10, 2);
        net.tun(A, &waits);
        assert_eq!((net.usage(A).staged, net.usage(A).indexes), (1, 2));
        net.apply(A, PeerChange::Remove(net.nodes[B].key.public_key()));
        assert_eq!(net.usage(A), Default::default());
        assert_eq!(net.dropped(A, DropReason::NoSession), 1, "what waited is counted");
        assert_eq!(net.udp(A, from, &sealed), None);
        assert_eq!(net.dropped(A, DropReason::UnknownIndex), 1);

        // Its slot is another's now, whom old deadlines and messages don't concern.
        net.link = crate::net::Link::GOOD;
        let c = net.add();
        net.introduce(A, c);
        let forth = net.packet(A, c, 10, 3);
        net.tun(A, &forth);
        net.settle();
        assert_eq!(net.take(c), [forth]);
        let key = net.nodes[c].key.public_key();
        assert_eq!(net.nodes[A].device.with_control(|control| control.roster.find(&key)), Some(0));
        net.run(seconds(600));
        assert_eq!(net.usage(A), Default::default());
    }
}

/// Deadlines that were put off, again and again, don't pile up.
#[test]
fn deadlines_do_not_pile_up() {
    for case in Case::all() {
        let mut net = Net::joined(case);
        for id in 0..300 {
            let (forth, back) = (net.packet(A, B, 10, id), net.packet(B, A, 10, id));
            net.tun(A, &forth);
            net.run(seconds(3));
            net.tun(B, &back);
            net.run(seconds(12));
        }
        for node in [A, B] {
            let wakes = net.usage(node).wakes;
            assert_eq!(wakes, 1);
        }
        net.run(seconds(600));
        for node in [A, B] {
            assert_eq!(net.usage(node), Default::default());
        }
    }
}

#[test]
fn the_words_of_wg_reach_the_device() {
    let mut net = Net::pair(Case::V4);
    let hex = |key: &[u8; 32]| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (old, new) = (hex(&net.nodes[B].key.public_key().0), hex(&[7; 32]));
    let run = |net: &mut Net, text: &str| match uapi::parse(text).unwrap() {
        Request::Set(changes) => configure(net, A, &changes),
        Request::Get => panic!("not a change"),
    };
    let report = |net: &mut Net| {
        let now = net.now;
        let report = net.nodes[A]
            .device
            .with_control(|control| control.report(now, SystemTime::UNIX_EPOCH));
        uapi::format_report(&report)
    };
    run(
        &mut net,
        &format!("set=1\npublic_key={new}\nupdate_only=true\nallowed_ip=10.0.0.7/32\n\n"),
    );
    run(
        &mut net,
        &format!("set=1\npublic_key={old}\nreplace_allowed_ips=true\nallowed_ip=10.0.0.8/32\nallowed_ip=10.0.0.9/32\n\n"),
    );
    run(&mut net, &format!("set=1\npublic_key={old}\nallowed_ip=-10.0.0.9/32\n\n"));
    run(&mut net, "set=1\nlisten_port=4444\nfwmark=7\n\n");
    let text = report(&mut net);
    assert!(!text.contains(&new), "update_only makes no peer");
    assert!(text.contains("\nallowed_ip=10.0.0.8/32\nerrno=0\n"), "{text}");
    assert!(text.contains("listen_port=4444\n") && text.contains("fwmark=7\n"), "{text}");
    let private = hex(&net.nodes[A].key.0);
    assert!(text.contains(&format!("private_key={private}\n")));
    // What is not named stays.
    let psk = hex(&[9; 32]);
    run(
        &mut net,
        &format!("set=1\npublic_key={old}\npreshared_key={psk}\npersistent_keepalive_interval=0\n\n"),
    );
    let text = report(&mut net);
    assert!(text.contains("allowed_ip=10.0.0.8/32\n") && text.contains(&format!("preshared_key={psk}\n")));
    assert!(text.contains("endpoint=192.0.2.2:1002\n"), "{text}");
    run(
        &mut net,
        &format!("set=1\nreplace_peers=true\npublic_key={new}\nallowed_ip=10.0.0.8/32\n\n"),
    );
    run(&mut net, &format!("set=1\npublic_key={new}\nremove=true\n\n"));
    assert_eq!(net.status(A).peers, []);
}

/// Ten thousand members come, tick and go; whoever stays is unharmed.
#[test]
fn ten_thousand_members() {
    let mut net = Net::joined(Case::V4);
    let member = |number: u32| {
        let mut key = [3; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        PeerConfig {
            public_key: PublicKey(key),
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: number.is_multiple_of(2).then_some(25),
            allowed_ips: vec![
                format!("10.1.{}.{}/32", number >> 8, number & 0xff).parse().unwrap(),
                format!("fd01::{number:x}/128").parse().unwrap(),
            ],
        }
    };
    let kept = net.as_peer(B);
    net.set(A, (0..10_000).map(member).chain([kept.clone()]).collect());
    assert_eq!(net.status(A).peers.len(), 10_001);
    net.run(seconds(30));
    for number in (0..10_000).filter(|number| number % 3 != 0) {
        net.apply(A, PeerChange::Remove(member(number).public_key));
    }
    net.run(seconds(30));
    for number in 0..100 {
        net.apply(A, PeerChange::Set(member(number)));
    }
    net.run(seconds(30));
    net.take_log();
    let packet = net.packet(A, B, 10, 1);
    net.tun(A, &packet);
    assert_eq!(net.log[0].kind(), DATA, "under the old session");
    net.settle();
    assert_eq!(net.take(B), [packet]);
    net.set(A, vec![kept]);
    net.run(seconds(60));
    assert_eq!((net.status(A).peers.len(), net.usage(A).tunnels), (1, 1));
    assert_eq!(net.usage(A).wakes, 1);
    let gone = packet_to("10.1.0.1");
    net.tun(A, &gone);
    assert_eq!(net.dropped(A, DropReason::NoPeerForDestination), 1);
}

fn packet_to(destination: &str) -> Vec<u8> {
    packet("10.0.0.1", destination, b"body")
}
