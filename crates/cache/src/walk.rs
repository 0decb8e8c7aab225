//! Walks over many entries: SCAN, a random key, the checksum, clearing a database.

use crate::pages::{KINDS, Pages};
use crate::recency::Recency;
use crate::store::Cache;
use crate::{Entry, Value, expire::Hand, record};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Expired entries that a search for a random live one passes before it gives up.
const RANDOM_STEPS_MAX: usize = 4096;

impl Cache {
    /// Stored entries of `db`, those included whose expiry passed and that are not reclaimed yet.
    pub fn len(&self, db: u8) -> usize {
        self.indexes[usize::from(db)]
            .as_ref()
            .map_or(0, |index| index.len())
    }

    /// Whether no database holds an entry.
    pub fn is_empty(&self) -> bool {
        self.indexes.iter().flatten().all(|index| index.len() == 0)
    }

    /// Stored entries of `db` that have an expiry.
    pub fn expiring_len(&self, db: u8) -> usize {
        self.indexes[usize::from(db)]
            .as_ref()
            .map_or(0, |index| index.volatile_count)
    }

    /// Visits live entries of `db` in hash order from position `from`, about `steps_max` of them (all that
    /// share a hash are visited together), and returns the position to go on from, or none at the end.
    /// An entry that is present from the first to the last call of a full walk is visited at least once,
    /// whatever else comes and goes.
    pub fn scan(
        &self,
        db: u8,
        from: u32,
        steps_max: usize,
        visit: &mut dyn FnMut(&[u8], Entry<'_>),
    ) -> Option<u32> {
        let index = self.indexes[usize::from(db)].as_deref()?;
        let mut last = None;
        for (step, (hash, location)) in index.walk(from).enumerate() {
            if step >= steps_max.max(1) && last != Some(hash) {
                return Some(hash);
            }
            last = Some(hash);
            if !self.is_expired(location) {
                visit(self.key_bytes_at(location), self.view(location));
            }
        }
        None
    }

    fn key_bytes_at(&self, location: record::Location) -> &[u8] {
        let slot = self.pages.slot(location);
        let head = record::head(slot);
        if head.is_key_aside() {
            &self.asides.key(record::aside_index(slot, head)).bytes
        } else {
            record::key(slot, head)
        }
    }

    /// A live key of `db` picked by the draw `random`, or none when there is none (or when thousands of
    /// expired ones in a row await reclaiming). A key is as likely as the gap before its hash is wide.
    pub fn random(&self, db: u8, random: u64) -> Option<&[u8]> {
        let index = self.indexes[usize::from(db)].as_deref()?;
        index
            .walk((random >> 32) as u32)
            .chain(index.walk(0))
            .take(RANDOM_STEPS_MAX)
            .map(|(_, location)| location)
            .find(|location| !self.is_expired(*location))
            .map(|location| self.key_bytes_at(location))
    }

    /// Removes all of one database; returns how many entries it held. Quick when it is the only one with
    /// entries, else a removal each.
    pub fn clear(&mut self, db: u8) -> usize {
        let Some(index) = self.indexes[usize::from(db)].take() else {
            return 0;
        };
        let count = index.len();
        self.indexes_bytes -= index.used_bytes();
        if self.is_empty() {
            self.pages = Pages::new();
            self.recency = Recency::new();
            self.asides.clear();
            self.hand = Hand::new();
            self.pinned_bytes = 0;
            return count;
        }
        self.indexes_bytes += index.used_bytes();
        self.indexes[usize::from(db)] = Some(index);
        self.delete_all(db);
        let emptied = self.indexes[usize::from(db)].take().expect("put back");
        self.indexes_bytes -= emptied.used_bytes();
        count
    }

    /// A checksum of the last fence, of the table of locks and of all live entries at the present log time: equal for two
    /// replicas at equal log positions, whatever their hash seeds, reclaimed entries, page layout or recency. Walks everything.
    pub fn checksum(&self) -> u64 {
        let mut sum = self.fences.checksum().wrapping_add(self.locks.checksum());
        for kind in 0..KINDS {
            for ordinal in 0..self.pages.pages_of(kind) {
                for slot in 0..self.pages.fill_of(kind, ordinal) {
                    let location = self.pages.location(kind, ordinal, slot);
                    if !self.is_expired(location) {
                        sum = sum.wrapping_add(self.checksum_of(location));
                    }
                }
            }
        }
        sum
    }

    /// The share of one entry: database, key, value, expiry, pin, form and fence, each of which seeds the next.
    fn checksum_of(&self, location: record::Location) -> u64 {
        let db = record::head(self.pages.slot(location)).db();
        let entry = self.view(location);
        let mut one = xxh3_64_with_seed(self.key_bytes_at(location), u64::from(db));
        one = match entry.value {
            Value::Collection(collection) => collection.checksum(one),
            Value::String(bytes) => xxh3_64_with_seed(bytes, one),
            Value::Shared(bytes) => xxh3_64_with_seed(bytes, one),
        };
        one = xxh3_64_with_seed(&entry.expires_at.unwrap_or(0).to_le_bytes(), one);
        let mut rest = [entry.pin as u8, entry.form as u8, 0, 0, 0, 0, 0, 0, 0, 0];
        rest[2..].copy_from_slice(&entry.fence.to_le_bytes());
        xxh3_64_with_seed(&rest, one)
    }
}
