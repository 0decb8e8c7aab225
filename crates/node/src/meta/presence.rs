//! Which nodes are alive, as this node sees it: those whose beats come.

use paxos::NodeId;
use std::collections::BTreeMap;

/// A node that was not heard for so long is not alive, us. Beats come every 50 ms.
const SILENCE_MAX_US: u64 = 1_000_000;

/// When other nodes were heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence {
    nodes: BTreeMap<NodeId, Heard>,
    /// Since when nodes that should be there have been missed, us.
    missed: BTreeMap<NodeId, u64>,
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

    /// Looks which of the nodes that there are is missing; returns those that have been for `patience_us` without a break.
    pub fn miss(
        &mut self,
        nodes: impl Iterator<Item = NodeId>,
        patience_us: u64,
        now_us: u64,
    ) -> Vec<NodeId> {
        let before = std::mem::take(&mut self.missed);
        for node in nodes {
            if self.alive_since(node, now_us).is_none() {
                let since_us = before.get(&node).copied().unwrap_or(now_us);
                self.missed.insert(node, since_us);
            }
        }
        let is_late = |since_us: u64| now_us >= since_us.saturating_add(patience_us);
        let late = self.missed.iter().filter(|(_, since)| is_late(**since));
        late.map(|(&node, _)| node).collect()
    }

    /// For how long a node that should be there has been missed, us; none if it is there.
    pub fn missed_for_us(&self, node: NodeId, now_us: u64) -> Option<u64> {
        let since_us = self.missed.get(&node)?;
        Some(now_us.saturating_sub(*since_us))
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
    fn who_is_missing_for_long_is_told_apart() {
        // Breaks if a node that was away for a moment lost its place, or one that is dead kept it.
        let mut presence = Presence::default();
        let nodes = || [NodeId(1), NodeId(2)].into_iter();
        presence.hear(NodeId(1), 10);
        assert_eq!(presence.miss(nodes(), 5_000_000, 20), []);
        presence.hear(NodeId(1), 3_000_000);
        assert_eq!(presence.miss(nodes(), 5_000_000, 3_000_000), []);
        assert_eq!(presence.miss(nodes(), 5_000_000, 5_000_020), [NodeId(2)]);
        // Node 1 was missed from now on, and came back in between.
        presence.hear(NodeId(1), 6_000_000);
        assert_eq!(presence.miss(nodes(), 5_000_000, 6_000_000), [NodeId(2)]);
        assert_eq!(presence.miss(nodes(), 5_000_000, 8_000_000), [NodeId(2)]);
        assert_eq!(presence.miss(nodes(), 5_000_000, 12_999_999), [NodeId(2)]);
        let both = [NodeId(1), NodeId(2)];
        assert_eq!(presence.miss(nodes(), 5_000_000, 13_000_000), both);
    }

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
