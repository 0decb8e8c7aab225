//! The naive store, which the property tests hold against the real one: an ordered map, correct and slow.

use crate::fence;
use crate::{
    Change, ChangeKind, Entry, Expiry, Key, OwnedEntry, OwnedValue, PINNED_VALUE_BYTES_MAX, Pin,
    Policy, StringForm, Value, Victim,
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// What a naive entry is said to cost above key and value, in bytes.
const ENTRY_BYTES: usize = 64;

/// The interface of [`crate::Cache`], without its speed.
pub(crate) struct Naive {
    now_ms: u64,
    tick: u64,
    last_fence: u64,
    map: BTreeMap<(u8, u32, Box<[u8]>), Slot>,
    observed: bool,
    changes: Vec<Change>,
}

struct Slot {
    bytes: Vec<u8>,
    expires_at: Option<u64>,
    pin: Pin,
    fence: u64,
    form: StringForm,
    used_at_ms: u64,
    used_tick: u64,
}

impl Naive {
    pub(crate) fn new() -> Self {
        Naive {
            now_ms: 0,
            tick: 0,
            last_fence: 0,
            map: BTreeMap::new(),
            observed: false,
            changes: Vec::new(),
        }
    }

    /// Sets log time, in milliseconds; never decreases (an earlier time is ignored).
    pub(crate) fn set_now(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    fn id(key: Key<'_>) -> (u8, u32, Box<[u8]>) {
        (key.db, key.hash, key.bytes.into())
    }

    fn record(&mut self, db: u8, key: &[u8], kind: ChangeKind) {
        if self.observed {
            self.changes.push(Change {
                db,
                key: key.into(),
                kind,
            });
        }
    }

    fn drop_if_expired(&mut self, key: Key<'_>) {
        let id = Self::id(key);
        if self
            .map
            .get(&id)
            .is_some_and(|slot| slot.expires_at.is_some_and(|at| at <= self.now_ms))
        {
            self.map.remove(&id);
            self.record(key.db, key.bytes, ChangeKind::Expired);
        }
    }

    fn view<'a>(&self, slot: &'a Slot) -> Entry<'a> {
        Entry {
            value: Value::String(&slot.bytes),
            expires_at: slot.expires_at,
            pin: slot.pin,
            fence: slot.fence,
            form: slot.form,
            idle_ms: self.now_ms - slot.used_at_ms,
        }
    }

    /// The live entry of `key`, and counts as an access (recency).
    pub(crate) fn get(&mut self, key: Key<'_>) -> Option<Entry<'_>> {
        self.drop_if_expired(key);
        self.tick += 1;
        let (tick, now) = (self.tick, self.now_ms);
        if let Some(slot) = self.map.get_mut(&Self::id(key)) {
            slot.used_tick = tick;
            slot.used_at_ms = now;
        }
        self.peek(key)
    }

    /// The live entry of `key`; does not count as an access (OBJECT, TTL, TYPE under NO-TOUCH …).
    pub(crate) fn peek(&self, key: Key<'_>) -> Option<Entry<'_>> {
        let slot = self.map.get(&Self::id(key))?;
        if slot.expires_at.is_some_and(|at| at <= self.now_ms) {
            return None;
        }
        Some(self.view(slot))
    }

    /// Sets `key` to a whole string. `At(t)` with `t` at or before log time stores nothing and removes
    /// what was there.
    pub(crate) fn put(&mut self, key: Key<'_>, value: &[u8], expiry: Expiry, pin: Pin) {
        let renewed = |entry: &Entry<'_>| entry.value.string().unwrap() == value;
        let fence = self
            .peek(key)
            .filter(renewed)
            .map_or(0, |entry| entry.fence);
        self.put_fenced(key, value, expiry, (pin, fence));
    }

    /// As [`Naive::put`], with a fence that is known; 0 = a new grant.
    fn put_fenced(&mut self, key: Key<'_>, value: &[u8], expiry: Expiry, (pin, fence): (Pin, u64)) {
        self.drop_if_expired(key);
        let kept = self
            .map
            .get(&Self::id(key))
            .and_then(|slot| slot.expires_at);
        let expires_at = match expiry {
            Expiry::Keep => kept,
            Expiry::Never => None,
            Expiry::At(at) => Some(at),
        };
        let value = OwnedValue::String(Bytes::copy_from_slice(value));
        self.put_entry(
            key,
            OwnedEntry {
                value,
                expires_at,
                pin,
                fence,
                form: StringForm::Whole,
            },
        );
    }

    /// As [`crate::Cache::update`].
    pub(crate) fn update<'n, E>(
        &mut self,
        key: Key<'_>,
        compute: impl FnOnce(Option<Value<'_>>) -> Result<&'n [u8], E>,
    ) -> Result<(), E> {
        let before = self.peek(key);
        let kept = before.map_or((Pin::Unpinned, 0), |entry| (entry.pin, entry.fence));
        let value = compute(before.map(|entry| entry.value))?;
        self.put_fenced(key, value, Expiry::Keep, kept);
        Ok(())
    }

    /// Makes the string at `key` exactly `len` bytes long (new bytes are zero; a new key has no expiry),
    /// marks it edited, and lends it for writing. Keeps expiry, pin and fence. Counts as an access.
    pub(crate) fn edit(&mut self, key: Key<'_>, len: usize) -> &mut [u8] {
        self.drop_if_expired(key);
        self.record(key.db, key.bytes, ChangeKind::Modified);
        self.tick += 1;
        let now = self.now_ms;
        let slot = self.map.entry(Self::id(key)).or_insert(Slot {
            bytes: Vec::new(),
            expires_at: None,
            pin: Pin::Unpinned,
            fence: 0,
            form: StringForm::Edited,
            used_at_ms: now,
            used_tick: self.tick,
        });
        if len > PINNED_VALUE_BYTES_MAX {
            (slot.pin, slot.fence) = (Pin::Unpinned, 0);
        }
        slot.form = StringForm::Edited;
        slot.used_at_ms = now;
        slot.used_tick = self.tick;
        slot.bytes.resize(len, 0);
        &mut slot.bytes
    }

    /// Removes `key`; whether a live entry was there.
    pub(crate) fn remove(&mut self, key: Key<'_>) -> bool {
        self.take(key).is_some()
    }

    /// Sets or clears the expiry of a live entry; whether there was one. A time at or before log time removes it.
    pub(crate) fn set_expiry(&mut self, key: Key<'_>, expires_at: Option<u64>) -> bool {
        self.drop_if_expired(key);
        match self.copy(key) {
            Some(mut entry) => {
                if expires_at.is_none() && entry.expires_at.is_some() {
                    entry.pin = Pin::Unpinned;
                }
                entry.expires_at = expires_at;
                self.put_entry(key, entry);
                true
            }
            None => false,
        }
    }

    /// Removes and returns the live entry of `key`.
    pub(crate) fn take(&mut self, key: Key<'_>) -> Option<OwnedEntry> {
        self.drop_if_expired(key);
        let slot = self.map.remove(&Self::id(key))?;
        self.record(key.db, key.bytes, ChangeKind::Modified);
        Some(OwnedEntry {
            value: OwnedValue::String(Bytes::from(slot.bytes)),
            expires_at: slot.expires_at,
            pin: slot.pin,
            fence: slot.fence,
            form: slot.form,
        })
    }

    /// A copy of the live entry of `key`.
    pub(crate) fn copy(&self, key: Key<'_>) -> Option<OwnedEntry> {
        let entry = self.peek(key)?;
        Some(OwnedEntry {
            value: OwnedValue::String(Bytes::copy_from_slice(entry.value.string().unwrap())),
            expires_at: entry.expires_at,
            pin: entry.pin,
            fence: entry.fence,
            form: entry.form,
        })
    }

    /// Puts an entry in place of whatever is at `key`. An expiry at or before log time stores nothing.
    pub(crate) fn put_entry(&mut self, key: Key<'_>, entry: OwnedEntry) {
        self.drop_if_expired(key);
        self.record(key.db, key.bytes, ChangeKind::Modified);
        self.tick += 1;
        self.map.remove(&Self::id(key));
        if entry.expires_at.is_some_and(|at| at <= self.now_ms) {
            return;
        }
        let OwnedValue::String(bytes) = entry.value else {
            unreachable!("the model's values are strings")
        };
        let pin = match bytes.len() > PINNED_VALUE_BYTES_MAX {
            true => Pin::Unpinned,
            false => entry.pin,
        };
        let fence = match (pin, entry.fence) {
            (Pin::Unpinned, _) => 0,
            (Pin::Pinned, 0) => fence::floor(self.now_ms).max(self.last_fence + 1),
            (Pin::Pinned, given) => given,
        };
        self.last_fence = self.last_fence.max(fence);
        self.map.insert(
            Self::id(key),
            Slot {
                bytes: bytes.to_vec(),
                expires_at: entry.expires_at,
                pin,
                fence,
                form: entry.form,
                used_at_ms: self.now_ms,
                used_tick: self.tick,
            },
        );
    }

    /// Stored entries of `db`, those included whose expiry passed and that are not reclaimed yet.
    pub(crate) fn len(&self, db: u8) -> usize {
        self.map.keys().filter(|id| id.0 == db).count()
    }

    /// Stored entries of `db` that have an expiry.
    pub(crate) fn expiring_len(&self, db: u8) -> usize {
        self.map
            .iter()
            .filter(|(id, slot)| id.0 == db && slot.expires_at.is_some())
            .count()
    }

    /// Visits live entries of `db` in hash order from position `from`, about `steps_max` of them (all that
    /// share a hash are visited together), and returns the position to go on from, or none at the end.
    /// An entry that is present from the first to the last call of a full walk is visited at least once,
    /// whatever else comes and goes.
    pub(crate) fn scan(
        &self,
        db: u8,
        from: u32,
        steps_max: usize,
        visit: &mut dyn FnMut(&[u8], Entry<'_>),
    ) -> Option<u32> {
        let mut last = None;
        for (steps, (id, slot)) in self.map.range((db, from, Box::from([]))..).enumerate() {
            if id.0 != db {
                break;
            }
            if steps >= steps_max && last != Some(id.1) {
                return Some(id.1);
            }
            last = Some(id.1);
            if slot.expires_at.is_none_or(|at| at > self.now_ms) {
                visit(&id.2, self.view(slot));
            }
        }
        None
    }

    /// A live key of `db` picked by the draw `random`, or none when there is none.
    pub(crate) fn random(&self, db: u8, random: u64) -> Option<&[u8]> {
        let live: Vec<&[u8]> = self
            .map
            .iter()
            .filter(|(id, slot)| id.0 == db && slot.expires_at.is_none_or(|at| at > self.now_ms))
            .map(|(id, _)| &*id.2)
            .collect();
        if live.is_empty() {
            None
        } else {
            Some(live[(random % live.len() as u64) as usize])
        }
    }

    /// Removes all of one database; returns how many entries it held.
    pub(crate) fn clear(&mut self, db: u8) -> usize {
        let before = self.map.len();
        self.map.retain(|id, _| id.0 != db);
        before - self.map.len()
    }

    /// Drops entries whose expiry passed, examining at most `work_max` entries; returns how many were dropped.
    /// Called again and again it reaches every expired entry without anybody touching it.
    pub(crate) fn reclaim_expired(&mut self, work_max: usize) -> usize {
        let now = self.now_ms;
        let expired: Vec<_> = self
            .map
            .iter()
            .filter(|(_, slot)| slot.expires_at.is_some_and(|at| at <= now))
            .take(work_max)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &expired {
            self.map.remove(id);
            self.record(id.0, &id.2, ChangeKind::Expired);
        }
        expired.len()
    }

    /// Chooses victims by `policy` until about `bytes_wanted` would be freed (at least one if any may go, at
    /// most `victims_max`). Nothing is removed: the caller logs the decision and applies it with [`crate::Cache::evict`].
    pub(crate) fn victims(
        &self,
        policy: Policy,
        bytes_wanted: usize,
        victims_max: usize,
        random: u64,
    ) -> Vec<Victim> {
        let mut all: Vec<_> = self
            .map
            .iter()
            .filter(|(_, slot)| slot.pin == Pin::Unpinned)
            .filter(|(_, slot)| match policy {
                Policy::NoEviction => false,
                Policy::AllKeysLru | Policy::AllKeysRandom => true,
                Policy::VolatileLru | Policy::VolatileRandom | Policy::VolatileTtl => {
                    slot.expires_at.is_some()
                }
            })
            .collect();
        match policy {
            Policy::VolatileTtl => all.sort_by_key(|(_, slot)| slot.expires_at),
            Policy::AllKeysRandom | Policy::VolatileRandom if !all.is_empty() => {
                let turn = (random % all.len() as u64) as usize;
                all.rotate_left(turn);
            }
            // Of two lists with equal stamps (16 ms) the volatile one goes first.
            _ => all.sort_by_key(|(_, slot)| {
                let stamp = slot.used_at_ms / 16;
                (stamp, slot.expires_at.is_none(), slot.used_tick)
            }),
        }
        let mut freed = 0;
        let mut victims = Vec::new();
        for (id, slot) in all {
            if freed >= bytes_wanted || victims.len() >= victims_max {
                break;
            }
            freed += id.2.len() + slot.bytes.len() + ENTRY_BYTES;
            victims.push(Victim {
                db: id.0,
                key: id.2.clone(),
            });
        }
        victims
    }

    /// Applies an eviction: removes `key` if it is there and not pinned, recorded as evicted.
    pub(crate) fn evict(&mut self, key: Key<'_>) -> bool {
        let id = Self::id(key);
        if self.map.get(&id).is_none_or(|slot| slot.pin == Pin::Pinned) {
            return false;
        }
        self.map.remove(&id);
        self.record(key.db, key.bytes, ChangeKind::Evicted);
        true
    }

    /// As [`crate::Cache::evict_lock`].
    pub(crate) fn evict_lock(&mut self, key: Key<'_>, fence: u64) -> bool {
        let id = Self::id(key);
        let is_it = |slot: &Slot| slot.pin == Pin::Pinned && slot.fence == fence;
        if !self.map.get(&id).is_some_and(is_it) {
            return false;
        }
        self.map.remove(&id);
        self.record(key.db, key.bytes, ChangeKind::Evicted);
        true
    }

    /// Access time (log time, ms) of the entry that `policy` would evict first by recency; none if nothing may go.
    pub(crate) fn coldest_ms(&self, policy: Policy) -> Option<u64> {
        let victim = self.victims(policy, 1, 1, 0).pop()?;
        self.map
            .iter()
            .find(|(id, _)| id.0 == victim.db && id.2 == victim.key)
            .map(|(_, slot)| slot.used_at_ms)
    }

    /// A checksum of all live entries at the present log time: equal for two replicas at equal log positions,
    /// whatever their hash seeds, reclaimed entries, page layout or recency.
    pub(crate) fn checksum(&self) -> u64 {
        use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};
        let mut sum = match self.last_fence {
            0 => 0u64,
            last => xxh3_64(&last.to_le_bytes()),
        };
        for (id, slot) in &self.map {
            if slot.expires_at.is_some_and(|at| at <= self.now_ms) {
                continue;
            }
            let mut one = xxh3_64_with_seed(&id.2, u64::from(id.0));
            one = xxh3_64_with_seed(&slot.bytes, one);
            one = xxh3_64_with_seed(&slot.expires_at.unwrap_or(0).to_le_bytes(), one);
            let mut rest = vec![slot.pin as u8, slot.form as u8];
            rest.extend(slot.fence.to_le_bytes());
            one = xxh3_64_with_seed(&rest, one);
            sum = sum.wrapping_add(one);
        }
        sum
    }

    /// Whether changes are recorded from now on. They are drained by [`crate::Cache::take_changes`].
    pub(crate) fn observe(&mut self, observed: bool) {
        self.observed = observed;
    }

    /// The changes recorded since the last call.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}
