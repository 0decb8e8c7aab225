//! What this node wants of one group: its clients' requests in the order in which they came, until each is answered.
//!
//! Two lanes. A *write* goes through the log and has a dense number per group, so that it is applied exactly once
//! however often it is sent ([`super::origins`]); a *read* is executed by the leader and may be executed again. Both are
//! kept as bytes in chunks that become the payload of an entry, or the body of a message, without a copy.
//!
//! ```text
//!   lane     first                    sent                 next
//!            │ done │ sent, unanswered │ not sent yet       │
//!   chunks  [····················][··········][···  (open: grows)
//! ```
//!
//! Order of one connection on one group: a read says which write it must see (`after`, in the operation); a write
//! that comes behind a read of the same connection waits here until that read is answered.

use super::forward::ForwardedRead;
use super::op::{self, OP_BYTES_MAX, OpFlags, OpHead, OpKind, encode, encoded_bytes};
use super::room::{QueueBudget, QueueFull, Share};
use super::transact::is_about_transaction;
use crate::entry::{BATCH_HEAD_BYTES, RUN_HEAD_BYTES, reserve_heads};
use crate::slots::Ticket;
use crate::wire::RequestKind;
use bytes::Bytes;
use paxos::ReplicaId;
use resp::Args;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that are worth a batch or a message though another one is on its way.
pub(crate) const BATCH_BYTES_MIN: usize = 32 << 10;
/// Bytes at which a chunk is closed.
const CHUNK_BYTES_MAX: usize = 256 << 10;
/// Memory that a chunk begins with at most, however large those before it were.
const USUAL_BYTES_MAX: usize = 4 << 10;
/// Operations of a chunk.
const CHUNK_OPS_MAX: u32 = 4096;
/// Its first request unanswered for so long, a lane is sent again, us.
const RESEND_US: u64 = 500_000;
/// A request that waits longer is refused, us.
const PATIENCE_US: u64 = 10_000_000;
/// Where the last read was given up, the next one waits alone once it has waited so long, us: more than an election takes.
const TRIAL_US: u64 = 1_000_000;
/// Forwarded bytes of a lane that may be unanswered: fewer than a leader has room for ([`super::forward`]), or it would
/// refuse, and all would be sent again and again.
const WINDOW_BYTES_MAX: usize = 8 << 20;
/// Forwarded requests of a lane that may be unanswered, but for the last chunk's.
const WINDOW_REQUESTS_MAX: u64 = 4096;

/// A request for a group.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// What it is. Writes, flushes and multis go through the log.
    pub kind: OpKind,
    /// Numbered database.
    pub db: u8,
    /// Protocol of the reply, and the like.
    pub flags: OpFlags,
    /// The arguments.
    pub args: Args<'a>,
    /// Of a read: the number of the last write before it that the same connection has queued for this group. Of a
    /// write: the number of the last such read. 0 = none.
    pub after: u64,
}

impl OpKind {
    /// In which lane an operation waits.
    pub(crate) fn lane(self) -> RequestKind {
        match self {
            OpKind::Read | OpKind::Internal => RequestKind::Read,
            OpKind::Write
            | OpKind::Flush
            | OpKind::Multi
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
            | OpKind::Reserve
            | OpKind::Finish
            | OpKind::Prevent
            | OpKind::Release
            | OpKind::Fence
            | OpKind::Expect
            | OpKind::Effects => RequestKind::Write,
        }
    }
}

/// The queue of one group.
#[derive(Debug)]
pub(crate) struct Requests {
    share: Share,
    /// Writes.
    pub writes: Lane,
    /// Reads.
    pub reads: Lane,
    /// Whether a read was given up, and nothing was answered since: the next that come wait to see whether anybody answers
    /// again, and those behind them need not.
    is_silent: bool,
}

