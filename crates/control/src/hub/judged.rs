//! A policy is judged before it is applied: by its own tests, and by whom it would lock out.

use anyhow::Result;
use fielato_policy::analyse::Severity;
use fielato_policy::judge::{self, Checked};
use fielato_policy::lockout::{Session, Whose, lockout};
use fielato_policy::{Config, Plan};
use jiff::Timestamp;

use super::apply::How;

/// Tests of the policy fail.
#[derive(Debug, thiserror::Error)]
#[error("{failed} of the policy's tests fail, first {first}; `fielato test` shows them all")]
pub struct TestsFail {
    failed: usize,
    first: String,
}

/// Somebody would be locked out.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LockedOut(String);

/// Refuses a policy that its own tests refuse or, unless forced, that cuts off who applies it or the hosts' agents. `old_config` is
/// what was in force, when more than added members is new. Returns whom else it cuts, in words.
pub(super) fn judge(
    config: &Config,
    plan: &Plan,
    old_config: Option<&Config>,
    old_plan: &Plan,
    how: &How<'_>,
    now: Timestamp,
) -> Result<Vec<String>> {
    if !config.tests.is_empty() {
        let checked = judge::test(config, plan, now)?;
        let failed: Vec<&Checked> = checked.iter().filter(|one| one.failure.is_some()).collect();
        if let Some(first) = failed.first() {
            let named = first.name.as_ref().map_or_else(String::new, |name| format!("{name:?} "));
            let first = format!("{named}in line {}: {} to {}", first.line, first.from, first.to);
            return Err(TestsFail {
                failed: failed.len(),
                first,
            }
            .into());
        }
    }
    let Some(old_config) = old_config.filter(|_| !how.force) else {
        return Ok(Vec::new());
    };
    let has_agent = |session: &Session| match &session.whose {
        Whose::Agent(host) => config.hosts.get(host).is_some_and(|host| host.agent),
        Whose::Admin | Whose::Login { .. } => true,
    };
    let mut sessions = Session::of_agents(config);
    sessions.retain(has_agent);
    // Who is logged in, is so by what was in force.
    sessions.extend(how.logins.sessions(old_config));
    let findings = lockout(Some((old_config, old_plan)), (config, plan), &sessions, now)?;
    match findings.iter().find(|finding| finding.severity == Severity::Refused) {
        Some(first) => Err(LockedOut(format!("{}; {}", first.message, first.help)).into()),
        None => Ok(findings.into_iter().map(|finding| finding.message).collect()),
    }
}
