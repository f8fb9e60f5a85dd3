//! `-m mh`.

use fielato_netfilter::matches::Range;
use fielato_netfilter::matches::mh::Mh;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m mh`.
#[derive(Debug)]
pub struct MhSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("mh-type").negatable()];

/// Types by number (RFC 6275 §6.1.1), each with its short name.
const NAMES: [(&str, &str); 8] = [
    ("binding-refresh-request", "brr"),
    ("home-test-init", "hoti"),
    ("careof-test-init", "coti"),
    ("home-test", "hot"),
    ("careof-test", "cot"),
    ("binding-update", "bu"),
    ("binding-acknowledgement", "ba"),
    ("binding-error", "be"),
];

impl MatchSyntax for MhSyntax {
    fn name(&self) -> &'static str {
        "mh"
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V6]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "mh match options:\n\
         [!] --mh-type type[:type]    the header's type or a range, by number or name:\n\
         \x20   binding-refresh-request (brr), home-test-init (hoti), careof-test-init (coti),\n\
         \x20   home-test (hot), careof-test (cot), binding-update (bu),\n\
         \x20   binding-acknowledgement (ba), binding-error (be)\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let mut m = Mh::default();
        for option in given {
            m.kind = values::negate(parse_types(option.value())?, option);
        }
        Ok(Match::Mh(m))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Mh(m) = m else {
            return String::new();
        };
        match (m.kind.min, m.kind.max) {
            (0, u8::MAX) if !(cx.complete && m.kind.negated) => String::new(),
            _ => values::save_range("mh-type", &m.kind),
        }
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Mh(m) = m else {
            return String::new();
        };
        if m.kind == Range::<u8>::ANY {
            return " mh".to_owned();
        }
        let name = |kind: u8| match NAMES.get(usize::from(kind)) {
            Some((name, _)) if !cx.numeric => (*name).to_owned(),
            _ => kind.to_string(),
        };
        let inverted = if m.kind.negated { "!" } else { "" };
        match m.kind.min == m.kind.max {
            true => format!(" mh {inverted}{}", name(m.kind.min)),
            false => format!(" mh {inverted}{}:{}", name(m.kind.min), name(m.kind.max)),
        }
    }
}

fn parse_types(text: &str) -> Result<Range<u8>, SyntaxError> {
    let Some((low, high)) = text.split_once(':') else {
        return parse_type(text).map(Range::one);
    };
    let min = if low.is_empty() { 0 } else { parse_type(low)? };
    let max = if high.is_empty() { u8::MAX } else { parse_type(high)? };
    if min > max {
        return Err(SyntaxError::new("Invalid MH type range (min > max)"));
    }
    Ok(Range::new(min, max))
}

/// A whole name, else the first that begins so, else a number.
fn parse_type(word: &str) -> Result<u8, SyntaxError> {
    let whole = |name: &str| name.eq_ignore_ascii_case(word);
    let begins = |name: &str| name.get(..word.len()).is_some_and(whole);
    let position = |fits: &dyn Fn(&str) -> bool| NAMES.iter().position(|(long, short)| fits(long) || fits(short));
    position(&whole)
        .or_else(|| position(&begins))
        .or_else(|| values::number(word, 0, 255).map(|number| number as usize))
        .map(|number| number as u8)
        .ok_or_else(|| SyntaxError::new(format!("Invalid MH type `{word}'")))
}
