//! Command lines carried out one after the other, and what they leave saved and read back.

use fielato_iptables::ipchains::{self, Chains};
use fielato_iptables::{BuiltinNames, Output, Parser, Program, execute, restore as file};
use fielato_netfilter::Ruleset;
use fielato_wire::Family;

use super::restore::{same_again, translated};
use crate::machine;

/// Most commands of one input: each is checked against the whole rule set.
const COMMANDS: usize = 24;

/// A command a line, words apart by blanks; `_` stands for a blank in a word, `~` for a line's end, `""` for no word
/// at all. An input that begins with `6` is
/// for ip6tables, one with `c` for ipchains, one with `w` for ipfwadm, any other for iptables.
pub fn language(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let first = text.chars().next();
    let text = text.strip_prefix(['6', 'c', 'w']).unwrap_or(&text);
    let lines: Vec<Vec<String>> = text
        .lines()
        .take(COMMANDS)
        .map(|line| {
            let words = line.split_whitespace();
            words.map(word).collect()
        })
        .collect();
    match first {
        Some('c' | 'w') => chains(first == Some('w'), &lines),
        Some('6') => tables(Family::V6, &lines),
        _ => tables(Family::V4, &lines),
    }
}

/// A word with what can't stand in one.
fn word(text: &str) -> String {
    match text {
        "\"\"" => String::new(),
        text => text.replace('_', " ").replace('~', "\n"),
    }
}

fn as_words(line: &[String]) -> Vec<&str> {
    line.iter().map(String::as_str).collect()
}

fn tables(family: Family, lines: &[Vec<String>]) {
    let registry = machine::registry();
    let program = Program::legacy(if family == Family::V4 { "iptables" } else { "ip6tables" });
    let parser = Parser {
        family,
        program: &program,
        registry,
        names: &BuiltinNames,
        restore: None,
    };
    let mut rules = Ruleset::new(family);
    let mut run = |words: &[&str]| {
        let mut output = Output::default();
        let done = parser
            .parse(words)
            .and_then(|command| execute(&command, &mut rules, registry, &BuiltinNames, &mut output));
        if let Err(error) = done {
            let _ = error.render(&program, None);
        }
    };
    for line in lines {
        run(&as_words(line));
    }
    for table in ["filter", "nat", "mangle", "raw"] {
        run(&["-t", table, "-L", "-v"]);
        run(&["-t", table, "-L", "-n"]);
        run(&["-t", table, "-S", "-v"]);
    }
    same_again(&rules);
    translated(&rules);
}

/// The chains of Linux 2.2; what they become is a rule set.
fn chains(is_fwadm: bool, lines: &[Vec<String>]) {
    let mut chains = Chains::default();
    let run = |words: &[&str], chains: &mut Chains| {
        if let Ok(command) = ipchains::Command::parse(words, &BuiltinNames) {
            let before = chains.clone();
            if chains.apply(&command.operation).is_err() {
                assert_eq!(*chains, before, "a command that fails changes nothing: {words:?}");
            }
        }
    };
    for line in lines {
        if !is_fwadm {
            run(&as_words(line), &mut chains);
            continue;
        }
        for line in ipchains::ipfwadm(&as_words(line), &chains).unwrap_or_default() {
            run(&as_words(&line), &mut chains);
        }
    }
    let text = ipchains::text(&chains);
    match file::parse(&text, Family::V4, machine::registry(), &BuiltinNames) {
        Ok(rules) => same_again(&rules),
        Err(error) => panic!("what the chains become is refused: {error}\n{text}"),
    }
}
