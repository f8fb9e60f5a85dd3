//! Names of protocols, services, users: a table built in, and what the machine's files say.

use std::collections::{HashMap, HashSet};

use std::net::{IpAddr, Ipv4Addr};

use fielato_netfilter::syntax::Names;
use fielato_wire::{Addr, Family};

use crate::text::leading_number;

/// Protocols that iptables knows whatever the machine's files say; the first name of a number is the one printed.
pub const CHAIN_PROTOCOLS: &[(&str, u8)] = &[
    ("tcp", 6),
    ("sctp", 132),
    ("udp", 17),
    ("udplite", 136),
    ("icmp", 1),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("esp", 50),
    ("ah", 51),
    ("mobility-header", 135),
    ("ipv6-mh", 135),
    ("mh", 135),
    ("all", 0),
];

/// IANA's names for the numbers a gateway meets (`/etc/protocols`).
const PROTOCOLS: &[(&str, u8)] = &[
    ("ip", 0),
    ("icmp", 1),
    ("igmp", 2),
    ("ggp", 3),
    ("ipencap", 4),
    ("st", 5),
    ("tcp", 6),
    ("egp", 8),
    ("igp", 9),
    ("pup", 12),
    ("udp", 17),
    ("hmp", 20),
    ("xns-idp", 22),
    ("rdp", 27),
    ("iso-tp4", 29),
    ("dccp", 33),
    ("xtp", 36),
    ("ddp", 37),
    ("idpr-cmtp", 38),
    ("ipv6", 41),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("idrp", 45),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("skip", 57),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("rspf", 73),
    ("vmtp", 81),
    ("eigrp", 88),
    ("ospf", 89),
    ("ax.25", 93),
    ("ipip", 94),
    ("etherip", 97),
    ("encap", 98),
    ("pim", 103),
    ("ipcomp", 108),
    ("vrrp", 112),
    ("l2tp", 115),
    ("isis", 124),
    ("sctp", 132),
    ("fc", 133),
    ("mobility-header", 135),
    ("udplite", 136),
    ("mpls-in-ip", 137),
    ("manet", 138),
    ("hip", 139),
    ("shim6", 140),
    ("wesp", 141),
    ("rohc", 142),
    ("ethernet", 143),
];

const BOTH: &str = "";

/// Well-known services: name, port, protocol (both where none is named).
const SERVICES: &[(&str, u16, &str)] = &[
    ("tcpmux", 1, "tcp"),
    ("echo", 7, BOTH),
    ("discard", 9, BOTH),
    ("systat", 11, "tcp"),
    ("daytime", 13, BOTH),
    ("netstat", 15, "tcp"),
    ("chargen", 19, BOTH),
    ("ftp-data", 20, "tcp"),
    ("ftp", 21, "tcp"),
    ("ssh", 22, "tcp"),
    ("telnet", 23, "tcp"),
    ("smtp", 25, "tcp"),
    ("time", 37, BOTH),
    ("whois", 43, "tcp"),
    ("domain", 53, BOTH),
    ("bootps", 67, "udp"),
    ("bootpc", 68, "udp"),
    ("tftp", 69, "udp"),
    ("gopher", 70, "tcp"),
    ("finger", 79, "tcp"),
    ("http", 80, "tcp"),
    ("kerberos", 88, BOTH),
    ("pop3", 110, "tcp"),
    ("sunrpc", 111, BOTH),
    ("auth", 113, "tcp"),
    ("nntp", 119, "tcp"),
    ("ntp", 123, "udp"),
    ("epmap", 135, "tcp"),
    ("netbios-ns", 137, "udp"),
    ("netbios-dgm", 138, "udp"),
    ("netbios-ssn", 139, "tcp"),
    ("imap2", 143, "tcp"),
    ("snmp", 161, BOTH),
    ("snmp-trap", 162, BOTH),
    ("xdmcp", 177, "udp"),
    ("bgp", 179, "tcp"),
    ("irc", 194, BOTH),
    ("ldap", 389, BOTH),
    ("https", 443, BOTH),
    ("microsoft-ds", 445, BOTH),
    ("isakmp", 500, "udp"),
    ("login", 513, "tcp"),
    ("shell", 514, "tcp"),
    ("syslog", 514, "udp"),
    ("printer", 515, "tcp"),
    ("submission", 587, "tcp"),
    ("ipp", 631, "tcp"),
    ("ldaps", 636, BOTH),
    ("domain-s", 853, BOTH),
    ("rsync", 873, "tcp"),
    ("imaps", 993, "tcp"),
    ("pop3s", 995, "tcp"),
    ("socks", 1080, "tcp"),
    ("openvpn", 1194, BOTH),
    ("l2f", 1701, "udp"),
    ("radius", 1812, BOTH),
    ("radius-acct", 1813, BOTH),
    ("nfs", 2049, BOTH),
    ("mysql", 3306, "tcp"),
    ("ipsec-nat-t", 4500, "udp"),
    ("sip", 5060, BOTH),
    ("sip-tls", 5061, BOTH),
    ("xmpp-client", 5222, "tcp"),
    ("mdns", 5353, "udp"),
    ("postgresql", 5432, "tcp"),
    ("x11", 6000, "tcp"),
    ("http-alt", 8080, BOTH),
];

