//! `-m connbytes`.

use fielato_netfilter::conntrack::Direction;
use fielato_netfilter::matches::connbytes::{Connbytes, ConnbytesMode};
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m connbytes`.
#[derive(Debug)]
pub struct ConnbytesSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("connbytes").negatable(),
    OptionSpec::one("connbytes-dir"),
    OptionSpec::one("connbytes-mode"),
];
const MODES: [(&str, ConnbytesMode); 3] = [
    ("packets", ConnbytesMode::Packets),
    ("bytes", ConnbytesMode::Bytes),
    ("avgpkt", ConnbytesMode::Average),
];
const DIRECTIONS: [(&str, Option<Direction>); 3] = [
    ("original", Some(Direction::Original)),
    ("reply", Some(Direction::Reply)),
    ("both", None),
];

impl MatchSyntax for ConnbytesSyntax {
    fn name(&self) -> &'static str {
        "connbytes"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "connbytes match options:\n\
         \x20[!] --connbytes from:[to]                        so much passed over the connection\n\
         \x20    --connbytes-dir [original, reply, both]      in this direction\n\
         \x20    --connbytes-mode [packets, bytes, avgpkt]    packets, bytes, or bytes per packet\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let count = values::required("connbytes", given, "connbytes")?;
        let direction = values::required("connbytes", given, "connbytes-dir")?.value();
        let mode = values::required("connbytes", given, "connbytes-mode")?.value();
        let (from, to) = values::integers("connbytes", count, u64::MAX)?;
        let to = to.unwrap_or(u64::MAX);
        if to < from {
            return Err(SyntaxError::new(format!("{from} should be less than {to}")));
        }
        let known = DIRECTIONS.iter().find(|(name, _)| *name == direction);
        let unknown = || SyntaxError::new(format!("Unknown --connbytes-dir `{direction}'"));
        let direction = known.ok_or_else(unknown)?.1;
        let known = MODES.iter().find(|(name, _)| *name == mode);
        let unknown = || SyntaxError::new(format!("Unknown --connbytes-mode `{mode}'"));
        let mode = known.ok_or_else(unknown)?.1;
        let (from, to) = if count.negated { (to, from) } else { (from, to) };
        Ok(Match::Connbytes(Connbytes {
            mode,
            direction,
            from,
            to,
        }))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Connbytes(m) = m else {
            return String::new();
        };
        let (mode, direction) = names(m);
        format!(
            "{} --connbytes-mode {mode} --connbytes-dir {direction}",
            show_count(m, "--", cx.complete)
        )
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Connbytes(m) = m else {
            return String::new();
        };
        let (mode, direction) = names(m);
        format!(
            "{} connbytes mode {mode} connbytes direction {direction}",
            show_count(m, "", false)
        )
    }
}

fn show_count(m: &Connbytes, prefix: &str, complete: bool) -> String {
    let (inverted, from, to) = match m.from > m.to {
        true => (" !", m.to, m.from),
        false => ("", m.from, m.to),
    };
    match to {
        u64::MAX => format!("{inverted} {prefix}connbytes {from}"),
        0 if !complete => format!("{inverted} {prefix}connbytes {from}"),
        _ => format!("{inverted} {prefix}connbytes {from}:{to}"),
    }
}

fn names(m: &Connbytes) -> (&'static str, &'static str) {
    let mode = MODES.iter().find(|(_, mode)| *mode == m.mode);
    let direction = DIRECTIONS.iter().find(|(_, direction)| *direction == m.direction);
    (mode.map_or("", |(name, _)| name), direction.map_or("", |(name, _)| name))
}
