//! `[member.NAME]`, `[host.NAME]` and `[service.NAME]`, with the checks between them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::ops::Range;

use fielato_wireguard::PublicKey;
use ipnet::IpNet;
use toml::de::{DeTable, DeValue};

use crate::config::{Content, Groups, Host, Hub, Member, Route, Service, Strategy};
use crate::diagnostic::Sink;
use crate::keys::{HOST, MEMBER, SERVICE};
use crate::schema::{Section, Text, Top, closest};

use super::{hub, limits, named_sections, scalar};

/// A value with the place of its name, and for a member of its groups.
pub struct Read<T> {
    pub value: T,
    pub span: Range<usize>,
    pub groups: Vec<Range<usize>>,
    pub limits: limits::Places,
}

pub type Table<T> = BTreeMap<String, Read<T>>;

pub fn members(top: &Top<'_>, hub: &Hub, sink: &mut Sink) -> Table<Member> {
    let sections = named_sections(top, "member", sink);
    let mut reader = MemberReader {
        hub,
        addresses: hub.addresses.iter().map(|net| (net.addr(), "the hub".to_owned())).collect(),
        keys: HashMap::new(),
        outside: Vec::new(),
    };
    let mut members = Table::new();
    for (name, span, table) in sections {
        scalar::check_name("member", (name, span.clone()), sink);
        members.insert(name.to_owned(), reader.member(name, span, table, sink));
    }
    reader.report_outside(sink);
    members
}

struct MemberReader<'a> {
    hub: &'a Hub,
    /// Who has which overlay address.
    addresses: HashMap<IpAddr, String>,
    keys: HashMap<PublicKey, &'a str>,
    /// Addresses outside the overlay; told at the end, when it is known which addresses are free.
    outside: Vec<(String, IpAddr, Range<usize>)>,
}

impl<'a> MemberReader<'a> {
    fn member(&mut self, name: &'a str, span: Range<usize>, table: &'a DeTable<'a>, sink: &mut Sink) -> Read<Member> {
        let section = Section::new(format!("member {name}"), span.clone(), table, MEMBER, sink);
        let (names, groups) = groups(&section, sink);
        let (limits, places) = limits::read(&section, sink);
        let value = Member {
            addresses: self.addresses(&section, sink),
            public_key: self.public_key(name, &section, sink),
            groups: names,
            route: route(&section, sink),
            keepalive: section
                .number("keepalive", 1..=65535, sink)
                .and_then(|seconds| u16::try_from(seconds).ok()),
            expires: scalar::time(&section, "expires", sink),
            disabled: section.flag("disabled", false, sink),
            limits,
        };
        Read {
            value,
            span,
            groups,
            limits: places,
        }
    }

    fn addresses(&mut self, section: &Section<'_>, sink: &mut Sink) -> Vec<IpAddr> {
        let texts = section.texts("addresses", false, "a list of addresses", sink);
        if texts.is_empty()
            && section
                .value("addresses")
                .is_none_or(|value| value.get_ref().as_array().is_some_and(|a| a.is_empty()))
        {
            section.missing("addresses", "add addresses = [\"…\"], one per family of the overlay", sink);
        }
        let mut found: Vec<IpAddr> = Vec::new();
        for text in texts {
            let span = text.1.clone();
            let Some(address) = scalar::address(&section.what, text, sink) else {
                continue;
            };
            if found.iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
                let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                sink.error(
                    span.clone(),
                    format!("{}: a second {family} address", section.what),
                    "a member has one address per family",
                );
            }
            self.claim(section, address, span, sink);
            found.push(address);
        }
        // There may be thousands of members.
        found.shrink_to_fit();
        found
    }

    fn claim(&mut self, section: &Section<'_>, address: IpAddr, span: Range<usize>, sink: &mut Sink) {
        // Without a valid hub address there is no overlay to compare with; that error is told already.
        let same_family = |net: &&IpNet| net.addr().is_ipv4() == address.is_ipv4();
        let overlay = self.hub.addresses.iter().find(|net| net.contains(&address));
        match overlay {
            None if self.hub.addresses.is_empty() => {}
            None if !self.hub.addresses.iter().any(|net| same_family(&net)) => {
                let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                let help = format!("give the hub an {family} address in hub.addresses, or leave this one out");
                sink.error(
                    span.clone(),
                    format!("{}: {address}: the overlay has no {family}", section.what),
                    help,
                );
            }
            None => self.outside.push((section.what.clone(), address, span.clone())),
            Some(net) => {
                if let Some(special) = hub::special(net, address) {
                    sink.error(
                        span.clone(),
                        format!("{}: {address} is the overlay's {special} address", section.what),
                        "use another address of the overlay",
                    );
                }
            }
        }
        if let Some(owner) = self.addresses.get(&address) {
            sink.error(
                span,
                format!("{}: {address} is {owner}'s address", section.what),
                "every machine has addresses of its own",
            );
        } else {
            self.addresses.insert(address, section.what.clone());
        }
    }

    fn public_key(&mut self, name: &'a str, section: &Section<'_>, sink: &mut Sink) -> PublicKey {
        const NONE: PublicKey = PublicKey([0; 32]);
        let Some((text, span)) = section.required_text("public_key", "\"…\", as `wg pubkey` prints it", sink) else {
            return NONE;
        };
        let key = match text.parse::<PublicKey>() {
            Ok(key) => key,
            Err(error) => {
                sink.hidden(
                    span,
                    format!("{}: public_key: {error}", section.what),
                    "write the member's public key, as `wg pubkey` prints it",
                );
                return NONE;
            }
        };
        match self.keys.get(&key) {
            Some(owner) => {
                let message = format!("{}: this is member {owner}'s public key", section.what);
                sink.error(
                    span,
                    message,
                    "WireGuard knows a peer by its key: every member needs one of its own",
                );
            }
            None => drop(self.keys.insert(key, name)),
        }
        key
    }

    fn report_outside(self, sink: &mut Sink) {
        if self.outside.is_empty() {
            return;
        }
        let used: HashSet<IpAddr> = self.addresses.keys().copied().collect();
        let free: Vec<(IpNet, Option<IpAddr>)> = self
            .hub
            .addresses
            .iter()
            .map(|net| (*net, free_address(net, &used, None)))
            .collect();
        for (what, address, span) in self.outside {
            let nets = free.iter().filter(|(net, _)| net.addr().is_ipv4() == address.is_ipv4());
            let inside: Vec<String> = nets.clone().map(|(net, _)| net.trunc().to_string()).collect();
            let instance = nets
                .filter_map(|(_, free)| *free)
                .next()
                .map_or(String::new(), |free| format!(", for instance {free}"));
            let help = format!("use an address inside {}{instance}", inside.join(" or "));
            sink.error(span, format!("{what}: {address} is outside the overlay"), help);
        }
    }
}

