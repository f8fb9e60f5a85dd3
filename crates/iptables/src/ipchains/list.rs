//! `-L`, and what ipchains-save writes.

use std::fmt::Write as _;

use fielato_netfilter::Counters;
use fielato_netfilter::syntax::Names;
use fielato_wire::{Addr, Family, number};

use super::{Chain, Chains, Command, Error, Rule, Side};
use crate::names::protocol_name;

/// The listing of one chain or of all.
pub(super) fn list(chains: &Chains, chain: Option<&str>, command: &Command, names: &dyn Names) -> Result<String, Error> {
    let mut text = String::new();
    match chain {
        Some(name) => one(&mut text, chains, chains.chain(name).ok_or(Error::NoChain)?, command, names),
        None => chains
            .0
            .iter()
            .for_each(|chain| one(&mut text, chains, chain, command, names)),
    }
    Ok(text)
}

fn one(text: &mut String, chains: &Chains, chain: &Chain, command: &Command, names: &dyn Names) {
    let about = match &chain.policy {
        Some(policy) => format!("policy {}", policy.words()),
        None => format!("refcnt = {}", chains.references(&chain.name)),
    };
    let _ = writeln!(text, "Chain {} ({about}):", chain.name);
    if command.line_numbers {
        text.push_str("num  ");
    }
    text.push_str(match command.verbose {
        true => " pkts bytes target     prot opt    tosa tosx  ifname     mark       source                destination           ports\n",
        false => "target     prot opt     source                destination           ports\n",
    });
    for (number, (rule, counters)) in chain.rules.iter().enumerate() {
        if command.line_numbers {
            let _ = write!(text, "{:<4} ", number + 1);
        }
        line(text, rule, *counters, command, names);
    }
}

fn line(text: &mut String, rule: &Rule, counters: Counters, command: &Command, names: &dyn Names) {
    if command.verbose {
        let Counters { packets, bytes } = counters;
        let _ = write!(
            text,
            "{:>5} {:>5} ",
            count(packets, command.exact),
            count(bytes, command.exact)
        );
    }
    let target = rule.target.as_ref().map_or("-".to_owned(), |target| {
        target.words().split(' ').next().unwrap_or("-").to_owned()
    });
    let protocol = match rule.protocol {
        None => "all".to_owned(),
        Some((protocol, negated)) => {
            let name = protocol_name(protocol, false, names);
            format!(
                "{}{}",
                if negated { "!" } else { "" },
                name.unwrap_or_else(|| protocol.to_string())
            )
        }
    };
    let flag = |asked: Option<bool>, letter: char| match asked {
        Some(true) => format!("-{letter}"),
        Some(false) => format!("!{letter}"),
        None => "--".to_owned(),
    };
    let log = if rule.log { "l-" } else { "--" };
    let options = flag(rule.syn, 'y') + &flag(rule.fragment, 'f') + log;
    let _ = write!(text, "{target:<10} {protocol:<4} {options} ");
    if command.verbose {
        let (and, xor) = rule.tos.unwrap_or((0xff, 0));
        let interface = rule.interface.as_ref().map_or("any".to_owned(), |(name, negated)| {
            format!("{}{name}", if *negated { "!" } else { "" })
        });
        let mark = rule.mark.map_or(String::new(), |mark| format!("{mark:#x}"));
        let _ = write!(text, "0x{and:02X} 0x{xor:02X}  {interface:<10} {mark:<10} ");
    }
    for side in [&rule.source, &rule.destination] {
        let _ = write!(text, "{:<21} ", network(side, command.numeric, names));
    }
    let _ = writeln!(text, "{}", ports(rule, command.numeric, names));
}

fn count(count: u64, exact: bool) -> String {
    match count {
        count if exact || count < 100_000 => count.to_string(),
        count if count < 10_000_000 => format!("{}K", count / 1000),
        count => format!("{}M", count / 1_000_000),
    }
}

fn network(side: &Side, numeric: bool, names: &dyn Names) -> String {
    let not = if side.negated { "!" } else { "" };
    let super::Network { address, mask } = side.network;
    if mask == 0 {
        return format!("{not}{}", if numeric { "0.0.0.0/0" } else { "anywhere" });
    }
    let address = Addr::from_bits(address.into());
    let name = match numeric || mask != u32::MAX {
        true => None,
        false => names.host_name(address, Family::V4),
    };
    let shown = name.unwrap_or_else(|| address.display(Family::V4).to_string());
    match mask.leading_ones() {
        32 => format!("{not}{shown}"),
        bits if bits + mask.trailing_zeros() == 32 => format!("{not}{shown}/{bits}"),
        _ => format!("{not}{shown}/{}", std::net::Ipv4Addr::from(mask)),
    }
}

fn ports(rule: &Rule, numeric: bool, names: &dyn Names) -> String {
    let name = match rule.protocol {
        Some((number::TCP, false)) => "tcp",
        Some((number::UDP, false)) => "udp",
        Some((number::ICMP, false)) => "",
        _ => return "n/a".to_owned(),
    };
    let show = |side: &Side| {
        let Some((from, to)) = side.ports else {
            return "any".to_owned();
        };
        let not = if side.ports_negated { "!" } else { "" };
        let service = match numeric || name.is_empty() || from != to {
            true => None,
            false => names.service_name(from, name),
        };
        match service {
            Some(service) => format!("{not}{service}"),
            None if from == to => format!("{not}{from}"),
            None => format!("{not}{from}:{to}"),
        }
    };
    format!("{} ->   {}", show(&rule.source), show(&rule.destination))
}

/// ipchains-save.
pub(super) fn save(chains: &Chains) -> String {
    let mut text = String::new();
    for chain in &chains.0 {
        let policy = chain.policy.as_ref().map_or("-".to_owned(), super::Target::words);
        let _ = writeln!(text, ":{} {policy}", chain.name);
    }
    for chain in &chains.0 {
        for (rule, _) in &chain.rules {
            let _ = writeln!(text, "-A {} {}", chain.name, rule.words());
        }
    }
    text
}
