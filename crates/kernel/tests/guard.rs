//! The guard on real interfaces in namespaces of its own, and the program against a naive model of it.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, include_bytes_aligned};
use fielato_kernel::guard::{Filter, Guard, GuardError, LinkLayer, Mode, Options};
use ipnet::IpNet;

#[allow(unsafe_code)]
#[path = "guard/namespace.rs"]
mod namespace;
#[path = "guard/packet.rs"]
mod packet;

use namespace::{Tap, in_namespace, ip, needs_root};
use packet::{Random, frame, ipv4, ipv6, vlan};

/// A program that is not the guard.
static THEIRS: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pass.bpf.o"));

const ARPHRD_ETHER: u16 = 1;
const ARPHRD_NONE: u16 = 65534;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn source(guard: &Filter, address: &str) -> Option<(u64, u64)> {
    let address: IpAddr = address.parse().unwrap();
    guard
        .sources()
        .unwrap()
        .into_iter()
        .find(|count| count.address == address)
        .map(|count| (count.packets, count.bytes))
}

fn refused(guard: &Filter, network: &str) -> (u64, u64) {
    let network = net(network);
    let ban = guard
        .bans()
        .unwrap()
        .into_iter()
        .find(|ban| ban.network == network)
        .expect("banned");
    (ban.packets, ban.bytes)
}

/// L3: the cases that a program which guesses an Ethernet header gets wrong.
#[test]
fn tun_counts_are_exact() {
    if needs_root("tun_counts_are_exact") {
        return;
    }
    in_namespace(|| {
        let mut tun = Tap::tun("g0");
        let mut guard = Guard::attach(tun.index(), ARPHRD_NONE, &Options::default()).unwrap();
        assert_eq!(guard.mode(), Mode::Generic);
        assert_eq!(guard.pinned(), None);
        // 8.0.1.2: bytes 12 and 13 are 08 00, the Ethernet type of IPv4.
        let cases = [
            "8.0.1.2",
            "8.0.255.255",
            "134.221.1.2",
            "192.168.4.2",
            "fd00::2",
            "2001:db8:800::1",
        ];
        for (number, address) in cases.iter().enumerate() {
            for _ in 0..=number {
                tun.write(&packet_from(address, 100 + number));
            }
        }
        let counts = guard.sources().unwrap();
        for (number, address) in cases.iter().enumerate() {
            let packets = number as u64 + 1;
            let expected = (packets, packets * (100 + number as u64));
            assert_eq!(source(&guard, address), Some(expected), "{address} in {counts:?}");
        }
        // The kernel's own packets (neighbour discovery) leave by this device and are not received by it.
        assert_eq!(counts.len(), cases.len(), "{counts:?}");

        for address in ["8.0.1.2", "fd00::2"] {
            guard.ban(net(address_as_net(address).as_str())).unwrap();
            let before = source(&guard, address);
            tun.write(&packet_from(address, 200));
            assert_eq!(refused(&guard, &address_as_net(address)), (1, 200));
            assert_eq!(source(&guard, address), before, "a refused packet is not counted as passed");
            assert!(guard.unban(net(&address_as_net(address))).unwrap());
            tun.write(&packet_from(address, 200));
            assert_eq!(source(&guard, address).unwrap().0, before.unwrap().0 + 1);
        }
        guard.detach().unwrap();
        assert!(!ip(&["-d", "link", "show", "g0"]).contains("xdp"));
    });
}

fn address_as_net(address: &str) -> String {
    format!("{address}/{}", if address.contains(':') { 128 } else { 32 })
}

fn packet_from(address: &str, length: usize) -> Vec<u8> {
    match address.parse().unwrap() {
        IpAddr::V4(address) => ipv4(address, length),
        IpAddr::V6(address) => ipv6(address, length),
    }
}

