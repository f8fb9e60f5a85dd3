//! `-m physdev` (`net/netfilter/xt_physdev.c`).

use crate::Hook;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::rule::InterfaceMatch;

/// What `-m physdev` asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// `--physdev-in`
    pub incoming: Option<InterfaceMatch>,
    /// `--physdev-out`
    pub outgoing: Option<InterfaceMatch>,
    /// `--physdev-is-in`, or not.
    pub is_in: Option<bool>,
    /// `--physdev-is-out`, or not.
    pub is_out: Option<bool>,
    /// `--physdev-is-bridged`, or not.
    pub is_bridged: Option<bool>,
}

/// `-m physdev`: ports of a bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Physdev(pub Box<Ports>);

impl Physdev {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        let asks_out = self.0.outgoing.is_some() || self.0.is_out.is_some();
        if asks_out && self.0.is_bridged != Some(true) && cx.hooks.has(Hook::Output) {
            return Err(CheckError(
                "physdev: --physdev-out and --physdev-is-out tell only of bridged packets, in FORWARD and POSTROUTING".to_owned(),
            ));
        }
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let Ports {
            incoming,
            outgoing,
            is_in,
            is_out,
            is_bridged,
        } = *self.0;
        let Some(ports) = &cx.packet.bridge else {
            // Not bridged: it holds when everything asked for is negated.
            return [is_in, is_out, is_bridged].iter().all(|wanted| *wanted != Some(true))
                && [incoming, outgoing]
                    .iter()
                    .all(|wanted| wanted.is_none_or(|port| port.negated));
        };
        is_bridged.is_none_or(|wanted| wanted == ports.bridged)
            && is_in.is_none_or(|wanted| wanted == (ports.incoming.index != 0))
            && is_out.is_none_or(|wanted| wanted == (ports.outgoing.index != 0))
            && incoming.is_none_or(|wanted| wanted.matches(ports.incoming.name))
            && outgoing.is_none_or(|wanted| wanted.matches(ports.outgoing.name))
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::InterfaceName;
    use crate::packet::BridgePorts;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn bridged_or_not() {
        let port = |name, negated| {
            let name = InterfaceName::new(name).unwrap();
            Some(InterfaceMatch {
                name,
                prefix: false,
                negated,
            })
        };
        let any = Ports::default();
        // What it answers to a bridged packet from port p0, and to another.
        let cases = [
            (
                Ports {
                    incoming: port("p0", false),
                    ..any
                },
                Answer::Yes,
                Answer::No,
            ),
            (
                Ports {
                    incoming: port("p0", true),
                    ..any
                },
                Answer::No,
                Answer::Yes,
            ),
            (
                Ports {
                    incoming: port("p1", false),
                    ..any
                },
                Answer::No,
                Answer::No,
            ),
            (
                Ports {
                    is_in: Some(true),
                    ..any
                },
                Answer::Yes,
                Answer::No,
            ),
            (
                Ports {
                    is_out: Some(false),
                    ..any
                },
                Answer::Yes,
                Answer::Yes,
            ),
            (
                Ports {
                    is_bridged: Some(true),
                    ..any
                },
                Answer::Yes,
                Answer::No,
            ),
            (
                Ports {
                    is_bridged: Some(false),
                    ..any
                },
                Answer::No,
                Answer::Yes,
            ),
        ];
        for mut packet in testkit::both(number::UDP, &[0; 8]) {
            for (ports, bridged, routed) in cases {
                let m = || Match::Physdev(Physdev(Box::new(ports)));
                packet.bridge = None;
                assert_eq!(answer(m(), packet.clone()), routed, "{ports:?}");
                packet.bridge = Some(Box::new(BridgePorts {
                    incoming: testkit::interface(4, "p0"),
                    outgoing: crate::Interface::NONE,
                    bridged: true,
                }));
                assert_eq!(answer(m(), packet.clone()), bridged, "{ports:?}");
            }
        }
    }
}
