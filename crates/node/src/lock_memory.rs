//! What locks may take of the node's memory, and what they take: `lock-memory` and `lock-overflow`.
//!
//! Locks are not evicted, so without a bound of their own a client that takes locks and never releases them (or a cache's
//! `add`, which looks the same) would fill the node for good. Every node counts all locks that it holds, as leader or
//! not; the leader of a shard decides by its own node's count, before a grant is logged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the operator is told from on, percent of the limit …
const WARNED_FROM_PERCENT: u64 = 80;
/// … once, until it was below this.
const CALM_BELOW_PERCENT: u64 = 70;

/// What becomes of a grant for which there is no memory left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockOverflow {
    /// It is refused.
    Refuse,
    /// Other locks go for it, held or not.
    Evict,
}

/// How much memory locks may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMemoryLimit {
    /// Percent of `maxmemory`, 1 to 100.
    Percent(u8),
    /// Bytes; no more than `maxmemory` counts.
    Bytes(u64),
}

impl LockMemoryLimit {
    /// In bytes, of a node with `maxmemory_bytes`.
    pub fn bytes(self, maxmemory_bytes: u64) -> u64 {
        match self {
            LockMemoryLimit::Percent(percent) => maxmemory_bytes / 100 * u64::from(percent),
            LockMemoryLimit::Bytes(bytes) => bytes.min(maxmemory_bytes),
        }
    }
}

/// The count, and the limit. One a node.
#[derive(Debug)]
pub struct LockMemory {
    /// Sum of what the shards told.
    used: AtomicU64,
    limit: AtomicU64,
    evicts: AtomicBool,
    /// Whether the operator was warned.
    warned: AtomicBool,
}

impl LockMemory {
    /// No limit yet.
    pub(crate) fn new() -> Self {
        LockMemory {
            used: AtomicU64::new(0),
            limit: AtomicU64::new(u64::MAX),
            evicts: AtomicBool::new(false),
            warned: AtomicBool::new(false),
        }
    }

    /// Changes the limit to `bytes`.
    pub(crate) fn set(&self, bytes: u64, overflow: LockOverflow) {
        self.limit.store(bytes, Ordering::Relaxed);
        let evicts = overflow == LockOverflow::Evict;
        self.evicts.store(evicts, Ordering::Relaxed);
    }

    /// Brings the sum in line with what a shard's locks take; `told` is what it told before.
    #[inline]
    pub(crate) fn settle(&self, used: u64, told: &mut u64) {
        if used > *told {
            self.used.fetch_add(used - *told, Ordering::Relaxed);
        } else if used < *told {
            self.used.fetch_sub(*told - used, Ordering::Relaxed);
        }
        *told = used;
    }

    /// What locks take, bytes.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// What they may take, bytes.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Bytes missing for a lock of `bytes` more, 0 if none.
    #[inline]
    pub(crate) fn missing_for(&self, bytes: u64) -> u64 {
        (self.used() + bytes).saturating_sub(self.limit())
    }

    /// What becomes of a grant beyond the limit.
    pub(crate) fn overflow(&self) -> LockOverflow {
        match self.evicts.load(Ordering::Relaxed) {
            true => LockOverflow::Evict,
            false => LockOverflow::Refuse,
        }
    }

    /// Whether the operator is to be warned now: the count has come near the limit, and was well below it since the last
    /// time.
    pub(crate) fn begins_to_be_short(&self) -> bool {
        let (used, limit) = (self.used(), self.limit());
        if used < limit / 100 * CALM_BELOW_PERCENT {
            self.warned.store(false, Ordering::Relaxed);
        }
        used >= limit / 100 * WARNED_FROM_PERCENT && !self.warned.swap(true, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Breaks if the count drifts from what shards hold, or the operator is told every tenth of a second.
    #[test]
    fn the_sum_is_what_was_told_last_and_the_warning_comes_once() {
        let memory = LockMemory::new();
        memory.set(1000, LockOverflow::Refuse);
        let mut told = [0, 0];
        memory.settle(500, &mut told[0]);
        memory.settle(200, &mut told[1]);
        assert!(!memory.begins_to_be_short());
        memory.settle(300, &mut told[1]);
        assert_eq!((memory.used(), memory.missing_for(200)), (800, 0));
        assert_eq!(memory.missing_for(201), 1);
        assert_eq!(
            [(); 3].map(|()| memory.begins_to_be_short()),
            [true, false, false]
        );
        memory.settle(250, &mut told[1]);
        assert!(!memory.begins_to_be_short());
        memory.settle(300, &mut told[1]);
        assert!(!memory.begins_to_be_short(), "it was not well below it");
        memory.settle(100, &mut told[1]);
        assert!(!memory.begins_to_be_short());
        memory.settle(400, &mut told[1]);
        assert!(memory.begins_to_be_short());
        assert_eq!(LockMemoryLimit::Percent(25).bytes(1 << 30) >> 20, 255);
        assert_eq!(LockMemoryLimit::Bytes(7).bytes(5), 5);
    }
}
