//! What is compared: anything that takes rules and packets, and tells what became of them.

use std::fmt;
use std::time::Duration;

use fielato_wire::{Addr, Family};

use crate::error::Error;

/// Where packets enter and leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// `tun0`: the inner network.
    Inside,
    /// `tun1`: the outer network, and the default route.
    Outside,
    /// The machine itself: what goes in here is made on it, what comes out here was delivered to it.
    Host,
}

impl Port {
    /// All of them.
    pub const ALL: [Port; 3] = [Port::Inside, Port::Outside, Port::Host];

    /// As in case files.
    pub const fn name(self) -> &'static str {
        match self {
            Port::Inside => "tun0",
            Port::Outside => "tun1",
            Port::Host => "host",
        }
    }

    /// The port of that name.
    pub fn from_name(name: &str) -> Option<Port> {
        Port::ALL.into_iter().find(|port| port.name() == name)
    }
}

/// A packet and the port it came out of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Output {
    /// Where.
    pub port: Port,
    /// From the IP header on.
    pub packet: Vec<u8>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.port.name(), crate::hex::encode(&self.packet))
    }
}

/// What holds for a whole case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Whether connections are tracked at all.
    pub tracking: bool,
    /// `nf_conntrack_tcp_loose`: a mid-stream segment may start a connection.
    pub tcp_loose: bool,
    /// `nf_conntrack_tcp_be_liberal`: only RST is held to the window.
    pub tcp_liberal: bool,
    /// `nf_conntrack_checksum`: a wrong transport checksum is INVALID.
    pub checksum: bool,
    /// Packets come one after another in different ticks of the kernel's clock. `connlimit` looks for closed connections once
    /// per tick only (`nf_conncount.c`, `last_gc`), so that its count is what it says only then.
    pub paced: bool,
    /// Text for `iptables-restore -c`, all tables.
    pub rules_v4: String,
    /// Text for `ip6tables-restore -c`, all tables.
    pub rules_v6: String,
}

impl Setup {
    /// The rules of a family.
    pub fn rules(&self, family: Family) -> &str {
        match family {
            Family::V4 => &self.rules_v4,
            Family::V6 => &self.rules_v6,
        }
    }
}

/// A counter of a rule or a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counter {
    /// Whose rule set.
    pub v6: bool,
    /// Table.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// Place of the rule in its chain, from 0; nothing for the policy.
    pub rule: Option<usize>,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Counter {
    /// The rule's text in `setup`, or the policy's.
    pub fn text<'a>(&self, setup: &'a Setup) -> Option<&'a str> {
        let rules = if self.v6 { &setup.rules_v6 } else { &setup.rules_v4 };
        let mut lines = rules.lines().skip_while(|line| line.strip_prefix('*') != Some(&self.table));
        match self.rule {
            None => lines.find(|line| {
                line.strip_prefix(':')
                    .is_some_and(|rest| rest.split(' ').next() == Some(&self.chain))
            }),
            Some(index) => lines
                .take_while(|line| *line != "COMMIT")
                .filter_map(|line| line.split_once("-A "))
                .filter(|(_, rest)| rest.split(' ').next() == Some(&self.chain))
                .nth(index)
                .map(|(_, rest)| rest),
        }
    }
}

/// One end of a connection as tracking sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Source.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
    /// Source port, ICMP id or GRE key.
    pub sport: u16,
    /// Destination port, GRE key, or ICMP's type and code as `type << 8 | code`.
    pub dport: u16,
}

/// A tracked connection, without what can't be equal (its id, its address in memory).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// IP version, by its number.
    pub v6: bool,
    /// Transport protocol.
    pub protocol: u8,
    /// As the first packet came.
    pub original: Tuple,
    /// As replies come.
    pub reply: Tuple,
    /// Zone of the original and of the reply direction.
    pub zones: [u16; 2],
    /// Status bits ([`STATUS`]).
    pub status: u32,
    /// Mark.
    pub mark: u32,
    /// Packets and bytes, original then reply.
    pub counters: [(u64, u64); 2],
    /// State of TCP or SCTP by the kernel's number (`enum tcp_conntrack`, `enum sctp_conntrack`).
    pub state: Option<u8>,
    /// Name of the helper.
    pub helper: Option<String>,
    /// Original tuple of the connection that this one was expected by.
    pub master: Option<Tuple>,
    /// Seconds left.
    pub timeout: u32,
}

/// Status bits that are compared, with the names the manual of `conntrack` or the kernel gives them
/// (`enum ip_conntrack_status`). Left out: CONFIRMED (always set in a listing), DYING, FIXED_TIMEOUT, TEMPLATE,
/// UNTRACKED, OFFLOAD, HW_OFFLOAD, and HELPER, which userspace sees as the helper's name.
pub const STATUS: [(u32, &str); 8] = [
    (1 << 0, "EXPECTED"),
    (1 << 1, "SEEN_REPLY"),
    (1 << 2, "ASSURED"),
    (1 << 4, "SRC_NAT"),
    (1 << 5, "DST_NAT"),
    (1 << 6, "SEQ_ADJUST"),
    (1 << 7, "SRC_NAT_DONE"),
    (1 << 8, "DST_NAT_DONE"),
];

