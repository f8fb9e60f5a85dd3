//! The log: one line an event on standard error, as service managers collect it.

use std::io::Write as _;

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Stderr;

/// Sends the log to standard error. `FIELATO_LOG` is the level: error, warn, info (the default), debug, trace.
pub fn init() {
    let level = std::env::var("FIELATO_LOG")
        .ok()
        .and_then(|level| level.parse().ok())
        .unwrap_or(LevelFilter::Info);
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // sd-daemon(3): a number in angle brackets is the priority, for a journal that asks for it.
        let priority = match (std::env::var_os("JOURNAL_STREAM").is_some(), record.level()) {
            (false, _) => "",
            (true, Level::Error) => "<3>",
            (true, Level::Warn) => "<4>",
            (true, Level::Info) => "<6>",
            (true, Level::Debug | Level::Trace) => "<7>",
        };
        // A log that cannot be written is no reason to stop forwarding.
        writeln!(std::io::stderr(), "{priority}fielato: {}", record.args()).ok();
    }

    fn flush(&self) {}
}
