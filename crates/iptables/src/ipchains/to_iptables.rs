//! The iptables rules that chains stand for, and the way back from them.

use std::collections::HashMap;
use std::fmt::Write as _;

use fielato_netfilter::syntax::Names;
use fielato_netfilter::{Counters, Match, Table};
use fielato_wire::number;

use super::{BUILTIN, Chain, Chains, Error, Rule, Side, Target, command};

/// What the names of the chains begin with that hold the rules as they were given.
pub const SHADOW: &str = "ipchains.";

/// One passage of packets through a chain, with the chains that it leads to: they are written once for each.
#[derive(Clone, Copy)]
struct Way {
    /// What the copies' names begin with.
    prefix: &'static str,
    table: &'static str,
    /// The chain that it begins with.
    root: &'static str,
    /// Where the rule stands that leads there.
    from: &'static str,
    /// `-i` or `-o`: the interface that `-i` meant there.
    interface: &'static str,
    /// Where a packet goes that is accepted.
    accept: &'static str,
}

/// Through table filter. FORWARD holds three passages, one behind the other: an accepted packet goes on to the next.
const FILTER: [Way; 5] = [
    Way {
        prefix: "in",
        table: "filter",
        root: "input",
        from: "INPUT",
        interface: "-i",
        accept: "ACCEPT",
    },
    Way {
        prefix: "thin",
        table: "filter",
        root: "input",
        from: "FORWARD",
        interface: "-i",
        accept: "thfw",
    },
    Way {
        prefix: "thfw",
        table: "filter",
        root: "forward",
        from: "thfw",
        interface: "-o",
        accept: "thout",
    },
    Way {
        prefix: "thout",
        table: "filter",
        root: "output",
        from: "thout",
        interface: "-o",
        accept: "ACCEPT",
    },
    Way {
        prefix: "out",
        table: "filter",
        root: "output",
        from: "OUTPUT",
        interface: "-o",
        accept: "ACCEPT",
    },
];

/// MASQ: which packets `forward` would masquerade. Table nat sees a connection's first packet only, and every other target just
/// ends the passage: table filter has judged the packet already.
const MASQ: Way = Way {
    prefix: "masq",
    table: "nat",
    root: "forward",
    from: "POSTROUTING",
    interface: "-o",
    accept: "ACCEPT",
};

/// REDIRECT: which packets `input` would redirect.
const REDIRECT: Way = Way {
    prefix: "redir",
    table: "nat",
    root: "input",
    from: "PREROUTING",
    interface: "-i",
    accept: "ACCEPT",
};

/// `-t` and `-m` change packets: table mangle.
const CHANGE: [Way; 3] = [
    Way {
        prefix: "chgin",
        table: "mangle",
        root: "input",
        from: "PREROUTING",
        interface: "-i",
        accept: "ACCEPT",
    },
    Way {
        prefix: "chgfw",
        table: "mangle",
        root: "forward",
        from: "FORWARD",
        interface: "-o",
        accept: "ACCEPT",
    },
    Way {
        prefix: "chgout",
        table: "mangle",
        root: "output",
        from: "POSTROUTING",
        interface: "-o",
        accept: "ACCEPT",
    },
];

impl Way {
    fn copy(&self, chain: &str) -> String {
        format!("{}.{chain}", self.prefix)
    }

    /// The iptables target of a target here.
    fn target(&self, target: &Target) -> String {
        match (target, self.table) {
            (Target::Return, _) => "RETURN".to_owned(),
            (Target::Chain(name), _) => self.copy(name),
            (Target::Deny, "filter") => "DROP".to_owned(),
            (Target::Reject, "filter") => "REJECT".to_owned(),
            (Target::Masq, _) if self.prefix == "masq" => "MASQUERADE".to_owned(),
            (Target::Redirect(0), _) if self.prefix == "redir" => "REDIRECT".to_owned(),
            (Target::Redirect(port), _) if self.prefix == "redir" => format!("REDIRECT --to-ports {port}"),
            _ => self.accept.to_owned(),
        }
    }
}

/// A rule's line, and the rule that it counts for: chain and place.
struct Line {
    chain: String,
    text: String,
    counts_for: Option<(String, usize)>,
}

/// A table as it will be: chains beside the built-in ones, and lines.
#[derive(Default)]
struct Draft {
    chains: Vec<String>,
    lines: Vec<Line>,
}

impl Draft {
    fn line(&mut self, chain: &str, text: String) {
        self.lines.push(Line {
            chain: chain.to_owned(),
            text,
            counts_for: None,
        });
    }

    /// Copies of the chains that a way leads through.
    fn way(&mut self, chains: &Chains, way: &Way) {
        let mut open = vec![way.root.to_owned()];
        let mut seen: Vec<String> = Vec::new();
        while let Some(name) = open.pop() {
            if seen.contains(&name) {
                continue;
            }
            seen.push(name.clone());
            let copy = way.copy(&name);
            self.chains.push(copy.clone());
            let rules = chains.chain(&name).map(|chain| chain.rules.as_slice()).unwrap_or_default();
            for (place, (rule, _)) in rules.iter().enumerate() {
                if let Some(Target::Chain(to)) = &rule.target {
                    open.push(to.clone());
                }
                self.rule(way, &name, &copy, place, rule);
            }
        }
    }

