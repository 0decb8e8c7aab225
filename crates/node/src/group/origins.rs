//! Who asked for what: the part of a shard's state that makes each write happen exactly once.
//!
//! Every node numbers the writes that it wants of a group 1, 2, 3 … and sends them again whenever their fate is not
//! known. A write is applied only if it is the next of its origin; what came before is a duplicate, what lies beyond
//! a gap comes again. The replies of the last writes are kept until the origin says that it has them, so that any
//! leader can give them (Ongaro, "Consensus: Bridging Theory and Practice", 2014, §6.3).
//!
//! A process that goes on with its memory read back from disk numbers from 1 again. So an origin is not a replica but one
//! *start* of it ([`origin_of`]): what an earlier start asked, and the answers to it, are never taken for those of the
//! present one. Once a later start of a node has been heard of, nothing of an earlier one is applied any more: whoever
//! waited for it is gone. Nor is anything of an origin that was forgotten because its life is over: a node that was removed
//! while it stood still asks again before it hears of that, and what it asked may have been applied. So of each node the
//! last origin that was forgotten is remembered for good: 12 bytes for each node that is gone.
//!
//! The table is part of the replicated state: of snapshots and of the checksum.

use bytes::Bytes;
use paxos::{Incarnation, NodeId, ReplicaId};
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Replies up to this length are kept as a copy.
pub(super) const COPIED_BYTES_MAX: usize = 4096;

/// Bits of an origin's incarnation that count the starts within a life.
const START_BITS: u32 = 32;

/// The name under which a process asks: its node, the life of its memory, and which start of that it is.
///
/// # Panics
/// In the four billionth life.
pub(crate) fn origin_of(me: ReplicaId, start: u32) -> ReplicaId {
    let life = me.incarnation.0;
    assert!(life >> START_BITS == 0, "a node has fewer lives than that");
    ReplicaId {
        incarnation: Incarnation(life << START_BITS | u64::from(start)),
        ..me
    }
}

/// The replica that an origin is a start of.
pub(crate) fn life_of(origin: ReplicaId) -> ReplicaId {
    ReplicaId {
        incarnation: Incarnation(origin.incarnation.0 >> START_BITS),
        ..origin
    }
}

/// A reply that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// A copy.
    Short(SmallVec<[u8; 16]>),
    /// A long one.
    Long(Bytes),
}

impl Stored {
    /// Keeps `reply`.
    #[inline]
    pub fn of(reply: &[u8]) -> Stored {
        if reply.len() <= COPIED_BYTES_MAX {
            Stored::Short(SmallVec::from_slice(reply))
        } else {
            Stored::Long(Bytes::copy_from_slice(reply))
        }
    }

    /// Whether there is none yet: the write waits ([`super::reservations`]).
    #[inline]
    pub fn is_due(&self) -> bool {
        matches!(self, Stored::Short(bytes) if bytes.is_empty())
    }

    /// The reply.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Stored::Short(bytes) => bytes,
            Stored::Long(bytes) => bytes,
        }
    }
}

/// What is known of one origin's writes.
///
/// Invariants: `replies` are those of the last `replies.len()` applied writes, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// The last write that was applied.
    applied: u64,
    replies: VecDeque<Stored>,
}

impl Origin {
    /// The last write that was applied.
    #[inline]
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Whether a write is the next, and so to be applied.
    #[inline]
    pub fn is_next(&self, seq: u64) -> bool {
        seq == self.applied + 1
    }

    /// The origin has the answers to all writes up to `done_seq`: those that are not known here were applied in a generation
    /// whose end is lost, and will not come again.
    #[inline]
    pub fn skip_lost(&mut self, done_seq: u64) {
        if done_seq > self.applied {
            self.applied = done_seq;
            self.replies.clear();
        }
    }

    /// Drops the replies to writes up to `done_seq`: the origin has them.
    #[inline]
    pub fn done(&mut self, done_seq: u64) {
        while !self.replies.is_empty() && self.first() <= done_seq {
            self.replies.pop_front();
        }
    }

    /// Takes note of the next write's reply.
    #[inline]
    pub fn apply(&mut self, reply: Stored) {
        self.applied += 1;
        self.replies.push_back(reply);
    }

    /// The reply to a write that was applied; none if the origin has said that it has it.
    pub fn reply(&self, seq: u64) -> Option<&Stored> {
        let place = seq.checked_sub(self.first())?;
        self.replies.get(usize::try_from(place).ok()?)
    }

    /// Takes note of the reply to a write that was applied and had none yet.
    fn put_reply(&mut self, seq: u64, reply: Stored) {
        let place = seq.checked_sub(self.first());
        let place = place.and_then(|place| self.replies.get_mut(usize::try_from(place).ok()?));
        if let Some(place) = place {
            *place = reply;
        }
    }

    /// All replies that are kept, with the writes that they belong to.
    pub fn replies(&self) -> impl Iterator<Item = (u64, &Stored)> {
        (self.first()..).zip(&self.replies)
    }

    /// The write that the first reply belongs to.
    #[inline]
    fn first(&self) -> u64 {
        self.applied + 1 - self.replies.len() as u64
    }
}

