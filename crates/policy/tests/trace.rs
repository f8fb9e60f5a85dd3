//! Questions about the talk's network and a larger one, and what is answered.

#[path = "common/random.rs"]
mod random;

mod common;

use common::{NOW, config, full, talk};
use fielato_policy::config::Ban;
use fielato_policy::gateway::Origin;
use fielato_policy::plan::PerFamily;
use fielato_policy::trace::{
    self, End, IpVersion, MemberState, Place, Question, QuestionError, Reason, Role, State, Step, Trace,
};
use fielato_wire::build::{Ip, Tcp};
use fielato_wire::pcap::Captured;
use jiff::Timestamp;

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn asked(text: &str, question: &Question) -> Result<Vec<Trace>, QuestionError> {
    let config = config(text);
    let plan = common::compile(&config, now(), PerFamily::default());
    trace::trace(&config, &plan, now(), question)
}

fn ask(text: &str, question: &Question) -> Vec<Trace> {
    asked(text, question).unwrap_or_else(|error| panic!("{error}"))
}

fn one(text: &str, question: &Question) -> Trace {
    let traces = ask(text, question);
    assert_eq!(traces.len(), 1, "{traces:?}");
    traces.into_iter().next().unwrap()
}

#[track_caller]
fn stopped(trace: &Trace) -> (&Place, &Reason, &str) {
    match &trace.end {
        End::Stopped { at, reason, advice } => (at, reason, advice),
        End::Arrived { .. } => panic!("{}", trace::text(std::slice::from_ref(trace), "f")),
    }
}

#[track_caller]
fn arrived(trace: &Trace) -> &Place {
    match &trace.end {
        End::Arrived { at, .. } => at,
        End::Stopped { .. } => panic!("{}", trace::text(std::slice::from_ref(trace), "f")),
    }
}

fn host(name: &str) -> Place {
    Place::Host(name.to_owned())
}

fn member(name: &str) -> Place {
    Place::Member(name.to_owned())
}

/// The line of the text that begins with `line`, 1-based.
fn line_of(text: &str, line: &str) -> usize {
    text.lines().position(|one| one.starts_with(line)).unwrap() + 1
}

#[test]
fn the_talks_service_is_reached_and_answers() {
    let question = Question {
        reply: true,
        ..Question::new("client-a", "echo")
    };
    let expected = r#"tcp 192.168.4.2:40000 > 10.0.123.4:1234 SYN, 60 bytes
  member client-a  route        AllowedIPs 10.0.123.4/32 (route = "lab"): into the tunnel
                   encrypt      124 bytes in cipher for the hub, UDP client-a > 10.0.123.2:51820
  hub              decrypt      the key of client-a; 192.168.4.2 is its address
                   guard        not banned
                   conntrack    new
                   route        by eth0
                   forward      filter FORWARD rule 6 ([[rule]] 2, fielato.toml:29): accept
                   postrouting  nat POSTROUTING rule 1 (masquerade): masquerade
                   nat          source 192.168.4.2:40000 -> 10.0.123.2:40000
                   queue        eth0, first in first out
  host client-b    input        filter INPUT policy: accept
passes: tcp 10.0.123.2:40000 > 10.0.123.4:1234 SYN, 60 bytes, arrived at host client-b

the answer: tcp 10.0.123.4:1234 > 10.0.123.2:40000 SYN ACK, 40 bytes
  hub              arrive     by eth0
                   conntrack  established
                   nat        destination 10.0.123.2:40000 -> 192.168.4.2:40000
                   route      by wg0
                   forward    filter FORWARD rule 3 (established): accept
                   queue      wg0, first in first out
                   encrypt    108 bytes in cipher for client-a, UDP 10.0.123.2:51820 > client-a
  member client-a  decrypt    the key of the hub; 10.0.123.4 is in AllowedIPs
passes: tcp 10.0.123.4:1234 > 192.168.4.2:40000 SYN ACK, 40 bytes, arrived at member client-a
"#;
    assert_eq!(trace::text(&ask(&talk(), &question), "fielato.toml"), expected);
}

