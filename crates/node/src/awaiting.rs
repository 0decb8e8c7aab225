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
use std::collections::BTreeMap;

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
/// Waits of one message.
pub(crate) const EXPECTED_MAX: usize = 1024;

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

/// Who waits at one key for the same; by the order in which they came.
type Queue = BTreeMap<u64, Caller>;
/// What a queue is for.
type Place = (u8, Bytes, Sought);

/// Those who wait at one shard, as its leader knows them.
///
/// Invariants:
/// - `places` names every caller once, with its queue and its place in it;
/// - the cache takes note of just the keys that have a queue.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    queues: BTreeMap<Place, Queue>,
    places: BTreeMap<(ReplicaId, u64), (Place, u64)>,
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
            let caller = queue.get_mut(order).expect("its place");
            (caller.heard_us, caller.called_us) = (now_us, None);
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
            queue.insert(self.last_order, caller);
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
        queue.remove(&order);
        if queue.is_empty() {
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

    /// Keys that somebody waits for were written to. Returns who is to be called.
    pub fn written(&mut self, cache: &mut Cache, now_us: u64) -> Vec<(ReplicaId, u64)> {
        let mut called = Vec::new();
        for (db, key) in cache.take_awaited() {
            let places: Vec<Place> = self.places_at(db, &key).cloned().collect();
            for place in places {
                called.extend(self.call(cache, &place, now_us));
            }
        }
        called
    }

    /// Calls the first ones at a key, so many that there is an item for each who was called.
    fn call(&mut self, cache: &Cache, place: &Place, now_us: u64) -> Vec<(ReplicaId, u64)> {
        let Some(queue) = self.queues.get_mut(place) else {
            return Vec::new();
        };
        let key = Key::new(cache.seed(), place.0, &place.1);
        let items = cache.found_len(key, &place.2);
        if items == 0 {
            return Vec::new();
        }
        let is_coming = |caller: &Caller| {
            caller
                .called_us
                .is_some_and(|at| now_us.saturating_sub(at) < CALLED_US)
        };
        let coming = queue.values().filter(|caller| is_coming(caller)).count();
        let called_max = items.saturating_sub(coming);
        let mut called = Vec::new();
        let mut take = |caller: &mut Caller| {
            caller.called_us = Some(now_us);
            called.push((caller.origin, caller.number));
        };
        let fresh = queue.values_mut().filter(|one| one.called_us.is_none());
        let fresh_count = fresh.take(called_max).map(&mut take).count();
        if fresh_count < called_max {
            // Those who did not come when they were called come behind, the longest ago first.
            let is_late = |one: &&mut Caller| one.called_us.is_some() && !is_coming(one);
            let mut late: Vec<&mut Caller> = queue.values_mut().filter(is_late).collect();
            late.sort_by_key(|one| one.called_us);
            let late = late.into_iter().take(called_max - fresh_count);
            late.for_each(take);
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
            .flat_map(Queue::values)
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
mod tests {
    use super::*;
    use cache::{List, Vacant};
    use paxos::Incarnation;

    fn of(node: u32) -> ReplicaId {
        ReplicaId {
            node: NodeId(node),
            incarnation: Incarnation(1),
        }
    }

    fn wait(number: u64) -> Expected {
        Expected {
            number,
            db: 0,
            sought: Sought::Any(CollectionType::List),
            key: Bytes::from_static(b"k"),
        }
    }

    fn push(cache: &mut Cache) {
        let key = Key::new(cache.seed(), 0, b"k");
        let change = |list: &mut List| (list.push_back(b"x"), cache::Changed::Yes);
        cache
            .edit_collection(key, Vacant::Make, change)
            .expect("a list");
    }

    // Breaks if a caller that does not come, as its node is gone, is called again and again while others wait behind it.
    #[test]
    fn who_does_not_come_lets_the_next_one_pass() {
        let (mut cache, mut callers) = (Cache::new(1), Callers::default());
        for node in [1, 2, 3] {
            let called = callers.expect(&mut cache, of(node), &wait(7), 10);
            assert_eq!(called, []);
        }
        push(&mut cache);
        assert_eq!(callers.written(&mut cache, 20), [(of(1), 7)]);
        let mut now_us = 20;
        for next in [2, 3, 1] {
            now_us += CALLED_US + 20;
            assert_eq!(callers.tick(&mut cache, now_us), [(of(next), 7)]);
        }
        // Who says that it is there has its old place.
        assert_eq!(
            callers.expect(&mut cache, of(1), &wait(7), now_us),
            [(of(1), 7)]
        );
    }
}
