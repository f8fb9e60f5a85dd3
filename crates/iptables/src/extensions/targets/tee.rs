//! `-j TEE`.

use fielato_netfilter::InterfaceName;
use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::tee::Tee;
use fielato_wire::Family;

use crate::extensions::values;
use crate::extensions::words::{self, Options};
use crate::text::bare;

/// The user side of `-j TEE`.
pub struct TeeSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("gateway"), OptionSpec::one("oif")];

impl TargetSyntax for TeeSyntax {
    fn name(&self) -> &'static str {
        "TEE"
    }

    fn revision(&self) -> u8 {
        1
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "TEE target",
            &[
                ("--gateway IPADDR", "where the copy goes"),
                ("--oif NAME", "by this interface"),
            ],
        )
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("TEE", given);
        let text = options.required("gateway")?;
        let gateway =
            values::address(text, cx.family).ok_or_else(|| SyntaxError::new(format!("TEE: \"{text}\" is not an address")))?;
        let interface = InterfaceName::new(words::cut(options.text("oif").unwrap_or(""), 15));
        Ok(Target::Tee(Tee {
            gateway: Box::new(gateway),
            interface: Box::new(interface.unwrap_or(InterfaceName::NONE)),
        }))
    }

    fn save(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        show(t, cx, " --gateway ", " --oif ")
    }

    fn print(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        show(t, cx, " TEE gw:", " oif=")
    }
}

fn show(t: &Target, cx: &PrintContext<'_>, gateway: &str, interface: &str) -> String {
    let Target::Tee(t) = t else {
        return String::new();
    };
    let mut out = format!("{gateway}{}", t.gateway.display(cx.family));
    if !t.interface.is_empty() {
        out += &format!("{interface}{}", bare(t.interface.as_str()));
    }
    out
}
