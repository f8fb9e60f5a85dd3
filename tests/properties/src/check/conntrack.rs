//! A sequence of packets through a whole engine with small limits, while time passes and rules change.

use std::net::IpAddr;
use std::sync::LazyLock;

use fielato_netfilter::conntrack::list::Record;
use fielato_netfilter::conntrack::{Config, Direction, Status, Tracking, Tuple, Zone};
use fielato_netfilter::engine::Fate;
use fielato_netfilter::engine::command::{Caller, Command};
use fielato_netfilter::queue::{QueueAnswer, QueueVerdict};
use fielato_netfilter::{Counters, DropReason, Effect, Netfilter, Now, Ruleset};
use fielato_wire::build::{Ip, fragments};
use fielato_wire::{Family, Headers};

use crate::machine::{self, INSIDE, OUTSIDE, Router};
use crate::source::Source;
use crate::{packets, sums};

/// Most steps of one input.
const STEPS: usize = 64;
const CONNECTIONS: u32 = 12;
const EXPECTATIONS: u32 = 3;
const FRAGMENT_MEMORY: usize = 8 << 10;
const QUEUE: usize = 3;
/// Answers of one packet ([`fielato_netfilter::Effect::Transmit`]), and lines or copies of every rule it met.
const EFFECTS: usize = 64;
/// Bytes of the connection table: generous for a dozen connections.
const MEMORY: usize = 1 << 20;

/// Rule sets to choose from; addresses and what differs between families are filled in.
const RULES: [&str; 8] = [
    "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
-A POSTROUTING -o eth1 -j MASQUERADE\nCOMMIT\n",
    "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
-A PREROUTING -p tcp --dport 80 -j DNAT --to-destination {in2}:2000-2001\n\
-A PREROUTING -p udp -j REDIRECT --to-ports 53-54 --random\n\
-A POSTROUTING -p tcp -j SNAT --to-source {out254}:1024-1026 --random-fully\n\
-A POSTROUTING -p udp -j MASQUERADE --to-ports 40000-40001\n\
-A POSTROUTING -j SNAT --to-source {out254} --persistent\nCOMMIT\n",
    "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
-A PREROUTING -p tcp --dport 21 -j CT --helper ftp\n-A PREROUTING -p udp --dport 69 -j CT --helper tftp\n\
-A PREROUTING -p tcp --dport 5000 -j CT --notrack\n-A PREROUTING -p udp --dport 2000 -j CT --zone 3\nCOMMIT\n\
*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
-A PREROUTING -d {out254} -p tcp --dport 21 -j DNAT --to-destination {in1}\n-A POSTROUTING -o eth1 -j MASQUERADE\nCOMMIT\n",
    "*mangle\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
:POSTROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1000\n\
-A PREROUTING -p tcp -j TCPOPTSTRIP --strip-options timestamp,sack-permitted\n-A PREROUTING -p tcp -j ECN --ecn-tcp-remove{v4}\n\
-A PREROUTING -j DSCP --set-dscp 0x2e\n-A FORWARD -m recent --name r --set -j CONNMARK --save-mark\n\
-A FORWARD -m hashlimit --hashlimit-above 2/sec --hashlimit-name h --hashlimit-mode srcip,dstport -j MARK --set-mark 3\n\
-A FORWARD -m connbytes --connbytes 300 --connbytes-dir both --connbytes-mode bytes -j TOS --set-tos 0x10\n\
-A FORWARD -m string --algo bm --string abc -j LOG\n-A POSTROUTING -m u32 --u32 \"6&0xFF=1:17\" -j {hl}\nCOMMIT\n",
    "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:user - [0:0]\n\
-A INPUT -p tcp -j REJECT --reject-with tcp-reset\n-A INPUT -j REJECT\n-A FORWARD -m conntrack --ctstate INVALID -j REJECT\n\
-A FORWARD -p tcp -m connlimit --connlimit-above 2 -j REJECT --reject-with tcp-reset\n-A FORWARD -j user\n\
-A user -p udp -m limit --limit 5/min -j TEE --gateway {in2}\n-A user -p udp -j NFQUEUE --queue-num 0\n\
-A user -p icmp -j NFQUEUE --queue-num 1 --queue-bypass\n-A user -m conntrack --ctstate NEW,ESTABLISHED,RELATED -j ACCEPT\nCOMMIT\n",
    "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
-A PREROUTING -i eth1 -j NETMAP --to {in0net}\n-A POSTROUTING -o eth1 -j NETMAP --to {out0net}\n\
-A INPUT -p udp -j SNAT --to-source {out3}\n-A OUTPUT -p tcp -j DNAT --to-destination {in1}:21\nCOMMIT\n",
    "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -p tcp --dport 80 --syn -j CT --notrack\nCOMMIT\n\
*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
-A FORWARD -m conntrack --ctstate UNTRACKED -j NFQUEUE --queue-num 1 --queue-bypass\n\
-A FORWARD -m conntrack --ctstate INVALID -j DROP\n-A FORWARD -m statistic --mode random --probability 0.5 -j RETURN\n\
-A FORWARD -m quota --quota 3000 -j ACCEPT\n-A FORWARD -p udp -m length --length 60:100 -j REJECT\nCOMMIT\n",
    "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -i eth0 -j CT --zone-orig 5\n\
-A PREROUTING -i eth1 -p tcp -j CT --zone-reply 5 --helper ftp\nCOMMIT\n\
*mangle\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
-A PREROUTING -j CONNMARK --restore-mark\n-A PREROUTING -p tcp -m connbytes --connbytes 2 --connbytes-dir original \
--connbytes-mode packets -j MARK --set-mark 9\n-A FORWARD -m helper --helper ftp -j CONNMARK --set-mark 4\n\
-A OUTPUT -m mark --mark 9 -j DSCP --set-dscp 3\n-A POSTROUTING -j CONNMARK --save-mark\nCOMMIT\n\
*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
-A PREROUTING -p sctp -j DNAT --to-destination {in2}:2000-2001 --random\n-A POSTROUTING -p tcp -o eth1 -j MASQUERADE --random\n\
-A POSTROUTING -p udp -j SNAT --to-source {out254}:53-54 --persistent\nCOMMIT\n",
];

