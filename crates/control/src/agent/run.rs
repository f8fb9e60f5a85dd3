//! The process that stays on a protected host.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fielato_fleet::Now;
use fielato_fleet::agent::{Agent, Application, Note, Output, Patience};
use fielato_kernel::link;
use fielato_kernel::netlink::Netlink;
use fielato_kernel::nft::Watch;
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sd_notify::NotifyState;

use super::enforce::Enforcer;
use super::link::{Happened, Link};
use super::{Report, Settings, lock};
use crate::Paths;
use crate::daemon::{Signal, Signals, notify};
use crate::protocol::VERSION;
use crate::secrets;
use crate::tunnel::Tunnel;

/// How often the machine is looked at when nothing happens.
const TICK: Duration = Duration::from_secs(2);
/// The table is read not more often than this, however much others change theirs. The hub's patience with what it is told is more.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// And not less often than this, in case a notification was lost.
const LOOK_ANYWAY: Duration = Duration::from_secs(60);

/// Enforces the last good plan, then does what the hub says until SIGTERM or SIGINT. What is enforced stays when it ends.
///
/// # Errors
/// When there is an agent already, or this machine has no `nft`.
pub fn run(paths: &Paths, settings: &Settings) -> Result<()> {
    if settings.hub.is_empty() {
        bail!("no address of a hub is known; enrol with `fielato agent enrol`, or give --hub");
    }
    let _lock = lock(paths)?;
    let signals = Signals::install()?;
    let enforcer = Enforcer::open(paths)?;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).context("the system has no random numbers")?;
    let last_good = enforcer.last_good();
    let now = now();
    let agent = Agent::new(
        settings.host.clone(),
        last_good,
        Patience::default(),
        u64::from_ne_bytes(seed),
        now,
    );
    let mut process = Process {
        paths,
        settings,
        agent,
        enforcer,
        watch: Watch::open().context("cannot watch the rules")?,
        tunnel: None,
        link: None,
        turn: 0,
        report: Report {
            version: VERSION,
            host: settings.host.clone(),
            ..Report::default()
        },
        saved: Report::default(),
        looked: now.instant,
        suspect: false,
    };
    process.carry_out();
    notify(&[NotifyState::Ready]);
    let ended = process.serve(signals);
    notify(&[NotifyState::Stopping]);
    process.report.connected = false;
    process.save_report();
    ended
}

fn now() -> Now {
    Now {
        instant: Instant::now(),
        clock: Timestamp::now(),
    }
}

struct Process<'a> {
    paths: &'a Paths,
    settings: &'a Settings,
    agent: Agent,
    enforcer: Enforcer,
    watch: Watch,
    tunnel: Option<Tunnel>,
    link: Option<Link>,
    /// Which of the hub's addresses is tried.
    turn: usize,
    report: Report,
    /// As it is in the file.
    saved: Report,
    /// When the table was read last.
    looked: Instant,
    /// Somebody has changed some table since.
    suspect: bool,
}