/// The first address of `net` that is neither used nor special, `wish` before all others.
pub fn free_address(net: &IpNet, used: &HashSet<IpAddr>, wish: Option<IpAddr>) -> Option<IpAddr> {
    let usable = |address: &IpAddr| {
        net.contains(address) && *address != net.addr() && hub::special(net, *address).is_none() && !used.contains(address)
    };
    wish.filter(usable).or_else(|| net.hosts().find(usable))
}

fn groups(section: &Section<'_>, sink: &mut Sink) -> (Vec<String>, Vec<Range<usize>>) {
    let mut groups: Vec<String> = Vec::new();
    let mut places = Vec::new();
    for (name, span) in section.texts("groups", false, "a list of names", sink) {
        scalar::check_name("group", (name, span.clone()), sink);
        if groups.iter().any(|group| group == name) {
            sink.error(span, format!("{}: group {name} is named twice", section.what), "name it once");
            continue;
        }
        groups.push(name.to_owned());
        places.push(span);
    }
    groups.shrink_to_fit();
    (groups, places)
}

fn route(section: &Section<'_>, sink: &mut Sink) -> Route {
    let right = "\"lab\", \"all\" or a list of networks";
    let Some(value) = section.value("route") else {
        return Route::Lab;
    };
    match value.get_ref() {
        DeValue::String(word) => match &**word {
            "lab" => Route::Lab,
            "all" => Route::All,
            _ => {
                sink.error(
                    value.span(),
                    format!("{}: unknown route \"{word}\"", section.what),
                    format!("write {right}"),
                );
                Route::Lab
            }
        },
        _ => {
            let texts = section.texts("route", false, right, sink);
            let what = format!("{}: route", section.what);
            Route::Prefixes(
                texts
                    .into_iter()
                    .filter_map(|text| scalar::network(&what, text, sink))
                    .collect(),
            )
        }
    }
}

pub fn hosts(top: &Top<'_>, hub: &Hub, members: &Table<Member>, sink: &mut Sink) -> Table<Host> {
    let mut owners: HashMap<IpAddr, String> = hub.source.iter().map(|address| (*address, "the hub".to_owned())).collect();
    let mut hosts = Table::new();
    for (name, span, table) in named_sections(top, "host", sink) {
        scalar::check_name("host", (name, span.clone()), sink);
        let section = Section::new(format!("host {name}"), span.clone(), table, HOST, sink);
        let strategy = strategy(name, &section, hub, members, sink);
        let texts = section.texts("address", true, "an address, or a list of one per family", sink);
        if texts.is_empty() && section.value("address").is_none() {
            section.missing("address", "add address = \"…\"", sink);
        }
        let agent = section.flag("agent", false, sink);
        if agent && !members.contains_key(name) {
            sink.error(
                section.span_of("agent"),
                format!("host {name}: its agent has no way to the hub, since no member is called {name}"),
                format!("`fielato host enrol {name}` makes the member and this key"),
            );
        }
        let mut addresses = Vec::new();
        for text in texts {
            host_address(&section, hub, text, &mut addresses, &mut owners, sink);
        }
        let (names, groups) = groups(&section, sink);
        let value = Host {
            addresses,
            strategy,
            agent,
            groups: names,
        };
        let read = Read {
            value,
            span,
            groups,
            limits: limits::Places::default(),
        };
        hosts.insert(name.to_owned(), read);
    }
    hosts
}

