//! Generated rule sets saved and read back, by us and by the kernel's iptables.

use fielato_iptables::save::{self, SaveOptions};
use fielato_iptables::{FileNames, Registry, restore};
use fielato_oracle::random::Random;
use fielato_oracle::rules::{Conditions, generate};
use fielato_oracle::sets;
use fielato_wire::Family;

/// Names as the real programs find them on this machine, and the sets that generated rules name.
fn names() -> FileNames {
    let mut names = FileNames::new();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    names.protocols(&read("/etc/protocols"));
    names.services(&read("/etc/services"));
    names.numbers("group", &read("/etc/iproute2/group"));
    names.numbers("rt_realms", &read("/etc/iproute2/rt_realms"));
    sets::name(&mut names);
    names
}

/// A rule set of the oracle's grammar, as we save it; `None` when we refuse one of its rules.
fn saved(seed: u64, family: Family, registry: &Registry, names: &FileNames) -> Option<String> {
    let conditions = Conditions {
        tracking: true,
        copies: true,
        paced: seed.is_multiple_of(2),
    };
    let text = generate(&mut Random::new(seed), family, conditions);
    let rules = restore::parse(&text, family, registry, names).ok()?;
    let options = SaveOptions {
        counters: true,
        ..SaveOptions::default()
    };
    Some(save::ruleset(&rules, registry, names, options))
}

#[test]
fn what_we_save_we_read_back() {
    let (registry, names) = (Registry::builtin(), names());
    let mut count = 0;
    for seed in 0..400 {
        for family in [Family::V4, Family::V6] {
            let Some(first) = saved(seed, family, &registry, &names) else {
                continue;
            };
            count += 1;
            let again =
                restore::parse(&first, family, &registry, &names).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{first}"));
            let options = SaveOptions {
                counters: true,
                ..SaveOptions::default()
            };
            assert_eq!(save::ruleset(&again, &registry, &names, options), first, "seed {seed}");
        }
    }
    assert!(count > 500, "only {count} of 800 generated rule sets were taken");
}

/// Runs `restore` then `save` in a network namespace of their own, which ends with them.
fn through_kernel(program: &str, text: &str) -> Result<String, String> {
    let script = format!("printf %s \"$0\" | ipset restore && {program}-restore -c && {program}-save -c");
    let arguments = ["-n", "timeout", "60", "sh", "-c", &script, &sets::commands()];
    let output = fielato_testkit::run("unshare", &arguments, text);
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The tables of a save file by name, without comments.
fn tables(text: &str) -> Vec<String> {
    let lines: String = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut tables: Vec<String> = lines.split_inclusive("COMMIT\n").map(str::to_owned).collect();
    tables.sort();
    tables
}

#[test]
fn what_we_save_the_kernel_saves_the_same() {
    let name = "what_we_save_the_kernel_saves_the_same";
    if !fielato_testkit::can_run(name, &["iptables-legacy-restore", "ipset", "unshare"]) {
        return;
    }
    let (registry, names) = (Registry::builtin(), names());
    let (mut same, mut refused) = (0, Vec::new());
    for seed in 0..40 {
        for (family, program) in [(Family::V4, "iptables-legacy"), (Family::V6, "ip6tables-legacy")] {
            let Some(ours) = saved(seed, family, &registry, &names) else {
                continue;
            };
            match through_kernel(program, &ours) {
                Ok(theirs) => {
                    let (theirs, ours) = (tables(&theirs), tables(&ours));
                    let pairs = theirs
                        .iter()
                        .flat_map(|text| text.lines())
                        .zip(ours.iter().flat_map(|text| text.lines()));
                    for (kernels, own) in pairs {
                        assert_eq!(own, kernels, "{program}, seed {seed}");
                    }
                    assert_eq!(theirs.len(), ours.len(), "{program}, seed {seed}");
                    same += 1;
                }
                Err(why) => refused.push(format!("{program}, seed {seed}: {why}")),
            }
        }
    }
    // Rules for modules that a kernel lacks are refused with their whole file.
    println!("{same} rule sets the same, refused: {refused:#?}");
    assert!(same >= 40, "{same} the same; refused: {refused:#?}");
}