#[test]
fn a_day_in_the_life_of_a_packet() {
    let expected = r#"client-a sends icmp 192.168.4.2 > 10.0.123.4 echo request, 84 bytes.
     | IPv4 20 | ICMP 8 | data 56 |
  1. client-a looks for 10.0.123.4 in its AllowedIPs, which `route = "lab"` filled, and finds
     10.0.123.4/32: the packet goes into the tunnel.
  2. WireGuard encrypts it for the hub: 84 bytes and 12 of padding become 156 on the wire, and
     whoever listens learns no more than that and the addresses.
     client-a > 10.0.123.2:51820
     | IPv4 20 | UDP 8 | WireGuard 16 | the packet 84 | padding 12 | tag 16 |
  3. The hub decrypts it with the key of client-a, which may send from 192.168.4.2: 192.168.4.2 is
     among these, so nobody else can have sent it.
  4. The guard finds no ban of its source, and counts it.
  5. Connection tracking calls it new: nothing was seen of this connection before.
  6. The route says that it leaves by eth0.
  7. At the hook forward of the hub, in table filter, rule 8 of FORWARD (no rule) says drop: what no
     rule lets in stays outside.
  8. It ends here, at the hub: no rule.

What to do: no [[rule]] lets client-a reach client-b by icmp; add:
[[rule]]
from = "client-a"
to = "client-b"
action = "accept"
"#;
    let traces = ask(&talk(), &Question::new("client-a", "client-b"));
    assert_eq!(trace::explain(&traces, "fielato.toml"), expected);
}

#[test]
fn both_families_and_classes() {
    for (version, encrypted) in [(IpVersion::V4, 124), (IpVersion::V6, 140)] {
        let question = Question {
            version: Some(version),
            ..Question::new("alice", "web")
        };
        let trace = one(&full(), &question);
        assert_eq!(*arrived(&trace), host("server"));
        let lengths = trace.stations.iter().filter_map(|station| match &station.step {
            Step::Encrypt { cipher, .. } => Some(cipher.length),
            _ => None,
        });
        assert_eq!(lengths.collect::<Vec<_>>(), [encrypted]);
        // What leaves by the uplink is classed by who sent it, before its source is hidden.
        let queue = Step::Queue {
            interface: "eth0".into(),
            path: vec!["2:".into(), "2:1".into()],
        };
        assert!(trace.stations.iter().any(|station| station.step == queue), "{trace:?}");
    }
}

#[test]
fn a_host_of_strategy_member_is_reached_through_its_tunnel() {
    let question = Question {
        reply: true,
        ..Question::new("alice", "shell")
    };
    let traces = ask(&full(), &question);
    assert_eq!(arrived(&traces[0]), &member("bob"));
    assert_eq!((traces[1].role, arrived(&traces[1])), (Role::Answer, &member("alice")));
    let met = traces[0].stations.last().unwrap();
    assert_eq!(met.place, member("bob"));
    assert!(
        matches!(&met.step, Step::Table { chain, origin: Some(Origin::Rule { number: 2, .. }), .. } if chain == "INPUT"),
        "{met:?}"
    );
}

#[test]
fn a_host_of_strategy_source_refuses_what_comes_through_its_tunnel() {
    let trace = one(&talk(), &Question::new("client-a", "192.168.4.3:1234"));
    let (at, reason, advice) = stopped(&trace);
    assert_eq!(*at, member("client-b"));
    let origin = Origin::Protected;
    assert_eq!(*reason, Reason::Rule { origin });
    assert!(advice.contains("reach it at 10.0.123.4"), "{advice}");
    // Nor what the hub does not hide.
    let shown = talk().replace("uplink = \"eth0\"", "uplink = \"eth0\"\nmasquerade = false");
    let trace = one(&shown, &Question::new("client-a", "echo"));
    let (at, reason, advice) = stopped(&trace);
    assert_eq!(
        (at, reason),
        (
            &host("client-b"),
            &Reason::Rule {
                origin: Origin::Protected
            }
        )
    );
    assert!(advice.contains("masquerade = true"), "{advice}");
    // A port that it does not protect.
    let trace = one(&talk(), &Question::new("client-a", "192.168.4.3:1235"));
    assert_eq!(*arrived(&trace), member("client-b"));
}

