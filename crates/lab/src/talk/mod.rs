//! The talk, step by step: what it claims, what is measured here, and whether they agree.

mod captures;
mod forge;
mod guard;
mod pcap;
mod ping;
mod restore;
mod service;
mod shaping;
mod snapshot;
mod strategies;
mod tunnel;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};

use captures::CaptureFiles;

use crate::gateway::{Engine, Gateway, Starter};
use crate::interrupt::{Interrupt, Interrupted};
use crate::lab::{Lab, LabOptions, TemporaryLab};
use crate::report::{Recorder, Report};
use crate::topology::Node;
use snapshot::Snapshot;

/// How the talk is run.
#[derive(Debug, Clone)]
pub struct TalkOptions {
    /// The `fielato` that the machines run.
    pub fielato: PathBuf,
    /// The hub's engine.
    pub engine: Engine,
    /// Where the captures go; a directory of this run in the system's own for temporary files when `None`.
    pub captures: Option<PathBuf>,
    /// Leave the machines standing, with the tunnel running; the last step is not made then.
    pub keep: bool,
    /// Colours in what is told.
    pub colours: bool,
}

/// Makes the machines, runs the steps and removes the machines. What happens is told to `out`.
///
/// # Errors
/// When the machines can't be made, or the user asks to stop ([`Interrupted`]); everything is removed then too. A claim that
/// does not hold is no error but a failed check.
pub fn run(options: &TalkOptions, out: Option<&mut dyn Write>) -> Result<Report> {
    let interrupt = Interrupt::install()?;
    let mut recorder = Recorder::new(out, options.colours, options.engine);
    let name = format!("fielato-talk-{}-{}", std::process::id(), options.engine.name());
    let captures = CaptureFiles::new(options.captures.as_deref(), &name, options.engine);
    let lab_options = LabOptions {
        name,
        fielato: options.fielato.clone(),
    };
    let lab = TemporaryLab::up(&lab_options, &interrupt)?;
    if let Err(error) = steps(options, &lab, &interrupt, &captures, &mut recorder) {
        // Nobody will read them.
        captures.remove();
        return match lab.down() {
            Ok(()) => Err(error),
            Err(left) => Err(left.context(error)),
        };
    }
    if options.keep {
        recorder.keep(lab.directory().display().to_string());
        lab.keep();
    } else {
        recorder.lab_down(lab)?;
    }
    recorder.finish()
}

/// # Errors
/// Only when there is nobody to tell, the machines can't be looked at, or the user asks to stop.
fn steps(
    options: &TalkOptions,
    lab: &Lab,
    interrupt: &Interrupt,
    captures: &CaptureFiles,
    recorder: &mut Recorder<'_>,
) -> Result<()> {
    let mut state = State::new(lab, interrupt)?;
    for (index, step) in STEPS.iter().enumerate() {
        recorder.begin(index + 1, step.title, step.claim)?;
        let reason = if step.needs_tunnel && state.starter.is_none() {
            Some("the tunnel of step 1 is not up")
        } else if step.takes_down && options.keep {
            Some("the machines are to be kept")
        } else {
            None
        };
        if let Some(reason) = reason {
            recorder.skip("all of this step", "to be measured", reason)?;
            continue;
        }
        let mut talk = Talk {
            lab,
            engine: options.engine,
            interrupt,
            captures,
            state: &mut state,
            recorder,
        };
        if let Err(error) = (step.run)(&mut talk) {
            if interrupt.is_set() || error.is::<Interrupted>() {
                return Err(Interrupted.into());
            }
            recorder.check("this step", "to be carried out to its end", format!("{error:#}"), false)?;
        }
    }
    Ok(())
}

/// One step: its words and what it does.
struct StepSpec {
    title: &'static str,
    claim: &'static str,
    needs_tunnel: bool,
    takes_down: bool,
    run: fn(&mut Talk<'_, '_, '_>) -> Result<()>,
}

const STEPS: [StepSpec; 8] = [
    tunnel::STEP,
    captures::STEP,
    service::STEP,
    strategies::SOURCE,
    strategies::MEMBER,
    shaping::STEP,
    guard::STEP,
    restore::STEP,
];

/// What a step has to work with.
struct Talk<'a, 'l, 'o> {
    lab: &'l Lab,
    engine: Engine,
    interrupt: &'l Interrupt,
    captures: &'a CaptureFiles,
    state: &'a mut State<'l>,
    recorder: &'a mut Recorder<'o>,
}

/// What one step leaves for the next.
struct State<'l> {
    /// The machines before anything was brought up.
    before: Vec<Snapshot>,
    gateway: Option<Gateway<'l>>,
    starter: Option<Starter>,
}

impl State<'_> {
    fn new(lab: &Lab, interrupt: &Interrupt) -> Result<Self> {
        restore::put_foreign_things(lab, interrupt)?;
        let before = Snapshot::all(lab, interrupt).context("cannot look at the machines")?;
        Ok(Self {
            before,
            gateway: None,
            starter: None,
        })
    }
}

impl<'l> Talk<'_, 'l, '_> {
    fn gateway(&self) -> Result<&Gateway<'l>> {
        self.state.gateway.as_ref().context("the gateway is not set up")
    }

    /// What the hub tells of itself.
    fn status(&self) -> Result<serde_json::Value> {
        let hub = self.lab.machine(Node::VpnCore);
        let status = hub.fielato(["status", "--json"]).succeed(self.interrupt)?;
        serde_json::from_str(&status).context("`fielato status --json` printed no JSON")
    }

    /// What `tc` prints on the hub: the kernel's program, or the engine's own words in its place.
    fn tc(&self, arguments: &[&str]) -> Result<String> {
        let hub = self.lab.machine(Node::VpnCore);
        match self.engine {
            Engine::Kernel => hub.call("tc", arguments),
            Engine::Userspace => hub.fielato(["tc"].iter().chain(arguments)),
        }
        .succeed(self.interrupt)
    }
}
