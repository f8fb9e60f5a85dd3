//! Questions about the talk's network and a larger one, and what is answered.

mod common;

use common::{NOW, config, full, plan, talk};
use fielato_policy::trace::{self, End, IpVersion, Place, Question, QuestionError, Reason, State, Step, Trace};
use fielato_policy::{Config, Plan};
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

/// The answer's text, to be compared as a whole.
fn text(configuration: &str, question: &Question) -> String {
    trace::text(&ask(configuration, question), "fielato.toml")
}

#[test]
fn the_talks_service_is_reached_and_answers() {
    let question = Question {
        reply: true,
        ..Question::new("client-a", "echo")
    };
    let expected = "";
    assert_eq!(text(&talk(), &question), expected);
}