/// The hub may let in by a raw rule what a host that judges by itself rejects.
#[test]
fn a_protected_host_tells_whom_it_rejects() {
    let text = full().replace(
        "to = [\"web\", \"shell\"]\naction = \"accept\"",
        "to = \"shell\"\naction = \"reject\"",
    ) + "[raw]\nrules = [\"-A FORWARD -p tcp -j ACCEPT\"]\n";
    let trace = one(&text, &Question::new("alice", "shell"));
    let (at, reason, _) = stopped(&trace);
    assert!(
        matches!(
            reason,
            Reason::Rule {
                origin: Origin::Rule { number: 2, .. }
            }
        ),
        "{reason:?}"
    );
    assert_eq!(*at, member("bob"));
    let [.., met, told] = trace.stations.as_slice() else {
        panic!("{trace:?}")
    };
    assert!(
        matches!(&met.step, Step::Table { verdict, .. } if verdict == "reject"),
        "{met:?}"
    );
    assert!(
        matches!(&told.step, Step::Tell { packet, lost: None } if packet.role.as_deref() == Some("administratively prohibited")),
        "{told:?}"
    );
    // What a banned host says is not heard.
    let trace = one(
        &(text + "[[ban]]\naddress = \"fd00:4::3\"\n"),
        &Question::new("alice", "shell"),
    );
    let lost = trace.stations.iter().find_map(|station| match &station.step {
        Step::Tell { lost, .. } => lost.as_ref(),
        _ => None,
    });
    let network = "fd00:4::3/128".parse().unwrap();
    assert_eq!(lost, Some(&(Place::Hub, Reason::Banned { network })), "{trace:?}");
    let [text, sentences] = [trace::text, trace::explain].map(|told| told(std::slice::from_ref(&trace), "f"));
    assert!(text.contains("lost at hub: fd00:4::3/128 is banned"), "{text}");
    assert!(
        sentences.contains("is stopped at hub (fd00:4::3/128 is banned)"),
        "{sentences}"
    );
}

/// A published port leads back to the host behind it: IPv4 takes nothing from outside that seems to come from itself.
#[test]
fn a_machine_takes_nothing_from_itself_by_way_of_the_hub() {
    let masked = full() + "[[nat.publish]]\nport = \"tcp/2222\"\nto = \"server\"\nto_port = 443\n";
    let plain = masked.replace("uplink = \"eth0\"", "uplink = \"eth0\"\nmasquerade = false");
    let trace = one(&masked, &Question::new("server", "10.0.123.2:2222/tcp"));
    assert_eq!(*arrived(&trace), host("server"), "it seems to come from the hub");
    let name = "martian".to_owned();
    let protected = Reason::Rule {
        origin: Origin::Protected,
    };
    for (from, expected) in [("internet", protected), ("server", Reason::Gateway { name })] {
        let trace = one(&plain, &Question::new(from, "10.0.123.2:2222/tcp"));
        let (at, reason, _) = stopped(&trace);
        assert_eq!((at, reason), (&host("server"), &expected), "{from}");
    }
}

/// What comes to a host by its own network is answered through its tunnel, if that is the host's way to the sender; out of it the hub
/// takes the host's overlay address alone.
#[test]
fn a_host_that_is_a_member_answers_members_through_its_tunnel() {
    let text = talk() + "[[rule]]\nfrom = \"members\"\nto = \"client-b\"\naction = \"accept\"\n";
    let question = Question {
        reply: true,
        ..Question::new("client-a", "10.0.123.4:1235")
    };
    // It sees the hub's address.
    let traces = ask(&text, &question);
    assert_eq!(*arrived(&traces[1]), member("client-a"));
    // It sees client-a's.
    let shown = text.replace("uplink = \"eth0\"", "uplink = \"eth0\"\nmasquerade = false");
    for route in ["\"lab\"", "\"all\"", "[]"] {
        let routed = shown.replace("[member.client-b]", &format!("[member.client-b]\nroute = {route}"));
        let traces = ask(&routed, &question);
        assert_eq!(*arrived(&traces[0]), host("client-b"));
        let (at, reason, advice) = stopped(&traces[1]);
        assert_eq!((at, reason), (&Place::Hub, &Reason::ForeignSource), "{route}");
        assert!(advice.contains("masquerade = true"), "{advice}");
    }
}

