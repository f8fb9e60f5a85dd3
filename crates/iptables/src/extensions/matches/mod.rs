//! Matches.

mod addrtype;
mod ah;
mod bpf;
mod cgroup;
mod cluster;
mod comment;
mod connbytes;
mod connlabel;
mod connlimit;
mod connmark;
mod conntrack;
mod cpu;
mod dccp;
mod devgroup;
pub(crate) mod dscp;
mod ecn;
mod esp;
mod eui64;
mod frag;
mod hashlimit;
mod helper;
mod icmp;
mod icmp6;
mod icmp_types;
mod ipcomp;
mod iprange;
mod ipv6header;
mod ipv6opts;
mod length;
mod limit;
mod mac;
mod mark;
mod mh;
mod multiport;
mod nfacct;
mod osf;
mod owner;
mod physdev;
mod pkttype;
mod policy;
mod quota;
mod rateest;
mod realm;
mod recent;
mod rpfilter;
mod rt;
mod sctp;
mod set;
mod socket;
mod srh;
mod state;
mod states;
mod statistic;
mod string;
mod tcp;
mod tcpmss;
mod time;
pub(crate) mod tos;
mod ttl;
mod u32;
mod udp;

use std::sync::Arc;

use fielato_netfilter::matches::ipv6opts::OptionsHeader;
use fielato_netfilter::syntax::MatchSyntax;
use fielato_wire::Family;

/// All built-in matches, by name.
pub fn all() -> Vec<Arc<dyn MatchSyntax>> {
    vec![
        Arc::new(addrtype::AddrtypeSyntax),
        Arc::new(ah::Ah6Syntax),
        Arc::new(ah::AhSyntax),
        Arc::new(bpf::BpfSyntax),
        Arc::new(cgroup::CgroupSyntax),
        Arc::new(cluster::ClusterSyntax),
        Arc::new(comment::CommentSyntax),
        Arc::new(connbytes::ConnbytesSyntax),
        Arc::new(connlabel::ConnlabelSyntax),
        Arc::new(connlimit::ConnlimitSyntax),
        Arc::new(connmark::ConnmarkSyntax),
        Arc::new(conntrack::ConntrackSyntax),
        Arc::new(cpu::CpuSyntax),
        Arc::new(dccp::DccpSyntax),
        Arc::new(devgroup::DevgroupSyntax),
        Arc::new(dscp::DscpSyntax),
        Arc::new(ecn::EcnSyntax),
        Arc::new(esp::EspSyntax),
        Arc::new(eui64::Eui64Syntax),
        Arc::new(frag::FragSyntax),
        Arc::new(hashlimit::HashlimitSyntax),
        Arc::new(helper::HelperSyntax),
        Arc::new(ttl::TtlSyntax(Family::V6)),
        Arc::new(icmp6::Icmp6Syntax),
        Arc::new(icmp::IcmpSyntax),
        Arc::new(ipcomp::IpcompSyntax),
        Arc::new(iprange::IprangeSyntax),
        Arc::new(ipv6header::Ipv6HeaderSyntax),
        Arc::new(ipv6opts::Ipv6OptionsSyntax(OptionsHeader::Destination)),
        Arc::new(ipv6opts::Ipv6OptionsSyntax(OptionsHeader::HopByHop)),
        Arc::new(length::LengthSyntax),
        Arc::new(limit::LimitSyntax),
        Arc::new(mac::MacSyntax),
        Arc::new(mark::MarkSyntax),
        Arc::new(mh::MhSyntax),
        Arc::new(multiport::MultiportSyntax),
        Arc::new(nfacct::NfacctSyntax),
        Arc::new(osf::OsfSyntax),
        Arc::new(owner::OwnerSyntax),
        Arc::new(physdev::PhysdevSyntax),
        Arc::new(pkttype::PkttypeSyntax),
        Arc::new(policy::PolicySyntax),
        Arc::new(quota::QuotaSyntax),
        Arc::new(rateest::RateestSyntax),
        Arc::new(realm::RealmSyntax),
        Arc::new(recent::RecentSyntax),
        Arc::new(rpfilter::RpfilterSyntax),
        Arc::new(rt::RtSyntax),
        Arc::new(sctp::SctpSyntax),
        Arc::new(set::SetSyntax),
        Arc::new(socket::SocketSyntax),
        Arc::new(srh::SrhSyntax),
        Arc::new(state::StateSyntax),
        Arc::new(statistic::StatisticSyntax),
        Arc::new(string::StringSyntax),
        Arc::new(tcp::TcpSyntax),
        Arc::new(tcpmss::TcpmssSyntax),
        Arc::new(time::TimeSyntax),
        Arc::new(tos::TosSyntax),
        Arc::new(ttl::TtlSyntax(Family::V4)),
        Arc::new(u32::U32Syntax),
        Arc::new(udp::UdpSyntax),
    ]
}
