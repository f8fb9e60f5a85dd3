//! Runs files of iptables' own suite (`extensions/*.t`) in process: parse, check, and compare the whole save line.
//!
//! `cargo run -q -p fielato-iptables --example t -- libxt_mark.t …`

#![expect(clippy::disallowed_methods, reason = "the crate is sans-IO, this program reads files")]

use std::process::ExitCode;

use fielato_iptables::{Error, FileNames, Parser, Program, Registry, execute, save};
use fielato_netfilter::Ruleset;
use fielato_testkit::suite::{self, Case, Line};
use fielato_wire::Family;

fn main() -> ExitCode {
    let (registry, names) = (Registry::builtin(), names());
    let (mut passed, mut total) = (0, 0);
    for file in std::env::args().skip(1) {
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("t: {file}: {error}");
                return ExitCode::FAILURE;
            }
        };
        let name = file.rsplit('/').next().unwrap_or(&file);
        let family = if name.starts_with("libip6t_") {
            Family::V6
        } else {
            Family::V4
        };
        let (mut file_passed, mut file_total) = (0, 0);
        for line in suite::parse(&text) {
            let Line::Case(case) = line else { continue };
            file_total += 1;
            match run(&case, family, &registry, &names) {
                Ok(()) => file_passed += 1,
                Err(why) => println!("{name}:{}: {}\n  {why}", case.number, case.rule),
            }
        }
        println!("{name}: {file_passed}/{file_total}");
        (passed, total) = (passed + file_passed, total + file_total);
    }
    println!("passed {passed} of {total}");
    if passed == total {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The machine's own files, as the program reads them.
fn names() -> FileNames {
    let mut names = FileNames::new();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    names.protocols(&read("/etc/protocols"));
    names.services(&read("/etc/services"));
    names.users(&read("/etc/passwd"));
    names.groups(&read("/etc/group"));
    for (folder, file) in [
        ("/etc/iproute2", "rt_realms"),
        ("/etc/iproute2", "group"),
        ("/etc/xtables", "connlabel.conf"),
    ] {
        names.numbers(file, &read(&format!("{folder}/{file}")));
    }
    names
}

fn run(case: &Case, family: Family, registry: &Registry, names: &FileNames) -> Result<(), String> {
    for chain in &case.chains {
        let mut rules = Ruleset::new(family);
        let words = suite::words(&format!("-A {chain} -t {} {}", case.table, case.rule));
        let result = append(&words, &mut rules, registry, names);
        match (result, case.accepted) {
            (Err(_), false) => continue,
            (Ok(()), false) => {
                return Err(format!(
                    "{chain}: should have been refused; saved as {}",
                    saved(&rules, registry, names)
                ));
            }
            (Err(error), true) => return Err(format!("{chain}: refused: {}", error.to_string().trim())),
            (Ok(()), true) => {}
        }
        let (wanted, got) = (format!("-A {chain} {}", case.saved), saved(&rules, registry, names));
        if wanted.trim_end() != got {
            return Err(format!("wanted {wanted}\n  got    {got}"));
        }
    }
    Ok(())
}

fn append(words: &[String], rules: &mut Ruleset, registry: &Registry, names: &FileNames) -> Result<(), Error> {
    let program = Program::legacy("iptables");
    let parser = Parser {
        family: rules.family,
        program: &program,
        registry,
        names,
        restore: None,
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    execute(&parser.parse(&words)?, rules, registry, names, &mut Default::default())
}

/// The rule lines of the save file.
fn saved(rules: &Ruleset, registry: &Registry, names: &FileNames) -> String {
    let text = save::ruleset(rules, registry, names, Default::default());
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("-A ")).collect();
    lines.join(" / ")
}
