//! A cache for a moment's work on copies of a few keys, used again and again: a script runs on one.

use crate::aside::Asides;
use crate::collection::Awaited;
use crate::expire::Hand;
use crate::fence::Fences;
use crate::index::Lookup;
use crate::locks::Locks;
use crate::lookups::Lookups;
use crate::store::{Cache, Found};
use crate::{Entry, Key};

/// Memory that [`Cache::reset`] keeps, bytes.
const KEPT_BYTES_MAX: usize = 64 << 10;

impl Cache {
    /// Makes this as [`Cache::new`] made it, in the memory that it has if that is little. O(keys).
    pub fn reset(&mut self) {
        if self.used_bytes() > KEPT_BYTES_MAX {
            let hash_mask = self.hash_mask;
            *self = Cache::new(self.seed);
            self.hash_mask = hash_mask;
            return;
        }
        self.pages.keep_page();
        for db in 0..self.indexes.len() {
            self.delete_all(db as u8);
        }
        // All fields by name: a new one is to be thought of here.
        let Cache {
            seed: _,
            hash_mask: _,
            now_ms,
            used_ms,
            indexes: _,
            indexes_bytes: _,
            pages: _,
            recency: _,
            asides,
            hand,
            lookups,
            fences,
            pinned_bytes,
            lock_span_ms,
            locks,
            awaited,
            observed,
            changes,
        } = self;
        assert_eq!(*pinned_bytes, 0, "there is no record any more");
        (*now_ms, *used_ms) = (0, 0);
        if asides.used_bytes() > 0 {
            *asides = Asides::new();
        }
        *hand = Hand::new();
        *lookups = Lookups::default();
        *fences = Fences::default();
        if !locks.is_new() {
            *locks = Locks::default();
        }
        if !awaited.is_new() {
            *awaited = Awaited::default();
        }
        *lock_span_ms = 0;
        *observed = false;
        changes.clear();
    }

    /// Removes all records of `db`; its index stays.
    pub(crate) fn delete_all(&mut self, db: u8) {
        let mut from = 0;
        while let Some(index) = self.indexes[usize::from(db)].as_deref() {
            let Some((hash, location)) = index.walk(from).next() else {
                break;
            };
            from = hash;
            let Lookup::Found(place, _) = index.find(hash, |other| other == location) else {
                unreachable!("walked to it");
            };
            self.delete(db, Found { place, location });
        }
    }

    /// Puts a copy of another cache's live entry of `key` in place of whatever is here, as [`Cache::copy`] and
    /// [`Cache::put_entry`] do. Returns what was copied; nothing is done if there is none.
    pub fn put_copy<'c>(&mut self, key: Key<'_>, from: &'c Cache) -> Option<Entry<'c>> {
        let entry = from.peek(key)?;
        self.put_view(key, entry);
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Expiry, LockMode, LockWait, Pin, Wish};

    const SEED: u64 = 9;

    fn key(db: u8, name: &str) -> Key<'_> {
        Key::new(SEED, db, name.as_bytes())
    }

    /// Does something of each kind, and tells what can be seen of it.
    fn work(cache: &mut Cache, round: u64) -> (u64, usize, Vec<crate::Change>) {
        let long = vec![b'x'; 20_000];
        let names: Vec<String> = (0..round % 40)
            .map(|n| format!("key:{round}:{n}"))
            .collect();
        cache.set_now(1000 + round % 3);
        cache.observe(round.is_multiple_of(2));
        for (n, name) in names.iter().enumerate() {
            let db = (n % 3) as u8;
            let expiry = match n % 4 {
                0 => Expiry::At(2000),
                _ => Expiry::Never,
            };
            let value: &[u8] = match n % 7 {
                0 if round.is_multiple_of(5) => &long,
                _ => name.as_bytes(),
            };
            let pin = match n % 9 {
                0 => Pin::Pinned,
                _ => Pin::Unpinned,
            };
            cache.put(key(db, name), value, expiry, pin);
            cache.read(key(db, name));
        }
        let wish = Wish {
            request: None,
            owner: b"owner",
            ttl_ms: 500,
            mode: LockMode::Shared,
            is_session: false,
            wait: LockWait::No,
        };
        cache.acquire_lock(key(0, "lock"), wish);
        let mut changes = cache.take_changes();
        if round.is_multiple_of(3) {
            cache.set_now(2500);
            changes.clear();
            cache.read(key(0, "key:39:0"));
        }
        (cache.checksum(), cache.pinned_bytes(), changes)
    }

    #[test]
    fn a_cache_that_was_reset_is_a_new_one() {
        // A key, a lock, a number or a time of one script would show in the next.
        let mut used = Cache::new(SEED);
        for round in 0..300 {
            let mut new = Cache::new(SEED);
            if round % 4 == 1 {
                used.leave_unnumbered();
                new.leave_unnumbered();
            }
            assert_eq!(work(&mut used, round), work(&mut new, round), "{round}");
            assert_eq!(used.lookups(), new.lookups());
            used.reset();
            assert!(used.is_empty() && used.locks().is_empty());
            assert_eq!((used.now_ms(), used.last_fence()), (0, 0));
            assert_eq!(used.checksum(), Cache::new(SEED).checksum());
            assert!(used.changes().is_empty());
            assert!(used.used_bytes() <= KEPT_BYTES_MAX);
        }
    }

    #[test]
    fn a_copy_is_what_copying_and_putting_makes() {
        // A script would see another value, expiry or fence than the shard has.
        let mut from = Cache::new(SEED);
        from.set_now(5);
        let long = vec![b'x'; 200_000];
        from.put(key(1, "a"), b"value", Expiry::At(90), Pin::Unpinned);
        from.put(key(1, "b"), b"owner", Expiry::Never, Pin::Pinned);
        from.put(key(1, "c"), &long, Expiry::Never, Pin::Unpinned);
        from.put(key(1, "e"), b"gone", Expiry::At(6), Pin::Unpinned);
        from.set_now(6);
        let (mut quick, mut slow) = (Cache::new(SEED), Cache::new(SEED));
        for name in ["a", "b", "c", "d", "e"] {
            let key = key(1, name);
            let copied = quick.put_copy(key, &from).is_some();
            let entry = from.copy(key);
            assert_eq!(copied, entry.is_some(), "{name}");
            if let Some(entry) = entry {
                slow.put_entry(key, entry);
            }
            assert_eq!(quick.copy(key), slow.copy(key), "{name}");
        }
        assert_eq!(quick.checksum(), slow.checksum());
    }
}
