//! What the guard costs per packet, by `BPF_PROG_TEST_RUN`, beside an empty program and one that does what the talk's does.
//!
//! As root; writes `bench/results/guard.json`. The kernel repeats one packet, so that every map entry is hot in the caches: these are best cases. The programs take turns, so that a change in the
//! machine's speed hits all alike.
//!
//! Without bans IPv6 stays some 2 ns above the talk's program, which reads IPv4 only: the kernel's hash (jhash2) takes a
//! second round for a key of 16 bytes. On Ethernet the length of what arrived costs 2 ns more (`bpf_xdp_get_buff_len`);
//! for IPv4, plain additions instead of an atomic one and keys of eight bytes instead of four make up for it.
//!
//! The service loads the guard without CAP_PERFMON, and the kernel then adds barriers against Spectre to every program:
//! `setpriv --bounding-set=-all,+net_admin,+bpf target/release/deps/guard-…` measures that.

use std::error::Error;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use fielato_kernel::guard::{Filter, LinkLayer, TestResult, run};
use fielato_testkit::bench::{self, Goal, Limit, Series};
use ipnet::IpNet;
use serde_json::json;

#[path = "../tests/guard/packet.rs"]
#[allow(dead_code)]
mod packet;

use packet::{Random, frame, ipv4, ipv6};

static PASS: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pass.bpf.o"));
static TALK: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/talk.bpf.o"));

const ROUNDS: usize = 31;
const REPEAT: u32 = 200_000;
const GOOD_V4: Ipv4Addr = Ipv4Addr::new(192, 168, 4, 3);
const BANNED_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
/// Not banned, in the /24 of a host that is.
const NEIGHBOUR_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 8);
/// Not banned, in the /24 of a /28 that is: the bits can't spare it the trie.
const BESIDE_NET_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 8);

/// One line of the table.
struct Case {
    name: String,
    link_layer: LinkLayer,
    packet: Vec<u8>,
    program: Program,
    expect_drop: bool,
    nanoseconds: Series,
}

