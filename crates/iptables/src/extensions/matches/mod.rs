//! Matches.

mod bpf;
mod hashlimit;
mod nfacct;
mod osf;
mod policy;
mod rateest;
mod recent;
mod set;
mod socket;
mod string;
mod time;
mod u32;

use std::sync::Arc;

use fielato_netfilter::syntax::MatchSyntax;

/// All built-in matches, by name.
pub fn all() -> Vec<Arc<dyn MatchSyntax>> {
    vec![
        Arc::new(bpf::BpfSyntax),
        Arc::new(hashlimit::HashlimitSyntax),
        Arc::new(nfacct::NfacctSyntax),
        Arc::new(osf::OsfSyntax),
        Arc::new(policy::PolicySyntax),
        Arc::new(rateest::RateestSyntax),
        Arc::new(recent::RecentSyntax),
        Arc::new(set::SetSyntax),
        Arc::new(socket::SocketSyntax),
        Arc::new(string::StringSyntax),
        Arc::new(time::TimeSyntax),
        Arc::new(u32::U32Syntax),
    ]
}
