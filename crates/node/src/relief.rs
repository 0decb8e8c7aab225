//! Eviction: who makes room, in which shard, and how it is decided.
//!
//! A shard that nobody else holds evicts on the spot. Else its leader decides and proposes the decision as an entry; what
//! it will free counts as free at once, so that nobody evicts twice for the same need. One decision a shard is under way
//! at a time. A node that leads nothing of what fills it asks those who do (`NodeBeat::needs_room_bytes`).

use crate::group::{Mode, locks_by_database};
use crate::host::Now;
use crate::lock_memory::LockOverflow;
use crate::node::{Node, ShardGuard};
use cache::Policy;
use paxos::{GroupId, NodeId};
use resp::OwnedArgs;
use smallvec::SmallVec;
use std::sync::atomic::Ordering;

/// Largest count of keys that one eviction entry names.
const VICTIMS_MAX: usize = 64;
/// Keys that one call of [`Node::relieve`] evicts: about a millisecond's work.
const RELIEF_KEYS_MAX: usize = 2048;
/// Rounds of an eviction in a row that found the chosen keys gone or pinned before it gives up.
const FUTILE_ROUNDS_MAX: usize = 64;
/// Largest count of keys of a decision that is replicated: more than one, as the next waits for its outcome.
const REPLICATED_VICTIMS_MAX: usize = 1024;

impl Node {
    /// Evicts, if need be, until the budget holds with two steps to spare, but no more than about a millisecond's work: what is missing then
    /// (the limit was lowered, or large values came in for small ones) is left to the next calls. No shard may be
    /// locked by the caller.
    pub fn relieve(&self, now: Now) -> Room {
        self.relieve_for(now, 0)
    }

    /// As [`Node::relieve`] for a write of `bytes`, which makes room for at least twice as much: however fast writes
    /// come, eviction is faster.
    pub fn relieve_for(&self, now: Now, bytes: u64) -> Room {
        if self.budget.missing() == 0 {
            return Room::Enough;
        }
        let room = self.make_room(now, bytes);
        self.cluster.set_full(room == Room::None);
        room
    }

    fn make_room(&self, now: Now, bytes: u64) -> Room {
        // What shards hold and do not use comes first.
        for shard in 0..self.shards_count() {
            let mut guard = self.lock(shard);
            let used = guard.cache.used_bytes() as u64;
            self.budget.give_back(used, &mut guard.grant);
        }
        let policy = self.policy();
        let mut futile = 0;
        let (mut keys, mut freed) = (0, 0);
        while self.budget.wanted() > 0 && (keys < RELIEF_KEYS_MAX || freed < 2 * bytes) {
            let shard = match policy {
                Policy::NoEviction => None,
                Policy::AllKeysLru | Policy::VolatileLru => {
                    self.coldest_shard(policy, Need::Own, now)
                }
                Policy::AllKeysRandom | Policy::VolatileRandom | Policy::VolatileTtl => {
                    self.drawn_shard(policy)
                }
            };
            let Some(shard) = shard else {
                return self.room();
            };
            let wanted = self.budget.wanted();
            let (evicted, evicted_bytes) = self.evict_in(shard, policy, wanted, now);
            keys += evicted;
            freed += evicted_bytes;
            if evicted > 0 {
                futile = 0;
            } else if futile < FUTILE_ROUNDS_MAX {
                futile += 1;
            } else {
                return self.room();
            }
        }
        // What may still be missing can be had.
        Room::Enough
    }

    /// Whether the budget holds as it is, or will: leaders elsewhere evict for whoever asks them.
    fn room(&self) -> Room {
        let is_elsewhere = |shard: usize| {
            self.mode(shard) == Mode::Grouped
                && self.cluster.leader(GroupId(shard as u32 + 1)) != Some(self.cluster.me.node)
        };
        let others_can =
            || self.policy() != Policy::NoEviction && (0..self.shards_count()).any(is_elsewhere);
        if self.budget.missing() == 0 || others_can() {
            Room::Enough
        } else {
            Room::None
        }
    }

