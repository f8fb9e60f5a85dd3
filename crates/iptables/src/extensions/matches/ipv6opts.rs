//! `-m hbh` and `-m dst`.

use fielato_netfilter::matches::ipv6opts::{Ipv6Options, OptionPattern, OptionsHeader};
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m hbh` or `-m dst`.
#[derive(Debug)]
pub struct Ipv6OptionsSyntax(pub OptionsHeader);

const HBH_OPTIONS: &[OptionSpec] = &[OptionSpec::one("hbh-len").negatable(), OptionSpec::one("hbh-opts")];
const DST_OPTIONS: &[OptionSpec] = &[OptionSpec::one("dst-len").negatable(), OptionSpec::one("dst-opts")];

impl MatchSyntax for Ipv6OptionsSyntax {
    fn name(&self) -> &'static str {
        match self.0 {
            OptionsHeader::HopByHop => "hbh",
            OptionsHeader::Destination => "dst",
        }
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V6]
    }

    fn options(&self) -> &'static [OptionSpec] {
        match self.0 {
            OptionsHeader::HopByHop => HBH_OPTIONS,
            OptionsHeader::Destination => DST_OPTIONS,
        }
    }

    fn help(&self, _family: Family) -> String {
        let name = self.name();
        format!(
            "{name} match options:\n\
             [!] --{name}-len length            the header's length in bytes\n\
             \x20 --{name}-opts TYPE[:LEN][,TYPE[:LEN]...]\n\
             \x20                               it begins with these options, at most {}\n",
            Ipv6Options::MAX
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let name = self.name();
        let mut m = Ipv6Options {
            header: self.0,
            length: None,
            length_negated: false,
            options: None,
        };
        for option in given {
            if option.option.ends_with("-len") {
                m.length = Some(values::integer(name, option, 0, u32::MAX.into())? as u32);
                m.length_negated = option.negated;
            } else {
                m.options = Some(parse_options(name, option.value())?);
            }
        }
        Ok(Match::Ipv6Options(m))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Ipv6Options(m) = m else {
            return String::new();
        };
        let name = m.name();
        let mut text = String::new();
        if let Some(length) = m.length {
            text += &format!("{} --{name}-len {length}", values::not(m.length_negated));
        }
        if let Some(options) = &m.options {
            text += &format!(" --{name}-opts {}", show_options(options));
        }
        text
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Ipv6Options(m) = m else {
            return String::new();
        };
        let mut text = format!(" {}", m.name());
        if let Some(length) = m.length {
            text += &format!(" length:{}{length}", if m.length_negated { "!" } else { "" });
        }
        if let Some(options) = &m.options {
            text += &format!(" opts {}", show_options(options));
        }
        text
    }
}

fn parse_options(extension: &str, list: &str) -> Result<Box<[OptionPattern]>, SyntaxError> {
    let number = |what: &str, word: &str| {
        // Larger numbers are cut to a byte.
        values::number(word, 0, u64::MAX)
            .map(|number| number as u8)
            .ok_or_else(|| SyntaxError::new(format!("{extension}: no valid digits in {what} `{word}'")))
    };
    let mut options = Vec::new();
    for word in list.split(',') {
        if options.len() == Ipv6Options::MAX {
            return Err(SyntaxError::new("too many addresses specified"));
        }
        let (kind, length) = word
            .split_once(':')
            .map_or((word, None), |(kind, length)| (kind, Some(length)));
        let kind = number("opt", kind)?;
        let length = match length {
            None => OptionPattern::ANY_LENGTH,
            Some(_) if kind == 0 => return Err(SyntaxError::new("PAD0 has not got length")),
            Some(length) => number("length", length)?,
        };
        options.push(OptionPattern { kind, length });
    }
    Ok(options.into())
}

fn show_options(options: &[OptionPattern]) -> String {
    let words: Vec<_> = options
        .iter()
        .map(|option| match option.length {
            OptionPattern::ANY_LENGTH => option.kind.to_string(),
            length => format!("{}:{length}", option.kind),
        })
        .collect();
    words.join(",")
}
