//! `fielato up`, `down`, `reload`.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fielato_control::client::{self, Refused};
use fielato_control::hub::{Machine, Options};
use fielato_control::lock::{Held, Lock};
use fielato_control::protocol::{Changes, Request, Response, RulesChange, VERSION};
use fielato_control::tunnel::Choice;
use fielato_control::{Paths, daemon, files, logging};
use fielato_policy::config;

use crate::cli::{self, Up, Wireguard};
use crate::output::{self, Progress};

/// How long `down` waits for a process that has the lock and does not answer: it is coming up, or going.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the process in the background says on its standard output once everything is up.
const READY: &str = "ready";
/// Set for the process in the background: where its log goes once it is up.
const LOG_VARIABLE: &str = "FIELATO_BACKGROUND_LOG";

/// `fielato up`
pub fn up(paths: &Paths, args: Up, rootless: bool) -> Result<ExitCode> {
    match args.foreground {
        true => foreground(paths, &options(&args, rootless)).map(|()| ExitCode::SUCCESS),
        false => background(paths),
    }
}

fn options(args: &Up, rootless: bool) -> Options {
    Options {
        engine: args.engine.map(|engine| match engine {
            cli::Engine::Auto => config::Engine::Auto,
            cli::Engine::Kernel => config::Engine::Kernel,
            cli::Engine::Userspace => config::Engine::Userspace,
        }),
        wireguard: match args.wireguard {
            Wireguard::Auto => Choice::Auto,
            Wireguard::Kernel => Choice::Kernel,
            Wireguard::Userspace => Choice::Userspace,
        },
        rootless,
        applied: args.applied,
        again: again(),
    }
}

/// The words of this command line, with those that bring the hub up in the background and with what was applied.
fn again() -> Vec<OsString> {
    let words = std::env::args_os().skip(1);
    let mut words: Vec<OsString> = words.filter(|word| word != "--foreground" && word != "--applied").collect();
    words.push("--applied".into());
    words
}

fn foreground(paths: &Paths, options: &Options) -> Result<()> {
    logging::init();
    let mut progress = Some(Progress::new());
    let background = std::env::var_os(LOG_VARIABLE).is_some();
    daemon::run(
        paths,
        options,
        &mut |what| progress.iter_mut().for_each(|line| line.step(what)),
        || match background {
            true => detach(paths),
            false => {
                log::info!("up");
                Ok(())
            }
        },
    )
}

/// Tells the waiting parent, and moves to the log file.
fn detach(paths: &Paths) -> Result<()> {
    let path = paths.log();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let mut out = std::io::stdout();
    writeln!(out, "{READY}")?;
    out.flush()?;
    rustix::stdio::dup2_stdout(&log)?;
    rustix::stdio::dup2_stderr(&log)?;
    log::info!("up");
    Ok(())
}

/// The same command again, in a session of its own; returns when it is up, or with its failure.
fn background(paths: &Paths) -> Result<ExitCode> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg("--foreground")
        .env(LOG_VARIABLE, paths.log())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("cannot start the process in the background")?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut line)?;
    }
    if line.trim() != READY {
        let status = child.wait()?;
        // It has said why on standard error, which is ours too.
        return Ok(ExitCode::from(
            status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
        ));
    }
    println!("fielato is up; next: `fielato status`, `fielato member add NAME`");
    Ok(ExitCode::SUCCESS)
}

/// `fielato down`
pub fn down(paths: &Paths) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client::request(paths, &Request::Stop) {
            Ok(_) => {
                // The answer comes after everything is down; the lock goes with the process.
                Lock::wait(paths, PATIENCE)?;
                println!("fielato is down; the machine is as it was");
                return Ok(());
            }
            Err(error) if error.is::<Refused>() => return Err(error),
            // Nobody answers: nothing runs, or it was killed, perhaps just now; or it has the lock, and is coming up or going.
            Err(unanswered) => match Lock::take(paths) {
                Ok(lock) => return clear(paths, lock),
                Err(error) if !error.is::<Held>() => return Err(error),
                Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(20)),
                Err(error) => return Err(error).context(unanswered),
            },
        }
    }
}

/// Takes down what a process that is gone left behind.
fn clear(paths: &Paths, _lock: Lock) -> Result<()> {
    match Machine::left_behind(paths)? {
        Some(mut machine) => {
            machine.clear()?;
            println!("fielato was not running; what it had left behind is removed");
        }
        None => println!("fielato is not running; there is nothing to take down"),
    }
    files::remove(&paths.socket())
}

/// `fielato reload`
pub fn reload(paths: &Paths, json: bool) -> Result<()> {
    let Response::Reloaded(changes) = client::request(paths, &Request::Reload)? else {
        bail!("the daemon answered something else")
    };
    if json {
        return output::json(&serde_json::json!({ "version": VERSION, "changes": changes }));
    }
    match changed(&changes) {
        parts if parts.is_empty() => println!("nothing changed"),
        parts => println!("changed: {}", parts.join("; ")),
    }
    Ok(())
}

/// What changed, part by part.
pub fn changed(changes: &Changes) -> Vec<String> {
    let mut parts = Vec::new();
    if changes.peers_set + changes.peers_removed > 0 {
        parts.push(format!(
            "members: {} added or changed, {} removed",
            changes.peers_set, changes.peers_removed
        ));
    }
    match changes.rules {
        RulesChange::None => {}
        RulesChange::Elements => parts.push("rules: addresses in sets".into()),
        RulesChange::Whole => parts.push("rules: replaced in one transaction".into()),
    }
    if changes.shaping {
        parts.push("shaping".into());
    }
    if changes.interface {
        parts.push("interface".into());
    }
    if changes.bans > 0 {
        parts.push(format!("bans: {}", changes.bans));
    }
    if changes.connections_cut > 0 {
        parts.push(format!("connections ended: {}", changes.connections_cut));
    }
    parts
}
