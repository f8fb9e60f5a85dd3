//! `[nat]` and its published ports.

use std::net::IpAddr;
use std::ops::Range;

use toml::de::DeTable;

use crate::config::{Host, Hub, Member, Party, PortSpec, Protocol, Publish, Service};
use crate::diagnostic::Sink;
use crate::keys::{NAT, PUBLISH};
use crate::schema::{Section, Top};

use super::machines::Table;
use super::names::{Names, Place};
use super::{items, scalar};

/// The `[nat]` of each file.
pub struct Nat<'a> {
    sections: Vec<Section<'a>>,
}

impl<'a> Nat<'a> {
    /// Reads `masquerade`, which `[hub]` may have said too.
    pub fn read(top: &Top<'a>, hub: &mut Hub, sink: &mut Sink) -> Self {
        let sections: Vec<Section<'a>> = top
            .files()
            .iter()
            .filter_map(|file| file.subtable("nat", NAT, sink))
            .collect();
        let in_hub = top.values("hub").next();
        let in_hub = in_hub.and_then(|hub| hub.get_ref().as_table()?.get("masquerade"));
        let mut before = in_hub.map(|value| (hub.masquerade, value.span()));
        for section in &sections {
            if section.value("masquerade").is_none() {
                continue;
            }
            let span = section.span_of("masquerade");
            let said = section.flag("masquerade", hub.masquerade, sink);
            match &before {
                Some((other, at)) if *other != said => {
                    let message = format!(
                        "nat: masquerade = {said}, and {} says {other}",
                        top.texts.line_in_words(at.start)
                    );
                    sink.error(span, message, "say it once");
                }
                _ => {
                    hub.masquerade = said;
                    before = Some((said, span));
                }
            }
        }
        Self { sections }
    }

    /// Reads the published ports. `known` has everybody they may lead to.
    pub fn published(&self, top: &Top<'a>, known: &Known<'_>, names: &mut Names<'_>, sink: &mut Sink) -> Vec<Publish> {
        let mut all: Vec<Publish> = Vec::new();
        for section in &self.sections {
            let Some(value) = section.value("publish") else { continue };
            for (span, table) in items(value, "nat.publish", sink) {
                let began = span.start;
                let reader = Reader {
                    known,
                    span: span.clone(),
                };
                let Some(publish) = reader.one(table, names, sink) else {
                    continue;
                };
                if let Some(earlier) = all.iter().find(|earlier| covers(earlier, &publish)) {
                    let at = earlier.file.as_ref().map_or_else(String::new, |file| format!(" of {file}"));
                    let message = format!("nat.publish: line {}{at} publishes this port already", earlier.line);
                    sink.error(
                        span,
                        message,
                        "take one of them out, or give each an `address` or `from` of its own",
                    );
                }
                let (file, line) = top.texts.line(began);
                all.push(Publish { file, line, ..publish });
            }
        }
        all
    }
}

/// Whether some port is published to everybody by both, so that the second never meets it.
fn covers(earlier: &Publish, later: &Publish) -> bool {
    let (a, b) = (&earlier.port, &later.port);
    let same_port = a.protocol == b.protocol && a.first <= b.last && b.first <= a.last;
    let (here, there) = (&earlier.addresses, &later.addresses);
    let same_address = here == there || here.iter().any(|address| there.contains(address));
    same_port && same_address && (earlier.from.contains(&Party::Any) || earlier.from == later.from)
}

/// Everybody that a published port can lead to.
pub struct Known<'k> {
    pub hub: &'k Hub,
    pub members: &'k Table<Member>,
    pub hosts: &'k Table<Host>,
    pub services: &'k Table<Service>,
}

struct Reader<'k> {
    known: &'k Known<'k>,
    span: Range<usize>,
}

