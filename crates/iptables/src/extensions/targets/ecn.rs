//! `-j ECN`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::ecn::Ecn;
use fielato_wire::Family;

use crate::extensions::words::{self, Options};

/// The user side of `-j ECN`.
pub struct EcnSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::flag("ecn-tcp-remove"),
    OptionSpec::one("ecn-tcp-cwr"),
    OptionSpec::one("ecn-tcp-ece"),
    OptionSpec::one("ecn-ip-ect"),
];

impl TargetSyntax for EcnSyntax {
    fn name(&self) -> &'static str {
        "ECN"
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V4]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help("ECN target", &[("--ecn-tcp-remove", "clear the ECN bits of the TCP header")])
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("ECN", given);
        options.exclusive(&["ecn-tcp-remove", "ecn-tcp-cwr"])?;
        options.exclusive(&["ecn-tcp-remove", "ecn-tcp-ece"])?;
        if options.has("ecn-tcp-remove") && !options.has("ecn-ip-ect") {
            return Ok(Target::Ecn(REMOVE));
        }
        let bit = |option| Ok::<_, SyntaxError>(options.number(option, 0, 1)?.map(|bit| bit != 0));
        let remove = options.has("ecn-tcp-remove").then_some(false);
        let ecn = Ecn {
            ece: bit("ecn-tcp-ece")?.or(remove),
            cwr: bit("ecn-tcp-cwr")?.or(remove),
            codepoint: options.number("ecn-ip-ect", 0, 3)?.map(|codepoint| codepoint as u8),
        };
        if ecn == Ecn::default() {
            return Err(SyntaxError::new("ECN target: An operation is required"));
        }
        Ok(Target::Ecn(ecn))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        show(
            t,
            " --ecn-tcp-remove",
            [" --ecn-tcp-ece ", " --ecn-tcp-cwr ", " --ecn-ip-ect "],
        )
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        format!(" ECN{}", show(t, " TCP remove", [" ECE=", " CWR=", " ECT codepoint="]))
    }
}

const REMOVE: Ecn = Ecn {
    ece: Some(false),
    cwr: Some(false),
    codepoint: None,
};

fn show(t: &Target, remove: &str, [ece, cwr, codepoint]: [&str; 3]) -> String {
    let Target::Ecn(t) = t else {
        return String::new();
    };
    if *t == REMOVE {
        return remove.to_owned();
    }
    let part = |name: &str, value: Option<u8>| value.map_or(String::new(), |value| format!("{name}{value}"));
    part(ece, t.ece.map(u8::from)) + &part(cwr, t.cwr.map(u8::from)) + &part(codepoint, t.codepoint)
}
