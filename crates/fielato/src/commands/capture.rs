//! `fielato capture`

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use fielato_control::Paths;
use fielato_control::live::capture::{self, Settings, Summary};
use fielato_control::live::{self as control_live, Stop, Subject};
use fielato_wire::filter::Words;

use super::live;
use crate::cli;

/// `fielato capture`
pub fn run(paths: &Paths, args: cli::Capture) -> Result<()> {
    let words = args.filter.join(" ");
    let settings = Settings {
        clear: !args.cipher,
        cipher: !args.clear,
        filter: Words::parse(&words)?,
        words,
        count: args.count,
        snaplen: args.snaplen,
        explained: args.explained,
    };
    let subject = Subject::load(paths)?;
    let mut out = open(&args.write)?;
    let banned = control_live::banned_unseen(paths, &subject);
    let time = args.duration.map(|time| time.unsigned_abs());
    let summary = capture::run(paths, &subject, &settings, &mut out, &Stop::install(time)?)?;
    eprintln!("{}", text(&summary));
    live::tell_banned(banned, control_live::banned_unseen(paths, &subject));
    Ok(())
}

fn open(path: &Path) -> Result<Box<dyn Write>> {
    if path == Path::new("-") {
        let out = io::stdout();
        if out.is_terminal() {
            bail!("a capture file is nothing for a terminal; write it to a file or a pipe, as in `-w - | tcpdump -n -r -`");
        }
        return Ok(Box::new(BufWriter::new(out)));
    }
    // What was encrypted stands in it in the clear.
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    let file = file.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Box::new(BufWriter::new(file)))
}

fn text(summary: &Summary) -> String {
    let Summary {
        packets,
        lost,
        clear,
        explained,
        unexplained,
    } = summary;
    let mut text = match packets {
        1 => "1 packet captured".to_owned(),
        packets => format!("{packets} packets captured"),
    };
    if *lost > 0 {
        text += &format!(", {lost} lost because they came too fast");
    }
    if let Some(reason) = unexplained {
        text += &format!("\nwithout verdicts: {reason}");
    } else if explained < clear {
        text += &format!("; {explained} of {clear} within the tunnel have a verdict (see --explained)");
    }
    text
}
