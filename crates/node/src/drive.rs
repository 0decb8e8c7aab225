//! What moves the node's groups: messages of other nodes, time, and the wish of sessions that what they queued is sent.
//!
//! Everything here runs on the task that calls it and waits for nobody: messages to others go into outboxes
//! ([`crate::Peers`]), replies into their tickets. Whoever owns the links calls [`Node::on_peer_messages`] for what it
//! read and [`Node::flush`] after it; a timer calls [`Node::tick`] every 10 ms.

use crate::group::{LOCK_BYTES, Mode, Work, is_touched_with_others};
use crate::host::Now;
use crate::journal::JournalBatch;
use crate::node::Node;
use crate::shard::Shard;
use crate::vet::Misbehaviour;
use crate::wire::{NodeBeat, PeerMessage};
use paxos::{GroupId, Input, NodeId, ReplicaId};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

/// Messages that are looked at together ahead of being taken in.
const AHEAD_MAX: usize = 32;
/// Time between two beats of the node, us.
const BEAT_US: u64 = 50_000;

impl Node {
    /// How a shard's commands run here. A hint: [`Shard::mode`] knows.
    #[inline]
    pub fn mode(&self, shard: usize) -> Mode {
        self.cluster.mode(shard)
    }

    /// Whether reads of a shard are answered here, most likely: nobody else holds it, or this node leads it.
    #[inline]
    pub(crate) fn answers_reads(&self, shard: usize) -> bool {
        let leader = || self.cluster.leader(GroupId(shard as u32 + 1));
        self.mode(shard) == Mode::Solo || leader() == Some(self.cluster.me.node)
    }

    /// Requests were queued for a shard.
    #[inline]
    pub fn mark_dirty(&self, shard: usize) {
        self.cluster.mark_dirty(shard);
    }

    /// Has what was queued sent soon: once a batch, after [`Node::mark_dirty`] for each shard.
    #[inline]
    pub fn request_flush(&self) {
        self.cluster.flusher.ask();
    }

    /// Sends on its way what waits in the groups that were marked.
    pub fn flush(&self, now: Now) {
        if self.cluster.failure().is_some() {
            return;
        }
        let mut work = self.work(now);
        for shard in self.cluster.take_dirty() {
            self.on_shard(shard, &mut work, |shard, work| shard.pump(work));
        }
        self.finish(work);
    }

    /// Takes in what another node said, over a link that is known to be its: message by message what `next` gives, as
    /// one turn. All of it had arrived at `now`. A flush is to follow.
    ///
    /// # Errors
    /// What it said cannot come from a sound node: its link is to be closed. What it said before was taken in.
    pub fn on_peer_messages(
        &self,
        from: ReplicaId,
        mut next: impl FnMut() -> Option<PeerMessage>,
        now: Now,
    ) -> Result<(), Misbehaviour> {
        let mut outcome = Ok(());
        let mut work: Option<Work<'_>> = None;
        let mut messages: VecDeque<PeerMessage> = VecDeque::new();
        while outcome.is_ok() {
            if messages.is_empty() {
                messages.extend(std::iter::from_fn(&mut next).take(AHEAD_MAX));
                self.touch_coming(&messages);
            }
            let Some(message) = messages.pop_front() else {
                break;
            };
            if self.cluster.failure().is_some() {
                return Ok(());
            }
            outcome = self.vet(from, &message).and_then(|()| {
                let message = match self.group_of(&message) {
                    Some(shard) => {
                        let work = work.get_or_insert_with(|| self.work(now));
                        work.is_touched = true;
                        return self.on_group_message(from, shard, message, work);
                    }
                    None => message,
                };
                // It has a turn of its own.
                work.take().into_iter().for_each(|work| self.finish(work));
                self.on_node_message(from, message, now)
            });
        }
        work.into_iter().for_each(|work| self.finish(work));
        outcome
    }

    /// The same for one message.
    #[cfg(test)]
    pub(crate) fn on_peer_message(
        &self,
        from: ReplicaId,
        message: PeerMessage,
        now: Now,
    ) -> Result<(), Misbehaviour> {
        let mut message = Some(message);
        self.on_peer_messages(from, || message.take(), now)
    }

