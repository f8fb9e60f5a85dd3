//! How things are shown to a person: aligned tables, sizes and times one can read, colours only on a terminal.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};

use jiff::Timestamp;
use serde::Serialize;

/// Prints a value as one JSON document.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

/// A table whose columns align; numbers to the right when their header starts with a space.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([header[column].trim().len()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for ((cell, title), &width) in cells.zip(header).zip(&widths) {
            match title.starts_with(' ') {
                true => line += &format!("{cell:>width$}  "),
                false => line += &format!("{cell:<width$}  "),
            }
        }
        line.trim_end().to_string() + "\n"
    };
    let mut text = line(&mut header.iter().map(|title| title.trim()));
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

/// Bytes as `wg show` writes them.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2} {}", UNITS[unit])
}

/// How long ago, in one unit.
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    span(now.duration_since(then).as_secs().max(0)) + " ago"
}

/// How long from now, in one unit.
pub fn from_now(then: Timestamp, now: Timestamp) -> String {
    "in ".to_string() + &span(then.duration_since(now).as_secs().max(0))
}

fn span(seconds: i64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `-` for what is not there.
pub fn or_dash(value: Option<impl Display>) -> String {
    value.map_or("-".into(), |value| value.to_string())
}

/// Tells what is being done, on a terminal only, on one line that is cleared at the end.
pub struct Progress {
    shown: bool,
}

impl Progress {
    pub fn new() -> Self {
        Self {
            shown: std::io::stderr().is_terminal(),
        }
    }

    pub fn step(&mut self, what: &str) {
        if self.shown {
            eprint!("\r\x1b[K{what}…");
            std::io::stderr().flush().ok();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align() {
        let rows = [vec!["alice".into(), "7".into()], vec!["bo".into(), "1234".into()]];
        assert_eq!(
            table(&["name", " packets"], &rows),
            "name   packets\nalice        7\nbo        1234\n"
        );
    }

    #[test]
    fn sizes_as_wg_writes_them() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.50 KiB");
        assert_eq!(bytes(5 << 30), "5.00 GiB");
    }
}