/// It never comes to the hub, whatever that would say.
#[test]
fn what_a_member_sends_to_itself_meets_its_own_rules_alone() {
    let nobody = talk().replace("action = \"accept\"", "action = \"drop\"");
    for to in ["client-a", "client-b"] {
        let trace = one(&nobody, &Question::new(to, to));
        assert_eq!(*arrived(&trace), member(to));
        assert!(trace.stations.iter().all(|station| station.place == member(to)), "{trace:?}");
    }
    for to in ["echo", "192.168.4.3:1234"] {
        let trace = one(&talk(), &Question::new("client-b", to));
        let (at, reason, advice) = stopped(&trace);
        let origin = Origin::Protected;
        assert_eq!((at, reason), (&member("client-b"), &Reason::Rule { origin }));
        assert!(advice.contains("to itself"), "{advice}");
    }
}

#[test]
fn the_line_of_the_rule_that_decides_is_named() {
    let text = full().replace("to = [\"10.0.123.66\", \"2001:db8:bad::/48\"]", "to = \"server\"");
    let trace = one(&text, &Question::new("alice", "web"));
    let line = line_of(&text, "[[rule]]");
    let origin = Origin::Rule {
        number: 1,
        file: None,
        line,
    };
    let (at, reason, advice) = stopped(&trace);
    assert_eq!((at, reason), (&Place::Hub, &Reason::Rule { origin }));
    assert!(
        advice.starts_with("change [[rule]] 1, or put one that accepts before it"),
        "{advice}"
    );
}

#[test]
fn a_rejected_packet_is_answered() {
    for version in [IpVersion::V4, IpVersion::V6] {
        let question = Question {
            version: Some(version),
            ..Question::new("alice", "web:444")
        };
        let trace = one(&full(), &question);
        assert_eq!(*stopped(&trace).0, Place::Hub);
        let told = trace.stations.iter().any(|station| {
            matches!(&station.step, Step::Tell { packet, .. } if packet.role.as_deref() == Some("administratively prohibited"))
        });
        assert!(told, "{trace:?}");
    }
}

#[test]
fn bans_of_the_file_and_others() {
    let trace = one(&full(), &Question::new("203.0.113.7", "alice"));
    let network = "203.0.113.0/24".parse().unwrap();
    let (_, reason, advice) = stopped(&trace);
    assert_eq!(*reason, Reason::Banned { network });
    assert!(advice.contains("[[ban]]"), "{advice}");
    let met = trace.stations.iter().map(|station| &station.step);
    let interface = "eth0".to_owned();
    let (ban, limited) = (Some(network), false);
    assert!(
        met.eq(&[Step::Arrive { interface }, Step::Guard { ban, limited }]),
        "{trace:?}"
    );
    // Without `uplink = true` the guard stands on the tunnel alone.
    let trace = one(&full().replace("uplink = true", ""), &Question::new("203.0.113.7", "alice"));
    assert!(!matches!(stopped(&trace).1, Reason::Banned { .. }), "{trace:?}");
    // A member that `fielato ban` banned, in each family.
    for (version, address) in [(IpVersion::V4, "192.168.4.2/32"), (IpVersion::V6, "fd00:4::2/128")] {
        let config = config(&full());
        let mut plan = common::compile(&config, now(), PerFamily::default());
        let network = address.parse().unwrap();
        plan.bans.push(Ban { network, until: None });
        let question = Question {
            version: Some(version),
            ..Question::new("alice", "web")
        };
        let traces = trace::trace(&config, &plan, now(), &question).unwrap();
        let (at, reason, advice) = stopped(&traces[0]);
        assert_eq!((at, reason), (&Place::Hub, &Reason::Banned { network }));
        assert_eq!(advice, format!("run `fielato unban {address}`"));
    }
}

#[test]
fn sources_that_are_not_the_senders() {
    for (address, to) in [("192.168.4.2", "10.0.123.4"), ("fd00:4::2", "2001:db8::4")] {
        let question = Question {
            by: Some("eth0".into()),
            ..Question::new(address, to)
        };
        let trace = one(&full(), &question);
        let origin = Origin::ForgedSource;
        assert_eq!(*stopped(&trace).1, Reason::Rule { origin });
    }
    for source in ["192.168.4.77", "fd00:4::77", "10.9.9.9"] {
        let question = Question {
            source: Some(source.parse().unwrap()),
            ..Question::new("alice", "server")
        };
        let trace = one(&full(), &question);
        assert_eq!((stopped(&trace).0, stopped(&trace).1), (&Place::Hub, &Reason::ForeignSource));
    }
}

