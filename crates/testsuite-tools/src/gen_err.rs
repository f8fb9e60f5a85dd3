//! A packet in, the ICMP error about it out.

use std::net::IpAddr;

use anyhow::{Context as _, bail};
use fielato_wire::Headers;
use fielato_wire::build::Ip;

use crate::frame::{self, Frame};

/// `gen_err SOURCE TYPE CODE`
pub fn run(words: &[String]) -> anyhow::Result<()> {
    let [source, kind, code] = words else {
        bail!("give SOURCE TYPE CODE, and a packet on standard input");
    };
    let source: IpAddr = source.parse().with_context(|| format!("`{source}` is no address"))?;
    let kind = kind.parse().with_context(|| format!("`{kind}` is no ICMP type"))?;
    let code = code.parse().with_context(|| format!("`{code}` is no ICMP code"))?;
    let Some(Frame::Packet { packet, .. }) = frame::read(&mut std::io::stdin().lock()).context("read the packet")? else {
        bail!("there is no packet on standard input");
    };
    let headers = Headers::parse(&packet).map_err(|error| anyhow::anyhow!("no IP packet: {}", error.name()))?;
    let ip = Ip::between(source, headers.src.to_ip(headers.family));
    let ip = ip.with_context(|| format!("{source} is not of the packet's family"))?;
    let packet = ip.icmp_error(kind, code, 0, &packet);
    frame::write(&mut std::io::stdout().lock(), &Frame::Packet { mac: None, packet }).context("write the error")
}
