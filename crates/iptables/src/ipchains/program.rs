//! The programs ipchains, ipchains-save, ipchains-restore and ipfwadm.

use fielato_netfilter::syntax::Names;
use fielato_wire::Family;

use super::{Chains, Command, Error, Operation, fwadm, list, to_iptables};
use crate::command::Wait;
use crate::error::{Failure, Program};
use crate::execute::Output;
use crate::iptc::Handle;
use crate::program::{Exit, World};
use crate::registry::Registry;
use crate::restore::{Restore, RestoreOptions, Tables};

/// One of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `ipchains`
    Ipchains,
    /// `ipchains-save`
    Save,
    /// `ipchains-restore`
    Restore,
    /// `ipfwadm`
    Ipfwadm,
}

impl Tool {
    /// The program of this name.
    pub fn find(name: &str) -> Option<Tool> {
        Some(match name {
            "ipchains" => Tool::Ipchains,
            "ipchains-save" => Tool::Save,
            "ipchains-restore" => Tool::Restore,
            "ipfwadm" => Tool::Ipfwadm,
            _ => return None,
        })
    }

    /// What it calls itself.
    pub const fn name(self) -> &'static str {
        match self {
            Tool::Ipchains => "ipchains",
            Tool::Save => "ipchains-save",
            Tool::Restore => "ipchains-restore",
            Tool::Ipfwadm => "ipfwadm",
        }
    }
}

/// Runs a program on the words after its name; gives its exit code.
pub fn run(tool: Tool, words: &[&str], registry: &Registry, names: &dyn Names, world: &mut dyn World) -> u8 {
    let session = Session { registry, names };
    let result = world.lock(Wait::Forever).and_then(|()| match tool {
        Tool::Ipchains => session.command(words, world),
        Tool::Save => session.save(words, world),
        Tool::Restore => session.restore(words, world),
        Tool::Ipfwadm => session.ipfwadm(words, world),
    });
    match result {
        Ok(()) => 0,
        Err(Exit { code, message }) => {
            world.complain(&format!("{}: {}\n", tool.name(), message.trim_end()));
            code
        }
    }
}

fn exit(error: &Error) -> Exit {
    Exit {
        code: if matches!(error, Error::Words(_)) { 2 } else { 1 },
        message: error.to_string(),
    }
}

fn failed(failure: &Failure) -> Exit {
    Exit {
        code: 1,
        message: failure.to_string(),
    }
}

struct Session<'a> {
    registry: &'a Registry,
    names: &'a dyn Names,
}