/// Ethernet, native XDP on veth: what the stack sees is what the guard says.
#[test]
fn veth_counts_bans_and_heals() {
    if needs_root("veth_counts_bans_and_heals") {
        return;
    }
    in_namespace(|| {
        ip(&[
            "link",
            "add",
            "g0",
            "type",
            "veth",
            "peer",
            "name",
            "g1",
            "netns",
            &namespace::second(),
        ]);
        namespace::in_second(|| {
            ip(&["addr", "add", "10.9.0.2/24", "dev", "g1"]);
            ip(&["addr", "add", "fd09::2/64", "dev", "g1", "nodad"]);
            ip(&["link", "set", "g1", "up"]);
        });
        ip(&["addr", "add", "10.9.0.1/24", "dev", "g0"]);
        ip(&["addr", "add", "fd09::1/64", "dev", "g0", "nodad"]);
        ip(&["link", "set", "g0", "up"]);
        let mut guard = Guard::attach(namespace::index("g0"), ARPHRD_ETHER, &Options::default()).unwrap();
        assert_eq!(guard.mode(), Mode::Native);

        for (to, from, ban) in [("10.9.0.1", "10.9.0.2", "10.9.0.0/24"), ("fd09::1", "fd09::2", "fd09::/48")] {
            // Resolves the neighbour, so that nothing else comes from that address below.
            assert!(namespace::ping(to, 1, 56));
            let (packets, bytes) = source(&guard, from).unwrap();
            let header = if to.contains(':') { 48 } else { 28 };
            // 12 bytes of data make a frame shorter than Ethernet's least; padding is not counted.
            for size in [12, 56, 1_000] {
                let (packets, bytes) = source(&guard, from).unwrap();
                assert!(namespace::ping(to, 3, size));
                let (packets_now, bytes_now) = source(&guard, from).unwrap();
                // A neighbour may be probed in between (IPv6 probes are IP packets themselves).
                assert!(packets_now >= packets + 3, "{from}, {size}");
                if packets_now == packets + 3 {
                    assert_eq!(bytes_now, bytes + 3 * (size as u64 + header), "{from}, {size}");
                }
            }
            assert!(source(&guard, from).unwrap() > (packets, bytes));
            assert!(guard.ban(net(ban)).unwrap());
            assert!(!guard.ban(net(ban)).unwrap(), "banned twice");
            assert!(!namespace::ping(to, 1, 56));
            assert!(refused(&guard, ban).0 >= 1);
            assert!(guard.unban(net(ban)).unwrap());
            assert!(!guard.unban(net(ban)).unwrap());
            assert!(namespace::ping(to, 1, 56));
        }
        assert!(guard.unread().unwrap().not_ip > 0, "ARP is not IP");
        guard.detach().unwrap();
    });
}

/// Large MTU: the driver takes the program only because it says that it can read fragmented frames.
#[test]
fn veth_with_large_frames_is_native() {
    if needs_root("veth_with_large_frames_is_native") {
        return;
    }
    in_namespace(|| {
        ip(&[
            "link", "add", "g0", "mtu", "9000", "type", "veth", "peer", "name", "g1", "mtu", "9000",
        ]);
        let guard = Guard::attach(namespace::index("g0"), ARPHRD_ETHER, &Options::default()).unwrap();
        assert_eq!(guard.mode(), Mode::Native);
        guard.detach().unwrap();
    });
}

/// The program's verdicts and counters equal a naive model's, for random bans and packets on both kinds of device.
#[test]
fn program_equals_model() {
    if needs_root("program_equals_model") {
        return;
    }
    for (link_layer, seed) in [(LinkLayer::Ethernet, 11), (LinkLayer::None, 12)] {
        let mut random = Random(seed);
        let mut filter = Filter::load(link_layer, 65_536).unwrap();
        let mut bans: HashMap<IpNet, (u64, u64)> = HashMap::new();
        let mut passed: HashMap<IpAddr, (u64, u64)> = HashMap::new();
        let mut drops = 0;
        for step in 0..6_000 {
            match random.below(8) {
                0 if bans.len() < 40 => {
                    let network = random_net(&mut random);
                    let new = filter.ban(network).unwrap();
                    assert_eq!(new, !bans.contains_key(&network.trunc()));
                    bans.entry(network.trunc()).or_default();
                }
                1 if !bans.is_empty() => {
                    let mut all: Vec<IpNet> = bans.keys().copied().collect();
                    all.sort();
                    let gone = all[random.below(all.len() as u64) as usize];
                    assert!(filter.unban(gone).unwrap());
                    bans.remove(&gone);
                }
                _ => {
                    let address = random_address(&mut random);
                    let length = 60 + random.below(400);
                    let packet = packet_from(&address.to_string(), length as usize);
                    let packet = match link_layer {
                        LinkLayer::None => packet,
                        LinkLayer::Ethernet => vlan(&frame(&packet), random.below(3) as usize),
                    };
                    let expected = bans
                        .keys()
                        .filter(|ban| ban.contains(&address))
                        .max_by_key(|ban| ban.prefix_len());
                    let result = filter.test_run(&packet, 1).unwrap();
                    assert_eq!(result.dropped, expected.is_some(), "step {step}: {address}, bans {bans:?}");
                    let count = match expected.copied() {
                        Some(ban) => bans.get_mut(&ban).unwrap(),
                        None => passed.entry(address).or_default(),
                    };
                    *count = (count.0 + 1, count.1 + length);
                    drops += u32::from(result.dropped);
                }
            }
        }
        assert!(drops > 500, "the model must have both verdicts: {drops} drops");
        let told: HashMap<_, _> = filter
            .bans()
            .unwrap()
            .into_iter()
            .map(|ban| (ban.network, (ban.packets, ban.bytes)))
            .collect();
        assert_eq!(told, bans);
        let told: HashMap<_, _> = filter
            .sources()
            .unwrap()
            .into_iter()
            .map(|count| (count.address, (count.packets, count.bytes)))
            .collect();
        assert_eq!(told, passed);
    }
}

