//! `-m srh`.

use fielato_netfilter::matches::srh::{SegmentRouting, Signed, Srh, ThreeWay};
use fielato_netfilter::rule::{AddressMatch, Match};
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m srh`.
#[derive(Debug)]
pub struct SrhSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("srh-next-hdr").negatable(),
    OptionSpec::one("srh-hdr-len-eq").negatable(),
    OptionSpec::one("srh-hdr-len-gt").negatable(),
    OptionSpec::one("srh-hdr-len-lt").negatable(),
    OptionSpec::one("srh-segs-left-eq").negatable(),
    OptionSpec::one("srh-segs-left-gt").negatable(),
    OptionSpec::one("srh-segs-left-lt").negatable(),
    OptionSpec::one("srh-last-entry-eq").negatable(),
    OptionSpec::one("srh-last-entry-gt").negatable(),
    OptionSpec::one("srh-last-entry-lt").negatable(),
    OptionSpec::one("srh-tag").negatable(),
    OptionSpec::one("srh-psid").negatable(),
    OptionSpec::one("srh-nsid").negatable(),
    OptionSpec::one("srh-lsid").negatable(),
];

impl MatchSyntax for SrhSyntax {
    fn name(&self) -> &'static str {
        "srh"
    }

    fn revision(&self) -> u8 {
        1
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V6]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "srh match options:\n\
         [!] --srh-next-hdr next-hdr           what follows the header\n\
         [!] --srh-hdr-len-{eq,gt,lt} len      its length field\n\
         [!] --srh-segs-left-{eq,gt,lt} num    segments left\n\
         [!] --srh-last-entry-{eq,gt,lt} num   the last entry's number\n\
         [!] --srh-tag tag                     the tag\n\
         [!] --srh-psid addr[/mask]            the segment before\n\
         [!] --srh-nsid addr[/mask]            the next segment\n\
         [!] --srh-lsid addr[/mask]            the last segment\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let mut m = SegmentRouting::default();
        for option in given {
            match option.option {
                "srh-next-hdr" => {
                    m.next_header = Some(values::integer("srh", option, 0, 255)? as u8);
                    m.next_header_negated = option.negated;
                }
                "srh-tag" => {
                    m.tag = Some(values::integer("srh", option, 0, u16::MAX.into())? as u16);
                    m.tag_negated = option.negated;
                }
                "srh-psid" => m.previous = Some(values::address_mask("srh", option, cx)?),
                "srh-nsid" => m.next = Some(values::address_mask("srh", option, cx)?),
                "srh-lsid" => m.last = Some(values::address_mask("srh", option, cx)?),
                _ => compare(&mut m, option)?,
            }
        }
        Ok(Match::Srh(Srh(Box::new(m))))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Srh(Srh(m)) = m else {
            return String::new();
        };
        let value = |name: &str, negated, value: u16| format!("{} --srh-{name} {value}", values::not(negated));
        let segment = |name: &str, address: &AddressMatch| {
            format!("{} --srh-{name} {}", values::not(address.negated), show_segment(address))
        };
        show(m, &value, &segment)
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Srh(Srh(m)) = m else {
            return String::new();
        };
        let inverted = |negated| if negated { "!" } else { "" };
        let value = |name: &str, negated, value: u16| format!(" {name}:{}{value}", inverted(negated));
        let segment =
            |name: &str, address: &AddressMatch| format!(" {name} {} {}", inverted(address.negated), show_segment(address));
        " srh".to_owned() + &show(m, &value, &segment)
    }
}

/// One of the nine comparisons: `srh-FIELD-SIGN`.
fn compare(m: &mut SegmentRouting, option: &Given) -> Result<(), SyntaxError> {
    let field = match option.option {
        name if name.starts_with("srh-hdr-len") => &mut m.length,
        name if name.starts_with("srh-segs-left") => &mut m.segments_left,
        _ => &mut m.last_entry,
    };
    field.value = values::integer("srh", option, 0, 255)? as u8;
    let signed = Some(Signed { negated: option.negated });
    match option.option {
        name if name.ends_with("-eq") => field.equal = signed,
        name if name.ends_with("-gt") => field.greater = signed,
        _ => field.less = signed,
    }
    Ok(())
}

/// An address with its length, even when that is all of it.
fn show_segment(address: &AddressMatch) -> String {
    match address.mask.prefix_len(Family::V6) {
        Some(len) => format!("{}/{len}", address.network.display(Family::V6)),
        None => format!("{}/-1", address.network.display(Family::V6)),
    }
}

type ShowValue<'a> = &'a dyn Fn(&str, bool, u16) -> String;
type ShowSegment<'a> = &'a dyn Fn(&str, &AddressMatch) -> String;

/// Everything asked for, in iptables' order.
fn show(m: &SegmentRouting, value: ShowValue<'_>, segment: ShowSegment<'_>) -> String {
    let mut text = String::new();
    if let Some(next) = m.next_header {
        text += &value("next-hdr", m.next_header_negated, next.into());
    }
    let fields: [(&str, &ThreeWay); 3] = [
        ("hdr-len", &m.length),
        ("segs-left", &m.segments_left),
        ("last-entry", &m.last_entry),
    ];
    for (name, field) in fields {
        for (sign, asked) in [("eq", field.equal), ("gt", field.greater), ("lt", field.less)] {
            if let Some(Signed { negated }) = asked {
                text += &value(&format!("{name}-{sign}"), negated, field.value.into());
            }
        }
    }
    if let Some(tag) = m.tag {
        text += &value("tag", m.tag_negated, tag);
    }
    for (name, address) in [("psid", &m.previous), ("nsid", &m.next), ("lsid", &m.last)] {
        if let Some(address) = address {
            text += &segment(name, address);
        }
    }
    text
}
