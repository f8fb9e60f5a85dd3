//! Packet ports under a gateway: two kernels reach each other through it.
//!
//! ```text
//!   namespace A                     namespace HUB                       namespace B
//!   10.20.0.2, fd20::2 ── veth ── [p0: 10.20.0.1, fd20::1 | gateway | p1: 10.21.0.1, fd21::1] ── veth ── 10.21.0.2, fd21::2
//! ```

mod common;

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use common::transfers::transfer;
use common::{Namespace, can_run, ping, run, wait_for};
use fielato_gateway::{Buffer, Config, Gateway, Link, Now, Port, PortId, PortKind, RpFilter};
use fielato_io::packet_port::{OpenError, PacketPort};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A cable from `near` in `hub` to an interface of a namespace of its own with an address of each family, the hub as its gateway.
fn end(hub: &Namespace, near: &str, net: u8) -> Namespace {
    let far = Namespace::new();
    run(&format!(
        "ip -n {} link add {near} type veth peer name v0 netns {}",
        hub.0, far.0
    ));
    hub.within(|| std::fs::write(format!("/proc/sys/net/ipv6/conf/{near}/disable_ipv6"), "1"))
        .unwrap();
    hub.run(&format!("ip link set {near} up"));
    far.run(&format!("ip addr add 10.{net}.0.2/24 dev v0"));
    far.run(&format!("ip addr add fd{net}::2/64 dev v0 nodad"));
    far.run("ip link set v0 up");
    far.run(&format!("ip route add default via 10.{net}.0.1"));
    far.run(&format!("ip route add default via fd{net}::1"));
    far
}

fn port(id: u16, packet_port: &PacketPort, net: u8) -> Port {
    Port {
        id: PortId(id),
        name: packet_port.name().to_owned(),
        kind: PortKind::Network,
        mtu: packet_port.mtu().unwrap(),
        addresses: vec![
            format!("10.{net}.0.1/24").parse().unwrap(),
            format!("fd{net}::1/64").parse().unwrap(),
        ],
        link: Link::Ethernet { mac: packet_port.mac() },
        rp_filter: RpFilter::Strict,
    }
}

/// Carries packets between the ports until told to end; the number of superpackets among them.
fn carry(ports: &[PacketPort; 2], end: &AtomicBool, superpackets: &AtomicUsize) -> Gateway {
    let start = Instant::now();
    let now = || Now {
        mono: Now::SECOND + start.elapsed().as_nanos() as u64,
        wall: 0,
    };
    let [first, second] = ports;
    let config = Config {
        ports: vec![port(0, first, 20), port(1, second, 21)],
        ..Config::default()
    };
    let mut gateway = Gateway::new(config, 1, now()).unwrap();
    let wait = Timespec {
        tv_sec: 0,
        tv_nsec: 5_000_000,
    };
    while !end.load(Ordering::Relaxed) {
        let [first, second] = ports;
        let mut fds = [first, second].map(|port| PollFd::new(port, PollFlags::IN));
        poll(&mut fds, Some(&wait)).unwrap();
        for (id, port) in ports.iter().enumerate() {
            let mut frames = Vec::new();
            port.receive(&mut frames).unwrap();
            for frame in frames {
                let long = frame.offload.segmentation.is_some();
                superpackets.fetch_add(usize::from(long), Ordering::Relaxed);
                gateway.receive(PortId(id as u16), frame, now());
            }
        }
        gateway.handle_timeout(now());
        let mut leaving: [Vec<Buffer>; 2] = Default::default();
        while let Some((PortId(id), frame)) = gateway.transmit(now()) {
            leaving[usize::from(id)].push(frame);
        }
        for (port, frames) in ports.iter().zip(&leaving) {
            let sent = port.send(frames).unwrap();
            assert_eq!(sent, frames.len(), "the port's queue is longer than this");
        }
    }
    gateway
}

#[test]
fn kernels_reach_each_other_through_a_gateway_on_packet_ports() {
    if !can_run("kernels_reach_each_other_through_a_gateway_on_packet_ports") {
        return;
    }
    let hub = Namespace::new();
    let [a, b] = [end(&hub, "p0", 20), end(&hub, "p1", 21)];
    let ports = hub.within(|| ["p0", "p1"].map(|name| PacketPort::open(name).unwrap()));
    assert_eq!(ports[0].mtu().unwrap(), 1500);
    hub.run("ip link set p1 mtu 1400");
    assert_eq!(ports[1].mtu().unwrap(), 1400);
    hub.run("ip link set p1 mtu 1500");
    let text = hub.run("cat /sys/class/net/p0/address");
    let mac = ports[0].mac().map(|byte| format!("{byte:02x}")).join(":");
    assert_eq!(mac, text.trim());

    let (end, superpackets) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let carrier = scope.spawn(|| carry(&ports, &end, &superpackets));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for address in ["10.21.0.2", "fd21::2"] {
                assert!(ping(&a, address), "{address}");
                // With superpackets, as the kernel sends them over a veth pair.
                transfer(&a, &b, address.parse().unwrap(), 20 << 20);
            }
            for address in ["10.20.0.2", "fd20::2"] {
                transfer(&b, &a, address.parse().unwrap(), 5 << 20);
            }
        }));
        end.store(true, Ordering::Relaxed);
        let gateway = carrier.join().unwrap();
        if let Err(panic) = result {
            let drops: Vec<_> = gateway.drops().filter(|(_, count)| *count > 0).collect();
            eprintln!("{drops:?}");
            std::panic::resume_unwind(panic);
        }
    });
    assert!(superpackets.load(Ordering::Relaxed) > 100);
    for port in &ports {
        let losses = port.losses();
        assert_eq!((losses.refused, losses.truncated, losses.tagged), (0, 0, 0), "{losses:?}");
    }
}

