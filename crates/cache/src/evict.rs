//! Eviction: who goes, in which order, and what memory is held.
//!
//! Choosing and removing are apart because the choice is the leader's and goes through the log.

use crate::class::{CLASSES, slot_bytes};
use crate::draw::Draws;
use crate::pages::KINDS;
use crate::recency::Which;
use crate::record::{self, Location, NOWHERE};
use crate::store::Cache;
use crate::{ChangeKind, Key, Pin, Policy, Victim};
use std::collections::BTreeSet;

/// Volatile keys looked at for each victim of `volatile-ttl`.
const TTL_SAMPLE: usize = 16;

/// Draws in vain (pinned, or chosen before) for each victim wanted, before the oldest is taken instead.
const DRAWS_IN_VAIN_MAX: usize = 16;

/// What a bucket costs at the index's mean load.
pub(crate) const BUCKET_BYTES: usize = 10;

impl Cache {
    /// Chooses victims by `policy` until about `bytes_wanted` would be freed (at least one if any may go, at
    /// most `victims_max`). Nothing is removed: the caller logs the decision and applies it with [`Cache::evict`].
    /// Costs some memory accesses for each victim.
    pub fn victims(
        &mut self,
        policy: Policy,
        bytes_wanted: usize,
        victims_max: usize,
        random: u64,
    ) -> Vec<Victim> {
        self.recency.settle(&mut self.pages);
        let mut chosen = Chosen {
            bytes_wanted,
            victims_max,
            freed: 0,
            locations: Vec::new(),
        };
        match policy {
            Policy::NoEviction => {}
            Policy::AllKeysLru => {
                let ends =
                    [Which::Volatile, Which::Persistent].map(|which| self.recency.last(which));
                self.choose_oldest(ends, &mut chosen);
            }
            Policy::VolatileLru => {
                self.choose_oldest([self.recency.last(Which::Volatile), NOWHERE], &mut chosen);
            }
            Policy::AllKeysRandom => {
                let both = [Which::Volatile, Which::Persistent];
                self.choose_drawn(0..KINDS, &both, 1, random, &mut chosen);
            }
            Policy::VolatileRandom => {
                let only = [Which::Volatile];
                self.choose_drawn(CLASSES..KINDS, &only, 1, random, &mut chosen);
            }
            Policy::VolatileTtl => {
                let only = [Which::Volatile];
                self.choose_drawn(CLASSES..KINDS, &only, TTL_SAMPLE, random, &mut chosen);
            }
        }
        let victims = chosen.locations.iter().map(|location| {
            let key = self.key_at(*location);
            Victim {
                db: key.db,
                key: key.bytes.into(),
            }
        });
        victims.collect()
    }

    /// The older of two records, or the one that there is. Of equal stamps the first.
    fn older(&self, ends: [Location; 2]) -> usize {
        match ends {
            [_, NOWHERE] => 0,
            [NOWHERE, _] => 1,
            [first, second] => {
                let idle = |at| self.idle_ms(record::stamp(self.pages.slot(at)));
                usize::from(idle(second) > idle(first))
            }
        }
    }

    fn choose_oldest(&self, mut ends: [Location; 2], chosen: &mut Chosen) {
        while ends != [NOWHERE; 2] && chosen.wants_more() {
            let older = self.older(ends);
            let location = ends[older];
            chosen.add(location, self.record_bytes(location));
            ends[older] = record::prev(self.pages.slot(location));
        }
    }

