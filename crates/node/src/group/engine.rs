//! The group's work under the shard's lock: what goes into the replica, and what is done about what comes out.

use super::Fate;
use super::apply::{Applying, touch_payload};
use super::{Mode, NotHere, QueueFull, Request, Work};
use crate::host::Now;
use crate::shard::{Call, Events, Shard};
use crate::slots::Ticket;
use crate::wire::{ForwardRefused, PeerMessage};
use bytes::Bytes;
use paxos::{Entry, Input, Kind, Message, NodeId, Output, RoleChange};
use resp::Reply;

/// Keyspace events, messages and changes that a leader holds back until it may show anything. More events and messages are lost,
/// as by a failover; changes are made up for (`Group::missed`).
const HELD_MAX: usize = 65_536;

/// For sessions.
impl Shard {
    /// How commands run here.
    #[inline]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Runs a read at a leader with a lease, where reads go by leases; `after` is the last write that the same connection
    /// has queued for this shard, 0 if none. A connection that has a read in the queue ([`Shard::is_read_open`]) must queue this one too, or
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
        let until_us = self.group.lease_until_us;
        if now.monotonic_us >= until_us
            || (after > self.group.requests.writes.done()
                && self.origins.applied(self.group.origin) < after)
            || self.is_held_back(&call)
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
    /// The queue is full, nobody answers, or the request is too long: nothing was done.
    pub fn enqueue(
        &mut self,
        request: Request<'_>,
        ticket: Ticket,
        now: Now,
    ) -> Result<u64, QueueFull> {
        if self.is_lost() {
            return Err(QueueFull::Lost);
        }
        self.group
            .requests
            .enqueue(request, ticket, now.monotonic_us)
    }

    /// Takes back a write that was queued here and that nobody has seen: `at` says which of its arguments must be a number for
    /// it to do anything.
    pub(crate) fn withdraw_write(&mut self, number: u64, at: usize) -> Fate {
        self.group.requests.withdraw_write(number, at)
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
        if self.group.is_sealed {
            return None;
        }
        self.count_solo_writes(work.now);
        let mut out = std::mem::take(&mut work.out);
        self.group.replica.step(work.now_us(), input, &mut out);
        self.group.shows = self.may_show();
        self.perform(&mut out, work);
        let refused = out.refused.take();
        while let Some(told) = self.group.streams.told.pop_front() {
            self.group.replica.step(work.now_us(), told, &mut out);
            self.perform(&mut out, work);
            out.refused = None;
        }
        work.out = out;
        self.group.lease_until_us = self.lease_until_us();
        self.set_mode(work);
        refused
    }

    /// Asks for the memory that applying will need of those entries that a message brings to be applied. Takes two calls,
    /// `pass` 0 and 1, with those of other messages in between: the second needs what the first asked for.
    pub(crate) fn touch_coming(&self, message: &Message, pass: usize) {
        let upto = match &message.kind {
            Kind::Accept { commit, .. } | Kind::Beat { commit, .. } => *commit,
            Kind::Accepted { upto, .. } => *upto,
            _ => return,
        };
        for entry in self.group.replica.unchosen(upto) {
            if let Entry::Batch { payload, .. } = entry {
                touch_payload(&self.cache, payload, pass);
            }
        }
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
        // Commands over several solo shards run by the node's clock, so it must be the group's.
        let is_own_time = self.group.log_ahead_ms() == 0;
        // Who has keys for himself has them by the log.
        let is_free = self.reservations.is_idle() && !self.has_work();
        let mode = match self.group.replica.can_skip() && is_own_time && is_free {
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
            || self.group.forwarded.has_reads()
            || !self.group.replies.is_empty()
            || !self.group.decisions.is_empty()
            || self.group.streams.has_work()
    }

    /// The earliest time at which a tick does anything, us. What waits for an answer that is on its way is roused by that.
    pub(crate) fn wake_us(&self, now: Now) -> u64 {
        let group = &self.group;
        if self.mode == Mode::Solo {
            let wake_us = self.solo_wake_us(now).min(self.waits_wake_us());
            return wake_us.min(self.transactions_wake_us());
        }
        let is_waiting_for_time = group.holds
            || group.forwarded.has_writes() && group.in_flight.is_empty()
            || group.forwarded.has_reads()
            || group.replica.is_leader() && group.requests.has_reads()
            || !group.replies.is_empty()
            || !group.decisions.is_empty()
            || group.streams.has_work();
        match is_waiting_for_time {
            true => 0,
            false => {
                let wake_us = group.replica.next_wake_us().min(group.requests.wake_us());
                wake_us
                    .min(self.locks_wake_us(now))
                    .min(self.transactions_wake_us())
                    .min(self.waits_wake_us())
                    .min(self.left_wake_us())
            }
        }
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
        if let Some(&ticket) = out.serve.last() {
            out.serve.clear();
            self.serve_reads(ticket, out.serve_log_ms, work);
        }
        for ticket in out.deny.drain(..) {
            self.group.rounds.refuse(ticket);
        }
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
            if std::mem::take(&mut self.group.has_outcome_in_flight) {
                work.applied.events.append(&mut self.group.script_events);
            }
        }
        let applying = Applying {
            event_mask: if leads { work.event_mask } else { 0 },
            tells: leads,
            now_us: work.now_us(),
            is_touched: work.is_touched,
        };
        self.apply_batch(log_ms, payload, applying, &mut work.applied);
        if !work.applied.grants.is_empty() {
            self.hand_out(work);
        }
        if self.cache.has_awaited() {
            self.call_out(work);
        }
        let evictions = std::mem::take(&mut work.applied.evictions);
        let evicted_keys = std::mem::take(&mut work.applied.evicted_keys);
        if evictions > 0 && leads {
            self.expect_no_more(work.budget);
            work.evicted_keys += evicted_keys;
        }
        self.drain_changes(work);
    }

