//! iptables commands as a file for `iptables-restore`, which loads them in one step.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The commands that begin with `program`.
pub(super) fn save_file(commands: &str, program: &str) -> String {
    let mut tables: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = ["filter", "nat"].map(|name| (name, Default::default())).into();
    for line in commands.lines() {
        let Some(rest) = line.strip_prefix(program).and_then(|rest| rest.strip_prefix(' ')) else {
            continue;
        };
        let (table, command) = match rest.strip_prefix("-t nat ") {
            Some(command) => ("nat", command),
            None => ("filter", rest),
        };
        if let Some((chains, rules)) = tables.get_mut(table) {
            match command.strip_prefix("-N ") {
                Some(chain) => chains.push(chain),
                None => rules.push(command),
            }
        }
    }
    let mut text = String::new();
    // A table without rules stays unloaded: that of nat would do a little to packets all the same.
    for (table, (chains, rules)) in tables.into_iter().filter(|(_, (_, rules))| !rules.is_empty()) {
        let _ = writeln!(text, "*{table}");
        for chain in chains {
            let _ = writeln!(text, ":{chain} - [0:0]");
        }
        for rule in rules {
            let _ = writeln!(text, "{rule}");
        }
        text.push_str("COMMIT\n");
    }
    text
}
