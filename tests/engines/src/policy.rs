//! Random policies: texts of `fielato.toml` that `fielato check` takes, out of everything that the file can say about packets.

mod more;
mod people;
mod published;
mod rules;
mod shapes;

use std::fmt::Write as _;

use fielato_oracle::random::Random;
use ipnet::IpNet;

use crate::network::UPLINK;
use crate::scene::Beside;

/// How large a policy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Small,
    Usual,
    Large,
}

/// What the parts of a file are made from.
struct Draft {
    size: Size,
    /// Chooses what is said only in policies that are asked about; nothing in others, whose seeds keep their meaning.
    more: Option<Random>,
    /// The hub's overlay addresses.
    overlay: Vec<IpNet>,
    members: Vec<Member>,
    groups: Vec<&'static str>,
    hosts: Vec<Host>,
    services: Vec<String>,
}

struct Member {
    name: String,
    addresses: Vec<std::net::IpAddr>,
}

struct Host {
    name: String,
    addresses: Vec<std::net::IpAddr>,
}

/// The policy of `seed`, for packets of all kinds.
pub fn generate(seed: u64) -> String {
    write(seed, None).0
}

/// The policy of `seed` that questions are asked about, and what was granted and used up beside it: more services, with ranges that
/// overlap, more protected hosts, members' routes, quotas, hours, rules in iptables' words; no classes, which no question is about.
pub fn asked_about(seed: u64) -> (String, Beside) {
    write(seed, Some(Random::new(seed ^ 0xa54e_d000_0000)))
}

fn write(seed: u64, more: Option<Random>) -> (String, Beside) {
    let random = &mut Random::new(seed);
    let size = [Size::Small, Size::Usual, Size::Large][random.weighted(&[50, 44, 6])];
    let mut text = String::new();
    let overlay = hub(random, &mut text);
    let mut draft = Draft {
        size,
        more,
        overlay,
        members: Vec::new(),
        groups: Vec::new(),
        hosts: Vec::new(),
        services: Vec::new(),
    };
    people::members(random, &mut draft, &mut text);
    people::hosts(random, &mut draft, &mut text);
    people::groups(random, &mut draft, &mut text);
    people::services(random, &mut draft, &mut text);
    let mut more = draft.more.take();
    if let Some(more) = &mut more {
        more::services(more, &mut draft, &mut text);
        more::rules(more, &draft, &mut text);
    }
    rules::rules(random, &draft, more.as_mut(), &mut text);
    published::published(random, &draft, &mut text);
    match &mut more {
        Some(more) => {
            if more.chance(40) {
                bans(random, &draft, &mut text);
            }
            more::raw(more, &draft, &mut text);
            let beside = more::beside(more, &draft);
            (text, beside)
        }
        None => {
            shapes::shapes(random, &draft, &mut text);
            bans(random, &draft, &mut text);
            (text, Beside::default())
        }
    }
}

/// `[hub]`; returns the overlay addresses.
fn hub(random: &mut Random, text: &mut String) -> Vec<IpNet> {
    const V4: [&str; 6] = [
        "192.168.4.1/24",
        "10.8.0.1/24",
        "172.16.0.1/20",
        "100.64.3.7/16",
        "10.9.1.17/28",
        "192.168.4.254/25",
    ];
    const V6: [&str; 4] = [
        "fd00:4::1/64",
        "fd12:3456:789a:1::1/64",
        "fd00:9::ff/112",
        "2001:db8:77::5/48",
    ];
    let mut overlay = Vec::new();
    let families = random.weighted(&[75, 15, 10]);
    if families != 2 {
        overlay.push(*random.pick(&V4));
    }
    if families != 1 {
        overlay.push(*random.pick(&V6));
    }
    let quoted: Vec<String> = overlay.iter().map(|address| format!("\"{address}\"")).collect();
    let sources: Vec<String> = UPLINK
        .iter()
        .map(|net| format!("\"{}\"", net.split('/').next().unwrap_or_default()))
        .collect();
    let _ = write!(
        text,
        "[hub]\ninterface = \"wg0\"\nendpoint = \"vpn.example.org:51820\"\naddresses = [{}]\nuplink = \"eth0\"\nsource = [{}]\n",
        quoted.join(", "),
        sources.join(", ")
    );
    // An IPv6 overlay needs 1280.
    let _ = writeln!(text, "mtu = {}", random.pick(&[1420, 1420, 1420, 1280, 1412, 1500, 9000]));
    let _ = writeln!(text, "masquerade = {}", random.chance(75));
    if random.chance(60) {
        let _ = writeln!(text, "transit = \"{}\"", random.pick(&["auto", "drop", "leave"]));
    }
    if random.chance(60) {
        text.push_str("lab = [\"10.99.0.0/16\", \"2001:db8:99::/48\"]\n");
    }
    // A small table, so that making it costs little; what it counts is no verdict.
    let (enabled, uplink) = (random.chance(88), random.chance(25));
    let _ = write!(text, "\n[hub.guard]\nenabled = {enabled}\nuplink = {uplink}\nsources = 64\n");
    overlay.iter().filter_map(|text| text.parse().ok()).collect()
}

