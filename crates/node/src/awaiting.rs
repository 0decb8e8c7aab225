//! Connections that wait for a collection to have something in it (BLPOP and kin, XREAD), at both ends of the wait.
//!
//! ```text
//!   where the connection is                        at the shard's leader
//!   try to pop ── nothing ──▶ Waits ── Expect ──▶  Callers: by key, who has waited longest first
//!        ▲                      │                     │ a write fills the key (`cache::Cache::take_awaited`)
//!        └── ticket is filled ◀─┴────── Ready ────────┘ as many are called as there are items
//! ```
//!
//! Nothing of it is in the log: a pop is a write like any other, and waiting is trying again when there is something to
//! try. So nothing can be lost by it. What keeps it from being missed: who begins to wait is called at once if the key
//! has something, and each second all waits are told to whoever leads, with the same effect.
//!
//! A caller that was called keeps its place for a second: if another took what it came for, it says so ([`Waits::again`])
//! and is called again before those behind it. One that says nothing, as its node is gone, is called again after them.

use crate::slots::Ticket;
use crate::wire::Expected;
use bytes::Bytes;
use cache::{Cache, CollectionType, Key, Sought};
use paxos::{NodeId, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a ticket is filled with when there is something to try.
pub(crate) const READY: &[u8] = b"+READY\r\n";
/// Time between two tellings of all waits, us.
const TELL_US: u64 = 1_000_000;
/// A caller that was called and of which nothing is heard for so long does not stand in the others' way, us.
const CALLED_US: u64 = 1_000_000;
/// Callers of which nothing is heard for so long are gone, us.
const SILENCE_US: u64 = 5_000_000;
/// Callers of one shard. More are not kept: they try again each second, when they are told again.
const CALLERS_MAX: usize = 65_536;
/// Keys that one request waits for, a long one counted as [`weight_of`] says. More are refused.
pub(crate) const WAITS_PER_REQUEST_MAX: usize = 4096;
/// The same of all connections of one node: some 100 MB with all that hangs on them.
const WAITS_MAX: usize = 262_144;
/// Ends that nobody was told, as nobody leads, are forgotten beyond so many: a leader forgets those of whom it hears nothing.
const ENDED_MAX: usize = 65_536;
/// Waits of one message.
pub(crate) const EXPECTED_MAX: usize = 1024;

/// For how many waits one at this key counts: one more for each whole KiB of it.
pub(crate) fn weight_of(key: &[u8]) -> usize {
    1 + key.len() / 1024
}

/// How much connections of this node wait for, all shards together: at most [`WAITS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct WaitsCount(AtomicUsize);

impl WaitsCount {
    /// Takes so many, if there is room for them.
    pub fn admit(&self, count: usize) -> bool {
        let more = |present: usize| Some(present + count).filter(|sum| *sum <= WAITS_MAX);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    /// Gives so many back.
    pub fn release(&self, count: usize) {
        let before = self.0.fetch_sub(count, Ordering::Relaxed);
        assert!(
            before >= count,
            "{count} waits end where there are {before}"
        );
    }
}

/// One connection's wait at one key.
#[derive(Debug)]
struct Wait {
    db: u8,
    sought: Sought,
    key: Bytes,
    ticket: Ticket,
}

/// What connections of this node wait for at one shard, by number.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    waits: BTreeMap<u64, Wait>,
    last_number: u64,
    /// Waits to be told with the next message; numbers that are over meanwhile may be among them.
    untold: Vec<u64>,
    /// Waits that are over, of which that is to be told.
    ended: Vec<u64>,
    /// Whom they were told.
    leader: Option<NodeId>,
    tell_all_at_us: u64,
}

impl Waits {
    /// Whether there is nothing to do.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.waits.is_empty() && self.ended.is_empty()
    }

    /// When a tick does something, us.
    pub fn wake_us(&self) -> u64 {
        match (
            self.is_idle(),
            self.untold.is_empty() && self.ended.is_empty(),
        ) {
            (true, _) => u64::MAX,
            (false, true) => self.tell_all_at_us,
            (false, false) => 0,
        }
    }

    /// A connection waits; returns the wait's number.
    pub fn begin(&mut self, db: u8, sought: Sought, key: Bytes, ticket: Ticket) -> u64 {
        self.last_number += 1;
        let wait = Wait {
            db,
            sought,
            key,
            ticket,
        };
        self.waits.insert(self.last_number, wait);
        self.untold.push(self.last_number);
        self.last_number
    }

    /// It tried and got nothing: it goes on waiting, and is told by this ticket.
    pub fn again(&mut self, number: u64, ticket: Ticket) {
        if let Some(wait) = self.waits.get_mut(&number) {
            wait.ticket = ticket;
            self.untold.push(number);
        }
    }

    /// It waits no more.
    pub fn end(&mut self, number: u64) {
        if self.waits.remove(&number).is_some() {
            self.ended.push(number);
        }
    }

    /// There is something for it.
    pub fn ready(&self, number: u64) {
        if let Some(wait) = self.waits.get(&number) {
            wait.ticket.fill(READY);
        }
    }

    fn expected(&self, number: u64) -> Option<Expected> {
        self.waits.get(&number).map(|wait| Expected {
            number,
            db: wait.db,
            sought: wait.sought.clone(),
            key: wait.key.clone(),
        })
    }

    /// What is to be told to `leader` now: waits, and numbers of such as are over. Nothing if nobody leads.
    pub fn take_untold(
        &mut self,
        leader: Option<NodeId>,
        now_us: u64,
    ) -> (Vec<Expected>, Vec<u64>) {
        if leader.is_none() {
            self.tell_all_at_us = now_us + TELL_US;
            self.leader = None;
            // Whoever leads next is told all.
            self.untold.clear();
            if self.ended.len() > ENDED_MAX {
                self.ended.clear();
            }
            return Default::default();
        }
        let is_new = self.leader != leader;
        self.leader = leader;
        if is_new || now_us >= self.tell_all_at_us {
            self.tell_all_at_us = now_us + TELL_US;
            self.untold = self.waits.keys().copied().collect();
        }
        let untold = std::mem::take(&mut self.untold);
        let waits = untold
            .into_iter()
            .filter_map(|number| self.expected(number));
        (waits.collect(), std::mem::take(&mut self.ended))
    }

    /// Tells all again at the next tick: what was sent may be lost.
    pub fn tell_again(&mut self) {
        self.tell_all_at_us = 0;
    }
}