#[test]
fn what_is_no_port_of_the_gateways_is_refused_with_a_remedy() {
    if !can_run("what_is_no_port_of_the_gateways_is_refused_with_a_remedy") {
        return;
    }
    let hub = Namespace::new();
    let open = |name: &str| hub.within(|| PacketPort::open(name)).map(|_| ()).unwrap_err();
    assert!(matches!(open("p0"), OpenError::Missing(name) if name == "p0"));
    assert!(matches!(open("lo"), OpenError::NotEthernet(_)));
    run(&format!("ip -n {} link add p0 type veth peer name p1", hub.0));
    assert!(matches!(open("p0"), OpenError::Down(_)));
    hub.run("ip link set p0 up");
    hub.run("ip link set p1 up");
    hub.run("ip addr add 10.20.0.9/24 dev p0");
    let error = open("p0");
    assert!(error.to_string().contains("10.20.0.9"), "{error}");
    hub.run("ip addr flush dev p0");
    hub.within(|| std::fs::write("/proc/sys/net/ipv6/conf/p0/disable_ipv6", "1"))
        .unwrap();
    assert!(hub.within(|| PacketPort::open("p0")).is_ok());

    // Without the capability.
    let error = hub.within(|| {
        rustix::thread::set_thread_res_uid(
            rustix::process::Uid::from_raw(65_534),
            rustix::process::Uid::from_raw(65_534),
            rustix::process::Uid::from_raw(65_534),
        )
        .unwrap();
        PacketPort::open("p0").map(|_| ()).unwrap_err()
    });
    assert!(matches!(error, OpenError::Permission(_)), "{error}");
}

#[test]
fn tagged_frames_and_frames_too_long_are_lost_and_counted_and_a_port_may_go_down() {
    if !can_run("tagged_frames_and_frames_too_long_are_lost_and_counted_and_a_port_may_go_down") {
        return;
    }
    let hub = Namespace::new();
    run(&format!("ip -n {} link add p0 type veth peer name p1", hub.0));
    for name in ["p0", "p1"] {
        hub.within(|| std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1"))
            .unwrap();
        hub.run(&format!("ip link set {name} up"));
    }
    let [port, far] = hub.within(|| ["p0", "p1"].map(|name| PacketPort::open(name).unwrap()));
    // To everybody, of a kind for experiments (IEEE 802), with whatever follows.
    let frame = |kind: [u8; 2], len: usize| {
        let mut data = vec![0; len];
        data[..6].fill(0xff);
        data.splice(12..14, kind);
        data.truncate(len);
        Buffer::from(data)
    };
    let (plain, tagged) = (frame([0x88, 0xb5], 60), frame([0x81, 0x00], 60));
    assert_eq!(far.send(&[tagged, plain.clone()]).unwrap(), 2);
    let mut frames = Vec::new();
    wait_for("the plain one", || {
        port.receive(&mut frames).unwrap();
        frames.contains(&plain)
    });
    assert_eq!((port.losses().tagged, frames.len()), (1, 1));

    let kind = [0x88, 0xb5];
    let frames = [
        frame(kind, 60),
        frame(kind, 1515),
        frame(kind, 1514),
        Buffer::from(vec![1, 2, 3]),
    ];
    assert_eq!(port.send(&frames).unwrap(), 4);
    assert_eq!(port.losses().refused, 2);
    let frame = |len| frame(kind, len);

    hub.run("ip link set p0 down");
    let told = (0..100).find_map(|_| port.receive(&mut Vec::new()).err());
    assert_eq!(told.and_then(|error| error.raw_os_error()), Some(100), "ENETDOWN");
    assert_eq!(port.send(&[frame(60)]).map_err(|error| error.raw_os_error()), Err(Some(100)));
    hub.run("ip link set p0 up");
    wait_for("the port again", || {
        port.receive(&mut Vec::new()).is_ok() && port.send(&[frame(60)]).is_ok_and(|sent| sent == 1)
    });
    hub.run("ip link del p0");
    assert_eq!(port.mtu().unwrap_err().raw_os_error(), Some(19), "ENODEV");
    let sent = port.send(&[frame(60)]);
    assert!(matches!(
        sent.map_err(|error: io::Error| error.raw_os_error()),
        Err(Some(6 | 19 | 100))
    ));
    assert!(port.as_fd().try_clone_to_owned().is_ok());
}
