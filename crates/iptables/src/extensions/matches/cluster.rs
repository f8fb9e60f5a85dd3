//! `-m cluster`.

use fielato_netfilter::matches::cluster::Cluster;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m cluster`.
#[derive(Debug)]
pub struct ClusterSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("cluster-total-nodes"),
    OptionSpec::one("cluster-local-node").negatable(),
    OptionSpec::one("cluster-local-nodemask").negatable(),
    OptionSpec::one("cluster-hash-seed"),
];

impl MatchSyntax for ClusterSyntax {
    fn name(&self) -> &'static str {
        "cluster"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "cluster match options:\n\
         \x20 --cluster-total-nodes <num>           nodes in all\n\
         \x20 [!] --cluster-local-node <num>        this node, from 1\n\
         \x20 [!] --cluster-local-nodemask <num>    or nodes, a bit each\n\
         \x20 --cluster-hash-seed <num>             seed of the hash, the same on all nodes\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let local = given.iter().find(|option| option.option.starts_with("cluster-local"));
        let missing = "cluster match: `--cluster-local-node' or`--cluster-local-nodemask' is missing";
        let option = local.ok_or_else(|| SyntaxError::new(missing))?;
        values::exclusive("cluster", given, "cluster-local-node", "cluster-local-nodemask")?;
        let nodes = values::required("cluster", given, "cluster-total-nodes")?;
        let nodes = values::integer("cluster", nodes, 1, Cluster::MAX.into())? as u32;
        let seed = values::required("cluster", given, "cluster-hash-seed")?;
        let seed = values::integer("cluster", seed, 0, u32::MAX.into())? as u32;
        let number = values::integer("cluster", option, 1, Cluster::MAX.into())? as u32;
        let (local, too_big) = match option.option {
            "cluster-local-node" => (1 << (number - 1), "`--cluster-local-node' must be <= `--cluster-total-nodes'"),
            _ => (number, "`--cluster-local-nodemask' too big for `--cluster-total-nodes'"),
        };
        if u64::from(local) >= 1 << nodes {
            return Err(SyntaxError::new(format!("cluster match: {too_big}")));
        }
        Ok(Match::Cluster(Cluster {
            nodes,
            local,
            negated: option.negated,
            seed,
        }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Cluster(m) = m else {
            return String::new();
        };
        format!(
            "{} --cluster-local-nodemask 0x{:08x} --cluster-total-nodes {} --cluster-hash-seed 0x{:08x}",
            values::not(m.negated),
            m.local,
            m.nodes,
            m.seed
        )
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Cluster(m) = m else {
            return String::new();
        };
        let inverted = if m.negated { "!" } else { "" };
        format!(
            " cluster {inverted}node_mask=0x{:08x} total_nodes={} hash_seed=0x{:08x}",
            m.local, m.nodes, m.seed
        )
    }
}
