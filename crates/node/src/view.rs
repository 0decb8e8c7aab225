//! What every node knows of its cluster: plain data, made anew from the meta group's state at each change and
//! swapped in whole. Whoever looks at it sees one epoch.
//!
//! What it does not say: who leads what, who is alive, who holds which replica at the moment.

use crate::meta::{LOCK_SPAN_MS, MetaState, NodeRecord, ShardLife};
use paxos::{GroupId, Incarnation, NodeId, ReplicaId};
use placement::{Host, Member, Zone, voters_count, wanted_replicas};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// Where a node can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Addresses {
    /// Name or address, as the node advertises it. Empty, `0.0.0.0` or `::`: as whoever asks reached us.
    pub host: String,
    /// Port for any client.
    pub client_port: u16,
    /// Port for cluster-aware clients; 0: none.
    pub cluster_port: u16,
    /// Port for other nodes.
    pub peer_port: u16,
    /// Port of the status page; 0: none.
    pub http_port: u16,
}

impl Addresses {
    /// Whether the host names no address in particular.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::" | "*")
    }
}

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its number.
    pub id: NodeId,
    /// The life of its memory that counts: replicas of earlier ones are over.
    pub incarnation: Incarnation,
    /// 40 hex digits, as Redis names nodes. Stays over restarts.
    pub name: String,
    /// Where it is.
    pub addresses: Addresses,
    /// Its share of replicas relative to others'; 0: it is being drained.
    pub weight: u32,
    /// Where it stands; empty: nowhere in particular.
    pub zone: String,
    /// Whether it has been silent for so long that others hold what it held.
    pub is_lost: bool,
}

impl NodeView {
    /// Whether it is to hold replicas.
    pub fn is_active(&self) -> bool {
        self.weight > 0 && !self.is_lost
    }

    /// The node in its present life.
    pub fn replica(&self) -> ReplicaId {
        ReplicaId {
            node: self.id,
            incarnation: self.incarnation,
        }
    }
}

/// The cluster as of one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// Rises with every change of nodes or of what is wanted.
    pub epoch: u64,
    /// 40 hex digits; drawn when the cluster was founded.
    pub cluster_id: String,
    /// The secret seed of keys' hashes, the same on all nodes.
    pub hash_seed: u64,
    /// Shards, for the cluster's life.
    pub shards_count: u32,
    /// Replicas that an operator asked for, for each shard.
    pub replicas_wanted: u32,
    /// All nodes, by id.
    pub nodes: Vec<NodeView>,
    /// Nodes that were removed and may not have heard of it: they are still spoken to.
    pub leaving: Vec<NodeView>,
    /// Per shard who should hold it; the first should lead.
    pub wanted: Vec<Vec<NodeId>>,
    /// Nodes whose ids were given out so far: those above the nodes here are gone for good.
    pub nodes_ever: u32,
    /// What is agreed on about shards that have lost their memory once, are looked into, or whose locks last long.
    pub lives: BTreeMap<u32, ShardLife>,
}

impl ClusterView {
    /// What follows from the meta group's state. O(shards × replicas).
    pub fn of(state: &MetaState) -> ClusterView {
        let view = |(&id, node): (&u32, &NodeRecord)| NodeView {
            id: NodeId(id),
            incarnation: Incarnation(node.incarnation),
            name: node.name.clone(),
            addresses: node.addresses.clone().into(),
            weight: node.weight,
            zone: node.zone.clone(),
            is_lost: node.is_lost,
        };
        let wanted = wanted_of_all(state);
        let shards_count = state.shards_count;
        ClusterView {
            epoch: state.epoch,
            cluster_id: state.cluster_id.clone(),
            hash_seed: state.hash_seed,
            shards_count,
            replicas_wanted: state.replicas_wanted,
            nodes: state.nodes.iter().map(view).collect(),
            leaving: state.leaving.iter().map(view).collect(),
            wanted,
            nodes_ever: state.nodes_ever,
            lives: state.lives.clone(),
        }
    }

    /// A node by its number.
    pub fn node(&self, id: NodeId) -> Option<&NodeView> {
        let place = self.nodes.binary_search_by_key(&id, |node| node.id).ok()?;
        Some(&self.nodes[place])
    }