/// Requests of one kind.
///
/// Invariants: numbers of `waiting` are `first`, `first + 1` …; chunks follow each other without a gap and hold
/// `first` and all beyond; only the last may be open.
#[derive(Debug)]
pub(crate) struct Lane {
    first: u64,
    waiting: VecDeque<Waiting>,
    chunks: VecDeque<Chunk>,
    /// The last that was sent, or proposed, to whoever leads now.
    sent: u64,
    /// Since when the first waits at its place, or when all were last to be sent again, us.
    front_us: u64,
    /// Up to here the clients were told that it took too long.
    given_up: u64,
    /// About what chunks came to be, bytes.
    usual_bytes: usize,
    /// Room that a chunk keeps at its front for the heads of an entry.
    reserve: usize,
    /// The last for which others wait, 0 = none: what goes up to it does not wait for answers.
    urgent: u64,
    /// The last that was answered, or of which the leader said that it waits.
    heard: u64,
}

#[derive(Debug)]
enum Waiting {
    /// Not answered; the ticket is gone once the client was told that it took too long.
    Open {
        ticket: Option<Ticket>,
        queued_us: u64,
        /// Whether the leader said that it waits for a transaction: no others wait for its answer.
        is_due: bool,
    },
    Done,
}

/// Operations in one piece of memory.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Number of the first.
    first: u64,
    count: u32,
    /// The read that must be answered before any of them is sent; 0 = none.
    behind: u64,
    /// Where the operations are.
    ops: Range<usize>,
    memory: Memory,
    /// Whether it is one script: no other operation is in the entry that comes of it.
    is_script: bool,
}

#[derive(Debug)]
enum Memory {
    Open(Vec<u8>),
    Sealed(Bytes),
}

impl Chunk {
    fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Open(bytes) => bytes,
            Memory::Sealed(bytes) => bytes,
        }
    }

    /// The bytes of the operations from number `from` on.
    fn range_from(&self, from: u64) -> Range<usize> {
        let mut at = self.ops.start;
        for _ in self.first..from {
            at += op::peek(&self.bytes()[at..]).2;
        }
        at..self.ops.end
    }

    /// No more is added; the memory can be shared from now on.
    fn seal(&mut self) -> &Bytes {
        if let Memory::Open(bytes) = &mut self.memory {
            self.memory = Memory::Sealed(std::mem::take(bytes).into());
        }
        match &self.memory {
            Memory::Sealed(bytes) => bytes,
            Memory::Open(_) => unreachable!("sealed above"),
        }
    }
}

/// Operations that are next to be sent.
pub(crate) struct Next {
    /// How many.
    pub count: u32,
    /// Their bytes.
    pub ops: NextOps,
}

/// Where they are.
pub(crate) enum NextOps {
    /// In memory that begins with room for an entry's heads, to be filled in, and may be appended to; give it back by
    /// [`Lane::sealed`].
    Fresh(Vec<u8>),
    /// In memory that was sent before.
    Shared(Bytes),
}

impl Requests {
    /// An empty queue.
    pub fn new(budget: Arc<QueueBudget>) -> Self {
        Requests {
            share: Share::new(budget),
            writes: Lane::new(BATCH_HEAD_BYTES + RUN_HEAD_BYTES),
            reads: Lane::new(0),
            is_silent: false,
        }
    }

