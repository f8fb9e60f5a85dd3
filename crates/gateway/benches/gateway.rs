//! What a forwarded packet costs, from `receive` to `transmit`: bare, and with everything a hub has: guard, 1,000 rules, connection
//! tracking, masquerading, classes by member and fq_codel. And what a change of rules costs for each connection.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fielato_gateway::{Buffer, Config, Gateway, Link, Now, Port, PortId, PortKind, Route, RpFilter, Shaping, guard};
use fielato_iptables::{FileNames, Registry, restore};
use fielato_netfilter::Ruleset;
use fielato_netfilter::conntrack::Tracking;
use fielato_qdisc::{Handle, Item};
use fielato_wire::Family;
use fielato_wire::build::{Ip, Tcp};

const TUNNEL: PortId = PortId(1);
const UPLINK: PortId = PortId(3);
const START: Now = Now::from_secs(1_000_000);

fn port(id: PortId, name: &str, kind: PortKind, net: &str) -> Port {
    Port {
        id,
        name: name.to_owned(),
        kind,
        mtu: 1500,
        addresses: vec![net.parse().unwrap()],
        link: Link::Ip,
        rp_filter: RpFilter::Off,
    }
}

fn bare() -> Config {
    let mut config = Config {
        ports: vec![
            port(TUNNEL, "wg0", PortKind::Tunnel, "10.8.0.1/16"),
            port(UPLINK, "eth0", PortKind::Network, "192.0.2.1/24"),
        ],
        routes: vec![Route::to("0.0.0.0/0".parse().unwrap(), UPLINK)],
        guard: guard::Config {
            enabled: false,
            ..guard::Config::default()
        },
        ..Config::default()
    };
    config.settings.conntrack.tracking = Tracking::WhenNeeded;
    config
}

fn rules(last: &str) -> Ruleset {
    let mut text = String::from(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -s 10.8.0.0/16 -o eth0 -j MASQUERADE\nCOMMIT\n\
         *filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
         -A FORWARD ! -i wg0 -s 10.8.0.0/16 -j DROP\n\
         -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\n",
    );
    for number in 0..1000 {
        let (high, low) = (number / 256, number % 256);
        text += &format!("-A FORWARD -s 10.9.{high}.{low}/32 -p tcp -m tcp --dport 80 -j ACCEPT\n");
    }
    text += last;
    text += "COMMIT\n";
    restore::parse(&text, Family::V4, &Registry::builtin(), &FileNames::new()).unwrap()
}

fn full(last: &str) -> Config {
    let class = |number: u32| Handle {
        major: 1,
        minor: 0x10 + number as u16,
    };
    let addresses = (0..1000_u32).map(|number| std::net::Ipv4Addr::from_bits(0x0a08_0002 + number));
    let classes = addresses
        .enumerate()
        .map(|(number, address)| (std::net::IpAddr::V4(address).into(), class(number as u32 % 8)));
    let mut config = Config {
        rulesets: [rules(last), Ruleset::new(Family::V6)],
        guard: guard::Config::default(),
        shaping: vec![Shaping {
            port: UPLINK,
            items: vec![Item::Qdisc(fielato_qdisc::qdisc("root handle 1: fq_codel").unwrap())],
            classes: classes.collect(),
        }],
        ..bare()
    };
    config.settings.conntrack.tracking = Tracking::Always;
    config
}

fn member(number: u32) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::from_bits(0x0a08_0002 + number)
}

/// A gateway and packets of 1,000 members' flows that it knows.
fn subject(config: Config, size: usize) -> (Gateway, Vec<Vec<u8>>) {
    let mut gateway = Gateway::new(config, 7, START).unwrap();
    let server = [198, 51, 100, 3];
    let mut packets = Vec::new();
    for number in 0..1000 {
        let ip = Ip::v4(member(number), server);
        // Above 1023: below, masquerading has but 424 ports to give.
        let tcp = Tcp::new(10_000, 443);
        gateway.receive(TUNNEL, Buffer::from(ip.tcp(&tcp.clone().syn())), START);
        while let Some((_, out)) = gateway.transmit(START) {
            let headers = fielato_wire::Headers::parse(&out.data).unwrap();
            let back = Ip::new(Family::V4, headers.dst, headers.src);
            let answer = Tcp::new(443, headers.sport).flags(0x12);
            gateway.receive(UPLINK, Buffer::from(back.tcp(&Tcp { ack: 1, ..answer })), START);
            gateway.transmit(START);
        }
        let data = Tcp {
            seq: 1,
            ack: 1,
            payload: vec![0; size],
            ..tcp
        };
        packets.push(ip.tcp(&data.flags(0x18)));
    }
    (gateway, packets)
}

fn forward(c: &mut Criterion) {
    for size in [22, 1380] {
        let mut group = c.benchmark_group(format!("forward/{}", size + 40));
        group.throughput(Throughput::Elements(1));
        group
            .measurement_time(Duration::from_secs(3))
            .warm_up_time(Duration::from_secs(1));
        let accept = "-A FORWARD -i wg0 -j ACCEPT\n";
        for (name, config) in [("bare", bare()), ("full", full(accept))] {
            let (mut gateway, packets) = subject(config, size);
            let mut at = 0;
            let mut now = START;
            group.bench_function(name, |b| {
                b.iter(|| {
                    at = (at + 1) % packets.len();
                    now = now.plus(1000);
                    gateway.receive(TUNNEL, Buffer::from(packets[at].clone()), now);
                    black_box(gateway.transmit(now).unwrap())
                });
            });
        }
        group.finish();
    }
}

fn swap(c: &mut Criterion) {
    let mut group = c.benchmark_group("swap");
    group.sample_size(10);
    group
        .measurement_time(Duration::from_secs(3))
        .warm_up_time(Duration::from_secs(1));
    let configs = ["tcp", "udp"].map(|protocol| {
        full(&format!(
            "-A FORWARD -o wg0 -p {protocol} -j ACCEPT\n-A FORWARD -i wg0 -j ACCEPT\n"
        ))
    });
    for connections in [0, 100_000_u32] {
        let mut gateway = Gateway::new(configs[0].clone(), 7, START).unwrap();
        for number in 0..connections {
            // Two servers: behind one address there are 64,512 ports towards each.
            let server = [198, 51, 100, 3 + (number % 2) as u8];
            let packet = Ip::v4(member(number % 1000), server).udp((number / 1000) as u16 + 2000, 53, b"x");
            gateway.receive(TUNNEL, Buffer::from(packet), START);
            gateway.transmit(START);
        }
        assert_eq!(gateway.usage().connections, connections as usize);
        // Another rule each time, so that every connection is judged again.
        let mut at = 0;
        let mut change = |gateway: &mut Gateway| {
            at = (at + 1) % configs.len();
            gateway.swap(configs[at].clone(), START).unwrap();
        };
        group.bench_function(format!("{connections} connections, until packets pass"), |b| {
            b.iter(|| change(&mut gateway));
        });
        group.bench_function(format!("{connections} connections, until all were looked at"), |b| {
            b.iter(|| {
                change(&mut gateway);
                while gateway.judge_some(256, START).is_none() {}
            });
        });
    }
    group.finish();
}

criterion_group!(benches, forward, swap);
criterion_main!(benches);
