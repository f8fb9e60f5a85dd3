//! Fragments after the first, which have no transport header. Connection tracking puts datagrams together before any table sees
//! them; without it they come one by one. iptables' matches on headers don't hold for them.

use fielato_netfilter::{Match, Ruleset, Target};

/// Holds for no fragment after the first. nft has two ways to load bytes, and the one for loads of 1, 2 and 4 bytes doesn't ask
/// whether there is a header (`nft_payload_fast_eval`); so this loads 3.
pub(super) const NOT_LATER: &str = "@th,0,24 >= 0";

/// What is wrong with a match that reads a header wherever the first one would stand.
pub(super) const READ_IN_ANY: &str = "iptables reads the options of later fragments, too, where nothing tracks connections";

/// What else `-m socket` does (`socket_mt_enable_defrag`).
pub(super) const JOINED_FOR_IT: &str = "iptables puts fragments together for it, nft doesn't, where nothing tracks connections";

/// Whether rules track connections, and datagrams are put together for that.
pub(super) fn are_joined(rules: &Ruleset) -> bool {
    let all = rules
        .tables
        .iter()
        .flat_map(|table| &table.chains)
        .flat_map(|chain| &chain.rules);
    all.into_iter().any(|rule| {
        let asks = |m: &Match| {
            matches!(
                m,
                Match::Connbytes(_)
                    | Match::Connlabel(_)
                    | Match::Connlimit(_)
                    | Match::Connmark(_)
                    | Match::Conntrack(_)
                    | Match::Helper(_)
                    | Match::State(_)
            )
        };
        let target = matches!(
            rule.target,
            Target::Connmark(_)
                | Target::Dnat(_)
                | Target::Masquerade(_)
                | Target::Netmap(_)
                | Target::Redirect(_)
                | Target::Snat(_)
                | Target::Synproxy(_)
        );
        target || rule.matches.iter().any(asks)
    })
}

/// Whether a match doesn't hold for later fragments in iptables.
pub(super) fn are_passed_over(m: &Match) -> bool {
    matches!(
        m,
        Match::Ah(_)
            | Match::Dccp(_)
            | Match::Esp(_)
            | Match::Icmp(_)
            | Match::Icmp6(_)
            | Match::Ipcomp(_)
            | Match::Mh(_)
            | Match::Multiport(_)
            | Match::Sctp(_)
            | Match::Tcp(_)
            | Match::Udp(_)
    )
}
