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

#[test]
fn show() {
    let q = |from: &str, to: &str| Question { reply: true, ..Question::new(from, to) };
    for (t, q) in [
        (talk(), q("client-a", "echo")), (talk(), q("client-a", "client-b")), (talk(), q("client-a", "10.0.123.4:22")),
        (talk(), q("client-a","hub")), (full(), q("alice","web")), (full(), Question{version: Some(IpVersion::V6), ..q("alice","web")}),
        (full(), q("alice", "10.0.123.66")), (full(), q("bob","internet")), (full(), q("server","alice")),
        (full(), Question{by: Some("eth0".into()), ..q("192.168.4.2","server")}),
        (full(), Question{source: Some("192.168.4.77".parse().unwrap()), ..q("alice","server")}),
        (full(), Question{state: State::Established, ..q("alice","web:443/tcp")}),
        (full(), Question{state: State::Established, ..q("alice","web:444/tcp")}),
        (full(), q("hub", "alice")), (full(), q("hub","web")), (full(), q("alice", "192.168.4.200")), (full(), q("alice","shell")),
    ] {
        let c = config(&t);
        match trace::trace(&c, &plan(&t), now(), &q) {
            Ok(x) => println!("### {} -> {}\n{}", q.from, q.to, trace::text(&x, "fielato.toml")),
            Err(e) => println!("### {} -> {}\nERR {e}", q.from, q.to),
        }
    }
    let t = talk();
    println!("{}", trace::explain(&ask(&t, &q("client-a", "echo")), "fielato.toml"));
}