    /// What changed is told to others by the leader alone, and not before it may show anything: told before, it would have
    /// somebody read again from a former leader what is no more, and not be told of it.
    pub(super) fn drain_changes(&mut self, work: &mut Work<'_>) {
        let mut changes = match self.is_observed() {
            true => self.take_changes(),
            false => Vec::new(),
        };
        let group = &mut self.group;
        let applied = &mut work.applied;
        // Whoever asked for it tells it as well, unless it is gone or was told that nobody knows what came of it.
        let is_emptied = std::mem::take(&mut applied.is_emptied);
        if !group.replica.is_leader() {
            return;
        }
        if group.shows {
            work.is_emptied |= is_emptied;
            work.changes.append(&mut changes);
            return;
        }
        group.missed |= is_emptied;
        group.holds |= is_emptied
            || !changes.is_empty()
            || !applied.events.is_empty()
            || !applied.said.is_empty();
        let held = group.held_changes.len() + group.held_events.len() + group.held_said.len();
        if held < HELD_MAX {
            group.held_changes.append(&mut changes);
            group.held_events.append(&mut applied.events);
            group.held_said.append(&mut applied.said);
        } else {
            group.missed |= !changes.is_empty();
            applied.events.clear();
            applied.said.clear();
        }
    }

    /// Leadership came or went.
    pub(super) fn on_role(&mut self, role: RoleChange, work: &mut Work<'_>) {
        let group = &mut self.group;
        let leader = match role {
            RoleChange::Leader {
                ballot,
                log_ms,
                visible_us,
            } => {
                group.visible_us = visible_us;
                // Who led before may still say so.
                work.cluster
                    .hear_leader(group.id, ballot, group.me.node, work.now_us());
                // Nodes that are no members hear of it by beats alone, and their clients wait.
                work.begins_to_lead = true;
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
        group.has_outcome_in_flight = false;
        group.script_events.clear();
        group.holds = group.replica.is_leader();
        // What scripts said is told all the same: who leads next may not have to apply it any more.
        group.held_events.clear();
        group.held_changes.clear();
        group.missed = true;
        group.decisions.clear();
        group.decisions_count = 0;
        group.forget_heard();
        group.resolving.clear();
        group.rounds.begin_again();
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
                while self.may_propose(work) && self.propose(work) {}
                self.run_reads(work);
                // Writes may have stood behind those reads. Each round proposes some.
                let writes = self.group.requests.has_writes_to_send();
                let more = writes && !(self.script_waits() && self.script_is_held_back())
                    || !self.group.decisions.is_empty();
                if !more || !self.may_propose(work) {
                    break;
                }
            }
            self.send_replies(work);
            if !work.has_time_for_scripts() && (self.script_waits() || self.has_reads()) {
                // They have the next turn.
                work.cluster.mark_dirty(self.index());
                work.cluster.flusher.ask();
            }
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

    /// Time went by: the replica's timeouts, requests that wait too long or whose answers do not come.
    pub(crate) fn tick(&mut self, work: &mut Work<'_>) {
        self.step(Input::Tick, work);
        let now_us = work.now_us();
        let group = &mut self.group;
        if !group.requests.is_idle() {
            group.requests.give_up(now_us);
            if !group.replica.is_leader() {
                group.requests.resend_silent(now_us);
            }
        }
        self.tell_left(work);
        self.tick_locks(work);
        self.tick_waits(work);
        self.tick_transactions(work);
        if self.has_work() || self.group.holds {
            self.pump(work);
        }
    }

    /// When what scripts said is to be told that this replica held back until it lost its lead, us.
    fn left_wake_us(&self) -> u64 {
        match self.group.held_said.is_empty() || self.group.replica.is_leader() {
            true => u64::MAX,
            false => self.group.visible_us,
        }
    }

    /// Tells it, at the time at which the leader that it was would have.
    fn tell_left(&mut self, work: &mut Work<'_>) {
        if self.left_wake_us() <= work.now_us() {
            work.applied.said.append(&mut self.group.held_said);
        }
    }

    /// The link to a node broke or came up: what was sent over it may be lost.
    pub(crate) fn on_link(&mut self, node: NodeId) {
        if self.group.target == Some(node) {
            self.group.requests.send_again();
        }
        self.blocked.ask_again();
        self.waits.tell_again();
    }
}

pub(super) fn send(message: Message, work: &Work<'_>) {
    let to = message.to.node;
    // What does not arrive is repeated by whoever needs it.
    work.cluster.peers.send(to, &PeerMessage::Paxos(message));
}
