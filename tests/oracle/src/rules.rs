//! Random rule sets: text for `iptables-restore -c` that the kernel takes, out of a grammar of all supported matches and targets.

mod matches;
mod targets;

use std::fmt::Write as _;

use fielato_wire::{Addr, Family};

use crate::network;
use crate::random::Random;
use crate::subject::Port;

/// Hooks as bits, in the order of the kernel's `enum nf_inet_hooks`.
mod hook {
    pub(super) const PREROUTING: u8 = 1 << 0;
    pub(super) const INPUT: u8 = 1 << 1;
    pub(super) const FORWARD: u8 = 1 << 2;
    pub(super) const OUTPUT: u8 = 1 << 3;
    pub(super) const POSTROUTING: u8 = 1 << 4;
    pub(super) const NAMES: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
}

/// Table, its hooks, and how many rules a chain of it has at most.
const TABLES: [(&str, u8, usize); 5] = [
    ("raw", hook::PREROUTING | hook::OUTPUT, 4),
    ("mangle", 0b11111, 5),
    ("nat", hook::PREROUTING | hook::INPUT | hook::OUTPUT | hook::POSTROUTING, 4),
    ("filter", hook::INPUT | hook::FORWARD | hook::OUTPUT, 6),
    ("security", hook::INPUT | hook::FORWARD | hook::OUTPUT, 2),
];

/// Ports that rules and packets both take theirs from, so that they meet.
pub const SERVICES: [u16; 9] = [21, 22, 53, 69, 80, 443, 1234, 5000, 8080];
/// Ports that clients come from.
pub const CLIENTS: [u16; 8] = [500, 1025, 2000, 2001, 3333, 5060, 40_003, 61_000];
/// Words in payloads, and what `string` looks for.
pub const WORDS: [&str; 4] = ["fielato", "GET /", "SSH-2.0", "xyzzy"];

/// What decides which rules make sense in a case.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// Connections are tracked.
    pub tracking: bool,
    /// See [`crate::subject::Setup::paced`].
    pub paced: bool,
    /// Rules copy packets (TEE), and none remembers how many it saw: the kernel sends a copy before the packet goes on, we after,
    /// so that they would count in another order.
    pub copies: bool,
}

/// Where a rule stands, which decides what it may say.
struct Place<'a> {
    random: &'a mut Random,
    family: Family,
    conditions: Conditions,
    table: &'static str,
    /// The hooks that reach the rule's chain.
    hooks: u8,
    /// A built-in chain: there the program itself refuses `-i` in OUTPUT and the like.
    builtin: bool,
    /// `-p`, when the rule has one that isn't negated.
    protocol: Option<&'static str>,
    /// Names of lists, so that several rules share one.
    serial: &'a mut u32,
}

impl Place<'_> {
    /// Whether only these hooks reach the rule.
    fn only(&self, hooks: u8) -> bool {
        self.hooks & !hooks == 0
    }

    fn tracking(&self) -> bool {
        self.conditions.tracking
    }

    fn v4(&self) -> bool {
        self.family == Family::V4
    }

    fn not(&mut self) -> &'static str {
        if self.random.chance(20) { "! " } else { "" }
    }

    fn port(&mut self) -> u16 {
        if self.random.chance(70) {
            *self.random.pick(&SERVICES)
        } else {
            *self.random.pick(&CLIENTS)
        }
    }

    fn ports(&mut self) -> String {
        match self.random.below(4) {
            0 => {
                let (a, b) = (self.port(), self.port());
                // `multiport` refuses a range of one.
                format!("{}:{}", a.min(b), a.max(b).max(a.min(b) + 1))
            }
            _ => self.port().to_string(),
        }
    }

    /// An address that packets have.
    fn address(&mut self) -> Addr {
        let pools = [
            network::hosts(self.family, Port::Inside),
            network::hosts(self.family, Port::Outside),
            &network::local(self.family),
            &network::spare(self.family),
        ];
        let pool = pools[self.random.weighted(&[4, 4, 1, 1])];
        *self.random.pick(pool)
    }

    /// An address or a network around one.
    fn network(&mut self) -> String {
        let address = self.address();
        let lengths: &[u8] = match self.family {
            Family::V4 => &[32, 32, 32, 31, 30, 24, 24, 16, 8, 0],
            Family::V6 => &[128, 128, 128, 127, 126, 64, 64, 32, 16, 0],
        };
        let length = *self.random.pick(lengths);
        let network = address.and(Addr::mask(self.family, length));
        format!("{}/{length}", network.display(self.family))
    }
}

