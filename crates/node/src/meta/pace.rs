//! How many moves of shards may be under way at once: a node's links and memory serve clients first.
//!
//! A move begins when a group's leader makes a node a learner that is to be fed all of a shard's state. Each leader
//! paces its own, by what it sends and by what the receivers report; so the bound of a receiver may be exceeded by one
//! move of each other leader, until it reports.

use paxos::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// States of shards that one node sends, and that one node receives, at once.
const MOVES_MAX: u32 = 4;
/// A state of fewer bytes does not count: it is through before anybody could count it.
const SMALL_BYTES_MAX: u64 = 256 << 10;

/// The moves of one look at all groups.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    sending: u32,
    receiving: BTreeMap<NodeId, u32>,
    /// Nodes that lack shards led from here.
    lacking: BTreeSet<NodeId>,
}

impl Pace {
    /// By how many states nodes report that they receive.
    pub fn new(receiving: BTreeMap<NodeId, u32>) -> Self {
        Pace {
            receiving,
            ..Pace::default()
        }
    }

    /// A state of so many bytes is under way from here to some node.
    pub fn sends(&mut self, bytes: u64) {
        self.sending += u32::from(bytes >= SMALL_BYTES_MAX);
    }

    /// A node is to have a shard that is led from here, and does not have it yet.
    pub fn lacks(&mut self, node: NodeId) {
        self.lacking.insert(node);
    }

    /// Whether a node takes in states, or will soon.
    pub fn is_receiving(&self, node: NodeId) -> bool {
        let receives = self.receiving.get(&node).is_some_and(|count| *count > 0);
        receives || self.lacking.contains(&node)
    }

    /// Whether a state of so many bytes may begin its way from here to a node.
    pub fn admits(&self, to: NodeId, bytes: u64) -> bool {
        let receiving = self.receiving.get(&to).copied().unwrap_or(0);
        bytes < SMALL_BYTES_MAX || self.sending < MOVES_MAX && receiving < MOVES_MAX
    }

    /// It does.
    pub fn begins(&mut self, to: NodeId, bytes: u64) {
        self.sends(bytes);
        if bytes >= SMALL_BYTES_MAX {
            *self.receiving.entry(to).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_sends_and_receives_a_few_at_once() {
        // Breaks if a node that joins is sent all shards at once, or if the empty shards of a young cluster wait in line.
        let (large, small) = (SMALL_BYTES_MAX, SMALL_BYTES_MAX - 1);
        let mut pace = Pace::new(BTreeMap::from([(NodeId(4), MOVES_MAX - 1)]));
        pace.sends(large);
        pace.sends(small);
        assert!(pace.admits(NodeId(4), large));
        pace.begins(NodeId(4), large);
        assert!(!pace.admits(NodeId(4), large) && pace.admits(NodeId(4), small));
        assert!(pace.admits(NodeId(5), large));
        pace.begins(NodeId(5), large);
        pace.begins(NodeId(5), large);
        assert!(!pace.admits(NodeId(6), large) && pace.admits(NodeId(6), small));
    }
}
