//! The user-space engine against the kernel engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fielato_engines::campaign::{self, Campaign, Summary};
use fielato_engines::case::Case;
use fielato_engines::fact;
use fielato_engines::gateway::UserSpace;
use fielato_engines::kernel::Kernel;
use fielato_engines::run::{self, Outcome};
use fielato_engines::scene::{Scene, Setup};
use fielato_engines::subject::Subject;
use fielato_netfilter::{Rule, Target};

/// Packets of the fixed seeds, and of the fresh one.
const FIXED: u64 = 80_000;
const FRESH: u64 = 20_000;
/// Packets of the comparison with the rules for iptables.
const IPTABLES: u64 = 10_000;

fn can_run(test: &str) -> bool {
    fielato_testkit::can_run(test, &["ip", "nft"])
}

fn campaign(seed: u64, packets: u64) -> Campaign {
    Campaign {
        seed,
        packets,
        case_packets: 500,
        // Most of the time the kernel waits for itself (RCU).
        threads: 4,
        stop_after: usize::MAX,
        save: None,
        minimise: Duration::ZERO,
        progress: false,
    }
}

/// What differed, told so that it can be looked at.
fn told(summary: &Summary, options: &str) -> String {
    let cases: Vec<String> = summary
        .differences
        .iter()
        .map(|(case, difference, _)| format!("case {case}: {difference}"))
        .collect();
    match cases.is_empty() {
        true => String::new(),
        false => format!(
            "make one small with: engines run {options}--seed CASE --packets 500 --save FOLDER\n{}",
            cases.join("\n")
        ),
    }
}

fn agree(seed: u64, packets: u64) -> Summary {
    let summary = campaign::run(&campaign(seed, packets), Kernel::new, || UserSpace::new(seed)).unwrap();
    println!("seed {seed}: {}", summary.line());
    assert_eq!(told(&summary, ""), "");
    assert!(summary.refused.is_empty(), "policies that are refused: {:?}", summary.refused);
    // Cases are given up now and then because ports chosen by chance met; giving up many would prove nothing.
    assert!(summary.packets > packets * 9 / 10, "{}", summary.line());
    summary
}

#[test]
fn both_engines_do_the_same() {
    if !can_run("both_engines_do_the_same") {
        return;
    }
    let summary = agree(1, FIXED);
    for what in [
        "forward: a rule",
        "forward: forged source",
        "forward: invalid",
        "forward: no rule",
        "forward: transit",
        "input: a rule",
        "input: forged source",
        "input: invalid",
        "input: no rule",
        "class",
        "ban",
        "fragment",
        "in by host",
        "in by tun0",
        "in by tun1",
        "out by host",
        "out by tun0",
        "out by tun1",
    ] {
        assert!(summary.coverage.count(what) > 0, "never met: {what}");
    }
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() << 20;
    agree(fresh, FRESH);
}

#[test]
fn the_kernel_agrees_with_itself() {
    if !can_run("the_kernel_agrees_with_itself") {
        return;
    }
    let summary = campaign::run(&campaign(7_000_000, 5_000), Kernel::new, Kernel::new).unwrap();
    assert_eq!(told(&summary, "--against kernel "), "");
}

/// What is rendered for people who have iptables means what the hub loads.
#[test]
fn iptables_commands_do_the_same() {
    let programs = ["ip", "nft", "iptables-legacy-restore", "ip6tables-legacy-restore"];
    if !fielato_testkit::can_run("iptables_commands_do_the_same", &programs) {
        return;
    }
    let summary = campaign::run(&campaign(1_000, IPTABLES), Kernel::new, Kernel::iptables).unwrap();
    assert_eq!(told(&summary, "--against iptables "), "");
    assert!(summary.packets > IPTABLES * 8 / 10, "{}", summary.line());
}

/// Packets that are held against what trace says of them, for each engine.
const TRACED: usize = 2_500;