#[test]
fn members_that_are_no_peers() {
    let disabled = talk().replace(
        "addresses = [\"192.168.4.2\"]",
        "addresses = [\"192.168.4.2\"]\ndisabled = true",
    );
    let trace = one(&disabled, &Question::new("client-a", "echo"));
    let (_, reason, advice) = stopped(&trace);
    let state = MemberState::Disabled;
    let member = "client-a".to_owned();
    assert_eq!(
        *reason,
        Reason::NoPeer {
            member: member.clone(),
            state
        }
    );
    assert_eq!(advice, "run `fielato member enable client-a`");
    // The other way there is no rule for it any more: it is not in the set.
    let trace = one(&disabled, &Question::new("client-b", "client-a"));
    assert_eq!(*stopped(&trace).0, Place::Hub);

    let end = "2026-01-01T00:00:00Z";
    let expired = talk().replace(
        "addresses = [\"192.168.4.2\"]",
        &format!("addresses = [\"192.168.4.2\"]\nexpires = {end}"),
    );
    let trace = one(&expired, &Question::new("client-a", "echo"));
    let state = MemberState::Expired(end.parse().unwrap());
    assert_eq!(*stopped(&trace).1, Reason::NoPeer { member, state });
    // A rule by address lets packets to it through, and there is no session to send them in.
    let by_address = expired.replace("to = \"members\"", "to = \"192.168.4.2\"");
    let trace = one(&by_address, &Question::new("client-b", "client-a"));
    assert!(matches!(stopped(&trace).1, Reason::NoPeer { .. }), "{trace:?}");
}

#[test]
fn what_a_member_sends_past_the_hub() {
    let trace = one(&full(), &Question::new("alice", "10.0.123.66"));
    let (at, reason, advice) = stopped(&trace);
    assert_eq!((at, reason), (&member("alice"), &Reason::NotTunnelled));
    assert!(advice.contains("`lab`") && advice.contains("`route`"), "{advice}");
    // Everything of bob's goes through it, and his answers' sources are within his AllowedIPs.
    let question = Question {
        reply: true,
        ..Question::new("bob", "internet")
    };
    let traces = ask(&full(), &question);
    assert_eq!((arrived(&traces[0]), arrived(&traces[1])), (&Place::Outside, &member("bob")));
}

#[test]
fn a_member_takes_only_what_its_allowed_ips_hold() {
    let text = full().replace("route = \"all\"", "route = [\"2001:db8:77::/48\"]");
    let trace = one(&text, &Question::new("server", "bob"));
    let (at, reason, advice) = stopped(&trace);
    assert_eq!((at, reason), (&member("bob"), &Reason::ForeignSource));
    assert!(advice.contains("2001:db8::4"), "{advice}");
}

#[test]
fn addresses_that_nobody_has() {
    let text = talk().replace("to = \"members\"", "to = \"any\"");
    let trace = one(&text, &Question::new("client-a", "192.168.4.200"));
    let (at, reason, _) = stopped(&trace);
    assert_eq!((at, reason), (&Place::Hub, &Reason::NobodysAddress));
    let trace = one(&full(), &Question::new("alice", "192.168.4.200"));
    assert!(stopped(&trace).2.starts_with("no member has 192.168.4.200"));
}

#[test]
fn the_hub_as_an_end() {
    let question = Question {
        reply: true,
        ..Question::new("client-a", "hub")
    };
    let traces = ask(&talk(), &question);
    assert_eq!((arrived(&traces[0]), arrived(&traces[1])), (&Place::Hub, &member("client-a")));
    let question = Question {
        reply: true,
        ..Question::new("hub", "web")
    };
    let traces = ask(&full(), &question);
    assert_eq!((arrived(&traces[0]), arrived(&traces[1])), (&host("server"), &Place::Hub));
    assert_eq!(traces[0].packet.source, "10.0.123.2".parse::<std::net::IpAddr>().unwrap());
}

