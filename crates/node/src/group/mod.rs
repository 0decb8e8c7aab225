//! A shard's group: what stands between a request and the shard's state when the shard has replicas.
//!
//! ```text
//!   sessions ──enqueue──▶ requests ──pump──▶ led here:  one batch ──▶ Replica ──▶ peers … ──▶ apply ──▶ tickets
//!                                        └▶ elsewhere: Forward ──▶ the leader's `forwarded` … ForwardReply ──▶ tickets
//! ```
//!
//! A group is *solo* while this node is its only member and nothing is made durable: then writes are applied on the
//! spot ([`Shard::commit`](crate::Shard::commit)) and only counted, and none of this is used. Else it is *grouped*.
//!
//! Rules that are kept here:
//! - A write is applied exactly once: it has a number of its origin (`origins`), is sent until it is answered
//!   (`requests`), and only the leader answers, once it may show anything ([`Replica::may_show`]).
//! - The leader reads at a log time that no entry in flight is older than, so what a read dropped as expired is not
//!   found alive by an entry behind it; and it stamps what it may not show yet with the time at which it may.
//! - After a read was computed under a lease the clock is looked at again before its answer leaves. Under `--read-mode
//!   quorum` no read is answered before a majority said, after the read came, that this replica leads (`rounds`).
//!
//! Reading order: `op`, `origins`, `room`, `requests`, `forward`, `replies`, `apply`, `locks`, `lock_news`, `engine`, `lead`, `reading`, `rounds`,
//! `follow`, `decide`, `snapshot`, `streams`, `loss`, `reset`; `reservations`, `transact`, `overdue`.

pub(crate) mod apply;
mod decide;
mod engine;
mod follow;
mod forward;
mod lead;
mod lock_news;
pub(crate) mod locks;
mod loss;
pub(crate) mod op;
pub(crate) mod origins;
mod overdue;
mod reading;
mod replies;
pub(crate) mod requests;
pub(crate) mod reservations;
mod reset;
mod room;
mod rounds;
pub(crate) mod said;
mod scripts;
mod snapshot;
mod streams;
pub(crate) mod transact;
mod waits;
mod work;

pub(crate) use decide::locks_by_database;
pub(crate) use forward::is_asked_by_nodes;
pub(crate) use lead::LOCK_BYTES;
pub(crate) use lock_news::LockNews;
pub(crate) use locks::{LockWord, Verb, each_key_of, lock_origin, silent_args};
pub(crate) use op::encode as encode_op;
pub(crate) use op::is_applicable;
pub use op::{OpError, OpFlags, OpHead, OpKind};
pub(crate) use origins::{life_of, origin_of};
pub(crate) use reading::is_touched_with_others;
pub(crate) use requests::Fate;
pub use requests::Request;
pub(crate) use reset::{ResetStart, locks_withheld};
pub(crate) use room::QueueBudget;
pub use room::QueueFull;
pub(crate) use snapshot::{Staged, Staging};
pub(crate) use streams::CheckpointStep;
pub(crate) use work::{Rooms, Work};

use crate::entry::Stamp;
use crate::host::Now;
use crate::shard::Events;
use crate::wire::Publish;
use bytes::Bytes;
use cache::{Change, LockOrigin};
use forward::Forwarded;
use loss::Loss;
use origins::Stored;
use paxos::{Generation, GroupId, NodeId, Replica, ReplicaId, Settings as PaxosSettings, Start};
use replies::Replies;
use requests::Requests;
use rounds::Rounds;
use scripts::LastTurn;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use streams::Streams;

/// How a shard's commands run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On the spot: nobody else holds the shard.
    Solo,
    /// Through the queue and the log; reads on the spot where the lease allows.
    Grouped,
}

/// Why a read cannot run here and now: it is to be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHere;

