//! Others' rules in tables of the old kind (`ip_tables`), which nft doesn't list: read from what `iptables-legacy-save` prints.
//!
//! They hang on the same hooks as nft's chains, with priorities of their own: what they drop is gone, whatever ours accept.

use std::collections::BTreeMap;

use fielato_wire::Family;

use super::finding::Finding;
use super::foreign::{Chain, Content, HOOKS, findings};

/// Tables and the priorities of their hooks (`include/uapi/linux/netfilter_ipv4.h`, `NF_IP_PRI_*`).
const TABLES: [(&str, i64); 5] = [
    ("raw", -300),
    ("mangle", -150),
    ("nat", -100),
    ("filter", 0),
    ("security", 50),
];

/// Chains of others that may stop what our rules let pass; `save` is what `iptables-legacy-save`, with `-c` or without, prints of a
/// family, `interface` the VPN's. A line of another form says nothing.
pub fn legacy(save: &str, family: Family, interface: &str) -> Vec<Finding> {
    let family = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let mut chains: Vec<Chain> = Vec::new();
    let mut contents: BTreeMap<((String, String), String), Content> = BTreeMap::new();
    let mut table = (family.to_owned(), String::new());
    for line in save.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table.1 = name.trim().to_owned();
        } else if let Some(chain) = line.strip_prefix(':') {
            chains.extend(declared(chain, &table));
        } else if let Some(Rule { chain, target, leads_on }) = Rule::read(line) {
            let content = contents.entry((table.clone(), chain)).or_default();
            if leads_on {
                content.note_jump(target);
            } else if ["DROP", "REJECT"].contains(&target.as_str()) {
                content.note_drop();
            }
        }
    }
    // Only what is a chain can be jumped to; the rest are targets, which lead nowhere.
    findings(&chains, &contents, interface, true)
}

/// `FORWARD DROP [12:3456]`
fn declared(text: &str, (family, table): &(String, String)) -> Option<Chain> {
    let mut words = text.split_whitespace();
    let (name, policy) = (words.next()?, words.next()?);
    let hook = name.to_ascii_lowercase();
    let priority = TABLES.iter().find(|(known, _)| known == table).map(|(_, priority)| *priority);
    // A chain of somebody's own has no policy.
    let is_base = policy != "-" && HOOKS.contains(&hook.as_str());
    Some(Chain {
        family: family.clone(),
        table: table.clone(),
        name: name.to_owned(),
        hook: is_base.then_some(hook),
        prio: priority,
        policy: Some(policy.to_ascii_lowercase()),
        kind: Some("filter".to_owned()),
    })
}

/// Where a rule stands, and what it says.
struct Rule {
    chain: String,
    target: String,
    /// It is no target that ends the packet's way.
    leads_on: bool,
}

impl Rule {
    /// `[12:3456] -A FORWARD -i eth1 -j DROP`
    fn read(line: &str) -> Option<Rule> {
        let mut words = words(line).into_iter().peekable();
        words.next_if(|word| word.starts_with('['));
        words.next_if(|word| word == "-A")?;
        let chain = words.next()?;
        while let Some(word) = words.next() {
            match word.as_str() {
                // Its value may look like an option.
                "--comment" | "--log-prefix" | "--nflog-prefix" => drop(words.next()),
                "-j" | "-g" => {
                    let target = words.next()?;
                    let leads_on = !["DROP", "REJECT", "ACCEPT", "RETURN"].contains(&target.as_str());
                    return Some(Rule { chain, target, leads_on });
                }
                _ => {}
            }
        }
        None
    }
}

/// A line's words. One with blanks is in quotes, within which a backslash takes the next character as it is (`xtables_save_string`).
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut begun) = (String::new(), false, false);
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => (quoted, begun) = (!quoted, true),
            '\\' if quoted => word.extend(characters.next()),
            blank if blank.is_whitespace() && !quoted => {
                if std::mem::take(&mut begun) {
                    words.push(std::mem::take(&mut word));
                }
            }
            other => {
                word.push(other);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyse::Severity;

    fn told(save: &str, family: Family) -> Vec<(Severity, String, String)> {
        let findings = legacy(save, family, "wg0").into_iter();
        findings
            .map(|finding| (finding.severity, finding.message, finding.help))
            .collect()
    }

    #[test]
    fn words_and_quotes() {
        assert_eq!(
            words(r#"[1:2] -A X --comment "a -j \"DROP\" b"  -j Y "" "#),
            ["[1:2]", "-A", "X", "--comment", "a -j \"DROP\" b", "-j", "Y", ""]
        );
        assert_eq!(words("  "), Vec::<String>::new());
        assert_eq!(words("\"open").len(), 1);
    }

    #[test]
    fn dockers_policy_and_a_rule_of_somebodys() {
        let save = r#"# Generated by iptables-save v1.8.9
*raw
:PREROUTING ACCEPT [10:500]
:OUTPUT ACCEPT [0:0]
[3:180] -A PREROUTING -s 192.0.2.1/32 -j DROP
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [7:420]
:OUTPUT DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
[7:420] -A FORWARD -j DOCKER-USER
[0:0] -A FORWARD -o docker0 -m comment --comment "-j DROP" -j DOCKER
[0:0] -A DOCKER ! -i docker0 -o docker0 -j DROP
[0:0] -A DOCKER-USER -j RETURN
COMMIT
"#;
        let found = told(save, Family::V4);
        let [(first, raw, raw_help), (second, forward, forward_help)] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(
            (*first, raw.as_str()),
            (
                Severity::Note,
                "chain PREROUTING of iptables-legacy's table ip raw (hook prerouting, priority -300, before ours) has 1 rule that drop or reject, also what ours accept"
            )
        );
        assert!(
            raw_help.contains("`iptables-legacy -t raw -I PREROUTING -i wg0 -j ACCEPT`"),
            "{raw_help}"
        );
        assert_eq!(*second, Severity::Warning);
        assert!(
            forward.starts_with("chain FORWARD of iptables-legacy's table ip filter of Docker (hook forward, priority 0, beside ours) drops by its policy"),
            "{forward}"
        );
        assert!(
            forward_help.contains("`iptables-legacy -I DOCKER-USER -i wg0 -j ACCEPT`"),
            "{forward_help}"
        );
    }

    #[test]
    fn jumps_are_followed_and_targets_lead_nowhere() {
        let save = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:a - [0:0]\n:b - [0:0]\n-A INPUT -j LOG --log-prefix \"-j DROP\"\n\
            -A INPUT -p tcp -g a\n-A a -j b\n-A b -j a\n-A b -p tcp --dport 23 -j REJECT --reject-with tcp-reset\nCOMMIT\n";
        let found = told(save, Family::V6);
        let [(severity, message, help)] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(*severity, Severity::Note);
        assert!(
            message.contains("chain INPUT of iptables-legacy's table ip6 filter") && message.contains("1 rule"),
            "{message}"
        );
        assert!(help.contains("`ip6tables-legacy -I INPUT -i wg0 -j ACCEPT`"), "{help}");
    }

    #[test]
    fn nothing_and_nonsense() {
        for text in [
            "",
            "*",
            ":",
            ":X",
            "-A",
            "-A X",
            "-A X -j",
            "[",
            "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n",
            "\u{0}\"\\",
        ] {
            assert_eq!(told(text, Family::V4), [], "{text:?}");
        }
    }
}
