//! The world of one group: nodes, clients, a network, and a heap of what happens next.
//!
//! One thread, one seed. Events happen in order of true time, those of one instant in the order in which they were made.

use super::judge::Judge;
use super::nemesis::Trouble;
use super::node::{Node, Process};
use super::operations::{Machine, OperationId, Operations};
use super::plan::{Plan, Ticking};
use super::trace;
use crate::agenda::Agenda;
use crate::disk::Disk;
use crate::faults::{Fault, Tally};
use crate::history::Answer;
use crate::network::Network;
use crate::random::Random;
use paxos::{
    Config, Generation, GroupId, Input, Message, Mutation, Replica, ReplicaId, Settings,
    SnapshotBase, Start,
};

/// The group, which is the only one.
const GROUP: GroupId = GroupId(1);
/// Its generation.
const GENERATION: Generation = Generation(1);

/// What happens at an instant.
#[derive(Debug)]
pub enum Event {
    /// A message arrives.
    Deliver(Box<Message>),
    /// A client's request, or one that was passed on, arrives at a node; how often it was passed on.
    Request(usize, OperationId, u32),
    /// An answer arrives at its client; none: it was refused.
    Reply(OperationId, Option<Answer>),
    /// A client goes on.
    ClientWakes(usize),
    /// A client gives up waiting.
    ClientGivesUp(OperationId),
    /// Time goes by for a node, in this life.
    Tick(usize, u64),
    /// A node's disk is done up to a token, in this life.
    DiskDone(usize, u64, u64),
    /// A node makes the next part of a snapshot, in this life.
    MakeChunk(usize, u64, u64),
    /// A node starts again, if it is still in this life.
    Restart(usize, u64),
    /// A node stands still no more.
    Resume(usize),
    /// These cuts are taken away.
    Mend(Vec<(usize, usize)>),
    /// A node is told something, in this life.
    Tell(usize, u64, Input),
    /// The next trouble.
    Trouble,
    /// A trouble goes on.
    TroubleGoesOn(Trouble),
    /// The operator looks.
    OperatorLooks,
}

/// What is wrong on purpose, to see whether the judge notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing.
    None,
    /// A rule of the replica is taken out.
    Mutation(Mutation),
    /// A node without its memory comes back under its old name.
    AmnesiacKeepsIdentity,
    /// Clocks are off by far more than is assumed.
    ClocksBeyondBound,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Trouble is made.
    Trouble,
    /// No more trouble; clients go on.
    Healing,
    /// The same; clients ask nothing more.
    Settling,
    /// All is as it should be.
    Done,
}

/// The world.
#[derive(Debug)]
pub struct World {
    pub(super) plan: Plan,
    pub(super) flaw: Flaw,
    pub(super) now_us: u64,
    pub(super) random: Random,
    pub(super) network: Network,
    pub(super) nodes: Vec<Node>,
    pub(super) operations: Operations,
    pub(super) judge: Judge,
    pub(super) tally: Tally,
    pub(super) phase: Phase,
    pub(super) healed_us: u64,
    /// Nodes that ought to vote, as the operator wants it.
    pub(super) wanted: Vec<bool>,
    /// Which operation each client waits for.
    pub(super) waits_for: Vec<Option<OperationId>>,
    /// Whether more memory was lost than a group survives.
    pub(super) is_lost: bool,
    /// Whether a write that was asked after the healing was answered.
    pub(super) wrote_since_healing: bool,
    /// Whether the leader is to be cut off when it proposes the next configuration.
    pub(super) cut_at_reconfigure: bool,
    /// A node that clients turn to more often for a while, and until when.
    pub(super) focus: Option<(usize, u64)>,
    pub(super) incarnation_last: u64,
    pub(super) founding: SnapshotBase,
    pub(super) events_done: u64,
    pub(super) trace: Option<Vec<String>>,
    agenda: Agenda<Event>,
}