/// The rule sets, read once.
fn rules(family: Family, choice: usize) -> Ruleset {
    static RULES_OF: LazyLock<[Vec<Ruleset>; 2]> = LazyLock::new(|| {
        [Family::V4, Family::V6].map(|family| {
            let sets = (0..RULES.len()).map(|choice| machine::rules(family, &text(family, choice)));
            sets.collect()
        })
    });
    RULES_OF[family as usize][choice % RULES.len()].clone()
}

fn text(family: Family, choice: usize) -> String {
    let show = |address: fielato_wire::Addr| address.display(family).to_string();
    let port = |address| match family {
        Family::V4 => show(address),
        Family::V6 => format!("[{}]", show(address)),
    };
    let text = RULES[choice]
        .replace("{in2}:", &format!("{}:", port(machine::inside(family, 2))))
        .replace("{in1}:", &format!("{}:", port(machine::inside(family, 1))))
        .replace("{out254}:", &format!("{}:", port(machine::outside(family, 254))))
        .replace(
            "{in0net}",
            &format!(
                "{}/{}",
                show(machine::inside(family, 0)),
                if family == Family::V4 { 30 } else { 126 }
            ),
        )
        .replace(
            "{out0net}",
            &format!(
                "{}/{}",
                show(machine::outside(family, 0)),
                if family == Family::V4 { 30 } else { 126 }
            ),
        )
        .replace("{in1}", &show(machine::inside(family, 1)))
        .replace("{in2}", &show(machine::inside(family, 2)))
        .replace("{out3}", &show(machine::outside(family, 3)))
        .replace("{out254}", &show(machine::outside(family, 254)));
    match family {
        Family::V4 => text.replace("{v4}", "").replace("{hl}", "TTL --ttl-inc 1"),
        // ECN and IPv4's ICMP are not there.
        Family::V6 => text
            .replace("{hl}", "HL --hl-inc 1")
            .lines()
            .filter(|line| !line.contains("{v4}"))
            .map(|line| format!("{}\n", line.replace("-p icmp ", "-p icmpv6 ")))
            .collect(),
    }
}

