//! Machines and the nodes on them: their turns, their links, their ends and beginnings.

use super::host::SimHost;
use super::joining::Joining;
use super::links::{LinkId, Links};
use super::world::{Event, World};
use crate::clock::Clock;
use crate::faults::Fault;
use bytes::Bytes;
use node::settings::OnQuorumLoss;
use node::wire::{Class, Frame};
use node::{Membership, Node, NodeId, PeerMessage, ReplicaId, Settings, ShardCopy};
use std::sync::Arc;

/// Between two ticks of a node, us of its clock.
const TICK_US: u64 = 10_000;
/// Every so many ticks the node does its housework.
const TICKS_PER_HOUSEWORK: u64 = 10;
/// Time between two attempts to connect, us.
const DIAL_US: (u64, u64) = (5_000, 200_000);
/// One machine.
pub struct Machine {
    clock: Clock,
    wall_off_us: i64,
    /// Counts the processes that ran here.
    pub life: u64,
    /// Who runs here, or did last.
    pub id: ReplicaId,
    /// What a process without a name does to get one.
    pub joining: Option<Joining>,
    /// The node that runs here, if one does.
    pub process: Option<Process>,
    /// Whether it stands still.
    pub is_paused: bool,
    /// When it goes on, us. Not earlier: in a stall its clock is there already.
    resumes_us: u64,
    /// What it has not noticed meanwhile.
    pub inbox: Vec<usize>,
}

/// A node that runs.
pub struct Process {
    /// The node.
    pub node: Arc<Node>,
    /// What it runs in.
    pub host: SimHost,
    ticks: u64,
    is_flush_planned: bool,
    /// Which shards it leads, as last noted.
    leads: Vec<bool>,
}

impl Machine {
    /// One on which nothing runs.
    pub fn new(clock: Clock, wall_off_us: i64) -> Machine {
        Machine {
            clock,
            wall_off_us,
            life: 0,
            id: ReplicaId::default(),
            joining: None,
            process: None,
            is_paused: false,
            resumes_us: 0,
            inbox: Vec::new(),
        }
    }

    /// Whether a node runs here and does not stand still.
    pub fn is_awake(&self) -> bool {
        self.process.is_some() && !self.is_paused
    }
}

/// Beginnings and ends.
impl World {
    /// A node begins on a machine.
    pub(super) fn start(&mut self, number: usize, membership: Membership) {
        let membership = Membership {
            paxos: self.plan.settings,
            ..membership
        };
        let draws = self.random.fork();
        let machine = &mut self.machines[number];
        machine.life += 1;
        machine.id = membership.me;
        let life = machine.life;
        let host = SimHost::new(machine.clock, machine.wall_off_us, draws);
        host.begin(self.now_us);
        let settings = Settings {
            shards: self.plan.shards as u32,
            maxmemory_bytes: 64 << 20,
            read_mode: self.plan.read_mode,
            lock_delay_ms: self.plan.lock_delay_ms(),
            replace_after_s: self
                .operator
                .as_ref()
                .map_or(600, |operator| operator.replace_after_s),
            on_quorum_loss: OnQuorumLoss::Reset,
            ..Settings::default()
        };
        let me = membership.me;
        let node = Node::member(settings, Box::new(host.clone()), membership);
        let node = Arc::new(node.expect("a few shards divide the slots"));
        self.machines[number].process = Some(Process {
            node,
            host,
            ticks: 0,
            is_flush_planned: false,
            leads: vec![false; self.plan.shards],
        });
        self.note(|| format!("START n{number} as {me:?}"));
        let first_us = self.random.below(TICK_US);
        self.after(first_us, Event::Tick(number, life));
        for other in (0..self.plan.nodes).filter(|other| *other != number) {
            for link in Links::between(number, other).filter(|link| link.from == number) {
                let soon_us = self.random.between(100, 20_000);
                self.after(soon_us, Event::Dial(link));
            }
        }
    }

