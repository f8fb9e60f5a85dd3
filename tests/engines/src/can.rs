//! Whether `can` and `trace` say what happens: questions are asked of both, and the same packets are sent, through the hub in either
//! engine and through protected hosts that have their own rules, each in a network namespace, and back.

pub mod host;
pub mod question;
pub mod said;
pub mod way;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use fielato_oracle::random::Random;
use fielato_policy::gateway::Origin;
use fielato_policy::judge::{Judge, Outcome, Verdict};
use fielato_policy::trace::{Place, Reason};
use jiff::Timestamp;

use crate::error::Error;
use crate::gateway::UserSpace;
use crate::kernel::Kernel;
use crate::policy;
use crate::scene::{NOW, Scene, Setup};
use crate::subject::{Subject, Tallies};
use host::Hosts;
use question::Asked;
use said::{Fate, Traced, counted_as};
use way::Way;

/// The hub in both engines, and the protected hosts around it.
pub struct Machines {
    kernel: Kernel,
    gateway: UserSpace,
    hosts: Hosts,
}

/// A question of which what is said and what happened are not the same.
#[derive(Clone, Debug)]
pub struct Untrue {
    /// Seed of the policy.
    pub seed: u64,
    /// Number of the question.
    pub number: usize,
    /// It.
    pub asked: Asked,
    /// What disagrees.
    pub why: String,
    /// What `can` says.
    pub can: Outcome,
    /// What `trace` says.
    pub trace: Fate,
    /// What happened: in the kernel engine, in the user-space engine.
    pub facts: [Fate; 2],
}

/// What came of many questions.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Questions by what became of them.
    pub kinds: BTreeMap<String, usize>,
    /// Questions in all.
    pub count: usize,
    /// Of these, connections that came about.
    pub passed: usize,
    /// Policies.
    pub policies: usize,
    /// Those that disagree.
    pub untrue: Vec<Untrue>,
}

impl Default for Machines {
    fn default() -> Self {
        Self::spoilt(|_| (), |rules| rules)
    }
}

impl Machines {
    /// Some that do otherwise than the plan says: the user-space gateway is made from something else, or hosts have other rules.
    pub fn spoilt(gateway: fn(&mut fielato_gateway::Config), hosts: fn(String) -> String) -> Self {
        Self {
            kernel: Kernel::new(),
            gateway: UserSpace::spoilt(1, gateway),
            hosts: Hosts::new(hosts),
        }
    }

    /// Asks up to `questions` about the policy of `seed`, and sends their packets.
    ///
    /// # Errors
    /// Those of the engines, and a question that is refused.
    pub fn check(&mut self, seed: u64, questions: usize) -> Result<Checked, Error> {
        let scene = scene(seed)?;
        self.hosts.clear();
        self.kernel.load(&scene)?;
        self.gateway.load(&scene)?;
        let began = Instant::now();
        let now = Timestamp::from_second(NOW).map_err(|error| Error::Trace(error.to_string()))?;
        let refused = |error: fielato_policy::trace::QuestionError| Error::Trace(error.to_string());
        let mut judge = Judge::new(&scene.config, &scene.plan, now).map_err(refused)?;
        let mut random = Random::new(!seed);
        let mut counted = <[Tallies; 2]>::default();
        let mut checked = Checked {
            policies: 1,
            ..Checked::default()
        };
        // Most of what anybody could ask is not allowed.
        for _ in 0..questions * 8 {
            if checked.count >= questions {
                break;
            }
            let Some(asked) = Asked::random(&mut random, &scene.config) else {
                continue;
            };
            let can = said::can(&mut judge, &asked)?;
            if is_circle(&asked, &can) {
                continue;
            }
            let usual = match (&can.verdict, &can.reason) {
                (Verdict::Drop, Some(Reason::NotTunnelled)) => 90,
                (Verdict::Drop, _) => 80,
                (Verdict::Accept | Verdict::Reject, _) => 0,
            };
            if checked.passed < checked.count / 2 && random.chance(usual) {
                continue;
            }
            let traced = said::traced(&scene, &mut self.hosts, now, &asked)?;
            let [of_kernel, of_gateway] = &mut counted;
            let facts = [
                Way::new(&scene, &mut self.kernel, &mut self.hosts, of_kernel, began).play(&asked)?,
                Way::new(&scene, &mut self.gateway, &mut self.hosts, of_gateway, began).play(&asked)?,
            ];
            checked.note(&scene, &asked, &can, &traced);
            if let Some(why) = self.disagreement(&scene, &asked, &can, &traced, &facts)? {
                checked.untrue.push(Untrue {
                    seed,
                    number: checked.count,
                    asked,
                    why,
                    can,
                    trace: traced.fate,
                    facts,
                });
            }
        }
        Ok(checked)
    }

