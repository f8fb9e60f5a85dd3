//! Matches.

use std::sync::Arc;

use fielato_netfilter::matches::ipv6opts::OptionsHeader;
use fielato_netfilter::syntax::MatchSyntax;

mod addrtype;
mod ah;
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
mod helper;
mod hl;
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
mod owner;
mod physdev;
mod pkttype;
mod quota;
mod realm;
mod rpfilter;
mod rt;
mod sctp;
mod srh;
mod state;
mod states;
mod statistic;
mod tcp;
mod tcpmss;
mod tos;
mod ttl;
mod udp;

/// All built-in matches, by name.
pub fn all() -> Vec<Arc<dyn MatchSyntax>> {
    vec![
        Arc::new(addrtype::AddrtypeSyntax),
        Arc::new(ah::AhSyntax),
        Arc::new(ah::Ah6Syntax),
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
        Arc::new(ipv6opts::Ipv6OptionsSyntax(OptionsHeader::Destination)),
        Arc::new(ecn::EcnSyntax),
        Arc::new(esp::EspSyntax),
        Arc::new(eui64::Eui64Syntax),
        Arc::new(frag::FragSyntax),
        Arc::new(ipv6opts::Ipv6OptionsSyntax(OptionsHeader::HopByHop)),
        Arc::new(helper::HelperSyntax),
        Arc::new(hl::HlSyntax),
        Arc::new(icmp::IcmpSyntax),
        Arc::new(icmp6::Icmp6Syntax),
        Arc::new(ipcomp::IpcompSyntax),
        Arc::new(iprange::IprangeSyntax),
        Arc::new(ipv6header::Ipv6HeaderSyntax),
        Arc::new(length::LengthSyntax),
        Arc::new(limit::LimitSyntax),
        Arc::new(mac::MacSyntax),
        Arc::new(mark::MarkSyntax),
        Arc::new(mh::MhSyntax),
        Arc::new(multiport::MultiportSyntax),
        Arc::new(owner::OwnerSyntax),
        Arc::new(physdev::PhysdevSyntax),
        Arc::new(pkttype::PkttypeSyntax),
        Arc::new(quota::QuotaSyntax),
        Arc::new(realm::RealmSyntax),
        Arc::new(rpfilter::RpfilterSyntax),
        Arc::new(rt::RtSyntax),
        Arc::new(sctp::SctpSyntax),
        Arc::new(srh::SrhSyntax),
        Arc::new(state::StateSyntax),
        Arc::new(statistic::StatisticSyntax),
        Arc::new(tcp::TcpSyntax),
        Arc::new(tcpmss::TcpmssSyntax),
        Arc::new(tos::TosSyntax),
        Arc::new(ttl::TtlSyntax),
        Arc::new(udp::UdpSyntax),
    ]
}
