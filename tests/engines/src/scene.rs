//! What holds for a whole case: a policy, and settings of the machine.

use std::collections::BTreeMap;

use fielato_oracle::network::Surroundings;
use fielato_oracle::random::Random;
use fielato_policy::config::Over;
use fielato_policy::plan::PerFamily;
use fielato_policy::{Circumstances, Config, Grant, Plan, render};
use jiff::Timestamp;

use crate::error::Error;
use crate::{network, policy};

/// When every case begins, in seconds since 1970: what expires in a policy has done so long ago or does in decades.
pub const NOW: i64 = 1_800_000_000;

/// A policy and settings, as text and plain values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Text of `fielato.toml`.
    pub policy: String,
    /// Whether IPv4 was forwarded before the hub came up.
    pub forwards_v4: bool,
    /// Whether IPv6 was.
    pub forwards_v6: bool,
    /// `nf_conntrack_tcp_loose`: a mid-stream segment may start a connection.
    pub tcp_loose: bool,
    /// `nf_conntrack_tcp_be_liberal`: only RST is held to the window.
    pub tcp_liberal: bool,
    /// `nf_conntrack_checksum`: a wrong transport checksum is INVALID.
    pub checksum: bool,
    /// `rp_filter` of both interfaces.
    pub rp_filter: u8,
}

impl Setup {
    /// The setup of the case `seed`.
    pub fn generate(seed: u64) -> Self {
        // Another stream of numbers than the policy's.
        let mut random = Random::new(seed ^ 0x5ce7_e000_0000);
        Self {
            policy: policy::generate(seed),
            forwards_v4: random.chance(30),
            forwards_v6: random.chance(30),
            tcp_loose: random.chance(60),
            tcp_liberal: random.chance(10),
            checksum: random.chance(80),
            rp_filter: [0, 1, 2][random.weighted(&[50, 35, 15])],
        }
    }
}

/// What is true beside the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// What was granted.
    pub grants: Vec<Grant>,
    /// Who has used up a quota.
    pub over_quota: BTreeMap<String, Over>,
}

/// A [`Setup`] as the engines take it.
#[derive(Clone, Debug)]
pub struct Scene {
    /// What it was made from.
    pub setup: Setup,
    /// The policy, checked.
    pub config: Config,
    /// The policy at [`NOW`].
    pub plan: Plan,
    /// The rules as nft text, as the hub loads them.
    pub nft: String,
    /// Who is around the hub.
    pub around: Surroundings,
    /// Which rules share a line of it.
    shared: SharedLines,
}

impl Scene {
    /// Reads the policy and compiles it.
    ///
    /// # Errors
    /// [`Error::Policy`] when it is refused.
    pub fn new(setup: Setup) -> Result<Self, Error> {
        Self::with(setup, &Beside::default())
    }

    /// The same with what else is true.
    ///
    /// # Errors
    /// [`Error::Policy`] when the policy is refused.
    pub fn with(setup: Setup, beside: &Beside) -> Result<Self, Error> {
        let config = Config::parse(&setup.policy).map_err(|diagnostics| Error::Policy(format!("{diagnostics:?}")))?;
        let now = Timestamp::from_second(NOW).map_err(|error| Error::Policy(error.to_string()))?;
        let before = PerFamily {
            v4: setup.forwards_v4,
            v6: setup.forwards_v6,
        };
        let circumstances = Circumstances {
            grants: &beside.grants,
            over_quota: &beside.over_quota,
            ..Circumstances::at(now, before)
        };
        let plan = Plan::compile(&config, &circumstances);
        let nft = render::nft::hub(&plan.firewall);
        Ok(Self {
            around: network::surroundings(&config),
            shared: SharedLines::of(&nft),
            setup,
            config,
            plan,
            nft,
        })
    }

    /// The name under which packets of a rule are counted: neighbours that nft has in one line are counted together.
    pub fn tally(&self, chain: &str, comment: &str) -> String {
        // In the nft text published ports have no chain of their own.
        let chain = if chain == "published" { "forward" } else { chain };
        format!("{chain}: {}", self.shared.comment(chain, comment))
    }
}

/// By chain and number of a `[[rule]]`: the comment of the line of nft that says it with its neighbours.
#[derive(Clone, Debug, Default)]
pub struct SharedLines(BTreeMap<(String, usize), String>);

impl SharedLines {
    /// Those of nft text.
    pub fn of(nft: &str) -> Self {
        Self(shared_lines(nft))
    }

    /// The comment of the line that says what has this comment alone.
    pub fn comment<'c>(&'c self, chain: &str, comment: &'c str) -> &'c str {
        let number = comment.strip_prefix("rule ").and_then(|number| number.parse::<usize>().ok());
        let joined = number.and_then(|number| self.0.get(&(chain.to_owned(), number)));
        joined.map_or(comment, String::as_str)
    }
}

/// Reads `comment "rules 3, 4"` and `comment "rules 3 to 20"` out of nft text.
fn shared_lines(nft: &str) -> BTreeMap<(String, usize), String> {
    let mut found = BTreeMap::new();
    let mut chain = "";
    for line in nft.lines() {
        if let Some(name) = line.trim_start().strip_prefix("chain ") {
            chain = name.trim_end_matches(" {");
        }
        let Some((_, rest)) = line.split_once("comment \"rules ") else {
            continue;
        };
        let numbers = rest.trim_end_matches('"');
        let number = |text: &str| text.parse::<usize>().ok();
        let all: Vec<usize> = match numbers.split_once(" to ") {
            Some((first, last)) => match (number(first), number(last)) {
                (Some(first), Some(last)) => (first..=last).collect(),
                _ => Vec::new(),
            },
            None => numbers.split(", ").filter_map(number).collect(),
        };
        for number in all {
            found.insert((chain.to_owned(), number), format!("rules {numbers}"));
        }
    }
    found
}
