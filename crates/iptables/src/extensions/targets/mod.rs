//! Targets.

mod audit;
mod checksum;
mod classify;
mod connmark;
mod connsecmark;
mod ct;
mod dnat;
mod dscp;
mod ecn;
mod hmark;
mod idletimer;
mod led;
mod log;
mod mark;
mod masquerade;
mod nat;
mod netmap;
mod nflog;
mod nfqueue;
mod npt;
mod rateest;
mod redirect;
mod reject;
mod secmark;
mod set;
mod snat;
mod synproxy;
mod tcpmss;
mod tcpoptstrip;
mod tee;
mod tos;
mod tproxy;
mod trace;
mod ttl;

use std::sync::Arc;

use fielato_netfilter::nat::Manip;
use fielato_netfilter::syntax::TargetSyntax;
use fielato_wire::Family;

/// All built-in targets, by name.
pub fn all() -> Vec<Arc<dyn TargetSyntax>> {
    vec![
        Arc::new(audit::AuditSyntax),
        Arc::new(checksum::ChecksumSyntax),
        Arc::new(classify::ClassifySyntax),
        Arc::new(connmark::ConnmarkSyntax),
        Arc::new(connsecmark::ConnsecmarkSyntax),
        Arc::new(ct::CtSyntax),
        Arc::new(ct::NotrackSyntax),
        Arc::new(dnat::DnatSyntax),
        Arc::new(npt::NptSyntax(Manip::Destination)),
        Arc::new(dscp::DscpSyntax),
        Arc::new(ecn::EcnSyntax),
        Arc::new(ttl::TtlSyntax(Family::V6)),
        Arc::new(hmark::HmarkSyntax),
        Arc::new(idletimer::IdletimerSyntax),
        Arc::new(led::LedSyntax),
        Arc::new(log::LogSyntax),
        Arc::new(mark::MarkSyntax),
        Arc::new(masquerade::MasqueradeSyntax),
        Arc::new(netmap::NetmapSyntax),
        Arc::new(nflog::NflogSyntax),
        Arc::new(nfqueue::NfqueueSyntax),
        Arc::new(rateest::RateestSyntax),
        Arc::new(redirect::RedirectSyntax),
        Arc::new(reject::RejectSyntax),
        Arc::new(secmark::SecmarkSyntax),
        Arc::new(set::SetSyntax),
        Arc::new(snat::SnatSyntax),
        Arc::new(npt::NptSyntax(Manip::Source)),
        Arc::new(synproxy::SynproxySyntax),
        Arc::new(tcpmss::TcpmssSyntax),
        Arc::new(tcpoptstrip::TcpoptstripSyntax),
        Arc::new(tee::TeeSyntax),
        Arc::new(tos::TosSyntax),
        Arc::new(tproxy::TproxySyntax),
        Arc::new(trace::TraceSyntax),
        Arc::new(ttl::TtlSyntax(Family::V4)),
    ]
}
