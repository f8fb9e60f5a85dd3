//! `-m string`.

use std::fmt::Write as _;

use fielato_netfilter::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use fielato_netfilter::matches::string::{Algorithm, Parameters, String as Search};

use crate::extensions::values;
use crate::extensions::words::{self, Options};

/// The user side of `-m string`.
pub struct StringSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("from"),
    OptionSpec::one("to"),
    OptionSpec::one("algo"),
    OptionSpec::one("string").negatable(),
    OptionSpec::one("hex-string").negatable(),
    OptionSpec::flag("icase"),
];

impl MatchSyntax for StringSyntax {
    fn name(&self) -> &'static str {
        "string"
    }

    fn revision(&self) -> u8 {
        1
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "string match",
            &[
                ("--from", "first byte to look at, from the IP header"),
                ("--to", "end of what is looked at"),
                ("--algo", "bm (Boyer-Moore) or kmp (Knuth-Morris-Pratt)"),
                ("--icase", "letters are equal in both cases"),
                ("[!] --string string", "bytes to find"),
                ("[!] --hex-string string", "the same, hexadecimal between bars"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let options = Options::new("string", given);
        options.exclusive(&["string", "hex-string"])?;
        let algorithm = match options.required("algo")? {
            "bm" => Algorithm::BoyerMoore,
            "kmp" => Algorithm::KnuthMorrisPratt,
            other => {
                return Err(SyntaxError::new(format!(
                    "string: there is no algorithm \"{other}\" (bm, kmp)"
                )));
            }
        };
        let pattern = match (options.text("string"), options.text("hex-string")) {
            (Some(text), _) => text.as_bytes().to_vec(),
            (None, Some(text)) => hex(text)?,
            (None, None) => {
                return Err(SyntaxError::new(
                    "STRING match: You must specify `--string' or `--hex-string'",
                ));
            }
        };
        if pattern.len() > Parameters::MAX_PATTERN {
            return Err(SyntaxError::new("STRING too long"));
        }
        let mut search = Parameters::new(&pattern, algorithm, options.has("icase"));
        search.negated = options.negated("string") || options.negated("hex-string");
        search.from = options.number("from", 0, 0xffff)?.unwrap_or(0) as u16;
        search.to = options.number("to", 0, 0xffff)?.unwrap_or(0xffff) as u16;
        Ok(Match::String(Search::new(search)))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::String(search) = m else {
            return String::new();
        };
        let p = search.parameters();
        let option = if is_hex(&p.pattern) { "--hex-string" } else { "--string" };
        let mut out = String::from(values::not(p.negated));
        let _ = write!(out, " {option}{} --algo {}", show(&p.pattern), algorithm(p));
        if p.from != 0 {
            let _ = write!(out, " --from {}", p.from);
        }
        if p.to != u16::MAX {
            let _ = write!(out, " --to {}", p.to);
        }
        if p.ignore_case {
            out += " --icase";
        }
        out
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::String(search) = m else {
            return String::new();
        };
        let p = search.parameters();
        let mut out = String::from(" STRING match ");
        out += if p.negated { "!" } else { "" };
        let _ = write!(out, "{} ALGO name {}", show(&p.pattern), algorithm(p));
        if p.from != 0 {
            let _ = write!(out, " FROM {}", p.from);
        }
        if p.to != u16::MAX {
            let _ = write!(out, " TO {}", p.to);
        }
        if p.ignore_case {
            out += " ICASE";
        }
        out
    }
}

const fn algorithm(p: &Parameters) -> &'static str {
    match p.algorithm {
        Algorithm::BoyerMoore => "bm",
        Algorithm::KnuthMorrisPratt => "kmp",
    }
}

/// Text with bytes in hexadecimal between bars: `GET |20 2f|`; a backslash takes the next byte as it is.
fn hex(text: &str) -> Result<Vec<u8>, SyntaxError> {
    if text.is_empty() {
        return Err(SyntaxError::new("STRING must contain at least one char"));
    }
    let (mut out, mut in_hex, mut bytes) = (Vec::new(), false, text.bytes().peekable());
    while let Some(byte) = bytes.next() {
        match byte {
            b'|' => in_hex = !in_hex,
            b' ' if in_hex => {}
            b'\\' if in_hex => return Err(SyntaxError::new("Cannot include literals in hex data")),
            b'\\' => {
                let literal = bytes.next();
                out.push(literal.ok_or_else(|| SyntaxError::new("Bad literal placement at end of string"))?);
            }
            high if in_hex => {
                let digit = |byte: u8| (byte as char).to_digit(16);
                let invalid = |byte: u8| SyntaxError::new(format!("Invalid hex char '{}'", byte as char));
                let high = digit(high).ok_or_else(|| invalid(high))?;
                let low = bytes.next().ok_or_else(|| SyntaxError::new("Odd number of hex digits"))?;
                let low = digit(low).ok_or_else(|| invalid(low))?;
                out.push((high << 4 | low) as u8);
                if bytes.peek().is_none() {
                    return Err(SyntaxError::new("Invalid hex block"));
                }
            }
            plain => out.push(plain),
        }
    }
    Ok(out)
}

/// Whether some byte can't be printed, or the last would escape the closing quote.
fn is_hex(pattern: &[u8]) -> bool {
    pattern.iter().any(|byte| !(0x20..0x7f).contains(byte)) || pattern.last() == Some(&b'\\')
}

fn show(pattern: &[u8]) -> String {
    let mut out = String::from(" \"");
    if is_hex(pattern) {
        out.push('|');
        for byte in pattern {
            let _ = write!(out, "{byte:02x}");
        }
        out.push('|');
    } else {
        for &byte in pattern {
            if matches!(byte, b'"' | b'\\') {
                out.push('\\');
            }
            out.push(byte as char);
        }
    }
    out.push('"');
    out
}