    /// All whom a node speaks to, and itself.
    pub fn reachable(&self) -> impl Iterator<Item = &NodeView> {
        self.nodes.iter().chain(&self.leaving)
    }

    /// What is agreed on about a shard, if anything is.
    pub fn life(&self, shard: usize) -> Option<&ShardLife> {
        self.lives.get(&(shard as u32))
    }

    /// How often shards lost the memory of a majority and went on with what was left.
    pub fn resets_count(&self) -> u64 {
        let lives = self.lives.values();
        lives.map(|life| u64::from(life.generation)).sum()
    }

    /// The longest time for which locks of a shard may be granted without a word to the others, ms.
    pub(crate) fn lock_span_ms(&self, shard: usize) -> u64 {
        self.life(shard)
            .map_or(LOCK_SPAN_MS, ShardLife::agreed_span_ms)
    }

    /// A node by its 40 hex digits, in either case.
    pub fn node_named(&self, name: &[u8]) -> Option<&NodeView> {
        let is_named = |node: &&NodeView| node.name.as_bytes().eq_ignore_ascii_case(name);
        self.nodes.iter().find(is_named)
    }

    /// Whether that life of a node's memory has ended: the node began another one, or left.
    pub fn is_over(&self, replica: ReplicaId) -> bool {
        match self.node(replica.node) {
            Some(node) => node.incarnation > replica.incarnation,
            None => replica.node.0 <= self.nodes_ever,
        }
    }

    /// Whether that life of a node is listened to: it goes on, or the node was removed and may have to ask before it knows.
    pub fn is_heard(&self, replica: ReplicaId) -> bool {
        let leaves = |node: &NodeView| node.replica() == replica;
        !self.is_over(replica) || self.leaving.iter().any(leaves)
    }

    /// Who should hold a group's replicas, in their present lives, as many as are wanted and can be had; the first should
    /// lead, those in front should vote. Empty: nobody is wanted, so nothing is to be changed. All nodes hold the meta
    /// group, also those that are to learn from it that they left.
    pub fn wanted_of(&self, group: GroupId) -> Vec<ReplicaId> {
        let replica = |id: &NodeId| self.node(*id).map(NodeView::replica);
        match group.0 {
            0 => self.reachable().map(NodeView::replica).collect(),
            shard => self.wanted[shard as usize - 1]
                .iter()
                .filter_map(replica)
                .collect(),
        }
    }

    /// How many of a group's replicas should vote.
    pub fn voters_count(&self) -> usize {
        let active = self.nodes.iter().filter(|node| node.is_active());
        voters_count(self.replicas_wanted as usize, active.count())
    }

    /// How many of so many who may vote do.
    pub fn voters_count_among(&self, count: usize) -> usize {
        voters_count(self.replicas_wanted as usize, count)
    }

    /// Whether fewer nodes have a share than could vote if all had one.
    pub fn lacks_active(&self) -> bool {
        self.voters_count() < self.voters_count_among(self.nodes.len())
    }

    /// Whether a node may vote on the cluster's own state as long as too few others can, though it is being drained.
    pub fn may_fill_in(&self, id: NodeId) -> bool {
        self.node(id)
            .is_some_and(|node| node.weight == 0 && !node.is_lost)
    }

    /// Whether a node may vote: it is neither being drained nor lost.
    pub fn may_vote(&self, id: NodeId) -> bool {
        self.node(id).is_some_and(NodeView::is_active)
    }
}

/// A zone by its name.
fn zone_of(name: &str) -> Zone {
    match name.is_empty() {
        true => Zone::NONE,
        false => Zone(xxh3_64(name.as_bytes())),
    }
}

