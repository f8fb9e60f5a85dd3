//! What became of captured packets: each is looked for among the traced ones by its first bytes.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use anyhow::Result;
use fielato_kernel::nft::probe;
use fielato_kernel::nft::trace::TracedHeaders;
use fielato_wire::Headers;
use fielato_wire::filter::Filter;
use fielato_wire::pcapng::Verdict;

use super::follow::{self, Followed};
use super::order::{Explained, Fate, Held};
use super::report::{LivePacket, LiveVerdict};
use super::watcher::Watcher;
use super::{Subject, now};

/// How long an explanation waits for its packet.
const KEPT: Duration = Duration::from_secs(1);
/// Most explanations that wait.
const KEPT_MAX: usize = 16 * 1024;

/// Explanations, until their packets ask for them.
pub(super) struct Explainer {
    watcher: Watcher,
    tunnel: u32,
    known: Known,
}

impl Explainer {
    /// Begins to trace packets of the tunnel, no more than `per_second`.
    ///
    /// # Errors
    /// Without the right, or where the kernel can't.
    pub fn open(subject: &Subject, filter: Filter, per_second: u32) -> Result<Self> {
        let watcher = Watcher::open(subject, filter, per_second)?;
        Ok(Self {
            tunnel: watcher.tunnel,
            watcher,
            known: Known::default(),
        })
    }

    /// How a packet within the tunnel will be found.
    pub fn fate(outbound: bool, headers: &Headers, packet: &[u8]) -> Fate {
        follow::key_of(outbound, headers, packet).map_or(Fate::Unknown, Fate::Traced)
    }

    /// Hears what has been decided. Packets towards the tunnel that were dropped never come to its interface; they are returned as
    /// far as the kernel tells of them, which is their headers.
    ///
    /// # Errors
    /// When the kernel does not tell any more.
    pub fn take(&mut self) -> Result<Vec<Held>> {
        let mut unseen = Vec::new();
        for (followed, packet) in self.watcher.take()? {
            let explained = explained(&packet);
            if let Some(first) = followed.headers().next().filter(|first| first.iif == Some(self.tunnel)) {
                let key = follow::key(false, &first.network, &first.transport);
                self.known.insert(key, explained.clone(), now());
            } else if packet.verdict == LiveVerdict::Dropped {
                unseen.extend(self.unseen(&followed, &explained));
            }
            if let Some(sent) = sent(&followed).filter(|sent| sent.oif == Some(self.tunnel)) {
                self.known
                    .insert(follow::key(true, &sent.network, &sent.transport), explained, now());
            }
        }
        self.known.sweep(now());
        Ok(unseen)
    }

    fn unseen(&self, followed: &Followed, explained: &Explained) -> Option<Held> {
        let last = followed.headers().next_back().filter(|last| last.oif == Some(self.tunnel))?;
        Some(Held {
            at: followed.at,
            interface: 0,
            outbound: true,
            bytes: [&last.network[..], &last.transport].concat(),
            len: follow::parse(last)?.len.into(),
            fate: Fate::Known(Explained {
                comment: format!("{} (never sent; only its headers are known)", explained.comment),
                ..explained.clone()
            }),
        })
    }

    /// What became of the packet of this key.
    pub fn find(&mut self, key: &[u8]) -> Option<Explained> {
        self.known.take(key)
    }
}

/// What there is to say of a packet.
pub(super) fn explained(packet: &LivePacket) -> Explained {
    Explained {
        verdict: match packet.verdict {
            LiveVerdict::Passed => Verdict::Passed,
            LiveVerdict::Dropped | LiveVerdict::Lost => Verdict::Dropped,
        },
        comment: packet.sentence(),
    }
}

/// The packet as it was sent, behind all rules.
fn sent(followed: &Followed) -> Option<&TracedHeaders> {
    let last = followed.events.iter().rev();
    last.filter(|event| event.chain == probe::PASSED[1])
        .find_map(|event| event.headers.as_ref())
}

/// Explanations by key. Packets of the same first bytes are explained in their order.
#[derive(Debug, Default)]
pub(super) struct Known {
    by_key: HashMap<Vec<u8>, VecDeque<(Duration, Explained)>>,
    count: usize,
    swept: Duration,
}

impl Known {
    /// One more than there may be is forgotten at once.
    pub fn insert(&mut self, key: Vec<u8>, explained: Explained, now: Duration) {
        if self.count < KEPT_MAX {
            self.count += 1;
            self.by_key.entry(key).or_default().push_back((now, explained));
        }
    }

    pub fn take(&mut self, key: &[u8]) -> Option<Explained> {
        let waiting = self.by_key.get_mut(key)?;
        let (_, explained) = waiting.pop_front()?;
        if waiting.is_empty() {
            self.by_key.remove(key);
        }
        self.count -= 1;
        Some(explained)
    }

    /// Forgets what nobody asked for in time.
    pub fn sweep(&mut self, now: Duration) {
        let since = now.saturating_sub(KEPT);
        if self.swept > since {
            return;
        }
        self.swept = now;
        self.by_key.retain(|_, waiting| {
            waiting.retain(|(at, _)| *at >= since);
            !waiting.is_empty()
        });
        self.count = self.by_key.values().map(VecDeque::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(comment: u64) -> Explained {
        Explained {
            verdict: Verdict::Passed,
            comment: comment.to_string(),
        }
    }

    #[test]
    fn explanations_are_found_in_order_kept_a_while_and_bounded() {
        let at = |seconds| Duration::from_secs(1000 + seconds);
        let mut known = Known::default();
        for number in 0..3 {
            known.insert(b"same".to_vec(), explained(number), at(number));
        }
        assert_eq!(known.take(b"other"), None);
        assert_eq!(known.take(b"same"), Some(explained(0)));
        known.sweep(at(2) + KEPT);
        assert_eq!(known.take(b"same"), Some(explained(2)), "the one in between is too old");
        assert_eq!((known.take(b"same"), known.count), (None, 0));
        for number in 0..KEPT_MAX as u64 + 5 {
            known.insert(number.to_be_bytes().to_vec(), explained(number), at(9));
        }
        assert_eq!(known.count, KEPT_MAX);
        known.sweep(at(20));
        assert_eq!((known.count, known.by_key.len()), (0, 0));
    }
}
