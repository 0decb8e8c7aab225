//! The store: finding, reading and removing records. Writing is in [`crate::write`].

use crate::aside::{Asides, Body};
use crate::collection::Awaited;
use crate::expire::Hand;
use crate::fence::Fences;
use crate::index::{Index, Lookup, Place};
use crate::locks::Locks;
use crate::lookups::Lookups;
use crate::pages::Pages;
use crate::recency::Recency;
use crate::record::{self, Head, Location, STAMP_SHIFT};
use crate::{Change, ChangeKind, Entry, Key, OwnedEntry, OwnedValue, Value};
use bytes::Bytes;
use prefetch::{prefetch, prefetch_slice};

/// Numbered databases, as in a single Redis.
pub(crate) const DATABASES: usize = 16;

/// One shard's keys.
///
/// Invariants:
/// - a key with a record is in its database's index under [`Key::new`]'s hash, once, and a record in one index;
/// - a record is in the recency list that its head says;
/// - `pinned_bytes` is what all pinned records cost, by [`Cache::pinned_cost`];
/// - a pinned record's fence is its own and at most the last one given ([`crate::fence`]);
/// - an aside belongs to one record;
/// - every stored entry was put with an expiry above the log time of then.
pub struct Cache {
    pub(crate) seed: u64,
    /// Bits of the hash that count: all, but in tests of colliding hashes.
    pub(crate) hash_mask: u32,
    pub(crate) now_ms: u64,
    /// The clock of uses; at least `now_ms`.
    pub(crate) used_ms: u64,
    pub(crate) indexes: [Option<Box<Index>>; DATABASES],
    /// Sum of the indexes' memory.
    pub(crate) indexes_bytes: usize,
    pub(crate) pages: Pages,
    pub(crate) recency: Recency,
    pub(crate) asides: Asides,
    pub(crate) hand: Hand,
    pub(crate) lookups: Lookups,
    pub(crate) fences: Fences,
    pub(crate) pinned_bytes: usize,
    /// The longest time for which a lock was granted or extended, ms.
    pub(crate) lock_span_ms: u64,
    pub(crate) locks: Locks,
    pub(crate) awaited: Awaited,
    pub(crate) observed: bool,
    pub(crate) changes: Vec<Change>,
}

/// A record and the bucket that names it.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) place: Place,
    pub(crate) location: Location,
}

impl Cache {
    /// An empty cache whose keys are hashed under `seed` (the cluster's; see [`Key::new`]).
    pub fn new(seed: u64) -> Self {
        Cache {
            seed,
            hash_mask: u32::MAX,
            now_ms: 0,
            used_ms: 0,
            indexes: Default::default(),
            indexes_bytes: 0,
            pages: Pages::new(),
            recency: Recency::new(),
            asides: Asides::new(),
            hand: Hand::new(),
            lookups: Lookups::default(),
            fences: Fences::default(),
            pinned_bytes: 0,
            lock_span_ms: 0,
            locks: Locks::default(),
            awaited: Awaited::default(),
            observed: false,
            changes: Vec::new(),
        }
    }

    /// A cache for tests whose keys' hashes have no bits but those of `mask`.
    #[cfg(test)]
    pub(crate) fn with_hash_mask(seed: u64, mask: u32) -> Self {
        Cache {
            hash_mask: mask,
            ..Cache::new(seed)
        }
    }

    /// The seed of [`Key::new`] for this cache.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Sets log time, in milliseconds; never decreases (an earlier time is ignored).
    pub fn set_now(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        self.used_ms = self.used_ms.max(now_ms);
    }

    /// Log time in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The stamp of an access now.
    pub(crate) fn stamp(&self) -> u32 {
        (self.used_ms >> STAMP_SHIFT) as u32
    }

    #[inline]
    pub(crate) fn record_change(&mut self, db: u8, key: &[u8], kind: ChangeKind) {
        if self.observed {
            self.push_change(db, key, kind);
        }
    }

    #[cold]
    fn push_change(&mut self, db: u8, key: &[u8], kind: ChangeKind) {
        let key = key.into();
        self.changes.push(Change { db, key, kind });
    }

    /// Whether changes are recorded from now on. They are drained by [`Cache::take_changes`].
    pub fn observe(&mut self, observed: bool) {
        self.observed = observed;
    }

    /// The changes recorded since the last [`Cache::take_changes`].
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The changes recorded since the last call.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    #[inline]
    fn is_key(&self, location: Location, key: &[u8]) -> bool {
        let slot = self.pages.slot(location);
        let head = record::head(slot);
        if head.is_key_aside() {
            return *self.asides.key(record::aside_index(slot, head)).bytes == *key;
        }
        record::key(slot, head) == key
    }

    /// Where `key` is or would be in its index, which must exist.
    #[inline]
    pub(crate) fn find_in(&self, index: &Index, key: Key<'_>) -> Lookup<Place> {
        index.find(key.hash, |location| self.is_key(location, key.bytes))
    }

