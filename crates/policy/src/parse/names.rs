//! The one name space of members, groups, hosts and services, and the parties of rules and shapes.

use std::collections::HashMap;
use std::ops::Range;

use crate::config::{Group, Host, Member, Party, Service};
use crate::diagnostic::Sink;
use crate::schema::{Section, Text, closest};

use super::machines::Table;
use super::scalar;
use crate::trace::split_destination;

/// Words of the rules, which nothing can be called.
pub const RESERVED: [&str; 4] = ["any", "members", "hub", "internet"];

/// Suggestions look at every name; a file with thousands of unknown names gets them for the first few.
const SUGGESTIONS: usize = 20;

/// Where a party stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    From,
    To,
    For,
}

/// What each name is.
pub struct Names<'a> {
    kinds: HashMap<&'a str, Kind>,
    suggestions: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Member,
    Host,
    /// A member and a host of one name: the same machine.
    Machine,
    Group,
    Service,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Member => "member",
            Kind::Host | Kind::Machine => "host",
            Kind::Group => "group",
            Kind::Service => "service",
        }
    }
}

impl<'a> Names<'a> {
    /// Collects the names and notes those that stand for two things.
    pub fn new(
        members: &'a Table<Member>,
        groups: &'a Table<Group>,
        hosts: &'a Table<Host>,
        services: &'a Table<Service>,
        sink: &mut Sink,
    ) -> Self {
        let mut kinds: HashMap<&str, Kind> = members.keys().map(|name| (name.as_str(), Kind::Member)).collect();
        for name in hosts.keys() {
            kinds
                .entry(name)
                .and_modify(|kind| *kind = Kind::Machine)
                .or_insert(Kind::Host);
        }
        let mut names = Self {
            kinds,
            suggestions: SUGGESTIONS,
        };
        for (name, read) in services {
            names.claim(name, Kind::Service, read.span.clone(), sink);
        }
        for (name, read) in groups {
            names.claim(name, Kind::Group, read.span.clone(), sink);
        }
        let members = members.values().map(|read| (&read.value.groups, &read.groups));
        let hosts = hosts.values().map(|read| (&read.value.groups, &read.groups));
        for (groups, spans) in members.chain(hosts) {
            for (group, span) in groups.iter().zip(spans) {
                names.claim(group, Kind::Group, span.clone(), sink);
            }
        }
        names
    }

    fn claim(&mut self, name: &'a str, kind: Kind, span: Range<usize>, sink: &mut Sink) {
        let before = *self.kinds.entry(name).or_insert(kind);
        if before != kind {
            let message = format!("{} {name} has the name of a {}", kind.word(), before.word());
            sink.error(
                span,
                message,
                "members, groups, hosts and services share one name space: rename one",
            );
        }
    }

    /// The parties under `key`, each with its place.
    pub fn parties(&mut self, section: &Section<'_>, key: &str, place: Place, sink: &mut Sink) -> Vec<(Party, Range<usize>)> {
        let texts = section.texts(key, true, "a name or a list of names", sink);
        if texts.is_empty()
            && section
                .value(key)
                .is_none_or(|value| value.get_ref().as_array().is_some_and(|array| array.is_empty()))
        {
            section.missing(key, &format!("add {key} = \"NAME\" or [\"NAME\", …]"), sink);
        }
        let party = |text: Text<'_>| {
            let span = text.1.clone();
            self.party(section, text, place, sink).map(|party| (party, span))
        };
        texts.into_iter().filter_map(party).collect()
    }

    fn party(&mut self, section: &Section<'_>, (word, span): Text<'_>, place: Place, sink: &mut Sink) -> Option<Party> {
        let what = &section.what;
        let mut refuse = |why: &str, help: &str| {
            sink.error(span.clone(), format!("{what}: {why}"), help);
            None
        };
        let parties = "name members, groups or addresses";
        match (word, place) {
            ("members", _) => return Some(Party::Members),
            ("any" | "internet" | "hub", Place::For) => return refuse(&format!("\"{word}\" cannot have a class"), parties),
            ("hub", Place::From) => {
                return refuse(
                    "\"hub\" cannot stand in from",
                    "what the hub itself sends is not filtered; leave the rule out",
                );
            }
            ("any", _) => return Some(Party::Any),
            ("internet", _) => return Some(Party::Internet),
            ("hub", Place::To) => return Some(Party::Hub),
            _ => {}
        }
        match (self.kinds.get(word), place) {
            (Some(Kind::Member), _) | (Some(Kind::Machine), Place::For) => Some(Party::Member(word.to_owned())),
            (Some(Kind::Group), _) => Some(Party::Group(word.to_owned())),
            (Some(Kind::Host), Place::For) => refuse(&format!("host {word} cannot have a class"), parties),
            (Some(Kind::Host | Kind::Machine), _) => Some(Party::Host(word.to_owned())),
            (Some(Kind::Service), Place::To) => Some(Party::Service(word.to_owned())),
            (Some(Kind::Service), Place::From) => refuse(&format!("service {word} cannot stand in from"), "name its host"),
            (Some(Kind::Service), Place::For) => refuse(&format!("service {word} cannot have a class"), parties),
            (None, _) if word.contains(['/', ':']) || scalar::parse_network(word).is_some() => {
                scalar::network(what, (word, span), sink).map(Party::Prefix)
            }
            (None, _) => {
                self.unknown(what, word, span, sink);
                None
            }
        }
    }

    /// Notes an end of a `[[test]]` that is nobody's: a name or address, in `to` perhaps with a port behind it.
    pub fn check_end(&mut self, what: &str, text: &str, from: bool, span: Range<usize>, sink: &mut Sink) {
        let name = match split_destination(text) {
            Ok((name, false)) => name,
            Ok((name, true)) if !from => name,
            Ok(_) => {
                return sink.error(
                    span,
                    format!("{what}: a port in from"),
                    "write it behind `to`: \"server:22/tcp\"",
                );
            }
            Err(error) => return sink.error(span, format!("{what}: {error}"), ""),
        };
        match (self.kinds.get(name), name) {
            (Some(Kind::Service), _) if from => {
                sink.error(span, format!("{what}: service {name} cannot stand in from"), "name its host")
            }
            (Some(_), _) | (None, "members" | "internet" | "hub") => {}
            (None, "any") => sink.error(span, format!("{what}: any is nobody to ask about"), "name somebody"),
            (None, address) if address.parse::<std::net::IpAddr>().is_ok() => {}
            (None, unknown) => self.unknown(what, unknown, span, sink),
        }
    }

    fn unknown(&mut self, what: &str, word: &str, span: Range<usize>, sink: &mut Sink) {
        let mut help =
            "name a member, group, host or service of this file, an address, or any, members, hub, internet".to_owned();
        if self.suggestions > 0 {
            self.suggestions -= 1;
            let candidates = self.kinds.keys().copied().chain(RESERVED);
            if let Some(near) = closest(word, candidates) {
                help = format!("did you mean {near}?");
            }
        }
        sink.error(span, format!("{what}: nothing is called \"{}\"", word.escape_debug()), help);
    }
}
