//! Targets.

mod nat;

mod classify;
mod connmark;
mod ct;
mod dnat;
mod dscp;
mod hl;
mod log;
mod mark;
mod masquerade;
mod netmap;
mod nflog;
mod nfqueue;
mod redirect;
mod reject;
mod snat;
mod tcpmss;
mod tos;
mod ttl;

use std::sync::Arc;

use fielato_netfilter::syntax::TargetSyntax;

/// All built-in targets, by name.
pub fn all() -> Vec<Arc<dyn TargetSyntax>> {
    vec![
        Arc::new(classify::ClassifySyntax),
        Arc::new(connmark::ConnmarkSyntax),
        Arc::new(ct::CtSyntax),
        Arc::new(ct::NotrackSyntax),
        Arc::new(dnat::DnatSyntax),
        Arc::new(dscp::DscpSyntax),
        Arc::new(hl::HlSyntax),
        Arc::new(log::LogSyntax),
        Arc::new(mark::MarkSyntax),
        Arc::new(masquerade::MasqueradeSyntax),
        Arc::new(netmap::NetmapSyntax),
        Arc::new(nflog::NflogSyntax),
        Arc::new(nfqueue::NfqueueSyntax),
        Arc::new(redirect::RedirectSyntax),
        Arc::new(reject::RejectSyntax),
        Arc::new(snat::SnatSyntax),
        Arc::new(tcpmss::TcpmssSyntax),
        Arc::new(tos::TosSyntax),
        Arc::new(ttl::TtlSyntax),
    ]
}
