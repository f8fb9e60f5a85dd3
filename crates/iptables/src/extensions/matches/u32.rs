//! `-m u32`.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use fielato_netfilter::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use fielato_netfilter::matches::u32::{Step, Test, U32};

use crate::extensions::values;
use crate::extensions::words::{self, Options};

/// The user side of `-m u32`.
pub struct U32Syntax;

impl MatchSyntax for U32Syntax {
    fn name(&self) -> &'static str {
        "u32"
    }

    fn options(&self) -> &'static [OptionSpec] {
        const { &[OptionSpec::one("u32").negatable()] }
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "u32 match",
            &[
                ("[!] --u32 tests", "test [\"&&\" test]..., a test being"),
                ("", "start [op number]... \"=\" value[:value][,...], op one of & << >> @"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let options = Options::new("u32", given);
        let text = options.required("u32")?;
        let tests: Vec<Test> = Reader { text, rest: text }.tests()?;
        Ok(Match::U32(U32 {
            negated: options.negated("u32"),
            tests: tests.into(),
        }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        match m {
            Match::U32(u32) => format!("{} --u32 {}", values::not(u32.negated), show(u32)),
            _ => String::new(),
        }
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        match m {
            Match::U32(u32) => format!(" u32{} {}", values::not(u32.negated), show(u32)),
            _ => String::new(),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn tests(mut self) -> Result<Vec<Test>, SyntaxError> {
        let mut tests = Vec::new();
        loop {
            if tests.len() == U32::MAX {
                return Err(self.error("too many \"&&\"s"));
            }
            tests.push(self.test()?);
            if self.at_end() {
                return Ok(tests);
            }
            if !self.take("&&") {
                return Err(self.error("expected \",\" or \"&&\""));
            }
        }
    }

    fn test(&mut self) -> Result<Test, SyntaxError> {
        let start = self.number()?;
        let mut steps = Vec::new();
        while !self.take("=") {
            let step: fn(u32) -> Step = if self.take("&") {
                Step::And
            } else if self.take("<<") {
                Step::Left
            } else if self.take(">>") {
                Step::Right
            } else if self.take("@") {
                Step::At
            } else {
                return Err(self.error("operator expected"));
            };
            if steps.len() + 1 == U32::MAX {
                return Err(self.error("too many operators"));
            }
            steps.push(step(self.number()?));
        }
        let mut values = vec![self.range()?];
        while self.take(",") {
            if values.len() == U32::MAX {
                return Err(self.error("too many \",\"s"));
            }
            values.push(self.range()?);
        }
        Ok(Test { start, steps, values })
    }

    fn range(&mut self) -> Result<RangeInclusive<u32>, SyntaxError> {
        let first = self.number()?;
        let last = if self.take(":") { self.number()? } else { first };
        Ok(first..=last)
    }

    fn number(&mut self) -> Result<u32, SyntaxError> {
        let found = values::leading_number(self.rest, u32::MAX.into());
        let (number, rest) = found.ok_or_else(|| self.error("not a number or out of range"))?;
        self.rest = rest;
        Ok(number as u32)
    }

    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn at_end(&self) -> bool {
        self.rest.trim_start().is_empty()
    }

    fn error(&self, what: &str) -> SyntaxError {
        SyntaxError::new(format!("u32: at char {}: {what}", self.text.len() - self.rest.len()))
    }
}

fn show(u32: &U32) -> String {
    let tests = u32.tests.iter().map(|test| {
        let mut out = format!("0x{:x}", test.start);
        for step in &test.steps {
            let _ = match step {
                Step::And(n) => write!(out, "&0x{n:x}"),
                Step::Left(n) => write!(out, "<<0x{n:x}"),
                Step::Right(n) => write!(out, ">>0x{n:x}"),
                Step::At(n) => write!(out, "@0x{n:x}"),
            };
        }
        let values = test.values.iter().map(|range| match (range.start(), range.end()) {
            (first, last) if first == last => format!("0x{first:x}"),
            (first, last) => format!("0x{first:x}:0x{last:x}"),
        });
        out + "=" + &values.collect::<Vec<_>>().join(",")
    });
    format!("\"{}\"", tests.collect::<Vec<_>>().join("&&"))
}
