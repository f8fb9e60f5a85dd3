//! Targets. Each built-in one is a variant, applied without indirection; [`Target::Ext`] carries registered ones.

mod ext;
mod npt;

pub mod audit;
pub mod checksum;
pub mod classify;
pub mod connmark;
pub mod connsecmark;
pub mod ct;
pub mod dnat;
pub mod dnpt;
pub mod dscp;
pub mod ecn;
pub mod hmark;
pub mod idletimer;
pub mod led;
pub mod log;
pub mod mark;
pub mod masquerade;
pub mod netmap;
pub mod nflog;
pub mod nfqueue;
pub mod rateest;
pub mod redirect;
pub mod reject;
pub mod secmark;
pub mod set;
pub mod snat;
pub mod snpt;
pub mod synproxy;
pub mod tcpmss;
pub mod tcpoptstrip;
pub mod tee;
pub mod tos;
pub mod tproxy;
pub mod trace;
pub mod ttl;

#[cfg(test)]
mod tests;

pub use ext::{ExtTarget, ExtensionTarget};

use crate::Now;
use crate::PacketCt;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::nat::{Manip, NatRange};
use crate::verdict::{TargetVerdict, Verdict};

/// What happens to a packet that a rule holds for (`-j`, `-g`).
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "each is documented at its type")]
pub enum Target {
    /// Nothing: the rule counts.
    #[default]
    None,
    Accept,
    Drop,
    /// Back to the calling chain; in a built-in chain, its policy.
    Return,
    /// `-j QUEUE`: queue 0.
    Queue,
    /// `-j CHAIN`
    Jump(String),
    /// `-g CHAIN`: as jump, but a return there goes back to where this chain was called from.
    Goto(String),
    Audit(audit::Audit),
    Checksum(checksum::Checksum),
    Classify(classify::Classify),
    Connmark(connmark::Connmark),
    Connsecmark(connsecmark::Connsecmark),
    Ct(ct::Ct),
    Dnat(dnat::Dnat),
    Dnpt(dnpt::Dnpt),
    Dscp(dscp::Dscp),
    Ecn(ecn::Ecn),
    Hmark(hmark::Hmark),
    Idletimer(idletimer::Idletimer),
    Led(led::Led),
    Log(log::Log),
    Mark(mark::Mark),
    Masquerade(masquerade::Masquerade),
    Netmap(netmap::Netmap),
    Nflog(nflog::Nflog),
    Nfqueue(nfqueue::Nfqueue),
    Rateest(rateest::Rateest),
    Redirect(redirect::Redirect),
    Reject(reject::Reject),
    Secmark(secmark::Secmark),
    Set(set::Set),
    Snat(snat::Snat),
    Snpt(snpt::Snpt),
    Synproxy(synproxy::Synproxy),
    Tcpmss(tcpmss::Tcpmss),
    Tcpoptstrip(tcpoptstrip::Tcpoptstrip),
    Tee(tee::Tee),
    Tos(tos::Tos),
    Tproxy(tproxy::Tproxy),
    Trace(trace::Trace),
    Ttl(ttl::Ttl),
    Ext(ExtTarget),
}

