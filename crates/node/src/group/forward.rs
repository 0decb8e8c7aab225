//! A leader's side of forwarding: requests of other nodes that are to be proposed or executed.

use super::op::{Op, OpFlags, OpKind};
use crate::effects;
use crate::wire::RequestKind;
use bytes::Bytes;
use commands::{Flags, Run};
use paxos::ReplicaId;
use std::collections::{BTreeMap, VecDeque};

/// Bytes of forwarded writes that wait to be proposed.
const WRITES_BYTES_MAX: usize = 32 << 20;
/// Forwarded reads of one origin that wait to be executed: twice of what an origin sends before it has answers.
const READS_MAX: usize = 10_000;

/// What other nodes want of a group led here. Dropped when leadership ends: they send it again.
#[derive(Debug, Default)]
pub(crate) struct Forwarded {
    /// Writes to be proposed, in order.
    runs: VecDeque<ForwardedRun>,
    bytes: usize,
    /// Reads to be executed, by origin and id: one that comes again changes nothing.
    reads: BTreeMap<ReplicaId, BTreeMap<u64, ForwardedRead>>,
    /// The last write of each origin that was taken, where it is beyond what was applied when leadership began.
    taken: BTreeMap<ReplicaId, u64>,
}

/// Writes of one origin, dense and in order.
#[derive(Debug)]
pub(crate) struct ForwardedRun {
    /// Whose.
    pub origin: ReplicaId,
    /// Replies up to here are not asked for again.
    pub done_seq: u64,
    /// How many.
    pub count: u32,
    /// Their bytes.
    pub ops: Bytes,
}

/// A read.
#[derive(Debug)]
pub(crate) struct ForwardedRead {
    /// Whose.
    pub origin: ReplicaId,
    /// Its id there.
    pub id: u64,
    /// The write of the same origin that it must see.
    pub after: u64,
    /// The ticket that stands for it, where a majority is asked; 0 for this node's own, which have their ids for that.
    pub ticket: u64,
    /// The operation.
    pub op: Bytes,
}

/// What is to be done about a forwarded write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taking {
    /// It was applied: answer it.
    Applied,
    /// It is under way.
    UnderWay,
    /// It is the next.
    Next,
    /// One before it is missing.
    Gap,
}

impl Forwarded {
    /// What is to be done about write `seq` of `origin`, of which all up to `applied` were applied.
    pub fn taking(&self, origin: ReplicaId, seq: u64, applied: u64) -> Taking {
        let taken = self
            .taken
            .get(&origin)
            .map_or(applied, |taken| *taken.max(&applied));
        if seq <= applied {
            Taking::Applied
        } else if seq <= taken {
            Taking::UnderWay
        } else if seq == taken + 1 {
            Taking::Next
        } else {
            Taking::Gap
        }
    }

    /// Takes writes that are the next of their origin.
    pub fn take_run(&mut self, run: ForwardedRun) {
        self.bytes += run.ops.len();
        self.runs.push_back(run);
    }

    /// All writes of `origin` up to `last` were taken.
    pub fn has_taken(&mut self, origin: ReplicaId, last: u64) {
        self.taken.insert(origin, last);
    }

    /// Bytes of the writes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether more writes are taken.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.bytes == 0 || self.bytes + bytes <= WRITES_BYTES_MAX
    }

    /// Takes a read, if its origin has room left. Whoever sent it sends it again; what is known by then stays, so that its
    /// ticket does.
    pub fn take_read(&mut self, read: ForwardedRead) {
        let reads = self.reads.entry(read.origin).or_default();
        if reads.len() < READS_MAX {
            reads.entry(read.id).or_insert(read);
        }
    }

    /// Whether reads wait to be executed.
    pub fn has_reads(&self) -> bool {
        !self.reads.is_empty()
    }

    /// Takes out the reads of tickets up to `ticket` that need no write of their origin beyond those that `applied` tells,
    /// in order of their ids.
    pub fn take_runnable(
        &mut self,
        ticket: u64,
        applied: impl Fn(ReplicaId) -> u64,
        runnable: &mut Vec<ForwardedRead>,
    ) {
        self.reads.retain(|origin, reads| {
            let applied = applied(*origin);
            let may_run = |read: &ForwardedRead| read.ticket <= ticket && read.after <= applied;
            let runs = reads.extract_if(.., |_, read| may_run(read));
            runnable.extend(runs.map(|(_, read)| read));
            !reads.is_empty()
        });
    }

    /// Drops the reads of origins whose life is over: the writes that they wait for may never come.
    pub fn forget_reads(&mut self, is_over: &dyn Fn(ReplicaId) -> bool) {
        self.reads.retain(|origin, _| !is_over(*origin));
    }

    /// Whether writes wait to be proposed.
    pub fn has_writes(&self) -> bool {
        !self.runs.is_empty()
    }

    /// The script that is the next run, if it is one.
    pub fn next_script(&self) -> Option<&[u8]> {
        let ops = &self.runs.front()?.ops;
        (ops.first() == Some(&(OpKind::Script as u8))).then_some(&ops[..])
    }

    /// Whether the next run is a script.
    pub fn next_is_script(&self) -> bool {
        self.next_script().is_some()
    }

    /// Whose run is the next.
    pub fn next_origin(&self) -> Option<ReplicaId> {
        self.runs.front().map(|run| run.origin)
    }

    /// Lets others go ahead of the node whose run is the next, in whose runs the order stays; whether there are others.
    pub fn put_behind_others(&mut self) -> bool {
        let Some(origin) = self.next_origin() else {
            return false;
        };
        let (its, mut others): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.runs)
            .into_iter()
            .partition(|run| run.origin == origin);
        let has_others = !others.is_empty();
        others.extend(its);
        self.runs = others;
        has_others
    }

    /// The next run if it has at most `bytes_max`.
    pub fn next_run(&mut self, bytes_max: usize) -> Option<ForwardedRun> {
        if self.runs.front()?.ops.len() > bytes_max {
            return None;
        }
        let run = self.runs.pop_front()?;
        self.bytes -= run.ops.len();
        Some(run)
    }

    /// Leadership ended or begins: forgets all; returns whose requests those were.
    pub fn clear(&mut self) -> Vec<ReplicaId> {
        let runs = self.runs.drain(..).map(|run| run.origin);
        let mut origins: Vec<ReplicaId> = runs
            .chain(std::mem::take(&mut self.reads).into_keys())
            .chain(std::mem::take(&mut self.taken).into_keys())
            .collect();
        origins.sort_unstable();
        origins.dedup();
        self.bytes = 0;
        origins
    }
}

