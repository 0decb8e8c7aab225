//! The world: machines with whole nodes, links, clients, and a heap of what happens next.
//!
//! One thread, one seed. Events happen in order of true time, those of one instant in the order in which they were made.
//! What a node does happens in *turns*: something reaches it, it does what follows, and at the turn's end what it has to
//! say is taken from its outboxes and connections.

use super::connections::{Client, Connection, ConnectionId};
use super::judge::Judge;
use super::links::{LinkId, Links};
use super::machines::Machine;
use super::nemesis::Trouble;
use super::operator::Operator;
use super::plan::{Load, Losses, Plan};
use super::queues;
use crate::agenda::Agenda;
use crate::faults::Tally;
use crate::network::Network;
use crate::random::Random;
use bytes::Bytes;
use node::{PeerMessage, ReplicaId};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};

/// Time in which nodes come together before trouble begins in most runs, us.
const FORMING_US: u64 = 1_500_000;
/// Time between two looks at the copies, us.
const LOOK_US: u64 = 50_000;
/// How long clients go on after the healing, us: as long as a cluster may need to serve all again.
const HEALING_US: u64 = 3_000_000;
/// After so long without rest, from the healing on, the cluster counts as stuck, us.
const REST_US_MAX: u64 = 20_000_000;
/// How long nobody may be granted a lock after shards lost memory, us, and some more for finding out that they did.
const WITHHELD_US: u64 = 80_000_000;