/// A shard's group on this node.
#[derive(Debug)]
pub(crate) struct Group {
    pub id: GroupId,
    pub me: ReplicaId,
    /// The name under which this process asks ([`origins::origin_of`]).
    pub origin: ReplicaId,
    pub replica: Replica,
    pub requests: Requests,
    forwarded: Forwarded,
    replies: Replies,
    /// A leader's: what reads wait for under `--read-mode quorum`.
    rounds: Rounds,
    pub streams: Streams,
    /// Own proposals that are not applied: log time and payload.
    in_flight: VecDeque<(u64, Bytes)>,
    /// Whether the own proposal that is not applied is a script's outcome: nothing is proposed behind it.
    has_outcome_in_flight: bool,
    /// What was proposed last: what waits of other kinds has its turn then.
    last_turn: LastTurn,
    /// Keyspace events of that script, to be told when the outcome is applied.
    script_events: Events,
    /// Log time of the group minus that of the node's clock, ms. Set when this replica begins to lead, so that no wall
    /// clock's error gets into the group's time.
    log_ahead_ms: i64,
    /// Whether it led at the last change of role.
    led: bool,
    /// Reads may be answered here as long as this time of the clock has not come, us, as of the last step.
    lease_until_us: u64,
    /// A leader's: whether answers may leave, as of this step.
    shows: bool,
    /// Whether writes were applied whose answers may not leave yet.
    holds: bool,
    /// Whether changes may not have been told, by whoever led before or for want of room: whoever tracks keys is to drop all
    /// that was read, as soon as this leader may show anything.
    missed: bool,
    /// What this replica knew, when it began to lead, of the time before which it may show nothing, us.
    visible_us: u64,
    /// What was to be told to others then: keyspace events, what scripts published, and changed keys.
    held_events: Events,
    held_said: Vec<Publish>,
    held_changes: Vec<Change>,
    /// A leader's own decisions, encoded, that wait to be proposed.
    decisions: Vec<u8>,
    decisions_count: u32,
    /// What an eviction that was decided on and is not applied will free, bytes.
    expected_bytes: u64,
    /// A leader's: others were told of uses up to here, by the cache's clock of uses, ms.
    pub hinted_ms: u64,
    /// A leader's: when it last heard of the nodes that wait for locks here, or have sessions, us.
    heard: BTreeMap<LockOrigin, u64>,
    /// When to look at that next, us.
    hearing_us: u64,
    /// Whether a decision is under way that settles locks.
    is_settling: bool,
    /// A leader's: transactions that are not finished.
    resolving: transact::Resolving,
    /// Whom the requests were sent to.
    target: Option<NodeId>,
    /// Nothing is forwarded before this time, us: the target refused.
    pause_until_us: u64,
    /// Whether anybody can ever lead the group again.
    loss: Loss,
    /// Whether this replica takes no part in the group until it is known whether anybody can lead it (`reset`).
    is_sealed: bool,
    /// Locks may be granted for so long, ms, and the answers leave; of longer ones not before the cluster agreed on that.
    covered_span_ms: Arc<AtomicU64>,
}

/// What a node's group begins with.
#[derive(Clone, Debug)]
pub(crate) struct GroupStart {
    /// The node.
    pub me: ReplicaId,
    /// The name under which it asks.
    pub origin: ReplicaId,
    /// Times and bounds.
    pub settings: PaxosSettings,
    /// The group's generation.
    pub generation: Generation,
    /// How the replica begins.
    pub start: Start,
}

impl Group {
    /// A group's beginning at this node.
    pub fn new(
        id: GroupId,
        start: GroupStart,
        seed: u64,
        now_us: u64,
        budget: Arc<QueueBudget>,
    ) -> Self {
        let mut replica = Replica::new(
            start.settings,
            id,
            start.generation,
            start.me,
            start.start,
            seed,
            now_us,
        );
        if !start.settings.durable {
            // A sole founder leads from its first step on.
            let mut out = paxos::Output::default();
            replica.step(now_us, paxos::Input::Tick, &mut out);
            assert!(out.apply.is_empty(), "an empty log has nothing to apply");
        }
        Group {
            id,
            me: start.me,
            origin: start.origin,
            replica,
            requests: Requests::new(budget),
            forwarded: Forwarded::default(),
            replies: Replies::default(),
            rounds: Rounds::default(),
            streams: Streams::default(),
            in_flight: VecDeque::new(),
            has_outcome_in_flight: false,
            last_turn: LastTurn::default(),
            script_events: Events::new(),
            log_ahead_ms: 0,
            led: false,
            lease_until_us: 0,
            shows: false,
            holds: false,
            missed: false,
            visible_us: 0,
            held_events: Events::new(),
            held_said: Vec::new(),
            held_changes: Vec::new(),
            decisions: Vec::new(),
            decisions_count: 0,
            expected_bytes: 0,
            hinted_ms: 0,
            heard: BTreeMap::new(),
            hearing_us: 0,
            is_settling: false,
            resolving: transact::Resolving::default(),
            target: None,
            pause_until_us: 0,
            loss: Loss::default(),
            is_sealed: false,
            covered_span_ms: Arc::new(AtomicU64::new(crate::meta::LOCK_SPAN_MS)),
        }
    }

