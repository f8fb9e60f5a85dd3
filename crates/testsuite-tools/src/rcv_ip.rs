//! Packets in, words out.

use std::io::{self, Read, Write as _};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fielato_wire::text::{DEFAULT_TTL, Line};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::frame::{self, Frame};

/// Exit code when a fence was met.
const FENCE: u8 = 3;

/// `rcv_ip SECONDS COUNT [DATA] [TTL]`: 0 when `COUNT` packets came; 1 when fewer, because one was waited for in vain
/// or the input ended, and 3 when a fence stood before the next.
///
/// What an answer can't foresee is left out of the line: identification and "don't fragment" always, TTL unless asked for.
pub fn run(words: &[String]) -> anyhow::Result<ExitCode> {
    let [seconds, count, options @ ..] = words else {
        bail!("give SECONDS COUNT [DATA] [TTL], and a tap as standard input");
    };
    let seconds: f64 = seconds
        .parse()
        .with_context(|| format!("`{seconds}` is no number of seconds"))?;
    let wait = Duration::try_from_secs_f64(seconds).context("the number of seconds")?;
    let count: u32 = count.parse().with_context(|| format!("`{count}` is no number of packets"))?;
    let (mut data, mut ttl) = (false, false);
    for option in options {
        match option.as_str() {
            "DATA" => data = true,
            "TTL" => ttl = true,
            other => bail!("`{other}` is not understood: give DATA or TTL"),
        }
    }
    let mut input = Patient {
        input: io::stdin(),
        wait,
        deadline: Instant::now(),
    };
    for _ in 0..count {
        input.deadline = Instant::now() + wait;
        let packet = match frame::read(&mut input) {
            Ok(Some(Frame::Packet { packet, .. })) => packet,
            Ok(Some(Frame::Fence(_))) => return Ok(ExitCode::from(FENCE)),
            Ok(None) => return Ok(ExitCode::FAILURE),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(ExitCode::FAILURE),
            Err(error) => return Err(error).context("read a packet"),
        };
        let (mut line, payload) = match Line::read(&packet) {
            Ok(read) => read,
            Err(error) => bail!("what came is no IP packet: {}", error.name()),
        };
        plain(&mut line, ttl);
        line.data = data;
        let mut output = io::stdout().lock();
        writeln!(output, "{line}")?;
        if data {
            output.write_all(payload)?;
            writeln!(output)?;
        }
        output.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Leaves out what the sender of the packet did not say.
fn plain(line: &mut Line, ttl: bool) {
    line.id = 0;
    line.dont_fragment = false;
    if !ttl {
        line.ttl = DEFAULT_TTL;
    }
    if let fielato_wire::text::Body::Icmp {
        quoted: Some(quoted), ..
    } = &mut line.body
    {
        plain(quoted, ttl);
    }
}

/// Input that is waited for until a deadline.
struct Patient {
    input: io::Stdin,
    wait: Duration,
    deadline: Instant,
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap_or_default();
        let mut fds = [PollFd::new(&self.input, PollFlags::IN)];
        if poll(&mut fds, Some(&timeout))? == 0 {
            let text = format!("no packet within {:?}", self.wait);
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        // Not through Stdin's own buffer, which would take more from the tap than one packet.
        Ok(rustix::io::read(self.input.as_fd(), buffer)?)
    }
}
