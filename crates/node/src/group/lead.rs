//! What a leader does with requests, its own node's and others': proposes writes, executes reads, answers.

use super::Work;
use super::apply::{Applying, stored_since};
use super::decide::refused;
use super::forward::{
    ForwardedRead, ForwardedRun, Taking, denies_oom, is_asked_by_nodes, takes_lock,
};
use super::op::{Op, OpError, OpKind, split_first};
use super::origins::Stored;
use super::requests::{BATCH_BYTES_MIN, Next, NextOps};
use super::scripts::is_read_script;
use super::transact::GONE;
use crate::entry::{BATCH_HEAD_BYTES, Run, Stamp, push_run, write_batch_head, write_run_head};
use crate::lock_memory::LockOverflow;
use crate::memory::{Budget, LOCKS_OOM, OOM};
use crate::questions;
use crate::settings::ReadMode;
use crate::shard::Shard;
use crate::wire::{Forward, ForwardRefused, PeerMessage, RequestKind};
use bytes::Bytes;
use paxos::{Input, ReplicaId};
use resp::Reply;
use std::ops::Range;

/// Bytes of a batch beyond which it takes no further run.
const BATCH_BYTES_MAX: usize = 256 << 10;
/// What a client is told whose request a leader cannot do anything with: a node of another build sent it.
const UNKNOWN: &str = "ERR the shard's leader does not know such a request";

impl Shard {
    /// Whether a batch is to be proposed now. While one is on its way, the next one waits for it and grows, unless it is
    /// large by itself: a message for each group and follower costs more than what it carries, and under load all that
    /// came within one round goes in one batch.
    pub(super) fn may_propose(&self, work: &Work<'_>) -> bool {
        let group = &self.group;
        let waits = self.script_waits();
        let is_fenced = group.has_outcome_in_flight || waits;
        group.replica.can_propose()
            // A script that must not run yet would be asked for again and again.
            && (!waits || group.replica.may_show() && work.has_time_for_scripts())
            && (group.in_flight.is_empty()
                || !is_fenced
                    && group.requests.writes.next_bytes() + group.forwarded.bytes()
                        >= BATCH_BYTES_MIN)
    }

    /// Proposes one batch of what waits; whether there was anything.
    pub(super) fn propose(&mut self, work: &mut Work<'_>) -> bool {
        if self.script_waits()
            && !self.script_is_held_back()
            // What was held back may have let something else go ahead.
            && self.script_waits()
            && !self.goes_ahead_of_script(work.now)
        {
            return self.propose_script(work);
        }
        self.group.last_turn.begins_batch();
        let Some((mut payload, fresh)) = self.own_run() else {
            return false;
        };
        let room = |payload: &Vec<u8>| BATCH_BYTES_MAX.saturating_sub(payload.len());
        while !self.group.forwarded.next_is_script()
            && let Some(run) = self.group.forwarded.next_run(room(&payload)).or_else(|| {
                let empty = payload.len() == BATCH_HEAD_BYTES;
                empty.then(|| self.group.forwarded.next_run(usize::MAX))?
            })
        {
            let run = Run {
                origin: run.origin,
                done_seq: run.done_seq,
                count: run.count,
                ops: &run.ops,
            };
            push_run(&mut payload, run);
        }
        if !self.group.decisions.is_empty() {
            let run = Run {
                origin: ReplicaId::default(),
                done_seq: 0,
                count: self.group.decisions_count,
                ops: &self.group.decisions,
            };
            push_run(&mut payload, run);
            self.group.decisions.clear();
            self.group.decisions_count = 0;
        }
        let draw = work.host.random();
        let stamp = self
            .group
            .proposal_stamp(work.now, draw, self.cache.now_ms());
        write_batch_head(&mut payload, stamp.wall_offset_ms, stamp.random);
        let payload = Bytes::from(payload);
        if fresh {
            self.group.requests.writes.sealed(payload.clone());
        }
        self.propose_payload(stamp.log_ms, payload, work);
        true
    }

