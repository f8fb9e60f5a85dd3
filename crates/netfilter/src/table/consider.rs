//! A walk through a table that leaves no trace: what would become of a flow's first packet, were it to come now?
//!
//! Nothing is counted, answered, logged or remembered. What only the packet itself could tell (its length, its options, the
//! rate at which others came) is not known: such matches are *in doubt*, and doubt is for the flow. A rule in doubt that accepts
//! holds, one that drops doesn't, and behind a jump in doubt nothing is dropped.

use super::bounds;
use super::compile::{CompiledTable, CompiledTarget};
use crate::context::{Context, Slot};
use crate::rule::{Match, Policy, Target};
use crate::targets::connmark::Operation;

/// What a table would do with a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It passes.
    Accept,
    /// It is dropped or rejected.
    Drop,
    /// Something decides that can't be asked without a packet.
    Doubt,
}

/// Whether a rule holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    No,
    Yes,
    Doubt,
}

impl CompiledTable {
    /// Walks the packet of `cx` through the chain of its hook. Only its mark may change.
    pub(crate) fn consider(&mut self, cx: &mut Context<'_>) -> Admission {
        let Some(start) = self.hooks[cx.hook.index()] else {
            return Admission::Accept;
        };
        let key = self.has_classifier.then(|| self.interfaces.key(cx.packet)).flatten();
        let ordinary = bounds::is_ordinary(cx.packet);
        let mut stack: Vec<(u32, u32)> = Vec::new();
        let (mut chain, mut at) = (start, 0);
        let mut in_doubt = false;
        let drop = |in_doubt| if in_doubt { Admission::Doubt } else { Admission::Drop };
        loop {
            let compiled = &self.chains[chain as usize];
            let classifier = compiled.classifier.as_ref().zip(key.as_ref());
            let next = match classifier {
                Some((classifier, key)) if at < compiled.len => classifier.next(key, at).unwrap_or(compiled.len),
                _ => at,
            };
            if next >= compiled.len {
                if let Some(caller) = stack.pop() {
                    (chain, at) = caller;
                    continue;
                }
                return match self.chains[start as usize].policy {
                    Some(Policy::Drop) => drop(in_doubt),
                    Some(Policy::Accept) | None => Admission::Accept,
                };
            }
            at = next + 1;
            let rule = &self.rules[(compiled.first + next) as usize];
            let exact = classifier.is_some() && ordinary && rule.exact;
            let mut holds = if exact { Holds::Yes } else { Holds::No };
            if !exact && rule.ip.matches(cx.packet) {
                holds = Holds::Yes;
                let slots = &mut self.slots[rule.first_slot as usize..];
                for (m, slot) in rule.matches.iter().zip(slots) {
                    if !is_known(m, cx) {
                        holds = Holds::Doubt;
                    } else if !m.matches(cx, slot) {
                        holds = Holds::No;
                        break;
                    }
                }
            }
            if holds == Holds::No {
                continue;
            }
            let doubtful = holds == Holds::Doubt;
            match &rule.target {
                CompiledTarget::Jump(to) => {
                    in_doubt |= doubtful;
                    stack.push((chain, at));
                    (chain, at) = (*to, 0);
                }
                CompiledTarget::Goto(to) => {
                    in_doubt |= doubtful;
                    (chain, at) = (*to, 0);
                }
                CompiledTarget::Other(target) => match target {
                    Target::Accept => return Admission::Accept,
                    Target::Drop | Target::Reject(_) if doubtful => {}
                    Target::Drop | Target::Reject(_) => return drop(in_doubt),
                    Target::Return => {
                        in_doubt |= doubtful;
                        match stack.pop() {
                            Some(caller) => (chain, at) = caller,
                            // The policy: as at the chain's end.
                            None => at = u32::MAX,
                        }
                    }
                    Target::Queue | Target::Nfqueue(_) | Target::Synproxy(_) | Target::Tproxy(_) | Target::Ext(_) => {
                        return Admission::Doubt;
                    }
                    Target::Mark(_) | Target::Connmark(_) if doubtful => in_doubt = true,
                    Target::Mark(mark) => _ = mark.apply(cx, &mut Slot::None),
                    Target::Connmark(mark) if mark.operation == Operation::Restore => _ = mark.apply(cx, &mut Slot::None),
                    _ => {}
                },
            }
        }
    }
}

/// Whether a match asks only what is known of a flow: addresses, ports, protocol, interfaces, marks, the connection, the time.
fn is_known(m: &Match, cx: &Context<'_>) -> bool {
    if let Match::Set(set) = m {
        return !set.counts(cx);
    }
    matches!(
        m,
        Match::Addrtype(_)
            | Match::Cluster(_)
            | Match::Comment(_)
            | Match::Connlabel(_)
            | Match::Connmark(_)
            | Match::Conntrack(_)
            | Match::Devgroup(_)
            | Match::Helper(_)
            | Match::Icmp(_)
            | Match::Icmp6(_)
            | Match::Iprange(_)
            | Match::Mark(_)
            | Match::Multiport(_)
            | Match::Realm(_)
            | Match::Rpfilter(_)
            | Match::State(_)
            | Match::Tcp(_)
            | Match::Time(_)
            | Match::Udp(_)
    )
}
