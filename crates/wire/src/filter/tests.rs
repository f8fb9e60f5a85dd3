use std::net::IpAddr;

use super::*;
use crate::build::{self, Ip};

fn packets() -> Vec<(&'static str, Vec<u8>)> {
    let v6 = |last: u16| [0x2001, 0xdb8, 0, 0, 0, 0, 0, last];
    vec![
        ("dns4", Ip::v4([10, 0, 0, 1], [10, 0, 1, 2]).udp(4000, 53, b"x")),
        ("dns4-back", Ip::v4([10, 0, 1, 2], [10, 0, 0, 1]).udp(53, 4000, b"x")),
        (
            "web4",
            Ip::v4([10, 0, 0, 1], [192, 0, 2, 1]).tcp(&build::Tcp {
                sport: 5000,
                dport: 80,
                ..build::Tcp::default()
            }),
        ),
        ("ping4", Ip::v4([10, 0, 0, 1], [10, 0, 1, 2]).echo_request(1, 1, b"")),
        ("dns6", Ip::v6(v6(1), v6(2)).udp(4000, 53, b"x")),
        ("ping6", Ip::v6(v6(1), v6(2)).echo_request(1, 1, b"")),
    ]
}

fn places(kind: NameKind, name: &str) -> Option<Vec<Place>> {
    let place = |address: &str, len, ports| Place {
        network: Network::new(address.parse::<IpAddr>().unwrap(), len),
        ports,
    };
    match (kind, name) {
        (NameKind::Member, "alice") => Some(vec![place("10.0.0.1", 32, None), place("2001:db8::1", 128, None)]),
        (NameKind::Member, "nowhere") => Some(Vec::new()),
        (NameKind::Service, "dns") => Some(vec![
            place("10.0.1.2", 32, Some((number::UDP, 53, 53))),
            place("2001:db8::2", 128, Some((number::UDP, 53, 53))),
        ]),
        _ => None,
    }
}

fn wanted(text: &str) -> Vec<&'static str> {
    let filter = Words::parse(text).unwrap().resolve(&places).unwrap();
    let lists = filter.alternatives(64).unwrap();
    let mut names = Vec::new();
    for (name, packet) in packets() {
        let headers = Headers::parse(&packet).unwrap();
        let wants = filter.matches(&headers);
        if wants {
            names.push(name);
            let passes = |list: &Vec<Literal>| list.iter().all(|literal| literal.matches(&headers));
            assert!(lists.iter().any(passes), "{text}: the lists {lists:?} lose {name}");
        }
    }
    names
}

#[test]
fn chooses_as_tcpdump_does() {
    for (text, names) in [
        ("", &["dns4", "dns4-back", "web4", "ping4", "dns6", "ping6"][..]),
        ("host 10.0.0.1", &["dns4", "dns4-back", "web4", "ping4"]),
        ("src host 10.0.1.2", &["dns4-back"]),
        ("dst 10.0.1.2", &["dns4", "ping4"]),
        ("net 10.0.1.0/24", &["dns4", "dns4-back", "ping4"]),
        ("dst net 2001:db8::/32", &["dns6", "ping6"]),
        ("port 53", &["dns4", "dns4-back", "dns6"]),
        ("dst port 50-60", &["dns4", "dns6"]),
        ("portrange 50-60 and src port 53", &["dns4-back"]),
        ("tcp dst port 80", &["web4"]),
        ("udp port 80", &[]),
        ("icmp or icmp6", &["ping4", "ping6"]),
        ("proto 58", &["ping6"]),
        ("ip6 && ! icmp6", &["dns6"]),
        ("not ip", &["dns6", "ping6"]),
        ("not port 53", &["web4", "ping4", "ping6"]),
        ("not net 10.0.1.0/24", &["web4", "dns6", "ping6"]),
        // An ICMP echo request begins with the bytes 8 and 0; these are no port.
        ("src port 2048", &[]),
        ("not src port 2048 and icmp", &["ping4"]),
        // From left to right: (icmp or udp) and ip6.
        ("icmp or udp and ip6", &["dns6"]),
        ("icmp or (udp and ip6)", &["ping4", "dns6"]),
        ("not(icmp||udp)&& ip", &["web4"]),
        ("member alice", &["dns4", "dns4-back", "web4", "ping4", "dns6", "ping6"]),
        ("dst member alice", &["dns4-back"]),
        ("service dns", &["dns4", "dns4-back", "dns6"]),
        ("dst service dns and not ip", &["dns6"]),
        ("member nowhere", &[]),
    ] {
        assert_eq!(wanted(text), names, "{text}");
    }
}

