//! Fences: the number of each grant of a lock.
//!
//! A pinned key is a lock that somebody was granted. Its fence rises from grant to grant, in the whole cache and
//! hence for each name; who renews a lock keeps it. The last one given is part of the replicated state. It is also
//! bound to log time from below, so that fences go on rising where all state was lost, as long as the clock of
//! whoever begins anew is not behind.

use crate::store::Cache;
use crate::{Entry, Key, Pin};
use xxhash_rust::xxh3::xxh3_64;

/// 2020-01-01 in milliseconds: before that no fence follows from the time.
const EPOCH_MS: u64 = 1_577_836_800_000;

/// Fences of one millisecond that need not run ahead of the time.
const SHIFT: u32 = 10;

/// No fence is above this: Lua and JavaScript hold integers below 2^53 exactly.
pub const FENCE_MAX: u64 = (1 << 53) - 1;

/// The time that a fence may show: some 278 years.
const AGE_MS_MAX: u64 = FENCE_MAX >> SHIFT;

/// Fences of each generation of a state are ahead of those of the one before by so much time, ms: 30 days. More than clocks
/// are wrong, and little enough for thousands of generations.
const GENERATION_MS: u64 = 30 * 86_400_000;

/// The least fence that may be given at `now_ms` of log time.
pub(crate) fn floor(now_ms: u64) -> u64 {
    now_ms.saturating_sub(EPOCH_MS).min(AGE_MS_MAX) << SHIFT
}

/// What a cache knows of fences.
#[derive(Debug, Default)]
pub(crate) struct Fences {
    /// The last one given; 0 before the first.
    last: u64,
    /// New grants get no number here ([`Cache::leave_unnumbered`]).
    unnumbered: bool,
}

impl Fences {
    /// The fence of a grant: `wanted`, or a new one if that is 0.
    pub(crate) fn give(&mut self, wanted: u64, now_ms: u64) -> u64 {
        if self.unnumbered {
            return wanted;
        }
        let fence = match wanted {
            0 => (self.last + 1).max(floor(now_ms)),
            wanted => wanted,
        };
        self.last = self.last.max(fence);
        fence
    }

    /// The share of a cache's checksum.
    pub(crate) fn checksum(&self) -> u64 {
        match self.last {
            0 => 0,
            last => xxh3_64(&last.to_le_bytes()),
        }
    }
}

impl Cache {
    /// The fence of the lock that is held at `key`: none if there is no live entry, or none that is pinned. 0 where
    /// grants get no number ([`Cache::leave_unnumbered`]).
    pub fn fence(&self, key: Key<'_>) -> Option<u64> {
        let entry = self.peek(key)?;
        (entry.pin == Pin::Pinned).then_some(entry.fence)
    }

    /// The last fence given; 0 before the first.
    pub fn last_fence(&self) -> u64 {
        self.fences.last
    }

    /// Goes on behind `last_fence`, another cache's [`Cache::last_fence`].
    pub fn resume_fences(&mut self, last_fence: u64) {
        self.fences.last = self.fences.last.max(last_fence);
    }

    /// The state may have fallen back, and goes on from log time `now_ms` as its `generation`-th since the first: the fences of
    /// now are above all that were given in any earlier one, unless clocks were wrong by 30 days.
    pub fn begin_fences(&mut self, generation: u32, now_ms: u64) {
        let ahead_ms = u64::from(generation).saturating_mul(GENERATION_MS);
        // The last half is left to be given.
        let least = floor(now_ms.saturating_add(ahead_ms)).min(FENCE_MAX / 2);
        self.resume_fences(least);
    }

    /// New grants stay without a number, as 0: for a cache whose entries are put into another one, which gives it.
    pub fn leave_unnumbered(&mut self) {
        self.fences.unnumbered = true;
    }
}

