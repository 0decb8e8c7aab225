//! An operator at work while everything else happens: weights, places, leaders, nodes that leave for good.
//!
//! It draws from a stream of its own, so a seed without an operator runs as it did before there was one.

use super::world::{Event, Phase, World};
use crate::faults::Fault;
use crate::random::Random;
use node::NodeId;
use node::operate::{Insistence, Operation};
use std::collections::BTreeSet;

/// Seeds of an operator are not those of the world.
const SEED_MIX: u64 = 0x6f70_6572_6174_6f72;

/// Who operates a cluster.
#[derive(Debug)]
pub struct Operator {
    random: Random,
    /// Longest time between two deeds, us.
    gap_us_max: u64,
    /// After so long a dead node is replaced, s.
    pub replace_after_s: u64,
    /// Nodes that were told to leave.
    pub removed: BTreeSet<NodeId>,
}

impl Operator {
    /// That of a seed, if it has one.
    pub fn draw(seed: u64) -> Option<Operator> {
        let mut random = Random::new(seed ^ SEED_MIX);
        random.chance(500_000).then(|| Operator {
            gap_us_max: *random.pick(&[200_000, 1_000_000, 3_000_000]),
            replace_after_s: *random.pick(&[1, 2, 600]),
            removed: BTreeSet::new(),
            random,
        })
    }
}

impl World {
    /// The operator begins when there is something to operate.
    pub(super) fn call_operator(&mut self, soonest_us: u64) {
        if let Some(operator) = &mut self.operator {
            let soon_us = soonest_us + operator.random.below(operator.gap_us_max);
            self.after(soon_us, Event::Operate);
        }
    }

    /// Has something done through some node, whatever comes of it.
    pub(super) fn operate(&mut self) {
        if self.phase != Phase::Trouble {
            return;
        }
        self.call_operator(1_000);
        let Some(mut operator) = self.operator.take() else {
            return;
        };
        let at = operator.random.below(self.plan.nodes as u64) as usize;
        if let Some(node) = self.begin_turn(at) {
            let view = node.view();
            let random = &mut operator.random;
            let mut pick = || random.pick(&view.nodes).id.0.to_string();
            let names = [pick(), pick()];
            let [one, other] = names.each_ref().map(|name| name.as_bytes());
            let shard = random.below(self.plan.shards as u64) as u32;
            let operation = match random.below(10) {
                0 | 1 => Operation::Drain(one, Insistence::Force),
                2 => Operation::Drain(one, Insistence::Careful),
                3 | 4 => Operation::Weigh(one, random.below(4) as u32, Insistence::Careful),
                5 => Operation::Move {
                    shard,
                    from: one,
                    to: other,
                },
                6 => Operation::Lead(shard, one),
                7 => {
                    let weights = vec![(one, random.below(2) as u32), (other, 1)];
                    let insistence = match random.chance(200_000) {
                        true => Insistence::Force,
                        false => Insistence::Careful,
                    };
                    Operation::Rebalance(weights, insistence)
                }
                _ => Operation::Remove(one),
            };
            let removes = matches!(operation, Operation::Remove(_));
            match node.operation(&operation, node.now()) {
                Ok(command) => {
                    self.note(|| format!("OPERATES n{at}: {command:?}"));
                    self.tally.count(Fault::Operation);
                    if removes {
                        let id = names[0].parse().expect("a number");
                        operator.removed.insert(NodeId(id));
                    }
                    node.change_cluster(command, Box::new(drop));
                }
                Err(why) => self.note(|| format!("OPERATES n{at} not: {operation:?}: {why}")),
            }
            node.flush(node.now());
            self.end_turn(at);
        }
        self.operator = Some(operator);
    }

    /// A node that finds itself removed ends, and its machine joins anew.
    pub(super) fn on_over(&mut self, number: usize) {
        let id = self.machines[number].id.node;
        let is_told = |operator: &Operator| operator.removed.contains(&id);
        if !self.operator.as_ref().is_some_and(is_told) {
            return self
                .judge
                .accuse(format!("n{number} is over, though it lives"));
        }
        let node = self.machines[number]
            .process
            .as_ref()
            .map(|process| &process.node);
        if node.is_some_and(|node| node.has_left()) {
            self.note(|| format!("LEAVES n{number}"));
            self.crash(number);
            self.after(100_000, Event::Join(number));
        }
    }
}
