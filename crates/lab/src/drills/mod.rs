//! Lock-out drills: an administrator, logged in on the hub through the tunnel, applies a policy that cuts him off, also with the
//! daemon killed in the middle. He is let in again, his connection goes on, and nothing passes meanwhile that must not.

mod forbidden;
mod session;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use forbidden::Forbidden;
use session::{Server, Session};

use crate::gateway::{Engine, Gateway, Strategy};
use crate::interrupt::{Interrupt, Interrupted};
use crate::lab::{Lab, LabOptions, TemporaryLab};
use crate::machine::Machine;
use crate::report::{Recorder, Report};
use crate::topology::{Family, Node};

/// Where the administrator is logged in.
const PORT: u16 = 22;
/// How long a policy waits to be confirmed that nobody will confirm.
const CONFIRM: Duration = Duration::from_secs(5);
/// A connection without an answer for so long is cut.
const CUT: Duration = Duration::from_secs(1);
/// How long a connection may take to go on: TCP tries again at intervals that double (RFC 6298, 5.5), so that this is twice the time
/// without a hub, with some to spare.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the hub may take to be back.
const RETURN: Duration = Duration::from_secs(30);
/// Moments up to this part of an apply's time are drawn: some come when it is over, and waits to be confirmed.
const BEYOND: f64 = 1.3;

/// How the drills are run.
#[derive(Debug, Clone)]
pub struct DrillOptions {
    /// The `fielato` that the machines run.
    pub fielato: PathBuf,
    /// The hub's engine.
    pub engine: Engine,
    /// How many times the daemon is killed.
    pub times: u32,
    /// From which the moments follow.
    pub seed: u64,
    /// Colours in what is told.
    pub colours: bool,
}

/// Makes the machines, runs the drills and removes the machines. What happens is told to `out`.
///
/// # Errors
/// When the machines can't be made, or the user asks to stop ([`Interrupted`]); everything is removed then too. A drill that
/// fails is no error but a failed check.
pub fn run(options: &DrillOptions, out: Option<&mut dyn Write>) -> Result<Report> {
    let interrupt = Interrupt::install()?;
    let mut recorder = Recorder::new(out, options.colours, options.engine);
    let lab_options = LabOptions {
        name: format!("fielato-drills-{}-{}", std::process::id(), options.engine.name()),
        fielato: options.fielato.clone(),
    };
    let lab = TemporaryLab::up(&lab_options, &interrupt)?;
    let drilled = drill(options, &lab, &interrupt, &mut recorder);
    if let Err(error) = drilled {
        if interrupt.is_set() || error.is::<Interrupted>() {
            let stopped = anyhow::Error::from(Interrupted);
            return Err(match lab.down() {
                Ok(()) => stopped,
                Err(left) => left.context(stopped),
            });
        }
        recorder.check("the drills", "to be carried out to their end", format!("{error:#}"), false)?;
    }
    recorder.lab_down(lab)?;
    recorder.finish()
}

fn drill(options: &DrillOptions, lab: &Lab, interrupt: &Interrupt, recorder: &mut Recorder<'_>) -> Result<()> {
    let random = fastrand::Rng::with_seed(options.seed);
    recorder.begin(
        1,
        "A session",
        "An administrator is logged in on the hub through the tunnel, over IPv4 and over IPv6.",
    )?;
    let mut drills = Drills::prepare(options, lab, interrupt, recorder, random)?;
    drills.sessions_go_on("at first")?;

    drills.recorder.begin(
        2,
        "Refused",
        "A policy that would cut his session is refused, unless it is forced.",
    )?;
    drills.refused()?;

    drills.recorder.begin(
        3,
        "Taken back",
        "Forced, it cuts him off; since he can't confirm it, the policy before comes back by itself, and his session goes on.",
    )?;
    let duration = drills.taken_back()?;

    drills.recorder.begin(
        4,
        "Killed in the middle",
        "The same holds when the daemon is killed at any moment of it.",
    )?;
    drills.recorder.note(&format!(
        "an apply takes {} ms; moments drawn with --seed {}",
        duration.as_millis(),
        options.seed
    ))?;
    let mut by_itself = 0;
    for number in 1..=options.times {
        by_itself += u32::from(drills.killed(number, duration)?);
    }
    drills.recorder.note(&format!(
        "{by_itself} of {} times the hub came back by itself; else the kill came before there was anything to take back, and starting \
         it is a service manager's",
        options.times
    ))?;

    drills
        .recorder
        .begin(5, "Closed meanwhile", "What no rule lets pass did not pass in all that time.")?;
    let (sent, arrived) = drills.forbidden.counts();
    drills.recorder.check(
        "from client-a through the hub, to a port of client-b that is no service",
        "some packets sent, 0 arrived",
        format!("{sent} packets sent, {arrived} arrived"),
        sent > 0 && arrived == 0,
    )
}

