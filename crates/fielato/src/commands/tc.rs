//! `fielato tc`

use std::process::ExitCode;

use anyhow::{Result, bail};
use fielato_control::protocol::{Request, Response};
use fielato_control::{Paths, client};

use crate::cli::Words;

/// `fielato tc …`: the words go to the daemon, which knows the devices.
pub fn run(paths: &Paths, args: &Words) -> Result<ExitCode> {
    let words = args.words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let Response::Tc { text } = client::request(paths, &Request::Tc { words })? else {
        bail!("the daemon answered something else")
    };
    print!("{text}");
    Ok(ExitCode::SUCCESS)
}
