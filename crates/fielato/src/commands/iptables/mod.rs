//! `fielato iptables`, `fielato ip6tables-save` and so on, also when called by these names.
//!
//! Rules live in the file that FIELATO_RULESET names, in the engine whose socket FIELATO_ENGINE names, or in a file for each
//! network namespace in the runtime folder.

mod engine;
mod file;
mod names;

use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use fielato_control::Paths;
use fielato_iptables::command::Wait;
use fielato_iptables::ipchains::program::{self as ipchains, Tool};
use fielato_iptables::iptc::Store;
use fielato_iptables::program::{self, Applet, Exit, World};
use fielato_iptables::{Failure, Registry};
use fielato_netfilter::syntax::Names;

use crate::cli::{Iptables, Words};
use file::{FileStore, Lock};

/// A command of `fielato`.
pub fn run(paths: &Paths, command: &Iptables) -> ExitCode {
    let (name, Words { words }) = match command {
        Iptables::Iptables(words) => ("iptables", words),
        Iptables::IptablesSave(words) => ("iptables-save", words),
        Iptables::IptablesRestore(words) => ("iptables-restore", words),
        Iptables::Ipchains(words) => ("ipchains", words),
        Iptables::IpchainsSave(words) => ("ipchains-save", words),
        Iptables::IpchainsRestore(words) => ("ipchains-restore", words),
        Iptables::Ipfwadm(words) => ("ipfwadm", words),
        Iptables::IptablesTranslate(words) => ("iptables-translate", words),
        Iptables::IptablesRestoreTranslate(words) => ("iptables-restore-translate", words),
        Iptables::Ip6tablesTranslate(words) => ("ip6tables-translate", words),
        Iptables::Ip6tablesRestoreTranslate(words) => ("ip6tables-restore-translate", words),
        Iptables::IptablesXml(words) => ("iptables-xml", words),
        Iptables::Ip6tables(words) => ("ip6tables", words),
        Iptables::Ip6tablesSave(words) => ("ip6tables-save", words),
        Iptables::Ip6tablesRestore(words) => ("ip6tables-restore", words),
    };
    match Program::find(name) {
        Some(program) => program_main(program, name, words, paths),
        None => ExitCode::FAILURE,
    }
}

/// One of the programs, if this process was called by its name, or as `fielato NAME` or `xtables-legacy-multi NAME`: then its
/// words are left alone by the command line of `fielato`.
pub fn by_name() -> Option<ExitCode> {
    let mut words = std::env::args_os();
    let called = words.next()?;
    let called = PathBuf::from(called).file_name().map(OsStr::to_owned)?;
    let words: Vec<OsString> = words.collect();
    let root = std::env::var_os("FIELATO_ROOT").unwrap_or_else(|| "/".into());
    let paths = Paths::new(root, None);
    if let Some(program) = called.to_str().and_then(Program::find) {
        return Some(program_main(program, &called.to_string_lossy(), &words, &paths));
    }
    let (name, rest) = words.split_first()?;
    let program = name.to_str().and_then(Program::find)?;
    Some(program_main(program, &name.to_string_lossy(), rest, &paths))
}

/// A program of either kind.
#[derive(Clone, Copy)]
enum Program {
    Iptables(Applet),
    Ipchains(Tool),
}

impl Program {
    fn find(name: &str) -> Option<Program> {
        let iptables = Applet::find(name).map(Program::Iptables);
        iptables.or_else(|| Tool::find(name).map(Program::Ipchains))
    }

    fn name(self) -> &'static str {
        match self {
            Program::Iptables(applet) => applet.name(),
            Program::Ipchains(tool) => tool.name(),
        }
    }
}

fn program_main(program: Program, invoked: &str, words: &[OsString], paths: &Paths) -> ExitCode {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let (registry, names) = (Registry::builtin(), names::Machine::default());
    let mut machine = match Machine::new(paths, &registry, &names) {
        Ok(machine) => machine,
        Err(reason) => {
            eprintln!("{}: {reason}", program.name());
            return ExitCode::from(4);
        }
    };
    ExitCode::from(match program {
        Program::Iptables(applet) => program::run(applet, invoked, &words, &registry, &names, &mut machine),
        Program::Ipchains(tool) => ipchains::run(tool, &words, &registry, &names, &mut machine),
    })
}

struct Machine<'a> {
    store: Where<'a>,
    lock_file: PathBuf,
    lock: Option<Lock>,
}

enum Where<'a> {
    File(FileStore<'a>),
    Engine(Box<dyn Store + 'a>),
}

impl<'a> Machine<'a> {
    fn new(paths: &Paths, registry: &'a Registry, names: &'a dyn Names) -> Result<Machine<'a>, String> {
        if let Some(socket) = std::env::var_os("FIELATO_ENGINE").filter(|socket| !socket.is_empty()) {
            return Ok(Machine {
                store: Where::Engine(Box::new(engine::store(socket.into(), registry, names))),
                lock_file: PathBuf::new(),
                lock: None,
            });
        }
        let path = match std::env::var_os("FIELATO_RULESET").filter(|file| !file.is_empty()) {
            Some(file) => PathBuf::from(file),
            None => file::of_this_namespace(paths)?,
        };
        let lock_file = match std::env::var_os("XTABLES_LOCKFILE").filter(|file| !file.is_empty()) {
            Some(file) => PathBuf::from(file),
            None => file::beside(&path, ".lock"),
        };
        Ok(Machine {
            store: Where::File(FileStore::new(path, registry, names)),
            lock_file,
            lock: None,
        })
    }
}

impl World for Machine<'_> {
    fn lock(&mut self, wait: Wait) -> Result<(), Exit> {
        // The engine's generations keep writers apart.
        if matches!(self.store, Where::File(_)) && self.lock.is_none() {
            self.lock = Some(Lock::take(&self.lock_file, wait)?);
        }
        Ok(())
    }

    fn unlock(&mut self) {
        if let Where::File(store) = &mut self.store {
            store.forget();
        }
        self.lock = None;
    }

    fn store(&mut self) -> &mut dyn Store {
        match &mut self.store {
            Where::File(store) => store,
            Where::Engine(store) => store.as_mut(),
        }
    }

    fn read(&mut self, file: Option<&str>) -> Result<String, Exit> {
        let mut bytes = Vec::new();
        let read = match file {
            None => std::io::stdin().lock().read_to_end(&mut bytes).map(drop),
            Some(file) => std::fs::read(file).map(|content| bytes = content),
        };
        match read {
            Ok(()) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => Err(Exit {
                code: 1,
                message: format!("Can't open {}: {}\n", file.unwrap_or("standard input"), reason(&error)),
            }),
        }
    }

    fn write(&mut self, file: Option<&str>, text: &str) -> Result<(), Exit> {
        let written = match file {
            Some(file) => std::fs::write(file, text),
            None => {
                let mut out = std::io::stdout().lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            }
        };
        written.map_err(|error| Exit {
            code: 1,
            message: format!("Failed to open file, error: {}\n", reason(&error)),
        })
    }

    fn complain(&mut self, text: &str) {
        eprint!("{text}");
    }

    fn date(&self) -> String {
        jiff::Zoned::now().strftime("%a %b %e %H:%M:%S %Y").to_string()
    }
}

/// An error as C's `strerror` has it.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}

fn failure(what: &str, path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::Store(format!("can't {what} {}: {}", path.display(), reason(error)))
}