impl World {
    /// The world of a seed, at its beginning.
    pub fn new(seed: u64, flaw: Flaw) -> World {
        let mut random = Random::new(seed);
        let mut plan = Plan::draw(&mut random);
        if flaw == Flaw::ClocksBeyondBound {
            for clock in &mut plan.clocks {
                clock.rate_error_ppm = *random.pick(&[-300_000, 300_000]);
            }
        }
        let founders = (0..plan.founders).map(|node| ReplicaId {
            node: paxos::NodeId(node as u32),
            incarnation: paxos::Incarnation(1),
        });
        let founding = Config {
            number: 1,
            voters: founders.collect(),
            learners: Vec::new(),
        };
        let nodes = (0..plan.nodes).map(|number| Node {
            number,
            clock: plan.clocks[number],
            durable: plan.durable[number],
            disk: Disk::default(),
            incarnation: 1,
            life: 0,
            remembers: true,
            process: None,
            is_paused: false,
            inbox: Vec::new(),
            trap: None,
        });
        let network = Network::new(plan.network, plan.nodes, random.fork());
        let mut world = World {
            nodes: nodes.collect(),
            wanted: (0..plan.nodes)
                .map(|node| node < plan.founders.max(3))
                .collect(),
            network,
            flaw,
            now_us: 0,
            random,
            operations: Operations::default(),
            judge: Judge::new(founding.clone()),
            tally: Tally::default(),
            phase: Phase::Trouble,
            healed_us: 0,
            waits_for: vec![None; plan.clients],
            wrote_since_healing: false,
            is_lost: false,
            cut_at_reconfigure: false,
            focus: None,
            incarnation_last: 1,
            founding: SnapshotBase {
                config: founding,
                ..SnapshotBase::default()
            },
            events_done: 0,
            trace: None,
            agenda: Agenda::default(),
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for number in 0..self.plan.nodes {
            let is_founder = number < self.plan.founders;
            let start = if is_founder {
                Start::Founder(self.founding.config.clone())
            } else {
                Start::Joiner
            };
            self.start(number, start, Machine::new(self.plan.keys));
        }
        for client in 0..self.plan.clients {
            let rest_us = self.random.below(self.plan.rest_us_max + 1);
            self.after(rest_us, Event::ClientWakes(client));
        }
        if !self.plan.nemeses.is_empty() {
            self.after(self.plan.settings.election_max_us * 2, Event::Trouble);
        }
        self.after(self.plan.operator_us, Event::OperatorLooks);
    }

    /// Writes down what happens from now on.
    pub fn keep_trace(&mut self) {
        self.trace = Some(Vec::new());
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let ms = self.now_us / 1_000;
            trace.push(format!("{ms:>6}.{:03} {}", self.now_us % 1_000, line()));
        }
    }

    /// Puts an event into the future.
    pub(super) fn after(&mut self, delay_us: u64, event: Event) {
        self.agenda.put(self.now_us + delay_us, event);
    }

