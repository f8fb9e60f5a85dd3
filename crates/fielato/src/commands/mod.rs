//! One file a command, or a family of them: each reads its arguments, calls the crate that does the work, and prints.

mod agent;
mod apply;
mod ban;
mod capture;
mod check;
pub mod device;
mod docs;
mod grant;
mod host;
mod in_force;
mod init;
pub mod iptables;
mod judge;
mod lab;
mod live;
mod member;
mod places;
mod plan;
mod render;
mod revisions;
mod run;
mod session;
mod shape;
mod status;
mod tc;
mod tests;
mod top;
mod trace;
mod usage;

use std::process::ExitCode;

use anyhow::Result;
use fielato_control::client::NotRunning;
use fielato_control::protocol::{Request, Response};
use fielato_control::{Paths, client, offline};
use jiff::Timestamp;

use crate::cli::{Cli, Command, Shape};

/// Where the files stand.
struct Place {
    paths: Paths,
    /// They are an ordinary user's own.
    rootless: bool,
}

impl Place {
    /// An ordinary user who has a configuration means that one, unless a folder is named: `fielato status` finds the hub that
    /// `fielato up --rootless` started.
    fn of(cli: &Cli) -> Result<Self> {
        let of_root = |root| Paths::new(root, cli.config.clone());
        if let Some(root) = &cli.root {
            return Ok(Self {
                paths: of_root(root.clone()),
                rootless: cli.rootless,
            });
        }
        let of_user = Paths::of_user(cli.config.clone(), |name| std::env::var_os(name));
        if cli.rootless {
            return Ok(Self {
                paths: of_user?,
                rootless: true,
            });
        }
        let own = of_user.ok().filter(|paths| cli.config.is_none() && paths.config().exists());
        let own = own.filter(|_| !rustix::process::geteuid().is_root());
        Ok(Self {
            rootless: own.is_some(),
            paths: own.unwrap_or_else(|| of_root("/".into())),
        })
    }
}

/// An answer, and who gave it.
struct Answer {
    response: Response,
    /// The daemon; else its stores, and nothing is in force but what is left of it.
    is_running: bool,
}

/// Asks the daemon; without one, what it has stored, and says so.
fn ask(paths: &Paths, request: &Request) -> Result<Answer> {
    let not_running = match client::request(paths, request) {
        Err(error) if error.is::<NotRunning>() => error,
        answer => {
            return answer.map(|response| Answer {
                response,
                is_running: true,
            });
        }
    };
    let Some(response) = offline::answer(paths, request, Timestamp::now())? else {
        return Err(not_running);
    };
    eprintln!("fielato: no daemon runs; this is what the last one has stored");
    Ok(Answer {
        response,
        is_running: false,
    })
}

/// Does what the command line says.
pub fn run(cli: Cli) -> Result<ExitCode> {
    let Place { paths, rootless } = Place::of(&cli)?;
    match cli.command {
        Command::Init(args) => init::init(&paths, args, rootless)?,
        Command::Import(args) => init::import(&paths, args)?,
        Command::Member(command) => member::run(&paths, command)?,
        Command::Up(args) => return run::up(&paths, args, cli.rootless),
        Command::Down => run::down(&paths)?,
        Command::Reload(args) => run::reload(&paths, args.json)?,
        Command::Apply(args) => apply::apply(&paths, args)?,
        Command::Confirm => apply::confirm(&paths)?,
        Command::Rollback(args) => apply::rollback(&paths, args)?,
        Command::Log(args) => revisions::log(&paths, &args)?,
        Command::Show(args) => revisions::show(&paths, &args)?,
        Command::Grant(args) => grant::grant(&paths, args)?,
        Command::Revoke(args) => grant::revoke(&paths, args)?,
        Command::Grants(args) => grant::list(&paths, args.json)?,
        Command::Usage(args) => usage::run(&paths, &args)?,
        Command::Watchdog(args) => return apply::watchdog(&args.words),
        Command::Status(args) => status::run(&paths, args.json)?,
        Command::Render(args) => render::run(&paths, args)?,
        Command::Trace(args) if args.live.live => live::run(&paths, &args.live, args.json)?,
        Command::Trace(args) => return trace::run(&paths, &args),
        Command::Check(args) => return check::run(&paths, &args),
        Command::Plan(args) => return plan::run(&paths, &args),
        Command::Can(args) => return judge::can(&paths, &args),
        Command::WhoCan(args) => return judge::who_can(&paths, &args),
        Command::Matrix(args) => return judge::matrix(&paths, &args),
        Command::Test(args) => return tests::run(&paths, &args),
        Command::Ban(args) => ban::ban(&paths, args)?,
        Command::Unban(args) => ban::unban(&paths, args.network)?,
        Command::Bans(args) => ban::list(&paths, args.json)?,
        Command::Top(args) => top::run(&paths, args)?,
        Command::Shape(Shape::Show(args)) => shape::show(&paths, args.json)?,
        Command::Host(command) => host::run(&paths, command)?,
        Command::Agent(command) => return agent::run(&paths, command),
        Command::Capture(args) => capture::run(&paths, args)?,
        Command::Tc(args) => return tc::run(&paths, &args),
        Command::Lab(command) => return lab::run(command),
        Command::Device(args) => return device::run(&args),
        Command::Iptables(command) => return Ok(iptables::run(&paths, &command)),
        Command::Completions { shell } => docs::completions(shell),
        Command::Man { dir } => docs::man(&dir)?,
    }
    Ok(ExitCode::SUCCESS)
}
