//! A few replicas, a network that does what a script says, disks and state machines: all in one thread.

use bytes::Bytes;
use paxos::{
    AcceptedEntry, Config, Entry, Generation, GroupId, Incarnation, Index, Input, Kind, Message,
    NodeId, Output, Record, Replica, ReplicaId, RoleChange, Settings, SnapshotBase, SnapshotStep,
    Start,
};
use std::collections::{BTreeMap, BTreeSet};

#[path = "text.rs"]
pub mod text;
use text::{ballot_text, entry_text, kind_text, name};

/// Items of a state that go in one chunk of a snapshot.
const CHUNK_ITEMS: usize = 2;

/// Which messages a transcript shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Show {
    Nothing,
    /// All but beats and their answers.
    Main,
    All,
}

/// A replica and what its owner keeps.
pub struct Member {
    pub replica: Option<Replica>,
    pub id: ReplicaId,
    /// The state machine: what was applied, and the index after it.
    state: Vec<String>,
    applied: Index,
    config: Config,
    /// Durable records.
    disk: Vec<Record>,
    /// Steps whose records are not durable yet: (token, records, messages). Empty unless the disk is held.
    waiting: Vec<(u64, Vec<Record>, Vec<Message>)>,
    disk_is_held: bool,
    staged: Vec<String>,
    streams: BTreeMap<u64, (Vec<String>, usize)>,
}

/// A message on its way.
struct Flight {
    due_us: u64,
    message: Message,
    /// Answers a beat.
    is_routine: bool,
}

pub struct World {
    pub settings: Settings,
    pub now_us: u64,
    pub members: BTreeMap<u32, Member>,
    flights: Vec<Flight>,
    cuts: BTreeSet<(u32, u32)>,
    holds: BTreeSet<(u32, u32)>,
    held: Vec<Flight>,
    delays_us: BTreeMap<(u32, u32), u64>,
    pub show: Show,
    pub lines: Vec<String>,
    /// What was applied anywhere.
    chosen: BTreeMap<Index, Entry>,
    starts: u64,
}

pub fn id(node: u32, incarnation: u64) -> ReplicaId {
    ReplicaId {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
    }
}

impl Member {
    /// The group of one went on without its log.
    pub fn skip_to(&mut self, index: Index) {
        self.state.push(format!("..{}", index.0));
        self.applied = index;
    }
}

impl World {
    pub fn new() -> World {
        World {
            // The stories count their indexes; the one of leftovers asks for what others leave out.
            settings: Settings {
                fill_entries: 0,
                ..Settings::default()
            },
            now_us: 0,
            members: BTreeMap::new(),
            flights: Vec::new(),
            cuts: BTreeSet::new(),
            holds: BTreeSet::new(),
            held: Vec::new(),
            delays_us: BTreeMap::new(),
            show: Show::Nothing,
            lines: Vec::new(),
            chosen: BTreeMap::new(),
            starts: 0,
        }
    }

    fn say(&mut self, line: String) {
        self.lines.push(line);
    }

    fn start(&mut self, me: ReplicaId, start: Start) -> Replica {
        self.starts += 1;
        let (group, generation) = (GroupId(1), Generation(1));
        let (seed, now_us) = (self.starts, self.now_us);
        Replica::new(self.settings, group, generation, me, start, seed, now_us)
    }

    pub fn found(&mut self, nodes: &[u32]) {
        let config = Config {
            number: 1,
            voters: nodes.iter().map(|&node| id(node, 1)).collect(),
            learners: Vec::new(),
        };
        for &node in nodes {
            self.add(id(node, 1), Start::Founder(config.clone()), config.clone());
        }
    }

    pub fn join(&mut self, me: ReplicaId) {
        self.add(me, Start::Joiner, Config::default());
    }

    fn add(&mut self, me: ReplicaId, start: Start, config: Config) {
        let replica = self.start(me, start);
        let member = Member {
            replica: Some(replica),
            id: me,
            state: Vec::new(),
            applied: Index(0),
            config,
            disk: Vec::new(),
            waiting: Vec::new(),
            disk_is_held: false,
            staged: Vec::new(),
            streams: BTreeMap::new(),
        };
        self.members.insert(me.node.0, member);
    }

    pub fn crash(&mut self, node: u32) {
        let member = self.members.get_mut(&node).expect("a member");
        member.replica = None;
        member.waiting.clear();
        member.streams.clear();
        self.flights
            .retain(|flight| flight.message.to.node.0 != node);
    }

    /// A member that may lets its state go.
    pub fn retire(&mut self, node: u32) {
        let member = self.members.get_mut(&node).expect("a member");
        if member.replica.as_ref().is_some_and(Replica::can_retire) {
            member.state.clear();
        }
        self.step(node, Input::Retire);
    }

