//! What locks take of the memory, and which of them go where the operator lets locks go.

use crate::class::{CLASSES, slot_bytes};
use crate::evict::BUCKET_BYTES;
use crate::recency::Which;
use crate::record::{self, Location, NOWHERE};
use crate::store::Cache;
use crate::{ChangeKind, Key};

/// What a key costs that lies aside, above its bytes.
const ASIDE_KEY_BYTES: usize = 256;

/// Locks looked at for each that is chosen.
const SAMPLE: usize = 4;

/// A lock chosen for eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockVictim {
    /// Numbered database.
    pub db: u8,
    /// The key.
    pub key: Box<[u8]>,
    /// The grant: a later one stays.
    pub fence: u64,
    /// What it costs, in bytes.
    pub bytes: usize,
}

impl Cache {
    /// Memory of all pinned entries in bytes, overhead included. O(1).
    pub fn pinned_bytes(&self) -> usize {
        self.pinned_bytes
    }

    /// The same with what is known of locks beside their records: who waits, who shares, what hangs on connections. O(1).
    pub fn lock_bytes(&self) -> usize {
        self.pinned_bytes + self.locks.used_bytes()
    }

    /// What a pinned record costs: the same for as long as it lies there.
    pub(crate) fn pinned_cost(&self, location: Location) -> usize {
        let slot = self.pages.slot(location);
        let head = record::head(slot);
        let aside = if head.is_key_aside() {
            let key = self.asides.key(record::aside_index(slot, head));
            key.bytes.len() + ASIDE_KEY_BYTES
        } else {
            0
        };
        slot_bytes(self.pages.kind_at(location) % CLASSES) + BUCKET_BYTES + aside
    }

    /// Chooses locks to go until about `bytes_wanted` would be freed (at least one if there is any, at most
    /// `victims_max`): of those used longest ago the ones that expire first. Nothing is removed.
    pub fn lock_victims(&mut self, bytes_wanted: usize, victims_max: usize) -> Vec<LockVictim> {
        self.recency.settle(&mut self.pages);
        let mut sample = Vec::new();
        let (mut bytes, mut at) = (0, self.recency.last(Which::Pinned));
        while at != NOWHERE
            && sample.len() < SAMPLE * victims_max
            && bytes < SAMPLE.saturating_mul(bytes_wanted)
        {
            let slot = self.pages.slot(at);
            let head = record::head(slot);
            bytes = bytes.saturating_add(self.pinned_cost(at));
            sample.push((record::expires_at(slot, head).unwrap_or(u64::MAX), at));
            at = record::prev(slot);
        }
        // Of equal ends the one used longest ago: the sort is stable.
        sample.sort_by_key(|(expires_at, _)| *expires_at);
        let mut freed = 0;
        let mut victims = Vec::new();
        for (_, location) in sample {
            if victims.len() >= victims_max || freed >= bytes_wanted {
                break;
            }
            let slot = self.pages.slot(location);
            let (key, bytes) = (self.key_at(location), self.pinned_cost(location));
            victims.push(LockVictim {
                db: key.db,
                key: key.bytes.into(),
                fence: record::fence(slot, record::head(slot)),
                bytes,
            });
            freed += bytes;
        }
        victims
    }

    /// Applies the eviction of a lock: removes `key` if it is pinned and this is its grant, recorded as evicted.
    pub fn evict_lock(&mut self, key: Key<'_>, fence: u64) -> bool {
        let Some(found) = self.find(key) else {
            return false;
        };
        let slot = self.pages.slot(found.location);
        let head = record::head(slot);
        if !head.is_pinned() || record::fence(slot, head) != fence {
            return false;
        }
        self.delete(key.db, found);
        self.record_change(key.db, key.bytes, ChangeKind::Evicted);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Expiry, Pin};

    fn key(name: &str) -> Key<'_> {
        Key::new(7, 0, name.as_bytes())
    }

    // Breaks if a lock that was just taken goes before one that is nearly over, or if what is no lock is counted.
    #[test]
    fn locks_that_end_soon_go_first() {
        let mut cache = Cache::new(7);
        cache.put(key("plain"), b"v", Expiry::At(500), Pin::Unpinned);
        assert_eq!(cache.pinned_bytes(), 0);
        for (name, at) in [("a", 9000), ("b", 100), ("c", 5000)] {
            cache.put(key(name), b"me", Expiry::At(at), Pin::Pinned);
        }
        let each = cache.pinned_bytes() / 3;
        assert!((40..80).contains(&each), "{each}");
        let names = |cache: &mut Cache, bytes| -> Vec<String> {
            let victims = cache.lock_victims(bytes, 10);
            let name = |victim: &LockVictim| String::from_utf8_lossy(&victim.key).into_owned();
            victims.iter().map(name).collect()
        };
        assert_eq!(names(&mut cache, 1), ["a"], "one, of four times one byte");
        assert_eq!(names(&mut cache, each), ["b"]);
        assert_eq!(names(&mut cache, 2 * each), ["b", "c"]);
        cache.edit(key("b"), 257);
        assert_eq!(cache.pinned_bytes(), 2 * each, "too long for a lock");
        assert_eq!(cache.clear(0), 4);
        assert_eq!(cache.pinned_bytes(), 0);
    }
}