impl Target {
    /// `-j NAME`; a jump's chain; "" for none.
    pub fn name(&self) -> &str {
        match self {
            Target::None => "",
            Target::Accept => "ACCEPT",
            Target::Drop => "DROP",
            Target::Return => "RETURN",
            Target::Queue => "QUEUE",
            Target::Jump(chain) | Target::Goto(chain) => chain,
            Target::Audit(_) => "AUDIT",
            Target::Checksum(_) => "CHECKSUM",
            Target::Classify(_) => "CLASSIFY",
            Target::Connmark(_) => "CONNMARK",
            Target::Connsecmark(_) => "CONNSECMARK",
            Target::Ct(t) if t.alias => "NOTRACK",
            Target::Ct(_) => "CT",
            Target::Dnat(_) => "DNAT",
            Target::Dnpt(_) => "DNPT",
            Target::Dscp(_) => "DSCP",
            Target::Ecn(_) => "ECN",
            Target::Hmark(_) => "HMARK",
            Target::Idletimer(_) => "IDLETIMER",
            Target::Led(_) => "LED",
            Target::Log(_) => "LOG",
            Target::Mark(_) => "MARK",
            Target::Masquerade(_) => "MASQUERADE",
            Target::Netmap(_) => "NETMAP",
            Target::Nflog(_) => "NFLOG",
            Target::Nfqueue(_) => "NFQUEUE",
            Target::Rateest(_) => "RATEEST",
            Target::Redirect(_) => "REDIRECT",
            Target::Reject(_) => "REJECT",
            Target::Secmark(_) => "SECMARK",
            Target::Set(_) => "SET",
            Target::Snat(_) => "SNAT",
            Target::Snpt(_) => "SNPT",
            Target::Synproxy(_) => "SYNPROXY",
            Target::Tcpmss(_) => "TCPMSS",
            Target::Tcpoptstrip(_) => "TCPOPTSTRIP",
            Target::Tee(_) => "TEE",
            Target::Tos(_) => "TOS",
            Target::Tproxy(_) => "TPROXY",
            Target::Trace(_) => "TRACE",
            Target::Ttl(t) => t.name(),
            Target::Ext(t) => t.name(),
        }
    }

