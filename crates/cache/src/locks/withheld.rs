//! A time in which nobody is granted a lock.
//!
//! Where a shard's state has fallen back behind what was answered, a lock may be held by somebody of whom the state knows
//! nothing. So until every such grant is over for sure no new one is given, neither to who asks nor to who waits. What the
//! state knows of goes on: its holders extend and release.

use crate::store::Cache;

impl Cache {
    /// Grants no lock before log time `until_ms`. Part of the state. Waiters get theirs then; whoever asks for new ones
    /// meanwhile is to be refused by the caller ([`Cache::locks_withheld_ms`]).
    pub fn withhold_locks(&mut self, until_ms: u64) {
        self.locks.withheld_until_ms = until_ms;
    }

    /// Until which log time no lock is granted, ms; 0: none ever was withheld.
    pub fn locks_withheld_until_ms(&self) -> u64 {
        self.locks.withheld_until_ms
    }

    /// How long no lock is granted yet, ms; 0: they are.
    #[inline]
    pub fn locks_withheld_ms(&self) -> u64 {
        self.locks.withheld_until_ms.saturating_sub(self.now_ms)
    }

    /// The longest time for which a lock was granted or extended in this cache, ms. No part of the state: whoever got the
    /// state from elsewhere counts what was left of them then.
    #[inline]
    pub fn lock_span_ms(&self) -> u64 {
        self.lock_span_ms
    }
}
