//! Rule sets as nftables text, for `nft -f`.
//!
//! A rule becomes one nft rule with the same meaning, judged by what the kernel does (`xt_*.c` against `nft_*.c`), not by the
//! likeness of words. What nft can't say is named ([`Inexpressible`]), never left out silently. Chains keep their names where nft
//! can read them. nft keeps no counters for policies: theirs stand in a comment.
//!
//! Four things differ for every rule that they meet, so that naming them would leave nothing to express:
//!
//! - A packet that ends before or within a header that a match reads, or whose header is wrong in itself, is dropped by iptables
//!   ("hotdrop"); nft goes on with the next rule. So is the second fragment of a TCP header that was cut (offset 8), and of a chain
//!   of IPv6 headers that was.
//! - In IPv6, nft takes the authentication header (51) for the packet's protocol; `-p` of ip6tables looks behind it.
//! - `TCPMSS` adds the option to a SYN that has none, with the size that holds without one (536 in IPv4, 1220 in IPv6); nft leaves
//!   such a SYN as it is. Where `TCPMSS` would set less, the rule is named.
//! - `-j CT` and `-j NOTRACK` in OUTPUT leave the machine's own answer to an untracked packet (`REJECT`) as it is; nft's `notrack`
//!   and `ct zone set` take it for a packet that nobody saw before.

mod address;
mod connection;
mod fragments;
mod header;
mod matches;
mod nat;
mod port;
mod reach;
mod targets;
mod time;
mod words;

use std::fmt::{self, Write as _};

use fielato_netfilter::rule::{IpMatch, Policy};
use fielato_netfilter::{Chain, Hook, HookMask, Match, Rule, Ruleset, Table, Target};
use fielato_wire::Family;

use crate::print::save::in_order;
use reach::hooks_of_chains;

/// Why nft can't say it.
type Reason = String;

/// How to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// First remove the tables of these names, in the same transaction.
    pub replace: bool,
    /// Without the counts that rules have: they start at 0.
    pub no_counts: bool,
    /// Packets come whole, whatever these rules are: something else on the host tracks connections.
    pub whole: bool,
}

/// A rule that nft can't express.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inexpressible {
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The rule's number in it, from 1; 0 when the chain itself is meant.
    pub rule: usize,
    /// The match or target: `-m recent`, `-j TTL`.
    pub part: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Inexpressible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inexpressible {
            table,
            chain,
            rule,
            part,
            reason,
        } = self;
        write!(f, "table {table}, chain {chain}, rule {rule}: {part}: {reason}")
    }
}

/// Rules that nft can't express.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nft can't express this rule set: {}", list(.0))]
pub struct NotInNft(pub Vec<Inexpressible>);

fn list(parts: &[Inexpressible]) -> String {
    parts.iter().map(Inexpressible::to_string).collect::<Vec<_>>().join("; ")
}

/// A text, and what is missing in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendering {
    /// What `nft -f` takes. Rules that can't be expressed stand in it as comments.
    pub text: String,
    /// Those rules.
    pub missing: Vec<Inexpressible>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleText {
    /// Sets that it needs in its table: a name, and what stands between the braces.
    pub sets: Vec<(String, String)>,
    /// The rule.
    pub text: String,
}

/// Where a rule stands.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The family.
    pub family: Family,
    /// The table's name.
    pub table: &'a str,
    /// The chain's name.
    pub chain: &'a str,
    /// The rule's number, from 1.
    pub number: usize,
    /// Hooks that its chain is reached from.
    pub hooks: HookMask,
    /// Sets of its table so far: where their numbers go on.
    pub sets: usize,
    /// Whether its counts are written.
    pub counts: bool,
    /// Whether packets may come in fragments: nothing tracks connections, which puts them together.
    pub fragments: bool,
}

/// The whole rule set; an error when a part of it can't be expressed.
pub fn ruleset(rules: &Ruleset, options: Options) -> Result<String, NotInNft> {
    let Rendering { text, missing } = partial(rules, options);
    if missing.is_empty() {
        Ok(text)
    } else {
        Err(NotInNft(missing))
    }
}