    /// The machine that a node runs on, or ran on last.
    pub(super) fn machine_with(&self, id: NodeId) -> Option<usize> {
        let is_its = |machine: &Machine| machine.id.node == id && machine.life > 0;
        self.machines.iter().position(is_its)
    }

    /// A process ends, and its memory is gone.
    pub(super) fn crash(&mut self, number: usize) {
        self.tally.count(Fault::CrashAmnesia);
        self.note(|| format!("DIES n{number}"));
        let machine = &mut self.machines[number];
        machine.process = None;
        machine.life += 1;
        machine.is_paused = false;
        self.drop_inbox(number);
        self.break_connections(number);
        for other in (0..self.plan.nodes).filter(|other| *other != number) {
            for link in Links::between(number, other) {
                let was_up = self.links.get(link).is_up;
                self.links.disconnect(link);
                if was_up {
                    self.notice_soon(link);
                }
            }
        }
    }

    /// A machine stands still for so long, us.
    pub(super) fn pause(&mut self, number: usize, for_us: u64) {
        self.note(|| format!("PAUSE n{number} for {for_us} us"));
        self.machines[number].is_paused = true;
        self.machines[number].resumes_us = self.now_us + for_us;
        self.after(for_us, Event::Resume(number));
    }

    pub(super) fn resume(&mut self, number: usize) {
        let machine = &self.machines[number];
        if !machine.is_paused || self.now_us < machine.resumes_us {
            return;
        }
        self.note(|| format!("RESUME n{number}"));
        self.machines[number].is_paused = false;
        // What its last turn had to say leaves only now.
        if self.begin_turn(number).is_some() {
            self.end_turn(number);
        }
        self.replay_inbox(number);
    }
}

/// Turns.
impl World {
    /// A turn of a node begins, if it runs and does not stand still.
    pub(super) fn begin_turn(&self, number: usize) -> Option<Arc<Node>> {
        let machine = &self.machines[number];
        let process = machine.process.as_ref().filter(|_| !machine.is_paused)?;
        process.host.begin(self.now_us);
        Some(process.node.clone())
    }

    /// A turn ends: what the node has to say leaves, and whoever it roused has a turn in it.
    pub(super) fn end_turn(&mut self, number: usize) {
        loop {
            let Some(process) = &self.machines[number].process else {
                return;
            };
            let stalled_us = process.host.end();
            if stalled_us > 0 {
                self.tally.count(Fault::Stall);
                return self.pause(number, stalled_us);
            }
            self.plan_flush(number);
            self.note_leads(number);
            self.send_all(number);
            self.write_all(number);
            let roused = self
                .connections
                .iter()
                .find(|(_, connection)| connection.node == number && connection.wants_turn())
                .map(|(id, _)| *id);
            match roused {
                Some(id) => self.serve_alone(id),
                None => return,
            };
        }
    }

    fn plan_flush(&mut self, number: usize) {
        let life = self.machines[number].life;
        if let Some(process) = &mut self.machines[number].process
            && process.node.cluster.flusher.take()
            && !process.is_flush_planned
        {
            process.is_flush_planned = true;
            let soon_us = self.random.below(60);
            self.after(soon_us, Event::Flush(number, life));
        }
    }

    pub(super) fn on_flush(&mut self, number: usize, life: u64) {
        if self.machines[number].life != life {
            return;
        }
        if let Some(process) = &mut self.machines[number].process {
            process.is_flush_planned = false;
        }
        if let Some(node) = self.begin_turn(number) {
            node.flush(node.now());
            self.end_turn(number);
        }
    }

    pub(super) fn on_tick(&mut self, number: usize, life: u64) {
        if self.machines[number].life != life {
            return;
        }
        let clock = self.machines[number].clock;
        let next_us = clock.true_us(clock.at(self.now_us) + TICK_US);
        self.after(next_us - self.now_us, Event::Tick(number, life));
        let Some(node) = self.begin_turn(number) else {
            return;
        };
        node.tick(node.now());
        self.wake_late(number, node.now().monotonic_us);
        if let Some(process) = &mut self.machines[number].process {
            process.ticks += 1;
            if process.ticks.is_multiple_of(TICKS_PER_HOUSEWORK) {
                node.turn();
            }
        }
        self.end_turn(number);
    }

