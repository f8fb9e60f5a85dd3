//! `-m conntrack`.

use fielato_netfilter::conntrack::{Direction, Status};
use fielato_netfilter::matches::Range;
use fielato_netfilter::matches::conntrack::{Conntrack, Criteria, Ends, StateMatch};
use fielato_netfilter::rule::{AddressMatch, Match};
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::{Addr, Family};

use super::states;
use crate::extensions::values;

/// `-m conntrack`.
#[derive(Debug)]
pub struct ConntrackSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("ctstate").negatable(),
    OptionSpec::one("ctproto").negatable(),
    OptionSpec::one("ctorigsrc").negatable(),
    OptionSpec::one("ctorigdst").negatable(),
    OptionSpec::one("ctreplsrc").negatable(),
    OptionSpec::one("ctrepldst").negatable(),
    OptionSpec::one("ctstatus").negatable(),
    OptionSpec::one("ctexpire").negatable(),
    OptionSpec::one("ctorigsrcport").negatable(),
    OptionSpec::one("ctorigdstport").negatable(),
    OptionSpec::one("ctreplsrcport").negatable(),
    OptionSpec::one("ctrepldstport").negatable(),
    OptionSpec::one("ctdir"),
];

/// In the order in which they are printed.
const STATUSES: [(&str, u32); 4] = [
    ("EXPECTED", Status::EXPECTED),
    ("SEEN_REPLY", Status::SEEN_REPLY),
    ("ASSURED", Status::ASSURED),
    ("CONFIRMED", Status::CONFIRMED),
];

impl MatchSyntax for ConntrackSyntax {
    fn name(&self) -> &'static str {
        "conntrack"
    }

    fn revision(&self) -> u8 {
        3
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "conntrack match options:\n\
         [!] --ctstate {INVALID|ESTABLISHED|NEW|RELATED|UNTRACKED|SNAT|DNAT}[,...]\n\
         \x20                              the packet is in one of these states\n\
         [!] --ctproto proto            the connection's protocol, by number or name\n\
         [!] --ctorigsrc address[/mask]\n\
         [!] --ctorigdst address[/mask]\n\
         [!] --ctreplsrc address[/mask]\n\
         [!] --ctrepldst address[/mask]\n\
         \x20                              source and destination as first sent, and of the answers\n\
         [!] --ctorigsrcport port[:port]\n\
         [!] --ctorigdstport port[:port]\n\
         [!] --ctreplsrcport port[:port]\n\
         [!] --ctrepldstport port[:port]\n\
         \x20                              the same for ports\n\
         [!] --ctstatus {NONE|EXPECTED|SEEN_REPLY|ASSURED|CONFIRMED}[,...]\n\
         \x20                              the connection has one of these\n\
         [!] --ctexpire time[:time]     seconds until the connection expires\n\
         \x20   --ctdir {ORIGINAL|REPLY}   which way the packet goes\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        if given.is_empty() {
            return Err(SyntaxError::new("conntrack: At least one option is required"));
        }
        let mut m = Conntrack::default();
        let mut criteria = Criteria::default();
        for option in given {
            if option.option == "ctstate" {
                let states =
                    states::parse(option.value(), true).map_err(|rest| SyntaxError::new(format!("Bad ctstate \"{rest}\"")))?;
                let negated = option.negated;
                m.state = Some(StateMatch { states, negated });
            } else {
                parse_criterion(&mut criteria, option, cx)?;
            }
        }
        if criteria != Criteria::default() {
            m.criteria = Some(Box::new(criteria));
        }
        Ok(Match::Conntrack(m))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        show(m, "--", cx.family, true)
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        show(m, "", cx.family, cx.numeric)
    }
}

fn parse_criterion(criteria: &mut Criteria, option: &Given, cx: &ParseContext<'_>) -> Result<(), SyntaxError> {
    let address = || values::address_mask("conntrack", option, cx).map(Some);
    let ports = || values::loose_ports("conntrack", option, cx.names).map(Some);
    let [original, reply] = &mut criteria.ends;
    match option.option {
        "ctproto" => {
            let number = values::number(option.value(), 0, 255).map(|number| number as u8);
            let number = number.or_else(|| cx.names.protocol(option.value()));
            let number = number.ok_or_else(|| SyntaxError::new(format!("unknown protocol \"{}\" specified", option.value())))?;
            criteria.protocol = Some(values::negate(Range::one(number), option));
        }
        "ctorigsrc" => original.source = address()?,
        "ctorigdst" => original.destination = address()?,
        "ctreplsrc" => reply.source = address()?,
        "ctrepldst" => reply.destination = address()?,
        "ctorigsrcport" => original.sport = ports()?,
        "ctorigdstport" => original.dport = ports()?,
        "ctreplsrcport" => reply.sport = ports()?,
        "ctrepldstport" => reply.dport = ports()?,
        "ctstatus" => {
            criteria.status = Some(parse_status(option.value())?);
            criteria.status_negated = option.negated;
        }
        "ctexpire" => criteria.expires = Some(values::range32("conntrack", option)?),
        _ => criteria.direction = Some(parse_direction(option.value())?),
    }
    Ok(())
}

