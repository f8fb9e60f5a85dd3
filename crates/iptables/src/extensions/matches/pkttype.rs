//! `-m pkttype`.

use fielato_netfilter::matches::pkttype::Pkttype;
use fielato_netfilter::packet::PacketType;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m pkttype`.
#[derive(Debug)]
pub struct PkttypeSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("pkt-type").negatable()];

/// The first name of a kind is the one that is printed.
const KINDS: [(&str, Option<PacketType>); 7] = [
    ("unicast", Some(PacketType::Unicast)),
    ("broadcast", Some(PacketType::Broadcast)),
    ("multicast", Some(PacketType::Multicast)),
    ("otherhost", None),
    ("bcast", Some(PacketType::Broadcast)),
    ("mcast", Some(PacketType::Multicast)),
    ("host", Some(PacketType::Unicast)),
];

impl MatchSyntax for PkttypeSyntax {
    fn name(&self) -> &'static str {
        "pkttype"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "pkttype match options:\n\
         [!] --pkt-type packettype    link-layer kind of the packet:\n\
         \x20   unicast (host), broadcast (bcast), multicast (mcast), otherhost\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let option = values::required("pkttype", given, "pkt-type")?;
        let named = KINDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(option.value()));
        let bad = || SyntaxError::new(format!("Bad packet type '{}'", option.value()));
        let kind = named.ok_or_else(bad)?.1;
        let negated = option.negated;
        Ok(Match::Pkttype(Pkttype { kind, negated }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Pkttype(m) = m else {
            return String::new();
        };
        format!("{} --pkt-type {}", values::not(m.negated), name(m))
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Pkttype(m) = m else {
            return String::new();
        };
        format!(" PKTTYPE {}= {}", if m.negated { "!" } else { "" }, name(m))
    }
}

fn name(m: &Pkttype) -> &'static str {
    KINDS.iter().find(|(_, kind)| *kind == m.kind).map_or("", |(name, _)| name)
}