    pub(super) fn on_messages(
        &mut self,
        number: usize,
        from: ReplicaId,
        messages: Vec<PeerMessage>,
    ) {
        let Some(node) = self.begin_turn(number) else {
            return;
        };
        let mut arriving = messages.into_iter().inspect(|message| {
            self.note(|| format!("  n{number} hears node {}: {}", from.node.0, shown(message)));
        });
        let taken = node.on_peer_messages(from, || arriving.next(), node.now());
        if let Err(error) = taken {
            self.judge
                .accuse(format!("n{number} refuses what {from:?} says: {error}"));
        }
        node.flush(node.now());
        self.end_turn(number);
    }

    fn note_leads(&mut self, number: usize) {
        let mut changes = Vec::new();
        let Some(process) = &mut self.machines[number].process else {
            return;
        };
        for (shard, leads) in process.leads.iter_mut().enumerate() {
            let ballot = process.node.leads(shard);
            if *leads != ballot.is_some() {
                *leads = ballot.is_some();
                changes.push((shard, ballot));
            }
        }
        for (shard, ballot) in changes {
            self.leaderships += u64::from(ballot.is_some());
            self.note(|| match ballot {
                Some(ballot) => format!("LEADS n{number} shard {shard} under {ballot:?}"),
                None => format!("FOLLOWS n{number} shard {shard}"),
            });
        }
    }
}

/// Links.
impl World {
    fn send_all(&mut self, number: usize) {
        let Some(process) = &self.machines[number].process else {
            return;
        };
        let peers = process.node.cluster.peers.all();
        for peer in peers.iter() {
            for class in Class::ALL {
                let mut frame = Frame::new();
                while peer.take(class, &mut frame) {
                    if let Some(to) = self.machine_with(peer.node) {
                        let from = number;
                        self.transmit(LinkId { from, to, class }, &mut frame);
                    }
                    frame = Frame::new();
                }
            }
        }
    }

    fn transmit(&mut self, id: LinkId, frame: &mut Frame) {
        let link = self.links.get(id);
        if !link.is_up {
            return;
        }
        let bytes = link.write(id.class, frame);
        self.digest(&bytes);
        if self.plan.is_unruly {
            return self.scatter(id, &bytes);
        }
        if self.random.chance(self.plan.break_ppm) {
            self.tally.count(Fault::LinkBreak);
            return self.break_link(id);
        }
        let is_cut = self.network.is_cut(id.from, id.to);
        let is_deaf = self.network.is_cut(id.to, id.from);
        if is_cut || is_deaf {
            self.expire(id);
        }
        if is_cut {
            self.links.get(id).held.push(bytes);
        } else {
            self.deliver(id, bytes);
        }
    }

    /// Sends a frame's messages one by one: each has its own fate.
    fn scatter(&mut self, id: LinkId, frame: &Bytes) {
        let from = self.machines[id.from].id;
        let life = self.machines[id.to].life;
        for message in self.links.get(id).read(frame) {
            let delays = self.network.send(id.from, id.to, &mut self.tally);
            for delay_us in delays.into_iter().flatten() {
                let message = Box::new(message.clone());
                self.after(delay_us, Event::Message(from, id.to, life, message));
            }
        }
    }

    fn deliver(&mut self, id: LinkId, frame: Bytes) {
        let [delay_us, _] = self.network.send(id.from, id.to, &mut self.tally);
        let link = self.links.get(id);
        let at_us = (self.now_us + delay_us.unwrap_or(0)).max(link.last_us);
        link.last_us = at_us;
        let epoch = link.epoch;
        self.after(at_us - self.now_us, Event::Frame(id, epoch, frame));
    }

    pub(super) fn on_frame(&mut self, id: LinkId, epoch: u64, frame: &Bytes) {
        let link = self.links.get(id);
        if link.epoch == epoch {
            let messages = link.read(frame);
            self.on_messages(id.to, self.machines[id.from].id, messages);
        }
    }

