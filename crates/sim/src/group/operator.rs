//! The operator: brings the voters to what is wanted, replaces who lost its memory, and sees after the trouble whether
//! the group recovers.

use super::node::Process;
use super::operations::Machine;
use super::trace;
use super::world::{Event, Phase, World};
use crate::faults::Fault;
use paxos::{Config, Input, ReplicaId};

/// How long recovery may take, in longest election timeouts.
const RECOVERY_SILENCES_MAX: u64 = 60;
/// Entries that a learner may lack when it is given a vote.
const LAG_ENTRIES_MAX: u64 = 4;

impl World {
    pub(super) fn operator_looks(&mut self) {
        self.after(self.plan.operator_us, Event::OperatorLooks);
        for number in 0..self.nodes.len() {
            if self.random.chance(100_000) {
                self.checkpoint(number);
            }
            self.retire(number);
        }
        if let Some(leader) = self.leader()
            && self.nodes[leader].is_awake()
        {
            self.bring_config_about(leader);
        }
        match self.phase {
            Phase::Trouble if self.now_us >= self.plan.trouble_us => self.heal(),
            Phase::Trouble | Phase::Done => {}
            Phase::Healing | Phase::Settling => self.look_at_recovery(),
        }
    }

    /// A node that is no member any more may let its state go.
    fn retire(&mut self, number: usize) {
        let node = &self.nodes[number];
        let can_retire = |process: &Process| process.replica.can_retire();
        if node.is_paused
            || !node.process.as_deref().is_some_and(can_retire)
            || !self.random.chance(500_000)
        {
            return;
        }
        self.note(|| format!("OPERATOR lets n{number} retire"));
        self.tally.count(Fault::Retire);
        self.step(number, Input::Retire);
        if let Some(process) = &mut self.nodes[number].process {
            process.machine = Machine::hollow(process.replica.chosen().0);
            process.streams.clear();
        }
    }

    /// One step towards the wanted voters, if one is due.
    fn bring_config_about(&mut self, leader: usize) {
        let config = self.process(leader).replica.config().clone();
        let (voters, learners) = self.next_config(leader, &config);
        if (&voters, &learners) == (&config.voters, &config.learners) || voters.is_empty() {
            return;
        }
        let changed = voters
            .iter()
            .filter(|id| !config.voters.contains(id))
            .count();
        let intact = voters.iter().filter(|id| self.remembers(**id)).count();
        if intact * 2 <= voters.len() {
            return;
        }
        self.note(|| {
            let (voters, learners) = (trace::ids(&voters), trace::ids(&learners));
            format!("OPERATOR wants voters {voters} learners {learners}")
        });
        let changes_voters = voters != config.voters;
        self.tally.count(Fault::Reconfigure);
        if changed >= 2 {
            self.tally.count(Fault::ReplaceTwo);
        }
        let stay = config.voters.iter().filter(|id| voters.contains(id));
        let stay: Vec<usize> = stay.map(|id| id.node.0 as usize).collect();
        self.step(leader, Input::Reconfigure { voters, learners });
        if changes_voters && self.cut_at_reconfigure && self.phase == Phase::Trouble {
            self.cut_at_reconfigure = false;
            if self.random.chance(500_000) {
                self.tally.count(Fault::CutAtReconfigure);
                self.isolate(leader);
            } else {
                self.part_at_reconfigure(leader, &config, stay);
            }
        }
    }

    /// The voters and learners to ask for next: first all who are to vote learn, then those who have caught up vote.
    fn next_config(&self, leader: usize, config: &Config) -> (Vec<ReplicaId>, Vec<ReplicaId>) {
        let replica = &self.nodes[leader]
            .process
            .as_ref()
            .expect("it leads")
            .replica;
        let chosen = replica.chosen().0;
        let mut voters: Vec<ReplicaId> = Vec::new();
        let mut learners: Vec<ReplicaId> = Vec::new();
        let mut is_complete = true;
        for node in &self.nodes {
            let id = node.id();
            let votes = config.voters.contains(&id);
            if !self.wanted[node.number] || votes {
                continue;
            }
            is_complete &= node.process.is_none();
            let learns = config.learners.contains(&id);
            if learns && replica.acked(id).0 + LAG_ENTRIES_MAX >= chosen {
                voters.push(id);
            } else if learns || (node.process.is_some() && node.remembers) {
                learners.push(id);
            }
        }
        for &id in &config.voters {
            let number = id.node.0 as usize;
            let is_replaced = voters.iter().any(|new| new.node == id.node);
            if !is_replaced && (self.wanted[number] || !is_complete) {
                voters.push(id);
            }
        }
        voters.sort();
        learners.sort();
        (voters, learners)
    }

