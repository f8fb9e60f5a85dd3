//! `-j NETMAP`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_wire::Family;

use fielato_netfilter::targets::netmap::Netmap;

use crate::extensions::words::{self, Options};

/// The user side of `-j NETMAP`.
pub struct NetmapSyntax;

impl TargetSyntax for NetmapSyntax {
    fn name(&self) -> &'static str {
        "NETMAP"
    }

    fn options(&self) -> &'static [OptionSpec] {
        const { &[OptionSpec::one("to")] }
    }

    fn help(&self, _family: Family) -> String {
        words::help("NETMAP target", &[("--to address[/mask]", "network to map to")])
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let text = Options::new("NETMAP", given).required("to")?;
        let (address, mask) = words::address_mask(text, cx.family)
            .ok_or_else(|| SyntaxError::new(format!("NETMAP: bad value for option \"--to\": \"{text}\"")))?;
        Ok(Target::Netmap(Netmap {
            to: Box::new((address.and(mask), mask)),
        }))
    }

    fn save(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        match t {
            Target::Netmap(t) => format!(" --to {}", words::show_network(t.to.0, t.to.1, cx.family)),
            _ => String::new(),
        }
    }

    fn print(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        match t {
            Target::Netmap(t) => format!(" to:{}", words::show_network(t.to.0, t.to.1, cx.family)),
            _ => String::new(),
        }
    }
}
