//! Rules in iptables' words as lines of nft.

use std::fmt::Write as _;

use fielato_wire::Family;

use crate::config::{RawRule, RawTable};
use crate::plan::{Firewall, Origin};
use crate::raw;

/// All of them as they are said in nft.
pub struct Raw<'f> {
    lines: Vec<(&'f RawRule, String)>,
    /// Sets that the lines need: name and content.
    sets: Vec<(String, String)>,
}

impl<'f> Raw<'f> {
    pub fn of(firewall: &'f Firewall) -> Self {
        let mut said = Self {
            lines: Vec::new(),
            sets: Vec::new(),
        };
        for rule in &firewall.raw {
            said.say(rule);
        }
        said
    }

    fn say(&mut self, rule: &'f RawRule) {
        let comment = Origin::of_raw(rule).comment();
        let v4 = raw::nft(rule, Family::V4, self.sets.len());
        let needs = |lines: &[fielato_iptables::nft::RuleText]| lines.iter().any(|line| !line.sets.is_empty());
        let v6 = raw::nft(
            rule,
            Family::V6,
            self.sets.len() + v4.iter().map(|line| line.sets.len()).sum::<usize>(),
        );
        // What both families say alike is one line.
        let families = if v4 == v6 && !needs(&v4) {
            vec![("", v4)]
        } else {
            vec![("meta nfproto ipv4 ", v4), ("meta nfproto ipv6 ", v6)]
        };
        for (only, lines) in families {
            for line in lines {
                self.sets.extend(line.sets);
                self.lines.push((rule, format!("{only}{} comment \"{comment}\"", line.text)));
            }
        }
    }

    pub fn declare_sets(&self, out: &mut String) {
        for (name, content) in &self.sets {
            let _ = writeln!(out, "\tset {name} {{ {content} }}");
        }
    }

    pub fn has(&self, table: RawTable, chain: &str) -> bool {
        self.lines.iter().any(|(rule, _)| rule.table == table && rule.chain == chain)
    }

    /// Those of a chain that stand behind the file's rules, or before them.
    pub fn write(&self, chain: &str, after: bool, out: &mut String) {
        for (_, line) in self
            .lines
            .iter()
            .filter(|(rule, _)| rule.chain == chain && rule.after == after)
        {
            let _ = writeln!(out, "\t\t{line}");
        }
    }
}
