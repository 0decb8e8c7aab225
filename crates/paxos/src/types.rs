//! Names of things: nodes, replicas, ballots, indexes, entries, configurations.

use bytes::Bytes;

/// A node of the cluster, by the number that the cluster gave it. Stable over restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// A life of a node's memory: new for every loss, or doubt, of what it promised and accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// A replica: a node in one life of its memory. Quorums count these, never bare nodes, so a node that comes back
/// without its memory is somebody else (DESIGN-PAXOS §3.10; Michael et al., "Recovering Shared Objects Without
/// Stable Storage", DISC 2017).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId {
    /// The node.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
}

/// A ballot: total order, by round, then by the replica that alone may use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// Rises with every campaign. 0 is below all ballots in use.
    pub round: u64,
    /// Who leads under it.
    pub replica: ReplicaId,
}

/// A Paxos group: 0 is the cluster's own (the meta group), shard `s` is group `s + 1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// Changes only when a group that lost a majority's memory begins anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

/// A position in a group's log, from 1; 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u64);

impl Index {
    /// The position after this one.
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }
}

/// Who belongs to a group from the index after the one that holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Config {
    /// Rises by one with every configuration of the group.
    pub number: u64,
    /// Who votes, sorted; at most one replica of a node.
    pub voters: Vec<ReplicaId>,
    /// Who receives without a vote, sorted.
    pub learners: Vec<ReplicaId>,
}

/// What is agreed on at one index.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// Nothing: fills a gap that a new leader found.
    Noop,
    /// The owner's payload with the leader's log time in milliseconds.
    Batch {
        /// Log time, ms. What a former leader proposed may be agreed on behind what a later one did, so the log time *of*
        /// an entry is the highest of its own and of all before it, taken where it is applied.
        log_ms: u64,
        /// Whatever the group agrees on.
        payload: Bytes,
    },
    /// A new configuration; nothing is proposed behind it until it is chosen (R4).
    Config(Config),
}
