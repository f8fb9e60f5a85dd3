//! Who reaches what: the answers, and that they are those of a trace at each single port.

mod common;
#[path = "common/random.rs"]
mod random;

use fielato_policy::judge::{Answer, Judge, Reach, Verdict};
use fielato_policy::plan::PerFamily;
use fielato_policy::trace::{self, IpVersion, Question, QuestionError};
use fielato_policy::{Circumstances, Config, Plan};
use jiff::Timestamp;

use common::{A, B, NOW, config};

fn lab(rules: &str) -> String {
    format!(
        r#"[hub]
interface = "wg0"
endpoint = "10.0.123.2:51820"
addresses = ["192.168.4.1/24", "fd00:4::1/64"]
uplink = "eth0"
source = ["10.0.123.2", "2001:db8::2"]
masquerade = true

[member.alice]
addresses = ["192.168.4.2", "fd00:4::2"]
public_key = "{A}"
groups = ["staff"]

[member.bob]
addresses = ["192.168.4.3"]
public_key = "{B}"
disabled = true

[member.six]
addresses = ["fd00:4::6"]
public_key = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM="
route = ["10.0.0.0/8"]

[host.archive]
address = ["10.0.123.9", "2001:db8::9"]
strategy = "source"

[host.old]
address = "10.0.123.8"
strategy = "source"

[service.storage]
host = "archive"
ports = ["tcp/1094-1100", "udp/2049"]

[service.tape]
host = "old"
ports = ["tcp/22"]

{rules}"#
    )
}

fn rule(from: &str, to: &str, action: &str) -> String {
    format!("[[rule]]\nfrom = \"{from}\"\nto = \"{to}\"\naction = \"{action}\"\n")
}

fn plan(config: &Config) -> (Plan, Timestamp) {
    let now: Timestamp = NOW.parse().unwrap();
    (Plan::compile(config, &Circumstances::at(now, PerFamily::default())), now)
}

fn ask(text: &str, from: &str, to: &str) -> Result<Answer, QuestionError> {
    let config = config(text);
    let (plan, now) = plan(&config);
    Judge::new(&config, &plan, now).unwrap().ask(from, to)
}

/// `[("tcp/1, IPv4", "accept: [[rule]] 1, f:3")]`
fn parts(answer: &Answer) -> Vec<(String, String)> {
    let parts = answer.parts().into_iter();
    parts
        .map(|(what, outcome)| (what, format!("{}: {}", outcome.verdict, outcome.because("f"))))
        .collect()
}

#[test]
fn yes_with_the_rule_and_both_families() {
    let text = lab(&rule("staff", "storage", "accept"));
    let line = 1 + text.lines().position(|line| line == "[[rule]]").unwrap();
    let answer = ask(&text, "alice", "storage").unwrap();
    assert_eq!(answer.reach, Reach::Yes);
    let because = format!("accept: [[rule]] 1, f:{line}");
    let what = "tcp/1094-1100 udp/2049, IPv4 and IPv6".to_owned();
    assert_eq!(parts(&answer), [(what, because)]);
    assert_eq!(answer.lines(), [line.to_string()]);
}

#[test]
fn some_ports_only() {
    let other = "[service.door]\nhost = \"archive\"\nports = [\"tcp/1096-1097\"]\n";
    let rules = [other, &rule("any", "door", "reject"), &rule("any", "storage", "accept")].concat();
    let answer = ask(&lab(&rules), "alice", "storage").unwrap();
    assert_eq!(answer.reach, Reach::Partly);
    let said: Vec<String> = parts(&answer)
        .into_iter()
        .map(|(what, because)| format!("{what} {because}"))
        .collect();
    assert_eq!(
        said,
        [
            "tcp/1094-1095 tcp/1098-1100 udp/2049, IPv4 and IPv6 accept: [[rule]] 2, f:47",
            "tcp/1096-1097, IPv4 and IPv6 reject: [[rule]] 1, f:43"
        ]
    );
}

#[test]
fn what_translates_a_packet_does_not_let_it_pass() {
    let text = lab(&rule("any", "any", "accept"));
    let before = ask(&text, "alice", "tape").unwrap();
    let text = text + "\n[raw]\nrules = [\"-t nat -A POSTROUTING -s 192.168.4.2 -j SNAT --to-source 10.0.123.2\"]\n";
    assert_eq!(parts(&ask(&text, "alice", "tape").unwrap()), parts(&before));
}

/// Also those that rules in iptables' words name, by their numbers or not.
#[test]
fn ports_of_raw_rules_are_judged_apart() {
    let text = lab(&rule("any", "any", "accept"));
    for (raw, apart) in [
        ("--dport 1096", "tcp/1096, IPv4 and IPv6"),
        ("-m multiport --dports 80,1097:1098", "tcp/1097-1098, IPv4 and IPv6"),
        ("! --dport 1:1099", "tcp/1100, IPv4 and IPv6"),
    ] {
        let text = format!("{text}\n[raw]\nrules = [\"-A FORWARD -p tcp {raw} -j REJECT\"]\n");
        let answer = ask(&text, "alice", "storage").unwrap();
        let rejected = parts(&answer).into_iter().find(|(_, because)| because.starts_with("reject"));
        assert_eq!(rejected.map(|(what, _)| what).as_deref(), Some(apart), "{raw}");
    }
    // SSH's port has a name.
    let named = text.replace("tcp/1094-1100", "tcp/20-30");
    let named = named + "\n[raw]\nrules = [\"-A FORWARD -p tcp --dport ssh -j REJECT\"]\n";
    let answer = ask(&named, "alice", "storage").unwrap();
    assert!(
        parts(&answer).iter().any(|(what, _)| what.starts_with("tcp/22,")),
        "{answer:?}"
    );
}

