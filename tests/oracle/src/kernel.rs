//! Linux's netfilter in a network namespace.
//!
//! Writing to a TUN runs the receive path before the call returns, so all that a packet brings about can be read at once.

pub mod connection;
mod gateway;
pub mod namespace;
pub mod nfnetlink;
mod nft;
pub mod place;
mod sys;
mod table;

use std::thread;
use std::time::Duration;

use fielato_wire::Family;

use crate::error::Error;
use crate::sets;
use crate::subject::{Connection, Counter, Output, Port, Setup, Subject};
pub use gateway::Gateway;
use namespace::{Blueprint, Namespace};
use place::Place;

/// A little more than two ticks of the usual clock (`CONFIG_HZ=250`): younger connections that `connlimit` noted on another
/// processor count even when they never came to be (`find_or_evict`).
const TICKS: Duration = Duration::from_millis(9);

/// What rules are loaded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    /// `iptables-restore`, into the kernel's own tables for it.
    Iptables,
    /// `nft`, after our renderer made nftables text of them.
    Nft,
}

/// The kernel as a [`Subject`].
pub struct Kernel {
    language: Language,
    /// Without and with connection tracking.
    places: [Place; 2],
    current: usize,
    paced: bool,
}

impl Default for Kernel {
    fn default() -> Self {
        Self::new()
    }
}

impl Kernel {
    /// A kernel without a namespace yet; [`Subject::load`] makes it.
    pub fn new() -> Self {
        Self {
            language: Language::Iptables,
            places: [false, true].map(|tracking| Place::new(Blueprint::oracle(tracking))),
            current: 0,
            paced: false,
        }
    }

    /// One whose rules are loaded as the nftables text that our renderer makes of them.
    ///
    /// What `fielato_iptables::nft` names as different for every rule is kept out of the comparison ([`Subject::takes`]).
    pub fn nft() -> Self {
        Self {
            language: Language::Nft,
            ..Self::new()
        }
    }

    fn namespace(&mut self) -> Result<&mut Namespace, Error> {
        self.places[self.current].namespace()
    }

    fn load_iptables(&mut self, setup: &Setup) -> Result<(), Error> {
        let namespace = self.namespace()?;
        let refused = |error| match error {
            Error::Program { output, .. } => Error::Rules {
                subject: "kernel",
                reason: output,
            },
            other => other,
        };
        if [Family::V4, Family::V6]
            .iter()
            .any(|family| sets::are_named(setup.rules(*family)))
        {
            namespace
                .run("ipset", &["restore", "-exist"], sets::commands())
                .map_err(refused)?;
        }
        for (program, family) in [
            ("iptables-legacy-restore", Family::V4),
            ("ip6tables-legacy-restore", Family::V6),
        ] {
            let rules = setup.rules(family);
            // New rules are made before the old ones go, and would find lists of the same name in use.
            let named = |rules: &str| rules.contains("-m hashlimit") || rules.contains("-m recent");
            let text = match named(rules) {
                true => format!("{}{rules}", without_rules(rules)),
                false => rules.to_owned(),
            };
            namespace.run(program, &["-c"], text).map_err(refused)?;
        }
        Ok(())
    }

    /// Everything that came out since the last call.
    fn outputs(&mut self) -> Result<Vec<Output>, Error> {
        let mut outputs = self.namespace()?.outputs()?;
        if self.language == Language::Nft {
            outputs.iter_mut().for_each(|output| nft::settle_sum(&mut output.packet));
        }
        Ok(outputs)
    }
}

/// The tables of a rule set, empty.
fn without_rules(rules: &str) -> String {
    let kept = rules
        .lines()
        .filter(|line| !line.contains("-A ") && !line.ends_with(" - [0:0]"));
    kept.map(|line| format!("{line}\n")).collect()
}

impl Subject for Kernel {
    fn prune(&mut self, setup: &mut Setup) -> Vec<(String, String)> {
        self.current = usize::from(setup.tracking);
        match (self.language, self.places[self.current].enter()) {
            (Language::Nft, Ok(namespace)) => nft::prune(namespace, setup),
            _ => Vec::new(),
        }
    }

    fn takes(&self, packet: &[u8]) -> bool {
        self.language == Language::Iptables || nft::is_comparable(packet)
    }

    fn counts_policies(&self) -> bool {
        self.language == Language::Iptables
    }

    fn load(&mut self, setup: &Setup) -> Result<(), Error> {
        (self.current, self.paced) = (usize::from(setup.tracking), setup.paced);
        let namespace = self.places[self.current].enter()?;
        namespace.opened.tracking.flush()?;
        namespace.set_tracking([setup.tcp_loose, setup.tcp_liberal, setup.checksum])?;
        match self.language {
            Language::Iptables => self.load_iptables(setup)?,
            Language::Nft => nft::load(self.namespace()?, setup)?,
        }
        self.outputs().map(drop)
    }

    fn inject(&mut self, _at: Duration, port: Port, packet: &[u8]) -> Result<Vec<Output>, Error> {
        if self.paced {
            thread::sleep(TICKS);
        }
        self.places[self.current].inject(port, packet)?;
        self.outputs()
    }

    fn counters(&mut self) -> Result<Vec<Counter>, Error> {
        // Connections are tracked where the nat table is.
        let nat = self.current == 1;
        if self.language == Language::Nft {
            return nft::counters(&mut self.namespace()?.opened.tracking);
        }
        let opened = &self.namespace()?.opened;
        let mut all = Vec::new();
        for (socket, v6) in [(&opened.raw_v4, false), (&opened.raw_v6, true)] {
            for name in ["filter", "mangle", "nat", "raw", "security"] {
                if nat || name != "nat" {
                    all.extend(table::counters(socket, v6, name)?);
                }
            }
        }
        all.sort();
        Ok(all)
    }

    fn connections(&mut self, _at: Duration) -> Result<Vec<Connection>, Error> {
        let mut all = Vec::new();
        self.namespace()?
            .opened
            .tracking
            .list(|message| all.extend(connection::read(message)))?;
        all.sort();
        Ok(all)
    }
}
