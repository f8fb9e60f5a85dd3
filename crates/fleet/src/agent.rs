//! The protected host's end: applies what the hub says, acknowledges it, keeps it applied, and comes back when cut off.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::delta::DeltaError;
use crate::line::Lines;
use crate::{Delta, Digest, HostState, Now, PLAN_LINE_MAX, ToHost, ToHub, VERSION, line};

/// How patient an agent is.
#[derive(Debug, Clone)]
pub struct Patience {
    /// Wait before the first new try; doubles each time.
    pub retry: Duration,
    /// Longest wait between two tries.
    pub retry_max: Duration,
    /// Silence after which the hub is taken for gone. It asks more often than that whether the agent is there.
    pub silence: Duration,
    /// Until a plan that could not be applied is asked for again.
    pub again: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            retry: Duration::from_millis(500),
            retry_max: Duration::from_secs(30),
            silence: Duration::from_secs(30),
            again: Duration::from_secs(30),
        }
    }
}

/// What is to be done outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Connect to the hub; then [`Agent::handle_connected`] or [`Agent::handle_disconnected`].
    Connect,
    /// Send these bytes.
    Send(Vec<u8>),
    /// Close the connection. There will be no [`Agent::handle_disconnected`] for it.
    Disconnect,
    /// Make the machine so, whatever it is like; then [`Agent::handle_applied`].
    Apply(Box<Application>),
    /// Put back what the last [`Output::Apply`] made: somebody has changed it.
    Repair(Box<HostState>),
    /// For the log.
    Note(Note),
}

/// What is to be applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Application {
    /// What the machine is to enforce.
    pub state: HostState,
    /// What it enforces now, when only the difference has come.
    pub before: Option<HostState>,
}

/// Something for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    /// Talking to the hub.
    #[error("connected to the hub")]
    Connected,
    /// Not talking to the hub any more.
    #[error("the hub is away: {why}; still enforcing {}, next try in {} ms", revision.map_or("nothing".to_owned(), |revision| format!("revision {revision}")), wait.as_millis())]
    Away {
        /// What happened.
        why: String,
        /// What is enforced meanwhile.
        revision: Option<u64>,
        /// Until the next try.
        wait: Duration,
    },
    /// A new revision is enforced.
    #[error("enforcing revision {0}")]
    Enforcing(u64),
    /// A plan could not be applied.
    #[error("revision {revision} could not be applied: {why}")]
    Failed {
        /// Which.
        revision: u64,
        /// Why.
        why: String,
    },
    /// The hub said something that is no message to this version.
    #[error("the hub said something that this version does not understand ({0}); install the hub's version of fielato")]
    NotUnderstood(String),
    /// Somebody changed the rules.
    #[error("drift, put back: {0}")]
    Drift(String),
}

/// A host's agent.
#[derive(Debug)]
pub struct Agent {
    host: Option<String>,
    patience: Patience,
    random: fastrand::Rng,
    /// What is enforced.
    state: Option<HostState>,
    /// What is being applied.
    pending: Option<HostState>,
    link: Link,
    retries: u32,
    /// When a plan is asked for that could not be applied.
    ask_again: Option<Instant>,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
enum Link {
    /// Until the next try.
    Down(Instant),
    Connecting,
    Up {
        lines: Lines,
        heard: Instant,
    },
}

impl Agent {
    /// An agent that enforces `last_good` (the first output) before it tries the network. `host` is the name that it believes to have;
    /// `seed` spreads the tries of many agents.
    pub fn new(host: Option<String>, last_good: Option<HostState>, patience: Patience, seed: u64, now: Now) -> Self {
        let apply = last_good
            .clone()
            .map(|state| Output::Apply(Box::new(Application { state, before: None })));
        Self {
            host,
            patience,
            random: fastrand::Rng::with_seed(seed),
            state: None,
            pending: last_good,
            link: Link::Down(now.instant),
            retries: 0,
            ask_again: None,
            outputs: apply.into_iter().collect(),
        }
    }

    /// What is enforced.
    pub fn state(&self) -> Option<&HostState> {
        self.state.as_ref()
    }

