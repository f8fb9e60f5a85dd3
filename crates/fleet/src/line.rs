//! Bytes as they come to lines, of which none is longer than allowed.

use std::time::Instant;

/// The line that is coming in.
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    limit: usize,
    /// When the unfinished line began.
    begun: Option<Instant>,
}

/// A line is longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

impl Lines {
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            limit,
            begun: None,
        }
    }

    /// Takes bytes in; returns the lines that they finish, without their ends.
    pub fn push(&mut self, mut bytes: &[u8], now: Instant) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut lines = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            self.extend(line)?;
            lines.push(std::mem::take(&mut self.buffer));
            self.begun = None;
            bytes = rest.get(1..).unwrap_or_default();
        }
        if !bytes.is_empty() {
            self.extend(bytes)?;
            self.begun.get_or_insert(now);
        }
        Ok(lines)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.buffer.len() + bytes.len() > self.limit {
            self.buffer = Vec::new();
            return Err(TooLong);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Since when a line is unfinished.
    pub fn unfinished_since(&self) -> Option<Instant> {
        self.begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_however_the_bytes_come_in() {
        let now = Instant::now();
        let text = b"one\n\ntwo\nthree";
        for size in 1..=text.len() {
            let mut lines = Lines::new(5);
            let mut seen = Vec::new();
            for chunk in text.chunks(size) {
                seen.extend(lines.push(chunk, now).unwrap());
            }
            assert_eq!(seen, [b"one".to_vec(), b"".to_vec(), b"two".to_vec()], "in pieces of {size}");
            assert_eq!(lines.unfinished_since(), Some(now));
            assert_eq!(lines.push(b"\n", now), Ok(vec![b"three".to_vec()]));
            assert_eq!(lines.unfinished_since(), None);
        }
    }

    #[test]
    fn a_long_line_is_refused_before_it_is_whole() {
        let now = Instant::now();
        let mut lines = Lines::new(4);
        assert_eq!(lines.push(b"abcd\n", now), Ok(vec![b"abcd".to_vec()]));
        assert_eq!(lines.push(b"abc", now), Ok(vec![]));
        assert_eq!(lines.push(b"de", now), Err(TooLong));
    }
}