fn trace_is_true_of(engine: &mut impl Subject) {
    let (mut count, mut wrong, mut passed) = (0, Vec::new(), 0);
    for seed in 0.. {
        let checked = fact::check(engine, seed, 50).unwrap();
        count += checked.count;
        passed += checked.passed;
        wrong.extend(checked.untrue.iter().map(ToString::to_string));
        if count >= TRACED {
            break;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
    // Neither would prove anything alone.
    assert!(
        passed > TRACED / 10 && count - passed > TRACED / 10,
        "{passed} of {count} packets passed"
    );
}

#[test]
fn trace_says_what_the_user_space_engine_does() {
    trace_is_true_of(&mut UserSpace::new(1));
}

#[test]
fn trace_says_what_the_kernel_engine_does() {
    if can_run("trace_says_what_the_kernel_engine_does") {
        trace_is_true_of(&mut Kernel::new());
    }
}

fn regressions() -> Vec<(PathBuf, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "case"));
    files.sort();
    let read = |file: PathBuf| {
        let case = Case::from_text(&file.display().to_string(), &fs::read_to_string(&file).unwrap()).unwrap();
        (file, case)
    };
    files.into_iter().map(read).collect()
}

/// Each case has to come out the same in one of so many `tries`: the kernel loses a packet now and then (6 in 5 million).
fn replay_all(subject: &mut impl Subject, tries: usize) {
    let cases = regressions();
    assert!(!cases.is_empty(), "no case files found");
    let mut failed = Vec::new();
    for (file, case) in cases {
        let mut outcome = run::replay(subject, &case);
        for _ in 1..tries {
            if matches!(outcome, Ok(Outcome::Same)) {
                break;
            }
            outcome = run::replay(subject, &case);
        }
        match outcome {
            Ok(Outcome::Same) => {}
            Ok(other) => failed.push(format!("{}: {other:?}", file.display())),
            Err(error) => failed.push(format!("{}: {error}", file.display())),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn regressions_stay_mended() {
    replay_all(&mut UserSpace::new(1), 1);
}

#[test]
fn regressions_are_what_the_kernel_does() {
    if can_run("regressions_are_what_the_kernel_does") {
        replay_all(&mut Kernel::new(), 3);
    }
}

#[test]
fn case_files_come_back() {
    for (file, case) in regressions() {
        let again = Case::from_text("again", &case.to_text()).unwrap();
        assert_eq!(again, case, "{}", file.display());
    }
}

/// Each way of doing otherwise than the plan says is found in some of twenty cases.
#[test]
fn a_broken_engine_is_found() {
    fn rules(config: &mut fielato_gateway::Config) -> impl Iterator<Item = &mut Rule> {
        let tables = config.rulesets.iter_mut().flat_map(|ruleset| &mut ruleset.tables);
        tables.flat_map(|table| &mut table.chains).flat_map(|chain| &mut chain.rules)
    }
    type Way = (&'static str, fn(&mut fielato_gateway::Config));
    let ways: [Way; 5] = [
        ("rules accept what they should drop", |config| {
            for rule in rules(config).filter(|rule| matches!(rule.target, Target::Drop)) {
                rule.target = Target::Accept;
            }
        }),
        ("rejections are silent", |config| {
            for rule in rules(config).filter(|rule| matches!(rule.target, Target::Reject(_))) {
                rule.target = Target::Drop;
            }
        }),
        ("nobody is banned", |config| config.guard.bans.clear()),
        ("nobody has a class", |config| {
            config.shaping.iter_mut().for_each(|shaping| shaping.classes.clear());
        }),
        ("the tunnel's MTU is one byte less", |config| config.ports[0].mtu -= 1),
    ];
    if !can_run("a_broken_engine_is_found") {
        return;
    }
    let mut kernel = Kernel::new();
    let cases: Vec<Case> = (0..20)
        .map(|seed| run::record(&mut kernel, Setup::generate(seed), seed, 300, |_: &Scene, _| true).unwrap())
        .collect();
    for (what, spoil) in ways {
        let mut broken = UserSpace::spoilt(1, spoil);
        let found = |case: &&Case| matches!(run::replay(&mut broken, case).unwrap(), Outcome::Differs(_));
        let found = cases.iter().filter(found).count();
        assert!(found > 0, "nobody noticed that {what}");
    }
}
