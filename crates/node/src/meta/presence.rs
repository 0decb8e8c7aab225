//! Which nodes are alive, as this node sees it: those whose beats come.

use paxos::{NodeId, ReplicaId};
use std::collections::BTreeMap;

/// A node that was not heard for so long is not alive, us. Beats come every 50 ms.
const SILENCE_MAX_US: u64 = 1_000_000;

/// When other nodes were heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence {
    nodes: BTreeMap<NodeId, Heard>,
    /// Since when nodes whose links broke have not been heard any more, us.
    lost: BTreeMap<NodeId, u64>,
    /// Since when nodes that should be there have been missed, us.
    missed: BTreeMap<NodeId, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    life: ReplicaId,
    since_us: u64,
    last_us: u64,
}

impl Presence {
    /// A node's beat came, in this life of its.
    pub fn hear(&mut self, life: ReplicaId, now_us: u64) {
        let heard = self.nodes.entry(life.node).or_insert(Heard {
            life,
            since_us: now_us,
            last_us: now_us,
        });
        if life < heard.life {
            // Late: that life is over.
            return;
        }
        self.lost.remove(&life.node);
        if life > heard.life || now_us > heard.last_us + SILENCE_MAX_US {
            heard.since_us = now_us;
        }
        heard.life = life;
        heard.last_us = now_us;
    }

    /// The link from a node broke, or it refuses to have one.
    pub fn lose(&mut self, node: NodeId, now_us: u64) {
        if let Some(heard) = self.nodes.remove(&node) {
            let silent_us = heard.last_us + SILENCE_MAX_US;
            self.lost.insert(node, now_us.min(silent_us));
        }
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

    /// For how long a node whose link broke has not been alive, us; none if it was heard since, or never. One that is silent
    /// may only be slow.
    pub fn lost_for_us(&self, node: NodeId, now_us: u64) -> Option<u64> {
        Some(now_us.saturating_sub(*self.lost.get(&node)?))
    }

    /// Since when a node has been heard without a break, us; none if it is not.
    pub fn alive_since(&self, node: NodeId, now_us: u64) -> Option<u64> {
        Some(self.alive(node, now_us)?.since_us)
    }

    /// The life in which a node is heard; none if it is not alive. It may be one that this node's view knows nothing of yet.
    pub fn life_of(&self, node: NodeId, now_us: u64) -> Option<ReplicaId> {
        Some(self.alive(node, now_us)?.life)
    }

    fn alive(&self, node: NodeId, now_us: u64) -> Option<&Heard> {
        let heard = self.nodes.get(&node)?;
        (now_us <= heard.last_us + SILENCE_MAX_US).then_some(heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos::Incarnation;

    fn life(node: u32, incarnation: u64) -> ReplicaId {
        ReplicaId {
            node: NodeId(node),
            incarnation: Incarnation(incarnation),
        }
    }

    #[test]
    fn who_is_missing_for_long_is_told_apart() {
        // Breaks if a node that was away for a moment lost its place, or one that is dead kept it.
        let mut presence = Presence::default();
        let nodes = || [NodeId(1), NodeId(2)].into_iter();
        presence.hear(life(1, 1), 10);
        assert_eq!(presence.miss(nodes(), 5_000_000, 20), []);
        presence.hear(life(1, 1), 3_000_000);
        assert_eq!(presence.miss(nodes(), 5_000_000, 3_000_000), []);
        assert_eq!(presence.miss(nodes(), 5_000_000, 5_000_020), [NodeId(2)]);
        // Node 1 was missed from now on, and came back in between.
        presence.hear(life(1, 1), 6_000_000);
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
        presence.hear(life(1, 1), 10);
        presence.hear(life(1, 1), 500_000);
        assert_eq!(presence.alive_since(NodeId(1), 1_500_000), Some(10));
        assert_eq!(presence.alive_since(NodeId(1), 1_500_001), None);
        presence.hear(life(1, 1), 2_000_000);
        assert_eq!(presence.alive_since(NodeId(1), 2_000_000), Some(2_000_000));
        presence.lose(NodeId(1), 2_000_000);
        assert_eq!(presence.alive_since(NodeId(1), 2_000_000), None);
    }

    #[test]
    fn it_is_known_for_how_long_a_node_is_dead() {
        // Breaks if clients are sent to heirs of a node that is only slow, or for ever to those of one that is dead.
        let mut presence = Presence::default();
        let node = NodeId(1);
        presence.lose(node, 5);
        assert_eq!(presence.lost_for_us(node, 5), None, "it never was there");
        presence.hear(life(1, 1), 10);
        assert_eq!(presence.lost_for_us(node, 1_000_010), None);
        assert_eq!(presence.lost_for_us(node, 1_000_015), None, "it is silent");
        // That the link of a silent node breaks in the end is no news.
        presence.lose(node, 1_000_020);
        assert_eq!(presence.lost_for_us(node, 1_000_020), Some(10));
        presence.hear(life(1, 2), 1_000_030);
        assert_eq!(presence.lost_for_us(node, 1_000_030), None);
        presence.lose(node, 1_000_040);
        assert_eq!(presence.lost_for_us(node, 1_000_040), Some(0));
    }

    #[test]
    fn a_node_is_heard_in_its_latest_life() {
        // Breaks if a node that came back without its memory is asked by a name that it does not hear to, or if what its
        // former life said comes late and counts.
        let mut presence = Presence::default();
        presence.hear(life(1, 1), 10);
        presence.hear(life(1, 2), 20);
        presence.hear(life(1, 1), 30);
        assert_eq!(presence.life_of(NodeId(1), 30), Some(life(1, 2)));
        assert_eq!(presence.alive_since(NodeId(1), 30), Some(20));
        assert_eq!(presence.life_of(NodeId(1), 1_000_021), None);
    }
}