/// All origins of a shard's writes. As many as nodes are alive, and a few that are not forgotten yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    table: BTreeMap<ReplicaId, Origin>,
    /// The last origin of a node that was forgotten: that one and all before it are over.
    ended: BTreeMap<NodeId, Incarnation>,
}

impl Origins {
    /// What is known of an origin.
    pub fn get(&self, origin: ReplicaId) -> Option<&Origin> {
        self.table.get(&origin)
    }

    /// The last write of an origin that was applied; 0 if none was.
    pub fn applied(&self, origin: ReplicaId) -> u64 {
        self.table.get(&origin).map_or(0, Origin::applied)
    }

    /// What is known of an origin, to be changed.
    pub fn entry(&mut self, origin: ReplicaId) -> &mut Origin {
        self.table.entry(origin).or_default()
    }

    /// Takes an origin out, to be put back by [`Origins::put`]: the shard is borrowed in between.
    pub fn take(&mut self, origin: ReplicaId) -> Origin {
        std::mem::take(self.entry(origin))
    }

    /// Puts an origin back.
    pub fn put(&mut self, origin: ReplicaId, state: Origin) {
        *self.entry(origin) = state;
    }

    /// Takes note of the reply to a write of an origin that was applied and had none yet, if anybody may ask for it.
    pub fn put_reply(&mut self, origin: ReplicaId, seq: u64, reply: Stored) {
        if let Some(known) = self.table.get_mut(&origin) {
            known.put_reply(seq, reply);
        }
    }

    /// Whether nothing of an origin counts any more: a later start of the same node has been heard of, or it was forgotten.
    #[inline]
    pub fn is_over(&self, origin: ReplicaId) -> bool {
        if self.ended.get(&origin.node) >= Some(&origin.incarnation) {
            return true;
        }
        let mut later = self
            .table
            .range((Bound::Excluded(origin), Bound::Unbounded));
        later
            .next()
            .is_some_and(|(next, _)| next.node == origin.node)
    }

    /// Forgets what an origin asked whose life is over; what comes of it later is over, too.
    pub fn forget(&mut self, origin: ReplicaId) {
        self.table.remove(&origin);
        let ended = self.ended.entry(origin.node).or_default();
        *ended = origin.incarnation.max(*ended);
    }

    /// The origins, in order.
    pub fn iter(&self) -> impl Iterator<Item = (ReplicaId, &Origin)> {
        self.table.iter().map(|(id, origin)| (*id, origin))
    }

    /// A checksum of all of it.
    pub fn checksum(&self) -> u64 {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        xxh3_64_with_seed(&bytes, 0)
    }

    /// Appends the table to `out`: count of origins (u32), then each: node (u32), incarnation, applied (u64), count
    /// of replies (u32), each reply after its length (u32). Then the count of nodes of which origins are over (u32), then
    /// each: node (u32), incarnation of the last such origin.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.table.len() as u32).to_le_bytes());
        for (id, origin) in &self.table {
            out.extend_from_slice(&id.node.0.to_le_bytes());
            out.extend_from_slice(&id.incarnation.0.to_le_bytes());
            out.extend_from_slice(&origin.applied.to_le_bytes());
            out.extend_from_slice(&(origin.replies.len() as u32).to_le_bytes());
            for reply in &origin.replies {
                let reply = reply.as_bytes();
                out.extend_from_slice(&(reply.len() as u32).to_le_bytes());
                out.extend_from_slice(reply);
            }
        }
        out.extend_from_slice(&(self.ended.len() as u32).to_le_bytes());
        for (node, last) in &self.ended {
            out.extend_from_slice(&node.0.to_le_bytes());
            out.extend_from_slice(&last.0.to_le_bytes());
        }
    }

    /// Reads what [`Origins::encode`] made from the front of `bytes`; returns it and what follows. None if the bytes
    /// are no such table.
    pub fn decode(mut bytes: &[u8]) -> Option<(Origins, &[u8])> {
        let mut table = BTreeMap::new();
        for _ in 0..word(&mut bytes)? {
            let id = ReplicaId {
                node: NodeId(word(&mut bytes)?),
                incarnation: Incarnation(long(&mut bytes)?),
            };
            let applied = long(&mut bytes)?;
            let mut replies = VecDeque::new();
            for _ in 0..word(&mut bytes)? {
                let length = word(&mut bytes)? as usize;
                let (reply, rest) = bytes.split_at_checked(length)?;
                replies.push_back(Stored::of(reply));
                bytes = rest;
            }
            if replies.len() as u64 > applied {
                return None;
            }
            let origin = Origin { applied, replies };
            table.insert(id, origin);
        }
        let mut ended = BTreeMap::new();
        for _ in 0..word(&mut bytes)? {
            let node = NodeId(word(&mut bytes)?);
            ended.insert(node, Incarnation(long(&mut bytes)?));
        }
        Some((Origins { table, ended }, bytes))
    }
}

fn word(bytes: &mut &[u8]) -> Option<u32> {
    let (field, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*field))
}