    /// Queues a request; returns its number in its lane.
    ///
    /// # Errors
    /// A line each of [`QueueFull`].
    pub fn enqueue(
        &mut self,
        request: Request<'_>,
        ticket: Ticket,
        now_us: u64,
    ) -> Result<u64, QueueFull> {
        let bytes = encoded_bytes(request.args.iter());
        if bytes > OP_BYTES_MAX {
            return Err(QueueFull::TooLong);
        }
        let is_about_transaction =
            request.kind == OpKind::Internal && is_about_transaction(request.args);
        if is_about_transaction {
            // What takes up the room may wait for just that.
            self.share.take(bytes);
        } else {
            let is_tried = self.is_silent && self.reads.waited_us(now_us) >= TRIAL_US;
            if is_tried || self.writes.waited_us(now_us) >= PATIENCE_US {
                return Err(QueueFull::NoLeader);
            }
            self.share.admit(bytes)?;
        }
        let waiting = Waiting::Open {
            ticket: Some(ticket),
            queued_us: now_us,
            is_due: false,
        };
        if is_about_transaction {
            self.reads.urgent = self.reads.last() + 1;
        } else if request.kind == OpKind::Reserve {
            self.writes.urgent = self.writes.last() + 1;
        }
        Ok(match request.kind.lane() {
            RequestKind::Read => self.reads.push(request, request.after, 0, bytes, waiting),
            RequestKind::Write => {
                let behind = match self.reads.is_open(request.after) {
                    true => request.after,
                    false => 0,
                };
                self.writes.push(request, 0, behind, bytes, waiting)
            }
        })
    }

    /// Answers a request; a second answer is dropped. An empty one says that it waits for a transaction.
    #[inline]
    pub fn resolve(&mut self, kind: RequestKind, number: u64, reply: &[u8], now_us: u64) {
        if reply.is_empty() {
            return self.note_due(kind, number);
        }
        if let Some(ticket) = self.settle(kind, number, now_us) {
            ticket.fill(reply);
        }
    }

    /// The same with a reply in shared memory.
    pub fn resolve_shared(&mut self, kind: RequestKind, number: u64, reply: Bytes, now_us: u64) {
        if reply.is_empty() {
            return self.note_due(kind, number);
        }
        if let Some(ticket) = self.settle(kind, number, now_us) {
            ticket.fill_shared(reply);
        }
    }

    fn settle(&mut self, kind: RequestKind, number: u64, now_us: u64) -> Option<Ticket> {
        let lane = match kind {
            RequestKind::Write => &mut self.writes,
            RequestKind::Read => &mut self.reads,
        };
        let settled = lane.settle(number, now_us)?;
        self.is_silent = false;
        self.share.release(1, settled.bytes);
        settled.ticket
    }

    /// A request waits for a transaction.
    pub fn note_due(&mut self, kind: RequestKind, number: u64) {
        match kind {
            RequestKind::Write => self.writes.note_due(number),
            RequestKind::Read => self.reads.note_due(number),
        }
    }

    /// Tells the clients of requests that wait for [`PATIENCE_US`] that there is no leader. Reads are over then; what
    /// becomes of a write the log decides. Costs a look at each of them once.
    pub fn give_up(&mut self, now_us: u64) {
        let refusal = format!("-{}\r\n", QueueFull::NoLeader);
        let is_late = |lane: &Lane, number: u64| {
            let place = number - lane.first;
            lane.waiting
                .get(place as usize)
                .is_some_and(|waiting| match waiting {
                    Waiting::Open { queued_us, .. } => queued_us + PATIENCE_US <= now_us,
                    Waiting::Done => true,
                })
        };
        let mut number = self.writes.given_up.max(self.writes.done()) + 1;
        while is_late(&self.writes, number) {
            let place = (number - self.writes.first) as usize;
            if let Waiting::Open { ticket, .. } = &mut self.writes.waiting[place]
                && let Some(ticket) = ticket.take()
            {
                ticket.fill(refusal.as_bytes());
            }
            self.writes.given_up = number;
            number += 1;
        }
        while is_late(&self.reads, self.reads.first) {
            let number = self.reads.first;
            self.resolve(RequestKind::Read, number, refusal.as_bytes(), now_us);
            self.is_silent = true;
        }
    }

    /// Has a lane sent again whose first request was not answered for [`RESEND_US`], whatever became of those behind it:
    /// it may be lost, or its answer.
    pub fn resend_silent(&mut self, now_us: u64) {
        for lane in [&mut self.writes, &mut self.reads] {
            if !lane.waiting.is_empty() && lane.front_us + RESEND_US <= now_us {
                lane.front_us = now_us;
                lane.send_again();
            }
        }
    }