/// Few distinct bits, at every length, so that bans and sources overlap often.
fn random_net(random: &mut Random) -> IpNet {
    match random_address(random) {
        IpAddr::V4(address) => {
            let length = match random.below(20) {
                0 => random.below(9),
                1..8 => 32,
                _ => 8 + random.below(25),
            };
            IpNet::new(address.into(), length as u8).unwrap()
        }
        IpAddr::V6(address) => {
            let length = match random.below(20) {
                0 => random.below(33),
                1..8 => 128,
                _ => 32 + random.below(97),
            };
            IpNet::new(address.into(), length as u8).unwrap()
        }
    }
}

fn random_address(random: &mut Random) -> IpAddr {
    let sparse = |random: &mut Random, positions: &[u32]| {
        positions
            .iter()
            .fold(0_u128, |bits, position| bits | u128::from(random.below(2) as u8) << position)
    };
    if random.below(2) == 0 {
        let bits = sparse(random, &[0, 3, 7, 8, 9, 12, 16, 24, 31]) as u32;
        Ipv4Addr::from(0x0800_0000 ^ bits).into()
    } else {
        let bits = sparse(random, &[0, 30, 63, 64, 70, 79, 80, 90, 95, 97, 110]);
        Ipv6Addr::from(0xfd00_u128 << 112 ^ bits).into()
    }
}

/// An overlay: all members in one network, many of them banned, and the network itself now and then. Each packet's verdict
/// and each ban's count are those of the most specific ban, before and after others go.
#[test]
fn banned_hosts_beside_members() {
    if needs_root("banned_hosts_beside_members") {
        return;
    }
    let members = 600_u32;
    let v4 = |host: u32| IpAddr::from(Ipv4Addr::from(0xc0a8_0400 + host));
    let v6 = |host: u32| IpAddr::from(Ipv6Addr::from(0xfd00_u128 << 112 | u128::from(host)));
    let wider = [
        ["192.168.4.0/22", "192.168.4.128/25", "192.168.5.6/31"],
        ["fd00::/64", "fd00::80/121", "fd00::/48"],
    ];
    for (address, wider) in [(&v4 as &dyn Fn(u32) -> IpAddr, wider[0]), (&v6, wider[1])] {
        let mut random = Random(99);
        let mut filter = Filter::load(LinkLayer::None, 4_096).unwrap();
        let mut bans: HashMap<IpNet, (u64, u64)> = HashMap::new();
        for step in 0..60 {
            for _ in 0..20 {
                let host = IpNet::from(address(random.below(members.into()) as u32));
                let network = if random.below(15) == 0 {
                    net(wider[random.below(3) as usize])
                } else {
                    host
                };
                if bans.remove(&network).is_some() {
                    assert!(filter.unban(network).unwrap());
                } else {
                    assert!(filter.ban(network).unwrap());
                    bans.insert(network, (0, 0));
                }
            }
            for member in 0..members {
                let source = address(member);
                let expected = bans
                    .keys()
                    .filter(|ban| ban.contains(&source))
                    .max_by_key(|ban| ban.prefix_len())
                    .copied();
                let result = filter.test_run(&packet_from(&source.to_string(), 80), 1).unwrap();
                assert_eq!(result.dropped, expected.is_some(), "step {step}: {source}, bans {bans:?}");
                if let Some(count) = expected.and_then(|ban| bans.get_mut(&ban)) {
                    *count = (count.0 + 1, count.1 + 80);
                }
            }
        }
        assert!(bans.len() > 100, "{} bans", bans.len());
        let told: HashMap<_, _> = filter
            .bans()
            .unwrap()
            .into_iter()
            .map(|ban| (ban.network, (ban.packets, ban.bytes)))
            .collect();
        assert_eq!(told, bans);
    }
}

