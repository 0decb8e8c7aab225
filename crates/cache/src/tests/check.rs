//! The store's invariants, checked in full.

use crate::Cache;
use crate::class::CLASSES;
use crate::pages::KINDS;
use crate::recency::Which;
use crate::record::{self, NOWHERE};
use std::collections::BTreeSet;

impl Cache {
    /// Panics if an invariant does not hold.
    pub(crate) fn check(&self) {
        let mut locations = BTreeSet::new();
        for (db, index) in self.indexes.iter().enumerate() {
            let Some(index) = index else { continue };
            let mut previous = 0;
            let (mut entries, mut volatile) = (0, 0);
            for (hash, location) in index.walk(0) {
                assert!(hash >= previous, "the index is not in hash order");
                previous = hash;
                entries += 1;
                let key = self.key_at(location);
                assert_eq!((usize::from(key.db), key.hash), (db, hash));
                assert!(locations.insert(location), "two buckets of one record");
                let head = record::head(self.pages.slot(location));
                volatile += usize::from(head.is_volatile());
                let found = self.find(key).expect("an entry is found by its key");
                assert_eq!(found.location, location);
            }
            assert_eq!((entries, volatile), (index.len(), index.volatile_count));
        }
        let indexes = self.indexes.iter().flatten();
        let bytes: usize = indexes.map(|index| index.used_bytes()).sum();
        assert_eq!(bytes, self.indexes_bytes);
        self.check_pages(&locations);
        let volatile = self.check_list(Which::Volatile);
        let persistent = self.check_list(Which::Persistent);
        let pinned = self.check_list(Which::Pinned);
        assert_eq!(volatile + persistent + pinned, locations.len());
        let is_pinned = |at: &&u32| record::head(self.pages.slot(**at)).is_pinned();
        let locks = locations.iter().filter(is_pinned);
        let bytes: usize = locks.map(|at| self.pinned_cost(*at)).sum();
        assert_eq!(bytes, self.pinned_bytes());
    }

    fn check_pages(&self, locations: &BTreeSet<u32>) {
        let mut in_pages = 0;
        for kind in 0..KINDS {
            let mut of_kind = 0;
            for ordinal in 0..self.pages.pages_of(kind) {
                let fill = self.pages.fill_of(kind, ordinal);
                assert!(fill > 0, "an empty page was kept");
                of_kind += fill as usize;
                for slot in 0..fill {
                    let location = self.pages.location(kind, ordinal, slot);
                    assert!(locations.contains(&location), "a record without bucket");
                    let head = record::head(self.pages.slot(location));
                    assert_eq!(head.is_volatile(), kind >= CLASSES);
                    assert!(head.record_len() <= self.pages.slot(location).len());
                    let fence = record::fence(self.pages.slot(location), head);
                    assert!(fence <= self.last_fence() && (fence > 0) == head.is_pinned());
                    let begun = self.hand.is_under_way_in(kind, ordinal);
                    if let Some(at) = record::expires_at(self.pages.slot(location), head) {
                        assert!(begun || self.pages.earliest(kind, ordinal) <= at);
                    }
                }
            }
            assert_eq!(of_kind, self.pages.records(kind));
            in_pages += of_kind;
        }
        assert_eq!(in_pages, locations.len());
    }

    /// Follows a list from its oldest; returns its length.
    fn check_list(&self, which: Which) -> usize {
        let (mut count, mut behind, mut at) = (0, NOWHERE, self.recency.last(which));
        let mut idle = u64::MAX;
        while at != NOWHERE {
            let slot = self.pages.slot(at);
            assert_eq!(Which::of(record::head(slot)), which);
            assert_eq!(record::next(slot), behind, "a broken backward link");
            if !self.recency.accessed().contains(&at) {
                let age = self.idle_ms(record::stamp(slot));
                assert!(age <= idle, "stamps fall along a list");
                idle = age;
            }
            count += 1;
            (behind, at) = (at, record::prev(slot));
        }
        count
    }
}