/// What became of a packet, what the engine did beside, a line of a listing, what a family's rules counted.
#[derive(Debug, PartialEq)]
enum Told {
    Packet(Vec<u8>),
    Dropped(DropReason),
    Kept,
    Text(String),
    Counts(Vec<Counters>),
}

impl Told {
    fn of(fate: &Fate) -> Told {
        match fate {
            Fate::Deliver(packet) | Fate::Transmit(packet) => Told::Packet(packet.data.clone()),
            Fate::Dropped(reason) => Told::Dropped(*reason),
            Fate::Stolen | Fate::Fragment | Fate::Queued => Told::Kept,
        }
    }

    fn beside(effect: &Effect) -> Option<Told> {
        match effect {
            Effect::Transmit(packet) | Effect::Copy { packet, .. } => Some(Told::Packet(packet.data.clone())),
            Effect::Log { line, .. } => Some(Told::Text(line.clone())),
            _ => None,
        }
    }
}

/// An engine under way.
struct Run<'a> {
    source: Source<'a>,
    netfilter: Netfilter,
    now: Now,
    /// The packet that came out last, with the interface behind which its receiver is.
    last: Option<(Vec<u8>, u32)>,
    /// Every packet so far had right checksums, so whatever waits in a queue has.
    sound: bool,
    /// What came out so far, if it is to be compared.
    told: Option<Vec<Told>>,
}

/// Packets, answers, errors, fragments, time, queues and new rules, as the bytes say. Every limit holds after each step, no two live
/// connections share a tuple, sound packets stay sound, listings can be read, and in the end nothing is left. With the flow cache off
/// all comes out the same.
pub fn conntrack(data: &[u8]) {
    let mut source = Source::new(data);
    let choice = source.byte();
    let compared = choice & 0x0c == 0;
    let told = run(source.clone(), choice, true, compared);
    if compared {
        let without_cache = run(source, choice, false, true);
        for (with, without) in told.iter().zip(&without_cache) {
            assert_eq!(with, without, "with the flow cache, and without");
        }
        assert_eq!(told.len(), without_cache.len());
    }
}

fn run(source: Source<'_>, choice: u8, with_cache: bool, compared: bool) -> Vec<Told> {
    let config = Config {
        max: CONNECTIONS,
        expect_max: EXPECTATIONS,
        fragment_memory: FRAGMENT_MEMORY,
        tcp_loose: choice & 1 == 1,
        checksum: choice & 2 == 2,
        tcp_be_liberal: choice & 16 == 16,
        acct: choice & 32 == 0,
        tracking: if choice & 64 == 0 {
            Tracking::Always
        } else {
            Tracking::WhenNeeded
        },
        ..Config::default()
    };
    let mut netfilter = Netfilter::new(config, 7);
    let now = Now::from_secs(1000);
    let bind = |number| Command::BindQueue { number, length: QUEUE };
    for command in [bind(0), bind(1), Command::UseFlowCache(with_cache)] {
        let done = netfilter.execute(Caller::Admin, command, now);
        assert!(done.is_ok(), "{done:?}");
    }
    let mut run = Run {
        source,
        netfilter,
        now,
        last: None,
        sound: true,
        told: compared.then(Vec::new),
    };
    run.change_rules(Family::V4);
    run.change_rules(Family::V6);
    for _ in 0..STEPS {
        if run.source.is_empty() {
            break;
        }
        run.step();
        run.check();
    }
    run.end()
}

