//! `-m devgroup`.

use fielato_netfilter::matches::devgroup::{Devgroup, Group};
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, Names, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m devgroup`.
#[derive(Debug)]
pub struct DevgroupSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("src-group").negatable(),
    OptionSpec::one("dst-group").negatable(),
];
/// The file of group names.
const FILE: &str = "group";

impl MatchSyntax for DevgroupSyntax {
    fn name(&self) -> &'static str {
        "devgroup"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "devgroup match options:\n\
         [!] --src-group value[/mask]    device group of the interface the packet came in by\n\
         [!] --dst-group value[/mask]    device group of the interface it goes out by\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        if given.is_empty() {
            return Err(SyntaxError::new(
                "devgroup match: You must specify either '--src-group' or '--dst-group'",
            ));
        }
        let mut m = Devgroup::default();
        for option in given {
            let (value, mask) = values::named_value_mask("devgroup", option, cx.names, FILE)?;
            let negated = option.negated;
            let group = Some(Group { value, mask, negated });
            match option.option {
                "src-group" => m.source = group,
                _ => m.destination = group,
            }
        }
        Ok(Match::Devgroup(m))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        show(m, "--", Some(cx.names))
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        show(m, "", if cx.numeric { None } else { Some(cx.names) })
    }
}

fn show(m: &Match, prefix: &str, names: Option<&dyn Names>) -> String {
    let Match::Devgroup(m) = m else {
        return String::new();
    };
    let show = |option, group: &Option<Group>| {
        let Some(group) = group else {
            return String::new();
        };
        let shown = match names {
            Some(names) => values::show_named_value_mask(group.value, group.mask, names, FILE),
            None => values::show_value_mask(group.value, group.mask),
        };
        format!("{} {prefix}{option}{shown}", values::not(group.negated))
    };
    show("src-group", &m.source) + &show("dst-group", &m.destination)
}
