//! Plans that would cut off who applies them, or hosts' agents.

mod common;

use fielato_policy::analyse::{About, Severity};
use fielato_policy::lockout::{Login, Logins, Session, Whose, lockout};
use fielato_policy::plan::PerFamily;
use fielato_policy::{Circumstances, Config, Plan};
use jiff::Timestamp;

use common::{A, B, NOW, config};

fn hub(rules: &str) -> String {
    format!(
        r#"[hub]
interface = "wg0"
endpoint = "vpn.example.org:51820"
addresses = ["192.168.4.1/24", "fd00:4::1/64"]
uplink = "eth0"
[hub.guard]
uplink = true
[member.alice]
addresses = ["192.168.4.2", "fd00:4::2"]
public_key = "{A}"
[member.box]
addresses = ["192.168.4.3"]
public_key = "{B}"
[host.box]
address = "10.0.123.5"
strategy = "member"
{rules}"#
    )
}

const TO_HUB: &str = "[[rule]]\nfrom = \"members\"\nto = \"hub\"\naction = \"accept\"\n";

fn compiled(text: &str) -> (Config, Plan) {
    let config = config(text);
    let now: Timestamp = NOW.parse().unwrap();
    let plan = Plan::compile(&config, &Circumstances::at(now, PerFamily::default()));
    (config, plan)
}

/// What a change would cut.
fn cut(old: Option<&str>, new: &str, sessions: &[Session]) -> Vec<String> {
    let found = told(old, new, sessions).into_iter();
    found
        .map(|(severity, message)| {
            assert_eq!(severity, Severity::Refused, "{message}");
            message
        })
        .collect()
}

fn told(old: Option<&str>, new: &str, sessions: &[Session]) -> Vec<(Severity, String)> {
    let old = old.map(compiled);
    let new = compiled(new);
    let old = old.as_ref().map(|(config, plan)| (config, plan));
    let found = lockout(old, (&new.0, &new.1), sessions, NOW.parse().unwrap()).unwrap();
    found.into_iter().map(|finding| (finding.severity, finding.message)).collect()
}

fn ssh(text: &str) -> Session {
    let Login { peer, hub } = Login::of_ssh(text).unwrap();
    Session {
        whose: Whose::Admin,
        peer,
        hub,
    }
}

#[test]
fn logins_as_sshd_words_them() {
    let session = ssh("203.0.113.7 50000 198.51.100.9 22");
    assert_eq!(session.whose, Whose::Admin);
    assert_eq!(
        (session.peer.to_string(), session.hub.to_string()),
        ("203.0.113.7".into(), "198.51.100.9:22".into())
    );
    let session = ssh("fe80::1%eth0 50000 fe80::2%eth0 2222");
    assert_eq!(
        (session.peer.to_string(), session.hub.to_string()),
        ("fe80::1".into(), "[fe80::2]:2222".into())
    );
    assert_eq!(ssh("::ffff:192.0.2.1 1 ::ffff:192.0.2.2 22").peer.to_string(), "192.0.2.1");
    for nothing in [
        "",
        "127.0.0.1 1 127.0.0.1 22",
        "::1 1 ::1 22",
        "10.0.0.1 1 10.0.0.1 22",
        "a b c d",
        "10.0.0.1 1 10.0.0.2 99999",
    ] {
        assert_eq!(Login::of_ssh(nothing), None, "{nothing}");
    }
}

#[test]
fn a_session_through_the_tunnel() {
    let (good, alice) = (hub(TO_HUB), "[member.alice]\n");
    for login in ["192.168.4.2 5000 192.168.4.1 22", "fd00:4::2 5000 fd00:4::1 22"] {
        let session = [ssh(login)];
        let peer = session[0].peer;
        let cases = [
            (good.clone(), None),
            (hub(""), Some("no rule".to_owned())),
            (
                hub(&["[[rule]]\nfrom = \"alice\"\nto = \"hub\"\naction = \"drop\"\n", TO_HUB].concat()),
                Some("[[rule]] 1, the file:17".to_owned()),
            ),
            (
                good.replace(alice, &format!("{alice}disabled = true\n")),
                Some("alice is disabled".to_owned()),
            ),
            (
                good.replace("192.168.4.1/24", "192.168.4.9/24")
                    .replace("fd00:4::1/64", "fd00:4::9/64"),
                Some(format!("{} would no longer be the hub's address", session[0].hub.ip())),
            ),
            (
                good.replace(A, "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM="),
                Some("the key of member alice changes".into()),
            ),
            (
                good.replace("uplink = \"eth0\"", "uplink = \"eth0\"\nlisten_port = 51821"),
                Some("the hub listens on port 51821 instead of 51820, and alice does not know".into()),
            ),
            (
                format!("{good}[[ban]]\naddress = \"{peer}\"\n"),
                Some(format!("{peer}/{} is banned", if peer.is_ipv4() { 32 } else { 128 })),
            ),
        ];
        for (new, why) in cases {
            let expected: Vec<String> = why
                .iter()
                .map(|why| format!("this would cut your own session, from {peer} to port 22: {why}"))
                .collect();
            assert_eq!(cut(Some(&good), &new, &session), expected);
        }
        let gone = good
            .replace("192.168.4.2", "192.168.4.22")
            .replace("fd00:4::2\"", "fd00:4::22\"");
        assert_eq!(cut(Some(&good), &gone, &session).len(), 1);
    }
}