fn host_address(
    section: &Section<'_>,
    hub: &Hub,
    text: Text<'_>,
    addresses: &mut Vec<IpAddr>,
    owners: &mut HashMap<IpAddr, String>,
    sink: &mut Sink,
) {
    let span = text.1.clone();
    let what = &section.what;
    let Some(address) = scalar::address(what, text, sink) else {
        return;
    };
    if let Some(net) = hub.addresses.iter().find(|net| net.contains(&address)) {
        let help = "write the host's address outside the VPN; its overlay address stands in [member.NAME]";
        sink.error(span, format!("{what}: {address} is inside the overlay {}", net.trunc()), help);
    } else if addresses.iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        sink.error(
            span,
            format!("{what}: a second {family} address"),
            "a host has one address per family",
        );
    } else if let Some(owner) = owners.get(&address) {
        sink.error(
            span,
            format!("{what}: {address} is {owner}'s address"),
            "every machine has addresses of its own",
        );
    } else {
        owners.insert(address, what.clone());
        addresses.push(address);
    }
}

fn strategy(name: &str, section: &Section<'_>, hub: &Hub, members: &Table<Member>, sink: &mut Sink) -> Strategy {
    let right = "\"source\" (by the hub's address) or \"member\" (by the interface)";
    let Some((word, span)) = section.required_text("strategy", right, sink) else {
        return Strategy::Source;
    };
    match word {
        "source" => {
            if hub.source.is_empty() && hub.endpoint.port != 0 {
                let message = format!(
                    "{}: strategy \"source\" needs the hub's address, and hub.endpoint is the name {}",
                    section.what, hub.endpoint.host
                );
                sink.error(
                    span,
                    message,
                    "add source = \"ADDRESS\" to [hub]: the hub's address as this host sees it",
                );
            }
            Strategy::Source
        }
        "member" => {
            if !members.contains_key(name) {
                let help = format!("add [member.{name}], or use strategy = \"source\"");
                sink.error(
                    span,
                    format!("{}: strategy \"member\", but no member is called {name}", section.what),
                    help,
                );
            }
            Strategy::Member
        }
        _ => {
            sink.error(
                span,
                format!("{}: unknown strategy \"{word}\"", section.what),
                format!("write {right}"),
            );
            Strategy::Source
        }
    }
}

/// `contents` tells which hosts are in a group.
pub fn services(top: &Top<'_>, hosts: &Table<Host>, contents: &Groups<'_>, sink: &mut Sink) -> Table<Service> {
    let mut services = Table::new();
    for (name, span, table) in named_sections(top, "service", sink) {
        scalar::check_name("service", (name, span.clone()), sink);
        let section = Section::new(format!("service {name}"), span.clone(), table, SERVICE, sink);
        let hosts = service_hosts(&section, hosts, contents, sink);
        let right = "[\"tcp/1234\", \"udp/5000-5010\"]";
        let texts = section.texts("ports", false, right, sink);
        if texts.is_empty() {
            section.missing("ports", &format!("add ports = {right}"), sink);
        }
        let ports = texts
            .into_iter()
            .filter_map(|text| scalar::ports(&section.what, text, sink))
            .collect();
        let read = Read {
            value: Service { hosts, ports },
            span,
            groups: Vec::new(),
            limits: limits::Places::default(),
        };
        services.insert(name.to_owned(), read);
    }
    services
}

/// Hosts by name, or by groups that have some; each once.
fn service_hosts(section: &Section<'_>, hosts: &Table<Host>, contents: &Groups<'_>, sink: &mut Sink) -> Vec<String> {
    let right = "\"NAME\" of a [host.NAME]";
    let texts = section.texts("host", true, right, sink);
    if texts.is_empty() && section.value("host").is_none_or(|value| value.get_ref().is_array()) {
        section.missing("host", &format!("add host = {right}"), sink);
    }
    let mut found: Vec<String> = Vec::new();
    let mut once = HashSet::new();
    let mut take = |name: &str| {
        if once.insert(name.to_owned()) {
            found.push(name.to_owned());
        }
    };
    for (word, span) in texts {
        let group = contents.get(word);
        if hosts.contains_key(word) {
            take(word);
        } else if let Some(Content { hosts, .. }) = group.filter(|content| !content.hosts.is_empty()) {
            hosts.iter().for_each(|name| take(name));
        } else {
            let (problem, help) = match (group, closest(word, hosts.keys().map(String::as_str))) {
                (Some(_), _) => ("has no hosts", "put hosts into the group".to_owned()),
                (None, Some(near)) => ("unknown", format!("did you mean {near}?")),
                (None, None) => ("unknown", format!("add [host.{word}]")),
            };
            let message = match problem {
                "unknown" => format!("{}: unknown host \"{}\"", section.what, word.escape_debug()),
                _ => format!("{}: group {word} {problem}", section.what),
            };
            sink.error(span, message, help);
        }
    }
    found
}
