//! A packet's walk through a table (`ipt_do_table`).

use super::compile::{CompiledTable, CompiledTarget};
use crate::context::Context;
use crate::rule::Policy;
use crate::verdict::{DropReason, TargetVerdict, Verdict};

/// Where to go on after a chain: the chain and the rule's place in it.
pub(crate) type Frame = (u32, u32);

impl CompiledTable {
    /// Walks the packet of `cx` through the chain of its hook. `number` is this table's in the engine; `stack` is scratch.
    pub(crate) fn walk(&mut self, cx: &mut Context<'_>, number: u16, stack: &mut Vec<Frame>) -> Verdict {
        let Some(start) = self.hooks[cx.hook.index()] else {
            return Verdict::Accept;
        };
        stack.clear();
        let (mut chain, mut at) = (start, 0);
        loop {
            let Some(rule) = self.next_match(cx, chain, at) else {
                if cx.hotdrop {
                    return Verdict::Drop(DropReason::Hotdrop);
                }
                if let Some((caller, resume)) = stack.pop() {
                    (chain, at) = (caller, resume);
                    continue;
                }
                return self.policy(cx, start, number);
            };
            let index = self.chains[chain as usize].first + rule;
            self.counters[index as usize].add(1, cx.packet.data.len() as u64);
            let compiled = &self.rules[index as usize];
            let target = match &compiled.target {
                CompiledTarget::Jump(to) => {
                    stack.push((chain, rule + 1));
                    (chain, at) = (*to, 0);
                    continue;
                }
                CompiledTarget::Goto(to) => {
                    (chain, at) = (*to, 0);
                    continue;
                }
                CompiledTarget::Other(target) => target,
            };
            let slot = compiled.first_slot as usize + compiled.matches.len();
            match target.apply(cx, &mut self.slots[slot]) {
                TargetVerdict::Continue => at = rule + 1,
                TargetVerdict::Return => match stack.pop() {
                    Some((caller, resume)) => (chain, at) = (caller, resume),
                    None => return self.policy(cx, start, number),
                },
                TargetVerdict::Accept => return Verdict::Accept,
                TargetVerdict::Drop => {
                    return Verdict::Drop(DropReason::Rule {
                        table: number,
                        rule: index,
                    });
                }
                TargetVerdict::DropFor(reason) => return Verdict::Drop(reason),
                TargetVerdict::Stolen => return Verdict::Stolen,
                TargetVerdict::Queue { number, bypass } => return Verdict::Queue { number, bypass },
            }
            if cx.hotdrop {
                return Verdict::Drop(DropReason::Hotdrop);
            }
        }
    }

    /// The first rule of `chain` from place `at` on that holds for the packet; none when a match found it malformed.
    fn next_match(&mut self, cx: &mut Context<'_>, chain: u32, at: u32) -> Option<u32> {
        let chain = &self.chains[chain as usize];
        for place in at..chain.len {
            let rule = &self.rules[(chain.first + place) as usize];
            if !rule.ip.matches(cx.packet) {
                continue;
            }
            let slots = &mut self.slots[rule.first_slot as usize..];
            let holds = rule.matches.iter().zip(slots).all(|(m, slot)| m.matches(cx, slot));
            if cx.hotdrop {
                return None;
            }
            if holds {
                return Some(place);
            }
        }
        None
    }

    fn policy(&mut self, cx: &Context<'_>, chain: u32, number: u16) -> Verdict {
        let chain = &mut self.chains[chain as usize];
        chain.counters.add(1, cx.packet.data.len() as u64);
        match chain.policy {
            Some(Policy::Drop) => Verdict::Drop(DropReason::Policy {
                table: number,
                hook: cx.hook,
            }),
            Some(Policy::Accept) | None => Verdict::Accept,
        }
    }
}
