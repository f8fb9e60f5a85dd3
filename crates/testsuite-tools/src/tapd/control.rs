//! The control socket: requests and answers, one after the other, until the client is done.
//!
//! ```text
//! LOCAL LENGTH\n PACKET     →  ok 0 0\n
//! ```
//! and those of [`fielato_iptables::remote`], whose answers all have.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use fielato_iptables::remote::{MAX_TEXT, Request, Response};

use super::backend::Backend;
use crate::frame;

/// How long a client may be silent. A script's commands are local and short.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves the clients that are waiting.
pub fn serve(listener: &UnixListener, backend: &mut dyn Backend, now: Instant) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                // A client that goes away harms only itself.
                if let Err(error) = converse(&stream, backend, now) {
                    eprintln!("tapd: a client of the control socket: {error}");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn converse(mut stream: &UnixStream, backend: &mut dyn Backend, now: Instant) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        while let Some((response, length)) = answer(&bytes, backend, now)? {
            bytes.drain(..length);
            stream.write_all(response.encode().as_bytes())?;
        }
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            length => bytes.extend_from_slice(&chunk[..length]),
        }
        if bytes.len() > MAX_TEXT {
            return Err(io::Error::other("a request without an end"));
        }
    }
}

/// The answer to the request that `bytes` start with, and its length; `None` as long as it is not whole.
fn answer(bytes: &[u8], backend: &mut dyn Backend, now: Instant) -> io::Result<Option<(Response, usize)>> {
    if let Some(rest) = bytes.strip_prefix(b"LOCAL ") {
        let Some(end) = rest.iter().take(10).position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let length: Option<usize> = std::str::from_utf8(&rest[..end]).ok().and_then(|length| length.parse().ok());
        let length = length.filter(|length| *length <= frame::MAX);
        let length = length.ok_or_else(|| io::Error::other("a wrong length of a packet"))?;
        let Some(packet) = rest.get(end + 1..end + 1 + length) else {
            return Ok(None);
        };
        let response = match backend.send_local(packet, now) {
            Ok(()) => Response::Ok {
                generation: 0,
                text: String::new(),
            },
            Err(error) => Response::Error(error.to_string()),
        };
        return Ok(Some((response, bytes.len() - rest.len() + end + 1 + length)));
    }
    let decoded = Request::decode(bytes).map_err(io::Error::other)?;
    Ok(decoded.map(|(request, length)| (backend.rules(&request, now), length)))
}
