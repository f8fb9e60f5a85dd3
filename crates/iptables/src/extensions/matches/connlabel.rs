//! `-m connlabel`.

use fielato_netfilter::matches::connlabel::Connlabel;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, Names, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m connlabel`.
#[derive(Debug)]
pub struct ConnlabelSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("label").negatable(), OptionSpec::flag("set")];
/// The file of label names.
const FILE: &str = "connlabel.conf";

impl MatchSyntax for ConnlabelSyntax {
    fn name(&self) -> &'static str {
        "connlabel"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "connlabel match options:\n\
         [!] --label name     the connection has this label, by name or number\n\
         \x20   --set            and is given it when it hasn't\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let option = values::required("connlabel", given, "label")?;
        let number = values::number(option.value(), 0, u16::MAX.into()).map(|label| label as u16);
        let named = || {
            cx.names
                .number(FILE, option.value())
                .and_then(|label| u16::try_from(label).ok())
        };
        let unknown = || SyntaxError::new(format!("label '{}' not found or invalid value", option.value()));
        Ok(Match::Connlabel(Connlabel {
            label: number.or_else(named).ok_or_else(unknown)?,
            negated: option.negated,
            set: values::find(given, "set").is_some(),
        }))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Connlabel(m) = m else {
            return String::new();
        };
        let label = name(m, cx.names).unwrap_or_else(|| m.label.to_string());
        format!(
            "{} --label \"{label}\"{}",
            values::not(m.negated),
            if m.set { " --set" } else { "" }
        )
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Connlabel(m) = m else {
            return String::new();
        };
        let label = match name(m, cx.names) {
            Some(name) if !cx.numeric => format!("'{name}'"),
            _ => m.label.to_string(),
        };
        format!(
            " connlabel{} {label}{}",
            values::not(m.negated),
            if m.set { " set" } else { "" }
        )
    }
}

fn name(m: &Connlabel, names: &dyn Names) -> Option<String> {
    names.name_of(FILE, m.label.into()).filter(|name| !name.is_empty())
}