    /// Proposes a batch, which this leader may.
    pub(super) fn propose_payload(&mut self, log_ms: u64, payload: Bytes, work: &mut Work<'_>) {
        self.group.in_flight.push_back((log_ms, payload.clone()));
        let refused = self.step(Input::Propose { log_ms, payload }, work);
        assert!(refused.is_none(), "proposed while it could: {refused:?}");
    }

    /// The beginning of a batch: this node's own writes, if any wait; none if nothing waits at all. Whether its memory is
    /// lent by the queue.
    fn own_run(&mut self) -> Option<(Vec<u8>, bool)> {
        let group = &mut self.group;
        let done_seq = group.requests.writes.done();
        let next = match group.requests.next_is_script() {
            true => None,
            false => group.requests.next_writes(),
        };
        match next {
            Some(Next { count, ops }) => match ops {
                NextOps::Fresh(mut memory) => {
                    let (_, run) = memory.split_at_mut(BATCH_HEAD_BYTES);
                    let bytes = run.len() - crate::entry::RUN_HEAD_BYTES;
                    write_run_head(run, group.origin, done_seq, count, bytes);
                    Some((memory, true))
                }
                NextOps::Shared(ops) => {
                    let mut memory = vec![0; BATCH_HEAD_BYTES];
                    let run = Run {
                        origin: group.origin,
                        done_seq,
                        count,
                        ops: &ops,
                    };
                    push_run(&mut memory, run);
                    Some((memory, false))
                }
            },
            None if group.forwarded.has_writes() && !group.forwarded.next_is_script()
                || !group.decisions.is_empty() =>
            {
                Some((vec![0; BATCH_HEAD_BYTES], false))
            }
            None => None,
        }
    }

    /// Gives the answers that were held back until this leader may show anything.
    pub(super) fn show_held(&mut self, work: &mut Work<'_>) {
        self.group.shows = self.may_show();
        let group = &mut self.group;
        if !group.shows || !group.holds {
            return;
        }
        group.holds = false;
        work.has_missed |= std::mem::take(&mut group.missed);
        work.changes.append(&mut group.held_changes);
        work.applied.events.append(&mut group.held_events);
        work.applied.said.append(&mut group.held_said);
        for (origin, state) in self.origins.iter() {
            for (seq, reply) in state.replies() {
                group.answer(origin, seq, reply, work.now_us());
            }
        }
    }

    /// Executes the reads that may run, or asks whether they may.
    pub(super) fn run_reads(&mut self, work: &mut Work<'_>) {
        if !self.has_reads() {
            return;
        }
        match work.read_mode {
            ReadMode::Lease => self.run_leased_reads(work),
            ReadMode::Quorum => {
                let own_last = self.group.requests.reads.last();
                if let Some(ticket) = self.group.rounds.next(own_last, self.applied) {
                    self.step(Input::Read(ticket), work);
                }
            }
        }
    }

    pub(super) fn has_reads(&self) -> bool {
        self.group.forwarded.has_reads() || self.group.requests.has_reads()
    }

    /// Executes the reads whose lease holds and for which what they must see is applied.
    fn run_leased_reads(&mut self, work: &mut Work<'_>) {
        let until_us = self.lease_until_us();
        if work.host.monotonic_us() >= until_us {
            return;
        }
        let me = self.group.origin;
        let reads = self.runnable(u64::MAX, u64::MAX);
        let done = self.execute(reads, self.group.read_ms(work.now), work);
        if work.host.monotonic_us() >= until_us {
            // The process stood still in between: what was read may be old. They wait for a lease again.
            let others = done.into_iter().filter(|(read, _)| read.origin != me);
            others.for_each(|(read, _)| self.group.forwarded.take_read(read));
            return;
        }
        self.answer_reads(done, work);
    }

    /// A majority said that this replica leads, after all reads came that tickets up to `ticket` stand for. Executes those
    /// for which what they must see is applied, at the log time that the majority knows of; no clock is asked.
    pub(super) fn serve_reads(&mut self, ticket: u64, log_ms: u64, work: &mut Work<'_>) {
        let Some(own_last) = self.group.rounds.confirm(ticket) else {
            return;
        };
        let reads = self.runnable(own_last, ticket);
        let done = self.execute(reads, self.group.not_ahead_ms(log_ms), work);
        self.answer_reads(done, work);
        if self.has_reads() {
            self.group.rounds.leave(self.applied);
        }
    }

