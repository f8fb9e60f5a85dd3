//! The `.t` files: every line through our program and the real one, whole save lines compared.

use std::path::{Path, PathBuf};
use std::process::Command;

use fielato_testkit::suite::{self, Case, Line};

use super::{Shim, real_is_here};

/// Extensions that are left out, and why. Their lines are counted as missed, and don't fail the run.
const EXOTIC: [(&str, &str); 1] = [("libxt_SYNPROXY.t", "there are no SYN cookies, so its rules are refused")];

/// Runs all files; tells whether we pass all that the real program passes, but for [`EXOTIC`].
pub fn run(suite: &Path) -> bool {
    let real = real_is_here();
    if !real {
        println!("conformance: no xtables-legacy-multi in a namespace here (root?): nothing is excused");
    }
    let (mut total, mut ours, mut theirs, mut open) = (0, 0, 0, Vec::new());
    for file in files(&suite.join("extensions")) {
        let report = in_namespace(&file, real);
        let results: Vec<Report> = report.lines().filter_map(Report::parse).collect();
        let passed = results.iter().filter(|result| result.ours).count();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        println!("{name}: {passed}/{}", results.len());
        for result in results.iter().filter(|result| !result.ours) {
            let exotic = EXOTIC.iter().find(|(file, _)| *file == name);
            let excuse = match exotic {
                _ if real && !result.theirs => " (so does iptables-legacy here)".to_owned(),
                Some((_, reason)) => format!(" (left out: {reason})"),
                None => String::new(),
            };
            println!("  line {}: {}{excuse}", result.number, result.why);
            if excuse.is_empty() {
                open.push(format!("{name}:{}", result.number));
            }
        }
        total += results.len();
        ours += passed;
        theirs += results.iter().filter(|result| result.theirs).count();
    }
    println!("conformance: {ours} of {total} lines pass; iptables-legacy passes {theirs} on this kernel");
    let left_out = EXOTIC.map(|(file, _)| file).join(" ");
    println!(
        "conformance: {} lines missed that it passes, not counting {left_out}: {}",
        open.len(),
        open.join(" ")
    );
    total > 0 && open.is_empty()
}

/// The files that concern IPv4 and IPv6.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let wanted =
        |name: &str| ["libxt_", "libipt_", "libip6t_"].iter().any(|start| name.starts_with(start)) || name == "iptables.t";
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "t"))
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(wanted))
        .collect();
    files.sort();
    files
}

/// This program again, for one file, in a namespace of its own where that can be.
fn in_namespace(file: &Path, real: bool) -> String {
    let myself = std::env::current_exe().expect("this program has a path");
    let mut command = match real {
        true => {
            let mut command = Command::new("unshare");
            command.arg("-n").arg(myself);
            command
        }
        false => Command::new(myself),
    };
    let output = command
        .env("FIELATO_CONFORMANCE_REAL", if real { "1" } else { "" })
        .arg("--file")
        .arg(file)
        .output()
        .expect("this program runs again");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A line's result, as the inner program prints it: number, ours, theirs, why not.
struct Report {
    number: usize,
    ours: bool,
    theirs: bool,
    why: String,
}

impl Report {
    fn parse(line: &str) -> Option<Report> {
        let mut fields = line.splitn(4, '\t');
        Some(Report {
            number: fields.next()?.parse().ok()?,
            ours: fields.next()? == "1",
            theirs: fields.next()? == "1",
            why: fields.next()?.to_owned(),
        })
    }
}

/// What a program did with a rule in a chain: the save lines, or the words it refused it with.
type Outcome = Result<Vec<String>, String>;

/// Runs one file and prints its reports.
pub fn run_file(file: &Path) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let tables = if name.starts_with("libip6t_") {
        "ip6tables"
    } else {
        "iptables"
    };
    let real = std::env::var("FIELATO_CONFORMANCE_REAL").is_ok_and(|real| !real.is_empty());
    let ours = Ours {
        shim: Shim::new(),
        folder: tempfile::tempdir().expect("a temporary folder"),
    };
    for line in suite::parse(&text) {
        match line {
            Line::Run(command) => {
                ours.run(&command);
                if real {
                    let command = command.replace("iptables ", "iptables-legacy ");
                    Command::new("sh").args(["-c", &command]).output().ok();
                }
            }
            Line::Case(case) => report(&case, tables, &ours, real),
        }
    }
}

