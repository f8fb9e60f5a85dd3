//! Save files as XML, byte for byte as `iptables-xml` prints them.
//!
//! Rules are cut into words and nested by where their dashes stand; no extension is asked, so words that no module knows
//! pass too.

use std::fmt::Write as _;

use fielato_netfilter::Counters;

use crate::error::{Error, Failure, Program, VERSION};
use crate::restore::{RestoreError, Word, chain_counters, rule_counters, words};

/// What the program calls itself: its version has no "(legacy)".
pub fn program() -> Program {
    Program {
        name: "iptables-xml".to_owned(),
        version: VERSION.to_owned(),
    }
}

/// How to write it.
#[derive(Clone, Copy, Debug, Default)]
pub struct XmlOptions {
    /// Rules in a row that differ in their actions only become one (`-c`).
    pub combine: bool,
    /// Each line also as a comment (`-v`).
    pub verbose: bool,
}

/// Appends a save file as XML to `out`. What was written before an error stays there.
pub fn write(text: &str, options: XmlOptions, out: &mut String) -> Result<(), RestoreError> {
    if options.verbose {
        out.push_str("xptables-xml\n");
    }
    out.push_str("<iptables-rules version=\"1.0\">\n");
    let mut document = Document {
        options,
        out,
        table_is_open: false,
        chains: Vec::new(),
        open_chain: None,
        open_rule: None,
    };
    let mut last = 0;
    for (number, line) in text.lines().enumerate() {
        last = number + 1;
        document
            .line(line, last)
            .map_err(|error| RestoreError { line: last, error })?;
    }
    if document.table_is_open {
        let line = last + 1;
        let error = Error::Plain(format!("iptables-xml: COMMIT expected at line {line}"));
        return Err(RestoreError { line, error });
    }
    out.push_str("</iptables-rules>\n");
    Ok(())
}

/// A chain's heading, which is written when its first rule comes, or at the table's end.
struct Chain<'t> {
    name: &'t str,
    policy: &'t str,
    counters: Counters,
    written: bool,
}

struct Document<'t, 'o> {
    options: XmlOptions,
    out: &'o mut String,
    table_is_open: bool,
    chains: Vec<Chain<'t>>,
    open_chain: Option<&'t str>,
    /// The words of the rule whose actions are open.
    open_rule: Option<Vec<Word<'t>>>,
}