    /// The record of `key`, expired or not.
    #[inline]
    pub(crate) fn find(&self, key: Key<'_>) -> Option<Found> {
        let index = self.indexes[usize::from(key.db)].as_deref()?;
        match self.find_in(index, key) {
            Lookup::Found(place, location) => Some(Found { place, location }),
            Lookup::Absent(_) => None,
        }
    }

    #[inline]
    pub(crate) fn index_mut(&mut self, db: u8) -> &mut Index {
        self.indexes[usize::from(db)]
            .as_deref_mut()
            .expect("a record's database has an index")
    }

    /// Enters a record into its index, at a place that a search for `key` called absent.
    pub(crate) fn name(&mut self, key: Key<'_>, place: Place, location: Location) {
        let index = self.index_mut(key.db);
        let before = index.used_bytes();
        index.insert(place, key.hash, location);
        let after = index.used_bytes();
        self.indexes_bytes = self.indexes_bytes - before + after;
    }

    #[inline]
    pub(crate) fn is_expired(&self, location: Location) -> bool {
        let slot = self.pages.slot(location);
        record::expires_at(slot, record::head(slot)).is_some_and(|at| at <= self.now_ms)
    }

    /// The record of `key` if it is live; drops it if its expiry passed.
    #[inline]
    pub(crate) fn find_live(&mut self, key: Key<'_>) -> Option<Found> {
        let found = self.find(key)?;
        if self.is_expired(found.location) {
            self.drop_expired(key, found);
            return None;
        }
        Some(found)
    }

    #[cold]
    pub(crate) fn drop_expired(&mut self, key: Key<'_>, found: Found) {
        self.delete(key.db, found);
        self.record_change(key.db, key.bytes, ChangeKind::Expired);
    }

