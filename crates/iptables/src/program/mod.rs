//! The programs themselves, apart from files, locks and sockets: those are the [`World`]'s.

mod options;
mod translate;

use fielato_netfilter::syntax::Names;
use fielato_netfilter::{Ruleset, Table};
use fielato_wire::Family;

use crate::command::{Command, Operation, Wait, ZeroAfter};
use crate::error::{Error, Failure, Program};
use crate::execute::{Executor, Output};
use crate::iptc::{Handle, Store};
use crate::parse::Parser;
use crate::print::{SaveOptions, ruleset};
use crate::registry::Registry;
use crate::restore::{Restore, RestoreOptions, Tables};
use crate::xml;
use options::{RestoreArguments, SaveArguments, XmlArguments};

/// One of the programs in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applet {
    /// What it does.
    pub tool: Tool,
    /// IPv4 or IPv6.
    pub family: Family,
}

/// What a program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `iptables`: one command.
    Command,
    /// `iptables-save`
    Save,
    /// `iptables-restore`
    Restore,
    /// `iptables-translate`: a command as nft's.
    Translate,
    /// `iptables-restore-translate`: a save file as nft's.
    RestoreTranslate,
    /// `iptables-xml`, which serves both families.
    Xml,
}

impl Applet {
    /// The program of this name: `ip6tables-restore`, `iptables-legacy-save`, `save4`, …
    pub fn find(name: &str) -> Option<Applet> {
        let (family, tool) = match name {
            "iptables" | "iptables-legacy" | "main4" => (Family::V4, Tool::Command),
            "iptables-save" | "iptables-legacy-save" | "save4" => (Family::V4, Tool::Save),
            "iptables-restore" | "iptables-legacy-restore" | "restore4" => (Family::V4, Tool::Restore),
            "iptables-translate" => (Family::V4, Tool::Translate),
            "iptables-restore-translate" => (Family::V4, Tool::RestoreTranslate),
            "iptables-xml" | "iptables-legacy-xml" | "xml" => (Family::V4, Tool::Xml),
            "ip6tables" | "ip6tables-legacy" | "main6" => (Family::V6, Tool::Command),
            "ip6tables-save" | "ip6tables-legacy-save" | "save6" => (Family::V6, Tool::Save),
            "ip6tables-restore" | "ip6tables-legacy-restore" | "restore6" => (Family::V6, Tool::Restore),
            "ip6tables-translate" => (Family::V6, Tool::Translate),
            "ip6tables-restore-translate" => (Family::V6, Tool::RestoreTranslate),
            _ => return None,
        };
        Some(Applet { tool, family })
    }

    /// What it calls itself.
    pub fn name(self) -> &'static str {
        match (self.family, self.tool) {
            (_, Tool::Xml) => "iptables-xml",
            (Family::V4, Tool::Command) => "iptables",
            (Family::V4, Tool::Save) => "iptables-save",
            (Family::V4, Tool::Restore) => "iptables-restore",
            (Family::V4, Tool::Translate) => "iptables-translate",
            (Family::V4, Tool::RestoreTranslate) => "iptables-restore-translate",
            (Family::V6, Tool::Command) => "ip6tables",
            (Family::V6, Tool::Save) => "ip6tables-save",
            (Family::V6, Tool::Restore) => "ip6tables-restore",
            (Family::V6, Tool::Translate) => "ip6tables-translate",
            (Family::V6, Tool::RestoreTranslate) => "ip6tables-restore-translate",
        }
    }
}

/// A program that ends: its exit code, and what it says on standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit code.
    pub code: u8,
    /// Whole lines.
    pub message: String,
}

/// What a program needs of the machine.
pub trait World {
    /// Takes the lock, for as long as the program runs or until [`World::unlock`].
    fn lock(&mut self, wait: Wait) -> Result<(), Exit>;
    /// Gives the lock back.
    fn unlock(&mut self);
    /// The tables.
    fn store(&mut self) -> &mut dyn Store;
    /// A file's text, or standard input's.
    fn read(&mut self, file: Option<&str>) -> Result<String, Exit>;
    /// Writes to a file, or to standard output.
    fn write(&mut self, file: Option<&str>, text: &str) -> Result<(), Exit>;
    /// Writes to standard error.
    fn complain(&mut self, text: &str);
    /// The time as C's `ctime` writes it, without its line end.
    fn date(&self) -> String;
}