/// What happens at one time.
pub enum Event {
    /// A frame arrives over a connection of this epoch.
    Frame(LinkId, u64, Bytes),
    /// A message arrives at a machine by itself, in this life.
    Message(ReplicaId, usize, u64, Box<PeerMessage>),
    /// A link of this epoch is given up unless it is open again.
    LinkExpires(LinkId, u64),
    /// One end, in this life, notices that its link is gone.
    LinkLost(LinkId, usize, u64),
    /// The sender tries to connect.
    Dial(LinkId),
    /// A machine without a node goes on with joining.
    Join(usize),
    /// 10 ms went by for a machine, in this life.
    Tick(usize, u64),
    /// A machine's flusher has its turn, in this life.
    Flush(usize, u64),
    /// A client's bytes arrive at its node.
    ToNode(ConnectionId, Vec<u8>),
    /// A client has closed.
    NodeLoses(ConnectionId),
    /// A node's bytes arrive at a client.
    ToClient(ConnectionId, Vec<u8>),
    /// A node has closed.
    ClientLoses(ConnectionId),
    /// A client goes on.
    ClientWakes(usize),
    /// A client gives up what it asked at a time.
    ClientGivesUp(ConnectionId, u64),
    /// A machine stands still no more.
    Resume(usize),
    /// These cuts are taken away.
    Mend(Vec<(usize, usize)>),
    /// The next trouble.
    Trouble,
    /// A trouble goes on.
    TroubleGoesOn(Trouble),
    /// The judge looks at the copies.
    Look,
    /// The operator does something.
    Operate,
    /// No more trouble.
    Heal,
    /// Clients ask no more.
    Settle,
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
pub struct World {
    pub(super) plan: Plan,
    pub(super) now_us: u64,
    pub(super) random: Random,
    pub(super) network: Network,
    pub(super) links: Links,
    pub(super) machines: Vec<Machine>,
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    pub(super) connection_last: ConnectionId,
    pub(super) clients: Vec<Client>,
    pub(super) judge: Judge,
    pub(super) tally: Tally,
    pub(super) phase: Phase,
    pub(super) healed_us: u64,
    /// Batches that were answered since the healing.
    pub(super) answered_since_healing: u64,
    /// Values and fleeting keys made so far.
    pub(super) made: u64,
    /// A node that clients turn to more often for a while, and until when.
    pub(super) focus: Option<(usize, u64)>,
    pub(super) operator: Option<Operator>,
    pub(super) leaderships: u64,
    pub(super) events_done: u64,
    pub(super) digest: DefaultHasher,
    pub(super) trace: Option<Vec<String>>,
    agenda: Agenda<Event>,
}

impl World {
    /// The world of a seed, at its beginning.
    pub fn new(seed: u64, traced: bool, losses: Losses, load: Load) -> World {
        let mut random = Random::new(seed);
        let plan = Plan::draw(&mut random, losses, load);
        let network = Network::new(plan.network, plan.nodes, random.fork());
        let machines = (0..plan.nodes).map(|number| {
            let (clock, wall_us) = (plan.clocks[number], plan.walls_us[number]);
            Machine::new(clock, wall_us)
        });
        // What is pushed and popped is judged as a whole, which a loss would cut.
        let queue_clients = match losses {
            Losses::OfMinorities => queues::clients_of(seed),
            Losses::OfMajorities => 0,
        };
        let mut world = World {
            machines: machines.collect(),
            links: Links::new(plan.nodes),
            clients: (0..plan.clients_total() + queue_clients)
                .map(|_| Client::default())
                .collect(),
            network,
            now_us: 0,
            random,
            connections: BTreeMap::new(),
            connection_last: 0,
            judge: Judge::default(),
            tally: Tally::default(),
            phase: Phase::Trouble,
            healed_us: 0,
            answered_since_healing: 0,
            made: 0,
            focus: None,
            operator: Operator::draw(seed),
            leaderships: 0,
            events_done: 0,
            digest: DefaultHasher::new(),
            trace: traced.then(Vec::new),
            agenda: Agenda::default(),
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.note(|| "BEGIN".to_owned());
        self.found();
        for client in 0..self.clients.len() {
            let rest_us = self.random.below(FORMING_US);
            self.after(rest_us, Event::ClientWakes(client));
        }
        if !self.plan.nemeses.is_empty() {
            let soon_us = self.random.below(FORMING_US * 2);
            self.after(soon_us, Event::Trouble);
        }
        self.call_operator(FORMING_US);
        self.after(LOOK_US, Event::Look);
        self.after(FORMING_US + self.plan.trouble_us, Event::Heal);
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
        if let Some(number) = self.machine_of(event)
            && self.machines[number].is_paused
        {
            self.machines[number].inbox.push(slot);
            return true;
        }
        let event = self.agenda.take(slot);
        self.happen(event);
        true
    }

    /// The machine that an event waits for while it stands still.
    fn machine_of(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Frame(link, ..) => Some(link.to),
            Event::LinkLost(_, end, _) => Some(*end),
            Event::Dial(link) => Some(link.from),
            Event::Message(_, number, ..) | Event::Tick(number, _) | Event::Flush(number, _) => {
                Some(*number)
            }
            Event::ToNode(id, _) | Event::NodeLoses(id) => Some(self.connections.get(id)?.node),
            Event::LinkExpires(..)
            | Event::ToClient(..)
            | Event::ClientLoses(_)
            | Event::ClientWakes(_)
            | Event::ClientGivesUp(..)
            | Event::Join(_)
            | Event::Resume(_)
            | Event::Mend(_)
            | Event::Trouble
            | Event::TroubleGoesOn(_)
            | Event::Look
            | Event::Operate
            | Event::Heal
            | Event::Settle => None,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Frame(link, epoch, frame) => self.on_frame(link, epoch, &frame),
            Event::Message(from, number, life, message) => {
                if self.machines[number].life == life {
                    self.on_messages(number, from, vec![*message]);
                }
            }
            Event::LinkExpires(link, epoch) => self.on_link_expires(link, epoch),
            Event::LinkLost(link, end, life) => self.on_link_lost(link, end, life),
            Event::Dial(link) => self.dial(link),
            Event::Join(number) => self.on_join(number),
            Event::Tick(number, life) => self.on_tick(number, life),
            Event::Flush(number, life) => self.on_flush(number, life),
            Event::ToNode(id, bytes) => self.on_bytes(id, &bytes),
            Event::NodeLoses(id) => self.on_node_loses(id),
            Event::ToClient(id, bytes) => {
                self.digest(&bytes);
                self.on_replies(id, &bytes);
            }
            Event::ClientLoses(id) => self.on_client_loses(id),
            Event::ClientWakes(client) => self.on_client_wakes(client),
            Event::ClientGivesUp(id, call_us) => self.on_client_gives_up(id, call_us),
            Event::Resume(number) => self.resume(number),
            Event::Mend(cuts) => self.mend(&cuts),
            Event::Trouble => self.make_trouble(),
            Event::TroubleGoesOn(trouble) => self.go_on(trouble),
            Event::Look => self.look(),
            Event::Operate => self.operate(),
            Event::Heal => self.heal(),
            Event::Settle => self.phase = Phase::Settling,
        }
    }