enum Program {
    Foreign(Ebpf, &'static str),
    Guard(Box<Filter>),
}

impl Program {
    fn run(&mut self, packet: &[u8], repeat: u32) -> Result<TestResult, Box<dyn Error>> {
        Ok(match self {
            Self::Guard(filter) => filter.test_run(packet, repeat)?,
            Self::Foreign(ebpf, name) => run(xdp(ebpf, name)?, packet, repeat)?,
        })
    }
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, Box<dyn Error>> {
    Ok(ebpf.program_mut(name).ok_or("no such program")?.try_into()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    if !fielato_testkit::root("bench guard") {
        return Ok(());
    }
    let mut cases = Vec::new();
    for link_layer in [LinkLayer::None, LinkLayer::Ethernet] {
        cases.extend(cases_of(link_layer)?);
    }
    for round in 0..ROUNDS {
        for case in &mut cases {
            let result = case.program.run(&case.packet, REPEAT)?;
            if result.dropped != case.expect_drop {
                return Err(format!("{}: wrong verdict", case.name).into());
            }
            case.nanoseconds.0.push(result.time.as_nanos() as f64);
        }
        eprint!("\rround {} of {ROUNDS}", round + 1);
    }
    eprintln!();
    print(&cases);
    write(&cases)
}

fn cases_of(link_layer: LinkLayer) -> Result<Vec<Case>, Box<dyn Error>> {
    let on_wire = |packet: Vec<u8>| match link_layer {
        LinkLayer::Ethernet => frame(&packet),
        LinkLayer::None => packet,
    };
    let v4 = |address| on_wire(ipv4(address, 100));
    let v6 = |address: &str| address.parse().map(|address| on_wire(ipv6(address, 100)));
    let case = |name: String, packet, program, expect_drop| Case {
        name,
        link_layer,
        packet,
        program,
        expect_drop,
        nanoseconds: Series::default(),
    };
    let mut cases = vec![
        case("XDP_PASS".into(), v4(GOOD_V4), foreign(PASS, "pass")?, false),
        case("talk's program, IPv4".into(), v4(GOOD_V4), foreign(TALK, "talk")?, false),
        case(
            "talk's program, banned IPv4".into(),
            v4(BANNED_V4),
            foreign(TALK, "talk")?,
            true,
        ),
    ];
    for bans in [0, 1_000, 100_000] {
        let name = |what: &str| format!("guard, {bans} bans, {what}");
        let guard = || filter(link_layer, bans);
        cases.push(case(name("IPv4"), v4(GOOD_V4), guard()?, false));
        cases.push(case(name("IPv6"), v6("fd00::3")?, guard()?, false));
        if bans > 0 {
            cases.push(case(name("IPv4 beside a banned one"), v4(NEIGHBOUR_V4), guard()?, false));
            cases.push(case(name("IPv6 beside a banned one"), v6("2001:db8::8")?, guard()?, false));
            let (v4_in_24, v6_in_64) = (
                name("IPv4 in the /24 of a banned /28"),
                name("IPv6 in the /64 of a banned /120"),
            );
            cases.push(case(v4_in_24, v4(BESIDE_NET_V4), guard()?, false));
            cases.push(case(v6_in_64, v6("2001:db8:1::8")?, guard()?, false));
            cases.push(case(name("banned IPv4"), v4(BANNED_V4), guard()?, true));
            cases.push(case(name("banned IPv6"), v6("2001:db8::7")?, guard()?, true));
        }
    }
    Ok(cases)
}

fn foreign(object: &'static [u8], name: &'static str) -> Result<Program, Box<dyn Error>> {
    let banned = u32::from(BANNED_V4).to_be();
    let mut ebpf = EbpfLoader::new()
        .btf(None)
        .override_global("BANNED", &banned, false)
        .load(object)?;
    xdp(&mut ebpf, name)?.load()?;
    Ok(Program::Foreign(ebpf, name))
}

/// So many random bans of each family, of /32 and /128, /24 and /64, and now and then a /48.
fn filter(link_layer: LinkLayer, count: usize) -> Result<Program, Box<dyn Error>> {
    let mut random = Random(0xf1e1a70);
    let mut bans = Vec::new();
    if count > 0 {
        bans.extend(["203.0.113.7/32".parse::<IpNet>()?, "2001:db8::7/128".parse()?]);
        bans.extend(["198.51.100.240/28".parse::<IpNet>()?, "2001:db8:1::ff00/120".parse()?]);
    }
    while bans.len() < 2 * count {
        // Outside of private and unique local space, where the good sources are.
        let v4 = IpAddr::from(Ipv4Addr::from(random.below(0xa000_0000) as u32));
        let high = 0x2000_0000_0000_0000 | random.below(1 << 48) << 13;
        let v6 = IpAddr::from(Ipv6Addr::from(u128::from(high) << 64 | u128::from(random.below(1 << 48))));
        let (short_v4, short_v6) = match random.below(10) {
            0 => (24, 48),
            1..4 => (24, 64),
            _ => (32, 128),
        };
        bans.extend([IpNet::new(v4, short_v4)?, IpNet::new(v6, short_v6)?]);
    }
    let mut filter = Filter::load(link_layer, 65_536)?;
    filter.ban_all(&bans)?;
    Ok(Program::Guard(Box::new(filter)))
}

fn talk(cases: &[Case], link_layer: LinkLayer) -> &Case {
    let found = cases
        .iter()
        .find(|case| case.link_layer == link_layer && case.name == "talk's program, IPv4");
    found.expect("every device has it")
}

fn print(cases: &[Case]) {
    println!("ns per packet, minimum and median of {ROUNDS} runs of {REPEAT}; one packet repeated (caches hot)");
    for link_layer in [LinkLayer::None, LinkLayer::Ethernet] {
        let (device, talk) = (device(link_layer), talk(cases, link_layer));
        println!(
            "\n{device:<54} {:>8} {:>8} {:>12} {:>12}",
            "minimum", "median", "min ÷ talk", "median ÷ talk"
        );
        for case in cases.iter().filter(|case| case.link_layer == link_layer) {
            println!(
                "  {:<52} {:>8.0} {:>8.0} {:>11.2}× {:>11.2}×",
                case.name,
                case.nanoseconds.minimum(),
                case.nanoseconds.median(),
                case.nanoseconds.minimum() / talk.nanoseconds.minimum(),
                case.nanoseconds.median() / talk.nanoseconds.median()
            );
        }
        for goal in goals(cases, link_layer) {
            println!("  {}", goal.line());
        }
    }
}

/// The goals, for packets that pass: as dear as the talk's program without bans, under 2.2 times with 100,000.
fn goals(cases: &[Case], link_layer: LinkLayer) -> Vec<Goal> {
    let talk = talk(cases, link_layer);
    let mut goals = Vec::new();
    for (prefix, most) in [("guard, 0 bans, ", 1.0), ("guard, 100000 bans, ", 2.2)] {
        let passing = |case: &&Case| case.link_layer == link_layer && !case.expect_drop && case.name.starts_with(prefix);
        goals.extend(cases.iter().filter(passing).map(|case| Goal {
            what: format!("{} on {}, to the talk's program", case.name, device(link_layer)),
            measured: case.nanoseconds.median() / talk.nanoseconds.median(),
            limit: Limit::Most(most),
            unit: "×",
        }));
    }
    goals
}

fn device(link_layer: LinkLayer) -> &'static str {
    match link_layer {
        LinkLayer::Ethernet => "Ethernet",
        LinkLayer::None => "no link header (wg0, TUN)",
    }
}

fn write(cases: &[Case]) -> Result<(), Box<dyn Error>> {
    let rows: Vec<_> = cases
        .iter()
        .map(|case| {
            json!({
                "device": device(case.link_layer),
                "case": case.name,
                "minimum_ns": case.nanoseconds.minimum(),
                "median_ns": case.nanoseconds.median(),
                "median_to_talk": case.nanoseconds.median() / talk(cases, case.link_layer).nanoseconds.median(),
            })
        })
        .collect();
    let goals: Vec<Goal> = [LinkLayer::None, LinkLayer::Ethernet]
        .into_iter()
        .flat_map(|layer| goals(cases, layer))
        .collect();
    let status = fs::read_to_string("/proc/self/status")?;
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:\t"));
    let conditions = json!({ "rounds": ROUNDS, "repeat": REPEAT, "capabilities": capabilities });
    let what = "XDP guard, BPF_PROG_TEST_RUN, one packet repeated (caches hot)";
    Ok(bench::write("guard", what, &conditions, &rows, &goals)?)
}