impl Reader<'_> {
    fn one<'a>(&self, table: &'a DeTable<'a>, names: &mut Names<'_>, sink: &mut Sink) -> Option<Publish> {
        let section = Section::new("nat.publish".to_owned(), self.span.clone(), table, PUBLISH, sink);
        let from = match section.value("from") {
            Some(_) => names.parties(&section, "from", Place::From, sink),
            None => vec![(Party::Any, 0..0)],
        };
        let addresses = self.addresses(&section, sink);
        let port = section.required_text("port", "\"tcp/8080\"", sink);
        let port = port.and_then(|text| scalar::ports(&section.what, text, sink));
        let (to, at) = section.required_text("to", "the name of a host, member or service", sink)?;
        let port = port?;
        let hub = self.known.hub;
        if port.protocol == Protocol::Udp && (port.first..=port.last).contains(&hub.listen_port) {
            let message = format!("nat.publish: udp/{} is the hub's own: members come by it", hub.listen_port);
            sink.error(section.span_of("port"), message, "publish another port");
        }
        let wanted = section
            .number("to_port", 1..=65535, sink)
            .and_then(|port| u16::try_from(port).ok());
        let (to, to_port) = self.target((to, at), port, wanted, sink)?;
        // nft 1.0.6 can't shift a range.
        if port.first != port.last && to_port != port.first {
            let message = format!("nat.publish: {} ports that become others", port.last - port.first + 1);
            sink.error(
                section.span_of("port"),
                message,
                "several ports keep theirs: leave to_port out, or publish each by itself",
            );
        }
        Some(Publish {
            port,
            to,
            to_port,
            from: from.into_iter().map(|(party, _)| party).collect(),
            addresses,
            file: None,
            line: 0,
        })
    }

    /// The machine, and the first port there.
    fn target(
        &self,
        (to, at): (&str, Range<usize>),
        port: PortSpec,
        wanted: Option<u16>,
        sink: &mut Sink,
    ) -> Option<(String, u16)> {
        let Known {
            members,
            hosts,
            services,
            ..
        } = self.known;
        if hosts.contains_key(to) || members.contains_key(to) {
            return Some((to.to_owned(), wanted.unwrap_or(port.first)));
        }
        let Some(service) = services.get(to).map(|read| &read.value) else {
            let message = format!("nat.publish: no host, member or service is called \"{}\"", to.escape_debug());
            sink.error(at, message, "name one machine, or a service of one");
            return None;
        };
        let [host] = service.hosts.as_slice() else {
            let message = format!("nat.publish: service {to} has {} hosts", service.hosts.len());
            sink.error(at, message, "name one of its hosts, with to_port");
            return None;
        };
        let width = port.last - port.first;
        let has = |first: u16| {
            let last = first.checked_add(width);
            let holds = |open: &&PortSpec| open.first <= first && last.is_some_and(|last| last <= open.last);
            service
                .ports
                .iter()
                .filter(|open| open.protocol == port.protocol)
                .any(|open| holds(&open))
        };
        let mut single = service.ports.iter().filter(|open| open.protocol == port.protocol);
        let only = single
            .next()
            .filter(|open| open.last - open.first == width && single.next().is_none());
        let to_port = wanted.or_else(|| only.map(|open| open.first)).unwrap_or(port.first);
        if !has(to_port) {
            let message = format!("nat.publish: service {to} has no {}/{to_port}", port.protocol.word());
            sink.error(at, message, format!("set to_port to a port of {to}, or name its host {host}"));
            return None;
        }
        Some((host.clone(), to_port))
    }

    fn addresses(&self, section: &Section<'_>, sink: &mut Sink) -> Vec<IpAddr> {
        let mut found = Vec::new();
        for text in section.texts("address", true, "an address of the hub, or a list of them", sink) {
            let span = text.1.clone();
            let Some(address) = scalar::address("nat.publish: address", text, sink) else {
                continue;
            };
            let members = self.known.members.iter().map(|(name, read)| (name, &read.value.addresses));
            let hosts = self.known.hosts.iter().map(|(name, read)| (name, &read.value.addresses));
            let mut owners = members.chain(hosts).filter(|(_, addresses)| addresses.contains(&address));
            if let Some((owner, _)) = owners.next() {
                let message = format!("nat.publish: {address} is {owner}'s address");
                sink.error(span, message, "write an address of the hub, and the machine in `to`");
            } else {
                found.push(address);
            }
        }
        found
    }
}
