//! `-m osf`.

use fielato_netfilter::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use fielato_netfilter::matches::osf::Osf;

use crate::extensions::values;
use crate::extensions::words::{self, Options};
use crate::text::bare;

/// The user side of `-m osf`.
pub struct OsfSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("genre").negatable(),
    OptionSpec::one("ttl"),
    OptionSpec::one("log"),
];

impl MatchSyntax for OsfSyntax {
    fn name(&self) -> &'static str {
        "osf"
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V4]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "OS fingerprint match",
            &[
                ("[!] --genre string", "the system's name"),
                ("--ttl level", "TTL: 0 the same, 1 not larger, 2 not compared"),
                ("--log level", "log: 0 all, 1 the first, 2 known ones"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let options = Options::new("osf", given);
        let genre = options.required("genre")?;
        let level = |option| Ok::<_, SyntaxError>(options.number(option, 0, 2)?.map(|level| level as u8));
        Ok(Match::Osf(Osf {
            genre: words::cut(genre, 31).into(),
            negated: options.negated("genre"),
            ttl: level("ttl")?,
            log: level("log")?,
        }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Osf(m) = m else {
            return String::new();
        };
        let mut out = format!("{} --genre {}", values::not(m.negated), bare(&m.genre));
        if let Some(level) = m.ttl {
            out += &format!(" --ttl {level}");
        }
        if let Some(level) = m.log {
            out += &format!(" --log {level}");
        }
        out
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        match m {
            Match::Osf(m) => format!(" OS fingerprint match {}{}", if m.negated { "! " } else { "" }, m.genre),
            _ => String::new(),
        }
    }
}
