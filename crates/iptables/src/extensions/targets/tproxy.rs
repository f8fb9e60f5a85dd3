//! `-j TPROXY`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::tproxy::{Parameters, Tproxy};
use fielato_wire::Addr;
use fielato_wire::Family;

use crate::extensions::values;
use crate::extensions::words::{self, Options};

/// The user side of `-j TPROXY`.
pub struct TproxySyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("on-port"),
    OptionSpec::one("on-ip"),
    OptionSpec::one("tproxy-mark"),
];

impl TargetSyntax for TproxySyntax {
    fn name(&self) -> &'static str {
        "TPROXY"
    }

    fn revision(&self) -> u8 {
        1
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "TPROXY target",
            &[
                ("--on-port port", "port of the socket; 0 for the packet's own"),
                ("--on-ip ip", "address of the socket"),
                ("--tproxy-mark value[/mask]", "mark for the packet"),
            ],
        )
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("TPROXY", given);
        let port = options.required("on-port")?;
        let port = words::port(port, cx.names)
            .ok_or_else(|| SyntaxError::new(format!("Port \"{port}\" does not resolve to anything.")))?;
        let address = match options.text("on-ip") {
            None => Addr::ZERO,
            Some(text) => values::address(text, cx.family)
                .ok_or_else(|| SyntaxError::new(format!("TPROXY: \"{text}\" is not an address")))?,
        };
        let (mark, mask) = options.mark_mask("tproxy-mark")?.unwrap_or((0, 0));
        Ok(Target::Tproxy(Tproxy(Box::new(Parameters {
            address,
            port,
            mark,
            mask,
        }))))
    }

    fn save(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        let Target::Tproxy(Tproxy(p)) = t else {
            return String::new();
        };
        let address = p.address.display(cx.family);
        format!(
            " --on-port {} --on-ip {address} --tproxy-mark 0x{:x}/0x{:x}",
            p.port, p.mark, p.mask
        )
    }

    fn print(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        let Target::Tproxy(Tproxy(p)) = t else {
            return String::new();
        };
        let address = p.address.display(cx.family);
        format!(" TPROXY redirect {address}:{} mark 0x{:x}/0x{:x}", p.port, p.mark, p.mask)
    }
}
