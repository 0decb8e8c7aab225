//! Recency: two doubly linked lists through the records, most recent first.
//!
//! Persistent and volatile keys have a list each, so `volatile-lru` finds its victim at a tail as
//! `allkeys-lru` does; the latter takes the older of the two tails by stamp (of equal stamps, within 16 ms,
//! the volatile one: it has less life to lose). Pinned keys are in no list: both their links are
//! [`NOWHERE`].

use crate::Pin;
use crate::pages::Pages;
use crate::record::{self, Head, Location, NOWHERE};

/// Which of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Unpinned keys without expiry.
    Persistent,
    /// Unpinned keys with expiry.
    Volatile,
}

impl Which {
    /// The list that a record with this head is in.
    pub(crate) fn of(head: Head) -> Option<Which> {
        match (head.pin(), head.is_volatile()) {
            (Pin::Pinned, _) => None,
            (Pin::Unpinned, false) => Some(Which::Persistent),
            (Pin::Unpinned, true) => Some(Which::Volatile),
        }
    }
}

#[derive(Clone, Copy)]
struct List {
    newest: Location,
    oldest: Location,
}

/// The two lists' ends; the links are in the records.
pub(crate) struct Recency {
    lists: [List; 2],
}

impl Recency {
    pub(crate) fn new() -> Self {
        let empty = List {
            newest: NOWHERE,
            oldest: NOWHERE,
        };
        Recency {
            lists: [empty, empty],
        }
    }

    /// The least recently used record of a list, or [`NOWHERE`].
    pub(crate) fn oldest(&self, which: Which) -> Location {
        self.lists[which as usize].oldest
    }

    /// Enters a record whose head is written as the most recent one.
    pub(crate) fn enter(&mut self, pages: &mut Pages, location: Location, stamp: u32) {
        let slot = pages.header_mut(location);
        record::set_stamp(slot, stamp);
        record::set_prev(slot, NOWHERE);
        let Some(which) = Which::of(record::head(slot)) else {
            record::set_next(slot, NOWHERE);
            return;
        };
        let list = &mut self.lists[which as usize];
        record::set_next(slot, list.newest);
        match list.newest {
            NOWHERE => list.oldest = location,
            newest => record::set_prev(pages.header_mut(newest), location),
        }
        list.newest = location;
    }

    /// Takes a record out of its list. Its own links are left as they were.
    pub(crate) fn leave(&mut self, pages: &mut Pages, location: Location) {
        let slot = pages.slot(location);
        let Some(which) = Which::of(record::head(slot)) else {
            return;
        };
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

    /// Makes a record the most recent one; returns its head.
    #[inline]
    pub(crate) fn refresh(&mut self, pages: &mut Pages, location: Location, stamp: u32) -> Head {
        let slot = pages.header_mut(location);
        let head = record::head(slot);
        record::set_stamp(slot, stamp);
        let Some(which) = Which::of(head) else {
            return head;
        };
        let list = &mut self.lists[which as usize];
        let newest = list.newest;
        if newest == location {
            return head;
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
        head
    }

    /// Tells the neighbours of a record that moved to `to` from `from`.
    pub(crate) fn moved(&mut self, pages: &mut Pages, from: Location, to: Location) {
        let slot = pages.slot(to);
        let Some(which) = Which::of(record::head(slot)) else {
            return;
        };
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