/// Who waits, as the leader knows it.
#[derive(Debug)]
struct Caller {
    origin: ReplicaId,
    number: u64,
    heard_us: u64,
    /// When it was called, if it was and has not said anything since, us.
    called_us: Option<u64>,
}

/// Who waits at one key for the same, by the order in which they came.
///
/// Invariant: each caller is in just one of `fresh` (never called since it last spoke), `coming` and `late`; the latter two
/// have it under when it was called. So whom to call next is found without a look at those who are not.
#[derive(Debug, Default)]
struct Queue {
    callers: BTreeMap<u64, Caller>,
    fresh: BTreeSet<u64>,
    /// Called less than [`CALLED_US`] ago.
    coming: BTreeSet<(u64, u64)>,
    /// Called before that, and they did not come.
    late: BTreeSet<(u64, u64)>,
}

impl Queue {
    fn add(&mut self, order: u64, caller: Caller) {
        self.callers.insert(order, caller);
        self.fresh.insert(order);
    }

    /// It waits still.
    fn hear(&mut self, order: u64, now_us: u64) {
        let caller = self.callers.get_mut(&order).expect("its place");
        caller.heard_us = now_us;
        if let Some(called_us) = caller.called_us.take() {
            let _ =
                self.coming.remove(&(called_us, order)) || self.late.remove(&(called_us, order));
            self.fresh.insert(order);
        }
    }

