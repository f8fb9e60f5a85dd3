//! `[hub]`

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::{Endpoint, Engine, Exit, GuardConfig, Hub, Transit};
use crate::diagnostic::Sink;
use crate::keys::{GUARD, HUB};
use crate::schema::{Section, Top};

use super::{exit, scalar};

/// Reads `[hub]`; what is missing or wrong is noted and stands as a default that nobody will use.
pub fn read(top: &Top<'_>, sink: &mut Sink) -> Hub {
    let mut hub = Hub {
        interface: String::new(),
        endpoint: Endpoint {
            host: String::new(),
            port: 0,
        },
        addresses: Vec::new(),
        uplink: String::new(),
        listen_port: 51820,
        mtu: 1420,
        dns: Vec::new(),
        lab: Vec::new(),
        source: Vec::new(),
        masquerade: true,
        transit: Transit::Auto,
        guard: GuardConfig {
            enabled: true,
            uplink: false,
            sources: 65536,
        },
        engine: Engine::Auto,
        exit: Exit::Proxy,
        control_port: 51821,
    };
    let mut values = top.values("hub");
    let Some(value) = values.next() else {
        sink.error(
            0..0,
            "[hub] is missing",
            "`fielato init` writes a commented file to begin with",
        );
        return hub;
    };
    for again in values {
        let message = format!("[hub] stands in {} already", top.texts.line_in_words(value.span().start));
        sink.error(again.span(), message, "there is one hub: take one of them out");
    }
    let Some(table) = value.get_ref().as_table() else {
        sink.error(value.span(), "hub is not a table", "write [hub]");
        return hub;
    };
    let section = Section::new("hub".to_owned(), value.span(), table, HUB, sink);
    interfaces(&section, &mut hub, sink);
    if let Some(text) = section.required_text("endpoint", "\"HOST:PORT\"", sink)
        && let Some(endpoint) = scalar::endpoint("hub", text, sink)
    {
        hub.endpoint = endpoint;
    }
    hub.addresses = addresses(&section, sink);
    hub.listen_port = section
        .number("listen_port", 1..=65535, sink)
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(hub.listen_port);
    hub.control_port = section
        .number("control_port", 1..=65535, sink)
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(hub.control_port);
    mtu(&section, &mut hub, sink);
    for text in section.texts("dns", false, "a list of addresses", sink) {
        hub.dns.extend(scalar::address("hub: dns", text, sink));
    }
    for text in section.texts("lab", false, "a list of networks", sink) {
        hub.lab.extend(scalar::network("hub: lab", text, sink));
    }
    hub.masquerade = section.flag("masquerade", hub.masquerade, sink);
    transit(&section, &mut hub, sink);
    guard(&section, &mut hub.guard, sink);
    engine(&section, &mut hub, sink);
    hub.exit = exit::read(&section, &hub, sink);
    source(&section, &mut hub, sink);
    hub
}

fn interfaces(section: &Section<'_>, hub: &mut Hub, sink: &mut Sink) {
    if let Some(text) = section.required_text("interface", "\"wg0\"", sink)
        && let Some(name) = scalar::interface("hub", text, sink)
    {
        hub.interface = name.to_owned();
    }
    let Some(text) = section.required_text("uplink", "the interface towards the protected hosts, such as \"eth0\"", sink) else {
        return;
    };
    let span = text.1.clone();
    let Some(name) = scalar::interface("hub", text, sink) else {
        return;
    };
    hub.uplink = name.to_owned();
    if hub.uplink == hub.interface {
        sink.error(
            span,
            format!("hub: uplink is the WireGuard interface {name} itself"),
            "name the interface towards the protected hosts",
        );
    }
}

/// The hub's overlay addresses: usable host addresses in networks that do not overlap.
fn addresses(section: &Section<'_>, sink: &mut Sink) -> Vec<IpNet> {
    let right = "[\"192.168.4.1/24\", \"fd00:4::1/64\"]";
    let texts = section.texts("addresses", false, right, sink);
    if texts.is_empty() {
        section.missing("addresses", &format!("add addresses = {right}"), sink);
    }
    let mut found: Vec<IpNet> = Vec::new();
    for text in texts {
        let span = text.1.clone();
        let Some(net) = scalar::interface_address("hub", text, sink) else {
            continue;
        };
        let address = net.addr();
        if address.is_multicast() || address.is_unspecified() || address.is_loopback() {
            sink.error(
                span,
                format!("hub: {address} cannot be a machine's address"),
                "use a private network, such as 192.168.4.1/24 or fd00:4::1/64",
            );
        } else if net.prefix_len() == 0 || net.prefix_len() >= net.max_prefix_len() - 1 {
            let right = if address.is_ipv4() { "1 to 30" } else { "1 to 126" };
            sink.error(
                span,
                format!(
                    "hub: an overlay of /{} has no room for members beside the hub",
                    net.prefix_len()
                ),
                format!("use a prefix length of {right}"),
            );
        } else if let Some(special) = special(&net, address) {
            sink.error(
                span,
                format!("hub: {address} is the overlay's {special} address"),
                format!("use {}/{}", first(&net), net.prefix_len()),
            );
        } else if let Some(other) = found
            .iter()
            .find(|other| other.contains(&net.trunc()) || net.contains(&other.trunc()))
        {
            sink.error(
                span,
                format!("hub: the overlay {} overlaps {}", net.trunc(), other.trunc()),
                "use networks that share no address",
            );
        } else {
            found.push(net);
        }
    }
    found
}

