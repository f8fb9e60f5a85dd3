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
            let cells = rows.iter().map(|row| width(&row[column]));
            cells.chain([width(header[column].trim())]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for ((cell, title), &wide) in cells.zip(header).zip(&widths) {
            let gap = " ".repeat(wide.saturating_sub(width(cell)));
            match title.starts_with(' ') {
                true => line += &format!("{gap}{cell}  "),
                false => line += &format!("{cell}{gap}  "),
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

/// Rows whose columns align, without a header. All have as many cells as the first.
pub fn columns(rows: &[Vec<String>]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let text = table(&vec![""; first.len()], rows);
    text.split_once('\n').map_or(String::new(), |(_, rows)| rows.to_owned())
}

/// As many columns as a terminal needs.
fn width(text: &str) -> usize {
    let mut width = 0;
    let mut rest = text.chars();
    while let Some(char) = rest.next() {
        match char {
            // A colour ends with its `m`.
            '\x1b' => drop(rest.by_ref().find(|char| *char == 'm')),
            _ => width += 1,
        }
    }
    width
}

/// What a word shall stand out as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Red,
    Green,
    Yellow,
}

/// The text in colour, where standard output is a terminal and nobody objects (no-color.org).
pub fn paint(colour: Colour, text: &str) -> String {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if !wanted || !std::io::stdout().is_terminal() {
        return text.to_owned();
    }
    painted(colour, text)
}

fn painted(colour: Colour, text: &str) -> String {
    let number = match colour {
        Colour::Red => 31,
        Colour::Green => 32,
        Colour::Yellow => 33,
    };
    format!("\x1b[{number}m{text}\x1b[0m")
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
    fn colours_take_no_room() {
        let rows = [
            vec![painted(Colour::Green, "yes"), "1".into()],
            vec!["partly".into(), "2".into()],
        ];
        assert_eq!(columns(&rows), "\x1b[32myes\x1b[0m     1\npartly  2\n");
    }

    #[test]
    fn sizes_as_wg_writes_them() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.50 KiB");
        assert_eq!(bytes(5 << 30), "5.00 GiB");
    }
}