    /// Whether this is a node in the life of its memory that it has now.
    fn remembers(&self, id: ReplicaId) -> bool {
        let node = &self.nodes[id.node.0 as usize];
        node.id() == id && node.remembers
    }

    /// Whether the group can go on, if `without` lost its memory too: every configuration that may still rule has a
    /// majority that remembers.
    pub(super) fn group_can_live(&self, without: Option<usize>) -> bool {
        let intact = |id: &ReplicaId| self.remembers(*id) && Some(id.node.0 as usize) != without;
        let majority = |config: &Config, count: usize| count * 2 > config.voters.len();
        // The configuration that rules for sure: a majority of its own voters, intact, know it or a later one.
        let ruling = self
            .judge
            .configs
            .iter()
            .filter(|config| {
                let knowing = config.voters.iter().filter(|id| {
                    let node = &self.nodes[id.node.0 as usize];
                    let process = &node.process;
                    intact(id)
                        && process
                            .as_ref()
                            .is_some_and(|p| p.replica.config().number >= config.number)
                });
                majority(config, knowing.count())
            })
            .map(|config| config.number)
            .max()
            .unwrap_or(0);
        // What a leader is about to propose may rule soon.
        let leaders = self
            .nodes
            .iter()
            .filter_map(|node| node.process.as_ref()?.replica.config_wanted());
        self.judge
            .configs
            .iter()
            .chain(leaders)
            .filter(|config| config.number >= ruling)
            .all(|config| majority(config, config.voters.iter().filter(|id| intact(id)).count()))
    }

    /// The trouble ends: everybody is up and reaches everybody.
    fn heal(&mut self) {
        self.note(|| "HEAL".to_owned());
        self.phase = Phase::Healing;
        self.healed_us = self.now_us;
        self.network.heal();
        self.cut_at_reconfigure = false;
        // Less load, so that whoever lags behind a log of a few entries can catch up.
        self.plan.rest_us_max += self.plan.settings.election_max_us / 2;
        for number in 0..self.nodes.len() {
            self.nodes[number].trap = None;
            self.resume(number);
            self.restart(number);
        }
        if !self.group_can_live(None) {
            // Only a reckless run gets here: the group is lost, and all that was asked of it is not to lie.
            self.is_lost = true;
            self.phase = Phase::Done;
        }
    }

    fn look_at_recovery(&mut self) {
        let since_us = self.now_us - self.healed_us;
        let missing = self.missing();
        let Some(missing) = missing else {
            if self.phase == Phase::Healing {
                // One more look, when nothing is under way any more.
                self.phase = Phase::Settling;
            } else if self.waits_for.iter().all(Option::is_none) {
                self.phase = Phase::Done;
            }
            return;
        };
        // Where a message holds one entry and a disk is slow, who was away catches up entry by entry.
        let entry_us = self.plan.disk_us.1 + self.plan.settings.heartbeat_us;
        let allowed_us = RECOVERY_SILENCES_MAX * self.plan.settings.election_max_us
            + self.judge.chosen_last() * entry_us;
        if since_us > allowed_us {
            self.judge.accuse(format!(
                "no recovery: {missing}, {} ms after all trouble ended",
                since_us / 1_000
            ));
        }
    }

    /// What recovery lacks, if anything.
    fn missing(&self) -> Option<String> {
        let Some(leader) = self.leader() else {
            return Some("nobody leads".to_owned());
        };
        let process = self.nodes[leader].process.as_ref().expect("it leads");
        if !self.wrote_since_healing {
            return Some(format!("no write was answered, node {leader} leads"));
        }
        let config = process.replica.config();
        for &id in config.voters.iter().chain(&config.learners) {
            let node = &self.nodes[id.node.0 as usize];
            let Some(member) = &node.process else {
                return Some(format!("node {} is down", node.number));
            };
            if node.id() != id {
                return Some(format!("{id:?} was not replaced"));
            }
            if self.phase == Phase::Settling && member.machine != process.machine {
                return Some(format!(
                    "node {} is at {}, the leader at {}",
                    node.number, member.machine.applied, process.machine.applied
                ));
            }
        }
        None
    }
}
