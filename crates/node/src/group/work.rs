//! One turn of work on groups: what it needs of the node, and what it leaves to be done when no shard is locked.

use super::apply::Applied;
use crate::cluster::Cluster;
use crate::host::{Host, Now};
use crate::journal::{JournalBatch, JournalError};
use crate::memory::Budget;
use crate::pubsub::PubSub;
use crate::settings::{ReadMode, Settings};
use crate::transactions::Unresolved;
use cache::{Cache, Change};
use parking_lot::{Mutex, MutexGuard};
use paxos::Message;
use placement::ShardMap;
use resp::Output;
use std::sync::Arc;

/// Memory of turns that ended, for those to come: a turn is short, and there are many.
#[derive(Debug, Default)]
pub(crate) struct Rooms(Mutex<Vec<Room>>);

#[derive(Debug, Default)]
struct Room {
    out: paxos::Output,
    applied: Applied,
    records: JournalBatch,
}

/// Turns whose memory is kept: as many as there may be threads at it.
const ROOMS_MAX: usize = 16;
/// Entries of a turn's lists whose memory is kept.
const KEPT_MAX: usize = 1024;

impl Rooms {
    fn take(&self) -> Room {
        self.0.lock().pop().unwrap_or_default()
    }

    /// Takes the memory of a turn that is finished.
    pub fn put(&self, work: Work<'_>) {
        let Work {
            mut out,
            mut applied,
            records,
            ..
        } = work;
        let is_large = out.send_first.capacity() > KEPT_MAX
            || out.send.capacity() > KEPT_MAX
            || out.persist.capacity() > KEPT_MAX
            || out.apply.capacity() > KEPT_MAX;
        if is_large {
            out = paxos::Output::default();
        }
        match applied.scratch.is_empty() {
            true => applied.scratch.shrink(),
            false => applied.scratch = Output::new(),
        }
        let mut rooms = self.0.lock();
        if rooms.len() < ROOMS_MAX {
            rooms.push(Room {
                out,
                applied,
                records,
            });
        }
    }
}

/// What scripts may take of a turn before another begins, us: one that is begun goes on to its own limit.
const SCRIPTS_US_MAX: u64 = 10_000;

/// A turn. Made by the node, handed from shard to shard, finished by the node.
pub(crate) struct Work<'a> {
    /// When it began.
    pub now: Now,
    pub cluster: &'a Cluster,
    pub host: &'a dyn Host,
    pub budget: &'a Budget,
    /// Classes of keyspace events that are wanted here.
    pub event_mask: u16,
    /// From slots to shards.
    pub map: &'a ShardMap,
    /// Who listens on this node.
    pub pubsub: &'a Arc<PubSub>,
    /// What reads wait for.
    pub read_mode: ReadMode,
    /// How long what hangs on a connection outlives it, ms.
    pub lock_delay_ms: u64,
    /// Held to the end where records are made durable: they must come into the journal in the order in which the
    /// replicas made them.
    _turn: Option<MutexGuard<'a, ()>>,
    /// Room for one step's outcome.
    pub out: paxos::Output,
    /// Replies under way, and the keyspace events of what was applied here as leader.
    pub applied: Applied,
    /// Changed keys, as leader.
    pub changes: Vec<Change>,
    /// Whether changes may not have been told, as a leader that has begun to show something.
    pub has_missed: bool,
    /// Whether a database was emptied, as a leader that may show something.
    pub is_emptied: bool,
    /// Keys evicted, as leader.
    pub evicted_keys: usize,
    /// Whether what is to be applied was asked for in memory.
    pub is_touched: bool,
    /// Whether memory is short.
    pub needs_room: bool,
    /// Whether memory for locks is short.
    pub needs_lock_room: bool,
    /// Whether a group is led here from now on: others are to hear of it at once.
    pub begins_to_lead: bool,
    /// What is to be made durable …
    pub records: JournalBatch,
    /// … for which groups of shards, and up to which token …
    pub tokens: Vec<(usize, u64)>,
    /// … before these leave.
    pub deferred: Vec<Message>,
    /// Keys of shards that were replaced: dropped when no shard is locked.
    pub graves: Vec<Cache>,
    /// Whether a lock was granted that lasts longer than was agreed on.
    pub has_uncovered_locks: bool,
    /// What scripts took of it, us.
    pub scripts_us: u64,
    /// Transactions that the node is to look into.
    pub unresolved: Vec<Unresolved>,
}

impl<'a> Work<'a> {
    /// A turn that begins now.
    pub fn new(
        now: Now,
        cluster: &'a Cluster,
        host: &'a dyn Host,
        budget: &'a Budget,
        (event_mask, pubsub, map): (u16, &'a Arc<PubSub>, &'a ShardMap),
        settings: &Settings,
    ) -> Self {
        let Room {
            out,
            applied,
            records,
        } = cluster.rooms.take();
        Work {
            now,
            cluster,
            host,
            budget,
            event_mask,
            map,
            pubsub,
            read_mode: settings.read_mode,
            lock_delay_ms: settings.lock_delay_ms,
            _turn: cluster.begin_durable_turn(),
            out,
            applied,
            changes: Vec::new(),
            has_missed: false,
            is_emptied: false,
            evicted_keys: 0,
            is_touched: false,
            needs_room: false,
            needs_lock_room: false,
            begins_to_lead: false,
            records,
            tokens: Vec::new(),
            deferred: Vec::new(),
            graves: Vec::new(),
            has_uncovered_locks: false,
            scripts_us: 0,
            unresolved: Vec::new(),
        }
    }

    /// Whether one more script may run in this turn. Beats and the other shards' requests wait for its end, so scripts that
    /// take long have a turn each.
    pub fn has_time_for_scripts(&self) -> bool {
        self.scripts_us < SCRIPTS_US_MAX
    }

    /// What the journal gave, or none if it failed: then the node ends.
    pub fn unless_failed<T>(&self, outcome: Option<Result<T, JournalError>>) -> Option<T> {
        match outcome? {
            Ok(value) => Some(value),
            Err(error) => {
                self.cluster.fail(error);
                None
            }
        }
    }

    /// The clock at the turn's beginning, us.
    #[inline]
    pub fn now_us(&self) -> u64 {
        self.now.monotonic_us
    }
}
