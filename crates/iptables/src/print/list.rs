//! Rules as `-L` prints them, and as `-A -v` does.

use std::fmt::Write as _;

use fielato_netfilter::rule::{AddressMatch, Fragment, InterfaceMatch};
use fielato_netfilter::{Chain, Counters, Rule, Target};
use fielato_wire::{Addr, Family};

use super::save::{Printer, is_standard, policy_name};
use crate::names::protocol_name;

/// How `-L` prints.
#[derive(Clone, Copy, Default)]
pub(crate) struct Format {
    /// `-v`: counters and interfaces.
    pub(crate) verbose: bool,
    /// `-n`
    pub(crate) numeric: bool,
    /// `-x`
    pub(crate) exact: bool,
    /// `--line-numbers`
    pub(crate) line_numbers: bool,
}

impl Printer<'_> {
    /// The two lines above a chain's rules.
    pub(crate) fn chain_header(&self, text: &mut String, chain: &Chain, references: usize, format: Format) {
        let _ = match chain.policy {
            Some(policy) if format.verbose => writeln!(
                text,
                "Chain {} (policy {} {}packets, {}bytes)",
                chain.name,
                policy_name(policy),
                plain_count(chain.counters.packets, format),
                plain_count(chain.counters.bytes, format)
            ),
            Some(policy) => writeln!(text, "Chain {} (policy {})", chain.name, policy_name(policy)),
            None => writeln!(text, "Chain {} ({references} references)", chain.name),
        };
        if format.line_numbers {
            text.push_str("num  ");
        }
        match (format.verbose, format.exact) {
            (true, false) => text.push_str(" pkts bytes "),
            (true, true) => text.push_str("    pkts      bytes "),
            (false, _) => {}
        }
        text.push_str("target     prot opt");
        if format.verbose {
            text.push_str(" in     out    ");
        }
        text.push_str(" source               destination         \n");
    }

    /// A rule's line of a listing.
    pub(crate) fn listed(&self, text: &mut String, rule: &Rule, number: usize, format: Format) {
        if format.line_numbers {
            let _ = write!(text, "{number:<4} ");
        }
        if format.verbose {
            let Counters { packets, bytes } = rule.counters;
            text.push_str(&padded_count(packets, format));
            text.push_str(&padded_count(bytes, format));
        }
        let _ = write!(text, "{:<9} ", self.target_name(&rule.target));
        text.push(sign(rule.ip.protocol.negated));
        let protocol = rule.ip.protocol.number;
        let _ = match protocol_name(protocol, format.numeric, self.names).filter(|_| !format.numeric) {
            Some(name) => write!(text, "{name:<4} "),
            None => write!(text, "{protocol:<4} "),
        };
        self.fragment(text, rule);
        if format.verbose {
            let _ = write!(text, " {:<6} ", interface(&rule.ip.in_interface, format.numeric));
            let _ = write!(text, "{:<6} ", interface(&rule.ip.out_interface, format.numeric));
        }
        for address in [&rule.ip.source, &rule.ip.destination] {
            text.push(sign(address.negated));
            let _ = write!(text, "{:<19} ", self.shown_address(address, format.numeric));
        }
        self.extensions(text, rule, format.numeric);
    }

    /// A rule as `-A -v` and its like print it.
    pub(crate) fn told(&self, text: &mut String, rule: &Rule) {
        let _ = write!(text, "{} ", self.target_name(&rule.target));
        text.push(sign(rule.ip.protocol.negated));
        let protocol = rule.ip.protocol.number;
        let _ = match protocol_name(protocol, true, self.names) {
            Some(name) => write!(text, "{name} "),
            None => write!(text, "{protocol} "),
        };
        text.push_str("opt ");
        self.fragment(text, rule);
        let _ = write!(text, "in {} ", interface(&rule.ip.in_interface, true));
        let _ = write!(text, "out {} ", interface(&rule.ip.out_interface, true));
        let (source, destination) = (&rule.ip.source, &rule.ip.destination);
        let _ = write!(
            text,
            "{}{} {}-> {}",
            sign(source.negated),
            self.shown_address(source, true),
            sign(destination.negated),
            self.shown_address(destination, true)
        );
        text.push_str("  ");
        self.extensions(text, rule, true);
    }

    fn target_name<'t>(&self, target: &'t Target) -> &'t str {
        target.name()
    }

    fn fragment(&self, text: &mut String, rule: &Rule) {
        text.push_str(match (self.family, rule.ip.fragment) {
            (Family::V6, _) | (Family::V4, None) => "-- ",
            (Family::V4, Some(Fragment::Later)) => "-f ",
            (Family::V4, Some(Fragment::FirstOrWhole)) => "!f ",
        });
    }

    fn extensions(&self, text: &mut String, rule: &Rule, numeric: bool) {
        if matches!(rule.target, Target::Goto(_)) {
            text.push_str("[goto] ");
        }
        let cx = self.context(&rule.ip, numeric);
        for m in &rule.matches {
            match self.registry.find_match(m.name(), self.family) {
                Some(syntax) => text.push_str(&syntax.print(m, &cx)),
                None => {
                    let _ = write!(text, "UNKNOWN match `{}' ", m.name());
                }
            }
        }
        if !is_standard(&rule.target)
            && let Some(syntax) = self.registry.find_target(rule.target.name(), self.family)
        {
            text.push_str(&syntax.print(&rule.target, &cx));
        }
        text.push('\n');
    }

    fn shown_address(&self, address: &AddressMatch, numeric: bool) -> String {
        // iptables looks at the mask, ip6tables at the address.
        let any = match self.family {
            Family::V4 => address.mask == Addr::ZERO,
            Family::V6 => address.network == Addr::ZERO,
        };
        if any && !numeric {
            return "anywhere".to_owned();
        }
        let network = address.network.display(self.family);
        let name = match numeric {
            true => None,
            false => self.names.host_name(address.network, self.family),
        };
        let shown = name.unwrap_or_else(|| network.to_string());
        match address.mask.prefix_len(self.family) {
            Some(bits) if bits == self.family.bits() => shown,
            Some(bits) => format!("{shown}/{bits}"),
            None => format!("{shown}/{}", address.mask.display(self.family)),
        }
    }
}

fn sign(negated: bool) -> char {
    if negated { '!' } else { ' ' }
}

fn interface(interface: &InterfaceMatch, numeric: bool) -> String {
    let not = if interface.negated { "!" } else { "" };
    let plus = if interface.prefix { "+" } else { "" };
    if interface.name.is_empty() && !interface.prefix {
        return format!("{not}{}", if numeric { "*" } else { "any" });
    }
    format!("{not}{}{plus}", interface.name)
}

/// A count with K, M, G or T, in 4 digits at most before it; with its width.
fn scaled(count: u64) -> (u64, &'static str, usize) {
    if count <= 99_999 {
        return (count, "", 5);
    }
    let mut count = count;
    for unit in ["K", "M", "G"] {
        count = count.saturating_add(500) / 1000;
        if count <= 9999 {
            return (count, unit, 4);
        }
    }
    (count.saturating_add(500) / 1000, "T", 4)
}

fn padded_count(count: u64, format: Format) -> String {
    if format.exact {
        return format!("{count:>8} ");
    }
    let (count, unit, width) = scaled(count);
    format!("{count:>width$}{unit} ")
}

fn plain_count(count: u64, format: Format) -> String {
    if format.exact {
        return format!("{count} ");
    }
    let (count, unit, _) = scaled(count);
    format!("{count}{unit} ")
}