    /// Makes room for a lock of `bytes`: what comes of that is the operator's choice. At most [`VICTIMS_MAX`] locks go at a
    /// time, in the shard whose locks take most. No shard may be locked by the caller.
    pub(crate) fn relieve_locks(&self, now: Now, bytes: u64) -> Room {
        let locks = &self.budget.locks;
        if locks.missing_for(bytes) == 0 {
            return Room::Enough;
        }
        if locks.overflow() == LockOverflow::Refuse || bytes > locks.limit() {
            return Room::None;
        }
        let largest = (0..self.shards_count())
            .filter_map(|shard| {
                let guard = self.lock(shard);
                let bytes = guard.cache.pinned_bytes();
                (bytes > 0 && guard.may_evict(Need::Own)).then_some((bytes, shard))
            })
            .max();
        // Where others decide, or have decided already, the lock is given all the same: eviction follows.
        let Some((_, shard)) = largest else {
            return Room::Enough;
        };
        let stamp = self.stamp(now);
        let mut guard = self.lock(shard);
        // A step ahead, so that not every grant evicts.
        let wanted = locks.missing_for(bytes) + self.budget.step();
        let victims = guard.cache.lock_victims(wanted as usize, VICTIMS_MAX);
        if guard.mode() == Mode::Grouped {
            guard.decide_lock_eviction(&victims, &self.budget);
            drop(guard);
            self.mark_dirty(shard);
            self.request_flush();
            return Room::Enough;
        }
        let mut evicted = 0;
        for (db, args) in locks_by_database(&victims) {
            evicted += guard.commit_evict_locks(db, stamp, args.args());
        }
        guard.settle(&self.budget);
        self.tell_evicted(guard, evicted, now);
        Room::Enough
    }

    /// Lets a shard go from which keys were evicted on the spot, counts them and tells who watches them.
    fn tell_evicted(&self, mut guard: ShardGuard<'_>, evicted: usize, now: Now) {
        let changes = guard.take_changes();
        drop(guard);
        self.stats
            .evicted_keys
            .fetch_add(evicted as u64, Ordering::Relaxed);
        self.publish_changes(changes, None, now);
    }

    /// Tells the operator, once, that locks take nearly all of the memory that they may.
    pub(crate) fn warn_of_locks(&self) {
        let locks = &self.budget.locks;
        if locks.begins_to_be_short() {
            tracing::warn!(
                bytes = locks.used(),
                limit_bytes = locks.limit(),
                "locks take 80 % of the memory that they may (lock-memory); beyond it lock-overflow says what becomes of them"
            );
        }
    }

    /// Another node is over its budget by `bytes`: evicts this node's share of them in what it leads and the other holds.
    pub(crate) fn relieve_other(&self, other: NodeId, bytes: u64, now: Now) {
        let policy = self.policy();
        let nodes_count = self.cluster.peers.all().len() as u64 + 1;
        let share = bytes.div_ceil(nodes_count) + self.budget.step();
        let (mut keys, mut freed) = (0, 0);
        while policy != Policy::NoEviction && freed < share && keys < RELIEF_KEYS_MAX {
            let Some(shard) = self.coldest_shard(policy, Need::Of(other), now) else {
                return;
            };
            let (evicted, evicted_bytes) = self.evict_in(shard, policy, share - freed, now);
            if evicted == 0 {
                return;
            }
            keys += evicted;
            freed += evicted_bytes;
        }
    }