fn first(net: &IpNet) -> IpAddr {
    net.hosts().find(|host| *host != net.network()).unwrap_or_else(|| net.addr())
}

/// What makes an address of `net` no machine's own: RFC 919 for broadcast, RFC 4291 section 2.6.1 for the
/// subnet-router anycast address.
pub fn special(net: &IpNet, address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(_) if address == net.network() => Some("network"),
        IpAddr::V4(_) if address == net.broadcast() => Some("broadcast"),
        IpAddr::V6(_) if address == net.network() => Some("anycast"),
        _ => None,
    }
}

fn mtu(section: &Section<'_>, hub: &mut Hub, sink: &mut Sink) {
    let Some(mtu) = section.number("mtu", 576..=65535, sink) else {
        return;
    };
    hub.mtu = mtu;
    // RFC 8200 section 5: every link carries 1280 bytes.
    if mtu < 1280 && hub.addresses.iter().any(|net| net.addr().is_ipv6()) {
        sink.error(
            section.span_of("mtu"),
            format!("hub: mtu {mtu} is too small for the IPv6 overlay"),
            "use 1280 or more",
        );
    }
}

fn source(section: &Section<'_>, hub: &mut Hub, sink: &mut Sink) {
    let texts = section.texts("source", true, "an address or a list of addresses", sink);
    for text in texts {
        let span = text.1.clone();
        let Some(address) = scalar::address("hub: source", text, sink) else {
            continue;
        };
        if hub.addresses.iter().any(|net| net.contains(&address)) {
            sink.error(
                span,
                format!("hub: source {address} is inside the overlay"),
                "write the hub's address as the protected hosts see it, on the uplink",
            );
        } else {
            hub.source.push(address);
        }
    }
    if section.value("source").is_none() {
        hub.source = own_sources(hub);
    }
}

/// The addresses that packets leave with, as far as the file tells: both ways' where it doesn't tell the engine.
fn own_sources(hub: &Hub) -> Vec<IpAddr> {
    let endpoint = hub.endpoint.host.parse::<IpAddr>().ok();
    match (hub.engine, &hub.exit) {
        (Engine::Kernel, _) | (_, Exit::Proxy) => endpoint.into_iter().collect(),
        (engine, Exit::Packet(packet)) => {
            let endpoint = endpoint.filter(|_| engine == Engine::Auto);
            let packet = packet.addresses.iter().map(|net| net.addr());
            endpoint.into_iter().chain(packet).collect()
        }
    }
}

fn transit(section: &Section<'_>, hub: &mut Hub, sink: &mut Sink) {
    let right = "\"auto\", \"drop\" or \"leave\"";
    let Some((word, span)) = section.text("transit", right, sink) else {
        return;
    };
    hub.transit = match word {
        "auto" => Transit::Auto,
        "drop" => Transit::Drop,
        "leave" => Transit::Leave,
        _ => return sink.error(span, format!("hub: unknown transit \"{word}\""), format!("write {right}")),
    };
}

fn engine(section: &Section<'_>, hub: &mut Hub, sink: &mut Sink) {
    let right = "\"auto\", \"kernel\" or \"userspace\"";
    let Some((word, span)) = section.text("engine", right, sink) else {
        return;
    };
    hub.engine = match word {
        "auto" => Engine::Auto,
        "kernel" => Engine::Kernel,
        "userspace" => Engine::Userspace,
        _ => return sink.error(span, format!("hub: unknown engine \"{word}\""), format!("write {right}")),
    };
}

fn guard(section: &Section<'_>, guard: &mut GuardConfig, sink: &mut Sink) {
    let Some(section) = section.subtable("guard", GUARD, sink) else {
        return;
    };
    guard.enabled = section.flag("enabled", guard.enabled, sink);
    guard.uplink = section.flag("uplink", guard.uplink, sink);
    guard.sources = section.number("sources", 1..=4_194_304, sink).unwrap_or(guard.sources);
}
