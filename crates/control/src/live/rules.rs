//! Which rule a number stands for, and which line of the configuration a rule was made from.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use fielato_kernel::nft;
use fielato_policy::Config;
use fielato_policy::config::Rule;

use super::report::LiveStation;

/// How often the rules are read again because a number is unknown.
const AGAIN: Duration = Duration::from_secs(1);
/// Most of a rule's text that is shown, in characters.
const SHOWN: usize = 200;

/// A rule as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Without its comment and counts.
    pub text: String,
    /// Its comment.
    pub comment: Option<String>,
}

/// The rules of this network namespace.
#[derive(Debug, Default)]
pub(super) struct Rules {
    by_handle: HashMap<(String, u64), Written>,
    read: Option<Instant>,
}

impl Rules {
    /// The rule of a table (`inet fielato`) with that number. Rules that were made lately are read now.
    pub fn find(&mut self, table: &str, handle: u64) -> Option<&Written> {
        let key = (table.to_owned(), handle);
        if !self.by_handle.contains_key(&key) && self.read.is_none_or(|read| read.elapsed() >= AGAIN) {
            self.read = Some(Instant::now());
            match nft::list_rules() {
                Ok(text) => self.by_handle = parse(&text),
                Err(error) => log::warn!("cannot list the rules: {error}"),
            }
        }
        self.by_handle.get(&key)
    }
}

/// Reads what `nft -a list ruleset` prints.
fn parse(text: &str) -> HashMap<(String, u64), Written> {
    let mut rules = HashMap::new();
    let mut table = "";
    let mut in_chain = false;
    for line in text.lines() {
        let line = line.trim();
        let Some((line, handle)) = line.rsplit_once(" # handle ") else {
            in_chain &= line != "}";
            continue;
        };
        if let Some(name) = line.strip_prefix("table ") {
            table = name.trim_end_matches([' ', '{']);
        } else if line.ends_with(" {") {
            in_chain = line.starts_with("chain ");
        } else if let (true, Ok(handle)) = (in_chain, handle.parse()) {
            rules.insert((table.to_owned(), handle), written(line));
        }
    }
    rules
}

fn written(line: &str) -> Written {
    let (text, comment) = match line.split_once(" comment \"") {
        Some((text, comment)) => (text, Some(comment.trim_end_matches('"').to_owned())),
        None => (line, None),
    };
    let mut words = Vec::new();
    let mut rest = text.split(' ').peekable();
    while let Some(word) = rest.next() {
        match (word, rest.peek()) {
            ("counter", Some(&"packets")) => {
                // `packets N bytes N`
                rest.by_ref().take(4).for_each(drop);
            }
            _ => words.push(word),
        }
    }
    let text = words.join(" ");
    let text = match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    };
    Written { text, comment }
}

/// Lines of the configuration that a rule of ours with this comment was made from: `rule 3`, `rules 3, 5` or `rules 3 to 9`. `all`
/// are the lines of the configuration's rules, in order.
pub(super) fn lines(comment: &str, all: &[usize]) -> Vec<usize> {
    let numbers = comment.strip_prefix("rule ").or_else(|| comment.strip_prefix("rules "));
    let numbers: Vec<usize> = match numbers {
        Some(range) if range.contains(" to ") => {
            let ends: Vec<usize> = range.split(" to ").filter_map(|end| end.parse().ok()).collect();
            match ends.as_slice() {
                [first, last] => (*first..=(*last).min(all.len())).collect(),
                _ => Vec::new(),
            }
        }
        Some(list) => list.split(", ").filter_map(|number| number.parse().ok()).collect(),
        None => Vec::new(),
    };
    let line = |number: &usize| all.get(number.checked_sub(1)?).copied().filter(|line| *line > 0);
    numbers.iter().filter_map(line).collect()
}

/// The lines of the configuration's rules, in order; 0 for those in included files.
pub(super) fn lines_of(config: &Config) -> Vec<usize> {
    let line = |rule: &Rule| if rule.file.is_none() { rule.line } else { 0 };
    config.rules.iter().map(line).collect()
}

/// Why a packet ended as it did: the station that decided, with its rule's comment.
pub(super) fn reason(decided: Option<(&LiveStation, Option<&str>)>) -> String {
    let Some((station, comment)) = decided else {
        return "no rule of ours is asked about what this machine sends".to_owned();
    };
    let what = match (comment, station.lines.as_slice(), &station.rule) {
        (Some(comment), [], _) => comment.to_owned(),
        (Some(comment), [line], _) => format!("{comment}, line {line} of the configuration"),
        (Some(comment), [first, ..], _) => format!("{comment}, line {first} and others of the configuration"),
        (None, _, Some(rule)) => rule.clone(),
        (None, _, None) => "the chain's policy".to_owned(),
    };
    format!("{what} ({})", station.place)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "table inet fielato { # handle 1
	set members_v4 { # handle 2
		type ipv4_addr
		elements = { ... }
	}

	chain forward { # handle 1
		type filter hook forward priority filter; policy drop;
		ip saddr @members_v4 udp dport { 1, 2 } counter packets 7 bytes 900 drop comment \"rules 1, 2\" # handle 4
		ct state established,related accept # handle 5
	}
}
table ip other { # handle 2
	chain x { # handle 1
		counter packets 0 bytes 0 # handle 4
	}
}
";

    #[test]
    fn rules_are_found_by_table_and_number() {
        let rules = parse(LISTED);
        let written = |text: &str, comment: Option<&str>| Written {
            text: text.into(),
            comment: comment.map(str::to_owned),
        };
        assert_eq!(rules.len(), 3);
        let rule = |table: &str, handle| rules.get(&(table.to_owned(), handle)).cloned().unwrap();
        assert_eq!(
            rule("inet fielato", 4),
            written("ip saddr @members_v4 udp dport { 1, 2 } drop", Some("rules 1, 2"))
        );
        assert_eq!(rule("inet fielato", 5), written("ct state established,related accept", None));
        assert_eq!(rule("ip other", 4), written("", None));
    }

    #[test]
    fn comments_lead_to_lines() {
        let text = r#"
[hub]
interface = "wg0"
endpoint = "192.0.2.1:51820"
listen_port = 51820
addresses = ["192.168.4.1/24"]
uplink = "eth0"

[[rule]]
from = "members"
to = "hub"
action = "accept"
[[rule]]
from = "members"
to = "any"
action = "drop"
"#;
        let config = Config::parse(text).unwrap_or_else(|faults| panic!("{}", faults.display("x", text)));
        let found = |comment| lines(comment, &lines_of(&config));
        assert_eq!(found("rule 2"), [13]);
        assert_eq!(found("rules 1, 2"), [9, 13]);
        assert_eq!(found("rules 1 to 2"), [9, 13]);
        for comment in [
            "rule 3",
            "rule 0",
            "no rule",
            "rules 9 to x",
            "rules 5 to 18446744073709551615",
        ] {
            assert!(found(comment).is_empty(), "{comment:?}");
        }
    }
}
