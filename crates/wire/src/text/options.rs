//! TCP options as words.

use std::fmt;

/// The bytes of a comma-separated list; `None` for a word that is no option.
pub(super) fn parse(list: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for word in list.split(',') {
        let (name, value) = match word.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        match (name, value) {
            ("eol", None) => bytes.push(0),
            ("nop", None) => bytes.push(1),
            ("mss", Some(size)) => {
                bytes.extend_from_slice(&[2, 4]);
                bytes.extend_from_slice(&size.parse::<u16>().ok()?.to_be_bytes());
            }
            ("wscale", Some(shift)) => bytes.extend_from_slice(&[3, 3, shift.parse().ok()?]),
            ("sackok", None) => bytes.extend_from_slice(&[4, 2]),
            ("ts", Some(both)) => {
                let (value, echo) = both.split_once(':')?;
                bytes.extend_from_slice(&[8, 10]);
                bytes.extend_from_slice(&value.parse::<u32>().ok()?.to_be_bytes());
                bytes.extend_from_slice(&echo.parse::<u32>().ok()?.to_be_bytes());
            }
            ("raw", Some(hex)) => bytes.extend(from_hex(hex)?),
            (number, data) => {
                let kind: u8 = number.parse().ok()?;
                let data = from_hex(data.unwrap_or_default())?;
                match (kind, data.is_empty()) {
                    (0 | 1, true) => bytes.push(kind),
                    _ => {
                        bytes.extend_from_slice(&[kind, u8::try_from(data.len() + 2).ok()?]);
                        bytes.extend(data);
                    }
                }
            }
        }
    }
    Some(bytes)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

/// The list that [`parse`] reads again. Zeros at the end are padding and not said.
pub(super) struct Options<'a>(pub &'a [u8]);

/// The options without the padding behind them.
pub(super) fn without_padding(options: &[u8]) -> &[u8] {
    let mut rest = options;
    while !Options(rest).is_empty() {
        rest = match first_len(rest) {
            Some(len) => &rest[len..],
            None => &[],
        };
    }
    &options[..options.len() - rest.len()]
}

/// Length of the first option, if it is one.
fn first_len(options: &[u8]) -> Option<usize> {
    match options {
        [0 | 1, ..] => Some(1),
        [_, len, ..] => Some(usize::from(*len)).filter(|len| (2..=options.len()).contains(len)),
        _ => None,
    }
}

impl Options<'_> {
    /// Whether there is anything to say.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }
}

impl fmt::Display for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut rest = self.0;
        let mut comma = "";
        while !Options(rest).is_empty() {
            f.write_str(comma)?;
            comma = ",";
            let Some(len) = first_len(rest) else {
                // No option: as it is.
                f.write_str("raw:")?;
                return hex(f, rest);
            };
            let (option, after) = rest.split_at(len);
            rest = after;
            match *option {
                [0] => f.write_str("eol")?,
                [1] => f.write_str("nop")?,
                [2, 4, a, b] => write!(f, "mss:{}", u16::from_be_bytes([a, b]))?,
                [3, 3, shift] => write!(f, "wscale:{shift}")?,
                [4, 2] => f.write_str("sackok")?,
                [8, 10, a, b, c, d, e, g, h, i] => {
                    let (value, echo) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, g, h, i]));
                    write!(f, "ts:{value}:{echo}")?;
                }
                [kind, _, ref data @ ..] => {
                    write!(f, "{kind}")?;
                    if !data.is_empty() {
                        f.write_str(":")?;
                        hex(f, data)?;
                    }
                }
                [] | [_] => {}
            }
        }
        Ok(())
    }
}

fn hex(f: &mut fmt::Formatter, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_named() {
        for (text, bytes) in [
            ("mss:1460", &[2u8, 4, 5, 0xb4][..]),
            ("nop,wscale:7", &[1, 3, 3, 7]),
            ("sackok,ts:1:2", &[4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
            ("28:0102,99", &[28, 4, 1, 2, 99, 2]),
            ("nop,raw:05ff01", &[1, 5, 255, 1]),
        ] {
            assert_eq!(parse(text).as_deref(), Some(bytes), "{text}");
            assert_eq!(Options(bytes).to_string(), text);
        }
        for wrong in ["", "mss", "mss:x", "ts:1", "300", "5:0", "5:zz", "nop:1", "1:é"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