    fn rule(&mut self, way: &Way, chain: &str, copy: &str, place: usize, rule: &Rule) {
        let conditions = conditions(rule, way.interface);
        if way.table == "mangle" {
            if let Some((and, xor)) = rule.tos {
                self.line(copy, format!("{conditions}-j TOS --set-tos {xor:#04x}/{:#04x}", !and));
            }
            if let Some(mark) = rule.mark {
                self.line(copy, format!("{conditions}-j MARK --set-mark {mark:#x}"));
            }
        }
        if way.table == "filter" && rule.log {
            let target = rule.target.as_ref().map_or("-".to_owned(), |target| {
                target.words().split(' ').next().unwrap_or("-").to_owned()
            });
            // The kernel keeps 29 bytes.
            let mut prefix = format!("Packet log: {chain} {target} ");
            prefix.truncate(29);
            self.line(copy, format!("{conditions}-j LOG --log-prefix \"{prefix}\""));
        }
        let target = rule
            .target
            .as_ref()
            .map_or(String::new(), |target| format!("-j {}", way.target(target)));
        self.lines.push(Line {
            chain: copy.to_owned(),
            text: format!("{conditions}{target}"),
            counts_for: (way.table == "filter").then(|| (chain.to_owned(), place)),
        });
    }
}

/// What a rule asks, as iptables has it.
fn conditions(rule: &Rule, interface: &str) -> String {
    let not = |negated: bool| if negated { "! " } else { "" };
    let mut text = String::new();
    for (option, side) in [("-s", &rule.source), ("-d", &rule.destination)] {
        if side.network.mask != 0 || side.negated {
            let _ = write!(text, "{}{option} {} ", not(side.negated), side.network);
        }
    }
    if let Some((name, negated)) = &rule.interface {
        let _ = write!(text, "{}{interface} {name} ", not(*negated));
    }
    let Some((protocol, negated)) = rule.protocol else {
        return text + fragment(rule);
    };
    let _ = write!(text, "{}-p {protocol} {}", not(negated), fragment(rule));
    let (source, destination) = (&rule.source, &rule.destination);
    match protocol {
        _ if negated => {}
        number::TCP | number::UDP => {
            let port = |text: &mut String, option: &str, side: &Side| {
                if let Some((from, to)) = side.ports {
                    let _ = write!(text, "{}{option} {from}:{to} ", not(side.ports_negated));
                }
            };
            let name = if protocol == number::TCP { "tcp" } else { "udp" };
            if source.ports.is_some() || destination.ports.is_some() || rule.syn.is_some() {
                let _ = write!(text, "-m {name} ");
            }
            port(&mut text, "--sport", source);
            port(&mut text, "--dport", destination);
            if let Some(syn) = rule.syn {
                let _ = write!(text, "{}--tcp-flags FIN,SYN,ACK SYN ", not(!syn));
            }
        }
        number::ICMP => {
            if let Some((kind, _)) = source.ports {
                let _ = write!(text, "-m icmp {}--icmp-type {kind}", not(source.ports_negated));
                if let Some((code, _)) = destination.ports {
                    let _ = write!(text, "/{code}");
                }
                text.push(' ');
            }
        }
        _ => {}
    }
    text
}

fn fragment(rule: &Rule) -> &'static str {
    match rule.fragment {
        Some(true) => "-f ",
        Some(false) => "! -f ",
        None => "",
    }
}

fn filter(chains: &Chains) -> Draft {
    let mut draft = Draft::default();
    draft.chains.extend(["thfw", "thout"].map(str::to_owned));
    let policy = |name: &str| {
        chains
            .chain(name)
            .and_then(|chain| chain.policy.clone())
            .unwrap_or(Target::Accept)
    };
    let uses = |fits: fn(&Target) -> bool| uses(chains, fits);
    if uses(|target| matches!(target, Target::Redirect(_))) {
        // `input` has judged these under the address they were sent to.
        draft.line("INPUT", "-m conntrack --ctstate DNAT -j ACCEPT".to_owned());
    }
    if masquerades(chains) {
        // Answers to masqueraded connections pass `forward` by.
        draft.line("thfw", "-m conntrack --ctstate SNAT --ctdir REPLY -j thout".to_owned());
    }
    for way in &FILTER {
        draft.way(chains, way);
        draft.line(way.from, format!("-j {}", way.copy(way.root)));
        draft.line(way.from, format!("-j {}", way.target(&policy(way.root))));
    }
    draft
}

fn uses(chains: &Chains, fits: fn(&Target) -> bool) -> bool {
    let rules = chains.0.iter().flat_map(|chain| &chain.rules);
    rules.filter_map(|(rule, _)| rule.target.as_ref()).any(fits)
}

