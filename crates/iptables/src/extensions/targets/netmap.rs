//! `-j NETMAP`.

use fielato_netfilter::Target;
use fielato_netfilter::rule::AddressMatch;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::netmap::Netmap;
use fielato_wire::Family;

use crate::extensions::{values, words};

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
        let AddressMatch { network, mask, .. } = values::address_mask("NETMAP", values::required("NETMAP", given, "to")?, cx)?;
        Ok(Target::Netmap(Netmap {
            to: Box::new((network.and(mask), mask)),
        }))
    }

    fn save(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        match t {
            Target::Netmap(t) => format!(" --to {}", network(t, cx.family)),
            _ => String::new(),
        }
    }

    fn print(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        match t {
            Target::Netmap(t) => format!(" to:{}", network(t, cx.family)),
            _ => String::new(),
        }
    }
}

fn network(t: &Netmap, family: Family) -> String {
    let (network, mask) = *t.to;
    match mask.prefix_len(family) {
        Some(len) => format!("{}/{len}", network.display(family)),
        None => format!("{}/{}", network.display(family), mask.display(family)),
    }
}