#[test]
fn a_connection_that_goes_on() {
    let established = |to: &str| Question {
        state: State::Established,
        ..Question::new("alice", to)
    };
    for to in ["web:443/tcp", "web:443/udp", "[2001:db8::4]:85"] {
        let trace = one(&full(), &established(to));
        assert_eq!(*arrived(&trace), host("server"), "{to}");
        let state = Step::Connection { state: "established" };
        assert!(trace.stations.iter().any(|station| station.step == state), "{trace:?}");
        let origin = Some(Origin::Established);
        let by = |step: &Step| matches!(step, Step::Table { origin: found, .. } if *found == origin);
        assert!(trace.stations.iter().any(|station| by(&station.step)), "{trace:?}");
    }
    // What can't begin can't go on.
    let trace = one(&full(), &established("web:444/tcp"));
    assert_eq!(trace.role, Role::Opening);
    stopped(&trace);
}

#[test]
fn transit_and_who_is_outside() {
    let trace = one(&full(), &Question::new("internet", "server:443"));
    let origin = Origin::Transit;
    assert_eq!(*stopped(&trace).1, Reason::Rule { origin });
    let leave = full().replace("uplink = \"eth0\"", "uplink = \"eth0\"\ntransit = \"leave\"");
    let trace = one(&leave, &Question::new("internet", "server:79"));
    assert_eq!(*arrived(&trace), host("server"));
    // The host's own rules stop what does not come from the hub.
    let trace = one(&leave, &Question::new("internet", "server:443"));
    let (at, _, advice) = stopped(&trace);
    assert_eq!(*at, host("server"));
    assert!(advice.contains("make the sender a member"), "{advice}");
}

#[test]
fn captured_packets_know_each_other() {
    let config = config(&talk());
    let plan = common::compile(&config, now(), PerFamily::default());
    let there = Ip::v4([192, 168, 4, 2], [10, 0, 123, 4]);
    let back = Ip::v4([10, 0, 123, 4], [10, 0, 123, 2]);
    let all = [
        there.tcp(&Tcp::new(5555, 1234).syn().seq(1)),
        back.tcp(&Tcp::new(1234, 5555).syn().seq(7).ack(2)),
        there.tcp(&Tcp::new(5555, 1234).flags(0x10).seq(2).ack(8)),
        // Nobody asked for this one.
        back.tcp(&Tcp::new(1234, 6666).syn().seq(7).ack(2)),
    ];
    let captured: Vec<Captured> = (0..)
        .zip(all)
        .map(|(second, packet)| Captured {
            at: std::time::Duration::from_secs(second),
            packet,
        })
        .collect();
    let traces = trace::packets(&config, &plan, now(), &captured, false).unwrap();
    let states = traces.iter().map(|trace| {
        let found = trace.stations.iter().find_map(|station| match station.step {
            Step::Connection { state } => Some(state),
            _ => None,
        });
        found.unwrap_or("none")
    });
    assert_eq!(states.collect::<Vec<_>>(), ["new", "established", "established", "invalid"]);
    let places: Vec<&Place> = traces[..3].iter().map(arrived).collect();
    assert_eq!(places, [&host("client-b"), &member("client-a"), &host("client-b")]);
    let broken = [Captured {
        at: std::time::Duration::ZERO,
        packet: vec![0x45; 8],
    }];
    let refused = trace::packets(&config, &plan, now(), &broken, false).unwrap_err();
    assert!(matches!(refused, QuestionError::Packet { number: 1, .. }), "{refused}");
}

#[test]
fn questions_without_sense() {
    let cases = [
        (
            Question::new("nobody", "web"),
            "there is no member, host or address \"nobody\"",
        ),
        (
            Question::new("alice", "nothing"),
            "there is no service, host, member or address \"nothing\"",
        ),
        (
            Question::new("lab-staff", "web"),
            "lab-staff is a group; ask about one of its members: alice, bob",
        ),
        (Question::new("alice", "web:x"), "\"x\" is not a port"),
        (Question::new("alice", "web:80/dccp"), "\"80/dccp\" is not a port"),
        (
            Question::new("bob", "10.0.123.4"),
            "bob and 10.0.123.4 have no address of the same family",
        ),
        (Question::new("192.168.4.99", "web"), "no member has 192.168.4.99"),
        (
            Question {
                by: Some("eth7".into()),
                ..Question::new("alice", "web")
            },
            "packets reach the hub by wg0 or eth0, not by \"eth7\"",
        ),
        (
            Question {
                by: Some("wg0".into()),
                ..Question::new("server", "alice")
            },
            "server is no member, so it sends nothing by wg0",
        ),
    ];
    for (question, expected) in cases {
        let refused = asked(&full(), &question).unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{refused}");
    }
}

