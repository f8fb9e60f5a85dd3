//! Looking at real packets while the hub runs: captures and traces.
//!
//! With the kernel engine this happens in the process of whoever looks. The daemon is asked once how the hub stands, and is not
//! needed afterwards. What is set up in the kernel for it (sockets, a table) belongs to that process, and the kernel takes it away when
//! the process ends in whatever way. With the user-space engine the daemon is the gateway, and sends the packets.

pub mod capture;
mod explain;
mod follow;
mod order;
pub mod report;
mod rules;
pub(crate) mod serve;
mod stop;
mod stream;
mod tell;
pub mod trace;
mod watcher;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use fielato_policy::Config;
use fielato_wire::filter::{Filter, NameKind, Network, Place, UnknownName, Words};
use fielato_wire::number;

use crate::protocol::{Request, Response, Status};
use crate::{Paths, client, source};

pub use stop::Stop;

/// The hub that is looked at.
#[derive(Debug)]
pub struct Subject {
    /// As the daemon told.
    pub status: Status,
    /// The configuration file. An edit that was not loaded yet is in it already; names and lines may then be of the edit.
    pub config: Config,
}

impl Subject {
    /// Asks the daemon and reads the configuration.
    ///
    /// # Errors
    /// [`client::NotRunning`] without a daemon, or when either can't be read.
    pub fn load(paths: &Paths) -> Result<Self> {
        let Response::Status(status) = client::request(paths, &Request::Status)? else {
            bail!("the daemon answered something else")
        };
        Ok(Self {
            status: *status,
            config: source::load(paths)?,
        })
    }

    fn clear(&self, words: &Words) -> Result<Filter> {
        Ok(clear(words, &self.config)?)
    }

    fn cipher(&self, words: &Words) -> Result<Filter> {
        Ok(cipher(words, &self.config, &self.status)?)
    }
}

/// How many packets the bans have stopped so far. On the kernel engine these are dropped before anything could show them; `None` with the
/// other engine, which shows them, and where there is no guard.
pub fn banned_unseen(paths: &Paths, subject: &Subject) -> Option<u64> {
    if subject.status.engine != "kernel" || subject.status.guard.is_empty() {
        return None;
    }
    match client::request(paths, &Request::Bans) {
        Ok(Response::Bans(list)) => Some(list.bans.iter().map(|ban| ban.packets).sum()),
        _ => None,
    }
}

/// A filter for packets within the tunnel: a member is its overlay addresses.
fn clear(words: &Words, config: &Config) -> Result<Filter, UnknownName> {
    words.resolve(&|kind, name| config.places(kind, name))
}

/// A filter for encrypted packets: a member is where it was last heard from, and services are not to be seen.
fn cipher(words: &Words, config: &Config, status: &Status) -> Result<Filter, UnknownName> {
    words.resolve(&|kind, name| {
        config.places(kind, name)?;
        let member = match kind {
            NameKind::Service => None,
            NameKind::Member => status.members.iter().find(|member| member.name == name),
        };
        Some(member.and_then(|member| member.endpoint).map(endpoint).into_iter().collect())
    })
}

fn endpoint(at: SocketAddr) -> Place {
    Place {
        // A socket of both families names IPv4 as mapped addresses; on the wire they are IPv4.
        network: Network::new(at.ip().to_canonical(), u8::MAX),
        ports: Some((number::UDP, at.port(), at.port())),
    }
}

/// The time since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
