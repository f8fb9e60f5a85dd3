//! The other end of the control socket.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::net::RecvFlags;

use crate::Paths;
use crate::offline;
use crate::protocol::{Request, Response, Standing};

/// Nobody answers on the control socket.
#[derive(Debug, thiserror::Error)]
#[error("fielato is not running; start it with `fielato up`")]
pub struct NotRunning;

/// The daemon said no.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Why, and what to do.
    pub message: String,
    /// Whether the configuration file is the reason.
    pub configuration: bool,
}

/// Asks the daemon and waits for its answer.
///
/// # Errors
/// [`NotRunning`] without a daemon, [`Refused`] when it says no, an I/O error when the connection breaks.
pub fn request(paths: &Paths, request: &Request) -> Result<Response> {
    begin(paths, request).map(|(_, response)| response)
}

/// What a plan depends on beside the file and the time: as the daemon says, or without one as its store has it.
///
/// # Errors
/// As [`request`]; or when the store is there and cannot be read.
pub fn standing(paths: &Paths) -> Result<Standing> {
    match request(paths, &Request::Standing) {
        Ok(Response::Standing(standing)) => Ok(standing),
        Ok(_) => bail!("the daemon answered something else"),
        Err(error) if error.is::<NotRunning>() => Ok(Standing {
            grants: offline::grants(paths)?,
            ..Standing::default()
        }),
        Err(error) => Err(error),
    }
}

/// As [`request`], with the connection, on which more may follow the answer.
pub(crate) fn begin(paths: &Paths, request: &Request) -> Result<(UnixStream, Response)> {
    let path = paths.socket();
    let stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Err(NotRunning.into()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            bail!("cannot talk to the daemon on {}: only root may; try sudo", path.display())
        }
        Err(error) => return Err(error).with_context(|| format!("cannot talk to the daemon on {}", path.display())),
    };
    // A full apply of a large policy takes a second or two; a minute means that the daemon is stuck.
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    (&stream).write_all(&line)?;
    let answer = first_line(&stream).context("the daemon did not answer")?;
    if answer.is_empty() {
        bail!("the daemon closed the connection without an answer; see its log");
    }
    match serde_json::from_slice(&answer).context("the daemon's answer makes no sense; is it of another version?")? {
        Response::Refused { message, configuration } => Err(Refused { message, configuration }.into()),
        response => Ok((stream, response)),
    }
}

/// Up to the end of the line and no further: what follows is somebody else's to read.
fn first_line(mut stream: &UnixStream) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        // A look at what has come, then exactly the line's part of it.
        let len = rustix::net::recv(stream, &mut bytes, RecvFlags::PEEK).map(|(_, len)| len)?;
        let seen = &bytes[..len.min(4096)];
        let part = seen.iter().position(|byte| *byte == b'\n').map_or(seen.len(), |end| end + 1);
        let mut taken = vec![0; part];
        stream.read_exact(&mut taken)?;
        line.extend(taken);
        if part == 0 || line.ends_with(b"\n") {
            return Ok(line);
        }
    }
}
