//! `-m realm`.

use fielato_netfilter::matches::realm::Realm;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m realm`.
#[derive(Debug)]
pub struct RealmSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("realm").negatable()];
/// The file of realm names.
const FILE: &str = "rt_realms";

impl MatchSyntax for RealmSyntax {
    fn name(&self) -> &'static str {
        "realm"
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V4]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "realm match options:\n\
         [!] --realm value[/mask]    the realm of the packet's route\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let option = values::required("realm", given, "realm")?;
        let (value, mask) = values::named_value_mask("realm", option, cx.names, FILE)?;
        let negated = option.negated;
        Ok(Match::Realm(Realm { value, mask, negated }))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Realm(m) = m else {
            return String::new();
        };
        let shown = values::show_named_value_mask(m.value, m.mask, cx.names, FILE);
        format!("{} --realm{shown}", values::not(m.negated))
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Realm(m) = m else {
            return String::new();
        };
        let shown = match cx.numeric {
            true => values::show_value_mask(m.value, m.mask),
            false => values::show_named_value_mask(m.value, m.mask, cx.names, FILE),
        };
        format!("{} realm{shown}", values::not(m.negated))
    }
}
