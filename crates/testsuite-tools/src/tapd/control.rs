//! The control socket: one request and one answer per connection.
//!
//! ```text
//! LOCAL LENGTH\n PACKET                      →  ok\n
//! SAVE 4|6\n                                 →  ok GENERATION LENGTH\n TEXT
//! RESTORE 4|6 GENERATION LENGTH\n TEXT       →  ok\n, or stale\n when another one restored in between
//! ```
//! Any of them may be answered by `error TEXT\n`.

use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use fielato_wire::Family;

use super::backend::Backend;

/// How long a client may take. A script's commands are local and short.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest text of rules that is taken.
const MAX_TEXT: usize = 64 << 20;

/// Serves the clients that are waiting.
pub fn serve(listener: &UnixListener, backend: &mut dyn Backend, now: Instant) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                // A client that goes away harms only itself.
                if let Err(error) = answer(&stream, backend, now) {
                    eprintln!("tapd: a client of the control socket: {error}");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn answer(mut stream: &UnixStream, backend: &mut dyn Backend, now: Instant) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let reply = match request(&mut reader, backend, now)? {
        Ok(reply) => reply,
        Err(text) => format!("error {}\n", text.replace('\n', " ")),
    };
    stream.write_all(reply.as_bytes())
}

fn request(reader: &mut impl BufRead, backend: &mut dyn Backend, now: Instant) -> io::Result<Result<String, String>> {
    let mut line = String::new();
    reader.by_ref().take(200).read_line(&mut line)?;
    let words: Vec<&str> = line.split_whitespace().collect();
    Ok(match words[..] {
        ["LOCAL", length] => {
            let packet = body(reader, length)?;
            let sent = backend.send_local(&packet, now);
            sent.map(|()| "ok\n".to_owned()).map_err(|error| error.to_string())
        }
        ["SAVE", family] => family_of(family).and_then(|family| {
            let (text, generation) = backend.save_rules(family)?;
            Ok(format!("ok {generation} {}\n{text}", text.len()))
        }),
        ["RESTORE", family, generation, length] => {
            let text = String::from_utf8_lossy(&body(reader, length)?).into_owned();
            restore(backend, family, generation, &text, now)
        }
        _ => Err(format!("no such request: {}", line.trim_end())),
    })
}

fn restore(backend: &mut dyn Backend, family: &str, generation: &str, text: &str, now: Instant) -> Result<String, String> {
    let generation = generation.parse().map_err(|_| format!("`{generation}` is no generation"))?;
    let done = backend.restore_rules(family_of(family)?, generation, text, now)?;
    Ok(if done { "ok\n" } else { "stale\n" }.to_owned())
}

fn family_of(word: &str) -> Result<Family, String> {
    match word {
        "4" => Ok(Family::V4),
        "6" => Ok(Family::V6),
        other => Err(format!("`{other}` is no family: give 4 or 6")),
    }
}

fn body(reader: &mut impl Read, length: &str) -> io::Result<Vec<u8>> {
    let length = length.parse().ok().filter(|length| *length <= MAX_TEXT);
    let length = length.ok_or_else(|| io::Error::other("a wrong length"))?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}
