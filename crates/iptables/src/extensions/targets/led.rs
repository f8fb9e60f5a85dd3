//! `-j LED`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::led::{Led, Parameters};
use fielato_wire::Family;

use crate::extensions::words::{self, Options};

/// The user side of `-j LED`.
pub struct LedSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("led-trigger-id"),
    OptionSpec::one("led-delay"),
    OptionSpec::flag("led-always-blink"),
];

impl TargetSyntax for LedSyntax {
    fn name(&self) -> &'static str {
        "LED"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "LED target",
            &[
                ("--led-trigger-id name", "name of the lamp"),
                ("--led-delay ms", "how long it stays lit; inf for ever"),
                ("--led-always-blink", "blink when it is lit already"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("LED", given);
        let delay = match options.text("led-delay") {
            None => Some(0),
            Some(text) if text.get(..3).is_some_and(|head| head.eq_ignore_ascii_case("inf")) => None,
            Some(_) => options.number("led-delay", 0, u32::MAX.into())?.map(|delay| delay as u32),
        };
        Ok(Target::Led(Led(Box::new(Parameters {
            id: words::cut(options.required("led-trigger-id")?, Led::MAX_ID).into(),
            delay,
            always_blink: options.has("led-always-blink"),
        }))))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        let Target::Led(Led(t)) = t else {
            return String::new();
        };
        let mut out = format!(" --led-trigger-id \"{}\"", escaped(&t.id));
        match t.delay {
            Some(0) => {}
            Some(delay) => out += &format!(" --led-delay {delay}"),
            None => out += " --led-delay inf",
        }
        out + if t.always_blink { " --led-always-blink" } else { "" }
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        let Target::Led(Led(t)) = t else {
            return String::new();
        };
        let mut out = format!(" led-trigger-id:\"{}\"", escaped(&t.id));
        match t.delay {
            Some(delay) => out += &format!(" led-delay:{delay}ms"),
            None => out += " led-delay:inf",
        }
        out + if t.always_blink { " led-always-blink" } else { "" }
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