    /// Starts a crashed member with what is on its disk: the founding configuration and the records.
    pub fn restart(&mut self, node: u32) {
        let member = &self.members[&node];
        let me = member.id;
        let mut base = SnapshotBase {
            index: Index(0),
            config: member.config.clone(),
            log_ms: 0,
        };
        let mut promised = Default::default();
        let mut log: Vec<AcceptedEntry> = Vec::new();
        let mut chosen = Index(0);
        let mut log_ms_ceiling = 0;
        for record in &member.disk {
            match record.clone() {
                Record::Promised(ballot) => promised = ballot,
                Record::Accepted {
                    index,
                    ballot,
                    entry,
                } => log.push(AcceptedEntry {
                    index,
                    ballot,
                    entry,
                }),
                Record::Chosen(index) => chosen = index,
                Record::LogTime(ms) => log_ms_ceiling = ms,
                Record::Base(found) => base = found,
            }
        }
        // The script's state machine keeps its snapshots: their items are what was installed.
        let member = self.members.get_mut(&node).expect("a member");
        if base.index == Index(0) {
            member.state.clear();
        } else {
            member.state = member.staged.clone();
        }
        member.applied = base.index;
        let start = Start::Recovered {
            promised,
            base,
            log,
            chosen,
            log_ms_ceiling,
            is_hollow: false,
        };
        let replica = self.start(me, start);
        self.members.get_mut(&node).expect("a member").replica = Some(replica);
        self.step(node, Input::Tick);
    }

    pub fn cut(&mut self, from: u32, to: u32) {
        self.cuts.insert((from, to));
    }

    pub fn heal(&mut self) {
        self.cuts.clear();
    }

    pub fn hold(&mut self, from: u32, to: u32) {
        self.holds.insert((from, to));
    }

    pub fn delay(&mut self, from: u32, to: u32, us: u64) {
        self.delays_us.insert((from, to), us);
    }

    /// Lets held messages of a link go, in this order, so many times each.
    pub fn release(&mut self, from: u32, to: u32, reversed: &str, times: usize) {
        self.holds.remove(&(from, to));
        let (mut now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|f| f.message.from.node.0 == from && f.message.to.node.0 == to);
        self.held = later;
        if reversed == "reversed" {
            now.reverse();
        }
        for flight in now {
            for _ in 0..times {
                self.flights.push(Flight {
                    due_us: self.now_us,
                    message: flight.message.clone(),
                    is_routine: flight.is_routine,
                });
            }
        }
        self.deliver();
    }

    /// Drops held messages of a link.
    pub fn lose(&mut self, from: u32, to: u32) {
        self.holds.remove(&(from, to));
        self.held
            .retain(|f| (f.message.from.node.0, f.message.to.node.0) != (from, to));
    }

    /// Drops held messages of a link behind the first so many, which stay held.
    pub fn lose_behind(&mut self, from: u32, to: u32, kept: usize) {
        let mut seen = 0;
        self.held.retain(|f| {
            let is_of_link = (f.message.from.node.0, f.message.to.node.0) == (from, to);
            seen += usize::from(is_of_link);
            !is_of_link || seen <= kept
        });
    }

    pub fn hold_disk(&mut self, node: u32) {
        self.members.get_mut(&node).expect("a member").disk_is_held = true;
    }

    pub fn release_disk(&mut self, node: u32) {
        let member = self.members.get_mut(&node).expect("a member");
        member.disk_is_held = false;
        for (token, records, messages) in std::mem::take(&mut member.waiting) {
            let member = self.members.get_mut(&node).expect("a member");
            member.disk.extend(records);
            self.send(messages, false);
            self.step(node, Input::Persisted(token));
        }
        self.deliver();
    }

    /// Delivers a message whatever the network is like.
    pub fn inject(&mut self, message: Message) {
        self.flights.push(Flight {
            due_us: self.now_us,
            message,
            is_routine: false,
        });
        self.deliver();
    }

    fn send(&mut self, messages: Vec<Message>, is_routine: bool) {
        for message in messages {
            let link = (message.from.node.0, message.to.node.0);
            let delay_us = self.delays_us.get(&link).copied().unwrap_or(0);
            let is_routine =
                is_routine && matches!(message.kind, Kind::Accepted { .. } | Kind::Beat { .. });
            let flight = Flight {
                due_us: self.now_us + delay_us,
                message,
                is_routine,
            };
            if self.cuts.contains(&link) {
                continue;
            }
            if self.holds.contains(&link) {
                self.held.push(flight);
            } else {
                self.flights.push(flight);
            }
        }
    }

    /// Delivers what is due, in order.
    pub fn deliver(&mut self) {
        while let Some(at) = self.flights.iter().position(|f| f.due_us <= self.now_us) {
            let flight = self.flights.remove(at);
            let message = flight.message;
            let is_beat = matches!(message.kind, Kind::Beat { .. });
            let shown = match self.show {
                Show::Nothing => false,
                Show::Main => !is_beat && !flight.is_routine,
                Show::All => true,
            };
            if shown {
                let (from, to) = (name(message.from), name(message.to));
                self.say(format!("{from}>{to} {}", kind_text(&message.kind)));
            }
            let node = message.to.node.0;
            if self.members.get(&node).is_some_and(|m| m.replica.is_some()) {
                self.step_routine(node, Input::Message(message), is_beat);
            }
        }
    }