    /// Whether it talks to the hub.
    pub fn is_connected(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Agent::handle_time`] has something to do.
    pub fn next_time(&self) -> Option<Instant> {
        let link = match &self.link {
            Link::Down(until) => Some(*until),
            Link::Connecting => None,
            Link::Up { heard, .. } => Some(*heard + self.patience.silence),
        };
        link.into_iter().chain(self.ask_again.filter(|_| self.is_connected())).min()
    }

    /// Does what is due: the next try, giving up a silent hub, asking again for what could not be applied.
    pub fn handle_time(&mut self, now: Now) {
        match &self.link {
            Link::Down(until) if *until <= now.instant => {
                self.link = Link::Connecting;
                self.outputs.push_back(Output::Connect);
            }
            Link::Up { heard, .. } if now.instant.saturating_duration_since(*heard) >= self.patience.silence => {
                self.outputs.push_back(Output::Disconnect);
                self.go_down("it says nothing any more".to_owned(), now);
            }
            _ => {}
        }
        if self.is_connected() && self.ask_again.is_some_and(|at| at <= now.instant) {
            self.ask_again = None;
            self.hello(None);
        }
    }

    /// The connection stands.
    pub fn handle_connected(&mut self, now: Now) {
        self.link = Link::Up {
            lines: Lines::new(PLAN_LINE_MAX),
            heard: now.instant,
        };
        self.ask_again = None;
        self.outputs.push_back(Output::Note(Note::Connected));
        self.hello(self.state.clone().as_ref());
    }

    /// There was no connection to be had, or it broke.
    pub fn handle_disconnected(&mut self, why: String, now: Now) {
        if !matches!(self.link, Link::Down(_)) {
            self.go_down(why, now);
        }
    }

    /// Bytes have come from the hub.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Now) {
        let Link::Up { lines, heard } = &mut self.link else { return };
        *heard = now.instant;
        let Ok(lines) = lines.push(bytes, now.instant) else {
            return self.hang_up("it sent a line that is too long".to_owned(), now);
        };
        for text in lines {
            if !self.is_connected() {
                return;
            }
            match serde_json::from_slice(&text) {
                Ok(message) => self.handle_message(message, now),
                // Perhaps it was a plan, so one is asked for.
                Err(error) => {
                    self.outputs.push_back(Output::Note(Note::NotUnderstood(error.to_string())));
                    self.ask_again = Some(now.instant + self.patience.again);
                }
            }
        }
    }

    /// What [`Output::Apply`] asked for is done and will outlive this process, or why it could not be.
    pub fn handle_applied(&mut self, result: Result<(), String>, now: Now) {
        let Some(pending) = self.pending.take() else { return };
        match result {
            Ok(()) => {
                let (revision, digest) = (pending.revision, pending.digest());
                self.outputs.push_back(Output::Note(Note::Enforcing(revision)));
                self.state = Some(pending);
                self.retries = 0;
                self.send(&ToHub::Ack { revision, digest });
            }
            Err(why) => self.fail(pending.revision, &why, now),
        }
    }

    /// Somebody has changed what is enforced.
    pub fn handle_drift(&mut self, what: String) {
        let Some(state) = self.state.clone() else { return };
        self.outputs.push_back(Output::Repair(Box::new(state)));
        self.outputs.push_back(Output::Note(Note::Drift(what.clone())));
        self.send(&ToHub::Drift { what });
    }

    fn handle_message(&mut self, message: ToHost, now: Now) {
        match message {
            ToHost::Full { revision, digest, plan } => {
                let state = HostState { revision, plan: *plan };
                if state.digest() == digest {
                    self.apply(state, None);
                } else {
                    let why = "the plan has parts that this version does not know; install the hub's version of fielato";
                    self.fail(revision, why, now);
                }
            }
            ToHost::Delta { from, to, digest, delta } => match self.lead(from, to, &digest, &delta) {
                Ok(state) => {
                    let before = self.state.clone();
                    self.apply(state, before);
                }
                Err(_) => self.hello(None),
            },
            ToHost::Ping => self.send(&ToHub::Pong),
            ToHost::Refused { why } => self.hang_up(format!("it refused: {why}"), now),
            ToHost::Enrolled => {}
        }
    }

    fn lead(&self, from: u64, to: u64, digest: &Digest, delta: &Delta) -> Result<HostState, DeltaError> {
        match &self.state {
            Some(state) if state.revision == from => delta.lead(state, to, digest),
            other => Err(DeltaError::Revision {
                from,
                have: other.as_ref().map(|state| state.revision),
            }),
        }
    }

    fn apply(&mut self, state: HostState, before: Option<HostState>) {
        self.ask_again = None;
        self.pending = Some(state.clone());
        self.outputs.push_back(Output::Apply(Box::new(Application { state, before })));
    }

    fn fail(&mut self, revision: u64, why: &str, now: Now) {
        let why = why.to_owned();
        self.outputs.push_back(Output::Note(Note::Failed {
            revision,
            why: why.clone(),
        }));
        self.send(&ToHub::Failed { revision, why });
        self.ask_again = Some(now.instant + self.patience.again);
    }

    fn hello(&mut self, state: Option<&HostState>) {
        self.send(&ToHub::Hello {
            version: VERSION,
            host: self.host.clone(),
            revision: state.map(|state| state.revision),
            digest: state.map(HostState::digest),
        });
    }

    fn send(&mut self, message: &ToHub) {
        if self.is_connected() {
            self.outputs.push_back(Output::Send(line(message)));
        }
    }

    fn hang_up(&mut self, why: String, now: Now) {
        self.outputs.push_back(Output::Disconnect);
        self.go_down(why, now);
    }

    /// Doubling waits, of which a random half to whole is taken, so that a thousand agents do not come at once when the hub is back.
    fn go_down(&mut self, why: String, now: Now) {
        let longest = self
            .patience
            .retry
            .saturating_mul(1 << self.retries.min(16))
            .min(self.patience.retry_max);
        self.retries = self.retries.saturating_add(1);
        let wait = longest.mul_f64(0.5 + self.random.f64() / 2.0);
        self.link = Link::Down(now.instant + wait);
        let revision = self.state.as_ref().map(|state| state.revision);
        self.outputs.push_back(Output::Note(Note::Away { why, revision, wait }));
    }
}