    fn remove(&mut self, order: u64) {
        match self.callers.remove(&order).and_then(|one| one.called_us) {
            Some(called_us) => {
                let called = (called_us, order);
                let _ = self.coming.remove(&called) || self.late.remove(&called);
            }
            None => {
                self.fresh.remove(&order);
            }
        }
    }

    /// Calls the first ones, so many that there is one of `items` for each who was called. Those who did not come when they
    /// were called come behind, the longest ago first. O(log n) for each who is called, or whose time to come is over.
    fn call(&mut self, items: usize, now_us: u64) -> Vec<(ReplicaId, u64)> {
        while let Some(&first) = self.coming.first()
            && first.0 + CALLED_US <= now_us
        {
            self.coming.remove(&first);
            self.late.insert(first);
        }
        let mut called = Vec::new();
        while self.coming.len() < items {
            let late = |queue: &mut Queue| queue.late.pop_first().map(|(_, order)| order);
            let Some(order) = self.fresh.pop_first().or_else(|| late(self)) else {
                break;
            };
            let caller = self.callers.get_mut(&order).expect("its place");
            caller.called_us = Some(now_us);
            self.coming.insert((now_us, order));
            called.push((caller.origin, caller.number));
        }
        called
    }
}

/// What a queue is for.
type Place = (u8, Bytes, Sought);

/// Those who wait at one shard, as its leader knows them.
///
/// Invariants:
/// - `places` names every caller once, with its queue and its place in it;
/// - `fresh` names the queues that have somebody who was not called;
/// - the cache takes note of just the keys that have a queue.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    queues: BTreeMap<Place, Queue>,
    places: BTreeMap<(ReplicaId, u64), (Place, u64)>,
    fresh: BTreeSet<Place>,
    last_order: u64,
    look_at_us: u64,
    /// The latest time that was told.
    known_us: u64,
}

fn place_of(db: u8, key: &[u8], sought: Sought) -> Place {
    (db, Bytes::copy_from_slice(key), sought)
}

/// What comes first of all that is sought at a key.
const SOUGHT_FIRST: Sought = Sought::Any(CollectionType::Hash);

impl Callers {
    /// Whether nobody waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The latest time that was told, us: at most a second old while anybody waits.
    pub fn known_us(&self) -> u64 {
        self.known_us
    }

    /// When a tick does something, us.
    pub fn wake_us(&self) -> u64 {
        match self.is_empty() {
            true => u64::MAX,
            false => self.look_at_us,
        }
    }

    /// Somebody waits, or waits still. Returns who is to be called.
    pub fn expect(
        &mut self,
        cache: &mut Cache,
        origin: ReplicaId,
        wait: &Expected,
        now_us: u64,
    ) -> Vec<(ReplicaId, u64)> {
        self.known_us = self.known_us.max(now_us);
        let place = place_of(wait.db, &wait.key, wait.sought.clone());
        if let Some((there, order)) = self.places.get(&(origin, wait.number)) {
            let queue = self.queues.get_mut(there).expect("its queue");
            queue.hear(*order, now_us);
            self.fresh.insert(there.clone());
        } else if self.places.len() < CALLERS_MAX {
            if self.is_empty() {
                self.look_at_us = now_us + CALLED_US;
            }
            self.last_order += 1;
            let caller = Caller {
                origin,
                number: wait.number,
                heard_us: now_us,
                called_us: None,
            };
            cache.await_key(wait.db, &wait.key);
            let queue = self.queues.entry(place.clone()).or_default();
            queue.add(self.last_order, caller);
            self.fresh.insert(place.clone());
            let id = (origin, wait.number);
            self.places.insert(id, (place.clone(), self.last_order));
        }
        self.call(cache, &place, now_us)
    }

