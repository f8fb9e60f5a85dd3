//! `-j SET` (`xt_set.c`, revision 3).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::matches::set::{check_sides, parts};
use crate::verdict::TargetVerdict;

pub use crate::matches::set::Sides;

/// `-j SET`: adds the packet's addresses or ports to sets, or removes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Set(pub Box<Parameters>);

/// The parameters of `-j SET`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// `--add-set`
    pub add: Option<(Box<str>, Sides)>,
    /// `--del-set`
    pub del: Option<(Box<str>, Sides)>,
    /// `--exist`: an entry that is there is renewed.
    pub exist: bool,
    /// `--timeout`: seconds, in place of the set's.
    pub timeout: Option<u32>,
}

impl Set {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        let given = [&self.0.add, &self.0.del].into_iter().flatten();
        given.into_iter().try_for_each(|(_, sides)| check_sides("SET", *sides))
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let Parameters {
            add,
            del,
            exist,
            timeout,
        } = &*self.0;
        let now = cx.now.mono;
        if let Some((name, sides)) = add
            && let Some(set) = cx.shared.sets.get_mut(name)
            && let Some((parts, len)) = parts(set, cx.packet, cx.hook, *sides)
            && let Some(parts) = parts.get(..len)
            && (*exist || set.lookup_exact(parts, now).is_none())
        {
            // A full set takes no more: the packet goes on, as in the kernel.
            let _ = set.add(parts, *timeout, false, now);
        }
        if let Some((name, sides)) = del
            && let Some(set) = cx.shared.sets.get_mut(name)
            && let Some((parts, len)) = parts(set, cx.packet, cx.hook, *sides)
        {
            set.remove(parts.get(..len).unwrap_or(&[]));
        }
        TargetVerdict::Continue
    }
}
