//! Single values: addresses, networks, ports, times, names.

use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;
use jiff::Timestamp;
use toml::de::DeValue;

use crate::config::{Endpoint, PortSpec, Protocol};
use crate::diagnostic::Sink;
use crate::schema::{Section, Text};

use super::names::RESERVED;

pub fn address(what: &str, (text, span): Text<'_>, sink: &mut Sink) -> Option<IpAddr> {
    match text.parse::<IpAddr>() {
        Ok(address) => unmapped(what, address, span, sink),
        Err(_) => {
            let help = if text.parse::<IpNet>().is_ok() {
                "leave out the prefix length".to_owned()
            } else {
                "write an IPv4 or IPv6 address, such as 192.168.4.2 or fd00:4::2".to_owned()
            };
            sink.error(span, format!("{what}: \"{text}\" is not an address"), help);
            None
        }
    }
}

/// ::ffff:0:0/96 is how sockets show IPv4; on the wire there is no such packet, so nothing would ever match.
fn unmapped(what: &str, address: IpAddr, span: Range<usize>, sink: &mut Sink) -> Option<IpAddr> {
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        sink.error(
            span,
            format!("{what}: {v6} is an IPv4 address in IPv6 dress"),
            format!("write {v4}"),
        );
        return None;
    }
    Some(address)
}

/// An address with its network's prefix length: `192.168.4.1/24`.
pub fn interface_address(what: &str, (text, span): Text<'_>, sink: &mut Sink) -> Option<IpNet> {
    match text.parse::<IpNet>() {
        Ok(net) => unmapped(what, net.addr(), span, sink).map(|_| net),
        Err(_) => {
            let help = match text.parse::<IpAddr>() {
                Ok(IpAddr::V4(v4)) => format!("add the network's prefix length: {v4}/24"),
                Ok(IpAddr::V6(v6)) => format!("add the network's prefix length: {v6}/64"),
                Err(_) => "write ADDRESS/LENGTH, such as 192.168.4.1/24 or fd00:4::1/64".to_owned(),
            };
            sink.error(
                span,
                format!("{what}: \"{text}\" is not an address with a prefix length"),
                help,
            );
            None
        }
    }
}

/// An address or a network without host bits.
pub fn network(what: &str, (text, span): Text<'_>, sink: &mut Sink) -> Option<IpNet> {
    let Some(net) = parse_network(text) else {
        let help = "write an address or a network, such as 203.0.113.7, 10.0.0.0/8 or 2001:db8::/32";
        sink.error(span, format!("{what}: \"{text}\" is not an address or a network"), help);
        return None;
    };
    unmapped(what, net.addr(), span.clone(), sink)?;
    if net.trunc() != net {
        let help = format!("write {} for the network, or {} for the one address", net.trunc(), net.addr());
        sink.error(span, format!("{what}: {text} has bits beyond its prefix length"), help);
        return None;
    }
    Some(net)
}

pub fn parse_network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// `tcp/1234` or `udp/5000-5010`.
pub fn ports(what: &str, (text, span): Text<'_>, sink: &mut Sink) -> Option<PortSpec> {
    let right = "write tcp/1234 or udp/5000-5010";
    let mut refuse = |problem: String| {
        sink.error(span.clone(), format!("{what}: {problem}"), right);
        None
    };
    let Some((protocol, range)) = text.split_once('/') else {
        return refuse(format!("\"{text}\" has no protocol"));
    };
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return refuse(format!("unknown protocol \"{protocol}\"")),
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let port = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| *port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let (Some(first), Some(last)) = (port(first), port(last)) else {
        return refuse(format!("\"{range}\" is not a port from 1 to 65535, nor a range of them"));
    };
    if first > last {
        return refuse(format!("the range {first}-{last} runs backwards"));
    }
    Some(PortSpec { protocol, first, last })
}

