//! The group's work under the shard's lock: what goes into the replica, and what is done about what comes out.

use super::apply::{Applying, stored_since};
use super::decide::refused;
use super::forward::{ForwardedRead, ForwardedRun, Taking, checked, denies_oom};
use super::op::{OpKind, split_first};
use super::origins::Stored;
use super::requests::{Next, NextOps};
use super::{Mode, NotHere, QueueFull, Request, Work};
use crate::entry::{BATCH_HEAD_BYTES, Run, push_run, write_batch_head, write_run_head};
use crate::host::Now;
use crate::peers::Sent;
use crate::questions;
use crate::shard::{Call, Events, Shard};
use crate::slots::Ticket;
use crate::wire::{Forward, ForwardRefused, ForwardReply, PeerMessage, RequestKind};
use bytes::Bytes;
use paxos::{Entry, Input, Message, NodeId, Output, ReplicaId, RoleChange};
use resp::Reply;

/// Bytes of a batch beyond which it takes no further run.
const BATCH_BYTES_MAX: usize = 256 << 10;
/// Without an answer for so long, everything is sent again, us.
const RESEND_US: u64 = 500_000;
/// A request that waits longer is refused, us …
const PATIENCE_US: u64 = 10_000_000;
/// … by these words.
const NO_LEADER: &[u8] = b"-CLUSTERDOWN The shard has had no leader for 10 seconds\r\n";
/// After a refusal nothing is forwarded for so long, us.
const PAUSE_US: u64 = 10_000;
/// Keyspace events and changes that a leader holds back until it may show anything; more are lost, as by a failover.
const HELD_MAX: usize = 65_536;
/// What a client is told where no memory is left.
const OOM: &[u8] = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n";

