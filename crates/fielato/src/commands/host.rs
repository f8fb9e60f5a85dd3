//! `fielato host`

use std::io::{IsTerminal as _, Write as _};

use anyhow::{Result, bail};
use fielato_control::protocol::{Request, Response};
use fielato_control::{Paths, client, files};

use crate::cli::Host;

/// `fielato host …`
pub fn run(paths: &Paths, command: Host) -> Result<()> {
    let Host::Enrol { name, output } = command;
    let Response::Token(token) = client::request(paths, &Request::EnrolHost { host: name })? else {
        bail!("the daemon answered something else")
    };
    let mut text = serde_json::to_string_pretty(&*token)?;
    text.push('\n');
    match output {
        Some(path) => files::replace(&std::path::absolute(path)?, text.as_bytes(), 0o600)?,
        None => {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())?;
            if out.is_terminal() {
                eprintln!(
                    "this is a secret until it is used; take it to {} and run `fielato agent enrol -` there",
                    token.host
                );
            }
        }
    }
    Ok(())
}
