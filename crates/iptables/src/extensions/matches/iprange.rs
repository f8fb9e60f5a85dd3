//! `-m iprange`.

use fielato_netfilter::matches::Range;
use fielato_netfilter::matches::iprange::{IpRanges, Iprange};
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::{Addr, Family};

use crate::extensions::values;

/// `-m iprange`.
#[derive(Debug)]
pub struct IprangeSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("src-range").negatable(),
    OptionSpec::one("dst-range").negatable(),
];

impl MatchSyntax for IprangeSyntax {
    fn name(&self) -> &'static str {
        "iprange"
    }

    fn revision(&self) -> u8 {
        1
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "iprange match options:\n\
         [!] --src-range ip[-ip]    the source is in the range\n\
         [!] --dst-range ip[-ip]    the destination is in the range\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        if given.is_empty() {
            return Err(SyntaxError::new(
                "iprange match: You must specify `--src-range' or `--dst-range'",
            ));
        }
        let mut ranges = Box::<IpRanges>::default();
        for option in given {
            let range = Some(parse_range(option, cx.family)?);
            match option.option {
                "src-range" => ranges.source = range,
                _ => ranges.destination = range,
            }
        }
        Ok(Match::Iprange(Iprange { ranges }))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        show(m, cx.family, |range, end| {
            format!("{} --{end}-range ", values::not(range.negated))
        })
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        show(m, cx.family, |range, end| {
            let name = if end == "src" { "source" } else { "destination" };
            format!(" {name} IP range{} ", values::not(range.negated))
        })
    }
}

fn parse_range(option: &Given, family: Family) -> Result<Range<Addr>, SyntaxError> {
    let text = option.value();
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let address = |word: &str| {
        values::address(word, family)
            .ok_or_else(|| SyntaxError::new(format!("iprange: Bad value for \"--{}\" option: \"{word}\"", option.option)))
    };
    Ok(values::negate(Range::new(address(low)?, address(high)?), option))
}

fn show(m: &Match, family: Family, label: impl Fn(&Range<Addr>, &str) -> String) -> String {
    let Match::Iprange(m) = m else {
        return String::new();
    };
    [("src", &m.ranges.source), ("dst", &m.ranges.destination)]
        .iter()
        .filter_map(|(end, range)| range.as_ref().map(|range| (end, range)))
        .map(|(end, range)| {
            format!(
                "{}{}-{}",
                label(range, end),
                range.min.display(family),
                range.max.display(family)
            )
        })
        .collect()
}
