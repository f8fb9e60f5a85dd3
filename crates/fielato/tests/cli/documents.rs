//! Help, completions and man pages.

use std::fs;

use fielato_testkit::need;

use crate::common::Machine;

const COMMANDS: &[&str] = &[
    "init",
    "member add",
    "member list",
    "member show",
    "member config",
    "member remove",
    "member disable",
    "member enable",
    "import",
    "up",
    "down",
    "reload",
    "status",
    "render",
    "trace",
    "ban",
    "unban",
    "bans",
    "top",
    "shape show",
    "lab up",
    "lab exec",
    "lab down",
    "lab talk",
    "device",
    "completions",
    "man",
];

#[test]
fn every_command_has_help_with_an_example() {
    let machine = Machine::files();
    for command in COMMANDS {
        let help = machine.fielato(&format!("{command} --help")).ok();
        assert!(help.contains(&format!("fielato {command}")), "{command}: no usage: {help}");
        let example = help.split("Example").nth(1).unwrap_or_default();
        assert!(example.contains("fielato "), "{command}: no example: {help}");
    }
    let help = machine.fielato("--help").ok();
    assert!(help.contains("Exit codes:"), "{help}");
}

#[test]
fn completions_for_each_shell() {
    let test = "documents::completions_for_each_shell";
    let machine = Machine::files();
    for shell in ["bash", "zsh", "fish"] {
        let script = machine.fielato(&format!("completions {shell}")).ok();
        for word in ["member", "reload", "foreground"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        // The other shells are seldom there.
        if shell == "bash" && need(test, "bash") {
            machine.with_file("bash -n FILE", "completion", &script).ok();
            let asked = format!(
                "bash -c '. {}/completion; COMP_WORDS=(fielato member a); COMP_CWORD=2; _fielato fielato a member; echo ${{COMPREPLY[@]}}'",
                machine.root().display()
            );
            assert_eq!(machine.sh(&asked).ok(), "add\n");
        }
    }
}

#[test]
fn man_pages_without_warnings() {
    let test = "documents::man_pages_without_warnings";
    let machine = Machine::files();
    machine.fielato(&format!("man {}", machine.root().join("man").display())).ok();
    let pages: Vec<_> = fs::read_dir(machine.root().join("man"))
        .unwrap()
        .map(|page| page.unwrap().path())
        .collect();
    for command in COMMANDS.iter().filter(|command| !["completions", "man"].contains(command)) {
        let page = format!("fielato-{}.8", command.replace(' ', "-"));
        assert!(pages.iter().any(|path| path.ends_with(&page)), "{page} is missing");
    }
    if !need(test, "groff") {
        return;
    }
    let configuration = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/fielato.toml.5");
    for page in pages.iter().map(|page| page.to_str().unwrap()).chain([configuration]) {
        // -k: the text is UTF-8, as man tells groff.
        let said = machine.sh(&format!("groff -k -ww -mandoc -Tutf8 {page}"));
        assert_eq!(said.err, "", "{page}");
        assert!(said.ok().len() > 200, "{page}");
    }
}
