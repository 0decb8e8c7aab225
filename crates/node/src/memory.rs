//! The node's memory budget, divided over the shards by need.
//!
//! Every shard holds a *grant*: bytes that it may use without asking. What no shard holds lies in one pool.
//! A shard that outgrows its grant takes a step more from the pool; when the pool is below zero the node
//! evicts, always in the shard whose least recently used key is the oldest of all shards'. So the division
//! follows the need, eviction is close to one LRU order over the whole node, and a write touches the shared
//! pool only once a step.
//!
//! Invariants:
//! - pool + sum of grants = `maxmemory` less what is held back, and more by what evictions under way will free (a change
//!   of any moves the pool alone);
//! - a shard's grant is at least what it uses whenever its lock is free.

use crate::lock_memory::LockMemory;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Redis's words for a write that finds no room.
pub(crate) const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";
/// The same for a lock, where others take all the memory that locks may.
pub(crate) const LOCKS_OOM: &str = "OOM lock memory is used up ('lock-memory', see CONFIG GET): no further lock is given before others end.";

/// The pool. One a node.
#[derive(Debug)]
pub struct Budget {
    /// Bytes of `maxmemory` that no shard holds; below zero = evict.
    pool: AtomicI64,
    /// `maxmemory`, bytes.
    total: AtomicU64,
    /// Bytes that a shard takes at a time.
    step: AtomicU64,
    shards_count: u64,
    /// What locks take of it.
    pub locks: LockMemory,
}

impl Budget {
    /// A budget of `total` bytes for `shards_count` shards.
    pub fn new(total: u64, shards_count: u32) -> Self {
        let budget = Budget {
            pool: AtomicI64::new(total as i64),
            total: AtomicU64::new(total),
            step: AtomicU64::new(0),
            shards_count: u64::from(shards_count),
            locks: LockMemory::new(),
        };
        budget.set_step(total);
        budget
    }

    /// Unused grants are at most 1/64 of the whole, and a step is neither tiny nor huge.
    fn set_step(&self, total: u64) {
        self.step.store(
            (total / self.shards_count / 64).clamp(1 << 10, 256 << 10),
            Ordering::Relaxed,
        );
    }

    /// `maxmemory` in bytes.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Changes `maxmemory` to `total` bytes; what is too much is evicted by the next writes and turns of the node.
    pub fn resize(&self, total: u64) {
        let before = self.total.swap(total, Ordering::Relaxed);
        self.pool
            .fetch_add(total as i64 - before as i64, Ordering::Relaxed);
        self.set_step(total);
    }

    /// Takes `bytes` out of use, or gives as many back if negative, without a change of `maxmemory`.
    pub fn hold_back(&self, bytes: i64) {
        self.pool.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// An eviction under way will free `bytes`: they count as free from now on.
    pub fn expect(&self, bytes: u64) {
        self.pool.fetch_add(bytes as i64, Ordering::Relaxed);
    }

    /// An eviction that was expected to free `bytes` is done, or never will be.
    pub fn expect_no_more(&self, bytes: u64) {
        self.pool.fetch_sub(bytes as i64, Ordering::Relaxed);
    }

    /// Bytes that are missing, 0 if none.
    pub fn missing(&self) -> u64 {
        self.pool.load(Ordering::Relaxed).min(0).unsigned_abs()
    }

    /// Whether more than half of it is in use.
    pub fn is_half_used(&self) -> bool {
        self.pool.load(Ordering::Relaxed) < (self.total() / 2) as i64
    }

    /// Bytes that no shard holds; below zero as many are missing.
    #[cfg(test)]
    pub(crate) fn pool(&self) -> i64 {
        self.pool.load(Ordering::Relaxed)
    }

    /// Bytes that are missing to a pool of two steps, 0 if none: what an eviction aims at, so that the next writes
    /// find room without one.
    pub fn wanted(&self) -> u64 {
        let ahead = 2 * self.step() as i64;
        (ahead - self.pool.load(Ordering::Relaxed))
            .max(0)
            .unsigned_abs()
    }

    /// Bytes that a shard takes at a time.
    pub fn step(&self) -> u64 {
        self.step.load(Ordering::Relaxed)
    }

    /// Brings a shard's grant in line with what it uses. Growth takes a step beyond the need; a surplus of more
    /// than two steps goes back.
    pub fn settle(&self, used: u64, grant: &mut u64) {
        if used > *grant {
            let take = used - *grant + self.step();
            *grant += take;
            self.pool.fetch_sub(take as i64, Ordering::Relaxed);
        } else if *grant - used > 2 * self.step() {
            let give = *grant - used - self.step();
            *grant -= give;
            self.pool.fetch_add(give as i64, Ordering::Relaxed);
        }
    }

    /// Gives a shard's whole surplus back (after an eviction in it, which may also have taken a few bytes: a page that has
    /// a free slot again stands in a list).
    pub fn give_back(&self, used: u64, grant: &mut u64) {
        let give = *grant as i64 - used as i64;
        *grant = used;
        self.pool.fetch_add(give, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes lost or made up by settling would let the node grow past maxmemory or evict for nothing.
    #[test]
    fn pool_and_grants_add_up() {
        let budget = Budget::new(1 << 20, 4);
        let mut grants = [0u64; 4];
        let mut used = [0u64; 4];
        let mut state = 7u64;
        for _ in 0..10_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let shard = (state >> 33) as usize % 4;
            used[shard] = (state >> 40) % (1 << 19);
            if state & 4 == 0 {
                budget.give_back(used[shard], &mut grants[shard]);
            }
            budget.settle(used[shard], &mut grants[shard]);
            assert!(grants[shard] >= used[shard]);
            let granted: u64 = grants.iter().sum();
            assert_eq!(
                budget.pool.load(Ordering::Relaxed) + granted as i64,
                1 << 20
            );
        }
    }

    /// A smaller maxmemory that is not felt at once would never be felt.
    #[test]
    fn a_smaller_budget_is_missing_at_once() {
        let budget = Budget::new(1 << 20, 1);
        let mut grant = 0;
        budget.settle(1 << 19, &mut grant);
        assert_eq!(budget.missing(), 0);
        budget.resize(1 << 18);
        assert!(budget.missing() >= 1 << 18);
    }
}