fn bans(random: &mut Random, draft: &Draft, text: &mut String) {
    for index in 0..random.weighted(&[45, 25, 15, 10, 5]) {
        // No network is banned twice.
        let net = loop {
            let net = rules::prefix(random, draft);
            // Everything banned would leave nothing to compare.
            if net.prefix_len() >= 8 {
                break net;
            }
        };
        if text.contains(&format!("[[ban]]\naddress = \"{net}\"")) {
            continue;
        }
        let _ = write!(text, "\n[[ban]]\naddress = \"{net}\"\n");
        match random.below(6) {
            0 => text.push_str("until = 2020-01-01T00:00:00Z\n"),
            1 => {
                let _ = writeln!(text, "until = {}-01-31T18:00:00+01:00", 2090 + index);
            }
            _ => {}
        }
    }
}

/// `"a"` or `["a", "b"]`.
fn list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.as_slice() {
        [one] => one.clone(),
        all => format!("[{}]", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use fielato_policy::Config;

    use super::*;

    #[test]
    fn policies_are_accepted() {
        for seed in 0..2_000 {
            let text = generate(seed);
            if let Err(diagnostics) = Config::parse(&text) {
                panic!("policy {seed}: {diagnostics:?}\n{text}");
            }
        }
    }

    #[test]
    fn policies_to_ask_about_are_accepted() {
        for seed in 0..2_000 {
            let (text, _) = asked_about(seed);
            if let Err(diagnostics) = Config::parse(&text) {
                panic!("policy {seed}: {diagnostics:?}\n{text}");
            }
        }
    }

    #[test]
    fn what_is_asked_about_is_said() {
        let all: String = (0..200).map(|seed| asked_about(seed).0).collect();
        for word in [
            "quota = ",
            "route = ",
            "[raw]",
            "agent = true",
            "sat,sun",
            "tcp/50-100",
            "zone = \"Europe/Madrid\"",
        ] {
            assert!(all.contains(word), "no policy says {word}");
        }
        assert!((0..200).any(|seed| !asked_about(seed).1.grants.is_empty()));
        assert!((0..200).any(|seed| !asked_about(seed).1.over_quota.is_empty()));
    }

    #[test]
    fn everything_is_said() {
        let all: String = (0..200).map(generate).collect();
        for word in [
            "strategy = \"source\"",
            "strategy = \"member\"",
            "action = \"reject\"",
            "action = \"drop\"",
            "\"hub\"",
            "\"internet\"",
            "\"any\"",
            "\"members\"",
            "disabled = true",
            "expires = ",
            "masquerade = false",
            "transit = \"leave\"",
            "htb",
            "[[ban]]",
            "udp/",
            "tcp/",
            "uplink = true",
            "[group.",
            "[[nat.publish]]",
            "action = \"allow\"",
            "action = \"deny\"",
            "action = \"log\"",
            "action = \"limit\"",
            "sctp/",
            "when = ",
            "until = 2020",
        ] {
            assert!(all.contains(word), "no policy says {word}");
        }
    }
}