    /// A link on which nothing comes through, or no acknowledgement back, is given up at some time.
    fn expire(&mut self, id: LinkId) {
        let link = self.links.get(id);
        if !link.is_expiring {
            link.is_expiring = true;
            let epoch = link.epoch;
            self.after(self.plan.link_patience_us, Event::LinkExpires(id, epoch));
        }
    }

    pub(super) fn on_link_expires(&mut self, id: LinkId, epoch: u64) {
        let is_dead = self.network.is_cut(id.from, id.to) || self.network.is_cut(id.to, id.from);
        let link = self.links.get(id);
        if link.epoch == epoch {
            link.is_expiring = false;
            if is_dead {
                self.break_link(id);
            }
        }
    }

    /// What is on its way is lost; both ends notice soon.
    pub(super) fn break_link(&mut self, id: LinkId) {
        if self.links.get(id).is_up {
            self.note(|| format!("BREAKS {id:?}"));
            self.links.disconnect(id);
            self.notice_soon(id);
        }
    }

    fn notice_soon(&mut self, id: LinkId) {
        for end in [id.from, id.to] {
            let life = self.machines[end].life;
            let soon_us = self.random.between(10, 2_000);
            self.after(soon_us, Event::LinkLost(id, end, life));
        }
    }

    /// One end of a link notices that it is gone.
    pub(super) fn on_link_lost(&mut self, id: LinkId, end: usize, life: u64) {
        let Some(node) = self
            .begin_turn(end)
            .filter(|_| self.machines[end].life == life)
        else {
            return;
        };
        let other = self.machines[id.from + id.to - end].id.node;
        if end == id.from {
            if let Some(peer) = node.cluster.peers.get(other) {
                peer.set_down(id.class, node.now().monotonic_us);
            }
            self.dial_later(id);
        }
        self.tell_down(&node, end, other, id.class);
    }

    fn tell_down(&mut self, node: &Node, number: usize, other: NodeId, class: Class) {
        if class == Class::Fast {
            node.peer_down(other, node.now());
            node.flush(node.now());
            self.end_turn(number);
        }
    }

    fn dial_later(&mut self, id: LinkId) {
        let rest_us = self.random.between(DIAL_US.0, DIAL_US.1);
        self.after(rest_us, Event::Dial(id));
    }

    pub(super) fn dial(&mut self, id: LinkId) {
        let Some(node) = self.begin_turn(id.from) else {
            return;
        };
        if self.links.get(id).is_up {
            return;
        }
        let (me, other) = (self.machines[id.from].id, self.machines[id.to].id.node);
        let peer = node.cluster.peers.get(other);
        let reaches = |from, to| self.plan.is_unruly || !self.network.is_cut(from, to);
        let is_open = reaches(id.from, id.to) && reaches(id.to, id.from);
        let receiver = &self.machines[id.to];
        let takes = |node: &Arc<Node>| !receiver.is_paused && node.view().is_heard(me);
        let is_taken = receiver
            .process
            .as_ref()
            .is_some_and(|one| takes(&one.node));
        let (Some(peer), true, true) = (peer, is_open, is_taken) else {
            let is_refused = is_open && receiver.process.is_none();
            self.dial_later(id);
            if is_refused {
                self.tell_down(&node, id.from, other, id.class);
            }
            return;
        };
        self.links.connect(id);
        peer.set_up(id.class, node.now().monotonic_us);
        if id.class == Class::Fast {
            self.note(|| format!("UP n{} -> n{}", id.from, id.to));
            node.peer_up(peer.node, node.now());
            node.flush(node.now());
        }
        self.end_turn(id.from);
    }

    pub(super) fn mend(&mut self, cuts: &[(usize, usize)]) {
        for &(from, to) in cuts {
            self.network.mend(from, to);
        }
        self.release_held();
    }