/// As much of the rule set as nft can express.
pub fn partial(rules: &Ruleset, options: Options) -> Rendering {
    let mut out = Rendering::default();
    let family = family_name(rules.family);
    let options = Options {
        whole: options.whole || fragments::are_joined(rules),
        ..options
    };
    if options.replace {
        for table in &rules.tables {
            let name = words::identifier(&table.name);
            // The first line makes the second one succeed where there is no such table.
            out.text += &format!("table {family} {name}\ndelete table {family} {name}\n");
        }
    }
    for table in &rules.tables {
        table_text(&mut out, table, rules.family, options);
    }
    out
}

fn table_text(out: &mut Rendering, table: &Table, family: Family, options: Options) {
    let hooks = hooks_of_chains(table);
    let mut sets = Vec::new();
    let mut chains = String::new();
    for chain in in_order(table) {
        let name = words::identifier(&chain.name);
        if name != chain.name {
            chains += &format!("\t# chain {:?}\n", chain.name);
        }
        let _ = writeln!(chains, "\tchain {name} {{");
        match (chain.policy, Hook::from_chain(&chain.name)) {
            (Some(policy), Some(hook)) => {
                chains += &base_chain(chain, policy, hook, &table.name, options);
            }
            (Some(_), None) => out.missing.push(Inexpressible {
                table: table.name.clone(),
                chain: chain.name.clone(),
                rule: 0,
                part: "the chain".to_owned(),
                reason: "it belongs to no hook".to_owned(),
            }),
            (None, _) => {}
        }
        for (number, known) in chain.rules.iter().enumerate() {
            let place = Place {
                family,
                table: &table.name,
                chain: &chain.name,
                number: number + 1,
                hooks: hooks.get(chain.name.as_str()).copied().unwrap_or(HookMask::NONE),
                sets: sets.len(),
                counts: !options.no_counts,
                fragments: !options.whole,
            };
            match rule(known, &place) {
                Ok(RuleText { sets: more, text }) => {
                    sets.extend(more);
                    let _ = writeln!(chains, "\t\t{text}");
                }
                Err(parts) => {
                    for part in &parts {
                        let _ = writeln!(chains, "\t\t# not expressed: {}", one_line(&part.to_string()));
                    }
                    out.missing.extend(parts);
                }
            }
        }
        chains += "\t}\n";
    }
    let _ = writeln!(
        out.text,
        "table {} {} {{",
        family_name(family),
        words::identifier(&table.name)
    );
    for (name, content) in sets {
        let _ = writeln!(out.text, "\tset {name} {{ {content} }}");
    }
    out.text += &chains;
    out.text += "}\n";
}

/// The line of a base chain, and its policy's counts.
fn base_chain(chain: &Chain, policy: Policy, hook: Hook, table: &str, options: Options) -> String {
    let policy = match policy {
        Policy::Accept => "accept",
        Policy::Drop => "drop",
    };
    let mut text = format!("\t\ttype {}; policy {policy};\n", hook_words(table, hook));
    let counted = chain.counters;
    if counted.packets | counted.bytes != 0 && !options.no_counts {
        text += &format!(
            "\t\t# the policy counted {} packets, {} bytes\n",
            counted.packets, counted.bytes
        );
    }
    text
}

/// A base chain's type, hook and priority: `filter hook input priority 0`.
pub fn hook_words(table: &str, hook: Hook) -> String {
    use fielato_netfilter::hook::priority;
    let kind = match (table, hook) {
        ("nat", _) => "nat",
        // A packet whose mark or address was changed on its way out is routed again.
        ("mangle", Hook::Output) => "route",
        _ => "filter",
    };
    let priority = match (table, hook) {
        ("raw", _) => priority::RAW,
        ("mangle", _) => priority::MANGLE,
        ("nat", Hook::Postrouting | Hook::Input) => priority::NAT_SRC,
        ("nat", _) => priority::NAT_DST,
        ("security", _) => priority::SECURITY,
        _ => priority::FILTER,
    };
    format!("{kind} hook {} priority {priority}", hook.chain().to_ascii_lowercase())
}