impl Session<'_> {
    fn command(&self, words: &[&str], world: &mut dyn World) -> Result<(), Exit> {
        let command = Command::parse(words, self.names).map_err(|error| exit(&error))?;
        let mut chains = self.read(world)?;
        self.carry_out(&command, &mut chains, world)
    }

    fn carry_out(&self, command: &Command, chains: &mut Chains, world: &mut dyn World) -> Result<(), Exit> {
        match &command.operation {
            // The rules alone are asked for.
            Operation::List { .. } if command.print => {}
            Operation::List { chain, zero } => {
                let text = list::list(chains, chain.as_deref(), command, self.names).map_err(|error| exit(&error))?;
                world.write(None, &text)?;
                if *zero {
                    let zero = Operation::Zero { chain: chain.clone() };
                    chains.apply(&zero).map_err(|error| exit(&error))?;
                    self.write(chains, world)?;
                }
            }
            Operation::Check { chain, probe } => {
                let fate = chains.fate(chain, probe).ok_or_else(|| exit(&Error::NoChain))?;
                world.write(None, &format!("{}\n", fate.words()))?;
            }
            operation => {
                chains.apply(operation).map_err(|error| exit(&error))?;
                self.write(chains, world)?;
            }
        }
        match command.print {
            true => world.write(None, &to_iptables::text(chains)),
            false => Ok(()),
        }
    }

    fn save(&self, words: &[&str], world: &mut dyn World) -> Result<(), Exit> {
        let chains = self.read(world)?;
        match words {
            [] => world.write(None, &list::save(&chains)),
            [chain] if chains.chain(chain).is_some() => {
                let one = chains.0.iter().filter(|known| known.name == **chain).cloned();
                world.write(None, &list::save(&Chains(one.collect())))
            }
            _ => Err(exit(&Error::Words("takes one chain at most".to_owned()))),
        }
    }

    /// What ipchains-save wrote; `-f` is what happens anyway: chains in the file are emptied first.
    fn restore(&self, words: &[&str], world: &mut dyn World) -> Result<(), Exit> {
        if let Some(unknown) = words.iter().find(|word| !matches!(**word, "-f" | "-v" | "-p")) {
            return Err(exit(&Error::Words(format!("unknown option `{unknown}'"))));
        }
        let mut chains = self.read(world)?;
        let text = world.read(None)?;
        for (number, line) in text.lines().enumerate() {
            self.restore_line(line, &mut chains).map_err(|error| Exit {
                code: 2,
                message: format!("line {}: {error}", number + 1),
            })?;
        }
        self.write(&chains, world)
    }

    fn restore_line(&self, line: &str, chains: &mut Chains) -> Result<(), Error> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(head) = line.strip_prefix(':') {
            let mut words = head.split_whitespace();
            let (Some(name), Some(policy)) = (words.next(), words.next()) else {
                return Err(Error::Words("a chain and its policy are wanted".to_owned()));
            };
            let chain = Some(name.to_owned());
            if policy == "-" {
                return match chains.chain(name) {
                    Some(_) => chains.apply(&Operation::Flush { chain }),
                    None => self.apply(&["-N", name], chains),
                };
            }
            chains.apply(&Operation::Flush { chain })?;
            return self.apply(&["-P", name, policy], chains);
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        self.apply(&words, chains)
    }

    fn apply(&self, words: &[&str], chains: &mut Chains) -> Result<(), Error> {
        chains.apply(&Command::parse(words, self.names)?.operation)
    }

    fn ipfwadm(&self, words: &[&str], world: &mut dyn World) -> Result<(), Exit> {
        let mut chains = self.read(world)?;
        let commands = fwadm::translate(words, &chains).map_err(|error| exit(&error))?;
        for words in &commands {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let command = Command::parse(&words, self.names).map_err(|error| exit(&error))?;
            self.carry_out(&command, &mut chains, world)?;
        }
        Ok(())
    }

    fn read(&self, world: &mut dyn World) -> Result<Chains, Exit> {
        let handle = Handle::open(world.store(), Family::V4, "filter").map_err(|failure| failed(&failure))?;
        to_iptables::read(handle.table(), self.names).map_err(|error| exit(&error))
    }

    fn write(&self, chains: &Chains, world: &mut dyn World) -> Result<(), Exit> {
        let program = Program::legacy("ipchains");
        let restore = Restore {
            program: &program,
            family: Family::V4,
            registry: self.registry,
            names: self.names,
            options: RestoreOptions {
                counters: true,
                ..RestoreOptions::default()
            },
        };
        let mut output = Output::default();
        let restored = restore.run(&to_iptables::text(chains), &mut Open(world), &mut output);
        restored.map_err(|error| Exit {
            code: error.exit_code(),
            message: error.render(&program),
        })
    }
}

/// Tables under a lock that is held already.
struct Open<'a>(&'a mut dyn World);

impl Tables for Open<'_> {
    fn init(&mut self, table: &str) -> Result<Option<Handle>, crate::Error> {
        match Handle::open(self.0.store(), Family::V4, table) {
            Ok(handle) => Ok(Some(handle)),
            Err(Failure::NoTable) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    fn commit(&mut self, handle: Handle) -> Result<(), Failure> {
        handle.commit(self.0.store(), Family::V4)
    }
}