    /// Whether it may stand here.
    pub fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        match self {
            Target::None | Target::Accept | Target::Drop | Target::Return | Target::Queue | Target::Jump(_) | Target::Goto(_) => {
                Ok(())
            }
            Target::Audit(t) => t.check(cx),
            Target::Checksum(t) => t.check(cx),
            Target::Classify(t) => t.check(cx),
            Target::Connmark(t) => t.check(cx),
            Target::Connsecmark(t) => t.check(cx),
            Target::Ct(t) => t.check(cx),
            Target::Dnat(t) => t.check(cx),
            Target::Dnpt(t) => t.check(cx),
            Target::Dscp(t) => t.check(cx),
            Target::Ecn(t) => t.check(cx),
            Target::Hmark(t) => t.check(cx),
            Target::Idletimer(t) => t.check(cx),
            Target::Led(t) => t.check(cx),
            Target::Log(t) => t.check(cx),
            Target::Mark(t) => t.check(cx),
            Target::Masquerade(t) => t.check(cx),
            Target::Netmap(t) => t.check(cx),
            Target::Nflog(t) => t.check(cx),
            Target::Nfqueue(t) => t.check(cx),
            Target::Rateest(t) => t.check(cx),
            Target::Redirect(t) => t.check(cx),
            Target::Reject(t) => t.check(cx),
            Target::Secmark(t) => t.check(cx),
            Target::Set(t) => t.check(cx),
            Target::Snat(t) => t.check(cx),
            Target::Snpt(t) => t.check(cx),
            Target::Synproxy(t) => t.check(cx),
            Target::Tcpmss(t) => t.check(cx),
            Target::Tcpoptstrip(t) => t.check(cx),
            Target::Tee(t) => t.check(cx),
            Target::Tos(t) => t.check(cx),
            Target::Tproxy(t) => t.check(cx),
            Target::Trace(t) => t.check(cx),
            Target::Ttl(t) => t.check(cx),
            Target::Ext(t) => t.check(cx),
        }
    }

    /// Does it. Jumps are the table's own business.
    pub(crate) fn apply(&self, cx: &mut Context<'_>, slot: &mut Slot) -> TargetVerdict {
        match self {
            Target::None | Target::Jump(_) | Target::Goto(_) => TargetVerdict::Continue,
            Target::Accept => TargetVerdict::Accept,
            Target::Drop => TargetVerdict::Drop,
            Target::Return => TargetVerdict::Return,
            Target::Queue => TargetVerdict::Queue {
                number: 0,
                bypass: false,
            },
            Target::Audit(t) => t.apply(cx, slot),
            Target::Checksum(t) => t.apply(cx, slot),
            Target::Classify(t) => t.apply(cx, slot),
            Target::Connmark(t) => t.apply(cx, slot),
            Target::Connsecmark(t) => t.apply(cx, slot),
            Target::Ct(t) => t.apply(cx, slot),
            Target::Dnat(t) => t.apply(cx, slot),
            Target::Dnpt(t) => t.apply(cx, slot),
            Target::Dscp(t) => t.apply(cx, slot),
            Target::Ecn(t) => t.apply(cx, slot),
            Target::Hmark(t) => t.apply(cx, slot),
            Target::Idletimer(t) => t.apply(cx, slot),
            Target::Led(t) => t.apply(cx, slot),
            Target::Log(t) => t.apply(cx, slot),
            Target::Mark(t) => t.apply(cx, slot),
            Target::Masquerade(t) => t.apply(cx, slot),
            Target::Netmap(t) => t.apply(cx, slot),
            Target::Nflog(t) => t.apply(cx, slot),
            Target::Nfqueue(t) => t.apply(cx, slot),
            Target::Rateest(t) => t.apply(cx, slot),
            Target::Redirect(t) => t.apply(cx, slot),
            Target::Reject(t) => t.apply(cx, slot),
            Target::Secmark(t) => t.apply(cx, slot),
            Target::Set(t) => t.apply(cx, slot),
            Target::Snat(t) => t.apply(cx, slot),
            Target::Snpt(t) => t.apply(cx, slot),
            Target::Synproxy(t) => t.apply(cx, slot),
            Target::Tcpmss(t) => t.apply(cx, slot),
            Target::Tcpoptstrip(t) => t.apply(cx, slot),
            Target::Tee(t) => t.apply(cx, slot),
            Target::Tos(t) => t.apply(cx, slot),
            Target::Tproxy(t) => t.apply(cx, slot),
            Target::Trace(t) => t.apply(cx, slot),
            Target::Ttl(t) => t.apply(cx, slot),
            Target::Ext(t) => t.apply(cx, slot),
        }
    }

    /// Its state in a fresh rule.
    pub(crate) fn slot(&self, now: Now) -> Slot {
        let _ = now;
        Slot::None
    }

    /// A rule whose check it passed is gone.
    pub(crate) fn destroy(&self) {
        if let Target::Ext(extension) = self {
            extension.destroy();
        }
    }

    /// Whether connections must be tracked for it.
    pub(crate) fn needs_conntrack(&self) -> bool {
        matches!(
            self,
            Target::Connmark(_)
                | Target::Connsecmark(_)
                | Target::Ct(_)
                | Target::Dnat(_)
                | Target::Masquerade(_)
                | Target::Netmap(_)
                | Target::Redirect(_)
                | Target::Snat(_)
                | Target::Synproxy(_)
        )
    }

    /// Whether datagrams must be put together for it (`nf_defrag_ipv4_enable`'s callers).
    pub(crate) const fn needs_defrag(&self) -> bool {
        matches!(self, Target::Tproxy(_))
    }

    /// Whether it may change addresses, protocol or ports, and go on to the next rule: what NAT decides ends the walk.
    pub(crate) const fn rewrites(&self) -> bool {
        matches!(self, Target::Dnpt(_) | Target::Snpt(_) | Target::Ext(_))
    }

    /// Whether it does the same for all packets of a flow and nothing beside what a flow's entry keeps (verdict, marks,
    /// class): see [`crate::rule::Match`].
    pub(crate) fn per_flow(&self) -> bool {
        matches!(
            self,
            Target::None
                | Target::Accept
                | Target::Drop
                | Target::Return
                | Target::Jump(_)
                | Target::Goto(_)
                | Target::Mark(_)
                | Target::Connmark(_)
                | Target::Classify(_)
                | Target::Dnat(_)
                | Target::Masquerade(_)
                | Target::Netmap(_)
                | Target::Redirect(_)
                | Target::Snat(_)
        )
    }
}

/// What the NAT targets end in: binds the packet's connection and says what that came to.
fn setup_nat(cx: &mut Context<'_>, range: &NatRange, manip: Manip) -> TargetVerdict {
    let PacketCt::Tracked { id, .. } = cx.packet.ct else {
        return TargetVerdict::Continue;
    };
    match crate::nat::setup(cx.conntrack, id, std::slice::from_ref(range), manip, cx.rng) {
        Verdict::Accept | Verdict::Repeat => TargetVerdict::Accept,
        Verdict::Drop(reason) => TargetVerdict::DropFor(reason),
        Verdict::Stolen => TargetVerdict::Stolen,
        Verdict::Queue { number, bypass } => TargetVerdict::Queue { number, bypass },
    }
}