impl Run<'_> {
    fn change_rules(&mut self, family: Family) {
        let choice = self.source.below(256);
        machine::replace(&mut self.netfilter, rules(family, choice), self.now);
    }

    fn step(&mut self) {
        match self.source.below(16) {
            0..=5 => {
                let packet = self.packet();
                let by = self.interface();
                self.receive(packet, by);
            }
            6..=8 => self.answer(),
            9 => self.complain(),
            10 => self.fragments(),
            11 => {
                // Anything at all, with a header checksum that lets it in.
                let bytes = mended(self.source.bytes(255));
                let by = self.interface();
                self.receive(bytes, by);
            }
            12 => {
                let packet = self.packet();
                let sound = self.judge(&packet);
                if let Ok(packet) = fielato_netfilter::Packet::local(packet) {
                    let fate = self.netfilter.send_local(packet, &mut Router, self.now);
                    self.settle(fate, sound);
                }
            }
            13 => {
                let seconds = [0, 1, 29, 31, 130, 700, 500_000][self.source.below(7)];
                self.now = self
                    .now
                    .plus(seconds * Now::SECOND + u64::from(self.source.byte()) * 1_000_000);
                if self.source.flag() {
                    self.netfilter.expire(self.now, self.source.below(64));
                }
            }
            14 => self.handle_queue(),
            _ => {
                let family = self.family();
                self.change_rules(family);
            }
        }
    }

    fn family(&mut self) -> Family {
        if self.source.flag() { Family::V6 } else { Family::V4 }
    }

    fn interface(&mut self) -> u32 {
        if self.source.flag() { INSIDE } else { OUTSIDE }
    }

    fn packet(&mut self) -> Vec<u8> {
        let family = self.family();
        let ip = packets::ip(&mut self.source, family);
        packets::transport(&mut self.source, &ip)
    }

    fn receive(&mut self, packet: Vec<u8>, by: u32) {
        let sound = self.judge(&packet);
        if let Some(fate) = machine::receive(&mut self.netfilter, packet, by, self.now) {
            self.settle(fate, sound);
        }
    }

    /// Whether a packet's checksums are right and will be in what comes out at once. A fragment may complete another's datagram.
    fn judge(&mut self, packet: &[u8]) -> bool {
        let is_whole = Headers::parse(packet).is_ok_and(|headers| !headers.is_fragment());
        let sound = is_whole && sums::verify(packet).is_ok();
        self.sound &= sound;
        sound
    }

    fn settle(&mut self, fate: Fate, sound: bool) {
        let effects: Vec<Effect> = self.netfilter.drain_effects().collect();
        assert!(effects.len() <= EFFECTS, "{} effects of one packet", effects.len());
        if let Some(told) = &mut self.told {
            told.push(Told::of(&fate));
            told.extend(effects.iter().filter_map(Told::beside));
        }
        for effect in effects {
            if let Effect::Transmit(packet) | Effect::Copy { packet, .. } = effect
                && sound
            {
                sums::assert_sound(&packet);
            }
        }
        if let Some(packet) = machine::passed(fate) {
            assert_eq!(
                Headers::parse(&packet.data),
                Ok(packet.headers),
                "the headers are those of the bytes"
            );
            if sound {
                sums::assert_sound(&packet);
            }
            self.last = Some((packet.data, packet.out_interface.index));
        }
    }

    /// The receiver of the last packet sends something back.
    fn answer(&mut self) {
        let Some((packet, by)) = self.last.clone() else {
            return;
        };
        let Ok(headers) = Headers::parse(&packet) else {
            return;
        };
        let ip = Ip::new(headers.family, headers.dst, headers.src);
        let (sport, dport) = (headers.dport, headers.sport);
        let answer = match headers.protocol {
            fielato_wire::number::TCP => {
                let flags = [0x12, 0x10, 0x11, 0x04, 0x18][self.source.below(5)];
                let seq = packet
                    .get(usize::from(headers.l4) + 4..)
                    .and_then(|rest| rest.first_chunk::<4>());
                let ack = seq.map_or(0, |seq| u32::from_be_bytes(*seq)).wrapping_add(1);
                let tcp = fielato_wire::build::Tcp::new(sport, dport).ack(ack).flags(flags);
                ip.tcp(&tcp.seq(self.source.byte().into()).payload(self.source.bytes(80)))
            }
            fielato_wire::number::UDP => ip.udp(sport, dport, self.source.bytes(40)),
            fielato_wire::number::ICMP | fielato_wire::number::ICMPV6 => {
                let word = packet
                    .get(usize::from(headers.l4) + 4..)
                    .and_then(|rest| rest.first_chunk::<2>());
                ip.echo_reply(word.map_or(0, |word| u16::from_be_bytes(*word)), 1, &[])
            }
            protocol => ip.packet(protocol, self.source.bytes(60)),
        };
        let by = if by == INSIDE { INSIDE } else { OUTSIDE };
        self.receive(answer, by);
    }

    /// Somebody sends an ICMP error about the last packet.
    fn complain(&mut self) {
        let Some((packet, by)) = self.last.clone() else {
            return;
        };
        let Ok(headers) = Headers::parse(&packet) else {
            return;
        };
        let from = machine::outside(headers.family, 3);
        let kind = match headers.family {
            Family::V4 => self.source.pick(&[3, 4, 5, 11, 12]),
            Family::V6 => self.source.pick(&[1, 2, 3, 4]),
        };
        let cut = 28 + self.source.below(256);
        let quote = packet.get(..cut).unwrap_or(&packet);
        let error = Ip::new(headers.family, from, headers.src).icmp_error(kind, self.source.byte() & 15, 0, quote);
        self.receive(error, if by == INSIDE { INSIDE } else { OUTSIDE });
    }

    fn fragments(&mut self) {
        let packet = self.packet();
        let by = self.interface();
        let (order, leave_out) = (self.source.byte(), self.source.byte());
        let Ok(mut pieces) = fragments(&packet, 72, u32::from(order & 3)) else {
            return;
        };
        let middle = usize::from(order) % pieces.len();
        pieces.rotate_left(middle);
        for (index, piece) in pieces.into_iter().enumerate() {
            if leave_out >> (index % 8) & 1 == 0 {
                self.receive(piece, by);
            }
        }
    }

    fn handle_queue(&mut self) {
        let number = u16::from(self.source.flag());
        let Some(id) = self.netfilter.next_queued(number).map(|queued| queued.id) else {
            return;
        };
        let verdict = match self.source.below(4) {
            0 => QueueVerdict::Accept,
            1 => QueueVerdict::Repeat,
            2 => QueueVerdict::Drop,
            _ => QueueVerdict::Queue(1 - number),
        };
        let mut answer = QueueAnswer::plain(verdict);
        if self.source.flag() {
            answer.mark = Some(self.source.long());
        }
        if self.source.below(4) == 1 {
            self.sound = false;
            answer.data = Some(mended(self.source.bytes(200)));
        }
        if let Some(fate) = self.netfilter.reinject(number, id, answer, &mut Router, self.now) {
            self.settle(fate, self.sound);
        }
    }

    fn check(&self) {
        let conntrack = self.netfilter.conntrack();
        assert!(conntrack.count() <= CONNECTIONS, "{} connections", conntrack.count());
        assert!(conntrack.expectation_count() <= EXPECTATIONS);
        assert!(conntrack.memory() <= MEMORY, "{} bytes", conntrack.memory());
        for number in [0, 1] {
            let statistics = self.netfilter.queues().statistics(number);
            assert!(statistics.is_some_and(|statistics| statistics.waiting <= QUEUE));
        }
        let mut places: Vec<(Tuple, Direction, Zone)> = Vec::with_capacity(2 * CONNECTIONS as usize);
        for (_, conn) in conntrack.iter() {
            let own = [Direction::Original, Direction::Reply].map(|direction| (*conn.tuple(direction), direction, conn.zone));
            // A packet from an address to itself is its own answer.
            let own = if own[0].0 == own[1].0 { &own[..1] } else { &own[..] };
            for place in own {
                let other = places.iter().find(|other| are_one(place, other));
                assert!(other.is_none(), "two connections share {place:?} {other:?}");
            }
            places.extend_from_slice(own);
        }
    }

    /// Takes everything away; before that, reads the listings if they are to be compared.
    fn end(mut self) -> Vec<Told> {
        let mut told = self.told.take();
        // Tables know the time of the last packet they saw.
        self.netfilter.expire(self.now, 0);
        if let Some(told) = &mut told {
            self.list(told);
        }
        for command in [Command::UnbindQueue(0), Command::UnbindQueue(1), Command::FlushConnections] {
            let done = self.netfilter.execute(Caller::Admin, command, self.now);
            assert!(done.is_ok(), "{done:?}");
        }
        let conntrack = self.netfilter.conntrack();
        assert_eq!(
            (conntrack.count(), conntrack.expectation_count()),
            (0, 0),
            "something is left"
        );
        told.unwrap_or_default()
    }

    fn list(&self, told: &mut Vec<Told>) {
        for record in self.netfilter.conntrack().records(None) {
            let (line, proc_line) = (record.conntrack_line(), record.proc_line());
            assert_says(&line, &record);
            told.extend([line, proc_line].map(Told::Text));
        }
        for record in self.netfilter.conntrack().expect_records() {
            assert!(record.master.is_some(), "{record:?} has lost its master");
            told.extend([record.conntrack_line(), record.proc_line()].map(Told::Text));
        }
        for family in [Family::V4, Family::V6] {
            let rules = self.netfilter.ruleset(family);
            let chains = rules.tables.iter().flat_map(|table| &table.chains);
            let counts = chains.flat_map(|chain| chain.rules.iter().map(|rule| rule.counters).chain([chain.counters]));
            told.push(Told::Counts(counts.collect()));
        }
    }
}

