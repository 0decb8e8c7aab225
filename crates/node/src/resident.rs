//! Resident memory against the budget. The budget counts what the cache asked for; the allocator keeps more where
//! values of shifting sizes leave its pages half empty. When the process outgrows `maxmemory` by more than its
//! slack, a part of the budget is *held back*: a little more is evicted, the allocator's old pages empty, and as
//! they are given back to the system the budget grows again.
//!
//! What is no part of the budget is no reason to evict: the process as it was before the first key, connections,
//! and buffers in which large requests and replies are on their way.

use crate::host::Host;
use crate::memory::Budget;
use cache::Policy;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Part of `maxmemory` by which the process may exceed it before anything is held back: 1/16.
const SLACK_DIVISOR: u64 = 16;
/// Part by which it must be below that before anything is given back; in between nothing moves.
const CALM_DIVISOR: u64 = 32;
/// Part of `maxmemory` that is held back or given back in one turn at most: the allocator takes up to a second
/// to return pages, and faster steps would overshoot.
const STEP_DIVISOR: u64 = 128;
/// Part of `maxmemory` that may be held back in all.
const HELD_DIVISOR: u64 = 2;
/// What a connection takes at rest, with its task and its place in the registry.
const CONNECTION_BYTES: u64 = 4 << 10;

/// What the process takes beside the budget.
#[derive(Debug)]
pub struct Resident {
    /// Resident bytes before the first key; 0 where the system does not tell.
    idle_bytes: u64,
    /// Bytes of connections' large buffers.
    buffers_bytes: AtomicI64,
    /// Bytes of the budget held back.
    held_bytes: AtomicU64,
}

impl Resident {
    /// Notes what the process takes before it holds keys.
    pub fn new(host: &dyn Host) -> Self {
        Resident {
            idle_bytes: host.resident_bytes(),
            buffers_bytes: AtomicI64::new(0),
            held_bytes: AtomicU64::new(0),
        }
    }

    /// A connection's buffers grew by `bytes`, or shrank by as many if negative.
    pub fn add_buffers(&self, bytes: i64) {
        self.buffers_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of connections' large buffers.
    pub fn buffers_bytes(&self) -> u64 {
        self.buffers_bytes.load(Ordering::Relaxed).max(0) as u64
    }

    /// Bytes of the budget held back at the moment.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// One look at the process, ten times a second. With `noeviction` nothing is held back, as all that could
    /// follow is that writes are refused.
    pub fn turn(&self, host: &dyn Host, budget: &Budget, policy: Policy, clients_count: usize) {
        if self.idle_bytes == 0 {
            return;
        }
        let beside =
            self.idle_bytes + self.buffers_bytes() + clients_count as u64 * CONNECTION_BYTES;
        let taken = host.resident_bytes().saturating_sub(beside);
        let before = self.held_bytes();
        let after = match policy {
            Policy::NoEviction => 0,
            _ => held_after(before, taken, budget.total()),
        };
        if after != before {
            self.held_bytes.store(after, Ordering::Relaxed);
            budget.hold_back(after as i64 - before as i64);
        }
    }
}

/// What to hold back next, if the keys take `taken` resident bytes under a limit of `total`.
fn held_after(held: u64, taken: u64, total: u64) -> u64 {
    let limit = total + total / SLACK_DIVISOR;
    let step = total / STEP_DIVISOR;
    if taken > limit {
        (held + (taken - limit).min(step)).min(total / HELD_DIVISOR)
    } else if taken + total / CALM_DIVISOR < limit {
        held.saturating_sub(step).min(total / HELD_DIVISOR)
    } else {
        held.min(total / HELD_DIVISOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks if the process may grow without end, or the budget never comes back once the process has shrunk.
    #[test]
    fn holds_back_while_too_large_and_gives_back_after() {
        let total = 1 << 30;
        let mut held = 0;
        for _ in 0..1000 {
            held = held_after(held, total * 2, total);
        }
        assert_eq!(held, total / 2, "bounded");
        assert_eq!(held_after(held, total + total / 18, total), held, "calm");
        for _ in 0..1000 {
            held = held_after(held, total, total);
        }
        assert_eq!(held, 0);
        // A limit that was lowered meanwhile bounds what is held too.
        assert_eq!(held_after(total, total, total / 4), total / 8);
    }

    /// Breaks if a cache that is merely full evicts for nothing.
    #[test]
    fn a_full_cache_is_let_be() {
        let total = 1 << 30;
        assert_eq!(held_after(0, total + total / 20, total), 0);
        assert_eq!(held_after(0, 0, total), 0);
    }
}