/// Only what is built in.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuiltinNames;

impl Names for BuiltinNames {
    fn service(&self, name: &str, protocol: &str) -> Option<u16> {
        let fits = |known: &str| protocol.is_empty() || known == BOTH || known == protocol;
        let mut known = SERVICES.iter();
        known
            .find(|service| service.0 == name && fits(service.2))
            .map(|service| service.1)
    }

    fn service_name(&self, port: u16, protocol: &str) -> Option<String> {
        let fits = |known: &str| protocol.is_empty() || known == BOTH || known == protocol;
        let mut known = SERVICES.iter();
        known
            .find(|service| service.1 == port && fits(service.2))
            .map(|service| service.0.to_owned())
    }

    fn protocol(&self, name: &str) -> Option<u8> {
        PROTOCOLS.iter().find(|known| known.0 == name).map(|known| known.1)
    }

    fn protocol_name(&self, number: u8) -> Option<String> {
        PROTOCOLS
            .iter()
            .find(|known| known.1 == number)
            .map(|known| known.0.to_owned())
    }

    fn user(&self, name: &str) -> Option<u32> {
        (name == "root").then_some(0)
    }

    fn group(&self, name: &str) -> Option<u32> {
        (name == "root").then_some(0)
    }

    fn user_name(&self, uid: u32) -> Option<String> {
        (uid == 0).then(|| "root".to_owned())
    }

    fn group_name(&self, gid: u32) -> Option<String> {
        (gid == 0).then(|| "root".to_owned())
    }

    fn number(&self, _file: &str, _name: &str) -> Option<u32> {
        None
    }

    fn name_of(&self, _file: &str, _number: u32) -> Option<String> {
        None
    }
}

/// Names as the machine's files have them; where a file is missing, the built-in ones.
#[derive(Clone, Debug, Default)]
pub struct FileNames {
    protocols: Option<Pairs>,
    services: Option<Services>,
    users: Option<Pairs>,
    groups: Option<Pairs>,
    files: HashMap<String, Pairs>,
    hosts: Vec<(IpAddr, Vec<String>)>,
    sets: HashSet<String>,
}

/// The protocol is "" for whatever protocol stands first.
#[derive(Clone, Debug, Default)]
struct Services {
    /// By `name/protocol`.
    ports: HashMap<String, u16>,
    names: HashMap<(u16, String), String>,
}

#[derive(Clone, Debug, Default)]
struct Pairs {
    numbers: HashMap<String, u32>,
    names: HashMap<u32, String>,
}

impl Pairs {
    /// The first line that names a name or a number wins, as with the C library.
    fn add(&mut self, name: &str, number: u32) {
        self.numbers.entry(name.to_owned()).or_insert(number);
        self.names.entry(number).or_insert_with(|| name.to_owned());
    }
}

impl FileNames {
    /// No files yet.
    pub fn new() -> FileNames {
        FileNames::default()
    }

    /// Takes the text of `/etc/protocols`.
    pub fn protocols(&mut self, text: &str) {
        let mut pairs = Pairs::default();
        for line in lines(text) {
            let mut words = line.split_whitespace();
            let (Some(name), Some(number)) = (words.next(), words.next().and_then(|word| word.parse().ok())) else {
                continue;
            };
            pairs.add(name, number);
            for alias in words {
                pairs.numbers.entry(alias.to_owned()).or_insert(number);
            }
        }
        self.protocols = Some(pairs);
    }