    /// When time matters next to what is unanswered, us: at once if something waits and nothing is on its way that will
    /// be answered.
    pub fn wake_us(&self) -> u64 {
        let lanes = [&self.writes, &self.reads].into_iter();
        let waiting = lanes.filter(|lane| !lane.waiting.is_empty());
        let wake = |lane: &Lane| match lane.sent > lane.done() {
            true => lane.front_us + RESEND_US,
            false => 0,
        };
        waiting.map(wake).min().unwrap_or(u64::MAX)
    }

    /// Whether nothing is unanswered.
    pub fn is_idle(&self) -> bool {
        self.writes.waiting.is_empty() && self.reads.waiting.is_empty()
    }

    /// Whether a read is unanswered.
    pub fn has_reads(&self) -> bool {
        !self.reads.waiting.is_empty()
    }

    /// Everything unanswered is to be sent again: somebody else leads, or what was sent may be lost.
    pub fn send_again(&mut self) {
        self.writes.send_again();
        self.reads.send_again();
    }

    /// Whether something waits to be sent.
    pub fn has_unsent(&self) -> bool {
        self.has_writes_to_send() || self.reads.has_unsent()
    }

    /// Whether a write may be sent that was not.
    pub fn has_writes_to_send(&self) -> bool {
        self.writes.next_place(&self.reads).is_some()
    }

    /// Whether the next write is a script.
    pub fn next_is_script(&self) -> bool {
        self.next_script().is_some()
    }

    /// The script that is the next write, if it is one.
    pub fn next_script(&self) -> Option<&[u8]> {
        let chunk = &self.writes.chunks[self.writes.next_place(&self.reads)?];
        chunk.is_script.then(|| &chunk.bytes()[chunk.ops.clone()])
    }

    /// Whether the next write is there and no script.
    pub fn next_is_plain(&self) -> bool {
        self.writes.next_place(&self.reads).is_some() && !self.next_is_script()
    }

    /// The next writes to be proposed or forwarded, at most a chunk.
    pub fn next_writes(&mut self) -> Option<Next> {
        let place = self.writes.next_place(&self.reads)?;
        Some(self.writes.take_next(place))
    }

    /// The unanswered reads of this node, `me`, up to id `last` that need no write beyond `applied`.
    pub fn runnable_reads(&mut self, me: ReplicaId, last: u64, applied: u64) -> Vec<ForwardedRead> {
        let mut reads = Vec::new();
        let (first, waiting) = (self.reads.first, &self.reads.waiting);
        for chunk in &mut self.reads.chunks {
            let ops = chunk.ops.clone();
            let memory = chunk.seal();
            let mut at = ops.start;
            while at < ops.end {
                let (id, after, length) = op::peek(&memory[at..]);
                let is_open =
                    id >= first && matches!(waiting[(id - first) as usize], Waiting::Open { .. });
                if is_open && id <= last && after <= applied {
                    reads.push(ForwardedRead {
                        origin: me,
                        id,
                        after,
                        ticket: 0,
                        op: memory.slice(at..at + length),
                    });
                }
                at += length;
            }
        }
        reads
    }

    /// Whether the leader elsewhere is to be sent more writes now.
    pub fn may_forward(&self) -> bool {
        self.writes.may_send()
    }

    /// The next reads to be forwarded, at most a chunk.
    pub fn next_reads(&mut self) -> Option<Bytes> {
        if !self.reads.has_unsent() || !self.reads.may_send() {
            return None;
        }
        let from = self.reads.sent + 1;
        let place = self.reads.place_of(from)?;
        let chunk = &mut self.reads.chunks[place];
        let range = chunk.range_from(from);
        let ops = chunk.seal().slice(range);
        self.reads.sent = self.reads.chunks[place].last();
        Some(ops)
    }
}