/// The fence that a whole string keeps when it is put, pinned, over `before`; 0 if it is a new grant. Who writes the
/// value that is there renews the lock. Another value is another owner's, and the former must be told apart.
pub(crate) fn kept(before: Option<Entry<'_>>, value: &[u8]) -> u64 {
    before
        .filter(|entry| entry.value.string() == Some(value))
        .map_or(0, |entry| entry.fence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Expiry;

    fn key(name: &'static str) -> Key<'static> {
        Key::new(7, 0, name.as_bytes())
    }

    fn grant(cache: &mut Cache, name: &'static str) -> u64 {
        let at = cache.now_ms() + 1000;
        cache.put(key(name), b"me", Expiry::At(at), Pin::Pinned);
        cache.fence(key(name)).expect("it was just granted")
    }

    // Breaks if a fence is not the time's, does not rise within one millisecond or after the time stood still, or if
    // it outgrows what JavaScript holds.
    #[test]
    fn fences_follow_the_time_and_rise() {
        let mut cache = Cache::new(7);
        cache.set_now(5000);
        assert_eq!((grant(&mut cache, "a"), grant(&mut cache, "b")), (1, 2));
        cache.set_now(EPOCH_MS + 3);
        assert_eq!(grant(&mut cache, "c"), 3 << 10);
        assert!(cache.remove(key("c")));
        assert_eq!(grant(&mut cache, "c"), (3 << 10) + 1);
        cache.set_now(EPOCH_MS + 4);
        assert_eq!(grant(&mut cache, "d"), 4 << 10);
        assert!(floor(u64::MAX) <= FENCE_MAX);
        assert_eq!(floor(4_102_444_800_000), 2_524_608_000_000 << 10); // the year 2100
    }

    // Breaks if an empty cache (FLUSHALL) begins its fences anew.
    #[test]
    fn clearing_keeps_the_last_fence() {
        let mut cache = Cache::new(7);
        let before = grant(&mut cache, "a");
        cache.clear(0);
        assert!(grant(&mut cache, "a") > before);
        let mut other = Cache::new(7);
        other.resume_fences(cache.last_fence());
        assert!(grant(&mut other, "a") > cache.last_fence());
    }

    // Breaks if a lock that is granted after a shard's memory was lost has a lower number than one before, though nothing of
    // that is known, the clock of whoever begins is behind, and it happens twice.
    #[test]
    fn generations_begin_above_each_other() {
        let mut first = Cache::new(7);
        first.set_now(EPOCH_MS + 100_000_000);
        let mut last = 0;
        for _ in 0..5000 {
            last = grant(&mut first, "a");
            first.remove(key("a"));
        }
        for generation in 1..4 {
            let now_ms = EPOCH_MS + 90_000_000 / u64::from(generation);
            let mut next = Cache::new(7);
            next.begin_fences(generation, now_ms);
            next.set_now(now_ms);
            let fence = grant(&mut next, "a");
            assert!(fence > last && fence <= FENCE_MAX, "{fence} after {last}");
            last = fence;
        }
        let mut late = Cache::new(7);
        late.begin_fences(u32::MAX, u64::MAX);
        assert!(grant(&mut late, "a") < FENCE_MAX);
    }

    // Breaks if a renewal is taken for a grant, or a hand-over to another owner for a renewal.
    #[test]
    fn renewing_keeps_the_fence() {
        let mut cache = Cache::new(7);
        let first = grant(&mut cache, "a");
        assert_eq!(grant(&mut cache, "a"), first, "the same owner");
        cache.set_expiry(key("a"), Some(9000));
        assert_eq!(cache.fence(key("a")), Some(first));
        cache.edit(key("a"), 3)[2] = b'!';
        assert_eq!(cache.fence(key("a")), Some(first), "the same lock, edited");
        cache
            .update(key("a"), |_| Ok::<_, ()>(b"counted"))
            .expect("never fails");
        assert_eq!(cache.fence(key("a")), Some(first), "the same lock, counted");
        cache.put(key("a"), b"other", Expiry::Keep, Pin::Pinned);
        assert!(cache.fence(key("a")) > Some(first), "another owner");
        cache.put(key("a"), b"other", Expiry::Keep, Pin::Unpinned);
        assert_eq!(cache.fence(key("a")), None, "no lock any more");
        let second = grant(&mut cache, "a");
        assert!(second > first + 1);
        cache.set_now(cache.now_ms() + 1000);
        assert_eq!(cache.fence(key("a")), None, "expired");
    }

    // Breaks if a lock that a script takes gets a number before it is applied.
    #[test]
    fn an_overlay_invents_no_number() {
        let mut overlay = Cache::new(7);
        overlay.leave_unnumbered();
        assert_eq!(grant(&mut overlay, "a"), 0);
        let entry = overlay.take(key("a")).expect("just granted");
        let mut cache = Cache::new(7);
        cache.resume_fences(41);
        cache.put_entry(key("a"), entry);
        assert_eq!(cache.fence(key("a")), Some(42));
        let held = cache.copy(key("a")).expect("just put");
        overlay.put_entry(key("a"), held);
        overlay.set_expiry(key("a"), Some(5000));
        assert_eq!(overlay.fence(key("a")), Some(42), "renewed, not granted");
    }
}
