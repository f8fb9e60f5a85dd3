//! A command carried out on a rule set.

use fielato_netfilter::syntax::Names;
use fielato_netfilter::table::{CompileError, CompiledTable, RegisteredTable};
use fielato_netfilter::{Hook, Rule, Ruleset, Table, Target};
use fielato_wire::Family;

use crate::command::{Command, Operation, ZeroAfter};
use crate::error::{Error, Failure};
use crate::iptc::Handle;
use crate::print::list::Format;
use crate::print::save::{CounterStyle, Printer, policy_name};
use crate::registry::Registry;

/// What commands print: standard output and standard error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub out: String,
    /// Standard error, beside an error that ends the command.
    pub err: String,
}

/// Carries out `command` on `rules`, and checks the table as the kernel would. A standard table that isn't there yet is made.
/// After an error nothing has changed.
pub fn execute(
    command: &Command,
    rules: &mut Ruleset,
    registry: &Registry,
    names: &dyn Names,
    output: &mut Output,
) -> Result<(), Error> {
    for warning in &command.warnings {
        output.err.push_str(warning);
        output.err.push('\n');
    }
    if let Operation::Print(text) = &command.operation {
        output.out.push_str(text);
        return Ok(());
    }
    let executor = Executor {
        family: rules.family,
        registry,
        names,
    };
    let table = match rules.table(&command.table) {
        Some(table) => table.clone(),
        None => Table::standard(&command.table).ok_or_else(|| executor.no_table(&command.table))?,
    };
    let mut handle = Handle::init(table);
    executor.run(command, &mut handle, output)?;
    let table = handle.into_parts().0;
    check(&table, rules.family)?;
    match rules.table_mut(&table.name) {
        Some(place) => *place = table,
        None => rules.tables.push(table),
    }
    Ok(())
}

/// Checks a table as the kernel does when it is replaced: jumps, loops, where each match and target stands.
pub fn check(table: &Table, family: Family) -> Result<(), Failure> {
    let builtin = table.chains.iter().filter(|chain| chain.policy.is_some());
    let registered = RegisteredTable {
        name: table.name.clone(),
        hooks: builtin.filter_map(|chain| Hook::from_chain(&chain.name)).collect(),
        priority: 0,
    };
    match CompiledTable::check(table, family, &[registered]) {
        Ok(()) => Ok(()),
        Err(CompileError::Loop { .. } | CompileError::JumpDepth { .. }) => Err(Failure::Loop),
        Err(CompileError::MissingChain { .. }) => Err(Failure::NotFound),
        Err(_) => Err(Failure::Invalid),
    }
}

/// What commands are carried out with.
#[derive(Clone, Copy)]
pub struct Executor<'a> {
    /// The family.
    pub family: Family,
    /// The matches and targets there are.
    pub registry: &'a Registry,
    /// Names.
    pub names: &'a dyn Names,
}