impl<'t> Document<'t, '_> {
    fn line(&mut self, line: &'t str, number: usize) -> Result<(), Error> {
        let invalid = |what: &str| Error::Parameter(format!("iptables-xml: line {number} {what} invalid"));
        if line.is_empty() {
            return Ok(());
        }
        if line.starts_with('#') {
            self.comment(line);
            return Ok(());
        }
        if self.options.verbose {
            let _ = write!(self.out, "<!-- line {number} ");
            self.without_double_hyphens(line);
            self.out.push_str(" -->\n");
        }
        let mut parts = line.get(1..).unwrap_or("").split([' ', '\t']).filter(|part| !part.is_empty());
        match line.as_bytes().first() {
            _ if line == "COMMIT" && self.table_is_open => self.close_table(),
            Some(b'*') => {
                let name = parts.next().ok_or_else(|| invalid("table name"))?;
                self.close_table();
                self.out.push_str("  <table ");
                self.attribute("name", name);
                self.out.push_str(">\n");
                self.table_is_open = true;
            }
            Some(b':') if self.table_is_open => {
                let name = parts.next().ok_or_else(|| invalid("chain name"))?;
                let policy = parts.next().ok_or_else(|| invalid("policy"))?;
                let counters = parts.next().and_then(chain_counters).unwrap_or_default();
                self.chains.push(Chain {
                    name,
                    policy,
                    counters,
                    written: false,
                });
            }
            _ if self.table_is_open => self.rule(line, number)?,
            _ => return Err(Error::Failed(Failure::Invalid)),
        }
        Ok(())
    }

    fn rule(&mut self, line: &'t str, number: usize) -> Result<(), Error> {
        let (counters, rest) = rule_counters(line, number)?;
        let words = words::split(rest)?;
        let chain = words.iter().skip_while(|word| word.text != "-A").nth(1);
        let Some(chain) = chain else {
            return Err(Error::Plain(format!("iptables-xml: line {number} failed - no chain found")));
        };
        self.need_chain(&chain.text);
        // What stands after -A and the chain.
        let all = words.get(2..).unwrap_or(&[]);
        let conditional = all.first().is_some_and(|word| !is_jump(&word.text));
        let joins =
            self.options.combine && conditional && self.open_rule.as_ref().is_some_and(|before| same_conditions(before, &words));
        if joins {
            self.comment("Combine action from next rule");
        } else {
            self.close_rule();
            self.out.push_str("      <rule ");
            if let Some((packets, bytes)) = counters {
                self.attribute("packet-count", packets);
                self.attribute("byte-count", bytes);
            }
            self.out.push_str(">\n");
            if conditional {
                self.out.push_str("       <conditions>\n");
                let end = all.iter().position(|word| word.is_jump()).unwrap_or(all.len());
                self.elements(all.get(..end).unwrap_or(&[]), all.get(end));
                self.out.push_str("       </conditions>\n");
            }
            self.out.push_str("       <actions>\n");
        }
        let start = all.iter().position(|word| word.is_jump()).unwrap_or(all.len());
        self.elements(all.get(start..).unwrap_or(&[]), None);
        self.open_rule = Some(words);
        Ok(())
    }

    /// Words as nested elements: a module's around its options. `after` is the word that follows them.
    fn elements(&mut self, words: &[Word<'_>], after: Option<&Word<'_>>) {
        let mut nest = Nest::default();
        let mut rest = words.iter().peekable();
        // Options of no module stand in a `match` of their own.
        let first = match words {
            [not, second, ..] if not.text == "!" => Some(second),
            words => words.first(),
        };
        if first.is_some_and(|word| word.text.starts_with('-') && !is_jump(&word.text) && word.text != "-m") {
            nest.open_module(self.out, "match");
            self.out.push_str(">\n");
        }
        while let Some(word) = rest.next() {
            let next = rest.peek().copied().or(after);
            if word.is("!") {
                if next.is_some_and(|next| next.text.starts_with('-')) {
                    nest.inverted = true;
                } else {
                    self.out.push_str(nest.space);
                    self.out.push('!');
                }
                nest.space = " ";
            } else if let Some(chain) = rest.peek().filter(|next| word.is_jump() && self.knows(&next.text)) {
                nest.close_module(self.out);
                let kind = if word.is("-g") || word.is("--goto") { "goto" } else { "call" };
                nest.open_module(self.out, kind);
                let _ = write!(self.out, ">\n          <{} />\n", chain.text);
                rest.next();
            } else if word.is_jump() || word.is("-m") || word.is("--module") {
                let Some(name) = rest.next() else { break };
                nest.close_module(self.out);
                nest.open_module(self.out, &name.text);
                let next = rest.peek().copied().or(after);
                if next.is_none_or(|next| next.is_jump() || next.is("-m") || next.is("--module")) {
                    self.out.push_str(" />\n");
                    nest.module = None;
                } else {
                    self.out.push_str(">\n");
                }
            } else if !word.quoted && word.text.starts_with('-') {
                let is_flag = next.is_none_or(|next| next.text.starts_with('-'));
                nest.option(self.out, word.text.trim_start_matches('-'), is_flag);
            } else {
                self.out.push_str(nest.space);
                let quote = if word.quoted || word.text.contains(' ') {
                    "&quot;"
                } else {
                    ""
                };
                self.out.push_str(quote);
                encode(self.out, &word.text);
                self.out.push_str(quote);
                nest.space = " ";
            }
        }
        nest.close_module(self.out);
    }

    fn knows(&self, chain: &str) -> bool {
        self.open_chain == Some(chain) || self.chains.iter().any(|known| known.name == chain)
    }

    /// Opens the chain unless it is the open one. A rule of a chain without a heading stays in the open chain.
    fn need_chain(&mut self, name: &str) {
        if self.open_chain == Some(name) {
            return;
        }
        let Some(number) = self.chains.iter().position(|chain| chain.name == name) else {
            return;
        };
        self.close_chain();
        self.heading(number, ">\n");
        if let Some(chain) = self.chains.get_mut(number) {
            chain.written = true;
            self.open_chain = Some(chain.name);
        }
    }

    /// `<chain …`, and what ends it.
    fn heading(&mut self, chain: usize, end: &str) {
        let Some(chain) = self.chains.get(chain) else { return };
        let (name, policy, counters) = (chain.name, chain.policy, chain.counters);
        self.out.push_str("    <chain ");
        self.attribute("name", name);
        if policy != "-" {
            self.attribute("policy", policy);
        }
        let Counters { packets, bytes } = counters;
        let _ = write!(self.out, "packet-count=\"{packets}\" byte-count=\"{bytes}\" {end}");
    }

    fn close_rule(&mut self) {
        if self.open_rule.take().is_some() {
            self.out.push_str("       </actions>\n\n      </rule>\n\n");
        }
    }

    fn close_chain(&mut self) {
        if self.open_chain.take().is_some() {
            self.close_rule();
            self.out.push_str("    </chain>\n");
        }
    }

    fn close_table(&mut self) {
        self.close_chain();
        for chain in 0..self.chains.len() {
            if self.chains.get(chain).is_some_and(|chain| !chain.written) {
                self.heading(chain, "/>\n");
            }
        }
        self.chains.clear();
        if std::mem::take(&mut self.table_is_open) {
            self.out.push_str("  </table>\n");
        }
    }

    fn attribute(&mut self, name: &str, value: &str) {
        let _ = write!(self.out, "{name}=\"");
        encode(self.out, value);
        self.out.push_str("\" ");
    }

    fn comment(&mut self, text: &str) {
        self.out.push_str("<!-- ");
        self.without_double_hyphens(text);
        self.out.push_str(" -->\n");
    }

    /// An XML comment holds no `--`: a star goes before each hyphen, and a space before every second one.
    fn without_double_hyphens(&mut self, text: &str) {
        let mut second = false;
        for c in text.chars() {
            if c == '-' {
                self.out.push_str(if second { " *" } else { "*" });
                second = !second;
            }
            self.out.push(c);
        }
    }
}

