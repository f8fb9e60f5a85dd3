//! Matches. Each built-in one is a variant, evaluated without indirection; [`Match::Ext`] carries registered ones.

mod comparison;
mod ext;
mod extension_header;
pub(crate) mod options;
mod range;
#[cfg(test)]
mod stateful_tests;

pub mod addrtype;
pub mod ah;
pub mod bpf;
pub mod cgroup;
pub mod cluster;
pub mod comment;
pub mod connbytes;
pub mod connlabel;
pub mod connlimit;
pub mod connmark;
pub mod conntrack;
pub mod cpu;
pub mod dccp;
pub mod devgroup;
pub mod dscp;
pub mod ecn;
pub mod esp;
pub mod eui64;
pub mod frag;
pub mod hashlimit;
pub mod helper;
pub mod icmp;
pub mod icmp6;
pub mod ipcomp;
pub mod iprange;
pub mod ipv6header;
pub mod ipv6opts;
pub mod length;
pub mod limit;
pub mod mac;
pub mod mark;
pub mod mh;
pub mod multiport;
pub mod nfacct;
pub mod osf;
pub mod owner;
pub mod physdev;
pub mod pkttype;
pub mod policy;
pub mod quota;
pub mod rateest;
pub mod realm;
pub mod recent;
pub mod rpfilter;
pub mod rt;
pub mod sctp;
pub mod set;
pub mod socket;
pub mod srh;
pub mod state;
pub mod statistic;
pub mod string;
pub mod tcp;
pub mod tcpmss;
pub mod time;
pub mod tos;
pub mod ttl;
pub mod u32;
pub mod udp;

pub use comparison::Comparison;
pub use ext::{ExtMatch, ExtensionMatch};
pub use range::Range;

use crate::Now;
use crate::check::{CheckContext, CheckError};
use crate::classify::Bounds;
use crate::context::{Context, Slot};
use crate::matches::multiport::PortSide;

/// A condition of a rule (`-m`).
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is documented at its type")]
pub enum Match {
    Addrtype(addrtype::Addrtype),
    Ah(ah::Ah),
    Bpf(bpf::Bpf),
    Cgroup(cgroup::Cgroup),
    Cluster(cluster::Cluster),
    Comment(comment::Comment),
    Connbytes(connbytes::Connbytes),
    Connlabel(connlabel::Connlabel),
    Connlimit(connlimit::Connlimit),
    Connmark(connmark::Connmark),
    Conntrack(conntrack::Conntrack),
    Cpu(cpu::Cpu),
    Dccp(dccp::Dccp),
    Devgroup(devgroup::Devgroup),
    Dscp(dscp::Dscp),
    Ecn(ecn::Ecn),
    Esp(esp::Esp),
    Eui64(eui64::Eui64),
    Frag(frag::Frag),
    Hashlimit(hashlimit::Hashlimit),
    Helper(helper::Helper),
    Icmp(icmp::Icmp),
    Icmp6(icmp6::Icmp6),
    Ipcomp(ipcomp::Ipcomp),
    Iprange(iprange::Iprange),
    Ipv6Header(ipv6header::Ipv6Header),
    Ipv6Options(ipv6opts::Ipv6Options),
    Length(length::Length),
    Limit(limit::Limit),
    Mac(mac::Mac),
    Mark(mark::Mark),
    Mh(mh::Mh),
    Multiport(multiport::Multiport),
    Nfacct(nfacct::Nfacct),
    Osf(osf::Osf),
    Owner(owner::Owner),
    Physdev(physdev::Physdev),
    Pkttype(pkttype::Pkttype),
    Policy(policy::Policy),
    Quota(quota::Quota),
    Rateest(rateest::Rateest),
    Realm(realm::Realm),
    Recent(recent::Recent),
    Rpfilter(rpfilter::Rpfilter),
    Rt(rt::Rt),
    Sctp(sctp::Sctp),
    Set(set::Set),
    Socket(socket::Socket),
    Srh(srh::Srh),
    State(state::State),
    Statistic(statistic::Statistic),
    String(string::String),
    Tcp(tcp::Tcp),
    Tcpmss(tcpmss::Tcpmss),
    Time(time::Time),
    Tos(tos::Tos),
    Ttl(ttl::Ttl),
    U32(u32::U32),
    Udp(udp::Udp),
    Ext(ExtMatch),
}

