//! `-m bpf`.

use fielato_netfilter::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use fielato_netfilter::matches::bpf::{Bpf, Instruction};

use crate::extensions::words::{self, Options};

/// The user side of `-m bpf`.
pub struct BpfSyntax;

impl MatchSyntax for BpfSyntax {
    fn name(&self) -> &'static str {
        "bpf"
    }

    fn revision(&self) -> u8 {
        1
    }

    fn options(&self) -> &'static [OptionSpec] {
        const { &[OptionSpec::one("bytecode"), OptionSpec::one("object-pinned")] }
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "bpf match",
            &[
                ("--bytecode <program>", "classic BPF, as nfbpf_compile RAW makes it"),
                ("--object-pinned <path>", "a program in the kernel: not with this engine"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let options = Options::new("bpf", given);
        if options.has("object-pinned") {
            return Err(SyntaxError::new(
                "bpf: programs pinned in the kernel can't be run here: use --bytecode",
            ));
        }
        let Some(text) = options.text("bytecode") else {
            return Err(SyntaxError::new("bpf: one of --bytecode or --object-pinned is required"));
        };
        Ok(Match::Bpf(Bpf {
            program: program(text)?.into(),
        }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        match m {
            Match::Bpf(m) => format!(" --bytecode \"{},{}\"", m.program.len(), show(m)),
            _ => String::new(),
        }
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        match m {
            Match::Bpf(m) => format!("match bpf {}", show(m)),
            _ => String::new(),
        }
    }
}

/// `LENGTH,CODE JT JF K,...`.
fn program(text: &str) -> Result<Vec<Instruction>, SyntaxError> {
    let mut parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let length = parts.next().and_then(|word| word.parse::<usize>().ok());
    let length = length.ok_or_else(|| SyntaxError::new("bpf: error parsing program length"))?;
    if length == 0 {
        return Err(SyntaxError::new("bpf: illegal zero length program"));
    }
    if length > Bpf::MAX {
        return Err(SyntaxError::new("bpf: number of instructions exceeds maximum"));
    }
    let instruction = |(at, part): (usize, &str)| {
        let mut words = part.split_whitespace();
        let mut read = || {
            Some(Instruction {
                code: words.next()?.parse().ok()?,
                jt: words.next()?.parse().ok()?,
                jf: words.next()?.parse().ok()?,
                k: words.next()?.parse().ok()?,
            })
        };
        read().ok_or_else(|| SyntaxError::new(format!("bpf: error at instr {at}")))
    };
    let program: Vec<_> = parts.enumerate().map(instruction).collect::<Result<_, _>>()?;
    match program.len().cmp(&length) {
        std::cmp::Ordering::Equal => Ok(program),
        std::cmp::Ordering::Less => Err(SyntaxError::new(
            "bpf: parsed program length is less than the encoded length parameter",
        )),
        std::cmp::Ordering::Greater => Err(SyntaxError::new(
            "bpf: real program length exceeds the encoded length parameter",
        )),
    }
}

fn show(m: &Bpf) -> String {
    let line = |i: &Instruction| format!("{} {} {} {}", i.code, i.jt, i.jf, i.k);
    m.program.iter().map(line).collect::<Vec<_>>().join(",")
}
