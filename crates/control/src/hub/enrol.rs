//! Protected hosts that enrol: a token is made, used once, or void after an hour.
//!
//! The host's member has the token's key until the host sends one of its own through the tunnel. The configuration file is changed, and
//! what is in force in the same way: edits that nobody has asked to load stay unloaded.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fielato_fleet::Digest;
use fielato_policy::edit::{self, Document, EditError};
use fielato_wireguard::PrivateKey;
use ipnet::IpNet;
use jiff::Timestamp;

use super::Hub;
use crate::edit::Edit;
use crate::fleet::{EnrolRequest, Enrolment, Token};
use crate::protocol::VERSION;
use crate::revisions::{NewRevision, Origin};
use crate::secrets;

/// How long a token can be used.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// The answer goes out through the tunnel of the old key, so that is in force a moment longer.
const FAREWELL: Duration = Duration::from_secs(1);
/// Between two tries of what does not work at the moment.
const PATIENCE: Duration = Duration::from_secs(30);

impl Hub {
    /// Makes a token for a host, and its member the token's.
    pub(super) fn make_token(&mut self, host: &str, now: Timestamp) -> Result<Token> {
        self.refuse_while_pending()?;
        let key = PrivateKey::generate().context("the system has no random numbers")?;
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).context("the system has no random numbers")?;
        let secret = STANDARD.encode(secret);
        let until = now + TOKEN_LIFE;
        let enrolment = Enrolment {
            secret: Digest::of_bytes(secret.as_bytes()),
            public_key: key.public_key(),
            until,
        };
        // First what makes it void after its time.
        self.hosts.expect(host, enrolment)?;
        let public_key = key.public_key();
        let enrolled = self.edit_policy(now, |document| edit::enrol_host(document, host, &public_key));
        if let Err(error) = enrolled.and_then(|()| self.record_enrolment(host)) {
            self.hosts.forget(host)?;
            return Err(error);
        }
        if let Some(trouble) = self.hosts.trouble() {
            bail!("{trouble}");
        }
        let Some(member) = self.source.config.members.get(host) else {
            bail!("member {host} has gone meanwhile")
        };
        let hub = &self.source.config.hub;
        let own = |address: &std::net::IpAddr| {
            let net = hub.addresses.iter().find(|net| net.contains(address))?;
            IpNet::new(*address, net.prefix_len()).ok()
        };
        Ok(Token {
            version: VERSION,
            host: host.to_owned(),
            endpoint: match hub.endpoint.host.contains(':') {
                true => format!("[{}]:{}", hub.endpoint.host, hub.endpoint.port),
                false => format!("{}:{}", hub.endpoint.host, hub.endpoint.port),
            },
            hub_key: self.private_key.public_key(),
            interface: hub.interface.clone(),
            mtu: hub.mtu,
            addresses: member.addresses.iter().filter_map(own).collect(),
            hub: hub
                .addresses
                .iter()
                .map(|net| SocketAddr::new(net.addr(), hub.control_port))
                .collect(),
            allowed_ips: hub.addresses.iter().map(IpNet::trunc).collect(),
            private_key: key.to_base64(),
            preshared_key: secrets::member_psk(&self.paths, host)?.map(|key| key.to_base64()),
            secret,
            until,
        })
    }

    /// Does what the agents of hosts have asked for; tells the log what has happened to them.
    pub fn handle_hosts(&mut self, now: Timestamp) {
        for event in self.hosts.events() {
            self.note_host(&event);
        }
        for request in self.hosts.enrol_requests() {
            let result = self.take_key(&request);
            if result.is_ok() {
                self.hosts.switch_at(now + FAREWELL);
            }
            self.hosts.answer(&request, result.map_err(|error| format!("{error:#}")));
        }
        for (host, enrolment) in self.hosts.enrolments_over(now) {
            if let Err(error) = self.end_enrolment(&host, &enrolment, now) {
                // As while somebody is at work on the file. The hub must not end for it, and the token is refused all the same.
                log::error!("host {host} has not enrolled in time, and its member cannot be disabled yet: {error:#}");
                self.hosts.try_again(now + PATIENCE);
            }
        }
        if self.hosts.is_time_to_switch(now)
            && let Err(error) = self.change_to_circumstances(now)
        {
            log::error!("the new key of a host cannot be put in force yet: {error:#}");
            self.hosts.switch_at(now + PATIENCE);
        }
    }

    /// The token's key must not stay a way into the overlay.
    fn end_enrolment(&mut self, host: &str, enrolment: &Enrolment, now: Timestamp) -> Result<()> {
        let member = self.source.config.members.get(host);
        if member.is_some_and(|member| member.public_key == enrolment.public_key && !member.disabled) {
            self.refuse_while_pending()?;
            self.edit_policy(now, |document| edit::set_disabled(document, host, true))?;
            self.record_enrolment(host)?;
            log::warn!("host {host} has not enrolled in time; its member is disabled");
        }
        self.hosts.forget(host)
    }

    /// Writes down the key that a host has sent. It is in force after [`FAREWELL`].
    fn take_key(&mut self, request: &EnrolRequest) -> Result<()> {
        let EnrolRequest {
            connection: _,
            host,
            public_key,
        } = request;
        self.refuse_while_pending()?;
        let enrol = |document: Document<'_>| edit::enrol_host(document, host, public_key);
        let before = self.source.edit(&self.paths, enrol)?;
        let written = self.edit_file(enrol).and_then(|()| self.hosts.forget(host));
        if let Err(error) = written {
            self.source.restore(before);
            return Err(error);
        }
        self.record_enrolment(host)
    }

    /// Else the policy to go back to would not know the host's key.
    fn record_enrolment(&self, host: &str) -> Result<()> {
        let revision = self.kept.revisions.record(NewRevision {
            files: &self.source.files(),
            author: host,
            message: None,
            origin: Origin::Enrol,
            confirm_until: None,
            now: Timestamp::now(),
        });
        revision.map(drop)
    }

    /// Changes the file, and what is in force in the same way.
    fn edit_policy(&mut self, now: Timestamp, change: impl Fn(Document<'_>) -> Result<String, EditError>) -> Result<()> {
        let before = self.source.edit(&self.paths, &change)?;
        if let Err(error) = self.change_to_circumstances(now) {
            self.source.restore(before);
            return Err(error);
        }
        if let Err(error) = self.edit_file(change) {
            self.source.restore(before);
            self.change_to_circumstances(now)?;
            return Err(error);
        }
        Ok(())
    }

    fn edit_file(&self, change: impl Fn(Document<'_>) -> Result<String, EditError>) -> Result<()> {
        let edit = Edit::begin(&self.paths)?;
        let text = change(edit.texts.document())?;
        edit.commit(&text)
    }
}
