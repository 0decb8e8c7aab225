//! One node of the group's world: its clock, its disk, and the process that runs on it while it is up.

use super::judge::Shown;
use super::operations::{Machine, OperationId};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::history::Answer;
use paxos::{
    AcceptedEntry, Ballot, Incarnation, Index, Message, NodeId, Output, Record, Replica, ReplicaId,
    SnapshotBase, Start,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What stands on a disk.
#[derive(Clone, Debug)]
pub enum Written {
    /// A record of the replica.
    Record(Record),
    /// A whole state; what it stands for beside it.
    State(SnapshotBase, Machine),
}

/// A death that waits for its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// After records are written, before what rests on them is sent.
    BeforeSend,
    /// Right after a promise or an acknowledgement left; the memory is lost.
    AfterAck,
}

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Its place in the world, and its number.
    pub number: usize,
    /// Its clock.
    pub clock: Clock,
    /// Whether it has a disk.
    pub durable: bool,
    /// Its disk.
    pub disk: Disk<Written>,
    /// Who it is in this life of its memory.
    pub incarnation: u64,
    /// Rises with every start.
    pub life: u64,
    /// Whether its memory is intact, in the process or on the disk.
    pub remembers: bool,
    /// What runs; none: it is down.
    pub process: Option<Box<Process>>,
    /// Whether it stands still. Its events wait in `inbox`.
    pub is_paused: bool,
    /// Numbers of the events that wait for its awakening.
    pub inbox: Vec<usize>,
    /// How it is to die soon, if so.
    pub trap: Option<Trap>,
}

/// What runs on a node.
#[derive(Debug)]
pub struct Process {
    /// The member of the group.
    pub replica: Replica,
    /// What it applies to.
    pub machine: Machine,
    /// Filled by steps and drained at once.
    pub out: Output,
    /// Messages that wait until their token is durable.
    pub held: VecDeque<(u64, Vec<Message>)>,
    /// When the last write that was begun is done, true time, us.
    pub disk_due_us: u64,
    /// The ballot that it leads, as it was told.
    pub leads: Option<Ballot>,
    /// Writes that wait until they may be proposed.
    pub queue: VecDeque<OperationId>,
    /// Writes that were proposed and not applied yet.
    pub proposed: BTreeSet<OperationId>,
    /// Log time of the last proposal, ms.
    pub proposed_log_ms: u64,
    /// Reads that wait for a quorum's word, by ticket.
    pub reads: BTreeMap<u64, OperationId>,
    /// The last ticket given.
    pub ticket_last: u64,
    /// Answers that wait until they may be shown.
    pub answers: Vec<HeldAnswer>,
    /// Snapshots that it produces: their bytes and how many were sent.
    pub streams: BTreeMap<u64, (Vec<u8>, usize)>,
    /// The snapshot that it receives.
    pub staging: Option<(u64, Vec<u8>)>,
    /// When it is to tick next, true time, us; later ticks than this one count for nothing.
    pub tick_us: u64,
}

/// An answer that may not be shown yet.
#[derive(Clone, Debug)]
pub struct HeldAnswer {
    /// Records up to here must be durable.
    pub token: u64,
    /// To what.
    pub id: OperationId,
    /// What.
    pub answer: Answer,
    /// On what it rests.
    pub shown: Shown,
    /// Under which ballot.
    pub ballot: Ballot,
    /// Where it stands in the log.
    pub index: u64,
    /// By which log time it was judged, ms.
    pub log_ms: u64,
}

impl Node {
    /// Who its replica is now.
    pub fn id(&self) -> ReplicaId {
        ReplicaId {
            node: NodeId(self.number as u32),
            incarnation: Incarnation(self.incarnation),
        }
    }

    /// Up and not standing still.
    pub fn is_awake(&self) -> bool {
        self.process.is_some() && !self.is_paused
    }

    /// What its disk brings back: how the replica starts, and the state it starts with. None if nothing was written.
    pub fn recover(&self, keys: usize, founding: &SnapshotBase) -> (Start, Machine) {
        let mut base = founding.clone();
        let mut machine = Machine::new(keys);
        let mut promised = Ballot::default();
        let mut chosen = Index(0);
        let mut log_ms_ceiling = 0;
        let mut log: Vec<AcceptedEntry> = Vec::new();
        for written in self.disk.records() {
            match written {
                Written::State(of, state) if of.index >= base.index => {
                    (base, machine) = (of.clone(), state.clone());
                }
                Written::State(..) => {}
                Written::Record(Record::Promised(ballot)) => promised = *ballot,
                Written::Record(Record::Accepted {
                    index,
                    ballot,
                    entry,
                }) => log.push(AcceptedEntry {
                    index: *index,
                    ballot: *ballot,
                    entry: entry.clone(),
                }),
                Written::Record(Record::Chosen(index)) => chosen = *index,
                Written::Record(Record::LogTime(ms)) => log_ms_ceiling = *ms,
                // The state itself stands beside it.
                Written::Record(Record::Base(_)) => {}
            }
        }
        let start = Start::Recovered {
            promised,
            base,
            log,
            chosen,
            log_ms_ceiling,
            is_hollow: machine.is_hollow(),
        };
        (start, machine)
    }
}

impl Process {
    /// A process that begins.
    pub fn new(replica: Replica, machine: Machine) -> Process {
        Process {
            replica,
            machine,
            out: Output::default(),
            held: VecDeque::new(),
            disk_due_us: 0,
            leads: None,
            queue: VecDeque::new(),
            proposed: BTreeSet::new(),
            proposed_log_ms: 0,
            reads: BTreeMap::new(),
            ticket_last: 0,
            answers: Vec::new(),
            streams: BTreeMap::new(),
            staging: None,
            tick_us: u64::MAX,
        }
    }
}
