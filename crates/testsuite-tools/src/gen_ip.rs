//! Words in, packet out.

use std::io::Read as _;

use anyhow::Context as _;
use fielato_wire::text::Line;

use crate::frame::{self, Frame};

/// `gen_ip WORD…`
pub fn run(words: &[String]) -> anyhow::Result<()> {
    let line: Line = words.join(" ").parse()?;
    let mut data = Vec::new();
    if line.data {
        std::io::stdin().lock().read_to_end(&mut data).context("read the payload")?;
    }
    let packet = line.build(&data)?;
    let frame = Frame::Packet { mac: line.mac, packet };
    frame::write(&mut std::io::stdout().lock(), &frame).context("write the packet")
}
