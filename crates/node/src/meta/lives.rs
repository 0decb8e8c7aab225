//! Shards whose memory was lost: what the cluster agrees on about them (`crate::resets` says why and who drives it).
//!
//! ```text
//!   Seal ─▶ every node testifies to what it has of the shard, and takes no part in it any more
//!           last Testify ─▶ nobody can lead it: the next generation, from whoever has most
//!                       └─▶ somebody can: the inquiry is over
//!   Unseal ─▶ the inquiry is over
//! ```
//!
//! A testimony counts only together with those of *all* nodes of the cluster, in their present lives: whoever is silent may
//! know of a later configuration, with a leader. What is found is a function of the state, so all nodes find the same.

use super::command::MetaAnswer;
use super::state::MetaState;
use crate::view::wanted_of_all;
use paxos::{Config, Generation, Incarnation, NodeId, ReplicaId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Locks of a shard may last so long, ms, without the cluster having agreed on it.
pub(crate) const LOCK_SPAN_MS: u64 = 60_000;

/// A replica as it is written: node, incarnation.
pub type ReplicaName = (u32, u64);

/// What the cluster agrees on about one shard, as far as it is not as with all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardLife {
    /// The generation of its group.
    pub generation: u32,
    /// Who began it, and from which state: index, number of its configuration.
    pub base: Option<ReplicaName>,
    /// All up to here of the generation before is in it.
    pub from_index: u64,
    /// The number of the configuration that it began with.
    pub config_number: u64,
    /// For so long from its beginning no lock is granted, ms.
    pub withheld_ms: u64,
    /// The longest time, ms, for which locks of it may be granted; 0: [`LOCK_SPAN_MS`]. Rises only.
    pub lock_span_ms: u64,
    /// How often it was to be found out if somebody can lead it: a testimony belongs to one of these times.
    pub inquiries_count: u64,
    /// Whether it is being found out: what nodes testified, by node.
    pub inquiry: Option<BTreeMap<u32, Testimony>>,
}

/// What a node has of a shard whose group seems to have lost the memory of a majority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Testimony {
    /// The life of the node that says it.
    pub incarnation: u64,
    /// The number of the latest configuration that it knows chosen …
    pub config_number: u64,
    /// … and who votes in it; nobody: it knows of none.
    pub voters: Vec<ReplicaName>,
    /// All up to here it knows chosen, and has the state for; none: it has no state.
    pub chosen: Option<u64>,
}

/// A testimony about one of several shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardTestimony {
    /// The shard.
    pub shard: u32,
    /// The generation that it is about.
    pub generation: u32,
    /// Which inquiry asks, as [`ShardLife::inquiries_count`] has it: what was said to another one, and comes late, may not be so any more.
    pub inquiry: u64,
    /// What is testified.
    pub testimony: Testimony,
}

impl Testimony {
    /// What a replica's configuration and state come to.
    pub(crate) fn of(me: ReplicaId, config: &Config, chosen: Option<u64>) -> Testimony {
        Testimony {
            incarnation: me.incarnation.0,
            config_number: config.number,
            voters: config.voters.iter().map(name_of).collect(),
            chosen,
        }
    }
}

impl ShardLife {
    /// The longest time for which locks may be granted without a word to the others, ms.
    pub fn agreed_span_ms(&self) -> u64 {
        self.lock_span_ms.max(LOCK_SPAN_MS)
    }

    /// Its generation.
    pub fn generation(&self) -> Generation {
        Generation(self.generation)
    }

    /// Who began the generation.
    pub fn base(&self) -> Option<ReplicaId> {
        self.base.map(replica_of)
    }
}

fn name_of(id: &ReplicaId) -> ReplicaName {
    (id.node.0, id.incarnation.0)
}

fn replica_of((node, incarnation): ReplicaName) -> ReplicaId {
    ReplicaId {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
    }
}

/// Whether nobody can lead a group of which these are all testimonies: of the latest configuration that anybody knows a
/// majority has lost its memory. `is_over` says whose it is.
pub(crate) fn is_lost<'a>(
    testimonies: impl Iterator<Item = &'a Testimony>,
    is_over: impl Fn(ReplicaId) -> bool,
) -> bool {
    let known = testimonies.filter(|one| !one.voters.is_empty());
    let Some(latest) = known.max_by_key(|one| one.config_number) else {
        return true;
    };
    let remembers = |name: &&ReplicaName| !is_over(replica_of(**name));
    let remaining = latest.voters.iter().filter(remembers).count();
    remaining < latest.voters.len() / 2 + 1
}