fn report(case: &Case, tables: &str, ours: &Ours, real: bool) {
    let (mut we, mut they, mut why) = (true, true, String::new());
    for chain in &case.chains {
        let wanted = format!("-A {chain} {}", case.saved);
        let judge = |outcome: &Outcome| match (outcome, case.accepted) {
            (Err(_), false) => Ok(()),
            (Err(refusal), true) => Err(format!("refused: {refusal}")),
            (Ok(lines), false) => Err(format!("should be refused; saved as {}", lines.join(" / "))),
            (Ok(lines), true) if lines.iter().any(|line| line == wanted.trim_end()) => Ok(()),
            (Ok(lines), true) => Err(format!("saved as {}", lines.join(" / "))),
        };
        let theirs = real.then(|| real_outcome(case, tables, chain));
        let their_verdict = theirs.as_ref().map(judge);
        let outcome = ours.outcome(case, tables, chain);
        // Upstream looks for a part of the line: where the real program's whole line differs from the one in the file,
        // the real one is right.
        let same_as_real = matches!((&outcome, &theirs), (Ok(lines), Some(Ok(real))) if lines == real);
        if let Err(reason) = judge(&outcome)
            && !(case.accepted && same_as_real)
        {
            we = false;
            why = format!("-A {chain} -t {} {}: {reason}", case.table, case.rule);
        }
        let passes = match (&their_verdict, &theirs) {
            (Some(Ok(())), _) => true,
            // A part is enough for the real program, as upstream has it.
            (Some(Err(_)), Some(Ok(lines))) if case.accepted => lines.iter().any(|line| line.contains(wanted.trim_end())),
            _ => false,
        };
        they &= passes;
    }
    let why = why.replace(['\t', '\n'], " ");
    println!("{}\t{}\t{}\t{why}", case.number, u8::from(we), u8::from(they));
}

/// Our program, over a rule set file that is fresh for each rule.
struct Ours {
    shim: Shim,
    folder: tempfile::TempDir,
}

impl Ours {
    /// What the file's own commands left.
    fn base(&self) -> PathBuf {
        self.folder.path().join("base")
    }

    fn run(&self, command: &str) {
        let run = Command::new("sh")
            .args(["-c", command])
            .env("PATH", self.shim.path())
            .env("FIELATO_RULESET", self.base())
            .output();
        run.ok();
    }

    fn outcome(&self, case: &Case, tables: &str, chain: &str) -> Outcome {
        let rules = self.folder.path().join("rules");
        std::fs::remove_file(&rules).ok();
        if self.base().exists() {
            std::fs::copy(self.base(), &rules).expect("a copy");
        }
        let command = |name: &str| {
            let mut command = Command::new(self.shim.program(name));
            command.env("FIELATO_RULESET", &rules);
            command
        };
        appended(command(tables), command(&format!("{tables}-save")), case, chain)
    }
}

/// The real program in this namespace, which is left as it was.
fn real_outcome(case: &Case, tables: &str, chain: &str) -> Outcome {
    let command = |name: &str| {
        let mut command = Command::new("xtables-legacy-multi");
        command.arg(name);
        command
    };
    let outcome = appended(command(tables), command(&format!("{tables}-save")), case, chain);
    if let Ok(lines) = &outcome {
        let numbers = lines.iter().filter(|line| line.starts_with(&format!("-A {chain}"))).count();
        let delete = ["-t", &case.table, "-D", chain, &numbers.to_string()];
        command(tables).args(delete).output().ok();
    }
    outcome
}

/// Appends the rule and gives the save file's rules.
fn appended(mut append: Command, mut save: Command, case: &Case, chain: &str) -> Outcome {
    append.args(["-A", chain, "-t", &case.table]).args(suite::words(&case.rule));
    let output = append.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(said.lines().next().unwrap_or("").to_owned());
    }
    let saved = save.args(["-t", &case.table]).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&saved.stdout);
    Ok(text
        .lines()
        .filter(|line| line.starts_with("-A "))
        .map(str::to_owned)
        .collect())
}