    /// Takes the text of `/etc/services`.
    pub fn services(&mut self, text: &str) {
        let Services { mut ports, mut names } = Services::default();
        for line in lines(text) {
            let mut words = line.split_whitespace();
            let (Some(name), Some((port, protocol))) = (words.next(), words.next().and_then(|word| word.split_once('/'))) else {
                continue;
            };
            let Ok(port) = port.parse::<u16>() else { continue };
            for name in std::iter::once(name).chain(words) {
                ports.entry(format!("{name}/{protocol}")).or_insert(port);
                ports.entry(format!("{name}/")).or_insert(port);
            }
            names.entry((port, protocol.to_owned())).or_insert_with(|| name.to_owned());
            names.entry((port, String::new())).or_insert_with(|| name.to_owned());
        }
        self.services = Some(Services { ports, names });
    }

    /// Takes the text of `/etc/passwd`.
    pub fn users(&mut self, text: &str) {
        self.users = Some(accounts(text));
    }

    /// Takes the text of `/etc/group`.
    pub fn groups(&mut self, text: &str) {
        self.groups = Some(accounts(text));
    }

    /// Takes the text of `/etc/hosts`.
    pub fn hosts(&mut self, text: &str) {
        for line in lines(text) {
            let mut words = line.split_whitespace();
            if let Some(Ok(address)) = words.next().map(str::parse) {
                self.hosts.push((address, words.map(str::to_owned).collect()));
            }
        }
    }

    /// Takes the text of `/etc/networks`.
    pub fn networks(&mut self, text: &str) {
        for line in lines(text) {
            let mut words = line.split_whitespace();
            if let (Some(name), Some(Ok(network))) = (words.next(), words.next().map(str::parse::<Ipv4Addr>)) {
                self.hosts.push((network.into(), vec![name.to_owned()]));
            }
        }
    }

    /// Takes the name of a set that there is, which rules may name then.
    pub fn set(&mut self, name: &str) {
        self.sets.insert(name.to_owned());
    }

    /// Takes the text of a file of numbers and names: those of `/etc/iproute2` and `/etc/xtables`, by their file names.
    pub fn numbers(&mut self, file: &str, text: &str) {
        let mut pairs = Pairs::default();
        for line in lines(text) {
            let Some((number, rest)) = leading_number(line) else {
                continue;
            };
            let (Ok(number), Some(name)) = (u32::try_from(number), rest.split_whitespace().next()) else {
                continue;
            };
            pairs.add(name, number);
        }
        self.files.insert(file.to_owned(), pairs);
    }
}

/// Lines without their comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split('#').next().unwrap_or("").trim())
}

/// `name:password:number:…`
fn accounts(text: &str) -> Pairs {
    let mut pairs = Pairs::default();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(number))) = (fields.next(), fields.nth(1).map(str::parse)) {
            pairs.add(name, number);
        }
    }
    pairs
}

impl Names for FileNames {
    fn service(&self, name: &str, protocol: &str) -> Option<u16> {
        match &self.services {
            Some(services) => services.ports.get(&format!("{name}/{protocol}")).copied(),
            None => BuiltinNames.service(name, protocol),
        }
    }

    fn service_name(&self, port: u16, protocol: &str) -> Option<String> {
        match &self.services {
            Some(services) => services.names.get(&(port, protocol.to_owned())).cloned(),
            None => BuiltinNames.service_name(port, protocol),
        }
    }

    fn protocol(&self, name: &str) -> Option<u8> {
        match &self.protocols {
            Some(pairs) => pairs.numbers.get(name).and_then(|&number| u8::try_from(number).ok()),
            None => BuiltinNames.protocol(name),
        }
    }

    fn protocol_name(&self, number: u8) -> Option<String> {
        match &self.protocols {
            Some(pairs) => pairs.names.get(&number.into()).cloned(),
            None => BuiltinNames.protocol_name(number),
        }
    }

    fn user(&self, name: &str) -> Option<u32> {
        match &self.users {
            Some(pairs) => pairs.numbers.get(name).copied(),
            None => BuiltinNames.user(name),
        }
    }

    fn group(&self, name: &str) -> Option<u32> {
        match &self.groups {
            Some(pairs) => pairs.numbers.get(name).copied(),
            None => BuiltinNames.group(name),
        }
    }

    fn user_name(&self, uid: u32) -> Option<String> {
        match &self.users {
            Some(pairs) => pairs.names.get(&uid).cloned(),
            None => BuiltinNames.user_name(uid),
        }
    }