fn parse_status(list: &str) -> Result<u32, SyntaxError> {
    let mut bits = 0;
    let mut rest = list;
    loop {
        let (word, next) = rest.split_once(',').map_or((rest, None), |(word, next)| (word, Some(next)));
        let begins = |name: &str| name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        let named = STATUSES.iter().find(|(name, _)| begins(name));
        bits |= match named {
            _ if word.is_empty() => return Err(SyntaxError::new(format!("Bad ctstatus \"{rest}\""))),
            _ if begins("NONE") => 0,
            Some((_, bit)) => *bit,
            None => return Err(SyntaxError::new(format!("Bad ctstatus \"{rest}\""))),
        };
        match next {
            Some(next) => rest = next,
            None => return Ok(bits),
        }
    }
}

fn parse_direction(text: &str) -> Result<Direction, SyntaxError> {
    if text.eq_ignore_ascii_case("ORIGINAL") {
        Ok(Direction::Original)
    } else if text.eq_ignore_ascii_case("REPLY") {
        Ok(Direction::Reply)
    } else {
        Err(SyntaxError::new(format!(
            "conntrack: Bad value for \"--ctdir\" option: \"{text}\""
        )))
    }
}

fn show(m: &Match, prefix: &str, family: Family, numeric: bool) -> String {
    let Match::Conntrack(m) = m else {
        return String::new();
    };
    let mut text = String::new();
    if let Some(state) = m.state {
        text += &format!(
            "{} {prefix}ctstate {}",
            values::not(state.negated),
            states::show(state.states)
        );
    }
    let Some(criteria) = &m.criteria else {
        return text;
    };
    let Criteria {
        direction,
        protocol,
        ends: [original, reply],
        status,
        status_negated,
        expires,
    } = &**criteria;
    if let Some(protocol) = protocol {
        text += &format!("{} {prefix}ctproto {}", values::not(protocol.negated), protocol.min);
    }
    text += &show_addresses(original, "orig", prefix, family, numeric);
    text += &show_addresses(reply, "repl", prefix, family, numeric);
    text += &show_ports(original, "orig", prefix);
    text += &show_ports(reply, "repl", prefix);
    if let Some(bits) = *status {
        text += &format!("{} {prefix}ctstatus {}", values::not(*status_negated), show_status(bits));
    }
    if let Some(expires) = expires {
        text += &format!(
            "{} {prefix}ctexpire {}",
            values::not(expires.negated),
            values::show_range(expires)
        );
    }
    if let Some(direction) = direction {
        let name = match direction {
            Direction::Original => "ORIGINAL",
            Direction::Reply => "REPLY",
        };
        text += &format!(" {prefix}ctdir {name}");
    }
    text
}

fn show_addresses(ends: &Ends, side: &str, prefix: &str, family: Family, numeric: bool) -> String {
    let show = |end: &str, address: &Option<AddressMatch>| {
        let Some(address) = address else {
            return String::new();
        };
        let shown = if !numeric && address.network == Addr::ZERO {
            " anywhere".to_owned()
        } else {
            values::show_address_mask(address, family)
        };
        format!("{} {prefix}ct{side}{end}{shown}", values::not(address.negated))
    };
    show("src", &ends.source) + &show("dst", &ends.destination)
}

fn show_ports(ends: &Ends, side: &str, prefix: &str) -> String {
    let show = |end: &str, ports: &Option<Range<u16>>| {
        let Some(ports) = ports else {
            return String::new();
        };
        let range = values::show_range(ports);
        format!("{} {prefix}ct{side}{end}port {range}", values::not(ports.negated))
    };
    show("src", &ends.sport) + &show("dst", &ends.dport)
}

fn show_status(bits: u32) -> String {
    let names: Vec<_> = STATUSES
        .iter()
        .filter(|(_, bit)| bits & bit != 0)
        .map(|(name, _)| *name)
        .collect();
    if names.is_empty() {
        "NONE".to_owned()
    } else {
        names.join(",")
    }
}