    /// The key of a record, and its hash.
    pub(crate) fn key_at(&self, location: Location) -> Key<'_> {
        let slot = self.pages.slot(location);
        let head = record::head(slot);
        if head.is_key_aside() {
            let long = self.asides.key(record::aside_index(slot, head));
            return Key {
                db: head.db(),
                hash: long.hash,
                bytes: &long.bytes,
            };
        }
        let mut key = Key::new(self.seed, head.db(), record::key(slot, head));
        key.hash &= self.hash_mask;
        key
    }

    /// What a record holds, for a reader.
    #[inline]
    pub(crate) fn view(&self, location: Location) -> Entry<'_> {
        let slot = self.pages.slot(location);
        let head = record::head(slot);
        let (value, fence) = if head.is_aside() {
            self.aside_value(slot, head)
        } else {
            (
                Value::String(record::body(slot, head)),
                record::fence(slot, head),
            )
        };
        Entry {
            value,
            expires_at: record::expires_at(slot, head),
            pin: head.pin(),
            fence,
            form: head.form(),
            idle_ms: self.idle_ms(record::stamp(slot)),
        }
    }

    #[cold]
    fn aside_value(&self, slot: &[u8], head: Head) -> (Value<'_>, u64) {
        let fence = record::fence(slot, head);
        match self.asides.body(record::aside_index(slot, head)) {
            Body::Text(bytes) => (Value::Shared(bytes), fence),
            Body::Buffer(buffer) => (Value::String(buffer), fence),
            Body::Collection(kept) => (Value::Collection(&kept.collection), kept.fence),
        }
    }

    /// Time since an access with this stamp; right for 2.1 years.
    pub(crate) fn idle_ms(&self, stamp: u32) -> u64 {
        u64::from(self.stamp().wrapping_sub(stamp)) << STAMP_SHIFT
    }

    /// The live entry of `key`, and counts as an access (recency).
    #[inline]
    pub fn get(&mut self, key: Key<'_>) -> Option<Entry<'_>> {
        let found = self.find_live(key)?;
        Some(self.access(found))
    }

    /// Counts an access (recency) of an entry that was found.
    #[inline]
    pub(crate) fn access(&mut self, Found { location, .. }: Found) -> Entry<'_> {
        let head = record::head(self.pages.slot(location));
        if head.is_aside() {
            self.count_access(location);
            self.share(location, head);
            return self.view(location);
        }
        self.recency.access(&mut self.pages, location);
        let stamp = self.stamp();
        let slot = self.pages.slot_mut(location);
        record::set_stamp(slot, stamp);
        Entry {
            value: Value::String(record::body(slot, head)),
            expires_at: record::expires_at(slot, head),
            pin: head.pin(),
            fence: record::fence(slot, head),
            form: head.form(),
            idle_ms: 0,
        }
    }

    /// Makes a record the most recent one.
    #[inline]
    pub(crate) fn count_access(&mut self, location: Location) {
        let stamp = self.stamp();
        record::set_stamp(self.pages.header_mut(location), stamp);
        self.recency.access(&mut self.pages, location);
    }

    #[cold]
    fn share(&mut self, location: Location, head: Head) {
        let index = record::aside_index(self.pages.slot(location), head);
        self.asides.share(index);
    }

    /// The live entry of `key`; does not count as an access (OBJECT, TTL, TYPE under NO-TOUCH …).
    pub fn peek(&self, key: Key<'_>) -> Option<Entry<'_>> {
        let found = self.find(key)?;
        if self.is_expired(found.location) {
            return None;
        }
        Some(self.view(found.location))
    }

    /// Removes `key`; whether a live entry was there.
    pub fn remove(&mut self, key: Key<'_>) -> bool {
        let Some(found) = self.find_live(key) else {
            return false;
        };
        self.delete(key.db, found);
        self.record_change(key.db, key.bytes, ChangeKind::Modified);
        true
    }

    /// Removes and returns the live entry of `key`.
    pub fn take(&mut self, key: Key<'_>) -> Option<OwnedEntry> {
        let found = self.find_live(key)?;
        let slot = self.pages.slot(found.location);
        let head = record::head(slot);
        let (expires_at, fence) = (record::expires_at(slot, head), record::fence(slot, head));
        let inline = (!head.is_aside()).then(|| Bytes::copy_from_slice(record::body(slot, head)));
        let aside = self.delete_taking(key.db, found);
        self.record_change(key.db, key.bytes, ChangeKind::Modified);
        let (value, change) = match inline {
            Some(bytes) => (OwnedValue::String(bytes), 0),
            None => aside.expect("a value is inline or aside").into_value(),
        };
        Some(OwnedEntry {
            value,
            expires_at,
            pin: head.pin(),
            fence: fence.max(change),
            form: head.form(),
        })
    }

    /// A copy of the live entry of `key`. A long value or a collection is shared rather than copied.
    pub fn copy(&self, key: Key<'_>) -> Option<OwnedEntry> {
        let entry = self.peek(key)?;
        let value = match entry.value {
            Value::String(bytes) => OwnedValue::String(Bytes::copy_from_slice(bytes)),
            Value::Shared(bytes) => OwnedValue::String(bytes.clone()),
            Value::Collection(collection) => OwnedValue::Collection(collection.clone()),
        };
        Some(OwnedEntry {
            value,
            expires_at: entry.expires_at,
            pin: entry.pin,
            fence: entry.fence,
            form: entry.form,
        })
    }

    /// Removes a record, its bucket and its value.
    pub(crate) fn delete(&mut self, db: u8, found: Found) {
        if let Some(body) = self.delete_taking(db, found) {
            self.asides.discard(body);
        }
    }

    /// Removes a record and its bucket; returns its aside body if it had one.
    fn delete_taking(&mut self, db: u8, found: Found) -> Option<Body> {
        let head = record::head(self.pages.slot(found.location));
        let index = self.index_mut(db);
        index.volatile_count -= usize::from(head.is_volatile());
        let before = index.used_bytes();
        index.remove(found.place);
        let after = index.used_bytes();
        self.indexes_bytes = self.indexes_bytes - before + after;
        self.release(found.location, head)
    }

    /// Takes a record out of recency and pages, and its aside with it. Its bucket is the caller's.
    pub(crate) fn release(&mut self, location: Location, head: Head) -> Option<Body> {
        if head.is_pinned() {
            self.pinned_bytes -= self.pinned_cost(location);
        }
        let aside = head
            .is_aside()
            .then(|| record::aside_index(self.pages.slot(location), head));
        self.recency.leave(&mut self.pages, location);
        self.free_slot(location);
        aside.map(|index| self.asides.remove(index))
    }

    /// Frees a slot whose record is in no list and no bucket any more, and follows the record that fills it.
    pub(crate) fn free_slot(&mut self, location: Location) {
        let Some(from) = self.pages.free(location) else {
            return;
        };
        self.recency.moved(&mut self.pages, from, location);
        let Key { db, hash, .. } = self.key_at(location);
        self.index_mut(db).relocate(hash, from, location);
    }

    /// Asks for the bucket where a search for `key` starts. A first pass over a batch of keys, with
    /// [`Cache::touch_entry`] on each as a second, before their execution, overlaps the waiting for memory.
    #[inline]
    pub fn touch_index(&self, key: Key<'_>) {
        if let Some(index) = self.indexes[usize::from(key.db)].as_deref() {
            prefetch(index.first_bucket(key.hash));
        }
    }

    /// Asks for the record that a search for `key` meets first. See [`Cache::touch_index`].
    #[inline]
    pub fn touch_entry(&self, key: Key<'_>) {
        let index = self.indexes[usize::from(key.db)].as_deref();
        let location = index.and_then(|index| index.first_location(key.hash));
        if let Some(slot) = location.and_then(|location| self.pages.slot_if_any(location)) {
            prefetch(&slot[0]);
            prefetch_slice(slot, 64);
        }
    }
}