/// Whether an operation may need memory, and is refused where there is none.
pub(crate) fn denies_oom(op: &Op<'_>) -> bool {
    has_write(op, |op| match op.head.kind {
        OpKind::Effects => op.head.flags.has(OpFlags::GROWS),
        _ => commands::check(op.args()).is_ok_and(|row| row.flags.has(Flags::DENYOOM)),
    })
}

/// Whether an operation would take a lock that nobody holds.
pub(crate) fn takes_lock(op: &Op<'_>) -> bool {
    has_write(op, |op| match op.head.kind {
        OpKind::Effects => effects::take_lock(op.args()),
        _ => commands::takes_lock(op.args()),
    })
}

/// Whether an operation is, or has among others, a client's write, or what is left of one, for which `holds`.
fn has_write(op: &Op<'_>, holds: fn(&Op<'_>) -> bool) -> bool {
    match op.head.kind {
        OpKind::Write | OpKind::Effects => holds(op),
        OpKind::Multi | OpKind::Reserve => op.nested().any(|nested| has_write(&nested, holds)),
        OpKind::Read
        | OpKind::Flush
        | OpKind::Internal
        | OpKind::Evict
        | OpKind::Forget
        | OpKind::Check
        | OpKind::Refused
        | OpKind::Script
        | OpKind::Outcome
        | OpKind::Commands
        | OpKind::Settle
        | OpKind::Silent
        | OpKind::LockWord
        | OpKind::Finish
        | OpKind::Prevent
        | OpKind::Release
        | OpKind::Fence
        | OpKind::TakeOver
        | OpKind::Overdue
        | OpKind::Expect => false,
    }
}

/// Whether a node of this version would have a transaction depend on such a read: it answers the same on all replicas.
fn is_expected_by_nodes(read: &Op<'_>) -> bool {
    let names = ["lindex", "sismember", "exists", "type"];
    commands::check(read.args()).is_ok_and(|row| names.contains(&row.name))
        && is_asked_by_nodes(read)
}

/// Whether a node of this version would forward such an operation: then it can be logged, or executed, without a look at
/// its kind or arguments.
pub(crate) fn is_asked_by_nodes(op: &Op<'_>) -> bool {
    match op.head.kind {
        OpKind::Write | OpKind::Read => {
            let Ok(row) = commands::check(op.args()) else {
                return false;
            };
            let lane = match row.flags.has(Flags::WRITE) {
                true => RequestKind::Write,
                false => RequestKind::Read,
            };
            matches!(row.run, Run::Data(_)) && lane == op.head.kind.lane()
        }
        OpKind::Multi | OpKind::Reserve => op.nested().all(|nested| match nested.head.kind {
            OpKind::Write | OpKind::Read => is_asked_by_nodes(&nested),
            OpKind::Flush | OpKind::Check | OpKind::Fence | OpKind::TakeOver => true,
            OpKind::Expect => is_expected_by_nodes(&nested.expected().0),
            OpKind::Effects => effects::are_sound(nested.args()),
            OpKind::Multi
            | OpKind::Internal
            | OpKind::Evict
            | OpKind::Forget
            | OpKind::Refused
            | OpKind::Script
            | OpKind::Outcome
            | OpKind::Commands
            | OpKind::Settle
            | OpKind::Silent
            | OpKind::LockWord
            | OpKind::Reserve
            | OpKind::Overdue
            | OpKind::Finish
            | OpKind::Prevent
            | OpKind::Release => false,
        }),
        OpKind::Flush | OpKind::Internal | OpKind::Script | OpKind::LockWord | OpKind::Release => {
            true
        }
        // Decisions of the leader.
        OpKind::Evict
        | OpKind::Forget
        | OpKind::Check
        | OpKind::Refused
        | OpKind::Outcome
        | OpKind::Commands
        | OpKind::Settle
        | OpKind::Silent
        | OpKind::Finish
        | OpKind::Prevent
        | OpKind::Fence
        | OpKind::Expect
        | OpKind::TakeOver
        | OpKind::Overdue
        | OpKind::Effects => false,
    }
}
