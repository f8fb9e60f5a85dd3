//! `-j NFQUEUE`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_wire::Family;

use fielato_netfilter::targets::nfqueue::Nfqueue;

use crate::extensions::values;
use crate::extensions::words::{self, Options};

/// The user side of `-j NFQUEUE`.
pub struct NfqueueSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("queue-num"),
    OptionSpec::one("queue-balance"),
    OptionSpec::flag("queue-bypass"),
    OptionSpec::flag("queue-cpu-fanout"),
];

impl TargetSyntax for NfqueueSyntax {
    fn name(&self) -> &'static str {
        "NFQUEUE"
    }

    fn revision(&self) -> u8 {
        3
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "NFQUEUE target",
            &[
                ("--queue-num value", "queue, 0 to 65535"),
                ("--queue-balance first:last", "spread flows over these queues"),
                ("--queue-bypass", "accept when nobody handles the queue"),
                ("--queue-cpu-fanout", "spread by processor instead of by flow"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("NFQUEUE", given);
        options.exclusive(&["queue-num", "queue-balance"])?;
        options.needs("queue-cpu-fanout", "queue-balance")?;
        let mut target = Nfqueue {
            queue: options.number("queue-num", 0, 0xffff)?.unwrap_or(0) as u16,
            total: 1,
            bypass: options.has("queue-bypass"),
            cpu_fanout: options.has("queue-cpu-fanout"),
        };
        if let Some(text) = options.text("queue-balance") {
            (target.queue, target.total) = balance(text)?;
        }
        Ok(Target::Nfqueue(target))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        show(t, " --queue-", "--queue-")
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        show(t, " NFQUEUE ", "")
    }
}

/// `FIRST:LAST` as first and number. The last queue can't be 65535: iptables' limit.
fn balance(text: &str) -> Result<(u16, u16), SyntaxError> {
    let bad = || SyntaxError::new(format!("Bad range \"{text}\""));
    let (first, last) = text.split_once(':').ok_or_else(bad)?;
    let first = if first.is_empty() {
        Some(0)
    } else {
        values::number(first, 0, 65_534)
    };
    let last = if last.is_empty() {
        Some(65_534)
    } else {
        values::number(last, 0, 65_534)
    };
    let (first, last) = first.zip(last).ok_or_else(|| {
        SyntaxError::new(format!(
            "NFQUEUE: bad value for option \"--queue-balance\" near \"{text}\", or out of range (0-65534)."
        ))
    })?;
    if first >= last {
        return Err(SyntaxError::new(format!("{first} should be less than {last}")));
    }
    Ok((first as u16, (last - first + 1) as u16))
}

fn show(t: &Target, head: &str, flag: &str) -> String {
    let Target::Nfqueue(t) = t else {
        return String::new();
    };
    let mut out = match t.total {
        0 | 1 => format!("{head}num {}", t.queue),
        total => format!("{head}balance {}:{}", t.queue, u32::from(t.queue) + u32::from(total) - 1),
    };
    if t.bypass {
        out += &format!(" {flag}bypass");
    }
    if t.cpu_fanout {
        out += &format!(" {flag}cpu-fanout");
    }
    out
}
