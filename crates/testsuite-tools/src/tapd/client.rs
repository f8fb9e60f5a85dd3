//! The other end of the control socket.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, bail};

use super::SOCKET;
use crate::frame::{self, Frame};

/// `local_ip`: gives the packet on standard input to the machine to send.
pub fn local_ip() -> anyhow::Result<()> {
    let Some(Frame::Packet { packet, .. }) = frame::read(&mut std::io::stdin().lock()).context("read the packet")? else {
        bail!("there is no packet on standard input");
    };
    let path = std::env::var_os(SOCKET).with_context(|| format!("{SOCKET} is not set: run this in a script under tapd"))?;
    let mut stream = UnixStream::connect(&path).with_context(|| format!("connect to {}", path.display()))?;
    stream.write_all(format!("LOCAL {}\n", packet.len()).as_bytes())?;
    stream.write_all(&packet)?;
    stream.shutdown(Shutdown::Write)?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    match reply.trim_end() {
        "ok" => Ok(()),
        other => bail!(
            "the packet could not be sent: {}",
            other.strip_prefix("error ").unwrap_or(other)
        ),
    }
}
