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

mod lane;

pub(crate) use lane::{BATCH_BYTES_MIN, Lane, Next, NextOps};

use super::forward::ForwardedRead;
use super::op::{self, OP_BYTES_MAX, OpFlags, OpKind, encoded_bytes};
use super::room::{QueueBudget, QueueFull, Share};
use super::transact::is_about_transaction;
use crate::entry::{BATCH_HEAD_BYTES, RUN_HEAD_BYTES};
use crate::questions;
use crate::slots::Ticket;
use crate::wire::{Answers, RequestKind, SHARED_BYTES_MIN};
use bytes::Bytes;
use lane::{Settled, Waiting};
use paxos::ReplicaId;
use resp::Args;
use std::sync::Arc;

/// Its first request unanswered for so long, a lane is sent again, us.
const RESEND_US: u64 = 500_000;
/// A request that waits longer is refused, us.
const PATIENCE_US: u64 = 10_000_000;
/// The refusal of a read of which the leader said that it waits for a transaction.
const HELD_BACK: &[u8] =
    b"-TRYAGAIN A transaction over several shards has had the key for 10 seconds, and one of them does not answer\r\n";
/// Where the last read was given up, the next one waits alone once it has waited so long, us: more than an election takes.
const TRIAL_US: u64 = 1_000_000;

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
            | OpKind::TakeOver
            | OpKind::Overdue
            | OpKind::Effects => RequestKind::Write,
        }
    }
}

/// Whether a request is a question of whoever has the keys, for which others wait.
fn is_of_holder(request: Request<'_>) -> bool {
    request.kind == OpKind::Internal && request.args.get(0) == questions::HELD
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
        if is_about_transaction || is_of_holder(request) {
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

    /// Answers requests; their room is given back together.
    pub fn resolve_all(&mut self, answers: Answers, now_us: u64) {
        let answers = answers.joined();
        let (mut count, mut bytes) = (0, 0);
        for answer in answers.iter() {
            if answer.reply.is_empty() {
                self.note_due(answer.kind, answer.number);
            } else if let Some(settled) = self.settle_lane(answer.kind, answer.number, now_us) {
                count += 1;
                bytes += settled.bytes;
                match settled.ticket {
                    Some(ticket) if answer.reply.len() < SHARED_BYTES_MIN => {
                        ticket.fill(answer.reply);
                    }
                    Some(ticket) => ticket.fill_shared(answers.shared(&answer)),
                    None => {}
                }
            }
        }
        if count > 0 {
            self.share.release(count, bytes);
        }
    }

    fn settle(&mut self, kind: RequestKind, number: u64, now_us: u64) -> Option<Ticket> {
        let settled = self.settle_lane(kind, number, now_us)?;
        self.share.release(1, settled.bytes);
        settled.ticket
    }

    fn settle_lane(&mut self, kind: RequestKind, number: u64, now_us: u64) -> Option<Settled> {
        let lane = match kind {
            RequestKind::Write => &mut self.writes,
            RequestKind::Read => &mut self.reads,
        };
        let settled = lane.settle(number, now_us)?;
        self.is_silent = false;
        Some(settled)
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
            let front = self.reads.waiting.front();
            if matches!(front, Some(Waiting::Open { is_due: true, .. })) {
                self.resolve(RequestKind::Read, number, HELD_BACK, now_us);
                continue;
            }
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
        let place = self.reads.place_of(self.reads.sent + 1)?;
        match self.reads.take_next(place).ops {
            NextOps::Fresh(memory) => {
                self.reads.sealed(memory.into());
                Some(self.reads.sealed_ops())
            }
            NextOps::Shared(ops) => Some(ops),
        }
    }
}

mod withdraw;

pub(crate) use withdraw::Fate;

#[cfg(test)]
mod tests;