/// For sessions.
impl Shard {
    /// How commands run here.
    #[inline]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Runs a read at a leader with a lease; `after` is the last write that the same connection has queued for this
    /// shard, 0 if none. A connection that has a read in the queue ([`Shard::is_read_open`]) must queue this one too, or
    /// it would overtake. Returns the clock time, us, that must not have come when the reply leaves.
    ///
    /// # Errors
    /// Not to be answered here and now: to be queued.
    #[inline]
    pub fn read_leased(
        &mut self,
        call: Call<'_>,
        after: u64,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Result<(Events, u64), NotHere> {
        let until_us = self.group.replica.lease_until();
        if now.monotonic_us >= until_us
            || (after > 0 && self.origins.applied(self.group.me) < after)
        {
            return Err(NotHere);
        }
        let mut call = call;
        call.stamp.log_ms = self.group.read_ms(now);
        call.stamp.wall_offset_ms = self.group.wall_offset_ms(now);
        Ok((self.run(call, reply), until_us))
    }

    /// Queues a request; `ticket` is filled with its reply. Returns a write's sequence number or a read's id. The caller
    /// then marks the shard dirty and asks for a flush.
    ///
    /// # Errors
    /// The queue is full, or the request too long: nothing was done.
    pub fn enqueue(
        &mut self,
        request: Request<'_>,
        ticket: Ticket,
        now: Now,
    ) -> Result<u64, QueueFull> {
        self.group
            .requests
            .enqueue(request, ticket, now.monotonic_us)
    }

    /// The last write that was queued here, 0 before the first.
    pub fn queued_seq(&self) -> u64 {
        self.group.requests.writes.last()
    }

    /// Lets the shard's keys see the time, where this replica is the one to say what time it is. A follower's time moves
    /// by entries alone.
    pub fn run_clock(&mut self, now: Now) {
        if let Some(log_ms) = self.clock_ms(now) {
            self.cache.set_now(log_ms);
        }
    }

    /// Whether the read with this id is not answered yet.
    pub fn is_read_open(&self, id: u64) -> bool {
        self.group.requests.reads.is_open(id)
    }

    /// The shard's log time at this moment of the node's clock, ms; none if another node has it.
    pub(crate) fn clock_ms(&self, now: Now) -> Option<u64> {
        (now.monotonic_us < self.group.replica.lease_until()).then(|| self.group.read_ms(now))
    }
}

/// For the node.
impl Shard {
    /// Lets the replica take something in, and does what follows from it. Returns why it was refused, if it was.
    pub(crate) fn step(&mut self, input: Input, work: &mut Work<'_>) -> Option<&'static str> {
        self.count_solo_writes(work.now);
        let mut out = std::mem::take(&mut work.out);
        self.group.replica.step(work.now_us(), input, &mut out);
        self.group.shows = self.group.replica.may_show();
        self.perform(&mut out, work);
        let refused = out.refused.take();
        while let Some(told) = self.group.streams.told.pop_front() {
            self.group.replica.step(work.now_us(), told, &mut out);
            self.perform(&mut out, work);
            out.refused = None;
        }
        work.out = out;
        self.set_mode(work);
        refused
    }

    /// Tells the replica of the writes that a solo group applied beside its log.
    fn count_solo_writes(&mut self, now: Now) {
        if self.group.replica.can_skip() {
            // What a solo group showed by the clock up to now is its log time too.
            let shown_ms = self.group.read_ms(now).max(self.cache.now_ms());
            self.group.replica.raise_log_ms(shown_ms, now.monotonic_us);
            let skipped = self.applied - self.group.replica.chosen().0;
            if skipped > 0 {
                self.group.replica.skip(skipped, shown_ms, now.monotonic_us);
            }
        }
    }

    fn set_mode(&mut self, work: &Work<'_>) {
        let mode = match self.group.replica.can_skip() && !self.has_work() {
            true => Mode::Solo,
            false => Mode::Grouped,
        };
        if mode != self.mode {
            self.mode = mode;
            work.cluster.set_mode(self.index(), mode);
        }
    }

    /// The shard's number.
    pub(crate) fn index(&self) -> usize {
        self.group.id.0 as usize - 1
    }

    /// Whether something waits to be proposed, executed or sent.
    pub(crate) fn has_work(&self) -> bool {
        !self.group.requests.is_idle()
            || self.group.forwarded.has_writes()
            || !self.group.forwarded.reads.is_empty()
            || !self.group.replies.is_empty()
            || !self.group.decisions.is_empty()
            || self.group.streams.has_work()
    }

    fn perform(&mut self, out: &mut Output, work: &mut Work<'_>) {
        for message in out.send_first.drain(..) {
            send(message, work);
        }
        let id = self.group.id;
        if !out.persist.is_empty() {
            let generation = self.group.replica.generation();
            for record in out.persist.drain(..) {
                work.records.push(id, generation, &record);
            }
            work.tokens.push((self.index(), out.token));
        }
        if work.cluster.is_durable() {
            work.deferred.append(&mut out.send);
        } else {
            for message in out.send.drain(..) {
                send(message, work);
            }
        }
        for (index, entry) in out.apply.drain(..) {
            assert_eq!(index.0, self.applied + 1, "entries are applied in order");
            self.applied = index.0;
            match entry {
                Entry::Noop | Entry::Config(_) => {}
                Entry::Batch { log_ms, payload } => self.apply_chosen(log_ms, &payload, work),
            }
        }
        out.serve.clear();
        out.deny.clear();
        if let Some(role) = out.role.take() {
            self.on_role(role, work);
        }
        out.config = None;
        for step in out.snapshot.drain(..) {
            self.on_snapshot(step, work);
        }
    }

    fn apply_chosen(&mut self, log_ms: u64, payload: &Bytes, work: &mut Work<'_>) {
        let leads = self.group.replica.is_leader();
        if let Some((_, own)) = self.group.in_flight.front()
            && own.as_ptr() == payload.as_ptr()
        {
            self.group.in_flight.pop_front();
        }
        let applying = Applying {
            event_mask: if leads { work.event_mask } else { 0 },
            now_us: work.now_us(),
        };
        self.apply_batch(log_ms, payload, applying, &mut work.applied);
        let evictions = std::mem::take(&mut work.applied.evictions);
        let evicted_keys = std::mem::take(&mut work.applied.evicted_keys);
        if evictions > 0 && leads {
            self.expect_no_more(work.budget);
            work.evicted_keys += evicted_keys;
        }
        self.drain_changes(work);
    }

    /// What changed is told to others by the leader alone, and not before it may show anything.
    fn drain_changes(&mut self, work: &mut Work<'_>) {
        let mut changes = match self.is_observed() {
            true => self.take_changes(),
            false => Vec::new(),
        };
        let group = &mut self.group;
        if !group.replica.is_leader() {
            return;
        }
        if group.shows {
            work.changes.append(&mut changes);
        } else if group.held_changes.len() + group.held_events.len() < HELD_MAX {
            group.held_changes.append(&mut changes);
            group.held_events.append(&mut work.applied.events);
        } else {
            work.applied.events.clear();
        }
    }

    /// Leadership came or went.
    fn on_role(&mut self, role: RoleChange, work: &mut Work<'_>) {
        let group = &mut self.group;
        let leader = match role {
            RoleChange::Leader { ballot, log_ms, .. } => {
                // Who led before may still say so.
                work.cluster.hear_leader(group.id, ballot, group.me.node);
                group.lead_from(log_ms, work.now);
                Some(group.me.node)
            }
            RoleChange::Follower { leader } => {
                group.led = false;
                leader.map(|leader| leader.node)
            }
            RoleChange::Candidate => {
                group.led = false;
                None
            }
        };
        group.in_flight.clear();
        group.holds = group.replica.is_leader();
        group.held_events.clear();
        group.held_changes.clear();
        group.decisions.clear();
        group.decisions_count = 0;
        let refusal = ForwardRefused {
            group: group.id,
            leader,
        };
        for origin in group.forwarded.clear() {
            let refused = PeerMessage::ForwardRefused(refusal);
            work.cluster.peers.send(origin.node, &refused);
        }
        group.requests.send_again();
        group.target = None;
        group.pause_until_us = 0;
        work.cluster.set_leader(group.id, leader);
        self.expect_no_more(work.budget);
        work.cluster.mark_dirty(self.index());
    }

    /// Sends on its way whatever waits here: proposals and reads of a leader, else a message to whoever leads.
    pub(crate) fn pump(&mut self, work: &mut Work<'_>) {
        if self.group.replica.is_leader() {
            self.show_held(work);
            loop {
                while self.group.replica.can_propose() && self.propose(work) {}
                self.run_reads(work);
                // Writes may have stood behind those reads. Each round proposes some.
                let more = self.group.requests.has_writes_to_send();
                if !more || !self.group.replica.can_propose() {
                    break;
                }
            }
            self.send_replies(work);
        } else {
            self.forward(work);
        }
        if self.make_chunk(work) {
            // One at a time: others want the shard too.
            work.cluster.mark_dirty(self.index());
            work.cluster.flusher.ask();
        }
        self.set_mode(work);
    }

    /// Proposes one batch of what waits; whether there was anything.
    fn propose(&mut self, work: &mut Work<'_>) -> bool {
        let Some((mut payload, fresh)) = self.own_run() else {
            return false;
        };
        let room = |payload: &Vec<u8>| BATCH_BYTES_MAX.saturating_sub(payload.len());
        while let Some(run) = self.group.forwarded.next_run(room(&payload)).or_else(|| {
            let empty = payload.len() == BATCH_HEAD_BYTES;
            empty.then(|| self.group.forwarded.next_run(usize::MAX))?
        }) {
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
        self.group
            .in_flight
            .push_back((stamp.log_ms, payload.clone()));
        let proposal = Input::Propose {
            log_ms: stamp.log_ms,
            payload,
        };
        let refused = self.step(proposal, work);
        assert!(refused.is_none(), "proposed while it could: {refused:?}");
        true
    }

    /// The beginning of a batch: this node's own writes, if any wait; none if nothing waits at all. Whether its memory is
    /// lent by the queue.
    fn own_run(&mut self) -> Option<(Vec<u8>, bool)> {
        let group = &mut self.group;
        let done_seq = group.requests.writes.done();
        match group.requests.next_writes() {
            Some(Next { count, ops }) => match ops {
                NextOps::Fresh(mut memory) => {
                    let (_, run) = memory.split_at_mut(BATCH_HEAD_BYTES);
                    let bytes = run.len() - crate::entry::RUN_HEAD_BYTES;
                    write_run_head(run, group.me, done_seq, count, bytes);
                    Some((memory, true))
                }
                NextOps::Shared(ops) => {
                    let mut memory = vec![0; BATCH_HEAD_BYTES];
                    let run = Run {
                        origin: group.me,
                        done_seq,
                        count,
                        ops: &ops,
                    };
                    push_run(&mut memory, run);
                    Some((memory, false))
                }
            },
            None if group.forwarded.has_writes() || !group.decisions.is_empty() => {
                Some((vec![0; BATCH_HEAD_BYTES], false))
            }
            None => None,
        }
    }

    /// Gives the answers that were held back until this leader may show anything.
    fn show_held(&mut self, work: &mut Work<'_>) {
        let group = &mut self.group;
        group.shows = group.replica.may_show();
        if !group.shows || !group.holds {
            return;
        }
        group.holds = false;
        work.changes.append(&mut group.held_changes);
        work.applied.events.append(&mut group.held_events);
        for (origin, state) in self.origins.iter() {
            for (seq, reply) in state.replies() {
                group.answer(origin, seq, reply, work.now_us());
            }
        }
    }

    /// Executes the reads that may run: the lease holds and what they must see is applied.
    fn run_reads(&mut self, work: &mut Work<'_>) {
        let nothing = self.group.forwarded.reads.is_empty() && !self.group.requests.has_reads();
        let until_us = self.group.replica.lease_until();
        if nothing || work.host.monotonic_us() >= until_us {
            return;
        }
        let me = self.group.me;
        let log_ms = self.group.read_ms(work.now);
        let mut done: Vec<(ForwardedRead, Stored)> = Vec::new();
        for read in self.runnable() {
            let reply = self.run_read(&read.op, log_ms, work);
            done.push((read, reply));
        }
        self.drain_changes(work);
        if work.host.monotonic_us() >= until_us {
            // The process stood still in between: what was read may be old. They wait for a lease again.
            let others = done.into_iter().filter(|(read, _)| read.origin != me);
            others.for_each(|(read, _)| self.group.forwarded.take_read(read));
            return;
        }
        let group = &mut self.group;
        for (read, reply) in &done {
            if read.origin != me {
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

    /// The reads of this node and of others whose writes before them are applied. Those of others leave their queue.
    fn runnable(&mut self) -> Vec<ForwardedRead> {
        let (group, origins) = (&mut self.group, &self.origins);
        let mut reads = group
            .requests
            .runnable_reads(group.me, origins.applied(group.me));
        let waiting = std::mem::take(&mut group.forwarded.reads);
        for read in waiting {
            if read.after <= origins.applied(read.origin) {
                reads.push(read);
            } else {
                group.forwarded.reads.push_back(read);
            }
        }
        reads
    }

    fn run_read(&mut self, op: &Bytes, log_ms: u64, work: &mut Work<'_>) -> Stored {
        let (op, _) = split_first(op).expect("looked at when it was taken");
        let stamp = crate::Stamp {
            log_ms,
            wall_offset_ms: self.group.wall_offset_ms(work.now),
            random: work.host.random(),
        };
        self.cache.set_now(log_ms);
        let mark = work.applied.scratch.mark();
        if op.head.kind == OpKind::Internal {
            let mut reply = Reply::new(&mut work.applied.scratch, op.head.flags.protocol());
            questions::answer(self, op.head.db, op.args(), &mut reply);
        } else {
            let applying = Applying {
                event_mask: work.event_mask,
                now_us: work.now_us(),
            };
            self.run_op(&op, stamp, applying, &mut work.applied);
        }
        stored_since(&mut work.applied.scratch, mark)
    }

    fn send_replies(&mut self, work: &mut Work<'_>) {
        if self.group.replies.is_empty() {
            return;
        }
        for (to, message) in self.group.replies.take(self.group.id) {
            // A node that cannot be reached asks again.
            work.cluster.peers.send(to.node, &message);
        }
    }

    /// Who is asked when this replica does not lead.
    fn leader_elsewhere(&self, work: &Work<'_>) -> Option<NodeId> {
        let (group, config) = (&self.group, self.group.replica.config());
        let is_member = config.voters.contains(&group.me) || config.learners.contains(&group.me);
        let heard = group.replica.leader().filter(|_| is_member);
        let leader = heard.map(|leader| leader.node);
        leader
            .or_else(|| work.cluster.leader(group.id))
            .filter(|node| *node != group.me.node)
    }

    /// Sends what waits to whoever leads.
    fn forward(&mut self, work: &mut Work<'_>) {
        let Some(leader) = self.leader_elsewhere(work) else {
            return;
        };
        let group = &mut self.group;
        if group.target != Some(leader) {
            group.target = Some(leader);
            group.requests.send_again();
        }
        if work.now_us() < group.pause_until_us || !group.requests.has_unsent() {
            return;
        }
        let (id, origin) = (group.id, group.me);
        let done_seq = group.requests.writes.done();
        let mut sent = Sent::Queued;
        let mut send = |ops: Bytes| {
            let forward = Forward {
                group: id,
                origin,
                done_seq,
                ops,
            };
            let outcome = work
                .cluster
                .peers
                .send(leader, &PeerMessage::Forward(forward));
            if outcome != Sent::Queued {
                sent = outcome;
            }
        };
        while let Some(ops) = group.requests.next_reads() {
            send(ops);
        }
        while let Some(next) = group.requests.next_writes() {
            send(match next.ops {
                NextOps::Fresh(memory) => {
                    group.requests.writes.sealed(memory.into());
                    group.requests.writes.sealed_ops()
                }
                NextOps::Shared(ops) => ops,
            });
        }
        if sent != Sent::Queued {
            group.requests.send_again();
            group.pause_until_us = work.now_us() + PAUSE_US;
        }
    }

    /// Requests of another node.
    pub(crate) fn on_forward(&mut self, forward: Forward, work: &mut Work<'_>) {
        let refusal = ForwardRefused {
            group: self.group.id,
            leader: self.leader_elsewhere(work),
        };
        let bytes = forward.ops.len();
        let taken = self.group.replica.is_leader()
            && self.group.forwarded.has_room(bytes)
            && self.take(&forward, work);
        if !taken {
            let leader = match self.group.replica.is_leader() {
                true => Some(self.group.me.node),
                false => refusal.leader,
            };
            let refused = PeerMessage::ForwardRefused(ForwardRefused { leader, ..refusal });
            work.cluster.peers.send(forward.origin.node, &refused);
        }
        work.cluster.mark_dirty(self.index());
    }

    /// Takes what is new of it; whether nothing is missing.
    fn take(&mut self, forward: &Forward, work: &mut Work<'_>) -> bool {
        let (origin, ops) = (forward.origin, &forward.ops);
        let applied = self.origins.applied(origin);
        let is_short = work.budget.missing() > 0;
        // New writes that are not handed over yet: where they begin, how many.
        let (mut start, mut count) = (0, 0);
        let mut last = None;
        let mut at = 0;
        let mut complete = true;
        while at < ops.len() {
            let Some((op, _)) = checked(&ops[at..]) else {
                tracing::warn!(?origin, "dropped a forwarded request that is none");
                break;
            };
            let end = at + op.bytes().len();
            let (kind, seq) = (op.head.kind.lane(), op.head.seq);
            let taking = match (kind, last) {
                (RequestKind::Read, _) => {
                    self.group.forwarded.take_read(ForwardedRead {
                        origin,
                        id: seq,
                        after: op.head.after,
                        op: ops.slice(at..end),
                    });
                    at = end;
                    continue;
                }
                (RequestKind::Write, Some(last)) if seq == last + 1 => Taking::Next,
                (RequestKind::Write, Some(_)) => Taking::Gap,
                (RequestKind::Write, None) => self.group.forwarded.taking(origin, seq, applied),
            };
            match taking {
                Taking::Applied => self.answer_again(origin, seq, work),
                Taking::UnderWay => {}
                Taking::Next if is_short && denies_oom(&op) && work.cluster.is_full() => {
                    self.hand_over(forward, start..at, std::mem::take(&mut count));
                    let refusal = Bytes::from(refused(seq, OOM));
                    let whole = 0..refusal.len();
                    let ops = Forward {
                        ops: refusal,
                        ..forward.clone()
                    };
                    self.hand_over(&ops, whole, 1);
                    last = Some(seq);
                }
                Taking::Next => {
                    if count == 0 {
                        start = at;
                    }
                    count += 1;
                    last = Some(seq);
                }
                Taking::Gap => {
                    complete = false;
                    break;
                }
            }
            at = end;
        }
        work.needs_room |= is_short;
        self.hand_over(forward, start..at, count);
        if let Some(last) = last {
            self.group.forwarded.has_taken(origin, last);
        }
        complete
    }

    fn answer_again(&mut self, origin: ReplicaId, seq: u64, work: &Work<'_>) {
        let known = self.origins.get(origin).and_then(|known| known.reply(seq));
        if let Some(reply) = known {
            self.group.answer(origin, seq, reply, work.now_us());
        }
    }

    fn hand_over(&mut self, forward: &Forward, range: std::ops::Range<usize>, count: u32) {
        if count > 0 {
            self.group.forwarded.take_run(ForwardedRun {
                origin: forward.origin,
                done_seq: forward.done_seq,
                count,
                ops: forward.ops.slice(range),
            });
        }
    }

    /// Answers to this node's requests.
    pub(crate) fn on_forward_reply(&mut self, reply: ForwardReply, work: &mut Work<'_>) {
        for item in reply.items {
            self.group
                .requests
                .resolve_shared(item.kind, item.number, item.reply, work.now_us());
        }
        if self.group.requests.has_unsent() {
            work.cluster.mark_dirty(self.index());
        }
    }

    /// The node that was asked does not lead, or has not got what came before.
    pub(crate) fn on_forward_refused(
        &mut self,
        by: NodeId,
        refused: ForwardRefused,
        work: &mut Work<'_>,
    ) {
        let group = &mut self.group;
        if group.target != Some(by) {
            return;
        }
        group.requests.send_again();
        group.target = None;
        group.pause_until_us = work.now_us() + PAUSE_US;
        if work.cluster.leader(group.id) == Some(by) {
            work.cluster.set_leader(group.id, refused.leader);
        }
    }

    /// Time went by: the replica's timeouts, requests that wait too long or whose answers do not come.
    pub(crate) fn tick(&mut self, work: &mut Work<'_>) {
        self.step(Input::Tick, work);
        let now_us = work.now_us();
        let group = &mut self.group;
        if !group.requests.is_idle() {
            group
                .requests
                .give_up(now_us.saturating_sub(PATIENCE_US), NO_LEADER);
            let silent_us = now_us.saturating_sub(group.requests.progress_us);
            if !group.replica.is_leader() && silent_us >= RESEND_US {
                group.requests.progress_us = now_us;
                group.requests.send_again();
            }
        }
        if self.has_work() || self.group.holds {
            self.pump(work);
        }
    }

    /// The link to a node broke or came up: what was sent over it may be lost.
    pub(crate) fn on_link(&mut self, node: NodeId) {
        if self.group.target == Some(node) {
            self.group.requests.send_again();
        }
    }
}

fn send(message: Message, work: &Work<'_>) {
    let to = message.to.node;
    // What does not arrive is repeated by whoever needs it.
    work.cluster.peers.send(to, &PeerMessage::Paxos(message));
}
