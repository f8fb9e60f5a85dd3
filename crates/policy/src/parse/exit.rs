//! `exit` in `[hub]`, and `[hub.packet]`.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::{Exit, Hub, PacketExit};
use crate::diagnostic::Sink;
use crate::keys::PACKET;
use crate::schema::Section;

use super::scalar;

/// Reads the way out. A `[hub.packet]` that is not taken is checked all the same: it stands ready.
pub fn read(section: &Section<'_>, hub: &Hub, sink: &mut Sink) -> Exit {
    let right = "\"proxy\" or \"packet\"";
    let packet = section
        .subtable("packet", PACKET, sink)
        .map(|table| packet(&table, hub, sink));
    match section.text("exit", right, sink) {
        Some(("packet", span)) => match packet {
            Some(packet) => return Exit::Packet(packet),
            None if section.value("packet").is_none() => sink.error(
                span,
                "hub: exit = \"packet\" needs an interface of its own",
                "add [hub.packet] with interface, addresses and gateway",
            ),
            None => {}
        },
        Some(("proxy", _)) | None => {}
        Some((word, span)) => sink.error(span, format!("hub: unknown exit \"{word}\""), format!("write {right}")),
    }
    Exit::Proxy
}

fn packet(section: &Section<'_>, hub: &Hub, sink: &mut Sink) -> PacketExit {
    let addresses = addresses(section, hub, sink);
    PacketExit {
        interface: interface(section, hub, sink),
        gateways: gateways(section, &addresses, sink),
        addresses,
    }
}

fn interface(section: &Section<'_>, hub: &Hub, sink: &mut Sink) -> String {
    let what = &section.what;
    let Some(text) = section.required_text("interface", "an interface that nobody else uses, such as \"eth1\"", sink) else {
        return String::new();
    };
    let span = text.1.clone();
    let Some(name) = scalar::interface(what, text, sink) else {
        return String::new();
    };
    let taken = match name {
        name if name == hub.interface => Some("the WireGuard interface itself"),
        name if name == hub.uplink => Some("the uplink, which the machine's own kernel uses"),
        _ => None,
    };
    if let Some(taken) = taken {
        sink.error(
            span,
            format!("{what}: {name} is {taken}"),
            "give the hub an interface of its own: a second card, or `ip link add link eth0 name out0 type macvlan mode bridge`",
        );
    }
    name.to_owned()
}

fn addresses(section: &Section<'_>, hub: &Hub, sink: &mut Sink) -> Vec<IpNet> {
    let right = "[\"10.0.123.9/24\", \"2001:db8::9/64\"]";
    let what = &section.what;
    let texts = section.texts("addresses", false, right, sink);
    if texts.is_empty() {
        section.missing("addresses", &format!("add addresses = {right}"), sink);
    }
    let mut found: Vec<IpNet> = Vec::new();
    for text in texts {
        let span = text.1.clone();
        let Some(net) = scalar::interface_address(what, text, sink) else {
            continue;
        };
        let address = net.addr();
        let overlaps = |other: &&IpNet| other.contains(&net.trunc()) || net.contains(&other.trunc());
        if address.is_multicast() || address.is_unspecified() || address.is_loopback() {
            let help = "write the address that the hub is to have on that interface";
            sink.error(span, format!("{what}: {address} cannot be a machine's address"), help);
        } else if let Some(overlay) = hub.addresses.iter().find(overlaps) {
            sink.error(
                span,
                format!("{what}: {net} overlaps the overlay {}", overlay.trunc()),
                "write the hub's address in the network on that interface",
            );
        } else if found.iter().any(|other| other.addr() == address) {
            sink.error(span, format!("{what}: {address} stands here twice"), "take one of them out");
        } else {
            found.push(net);
        }
    }
    found
}

/// Routers that can be reached without a router; one per family.
fn gateways(section: &Section<'_>, addresses: &[IpNet], sink: &mut Sink) -> Vec<IpAddr> {
    let what = &section.what;
    let mut found: Vec<IpAddr> = Vec::new();
    for text in section.texts("gateway", true, "an address or a list of addresses", sink) {
        let span = text.1.clone();
        let Some(gateway) = scalar::address(&format!("{what}: gateway"), text, sink) else {
            continue;
        };
        // RFC 4861 section 4.2: IPv6 routers are known by their link-local addresses.
        let is_local = matches!(gateway, IpAddr::V6(address) if address.is_unicast_link_local());
        if !is_local && !addresses.is_empty() && !addresses.iter().any(|net| net.contains(&gateway)) {
            sink.error(
                span,
                format!("{what}: gateway {gateway} is in none of the interface's networks"),
                "a router must be reachable there: mend it, or the prefix length in addresses",
            );
        } else if addresses.iter().any(|net| net.addr() == gateway) {
            let help = "write the router's address";
            sink.error(span, format!("{what}: gateway {gateway} is the hub's own address"), help);
        } else if found.iter().any(|other| other.is_ipv4() == gateway.is_ipv4()) {
            sink.error(
                span,
                format!("{what}: a second gateway of one family"),
                "write one per family",
            );
        } else {
            found.push(gateway);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::Config;
    use crate::config::{Engine, Exit};

    fn hub(more: &str) -> crate::config::Hub {
        let text = format!(
            "[hub]\ninterface = \"wg0\"\nendpoint = \"10.0.123.2:1\"\naddresses = [\"192.168.4.1/24\"]\nuplink = \"eth0\"\n{more}"
        );
        Config::parse(&text).unwrap_or_else(|error| panic!("{error}")).hub
    }

    #[test]
    fn a_file_without_the_keys_means_what_it_meant() {
        let hub = hub("");
        assert_eq!((hub.engine, hub.exit), (Engine::Auto, Exit::Proxy));
    }

    #[test]
    fn an_interface_of_its_own() {
        let table = "[hub.packet]\ninterface = \"eth1\"\naddresses = [\"10.0.9.1/24\", \"2001:db8::9/64\"]\ngateway = [\"10.0.9.254\", \"fe80::1\"]\n";
        let taken = hub(&format!("engine = \"userspace\"\nexit = \"packet\"\n{table}"));
        let Exit::Packet(packet) = taken.exit else {
            panic!("{:?}", taken.exit)
        };
        assert_eq!(packet.interface, "eth1");
        assert_eq!(packet.addresses.len(), 2);
        assert_eq!(
            packet.gateways,
            ["10.0.9.254", "fe80::1"].map(|text| text.parse::<std::net::IpAddr>().unwrap())
        );
        assert_eq!(hub(table).exit, Exit::Proxy, "it stands ready");
    }

    #[test]
    fn hosts_see_the_addresses_of_the_way_out() {
        let table = "[hub.packet]\ninterface = \"eth1\"\naddresses = [\"10.0.9.1/24\", \"2001:db8::9/64\"]\n";
        let (endpoint, packet) = ("10.0.123.2", ["10.0.9.1", "2001:db8::9"]);
        for (keys, sources) in [
            ("engine = \"userspace\"\n", vec![endpoint]),
            ("engine = \"userspace\"\nexit = \"packet\"\n", packet.to_vec()),
            ("engine = \"kernel\"\nexit = \"packet\"\n", vec![endpoint]),
            ("exit = \"packet\"\n", vec![endpoint, packet[0], packet[1]]),
            ("exit = \"packet\"\nsource = \"10.0.9.7\"\n", vec!["10.0.9.7"]),
        ] {
            let found: Vec<String> = hub(&format!("{keys}{table}"))
                .source
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, sources, "{keys}");
        }
    }
}