/// What answering a request gives free.
struct Settled {
    ticket: Option<Ticket>,
    bytes: usize,
}

impl Lane {
    fn new(reserve: usize) -> Self {
        Lane {
            first: 1,
            waiting: VecDeque::new(),
            chunks: VecDeque::new(),
            sent: 0,
            front_us: 0,
            given_up: 0,
            usual_bytes: 256,
            reserve,
            urgent: 0,
            heard: 0,
        }
    }

    /// The number of the last request that was queued, 0 before the first.
    pub fn last(&self) -> u64 {
        self.first + self.waiting.len() as u64 - 1
    }

    /// The lowest number that is not answered, less one: all up to here are.
    pub fn done(&self) -> u64 {
        self.first - 1
    }

    /// Whether request `number` is not answered yet.
    pub fn is_open(&self, number: u64) -> bool {
        number
            .checked_sub(self.first)
            .and_then(|place| self.waiting.get(place as usize))
            .is_some_and(|waiting| matches!(waiting, Waiting::Open { .. }))
    }

    fn push(
        &mut self,
        request: Request<'_>,
        after: u64,
        behind: u64,
        bytes: usize,
        waiting: Waiting,
    ) -> u64 {
        let number = self.last() + 1;
        let is_script = request.kind == OpKind::Script;
        let fits = |chunk: &Chunk| {
            matches!(chunk.memory, Memory::Open(_))
                && !is_script
                && !chunk.is_script
                && behind == 0
                && chunk.count < CHUNK_OPS_MAX
                && chunk.ops.len() + bytes <= CHUNK_BYTES_MAX
        };
        if !self.chunks.back().is_some_and(fits) {
            let room = self.reserve + bytes.max(self.usual_bytes.min(USUAL_BYTES_MAX));
            let mut memory = Vec::with_capacity(room);
            if self.reserve > 0 {
                reserve_heads(&mut memory);
            }
            self.chunks.push_back(Chunk {
                first: number,
                count: 0,
                behind,
                ops: self.reserve..self.reserve,
                memory: Memory::Open(memory),
                is_script,
            });
        }
        let chunk = self.chunks.back_mut().expect("there is one now");
        let Memory::Open(memory) = &mut chunk.memory else {
            unreachable!("the last chunk is open")
        };
        let head = OpHead {
            kind: request.kind,
            db: request.db,
            flags: request.flags,
            seq: number,
            after,
        };
        encode(memory, head, request.args.iter());
        chunk.ops.end = memory.len();
        chunk.count += 1;
        if self.waiting.is_empty()
            && let Waiting::Open { queued_us, .. } = waiting
        {
            self.front_us = queued_us;
        }
        self.waiting.push_back(waiting);
        number
    }

    fn settle(&mut self, number: u64, now_us: u64) -> Option<Settled> {
        let place = number.checked_sub(self.first)?;
        let waiting = self.waiting.get_mut(usize::try_from(place).ok()?)?;
        let Waiting::Open { ticket, .. } = std::mem::replace(waiting, Waiting::Done) else {
            return None;
        };
        self.heard = self.heard.max(number);
        let mut bytes = 0;
        while let Some(Waiting::Done) = self.waiting.front() {
            self.waiting.pop_front();
            self.first += 1;
            self.front_us = now_us;
        }
        self.sent = self.sent.max(self.first - 1);
        while let Some(chunk) = self.chunks.front()
            && chunk.last() < self.first
        {
            bytes += chunk.ops.len();
            self.chunks.pop_front();
        }
        Some(Settled { ticket, bytes })
    }

    /// The leader said that a request waits for a transaction.
    fn note_due(&mut self, number: u64) {
        let place = number.checked_sub(self.first).map(|place| place as usize);
        if let Some(Waiting::Open { is_due, .. }) =
            place.and_then(|place| self.waiting.get_mut(place))
        {
            *is_due = true;
            self.heard = self.heard.max(number);
        }
    }

