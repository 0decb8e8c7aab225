//! Look-ups on behalf of commands that read, counted for the hit rate. What a write, an eviction or the cache
//! itself looks up is not counted, as in Redis.

use crate::{Cache, Entry, Key};

/// Counts of look-ups since the start or the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Those that found a live entry.
    pub hits: u64,
    /// Those that found none.
    pub misses: u64,
}

impl Lookups {
    #[inline]
    fn count<T>(&mut self, found: Option<&T>) {
        self.hits += u64::from(found.is_some());
        self.misses += u64::from(found.is_none());
    }
}

impl Cache {
    /// As [`Cache::get`], and counts as a look-up.
    #[inline]
    pub fn read(&mut self, key: Key<'_>) -> Option<Entry<'_>> {
        let found = self.find_live(key);
        self.lookups.count(found.as_ref());
        Some(self.access(found?))
    }

    /// As [`Cache::peek`], and counts as a look-up; a key that is found expired is dropped, as by [`Cache::get`].
    #[inline]
    pub fn glance(&mut self, key: Key<'_>) -> Option<Entry<'_>> {
        let found = self.find_live(key);
        self.lookups.count(found.as_ref());
        Some(self.view(found?.location))
    }

    /// The counts so far.
    pub fn lookups(&self) -> Lookups {
        self.lookups
    }

    /// Begins the counts anew.
    pub fn reset_lookups(&mut self) {
        self.lookups = Lookups::default();
    }
}