    /// What cuts held up goes on where they are gone.
    pub(super) fn release_held(&mut self) {
        for from in 0..self.plan.nodes {
            for to in (0..self.plan.nodes).filter(|to| *to != from) {
                for class in Class::ALL {
                    let id = LinkId { from, to, class };
                    if self.network.is_cut(from, to) {
                        continue;
                    }
                    for frame in std::mem::take(&mut self.links.get(id).held) {
                        self.deliver(id, frame);
                    }
                }
            }
        }
    }
}

/// Who leads what, as only the world knows it.
impl World {
    /// A group's copy on a machine, if a node runs there; the group behind the last shard's is the cluster's own.
    pub(super) fn copy(&self, number: usize, shard: usize) -> Option<ShardCopy> {
        let node = &self.machines[number].process.as_ref()?.node;
        Some(match shard == self.plan.shards {
            true => node.meta_copy(),
            false => node.copy(shard),
        })
    }

    /// The machine that leads a group under the highest ballot.
    pub(super) fn leader(&self, shard: usize) -> Option<usize> {
        let copies = (0..self.machines.len()).filter_map(|number| {
            let ballot = self.copy(number, shard)?.leads?;
            Some((ballot, number))
        });
        copies.max().map(|(_, number)| number)
    }

    /// The machine that a replica lives on, if it does.
    pub(super) fn home_of(&self, id: ReplicaId) -> Option<usize> {
        let is_its = |machine: &Machine| machine.id == id && machine.process.is_some();
        self.machines.iter().position(is_its)
    }

    /// Whether every group, as any of its copies knows it, has a majority of its voters without this machine. Also when a
    /// configuration is chosen that is under way: one with a single voter is lost with that.
    pub(super) fn may_lose(&self, number: usize) -> bool {
        let lives = |id: &&ReplicaId| self.home_of(**id).is_some_and(|home| home != number);
        let has_majority =
            |voters: &Vec<ReplicaId>| 2 * voters.iter().filter(lives).count() > voters.len();
        let stands =
            |copy: &ShardCopy| has_majority(&copy.voters) && copy.coming.iter().all(has_majority);
        self.machines[number].process.is_some()
            && (0..=self.plan.shards).all(|shard| {
                self.leader(shard).is_some()
                    && (0..self.machines.len())
                        .filter_map(|other| self.copy(other, shard))
                        .filter(|copy| !copy.voters.is_empty() && !copy.hollow)
                        .all(|copy| stands(&copy))
            })
    }
}

impl World {
    /// Generations that shards have begun, but for the first.
    pub fn resets(&self) -> u64 {
        let of = |shard| {
            let copies = (0..self.machines.len()).filter_map(|number| self.copy(number, shard));
            copies.map(|copy| u64::from(copy.generation)).max()
        };
        (0..self.plan.shards).filter_map(of).sum()
    }

    /// Whether all shards have leaders, and the cluster's own state a majority of its voters without these machines.
    pub(super) fn may_lose_together(&self, victims: &[usize]) -> bool {
        let lives = |id: &&ReplicaId| {
            self.home_of(**id)
                .is_some_and(|home| !victims.contains(&home))
        };
        let has_majority =
            |voters: &Vec<ReplicaId>| 2 * voters.iter().filter(lives).count() > voters.len();
        let meta = self.plan.shards;
        let are_there = |number: &usize| self.machines[*number].process.is_some();
        victims.iter().all(are_there)
            && (0..=meta).all(|shard| self.leader(shard).is_some())
            && (0..self.machines.len())
                .filter_map(|number| self.copy(number, meta))
                .filter(|copy| !copy.voters.is_empty())
                .all(|copy| has_majority(&copy.voters) && copy.coming.iter().all(has_majority))
    }
}

fn shown(message: &PeerMessage) -> String {
    let mut text = match message {
        PeerMessage::Paxos(message) => format!("g{} {:?}", message.group.0, message.kind),
        PeerMessage::NodeBeat(_) => "node beat".to_owned(),
        other => format!("{other:?}"),
    };
    // Who votes is worth a long line.
    let chars_max = if text.contains("Config(") { 1_200 } else { 220 };
    if let Some((end, _)) = text.char_indices().nth(chars_max) {
        text.truncate(end);
    }
    text
}
