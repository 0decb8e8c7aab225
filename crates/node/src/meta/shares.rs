//! Whether nodes that have a share of the replicas are enough for as many replicas as are wanted.

use super::state::{MetaState, NodeRecord};
use placement::voters_count;
use std::collections::BTreeSet;

/// Who has a share of the replicas after a change of weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Nodes that have one then.
    pub left: BTreeSet<u32>,
    /// So many are needed: as many as would vote in each group if every node of the cluster had a share. Counting only
    /// those that have one now would let a cluster be drained node by node, each step as safe as the one before.
    pub needed_count: usize,
    /// Whether fewer have one than before.
    pub takes_away: bool,
}

impl Shares {
    /// Those of a state with these weights, of which the last one for a node counts. O(nodes × weights).
    pub fn after(state: &MetaState, weights: &[(u32, u32)]) -> Shares {
        let keeps = |(node, record): &(&u32, &NodeRecord)| {
            let change = weights.iter().rfind(|(changed, _)| changed == *node);
            !record.is_lost && change.map_or(record.weight, |(_, weight)| *weight) > 0
        };
        let left: BTreeSet<u32> = state
            .nodes
            .iter()
            .filter(keeps)
            .map(|(id, _)| *id)
            .collect();
        let before = state.nodes.values().filter(|record| record.share() > 0);
        Shares {
            needed_count: voters_count(state.replicas_wanted as usize, state.nodes.len()),
            takes_away: left.len() < before.count(),
            left,
        }
    }

    /// Whether they are enough, or no fewer than before.
    ///
    /// # Errors
    /// How many are left for how many replicas: a sentence for people.
    pub fn check(&self) -> Result<(), String> {
        match self.takes_away && self.left.len() < self.needed_count {
            true if self.left.is_empty() => Err("no node would be left to hold anything".into()),
            true => Err(format!(
                "{} nodes would be left for {} replicas of each shard; FORCE does it all the same",
                self.left.len(),
                self.needed_count
            )),
            false => Ok(()),
        }
    }
}