/// The longest prefix counts, and each length works by itself.
#[test]
fn every_length_bans_its_network_and_nothing_else() {
    if needs_root("every_length_bans_its_network_and_nothing_else") {
        return;
    }
    let mut filter = Filter::load(LinkLayer::None, 1_024).unwrap();
    for length in 0..=32_u8 {
        let inside = Ipv4Addr::new(172, 21, 200, 77);
        check_length(&mut filter, inside.into(), length, |bit| {
            Ipv4Addr::from(u32::from(inside) ^ 1 << (32 - bit)).into()
        });
    }
    for length in 0..=128_u8 {
        let inside: Ipv6Addr = "2001:db8:aaaa:5555:8000::77".parse().unwrap();
        check_length(&mut filter, inside.into(), length, |bit| {
            Ipv6Addr::from(u128::from(inside) ^ 1 << (128 - bit)).into()
        });
    }
}

fn check_length(filter: &mut Filter, inside: IpAddr, length: u8, flipped: impl Fn(u32) -> IpAddr) {
    let ban = IpNet::new(inside, length).unwrap();
    filter.ban(ban).unwrap();
    assert!(
        filter.test_run(&packet_from(&inside.to_string(), 60), 1).unwrap().dropped,
        "{ban}"
    );
    if length > 0 {
        let outside = flipped(length.into());
        assert!(
            !filter.test_run(&packet_from(&outside.to_string(), 60), 1).unwrap().dropped,
            "{ban} and {outside}"
        );
    }
    assert!(filter.unban(ban).unwrap());
    assert!(
        !filter.test_run(&packet_from(&inside.to_string(), 60), 1).unwrap().dropped,
        "{ban} after unban"
    );
}

/// Packets that are cut short or no IP are the stack's, and lengths that lie are not believed on Ethernet.
#[test]
fn odd_packets() {
    if needs_root("odd_packets") {
        return;
    }
    let v4 = ipv4(Ipv4Addr::new(8, 0, 1, 2), 60);
    let v6 = ipv6("fd00::2".parse().unwrap(), 60);
    let mut ethernet = Filter::load(LinkLayer::Ethernet, 1_024).unwrap();
    ethernet.ban_all(&[net("0.0.0.0/0"), net("::/0")]).unwrap();
    let mut tunnel = Filter::load(LinkLayer::None, 1_024).unwrap();
    tunnel.ban_all(&[net("0.0.0.0/0"), net("::/0")]).unwrap();
    for cut in [14, 20, 33] {
        assert!(!ethernet.test_run(&frame(&v4)[..cut], 1).unwrap().dropped, "v4 {cut}");
    }
    for cut in [14, 50, 53] {
        assert!(!ethernet.test_run(&frame(&v6)[..cut], 1).unwrap().dropped, "v6 {cut}");
    }
    for (tags, cut) in [(1, 17), (2, 17), (2, 21), (1, 37), (2, 41)] {
        assert!(
            !ethernet.test_run(&vlan(&frame(&v4), tags)[..cut], 1).unwrap().dropped,
            "{tags} tags, {cut}"
        );
    }
    assert_eq!(ethernet.unread().unwrap().short, 11);
    assert!(!ethernet.test_run(&vlan(&frame(&v4), 3), 1).unwrap().dropped);
    assert_eq!(ethernet.unread().unwrap().not_ip, 1);
    for packet in [&v4[..19], &v6[..39]] {
        assert!(!tunnel.test_run(packet, 1).unwrap().dropped);
    }
    let mut neither = v4.clone();
    neither[0] = 0x55;
    assert!(!tunnel.test_run(&neither, 1).unwrap().dropped);
    let unread = tunnel.unread().unwrap();
    assert_eq!((unread.short, unread.not_ip), (2, 1));

    let mut ethernet = Filter::load(LinkLayer::Ethernet, 1_024).unwrap();
    let mut liar = v4.clone();
    liar[2..4].copy_from_slice(&60_000_u16.to_be_bytes());
    ethernet.test_run(&frame(&liar), 1).unwrap();
    assert_eq!(source(&ethernet, "8.0.1.2"), Some((1, 60)));
    // Padding: 46 bytes arrive, 28 are the packet.
    let mut padded = frame(&ipv4(Ipv4Addr::new(8, 0, 1, 3), 28));
    padded.resize(60, 0);
    ethernet.test_run(&padded, 1).unwrap();
    assert_eq!(source(&ethernet, "8.0.1.3"), Some((1, 28)));
}