#[test]
fn one_family_only() {
    let text = lab(&rule("192.168.4.0/24", "storage", "accept"));
    let answer = ask(&text, "alice", "storage").unwrap();
    assert_eq!(answer.reach, Reach::Partly);
    let verdicts: Vec<(IpVersion, Verdict)> = answer.ways.iter().map(|way| (way.version, way.outcome.verdict)).collect();
    assert_eq!(verdicts, [(IpVersion::V4, Verdict::Accept), (IpVersion::V6, Verdict::Drop)]);
}

#[test]
fn no_and_why() {
    let text = lab(&rule("any", "any", "accept"));
    for (from, to, why) in [
        ("bob", "storage", "drop: bob is disabled"),
        ("six", "storage", "drop: it never comes to the hub, at member six"),
        ("alice", "bob", "drop: bob is disabled"),
    ] {
        let answer = ask(&text, from, to).unwrap();
        assert_eq!(answer.reach, Reach::No, "{from} {to}");
        assert_eq!(parts(&answer)[0].1, why);
    }
    // Without masquerade the host sees a member's address, and lets only the hub's in.
    let plain = text.replace("masquerade = true", "masquerade = false");
    let answer = ask(&plain, "alice", "tape").unwrap();
    assert_eq!(parts(&answer)[0].1, "drop: protected port, at host old");
}

#[test]
fn the_answer_must_come_back() {
    let text = lab(&rule("any", "any", "accept"));
    assert_eq!(ask(&text, "alice", "tape").unwrap().reach, Reach::Yes);
    // The guard on the uplink sees what comes in there: the answers.
    let banned = text.clone() + "[hub.guard]\nuplink = true\n[[ban]]\naddress = \"10.0.123.8\"\n";
    let answer = ask(&banned, "alice", "tape").unwrap();
    assert_eq!(
        parts(&answer)[0].1,
        "drop: 10.0.123.8/32 is banned; it is the answer that is stopped"
    );
    // A member takes from the hub what it would send to it.
    let routed = text.replace("route = [\"10.0.0.0/8\"]", "route = [\"2001:db8::/48\"]");
    assert_eq!(ask(&routed, "six", "storage").unwrap().reach, Reach::Yes);
    let answer = ask(&routed, "internet", "six").unwrap();
    assert_eq!(parts(&answer)[0].1, "drop: the source is not the member's, at member six");
}

#[test]
fn nonsense_is_told() {
    let text = lab("");
    assert!(matches!(ask(&text, "nobody", "storage"), Err(QuestionError::Unknown { .. })));
    assert!(matches!(ask(&text, "alice", "nothing"), Err(QuestionError::Unknown { .. })));
    assert!(matches!(ask(&text, "staff", "storage"), Err(QuestionError::Group { .. })));
    assert!(matches!(ask(&text, "six", "tape"), Err(QuestionError::NoFamily { .. })));
}

#[test]
fn who_and_the_matrix_say_the_same() {
    let text = lab(&rule("staff", "storage", "accept"));
    let config = config(&text);
    let (plan, now) = plan(&config);
    let mut judge = Judge::new(&config, &plan, now).unwrap();
    let matrix = judge.matrix().unwrap();
    assert_eq!(matrix.services, ["storage", "tape"]);
    for (column, service) in matrix.services.iter().enumerate() {
        let who = judge.who(service).unwrap();
        let column: Vec<_> = matrix
            .rows
            .iter()
            .map(|(name, cells)| (name.clone(), cells[column].clone()))
            .collect();
        assert_eq!(who, column);
    }
    let words: Vec<Vec<Option<Reach>>> = matrix
        .rows
        .iter()
        .map(|(_, cells)| cells.iter().map(|cell| cell.as_ref().map(|answer| answer.reach)).collect())
        .collect();
    assert_eq!(
        words,
        [
            [Some(Reach::Yes), Some(Reach::No)],
            [Some(Reach::No), Some(Reach::No)],
            [Some(Reach::No), None]
        ]
    );
    assert!(judge.who("nothing").is_err());
}

/// Every single port of every service, asked as a trace of its own, there and back.
#[test]
fn random_policies_as_traced_port_by_port() {
    let mut rng = fastrand::Rng::with_seed(11);
    let (mut yes, mut no) = (0, 0);
    for _ in 0..4 {
        let text = random::configuration(&mut rng);
        let config = config(&text);
        let (plan, now) = plan(&config);
        let mut judge = Judge::new(&config, &plan, now).unwrap();
        for (member, service) in config
            .members
            .keys()
            .flat_map(|m| config.services.keys().map(move |s| (m, s)))
        {
            let answer = match judge.ask(member, service) {
                Ok(answer) => answer,
                Err(QuestionError::NoFamily { .. }) => continue,
                Err(error) => panic!("{error}\n{text}"),
            };
            for way in &answer.ways {
                for port in &way.ports {
                    let all = port.last - port.first;
                    let some = [0, rng.u16(..=all)];
                    for number in some.map(|step| port.first + step) {
                        let protocol = port.protocol.word();
                        let to = format!("{service}:{number}/{protocol}");
                        let question = Question {
                            version: Some(way.version),
                            reply: true,
                            ..Question::new(member, &to)
                        };
                        let traces = trace::trace(&config, &plan, now, &question).unwrap();
                        let passes = traces.iter().all(trace::Trace::passes);
                        let accepted = way.outcome.verdict == Verdict::Accept;
                        assert_eq!(passes, accepted, "{member} {to} {:?}\n{text}", way.version);
                        *if passes { &mut yes } else { &mut no } += 1;
                    }
                }
            }
        }
    }
    assert!(yes > 0 && no > 0, "{yes} {no}");
}
