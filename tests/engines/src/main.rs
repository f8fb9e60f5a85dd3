//! `engines`: random policies and packets on both engines, compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use fielato_engines::campaign::{self, Campaign};
use fielato_engines::can;
use fielato_engines::case::Case;
use fielato_engines::fact::{self, Untrue};
use fielato_engines::gateway::UserSpace;
use fielato_engines::kernel::Kernel;
use fielato_engines::minimise;
use fielato_engines::policy;
use fielato_engines::run::{self, Outcome};
use fielato_engines::subject::Subject;

/// Random policies and packets on both engines, compared packet by packet.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  engines run --packets 1000000
      the user-space engine against the kernel engine, a million packets
  engines run --against iptables --packets 20000 --save found
      the policy rendered for iptables against the policy as the hub loads it, cases that differ made small in found/";

const CAN_EXAMPLES: &str = "\
Examples:
  engines can --questions 20000 --seed 100000
      20,000 questions about policies that no test has
  engines policy --can 1018
      the policy of a question that was answered wrongly, and what was granted and used up beside it";

#[derive(Subcommand)]
enum Command {
    /// Makes cases on the kernel engine and plays them on the other.
    #[command(after_help = EXAMPLES)]
    Run {
        /// Packets in all.
        #[arg(long, default_value_t = 100_000)]
        packets: u64,
        /// Seed of the first case.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Packets of a case.
        #[arg(long, default_value_t = 500)]
        case_packets: usize,
        /// Threads.
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// What is compared with the kernel engine.
        #[arg(long, default_value = "gateway")]
        against: Against,
        /// Ends after so many differences.
        #[arg(long, default_value_t = 10)]
        stop_after: usize,
        /// Folder for cases that differ, made small.
        #[arg(long)]
        save: Option<PathBuf>,
        /// Seconds for making a case smaller.
        #[arg(long, default_value_t = 60)]
        minimise: u64,
        /// File for the summary as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Holds what `trace` says against what an engine does.
    Trace {
        /// Packets in all.
        #[arg(long, default_value_t = 10_000)]
        packets: usize,
        /// Seed of the first policy.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The engine.
        #[arg(long, default_value = "kernel")]
        on: Against,
    },
    /// Asks `can` and `trace`, and sends the packets through both engines and protected hosts.
    #[command(after_help = CAN_EXAMPLES)]
    Can {
        /// Questions in all.
        #[arg(long, default_value_t = 2_000)]
        questions: usize,
        /// Seed of the first policy.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Questions about a policy.
        #[arg(long, default_value_t = 20)]
        each: usize,
        /// Threads.
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Ends after so many wrong answers.
        #[arg(long, default_value_t = 10)]
        stop_after: usize,
    },
    /// Plays case files.
    Replay {
        /// What plays them.
        #[arg(long, default_value = "gateway")]
        on: Against,
        /// The files.
        files: Vec<PathBuf>,
    },
    /// Makes a case file that differs smaller, in its place.
    Minimise {
        /// What differs from the kernel engine.
        #[arg(long, default_value = "gateway")]
        against: Against,
        /// Seconds for it.
        #[arg(long, default_value_t = 120)]
        seconds: u64,
        /// The file.
        file: PathBuf,
    },
    /// Plays a case file and prints what comes of it, as a case file.
    Record {
        /// What plays it.
        #[arg(long, default_value = "kernel")]
        on: Against,
        /// The file.
        file: PathBuf,
    },
    /// Prints the policy of a case.
    Policy {
        /// Its seed.
        seed: u64,
        /// That of `can`.
        #[arg(long)]
        can: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Against {
    /// The user-space engine.
    Gateway,
    /// A second kernel namespace: shows that the comparison itself is sound.
    Kernel,
    /// A second kernel namespace with the rules as iptables commands.
    Iptables,
}

/// Calls `$body` with `$make` being what makes the chosen subject.
macro_rules! with_subject {
    ($which:expr, $make:ident => $body:expr) => {
        match $which {
            Against::Gateway => {
                let $make = || UserSpace::new(1);
                $body
            }
            Against::Kernel => {
                let $make = Kernel::new;
                $body
            }
            Against::Iptables => {
                let $make = Kernel::iptables;
                $body
            }
        }
    };
}

fn read(file: &Path) -> Result<Case> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Case::from_text(&file.display().to_string(), &text)?)
}

/// Policy after policy, a few packets each.
fn truth(engine: &mut impl Subject, first: u64, packets: usize) -> Result<(usize, Vec<Untrue>)> {
    let (mut count, mut all) = (0, Vec::new());
    for seed in first.. {
        let checked = fact::check(engine, seed, 50)?;
        count += checked.count;
        all.extend(checked.untrue);
        if count >= packets || all.len() > 20 {
            break;
        }
    }
    Ok((count, all))
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Run {
            packets,
            seed,
            case_packets,
            threads,
            against,
            stop_after,
            save,
            minimise,
            json,
        } => {
            if case_packets == 0 {
                bail!("a case has one packet at least");
            }
            let campaign = Campaign {
                seed,
                packets,
                case_packets,
                threads,
                stop_after,
                save,
                minimise: Duration::from_secs(minimise),
                progress: true,
            };
            let summary = with_subject!(against, make => campaign::run(&campaign, Kernel::new, make)?);
            for (seed, difference, file) in &summary.differences {
                println!("case {seed}: {difference}");
                if let Some(file) = file {
                    println!("  written to {}", file.display());
                }
            }
            for (seed, why) in &summary.refused {
                println!("policy {seed} is refused: {why}");
            }
            println!("{}", summary.coverage.to_text());
            println!("{}", summary.line());
            if let Some(file) = json {
                fs::write(&file, summary.to_json().to_string()).with_context(|| format!("cannot write {}", file.display()))?;
            }
            Ok(match summary.differences.is_empty() && summary.refused.is_empty() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            })
        }
        Command::Trace { packets, seed, on } => {
            let (count, untrue) = with_subject!(on, make => truth(&mut make(), seed, packets)?);
            for untrue in &untrue {
                print!("{untrue}");
            }
            println!("{count} packets, {} of which trace told wrongly", untrue.len());
            Ok(if untrue.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Command::Can {
            questions,
            seed,
            each,
            threads,
            stop_after,
        } => {
            let checked = can::campaign(seed, questions, each, threads, stop_after)?;
            for untrue in &checked.untrue {
                print!("{untrue}");
            }
            print!("{}", checked.text());
            Ok(if checked.untrue.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Command::Replay { on, files } => {
            let mut failed = false;
            for file in files {
                let case = read(&file)?;
                let outcome = with_subject!(on, make => run::replay(&mut make(), &case)?);
                if let Outcome::Differs(difference) = outcome {
                    println!("{}: {difference}", file.display());
                    failed = true;
                }
            }
            Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        Command::Minimise { against, seconds, file } => {
            let case = read(&file)?;
            let mut kernel = Kernel::new();
            with_subject!(against, make => {
                let mut subject = make();
                let Outcome::Differs(difference) = run::replay(&mut subject, &case)? else {
                    bail!("{}: nothing differs", file.display());
                };
                let (case, difference) =
                    minimise::minimise(&mut kernel, &mut subject, case, *difference, Duration::from_secs(seconds))?;
                let text: String = difference.to_string().lines().map(|line| format!("# {line}\n")).collect();
                fs::write(&file, text + &case.to_text()).with_context(|| format!("cannot write {}", file.display()))?;
                print!("{difference}");
            });
            Ok(ExitCode::SUCCESS)
        }
        Command::Record { on, file } => {
            let case = read(&file)?;
            let case = with_subject!(on, make => run::rerecord(&mut make(), &case)?);
            print!("{}", case.to_text());
            Ok(ExitCode::SUCCESS)
        }
        Command::Policy { seed, can: true } => {
            let (text, beside) = policy::asked_about(seed);
            print!("{text}\n# beside it: {beside:?}\n");
            Ok(ExitCode::SUCCESS)
        }
        Command::Policy { seed, can: false } => {
            print!("{}", policy::generate(seed));
            Ok(ExitCode::SUCCESS)
        }
    }
}
