//! `oracle`: random rules and packets on the kernel and on the engine, compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use fielato_oracle::campaign::{self, Plan};
use fielato_oracle::case::Trace;
use fielato_oracle::engine::Engine;
use fielato_oracle::kernel::Kernel;
use fielato_oracle::run::{self, Outcome};

/// Random rules and packets on the kernel and on another subject, compared byte by byte.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  oracle run --packets 1000000
      our engine against the kernel, a million packets
  oracle run --against nft --packets 20000 --save found
      the nftables text that we render against the same rules in iptables, cases that differ made small in found/";

#[derive(Subcommand)]
enum Command {
    /// Makes cases on the kernel and plays them on the other.
    #[command(after_help = EXAMPLES)]
    Run {
        /// Packets in all.
        #[arg(long, default_value_t = 200_000)]
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
        /// What is compared with the kernel.
        #[arg(long, default_value = "engine")]
        against: Against,
        /// Ends after so many mismatches.
        #[arg(long, default_value_t = 10)]
        stop_after: usize,
        /// Folder for cases that fail, made small.
        #[arg(long)]
        save: Option<PathBuf>,
        /// Seconds for making a case smaller.
        #[arg(long, default_value_t = 30)]
        minimise: u64,
        /// File for the summary as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Plays case files.
    Replay {
        /// What plays them.
        #[arg(long, default_value = "engine")]
        on: Against,
        /// The files.
        files: Vec<PathBuf>,
    },
    /// Plays a case file and prints what comes of it, as a case file.
    Record {
        /// What plays it.
        #[arg(long, default_value = "kernel")]
        on: Against,
        /// The file.
        file: PathBuf,
    },
    /// Prints the rules of a case.
    Rules {
        /// Its seed.
        seed: u64,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Against {
    /// Our engine.
    Engine,
    /// A second kernel namespace: shows that the comparison itself is sound.
    Kernel,
    /// A second kernel namespace, whose rules are loaded as the nftables text that we render; rules that nft or this kernel can't
    /// express are left out on both sides.
    Nft,
}

fn read(file: &Path) -> Result<Trace> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Trace::from_text(&file.display().to_string(), &text)?)
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
            let plan = Plan {
                seed,
                packets,
                case_packets,
                threads,
                stop_after,
                save,
                minimise: Duration::from_secs(minimise),
                progress: true,
            };
            let summary = match against {
                Against::Engine => campaign::run(&plan, Kernel::new, || Engine::new(seed))?,
                Against::Kernel => campaign::run(&plan, Kernel::new, Kernel::new)?,
                Against::Nft => campaign::run(&plan, Kernel::new, Kernel::nft)?,
            };
            for (seed, mismatch, file) in &summary.mismatches {
                println!("case {seed}: {mismatch}");
                if let Some(file) = file {
                    println!("  written to {}", file.display());
                }
            }
            print!("{}", summary.coverage.to_text());
            let unexercised = summary.coverage.unexercised();
            if !unexercised.is_empty() {
                println!("never fulfilled or reached: {}", unexercised.join(", "));
            }
            for (reason, (count, rule)) in &summary.refused {
                println!(
                    "{count} rules left out: {} ({})",
                    reason.trim(),
                    rule.trim_start_matches("[0:0] ")
                );
            }
            println!("{}", summary.line());
            if let Some(file) = json {
                fs::write(&file, summary.to_json().to_string()).with_context(|| format!("cannot write {}", file.display()))?;
            }
            Ok(if summary.mismatches.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Command::Replay { on, files } => {
            let mut failed = false;
            for file in files {
                let trace = read(&file)?;
                let outcome = match on {
                    Against::Engine => run::replay(&mut Engine::default(), &trace)?,
                    Against::Kernel => run::replay(&mut Kernel::new(), &trace)?,
                    Against::Nft => run::replay(&mut Kernel::nft(), &trace)?,
                };
                if let Outcome::Differs(mismatch) = outcome {
                    println!("{}: {mismatch}", file.display());
                    failed = true;
                }
            }
            Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        Command::Record { on, file } => {
            let trace = read(&file)?;
            let trace = match on {
                Against::Engine => run::rerecord(&mut Engine::default(), &trace)?,
                Against::Kernel => run::rerecord(&mut Kernel::new(), &trace)?,
                Against::Nft => run::rerecord(&mut Kernel::nft(), &trace)?,
            };
            print!("{}", trace.to_text());
            Ok(ExitCode::SUCCESS)
        }
        Command::Rules { seed } => {
            let setup = run::setup(seed);
            print!("{}{}", setup.rules_v4, setup.rules_v6);
            Ok(ExitCode::SUCCESS)
        }
    }
}
