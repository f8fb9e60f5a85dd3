//! Questions about the talk's network and a larger one, and what is answered.

mod common;

use common::{NOW, config, full, plan};
use fielato_policy::gateway::Origin;
use fielato_policy::trace::{self, End, Question, Reason, Trace};
use jiff::Timestamp;

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn ask(text: &str, question: &Question) -> Vec<Trace> {
    let config = config(text);
    trace::trace(&config, &plan(text), now(), question).unwrap_or_else(|error| panic!("{error}"))
}

fn one(text: &str, question: &Question) -> Trace {
    let traces = ask(text, question);
    assert_eq!(traces.len(), 1, "{traces:?}");
    traces.into_iter().next().unwrap()
}

fn reason(trace: &Trace) -> &Reason {
    match &trace.end {
        End::Stopped { reason, .. } => reason,
        End::Arrived { .. } => panic!("{}", trace::text(std::slice::from_ref(trace), "f")),
    }
}

/// What a member may not reach, by a rule that names it or by none.
#[test]
fn the_line_of_the_rule_that_decides_is_named() {
    let trace = one(&full(), &Question::new("server", "alice"));
    let Reason::Rule {
        origin: Origin::Rule { line, .. },
    } = *reason(&trace)
    else {
        panic!("{trace:?}");
    };
    let text = full();
    let lines: Vec<&str> = text.lines().skip(line - 1).take(3).collect();
    assert_eq!(lines, ["[[rule]]", "from = \"internet\"", "to = \"alice\""]);
}