/// Per shard who should hold it, the first leading: as the ring says, then as somebody wished. A shard that was placed by
/// hand on fewer nodes than there should be replicas is filled up from the ring.
pub(crate) fn wanted_of_all(state: &MetaState) -> Vec<Vec<NodeId>> {
    let hosts: Vec<Host> = state
        .nodes
        .iter()
        .map(|(&id, node)| Host {
            member: Member {
                id: u64::from(id),
                weight: node.share(),
            },
            zone: zone_of(&node.zone),
        })
        .collect();
    let shards_count = state.shards_count;
    let ring = wanted_replicas(&hosts, shards_count, state.replicas_wanted as usize);
    let Ok(replicas) = ring else {
        // No node that may hold anything: nothing is wanted, so nothing is changed.
        return vec![Vec::new(); shards_count as usize];
    };
    let mut wanted: Vec<Vec<NodeId>> = replicas
        .by_shard
        .into_iter()
        .map(|holders| holders.into_iter().map(|id| NodeId(id as u32)).collect())
        .collect();
    for (&shard, nodes) in &state.placed {
        let holders = &mut wanted[shard as usize];
        let count = holders.len();
        let mut placed: Vec<NodeId> = nodes.iter().map(|&node| NodeId(node)).collect();
        let others = holders.iter().filter(|id| !nodes.contains(&id.0));
        placed.extend(others.copied());
        placed.truncate(count);
        *holders = placed;
    }
    for (&shard, &leader) in &state.led_by {
        let holders = &mut wanted[shard as usize];
        if let Some(place) = holders.iter().position(|id| id.0 == leader) {
            holders[..=place].rotate_right(1);
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::testing::state_of;

    fn replica(node: u32, incarnation: u64) -> ReplicaId {
        ReplicaId {
            node: NodeId(node),
            incarnation: Incarnation(incarnation),
        }
    }

    #[test]
    fn lives_end_when_a_node_begins_another_or_leaves() {
        // Breaks if the table of origins would forget a node that lives, or keep those that are gone for ever.
        let mut state = state_of(3);
        state.nodes.get_mut(&2).unwrap().incarnation = 5;
        state.nodes.remove(&3);
        let view = ClusterView::of(&state);
        assert!(!view.is_over(replica(1, 1)));
        assert!(view.is_over(replica(2, 4)));
        assert!(!view.is_over(replica(2, 5)));
        assert!(view.is_over(replica(3, 1)));
        // This node just joined and the view is older than that.
        assert!(!view.is_over(replica(4, 1)));
        assert!(!view.is_over(replica(2, 6)));
    }

    #[test]
    fn who_was_removed_is_heard_until_it_is_forgotten() {
        // Breaks if a removed node that lacks the entry that says so could not ask for it, and went on for ever.
        let mut state = state_of(3);
        let gone = state.nodes.remove(&3).unwrap();
        assert!(!ClusterView::of(&state).is_heard(replica(3, 1)));
        state.leaving.insert(3, gone);
        let view = ClusterView::of(&state);
        assert!(view.is_over(replica(3, 1)) && view.is_heard(replica(3, 1)));
        assert!(!view.is_heard(replica(3, 0)), "an earlier life");
        assert!(view.is_heard(replica(2, 1)) && view.is_heard(replica(4, 1)));
    }

    #[test]
    fn groups_grow_with_the_nodes() {
        // Breaks if three nodes do not get three replicas of everything, or two get a group that stops with either.
        for (nodes, voters) in [(1, 1), (2, 1), (3, 3), (4, 3), (5, 3)] {
            let view = ClusterView::of(&state_of(nodes));
            assert_eq!(view.voters_count(), voters, "{nodes} nodes");
            for group in 1..=view.shards_count {
                let wanted = view.wanted_of(GroupId(group)).len();
                assert_eq!(wanted, 3.min(nodes as usize), "{nodes} nodes");
            }
            assert_eq!(view.wanted_of(GroupId(0)).len(), nodes as usize);
        }
    }

    #[test]
    fn a_node_without_weight_holds_no_shard_but_hears_of_everything() {
        // Breaks if draining a node would leave it in the groups, or without the cluster's state.
        let mut state = state_of(4);
        state.nodes.get_mut(&1).unwrap().weight = 0;
        let view = ClusterView::of(&state);
        assert!(view.wanted.iter().flatten().all(|&id| id != NodeId(1)));
        assert!(!view.may_vote(NodeId(1)) && view.may_vote(NodeId(2)));
        assert!(view.wanted_of(GroupId(0)).contains(&replica(1, 1)));
    }
}