/// How commands change it.
impl MetaState {
    pub(super) fn seal(&mut self, shards: &[(u32, u32)]) -> Result<MetaAnswer, String> {
        let mut is_any = false;
        for &(shard, generation) in shards {
            self.check_shard(shard)?;
            let life = self.lives.entry(shard).or_default();
            if life.generation == generation && life.inquiry.is_none() {
                life.inquiry = Some(BTreeMap::new());
                life.inquiries_count += 1;
                is_any = true;
            }
        }
        self.epoch += u64::from(is_any);
        Ok(self.done())
    }

    pub(super) fn unseal(&mut self, shards: &[(u32, u32)]) -> Result<MetaAnswer, String> {
        let mut is_any = false;
        for &(shard, generation) in shards {
            if let Some(life) = self.lives.get_mut(&shard)
                && life.generation == generation
            {
                is_any |= life.inquiry.take().is_some();
            }
        }
        self.epoch += u64::from(is_any);
        Ok(self.done())
    }

    pub(super) fn testify(
        &mut self,
        node: u32,
        testimonies: &[ShardTestimony],
    ) -> Result<MetaAnswer, String> {
        let mut is_any = false;
        for one in testimonies {
            if let Some(life) = self.lives.get_mut(&one.shard)
                && life.generation == one.generation
                && life.inquiries_count == one.inquiry
                && let Some(inquiry) = &mut life.inquiry
            {
                is_any |=
                    inquiry.insert(node, one.testimony.clone()).as_ref() != Some(&one.testimony);
                is_any |= self.conclude(one.shard);
            }
        }
        self.epoch += u64::from(is_any);
        Ok(self.done())
    }

    pub(super) fn cover_locks(&mut self, shards: &[(u32, u64)]) -> Result<MetaAnswer, String> {
        let mut is_any = false;
        for &(shard, span_ms) in shards {
            self.check_shard(shard)?;
            let life = self.lives.entry(shard).or_default();
            is_any |= span_ms > life.lock_span_ms;
            life.lock_span_ms = life.lock_span_ms.max(span_ms);
        }
        self.epoch += u64::from(is_any);
        Ok(self.done())
    }

    /// Comes to a conclusion about a shard if all nodes have testified; whether it did.
    fn conclude(&mut self, shard: u32) -> bool {
        let Some(inquiry) = self.lives.get(&shard).and_then(|life| life.inquiry.clone()) else {
            return false;
        };
        // Who was removed votes nowhere any more, whatever a configuration says that is no longer in force: that was looked at.
        let nodes = || self.nodes.iter();
        let has_testified = |(node, record): (&u32, &super::NodeRecord)| {
            let testimony = inquiry.get(node);
            testimony.is_some_and(|one| one.incarnation == record.incarnation)
        };
        if !nodes().all(has_testified) {
            return false;
        }
        let present: BTreeMap<u32, &Testimony> =
            nodes().map(|(node, _)| (*node, &inquiry[node])).collect();
        let is_over = |id: ReplicaId| match self.nodes.get(&id.node.0) {
            Some(record) => record.incarnation > id.incarnation.0,
            None => id.node.0 <= self.nodes_ever,
        };
        if !is_lost(present.values().copied(), is_over) {
            self.lives.entry(shard).or_default().inquiry = None;
            return true;
        }
        let number = present.values().map(|one| one.config_number).max();
        let having = present.iter().filter_map(|(node, one)| {
            let chosen = one.chosen?;
            Some((chosen, std::cmp::Reverse(*node), one.incarnation))
        });
        let base = having
            .max()
            .map(|(chosen, node, incarnation)| (chosen, (node.0, incarnation)));
        let (from_index, base) = base.unwrap_or_else(|| (0, self.anybody_for(shard)));
        let life = self.lives.entry(shard).or_default();
        life.generation += 1;
        life.base = Some(base);
        life.from_index = from_index;
        life.config_number = number.unwrap_or(0) + 1;
        life.withheld_ms = life.agreed_span_ms();
        life.inquiry = None;
        true
    }

    /// Who begins a shard of which nobody has anything: who should lead it.
    fn anybody_for(&self, shard: u32) -> ReplicaName {
        let wanted = wanted_of_all(self);
        let first = wanted[shard as usize].first().map(|id| id.0);
        let node = first
            .or_else(|| self.nodes.keys().next().copied())
            .expect("a cluster has a node");
        (node, self.nodes[&node].incarnation)
    }
}

#[cfg(test)]
mod tests;
