//! `-m recent`.

use std::fmt::Write as _;

use fielato_netfilter::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use fielato_netfilter::matches::recent::{Operation, Parameters, Recent};
use fielato_wire::Addr;

use crate::extensions::values;
use crate::extensions::words::{self, Options};
use crate::text::bare;

/// The user side of `-m recent`.
pub struct RecentSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::flag("set").negatable(),
    OptionSpec::flag("rcheck").negatable(),
    OptionSpec::flag("update").negatable(),
    OptionSpec::flag("remove").negatable(),
    OptionSpec::one("seconds"),
    OptionSpec::flag("reap"),
    OptionSpec::one("hitcount"),
    OptionSpec::flag("rttl"),
    OptionSpec::one("name"),
    OptionSpec::flag("rsource"),
    OptionSpec::flag("rdest"),
    OptionSpec::one("mask"),
];

/// Option, operation, and its word in a listing.
const OPERATIONS: [(&str, Operation, &str); 4] = [
    ("set", Operation::Set, "SET"),
    ("rcheck", Operation::Check, "CHECK"),
    ("update", Operation::Update, "UPDATE"),
    ("remove", Operation::Remove, "REMOVE"),
];

impl MatchSyntax for RecentSyntax {
    fn name(&self) -> &'static str {
        "recent"
    }

    fn revision(&self) -> u8 {
        1
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "recent match",
            &[
                ("[!] --set", "put the address into the list; always holds"),
                ("[!] --rcheck", "is the address in the list?"),
                ("[!] --update", "the same, and it is seen again"),
                ("[!] --remove", "the same, and it is taken out"),
                ("--seconds seconds", "only when seen so lately (rcheck, update)"),
                ("--reap", "older entries go (with --seconds)"),
                ("--hitcount hits", "only when seen so often (rcheck, update)"),
                ("--rttl", "only when the TTL is the same (rcheck, update)"),
                ("--name name", "the list; DEFAULT when none is given"),
                ("--rsource", "the source's address (default)"),
                ("--rdest", "the destination's address"),
                ("--mask netmask", "bits of the address that count"),
            ],
        )
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let options = Options::new("recent", given);
        options.exclusive(&["set", "rcheck", "update", "remove"])?;
        options.exclusive(&["rttl", "set"])?;
        options.exclusive(&["rttl", "remove"])?;
        options.needs("reap", "seconds")?;
        let Some((option, operation, _)) = OPERATIONS.iter().find(|(option, ..)| options.has(option)) else {
            return Err(SyntaxError::new(
                "recent: you must specify one of `--set', `--rcheck' `--update' or `--remove'",
            ));
        };
        let whole = Addr::mask(cx.family, cx.family.bits());
        let mask = match options.text("mask") {
            None => whole,
            Some(text) => {
                values::address(text, cx.family).ok_or_else(|| SyntaxError::new(format!("recent: \"{text}\" is not a mask")))?
            }
        };
        let side = given.iter().rev().find(|given| matches!(given.option, "rsource" | "rdest"));
        Ok(Match::Recent(Recent(Box::new(Parameters {
            operation: *operation,
            negated: options.negated(option),
            seconds: options.number("seconds", 1, u32::MAX.into())?.unwrap_or(0) as u32,
            reap: options.has("reap"),
            hits: options.number("hitcount", 0, u32::MAX.into())?.unwrap_or(0) as u32,
            ttl: options.has("rttl"),
            name: words::cut(options.text("name").unwrap_or("DEFAULT"), 199).into(),
            mask,
            destination: side.is_some_and(|side| side.option == "rdest"),
        }))))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Recent(Recent(p)) = m else {
            return String::new();
        };
        let mut out = String::from(values::not(p.negated));
        let operation = OPERATIONS.iter().find(|(_, operation, _)| *operation == p.operation);
        let _ = write!(out, " --{}", operation.map_or("", |(option, ..)| option));
        if p.seconds != 0 {
            let _ = write!(out, " --seconds {}", p.seconds);
        }
        if p.reap {
            out += " --reap";
        }
        if p.hits != 0 {
            let _ = write!(out, " --hitcount {}", p.hits);
        }
        if p.ttl {
            out += " --rttl";
        }
        let side = if p.destination { "--rdest" } else { "--rsource" };
        let _ = write!(out, " --name {} --mask {} {side}", bare(&p.name), p.mask.display(cx.family));
        out
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Recent(Recent(p)) = m else {
            return String::new();
        };
        let mut out = String::from(if p.negated { " ! recent:" } else { " recent:" });
        let operation = OPERATIONS.iter().find(|(_, operation, _)| *operation == p.operation);
        let _ = write!(out, " {}", operation.map_or("", |(.., word)| word));
        if p.seconds != 0 {
            let _ = write!(out, " seconds: {}", p.seconds);
        }
        if p.reap {
            out += " reap";
        }
        if p.hits != 0 {
            let _ = write!(out, " hit_count: {}", p.hits);
        }
        if p.ttl {
            out += " TTL-Match";
        }
        let side = if p.destination { "dest" } else { "source" };
        let _ = write!(out, " name: {} side: {side} mask: {}", p.name, p.mask.display(cx.family));
        out
    }
}
