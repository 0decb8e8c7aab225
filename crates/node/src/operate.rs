//! What an operator may have done to the cluster, and why not: requests become commands of the meta group if they are
//! safe as far as this node knows, and a plan says what they would move.
//!
//! Nothing here moves anything. The meta group's state says what is wanted; each group's leader brings its group there
//! (`meta/reconcile`).

use crate::host::Now;
use crate::hot::HotKey;
use crate::meta::{MetaCommand, ZONE_BYTES_MAX};
use crate::node::Node;
use crate::report::{LedShard, NodeReport};
use crate::settings::is_zone;
use crate::view::{ClusterView, NodeView, wanted_of_all};
use paxos::NodeId;
use serde::Serialize;
use std::collections::BTreeMap;

/// Shards that `TORC HOT` shows.
const HOT_SHARDS_MAX: usize = 16;

/// Whether something is done though it takes away from the cluster's safety.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insistence {
    /// Only if it is safe.
    Careful,
    /// Whatever follows from it, as far as it can be done at all.
    Force,
}

/// What an operator wants. Nodes are named by number, by their 40 hex digits or by HOST:PORT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// A node is to hold nothing any more.
    Drain(&'a [u8], Insistence),
    /// A node that holds nothing leaves for good.
    Remove(&'a [u8]),
    /// A node's share of replicas, relative to others'.
    Weigh(&'a [u8], u32, Insistence),
    /// Where a node stands.
    Zone(&'a [u8], &'a [u8]),
    /// A node's replica of a shard is to be another's.
    Move {
        /// The shard.
        shard: u32,
        /// Who holds it.
        from: &'a [u8],
        /// Who is to.
        to: &'a [u8],
    },
    /// A shard is to be led by a node that holds it.
    Lead(u32, &'a [u8]),
    /// All shards that this node holds are to be led by it.
    LeadAll,
    /// The ring is to say again who holds and leads what, with these weights.
    Rebalance(Vec<(&'a [u8], u32)>, Insistence),
}

/// What is to move until the cluster is as wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Replicas that come, go, or do both.
    pub moves: Vec<Move>,
    /// How many of them come somewhere.
    pub replicas: usize,
    /// Bytes that are sent for it.
    pub bytes: u64,
    /// Shards that get another leader.
    pub leaders: usize,
    /// Shards of which this node does not know who holds them, as they have no leader.
    pub unknown: Vec<u32>,
}

/// What is asked for most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hot {
    /// Shards with the most commands, of all nodes.
    pub shards: Vec<HotShard>,
    /// Keys that this node's clients ask for most.
    pub keys: Vec<HotKey>,
}

/// A shard and how much it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HotShard {
    /// Its number.
    pub shard: u32,
    /// Who leads it.
    pub leader: Option<u32>,
    /// Commands in the last second.
    pub requests_per_s: u64,
    /// Bytes of its keys and values.
    pub bytes: u64,
}

/// What becomes of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Move {
    /// The shard.
    pub shard: u32,
    /// The node that holds it and is not to.
    pub from: Option<u32>,
    /// The node that is to hold it and does not vote in its group yet.
    pub to: Option<u32>,
    /// Bytes of it.
    pub bytes: u64,
}

impl Node {
    /// The command by which an operation comes about.
    ///
    /// # Errors
    /// What is wrong with it, or unsafe about it: a sentence for people.
    pub fn operation(&self, operation: &Operation<'_>, now: Now) -> Result<MetaCommand, String> {
        let view = self.view();
        match operation {
            Operation::Drain(node, insistence) => {
                self.operation(&Operation::Weigh(node, 0, *insistence), now)
            }
            Operation::Remove(node) => {
                let node = node_of(&view, node)?;
                self.check_remove(&view, node, now)?;
                Ok(MetaCommand::Remove {
                    node: node.id.0,
                    epoch: view.epoch,
                })
            }
            Operation::Weigh(node, weight, insistence) => {
                let (node, weight) = (node_of(&view, node)?.id.0, *weight);
                if *insistence == Insistence::Force {
                    return Ok(MetaCommand::Weigh { node, weight });
                }
                self.check_weights(&view, &[(node, weight)], now)?;
                Ok(MetaCommand::WeighSafely { node, weight })
            }
            Operation::Zone(node, zone) => {
                let node = node_of(&view, node)?.id.0;
                let fit = std::str::from_utf8(zone)
                    .ok()
                    .filter(|name| is_zone(name.as_bytes()));
                let zone = fit.map(str::to_owned).ok_or_else(|| {
                    format!(
                        "a zone's name has at most {ZONE_BYTES_MAX} letters, digits, dots, dashes and underscores"
                    )
                })?;
                Ok(MetaCommand::Zone { node, zone })
            }
            Operation::Move { shard, from, to } => {
                let (from, to) = (node_of(&view, from)?.id, node_of(&view, to)?.id);
                let holders = holders_of(&view, *shard)?;
                let place = holders
                    .iter()
                    .position(|id| *id == from)
                    .ok_or_else(|| format!("node {} does not hold shard {shard}", from.0))?;
                if holders.contains(&to) {
                    return Err(format!("node {} holds shard {shard} already", to.0));
                }
                let mut nodes: Vec<u32> = holders.iter().map(|id| id.0).collect();
                nodes[place] = to.0;
                let shard = *shard;
                Ok(MetaCommand::Place { shard, nodes })
            }
            Operation::Lead(shard, node) => {
                let node = node_of(&view, node)?.id;
                if !holders_of(&view, *shard)?.contains(&node) {
                    return Err(format!(
                        "node {} does not hold shard {shard}; move it there first",
                        node.0
                    ));
                }
                Ok(MetaCommand::Lead {
                    shards: vec![*shard],
                    node: Some(node.0),
                })
            }
            Operation::LeadAll => {
                let me = self.cluster.me.node;
                let holds = |shard: &u32| view.wanted[*shard as usize].contains(&me);
                let shards: Vec<u32> = (0..view.shards_count).filter(holds).collect();
                match shards.is_empty() {
                    true => Err("this node holds no shard".into()),
                    false => Ok(MetaCommand::Lead {
                        shards,
                        node: Some(me.0),
                    }),
                }
            }
            Operation::Rebalance(weights, insistence) => {
                let weights = weights_of(&view, weights)?;
                if *insistence == Insistence::Force {
                    return Ok(MetaCommand::Rebalance { weights });
                }
                self.check_weights(&view, &weights, now)?;
                Ok(MetaCommand::RebalanceSafely { weights })
            }
        }
    }

    /// Whether enough nodes would be left, and live, to hold as many replicas as are wanted. The state counts them once more
    /// when it takes the command over, as two operators may ask at a time; who lives it cannot know.
    fn check_weights(
        &self,
        view: &ClusterView,
        weights: &[(u32, u32)],
        now: Now,
    ) -> Result<(), String> {
        let shares = self.with_meta(|group| group.state().shares_after(weights));
        shares.check()?;
        let overview = self.overview(now);
        let is_left = |node: &&NodeView| shares.left.contains(&node.id.0);
        let (alive, dead): (Vec<&NodeView>, Vec<&NodeView>) = view
            .nodes
            .iter()
            .filter(is_left)
            .partition(|node| overview.is_alive(node.id));
        match dead.first() {
            Some(dead) if shares.takes_away && alive.len() < shares.needed_count => Err(format!(
                "node {} is not alive, and without it {} nodes would be left for {} replicas of each shard; FORCE does it \
                 all the same",
                dead.id.0,
                alive.len(),
                shares.needed_count
            )),
            _ => Ok(()),
        }
    }

    fn check_remove(&self, view: &ClusterView, node: &NodeView, now: Now) -> Result<(), String> {
        if node.is_active() {
            return Err(format!("node {} is to be drained first", node.id.0));
        }
        let known = self.led_shards(&self.reports.all(now));
        for shard in 0..view.shards_count {
            let Some(led) = known.get(&shard) else {
                return Err(format!(
                    "shard {shard} has no leader, so nobody can say that node {} does not hold it",
                    node.id.0
                ));
            };
            if led.epoch < view.epoch {
                return Err(format!(
                    "the leader of shard {shard} has not heard of the last change yet, try again"
                ));
            }
            if led.voters.contains(&node.id.0) {
                let holding = known.values().filter(|led| led.voters.contains(&node.id.0));
                return Err(format!(
                    "node {} still votes in {} shards",
                    node.id.0,
                    holding.count()
                ));
            }
        }
        // It may vote there for want of others, until it is gone: then those that are left go on without it.
        let votes_in_meta = !view.lacks_active()
            && self.with_meta(|group| {
                let voters = &group.replica().config().voters;
                voters.len() > 1 && voters.iter().any(|id| id.node == node.id)
            });
        match votes_in_meta {
            true => Err(format!(
                "node {} still votes on the cluster's own state",
                node.id.0
            )),
            false => Ok(()),
        }
    }

    /// What leaders report of their shards, by shard.
    pub(crate) fn led_shards(
        &self,
        reports: &BTreeMap<NodeId, NodeReport>,
    ) -> BTreeMap<u32, LedShard> {
        let mut led = BTreeMap::new();
        for (&node, report) in reports {
            for shard in &report.led {
                // Two may say that they lead, for a moment: the one that is believed counts.
                let group = paxos::GroupId(shard.shard + 1);
                let known = shard.shard < self.shards_count() as u32;
                if known && self.cluster.leader(group) == Some(node) {
                    led.insert(shard.shard, shard.clone());
                }
            }
        }
        led
    }

    /// The shards and keys that are asked for most.
    pub fn hot(&self, now: Now) -> Hot {
        let led = self.led_shards(&self.reports.all(now));
        let mut led: Vec<LedShard> = led.into_values().collect();
        led.sort_by_key(|led| (std::cmp::Reverse(led.requests_per_s), led.shard));
        led.truncate(HOT_SHARDS_MAX);
        let shards = led.into_iter().map(|led| HotShard {
            leader: self
                .cluster
                .leader(paxos::GroupId(led.shard + 1))
                .map(|id| id.0),
            shard: led.shard,
            requests_per_s: led.requests_per_s,
            bytes: led.bytes,
        });
        Hot {
            shards: shards.collect(),
            keys: self.hot_keys.top(|key| self.shard_of(key), now),
        }
    }

    /// What is still to move; with other weights, what would move.
    ///
    /// # Errors
    /// A node that there is not, or a weight that cannot be.
    pub fn plan(&self, weights: &[(&[u8], u32)], now: Now) -> Result<Plan, String> {
        let view = self.view();
        let wanted = match weights.is_empty() {
            true => view.wanted.clone(),
            false => {
                let weights = weights_of(&view, weights)?;
                let mut state = self.with_meta(|group| group.state().clone());
                state.try_command(&MetaCommand::Rebalance { weights })?;
                wanted_of_all(&state)
            }
        };
        Ok(self.plan_of(&wanted, &self.led_shards(&self.reports.all(now))))
    }

    /// What turns the placement that leaders report into the one that is wanted.
    pub(crate) fn plan_of(&self, wanted: &[Vec<NodeId>], known: &BTreeMap<u32, LedShard>) -> Plan {
        let mut before = wanted.to_vec();
        let mut plan = Plan::default();
        for (shard, holders) in (0..).zip(&mut before) {
            let Some(led) = known.get(&shard) else {
                plan.unknown.push(shard);
                continue;
            };
            // Who leads comes first, as in what is wanted.
            let leader = self.cluster.leader(paxos::GroupId(shard + 1));
            let members = led.voters.iter().chain(&led.learners);
            let members = members
                .map(|&id| NodeId(id))
                .filter(|id| Some(*id) != leader);
            *holders = leader.into_iter().chain(members).collect();
        }
        let steps = placement::plan(&replicas_of(&before), &replicas_of(wanted));
        plan.leaders = steps.hand_overs.len();
        plan.replicas = steps.copies_count();
        for step in steps.moves {
            let bytes = known.get(&step.shard).map_or(0, |led| led.bytes);
            plan.bytes += step.to.map_or(0, |_| bytes);
            plan.moves.push(Move {
                shard: step.shard,
                from: step.from.map(|id| id as u32),
                to: step.to.map(|id| id as u32),
                bytes,
            });
        }
        plan
    }
}

fn replicas_of(by_shard: &[Vec<NodeId>]) -> placement::Replicas {
    let ids = |holders: &Vec<NodeId>| holders.iter().map(|id| u64::from(id.0)).collect();
    placement::Replicas {
        by_shard: by_shard.iter().map(ids).collect(),
    }
}

/// A node by whatever it is called.
fn node_of<'a>(view: &'a ClusterView, name: &[u8]) -> Result<&'a NodeView, String> {
    let text = String::from_utf8_lossy(name);
    let number = text.parse().ok().and_then(|id| view.node(NodeId(id)));
    let address = || {
        view.nodes.iter().find(|node| {
            let (host, port) = (&node.addresses.host, node.addresses.client_port);
            crate::settings::host_and_port(host, port) == text
        })
    };
    number
        .or_else(|| view.node_named(name))
        .or_else(address)
        .ok_or_else(|| format!("there is no node '{text}'"))
}

fn weights_of(view: &ClusterView, weights: &[(&[u8], u32)]) -> Result<Vec<(u32, u32)>, String> {
    weights
        .iter()
        .map(|(node, weight)| Ok((node_of(view, node)?.id.0, *weight)))
        .collect()
}

fn holders_of(view: &ClusterView, shard: u32) -> Result<&[NodeId], String> {
    let holders = view.wanted.get(shard as usize);
    let holders = holders.map(Vec::as_slice);
    holders.ok_or_else(|| format!("shards are 0 to {}", view.shards_count.saturating_sub(1)))
}
