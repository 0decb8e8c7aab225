//! The meta group's state, and how a command changes it: a pure function of (state, request), the same on every node.

use super::command::{
    MetaAnswer, MetaCommand, MetaError, MetaRequest, NodeAddresses, RequestId, VERSION, decode,
    encode_as,
};
use super::lives::ShardLife;
use super::scripts::ScriptStore;
use super::shares::Shares;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Answers kept for requests that come again, of either kind.
const ANSWERED_MAX: usize = 1024;
/// Nodes of one cluster: all of them are members of the meta group, and a group has no more.
const NODES_MAX: usize = 64;
/// Settings that are kept.
const SETTINGS_MAX: usize = 1024;
/// Bytes of a zone's name.
pub(crate) const ZONE_BYTES_MAX: usize = 64;
/// Version of the state's bytes.
const STATE_VERSION: u8 = 4;
/// The one before, in which there is no `lives`: written as long as that is empty, and read.
const BEFORE_LIVES: u8 = 3;
/// Weight of one node at most: with so many nodes of it, a ring still has room for all points.
const WEIGHT_MAX: u32 = 16;

/// The cluster, as all nodes agree on it.
///
/// - Ids of nodes are given out once, from 1 up; `nodes_ever` is the last one.
/// - A node's incarnation rises only.
/// - `epoch` rises with every command that changes anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaState {
    /// 32 hex digits; empty before the cluster was founded.
    pub cluster_id: String,
    /// The secret seed of keys' hashes.
    pub hash_seed: u64,
    /// Shards, for good.
    pub shards_count: u32,
    /// Replicas wanted of each shard.
    pub replicas_wanted: u32,
    /// Rises with every change.
    pub epoch: u64,
    /// The highest id given to a node.
    pub nodes_ever: u32,
    /// Nodes by id.
    pub nodes: BTreeMap<u32, NodeRecord>,
    /// Nodes that were removed and may not have heard of it.
    pub leaving: BTreeMap<u32, NodeRecord>,
    /// Shards that an operator placed by hand, and who is to hold them.
    pub placed: BTreeMap<u32, Vec<u32>>,
    /// Shards that are to be led by a node of somebody's choice.
    pub led_by: BTreeMap<u32, u32>,
    /// Runtime configuration of all nodes: names as CONFIG GET answers them, values.
    pub settings: BTreeMap<String, String>,
    /// The last requests that changed any of this.
    answered: Answered,
    /// The scripts that all nodes know. They are no part of the epoch.
    pub(crate) scripts: Box<ScriptStore>,
    /// Shards of which something is agreed on: those that have lost their memory once, that are looked into, or whose locks
    /// last long.
    pub lives: BTreeMap<u32, ShardLife>,
}

/// The last requests and what came of them, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answered(VecDeque<(RequestId, MetaAnswer)>);

impl Answered {
    /// Takes note of what came of a request.
    pub fn keep(&mut self, id: RequestId, answer: &MetaAnswer) {
        if self.0.len() == ANSWERED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((id, answer.clone()));
    }

    /// What came of a request.
    pub fn find(&self, id: RequestId) -> Option<&MetaAnswer> {
        let found = self.0.iter().rev().find(|(known, _)| *known == id);
        found.map(|(_, answer)| answer)
    }
}

/// What is known of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The life of its memory that counts.
    pub incarnation: u64,
    /// 40 hex digits.
    pub name: String,
    /// Where it is.
    pub addresses: NodeAddresses,
    /// Share of replicas relative to others'; 0: it is being drained.
    pub weight: u32,
    /// Where it stands; empty: nowhere in particular.
    pub zone: String,
    /// Whether it has been silent for so long that others hold what it held.
    pub is_lost: bool,
}

impl NodeRecord {
    /// Its share of replicas as it is.
    pub fn share(&self) -> u32 {
        match self.is_lost {
            true => 0,
            false => self.weight,
        }
    }
}

