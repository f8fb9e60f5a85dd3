//! iptables-translate's own cases.

use fielato_iptables::{BuiltinNames, Operation, Parser, Program, Registry, nft};
use fielato_netfilter::{Chain, Ruleset, Table, Target};
use fielato_testkit::suite;
use fielato_wire::Family;

use super::{can_check, refusal};

/// iptables-translate's own cases, from the folder that `FIELATO_TXLATE` names (`extensions` of iptables' source): how many of
/// their rules are rendered, and what nft says against those.
#[test]
fn upstream_cases() {
    let Some(folder) = std::env::var_os("FIELATO_TXLATE") else {
        fielato_testkit::skip("upstream_cases", "FIELATO_TXLATE names no folder");
        return;
    };
    if !can_check("upstream_cases") {
        return;
    }
    let (mut all, mut unread, mut named, mut refused, mut taken) = (0, Vec::new(), Vec::new(), Vec::new(), 0);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in files
        .iter()
        .filter(|file| file.extension().is_some_and(|ending| ending == "txlate"))
    {
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let Some((program, words)) = line.split_once(' ') else {
                continue;
            };
            let family = match program {
                "iptables-translate" | "iptables" => Family::V4,
                "ip6tables-translate" => Family::V6,
                _ => continue,
            };
            all += 1;
            match upstream_rule(family, words) {
                Err(reason) => unread.push(format!("{line}\n\t{reason}")),
                Ok(rules) => match nft::ruleset(&rules, nft::Options::default()) {
                    Err(error) => named.push(format!("{line}\n\t{error}")),
                    Ok(text) => match refusal(&text) {
                        None => taken += 1,
                        Some(said) => refused.push(format!("{line}\n{said}")),
                    },
                },
            }
        }
    }
    println!(
        "not read:\n{}\nnot expressed:\n{}\nrefused:\n{}",
        unread.join("\n"),
        named.join("\n"),
        refused.join("\n")
    );
    println!(
        "of {all} cases: {taken} rendered and taken, {} rendered and refused, {} named as not expressible, {} not read",
        refused.len(),
        named.len(),
        unread.len()
    );
    // This kernel may lack a part of nft; a text that nft can't read is a fault of the rendering.
    let unreadable: Vec<_> = refused.iter().filter(|case| case.contains("syntax error")).collect();
    assert!(unreadable.is_empty(), "{unreadable:?}");
    assert!(taken > 0, "no case was rendered");
}

/// The rule set that a command of theirs makes. They name chains that aren't in the table at times.
fn upstream_rule(family: Family, words: &str) -> Result<Ruleset, String> {
    let (registry, names) = (Registry::builtin(), BuiltinNames);
    let program = Program::legacy("iptables");
    let parser = Parser {
        family,
        program: &program,
        registry: &registry,
        names: &names,
        restore: None,
    };
    let words = suite::words(words);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let command = parser.parse(&words).map_err(|error| error.to_string())?;
    let mut rules = Ruleset::new(family);
    let mut table = Table::standard(&command.table).ok_or("no such table")?;
    if let Operation::Append { chain, rules } | Operation::Insert { chain, rules, .. } = command.operation {
        for name in rules.iter().map(|rule| &rule.target).filter_map(|target| match target {
            Target::Jump(name) | Target::Goto(name) => Some(name.clone()),
            _ => None,
        }) {
            table.chains.push(Chain::user(name));
        }
        let upper = chain.to_ascii_uppercase();
        let chain = if table.chain(&chain).is_some() { chain } else { upper };
        if table.chain(&chain).is_none() {
            table.chains.push(Chain::user(chain.clone()));
        }
        table.chain_mut(&chain).ok_or("no chain")?.rules.extend(rules);
    }
    rules.tables.push(table);
    Ok(rules)
}
