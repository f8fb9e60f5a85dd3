//! `fielato test`: what the author of a policy expects of it.

use std::process::ExitCode;

use anyhow::Result;
use fielato_control::{Paths, protocol, source};
use fielato_policy::judge::{self, Checked, Failure};
use fielato_policy::trace;
use jiff::Timestamp;
use serde_json::json;

use super::trace::plan;
use crate::cli::Test;
use crate::output::{self, Colour, paint};

/// Some tests fail.
const FAILED: u8 = 1;

/// `fielato test`
pub fn run(paths: &Paths, args: &Test) -> Result<ExitCode> {
    let config = source::load(paths)?;
    let now = Timestamp::now();
    let plan = plan(paths, &config, now)?;
    let checked = judge::test(&config, &plan, now)?;
    let failed = checked.iter().filter(|one| one.failure.is_some()).count();
    let passed = checked.len().saturating_sub(failed);
    let file = paths.config().display().to_string();
    if args.json {
        output::json(&json!({
            "version": protocol::VERSION,
            "config": file,
            "passed": passed,
            "failed": failed,
            "tests": checked,
        }))?;
    } else {
        for one in &checked {
            if let Some(failure) = &one.failure {
                println!("{}", text(one, failure, &file));
            }
        }
        println!("{}", summary(passed, failed));
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

/// `5 passed, 1 failed`
pub fn summary(passed: usize, failed: usize) -> String {
    let failed_text = format!("{failed} failed");
    let failed_text = if failed > 0 {
        paint(Colour::Red, &failed_text)
    } else {
        failed_text
    };
    format!("{passed} passed, {failed_text}")
}

/// What was expected, what happens, and its trace.
fn text(one: &Checked, failure: &Failure, main: &str) -> String {
    let Checked {
        number,
        name,
        file,
        line,
        from,
        to,
        expect,
        failure: _,
    } = one;
    let file = file.as_deref().unwrap_or(main);
    let name = name
        .as_ref()
        .map_or_else(|| format!("[[test]] {number}"), |name| format!("[[test]] {name}"));
    let begin = format!("{}: {name}, {file}:{line}: {from} to {to}", paint(Colour::Red, "failed"));
    let why = failure.because(*expect, main);
    let traces = trace::text(failure.traces(), main);
    let traces: String = traces.lines().map(|line| format!("  {line}\n")).collect();
    format!("{begin}: {why}\n{traces}")
}