fn long(bytes: &mut &[u8]) -> Option<u64> {
    let (field, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(node: u32) -> ReplicaId {
        ReplicaId {
            node: NodeId(node),
            incarnation: Incarnation(9),
        }
    }

    #[test]
    fn only_the_next_write_of_an_origin_is_applied() {
        // Breaks if a write that is sent twice were applied twice, or one beyond a gap before those in it.
        let mut origin = Origin::default();
        assert!(origin.is_next(1) && !origin.is_next(2));
        origin.apply(Stored::of(b"+OK\r\n"));
        assert!(!origin.is_next(1) && origin.is_next(2) && !origin.is_next(3));
    }

    #[test]
    fn what_is_lost_is_passed_over() {
        // Breaks if the writes of a node stood still for ever after some that were answered were lost with a majority's
        // memory, or one that is still wanted were passed over.
        let mut origin = Origin::default();
        (0..5u8).for_each(|n| origin.apply(Stored::of(&[n])));
        origin.skip_lost(4);
        assert!(origin.is_next(6) && origin.reply(5).is_some());
        origin.skip_lost(9);
        assert!(origin.is_next(10) && !origin.is_next(6));
        assert_eq!(origin.replies().count(), 0);
        origin.apply(Stored::of(b"x"));
        assert_eq!(origin.reply(10).unwrap().as_bytes(), b"x");
    }

    #[test]
    fn a_later_start_ends_the_earlier() {
        // Breaks if a process that recovered its memory shared numbers with its former start, or another node's start
        // ended its writes.
        let me = |node, incarnation| ReplicaId {
            node: NodeId(node),
            incarnation: Incarnation(incarnation),
        };
        let mut origins = Origins::default();
        origins.entry(origin_of(me(1, 3), 7));
        origins.entry(origin_of(me(2, 1), 9));
        assert!(origins.is_over(origin_of(me(1, 3), 6)));
        assert!(origins.is_over(origin_of(me(1, 2), u32::MAX)));
        assert!(!origins.is_over(origin_of(me(1, 3), 7)));
        assert!(!origins.is_over(origin_of(me(1, 4), 0)));
        assert!(!origins.is_over(origin_of(me(2, 2), 0)));
        assert!(!origins.is_over(origin_of(me(3, 1), 0)));
        assert_eq!(life_of(origin_of(me(1, 3), 7)), me(1, 3));
    }

    #[test]
    fn what_was_forgotten_is_over() {
        // Breaks if a node that was removed while it stood still had a write applied again that it asked before, or one that
        // came back without its memory were not served.
        let origin = |node, life, start| {
            let life = ReplicaId {
                node: NodeId(node),
                incarnation: Incarnation(life),
            };
            origin_of(life, start)
        };
        let mut origins = Origins::default();
        origins.entry(origin(1, 2, 1)).apply(Stored::of(b":1\r\n"));
        origins.forget(origin(1, 2, 1));
        origins.forget(origin(1, 1, 7));
        assert_eq!(origins.iter().count(), 0);
        assert!(origins.is_over(origin(1, 2, 1)) && origins.is_over(origin(1, 2, 0)));
        assert!(!origins.is_over(origin(1, 2, 2)) && !origins.is_over(origin(1, 3, 0)));
        assert!(!origins.is_over(origin(2, 1, 0)));
    }

    #[test]
    fn replies_stay_until_the_origin_has_them() {
        // Breaks if a write whose answer was lost on the way could not be answered again, or memory grew for ever.
        let mut origin = Origin::default();
        for n in 0..5u8 {
            origin.apply(Stored::of(&[n]));
        }
        origin.done(2);
        assert_eq!(origin.reply(2), None);
        assert_eq!(origin.reply(3).unwrap().as_bytes(), [2]);
        assert_eq!(origin.reply(5).unwrap().as_bytes(), [4]);
        assert_eq!(origin.reply(6), None);
        origin.done(9);
        assert_eq!(origin.replies().count(), 0);
        assert_eq!(origin.applied(), 5);
    }

    #[test]
    fn a_table_survives_its_encoding() {
        // Breaks if a replica that got a snapshot would apply a write again that the snapshot holds.
        let mut origins = Origins::default();
        origins.entry(id(1)).apply(Stored::of(b":1\r\n"));
        origins.entry(id(1)).apply(Stored::of(&[7; 5000]));
        origins.entry(id(2)).apply(Stored::of(b""));
        origins.entry(id(2)).done(1);
        origins.forget(id(3));
        let mut bytes = Vec::new();
        origins.encode(&mut bytes);
        bytes.push(b'x');
        let (decoded, rest) = Origins::decode(&bytes).unwrap();
        assert_eq!(rest, b"x");
        assert_eq!(decoded.checksum(), origins.checksum());
        assert!(decoded.is_over(id(3)) && !decoded.is_over(id(1)));
        assert_eq!(
            decoded
                .get(id(1))
                .unwrap()
                .reply(2)
                .unwrap()
                .as_bytes()
                .len(),
            5000
        );
        for cut in 0..bytes.len() - 1 {
            assert!(Origins::decode(&bytes[..cut]).is_none(), "{cut}");
        }
    }
}
