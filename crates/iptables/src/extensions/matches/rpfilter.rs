//! `-m rpfilter`.

use fielato_netfilter::matches::rpfilter::Rpfilter;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

/// `-m rpfilter`.
#[derive(Debug)]
pub struct RpfilterSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::flag("loose"),
    OptionSpec::flag("validmark"),
    OptionSpec::flag("accept-local"),
    OptionSpec::flag("invert"),
];

impl MatchSyntax for RpfilterSyntax {
    fn name(&self) -> &'static str {
        "rpfilter"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "rpfilter match options:\n\
         \x20   --loose          the way back may go by any interface\n\
         \x20   --validmark      the way back is looked up with the packet's mark\n\
         \x20   --accept-local   the source may be an address of this host\n\
         \x20   --invert         holds for packets that fail the test\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let has = |option| given.iter().any(|given| given.option == option);
        Ok(Match::Rpfilter(Rpfilter {
            loose: has("loose"),
            valid_mark: has("validmark"),
            accept_local: has("accept-local"),
            negated: has("invert"),
        }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        show(m, "--")
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        " rpfilter".to_owned() + &show(m, "")
    }
}

fn show(m: &Match, prefix: &str) -> String {
    let Match::Rpfilter(m) = m else {
        return String::new();
    };
    let flags = [m.loose, m.valid_mark, m.accept_local, m.negated];
    let set = OPTIONS.iter().zip(flags).filter(|(_, set)| *set);
    set.map(|(option, _)| format!(" {prefix}{}", option.name)).collect()
}