/// Appends the rule that the advice spells out.
fn with_advice(text: &str, advice: &str) -> Option<String> {
    let rule = &advice[advice.find("[[rule]]\nfrom")?..];
    // Before the others, which may refuse what it accepts.
    let place = text.find("[[rule]]").unwrap_or(text.len());
    Some(format!("{}{rule}\n{}", &text[..place], &text[place..]))
}

#[test]
fn whoever_follows_the_advice_gets_through_the_hub() {
    let mut rng = fastrand::Rng::with_seed(5);
    let (mut followed, mut passed) = (0, 0);
    for _ in 0..400 {
        let text = random::configuration(&mut rng);
        let v4 = rng.bool();
        let from = random::address(&mut rng, v4).to_string();
        let to = match rng.u8(..4) {
            0 => "hub".to_owned(),
            1 => "s0".to_owned(),
            2 => "m0".to_owned(),
            _ => random::address(&mut rng, v4).to_string(),
        };
        let question = Question::new(from, to);
        let Ok(traces) = asked(&text, &question) else { continue };
        let trace = traces.last().unwrap();
        let End::Stopped { reason, advice, .. } = &trace.end else {
            passed += 1;
            continue;
        };
        let Reason::Rule {
            origin: Origin::NoRule | Origin::Rule { .. },
        } = reason
        else {
            continue;
        };
        let Some(mended) = with_advice(&text, advice) else {
            let absent = ["no member has", "is disabled; ", "expired at"];
            assert!(absent.iter().any(|words| advice.contains(words)), "{advice}");
            continue;
        };
        followed += 1;
        let again = one(&mended, &question);
        let accepted = again.stations.iter().any(|station| {
            let by = |step: &Step| matches!(step, Step::Table { origin: Some(Origin::Rule { number: 1, .. }), verdict, .. } if verdict == "accept");
            by(&station.step)
        });
        assert!(accepted, "{question:?}\n{mended}\n{}", trace::text(&[again], "f"));
    }
    assert!(followed > 50 && passed > 50, "{followed} {passed}");
}

#[test]
fn what_disciplines_lose_is_not_the_policys_to_judge() {
    for qdisc in [
        "root handle 1: netem loss 100%",
        "root handle 1: netem delay 10s",
        "root handle 1: cake bandwidth 1mbit",
    ] {
        let text = format!("{}\n[[shape]]\ndev = \"eth0\"\nqdisc = \"{qdisc}\"\n", talk());
        let question = Question {
            reply: true,
            ..Question::new("client-a", "echo")
        };
        let traces = ask(&text, &question);
        assert_eq!(
            (arrived(&traces[0]), arrived(&traces[1])),
            (&host("client-b"), &member("client-a"))
        );
    }
}

#[test]
fn any_bytes_are_traced_or_refused() {
    let mut rng = fastrand::Rng::with_seed(3);
    let config = config(&full());
    let plan = common::compile(&config, now(), PerFamily::default());
    let (mut traced, mut refused) = (0, 0);
    for sport in 0..300 {
        let v4 = rng.bool();
        let (src, dst) = (random::address(&mut rng, v4), random::address(&mut rng, v4));
        let (mut packet, ..) = random::opening(&mut rng, src, dst, sport);
        for _ in 0..rng.usize(..4) {
            let place = rng.usize(..packet.len());
            packet[place] = rng.u8(..);
        }
        packet.truncate(packet.len() - rng.usize(..packet.len()) * usize::from(rng.u8(..4) == 0));
        let captured = [Captured {
            at: std::time::Duration::ZERO,
            packet,
        }];
        match trace::packets(&config, &plan, now(), &captured, true) {
            Ok(traces) => {
                traced += 1;
                let text = trace::text(&traces, "f") + &trace::explain(&traces, "f");
                assert!(text.contains("passes") || text.contains("stopped"), "{text}");
                serde_json::to_string(&traces).unwrap();
            }
            Err(_) => refused += 1,
        }
    }
    assert!(traced > 80 && refused > 15, "{traced} {refused}");
}