impl Match {
    /// `-m NAME`.
    pub fn name(&self) -> &str {
        match self {
            Match::Addrtype(_) => "addrtype",
            Match::Ah(_) => "ah",
            Match::Bpf(_) => "bpf",
            Match::Cgroup(_) => "cgroup",
            Match::Cluster(_) => "cluster",
            Match::Comment(_) => "comment",
            Match::Connbytes(_) => "connbytes",
            Match::Connlabel(_) => "connlabel",
            Match::Connlimit(_) => "connlimit",
            Match::Connmark(_) => "connmark",
            Match::Conntrack(_) => "conntrack",
            Match::Cpu(_) => "cpu",
            Match::Dccp(_) => "dccp",
            Match::Devgroup(_) => "devgroup",
            Match::Dscp(_) => "dscp",
            Match::Ecn(_) => "ecn",
            Match::Esp(_) => "esp",
            Match::Eui64(_) => "eui64",
            Match::Frag(_) => "frag",
            Match::Hashlimit(_) => "hashlimit",
            Match::Helper(_) => "helper",
            Match::Icmp(_) => "icmp",
            Match::Icmp6(_) => "icmp6",
            Match::Ipcomp(_) => "ipcomp",
            Match::Iprange(_) => "iprange",
            Match::Ipv6Header(_) => "ipv6header",
            Match::Ipv6Options(m) => m.name(),
            Match::Length(_) => "length",
            Match::Limit(_) => "limit",
            Match::Mac(_) => "mac",
            Match::Mark(_) => "mark",
            Match::Mh(_) => "mh",
            Match::Multiport(_) => "multiport",
            Match::Nfacct(_) => "nfacct",
            Match::Osf(_) => "osf",
            Match::Owner(_) => "owner",
            Match::Physdev(_) => "physdev",
            Match::Pkttype(_) => "pkttype",
            Match::Policy(_) => "policy",
            Match::Quota(_) => "quota",
            Match::Rateest(_) => "rateest",
            Match::Realm(_) => "realm",
            Match::Recent(_) => "recent",
            Match::Rpfilter(_) => "rpfilter",
            Match::Rt(_) => "rt",
            Match::Sctp(_) => "sctp",
            Match::Set(_) => "set",
            Match::Socket(_) => "socket",
            Match::Srh(_) => "srh",
            Match::State(_) => "state",
            Match::Statistic(_) => "statistic",
            Match::String(_) => "string",
            Match::Tcp(_) => "tcp",
            Match::Tcpmss(_) => "tcpmss",
            Match::Time(_) => "time",
            Match::Tos(_) => "tos",
            Match::Ttl(m) => m.name(),
            Match::U32(_) => "u32",
            Match::Udp(_) => "udp",
            Match::Ext(m) => m.name(),
        }
    }

