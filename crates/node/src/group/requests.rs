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
use crate::entry::{BATCH_HEAD_BYTES, RUN_HEAD_BYTES, reserve_heads};
use crate::slots::Ticket;
use crate::wire::RequestKind;
use bytes::Bytes;
use paxos::ReplicaId;
use resp::Args;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes at which a chunk is closed.
const CHUNK_BYTES_MAX: usize = 256 << 10;
/// Operations of a chunk.
const CHUNK_OPS_MAX: u32 = 4096;
/// Unanswered requests of the node.
const REQUESTS_MAX: usize = 10_000;
/// Their bytes.
const REQUESTS_BYTES_MAX: usize = 32 << 20;

/// What all groups of the node together have in their queues.
#[derive(Debug, Default)]
pub(crate) struct QueueBudget {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

impl QueueBudget {
    fn admit(&self, bytes: usize) -> Result<(), QueueFull> {
        // A single large request is admitted into an empty queue, else it never would be.
        let held = self.bytes.load(Ordering::Relaxed);
        if self.requests.load(Ordering::Relaxed) >= REQUESTS_MAX
            || (held > 0 && held + bytes > REQUESTS_BYTES_MAX)
        {
            return Err(QueueFull::Full);
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn release(&self, requests: usize, bytes: usize) {
        self.requests.fetch_sub(requests, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueFull {
    /// Too many wait for a leader already: `-TRYAGAIN`.
    #[error("TRYAGAIN Too many requests wait for the shard's leader, please try again later")]
    Full,
    /// It is longer than a message to another node may be.
    #[error("ERR request is too long to be replicated")]
    TooLong,
}

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
            | OpKind::Effects => RequestKind::Write,
        }
    }
}

/// The queue of one group.
#[derive(Debug)]
pub(crate) struct Requests {
    budget: Arc<QueueBudget>,
    /// Writes.
    pub writes: Lane,
    /// Reads.
    pub reads: Lane,
    /// When something was last sent or answered, us.
    pub progress_us: u64,
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
    /// Room that a chunk keeps at its front for the heads of an entry.
    reserve: usize,
}

#[derive(Debug)]
enum Waiting {
    /// Not answered; the ticket is gone once the client was told that it took too long.
    Open {
        ticket: Option<Ticket>,
        queued_us: u64,
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
            budget,
            writes: Lane::new(BATCH_HEAD_BYTES + RUN_HEAD_BYTES),
            reads: Lane::new(0),
            progress_us: 0,
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
        self.budget.admit(bytes)?;
        if self.is_idle() {
            self.progress_us = now_us;
        }
        let waiting = Waiting::Open {
            ticket: Some(ticket),
            queued_us: now_us,
        };
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

    /// Answers a request; a second answer is dropped.
    #[inline]
    pub fn resolve(&mut self, kind: RequestKind, number: u64, reply: &[u8], now_us: u64) {
        if let Some(ticket) = self.settle(kind, number, now_us) {
            ticket.fill(reply);
        }
    }

    /// The same with a reply in shared memory.
    pub fn resolve_shared(&mut self, kind: RequestKind, number: u64, reply: Bytes, now_us: u64) {
        if let Some(ticket) = self.settle(kind, number, now_us) {
            ticket.fill_shared(reply);
        }
    }

    fn settle(&mut self, kind: RequestKind, number: u64, now_us: u64) -> Option<Ticket> {
        let lane = match kind {
            RequestKind::Write => &mut self.writes,
            RequestKind::Read => &mut self.reads,
        };
        let settled = lane.settle(number)?;
        self.progress_us = now_us;
        self.budget.release(settled.requests, settled.bytes);
        settled.ticket
    }

    /// Tells the clients of requests that were queued before `before_us` by `refusal`. Reads are over then; what
    /// becomes of a write the log decides.
    pub fn give_up(&mut self, before_us: u64, refusal: &[u8]) {
        let is_late = |waiting: &Waiting| match waiting {
            Waiting::Open { queued_us, .. } => *queued_us < before_us,
            Waiting::Done => true,
        };
        let late = |lane: &Lane| lane.waiting.iter().take_while(|one| is_late(one)).count();
        for place in 0..late(&self.writes) {
            if let Waiting::Open { ticket, .. } = &mut self.writes.waiting[place]
                && let Some(ticket) = ticket.take()
            {
                ticket.fill(refusal);
            }
        }
        let first = self.reads.first;
        for number in first..first + late(&self.reads) as u64 {
            if let Some(settled) = self.reads.settle(number) {
                self.budget.release(settled.requests, settled.bytes);
                if let Some(ticket) = settled.ticket {
                    ticket.fill(refusal);
                }
            }
        }
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
        self.writes.sent = self.writes.first - 1;
        self.reads.sent = self.reads.first - 1;
    }

    /// Whether something waits to be sent.
    pub fn has_unsent(&self) -> bool {
        self.has_writes_to_send() || self.reads.has_unsent()
    }

    /// Whether a write may be sent that was not.
    pub fn has_writes_to_send(&self) -> bool {
        self.writes.next_place(&self.reads).is_some()
    }

    /// The next writes to be proposed or forwarded, at most a chunk.
    pub fn next_writes(&mut self) -> Option<Next> {
        let place = self.writes.next_place(&self.reads)?;
        Some(self.writes.take_next(place))
    }

    /// The unanswered reads of this node, `me`, that need no write beyond `applied`.
    pub fn runnable_reads(&mut self, me: ReplicaId, applied: u64) -> Vec<ForwardedRead> {
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
                if is_open && after <= applied {
                    reads.push(ForwardedRead {
                        origin: me,
                        id,
                        after,
                        op: memory.slice(at..at + length),
                    });
                }
                at += length;
            }
        }
        reads
    }

    /// The next reads to be forwarded, at most a chunk.
    pub fn next_reads(&mut self) -> Option<Bytes> {
        if !self.reads.has_unsent() {
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

impl Drop for Requests {
    fn drop(&mut self) {
        for lane in [&self.writes, &self.reads] {
            let open = |waiting: &&Waiting| matches!(waiting, Waiting::Open { .. });
            let bytes = lane.chunks.iter().map(|chunk| chunk.ops.len()).sum();
            let requests = lane.waiting.iter().filter(open).count();
            self.budget.release(requests, bytes);
        }
    }
}

/// What answering a request gives free.
struct Settled {
    ticket: Option<Ticket>,
    requests: usize,
    bytes: usize,
}

impl Lane {
    fn new(reserve: usize) -> Self {
        Lane {
            first: 1,
            waiting: VecDeque::new(),
            chunks: VecDeque::new(),
            sent: 0,
            reserve,
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
        let fits = |chunk: &Chunk| {
            matches!(chunk.memory, Memory::Open(_))
                && behind == 0
                && chunk.count < CHUNK_OPS_MAX
                && chunk.ops.len() + bytes <= CHUNK_BYTES_MAX
        };
        if !self.chunks.back().is_some_and(fits) {
            let mut memory = Vec::with_capacity(self.reserve + bytes.max(256));
            if self.reserve > 0 {
                reserve_heads(&mut memory);
            }
            self.chunks.push_back(Chunk {
                first: number,
                count: 0,
                behind,
                ops: self.reserve..self.reserve,
                memory: Memory::Open(memory),
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
        self.waiting.push_back(waiting);
        number
    }

    fn settle(&mut self, number: u64) -> Option<Settled> {
        let place = number.checked_sub(self.first)?;
        let waiting = self.waiting.get_mut(usize::try_from(place).ok()?)?;
        let Waiting::Open { ticket, .. } = std::mem::replace(waiting, Waiting::Done) else {
            return None;
        };
        let mut bytes = 0;
        while let Some(Waiting::Done) = self.waiting.front() {
            self.waiting.pop_front();
            self.first += 1;
        }
        self.sent = self.sent.max(self.first - 1);
        while let Some(chunk) = self.chunks.front()
            && chunk.last() < self.first
        {
            bytes += chunk.ops.len();
            self.chunks.pop_front();
        }
        Some(Settled {
            ticket,
            requests: 1,
            bytes,
        })
    }

    fn has_unsent(&self) -> bool {
        self.sent < self.last()
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

    fn take_next(&mut self, place: usize) -> Next {
        let from = self.sent + 1;
        let chunk = &mut self.chunks[place];
        let count = (chunk.last() + 1 - from) as u32;
        self.sent = chunk.last();
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

#[cfg(test)]
mod tests;
