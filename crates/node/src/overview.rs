//! The cluster at this moment, as this node believes: the view, who leads which shard, who is alive. What CLUSTER's
//! answers and MOVED are made of.

use crate::host::Now;
use crate::node::Node;
use crate::view::{ClusterView, NodeView};
use paxos::{GroupId, NodeId};
use placement::SLOTS_COUNT;
use std::sync::Arc;

/// A moment's picture.
pub(crate) struct Overview {
    pub view: Arc<ClusterView>,
    pub me: NodeId,
    /// Per shard who leads it, as far as is known.
    pub leaders: Vec<Option<NodeId>>,
    /// The nodes that are alive, sorted.
    pub alive: Vec<NodeId>,
    /// The nodes whose links broke a moment ago, sorted.
    pub just_lost: Vec<NodeId>,
}

/// Slots next to each other that the same nodes serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotRange {
    pub first: u16,
    pub last: u16,
    /// Who leads their shards, then who follows.
    pub nodes: Vec<NodeId>,
}

impl Node {
    /// The cluster at this moment.
    pub(crate) fn overview(&self, now: Now) -> Overview {
        let view = self.view();
        let groups = 1..=self.shards_count() as u32;
        let nodes = || view.nodes.iter().map(|node| node.id);
        let alive = nodes().filter(|id| self.alive_since(*id, now).is_some());
        let just_lost = nodes().filter(|id| self.is_just_lost(*id, now));
        Overview {
            me: self.cluster.me.node,
            leaders: groups
                .map(|group| self.cluster.leader(GroupId(group)))
                .collect(),
            alive: alive.collect(),
            just_lost: just_lost.collect(),
            view,
        }
    }
}

impl Overview {
    /// Whether a node is alive.
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.alive.binary_search(&node).is_ok()
    }

    /// Whom to ask for the keys of a shard: its leader, or whoever should lead it while nobody is known to. If that one died
    /// a moment ago and the others can choose a leader, one of these, who will know it: a client of Redis Cluster
    /// that is told of a dead node again, or of a part of its slots now and of the rest later, has the more to get wrong.
    /// Not for long: who cannot reach a leader that others reach would contradict them. Nor if it is only silent: on a busy
    /// machine it may lead on. A node that is not known (the founder
    /// of a cluster that is about to be) has no entry.
    pub fn owner(&self, shard: usize) -> Option<&NodeView> {
        let wanted = self.view.wanted.get(shard).map_or(&[][..], Vec::as_slice);
        let known = self.leaders[shard].filter(|id| self.view.node(*id).is_some());
        let owner = known.or_else(|| wanted.first().copied())?;
        let mut heirs = wanted.iter().copied().filter(|id| self.is_alive(*id));
        let can_choose = 2 * heirs.clone().count() > wanted.len();
        let is_dying = can_choose && self.just_lost.binary_search(&owner).is_ok();
        self.view
            .node(heirs.next().filter(|_| is_dying).unwrap_or(owner))
    }

    /// Who serves a shard: its owner, then the others that should hold it and are alive.
    fn servers(&self, shard: usize) -> Vec<NodeId> {
        let Some(owner) = self.owner(shard) else {
            return Vec::new();
        };
        let others = self.view.wanted[shard].iter().copied();
        let others = others.filter(|id| *id != owner.id && self.is_alive(*id));
        std::iter::once(owner.id).chain(others).collect()
    }

    /// All slots in ranges as long as they can be. `map` says which shard a slot belongs to.
    pub fn ranges(&self, map: &placement::ShardMap) -> Vec<SlotRange> {
        let servers: Vec<Vec<NodeId>> = (0..self.leaders.len())
            .map(|shard| {
                let mut servers = self.servers(shard);
                // In the same order for all shards of an owner, so that they stay together.
                if let [_, others @ ..] = servers.as_mut_slice() {
                    others.sort_unstable();
                }
                servers
            })
            .collect();
        let mut ranges: Vec<SlotRange> = Vec::new();
        for slot in 0..SLOTS_COUNT {
            let nodes = &servers[map.shard_of_slot(slot).index()];
            match ranges.last_mut() {
                Some(range) if range.nodes == *nodes => range.last = slot,
                _ => ranges.push(SlotRange {
                    first: slot,
                    last: slot,
                    nodes: nodes.clone(),
                }),
            }
        }
        ranges.retain(|range| !range.nodes.is_empty());
        ranges
    }

    /// The ranges that a node leads, whoever follows.
    pub fn led_by(ranges: &[SlotRange], node: NodeId) -> Vec<(u16, u16)> {
        let mut led: Vec<(u16, u16)> = Vec::new();
        for range in ranges.iter().filter(|range| range.nodes[0] == node) {
            match led.last_mut() {
                Some((_, last)) if *last + 1 == range.first => *last = range.last,
                _ => led.push((range.first, range.last)),
            }
        }
        led
    }

    /// Shards that have a leader who is alive.
    pub fn led_shards(&self) -> impl Iterator<Item = usize> {
        let is_led = |shard: &usize| self.leaders[*shard].is_some_and(|id| self.is_alive(id));
        (0..self.leaders.len()).filter(is_led)
    }
}

impl NodeView {
    /// The host to tell a client that reached this node at `reached_at`.
    pub(crate) fn host_for<'a>(&'a self, reached_at: &'a str) -> &'a str {
        match self.addresses.is_wildcard() {
            true => reached_at,
            false => &self.addresses.host,
        }
    }

    /// The port for cluster-aware clients.
    pub(crate) fn port_for_clusters(&self) -> u16 {
        match self.addresses.cluster_port {
            0 => self.addresses.client_port,
            port => port,
        }
    }
}
