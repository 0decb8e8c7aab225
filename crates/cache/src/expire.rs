//! Reclaiming of expired entries that nobody touches.
//!
//! A hand goes round the pages of volatile records, each from its last slot to its first: what fills the
//! hole of a dropped record comes from the end of its kind, where the hand has been. A page whose earliest
//! expiry is still to come is passed at a glance, so a cache of long-lived entries costs a step per page.

use crate::class::CLASSES;
use crate::index::Lookup;
use crate::pages::KINDS;
use crate::record::Location;
use crate::store::{Cache, Found};
use crate::{ChangeKind, record};

/// Where the hand is: everything before it in its kind, from the end, was seen this turn.
pub(crate) struct Hand {
    kind: usize,
    /// Pages of the kind not seen yet, the one under the hand included.
    pages_left: usize,
    /// Slots not seen yet of the page under the hand; none if it was not begun.
    slots_left: Option<u32>,
}

impl Hand {
    pub(crate) fn new() -> Self {
        Hand {
            kind: CLASSES,
            pages_left: 0,
            slots_left: None,
        }
    }

    /// Whether a page's bound is being made anew.
    #[cfg(test)]
    pub(crate) fn is_under_way_in(&self, kind: usize, ordinal: usize) -> bool {
        (self.kind, self.pages_left) == (kind, ordinal + 1) && self.slots_left.is_some()
    }
}

impl Cache {
    /// Drops entries whose expiry passed, examining at most `work_max` entries; returns how many were dropped.
    /// Called again and again it reaches every expired entry without anybody touching it.
    pub fn reclaim_expired(&mut self, work_max: usize) -> usize {
        let mut work = 0;
        let mut dropped = 0;
        let mut kinds_left = CLASSES + 1;
        while work < work_max {
            let pages = self.pages.pages_of(self.hand.kind);
            if self.hand.pages_left > pages {
                // The pages under the hand are gone, and what was in them lies before it or is gone too.
                self.hand.pages_left = pages;
                self.hand.slots_left = None;
            }
            if self.hand.pages_left == 0 {
                if kinds_left == 0 {
                    break;
                }
                kinds_left -= 1;
                self.next_kind();
                continue;
            }
            work += 1;
            let (kind, ordinal) = (self.hand.kind, self.hand.pages_left - 1);
            let fill = self.pages.fill_of(kind, ordinal);
            let left = match self.hand.slots_left {
                Some(left) => left.min(fill),
                None if self.pages.earliest(kind, ordinal) > self.now_ms => 0,
                None => {
                    self.pages.forget_earliest(kind, ordinal);
                    fill
                }
            };
            if left == 0 {
                self.hand.pages_left -= 1;
                self.hand.slots_left = None;
                continue;
            }
            self.hand.slots_left = Some(left - 1);
            let location = self.pages.location(kind, ordinal, left - 1);
            dropped += usize::from(self.examine(location));
        }
        dropped
    }

    fn next_kind(&mut self) {
        let kind = self.hand.kind + 1;
        self.hand.kind = if kind == KINDS { CLASSES } else { kind };
        self.hand.pages_left = self.pages.pages_of(self.hand.kind);
        self.hand.slots_left = None;
    }

    /// Drops the volatile record at `location` if its expiry passed; whether it did.
    fn examine(&mut self, location: Location) -> bool {
        let at = record::volatile_expires_at(self.pages.slot(location));
        if at > self.now_ms {
            self.pages.note_expiry(location, at);
            return false;
        }
        let key = self.key_at(location);
        let (db, key_bytes): (u8, Box<[u8]>) = (key.db, key.bytes.into());
        let index = self.indexes[usize::from(db)].as_deref();
        let index = index.expect("a record's database has an index");
        let Lookup::Found(place, _) = index.find(key.hash, |other| other == location) else {
            unreachable!("every record is in its index under its key's hash");
        };
        self.delete(db, Found { place, location });
        self.record_change(db, &key_bytes, ChangeKind::Expired);
        true
    }
}
