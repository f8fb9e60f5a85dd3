//! `-s` and `-d`: addresses, networks, any mask, names, lists.

use std::net::{Ipv4Addr, Ipv6Addr};

use fielato_netfilter::rule::AddressMatch;
use fielato_netfilter::syntax::Names;
use fielato_wire::{Addr, Family};

use crate::error::Error;
use crate::text::number;

/// The addresses of a list like `10.0.0.0/8,host,192.168.1.0/255.255.255.0`.
pub(super) fn parse(list: &str, family: Family, names: &dyn Names) -> Result<Vec<AddressMatch>, Error> {
    let mut found = Vec::new();
    for part in list.split(',') {
        let part = part.trim_start();
        if part.len() > 255 {
            return Err(Error::Parameter("Hostname too long".to_owned()));
        }
        let (host, mask) = match part.rsplit_once('/') {
            Some((host, mask)) => (host, parse_mask(mask, family)?),
            None => (part, Addr::mask(family, family.bits())),
        };
        // A null mask makes the name unimportant, as in `any/0`.
        let addresses = match mask == Addr::ZERO {
            true => vec![Addr::ZERO],
            false => host_addresses(host, family, names)?,
        };
        found.extend(addresses.into_iter().map(|address| AddressMatch {
            network: address.and(mask),
            mask,
            negated: false,
        }));
    }
    Ok(found)
}

fn parse_mask(mask: &str, family: Family) -> Result<Addr, Error> {
    let dotted = match family {
        Family::V4 => dotted(mask, true).map(Addr::v4),
        Family::V6 => mask.parse().ok().map(Addr::v6),
    };
    let parsed = dotted.or_else(|| number(mask, 0, family.bits().into()).map(|bits| Addr::mask(family, bits as u8)));
    parsed.ok_or_else(|| Error::Parameter(format!("invalid mask `{mask}' specified")))
}

fn host_addresses(host: &str, family: Family, names: &dyn Names) -> Result<Vec<Addr>, Error> {
    let numeric = match family {
        Family::V4 => dotted(host, false).map(Addr::v4),
        Family::V6 => host.parse::<Ipv6Addr>().ok().map(Addr::v6),
    };
    if let Some(address) = numeric {
        return Ok(vec![address]);
    }
    let found = names.host(host, family);
    if found.is_empty() {
        return Err(Error::Parameter(format!("host/network `{host}' not found")));
    }
    Ok(found)
}

/// Four numbers and dots. A network may leave off its last numbers: `10.1` is 10.1.0.0.
fn dotted(text: &str, whole: bool) -> Option<Ipv4Addr> {
    let mut bytes = [0; 4];
    let mut parts = text.splitn(4, '.');
    for byte in &mut bytes {
        match parts.next() {
            Some(part) => *byte = number(part, 0, 255)? as u8,
            None if whole => return None,
            None => break,
        }
    }
    Some(Ipv4Addr::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::BuiltinNames;

    fn show(list: &str, family: Family) -> Result<Vec<String>, String> {
        let parsed = parse(list, family, &BuiltinNames).map_err(|error| error.to_string())?;
        let show = |a: AddressMatch| format!("{}/{}", a.network.display(family), a.mask.display(family));
        Ok(parsed.into_iter().map(show).collect())
    }

    #[test]
    fn lists_masks_and_short_forms() {
        let v4 = |list| show(list, Family::V4);
        assert_eq!(v4("10.1").unwrap(), ["10.1.0.0/255.255.255.255"]);
        assert_eq!(v4("10.1.2.3/8").unwrap(), ["10.0.0.0/255.0.0.0"]);
        assert_eq!(
            v4("1.2.3.4/255.0.255.0, 5.6.7.8").unwrap(),
            ["1.0.3.0/255.0.255.0", "5.6.7.8/255.255.255.255"]
        );
        assert_eq!(v4("any/0").unwrap(), ["0.0.0.0/0.0.0.0"]);
        assert_eq!(v4("1.2.3.4/33").unwrap_err(), "invalid mask `33' specified");
        assert_eq!(v4("1.2.3.256").unwrap_err(), "host/network `1.2.3.256' not found");
        let v6 = |list| show(list, Family::V6);
        assert_eq!(v6("2001:db8::1/32").unwrap(), ["2001:db8::/ffff:ffff::"]);
        assert_eq!(v6("::1").unwrap(), ["::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]);
        assert_eq!(v6("1.2.3.4").unwrap_err(), "host/network `1.2.3.4' not found");
    }
}