/// What the drills work with.
struct Drills<'a, 'l, 'o> {
    hub: &'l Machine,
    gateway: Gateway<'l>,
    interrupt: &'l Interrupt,
    recorder: &'a mut Recorder<'o>,
    random: fastrand::Rng,
    forbidden: Forbidden,
    sessions: Vec<(Family, Session)>,
    /// The policy that lets nobody pass.
    cut: String,
    /// The revision to come back to.
    good: u64,
    /// Whether the WireGuard device ends with the daemon, and the member's session with it.
    device_dies: bool,
    _server: Server,
}

impl<'a, 'l, 'o> Drills<'a, 'l, 'o> {
    fn prepare(
        options: &DrillOptions,
        lab: &'l Lab,
        interrupt: &'l Interrupt,
        recorder: &'a mut Recorder<'o>,
        random: fastrand::Rng,
    ) -> Result<Self> {
        let hub = lab.machine(Node::VpnCore);
        let gateway = Gateway::configure(lab, Some(options.engine), interrupt)?;
        gateway.start_hub()?;
        gateway.start_client_a()?;
        gateway.wait_for(Node::ClientA)?;
        let server = Server::start(hub, PORT)?;
        let sessions = Family::BOTH.into_iter().map(|family| {
            let to = SocketAddr::new(Node::VpnCore.overlay(family), PORT);
            Ok((family, Session::start(lab.machine(Node::ClientA), to)?))
        });
        let text = gateway.text(Strategy::Source);
        let status = status(hub, interrupt)?.context("the hub does not answer")?;
        recorder.note(&format!("vpn-core: {} engine, {} WireGuard", status.engine, status.wireguard))?;
        Ok(Self {
            hub,
            interrupt,
            recorder,
            random,
            forbidden: Forbidden::start(lab, interrupt)?,
            sessions: sessions.collect::<Result<_>>()?,
            cut: text.replace("action = \"accept\"", "action = \"drop\""),
            good: status.revision.context("the hub names no revision in force")?,
            device_dies: status.wireguard != "kernel",
            gateway,
            _server: server,
        })
    }

    /// Both sessions are the same connections as ever, and answer.
    fn sessions_go_on(&mut self, when: &str) -> Result<()> {
        for index in 0..self.sessions.len() {
            let Some((family, session)) = self.sessions.get(index) else {
                break;
            };
            let went = session.goes_on(PATIENCE, self.interrupt)?;
            let what = format!("{when}: client-a → vpn-core, port {PORT}, {family}");
            let (measured, passed) = match went {
                Ok(after) => (format!("answered after {:.1} s", after.as_secs_f64()), true),
                Err(why) => (why, false),
            };
            self.recorder
                .check(what, "an answer on the same connection", measured, passed)?;
        }
        Ok(())
    }

    /// As the administrator: in a shell that lost where he comes from, then in one that sshd has told.
    fn refused(&mut self) -> Result<()> {
        self.gateway.write_text(&self.cut)?;
        let output = self.hub.fielato(["apply", "--confirm", "5s"]).run(self.interrupt)?;
        let said = output.stderr.trim();
        let passed = !output.status.success() && said.contains("which may be yours");
        let expected = "refused for a session that may be his";
        self.recorder.check("`fielato apply`, behind tmux", expected, said, passed)?;
        for family in Family::BOTH {
            let (from, to) = (Node::ClientA.overlay(family), Node::VpnCore.overlay(family));
            let output = self
                .hub
                .fielato(["apply", "--confirm", "5s"])
                .env("SSH_CONNECTION", &format!("{from} 40000 {to} {PORT}"))
                .run(self.interrupt)?;
            let said = output.stderr.trim();
            let passed = !output.status.success() && said.contains("your own session");
            self.recorder.check(
                format!("`fielato apply`, {family}"),
                "refused for his own session",
                said,
                passed,
            )?;
        }
        self.sessions_go_on("afterwards")
    }