    /// Asks for the memory that some messages need of what they bring to be applied or read, so that the waits for it overlap.
    fn touch_coming(&self, messages: &VecDeque<PeerMessage>) {
        for pass in 0..2 {
            for message in messages {
                let group = match message {
                    PeerMessage::Paxos(message) => message.group,
                    PeerMessage::Forward(forward) if is_touched_with_others(&forward.ops) => {
                        forward.group
                    }
                    _ => continue,
                };
                let shard = (group.0 as usize).checked_sub(1);
                let shard = shard.filter(|shard| *shard < self.shards_count());
                let Some(shard) = shard.and_then(|shard| self.try_lock(shard)) else {
                    continue;
                };
                match message {
                    PeerMessage::Paxos(message) => shard.touch_coming(message, pass),
                    PeerMessage::Forward(forward) => shard.touch_forward(forward, pass),
                    _ => unreachable!("passed over"),
                }
            }
        }
    }

    /// The shard whose group a message is about, if it is about one.
    fn group_of(&self, message: &PeerMessage) -> Option<usize> {
        let group = match message {
            PeerMessage::Paxos(message) => message.group,
            PeerMessage::Forward(forward) => forward.group,
            PeerMessage::ForwardReply(reply) => reply.group,
            PeerMessage::ForwardRefused(refused) => refused.group,
            PeerMessage::LockAsk(ask) => ask.group,
            PeerMessage::LockTold(told) => told.group,
            PeerMessage::Expect(expect) => expect.group,
            PeerMessage::Ready(ready) => ready.group,
            PeerMessage::NodeBeat(_)
            | PeerMessage::Publish(_)
            | PeerMessage::Called(_)
            | PeerMessage::Changed(_)
            | PeerMessage::Touched(_)
            | PeerMessage::Meta(_) => return None,
        };
        // The meta group is group 0.
        (group.0 as usize).checked_sub(1)
    }

    fn on_group_message(
        &self,
        from: ReplicaId,
        shard: usize,
        message: PeerMessage,
        work: &mut Work<'_>,
    ) -> Result<(), Misbehaviour> {
        let mut taken = Ok(());
        self.on_shard(shard, work, |shard, work| match message {
            PeerMessage::Paxos(message) => {
                shard.step(Input::Message(message), work);
                if shard.has_work() {
                    work.cluster.mark_dirty(shard.index());
                }
            }
            PeerMessage::Forward(forward) => taken = shard.on_forward(forward, work),
            // A former start of this node asked, under numbers that are now others'.
            PeerMessage::ForwardReply(reply) if reply.to != work.cluster.origin => {}
            PeerMessage::ForwardReply(reply) => shard.on_forward_reply(reply, work),
            PeerMessage::ForwardRefused(refused) => {
                shard.on_forward_refused(from.node, refused, work);
            }
            PeerMessage::LockAsk(ask) => shard.on_lock_ask(ask, work),
            PeerMessage::LockTold(told) if told.to != work.cluster.origin => {}
            PeerMessage::LockTold(told) => shard.on_lock_told(told, work),
            PeerMessage::Expect(expect) => shard.on_expect(&expect, work),
            PeerMessage::Ready(ready) if ready.to != work.cluster.origin => {}
            PeerMessage::Ready(ready) => shard.on_ready(&ready),
            PeerMessage::NodeBeat(_)
            | PeerMessage::Publish(_)
            | PeerMessage::Called(_)
            | PeerMessage::Changed(_)
            | PeerMessage::Touched(_)
            | PeerMessage::Meta(_) => unreachable!("about no group"),
        });
        Ok(taken?)
    }

