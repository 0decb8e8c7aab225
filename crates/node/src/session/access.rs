//! How a command gets at shards: each by itself, or those that EXEC holds locked.

use crate::node::{Node, ShardGuard};
use crate::shard::Shard;
use smallvec::SmallVec;

/// Locked shards in ascending order.
pub(crate) type Guards<'g> = SmallVec<[(usize, ShardGuard<'g>); 16]>;

/// How a command gets at shards.
#[expect(
    clippy::large_enum_variant,
    reason = "lives on the stack, one a transaction"
)]
pub(crate) enum Access<'g> {
    /// Lock what is needed, for as long as it is needed.
    Free,
    /// These are locked, for the whole of a transaction; nothing else may be.
    Held(Guards<'g>),
    /// Lock what is needed, as if alone; but the command is part of a transaction, whose reply waits for nothing more.
    InTransaction,
}

impl Access<'_> {
    /// Calls `work` with a shard, locked.
    ///
    /// # Panics
    /// If a transaction did not lock the shard beforehand: our bug.
    pub fn with<R>(&mut self, node: &Node, shard: usize, work: impl FnOnce(&mut Shard) -> R) -> R {
        match self {
            Access::Free | Access::InTransaction => work(&mut node.lock(shard)),
            Access::Held(guards) => work(held(guards, shard)),
        }
    }

    /// Whether it is a transaction's: nothing may give way, and no memory is made for it.
    pub fn is_held(&self) -> bool {
        match self {
            Access::Free => false,
            Access::Held(_) | Access::InTransaction => true,
        }
    }
}

/// Locks the shards of `wanted`, which is sorted and without doubles.
pub(crate) fn lock_all<'g>(node: &'g Node, wanted: &[usize]) -> Guards<'g> {
    wanted
        .iter()
        .map(|&shard| (shard, node.lock(shard)))
        .collect()
}

/// One of the locked shards.
pub(crate) fn held<'a>(guards: &'a mut Guards<'_>, shard: usize) -> &'a mut Shard {
    let at = guards
        .binary_search_by_key(&shard, |(id, _)| *id)
        .expect("a transaction locks the shards of its keys");
    &mut guards[at].1
}