    fn group_name(&self, gid: u32) -> Option<String> {
        match &self.groups {
            Some(pairs) => pairs.names.get(&gid).cloned(),
            None => BuiltinNames.group_name(gid),
        }
    }

    fn number(&self, file: &str, name: &str) -> Option<u32> {
        self.files.get(file)?.numbers.get(name).copied()
    }

    fn name_of(&self, file: &str, number: u32) -> Option<String> {
        self.files.get(file)?.names.get(&number).cloned()
    }

    fn has_set(&self, name: &str) -> bool {
        self.sets.contains(name)
    }

    fn host(&self, name: &str, family: Family) -> Vec<Addr> {
        let named = self.hosts.iter().filter(|(_, names)| names.iter().any(|known| known == name));
        let fitting = named.filter(|(address, _)| address.is_ipv4() == (family == Family::V4));
        fitting.map(|(address, _)| Addr::from(*address)).collect()
    }

    fn host_name(&self, address: Addr, family: Family) -> Option<String> {
        let address = address.to_ip(family);
        let (_, names) = self.hosts.iter().find(|(known, _)| *known == address)?;
        names.first().cloned()
    }
}

/// The protocol of this name or number (`-p`).
pub fn parse_protocol(word: &str, names: &dyn Names) -> Option<u8> {
    if let Some(number) = crate::text::number(word, 0, 255) {
        return Some(number as u8);
    }
    let known = CHAIN_PROTOCOLS.iter().find(|known| known.0 == word).map(|known| known.1);
    known.or_else(|| names.protocol(word))
}

/// The name of a protocol as iptables prints it; with `numeric`, only the names that it always knows.
pub fn protocol_name(number: u8, numeric: bool, names: &dyn Names) -> Option<String> {
    let known = CHAIN_PROTOCOLS.iter().find(|known| known.1 == number);
    match known {
        Some(known) => Some(known.0.to_owned()),
        None if number != 0 && !numeric => names.protocol_name(number),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_files_win() {
        let mut names = FileNames::new();
        assert_eq!(names.service("http", "tcp"), Some(80));
        names.services("http\t8000/tcp www # web\nhttp 81/udp\n");
        names.protocols("tcp 6 TCP\nmine 200 MINE # ours\n");
        names.users("root:x:0:0::/:\nann:x:1000:1000::/home/ann:/bin/sh\n");
        names.numbers("rt_realms", "0 cosmos\n0x10\tten  # sixteen\n");
        assert_eq!(names.service("www", "tcp"), Some(8000));
        assert_eq!(names.service("http", "udp"), Some(81));
        assert_eq!(names.service("http", ""), Some(8000));
        assert_eq!(names.service("ssh", "tcp"), None);
        assert_eq!(names.service_name(8000, "tcp").as_deref(), Some("http"));
        assert_eq!(names.protocol("MINE"), Some(200));
        assert_eq!(names.protocol_name(200).as_deref(), Some("mine"));
        assert_eq!(names.user("ann"), Some(1000));
        assert_eq!(names.group_name(0).as_deref(), Some("root"));
        assert_eq!(names.number("rt_realms", "ten"), Some(16));
        assert_eq!(names.name_of("rt_realms", 16).as_deref(), Some("ten"));
        names.hosts("127.0.0.1 localhost\n::1 localhost ip6-localhost\n");
        names.networks("loopback 127.0.0.0\n");
        assert_eq!(names.host("ip6-localhost", Family::V6), [Addr::from_bits(1)]);
        assert_eq!(names.host("ip6-localhost", Family::V4), []);
        assert_eq!(
            names.host_name(Addr::from_bits(0x7f000000), Family::V4).as_deref(),
            Some("loopback")
        );
        assert_eq!(names.host_name(Addr::from_bits(1), Family::V6).as_deref(), Some("localhost"));
    }

    #[test]
    fn protocols_as_iptables_prints_them() {
        assert_eq!(parse_protocol("mh", &BuiltinNames), Some(135));
        assert_eq!(parse_protocol("0x11", &BuiltinNames), Some(17));
        assert_eq!(parse_protocol("nonsense", &BuiltinNames), None);
        assert_eq!(protocol_name(135, true, &BuiltinNames).as_deref(), Some("mobility-header"));
        assert_eq!(protocol_name(47, true, &BuiltinNames), None);
        assert_eq!(protocol_name(47, false, &BuiltinNames).as_deref(), Some("gre"));
    }
}