    fn on_node_message(
        &self,
        from: ReplicaId,
        message: PeerMessage,
        now: Now,
    ) -> Result<(), Misbehaviour> {
        match message {
            // Those of shards' groups went another way.
            PeerMessage::Paxos(message) => {
                self.step_meta(Input::Message(message), now);
            }
            PeerMessage::Forward(_)
            | PeerMessage::ForwardReply(_)
            | PeerMessage::ForwardRefused(_)
            | PeerMessage::LockAsk(_)
            | PeerMessage::LockTold(_)
            | PeerMessage::Expect(_)
            | PeerMessage::Ready(_) => unreachable!("vetted: about a shard's group"),
            PeerMessage::NodeBeat(beat) => self.on_beat(from, &beat, now),
            PeerMessage::Publish(publish) => self.on_publish(from.node, &publish, now),
            PeerMessage::Called(called) => self.on_called(from.node, called),
            PeerMessage::Changed(changed) => self.on_changed(&changed, now),
            PeerMessage::Touched(touched) => self.on_touched(from, &touched, now),
            PeerMessage::Meta(message) => self
                .on_meta_message(from, &message, now)
                .map_err(Misbehaviour::Meta)?,
        }
        Ok(())
    }

    /// Time went by: every 10 ms, and once after a pause however long.
    pub fn tick(&self, now: Now) {
        if self.cluster.failure().is_some() {
            // It is about to end. Others take over the sooner the less it says.
            return;
        }
        self.tick_meta(now);
        let mut work = self.work(now);
        for shard in 0..self.shards_count() {
            // A shard that nobody else holds waits for nothing but for the time of locks.
            let is_due = self.cluster.is_tick_due(shard, now.monotonic_us);
            if is_due {
                self.on_shard(shard, &mut work, |shard, work| match shard.mode() {
                    Mode::Grouped => shard.tick(work),
                    Mode::Solo => shard.tick_solo(work),
                });
            }
        }
        self.finish(work);
        self.tick_transactions(now);
        self.tick_calls(now);
        if self.cluster.is_beat_due(now.monotonic_us, BEAT_US) {
            self.send_beat(now);
            self.send_hints(now.monotonic_us / BEAT_US, now);
        }
        self.tick_report(now);
        self.tick_balance(now);
        self.flush(now);
    }

    /// The link to a node is refused or broke.
    pub fn peer_down(&self, node: NodeId, now: Now) {
        self.forget_listener(node);
        // It may have told of changes that did not arrive.
        self.tracking.missed(self, now);
        self.lose_node(node, now);
        self.on_link(node, now, |shard, work| {
            shard.step(Input::PeerDown(node), work);
        });
    }

    /// The link to a node is there.
    pub fn peer_up(&self, node: NodeId, now: Now) {
        self.on_link(node, now, |_, _| {});
        self.send_beat(now);
        // It knew of no listener here until now.
        self.tracking.missed(self, now);
    }

