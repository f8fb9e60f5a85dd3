//! The rules of a chain, with what each was made from.

use fielato_netfilter::matches::comment::Comment;
use fielato_netfilter::rule::Policy;
use fielato_netfilter::{Match, Rule, Target};

use super::parts::Parts;
use crate::plan::Origin;

/// The rules of a chain as they are made.
pub(super) struct List {
    pub rules: Vec<Rule>,
    pub origins: Vec<Origin>,
    pub policy: Policy,
    /// Chains that its rules jump to.
    pub chains: Vec<(String, List)>,
}

impl List {
    pub const fn new() -> List {
        List {
            rules: Vec::new(),
            origins: Vec::new(),
            policy: Policy::Accept,
            chains: Vec::new(),
        }
    }

    pub fn push(&mut self, origin: Origin, parts: Parts, target: Target) {
        let Parts { ip, matches } = parts;
        let rule = Rule {
            ip,
            matches,
            target,
            ..Rule::default()
        };
        self.push_rule(origin, rule);
    }

    /// With the origin as its comment.
    pub fn push_rule(&mut self, origin: Origin, mut rule: Rule) {
        rule.matches.push(Match::Comment(Comment {
            text: origin.comment().into(),
        }));
        self.origins.push(origin);
        self.rules.push(rule);
    }
}