    /// The shard whose next victim was used longest ago; none if nothing may go.
    ///
    /// What a shard last told of its victim's age can only have grown since, as accesses and new keys are younger; so
    /// the one that told the oldest is asked again, and is right if its answer is still the oldest.
    fn coldest_shard(&self, policy: Policy, need: Need, now: Now) -> Option<usize> {
        let mut empty: SmallVec<[usize; 64]> = SmallVec::new();
        // Each round but the last corrects one shard's word; under other threads' accesses the last one's is taken.
        for round in 0..=self.shards_count() {
            let told = |shard: &usize| self.told_coldest(*shard);
            let candidates = (0..self.shards_count()).filter(|shard| !empty.contains(shard));
            let shard = candidates.min_by_key(told)?;
            let told = told(&shard);
            let guard = self.lock(shard);
            if !guard.may_evict(need) {
                empty.push(shard);
                continue;
            }
            let coldest_ms = guard.cache.coldest_ms(policy);
            drop(guard);
            match coldest_ms {
                Some(really) if really <= told || round == self.shards_count() => {
                    return Some(shard);
                }
                Some(really) => self.tell_coldest(shard, really),
                None => {
                    // Whatever comes into it from now on is younger than this.
                    self.tell_coldest(shard, now.log_ms);
                    empty.push(shard);
                }
            }
        }
        None
    }

    /// A shard by lot, as likely as it has keys that `policy` looks at; none if nothing may go.
    fn drawn_shard(&self, policy: Policy) -> Option<usize> {
        let volatile_only = matches!(policy, Policy::VolatileRandom | Policy::VolatileTtl);
        let keys_count = |shard| {
            let guard = self.lock(shard);
            let cache = &guard.cache;
            if !guard.may_evict(Need::Own) || cache.coldest_ms(policy).is_none() {
                return 0; // others decide, or all of its keys are pinned, or it has none
            }
            (0..16)
                .map(|db| match volatile_only {
                    true => cache.expiring_len(db),
                    false => cache.len(db),
                })
                .sum::<usize>() as u64
        };
        let counts: SmallVec<[u64; 64]> = (0..self.shards_count()).map(keys_count).collect();
        let mut lot = self.host.random().checked_rem(counts.iter().sum::<u64>())?;
        counts.iter().position(|count| {
            let hit = lot < *count;
            lot = lot.saturating_sub(*count);
            hit
        })
    }

    /// Evicts about one step's bytes in one shard, as entries of its log; returns how many keys and bytes went, or will.
    fn evict_in(&self, shard: usize, policy: Policy, wanted: u64, now: Now) -> (usize, u64) {
        let stamp = self.stamp(now);
        let mut guard = self.lock(shard);
        if guard.mode() == Mode::Grouped {
            let random = stamp.random;
            let victims = guard.cache.victims(
                policy,
                wanted.max(1) as usize,
                REPLICATED_VICTIMS_MAX,
                random,
            );
            let bytes = guard.decide_eviction(&victims, &self.budget);
            drop(guard);
            self.mark_dirty(shard);
            self.request_flush();
            return (victims.len(), bytes);
        }
        let before = guard.cache.used_bytes() as u64;
        let wanted = wanted.max(1).min(self.budget.step().max(4096)) as usize;
        let victims = guard
            .cache
            .victims(policy, wanted, VICTIMS_MAX, stamp.random);
        let mut evicted = 0;
        for db in 0..16u8 {
            let keys: Vec<&[u8]> = victims
                .iter()
                .filter(|victim| victim.db == db)
                .map(|victim| &*victim.key)
                .collect();
            if !keys.is_empty() {
                evicted += guard.commit_evict(db, stamp, OwnedArgs::from_slices(&keys).args());
            }
        }
        let used = guard.cache.used_bytes() as u64;
        self.budget.give_back(used, &mut guard.grant);
        let coldest_ms = guard.cache.coldest_ms(policy).unwrap_or(now.log_ms);
        self.tell_coldest(shard, coldest_ms);
        self.tell_evicted(guard, evicted, now);
        (evicted, before.saturating_sub(used))
    }
}

/// Who is over its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// This node.
    Own,
    /// Another, which holds some of the shards too.
    Of(NodeId),
}

/// Outcome of [`Node::relieve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// The budget holds.
    Enough,
    /// It does not, and nothing may be evicted.
    None,
}