/// Runs a program on the words after its name; gives its exit code. `invoked` is the name it was called by, for the messages
/// that name it so.
pub fn run(applet: Applet, invoked: &str, words: &[&str], registry: &Registry, names: &dyn Names, world: &mut dyn World) -> u8 {
    let session = Session {
        applet,
        program: Program::legacy(applet.name()),
        registry,
        names,
    };
    let result = match applet.tool {
        Tool::Command => session.command(words, world),
        Tool::Save => session.save(invoked, words, world),
        Tool::Restore => session.restore(invoked, words, world),
        Tool::Translate => session.translate(words, world),
        Tool::RestoreTranslate => session.restore_translate(invoked, words, world),
        Tool::Xml => session.xml(invoked, words, world),
    };
    match result {
        Ok(()) => 0,
        Err(Exit { code, message }) => {
            world.complain(&message);
            code
        }
    }
}

struct Session<'a> {
    applet: Applet,
    program: Program,
    registry: &'a Registry,
    names: &'a dyn Names,
}

impl Session<'_> {
    fn exit(&self, error: &Error) -> Exit {
        Exit {
            code: error.exit_code(),
            message: error.render(&self.program, None),
        }
    }

    /// The command that these words are, after its warnings.
    fn parse(&self, words: &[&str], world: &mut dyn World) -> Result<Command, Exit> {
        let parser = Parser {
            family: self.applet.family,
            program: &self.program,
            registry: self.registry,
            names: self.names,
            restore: None,
        };
        let command = parser.parse(words).map_err(|error| self.exit(&error))?;
        for warning in &command.warnings {
            world.complain(&format!("{warning}\n"));
        }
        Ok(command)
    }

    fn command(&self, words: &[&str], world: &mut dyn World) -> Result<(), Exit> {
        let family = self.applet.family;
        let command = self.parse(words, world)?;
        if let Operation::Print(text) = &command.operation {
            return world.write(None, text);
        }
        world.lock(command.wait)?;
        let executor = Executor {
            family,
            registry: self.registry,
            names: self.names,
        };
        let mut output = Output::default();
        let done = self.change(&command, &executor, world, &mut output);
        world.write(None, &output.out)?;
        world.complain(&output.err);
        done.map_err(|error| self.exit(&error))
    }

    fn change(
        &self,
        command: &Command,
        executor: &Executor<'_>,
        world: &mut dyn World,
        output: &mut Output,
    ) -> Result<(), Error> {
        let family = self.applet.family;
        let opened = Handle::open(world.store(), family, &command.table);
        let mut handle = opened.map_err(|failure| match failure {
            Failure::NoTable => executor.no_table(&command.table),
            failure => failure.into(),
        })?;
        executor.run(command, &mut handle, output)?;
        if changes(&command.operation) {
            handle.commit(world.store(), family)?;
        }
        Ok(())
    }

    fn save(&self, invoked: &str, words: &[&str], world: &mut dyn World) -> Result<(), Exit> {
        let arguments = match SaveArguments::parse(invoked, self.applet.name(), words)? {
            Some(arguments) => arguments,
            None => return world.write(None, &self.version()),
        };
        let tables = match arguments.table {
            Some(table) => vec![table.to_owned()],
            None => {
                // The kernel names the youngest table first.
                let mut tables = self.failing(world.store().tables(self.applet.family))?;
                tables.reverse();
                tables
            }
        };
        let mut rules = Ruleset::new(self.applet.family);
        for name in tables {
            let (table, _): (Table, _) = match world.store().load(self.applet.family, &name) {
                Err(failure @ Failure::NoTable) => {
                    return Err(self.exit(&Error::Other(format!("Cannot initialize: {failure}"))));
                }
                loaded => self.failing(loaded)?,
            };
            rules.tables.push(table);
        }
        let date = world.date();
        let options = SaveOptions {
            counters: arguments.counters,
            comments: Some((self.applet.name(), &date)),
            ..SaveOptions::default()
        };
        let text = ruleset(&rules, self.registry, self.names, options);
        world.write(arguments.file, &text)
    }

    fn restore(&self, invoked: &str, words: &[&str], world: &mut dyn World) -> Result<(), Exit> {
        let arguments = match RestoreArguments::parse(invoked, self.applet.name(), words)? {
            RestoreArguments::Read(arguments) => arguments,
            RestoreArguments::Version => return world.write(None, &self.version()),
            RestoreArguments::Help => {
                world.complain(&usage(self.applet.name()));
                return Ok(());
            }
        };
        world.complain(&arguments.warning);
        let text = world.read(arguments.file)?;
        let restore = Restore {
            program: &self.program,
            family: self.applet.family,
            registry: self.registry,
            names: self.names,
            options: RestoreOptions {
                counters: arguments.counters,
                noflush: arguments.noflush,
                test: arguments.test,
                verbose: arguments.verbose,
                table: arguments.table,
            },
        };
        let mut output = Output::default();
        let mut tables = Locked {
            world,
            family: self.applet.family,
            wait: arguments.wait,
            refused: None,
        };
        let restored = restore.run(&text, &mut tables, &mut output);
        let refused = tables.refused;
        world.write(None, &output.out)?;
        world.complain(&output.err);
        match (refused, restored) {
            (Some(exit), _) => Err(exit),
            (None, Ok(())) => Ok(()),
            (None, Err(error)) => Err(Exit {
                code: error.exit_code(),
                message: error.render(&self.program),
            }),
        }
    }

    fn xml(&self, invoked: &str, words: &[&str], world: &mut dyn World) -> Result<(), Exit> {
        let arguments = XmlArguments::parse(invoked, words)?;
        let text = world.read(arguments.file)?;
        let mut out = String::new();
        let written = xml::write(&text, arguments.options, &mut out);
        world.write(None, &out)?;
        written.map_err(|error| Exit {
            code: error.exit_code(),
            message: error.render(&xml::program()),
        })
    }

    fn failing<T>(&self, result: Result<T, Failure>) -> Result<T, Exit> {
        result.map_err(|failure| self.exit(&failure.into()))
    }

    fn version(&self) -> String {
        format!("{} v{}\n", self.program.name, self.program.version)
    }
}