/// The table of sources never grows past its bound, and a busy source stays in it.
#[test]
fn sources_are_bounded() {
    if needs_root("sources_are_bounded") {
        return;
    }
    let bound = 512;
    let mut filter = Filter::load(LinkLayer::None, bound).unwrap();
    let busy = packet_from("192.0.2.1", 60);
    for number in 0..20_000_u32 {
        filter.test_run(&ipv4(Ipv4Addr::from(0x0a00_0000 + number), 60), 1).unwrap();
        filter.test_run(&busy, 1).unwrap();
    }
    let sources = filter.sources().unwrap();
    // The kernel rounds the bound up to a multiple of the CPUs.
    assert!(sources.len() <= bound as usize + 64, "{} sources", sources.len());
    assert!(sources.len() > bound as usize / 4, "{} sources", sources.len());
    assert_eq!(source(&filter, "192.0.2.1"), Some((20_000, 20_000 * 60)));
}

/// A hundred thousand bans go in within the time a person waits, the limit is an error, and no ban is lost by it.
#[test]
fn many_bans_and_the_limit() {
    if needs_root("many_bans_and_the_limit") {
        return;
    }
    let mut filter = Filter::load(LinkLayer::None, 1_024).unwrap();
    let networks: Vec<IpNet> = (0..Filter::MAX_BANS as u32)
        .map(|number| Ipv4Addr::from(number.wrapping_mul(32_749) << 8 | 1))
        .map(|a| IpNet::from(IpAddr::from(a)))
        .collect();
    let start = std::time::Instant::now();
    filter.ban_all(&networks[..100_000]).unwrap();
    let took = start.elapsed();
    // Far more than it takes on an idle machine: other tests may run beside this one.
    assert!(took.as_secs() < 30, "{took:?}");
    filter.ban_all(&networks[100_000..]).unwrap();
    let full = filter.ban(net("203.0.113.7/32")).unwrap_err();
    assert!(matches!(full, GuardError::TooManyBans { .. }), "{full}");
    assert!(full.to_string().contains("203.0.113.7/32"), "{full}");
    filter.ban(net("2001:db8::/32")).unwrap();
    assert_eq!(filter.bans().unwrap().len(), Filter::MAX_BANS + 1);
    for network in networks.iter().step_by(9_973) {
        assert!(
            filter
                .test_run(&packet_from(&network.addr().to_string(), 60), 1)
                .unwrap()
                .dropped,
            "{network}"
        );
    }
}