/// One rule; or every part of it that can't be expressed.
pub fn rule(rule: &Rule, place: &Place<'_>) -> Result<RuleText, Vec<Inexpressible>> {
    let mut missing = Vec::new();
    let mut parts = Vec::new();
    let mut note = |part: String, said: Result<String, Reason>, parts: &mut Vec<String>| match said {
        Ok(text) if text.is_empty() => {}
        Ok(text) => parts.push(text),
        Err(reason) => missing.push(Inexpressible {
            table: place.table.to_owned(),
            chain: place.chain.to_owned(),
            rule: place.number,
            part,
            reason,
        }),
    };
    let mut cx = RuleContext {
        family: place.family,
        table: place.table,
        hooks: place.hooks,
        ip: &rule.ip,
        matches: &rule.matches,
        first_set: place.sets,
        sets: Vec::new(),
    };
    note("-i, -o".to_owned(), address::interfaces(&rule.ip), &mut parts);
    parts.extend(address::addresses(&cx));
    let mut comments = Vec::new();
    let mut said = Vec::new();
    for m in &rule.matches {
        if place.fragments && fragments::are_passed_over(m) && !said.iter().any(|said| said == fragments::NOT_LATER) {
            said.push(fragments::NOT_LATER.to_owned());
        }
        match m {
            Match::Comment(comment) => comments.push(&*comment.text),
            Match::Tcpmss(m) if place.fragments && !m.mss.negated => {
                note("-m tcpmss".to_owned(), Err(fragments::READ_IN_ANY.to_owned()), &mut said);
            }
            Match::Socket(_) if place.fragments => {
                note("-m socket".to_owned(), Err(fragments::JOINED_FOR_IT.to_owned()), &mut said);
            }
            m => note(format!("-m {}", m.name()), matches::words(m, &mut cx), &mut said),
        }
    }
    let protocol = address::protocol(&cx);
    // nft adds the protocol itself before its first header field.
    let implied = said.first().is_some_and(|first| words::implies(first, &protocol));
    if !implied && !protocol.is_empty() {
        parts.push(protocol);
    }
    parts.extend(said);
    parts.push(match place.counts && rule.counters.packets | rule.counters.bytes != 0 {
        true => format!("counter packets {} bytes {}", rule.counters.packets, rule.counters.bytes),
        false => "counter".to_owned(),
    });
    let part = match &rule.target {
        Target::Goto(chain) => format!("-g {chain}"),
        target => format!("-j {}", target.name()),
    };
    note(part, targets::words(&rule.target, &cx), &mut parts);
    if !comments.is_empty() {
        note("-m comment".to_owned(), comment(&comments), &mut parts);
    }
    let sets = cx.sets;
    if missing.is_empty() {
        Ok(RuleText {
            sets,
            text: parts.join(" "),
        })
    } else {
        Err(missing)
    }
}

fn comment(comments: &[&str]) -> Result<String, Reason> {
    /// NFTNL_UDATA_COMMENT_MAXLEN
    const LONGEST: usize = 128;
    let text = comments.join("; ");
    if text.len() > LONGEST {
        return Err(format!("nft's comments have at most {LONGEST} bytes"));
    }
    Ok(format!("comment {}", words::quoted(&text)?))
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// `ip` or `ip6`.
pub fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// A name as nft can read it: itself, or a mangled one.
pub fn identifier(name: &str) -> String {
    words::identifier(name)
}

/// What the words of a rule are made with.
struct RuleContext<'a> {
    family: Family,
    table: &'a str,
    hooks: HookMask,
    ip: &'a IpMatch,
    matches: &'a [Match],
    first_set: usize,
    /// Sets that the rule needs.
    sets: Vec<(String, String)>,
}

impl RuleContext<'_> {
    /// In table raw there is no connection yet, but there may be the template that `-j CT` left.
    fn no_template(&self) -> Result<(), Reason> {
        match self.table {
            "raw" => Err("iptables looks at what -j CT left in table raw, nft doesn't".to_owned()),
            _ => Ok(()),
        }
    }

    /// The rule's protocol, when it names one and not all but one.
    fn only_protocol(&self) -> Option<u8> {
        (self.ip.protocol.number != 0 && !self.ip.protocol.negated).then_some(self.ip.protocol.number)
    }

    /// The nft type of addresses.
    fn address_type(&self) -> &'static str {
        match self.family {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        }
    }

    /// Adds a set to the table; gives its name.
    fn set(&mut self, base: &str, content: String) -> String {
        let name = format!("{base}{}", self.first_set + self.sets.len());
        self.sets.push((name.clone(), content));
        name
    }
}