impl MetaState {
    /// Applies a request, once however often it comes, and returns what came of it.
    pub fn apply(&mut self, request: &MetaRequest) -> MetaAnswer {
        if let Some(answer) = self.answer_of(request.id) {
            return answer.clone();
        }
        if let MetaCommand::Scripts { changes } = &request.command
            && self.is_founded()
        {
            let answer = self.done();
            self.scripts.change(request.id, changes, &answer);
            return answer;
        }
        let answer = match self.change(&request.command) {
            Ok(answer) => answer,
            Err(reason) => MetaAnswer::Refused { reason },
        };
        self.answered.keep(request.id, &answer);
        answer
    }

    /// Does what a command says, to see what would come of it.
    ///
    /// # Errors
    /// Why it is refused: a sentence for people.
    pub fn try_command(&mut self, command: &MetaCommand) -> Result<MetaAnswer, String> {
        self.change(command)
    }

    /// What came of a request that was applied not long ago.
    pub fn answer_of(&self, id: RequestId) -> Option<&MetaAnswer> {
        let answered = self.answered.find(id);
        answered.or_else(|| self.scripts.answered.find(id))
    }

    /// Whether there is a cluster yet.
    pub fn is_founded(&self) -> bool {
        !self.cluster_id.is_empty()
    }

    /// The cluster's id as a number; none before it was founded.
    pub fn cluster(&self) -> Option<u128> {
        u128::from_str_radix(&self.cluster_id, 16).ok()
    }

    /// Who would have a share of the replicas with these weights, of which the last one for a node counts.
    pub(crate) fn shares_after(&self, weights: &[(u32, u32)]) -> Shares {
        Shares::after(self, weights)
    }

    fn change(&mut self, command: &MetaCommand) -> Result<MetaAnswer, String> {
        if !self.is_founded() && !matches!(command, MetaCommand::Found { .. }) {
            return Err("there is no cluster yet".into());
        }
        match command {
            MetaCommand::Found {
                cluster_id,
                hash_seed,
                shards_count,
                replicas_wanted,
                founders,
            } => {
                if self.is_founded() {
                    return Err("the cluster was founded before".into());
                }
                self.cluster_id.clone_from(cluster_id);
                self.hash_seed = *hash_seed;
                self.shards_count = *shards_count;
                self.replicas_wanted = *replicas_wanted;
                for (name, addresses) in founders {
                    self.add(name, addresses, (1, ""))?;
                }
                self.epoch += 1;
                Ok(self.done())
            }
            MetaCommand::Join {
                name,
                addresses,
                weight,
                zone,
            } => self.join(name, addresses, (*weight, zone)),
            MetaCommand::Announce {
                node,
                incarnation,
                addresses,
            } => {
                let record = self.record(*node)?;
                if record.incarnation != *incarnation {
                    return Err("another process took this node's place".into());
                }
                if record.addresses != *addresses {
                    record.addresses.clone_from(addresses);
                    self.epoch += 1;
                }
                Ok(self.done())
            }
            MetaCommand::Configure { pairs } => self.configure(pairs),
            MetaCommand::Weigh { node, weight } => self.weigh(&[(*node, *weight)]),
            MetaCommand::Remove { node, epoch } => {
                if *epoch != self.epoch {
                    return Err("the cluster has changed since, look again".into());
                }
                if self.record(*node)?.share() > 0 {
                    return Err("a node that holds replicas is drained before it is removed".into());
                }
                if let Some(record) = self.nodes.remove(node) {
                    self.leaving.insert(*node, record);
                }
                self.forget_wishes_for(*node);
                self.epoch += 1;
                Ok(self.done())
            }
            MetaCommand::SetReplicas { replicas_wanted } => {
                self.replicas_wanted = (*replicas_wanted).max(1);
                self.epoch += 1;
                Ok(self.done())
            }
            MetaCommand::Zone { node, zone } => {
                if zone.len() > ZONE_BYTES_MAX {
                    return Err(format!("a zone's name has at most {ZONE_BYTES_MAX} bytes"));
                }
                self.record(*node)?.zone.clone_from(zone);
                self.epoch += 1;
                Ok(self.done())
            }
            MetaCommand::Lose { node, incarnation } => {
                let record = self.record(*node)?;
                if record.incarnation != *incarnation {
                    return Err("the node has begun another life since".into());
                }
                if std::mem::replace(&mut record.is_lost, true) {
                    return Ok(self.done());
                }
                self.forget_wishes_for(*node);
                self.epoch += 1;
                Ok(self.done())
            }
            MetaCommand::Find { node } => {
                let record = self.record(*node)?;
                if std::mem::replace(&mut record.is_lost, false) {
                    self.epoch += 1;
                }
                Ok(self.done())
            }
            MetaCommand::Forget { node } => {
                if self.leaving.remove(node).is_some() {
                    self.epoch += 1;
                }
                Ok(self.done())
            }
            MetaCommand::Place { shard, nodes } => self.place(*shard, nodes),
            MetaCommand::Lead { shards, node } => self.prefer(shards, *node),
            MetaCommand::Rebalance { weights } => {
                let answer = self.weigh(weights)?;
                self.placed.clear();
                self.led_by.clear();
                Ok(answer)
            }
            MetaCommand::WeighSafely { node, weight } => {
                let weights = [(*node, *weight)];
                self.shares_after(&weights).check()?;
                self.weigh(&weights)
            }
            MetaCommand::RebalanceSafely { weights } => {
                self.shares_after(weights).check()?;
                let weights = weights.clone();
                self.change(&MetaCommand::Rebalance { weights })
            }
            MetaCommand::Seal { shards } => self.seal(shards),
            MetaCommand::Unseal { shards } => self.unseal(shards),
            MetaCommand::Testify { node, shards } => self.testify(*node, shards),
            MetaCommand::CoverLocks { shards } => self.cover_locks(shards),
            // Done in `apply`, where its name is known.
            MetaCommand::Scripts { .. } => Ok(self.done()),
        }
    }

