//! Save files read back.

pub(crate) mod words;

use fielato_netfilter::rule::Policy;
use fielato_netfilter::syntax::Names;
use fielato_netfilter::{Counters, Ruleset, Table};
use fielato_wire::Family;

use crate::error::{Error, Failure, Program};
use crate::execute::{Executor, Output, check};
use crate::iptc::Handle;
use crate::parse::{MAX_NAME, Parser, leading_decimal};
use crate::registry::Registry;
pub(crate) use words::Word;

/// How to read a save file.
#[derive(Clone, Copy, Debug, Default)]
pub struct RestoreOptions<'a> {
    /// Take the counters too (`-c`).
    pub counters: bool,
    /// Keep what is in the tables (`-n`).
    pub noflush: bool,
    /// Commit nothing (`-t`).
    pub test: bool,
    /// `-v`, as often as it was given.
    pub verbose: u8,
    /// Only this table (`-T`).
    pub table: Option<&'a str>,
}

/// What is wrong in a save file, and in which line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {error}")]
pub struct RestoreError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub error: Error,
}

impl RestoreError {
    /// The text for standard error.
    pub fn render(&self, program: &Program) -> String {
        self.error.render(program, Some(self.line))
    }

    /// The program's exit code.
    pub fn exit_code(&self) -> u8 {
        match &self.error {
            // iptables-restore doesn't tell a busy table from another failure.
            Error::Failed(_) => 1,
            error => error.exit_code(),
        }
    }
}

/// Where tables are taken from, and brought back to at each COMMIT.
pub trait Tables {
    /// Takes a table; `None` for a name that no table has.
    fn init(&mut self, table: &str) -> Result<Option<Handle>, Error>;
    /// Brings it back.
    fn commit(&mut self, handle: Handle) -> Result<(), Failure>;
}

/// The tables of a save file, with their counters. Standard tables start out empty; another name is an error.
pub fn parse(text: &str, family: Family, registry: &Registry, names: &dyn Names) -> Result<Ruleset, RestoreError> {
    struct Fresh(Ruleset);

    impl Tables for Fresh {
        fn init(&mut self, table: &str) -> Result<Option<Handle>, Error> {
            let known = self.0.table(table).cloned();
            Ok(known.or_else(|| Table::standard(table)).map(Handle::init))
        }

        fn commit(&mut self, handle: Handle) -> Result<(), Failure> {
            let (table, _) = handle.into_parts();
            check(&table, self.0.family)?;
            match self.0.table_mut(&table.name) {
                Some(place) => *place = table,
                None => self.0.tables.push(table),
            }
            Ok(())
        }
    }

    let mut tables = Fresh(Ruleset::new(family));
    let program = Program::legacy(match family {
        Family::V4 => "iptables-restore",
        Family::V6 => "ip6tables-restore",
    });
    let options = RestoreOptions {
        counters: true,
        ..RestoreOptions::default()
    };
    let restore = Restore {
        program: &program,
        family,
        registry,
        names,
        options,
    };
    restore.run(text, &mut tables, &mut Output::default())?;
    Ok(tables.0)
}

/// What a save file is read with.
#[derive(Clone, Copy)]
pub struct Restore<'a> {
    /// What to be called in messages.
    pub program: &'a Program,
    /// The family.
    pub family: Family,
    /// The matches and targets there are.
    pub registry: &'a Registry,
    /// Names.
    pub names: &'a dyn Names,
    /// How.
    pub options: RestoreOptions<'a>,
}