/// SIGKILL leaves the pinned bans standing; the next guard takes over, or `remove_pin` clears.
#[test]
fn pinned_bans_outlive_their_process() {
    const ROLE: &str = "FIELATO_TEST_GUARD_HOLDER";
    if let Ok(pin) = std::env::var(ROLE) {
        return hold_until_killed(Path::new(&pin));
    }
    if needs_root("pinned_bans_outlive_their_process") {
        return;
    }
    in_namespace(|| {
        let mut tun = Tap::tun("g0");
        let bpffs = namespace::Bpffs::mount();
        let pin = bpffs.path().join("fielato/g0");
        let options = Options {
            pin: Some(pin.clone()),
            ..Options::default()
        };
        for round in 0..2 {
            let mut holder = Holder::start("pinned_bans_outlive_their_process", ROLE, &pin);
            holder.wait_until_ready();
            assert!(!tun.passes("192.0.2.9"), "banned by the holder");
            holder.kill();
            assert!(fs::exists(&pin).unwrap());
            assert!(!tun.passes("192.0.2.9"), "still banned when the holder is gone");
            assert!(tun.passes("192.0.2.10"));
            if round == 0 {
                assert!(Guard::remove_pin(&pin).unwrap());
                assert!(!fs::exists(&pin).unwrap());
                assert!(
                    !ip(&["-d", "link", "show", "g0"]).contains("xdp"),
                    "detached when remove_pin returns"
                );
                assert!(tun.passes("192.0.2.9"));
                assert!(!Guard::remove_pin(&pin).unwrap());
            } else {
                let guard = Guard::attach_with(tun.index(), ARPHRD_NONE, &options, &[net("192.0.2.10/32")]).unwrap();
                assert_eq!(guard.pinned(), Some(pin.as_path()));
                assert!(
                    tun.passes("192.0.2.9"),
                    "the new guard's bans are in force, not the old one's"
                );
                assert!(!tun.passes("192.0.2.10"));
                assert_eq!(refused(&guard, "192.0.2.10/32").0, 1);
                guard.detach().unwrap();
                assert!(!fs::exists(&pin).unwrap());
                assert!(tun.passes("192.0.2.10"));
            }
        }
        // The interface goes while the pin stays: the pin is stale and is replaced.
        let guard = Guard::attach(tun.index(), ARPHRD_NONE, &options).unwrap();
        drop(guard);
        assert!(fs::exists(&pin).unwrap());
        drop(tun);
        let tun = Tap::tun("g0");
        Guard::attach(tun.index(), ARPHRD_NONE, &options).unwrap().detach().unwrap();
        assert!(!fs::exists(&pin).unwrap());
    });
}

fn hold_until_killed(pin: &Path) {
    let options = Options {
        pin: Some(pin.into()),
        ..Options::default()
    };
    let mut guard = Guard::attach(namespace::index("g0"), ARPHRD_NONE, &options).unwrap();
    guard.ban(net("192.0.2.9/32")).unwrap();
    println!("\nready");
    // Until the test kills this process, or goes away and so closes the pipe.
    let _ = io::stdin().read(&mut [0]);
}

struct Holder {
    child: Child,
}

impl Holder {
    /// This test program once more, in the namespaces of this thread.
    fn start(test: &str, role: &str, pin: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(role, pin)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child }
    }

    fn wait_until_ready(&mut self) {
        let mut said = String::new();
        let output = self.child.stdout.as_mut().unwrap();
        let mut byte = [0];
        while !said.contains("\nready\n") {
            assert_eq!(output.read(&mut byte).unwrap(), 1, "the holder ended: {said}");
            said.push(char::from(byte[0]));
        }
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is not ours is left alone, and the error says what it is.
#[test]
fn others_programs_and_files_are_left_alone() {
    if needs_root("others_programs_and_files_are_left_alone") {
        return;
    }
    in_namespace(|| {
        let tun = Tap::tun("g0");
        let mut theirs = Ebpf::load(THEIRS).unwrap();
        let program: &mut Xdp = theirs.program_mut("pass").unwrap().try_into().unwrap();
        program.load().unwrap();
        program.attach_to_if_index(tun.index(), XdpMode::Skb).unwrap();
        let error = Guard::attach(tun.index(), ARPHRD_NONE, &Options::default()).unwrap_err();
        assert!(matches!(error, GuardError::Occupied { program: 1.., .. }), "{error}");
        assert!(ip(&["-d", "link", "show", "g0"]).contains("xdp"));
        drop(theirs);

        let directory = tempfile();
        let file = directory.join("file");
        fs::write(&file, "not a pin").unwrap();
        let with = |pin: &Path| Options {
            pin: Some(pin.into()),
            ..Options::default()
        };
        for path in [&file, &directory] {
            let error = Guard::attach(tun.index(), ARPHRD_NONE, &with(path)).unwrap_err();
            assert!(matches!(error, GuardError::ForeignPin { .. }), "{error}");
            let error = Guard::remove_pin(path).unwrap_err();
            assert!(matches!(error, GuardError::ForeignPin { .. }), "{error}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "not a pin");
        let guard = Guard::attach(tun.index(), ARPHRD_NONE, &with(&directory.join("free"))).unwrap();
        assert_eq!(guard.pinned(), None, "no bpffs there");
        guard.detach().unwrap();
        fs::remove_dir_all(&directory).unwrap();

        let error = Guard::attach(999_999, ARPHRD_NONE, &Options::default()).unwrap_err();
        assert!(matches!(error, GuardError::NoInterface { .. }), "{error}");
    });
}

fn tempfile() -> PathBuf {
    let path = std::env::temp_dir().join(format!("fielato-guard-{}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    path
}