    /// In a few words, who says what not all say.
    fn disagreement(
        &mut self,
        scene: &Scene,
        asked: &Asked,
        can: &Outcome,
        traced: &Traced,
        [kernel, gateway]: &[Fate; 2],
    ) -> Result<Option<String>, Error> {
        let ends = format!(
            "{} {} {:?}",
            asked.source,
            asked.destination,
            asked.port.map(|(_, port)| port)
        );
        if traced.ends != ends {
            return Ok(Some(format!("trace was asked about {}, and {ends} was sent", traced.ends)));
        }
        let Fate { verdict, at, answer, .. } = &traced.fate;
        if (&can.verdict, &can.at, &can.answer) != (verdict, at, answer) || can.by != traced.by || can.reason != traced.reason {
            return Ok(Some("can and trace".to_owned()));
        }
        for (engine, fact) in [("kernel", kernel), ("user-space", gateway)] {
            if traced.fate != *fact {
                return Ok(Some(format!("trace and the {engine} engine")));
            }
            if let Some(origin) = &can.by
                && !self.is_counted(scene, can, origin, fact)?
            {
                return Ok(Some(format!(
                    "can and what the {engine} engine counted: {}",
                    origin.comment()
                )));
            }
        }
        Ok(None)
    }

    /// Whether the rule that `can` names counted the packet where it says so, if it counts at all.
    fn is_counted(&mut self, scene: &Scene, can: &Outcome, origin: &Origin, fact: &Fate) -> Result<bool, Error> {
        let places: &[Place] = match can.verdict {
            // Who lets it pass last is the hub, or the host that judges by itself.
            Verdict::Accept => &[Place::Hub, can.at.clone()],
            Verdict::Drop | Verdict::Reject => std::slice::from_ref(&can.at),
        };
        let mut names = Vec::new();
        for place in places {
            let hub = ["forward", "input"];
            let chains: &[&str] = if *place == Place::Hub { &hub } else { &["input"] };
            for chain in chains {
                names.extend(counted_as(scene, &mut self.hosts, place, chain, origin)?);
            }
        }
        Ok(names.is_empty() || names.iter().any(|name| fact.met.contains(name)))
    }
}

