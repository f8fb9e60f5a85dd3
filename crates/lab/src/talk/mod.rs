//! The talk, step by step: what it claims, what is measured here, and whether they agree.

mod captures;
mod forge;
mod guard;
mod pcap;
mod ping;
mod report;
mod restore;
mod service;
mod shaping;
mod snapshot;
mod strategies;
mod tunnel;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};

pub use report::{Check, Outcome, Report, Step};

use crate::gateway::{Gateway, Starter};
use crate::interrupt::{Interrupt, Interrupted};
use crate::lab::{Lab, LabOptions, TemporaryLab};
use report::Recorder;
use snapshot::Snapshot;

/// How the talk is run.
#[derive(Debug, Clone)]
pub struct TalkOptions {
    /// The `fielato` that the machines run.
    pub fielato: PathBuf,
    /// Where the captures go; a directory of this run in the system's own for temporary files when `None`.
    pub captures: Option<PathBuf>,
    /// Leave the machines standing.
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
    let mut recorder = Recorder::new(out, options.colours);
    let name = format!("fielato-talk-{}", std::process::id());
    let captures = match &options.captures {
        Some(directory) => directory.clone(),
        None => std::env::temp_dir().join(&name),
    };
    let lab = TemporaryLab::up(
        &LabOptions {
            name,
            fielato: options.fielato.clone(),
        },
        &interrupt,
    )?;
    let mut state = State::new(&lab, &interrupt)?;
    for (index, step) in STEPS.iter().enumerate() {
        recorder.begin(index + 1, step.title, step.claim)?;
        if let Some(missing) = state.cannot_go_on(step) {
            recorder.skip("all of this step", "to be measured", missing)?;
            continue;
        }
        let mut talk = Talk {
            lab: &lab,
            interrupt: &interrupt,
            captures: &captures,
            state: &mut state,
            recorder: &mut recorder,
        };
        if let Err(error) = (step.run)(&mut talk) {
            if interrupt.is_set() || error.is::<Interrupted>() {
                return Err(Interrupted.into());
            }
            recorder.check("this step", "to be carried out to its end", format!("{error:#}"), false)?;
        }
    }
    if options.keep {
        let lab = lab.keep();
        let directory = lab.map(|lab| format!("the machines, in {}", lab.directory().display()));
        directory.into_iter().for_each(|directory| recorder.keep(directory));
    } else {
        restore::lab_down(lab, &mut recorder)?;
    }
    recorder.finish()
}

/// One step: its words and what it does.
struct StepSpec {
    title: &'static str,
    claim: &'static str,
    needs_tunnel: bool,
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
    interrupt: &'l Interrupt,
    captures: &'a std::path::Path,
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

    fn cannot_go_on(&self, step: &StepSpec) -> Option<&'static str> {
        (step.needs_tunnel && self.starter.is_none()).then_some("the tunnel of step 1 is not up")
    }
}

impl<'l> Talk<'_, 'l, '_> {
    fn gateway(&self) -> Result<&Gateway<'l>> {
        self.state.gateway.as_ref().context("the gateway is not set up")
    }
}
