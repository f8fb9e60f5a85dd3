//! `fielato trace --live`

use std::io::{self, Write as _};

use anyhow::Result;
use fielato_control::Paths;
use fielato_control::live::report::LivePacket;
use fielato_control::live::trace::{self, Settings};
use fielato_control::live::{self, Stop, Subject};
use fielato_wire::filter::Words;

use crate::cli;

/// `fielato trace --live`
pub fn run(paths: &Paths, args: &cli::Live, json: bool) -> Result<()> {
    let words = args.filter.join(" ");
    let settings = Settings {
        filter: Words::parse(&words)?,
        words,
        per_second: args.limit,
        count: args.count,
    };
    let subject = Subject::load(paths)?;
    let stop = Stop::install(args.duration.map(|time| time.unsigned_abs()))?;
    let mut out = io::stdout().lock();
    let mut show = |packet: &LivePacket| -> Result<()> {
        match json {
            true => writeln!(out, "{}", serde_json::to_string(packet)?)?,
            false => writeln!(out, "{packet}")?,
        }
        Ok(out.flush()?)
    };
    let banned = live::banned_unseen(paths, &subject);
    let begun = || eprintln!("tracing, at most {} packets a second; Ctrl-C ends it", args.limit);
    match trace::run(paths, &subject, &settings, &stop, &begun, &mut show) {
        Ok(summary) if summary.lost => eprintln!("some packets were missed: they came too fast"),
        Ok(_) => {}
        // Whoever read has gone, as `| head` does; that is no failure.
        Err(error)
            if error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) => {}
        Err(error) => return Err(error),
    }
    tell_banned(banned, live::banned_unseen(paths, &subject));
    Ok(())
}

/// Says what the guard dropped between two counts, of whatever the filter would have wanted.
pub fn tell_banned(before: Option<u64>, after: Option<u64>) {
    if let (Some(before), Some(after)) = (before, after)
        && after > before
    {
        let packets = after - before;
        eprintln!("beside these the guard dropped {packets} packets of banned sources, unseen (`fielato bans`)");
    }
}
