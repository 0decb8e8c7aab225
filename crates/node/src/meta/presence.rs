//! Which nodes are alive, as this node sees it: those whose beats come.

use paxos::NodeId;
use std::collections::BTreeMap;

/// A node that was not heard for so long is not alive, us. Beats come every 50 ms.
const SILENCE_MAX_US: u64 = 1_000_000;

/// When other nodes were heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence {
    nodes: BTreeMap<NodeId, Heard>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    since_us: u64,
    last_us: u64,
}

impl Presence {
    /// A node's beat came.
    pub fn hear(&mut self, node: NodeId, now_us: u64) {
        let heard = self.nodes.entry(node).or_insert(Heard {
            since_us: now_us,
            last_us: now_us,
        });
        if now_us > heard.last_us + SILENCE_MAX_US {
            heard.since_us = now_us;
        }
        heard.last_us = now_us;
    }

    /// The link from a node broke, or it refuses to have one.
    pub fn lose(&mut self, node: NodeId) {
        self.nodes.remove(&node);
    }

    /// Since when a node has been heard without a break, us; none if it is not.
    pub fn alive_since(&self, node: NodeId, now_us: u64) -> Option<u64> {
        let heard = self.nodes.get(&node)?;
        (now_us <= heard.last_us + SILENCE_MAX_US).then_some(heard.since_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_break_begins_anew() {
        // Breaks if a node that comes and goes counts as steady, or a dead one as alive.
        let mut presence = Presence::default();
        assert_eq!(presence.alive_since(NodeId(1), 5), None);
        presence.hear(NodeId(1), 10);
        presence.hear(NodeId(1), 500_000);
        assert_eq!(presence.alive_since(NodeId(1), 1_500_000), Some(10));
        assert_eq!(presence.alive_since(NodeId(1), 1_500_001), None);
        presence.hear(NodeId(1), 2_000_000);
        assert_eq!(presence.alive_since(NodeId(1), 2_000_000), Some(2_000_000));
        presence.lose(NodeId(1));
        assert_eq!(presence.alive_since(NodeId(1), 2_000_000), None);
    }
}
