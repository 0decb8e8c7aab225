//! The queue of one lock: in the order of asking, and found by who asked and by when a wait ends. So who leaves from its
//! middle costs no more than who is served at its head: thousands may leave at once.

use super::table::{LockOrigin, LockRequest, Waiter};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a waiter beside its owner's name: itself, and its places in three trees, which are two thirds full.
const WAITER_BYTES: usize = size_of::<Waiter>() + 96;

/// Who waits for one lock.
///
/// Invariants:
/// - each waiter has a request, and no two have the same;
/// - `places` names every waiter, `ends` every one whose wait has an end;
/// - places rise in the order of asking; nothing else about them is state of the shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    waiters: BTreeMap<u64, Waiter>,
    places: BTreeMap<LockRequest, u64>,
    /// Log time in ms, and place.
    ends: BTreeSet<(u64, u64)>,
    /// The place of who asks next.
    next_place: u64,
}

impl Queue {
    /// What a waiter of this owner takes, bytes.
    pub fn bytes_for(owner: &[u8]) -> usize {
        WAITER_BYTES + owner.len()
    }

    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.waiters.values()
    }

    /// Who is next.
    pub fn first(&self) -> Option<&Waiter> {
        self.waiters.first_key_value().map(|(_, waiter)| waiter)
    }

    /// Whether a request stands in it.
    pub fn has(&self, request: LockRequest) -> bool {
        self.places.contains_key(&request)
    }

    /// The requests of an origin in it, by number.
    pub fn of(&self, origin: LockOrigin) -> impl Iterator<Item = LockRequest> {
        let at = |number| LockRequest { origin, number };
        let its = self.places.range(at(0)..=at(u64::MAX));
        its.map(|(request, _)| *request)
    }

    /// When the first of them has waited as long as it wants to, log time in ms; `u64::MAX` = never.
    pub fn first_end_ms(&self) -> u64 {
        self.ends.first().map_or(u64::MAX, |(end_ms, _)| *end_ms)
    }

    /// How many of them wait still at this log time.
    pub fn count_at(&self, now_ms: u64) -> usize {
        self.len() - self.ends.range(..=(now_ms, u64::MAX)).count()
    }

    /// Puts a waiter at the end; false, and nothing is done, if it has no request or its request stands there already.
    pub fn push(&mut self, waiter: Waiter) -> bool {
        let Some(request) = waiter.request.filter(|request| !self.has(*request)) else {
            return false;
        };
        let place = self.next_place;
        self.next_place += 1;
        self.places.insert(request, place);
        if waiter.until_ms != u64::MAX {
            self.ends.insert((waiter.until_ms, place));
        }
        self.waiters.insert(place, waiter);
        true
    }

    /// Takes the first one out.
    pub fn pop(&mut self) -> Option<Waiter> {
        let (place, _) = self.waiters.first_key_value()?;
        self.take(*place)
    }

    /// Takes one out that waited as long as it wanted to.
    pub fn pop_late(&mut self, now_ms: u64) -> Option<Waiter> {
        let (end_ms, place) = *self.ends.first()?;
        if end_ms > now_ms {
            return None;
        }
        self.take(place)
    }

    /// Takes a request out.
    pub fn remove(&mut self, request: LockRequest) -> Option<Waiter> {
        let place = *self.places.get(&request)?;
        self.take(place)
    }

    fn take(&mut self, place: u64) -> Option<Waiter> {
        let waiter = self.waiters.remove(&place)?;
        let request = waiter.request.expect("each waiter has one");
        self.places.remove(&request);
        self.ends.remove(&(waiter.until_ms, place));
        Some(waiter)
    }
}
