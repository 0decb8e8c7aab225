//! What followers are told of recency. Reads happen at a shard's leader alone, so nobody else knows what is used; when
//! the leader fails, its heir would evict by the order of writes, hot keys that are only read first.
//!
//! With each beat a leader tells the other members of some of its shards which keys were used last: a sample, since what is
//! used more often is more often among them. It is bounded, it may get lost, and nothing but the order of evictions,
//! which leaders alone decide on, comes of it.

use crate::group::Mode;
use crate::host::Now;
use crate::node::Node;
use crate::shard::Shard;
use crate::wire::{PeerMessage, Touched};
use bytes::Bytes;
use cache::{Key, Policy};
use paxos::{GroupId, NodeId, ReplicaId};
use std::ops::ControlFlow;

/// Bytes of keys that a node tells with a beat, to each follower: 480 KiB a second.
const BEAT_BYTES_MAX: usize = 24 << 10;
/// Bytes of keys that it tells of one shard with a beat.
const SHARD_BYTES_MAX: usize = 2 << 10;
/// What a key costs beside its bytes.
const KEY_OVERHEAD_BYTES: usize = 5;
/// Longer keys are not told.
const KEY_BYTES_MAX: usize = 512;
/// Keys of one message that are heard: more than a sound one has.
const KEYS_MAX: usize = SHARD_BYTES_MAX / KEY_OVERHEAD_BYTES;

impl Node {
    /// Tells the other members of the shards led here what was used since the last time. `turn` counts beats: where there
    /// is more to tell than is told, each shard has its turn.
    pub(crate) fn send_hints(&self, turn: u64, now: Now) {
        let by_recency = match self.policy() {
            Policy::AllKeysLru | Policy::VolatileLru => true,
            Policy::NoEviction
            | Policy::AllKeysRandom
            | Policy::VolatileRandom
            | Policy::VolatileTtl => false,
        };
        // As long as nobody is near to evicting, what is used later decides.
        if !by_recency || !self.budget.is_half_used() {
            return;
        }
        let count = self.shards_count();
        let mut left = BEAT_BYTES_MAX;
        for nth in 0..count {
            let shard = (turn as usize + nth) % count;
            let group = GroupId(shard as u32 + 1);
            let leads = self.cluster.leader(group) == Some(self.cluster.me.node);
            if self.mode(shard) == Mode::Solo || !leads {
                continue;
            }
            let Some((touched, to)) = self.lock(shard).hint(now) else {
                continue;
            };
            left = left.saturating_sub(touched.keys.iter().map(|(_, key)| cost(key)).sum());
            let message = PeerMessage::Touched(touched);
            for node in to {
                self.cluster.peers.send(node, &message);
            }
            if left == 0 {
                return;
            }
        }
    }

    /// A shard's leader tells what was used there.
    pub(crate) fn on_touched(&self, from: ReplicaId, touched: &Touched, now: Now) {
        let mut guard = self.lock(touched.group.0 as usize - 1);
        guard.take_hint(from, touched, now);
    }
}

fn cost(key: &[u8]) -> usize {
    key.len() + KEY_OVERHEAD_BYTES
}

impl Shard {
    /// A leader's: what was used since it was asked last, latest last, and whom to tell.
    fn hint(&mut self, now: Now) -> Option<(Touched, Vec<NodeId>)> {
        let replica = &self.group.replica;
        if now.monotonic_us >= replica.lease_until() {
            return None;
        }
        let config = replica.config();
        let members = config.voters.iter().chain(&config.learners);
        let mut to: Vec<NodeId> = members.map(|member| member.node).collect();
        to.sort_unstable();
        to.dedup();
        to.retain(|node| *node != self.group.me.node);
        let told_ms = std::mem::replace(&mut self.group.hinted_ms, self.cache.used_ms());
        let (mut keys, mut left) = (Vec::new(), SHARD_BYTES_MAX);
        self.cache.visit_hottest(|db, key, used_ms| {
            if used_ms <= told_ms || cost(key) > left {
                return ControlFlow::Break(());
            }
            if key.len() <= KEY_BYTES_MAX {
                left -= cost(key);
                keys.push((db, Bytes::copy_from_slice(key)));
            }
            ControlFlow::Continue(())
        });
        if keys.is_empty() || to.is_empty() {
            return None;
        }
        keys.reverse();
        let touched = Touched {
            group: self.group.id,
            log_ms: self.cache.used_ms(),
            keys,
        };
        Some((touched, to))
    }

    /// A follower's: what its leader's clients used.
    fn take_hint(&mut self, from: ReplicaId, touched: &Touched, now: Now) {
        let replica = &self.group.replica;
        if replica.is_leader() || replica.leader() != Some(from) {
            return;
        }
        // No further ahead than what the leader is known to have said of its time, a beat ago.
        let known_ms = replica.log_ms(now.monotonic_us) + 1000;
        let seed = self.cache.seed();
        self.cache.set_used(touched.log_ms.min(known_ms));
        for (db, key) in touched.keys.iter().take(KEYS_MAX) {
            self.cache.note_use(Key::new(seed, *db, key));
        }
    }
}
