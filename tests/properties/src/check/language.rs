//! Command lines carried out one after the other, and what they leave saved and read back.

use fielato_iptables::{BuiltinNames, Output, Parser, Program, Registry, execute};
use fielato_netfilter::Ruleset;
use fielato_wire::Family;

use super::restore::same_again;

/// Most commands of one input: each is checked against the whole rule set.
const COMMANDS: usize = 24;

/// A command a line, words apart by blanks; `_` stands for a blank in a word. An input that begins with `6` is for ip6tables.
pub fn language(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (family, text) = match text.strip_prefix('6') {
        Some(rest) => (Family::V6, rest),
        None => (Family::V4, &*text),
    };
    let registry = Registry::builtin();
    let program = Program::legacy(if family == Family::V4 { "iptables" } else { "ip6tables" });
    let parser = Parser {
        family,
        program: &program,
        registry: &registry,
        names: &BuiltinNames,
        restore: None,
    };
    let mut rules = Ruleset::new(family);
    for line in text.lines().take(COMMANDS) {
        let words: Vec<String> = line.split_whitespace().map(|word| word.replace('_', " ")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match parser.parse(&words) {
            Ok(command) => {
                let mut output = Output::default();
                if let Err(error) = execute(&command, &mut rules, &registry, &BuiltinNames, &mut output) {
                    let _ = error.render(&program, None);
                }
            }
            Err(error) => {
                let _ = error.render(&program, None);
            }
        }
    }
    same_again(&rules, &registry);
}