/// The elements that are open: a module's, and an option's in it.
#[derive(Default)]
struct Nest {
    module: Option<String>,
    option: Option<String>,
    /// `!` was read, the option that it negates comes next.
    inverted: bool,
    /// Before the next plain word.
    space: &'static str,
}

impl Nest {
    fn open_module(&mut self, out: &mut String, name: &str) {
        let _ = write!(out, "        <{name} ");
        self.module = Some(name.to_owned());
    }

    fn close_module(&mut self, out: &mut String) {
        self.close_option(out);
        if let Some(module) = self.module.take() {
            let _ = writeln!(out, "        </{module}>");
        }
        (self.space, self.inverted) = ("", false);
    }

    fn option(&mut self, out: &mut String, name: &str, is_flag: bool) {
        self.close_option(out);
        self.space = "";
        let inverted = if std::mem::take(&mut self.inverted) {
            " invert=\"1\""
        } else {
            ""
        };
        let end = if is_flag { " />\n" } else { ">" };
        let _ = write!(out, "          <{name} {inverted}{end}");
        self.option = (!is_flag).then(|| name.to_owned());
    }

    fn close_option(&mut self, out: &mut String) {
        if let Some(option) = self.option.take() {
            let _ = writeln!(out, "</{option}>");
        }
    }
}

impl Word<'_> {
    /// Is this word, unquoted.
    fn is(&self, text: &str) -> bool {
        !self.quoted && self.text == text
    }

    /// Begins an action.
    fn is_jump(&self) -> bool {
        !self.quoted && is_jump(&self.text)
    }
}

fn is_jump(word: &str) -> bool {
    matches!(word, "-j" | "--jump" | "-g" | "--goto")
}

/// Whether two rules are the same up to their actions, and the first one's lets packets go on.
fn same_conditions(before: &[Word<'_>], words: &[Word<'_>]) -> bool {
    for (at, (old, new)) in before.iter().zip(words).enumerate() {
        if is_jump(&old.text) && is_jump(&new.text) {
            let target = before.get(at + 1).map_or("", |target| &target.text);
            let ends = matches!(target, "ACCEPT" | "DROP" | "QUEUE" | "RETURN");
            return matches!(&*old.text, "-j" | "--jump") && !ends;
        }
        if old.text != new.text {
            return false;
        }
    }
    false
}

/// Bytes that XML keeps for itself, and those beyond ASCII, as references.
fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'&' => out.push_str("&amp;"),
            b'<' => out.push_str("&lt;"),
            b'>' => out.push_str("&gt;"),
            b'"' => out.push_str("&quot;"),
            127.. => drop(write!(out, "&#{byte};")),
            byte => out.push(byte.into()),
        }
    }
}