    /// Answers a write that was applied, if this replica is whom answers come from.
    #[inline]
    fn answer(&mut self, origin: ReplicaId, seq: u64, reply: &Stored, now_us: u64) {
        use crate::wire::RequestKind::Write;
        if !self.shows {
            // One that waits for a transaction is answered when it runs; until then an empty answer says so.
            self.holds |= !reply.is_due();
        } else if origin != self.origin {
            self.replies.push(origin, Write, seq, reply);
        } else {
            match reply {
                Stored::Short(short) => self.requests.resolve(Write, seq, short, now_us),
                Stored::Long(long) => {
                    self.requests
                        .resolve_shared(Write, seq, long.clone(), now_us);
                }
            }
        }
    }

    /// Log time of the group minus that of the node's clock, ms.
    #[inline]
    pub fn log_ahead_ms(&self) -> i64 {
        self.log_ahead_ms
    }

    /// Wall time minus the group's log time, ms.
    #[inline]
    pub fn wall_offset_ms(&self, now: Now) -> i64 {
        now.wall_offset_ms - self.log_ahead_ms
    }

    /// Leadership begins at this log time of the group, or is confirmed with a later one.
    fn lead_from(&mut self, log_ms: u64, now: Now) {
        let ahead_ms = log_ms as i64 - now.log_ms as i64;
        self.log_ahead_ms = match self.led {
            true => self.log_ahead_ms.max(ahead_ms),
            false => ahead_ms,
        };
        self.led = true;
    }

    /// The group's log time by the clock, ms.
    #[inline]
    fn clock_ms(&self, now: Now) -> u64 {
        now.log_ms.saturating_add_signed(self.log_ahead_ms)
    }

    /// The log time at which a leader reads: now, unless an entry in flight is older.
    #[inline]
    pub fn read_ms(&self, now: Now) -> u64 {
        self.not_ahead_ms(self.clock_ms(now))
    }

    /// This log time, unless an entry in flight is older.
    #[inline]
    fn not_ahead_ms(&self, log_ms: u64) -> u64 {
        self.in_flight
            .front()
            .map_or(log_ms, |(ms, _)| log_ms.min(*ms))
    }

    /// The stamp of a proposal made now, not below `floor_ms`.
    fn proposal_stamp(&self, now: Now, random: u64, floor_ms: u64) -> Stamp {
        let mut log_ms = self.clock_ms(now);
        // What may not be shown yet is stamped with the time at which it may: a former leader may read until then.
        let visible_us = self.replica.visible_us();
        if visible_us > now.monotonic_us {
            log_ms += (visible_us - now.monotonic_us) * 51 / 50_000 + 2;
        }
        let last_ms = self.in_flight.back().map_or(0, |(ms, _)| *ms);
        Stamp {
            log_ms: log_ms.max(last_ms).max(floor_ms),
            wall_offset_ms: self.wall_offset_ms(now),
            random,
        }
    }
}

/// What [`reservations::Reservations::encode`] made of a shard without locks.
#[cfg(test)]
pub(crate) fn decoded_reservations(bytes: &[u8]) -> Option<reservations::Reservations> {
    let cache = cache::Cache::new(1);
    let (decoded, rest) = reservations::Reservations::decode(bytes, &cache)?;
    rest.is_empty().then_some(decoded)
}
