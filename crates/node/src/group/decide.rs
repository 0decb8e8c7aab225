//! What a leader decides by itself and has the group agree on: evictions, whose writes to forget, refusals.

use super::apply::replica_bytes;
use super::op::{OpFlags, OpHead, OpKind, encode};
use super::origins::life_of;
use super::{Mode, Work};
use crate::entry::DATABASES;
use crate::memory::Budget;
use crate::relief::Need;
use crate::shard::Shard;
use cache::{Key, LockVictim, Victim};
use paxos::ReplicaId;
use resp::OwnedArgs;

/// Bytes of decisions that wait; what does not fit is decided again later.
const DECISIONS_BYTES_MAX: usize = 4 << 20;

/// The head of an operation that has nothing but arguments.
fn plain_head(kind: OpKind, db: u8, seq: u64) -> OpHead {
    OpHead {
        kind,
        db,
        flags: OpFlags::NONE,
        seq,
        after: 0,
    }
}

/// Locks that are to go, as the arguments of an eviction, by numbered database.
pub(crate) fn locks_by_database(
    victims: &[LockVictim],
) -> impl Iterator<Item = (u8, OwnedArgs)> + '_ {
    (0..DATABASES).filter_map(|db| {
        let of_db = victims.iter().filter(|victim| victim.db == db);
        let parts: Vec<Vec<u8>> = of_db
            .flat_map(|victim| [victim.key.to_vec(), victim.fence.to_le_bytes().to_vec()])
            .collect();
        let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
        (!parts.is_empty()).then(|| (db, OwnedArgs::from_slices(&parts)))
    })
}

/// A refusal in place of the write with this number.
pub(super) fn refused(seq: u64, reply: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let head = plain_head(OpKind::Refused, 0, seq);
    encode(&mut bytes, head, [reply].into_iter());
    bytes
}

impl Shard {
    /// Whether this node may evict here, for `need`.
    pub(crate) fn may_evict(&self, need: Need) -> bool {
        let group = &self.group;
        let config = group.replica.config();
        let is_held = |node| {
            let mut members = config.voters.iter().chain(&config.learners);
            members.any(|member| member.node == node)
        };
        let is_asked = match need {
            Need::Own => true,
            Need::Of(node) => is_held(node),
        };
        let leads = group.replica.is_leader() && group.expected_bytes == 0;
        is_asked && (self.mode() == Mode::Solo || leads)
    }

    /// Has the group agree that `victims` go; returns the bytes that this frees, about. Nothing is done at a node that
    /// does not lead.
    pub(crate) fn decide_eviction(&mut self, victims: &[Victim], budget: &Budget) -> u64 {
        if !self.may_evict(Need::Own) {
            return 0;
        }
        let (seed, mut bytes) = (self.cache.seed(), 0);
        for db in 0..DATABASES {
            let of_db = victims.iter().filter(|victim| victim.db == db);
            let keys: Vec<&[u8]> = of_db.map(|victim| &*victim.key).collect();
            // What has no room is not under way, and nobody is to wait for it.
            if !keys.is_empty() && self.decide(OpKind::Evict, db, &keys) {
                let keys = keys.iter().map(|key| Key::new(seed, db, key));
                let of_db = keys.filter_map(|key| self.cache.entry_bytes(key));
                bytes += of_db.sum::<usize>() as u64;
            }
        }
        self.group.expected_bytes = bytes;
        budget.expect(bytes);
        bytes
    }

    /// Has the group agree that locks go; returns the bytes that this frees. Nothing is done at a node that does not lead.
    pub(crate) fn decide_lock_eviction(&mut self, victims: &[LockVictim], budget: &Budget) -> u64 {
        if !self.may_evict(Need::Own) {
            return 0;
        }
        let mut bytes = 0;
        for (db, args) in locks_by_database(victims) {
            if self.group.decisions.len() < DECISIONS_BYTES_MAX {
                let of_db = victims.iter().filter(|victim| victim.db == db);
                bytes += of_db.map(|victim| victim.bytes as u64).sum::<u64>();
                let head = OpHead {
                    flags: OpFlags::LOCKS,
                    ..plain_head(OpKind::Evict, db, 0)
                };
                encode(&mut self.group.decisions, head, args.args().iter());
                self.group.decisions_count += 1;
            }
        }
        self.group.expected_bytes = bytes;
        budget.expect(bytes);
        bytes
    }

    /// Has the group forget the writes of replicas whose life is over, of which `is_over` tells, and of starts that others
    /// followed.
    pub(crate) fn forget_origins(
        &mut self,
        is_over: &dyn Fn(ReplicaId) -> bool,
        work: &mut Work<'_>,
    ) {
        let forwarded = &mut self.group.forwarded;
        forwarded.forget_reads(&|origin| is_over(life_of(origin)));
        if !self.group.replica.is_leader() || !self.group.decisions.is_empty() {
            return;
        }
        if self.forget_lock_origins(is_over, work.lock_delay_ms) {
            work.cluster.mark_dirty(self.index());
        }
        let over: Vec<[u8; 12]> = self
            .origins
            .iter()
            .filter(|(origin, _)| is_over(life_of(*origin)) || self.origins.is_over(*origin))
            .map(|(origin, _)| replica_bytes(origin))
            .collect();
        if !over.is_empty() {
            let over: Vec<&[u8]> = over.iter().map(|bytes| &bytes[..]).collect();
            self.decide(OpKind::Forget, 0, &over);
            work.cluster.mark_dirty(self.index());
        }
    }

    /// Has the group agree on something; false if it is to be decided again later.
    pub(super) fn decide(&mut self, kind: OpKind, db: u8, args: &[&[u8]]) -> bool {
        let group = &mut self.group;
        let has_room = group.decisions.len() < DECISIONS_BYTES_MAX;
        if has_room {
            encode(
                &mut group.decisions,
                plain_head(kind, db, 0),
                args.iter().copied(),
            );
            group.decisions_count += 1;
        }
        has_room
    }

    /// An eviction was applied, or never will be: what it frees counts no more ahead of time.
    pub(super) fn expect_no_more(&mut self, budget: &Budget) {
        budget.expect_no_more(std::mem::take(&mut self.group.expected_bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Client;
    use crate::testing::network::Network;

    #[test]
    fn an_eviction_without_room_is_decided_again() {
        // Breaks if a shard whose leader has much to decide evicts nothing more as long as that one leads.
        let mut network = Network::of_three();
        let shard = (0..8).find(|shard| network.leader(*shard) == Some(1));
        let shard = shard.expect("leaders are spread");
        let node = network.node(1).clone();
        let mut keys = (0..).map(|n| format!("key{n}"));
        let key = keys.find(|key| node.shard_of(key.as_bytes()) == shard);
        let key = key.expect("some key is");
        Client::new(&node).run(&format!("SET {key} value"));
        network.deliver();
        let victims = [Victim {
            db: 0,
            key: key.as_bytes().into(),
        }];
        let mut state = node.lock(shard);
        let long = vec![b'k'; DECISIONS_BYTES_MAX];
        assert!(state.decide(OpKind::Settle, 0, &[&long]));
        assert_eq!(state.decide_eviction(&victims, &node.budget), 0);
        assert!(state.may_evict(Need::Own), "nothing is under way");
        state.group.decisions.clear();
        state.group.decisions_count = 0;
        assert!(state.decide_eviction(&victims, &node.budget) > 0);
        assert!(!state.may_evict(Need::Own));
    }
}
