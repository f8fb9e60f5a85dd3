//! `-m recent` (`xt_recent.c`).

use fielato_wire::Addr;

use crate::Now;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `--set`: put it into the list.
    Set,
    /// `--rcheck`: is it in the list?
    Check,
    /// `--update`: is it, and if so it is seen again.
    Update,
    /// `--remove`: is it, and if so no longer.
    Remove,
}

/// `-m recent`.
#[derive(Clone, Debug, PartialEq)]
pub struct Recent(pub Box<Parameters>);

/// The parameters of `-m recent`.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// What is done.
    pub operation: Operation,
    /// `!`
    pub negated: bool,
    /// Only times within so many seconds count; 0 for all.
    pub seconds: u32,
    /// `--reap`: the entry unused longest goes when it is older than `seconds`.
    pub reap: bool,
    /// So many times at least; 0 for one.
    pub hits: u32,
    /// `--rttl`: the TTL must be the same.
    pub ttl: bool,
    /// The list.
    pub name: Box<str>,
    /// Bits of the address that count.
    pub mask: Addr,
    /// The destination's address instead of the source's.
    pub destination: bool,
}

impl Recent {
    /// Most hits that can be asked for.
    pub const MAX_HITS: u32 = 65_535;

    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        let p = &*self.0;
        let refuse = |why: &str| Err(CheckError(format!("recent: {why}")));
        let changes = matches!(p.operation, Operation::Set | Operation::Remove);
        if changes && (p.seconds != 0 || p.hits != 0 || p.ttl || p.reap) {
            return refuse("--set and --remove go with none of --seconds, --hitcount, --rttl and --reap");
        }
        if p.reap && p.seconds == 0 {
            return refuse("--reap needs --seconds");
        }
        if p.hits > Recent::MAX_HITS {
            return refuse("--hitcount is larger than 65535");
        }
        if p.name.is_empty() || p.name.len() > 199 {
            return refuse("the name must have 1 to 199 bytes");
        }
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let p = &*self.0;
        let headers = &cx.packet.headers;
        let family = headers.family;
        let address = if p.destination { headers.dst } else { headers.src }.and(p.mask);
        // The TTL as it was before forwarding lowered it.
        let forwarded = cx.packet.out_interface.index != 0 && !cx.packet.is_local_output();
        let ttl = headers.ttl.wrapping_add(u8::from(forwarded));
        let Some(list) = cx.shared.recent.list(&p.name, p.hits) else {
            cx.hotdrop = true;
            return false;
        };
        let now = cx.now.mono;
        let Some(entry) = list.get(family, address, if p.ttl { ttl } else { 0 }) else {
            if p.operation != Operation::Set {
                return p.negated;
            }
            list.touch(family, address, ttl, now);
            return !p.negated;
        };
        let oldest = now.saturating_sub(u64::from(p.seconds) * Now::SECOND);
        let found = match p.operation {
            Operation::Set | Operation::Remove => true,
            Operation::Check | Operation::Update => {
                let counted = entry.stamps().iter().filter(|&&stamp| p.seconds == 0 || stamp >= oldest);
                counted.count() >= p.hits.max(1) as usize
            }
        };
        if p.operation == Operation::Remove {
            list.remove(family, address);
        }
        if p.reap {
            list.reap(oldest);
        }
        // The kernel looks at the answer after "!", so that "! --update" renews what is not matched.
        let answer = found != p.negated;
        if p.operation == Operation::Set || p.operation == Operation::Update && answer {
            list.touch(family, address, ttl, now);
        }
        answer
    }
}
