//! Matches.

use std::sync::Arc;

use fielato_netfilter::syntax::MatchSyntax;

mod addrtype;
mod comment;
mod connmark;
mod conntrack;
pub(crate) mod dscp;
mod hl;
mod icmp;
mod icmp6;
mod icmp_types;
mod iprange;
mod length;
mod limit;
mod mac;
mod mark;
mod multiport;
mod state;
mod states;
mod tcp;
mod tos;
mod ttl;
mod udp;

/// All built-in matches, by name.
pub fn all() -> Vec<Arc<dyn MatchSyntax>> {
    vec![
        Arc::new(addrtype::AddrtypeSyntax),
        Arc::new(comment::CommentSyntax),
        Arc::new(connmark::ConnmarkSyntax),
        Arc::new(conntrack::ConntrackSyntax),
        Arc::new(dscp::DscpSyntax),
        Arc::new(hl::HlSyntax),
        Arc::new(icmp::IcmpSyntax),
        Arc::new(icmp6::Icmp6Syntax),
        Arc::new(iprange::IprangeSyntax),
        Arc::new(length::LengthSyntax),
        Arc::new(limit::LimitSyntax),
        Arc::new(mac::MacSyntax),
        Arc::new(mark::MarkSyntax),
        Arc::new(multiport::MultiportSyntax),
        Arc::new(state::StateSyntax),
        Arc::new(tcp::TcpSyntax),
        Arc::new(tos::TosSyntax),
        Arc::new(ttl::TtlSyntax),
        Arc::new(udp::UdpSyntax),
    ]
}