fn masquerades(chains: &Chains) -> bool {
    let by_policy = chains
        .chain("forward")
        .is_some_and(|chain| chain.policy == Some(Target::Masq));
    by_policy || uses(chains, |target| *target == Target::Masq)
}

fn nat(chains: &Chains) -> Draft {
    let mut draft = Draft::default();
    if masquerades(chains) {
        draft.way(chains, &MASQ);
        // What is made here doesn't pass `forward`.
        draft.line(MASQ.from, "-m addrtype --src-type LOCAL -j ACCEPT".to_owned());
        draft.line(MASQ.from, format!("-j {}", MASQ.copy(MASQ.root)));
        if chains
            .chain(MASQ.root)
            .is_some_and(|chain| chain.policy == Some(Target::Masq))
        {
            draft.line(MASQ.from, "-j MASQUERADE".to_owned());
        }
    }
    if uses(chains, |target| matches!(target, Target::Redirect(_))) {
        draft.way(chains, &REDIRECT);
        draft.line(REDIRECT.from, format!("-j {}", REDIRECT.copy(REDIRECT.root)));
    }
    draft
}

fn mangle(chains: &Chains) -> Draft {
    let mut draft = Draft::default();
    let changes = |rule: &Rule| rule.tos.is_some() || rule.mark.is_some();
    if chains.0.iter().flat_map(|chain| &chain.rules).any(|(rule, _)| changes(rule)) {
        for way in &CHANGE {
            draft.way(chains, way);
            draft.line(way.from, format!("-j {}", way.copy(way.root)));
        }
    }
    draft
}

/// Three tables as a file for iptables-restore.
pub fn text(chains: &Chains) -> String {
    let mut text = String::new();
    let shadows = shadows(chains);
    for (name, hooks, draft) in [
        ("filter", &["INPUT", "FORWARD", "OUTPUT"][..], filter(chains)),
        ("nat", &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"], nat(chains)),
        (
            "mangle",
            &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
            mangle(chains),
        ),
    ] {
        let _ = writeln!(text, "*{name}");
        for hook in hooks {
            let _ = writeln!(text, ":{hook} ACCEPT [0:0]");
        }
        for chain in &draft.chains {
            let _ = writeln!(text, ":{chain} - [0:0]");
        }
        if name == "filter" {
            text += &shadows;
        }
        for line in &draft.lines {
            let _ = writeln!(text, "-A {} {}", line.chain, line.text.trim_end());
        }
        text += "COMMIT\n";
    }
    text
}

/// The chains that hold the rules as they were given.
fn shadows(chains: &Chains) -> String {
    let mut text = String::new();
    for chain in &chains.0 {
        let _ = writeln!(text, ":{SHADOW}{} - [0:0]", chain.name);
    }
    for chain in &chains.0 {
        if let Some(policy) = &chain.policy {
            let _ = writeln!(
                text,
                "-A {SHADOW}{} -m comment --comment \"-P {}\"",
                chain.name,
                policy.words()
            );
        }
        for (rule, counters) in &chain.rules {
            let Counters { packets, bytes } = counters;
            let words = rule.words();
            let _ = writeln!(
                text,
                "[{packets}:{bytes}] -A {SHADOW}{} -m comment --comment \"{words}\"",
                chain.name
            );
        }
    }
    text
}

/// The chains that a table `filter` holds, with what their rules counted since; the usual three where it holds none.
pub(super) fn read(table: &Table, names: &dyn Names) -> Result<Chains, Error> {
    let mut chains = Chains::default();
    for shadow in &table.chains {
        let Some(name) = shadow.name.strip_prefix(SHADOW) else {
            continue;
        };
        if !BUILTIN.contains(&name) {
            chains.0.push(Chain {
                name: name.to_owned(),
                policy: None,
                rules: Vec::new(),
            });
        }
        let chain = chains.chain_mut(name)?;
        for rule in &shadow.rules {
            let comment = rule.matches.iter().find_map(|m| match m {
                Match::Comment(comment) => Some(&*comment.text),
                _ => None,
            });
            let comment = comment.unwrap_or("");
            match comment.strip_prefix("-P ") {
                Some(policy) => chain.policy = Some(command::target(policy, None)),
                None => chain.rules.push((command::rule(comment, names)?, rule.counters)),
            }
        }
    }
    count(&mut chains, table);
    Ok(chains)
}

/// Adds what the copies counted.
fn count(chains: &mut Chains, table: &Table) {
    let draft = filter(chains);
    let mut places: HashMap<&str, usize> = HashMap::new();
    for line in &draft.lines {
        let place = places.entry(&line.chain).or_insert(0);
        let at = *place;
        *place += 1;
        let Some((chain, rule)) = &line.counts_for else { continue };
        let counted = table.chain(&line.chain).and_then(|copy| copy.rules.get(at));
        if let (Some(counted), Ok(chain)) = (counted, chains.chain_mut(chain))
            && let Some((_, counters)) = chain.rules.get_mut(*rule)
        {
            counters.add(counted.counters.packets, counted.counters.bytes);
        }
    }
}