#[test]
fn says_where_it_is_wrong() {
    for (text, at, found, message) in [
        ("hots 10.0.0.1", 1, "hots", "expected host, net, port, src"),
        ("host", 5, "", "expected an address"),
        (
            "host 10.0.0.0/24",
            6,
            "10.0.0.0/24",
            "expected a single address; for a network",
        ),
        ("net 10.0.0.1/24", 5, "10.0.0.1/24", "bits beyond the prefix"),
        ("net 10.0.0.0/33", 5, "10.0.0.0/33", "expected a network"),
        ("port 70000", 6, "70000", "expected a port's number"),
        ("port 20-10", 6, "20-10", "the lower first"),
        ("tcp src host 10.0.0.1", 9, "host", "expected port, after"),
        ("src tcp", 5, "tcp", "expected host, net, port, member"),
        ("tcp udp", 5, "udp", "expected `and`, `or` or the end"),
        ("(tcp or udp", 12, "", "or `)`"),
        ("ä and tcp", 1, "ä", "expected host"),
        ("tcp and ää", 9, "ää", "expected host"),
        ("tcp or", 7, "", "expected host"),
        ("member and tcp", 8, "and", "expected a name"),
        ("proto 256", 7, "256", "0 to 255"),
    ] {
        let error = Words::parse(text).unwrap_err();
        assert_eq!((error.at, error.found.as_str()), (at, found), "{text}: {error}");
        assert!(error.to_string().contains(message), "{text}: {error}");
    }
    let unknown = Words::parse("service dns and member bob")
        .unwrap()
        .resolve(&places)
        .unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "the filter names the member \"bob\", and there is none of that name"
    );
}

#[test]
fn is_bounded() {
    for text in [
        "(".repeat(4000),
        "not ".repeat(1000),
        ["tcp"; 300].join(" or "),
        "x".repeat(5000),
        format!("{}tcp{}", "(".repeat(40), ")".repeat(40)),
    ] {
        let error = Words::parse(&text).unwrap_err();
        assert_eq!(error.problem, Problem::TooLarge, "{error}");
    }
    let many = Words::parse(&["(tcp or udp)"; 7].join(" and ")).unwrap();
    let many = many.resolve(&places).unwrap();
    assert_eq!(many.alternatives(127), None);
    assert_eq!(many.alternatives(128).map(|lists| lists.len()), Some(128));
}

#[test]
fn any_words_are_an_error_or_a_filter() {
    let words = [
        "host", "net", "port", "src", "dst", "tcp", "udp", "icmp", "ip6", "and", "or", "not", "(", ")", "10.0.0.1", "::/0", "53",
        "1-9", "member", "alice", "service", "dns", "proto", "ä",
    ];
    let mut rng = fastrand::Rng::with_seed(3);
    let mut filters = 0;
    for _ in 0..20_000 {
        let text: Vec<&str> = (0..rng.usize(..9)).map(|_| words[rng.usize(..words.len())]).collect();
        let text = text.join(" ");
        match Words::parse(&text) {
            Ok(parsed) if parsed.resolve(&places).is_ok() => {
                wanted(&text);
                filters += 1;
            }
            Ok(_) => {}
            Err(error) => assert!(error.at <= text.chars().count() + 1, "{text}: {error}"),
        }
    }
    assert!(filters > 300, "{filters}");
}
