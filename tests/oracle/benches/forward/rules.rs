//! The same rules for each subject: such as never match, behind which every packet is accepted.

use std::fmt::Write as _;

use fielato_wire::Family;

/// What the rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `-s`, a /24 or a /48 each.
    Source,
    /// `-p udp --dport`.
    Port,
}

/// What happens to the connection of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing: none is tracked.
    Stateless,
    /// Each packet is the first of its own, and walks past all the rules.
    New,
    /// All packets are of one that both sides have been heard of; the first rule accepts it.
    Established,
    /// The same, and its source is translated.
    Masqueraded,
}

impl State {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            State::Stateless => "stateless",
            State::New => "new flow",
            State::Established => "established",
            State::Masqueraded => "masqueraded",
        }
    }
}

/// A rule set.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What its rules look at.
    pub kind: Kind,
    /// How many don't match.
    pub count: usize,
    /// Whether there is a rule for known connections before them, and masquerading.
    pub state: State,
}

impl Rules {
    /// In words.
    pub fn name(&self) -> String {
        match (self.count, self.kind) {
            (0, _) => "0".to_owned(),
            (count, Kind::Source) => format!("{count} -s"),
            (count, Kind::Port) => format!("{count} --dport"),
        }
    }

    /// As a save file.
    pub fn iptables(&self, family: Family) -> String {
        let mut text = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n".to_owned();
        if self.state != State::Stateless {
            text += "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n";
        }
        for number in 0..self.count {
            // Writing to a string can't fail.
            let _ = match self.kind {
                Kind::Source => writeln!(text, "-A FORWARD -s {} -j DROP", prefix(family, number)),
                Kind::Port => writeln!(text, "-A FORWARD -p udp -m udp --dport {} -j DROP", port(number)),
            };
        }
        text += "COMMIT\n";
        if self.state == State::Masqueraded {
            text += "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
                -A POSTROUTING -o tun1 -j MASQUERADE\nCOMMIT\n";
        }
        text
    }

    /// For `nft -f`, a rule for each.
    pub fn nft_linear(&self, family: Family) -> String {
        let mut rules = String::new();
        for number in 0..self.count {
            let _ = match self.kind {
                Kind::Source => writeln!(rules, "{} saddr {} drop", table(family), prefix(family, number)),
                Kind::Port => writeln!(rules, "udp dport {} drop", port(number)),
            };
        }
        self.nft(family, "", &rules)
    }

    /// For `nft -f`, with one rule: prefixes in a set of intervals, ports in a verdict map.
    pub fn nft_set(&self, family: Family) -> String {
        let mut elements = String::new();
        for number in 0..self.count {
            let _ = match self.kind {
                Kind::Source => write!(elements, "{},", prefix(family, number)),
                Kind::Port => write!(elements, "{} : drop,", port(number)),
            };
        }
        let table = table(family);
        let address = match family {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        };
        let (set, rule) = match self.kind {
            Kind::Source => (
                format!("set denied {{ type {address}; flags interval; elements = {{ {elements} }}; }}"),
                format!("{table} saddr @denied drop\n"),
            ),
            Kind::Port => (
                format!("map denied {{ type inet_service : verdict; elements = {{ {elements} }}; }}"),
                "udp dport vmap @denied\n".to_owned(),
            ),
        };
        self.nft(family, &set, &rule)
    }

    fn nft(&self, family: Family, set: &str, rules: &str) -> String {
        let known = match self.state {
            State::Stateless => "",
            _ => "ct state established,related accept\n",
        };
        let nat = match self.state {
            State::Masqueraded => "chain nat { type nat hook postrouting priority 100; oifname \"tun1\" masquerade; }",
            _ => "",
        };
        let table = table(family);
        format!(
            "table {table} measured {{\n{set}\nchain forward {{ type filter hook forward priority 0; policy accept;\n{known}{rules}}}\n{nat}\n}}\n"
        )
    }
}

const fn table(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// Up to 65,536 prefixes with room between them, so that none can be merged with its neighbour.
fn prefix(family: Family, number: usize) -> String {
    let (high, low) = (number >> 7, number & 127);
    match family {
        Family::V4 => format!("{}.{}.{}.0/24", 20 + (high >> 8), high & 255, low * 2),
        Family::V6 => format!("2a00:{high:x}:{:x}::/48", low * 2),
    }
}

/// Up to 40,000 ports, none of which the packets have.
const fn port(number: usize) -> usize {
    20_000 + number
}