impl Process<'_> {
    fn serve(&mut self, mut signals: Signals) -> Result<()> {
        loop {
            let now = now();
            self.agent.handle_time(now);
            self.look(now.instant);
            self.carry_out();
            self.save_report();
            let soon = self.suspect.then(|| self.looked + BETWEEN_LOOKS);
            let events = [self.agent.next_time(), self.link.as_ref().and_then(Link::deadline), soon];
            let until = events.into_iter().flatten().min();
            let wait = until.map_or(TICK, |at| at.saturating_duration_since(now.instant).min(TICK));
            let mut fds = vec![
                PollFd::from_borrowed_fd(signals.fd(), PollFlags::IN),
                PollFd::new(&self.watch, PollFlags::IN),
            ];
            fds.extend(self.link.as_ref().map(|link| PollFd::new(link, link.waits_for())));
            match poll(&mut fds, Some(&Timespec::try_from(wait)?)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot wait for events"),
            }
            let ready = fds.get(2).map_or(PollFlags::empty(), PollFd::revents);
            drop(fds);
            if let Some(Signal::Stop) = signals.take()? {
                return Ok(());
            }
            self.suspect |= self.watch.drain();
            self.hear(ready);
        }
    }

    fn hear(&mut self, ready: PollFlags) {
        let now = now();
        let Some(link) = &mut self.link else { return };
        match link.handle(ready, now.instant) {
            Happened::Nothing => {}
            Happened::Connected => self.agent.handle_connected(now),
            Happened::Bytes(bytes) => self.agent.handle_bytes(&bytes, now),
            Happened::Closed(why) => self.hung_up(why, now),
        }
    }

    fn hung_up(&mut self, why: String, now: Now) {
        self.link = None;
        self.turn = self.turn.wrapping_add(1);
        self.agent.handle_disconnected(why, now);
    }

    /// Compares the machine with what was applied.
    fn look(&mut self, now: Instant) {
        if let Err(error) = self.enforcer.keep_strict() {
            self.trouble(format!("{error:#}"));
        }
        let due = if self.suspect { BETWEEN_LOOKS } else { LOOK_ANYWAY };
        if now.saturating_duration_since(self.looked) < due {
            return;
        }
        self.looked = now;
        self.suspect = false;
        match self.enforcer.drift() {
            Ok(None) => {}
            Ok(Some(what)) => {
                self.report.drift = self.report.drift.saturating_add(1);
                self.report.last_drift = Some(Timestamp::now());
                self.agent.handle_drift(what);
            }
            Err(error) => self.trouble(format!("{error:#}")),
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.agent.poll_output() {
            let now = now();
            match output {
                Output::Connect => self.connect(now),
                Output::Send(bytes) => {
                    let Some(link) = &mut self.link else { continue };
                    link.send(&bytes);
                    if let Err(error) = link.flush() {
                        self.hung_up(error.to_string(), now);
                    }
                }
                Output::Disconnect => self.link = None,
                Output::Apply(application) => {
                    let result = self.apply(&application);
                    self.agent.handle_applied(result.map_err(|error| format!("{error:#}")), now);
                }
                Output::Repair(state) => {
                    let application = Application {
                        state: *state,
                        before: None,
                    };
                    if let Err(error) = self.apply(&application) {
                        self.trouble(format!("cannot put the rules back: {error:#}"));
                        self.suspect = true;
                    }
                }
                Output::Note(note) => self.note(&note),
            }
        }
        self.report.connected = self.agent.is_connected();
    }

    fn apply(&mut self, application: &Application) -> Result<()> {
        self.enforcer.apply(application)?;
        // What it has just done itself is no news.
        self.watch.drain();
        self.looked = Instant::now();
        let state = &application.state;
        let (revision, digest) = (Some(state.revision), Some(state.digest()));
        if (self.report.revision, &self.report.digest) != (revision, &digest) {
            self.report.since = Some(Timestamp::now());
        }
        self.report.revision = revision;
        self.report.digest = digest;
        self.report.trouble = None;
        Ok(())
    }

    fn connect(&mut self, now: Now) {
        let hubs = &self.settings.hub;
        let Some(to) = self.turn.checked_rem(hubs.len()).and_then(|turn| hubs.get(turn)) else {
            return;
        };
        let opened = self
            .keep_tunnel()
            .and_then(|()| Ok(Link::open(*to, &self.settings.interface, now.instant)?));
        match opened {
            Ok(link) => self.link = Some(link),
            Err(error) => self.hung_up(format!("{to} by {}: {error:#}", self.settings.interface), now),
        }
    }

    /// An enrolled host's tunnel is made when the hub is tried, and again when somebody has taken its interface away.
    fn keep_tunnel(&mut self) -> Result<()> {
        let Some(settings) = &self.settings.tunnel else {
            return Ok(());
        };
        let interface = &self.settings.interface;
        let stands = link::find(&mut Netlink::open()?, interface)?.is_some();
        if self.tunnel.is_some() && stands {
            return Ok(());
        }
        self.tunnel = None;
        let key = secrets::read(&self.paths.agent_key())?;
        let path = self.paths.agent_psk();
        let psk = path.exists().then(|| secrets::read(&path)).transpose()?;
        self.tunnel = Some(settings.bring_up(interface, &key, psk)?);
        Ok(())
    }

    fn note(&mut self, note: &Note) {
        match note {
            Note::Connected | Note::Enforcing(_) => log::info!("{note}"),
            Note::Away { .. } | Note::Drift(_) => log::warn!("{note}"),
            Note::Failed { .. } | Note::NotUnderstood(_) => {
                log::error!("{note}");
                self.report.trouble = Some(note.to_string());
            }
        }
    }

    fn trouble(&mut self, what: String) {
        if self.report.trouble.as_ref() != Some(&what) {
            log::error!("{what}");
        }
        self.report.trouble = Some(what);
    }

    fn save_report(&mut self) {
        if self.report == self.saved {
            return;
        }
        self.report.running = true;
        match self.report.save(self.paths) {
            Ok(()) => self.saved = self.report.clone(),
            Err(error) => log::warn!("{error:#}"),
        }
    }
}
