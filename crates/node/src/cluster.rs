//! What a node knows of the others, as far as every request needs it: who it is itself, who leads which group, which
//! groups have something to send, and whom to wake for it.

use atomic_waker::AtomicWaker;
use paxos::{GroupId, Incarnation, NodeId, ReplicaId};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::Waker;

/// The node that founds a cluster.
pub(crate) const FOUNDER: ReplicaId = ReplicaId {
    node: NodeId(1),
    incarnation: Incarnation(1),
};

/// The node's place in its cluster.
#[derive(Debug)]
pub struct Cluster {
    /// This node, in this life of its memory.
    pub me: ReplicaId,
    /// Who leads each group, as last heard; 0 = not known. A hint: the log decides.
    leaders: Box<[AtomicU32]>,
    /// A bit for each shard whose group has something to propose or to send.
    dirty: Box<[AtomicU64]>,
    /// Whoever performs [`crate::Node::flush`].
    pub flusher: Flusher,
}

impl Cluster {
    /// A cluster as seen by `me`, which knows no leader yet.
    pub fn new(me: ReplicaId, shards_count: usize) -> Self {
        let zeros = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Cluster {
            me,
            leaders: (0..=shards_count).map(|_| AtomicU32::new(0)).collect(),
            dirty: zeros(shards_count.div_ceil(64)),
            flusher: Flusher::default(),
        }
    }

    /// Who leads a group, as last heard.
    #[inline]
    pub fn leader(&self, group: GroupId) -> Option<NodeId> {
        let node = self.leaders[group.0 as usize].load(Ordering::Relaxed);
        (node != 0).then_some(NodeId(node))
    }

    /// Takes note of who leads a group.
    pub fn set_leader(&self, group: GroupId, leader: Option<NodeId>) {
        let node = leader.map_or(0, |node| node.0);
        self.leaders[group.0 as usize].store(node, Ordering::Relaxed);
    }

    /// The shard's group has something to propose or to send.
    #[inline]
    pub fn mark_dirty(&self, shard: usize) {
        self.dirty[shard / 64].fetch_or(1 << (shard % 64), Ordering::Release);
    }

    /// Takes the marks off; returns the shards that had one, in order.
    pub(crate) fn take_dirty(&self) -> impl Iterator<Item = usize> {
        self.dirty.iter().enumerate().flat_map(|(word, bits)| {
            let mut bits = match bits.load(Ordering::Relaxed) {
                0 => 0,
                _ => bits.swap(0, Ordering::Acquire),
            };
            std::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
                bits &= bits - 1;
                Some(word * 64 + bit)
            })
        })
    }
}

/// The task that performs [`crate::Node::flush`] when it is asked to: a flag and whom to wake.
#[derive(Debug, Default)]
pub struct Flusher {
    asked: AtomicBool,
    waker: AtomicWaker,
}

impl Flusher {
    /// Asks for a flush; wakes nobody if one is asked for already.
    #[inline]
    pub fn ask(&self) {
        if !self.asked.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Whether a flush was asked for since the last call. The task registers its waker before it looks.
    pub fn take(&self) -> bool {
        self.asked.swap(false, Ordering::AcqRel)
    }

    /// Registers the task.
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_is_taken_once() {
        // Breaks if a shard's requests could be left lying until the next tick, or be flushed for nothing.
        let cluster = Cluster::new(FOUNDER, 130);
        for shard in [0, 63, 64, 129] {
            cluster.mark_dirty(shard);
        }
        assert_eq!(cluster.take_dirty().collect::<Vec<_>>(), [0, 63, 64, 129]);
        assert_eq!(cluster.take_dirty().count(), 0);
    }

    #[test]
    fn a_flush_is_asked_for_once() {
        // Breaks if a second request in the same batch cost a wake-up of its own, or the first got lost.
        let flusher = Flusher::default();
        assert!(!flusher.take());
        flusher.ask();
        flusher.ask();
        assert!(flusher.take());
        assert!(!flusher.take());
    }
}
