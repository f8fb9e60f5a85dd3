//! Temporary access: given and taken by commands, ended by the clock.

use anyhow::{Result, bail};
use fielato_policy::Grant;
use jiff::Timestamp;

use super::Hub;
use crate::protocol::NewGrant;

impl Hub {
    /// Lets a member reach a service for a while. In force first, then on the disk; when the disk refuses, neither.
    ///
    /// # Errors
    /// A name that the policy does not have, or an end that is past; when it cannot be put in force or stored.
    pub(super) fn grant(&mut self, new: NewGrant, author: &str, now: Timestamp) -> Result<Grant> {
        let NewGrant {
            member,
            service,
            until,
            reason,
        } = new;
        let config = &self.source.config;
        if !config.members.contains_key(&member) {
            bail!("the policy in force has no member {member}; see `fielato member list`");
        }
        if !config.services.contains_key(&service) {
            let known: Vec<&str> = config.services.keys().map(String::as_str).collect();
            bail!("the policy in force has no service {service}; it has {}", known.join(", "));
        }
        if until <= now {
            bail!("{until} is past; grant access for a time to come, such as `--for 2h`");
        }
        let grant = Grant {
            member,
            service,
            until,
            reason,
            by: Some(author.to_owned()),
        };
        let before = self.kept.grant(&grant)?;
        if let Err(error) = self.change_to_circumstances(now) {
            match before {
                Some(before) => drop(self.kept.grant(&before)?),
                None => drop(self.kept.revoke(&grant.member, &grant.service)?),
            }
            return Err(error);
        }
        Ok(grant)
    }

    /// Takes a grant back. False when there was none.
    ///
    /// # Errors
    /// When the store refuses; or when the rules can't be changed, which the next change makes up for.
    pub(super) fn revoke(&mut self, member: &str, service: &str, now: Timestamp) -> Result<bool> {
        if self.kept.revoke(member, service)?.is_none() {
            return Ok(false);
        }
        self.change_to_circumstances(now)?;
        Ok(true)
    }
}