    /// Mixes something that was seen into what tells two runs apart.
    pub(super) fn digest(&mut self, bytes: &[u8]) {
        self.digest.write_u64(self.now_us);
        self.digest.write(bytes);
    }

    /// What waited for a machine happens now, before what arrives at this very time: a link's frames keep their order.
    pub(super) fn replay_inbox(&mut self, number: usize) {
        for slot in std::mem::take(&mut self.machines[number].inbox) {
            self.agenda.put_first(self.now_us, slot);
        }
    }

    /// What waited for a machine never happens.
    pub(super) fn drop_inbox(&mut self, number: usize) {
        for slot in std::mem::take(&mut self.machines[number].inbox) {
            self.agenda.take(slot);
        }
    }

    fn look(&mut self) {
        self.after(LOOK_US, Event::Look);
        for number in 0..self.machines.len() {
            for shard in 0..=self.plan.shards {
                // Before its own log begins, a node has the cluster's state as it was when it joined.
                if let Some(copy) = self.copy(number, shard).filter(|copy| copy.applied > 0) {
                    self.judge.compare(number, shard, &copy);
                }
            }
            if let Some(process) = &self.machines[number].process
                && process.node.is_over()
            {
                self.on_over(number);
            }
        }
        match self.phase {
            Phase::Trouble | Phase::Done => {}
            Phase::Healing | Phase::Settling => self.look_for_rest(),
        }
    }

    /// Whether all is as it should be; too late if it is not for long.
    fn look_for_rest(&mut self) {
        let since_us = self.now_us - self.healed_us;
        // Clients that wait for each other's locks are answered when those expire.
        // Shards that lost memory grant no locks for a while.
        let withheld_us = match self.judge.era {
            0 => 0,
            _ => WITHHELD_US,
        };
        let is_late = since_us > HEALING_US + self.plan.ttl_ms_max * 2_000 + withheld_us;
        if self.phase == Phase::Settling && self.answered_since_healing == 0 && is_late {
            let what = format!("nothing was answered for {since_us} us after the healing");
            return self.judge.accuse(what);
        }
        let Some(missing) = self.unrest() else {
            if self.phase == Phase::Settling {
                if self.clients.len() > self.plan.clients_total() {
                    if !self.judge.queues.knows_all() {
                        return self.ask_all(self.plan.clients_total());
                    }
                    self.judge.judge_queues(self.healed_us);
                }
                self.compare_for_good();
                self.phase = Phase::Done;
            }
            return;
        };
        if since_us > REST_US_MAX + withheld_us {
            let what = format!("no rest {since_us} us after the healing: {missing}");
            self.judge.accuse(what);
        }
    }

    fn unrest(&self) -> Option<String> {
        if let Some(number) = self.clients.iter().position(Client::waits) {
            return Some(format!("client {number} waits for a reply"));
        }
        let is_away = |machine: &Machine| machine.process.is_none();
        if let Some(number) = self.machines.iter().position(is_away) {
            return Some(format!("n{number} has not joined"));
        }
        let views = || {
            self.machines
                .iter()
                .filter_map(|machine| Some(machine.process.as_ref()?.node.view()))
        };
        let is_over = |machine: &Machine| views().any(|view| view.is_over(machine.id));
        if let Some(number) = self.machines.iter().position(is_over) {
            return Some(format!("n{number} was removed and has not heard of it"));
        }
        (0..=self.plan.shards).find_map(|shard| self.unrest_of(shard))
    }

