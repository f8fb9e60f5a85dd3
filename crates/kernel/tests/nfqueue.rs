//! A handler judges packets of the kernel, over the loopback of a namespace of its own.

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use fielato_kernel::netns::NetnsGuard;
use fielato_kernel::nfqueue::Nfqueue;
use fielato_netfilter::queue::{QueueAnswer, QueueHandler, QueueVerdict};
use fielato_netfilter::{Hook, Packet};

/// Drops what ends in `d`, marks what ends in `m`, turns a last `r` into `R`.
struct Judge {
    seen: Vec<(Hook, String)>,
}

impl QueueHandler for Judge {
    fn handle(&mut self, packet: &Packet, hook: Hook) -> QueueAnswer {
        self.seen.push((hook, packet.out_interface.name.to_string()));
        match packet.data.last() {
            Some(b'd') => QueueAnswer::plain(QueueVerdict::Drop),
            Some(b'm') => QueueAnswer {
                mark: Some(0x77),
                ..QueueAnswer::plain(QueueVerdict::Accept)
            },
            Some(b'r') => {
                let mut data = packet.data.clone();
                *data.last_mut().unwrap() = b'R';
                // On the loopback the checksum is not verified; zero says there is none (RFC 768).
                let check = packet.headers.ip_header_len() + 6;
                data[check..check + 2].fill(0);
                QueueAnswer {
                    data: Some(data),
                    ..QueueAnswer::plain(QueueVerdict::Accept)
                }
            }
            _ => QueueAnswer::plain(QueueVerdict::Accept),
        }
    }
}

#[test]
fn a_handler_judges_the_kernels_packets() {
    const TEST: &str = "a_handler_judges_the_kernels_packets";
    if !fielato_testkit::can_run(TEST, &["iptables-legacy"]) {
        return;
    }
    let namespace = NetnsGuard::create(&fielato_testkit::unique("nfq")).unwrap();
    namespace.run_in(judge_over_loopback).unwrap();
}

fn run(line: &str) {
    let mut words = line.split_whitespace();
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "{line}: {status}");
}

fn judge_over_loopback() {
    run("ip link set lo up");
    run("iptables-legacy -A OUTPUT -p udp --dport 4000 -j NFQUEUE --queue-num 5");
    run("iptables-legacy -A INPUT -p udp --dport 4000 -m mark --mark 0x77 -j DROP");
    let receiver = UdpSocket::bind("127.0.0.1:4000").unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();

    let mut queue = Nfqueue::bind(5, 100).unwrap();
    assert!(Nfqueue::bind(5, 100).is_err(), "a queue has one handler");
    let mut judge = Judge { seen: Vec::new() };
    for payload in [b"plain-a", b"drop--d", b"marked-", b"write-r"] {
        sender.send_to(payload, "127.0.0.1:4000").unwrap();
    }
    sender.send_to(b"mark--m", "127.0.0.1:4000").unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    while judge.seen.len() < 5 && Instant::now() < end {
        queue.handle(&mut judge, Duration::from_millis(100)).unwrap();
    }
    assert_eq!(judge.seen, vec![(Hook::Output, "lo".to_owned()); 5]);

    let mut received = Vec::new();
    let mut buffer = [0; 100];
    while let Ok(length) = receiver.recv(&mut buffer) {
        received.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    // Dropped by the handler: the second. Dropped by the rule that sees the handler's mark: the last.
    assert_eq!(received, ["plain-a", "marked-", "write-R"]);

    drop(queue);
    let _ = sender.send_to(b"nobody", "127.0.0.1:4000");
    assert!(receiver.recv(&mut buffer).is_err(), "without a handler nothing passes");
}