/// The bits of [`STATUS`] together.
pub const STATUS_MASK: u32 = {
    let (mut mask, mut index) = (0, 0);
    while index < STATUS.len() {
        mask |= STATUS[index].0;
        index += 1;
    }
    mask
};

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.v6 { Family::V6 } else { Family::V4 };
        write!(
            f,
            "{} {} timeout={}",
            if self.v6 { 6 } else { 4 },
            self.protocol,
            self.timeout
        )?;
        if let Some(state) = self.state {
            write!(f, " state={state}")?;
        }
        for (index, tuple) in [self.original, self.reply].into_iter().enumerate() {
            let (packets, bytes) = self.counters[index];
            write!(
                f,
                " src={} dst={} sport={} dport={} packets={packets} bytes={bytes} zone={}",
                tuple.src.display(family),
                tuple.dst.display(family),
                tuple.sport,
                tuple.dport,
                self.zones[index]
            )?;
        }
        write!(f, " mark={} status=", self.mark)?;
        let names = STATUS.iter().filter(|(bit, _)| self.status & bit != 0).map(|(_, name)| *name);
        f.write_str(&names.collect::<Vec<_>>().join(","))?;
        if let Some(helper) = &self.helper {
            write!(f, " helper={helper}")?;
        }
        if let Some(master) = self.master {
            write!(
                f,
                " master={},{},{},{}",
                master.src.display(family),
                master.dst.display(family),
                master.sport,
                master.dport
            )?;
        }
        Ok(())
    }
}

/// The kernel, or the engine.
pub trait Subject {
    /// Takes out of `setup` the rules that this subject can't load, and returns them with the reason.
    fn prune(&mut self, setup: &mut Setup) -> Vec<(String, String)> {
        let _ = setup;
        Vec::new()
    }

    /// Whether this packet can be compared: see [`crate::kernel::Kernel::nft`].
    fn takes(&self, packet: &[u8]) -> bool {
        let _ = packet;
        true
    }

    /// Whether [`Subject::counters`] has those of policies.
    fn counts_policies(&self) -> bool {
        true
    }

    /// Forgets every connection, then loads rules and settings.
    ///
    /// # Errors
    /// [`Error::Rules`] when the rules are refused.
    fn load(&mut self, setup: &Setup) -> Result<(), Error>;

    /// Gives it a packet that arrives at `port`, `at` after the case began, and returns all that comes out because of it.
    ///
    /// # Errors
    /// When the packet can't be handed over.
    fn inject(&mut self, at: Duration, port: Port, packet: &[u8]) -> Result<Vec<Output>, Error>;

    /// The counters of every rule and policy, in order.
    ///
    /// # Errors
    /// When they can't be read.
    fn counters(&mut self) -> Result<Vec<Counter>, Error>;

    /// Every tracked connection, in order.
    ///
    /// # Errors
    /// When they can't be read.
    fn connections(&mut self, at: Duration) -> Result<Vec<Connection>, Error>;
}

impl std::str::FromStr for Connection {
    type Err = String;

    /// Reads what `Display` wrote.
    fn from_str(text: &str) -> Result<Self, String> {
        fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
            word.parse().map_err(|_| format!("`{word}` is no number"))
        }
        fn address(word: &str) -> Result<Addr, String> {
            let ip: std::net::IpAddr = word.parse().map_err(|_| format!("`{word}` is no address"))?;
            Ok(Addr::from(ip))
        }
        let mut words = text.split(' ');
        let mut next = || words.next().ok_or("a connection is cut short");
        let mut connection = Connection {
            v6: next()? == "6",
            protocol: number(next()?)?,
            ..Connection::default()
        };
        let mut side: Option<usize> = None;
        for word in words {
            let (name, value) = word.split_once('=').ok_or_else(|| format!("`{word}` has no value"))?;
            if name == "src" {
                side = Some(side.map_or(0, |_| 1));
            }
            let index = side.unwrap_or(0);
            let tuple = if index == 0 {
                &mut connection.original
            } else {
                &mut connection.reply
            };
            match name {
                "timeout" => connection.timeout = number(value)?,
                "state" => connection.state = Some(number(value)?),
                "src" => tuple.src = address(value)?,
                "dst" => tuple.dst = address(value)?,
                "sport" => tuple.sport = number(value)?,
                "dport" => tuple.dport = number(value)?,
                "packets" => connection.counters[index].0 = number(value)?,
                "bytes" => connection.counters[index].1 = number(value)?,
                "zone" => connection.zones[index] = number(value)?,
                "mark" => connection.mark = number(value)?,
                "status" => {
                    for name in value.split(',').filter(|name| !name.is_empty()) {
                        let bit = STATUS.iter().find(|(_, known)| *known == name);
                        connection.status |= bit.ok_or_else(|| format!("`{name}` is no status"))?.0;
                    }
                }
                "helper" => connection.helper = Some(value.to_owned()),
                "master" => {
                    let parts: Vec<&str> = value.split(',').collect();
                    let [src, dst, sport, dport] = parts[..] else {
                        return Err(format!("`{value}` is no tuple"));
                    };
                    connection.master = Some(Tuple {
                        src: address(src)?,
                        dst: address(dst)?,
                        sport: number(sport)?,
                        dport: number(dport)?,
                    });
                }
                _ => return Err(format!("`{name}` is not known")),
            }
        }
        Ok(connection)
    }
}
