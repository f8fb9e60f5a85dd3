//! A packet's walk through a table (`ipt_do_table`).

use super::bounds;
use super::compile::{CompiledTable, CompiledTarget};
use crate::classify::Key;
use crate::context::{Context, Effect};
use crate::engine::Recorder;
use crate::rule::Policy;
use crate::verdict::{DropReason, TargetVerdict, Verdict};

/// What a walk needs beside the table, kept between walks.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Where to go on after a chain: the chain and the rule's place in it.
    stack: Vec<(u32, u32)>,
    pub(crate) recorder: Recorder,
    /// What a route depends on was changed at a hook, in a way that asks for another routing decision.
    pub(crate) reroute: bool,
}

impl CompiledTable {
    /// Walks the packet of `cx` through the chain of its hook. `number` is this table's in the engine.
    pub(crate) fn walk(&mut self, cx: &mut Context<'_>, number: u16, scratch: &mut Scratch) -> Verdict {
        let Scratch { stack, recorder, .. } = scratch;
        let Some(start) = self.hooks[cx.hook.index()] else {
            return Verdict::Accept;
        };
        stack.clear();
        let mut key = self.has_classifier.then(|| self.interfaces.key(cx.packet)).flatten();
        let (mut chain, mut at) = (start, 0);
        loop {
            let Some(rule) = self.next_match(cx, chain, at, key.as_ref(), recorder) else {
                if cx.hotdrop {
                    return Verdict::Drop(DropReason::Hotdrop);
                }
                if let Some((caller, resume)) = stack.pop() {
                    self.trace(cx, chain, "return", self.chains[chain as usize].len);
                    (chain, at) = (caller, resume);
                    continue;
                }
                return self.policy(cx, start, number, recorder);
            };
            self.trace(cx, chain, "rule", rule);
            let index = self.chains[chain as usize].first + rule;
            self.counters[index as usize].add(1, cx.packet.data.len() as u64);
            recorder.crossed(number, index);
            let compiled = &self.rules[index as usize];
            // The rule that holds for a malformed packet is counted and its target runs; then the walk ends (`ipt_do_table`).
            let target = match &compiled.target {
                CompiledTarget::Jump(_) | CompiledTarget::Goto(_) if cx.hotdrop => {
                    return Verdict::Drop(DropReason::Hotdrop);
                }
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
            if recorder.is_active() && !target.per_flow() {
                recorder.spoil();
            }
            let slot = compiled.first_slot as usize + compiled.matches.len();
            let rewrites = target.rewrites();
            let verdict = target.apply(cx, &mut self.slots[slot]);
            if cx.hotdrop {
                return Verdict::Drop(DropReason::Hotdrop);
            }
            match verdict {
                TargetVerdict::Continue => {
                    at = rule + 1;
                    if rewrites && key.is_some() {
                        key = self.interfaces.key(cx.packet);
                    }
                }
                TargetVerdict::Return => match stack.pop() {
                    Some((caller, resume)) => (chain, at) = (caller, resume),
                    None => return self.policy(cx, start, number, recorder),
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
        }
    }

    /// The first rule of `chain` from place `at` on that holds for the packet; none, with `hotdrop` set, when a rule before it
    /// found it malformed. A match that is negated may hold and find it malformed at once.
    fn next_match(
        &mut self,
        cx: &mut Context<'_>,
        chain: u32,
        mut at: u32,
        key: Option<&Key>,
        recorder: &mut Recorder,
    ) -> Option<u32> {
        let chain = &self.chains[chain as usize];
        let unreadable = cx.packet.headers.lacks_protocol();
        let classifier = chain.classifier.as_ref().zip(key);
        let ordinary = classifier.is_some() && bounds::is_ordinary(cx.packet);
        while at < chain.len {
            if let Some((classifier, key)) = classifier {
                at = classifier.next(key, at)?;
            }
            let rule = &self.rules[(chain.first + at) as usize];
            if ordinary && rule.exact {
                return Some(at);
            }
            if unreadable && rule.ip.needs_protocol(cx.packet) {
                cx.hotdrop = true;
                return None;
            }
            if rule.ip.matches(cx.packet) {
                let slots = &mut self.slots[rule.first_slot as usize..];
                let holds = rule.matches.iter().zip(slots).all(|(m, slot)| {
                    if recorder.is_active() && !m.per_flow() {
                        recorder.spoil();
                    }
                    m.matches(cx, slot)
                });
                if holds {
                    return Some(at);
                }
                if cx.hotdrop {
                    return None;
                }
            }
            at += 1;
        }
        None
    }

    /// Reports what a traced packet met: a rule of a chain, or its end (`trace_packet`). `place` counts from 0.
    #[inline]
    fn trace(&self, cx: &mut Context<'_>, chain: u32, what: &str, place: u32) {
        if cx.packet.trace {
            let chain = &self.chains[chain as usize].name;
            cx.effects.push(Effect::Trace {
                place: format!("{}:{chain}:{what}:{}", self.name, u64::from(place) + 1),
                hook: cx.hook,
                packet: Box::new(cx.packet.clone()),
            });
        }
    }

    fn policy(&mut self, cx: &mut Context<'_>, chain: u32, number: u16, recorder: &mut Recorder) -> Verdict {
        let counter = self.policy_counter(chain);
        self.trace(cx, chain, "policy", self.chains[chain as usize].len);
        self.counters[counter as usize].add(1, cx.packet.data.len() as u64);
        recorder.crossed(number, counter);
        match self.chains[chain as usize].policy {
            Some(Policy::Drop) => Verdict::Drop(DropReason::Policy {
                table: number,
                hook: cx.hook,
            }),
            Some(Policy::Accept) | None => Verdict::Accept,
        }
    }
}
