//! `-j LOG`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_wire::Family;

use fielato_netfilter::targets::log::{Log, LogFlags};

use crate::extensions::values;
use crate::extensions::words::{self, Options};

/// The user side of `-j LOG`.
pub struct LogSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("log-level"),
    OptionSpec::one("log-prefix"),
    OptionSpec::flag("log-tcp-sequence"),
    OptionSpec::flag("log-tcp-options"),
    OptionSpec::flag("log-ip-options"),
    OptionSpec::flag("log-uid"),
    OptionSpec::flag("log-macdecode"),
];

/// Flags in the order in which they are shown.
const FLAGS: [(u8, &str); 5] = [
    (LogFlags::TCP_SEQUENCE, "tcp-sequence"),
    (LogFlags::TCP_OPTIONS, "tcp-options"),
    (LogFlags::IP_OPTIONS, "ip-options"),
    (LogFlags::UID, "uid"),
    (LogFlags::MAC_DECODE, "macdecode"),
];

/// syslog's levels by number, as syslog.h names them first.
const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

impl TargetSyntax for LogSyntax {
    fn name(&self) -> &'static str {
        "LOG"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "LOG target",
            &[
                ("--log-level level", "level by number or by syslog's name"),
                ("--log-prefix prefix", "what stands before the line, at most 29 bytes"),
                ("--log-tcp-sequence", "show TCP sequence numbers"),
                ("--log-tcp-options", "show TCP options"),
                ("--log-ip-options", "show IP options"),
                ("--log-uid", "show the owner of the local socket"),
                ("--log-macdecode", "show MAC addresses and protocol by name"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("LOG", given);
        let level = match options.text("log-level") {
            None => Log::DEFAULT_LEVEL,
            Some(text) => level(text)?,
        };
        let prefix = prefix(options.text("log-prefix"))?;
        let mut flags = LogFlags(0);
        for (bit, name) in FLAGS {
            if options.has(&format!("log-{name}")) {
                flags.0 |= bit;
            }
        }
        Ok(Target::Log(Log {
            level,
            flags,
            prefix: words::cut(prefix, 29).into(),
        }))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        let Target::Log(Log { level, flags, prefix }) = t else {
            return String::new();
        };
        let mut out = String::new();
        if !prefix.is_empty() {
            out += " --log-prefix";
            out += &values::save_string(prefix);
        }
        if *level != Log::DEFAULT_LEVEL {
            out += &format!(" --log-level {level}");
        }
        for (bit, name) in FLAGS {
            if flags.has(bit) {
                out += &format!(" --log-{name}");
            }
        }
        out
    }

    fn print(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        let Target::Log(Log { level, flags, prefix }) = t else {
            return String::new();
        };
        let mut out = String::from(" LOG");
        if cx.numeric {
            out += &format!(" flags {} level {level}", flags.0);
        } else {
            match LEVELS.get(usize::from(*level)) {
                Some(name) => out += &format!(" level {name}"),
                None => out += &format!(" UNKNOWN level {level}"),
            }
            for (bit, name) in FLAGS {
                if flags.has(bit) {
                    out += &format!(" {name}");
                }
            }
        }
        if !prefix.is_empty() {
            out += &format!(" prefix \"{prefix}\"");
        }
        out
    }
}

/// A level by number or name; `error` and `panic` are old names.
fn level(text: &str) -> Result<u8, SyntaxError> {
    if let Some(level) = values::number(text, 0, 7) {
        return Ok(level as u8);
    }
    let level = match text {
        "panic" => Some(0),
        "error" => Some(3),
        // syslog.h has err, iptables only error.
        "err" => None,
        name => LEVELS.iter().position(|level| *level == name),
    };
    level
        .map(|level| level as u8)
        .ok_or_else(|| SyntaxError::new(format!("log level \"{text}\" unknown")))
}

/// A prefix of at least one byte, on one line.
pub(super) fn prefix(text: Option<&str>) -> Result<&str, SyntaxError> {
    match text {
        None => Ok(""),
        Some("") => Err(SyntaxError::new("Argument must have a minimum length of 1 characters")),
        Some(text) if text.contains('\n') => Err(SyntaxError::new("Newlines not allowed in --log-prefix")),
        Some(text) => Ok(text),
    }
}
