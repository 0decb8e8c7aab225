//! Recency: three doubly linked lists through the records, most recent first.
//!
//! Persistent and volatile keys have a list each, so `volatile-lru` finds its victim at a tail as
//! `allkeys-lru` does; the latter takes the older of the two tails by stamp (of equal stamps, within 16 ms,
//! the volatile one: it has less life to lose). Pinned keys have a list of their own, which no policy looks at: locks go
//! only where their memory is used up and the operator chose that.
//!
//! An access stamps its record and is remembered; the relinking, which touches two neighbours anywhere in
//! memory, is done for a few dozen accesses together, and always before anybody can see the difference.

use crate::Pin;
use crate::pages::Pages;
use crate::record::{self, Head, Location, NOWHERE};
use prefetch::prefetch;

/// Which of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Unpinned keys without expiry.
    Persistent,
    /// Unpinned keys with expiry.
    Volatile,
    /// Pinned keys.
    Pinned,
}

impl Which {
    /// The list that a record with this head is in.
    pub(crate) fn of(head: Head) -> Which {
        match (head.pin(), head.is_volatile()) {
            (Pin::Pinned, _) => Which::Pinned,
            (Pin::Unpinned, false) => Which::Persistent,
            (Pin::Unpinned, true) => Which::Volatile,
        }
    }
}

#[derive(Clone, Copy)]
struct List {
    newest: Location,
    oldest: Location,
}

/// The lists' ends; the links are in the records.
///
/// Invariants:
/// - relinking all `accessed` records, in order, makes the lists' order that of last use;
/// - an accessed record is where `accessed` says: before a record leaves, enters or moves, the lists are
///   brought up to date.
pub(crate) struct Recency {
    lists: [List; 3],
    /// See [`Recency::accessed`]; the first `accessed_count` count.
    accessed: [Location; ACCESSED_MAX],
    accessed_count: usize,
}

/// Accesses that wait to be relinked: enough for their waits for memory to overlap, few enough that the
/// records are still in the CPU's caches and that relinking all holds a shard's lock for some 2 µs.
const ACCESSED_MAX: usize = 32;

/// So many are worth a pass of their own to ask for memory.
const PREFETCHED_MIN: usize = 4;

impl Recency {
    pub(crate) fn new() -> Self {
        let empty = List {
            newest: NOWHERE,
            oldest: NOWHERE,
        };
        Recency {
            lists: [empty; 3],
            accessed: [NOWHERE; ACCESSED_MAX],
            accessed_count: 0,
        }
    }

    /// The last record of a list, or [`NOWHERE`]: the least recently used one, if the lists are up to date.
    pub(crate) fn last(&self, which: Which) -> Location {
        self.lists[which as usize].oldest
    }

    /// The first record of a list, or [`NOWHERE`]: the most recently used one, if the lists are up to date.
    pub(crate) fn first(&self, which: Which) -> Location {
        self.lists[which as usize].newest
    }

    /// The least recently used record of a list, or [`NOWHERE`], whether or not the lists are up to date.
    pub(crate) fn oldest(&self, pages: &Pages, which: Which) -> Location {
        let accessed = self.accessed();
        let mut at = self.last(which);
        while at != NOWHERE && accessed.contains(&at) {
            at = record::prev(pages.header(at));
        }
        if at != NOWHERE {
            return at;
        }
        // All of the list were accessed: the one whose last access comes first.
        let of_list = |at: Location| Which::of(record::head(pages.header(at))) == which;
        (0..accessed.len())
            .filter(|nth| !accessed[nth + 1..].contains(&accessed[*nth]))
            .map(|nth| accessed[nth])
            .find(|at| of_list(*at))
            .unwrap_or(NOWHERE)
    }

    /// Records whose relinking is due, in the order of their accesses.
    pub(crate) fn accessed(&self) -> &[Location] {
        &self.accessed[..self.accessed_count]
    }