    /// Draws records of `kinds`; of `sample` unpinned ones the one that expires first goes.
    fn choose_drawn(
        &self,
        kinds: std::ops::Range<usize>,
        lists: &[Which],
        sample: usize,
        random: u64,
        chosen: &mut Chosen,
    ) {
        let mut draws = Draws::new(random);
        let mut taken = BTreeSet::new();
        while chosen.wants_more() {
            let candidates = (0..sample + DRAWS_IN_VAIN_MAX)
                .filter_map(|_| self.pages.pick(kinds.clone(), &mut draws))
                .filter(|location| !taken.contains(location))
                .filter(|location| record::head(self.pages.slot(*location)).pin() == Pin::Unpinned)
                .take(sample);
            let drawn = candidates.min_by_key(|location| {
                let slot = self.pages.slot(*location);
                record::expires_at(slot, record::head(slot))
            });
            let Some(location) = drawn.or_else(|| self.oldest_but(lists, &taken)) else {
                return;
            };
            taken.insert(location);
            chosen.add(location, self.record_bytes(location));
        }
    }

    /// The oldest record of `lists` that is not in `taken`: for when nearly all records are pinned or chosen.
    fn oldest_but(&self, lists: &[Which], taken: &BTreeSet<Location>) -> Option<Location> {
        lists.iter().find_map(|which| {
            let mut at = self.recency.last(*which);
            while at != NOWHERE && taken.contains(&at) {
                at = record::prev(self.pages.slot(at));
            }
            (at != NOWHERE).then_some(at)
        })
    }

    /// Applies an eviction: removes `key` if it is there and not pinned, recorded as evicted.
    pub fn evict(&mut self, key: Key<'_>) -> bool {
        let Some(found) = self.find(key) else {
            return false;
        };
        if record::head(self.pages.slot(found.location)).pin() == Pin::Pinned {
            return false;
        }
        self.delete(key.db, found);
        self.record_change(key.db, key.bytes, ChangeKind::Evicted);
        true
    }

    /// Access time (log time, ms, to 16 ms) of the entry that `policy` would evict first by recency; none if
    /// nothing may go. Costs a few dozen memory accesses at most.
    pub fn coldest_ms(&self, policy: Policy) -> Option<u64> {
        let oldest = |which| self.recency.oldest(&self.pages, which);
        let volatile = oldest(Which::Volatile);
        let ends = match policy {
            Policy::NoEviction => return None,
            Policy::AllKeysLru | Policy::AllKeysRandom => [volatile, oldest(Which::Persistent)],
            Policy::VolatileLru | Policy::VolatileRandom | Policy::VolatileTtl => {
                [volatile, NOWHERE]
            }
        };
        let location = ends[self.older(ends)];
        (location != NOWHERE).then(|| {
            let stamp = record::stamp(self.pages.slot(location));
            self.used_ms.saturating_sub(self.idle_ms(stamp))
        })
    }

    /// All memory that this cache holds, in bytes: pages, index, long values, the table of locks, bookkeeping. O(1).
    pub fn used_bytes(&self) -> usize {
        let pages_bytes = self.pages.used_bytes() + self.asides.used_bytes();
        size_of::<Cache>() + pages_bytes + self.indexes_bytes + self.locks.used_bytes()
    }

    fn record_bytes(&self, location: Location) -> usize {
        let slot = self.pages.slot(location);
        let head = record::head(slot);
        let aside = if head.is_aside() {
            self.asides.cost(record::aside_index(slot, head))
        } else {
            0
        };
        slot_bytes(self.pages.kind_at(location) % CLASSES) + BUCKET_BYTES + aside
    }

    /// Memory of one live entry in bytes, overhead included (MEMORY USAGE).
    pub fn entry_bytes(&self, key: Key<'_>) -> Option<usize> {
        let found = self.find(key)?;
        (!self.is_expired(found.location)).then(|| self.record_bytes(found.location))
    }
}

/// Victims as they are chosen.
struct Chosen {
    bytes_wanted: usize,
    victims_max: usize,
    freed: usize,
    locations: Vec<Location>,
}

impl Chosen {
    fn wants_more(&self) -> bool {
        self.locations.len() < self.victims_max
            && (self.freed < self.bytes_wanted || self.locations.is_empty())
    }

    fn add(&mut self, location: Location, bytes: usize) {
        self.freed += bytes;
        self.locations.push(location);
    }
}
