//! Traced packets, in a namespace of our own.

mod common;

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use fielato_kernel::nft::probe::{self, Chosen, Probe};
use fielato_kernel::nft::trace::{Step, TraceEvent, TracedVerdict, Tracer};
use fielato_kernel::{link, nft};
use fielato_wire::filter::{Filter, Words};

use common::{namespace, netlink};

const RULES: &str = "table inet ours {
    chain input {
        type filter hook input priority filter; policy accept;
        udp dport 4001 counter drop comment \"rule 7\"
        ip6 daddr ::1 udp dport 4002 counter accept
    }
}
";

fn filter(text: &str) -> Filter {
    Words::parse(text).unwrap().resolve(&|_, _| None).unwrap()
}

fn send(address: &str, port: u16) {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    socket.send_to(b"x", (address, port)).unwrap();
}

/// The events of packets that the probe chose, as (address family, what decided).
fn decided(tracer: &Tracer, probe: &Probe) -> Vec<(u8, String)> {
    let deadline = Instant::now() + Duration::from_millis(300);
    let mut events: Vec<TraceEvent> = Vec::new();
    while Instant::now() < deadline {
        let traced = tracer.read(1000).unwrap();
        assert!(!traced.lost);
        events.extend(traced.events);
        thread::sleep(Duration::from_millis(20));
    }
    let mut ids: Vec<u32> = Vec::new();
    for event in &events {
        let chose = event.table == probe.table() && event.chain == probe::MARKING;
        if chose && !ids.contains(&event.id) {
            ids.push(event.id);
        }
    }
    let mut decided = Vec::new();
    for id in ids {
        let of_it: Vec<_> = events.iter().filter(|event| event.id == id).collect();
        // On the loopback each packet goes out and comes in, and is a packet of its own each time.
        if of_it.iter().all(|event| event.chain != probe::ARRIVED) {
            assert!(of_it.iter().any(|event| event.chain == probe::PASSED[1]), "{of_it:?}");
            continue;
        }
        let version = of_it
            .iter()
            .find_map(|event| Some(event.headers.as_ref()?.network[0] >> 4))
            .unwrap();
        let dropped = of_it.iter().any(|event| {
            let dropping = matches!(&event.step, Step::Rule { verdict: TracedVerdict::Drop, handle } if *handle > 0);
            event.table == "ours" && dropping
        });
        let passed = of_it.iter().any(|event| event.chain == probe::PASSED[0]);
        decided.push((version, format!("dropped {dropped}, passed {passed}")));
    }
    decided
}

#[test]
fn chosen_packets_are_traced_and_the_table_goes_with_its_owner() {
    let test = "chosen_packets_are_traced_and_the_table_goes_with_its_owner";
    let Some(netns) = namespace(test).filter(|_| fielato_testkit::need(test, "nft")) else {
        return;
    };
    let mut netlink = netlink(&netns);
    let loopback = link::get(&mut netlink, "lo").unwrap();
    link::set_up(&mut netlink, &loopback, true).unwrap();
    netns
        .run_in(|| {
            nft::apply(RULES).unwrap();
            let tracer = Tracer::open().unwrap();
            let open = |text: &str, per_second| {
                let alternatives = filter(text).alternatives(64).unwrap();
                Probe::open(&Chosen {
                    interface: loopback.index,
                    alternatives: &alternatives,
                    per_second,
                })
                .unwrap()
            };
            for (text, wanted) in [
                (
                    "dst port 4001",
                    &[(4, "dropped true, passed false"), (6, "dropped true, passed false")][..],
                ),
                ("ip and dst port 4000-4001", &[(4, "dropped true, passed false")]),
                ("dst host ::1 and udp port 4002", &[(6, "dropped false, passed true")]),
                (
                    "net 127.0.0.0/8 and not dst port 4001 and udp dst port 4002",
                    &[(4, "dropped false, passed true")],
                ),
                ("not net 127.0.0.0/8 and dst port 4001", &[(6, "dropped true, passed false")]),
                ("tcp", &[]),
            ] {
                let probe = open(text, 100);
                for address in ["127.0.0.1", "::1"] {
                    send(address, 4001);
                    // Somebody must listen, or ICMP errors come as well.
                    let _listener = UdpSocket::bind((address, 4002)).unwrap();
                    send(address, 4002);
                }
                let decided = decided(&tracer, &probe);
                let decided: Vec<_> = decided.iter().map(|(version, what)| (*version, what.as_str())).collect();
                assert_eq!(decided, wanted, "{text}");
            }

            // The limit holds.
            let probe = open("dst port 4001", 5);
            let begin = Instant::now();
            for _ in 0..2000 {
                send("127.0.0.1", 4001);
            }
            let traced = decided(&tracer, &probe).len() as f64;
            assert!(
                (1.0..=11.0 + 6.0 * begin.elapsed().as_secs_f64()).contains(&traced),
                "{traced}"
            );
            drop(probe);

            // Several at once, but not without end; and then nothing is left.
            let probes: Vec<_> = (0..8).map(|_| open("tcp", 1)).collect();
            let names: std::collections::BTreeSet<_> = probes.iter().map(Probe::table).collect();
            assert_eq!(names.len(), 8);
            for name in names {
                assert!(nft::table(nft::Family::Inet, name).unwrap().is_some());
            }
            let all = Filter::all().alternatives(1).unwrap();
            let ninth = Probe::open(&Chosen {
                interface: loopback.index,
                alternatives: &all,
                per_second: 1,
            });
            assert!(matches!(ninth, Err(probe::ProbeError::Busy)));
            drop(probes);
            let tables = fielato_testkit::run("nft", &["list", "tables"], "");
            assert_eq!(String::from_utf8_lossy(&tables.stdout), "table inet ours\n");
        })
        .unwrap();
}