#[test]
fn a_session_from_outside() {
    // By an address of the machine that the file does not know.
    let session = [ssh("203.0.113.7 5000 198.51.100.9 22")];
    assert_eq!(cut(None, &hub(""), &session), [""; 0]);
    assert_eq!(cut(Some(&hub(TO_HUB)), &hub(""), &session), [""; 0]);
    let banned = hub("[[ban]]\naddress = \"203.0.113.0/24\"\n");
    assert_eq!(
        cut(Some(&hub("")), &banned, &session),
        ["this would cut your own session, from 203.0.113.7 to port 22: 203.0.113.0/24 is banned"]
    );
    let six = [ssh("2001:db8:9::7 5000 2001:db8::9 22")];
    assert_eq!(cut(None, &hub(""), &six), [""; 0]);
}

#[test]
fn agents_of_hosts() {
    let good = hub("").replace("strategy = \"member\"", "strategy = \"member\"\nagent = true");
    let disabled = good.replace("[member.box]\n", "[member.box]\ndisabled = true\n");
    let config = config(&good);
    let agents = Session::of_agents(&config);
    assert_eq!(agents.len(), 1);
    let ends = (agents[0].peer.to_string(), agents[0].hub.to_string());
    assert_eq!(
        ends,
        ("192.168.4.3".into(), format!("192.168.4.1:{}", config.hub.control_port))
    );
    assert_eq!(cut(Some(&good), &good, &agents), [""; 0]);
    let port = config.hub.control_port;
    let why = |why: &str| format!("this would cut the agent of host box, from 192.168.4.3 to port {port}: {why}");
    assert_eq!(cut(Some(&good), &disabled, &agents), [why("box is disabled")]);
    let moved = good.replace("uplink = \"eth0\"", "uplink = \"eth0\"\ncontrol_port = 4000");
    assert_eq!(cut(Some(&good), &moved, &agents), [why("no rule")]);
    // What it could not do before is no news, and what is meant is no mistake.
    assert_eq!(cut(Some(&disabled), &disabled, &agents), [""; 0]);
    assert_eq!(cut(Some(&good), &hub(""), &agents), [""; 0]);
    let compiled = compiled(&disabled);
    let found = lockout(None, (&compiled.0, &compiled.1), &agents, NOW.parse().unwrap()).unwrap();
    assert_eq!(found[0].about, About::Host("box".into()));
}

/// Connections to sshd, as `Login::established` finds them.
fn found(texts: &[&str]) -> Vec<Login> {
    texts.iter().map(|text| Login::of_ssh(text).unwrap()).collect()
}

#[test]
fn who_else_is_logged_in() {
    const BOX: &str = "192.168.4.3 5000 192.168.4.1 22";
    let everybody = found(&[
        "192.168.4.2 5000 192.168.4.1 22",
        BOX,
        "fd00:4::2 5000 fd00:4::1 22",
        // From elsewhere than the VPN, which the rules don't judge.
        "203.0.113.7 5000 198.51.100.9 22",
    ]);
    let logins = |own: Option<&str>, admin: Option<&str>| Logins {
        own: own.map(|text| Login::of_ssh(text).unwrap()),
        admin: admin.map(|admin| admin.parse().unwrap()),
        found: everybody.clone(),
    };
    let (good, closed) = (hub(TO_HUB), hub(""));
    let told = |logins: &Logins| told(Some(&good), &closed, &logins.sessions(&compiled(&good).0));
    let refused = |who: &str| (Severity::Refused, format!("this would cut {who} to port 22: no rule"));
    let warned = |who: &str| (Severity::Warning, format!("this would cut {who} to port 22: no rule"));

    // sshd has told: the others are warned of.
    let (alice, alice6) = (
        "a login of member alice, from 192.168.4.2",
        "a login of member alice, from fd00:4::2",
    );
    assert_eq!(
        told(&logins(Some(BOX), None)),
        [refused("your own session, from 192.168.4.3"), warned(alice), warned(alice6)]
    );
    // Nobody has: each may be the one.
    let maybe = |member: &str, from: &str| refused(&format!("a login of member {member}, which may be yours, from {from}"));
    assert_eq!(
        told(&logins(None, None)),
        [
            maybe("alice", "192.168.4.2"),
            maybe("box", "192.168.4.3"),
            maybe("alice", "fd00:4::2")
        ]
    );
    // He says so himself; who is not logged in from there would be.
    let others = [warned(alice), warned("a login of member box, from 192.168.4.3")];
    assert_eq!(
        told(&logins(None, Some("fd00:4::2"))),
        [vec![refused("your own session, from fd00:4::2")], others.to_vec()].concat()
    );
    let mut nobody = logins(None, Some("192.168.4.3"));
    nobody.found.clear();
    assert_eq!(told(&nobody), [refused("your own session, from 192.168.4.3")]);
    // From outside: nothing of the VPN's can cut that.
    let outside = told(&logins(None, Some("203.0.113.7")));
    assert!(
        outside.iter().all(|(severity, _)| *severity == Severity::Warning),
        "{outside:?}"
    );
    assert_eq!(outside.len(), 3);
    // What is let in, is not told; nor is what was cut before, and does not know it yet.
    let sessions = logins(None, None).sessions(&compiled(&good).0);
    assert_eq!(cut(Some(&good), &good, &sessions), Vec::<String>::new());
    assert_eq!(cut(Some(&closed), &closed, &sessions), Vec::<String>::new());
}
