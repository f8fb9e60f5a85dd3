//! One file a command, or a family of them: each reads its arguments, calls the crate that does the work, and prints.

mod ban;
mod capture;
pub mod device;
mod docs;
mod init;
pub mod iptables;
mod lab;
mod live;
mod member;
mod render;
mod run;
mod shape;
mod status;
mod top;
mod trace;

use std::process::ExitCode;

use anyhow::Result;
use fielato_control::Paths;

use crate::cli::{Cli, Command, Shape};

/// Does what the command line says.
pub fn run(cli: Cli) -> Result<ExitCode> {
    let paths = Paths::new(cli.root, cli.config);
    match cli.command {
        Command::Init(args) => init::init(&paths, args)?,
        Command::Import(args) => init::import(&paths, args)?,
        Command::Member(command) => member::run(&paths, command)?,
        Command::Up(args) => return run::up(&paths, args),
        Command::Down => run::down(&paths)?,
        Command::Reload(args) => run::reload(&paths, args.json)?,
        Command::Status(args) => status::run(&paths, args.json)?,
        Command::Render(args) => render::run(&paths, args)?,
        Command::Trace(args) if args.live.live => live::run(&paths, &args.live, args.json)?,
        Command::Trace(args) => return trace::run(&paths, &args),
        Command::Ban(args) => ban::ban(&paths, args)?,
        Command::Unban(args) => ban::unban(&paths, args.network)?,
        Command::Bans(args) => ban::list(&paths, args.json)?,
        Command::Top(args) => top::run(&paths, args)?,
        Command::Shape(Shape::Show(args)) => shape::show(&paths, args.json)?,
        Command::Capture(args) => capture::run(&paths, args)?,
        Command::Lab(command) => return lab::run(command),
        Command::Device(args) => return device::run(&args),
        Command::Iptables(command) => return Ok(iptables::run(&paths, &command)),
        Command::Completions { shell } => docs::completions(shell),
        Command::Man { dir } => docs::man(&dir)?,
    }
    Ok(ExitCode::SUCCESS)
}
