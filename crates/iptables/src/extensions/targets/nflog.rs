//! `-j NFLOG`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_wire::Family;

use fielato_netfilter::targets::nflog::{Nflog, Parameters, Size};

use super::log;
use crate::extensions::values;
use crate::extensions::words::{self, Options};

/// The user side of `-j NFLOG`.
pub struct NflogSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("nflog-group"),
    OptionSpec::one("nflog-prefix"),
    OptionSpec::one("nflog-range"),
    OptionSpec::one("nflog-size"),
    OptionSpec::one("nflog-threshold"),
];

const DEFAULT_THRESHOLD: u16 = 0;

impl TargetSyntax for NflogSyntax {
    fn name(&self) -> &'static str {
        "NFLOG"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "NFLOG target",
            &[
                ("--nflog-group NUM", "group of the log reader"),
                ("--nflog-range NUM", "without effect: use --nflog-size"),
                ("--nflog-size NUM", "bytes of the packet to hand over"),
                ("--nflog-threshold NUM", "messages to queue before they are sent"),
                ("--nflog-prefix STRING", "what stands before the message"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("NFLOG", given);
        options.exclusive(&["nflog-range", "nflog-size"])?;
        let range = options.number("nflog-range", 0, u32::MAX.into())?;
        let size = options.number("nflog-size", 0, u32::MAX.into())?;
        let prefix = log::prefix(options.text("nflog-prefix"))?;
        Ok(Target::Nflog(Nflog(Box::new(Parameters {
            group: options.number("nflog-group", 0, 0xffff)?.unwrap_or(0) as u16,
            prefix: words::cut(prefix, 63).into(),
            size: match (size, range) {
                (Some(bytes), _) => Size::Bytes(bytes as u32),
                (None, Some(bytes)) if bytes != 0 => Size::Range(bytes as u32),
                _ => Size::Whole,
            },
            threshold: options
                .number("nflog-threshold", 0, 0xffff)?
                .map_or(DEFAULT_THRESHOLD, |threshold| threshold as u16),
        }))))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        show(t, "--")
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        show(t, "")
    }
}

fn show(t: &Target, dashes: &str) -> String {
    let Target::Nflog(Nflog(t)) = t else {
        return String::new();
    };
    let mut out = String::new();
    if !t.prefix.is_empty() {
        out += &format!(" {dashes}nflog-prefix{}", values::save_string(&t.prefix));
    }
    if t.group != 0 {
        out += &format!(" {dashes}nflog-group {}", t.group);
    }
    match t.size {
        Size::Whole => {}
        Size::Range(bytes) => out += &format!(" {dashes}nflog-range {bytes}"),
        Size::Bytes(bytes) => out += &format!(" {dashes}nflog-size {bytes}"),
    }
    if t.threshold != DEFAULT_THRESHOLD {
        out += &format!(" {dashes}nflog-threshold {}", t.threshold);
    }
    out
}
