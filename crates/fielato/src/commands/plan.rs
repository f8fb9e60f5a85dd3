//! `fielato plan`: what would change, on which machine.

use std::process::ExitCode;

use anyhow::{Result, bail};
use fielato_control::{Paths, protocol, source};
use fielato_policy::diff::{Machine, MachineDiff, Op, PlanDiff, Policy, diff};
use jiff::Timestamp;
use serde_json::json;

use super::in_force;
use super::trace::plan;
use crate::cli;
use crate::output::{self, Colour, paint};

/// Something would change.
const CHANGES: u8 = 3;

/// `fielato plan`
pub fn run(paths: &Paths, args: &cli::Plan) -> Result<ExitCode> {
    let new = source::load(paths)?;
    let old = match &args.against {
        Some(file) if !file.exists() => bail!("there is no {} to compare with", file.display()),
        Some(file) => Some(source::load(&paths.with_config(file))?),
        None => in_force::policy(paths)?,
    };
    let Some(old) = old else {
        match args.json {
            true => output::json(&json!({ "version": protocol::VERSION, "changes": true, "machines": null }))?,
            false => println!("no policy was applied here yet: everything would be new (`fielato render` shows it)"),
        }
        return Ok(ExitCode::from(CHANGES));
    };
    let now = Timestamp::now();
    let (old_plan, new_plan) = (plan(paths, &old, now)?, plan(paths, &new, now)?);
    let difference = diff(
        Policy {
            config: &old,
            plan: &old_plan,
        },
        Policy {
            config: &new,
            plan: &new_plan,
        },
    );
    if args.json {
        let mut value = serde_json::to_value(&difference)?;
        value["version"] = json!(protocol::VERSION);
        value["changes"] = json!(!difference.is_empty());
        output::json(&value)?;
    } else {
        print!("{}", text(&difference, args.full));
    }
    Ok(match difference.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(CHANGES),
    })
}

/// The difference as a person reads it, in the program's words too when it is `full`.
pub fn text(difference: &PlanDiff, full: bool) -> String {
    if difference.is_empty() {
        return "nothing would change\n".to_owned();
    }
    let machines = difference.machines.iter().map(|machine| one(machine, full));
    machines.collect::<Vec<_>>().join("\n")
}

fn one(machine: &MachineDiff, full: bool) -> String {
    let mut text = format!("{}\n", name(&machine.machine));
    for change in &machine.changes {
        let line = [change.kind, &change.name, &change.detail];
        let words: Vec<&str> = line.into_iter().filter(|word| !word.is_empty()).collect();
        let line = format!("{} {}", change.op.sign(), words.join(" "));
        text += &format!("  {}\n", paint(colour(change.op), &line));
    }
    if full {
        for line in machine.full.lines() {
            let line = match line.chars().next() {
                Some('+') => paint(Colour::Green, line),
                Some('-') => paint(Colour::Red, line),
                _ => line.to_owned(),
            };
            text += &format!("{line}\n");
        }
    }
    text
}

fn name(machine: &Machine) -> String {
    const SHOWN: usize = 5;
    match machine {
        Machine::Hub => "hub".to_owned(),
        Machine::Host(name) => format!("host {name}"),
        Machine::Members(names) => {
            let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
            let more = match names.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let s = if names.len() == 1 { "" } else { "s" };
            format!(
                "member{s} {}{more}, by a new file (`fielato member config`)",
                shown.join(", ")
            )
        }
    }
}

const fn colour(op: Op) -> Colour {
    match op {
        Op::Add => Colour::Green,
        Op::Remove => Colour::Red,
        Op::Change | Op::Move => Colour::Yellow,
    }
}
