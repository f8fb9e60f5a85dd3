//! FTP's control connection (RFC 959, RFC 2428), and the data connections that it announces.

use fielato_wire::build::{Ip, Tcp};
use fielato_wire::{Addr, Family, Headers};

use super::Traffic;
use super::start::syn_options;
use crate::random::Random;
use crate::subject::Output;

/// Something for either end to say after `received`.
pub(super) fn say(random: &mut Random, headers: &Headers, received: &[u8], is_server: bool) -> Vec<u8> {
    let own = headers.dst;
    let port = *random.pick(&[5001u16, 5002, 40_003, 2000]);
    let comma = |address: Addr| {
        let [a, b, c, d] = (address.lo as u32).to_be_bytes();
        format!("{a},{b},{c},{d},{},{}", port >> 8, port & 0xff)
    };
    let (v4, text) = (headers.family == Family::V4, String::from_utf8_lossy(received));
    let family = if v4 { 1 } else { 2 };
    let line = if is_server {
        if text.starts_with("PASV") && v4 {
            format!("227 Entering Passive Mode ({})", comma(own))
        } else if text.starts_with("EPSV") {
            format!("229 Entering Extended Passive Mode (|||{port}|)")
        } else {
            "200 fine".to_owned()
        }
    } else {
        match random.below(7) {
            0 | 1 if v4 => format!("PORT {}", comma(own)),
            2 if v4 => "PASV".to_owned(),
            0..=3 => format!("EPRT |{family}|{}|{port}|", own.display(headers.family)),
            4 | 5 => "EPSV".to_owned(),
            _ => "USER someone".to_owned(),
        }
    };
    let end = if random.chance(95) { "\r\n" } else { "" };
    (line + end).into_bytes()
}

/// An end that hears of an address connects to it, mostly.
pub(super) fn listen(traffic: &mut Traffic, output: &Output, headers: &Headers, received: &[u8]) {
    let text = String::from_utf8_lossy(received);
    let Some((address, port)) = announced(&text, headers) else {
        return;
    };
    if traffic.random.chance(25) {
        return;
    }
    let sport = if headers.dport == 21 {
        20
    } else {
        *traffic.random.pick(&crate::rules::CLIENTS)
    };
    let mut tcp = Tcp::new(sport, port).syn().seq(traffic.random.bits() as u32);
    tcp.options = syn_options(&mut traffic.random);
    let syn = Ip::new(headers.family, headers.dst, address).tcp(&tcp);
    traffic.planned.push_back((output.port, syn));
}

fn announced(text: &str, headers: &Headers) -> Option<(Addr, u16)> {
    if let Some(list) = text
        .strip_prefix("PORT ")
        .or_else(|| text.strip_prefix("227 ")?.split_once('(').map(|(_, rest)| rest))
    {
        let numbers: Vec<u8> = list
            .split(|c: char| !c.is_ascii_digit())
            .map_while(|number| number.parse().ok())
            .collect();
        let [a, b, c, d, high, low] = *numbers.first_chunk::<6>()?;
        let address = Addr::from(std::net::Ipv4Addr::new(a, b, c, d));
        return Some((address, u16::from_be_bytes([high, low])));
    }
    let mut parts = text
        .strip_prefix("EPRT ")
        .or_else(|| text.strip_prefix("229 "))?
        .split('|')
        .skip(1);
    let (_, address, port) = (parts.next()?, parts.next()?, parts.next()?);
    let address = match address {
        "" => headers.src,
        text => Addr::from(text.parse::<std::net::IpAddr>().ok()?),
    };
    Some((address, port.parse().ok()?))
}