    fn weigh(&mut self, weights: &[(u32, u32)]) -> Result<MetaAnswer, String> {
        for (node, weight) in weights {
            self.record(*node)?;
            if *weight > WEIGHT_MAX {
                return Err(format!("a weight is 0 to {WEIGHT_MAX}"));
            }
        }
        let weight_after = |(node, record): (&u32, &NodeRecord)| {
            let change = weights.iter().rfind(|(changed, _)| changed == node);
            change.map_or(record.weight, |(_, weight)| *weight)
        };
        if !weights.is_empty()
            && self
                .nodes
                .iter()
                .map(weight_after)
                .all(|weight| weight == 0)
        {
            return Err("no node would be left to hold anything".into());
        }
        for (node, weight) in weights {
            self.record(*node)?.weight = *weight;
            if *weight == 0 {
                self.forget_wishes_for(*node);
            }
        }
        self.epoch += 1;
        Ok(self.done())
    }

    fn place(&mut self, shard: u32, nodes: &[u32]) -> Result<MetaAnswer, String> {
        self.check_shard(shard)?;
        for (at, node) in nodes.iter().enumerate() {
            if self.record(*node)?.share() == 0 {
                return Err(format!("node {node} is drained or lost and holds no shard"));
            }
            if nodes[..at].contains(node) {
                return Err(format!("node {node} cannot hold a shard twice"));
            }
        }
        match nodes.is_empty() {
            true => self.placed.remove(&shard),
            false => self.placed.insert(shard, nodes.to_vec()),
        };
        self.epoch += 1;
        Ok(self.done())
    }

    fn prefer(&mut self, shards: &[u32], node: Option<u32>) -> Result<MetaAnswer, String> {
        for &shard in shards {
            self.check_shard(shard)?;
        }
        if let Some(node) = node
            && self.record(node)?.share() == 0
        {
            return Err(format!("node {node} is drained or lost and leads no shard"));
        }
        for &shard in shards {
            match node {
                None => self.led_by.remove(&shard),
                Some(node) => self.led_by.insert(shard, node),
            };
        }
        self.epoch += 1;
        Ok(self.done())
    }

    pub(super) fn check_shard(&self, shard: u32) -> Result<(), String> {
        match shard < self.shards_count {
            true => Ok(()),
            false => Err(format!("shards are 0 to {}", self.shards_count - 1)),
        }
    }

    /// A node holds nothing any more: what was wished of it by hand is for the ring to say again.
    fn forget_wishes_for(&mut self, node: u32) {
        self.placed.retain(|_, nodes| !nodes.contains(&node));
        self.led_by.retain(|_, leader| *leader != node);
    }