    /// Does the next event. False when nothing is left to do.
    pub fn advance(&mut self) -> bool {
        let Some((at_us, slot)) = self.agenda.pop() else {
            return false;
        };
        assert!(at_us >= self.now_us, "time runs forward");
        self.now_us = at_us;
        self.events_done += 1;
        let event = self.agenda.get(slot);
        if let Some(node) = event_node(event)
            && self.nodes[node].is_paused
        {
            self.nodes[node].inbox.push(slot);
            return true;
        }
        let event = self.agenda.take(slot);
        self.happen(event);
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver(message) => self.deliver(*message),
            Event::Request(node, id, passed_on) => self.on_request(node, id, passed_on),
            Event::Reply(id, answer) => self.on_reply(id, answer),
            Event::ClientWakes(client) => self.on_client_wakes(client),
            Event::ClientGivesUp(id) => self.on_client_gives_up(id),
            Event::Tick(node, life) => {
                if self.is_in_life(node, life) && self.process(node).tick_us <= self.now_us {
                    self.process(node).tick_us = u64::MAX;
                    self.step(node, Input::Tick);
                }
            }
            Event::DiskDone(node, life, token) => {
                if self.is_in_life(node, life) {
                    self.on_disk_done(node, token);
                }
            }
            Event::MakeChunk(node, life, stream) => {
                if self.is_in_life(node, life) {
                    self.on_make_chunk(node, stream);
                }
            }
            Event::Restart(node, life) => {
                if self.nodes[node].life == life {
                    self.restart(node);
                }
            }
            Event::Resume(node) => self.resume(node),
            Event::Mend(links) => {
                for (from, to) in links {
                    self.network.mend(from, to);
                }
            }
            Event::Tell(node, life, input) => {
                if self.is_in_life(node, life) {
                    self.step(node, input);
                }
            }
            Event::Trouble => self.make_trouble(),
            Event::TroubleGoesOn(trouble) => self.go_on(trouble),
            Event::OperatorLooks => self.operator_looks(),
        }
    }

    fn is_in_life(&self, node: usize, life: u64) -> bool {
        self.nodes[node].life == life && self.nodes[node].process.is_some()
    }

    /// The process of a node that is up.
    pub(super) fn process(&mut self, node: usize) -> &mut Process {
        self.nodes[node]
            .process
            .as_mut()
            .expect("it is up: the caller has looked")
    }

    fn deliver(&mut self, message: Message) {
        let node = message.to.node.0 as usize;
        if self.nodes[node].process.is_none() {
            return;
        }
        self.note(|| trace::message("   got", &message));
        self.step(node, Input::Message(message));
    }

    /// Sends a message over the network.
    pub(super) fn transmit(&mut self, message: Message) {
        self.judge.on_message(&message);
        let (from, to) = (message.from.node.0 as usize, message.to.node.0 as usize);
        self.note(|| trace::message("  sent", &message));
        let [first, second] = self.network.send(from, to, &mut self.tally);
        if let Some(delay_us) = second {
            let mut again = message.clone();
            if self.random.chance(100_000) {
                self.tally.count(Fault::StrayGeneration);
                again.generation = Generation(again.generation.0 + 1);
            }
            self.after(delay_us, Event::Deliver(Box::new(again)));
        }
        if let Some(delay_us) = first {
            self.after(delay_us, Event::Deliver(Box::new(message)));
        }
    }

    /// Starts a process on a node.
    fn start(&mut self, number: usize, start: Start, machine: Machine) {
        let seed = self.random.bits();
        let node = &mut self.nodes[number];
        node.life += 1;
        let settings = Settings {
            durable: node.durable,
            ..self.plan.settings
        };
        let now_us = node.clock.at(self.now_us);
        let mut replica = Replica::new(settings, GROUP, GENERATION, node.id(), start, seed, now_us);
        if let Flaw::Mutation(mutation) = self.flaw {
            replica.mutate(mutation);
        }
        node.process = Some(Box::new(Process::new(replica, machine)));
        let incarnation = self.nodes[number].incarnation;
        self.note(|| format!("START n{number}.{incarnation}"));
        self.step(number, Input::Tick);
    }

    pub(super) fn restart(&mut self, number: usize) {
        if self.nodes[number].process.is_some() {
            return;
        }
        if self.nodes[number].durable && self.nodes[number].remembers {
            let (start, machine) =
                self.nodes[number].recover(self.plan.keys, &self.founding_of(number));
            self.start(number, start, machine);
            return;
        }
        if self.flaw != Flaw::AmnesiacKeepsIdentity {
            self.incarnation_last += 1;
            self.nodes[number].incarnation = self.incarnation_last;
            self.nodes[number].remembers = true;
        }
        self.start(number, Start::Joiner, Machine::new(self.plan.keys));
    }

    /// What a node knew before it wrote anything: founders know the founding configuration.
    fn founding_of(&self, number: usize) -> SnapshotBase {
        if self
            .founding
            .config
            .voters
            .contains(&self.nodes[number].id())
        {
            self.founding.clone()
        } else {
            SnapshotBase::default()
        }
    }

    /// Plans the next tick of a node, if it is not planned for earlier already.
    pub(super) fn plan_tick(&mut self, number: usize) {
        let now_us = self.now_us;
        let at_us = match self.plan.ticking {
            Ticking::Every(us) => now_us + us,
            Ticking::WhenItMatters(us) => {
                let clock = self.nodes[number].clock;
                let wake_us = self.process(number).replica.next_wake_us();
                let at_us = clock.true_us(wake_us.min(clock.at(now_us + us)));
                at_us.clamp(now_us + 20, now_us + us)
            }
        };
        let at_us = match self.earliest_answer_us(number) {
            Some(answer_us) => at_us.min(answer_us.max(now_us + 1)),
            None => at_us,
        };
        if self.process(number).tick_us > at_us {
            self.process(number).tick_us = at_us;
            let life = self.nodes[number].life;
            self.after(at_us - now_us, Event::Tick(number, life));
        }
    }

    pub(super) fn resume(&mut self, number: usize) {
        if !self.nodes[number].is_paused {
            return;
        }
        self.note(|| format!("RESUME n{number}"));
        self.nodes[number].is_paused = false;
        for slot in std::mem::take(&mut self.nodes[number].inbox) {
            self.agenda.put_again(self.now_us, slot);
        }
    }

    /// Drops what waits for a node that stands still and is now gone.
    pub(super) fn drop_inbox(&mut self, number: usize) {
        for slot in std::mem::take(&mut self.nodes[number].inbox) {
            self.agenda.take(slot);
        }
    }
}

/// The node whose standing still keeps an event waiting.
fn event_node(event: &Event) -> Option<usize> {
    match event {
        Event::Deliver(message) => Some(message.to.node.0 as usize),
        Event::Request(node, ..)
        | Event::Tick(node, _)
        | Event::DiskDone(node, ..)
        | Event::MakeChunk(node, ..)
        | Event::Tell(node, ..) => Some(*node),
        Event::Restart(..)
        | Event::Resume(_)
        | Event::Reply(..)
        | Event::ClientWakes(_)
        | Event::ClientGivesUp(_)
        | Event::Mend(_)
        | Event::Trouble
        | Event::TroubleGoesOn(_)
        | Event::OperatorLooks => None,
    }
}