/// Whether the operation is followed by a commit.
fn changes(operation: &Operation) -> bool {
    match operation {
        Operation::List { zero, .. } | Operation::ListRules { zero, .. } => *zero != ZeroAfter::No,
        Operation::Check { .. } | Operation::Print(_) | Operation::Ignored => false,
        _ => true,
    }
}

/// Tables taken under the lock, one at a time.
struct Locked<'a> {
    world: &'a mut dyn World,
    family: Family,
    wait: Wait,
    /// The lock could not be had.
    refused: Option<Exit>,
}

impl Tables for Locked<'_> {
    fn init(&mut self, table: &str) -> Result<Option<Handle>, Error> {
        if let Err(exit) = self.world.lock(self.wait) {
            let message = exit.message.clone();
            self.refused = Some(exit);
            return Err(Error::Plain(message));
        }
        match Handle::open(self.world.store(), self.family, table) {
            Ok(handle) => Ok(Some(handle)),
            Err(Failure::NoTable) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    fn commit(&mut self, handle: Handle) -> Result<(), Failure> {
        let committed = handle.commit(self.world.store(), self.family);
        self.world.unlock();
        committed
    }
}

fn usage(name: &str) -> String {
    format!(
        "\
Usage: {name} [-c] [-v] [-V] [-t] [-h] [-n] [-w secs] [-W usecs] [-T table] [-M command] [file]
\t   [ --counters ]
\t   [ --verbose ]
\t   [ --version]
\t   [ --test ]
\t   [ --help ]
\t   [ --noflush ]
\t   [ --wait=<seconds>
\t   [ --table=<TABLE> ]
\t   [ --modprobe=<command> ]
"
    )
}