    /// A wait is over. Returns who is to be called in its place.
    pub fn end(
        &mut self,
        cache: &mut Cache,
        origin: ReplicaId,
        number: u64,
        now_us: u64,
    ) -> Vec<(ReplicaId, u64)> {
        match self.remove(cache, origin, number) {
            Some(place) => self.call(cache, &place, now_us),
            None => Vec::new(),
        }
    }

    fn remove(&mut self, cache: &mut Cache, origin: ReplicaId, number: u64) -> Option<Place> {
        let (place, order) = self.places.remove(&(origin, number))?;
        let queue = self.queues.get_mut(&place).expect("its queue");
        queue.remove(order);
        if queue.fresh.is_empty() {
            self.fresh.remove(&place);
        }
        if queue.callers.is_empty() {
            self.queues.remove(&place);
            let (db, key, _) = &place;
            if self.places_at(*db, key).next().is_none() {
                cache.forget_awaited(*db, key);
            }
        }
        Some(place)
    }

    /// All that is waited for at a key.
    fn places_at(&self, db: u8, key: &[u8]) -> impl Iterator<Item = &Place> {
        let places = self.queues.range(place_of(db, key, SOUGHT_FIRST)..);
        let places = places.map(|(place, _)| place);
        places.take_while(move |place| place.0 == db && place.1 == key)
    }

    /// Keys that somebody waits for were written to. Returns who is to be called. Queues in which all were called are passed
    /// over without a look: who does not come is called again by [`Callers::tick`].
    pub fn written(&mut self, cache: &mut Cache, now_us: u64) -> Vec<(ReplicaId, u64)> {
        let mut called = Vec::new();
        for (db, key) in cache.take_awaited() {
            let places = self.fresh.range(place_of(db, &key, SOUGHT_FIRST)..);
            let places = places.take_while(|place| place.0 == db && *place.1 == *key);
            let places: Vec<Place> = places.cloned().collect();
            for place in places {
                called.extend(self.call(cache, &place, now_us));
            }
        }
        called
    }

    /// Calls the first ones at a key, so many that there is an item for each who was called.
    fn call(&mut self, cache: &Cache, place: &Place, now_us: u64) -> Vec<(ReplicaId, u64)> {
        // A write comes with the time that was told last.
        self.known_us = self.known_us.max(now_us);
        let Some(queue) = self.queues.get_mut(place) else {
            return Vec::new();
        };
        let key = Key::new(cache.seed(), place.0, &place.1);
        let called = match cache.found_len(key, &place.2) {
            0 => return Vec::new(),
            items => queue.call(items, self.known_us),
        };
        if queue.fresh.is_empty() {
            self.fresh.remove(place);
        }
        called
    }

    /// Time went by: who is silent is forgotten, who did not come makes room. Returns who is to be called.
    pub fn tick(&mut self, cache: &mut Cache, now_us: u64) -> Vec<(ReplicaId, u64)> {
        if self.is_empty() || now_us < self.look_at_us {
            return Vec::new();
        }
        self.look_at_us = now_us + CALLED_US;
        self.known_us = self.known_us.max(now_us);
        let silent: Vec<(ReplicaId, u64)> = self
            .queues
            .values()
            .flat_map(|queue| queue.callers.values())
            .filter(|caller| now_us.saturating_sub(caller.heard_us) > SILENCE_US)
            .map(|caller| (caller.origin, caller.number))
            .collect();
        for (origin, number) in silent {
            self.remove(cache, origin, number);
        }
        let places: Vec<Place> = self.queues.keys().cloned().collect();
        let called = places
            .iter()
            .flat_map(|place| self.call(cache, place, now_us));
        called.collect()
    }

    /// Another one leads, or nobody: whoever waits tells it.
    pub fn clear(&mut self, cache: &mut Cache) {
        for (db, key, _) in self.queues.keys() {
            cache.forget_awaited(*db, key);
        }
        cache.take_awaited();
        *self = Callers::default();
    }
}

#[cfg(test)]
mod tests;