    /// Returns how long the apply took.
    fn taken_back(&mut self) -> Result<Duration> {
        let began = Instant::now();
        self.gateway.write_text(&self.cut)?;
        let confirm = format!("{}s", CONFIRM.as_secs());
        self.hub
            .fielato(["apply", "--force", "--confirm", &confirm])
            .succeed(self.interrupt)?;
        let duration = began.elapsed();
        let mut silent = true;
        for (_, session) in &self.sessions {
            silent &= session.is_cut(CUT, self.interrupt)?;
        }
        let measured = if silent { "silent for 1 s" } else { "answered, or broke" };
        self.recorder
            .check("`fielato apply --force --confirm 5s`", "both sessions cut", measured, silent)?;
        let back = self.interrupt.wait(RETURN, || Ok(self.is_back()?.then(|| began.elapsed())))?;
        let measured = back.map_or_else(
            || format!("not in force after {} s", RETURN.as_secs()),
            |after| format!("in force again {:.1} s after it began", after.as_secs_f64()),
        );
        self.recorder.check(
            "nobody confirms",
            format!("revision {} in force again", self.good),
            measured,
            back.is_some(),
        )?;
        self.sessions_go_on("then")?;
        Ok(duration)
    }

    /// One drill. Whether the hub came back by itself.
    fn killed(&mut self, number: u32, duration: Duration) -> Result<bool> {
        let delay = duration.mul_f64(self.random.f64() * BEYOND);
        let when = format!("{number}, killed after {} ms", delay.as_millis());
        let daemon = status(self.hub, self.interrupt)?.context("the hub does not answer")?.pid;
        self.gateway.write_text(&self.cut)?;
        let apply = self.hub.fielato(["apply", "--force", "--confirm", "1h"]);
        let mut apply = apply.start(&self.hub.directory().join("log/apply.log"))?;
        // What it took is told before anything is made of it, so that no process is left waiting for.
        let waited = self.interrupt.sleep(delay);
        let killed = self.hub.kill(daemon);
        let ended = self.interrupt.wait(RETURN, || Ok(apply.try_wait()?));
        if !matches!(ended, Ok(Some(_))) {
            let _ = apply.kill();
            apply.wait()?;
        }
        waited?;
        killed?;
        if ended?.is_none() {
            bail!("{when}: `fielato apply` did not end in {} s", RETURN.as_secs());
        }

        let began = Instant::now();
        let alone = self.interrupt.wait(RETURN, || {
            Ok(match self.is_back()? {
                true => Some(true),
                // Neither a watchdog nor what it starts.
                false if self.hub.processes()?.is_empty() => Some(false),
                false => None,
            })
        })?;
        let by_itself = match alone {
            Some(by_itself) => by_itself,
            None => bail!("{when}: the hub was not back after {} s", RETURN.as_secs()),
        };
        if !by_itself {
            self.gateway.start_hub_again()?;
        }
        let back = self.is_back()?;
        let after = began.elapsed().as_secs_f64();
        if self.device_dies {
            // By itself a client notices 15 s later (WireGuard's KEEPALIVE_TIMEOUT and REKEY_TIMEOUT together).
            self.gateway.renew_client_a()?;
        }
        let mut measured = match (back, by_itself) {
            (true, true) => format!("back by itself after {after:.1} s"),
            (true, false) => format!("started again, {after:.1} s"),
            (false, _) => "another revision is in force".to_owned(),
        };
        let mut passed = back;
        for (family, session) in &self.sessions {
            match session.goes_on(PATIENCE, self.interrupt)? {
                Ok(after) => measured += &format!("; {family} goes on {:.1} s later", after.as_secs_f64()),
                Err(why) => {
                    passed = false;
                    measured += &format!("; {family}: {why}");
                }
            }
        }
        let expected = format!("revision {} in force, both sessions go on", self.good);
        self.recorder.check(when, expected, measured, passed)?;
        Ok(by_itself)
    }

    /// Whether the good revision is in force.
    fn is_back(&self) -> Result<bool> {
        let status = status(self.hub, self.interrupt)?;
        Ok(status.is_some_and(|status| status.revision == Some(self.good)))
    }
}

/// What the hub tells of itself.
struct Status {
    pid: i32,
    engine: String,
    wireguard: String,
    revision: Option<u64>,
}

/// `None` when no daemon answers.
fn status(hub: &Machine, interrupt: &Interrupt) -> Result<Option<Status>> {
    let output = hub.fielato(["status", "--json"]).run(interrupt)?;
    if !output.status.success() {
        return Ok(None);
    }
    let status: serde_json::Value = serde_json::from_str(&output.stdout).context("`fielato status --json` printed no JSON")?;
    let word = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
    Ok(Some(Status {
        pid: status["pid"]
            .as_i64()
            .and_then(|pid| i32::try_from(pid).ok())
            .context("`fielato status --json` names no process")?,
        engine: word("engine"),
        wireguard: word("wireguard"),
        revision: status["revision"].as_u64(),
    }))
}