/// Whether packets of both would be one connection's. Zones may count in one direction only: the kernel hashes each tuple with the zone in
/// its own direction (`hash_conntrack`), and compares zones in the direction of the tuple that is there already (`nf_ct_key_equal`).
fn are_one((tuple, direction, zone): &(Tuple, Direction, Zone), other: &(Tuple, Direction, Zone)) -> bool {
    let same_zone = |direction| zone.in_direction(direction) == other.2.in_direction(direction);
    let same_hash = zone.in_direction(*direction) == other.2.in_direction(other.1);
    *tuple == other.0 && same_hash && same_zone(*direction) && same_zone(other.1)
}

/// The line of a listing has the numbers of its connection, each direction's in its order.
fn assert_says(line: &str, record: &Record) {
    let pairs: Vec<(&str, &str)> = line.split(' ').filter_map(|word| word.split_once('=')).collect();
    let values = |key: &str| -> Vec<&str> {
        let wanted = pairs.iter().filter(|(name, _)| *name == key);
        wanted.map(|(_, value)| *value).collect()
    };
    let both = |read: fn(&Tuple) -> String| record.tuples.map(|tuple| read(&tuple));
    let addresses = |key| -> Vec<IpAddr> { values(key).iter().filter_map(|text| text.parse().ok()).collect() };
    assert_eq!(
        addresses("src"),
        record.tuples.map(|tuple| tuple.src.to_ip(tuple.family)),
        "{line}"
    );
    assert_eq!(
        addresses("dst"),
        record.tuples.map(|tuple| tuple.dst.to_ip(tuple.family)),
        "{line}"
    );
    if record.tuples[0].has_ports() {
        assert_eq!(values("sport"), both(|tuple| tuple.sport.to_string()), "{line}");
        assert_eq!(values("dport"), both(|tuple| tuple.dport.to_string()), "{line}");
    }
    if let Some(counters) = record.counters {
        assert_eq!(
            values("packets"),
            counters.map(|counters| counters.packets.to_string()),
            "{line}"
        );
        assert_eq!(values("bytes"), counters.map(|counters| counters.bytes.to_string()), "{line}");
    }
    assert_eq!(values("mark"), [record.mark.to_string()], "{line}");
    assert_eq!(line.contains("[UNREPLIED]"), !record.status.has(Status::SEEN_REPLY), "{line}");
}

/// Bytes with an IPv4 header's length and checksum made right, so that they pass for a packet.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let len = bytes.len();
    match bytes.first() {
        Some(first) if first & 1 == 1 && len >= 40 => {
            bytes[0] = 0x60;
            bytes[4..6].copy_from_slice(&(len as u16 - 40).to_be_bytes());
        }
        Some(_) if len >= 20 => {
            bytes[0] = 0x45;
            bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            bytes[10..12].fill(0);
            let check = fielato_wire::checksum::checksum(&bytes[..20]);
            bytes[10..12].copy_from_slice(&check.to_be_bytes());
        }
        _ => {}
    }
    bytes
}