    fn unrest_of(&self, shard: usize) -> Option<String> {
        let Some(leader) = self.leader(shard) else {
            return Some(format!("shard {shard} has no leader"));
        };
        let led = self.copy(leader, shard)?;
        if let Some(missing) = self.misplaced(leader, shard, &led) {
            return Some(missing);
        }
        let view = self.machines[leader].process.as_ref()?.node.view();
        let leaves = |id: &&node::ReplicaId| view.leaving.iter().any(|node| node.id == id.node);
        let members = led.voters.iter().chain(&led.learners);
        // A removed node is told so for long after its end.
        for id in members.filter(|id| !leaves(id)) {
            let Some(number) = self.home_of(*id) else {
                return Some(format!("shard {shard} has {id:?}, who is no more"));
            };
            let copy = self.copy(number, shard)?;
            if copy.applied != led.applied {
                return Some(format!(
                    "shard {shard} is at {} on n{number} and at {} on n{leader}, its leader",
                    copy.applied, led.applied
                ));
            }
        }
        None
    }

    /// Whether a shard is not where its leader's view of the cluster wants it, or somebody else keeps a state of it.
    fn misplaced(&self, leader: usize, shard: usize, led: &node::ShardCopy) -> Option<String> {
        let view = self.machines[leader].process.as_ref()?.node.view();
        let group = if shard == self.plan.shards {
            node::GroupId(0)
        } else {
            node::GroupId(shard as u32 + 1)
        };
        let mut wanted = view.wanted_of(group);
        let voters = &led.voters;
        let count = if group == node::GroupId(0) {
            wanted.retain(|id| view.may_vote(id.node) || view.may_fill_in(id.node));
            view.voters_count_among(wanted.len())
        } else {
            wanted.retain(|id| view.may_vote(id.node));
            view.voters_count().min(wanted.len())
        };
        // Nobody is to hold anything: then all stays as it is.
        if count == 0 {
            return None;
        }
        if voters.len() != count || !voters.iter().all(|id| wanted.contains(id)) {
            return Some(format!(
                "shard {shard} has voters {voters:?}, not {count} of {wanted:?}"
            ));
        }
        let keeps = |number: &usize| {
            let id = self.machines[*number].id;
            let is_member = voters.contains(&id) || led.learners.contains(&id);
            let copy = self.copy(*number, shard);
            !is_member && copy.is_some_and(|copy| copy.applied > 0 && !copy.hollow)
        };
        let keeper = (0..self.machines.len()).find(keeps)?;
        (group != node::GroupId(0))
            .then(|| format!("n{keeper} keeps shard {shard}, of which it is no member"))
    }

    /// At the end all copies of a shard are looked at as of one time.
    fn compare_for_good(&mut self) {
        for shard in 0..self.plan.shards {
            let Some(led) = self
                .leader(shard)
                .and_then(|leader| self.copy(leader, shard))
            else {
                continue;
            };
            let members = led.voters.iter().chain(&led.learners);
            let homes: Vec<usize> = members.filter_map(|id| self.home_of(*id)).collect();
            let copies = homes.iter().filter_map(|home| self.copy(*home, shard));
            let log_ms = copies.map(|copy| copy.log_ms).max().unwrap_or(0);
            for number in homes {
                if let Some(process) = &self.machines[number].process {
                    let copy = process.node.look_at(shard, log_ms);
                    self.judge.compare(number, shard, &copy);
                }
            }
        }
    }

    fn heal(&mut self) {
        self.note(|| "HEALING".to_owned());
        self.phase = Phase::Healing;
        self.healed_us = self.now_us;
        self.network.heal();
        self.plan.break_ppm = 0;
        self.release_held();
        self.after(HEALING_US, Event::Settle);
    }
}