    /// Executes reads; what they answer is not to leave yet. Once scripts took their time of the turn, the others wait for
    /// the next.
    fn execute(
        &mut self,
        reads: Vec<ForwardedRead>,
        log_ms: u64,
        work: &mut Work<'_>,
    ) -> Vec<(ForwardedRead, Stored)> {
        let mut done = Vec::with_capacity(reads.len());
        let mut left = Vec::new();
        for read in reads {
            let (op, _) = split_first(&read.op).expect("looked at when it was taken");
            let waits = self.must_wait(&op);
            if waits && read.origin == self.group.origin {
                self.group.requests.note_due(RequestKind::Read, read.id);
            }
            if waits || is_read_script(&op) && !work.has_time_for_scripts() {
                left.push(read);
                continue;
            }
            let mark = work.applied.scratch.mark();
            let stamp = Stamp {
                log_ms,
                wall_offset_ms: self.group.wall_offset_ms(work.now),
                random: work.host.random(),
            };
            self.run_read(&op, stamp, work);
            let reply = stored_since(&mut work.applied.scratch, mark);
            done.push((read, reply));
        }
        if !left.is_empty() {
            let me = self.group.origin;
            let ticket = self.group.rounds.ticket_for_other();
            let others = left.into_iter().filter(|read| read.origin != me);
            others.for_each(|read| {
                let read = ForwardedRead { ticket, ..read };
                self.group.forwarded.take_read(read);
            });
        }
        self.drain_changes(work);
        done
    }

    fn answer_reads(&mut self, done: Vec<(ForwardedRead, Stored)>, work: &Work<'_>) {
        let group = &mut self.group;
        for (read, reply) in &done {
            if read.origin != group.origin {
                group
                    .replies
                    .push(read.origin, RequestKind::Read, read.id, reply);
                continue;
            }
            match reply {
                Stored::Short(short) => {
                    let now_us = work.now_us();
                    group
                        .requests
                        .resolve(RequestKind::Read, read.id, short, now_us);
                }
                Stored::Long(long) => {
                    let (long, now_us) = (long.clone(), work.now_us());
                    group
                        .requests
                        .resolve_shared(RequestKind::Read, read.id, long, now_us);
                }
            }
        }
    }

    /// The reads of this node up to id `own_last`, and of others of tickets up to `ticket`, whose writes before them are
    /// applied. Those of others leave their queue.
    fn runnable(&mut self, own_last: u64, ticket: u64) -> Vec<ForwardedRead> {
        let (group, origins) = (&mut self.group, &self.origins);
        let own_applied = origins
            .applied(group.origin)
            .max(group.requests.writes.done());
        let mut reads = group
            .requests
            .runnable_reads(group.origin, own_last, own_applied);
        group
            .forwarded
            .take_runnable(ticket, |origin| origins.applied(origin), &mut reads);
        reads
    }

    /// Executes a read; its reply goes to the end of the scratch.
    pub(super) fn run_read(&mut self, op: &Op<'_>, stamp: Stamp, work: &mut Work<'_>) {
        self.cache.set_now(stamp.log_ms);
        if is_read_script(op) {
            self.answer_script(op, stamp, work);
        } else if let Some(answer) = self.answer_about(op) {
            work.applied.scratch.tail_mut().extend_from_slice(answer);
        } else if questions::is_held(op) {
            match self.held_question(op) {
                Some(question) => self.run_read(&question, stamp, work),
                None => work.applied.scratch.tail_mut().extend_from_slice(GONE),
            }
        } else if op.head.kind == OpKind::Internal {
            let mut reply = Reply::new(&mut work.applied.scratch, op.head.flags.protocol());
            questions::answer(self, op.head.db, op.args(), &mut reply);
        } else {
            let applying = Applying {
                tells: false,
                event_mask: work.event_mask,
                now_us: work.now_us(),
                is_touched: true,
            };
            self.run_op(op, stamp, None, applying, &mut work.applied);
        }
    }

    pub(super) fn send_replies(&mut self, work: &mut Work<'_>) {
        while let Some((to, message)) = self.group.replies.take_next(self.group.id) {
            // A node that cannot be reached asks again.
            work.cluster.peers.send(to.node, &message);
        }
    }