    /// Lets time pass, a millisecond at a time.
    pub fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now_us += 1_000;
            let nodes: Vec<u32> = self.members.keys().copied().collect();
            for node in nodes {
                if self.members[&node].replica.is_some() {
                    self.step_routine(node, Input::Tick, true);
                }
            }
            self.deliver();
        }
    }

    pub fn step(&mut self, node: u32, input: Input) {
        self.step_routine(node, input, false);
        self.deliver();
    }

    /// A step and what its output makes necessary, in the order that `Output` states.
    fn step_routine(&mut self, node: u32, input: Input, is_routine: bool) {
        let mut out = Output::default();
        let now_us = self.now_us;
        let member = self.members.get_mut(&node).expect("a member");
        let replica = member.replica.as_mut().expect("it runs");
        replica.step(now_us, input, &mut out);
        let durable = self.settings.durable && !out.persist.is_empty();
        self.send(std::mem::take(&mut out.send_first), is_routine);
        let member = self.members.get_mut(&node).expect("a member");
        let mut persisted = None;
        if member.disk_is_held {
            let records = std::mem::take(&mut out.persist);
            let messages = std::mem::take(&mut out.send);
            member.waiting.push((out.token, records, messages));
        } else if durable {
            member.disk.append(&mut out.persist);
            persisted = Some(out.token);
        }
        self.send(std::mem::take(&mut out.send), is_routine);
        let steps = std::mem::take(&mut out.snapshot);
        self.perform(node, out);
        for step in steps {
            self.snapshot_step(node, step);
        }
        if let Some(token) = persisted {
            self.step_routine(node, Input::Persisted(token), is_routine);
        }
    }

    fn perform(&mut self, node: u32, out: Output) {
        let mut lines = Vec::new();
        let member = self.members.get_mut(&node).expect("a member");
        let who = name(member.id);
        for (index, entry) in out.apply {
            assert_eq!(
                index,
                member.applied.next(),
                "applied in order, without a gap"
            );
            member.applied = index;
            let text = entry_text(&entry);
            let chosen = self.chosen.entry(index).or_insert_with(|| entry.clone());
            assert_eq!(*chosen, entry, "two values are chosen at {}", index.0);
            lines.push(format!("{who}: apply {} {text}", index.0));
            member.state.push(format!("{}={text}", index.0));
        }
        for ticket in out.serve {
            lines.push(format!("{who}: serve {ticket} at {}", member.applied.0));
        }
        for ticket in out.deny {
            lines.push(format!("{who}: deny {ticket}"));
        }
        match out.role {
            Some(RoleChange::Follower { leader }) => {
                let leader = leader.map_or("nobody".to_string(), name);
                lines.push(format!("{who}: follows {leader}"));
            }
            Some(RoleChange::Candidate) => lines.push(format!("{who}: campaigns")),
            Some(RoleChange::Leader {
                ballot, visible_us, ..
            }) => {
                let wait_ms = visible_us.saturating_sub(self.now_us).div_ceil(1000);
                let ballot = ballot_text(ballot);
                lines.push(format!("{who}: leads {ballot}, shows in {wait_ms} ms"));
            }
            None => {}
        }
        if let Some(why) = out.refused {
            lines.push(format!("{who}: refused: {why}"));
        }
        self.lines.append(&mut lines);
    }

    fn snapshot_step(&mut self, node: u32, step: SnapshotStep) {
        let member = self.members.get_mut(&node).expect("a member");
        let who = name(member.id);
        match step {
            SnapshotStep::Begin { stream, to } => {
                member.streams.insert(stream, (member.state.clone(), 0));
                let at = member.applied.0;
                self.say(format!("{who}: begins a snapshot of {at} for {}", name(to)));
            }
            SnapshotStep::More { stream } => {
                let (items, made) = member.streams.get_mut(&stream).expect("it began");
                let end = (*made + CHUNK_ITEMS).min(items.len());
                let bytes = Bytes::from(items[*made..end].join(" "));
                *made = end;
                let last = end == items.len();
                self.step_routine(
                    node,
                    Input::SnapshotChunk {
                        stream,
                        bytes,
                        last,
                    },
                    false,
                );
            }
            SnapshotStep::Drop { stream } => {
                if member.streams.remove(&stream).is_some() {
                    self.say(format!("{who}: drops its snapshot"));
                }
            }
            SnapshotStep::Chunk {
                sequence, bytes, ..
            } => {
                if sequence == 0 {
                    member.staged.clear();
                }
                let text = String::from_utf8(bytes.to_vec()).expect("a script's text");
                member
                    .staged
                    .extend(text.split(' ').filter(|t| !t.is_empty()).map(String::from));
            }
            SnapshotStep::Install { stream, mut base } => {
                member.state = member.staged.clone();
                member.applied = base.index;
                base.log_ms = 0;
                let state = member.state.join(" ");
                self.say(format!("{who}: installs {}: {state}", base.index.0));
                self.step_routine(node, Input::SnapshotInstalled { stream, base }, false);
            }
        }
    }
}