/// A TOML date and time with offset, or the same as a string.
pub fn time(section: &Section<'_>, key: &str, sink: &mut Sink) -> Option<Timestamp> {
    let value = section.value(key)?;
    let right = "a date and time with offset, such as 2027-01-31T18:00:00Z or 2027-01-31T18:00:00+01:00";
    let text = match value.get_ref() {
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::String(text) => text.to_string(),
        _ => {
            section.wrong_type(key, value, right, sink);
            return None;
        }
    };
    match text.parse() {
        Ok(time) => Some(time),
        Err(_) => {
            sink.error(
                value.span(),
                format!("{}: {key} is not a moment in time: {text}", section.what),
                format!("write {right}"),
            );
            None
        }
    }
}

/// `HOST:PORT`, an IPv6 address in brackets.
pub fn endpoint(what: &str, (text, span): Text<'_>, sink: &mut Sink) -> Option<Endpoint> {
    match parse_endpoint(text) {
        Ok(endpoint) => Some(endpoint),
        Err(problem) => {
            let help = "write HOST:PORT, such as vpn.example.org:51820, 203.0.113.7:51820 or [2001:db8::7]:51820";
            sink.error(span, format!("{what}: endpoint \"{text}\" {problem}"), help);
            None
        }
    }
}

fn parse_endpoint(text: &str) -> Result<Endpoint, &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once("]:").ok_or("lacks a port")?;
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| "has brackets around something other than an IPv6 address")?;
            (host, port)
        }
        None => {
            let (host, port) = text.rsplit_once(':').ok_or("lacks a port")?;
            if host.contains(':') {
                return Err("is an IPv6 address without brackets");
            }
            (host, port)
        }
    };
    let port = port
        .parse()
        .ok()
        .filter(|port: &u16| *port > 0)
        .ok_or("has a port that is none from 1 to 65535")?;
    if host.parse::<IpAddr>().is_err() && !is_host_name(host) {
        return Err("has a host that is neither an address nor a name");
    }
    Ok(Endpoint {
        host: host.to_owned(),
        port,
    })
}

/// RFC 1123 section 2.1: letters, digits, hyphens; a last label of digits alone would be a mistyped address.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let numeric = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 253 && text.split('.').all(label) && !text.rsplit('.').next().is_some_and(numeric)
}

/// An interface's name. The kernel's limit is IFNAMSIZ - 1 = 15 bytes; the characters are wg-quick's, less `+`,
/// which iptables reads as a wildcard.
pub fn interface<'a>(what: &str, (text, span): Text<'a>, sink: &mut Sink) -> Option<&'a str> {
    let problem = if text.is_empty() {
        "is empty"
    } else if text.len() > 15 {
        "is longer than 15 bytes"
    } else if !text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_.=-".contains(&byte))
        || text.starts_with(['.', '-'])
    {
        "has characters that an interface cannot have"
    } else if text == "lo" {
        "is the loopback interface"
    } else {
        return Some(text);
    };
    let help = "use up to 15 letters, digits, or _ = . - (not first)";
    sink.error(span, format!("{what}: interface \"{text}\" {problem}"), help);
    None
}

/// Notes a name that cannot be one. `kind` is `member`, `group`, …
pub fn check_name(kind: &str, (text, span): Text<'_>, sink: &mut Sink) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let letters = "use 1 to 63 letters, digits, or _ . - (not first . or -)";
    let (problem, help) = if RESERVED.contains(&text) {
        ("is a word of the rules", "choose another name")
    } else if text.is_empty() || text.len() > 63 {
        ("is not 1 to 63 characters long", letters)
    } else if !text.bytes().all(allowed) || text.starts_with(['.', '-']) {
        ("has characters that a name cannot have", letters)
    } else if text.parse::<IpAddr>().is_ok() {
        ("is an address", "choose a name that rules cannot take for an address")
    } else {
        return;
    };
    sink.error(span, format!("{kind} name \"{}\" {problem}", text.escape_debug()), help);
}