    /// Enters a record whose head is written as the most recent one.
    pub(crate) fn enter(&mut self, pages: &mut Pages, location: Location, stamp: u32) {
        if self.accessed_count > 0 {
            self.settle(pages);
        }
        let slot = pages.header_mut(location);
        record::set_stamp(slot, stamp);
        record::set_prev(slot, NOWHERE);
        let list = &mut self.lists[Which::of(record::head(slot)) as usize];
        record::set_next(slot, list.newest);
        match list.newest {
            NOWHERE => list.oldest = location,
            newest => record::set_prev(pages.header_mut(newest), location),
        }
        list.newest = location;
    }

    /// Takes a record out of its list. Its own links are left as they were.
    pub(crate) fn leave(&mut self, pages: &mut Pages, location: Location) {
        if self.accessed_count > 0 {
            self.settle(pages);
        }
        let slot = pages.slot(location);
        let which = Which::of(record::head(slot));
        let (prev, next) = (record::prev(slot), record::next(slot));
        let list = &mut self.lists[which as usize];
        match prev {
            NOWHERE => list.newest = next,
            prev => record::set_next(pages.header_mut(prev), next),
        }
        match next {
            NOWHERE => list.oldest = prev,
            next => record::set_prev(pages.header_mut(next), prev),
        }
    }

    /// Takes note of an access to a record, which is stamped with it already. Its relinking waits for company.
    #[inline]
    pub(crate) fn access(&mut self, pages: &mut Pages, location: Location) {
        if self.accessed_count == ACCESSED_MAX {
            self.settle(pages);
        }
        self.accessed[self.accessed_count] = location;
        self.accessed_count += 1;
    }

    /// Brings the lists up to date: every accessed record becomes the most recent one, in order. What the
    /// relinking touches lies anywhere in memory, so all of it is asked for before any of it is used.
    #[inline(never)]
    pub(crate) fn settle(&mut self, pages: &mut Pages) {
        let accessed = self.accessed;
        let accessed = &accessed[..self.accessed_count];
        self.accessed_count = 0;
        if accessed.len() >= PREFETCHED_MIN {
            for location in accessed {
                let slot = pages.header(*location);
                for neighbour in [record::prev(slot), record::next(slot)] {
                    if neighbour != NOWHERE {
                        prefetch(&pages.header(neighbour)[0]);
                    }
                }
            }
        }
        for location in accessed {
            self.refresh(pages, *location);
        }
    }

    /// Makes a record the most recent one.
    #[inline]
    fn refresh(&mut self, pages: &mut Pages, location: Location) {
        let slot = pages.header_mut(location);
        let list = &mut self.lists[Which::of(record::head(slot)) as usize];
        let newest = list.newest;
        if newest == location {
            return;
        }
        // Not the newest, hence with a predecessor, and the list is not empty.
        let (prev, next) = (record::prev(slot), record::next(slot));
        record::set_prev(slot, NOWHERE);
        record::set_next(slot, newest);
        record::set_next(pages.header_mut(prev), next);
        match next {
            NOWHERE => list.oldest = prev,
            next => record::set_prev(pages.header_mut(next), prev),
        }
        record::set_prev(pages.header_mut(newest), location);
        list.newest = location;
    }

    /// Tells the neighbours of a record that moved to `to` from `from`.
    pub(crate) fn moved(&mut self, pages: &mut Pages, from: Location, to: Location) {
        assert_eq!(self.accessed_count, 0, "records move after one has left");
        let slot = pages.slot(to);
        let which = Which::of(record::head(slot));
        let (prev, next) = (record::prev(slot), record::next(slot));
        let list = &mut self.lists[which as usize];
        match prev {
            NOWHERE => {
                debug_assert_eq!(list.newest, from);
                list.newest = to;
            }
            prev => record::set_next(pages.header_mut(prev), to),
        }
        match next {
            NOWHERE => {
                debug_assert_eq!(list.oldest, from);
                list.oldest = to;
            }
            next => record::set_prev(pages.header_mut(next), to),
        }
    }
}