#[test]
fn an_address_of_the_hub_that_the_file_does_not_name() {
    let text = talk().replace("endpoint = \"10.0.123.2:51820\"", "endpoint = \"vpn.example.org:51820\"");
    let text = text.replace("[host.client-b]\naddress = \"10.0.123.4\"\nstrategy = \"source\"\n\n[service.echo]\nhost = \"client-b\"\nports = [\"tcp/1234\"]\n", "");
    let text = text
        .replace("to = [\"echo\", \"hub\"]", "to = \"10.0.123.4\"")
        .replace("[member.client-b]", "[member.client-b]\nroute = \"all\"");
    let question = Question {
        reply: true,
        ..Question::new("client-b", "10.0.123.4:1234")
    };
    let traces = ask(&text, &question);
    assert_eq!(
        (arrived(&traces[0]), arrived(&traces[1])),
        (&Place::Outside, &member("client-b"))
    );
    let shown = trace::text(&traces, "fielato.toml");
    assert!(shown.contains("(the hub's own; `source` in [hub] would name it)"), "{shown}");
}

#[test]
fn members_packets_go_on_by_the_hubs_sockets() {
    let text = full().replace("uplink = \"eth0\"", "uplink = \"eth0\"\nengine = \"userspace\"");
    for version in [IpVersion::V4, IpVersion::V6] {
        let question = Question {
            reply: true,
            version: Some(version),
            ..Question::new("alice", "web")
        };
        let traces = ask(&text, &question);
        // The host lets in what comes from the hub's address alone.
        assert_eq!(
            (arrived(&traces[0]), arrived(&traces[1])),
            (&host("server"), &member("alice"))
        );
        let proxied = |trace: &Trace| {
            trace
                .stations
                .iter()
                .any(|station| matches!(station.step, Step::Proxy { .. }))
        };
        assert!(traces.iter().all(proxied), "{traces:?}");
        let translated = |trace: &Trace| trace.stations.iter().any(|station| matches!(station.step, Step::Nat { .. }));
        assert!(!traces.iter().any(translated), "{traces:?}");
    }
    let question = Question {
        state: State::Established,
        ..Question::new("alice", "web")
    };
    assert_eq!(*arrived(&one(&text, &question)), host("server"));
    // Nobody begins a connection to a member, and sockets carry no GRE.
    for question in [Question::new("server", "alice"), Question::new("alice", "8.8.8.8:ip/47")] {
        let trace = one(
            &text.replacen("[member.alice]", "[member.alice]\nroute = \"all\"", 1),
            &question,
        );
        let name = "not-proxied".to_owned();
        let (at, reason, advice) = stopped(&trace);
        assert_eq!((at, reason), (&Place::Hub, &Reason::Gateway { name }));
        assert!(advice.contains("exit = \"packet\""), "{advice}");
    }
    for (from, to, place) in [("hub", "web", host("server")), ("server", "10.0.123.2:22", Place::Hub)] {
        assert_eq!(*arrived(&one(&text, &Question::new(from, to))), place);
    }
}

#[test]
fn an_exit_of_the_hubs_own() {
    let text = full().replace(
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nengine = \"userspace\"\nexit = \"packet\"",
    );
    let text = text.replace(
        "[hub.guard]",
        "[hub.packet]\ninterface = \"out0\"\naddresses = [\"10.0.123.2/24\", \"2001:db8::2/64\"]\ngateway = \"10.0.123.1\"\n\n[hub.guard]",
    );
    let question = Question {
        reply: true,
        ..Question::new("alice", "web")
    };
    let traces = ask(&text, &question);
    assert_eq!(
        (arrived(&traces[0]), arrived(&traces[1])),
        (&host("server"), &member("alice"))
    );
    let text = text.replacen("[member.alice]", "[member.alice]\nroute = \"all\"", 1);
    let trace = one(&text, &Question::new("alice", "8.8.8.8"));
    let via = Step::Route {
        interface: Some("eth0".into()),
        via: Some("10.0.123.1".parse().unwrap()),
    };
    assert!(trace.stations.iter().any(|station| station.step == via), "{trace:?}");
}