    /// Requests of another node.
    ///
    /// # Errors
    /// Bytes that are no request, from where on nothing was taken.
    pub(crate) fn on_forward(
        &mut self,
        forward: Forward,
        work: &mut Work<'_>,
    ) -> Result<(), OpError> {
        let elsewhere = self.leader_elsewhere(work);
        let bytes = forward.ops.len();
        let leads = self.group.replica.is_leader();
        let taken = match leads && self.group.forwarded.has_room(bytes) {
            true => self.take(&forward, work)?,
            false => Taken::Partly,
        };
        if taken == Taken::Partly {
            let refused = PeerMessage::ForwardRefused(ForwardRefused {
                group: self.group.id,
                leader: match leads {
                    true => Some(self.group.me.node),
                    false => elsewhere,
                },
            });
            work.cluster.peers.send(forward.origin.node, &refused);
        }
        work.cluster.mark_dirty(self.index());
        Ok(())
    }

    /// Up to which write of an origin nothing more comes of it: all were applied, or are lost with a former generation, as it
    /// has the answers to all up to `done_seq`.
    fn known_of(&self, origin: ReplicaId, done_seq: u64) -> u64 {
        let applied = self.origins.applied(origin);
        match self.has_lost_memory() {
            true => applied.max(done_seq),
            false => applied,
        }
    }

    /// Takes what is new of it.
    fn take(&mut self, forward: &Forward, work: &mut Work<'_>) -> Result<Taken, OpError> {
        let (origin, ops) = (forward.origin, &forward.ops);
        // It was removed and is about to hear of it. What it has written is in the state or forgotten.
        let is_over = self.origins.is_over(origin);
        let (applied, done_seq) = match is_over {
            true => (u64::MAX, u64::MAX),
            false => (self.known_of(origin, forward.done_seq), forward.done_seq),
        };
        let mut reading = self.begin_reading(forward, work);
        let is_short = work.budget.missing() > 0;
        work.needs_room |= is_short;
        work.needs_lock_room |= work.budget.locks.missing_for(LOCK_BYTES) > 0;
        // New writes that are not handed over yet: where they begin, how many.
        let (mut start, mut count) = (0, 0);
        let mut last = None;
        let mut at = 0;
        let mut outcome = Ok(Taken::Whole);
        while at < ops.len() {
            let op = match split_first(&ops[at..]) {
                Ok((op, _)) => op,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            };
            let (from, seq) = (at, op.head.seq);
            at += op.bytes().len();
            if op.head.kind.lane() == RequestKind::Read {
                self.hand_over(forward, start..from, std::mem::take(&mut count));
                let is_read = match &mut reading {
                    Some(reading) => {
                        op.head.after <= applied
                            && reading.has_room()
                            && self.runs_on_the_spot(origin, &op)
                            && self.read_now(&op, (ops, from), reading, work)
                    }
                    None => false,
                };
                if !is_read {
                    self.take_read((origin, done_seq), &op, ops.slice(from..at));
                }
                continue;
            }
            if is_over {
                let (replies, reply) = (&mut self.group.replies, Stored::of(&error_reply(REMOVED)));
                replies.push(origin, RequestKind::Write, seq, &reply);
                continue;
            }
            let taking = match last {
                Some(last) if seq == last + 1 => Taking::Next,
                Some(_) => Taking::Gap,
                None => self.group.forwarded.taking(origin, seq, applied),
            };
            match taking {
                Taking::Applied => self.answer_again(origin, seq, work),
                Taking::UnderWay => {}
                Taking::Next => {
                    last = Some(seq);
                    let is_full = is_short && work.cluster.is_full();
                    if op.head.kind == OpKind::Script {
                        // It is run alone.
                        self.hand_over(forward, start..from, std::mem::take(&mut count));
                        self.hand_over(forward, from..at, 1);
                    } else if let Some(reply) = refusal(&op, is_full, work.budget) {
                        self.hand_over(forward, start..from, std::mem::take(&mut count));
                        self.hand_over_refusal(forward, seq, &error_reply(reply));
                    } else {
                        start = if count == 0 { from } else { start };
                        count += 1;
                    }
                }
                Taking::Gap => {
                    at = from;
                    outcome = Ok(Taken::Partly);
                    break;
                }
            }
        }
        self.hand_over(forward, start..at, count);
        if let Some(last) = last {
            self.group.forwarded.has_taken(origin, last);
        }
        if let Some(reading) = reading {
            self.end_reading(forward, reading, work);
        }
        outcome
    }