/// Asks `questions` in all, `each` about a policy, on several threads; ends early after `stop_after` wrong answers.
///
/// # Errors
/// Those of [`Machines::check`].
pub fn campaign(seed: u64, questions: usize, each: usize, threads: usize, stop_after: usize) -> Result<Checked, Error> {
    let next = AtomicU64::new(seed);
    let all = Mutex::new(Checked::default());
    let work = || -> Result<(), Error> {
        let mut machines = Machines::default();
        loop {
            {
                let all = all.lock().unwrap_or_else(PoisonError::into_inner);
                if all.count >= questions || all.untrue.len() >= stop_after {
                    return Ok(());
                }
            }
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let of = |error| Error::Of {
                seed,
                error: Box::new(error),
            };
            let checked = machines.check(seed, each).map_err(of)?;
            all.lock().unwrap_or_else(PoisonError::into_inner).merge(checked);
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    Ok(all.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The policy of `seed` under the usual settings, which trace supposes.
fn scene(seed: u64) -> Result<Scene, Error> {
    let (policy, beside) = policy::asked_about(seed);
    let setup = Setup {
        policy,
        tcp_loose: true,
        tcp_liberal: false,
        checksum: true,
        rp_filter: 0,
        ..Setup::generate(seed)
    };
    Scene::with(setup, &beside)
}

impl Checked {
    fn note(&mut self, scene: &Scene, asked: &Asked, can: &Outcome, traced: &Traced) {
        let mut note = |kind: String| *self.kinds.entry(kind).or_default() += 1;
        let place = match &can.at {
            _ if asked.from == asked.machine => "the sender itself",
            Place::Hub => "the hub",
            Place::Member(name) if scene.config.hosts.contains_key(name) => "a host, through the tunnel",
            Place::Host(_) => "a host, by its network",
            Place::Member(_) => "a member",
            Place::Outside => "the internet",
        };
        let way = if can.answer { ", the answer" } else { "" };
        note(match can.verdict {
            Verdict::Accept => format!("passed to {place}"),
            Verdict::Drop => format!("dropped at {place}{way}"),
            Verdict::Reject => format!("rejected at {place}{way}"),
        });
        note(match (&traced.by, &can.reason) {
            (Some(origin), _) => format!("by {}", kind(origin)),
            (None, Some(Reason::Banned { .. })) => "by a ban".to_owned(),
            (None, Some(_)) => "by no way".to_owned(),
            (None, None) => "by nothing".to_owned(),
        });
        note(match asked.port {
            Some((protocol, _)) => format!("{} over {}", protocol.word(), asked.version),
            None => format!("ping over {}", asked.version),
        });
        self.count += 1;
        self.passed += usize::from(can.verdict == Verdict::Accept);
    }

    /// How many became of that kind, whose name begins so.
    pub fn kind(&self, begin: &str) -> usize {
        let of_kind = self.kinds.iter().filter(|(name, _)| name.starts_with(begin));
        of_kind.map(|(_, count)| count).sum()
    }

    /// Adds another's.
    pub fn merge(&mut self, other: Checked) {
        for (name, count) in other.kinds {
            *self.kinds.entry(name).or_default() += count;
        }
        self.count += other.count;
        self.passed += other.passed;
        self.policies += other.policies;
        self.untrue.extend(other.untrue);
    }

    /// In a line, and what of what kind.
    pub fn text(&self) -> String {
        let kinds: String = self
            .kinds
            .iter()
            .map(|(name, count)| format!("  {count:6} {name}\n"))
            .collect();
        let Self {
            count,
            passed,
            policies,
            untrue,
            ..
        } = self;
        let wrong = untrue.len();
        format!("{kinds}{count} questions about {policies} policies: {passed} pass; {wrong} answered wrongly\n")
    }
}

/// Whether the packet comes back by a published port to the machine that sent it. What a machine does with packets from itself is
/// its kernel's affair (martians in IPv4), and no policy's.
fn is_circle(asked: &Asked, can: &Outcome) -> bool {
    let name = |place: &Place| match place {
        Place::Member(name) | Place::Host(name) => Some(name.clone()),
        Place::Hub | Place::Outside => None,
    };
    let back = name(&asked.place).is_some() && name(&asked.place) == name(&can.at);
    can.verdict == Verdict::Accept && back && asked.from != asked.machine
}

/// What decided, without its number or names.
fn kind(origin: &Origin) -> &'static str {
    match origin {
        Origin::Rule { .. } => "a rule",
        Origin::Grant { .. } => "a grant",
        Origin::OverQuota => "a quota",
        Origin::Publish { .. } => "a published port",
        Origin::Raw { .. } => "a raw rule",
        Origin::NoRule => "the end of the rules",
        Origin::Protected => "a protected port",
        Origin::FromHub => "coming from the hub",
        Origin::ControlChannel => "the control channel",
        Origin::NotOurs | Origin::Transit => "being no affair of the VPN",
        Origin::ForgedSource => "a forged source",
        Origin::Established | Origin::Invalid | Origin::MidConnection | Origin::Translated => "its connection",
        Origin::Loopback => "the loopback",
        Origin::Masquerade => "masquerading",
    }
}

impl fmt::Display for Untrue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            number,
            asked,
            why,
            can,
            trace,
            facts: [kernel, gateway],
        } = self;
        let Asked {
            from,
            to,
            machine,
            port,
            version,
            source,
            destination,
            place: _,
        } = asked;
        let port = port.map_or_else(|| "ping".to_owned(), |(protocol, port)| format!("{}/{port}", protocol.word()));
        writeln!(f, "policy {seed}, question {number}: {why} disagree")?;
        writeln!(
            f,
            "  can {from} {to}; {machine} {port} over {version}, {source} > {destination}"
        )?;
        let reason = can.because("fielato.toml");
        writeln!(f, "  can         {} at {}: {reason}", can.verdict, can.at)?;
        writeln!(f, "  trace       {trace}")?;
        writeln!(f, "  kernel      {kernel}")?;
        writeln!(f, "  user space  {gateway}")
    }
}