impl Executor<'_> {
    /// The error for a table that isn't there.
    pub fn no_table(&self, table: &str) -> Error {
        let program = match self.family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        Error::Version(format!("can't initialize {program} table `{table}': {}", Failure::NoTable))
    }

    /// Carries out a command on a table that was taken out; the caller commits it.
    pub fn run(&self, command: &Command, handle: &mut Handle, output: &mut Output) -> Result<(), Error> {
        let verbose = command.verbose > 0;
        match &command.operation {
            Operation::Append { chain, rules } => {
                for rule in self.resolved(rules, handle, output)? {
                    self.tell(verbose, &rule, output);
                    handle.append_entry(chain, rule)?;
                }
            }
            Operation::Insert { chain, number, rules } => {
                for rule in self.resolved(rules, handle, output)? {
                    self.tell(verbose, &rule, output);
                    handle.insert_entry(chain, rule, number.saturating_sub(1))?;
                }
            }
            Operation::Replace { chain, number, rule } => {
                for rule in self.resolved(std::slice::from_ref(rule), handle, output)? {
                    self.tell(verbose, &rule, output);
                    handle.replace_entry(chain, rule, number.saturating_sub(1))?;
                }
            }
            Operation::Delete { chain, rules } => {
                for rule in self.resolved(rules, handle, output)? {
                    self.tell(verbose, &rule, output);
                    handle.delete_entry(chain, &rule)?;
                }
            }
            Operation::Check { chain, rules } => {
                for rule in self.resolved(rules, handle, output)? {
                    self.tell(verbose, &rule, output);
                    handle.check_entry(chain, &rule)?;
                }
            }
            Operation::DeleteNumber { chain, number } => handle.delete_num_entry(chain, number.saturating_sub(1))?,
            Operation::List { chain, number, zero } => {
                self.list(command, chain.as_deref(), *number, handle, output)?;
                self.zero_after(*zero, chain.as_deref(), *number, verbose, handle, output)?;
            }
            Operation::ListRules { chain, number, zero } => {
                self.list_rules(verbose, chain.as_deref(), *number, handle, output)?;
                self.zero_after(*zero, chain.as_deref(), *number, verbose, handle, output)?;
            }
            Operation::Flush { chain } => {
                for chain in chains(chain.as_deref(), handle, true) {
                    say(verbose, output, format_args!("Flushing chain `{chain}'\n"));
                    handle.flush_entries(&chain)?;
                }
            }
            Operation::Zero { chain } => self.zero(chain.as_deref(), verbose, handle, output)?,
            Operation::ZeroNumber { chain, number } => handle.zero_counter(chain, number.saturating_sub(1))?,
            Operation::NewChain { chain } => handle.create_chain(chain)?,
            Operation::DeleteChain { chain } => {
                for chain in chains(chain.as_deref(), handle, false) {
                    say(verbose, output, format_args!("Deleting chain `{chain}'\n"));
                    handle.delete_chain(&chain)?;
                }
            }
            Operation::RenameChain { from, to } => handle.rename_chain(from, to)?,
            Operation::Policy { chain, policy, counters } => {
                if !handle.builtin(chain) {
                    return Err(Failure::BadChain.into());
                }
                let policy = policy.ok_or(Failure::BadPolicy)?;
                handle.set_policy(chain, policy, *counters)?;
            }
            Operation::Print(text) => output.out.push_str(text),
            Operation::Ignored => {}
        }
        Ok(())
    }

    /// The rules with their targets known to be chains or extensions.
    fn resolved(&self, rules: &[Rule], handle: &Handle, output: &mut Output) -> Result<Vec<Rule>, Error> {
        let mut rules = rules.to_vec();
        for (number, rule) in rules.iter_mut().enumerate() {
            match &rule.target {
                Target::Jump(chain) if !handle.is_chain(chain) => {
                    return Err(Error::Parameter(format!(
                        "Couldn't load target `{chain}':No such file or directory\n"
                    )));
                }
                Target::Goto(chain) if !handle.is_chain(chain) => {
                    return Err(Error::Parameter(format!("goto '{chain}' is not a chain")));
                }
                Target::None | Target::Jump(_) | Target::Goto(_) => {}
                target => {
                    let name = target.name().to_owned();
                    if handle.is_chain(&name) {
                        if number == 0 {
                            output.err.push_str(&format!("Warning: using chain {name}, not extension\n"));
                        }
                        rule.target = Target::Jump(name);
                    }
                }
            }
        }
        Ok(rules)
    }

    fn printer(&self) -> Printer<'_> {
        Printer {
            family: self.family,
            registry: self.registry,
            names: self.names,
            complete: false,
        }
    }

    fn tell(&self, verbose: bool, rule: &Rule, output: &mut Output) {
        if verbose {
            self.printer().told(&mut output.out, rule);
        }
    }

    fn list(
        &self,
        command: &Command,
        chain: Option<&str>,
        number: Option<usize>,
        handle: &Handle,
        output: &mut Output,
    ) -> Result<(), Error> {
        let format = Format {
            verbose: command.verbose > 0,
            numeric: command.numeric,
            exact: command.exact,
            line_numbers: command.line_numbers,
        };
        let printer = self.printer();
        let mut found = false;
        for listed in handle.chains() {
            if chain.is_some_and(|chain| chain != listed.name) {
                continue;
            }
            if found {
                output.out.push('\n');
            }
            found = true;
            if number.is_none() {
                let references = handle.get_references(&listed.name)?;
                printer.chain_header(&mut output.out, listed, references, format);
            }
            for (place, rule) in listed.rules.iter().enumerate() {
                if number.is_none_or(|number| number == place + 1) {
                    printer.listed(&mut output.out, rule, place + 1, format);
                }
            }
        }
        if found { Ok(()) } else { Err(Failure::NotFound.into()) }
    }

    fn list_rules(
        &self,
        counters: bool,
        chain: Option<&str>,
        number: Option<usize>,
        handle: &Handle,
        output: &mut Output,
    ) -> Result<(), Error> {
        let chains = handle.chains();
        let listed = || chains.iter().filter(|listed| chain.is_none_or(|chain| chain == listed.name));
        if number.is_none() {
            for chain in listed() {
                let Some(policy) = chain.policy else {
                    say(true, output, format_args!("-N {}\n", chain.name));
                    continue;
                };
                say(true, output, format_args!("-P {} {}", chain.name, policy_name(policy)));
                let counted = chain.counters;
                say(counters, output, format_args!(" -c {} {}", counted.packets, counted.bytes));
                output.out.push('\n');
            }
        }
        let style = if counters { CounterStyle::Option } else { CounterStyle::None };
        for chain in listed() {
            for (place, rule) in chain.rules.iter().enumerate() {
                if number.is_none_or(|number| number == place + 1) {
                    self.printer().rule(&mut output.out, &chain.name, rule, style);
                }
            }
        }
        if listed().next().is_some() {
            Ok(())
        } else {
            Err(Failure::NotFound.into())
        }
    }

    fn zero_after(
        &self,
        zero: ZeroAfter,
        chain: Option<&str>,
        number: Option<usize>,
        verbose: bool,
        handle: &mut Handle,
        output: &mut Output,
    ) -> Result<(), Error> {
        match zero {
            ZeroAfter::No => Ok(()),
            ZeroAfter::Chains => self.zero(chain, verbose, handle, output),
            ZeroAfter::Rule => Ok(handle.zero_counter(chain.unwrap_or(""), number.unwrap_or(1).saturating_sub(1))?),
        }
    }

    fn zero(&self, chain: Option<&str>, verbose: bool, handle: &mut Handle, output: &mut Output) -> Result<(), Error> {
        for chain in chains(chain, handle, true) {
            say(verbose, output, format_args!("Zeroing chain `{chain}'\n"));
            handle.zero_entries(&chain)?;
        }
        Ok(())
    }
}

/// The chain named, or all, or all but the built-in ones.
fn chains(named: Option<&str>, handle: &Handle, builtin_too: bool) -> Vec<String> {
    match named {
        Some(chain) => vec![chain.to_owned()],
        None => {
            let all = handle.chains();
            let wanted = all.iter().filter(|chain| builtin_too || chain.policy.is_none());
            wanted.map(|chain| chain.name.clone()).collect()
        }
    }
}

fn say(whether: bool, output: &mut Output, text: std::fmt::Arguments<'_>) {
    if whether {
        // Writing to a string does not fail.
        let _ = std::fmt::Write::write_fmt(&mut output.out, text);
    }
}