    /// Whether it may stand here.
    pub fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        match self {
            Match::Addrtype(m) => m.check(cx),
            Match::Ah(m) => m.check(cx),
            Match::Bpf(m) => m.check(cx),
            Match::Cgroup(m) => m.check(cx),
            Match::Cluster(m) => m.check(cx),
            Match::Comment(m) => m.check(cx),
            Match::Connbytes(m) => m.check(cx),
            Match::Connlabel(m) => m.check(cx),
            Match::Connlimit(m) => m.check(cx),
            Match::Connmark(m) => m.check(cx),
            Match::Conntrack(m) => m.check(cx),
            Match::Cpu(m) => m.check(cx),
            Match::Dccp(m) => m.check(cx),
            Match::Devgroup(m) => m.check(cx),
            Match::Dscp(m) => m.check(cx),
            Match::Ecn(m) => m.check(cx),
            Match::Esp(m) => m.check(cx),
            Match::Eui64(m) => m.check(cx),
            Match::Frag(m) => m.check(cx),
            Match::Hashlimit(m) => m.check(cx),
            Match::Helper(m) => m.check(cx),
            Match::Icmp(m) => m.check(cx),
            Match::Icmp6(m) => m.check(cx),
            Match::Ipcomp(m) => m.check(cx),
            Match::Iprange(m) => m.check(cx),
            Match::Ipv6Header(m) => m.check(cx),
            Match::Ipv6Options(m) => m.check(cx),
            Match::Length(m) => m.check(cx),
            Match::Limit(m) => m.check(cx),
            Match::Mac(m) => m.check(cx),
            Match::Mark(m) => m.check(cx),
            Match::Mh(m) => m.check(cx),
            Match::Multiport(m) => m.check(cx),
            Match::Nfacct(m) => m.check(cx),
            Match::Osf(m) => m.check(cx),
            Match::Owner(m) => m.check(cx),
            Match::Physdev(m) => m.check(cx),
            Match::Pkttype(m) => m.check(cx),
            Match::Policy(m) => m.check(cx),
            Match::Quota(m) => m.check(cx),
            Match::Rateest(m) => m.check(cx),
            Match::Realm(m) => m.check(cx),
            Match::Recent(m) => m.check(cx),
            Match::Rpfilter(m) => m.check(cx),
            Match::Rt(m) => m.check(cx),
            Match::Sctp(m) => m.check(cx),
            Match::Set(m) => m.check(cx),
            Match::Socket(m) => m.check(cx),
            Match::Srh(m) => m.check(cx),
            Match::State(m) => m.check(cx),
            Match::Statistic(m) => m.check(cx),
            Match::String(m) => m.check(cx),
            Match::Tcp(m) => m.check(cx),
            Match::Tcpmss(m) => m.check(cx),
            Match::Time(m) => m.check(cx),
            Match::Tos(m) => m.check(cx),
            Match::Ttl(m) => m.check(cx),
            Match::U32(m) => m.check(cx),
            Match::Udp(m) => m.check(cx),
            Match::Ext(m) => m.check(cx),
        }
    }

    /// Whether it holds for the packet.
    #[inline]
    pub(crate) fn matches(&self, cx: &mut Context<'_>, slot: &mut Slot) -> bool {
        match self {
            Match::Addrtype(m) => m.matches(cx, slot),
            Match::Ah(m) => m.matches(cx, slot),
            Match::Bpf(m) => m.matches(cx, slot),
            Match::Cgroup(m) => m.matches(cx, slot),
            Match::Cluster(m) => m.matches(cx, slot),
            Match::Comment(m) => m.matches(cx, slot),
            Match::Connbytes(m) => m.matches(cx, slot),
            Match::Connlabel(m) => m.matches(cx, slot),
            Match::Connlimit(m) => m.matches(cx, slot),
            Match::Connmark(m) => m.matches(cx, slot),
            Match::Conntrack(m) => m.matches(cx, slot),
            Match::Cpu(m) => m.matches(cx, slot),
            Match::Dccp(m) => m.matches(cx, slot),
            Match::Devgroup(m) => m.matches(cx, slot),
            Match::Dscp(m) => m.matches(cx, slot),
            Match::Ecn(m) => m.matches(cx, slot),
            Match::Esp(m) => m.matches(cx, slot),
            Match::Eui64(m) => m.matches(cx, slot),
            Match::Frag(m) => m.matches(cx, slot),
            Match::Hashlimit(m) => m.matches(cx, slot),
            Match::Helper(m) => m.matches(cx, slot),
            Match::Icmp(m) => m.matches(cx, slot),
            Match::Icmp6(m) => m.matches(cx, slot),
            Match::Ipcomp(m) => m.matches(cx, slot),
            Match::Iprange(m) => m.matches(cx, slot),
            Match::Ipv6Header(m) => m.matches(cx, slot),
            Match::Ipv6Options(m) => m.matches(cx, slot),
            Match::Length(m) => m.matches(cx, slot),
            Match::Limit(m) => m.matches(cx, slot),
            Match::Mac(m) => m.matches(cx, slot),
            Match::Mark(m) => m.matches(cx, slot),
            Match::Mh(m) => m.matches(cx, slot),
            Match::Multiport(m) => m.matches(cx, slot),
            Match::Nfacct(m) => m.matches(cx, slot),
            Match::Osf(m) => m.matches(cx, slot),
            Match::Owner(m) => m.matches(cx, slot),
            Match::Physdev(m) => m.matches(cx, slot),
            Match::Pkttype(m) => m.matches(cx, slot),
            Match::Policy(m) => m.matches(cx, slot),
            Match::Quota(m) => m.matches(cx, slot),
            Match::Rateest(m) => m.matches(cx, slot),
            Match::Realm(m) => m.matches(cx, slot),
            Match::Recent(m) => m.matches(cx, slot),
            Match::Rpfilter(m) => m.matches(cx, slot),
            Match::Rt(m) => m.matches(cx, slot),
            Match::Sctp(m) => m.matches(cx, slot),
            Match::Set(m) => m.matches(cx, slot),
            Match::Socket(m) => m.matches(cx, slot),
            Match::Srh(m) => m.matches(cx, slot),
            Match::State(m) => m.matches(cx, slot),
            Match::Statistic(m) => m.matches(cx, slot),
            Match::String(m) => m.matches(cx, slot),
            Match::Tcp(m) => m.matches(cx, slot),
            Match::Tcpmss(m) => m.matches(cx, slot),
            Match::Time(m) => m.matches(cx, slot),
            Match::Tos(m) => m.matches(cx, slot),
            Match::Ttl(m) => m.matches(cx, slot),
            Match::U32(m) => m.matches(cx, slot),
            Match::Udp(m) => m.matches(cx, slot),
            Match::Ext(m) => m.matches(cx, slot),
        }
    }

    /// Narrows the box of header fields in which it can hold. Whether it holds for every ordinary packet within: whole, with a
    /// whole transport header and no extension headers. Otherwise what is within is compared in full.
    pub(crate) fn narrow(&self, bounds: &mut Bounds) -> bool {
        fn to<T: Ord + Copy>(bound: &mut (T, T), range: &Range<T>) -> bool {
            if !range.negated {
                *bound = (bound.0.max(range.min), bound.1.min(range.max));
            }
            !range.negated
        }
        match self {
            Match::Comment(_) => true,
            Match::Tcp(m) => {
                let ports = to(&mut bounds.sport, &m.sport) & to(&mut bounds.dport, &m.dport);
                ports && m.flags_mask == 0 && !m.flags_negated && m.option == 0
            }
            Match::Udp(m) => to(&mut bounds.sport, &m.sport) & to(&mut bounds.dport, &m.dport),
            Match::Multiport(m) if !m.negated => {
                let least = m.ports.iter().map(|range| range.min).min();
                let most = m.ports.iter().map(|range| range.max).max();
                let (Some(min), Some(max)) = (least, most) else {
                    return false;
                };
                let narrowed = match m.side {
                    PortSide::Source => to(&mut bounds.sport, &Range::new(min, max)),
                    PortSide::Destination => to(&mut bounds.dport, &Range::new(min, max)),
                    PortSide::Either => false,
                };
                narrowed && m.ports.len() == 1
            }
            Match::Iprange(m) => {
                let source = m.ranges.source.is_none_or(|range| to(&mut bounds.src, &range));
                let destination = m.ranges.destination.is_none_or(|range| to(&mut bounds.dst, &range));
                source && destination
            }
            _ => false,
        }
    }

    /// Whether it makes no difference that it is not asked: it counts nothing, and has no packet dropped that the classifier
    /// could find a rule for.
    pub(crate) fn only_looks(&self) -> bool {
        match self {
            Match::Addrtype(_)
            | Match::Comment(_)
            | Match::Connmark(_)
            | Match::Conntrack(_)
            | Match::Devgroup(_)
            | Match::Dscp(_)
            | Match::Iprange(_)
            | Match::Length(_)
            | Match::Mark(_)
            | Match::Multiport(_)
            | Match::Physdev(_)
            | Match::Pkttype(_)
            | Match::State(_)
            | Match::Tos(_)
            | Match::Ttl(_)
            | Match::Udp(_) => true,
            // The options may be malformed.
            Match::Tcp(m) => m.option == 0,
            _ => false,
        }
    }

    /// Its state in a fresh rule.
    pub(crate) fn slot(&self, now: Now) -> Slot {
        match self {
            Match::Connlimit(m) => m.slot(),
            Match::Limit(m) => m.slot(now),
            Match::Quota(m) => m.slot(),
            Match::Statistic(m) => m.slot(),
            _ => Slot::None,
        }
    }

    /// A rule whose check it passed is gone.
    pub(crate) fn destroy(&self) {
        if let Match::Ext(extension) = self {
            extension.destroy();
        }
    }

    /// Whether connections must be tracked for it.
    pub(crate) fn needs_conntrack(&self) -> bool {
        matches!(
            self,
            Match::Cluster(_)
                | Match::Connbytes(_)
                | Match::Connlabel(_)
                | Match::Connlimit(_)
                | Match::Connmark(_)
                | Match::Conntrack(_)
                | Match::Helper(_)
                | Match::State(_)
        )
    }

    /// Whether datagrams must be put together for it (`nf_defrag_ipv4_enable`'s callers).
    pub(crate) const fn needs_defrag(&self) -> bool {
        matches!(self, Match::Socket(_))
    }

    /// Whether the answer is the same for all packets of one direction of a connection in one state that come in by the same
    /// interface with the same mark, type of service, connection mark, and TCP flags SYN, ACK, FIN, RST: such answers
    /// may be kept with the flow.
    pub(crate) fn per_flow(&self) -> bool {
        match self {
            Match::Comment(_)
            | Match::Connmark(_)
            | Match::Dscp(_)
            | Match::Iprange(_)
            | Match::Mark(_)
            | Match::Multiport(_)
            | Match::Tos(_)
            | Match::Udp(_) => true,
            Match::Conntrack(m) => m.per_flow(),
            Match::Dccp(m) => m.per_flow(),
            Match::Sctp(m) => m.per_flow(),
            Match::State(m) => m.per_flow(),
            Match::Tcp(m) => m.per_flow(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Match;

    /// A hundred thousand rules are held: what is large stands in a box.
    #[test]
    fn a_match_is_small() {
        assert!(size_of::<Match>() <= 32, "{} bytes", size_of::<Match>());
    }
}
