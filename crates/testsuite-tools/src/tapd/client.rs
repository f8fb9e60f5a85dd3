//! The other end of the control socket.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, bail};
use fielato_iptables::remote::Response;

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
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    match Response::decode(&reply)? {
        Some((Response::Ok { .. }, _)) => Ok(()),
        Some((Response::Error(reason), _)) => bail!("the packet could not be sent: {reason}"),
        _ => bail!("tapd gave no answer"),
    }
}