impl Restore<'_> {
    /// Reads `text` and commits each of its tables. Tables committed before an error stay so, as with iptables-restore.
    pub fn run(&self, text: &str, tables: &mut dyn Tables, output: &mut Output) -> Result<(), RestoreError> {
        // The table being filled, and the name of the last one begun.
        let mut open: Option<Handle> = None;
        let mut current = "";
        let mut last = 0;
        for (number, line) in text.lines().enumerate() {
            let number = number + 1;
            last = number;
            let at = |error| RestoreError { line: number, error };
            let failed = || at(Error::Failed(Failure::Invalid));
            match (line.chars().next(), &mut open) {
                (None, _) => {}
                (Some('#'), _) if self.options.verbose > 0 => {
                    output.out.push_str(line);
                    output.out.push('\n');
                }
                (Some('#'), _) => {}
                (Some('C'), handle @ Some(_)) if line == "COMMIT" => {
                    if let Some(handle) = handle.take()
                        && !self.options.test
                    {
                        tables.commit(handle).map_err(|failure| at(failure.into()))?;
                    }
                }
                (Some('*'), None) => {
                    current = line
                        .get(1..)
                        .unwrap_or("")
                        .split([' ', '\t'])
                        .find(|word| !word.is_empty())
                        .unwrap_or("");
                    if current.is_empty() {
                        let name = &self.program.name;
                        return Err(at(Error::Parameter(format!("{name}: line {number} table name invalid"))));
                    }
                    if !self.unwanted(current) {
                        open = Some(self.begin(current, tables, output).map_err(at)?);
                    }
                }
                (Some(':'), Some(handle)) => self.chain(line, number, handle).map_err(at)?,
                (Some(_), Some(handle)) => self.rule(line, number, current, handle, output).map_err(at)?,
                (Some(_), None) if self.unwanted(current) => {}
                (Some(_), None) => return Err(failed()),
            }
        }
        if open.is_some() {
            let name = &self.program.name;
            let error = Error::Plain(format!("{name}: COMMIT expected at line {}", last + 1));
            return Err(RestoreError { line: last + 1, error });
        }
        Ok(())
    }

    fn unwanted(&self, table: &str) -> bool {
        self.options.table.is_some_and(|wanted| wanted != table)
    }

    /// `*TABLE`
    fn begin(&self, table: &str, tables: &mut dyn Tables, output: &mut Output) -> Result<Handle, Error> {
        let Some(mut handle) = tables.init(table)? else {
            let name = &self.program.name;
            return Err(Error::Parameter(format!("{name}: unable to initialize table '{table}'")));
        };
        if self.options.noflush {
            return Ok(handle);
        }
        if self.options.verbose > 0 {
            let chains = handle.chains();
            let user = chains.iter().filter(|chain| chain.policy.is_none());
            let flushed = chains.iter().map(|chain| format!("Flushing chain `{}'\n", chain.name));
            output.out.extend(flushed);
            output
                .out
                .extend(user.map(|chain| format!("Deleting chain `{}'\n", chain.name)));
        }
        handle.clear();
        Ok(handle)
    }

    /// `:CHAIN POLICY [PACKETS:BYTES]`
    fn chain(&self, line: &str, number: usize, handle: &mut Handle) -> Result<(), Error> {
        let name = &self.program.name;
        let mut words = line.get(1..).unwrap_or("").split([' ', '\t']).filter(|word| !word.is_empty());
        let Some(chain) = words.next() else {
            return Err(Error::Parameter(format!("{name}: line {number} chain name invalid")));
        };
        if chain.len() >= MAX_NAME {
            return Err(Error::Parameter(format!(
                "Invalid chain name `{chain}' ({} chars max)",
                MAX_NAME - 1
            )));
        }
        if !handle.builtin(chain) {
            match self.options.noflush && handle.is_chain(chain) {
                true => handle.flush_entries(chain)?,
                false => handle
                    .create_chain(chain)
                    .map_err(|_| Error::Parameter(format!("error creating chain '{chain}':File exists")))?,
            }
        }
        let Some(policy) = words.next() else {
            return Err(Error::Parameter(format!("{name}: line {number} policy invalid")));
        };
        if policy == "-" {
            return Ok(());
        }
        let counters = match self.options.counters {
            true => words
                .next()
                .and_then(chain_counters)
                .ok_or_else(|| Error::Parameter(format!("invalid policy counters for chain '{chain}'")))?,
            false => Counters::default(),
        };
        let parsed = match policy {
            "ACCEPT" => Ok(Policy::Accept),
            "DROP" => Ok(Policy::Drop),
            _ if handle.builtin(chain) => Err(Failure::BadPolicy),
            _ => Err(Failure::BadChain),
        };
        let set = parsed.and_then(|policy| handle.set_policy(chain, policy, Some(counters)));
        set.map_err(|failure| Error::Other(format!("Can't set policy `{policy}' on `{chain}' line {number}: {failure}")))
    }

    /// `[PACKETS:BYTES] -A CHAIN …`, or any other command.
    fn rule(&self, line: &str, number: usize, table: &str, handle: &mut Handle, output: &mut Output) -> Result<(), Error> {
        let (counters, rest) = rule_counters(line, number)?;
        let words = words::split(rest)?;
        let mut tokens: Vec<&str> = Vec::with_capacity(words.len() + 4);
        if let Some((packets, bytes)) = counters.filter(|_| self.options.counters) {
            tokens.extend(["--set-counters", packets, bytes]);
        }
        tokens.extend(words.iter().map(|word| &*word.text));
        if !self.options.noflush {
            tokens.extend(std::iter::repeat_n("-v", self.options.verbose.into()));
        }
        let parser = Parser {
            family: self.family,
            program: self.program,
            registry: self.registry,
            names: self.names,
            restore: Some(table),
        };
        let command = parser.parse(&tokens)?;
        for warning in &command.warnings {
            output.err.push_str(warning);
            output.err.push('\n');
        }
        let executor = Executor {
            family: self.family,
            registry: self.registry,
            names: self.names,
        };
        executor.run(&command, handle, output)
    }
}

/// `[PACKETS:BYTES]` of a chain.
pub(crate) fn chain_counters(word: &str) -> Option<Counters> {
    let (packets, rest) = word.strip_prefix('[')?.split_once(':')?;
    Some(Counters {
        packets: leading_decimal(packets)?,
        bytes: leading_decimal(rest)?,
    })
}

/// The counters before a rule, as words, and the rule.
#[expect(clippy::type_complexity, reason = "two words and a rest")]
pub(crate) fn rule_counters(line: &str, number: usize) -> Result<(Option<(&str, &str)>, &str), Error> {
    let Some(inner) = line.strip_prefix('[') else {
        return Ok((None, line));
    };
    let bad = |what: &str| Error::Parameter(format!("Bad line {number}: need {what}"));
    let (counters, rest) = inner.split_once(']').ok_or_else(|| bad("]"))?;
    let (packets, bytes) = counters.split_once(':').ok_or_else(|| bad("]"))?;
    match (packets.is_empty(), bytes.is_empty()) {
        (true, true) => Err(bad(":")),
        (true, false) | (false, true) => Err(bad("]")),
        (false, false) => Ok((Some((packets, bytes)), rest)),
    }
}