/// A rule set of one family with all five tables.
pub fn generate(random: &mut Random, family: Family, conditions: Conditions) -> String {
    let mut text = String::new();
    let mut serial = 0;
    for (table, hooks, most) in TABLES {
        if table == "nat" && !conditions.tracking {
            continue;
        }
        generate_table(random, family, conditions, (table, hooks, most), &mut serial, &mut text);
    }
    text
}

/// A chain of the user's: its name, and the hooks that reach it.
struct UserChain {
    name: String,
    hooks: u8,
}

fn generate_table(
    random: &mut Random,
    family: Family,
    conditions: Conditions,
    (table, hooks, most): (&'static str, u8, usize),
    serial: &mut u32,
    text: &mut String,
) {
    let _ = writeln!(text, "*{table}");
    for (index, name) in hook::NAMES.iter().enumerate() {
        if hooks & 1 << index != 0 {
            let drops = table == "filter" && random.chance(12);
            let _ = writeln!(text, ":{name} {} [0:0]", if drops { "DROP" } else { "ACCEPT" });
        }
    }
    // Each is reached from one built-in chain; now and then from two.
    let places: Vec<u8> = (0..5).map(|index| 1 << index).filter(|bit| hooks & bit != 0).collect();
    let chains: Vec<UserChain> = (0..random.below(4))
        .map(|index| {
            let mut hooks = *random.pick(&places);
            if random.chance(25) {
                hooks |= *random.pick(&places);
            }
            UserChain {
                name: format!("user{index}"),
                hooks,
            }
        })
        .collect();
    for chain in &chains {
        let _ = writeln!(text, ":{} - [0:0]", chain.name);
    }
    let mut place = Place {
        random,
        family,
        conditions,
        table,
        hooks: 0,
        builtin: true,
        protocol: None,
        serial,
    };
    for bit in places {
        place.hooks = bit;
        let name = hook::NAMES[bit.trailing_zeros() as usize];
        for rule in usual(&mut place) {
            let _ = writeln!(text, "[0:0] -A {name} {rule}");
        }
        for _ in 0..place.random.below(most + 1) {
            let rule = generate_rule(&mut place, &chains);
            let _ = writeln!(text, "[0:0] -A {name} {rule}");
        }
        for rule in observers(&mut place) {
            let _ = writeln!(text, "[0:0] -A {name} {rule}");
        }
    }
    place.builtin = false;
    for (index, chain) in chains.iter().enumerate() {
        place.hooks = chain.hooks;
        for _ in 0..place.random.below(5) {
            // Only later chains are jumped to: no loops.
            let rule = generate_rule(&mut place, &chains[index + 1..]);
            let _ = writeln!(text, "[0:0] -A {} {rule}", chain.name);
        }
    }
    let _ = writeln!(text, "COMMIT");
}

/// Rules that every gateway has, without which random ones seldom make anything of a connection.
fn usual(place: &mut Place<'_>) -> Vec<String> {
    let mut rules = Vec::new();
    if !place.tracking() {
        return rules;
    }
    let mut add = |percent, rule: &str, random: &mut Random| {
        if random.chance(percent) {
            rules.push(rule.to_owned());
        }
    };
    let random = &mut *place.random;
    match (place.table, place.hooks) {
        ("raw", hook::PREROUTING | hook::OUTPUT) => {
            add(50, "-p tcp -m tcp --dport 21 -j CT --helper ftp", random);
            add(40, "-p udp -m udp --dport 69 -j CT --helper tftp", random);
        }
        ("filter", hook::FORWARD | hook::INPUT) => {
            add(40, "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", random);
            add(25, "-m conntrack --ctstate INVALID -j DROP", random);
        }
        ("nat", hook::POSTROUTING) => add(30, "-o tun1 -j MASQUERADE", random),
        ("mangle", hook::PREROUTING) => add(15, "-j CONNMARK --restore-mark", random),
        ("mangle", hook::POSTROUTING) => add(15, "-j CONNMARK --save-mark", random),
        _ => {}
    }
    rules
}

/// Rules that show the packet's mark at the end of its way through the counters.
fn observers(place: &mut Place<'_>) -> Vec<String> {
    let last = place.only(hook::POSTROUTING | hook::INPUT);
    if place.table != "mangle" || !last || !place.random.chance(35) {
        return Vec::new();
    }
    (0..8).map(|bit| format!("-m mark --mark {0:#x}/{0:#x}", 1 << bit)).collect()
}

/// Protocols by how often rules name them.
const PROTOCOLS: [(&str, u32); 14] = [
    ("", 30),
    ("tcp", 28),
    ("udp", 14),
    ("icmp", 8),
    ("sctp", 6),
    ("dccp", 4),
    ("udplite", 2),
    ("gre", 2),
    ("esp", 3),
    ("ah", 3),
    ("all", 1),
    ("99", 1),
    ("108", 1),
    ("135", 1),
];

fn generate_rule(place: &mut Place<'_>, chains: &[UserChain]) -> String {
    let mut words: Vec<String> = Vec::new();
    let weights = PROTOCOLS.map(|(_, weight)| weight);
    let mut protocol = PROTOCOLS[place.random.weighted(&weights)].0;
    match protocol {
        "icmp" if !place.v4() => protocol = "ipv6-icmp",
        // AH is an extension header there, which no `-p` finds. `-p all` asks for the protocol nevertheless, which drops packets
        // without one; iptables-save doesn't print it.
        "ah" | "all" if !place.v4() => protocol = "",
        // DCCP is common without tracking only: see `traffic::start`.
        "sctp" if !place.tracking() && place.random.chance(50) => protocol = "dccp",
        _ => {}
    }
    place.protocol = None;
    if !protocol.is_empty() {
        if protocol != "all" && place.random.chance(6) {
            words.push(format!("! -p {protocol}"));
        } else {
            words.push(format!("-p {protocol}"));
            place.protocol = Some(protocol).filter(|name| *name != "all");
        }
    }
    for (option, percent) in [("-s", 22), ("-d", 18)] {
        if place.random.chance(percent) {
            let (not, network) = (place.not(), place.network());
            // "! -s 0.0.0.0/0" never matches and is kept as no option at all by the save text.
            let not = if network.ends_with("/0") { "" } else { not };
            words.push(format!("{not}{option} {network}"));
        }
    }
    interfaces(place, &mut words);
    if place.v4() && place.random.chance(2) {
        words.push(format!("{}-f", place.not()));
    }
    let mut used: Vec<&str> = Vec::new();
    for _ in 0..place.random.weighted(&[30, 45, 20, 5]) {
        if let Some((name, text)) = matches::generate(place)
            && !used.contains(&name)
        {
            used.push(name);
            words.push(text);
        }
    }
    words.extend(jump(place, chains));
    words.join(" ")
}

fn interfaces(place: &mut Place<'_>, words: &mut Vec<String>) {
    const NAMES: [&str; 5] = ["tun0", "tun1", "tun+", "lo", "eth0"];
    let inward = hook::PREROUTING | hook::INPUT | hook::FORWARD;
    let outward = hook::FORWARD | hook::OUTPUT | hook::POSTROUTING;
    for (option, hooks) in [("-i", inward), ("-o", outward)] {
        if place.random.chance(14) && (!place.builtin || place.only(hooks)) {
            let not = place.not();
            let name = NAMES[place.random.weighted(&[8, 8, 3, 1, 1])];
            words.push(format!("{not}{option} {name}"));
        }
    }
}

fn jump(place: &mut Place<'_>, chains: &[UserChain]) -> Option<String> {
    let reachable: Vec<&UserChain> = chains.iter().filter(|chain| place.only(chain.hooks)).collect();
    if !reachable.is_empty() && place.random.chance(30) {
        let verb = if place.random.chance(20) { "-g" } else { "-j" };
        return Some(format!("{verb} {}", place.random.pick(&reachable).name));
    }
    targets::generate(place)
}
