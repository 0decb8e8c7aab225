//! Operations that wait for transactions for too long. A transaction of which one shard has no quorum has no outcome, and keeps its
//! keys in its other shards; whoever comes to these waits. The leader has such operations refused by an entry of the log: so
//! that their clients know that nothing was done, and that the room they take up, in their node's queue and in the shard's
//! state, is free again for operations on other keys.

use super::apply::{Applied, Applying, replica_bytes, replica_of};
use super::op::{Op, OpKind};
use super::origins::Stored;
use super::transact::BUSY;
use crate::entry::Stamp;
use crate::shard::Shard;
use paxos::ReplicaId;
use std::collections::BTreeSet;

/// Length of the name of an operation: its origin, and its number (u64) there.
pub(super) const NAME_BYTES: usize = 20;
/// An operation that waits for so long is refused at the next look, us: less than a node waits for its answer.
const OVERDUE_US: u64 = 5_000_000;
/// Operations that are refused at one look.
const REFUSED_MAX: usize = 4096;
/// What their clients are told.
const REFUSAL: &[u8] =
    b"-TRYAGAIN A transaction over several shards has the key, and one of them does not answer\r\n";

/// Whose an operation is, and its number there.
pub(super) type Name = (ReplicaId, u64);

fn name_of(bytes: &[u8]) -> Name {
    let (origin, number) = bytes.split_at(12);
    let number = number.try_into().expect("8 bytes, as decoded");
    (replica_of(origin), u64::from_le_bytes(number))
}

impl Shard {
    /// A leader's look at what waits. Costs a look at each.
    pub(super) fn refuse_overdue(&mut self, now_us: u64) {
        let waiting = &mut self.group.resolving.waiting;
        let names: BTreeSet<Name> = self.reservations.refusable().collect();
        waiting.retain(|name, _| names.contains(name));
        let mut overdue = Vec::new();
        for name in names {
            let since_us = *waiting.entry(name).or_insert(now_us);
            if since_us + OVERDUE_US <= now_us && overdue.len() < REFUSED_MAX {
                let (origin, number) = name;
                let bytes = [&replica_bytes(origin)[..], &number.to_le_bytes()].concat();
                overdue.push(bytes);
            }
        }
        if !overdue.is_empty() {
            let overdue: Vec<&[u8]> = overdue.iter().map(Vec::as_slice).collect();
            // Without room for it there will be some at the next look.
            self.decide(OpKind::Overdue, 0, &overdue);
        }
    }

    /// Applies that operations wait no longer: those that still do are refused, a reserve as if it had come too early.
    pub(super) fn apply_overdue(
        &mut self,
        overdue: &Op<'_>,
        stamp: Stamp,
        applying: Applying,
        out: &mut Applied,
    ) {
        let names: BTreeSet<Name> = overdue.args().iter().map(name_of).collect();
        let refused = self.reservations.take_refused(&names);
        if refused.is_empty() {
            return;
        }
        for one in &refused {
            let reply = match one.is_reserve() {
                true => BUSY,
                false => REFUSAL,
            };
            self.answer_deferred(one, Stored::of(reply), applying.now_us);
        }
        // Others may have waited for these alone.
        let outer = std::mem::take(&mut out.scratch);
        self.run_deferred(stamp, applying, out);
        out.scratch = outer;
    }
}
