//! `fielato can`, `who-can`, `matrix`: the policy is asked, and nothing is sent.

use std::process::ExitCode;

use anyhow::Result;
use fielato_control::{Paths, protocol, source};
use fielato_policy::judge::{Answer, Judge, Matrix, Reach};
use fielato_policy::trace::QuestionError;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::trace::{STOPPED, WRONG_USAGE, plan, refuse};
use crate::cli;
use crate::output::{self, Colour, paint, table};

/// `fielato can`
pub fn can(paths: &Paths, args: &cli::Can) -> Result<ExitCode> {
    let config = source::load(paths)?;
    let now = Timestamp::now();
    let plan = plan(paths, &config, now)?;
    let asked = Judge::new(&config, &plan, now).and_then(|mut judge| judge.ask(&args.from, &args.to));
    let answer = match asked {
        Ok(answer) => answer,
        Err(error) => return Ok(nonsense(&error)),
    };
    let file = paths.config().display().to_string();
    if args.json {
        let mut value = answer_json(&answer);
        value["version"] = json!(protocol::VERSION);
        value["config"] = json!(file);
        value["from"] = json!(args.from);
        value["to"] = json!(args.to);
        output::json(&value)?;
    } else {
        print!("{}", sentence(&args.from, &args.to, &answer, &file));
    }
    Ok(match answer.reach {
        Reach::Yes => ExitCode::SUCCESS,
        Reach::Partly | Reach::No => ExitCode::from(STOPPED),
    })
}

/// `fielato who-can`
pub fn who_can(paths: &Paths, args: &cli::WhoCan) -> Result<ExitCode> {
    let config = source::load(paths)?;
    let now = Timestamp::now();
    let plan = plan(paths, &config, now)?;
    let asked = Judge::new(&config, &plan, now).and_then(|mut judge| judge.who(&args.to));
    let members = match asked {
        Ok(members) => members,
        Err(error) => return Ok(nonsense(&error)),
    };
    let file = paths.config().display().to_string();
    if args.json {
        let members: Vec<Value> = members
            .iter()
            .map(|(member, answer)| {
                let mut value = answer
                    .as_ref()
                    .map_or_else(|| json!({ "reach": null, "ways": [] }), answer_json);
                value["member"] = json!(member);
                value
            })
            .collect();
        output::json(&json!({ "version": protocol::VERSION, "config": file, "to": args.to, "members": members }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if members.is_empty() {
        println!("no members");
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = Vec::new();
    for (member, answer) in &members {
        let Some(answer) = answer else {
            rows.push(vec![member.clone(), "-".into(), "no address of the same family".into()]);
            continue;
        };
        rows.push(vec![member.clone(), word(answer.reach), in_a_line(answer, &file)]);
    }
    print!("{}", table(&["member", &args.to, "because"], &rows));
    Ok(ExitCode::SUCCESS)
}

/// `fielato matrix`
pub fn matrix(paths: &Paths, args: &cli::Matrix) -> Result<ExitCode> {
    let config = source::load(paths)?;
    let now = Timestamp::now();
    let plan = plan(paths, &config, now)?;
    let matrix = match Judge::new(&config, &plan, now).and_then(|mut judge| judge.matrix()) {
        Ok(matrix) => matrix,
        Err(error) => return Ok(nonsense(&error)),
    };
    if args.json {
        let file = paths.config().display().to_string();
        output::json(&matrix_json(&matrix, &file))?;
    } else if args.csv {
        print!("{}", csv(&matrix));
    } else if matrix.rows.is_empty() || matrix.services.is_empty() {
        println!("a matrix needs members and services; this configuration has not both");
    } else {
        let header: Vec<&str> = std::iter::once("member")
            .chain(matrix.services.iter().map(String::as_str))
            .collect();
        let rows: Vec<Vec<String>> = rows(&matrix, word).collect();
        print!("{}", table(&header, &rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn nonsense(error: &QuestionError) -> ExitCode {
    refuse(error);
    ExitCode::from(WRONG_USAGE)
}

/// Members with their cells as text.
fn rows(matrix: &Matrix, word: impl Fn(Reach) -> String + Copy) -> impl Iterator<Item = Vec<String>> {
    matrix.rows.iter().map(move |(member, cells)| {
        let cell = move |answer: &Option<Answer>| answer.as_ref().map_or_else(|| "-".to_owned(), |answer| cell(answer, word));
        std::iter::once(member.clone()).chain(cells.iter().map(cell)).collect()
    })
}

/// `yes 27`
fn cell(answer: &Answer, word: impl Fn(Reach) -> String) -> String {
    let lines: Vec<String> = answer.lines().iter().map(ToString::to_string).collect();
    let word = word(answer.reach);
    match lines.is_empty() {
        true => word,
        false => format!("{word} {}", lines.join("+")),
    }
}

/// RFC 4180, but for the line ends.
fn csv(matrix: &Matrix) -> String {
    let header = std::iter::once("member".to_owned()).chain(matrix.services.iter().cloned());
    let lines = std::iter::once(header.collect()).chain(rows(matrix, |reach| reach.to_string()));
    lines.map(|cells: Vec<String>| cells.join(",") + "\n").collect()
}

fn matrix_json(matrix: &Matrix, file: &str) -> Value {
    let rows: Vec<Value> = matrix
        .rows
        .iter()
        .map(|(member, cells)| {
            let cells = matrix.services.iter().zip(cells).map(|(service, answer)| {
                let value = match answer {
                    Some(answer) => json!({ "reach": answer.reach, "lines": answer.lines(), "ways": answer.ways }),
                    None => Value::Null,
                };
                (service.clone(), value)
            });
            json!({ "member": member, "services": cells.collect::<serde_json::Map<_, _>>() })
        })
        .collect();
    json!({ "version": protocol::VERSION, "config": file, "services": matrix.services, "members": rows })
}

fn answer_json(answer: &Answer) -> Value {
    json!({ "reach": answer.reach, "lines": answer.lines(), "ways": answer.ways })
}

fn word(reach: Reach) -> String {
    let colour = match reach {
        Reach::Yes => Colour::Green,
        Reach::Partly => Colour::Yellow,
        Reach::No => Colour::Red,
    };
    paint(colour, &reach.to_string())
}

/// Everything that decides, each with its ports where there are several.
fn in_a_line(answer: &Answer, file: &str) -> String {
    let parts = answer.parts();
    match parts.as_slice() {
        [(_, outcome)] => outcome.because(file),
        parts => {
            let parts = parts
                .iter()
                .map(|(what, outcome)| format!("{what}: {}, {}", outcome.verdict, outcome.because(file)));
            parts.collect::<Vec<_>>().join("; ")
        }
    }
}

fn sentence(from: &str, to: &str, answer: &Answer, file: &str) -> String {
    let begin = match answer.reach {
        Reach::Yes => format!("{}: {from} reaches {to}", word(Reach::Yes)),
        Reach::Partly => format!("{}: {from} reaches only some of {to}", word(Reach::Partly)),
        Reach::No => format!("{}: {from} does not reach {to}", word(Reach::No)),
    };
    let mut text = begin + "\n";
    let rows: Vec<Vec<String>> = answer
        .parts()
        .into_iter()
        .map(|(what, outcome)| vec![String::new(), what, outcome.verdict.to_string(), outcome.because(file)])
        .collect();
    text += &output::columns(&rows);
    if answer.reach != Reach::Yes {
        text += &format!("`fielato trace --from {from} --to {to} --reply` tells every step, and what to change\n");
    }
    text
}