    /// Whether a read needs nothing but a lease. One that waits for a transaction does, and its origin is told so.
    #[inline]
    fn runs_on_the_spot(&mut self, origin: ReplicaId, op: &Op<'_>) -> bool {
        op.head.kind == OpKind::Read && self.reservations.is_idle()
            || is_asked_by_nodes(op) && !is_read_script(op) && !self.is_noted_to_wait(origin, op)
    }

    /// Whether a read must wait for a transaction; its origin is told so.
    fn is_noted_to_wait(&mut self, origin: ReplicaId, op: &Op<'_>) -> bool {
        let waits = self.must_wait(op);
        if waits {
            let (kind, id) = (RequestKind::Read, op.head.seq);
            self.group.replies.push_short(origin, kind, id, b"");
        }
        waits
    }

    /// Queues a read, unless it waits already.
    pub(super) fn take_read(
        &mut self,
        (origin, done_seq): (ReplicaId, u64),
        op: &Op<'_>,
        bytes: Bytes,
    ) {
        let id = op.head.seq;
        if is_asked_by_nodes(op) {
            let ticket = self.group.rounds.ticket_for_other();
            self.group.forwarded.take_read(ForwardedRead {
                origin,
                id,
                // What its origin has the answer to is in the state, or lost with what was there.
                after: match op.head.after <= done_seq {
                    true => 0,
                    false => op.head.after,
                },
                ticket,
                op: bytes,
            });
        } else {
            let replies = &mut self.group.replies;
            replies.push(
                origin,
                RequestKind::Read,
                id,
                &Stored::of(&error_reply(UNKNOWN)),
            );
        }
    }

    /// In place of a write: so the origin has an answer, and those behind it go on.
    fn hand_over_refusal(&mut self, forward: &Forward, seq: u64, reply: &[u8]) {
        let ops = Bytes::from(refused(seq, reply));
        let whole = 0..ops.len();
        let forward = Forward {
            ops,
            ..forward.clone()
        };
        self.hand_over(&forward, whole, 1);
    }

    fn answer_again(&mut self, origin: ReplicaId, seq: u64, work: &Work<'_>) {
        let known = self.origins.get(origin).and_then(|known| known.reply(seq));
        if let Some(reply) = known {
            self.group.answer(origin, seq, reply, work.now_us());
        }
    }

    fn hand_over(&mut self, forward: &Forward, range: Range<usize>, count: u32) {
        if count > 0 {
            self.group.forwarded.take_run(ForwardedRun {
                origin: forward.origin,
                done_seq: forward.done_seq,
                count,
                ops: forward.ops.slice(range),
            });
        }
    }
}

/// The answer to a write of a node that was removed.
const REMOVED: &str = "CLUSTERDOWN This node was removed from the cluster, and nobody can say whether the write was done";

/// What a lock costs, about.
pub(crate) const LOCK_BYTES: u64 = 128;

/// How much of a message was taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Whole,
    /// Something before it is missing, or there was no room.
    Partly,
}

/// An error as a reply in either protocol.
fn error_reply(text: &str) -> Vec<u8> {
    format!("-{text}\r\n").into_bytes()
}

/// Why a forwarded write is not proposed; none if it is.
fn refusal(op: &Op<'_>, is_full: bool, budget: &Budget) -> Option<&'static str> {
    let locks = &budget.locks;
    if !is_asked_by_nodes(op) {
        Some(UNKNOWN)
    } else if locks.missing_for(LOCK_BYTES) > 0
        && locks.overflow() == LockOverflow::Refuse
        && takes_lock(op)
    {
        Some(LOCKS_OOM)
    } else if is_full && denies_oom(op) {
        Some(OOM)
    } else {
        None
    }
}