    fn has_unsent(&self) -> bool {
        self.sent < self.last()
    }

    fn send_again(&mut self) {
        self.sent = self.done();
        self.heard = self.sent;
    }

    /// How long the first has been here, us, as far as it does not wait for a transaction.
    fn waited_us(&self, now_us: u64) -> u64 {
        match self.waiting.front() {
            Some(Waiting::Open { is_due: true, .. }) => 0,
            Some(Waiting::Open { queued_us, .. }) => now_us.saturating_sub(*queued_us),
            Some(Waiting::Done) | None => 0,
        }
    }

    /// Whether what was sent and is not answered leaves the leader room for more.
    fn has_window(&self) -> bool {
        if self.sent - self.done() >= WINDOW_REQUESTS_MAX {
            return false;
        }
        let sent = self.chunks.iter().take_while(|one| one.first <= self.sent);
        sent.map(|chunk| chunk.ops.len()).sum::<usize>() < WINDOW_BYTES_MAX
    }

    /// Whether more is to be sent now. While something is on its way what comes next waits and gathers, unless it is much:
    /// a message costs more than what it carries.
    ///
    /// What belongs to a transaction goes at once: what is on its way may wait for that very transaction.
    fn may_send(&self) -> bool {
        let is_answered = self.sent == self.done() || self.heard >= self.sent;
        self.sent < self.urgent
            || (is_answered || self.next_bytes() >= BATCH_BYTES_MIN) && self.has_window()
    }

    fn place_of(&self, number: u64) -> Option<usize> {
        // What is not sent is at the end, mostly in the last chunk.
        let behind = self
            .chunks
            .iter()
            .rev()
            .take_while(|chunk| chunk.first > number)
            .count();
        self.chunks.len().checked_sub(behind + 1)
    }

    /// The chunk of the next write that may be sent.
    fn next_place(&self, reads: &Lane) -> Option<usize> {
        if !self.has_unsent() {
            return None;
        }
        let place = self.place_of(self.sent + 1)?;
        (!reads.is_open(self.chunks[place].behind)).then_some(place)
    }

    /// Bytes of the chunk whose operations are the next to be sent.
    pub fn next_bytes(&self) -> usize {
        match self.has_unsent() {
            true => self
                .place_of(self.sent + 1)
                .map_or(0, |place| self.chunks[place].ops.len()),
            false => 0,
        }
    }

    fn take_next(&mut self, place: usize) -> Next {
        let from = self.sent + 1;
        let chunk = &mut self.chunks[place];
        let count = (chunk.last() + 1 - from) as u32;
        self.sent = chunk.last();
        // Towards a little more than what chunks came to be.
        self.usual_bytes = (3 * self.usual_bytes + chunk.ops.len() * 5 / 4) / 4;
        let ops = match &mut chunk.memory {
            Memory::Open(bytes) if from == chunk.first => NextOps::Fresh(std::mem::take(bytes)),
            Memory::Open(_) | Memory::Sealed(_) => {
                let range = chunk.range_from(from);
                NextOps::Shared(chunk.seal().slice(range))
            }
        };
        Next { count, ops }
    }

    /// Gives back what [`NextOps::Fresh`] lent, with its heads filled in and maybe more behind its operations.
    pub fn sealed(&mut self, memory: Bytes) {
        let place = self.place_of(self.sent).expect("lent from here");
        self.chunks[place].memory = Memory::Sealed(memory);
    }

    /// The operations that [`Lane::sealed`] gave back.
    pub fn sealed_ops(&self) -> Bytes {
        let place = self.place_of(self.sent).expect("lent from here");
        let chunk = &self.chunks[place];
        match &chunk.memory {
            Memory::Sealed(bytes) => bytes.slice(chunk.ops.clone()),
            Memory::Open(_) => unreachable!("sealed before"),
        }
    }
}

mod withdraw;

pub(crate) use withdraw::Fate;

#[cfg(test)]
mod tests;
