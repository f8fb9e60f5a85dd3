//! The format of iptables' own tests (`extensions/*.t`): a rule, the line that iptables-save prints for it, OK or FAIL.

/// A line to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// `%COMMAND` or `@COMMAND`: a shell command beside the tests.
    Run(String),
    /// A rule to be tried.
    Case(Case),
}

/// A rule to be tried, in each of its chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Where it stands in the file, from 1.
    pub number: usize,
    /// Its table.
    pub table: String,
    /// Its chains.
    pub chains: Vec<String>,
    /// The rule as written.
    pub rule: String,
    /// What comes after `-A CHAIN` in the save file, when it is accepted.
    pub saved: String,
    /// Whether it is accepted.
    pub accepted: bool,
}

/// Reads a file as the legacy program's tests: a result for the nft variant alone counts as the opposite here.
pub fn parse(text: &str) -> Vec<Line> {
    let (mut table, mut chains) = ("filter".to_owned(), Vec::new());
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        match line.chars().next() {
            None | Some('#') => continue,
            _ if line.trim().is_empty() => continue,
            Some('*') => table = line.trim()[1..].to_owned(),
            Some(':') => chains = line.trim()[1..].split(',').map(str::to_owned).collect(),
            Some('@' | '%') => lines.push(Line::Run(line.trim()[1..].to_owned())),
            Some(_) => {
                let mut fields = line.split(';').map(str::trim_end);
                let mut next = || fields.next().unwrap_or("");
                let (rule, saved, result, variant, otherwise) = (next(), next(), next(), next(), next());
                let accepted = match (variant, otherwise) {
                    ("NFT", "") => result != "OK",
                    ("NFT", otherwise) => otherwise == "OK",
                    _ => result == "OK",
                };
                lines.push(Line::Case(Case {
                    number: number + 1,
                    table: table.clone(),
                    chains: chains.clone(),
                    rule: rule.to_owned(),
                    saved: if saved == "=" { rule } else { saved }.to_owned(),
                    accepted,
                }));
            }
        }
    }
    lines
}

/// The words of a shell command line without expansions.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(chars.next()),
            '\'' => word.get_or_insert_default().extend(chars.by_ref().take_while(|&c| c != '\'')),
            '"' => {
                let word = word.get_or_insert_default();
                while let Some(c) = chars.next().filter(|&c| c != '"') {
                    let escaped = (c == '\\').then(|| chars.next()).flatten();
                    match escaped {
                        Some(next @ ('"' | '\\' | '$' | '`')) => word.push(next),
                        Some(next) => word.extend([c, next]),
                        None => word.push(c),
                    }
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read() {
        let lines = parse("# c\n:INPUT,FORWARD\n-p tcp;=;OK\n%touch x\n*nat\n-j X \"a b\";;FAIL\n-j Y;-j Z;OK;NFT\n");
        let cases: Vec<_> = lines
            .iter()
            .filter_map(|line| match line {
                Line::Case(case) => Some((case.number, &*case.table, &*case.saved, case.accepted)),
                Line::Run(_) => None,
            })
            .collect();
        assert_eq!(
            cases,
            [
                (3, "filter", "-p tcp", true),
                (6, "nat", "", false),
                (7, "nat", "-j Z", false)
            ]
        );
        assert_eq!(lines[1], Line::Run("touch x".to_owned()));
        assert_eq!(
            words(r#"-m c --x "a \"b" ! 'c d'\ e"#),
            ["-m", "c", "--x", "a \"b", "!", "c d e"]
        );
    }
}