    /// Who comes under a known name, or from a known address, is that node in a new life.
    fn join(
        &mut self,
        name: &str,
        addresses: &NodeAddresses,
        (weight, zone): (u32, &str),
    ) -> Result<MetaAnswer, String> {
        if zone.len() > ZONE_BYTES_MAX {
            return Err(format!("a zone's name has at most {ZONE_BYTES_MAX} bytes"));
        }
        let weight = weight.min(WEIGHT_MAX);
        let known = self.node_of(name, addresses);
        self.epoch += 1;
        if let Some(id) = known {
            let record = self.record(id)?;
            record.incarnation += 1;
            record.is_lost = false;
            record.addresses.clone_from(addresses);
            let incarnation = record.incarnation;
            return Ok(MetaAnswer::Joined {
                node: id,
                incarnation,
            });
        }
        let node = self.add(name, addresses, (weight, zone))?;
        Ok(MetaAnswer::Joined {
            node,
            incarnation: 1,
        })
    }

    /// A node that was not known.
    fn add(
        &mut self,
        name: &str,
        addresses: &NodeAddresses,
        (weight, zone): (u32, &str),
    ) -> Result<u32, String> {
        if self.nodes.len() == NODES_MAX {
            return Err(format!("a cluster has {NODES_MAX} nodes at most"));
        }
        self.nodes_ever += 1;
        let record = NodeRecord {
            incarnation: 1,
            name: name.into(),
            addresses: addresses.clone(),
            weight,
            zone: zone.into(),
            is_lost: false,
        };
        self.nodes.insert(self.nodes_ever, record);
        Ok(self.nodes_ever)
    }

    /// Which known node somebody with this name and these addresses is.
    pub fn node_of(&self, name: &str, addresses: &NodeAddresses) -> Option<u32> {
        let named = self.nodes.iter().find(|(_, node)| node.name == name);
        let is_there = |node: &NodeRecord| {
            node.addresses.host == addresses.host
                && node.addresses.ports[PEER] == addresses.ports[PEER]
        };
        // A host that is no address in particular says nothing of who it is.
        let is_wildcard = crate::Addresses::from(addresses.clone()).is_wildcard();
        let there = || self.nodes.iter().find(|(_, node)| is_there(node));
        named
            .or_else(|| (!is_wildcard).then(there).flatten())
            .map(|(&id, _)| id)
    }

    fn configure(&mut self, pairs: &[(String, String)]) -> Result<MetaAnswer, String> {
        let new = pairs
            .iter()
            .filter(|(name, _)| !self.settings.contains_key(name));
        if self.settings.len() + new.count() > SETTINGS_MAX {
            return Err("too many settings".into());
        }
        for (name, value) in pairs {
            self.settings.insert(name.clone(), value.clone());
        }
        self.epoch += 1;
        Ok(self.done())
    }

    fn record(&mut self, node: u32) -> Result<&mut NodeRecord, String> {
        let unknown = || format!("there is no node {node}");
        self.nodes.get_mut(&node).ok_or_else(unknown)
    }

    pub(super) fn done(&self) -> MetaAnswer {
        MetaAnswer::Done { epoch: self.epoch }
    }

    /// The whole state as bytes: a snapshot, or what a joining node is told. The same state gives the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self.lives.is_empty() {
            // As builds know it that know of no generations.
            true => {
                let mut bytes = encode_as(BEFORE_LIVES, self);
                bytes.pop();
                bytes
            }
            false => encode_as(STATE_VERSION, self),
        }
    }

    /// Reads a state.
    ///
    /// # Errors
    /// [`MetaError`].
    pub fn decode(bytes: &[u8]) -> Result<MetaState, MetaError> {
        let (&version, rest) = bytes.split_first().ok_or(MetaError::Malformed)?;
        let mut bytes = [&[VERSION], rest].concat();
        match version {
            STATE_VERSION => {}
            // An empty map behind all else.
            BEFORE_LIVES => bytes.push(0),
            other => return Err(MetaError::Version(other)),
        }
        decode(&bytes)
    }
}

/// Place of the peer port among a node's ports.
const PEER: usize = 2;

#[cfg(test)]
mod tests;
