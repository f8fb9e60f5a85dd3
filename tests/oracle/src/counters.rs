//! Counters out of the text of `iptables-save -c`.

use crate::error::Error;
use crate::subject::Counter;

/// Reads every policy's and rule's counters, with the rule's text as its name. Tables are put in the order of their names,
/// because the kernel lists them in the order in which they were first used.
///
/// # Errors
/// [`Error::Reply`] for a line that is none of such a text.
pub fn read(text: &str) -> Result<Vec<Counter>, Error> {
    let mut table = "";
    let mut counters = Vec::new();
    for line in text.lines() {
        let wrong = || Error::Reply {
            what: "a line of iptables-save -c",
            why: line.to_owned(),
        };
        match line.as_bytes().first() {
            None | Some(b'#') => {}
            Some(b'*') => table = &line[1..],
            Some(b':') => {
                let (rule, numbers) = line.rsplit_once(' ').ok_or_else(wrong)?;
                // User chains have no policy and no counters.
                if !rule.ends_with(" -") {
                    counters.push(counter(table, rule, numbers).ok_or_else(wrong)?);
                }
            }
            Some(b'[') => {
                let (numbers, rule) = line.split_once(' ').ok_or_else(wrong)?;
                counters.push(counter(table, rule, numbers).ok_or_else(wrong)?);
            }
            Some(_) if line == "COMMIT" => {}
            Some(_) => return Err(wrong()),
        }
    }
    counters.sort_by(|a: &Counter, b| a.table.cmp(&b.table));
    Ok(counters)
}

/// A counter from `[PACKETS:BYTES]`.
pub(crate) fn counter(table: &str, rule: &str, numbers: &str) -> Option<Counter> {
    let (packets, bytes) = numbers.strip_prefix('[')?.strip_suffix(']')?.split_once(':')?;
    Some(Counter {
        table: table.to_owned(),
        rule: rule.trim().to_owned(),
        packets: packets.parse().ok()?,
        bytes: bytes.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_policies_and_rules() {
        let text = "# made\n*nat\n:OUTPUT ACCEPT [1:2]\n:mine - [0:0]\n[3:40] -A mine -j ACCEPT\nCOMMIT\n*filter\n:INPUT DROP [5:6]\nCOMMIT\n";
        let all = read(text).unwrap();
        let seen: Vec<_> = all.iter().map(|c| (c.table.as_str(), c.rule.as_str(), c.packets, c.bytes)).collect();
        assert_eq!(
            seen,
            [
                ("filter", ":INPUT DROP", 5, 6),
                ("nat", ":OUTPUT ACCEPT", 1, 2),
                ("nat", "-A mine -j ACCEPT", 3, 40)
            ]
        );
        assert!(read("nonsense").is_err());
    }
}
