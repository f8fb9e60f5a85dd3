//! `-m hashlimit` (`xt_hashlimit.c`, revision 3).

use fielato_wire::{Addr, Family, Headers, number};

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::shared::hashlimit::Key;

pub use crate::shared::hashlimit::Config;

/// `-m hashlimit`.
#[derive(Clone, Debug, PartialEq)]
pub struct Hashlimit(pub Box<Parameters>);

/// The parameters of `-m hashlimit`.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// Holds above the rate, not up to it.
    pub above: bool,
    /// The table.
    pub name: Box<str>,
    /// How the table is made; counts when this rule's packet is the first to use the name.
    pub config: Config,
}

impl Hashlimit {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        let Parameters { name, config, .. } = &*self.0;
        let refuse = |why: &str| Err(CheckError(format!("hashlimit: {why}")));
        if config.gc_interval == 0 || config.expire == 0 {
            return refuse("--hashlimit-htable-gcinterval and --hashlimit-htable-expire can't be 0");
        }
        if config.source_mask > cx.family.bits() || config.destination_mask > cx.family.bits() {
            return refuse("a prefix is longer than an address");
        }
        if name.is_empty() || name.len() > 254 {
            return refuse("the name must have 1 to 254 bytes");
        }
        if config.bytes {
            if !config.rate_match && config.cost() == 0 {
                return refuse("the rate is too high");
            }
        } else if config.burst == 0 || config.average.checked_mul(config.burst).is_none() {
            return refuse("the burst is 0, or rate and burst are too large together");
        }
        if config.rate_match && (config.interval == 0 || config.average == 0) {
            return refuse("--hashlimit-rate-match needs a rate and an interval above 0");
        }
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let Parameters { above, name, config } = &*self.0;
        let family = cx.packet.headers.family;
        let len = cx.packet.data.len();
        let under = cx.shared.hashlimit.table(family, name, config).and_then(|table| {
            let key = key(table.config(), &cx.packet.headers, cx.packet.transport())?;
            table.count(key, len, cx.now.mono)
        });
        match under {
            Some(under) => under != *above,
            None => {
                cx.hotdrop = true;
                false
            }
        }
    }
}

/// What the packet is counted under; none when it should have ports but is too short for them.
fn key(config: &Config, headers: &Headers, transport: &[u8]) -> Option<Key> {
    let masked = |wanted: bool, address: Addr, length: u8| match wanted {
        true => address.and(Addr::mask(headers.family, length)),
        false => Addr::ZERO,
    };
    let mut key = Key {
        src: masked(config.by_source, headers.src, config.source_mask),
        dst: masked(config.by_destination, headers.dst, config.destination_mask),
        sport: 0,
        dport: 0,
    };
    if config.by_source_port || config.by_destination_port {
        let [sport, dport] = match ports_at(headers) {
            Some(at) => {
                let bytes = transport.get(at..at + 4)?;
                [0, 2].map(|at| u16::from_be_bytes([bytes[at], bytes[at + 1]]))
            }
            None => [0; 2],
        };
        key.sport = if config.by_source_port { sport } else { 0 };
        key.dport = if config.by_destination_port { dport } else { 0 };
    }
    Some(key)
}

/// Where the kernel reads ports (`hashlimit_init_dst`): for IPsec the SPI stands there, in a later fragment of IPv4 any payload.
fn ports_at(headers: &Headers) -> Option<usize> {
    match headers.protocol {
        _ if headers.is_later_fragment() && headers.family == Family::V6 => None,
        number::TCP | number::UDP | number::UDPLITE | number::SCTP | number::DCCP | number::ESP => Some(0),
        number::AH => Some(4),
        _ => None,
    }
}

impl Config {
    /// One packet per second, five at once, as `iptables` begins with.
    pub const fn default_for(family: Family) -> Config {
        Config {
            by_source: false,
            by_destination: false,
            by_source_port: false,
            by_destination_port: false,
            bytes: false,
            rate_match: false,
            average: 0,
            burst: 5,
            size: 0,
            max: 0,
            gc_interval: 1000,
            expire: 0,
            source_mask: family.bits(),
            destination_mask: family.bits(),
            interval: 0,
        }
    }
}
