//! `-j REJECT`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_wire::Family;

use fielato_netfilter::targets::reject::Reject;

use crate::extensions::words::Options;

/// The user side of `-j REJECT`.
pub struct RejectSyntax;

/// An answer: name, short name, meaning.
type Kind = (Reject, &'static str, &'static str, &'static str);

/// In the order of `enum ipt_reject_with`, which is the order of the help and of what an abbreviation means.
const KINDS_V4: [Kind; 8] = [
    (
        Reject::Unreachable(0),
        "icmp-net-unreachable",
        "net-unreach",
        "ICMP network unreachable",
    ),
    (
        Reject::Unreachable(1),
        "icmp-host-unreachable",
        "host-unreach",
        "ICMP host unreachable",
    ),
    (
        Reject::Unreachable(2),
        "icmp-proto-unreachable",
        "proto-unreach",
        "ICMP protocol unreachable",
    ),
    (
        Reject::Unreachable(3),
        "icmp-port-unreachable",
        "port-unreach",
        "ICMP port unreachable (default)",
    ),
    (
        Reject::Unreachable(9),
        "icmp-net-prohibited",
        "net-prohib",
        "ICMP network prohibited",
    ),
    (
        Reject::Unreachable(10),
        "icmp-host-prohibited",
        "host-prohib",
        "ICMP host prohibited",
    ),
    (Reject::TcpReset, "tcp-reset", "tcp-rst", "TCP RST packet"),
    (
        Reject::Unreachable(13),
        "icmp-admin-prohibited",
        "admin-prohib",
        "ICMP administratively prohibited (*)",
    ),
];

/// In the order of `enum ip6t_reject_with`.
const KINDS_V6: [Kind; 7] = [
    (Reject::Unreachable(0), "icmp6-no-route", "no-route", "ICMPv6 no route"),
    (
        Reject::Unreachable(1),
        "icmp6-adm-prohibited",
        "adm-prohibited",
        "ICMPv6 administratively prohibited",
    ),
    (
        Reject::Unreachable(3),
        "icmp6-addr-unreachable",
        "addr-unreach",
        "ICMPv6 address unreachable",
    ),
    (
        Reject::Unreachable(4),
        "icmp6-port-unreachable",
        "port-unreach",
        "ICMPv6 port unreachable",
    ),
    (Reject::TcpReset, "tcp-reset", "tcp-reset", "TCP RST packet"),
    (
        Reject::Unreachable(5),
        "icmp6-policy-fail",
        "policy-fail",
        "ICMPv6 policy fail",
    ),
    (
        Reject::Unreachable(6),
        "icmp6-reject-route",
        "reject-route",
        "ICMPv6 reject route",
    ),
];

const fn kinds(family: Family) -> &'static [Kind] {
    match family {
        Family::V4 => &KINDS_V4,
        Family::V6 => &KINDS_V6,
    }
}

impl TargetSyntax for RejectSyntax {
    fn name(&self) -> &'static str {
        "REJECT"
    }

    fn options(&self) -> &'static [OptionSpec] {
        const { &[OptionSpec::one("reject-with")] }
    }

    fn help(&self, family: Family) -> String {
        let mut out = String::from("REJECT target options:\n--reject-with type   drop the packet and answer with:\n");
        for (_, name, alias, meaning) in kinds(family) {
            out += &format!("    {name:<25}\t{meaning}\n    {alias:<25}\talias\n");
        }
        out
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let Some(text) = Options::new("REJECT", given).text("reject-with") else {
            return Ok(Target::Reject(Reject::default_for(cx.family)));
        };
        let begins = |name: &str| name.get(..text.len()).is_some_and(|head| head.eq_ignore_ascii_case(text));
        let kind = kinds(cx.family)
            .iter()
            .find(|(_, name, alias, _)| begins(name) || begins(alias));
        match kind {
            Some((reject, ..)) => Ok(Target::Reject(*reject)),
            None => Err(SyntaxError::new(format!("unknown reject type \"{text}\""))),
        }
    }

    fn save(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        format!(" --reject-with {}", name(t, cx))
    }

    fn print(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        format!(" reject-with {}", name(t, cx))
    }
}

fn name(t: &Target, cx: &PrintContext<'_>) -> &'static str {
    let known = |(reject, ..): &&Kind| matches!(t, Target::Reject(t) if t == reject);
    kinds(cx.family).iter().find(known).map_or("", |(_, name, ..)| name)
}
