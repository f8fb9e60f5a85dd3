//! What names mean in a filter of packets (`fielato capture`, `fielato trace --live`).

use std::net::IpAddr;

use fielato_wire::filter::{NameKind, Network, Place};

use crate::config::{Config, PortSpec};

impl Config {
    /// Where a member or a service is found among the packets within the tunnel, whether or not it is disabled; `None` when there is
    /// none of that name. A service on a host that is a member too is found at both its addresses.
    pub fn places(&self, kind: NameKind, name: &str) -> Option<Vec<Place>> {
        match kind {
            NameKind::Member => {
                let member = self.members.get(name)?;
                Some(member.addresses.iter().map(|address| place(*address, None)).collect())
            }
            NameKind::Service => {
                let service = self.services.get(name)?;
                let addresses = service.hosts.iter().flat_map(|name| {
                    let host = self.hosts.get(name).into_iter().flat_map(|host| &host.addresses);
                    let member = self.members.get(name).into_iter();
                    host.chain(member.flat_map(|member| &member.addresses))
                });
                let at = |address: &IpAddr| {
                    service
                        .ports
                        .iter()
                        .map(|port| place(*address, Some(*port)))
                        .collect::<Vec<_>>()
                };
                Some(addresses.flat_map(at).collect())
            }
        }
    }
}

fn place(address: IpAddr, port: Option<PortSpec>) -> Place {
    Place {
        network: Network::new(address, u8::MAX),
        ports: port.map(|PortSpec { protocol, first, last }| (protocol.number(), first, last)),
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::Headers;
    use fielato_wire::build::Ip;
    use fielato_wire::filter::Words;

    use super::*;

    const CONFIG: &str = r#"
[hub]
interface = "wg0"
endpoint = "192.0.2.1:51820"
listen_port = 51820
addresses = ["192.168.4.1/24", "fd00:4::1/64"]
uplink = "eth0"

[member.alice]
addresses = ["192.168.4.2", "fd00:4::2"]
public_key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="

[host.storage]
address = ["192.0.2.9"]
strategy = "source"

[service.files]
host = "storage"
ports = ["udp/2049", "tcp/445-446"]
"#;

    #[test]
    fn members_and_services_are_found_in_either_direction() {
        let config = Config::parse(CONFIG).unwrap_or_else(|faults| panic!("{}", faults.display("x", CONFIG)));
        let there = Ip::v4([192, 168, 4, 2], [192, 0, 2, 9]).udp(4000, 2049, b"");
        let back = Ip::v4([192, 0, 2, 9], [192, 168, 4, 2]).udp(2049, 4000, b"");
        let other = Ip::v4([192, 0, 2, 9], [192, 168, 4, 2]).udp(4000, 2049, b"");
        let v6 = Ip::v6([0xfd00, 4, 0, 0, 0, 0, 0, 2], [0xfd00, 4, 0, 0, 0, 0, 0, 1]).udp(1, 2, b"");
        for (text, wanted) in [
            ("member alice", [true, true, true, true]),
            ("src member alice", [true, false, false, true]),
            ("service files", [true, true, false, false]),
            ("dst service files", [true, false, false, false]),
        ] {
            let filter = Words::parse(text).unwrap();
            let filter = filter.resolve(&|kind, name| config.places(kind, name)).unwrap();
            let found = [&there, &back, &other, &v6].map(|packet| filter.matches(&Headers::parse(packet).unwrap()));
            assert_eq!(found, wanted, "{text}");
        }
        assert_eq!(config.places(NameKind::Member, "files"), None);
        assert_eq!(config.places(NameKind::Service, "alice"), None);
    }
}
