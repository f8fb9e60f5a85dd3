//! The user-space engine: a gateway made from a plan, with its ports in memory.

use std::time::Duration;

use fielato_gateway::{Buffer, Config, Gateway, Now, PortId, RpFilter};
use fielato_netfilter::Match;
use fielato_oracle::engine;
use fielato_oracle::subject::{Connection, Output, Port};
use fielato_policy::gateway::{self, Exit, HOST, TUNNEL, UPLINK, Uplink};
use fielato_qdisc::Stats;
use fielato_wire::{Extensions, Family, Headers};

use crate::error::Error;
use crate::network::{self, INTERFACE, UPLINK_MTU, UPLINK_NAME};
use crate::scene::{NOW, Scene, Setup};
use crate::subject::{Subject, Tallies};

/// The user-space engine as a [`Subject`].
pub struct UserSpace {
    seed: u64,
    /// Changes what the gateway is made from, so that a test can see a difference found.
    spoil: fn(&mut Config),
    loaded: Option<(Gateway, Scene)>,
}

impl UserSpace {
    /// One without a policy; `seed` is its random generator's.
    pub fn new(seed: u64) -> Self {
        Self::spoilt(seed, |_| ())
    }

    /// One that does otherwise than the plan says.
    pub fn spoilt(seed: u64, spoil: fn(&mut Config)) -> Self {
        Self {
            seed,
            spoil,
            loaded: None,
        }
    }
}

/// What the gateway is made from under this plan and these settings.
pub fn config(scene: &Scene) -> Config {
    let uplink = Uplink {
        addresses: network::uplink(),
        gateways: Vec::new(),
        mtu: UPLINK_MTU,
        exit: Exit::Ip,
    };
    let mut config = gateway::config(&scene.plan, &uplink);
    let Setup {
        policy: _,
        forwards_v4: _,
        forwards_v6: _,
        tcp_loose,
        tcp_liberal,
        checksum,
        rp_filter,
    } = scene.setup;
    for port in &mut config.ports {
        port.rp_filter = match rp_filter {
            1 => RpFilter::Strict,
            2 => RpFilter::Loose,
            _ => RpFilter::Off,
        };
    }
    config.settings.conntrack.tcp_loose = tcp_loose;
    config.settings.conntrack.tcp_be_liberal = tcp_liberal;
    config.settings.conntrack.checksum = checksum;
    // As on the kernel's side, where a limit would let a few errors out only.
    config.settings.icmp.enabled = false;
    config
}

/// The gateway's clock at a moment of a case; not at zero, so that nothing is taken for "never".
pub fn moment(at: Duration) -> Now {
    Now {
        mono: (Duration::from_secs(1_000_000) + at).as_nanos() as u64,
        wall: (Duration::from_secs(NOW.unsigned_abs()) + at).as_nanos() as u64,
    }
}

/// The gateway's number for a port.
pub const fn number(port: Port) -> PortId {
    match port {
        Port::Inside => TUNNEL,
        Port::Outside => UPLINK,
        Port::Host => HOST,
    }
}

/// Everything that leaves now.
pub fn outputs(gateway: &mut Gateway, now: Now) -> Vec<Output> {
    let mut outputs = Vec::new();
    while let Some((id, buffer)) = gateway.transmit(now) {
        let port = Port::ALL.into_iter().find(|port| number(*port) == id);
        outputs.extend(port.map(|port| Output {
            port,
            packet: buffer.data,
        }));
    }
    outputs
}

/// Packets and bytes by rule, but for rules that nft doesn't count.
pub fn rule_tallies(gateway: &Gateway, scene: &Scene) -> Tallies {
    const UNCOUNTED: [&str; 6] = [
        "established",
        "from the hub",
        "loopback",
        "not from the VPN",
        "masquerade",
        "translated",
    ];
    let mut tallies = Tallies::new();
    for family in [Family::V4, Family::V6] {
        for chain in gateway
            .netfilter()
            .ruleset(family)
            .tables
            .iter()
            // Of a connection nat judges the first packet alone, which the other tables count too.
            .filter(|table| table.name != "nat")
            .flat_map(|table| &table.chains)
        {
            for rule in chain.rules.iter().filter(|rule| rule.counters.packets > 0) {
                let comment = rule.matches.iter().find_map(|m| match m {
                    Match::Comment(comment) => Some(&*comment.text),
                    _ => None,
                });
                let comment = comment.unwrap_or_default();
                if !UNCOUNTED.contains(&comment) {
                    let sum = tallies.entry(scene.tally(&chain.name.to_lowercase(), comment)).or_default();
                    *sum = (sum.0 + rule.counters.packets, sum.1 + rule.counters.bytes);
                }
            }
        }
    }
    tallies
}

impl Subject for UserSpace {
    /// Ports behind IPv6's authentication header are seen by us, as by ip6tables, and not by nft (see `fielato_iptables::nft`).
    fn takes(&self, _scene: &Scene, packet: &[u8]) -> bool {
        Headers::parse(packet).is_ok_and(|headers| headers.family == Family::V4 || headers.extensions.0 & Extensions::AH == 0)
    }

    fn load(&mut self, scene: &Scene) -> Result<(), Error> {
        self.seed = self.seed.wrapping_add(1);
        let mut config = config(scene);
        (self.spoil)(&mut config);
        let gateway = Gateway::new(config, self.seed, moment(Duration::ZERO))?;
        self.loaded = Some((gateway, scene.clone()));
        Ok(())
    }

    fn forget(&mut self) -> Result<(), Error> {
        if let Some((gateway, _)) = &mut self.loaded {
            gateway.forget_connections();
        }
        Ok(())
    }

    fn inject(&mut self, at: Duration, port: Port, packet: &[u8]) -> Result<Vec<Output>, Error> {
        let Some((gateway, _)) = &mut self.loaded else {
            return Ok(Vec::new());
        };
        let now = moment(at);
        gateway.receive(number(port), Buffer::from(packet.to_vec()), now);
        Ok(outputs(gateway, now))
    }

    fn tallies(&mut self) -> Result<Tallies, Error> {
        let Some((gateway, scene)) = &self.loaded else {
            return Ok(Tallies::new());
        };
        let mut tallies = rule_tallies(gateway, scene);
        for (device, port) in [(INTERFACE, TUNNEL), (UPLINK_NAME, UPLINK)] {
            let stats = gateway.egress(port).map(|egress| egress.stats()).unwrap_or_default();
            for Stats { handle, sent, .. } in stats.iter().filter(|stats| stats.shape.is_class() && stats.sent.packets > 0) {
                tallies.insert(format!("class {device} {handle}"), (sent.packets, sent.bytes));
            }
        }
        for ban in gateway.bans() {
            if ban.packets > 0 {
                tallies.insert(format!("ban {}", ban.network), (ban.packets, ban.bytes));
            }
        }
        Ok(tallies)
    }

    fn connections(&mut self, at: Duration) -> Result<Vec<Connection>, Error> {
        let connections = self
            .loaded
            .as_ref()
            .map(|(gateway, _)| engine::connections(gateway.netfilter().conntrack(), moment(at)));
        Ok(connections.unwrap_or_default())
    }
}