    fn on_link(&self, node: NodeId, now: Now, also: impl Fn(&mut Shard, &mut Work<'_>)) {
        let mut work = self.work(now);
        for shard in 0..self.shards_count() {
            if self.mode(shard) == Mode::Grouped {
                self.on_shard(shard, &mut work, |shard, work| {
                    shard.on_link(node);
                    also(shard, work);
                });
                self.mark_dirty(shard);
            }
        }
        self.finish(work);
        self.request_flush();
    }

    /// Tells all others that this node lives and what it leads.
    pub(crate) fn send_beat(&self, now: Now) {
        if self.cluster.peers.all().is_empty() {
            return;
        }
        let mut leads = Vec::new();
        for shard in 0..self.shards_count() {
            let group = GroupId(shard as u32 + 1);
            if self.cluster.leader(group) == Some(self.cluster.me.node) {
                let replica = &self.lock(shard).group.replica;
                if replica.is_leader() {
                    leads.push((group, replica.ballot()));
                }
            }
        }
        let mut told = self.telling.told.lock();
        *told = self.listens_to();
        let beat = PeerMessage::NodeBeat(NodeBeat {
            sent_us: now.monotonic_us,
            meta_epoch: self.view().epoch,
            leads,
            listens_to: *told,
            needs_room_bytes: self.budget.missing(),
        });
        self.cluster.peers.send_to_all(&beat);
    }

    fn on_beat(&self, from: ReplicaId, beat: &NodeBeat, now: Now) {
        self.on_listens(from.node, beat.listens_to, now);
        self.hear_node(from, now);
        let now_us = now.monotonic_us;
        for &(group, ballot) in &beat.leads {
            if self.cluster.hear_leader(group, ballot, from.node, now_us) {
                let shard = group.0 as usize - 1;
                self.lock(shard).may_ask_again();
                self.cluster.mark_dirty(shard);
                self.request_flush();
            }
        }
        if beat.needs_room_bytes > 0 {
            self.relieve_other(from.node, beat.needs_room_bytes, now);
        }
    }

    /// Runs `f` on a locked shard, then tells others of what it did.
    pub(crate) fn on_shard(
        &self,
        shard: usize,
        work: &mut Work<'_>,
        f: impl FnOnce(&mut Shard, &mut Work<'_>),
    ) {
        let mut guard = self.lock(shard);
        f(&mut guard, work);
        guard.settle(&self.budget);
        work.has_uncovered_locks |= !guard.has_covered_locks() && guard.group.replica.is_leader();
        self.cluster.set_wake_us(shard, guard.wake_us(work.now));
        drop(guard);
        if !work.changes.is_empty() {
            self.publish_changes(std::mem::take(&mut work.changes), None, work.now);
        }
        let is_emptied = std::mem::take(&mut work.is_emptied);
        if std::mem::take(&mut work.has_missed) {
            self.make_up(work.now);
        } else if is_emptied {
            self.tell_missed(work.now);
        }
        for event in work.applied.events.drain(..) {
            self.publish_event(&event, work.now);
        }
        for said in work.applied.said.drain(..) {
            self.tell_said(said, work.now);
        }
        if work.evicted_keys > 0 {
            let evicted = std::mem::take(&mut work.evicted_keys) as u64;
            self.stats
                .evicted_keys
                .fetch_add(evicted, Ordering::Relaxed);
        }
    }

    /// A turn of work that begins now.
    pub(crate) fn work(&self, now: Now) -> Work<'_> {
        let mask = self.event_mask();
        let settings = self.settings.load();
        Work::new(
            now,
            &self.cluster,
            &*self.host,
            &self.budget,
            (mask, &self.pubsub, &self.map),
            &settings,
        )
    }

    /// Ends a turn: makes durable what is to be, and sends what rests on it. No shard is locked.
    pub(crate) fn finish(&self, mut work: Work<'_>) {
        // Each round's records may bring the groups further; there is an end, as nothing new comes in.
        while !work.tokens.is_empty() || !work.deferred.is_empty() {
            if !self.make_durable(&mut work) {
                return;
            }
            for message in std::mem::take(&mut work.deferred) {
                let to = message.to.node;
                self.cluster.peers.send(to, &PeerMessage::Paxos(message));
            }
            for (shard, token) in std::mem::take(&mut work.tokens) {
                self.on_shard(shard, &mut work, |shard, work| {
                    shard.step(Input::Persisted(token), work);
                    if shard.has_work() {
                        work.cluster.mark_dirty(shard.index());
                    }
                });
            }
        }
        work.graves.clear();
        let (needs_room, now) = (work.needs_room, work.now);
        let needs_lock_room = work.needs_lock_room;
        let has_uncovered_locks = work.has_uncovered_locks;
        let begins_to_lead = work.begins_to_lead;
        let unresolved = std::mem::take(&mut work.unresolved);
        self.cluster.rooms.put(work);
        if !unresolved.is_empty() {
            self.resolve(unresolved, now);
        }
        if begins_to_lead {
            self.send_beat(now);
            self.request_flush();
        }
        if needs_room {
            self.relieve(now);
        }
        if has_uncovered_locks {
            self.cover_locks(&self.view(), now);
        }
        if needs_lock_room {
            self.relieve_locks(now, LOCK_BYTES);
        }
    }

    /// Appends the turn's records to the journal; false if the disk failed, now or before: then nothing more is said
    /// that rests on it, and the process around is to end.
    fn make_durable(&self, work: &mut Work<'_>) -> bool {
        let durable = self.append(&work.records);
        work.records.clear();
        durable
    }

    /// Appends records; false if the disk failed, now or before.
    pub(crate) fn append(&self, records: &JournalBatch) -> bool {
        let Some(journal) = self.cluster.journal() else {
            return true;
        };
        if self.cluster.failure().is_some() {
            return false;
        }
        journal
            .append(records)
            .inspect_err(|error| self.cluster.fail(error.clone()))
            .is_ok()
    }
}
