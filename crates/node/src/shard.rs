//! One shard's state machine on this node: its cache, its position in the log, who watches its keys.
//!
//! Applying an entry is a function of (state, index, entry) alone (`group::apply`). A group of one commits what it is
//! given on the spot: [`Shard::commit`] takes the next index and runs it.

use crate::awaiting::{Callers, Waits};
use crate::blocked::Blocked;
use crate::effects;
use crate::entry::{
    ALL_DATABASES, BATCH_HEAD_BYTES, DATABASES, Stamp, reserve_heads, write_batch_head,
    write_run_head,
};
use crate::group::op::{OpFlags, OpHead, OpKind, encode};
use crate::group::origins::Origins;
use crate::group::reservations::Reservations;
use crate::group::{Group, LockNews, Mode, lock_origin, silent_args};
use crate::memory::Budget;
use crate::overlay::Changed;
use cache::{Cache, Change, ChangeKind, Key, LockOrigin, LockRequest};
use commands::context::Touch;
use commands::{Context, Event, Execute, Keyspace};
use paxos::ReplicaId;
use resp::{Args, OwnedArgs, Reply};
use smallvec::SmallVec;
use std::collections::{BTreeSet, HashMap};

/// Pieces of removed collections that one write frees beside its own work: more than a write adds.
const BURIED_MAX: usize = 8;
/// Numbers of requests on a shard without replicas are above those of any queue: this, and the entry's index.
const SOLO_NUMBERS: u64 = 1 << 63;

/// A shard's state. Behind a short lock; never held across an `.await`.
///
/// Invariants:
/// - `applied` grows by one with every entry;
/// - the cache's log time never decreases, and no entry is older than what was read before it: a leader's reads move
///   log time on and the next entry carries it, a follower's log time moves by entries alone;
/// - `watched` holds just the keys that some connection watches, each with the count of its watchers.
pub struct Shard {
    /// The keys.
    pub cache: Cache,
    /// Bytes that the shard may use without asking ([`Budget`]).
    pub grant: u64,
    /// Bytes of locks as the budget knows them.
    locks_told: u64,
    /// Index of the last applied entry; 0 before the first.
    pub applied: u64,
    /// Wall time minus log time as of the last applied batch, ms: by it a node that was down learns what time it is.
    pub(crate) wall_offset_ms: i64,
    watched: HashMap<(u8, Box<[u8]>), Watched>,
    /// Whether somebody beyond WATCH wants to know of changes (client-side caching, keyspace events).
    listened: bool,
    /// Whose writes were applied, and their last replies.
    pub(crate) origins: Origins,
    /// Transactions over several shards that are under way here.
    pub(crate) reservations: Reservations,
    /// What connections of this node wait for.
    pub(crate) blocked: Blocked,
    /// What became of locks that nobody who listens to keys was told of: the next write or tick does. Of a shard that nobody
    /// else holds.
    pub(crate) lock_news: LockNews,
    /// What connections of this node wait for to have something in it.
    pub(crate) waits: Waits,
    /// Who waits for that here, on whatever node, as long as this replica calls them.
    pub(crate) callers: Callers,
    /// Calls to be sent to other nodes.
    pub(crate) calls_out: Vec<(ReplicaId, u64)>,
    /// The replica, what is wanted of it, and what it has not answered.
    pub(crate) group: Group,
    /// As [`Shard::mode`] says.
    pub(crate) mode: Mode,
    /// Commands that ran here, reads included.
    pub(crate) runs_count: u64,
    /// Where entries go as bytes, while recorded.
    record: Option<Record>,
}

struct Watched {
    watchers: u32,
    /// Counts the changes since the key is watched.
    version: u64,
}

/// How one command is to run on a shard.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The command's function.
    pub execute: Execute,
    /// Numbered database of the connection.
    pub db: u8,
    /// The arguments, the name included.
    pub args: Args<'a>,
    /// When and with what luck.
    pub stamp: Stamp,
    /// Hash of the first key, where known.
    pub first_key_hash: Option<u32>,
    /// Whether a read counts as an access.
    pub touch: Touch,
    /// Who asks, where he can be answered later.
    pub request: Option<LockRequest>,
    /// Classes of keyspace events that are wanted.
    pub event_mask: u16,
}

/// What a command left to be told to others.
pub type Events = SmallVec<[Event; 0]>;

impl Shard {
    /// An empty shard with nobody else in its group, whose keys are hashed under the cluster's `seed`.
    #[cfg(test)]
    pub(crate) fn alone(seed: u64) -> Self {
        let start = crate::cluster::Membership::founder().group_start();
        let group = Group::new(paxos::GroupId(1), start, 0, 0, Default::default());
        Shard::new(seed, group)
    }

    /// An empty shard whose keys are hashed under the cluster's `seed`.
    pub(crate) fn new(seed: u64, group: Group) -> Self {
        let mode = match group.replica.can_skip() {
            true => Mode::Solo,
            false => Mode::Grouped,
        };
        Shard {
            group,
            mode,
            cache: Cache::new(seed),
            grant: 0,
            locks_told: 0,
            applied: 0,
            wall_offset_ms: 0,
            watched: HashMap::new(),
            listened: false,
            origins: Origins::default(),
            reservations: Reservations::default(),
            blocked: Blocked::default(),
            lock_news: LockNews::default(),
            waits: Waits::default(),
            callers: Callers::default(),
            calls_out: Vec::new(),
            runs_count: 0,
            record: None,
        }
    }

    /// Runs a read. Nothing is logged; log time moves on, so what is seen expired stays expired.
    pub fn read(&mut self, call: Call<'_>, reply: &mut Reply<'_>) -> Events {
        self.run(self.ahead(call), reply)
    }

    /// The call at the group's log time, which may be ahead of the node's clock.
    #[inline]
    fn ahead<'a>(&self, mut call: Call<'a>) -> Call<'a> {
        let ahead_ms = self.group.log_ahead_ms();
        call.stamp.log_ms = call.stamp.log_ms.saturating_add_signed(ahead_ms);
        call.stamp.wall_offset_ms -= ahead_ms;
        call
    }

    /// Commits a write to this group of one: it is logged at the next index and applied at once.
    pub fn commit(&mut self, call: Call<'_>, reply: &mut Reply<'_>) -> Events {
        let call = self.ahead(call);
        let number = call.request.map_or(0, |request| request.number);
        self.log_with(
            OpHead {
                seq: number,
                ..head(OpKind::Write, call.db)
            },
            call.stamp,
            call.args,
        );
        self.settle_locks_of(call.db, call.args);
        self.hand_out_here();
        // The draw of a batch's first operation, as whoever applies the entry has it.
        let drawn = Call {
            stamp: call.stamp.of_op(0),
            ..call
        };
        let mut events = self.run(drawn, reply);
        if !self.lock_news.is_empty() {
            // What had expired was granted before the command's own work.
            let own = std::mem::replace(&mut events, self.take_lock_events(call.event_mask));
            events.extend(own);
        }
        self.settle_locks_of(call.db, call.args);
        self.hand_out_here();
        if !self.lock_news.is_empty() {
            events.extend(self.take_lock_events(call.event_mask));
        }
        events
    }

    /// The same with a request that may be answered later; its number is told too.
    pub fn commit_request(&mut self, call: Call<'_>, reply: &mut Reply<'_>) -> (Events, u64) {
        let number = SOLO_NUMBERS | (self.applied + 1);
        let request = LockRequest {
            origin: lock_origin(self.group.origin),
            number,
        };
        let call = Call {
            request: Some(request),
            ..call
        };
        (self.commit(call, reply), number)
    }

    /// Commits what this node says about a lock that it asked for.
    pub(crate) fn commit_word(
        &mut self,
        db: u8,
        stamp: Stamp,
        args: Args<'_>,
        reply: &mut Reply<'_>,
    ) {
        // Who says it is this node: any number will do.
        self.log_with(
            OpHead {
                seq: 1,
                ..head(OpKind::LockWord, db)
            },
            stamp,
            args,
        );
        self.apply_word(lock_origin(self.group.origin), db, args, reply);
        self.hand_out_here();
    }

    /// Commits that time changed something about the locks at keys of `db`.
    pub(crate) fn commit_settle(&mut self, db: u8, stamp: Stamp, keys: &[(u8, Box<[u8]>)]) {
        let args: Vec<&[u8]> = keys.iter().map(|(_, key)| &key[..]).collect();
        self.log(
            OpKind::Settle,
            db,
            stamp,
            OwnedArgs::from_slices(&args).args(),
        );
        self.settle_keys(keys.to_vec());
    }

    /// The same of the locks with one name, in whatever databases.
    pub(crate) fn commit_settle_of(&mut self, stamp: Stamp, key: &[u8]) {
        let databases: Vec<u8> = self.cache.locks().databases_of(key).collect();
        for db in databases {
            self.commit_settle(db, stamp, &[(db, key.into())]);
        }
        self.hand_out_here();
    }

    /// Commits that nothing is heard of some origins any more.
    pub(crate) fn commit_silent(&mut self, origins: &[LockOrigin], delay_ms: u64, stamp: Stamp) {
        let args = silent_args(origins, delay_ms);
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let args = OwnedArgs::from_slices(&args);
        self.log(OpKind::Silent, 0, stamp, args.args());
        self.apply_silent(args.args());
    }

    /// Commits an eviction of `victims` (keys of `db`), chosen by the leader; returns how many went.
    pub fn commit_evict(&mut self, db: u8, stamp: Stamp, victims: Args<'_>) -> usize {
        self.log(OpKind::Evict, db, stamp, victims);
        let count = self.evict(db, victims);
        self.settle_named(db, victims.iter());
        count
    }

    /// Commits an eviction of locks: keys of `db` with their fences; returns how many went.
    pub fn commit_evict_locks(&mut self, db: u8, stamp: Stamp, victims: Args<'_>) -> usize {
        self.log_with(
            OpHead {
                flags: OpFlags::LOCKS,
                ..head(OpKind::Evict, db)
            },
            stamp,
            victims,
        );
        let count = self.evict_locks(db, victims);
        self.settle_named(db, victims.iter().step_by(2));
        count
    }

    /// Commits what a script left of those of its keys that live here (`is_its`): whole entries, which share collections
    /// with the script's copy.
    pub(crate) fn commit_entries(
        &mut self,
        db: u8,
        stamp: Stamp,
        changed: &Changed,
        is_its: impl Fn(&[u8]) -> bool,
    ) {
        // Only the record needs them as bytes.
        if self.record.is_some() {
            let triples = changed.triples(&is_its);
            let triples: Vec<&[u8]> = triples.iter().map(Vec::as_slice).collect();
            let effects = OwnedArgs::from_slices(&triples);
            self.log(OpKind::Effects, db, stamp, effects.args());
        } else {
            self.log(OpKind::Effects, db, stamp, Args::new(&[], &[]));
        }
        let its = || changed.keys().filter(|key| is_its(key));
        for key in its() {
            changed.put_into(&mut self.cache, key);
        }
        self.settle_named(db, its());
    }

    /// Settles the locks of keys that were written to beside their own commands.
    pub(crate) fn settle_named<'k>(&mut self, db: u8, keys: impl Iterator<Item = &'k [u8]>) {
        let locks = self.cache.locks();
        if !locks.is_empty() {
            let known = keys.filter(|key| locks.has(db, key));
            self.settle_keys(known.map(|key| (db, Box::from(key))).collect());
            self.hand_out_here();
        }
    }

    /// Commits the emptying of `db` ([`ALL_DATABASES`]: of all).
    pub fn commit_flush(&mut self, db: u8, stamp: Stamp) -> usize {
        self.log(OpKind::Flush, db, stamp, Args::new(&[], &[]));
        let count = self.flush(db);
        self.hand_out_here();
        count
    }

    /// Takes the next index without running anything here: for a command that runs on several locked shards
    /// together, once on each of them.
    fn log(&mut self, kind: OpKind, db: u8, stamp: Stamp, args: Args<'_>) {
        self.log_with(head(kind, db), stamp, args);
    }

    /// The same of an operation with marks or a number.
    fn log_with(&mut self, head: OpHead, stamp: Stamp, args: Args<'_>) {
        self.applied += 1;
        self.cache.set_now(stamp.log_ms);
        if let Some(record) = &mut self.record {
            // Another thread may have read the clock later and been here first: the entry is executed at the shard's
            // log time, so that is what it must say, or an expiry counted from it would differ on replay.
            record.push(self.cache.now_ms(), head, stamp, args);
        }
    }

    /// Gets ready for a write that runs on several locked shards together, this one among them.
    /// [`Shard::log_effects`] follows, under the same lock.
    pub fn watch_effects(&mut self) {
        if self.record.is_some() {
            self.cache.observe(true);
        }
    }

    /// Takes note of a write that ran on several locked shards together, this one among them: what it changed
    /// here, in whatever database, is the entry (one for each database).
    pub fn log_effects(&mut self, stamp: Stamp) {
        if self.record.is_none() {
            self.applied += 1;
            return;
        }
        let changed: BTreeSet<(u8, Box<[u8]>)> = self
            .cache
            .changes()
            .iter()
            .filter(|change| change.kind == ChangeKind::Modified)
            .map(|change| (change.db, change.key.clone()))
            .collect();
        self.observe_if_wanted();
        for db in 0..16 {
            let of_db = changed.iter().filter(|(changed_db, _)| *changed_db == db);
            let keys: Vec<&[u8]> = of_db.map(|(_, key)| &key[..]).collect();
            if !keys.is_empty() {
                let effects = effects::of(&self.cache, db, &keys);
                self.log(OpKind::Effects, db, stamp, effects.args());
                // Earlier commands of a transaction changed some of them: who applies the entry settles all.
                self.settle_named(db, keys.into_iter());
            }
        }
    }

    #[inline]
    pub(crate) fn run(&mut self, call: Call<'_>, reply: &mut Reply<'_>) -> Events {
        self.cache.set_now(call.stamp.log_ms);
        self.runs_count += 1;
        if self.cache.locks_withheld_ms() > 0 && commands::takes_lock(call.args) {
            self.refuse_lock(reply);
            return Events::new();
        }
        let seed = self.cache.seed();
        let mut context = Context {
            now_ms: self.cache.now_ms(),
            keyspace: Keyspace::One(&mut self.cache),
            seed,
            db: call.db,
            wall_offset_ms: call.stamp.wall_offset_ms,
            random: call.stamp.random,
            first_key_hash: call.first_key_hash,
            touch: call.touch,
            request: call.request,
            event_mask: call.event_mask,
            events: SmallVec::new(),
        };
        (call.execute)(&mut context, call.args, reply);
        context.events
    }

    pub(crate) fn evict(&mut self, db: u8, victims: Args<'_>) -> usize {
        let seed = self.cache.seed();
        victims
            .iter()
            .filter(|key| self.cache.evict(Key::new(seed, db, key)))
            .count()
    }

    pub(crate) fn evict_locks(&mut self, db: u8, victims: Args<'_>) -> usize {
        let seed = self.cache.seed();
        (0..victims.len())
            .step_by(2)
            .filter(|at| {
                let fence = victims.get(at + 1).try_into().expect("8 bytes");
                let key = Key::new(seed, db, victims.get(*at));
                self.cache.evict_lock(key, u64::from_le_bytes(fence))
            })
            .count()
    }

    pub(crate) fn flush(&mut self, flushed: u8) -> usize {
        // A watched key that was not there does not change by a flush, as in Redis.
        let (cache, seed) = (&self.cache, self.cache.seed());
        for ((db, key), watched) in &mut self.watched {
            if (flushed == ALL_DATABASES || flushed == *db)
                && cache.peek(Key::new(seed, *db, key)).is_some()
            {
                watched.version += 1;
            }
        }
        let databases = if flushed == ALL_DATABASES {
            0..DATABASES
        } else {
            flushed..flushed + 1
        };
        let count = databases.map(|db| self.cache.clear(db)).sum();
        if !self.cache.locks().is_empty() {
            let wanted = (flushed != ALL_DATABASES).then_some(flushed);
            self.cache.settle_locks_of(wanted);
        }
        count
    }

    /// Brings the shard's grant in line with what it uses.
    pub fn settle(&mut self, budget: &Budget) {
        self.cache.bury(BURIED_MAX);
        if self.mode == Mode::Solo {
            self.call_written(self.callers.known_us());
        }
        let used = self.cache.used_bytes() + self.group.streams.staged_bytes();
        budget.settle(used as u64, &mut self.grant);
        budget
            .locks
            .settle(self.cache.lock_bytes() as u64, &mut self.locks_told);
    }

    /// Whether changes are recorded: [`Shard::take_changes`] may have some.
    #[inline]
    pub fn is_observed(&self) -> bool {
        self.listened || !self.watched.is_empty()
    }

    /// Somebody (else than WATCH) wants changes from now on, or does no longer.
    pub fn listen(&mut self, listened: Listened) {
        self.listened = listened == Listened::Yes;
        self.observe_if_wanted();
    }

    /// The state was replaced by another's: whoever watches a key does not know what happened to it.
    pub(crate) fn state_replaced(&mut self) {
        for watched in self.watched.values_mut() {
            watched.version += 1;
        }
        self.observe_if_wanted();
    }

    fn observe_if_wanted(&mut self) {
        self.cache.observe(self.is_observed());
    }

    /// Starts watching `key`; returns its version, to be compared by [`Shard::is_unchanged`].
    pub fn watch(&mut self, db: u8, key: &[u8]) -> u64 {
        self.cache.observe(true);
        let watched = self.watched.entry((db, key.into())).or_insert(Watched {
            watchers: 0,
            version: 0,
        });
        watched.watchers += 1;
        watched.version
    }

    /// Ends one watch of `key`.
    pub fn unwatch(&mut self, db: u8, key: &[u8]) {
        let id = (db, Box::from(key));
        if let Some(watched) = self.watched.get_mut(&id) {
            watched.watchers -= 1;
            if watched.watchers == 0 {
                self.watched.remove(&id);
            }
        }
        self.observe_if_wanted();
    }

    /// Whether nothing changed a watched key since `version`.
    pub fn is_unchanged(&self, db: u8, key: &[u8], version: u64) -> bool {
        let id = (db, Box::from(key));
        let watched = self.watched.get(&id);
        // A lock that went to the next one by time alone, or as somebody left, is a change that nobody has taken note of.
        let changes = || {
            let mut changes = self.cache.changes().iter();
            changes.any(|change| {
                change.kind != ChangeKind::Expired && change.db == db && *change.key == *key
            })
        };
        watched.is_some_and(|watched| watched.version == version) && !changes()
    }

    /// The changes since the last call, after the watched keys' versions took note of them. Empty, and
    /// without cost, while nobody observes.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let changes = self.cache.take_changes();
        if !self.watched.is_empty() {
            // That a watched key expired is seen by EXEC itself, which knows whether it was there at WATCH: the drop of
            // one that had expired before is no change.
            let kept = |change: &&Change| change.kind != ChangeKind::Expired;
            for change in changes.iter().filter(kept) {
                if let Some(watched) = self.watched.get_mut(&(change.db, change.key.clone())) {
                    watched.version += 1;
                }
            }
        }
        if self.listened { changes } else { Vec::new() }
    }

    /// How many keys are watched.
    pub fn watched_count(&self) -> usize {
        self.watched.len()
    }

    /// Starts recording the log's entries as bytes.
    pub fn record(&mut self) {
        self.record = Some(Record::default());
    }

    /// The entries recorded so far ([`crate::entry::recorded`] reads them); recording goes on.
    pub fn take_record(&mut self) -> Vec<u8> {
        self.record
            .as_mut()
            .map(|record| std::mem::take(&mut record.bytes))
            .unwrap_or_default()
    }
}

/// The head of an operation of a group of one, without marks and number.
fn head(kind: OpKind, db: u8) -> OpHead {
    OpHead {
        kind,
        db,
        flags: OpFlags::NONE,
        seq: 0,
        after: 0,
    }
}

/// Entries of a group of one, as a group of several would log them: each after its length (u32, little endian) and
/// its log time (u64).
#[derive(Default)]
struct Record {
    bytes: Vec<u8>,
}

impl Record {
    fn push(&mut self, log_ms: u64, head: OpHead, stamp: Stamp, args: Args<'_>) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&log_ms.to_le_bytes());
        let payload = self.bytes.len();
        reserve_heads(&mut self.bytes);
        let length = encode(&mut self.bytes, head, args.iter());
        let run = &mut self.bytes[payload + BATCH_HEAD_BYTES..];
        write_run_head(run, ReplicaId::default(), 0, 1, length);
        write_batch_head(
            &mut self.bytes[payload..],
            stamp.wall_offset_ms,
            stamp.random,
        );
        let length = u32::try_from(self.bytes.len() - at - 4)
            .expect("a request is at most as long as its buffer may be, 1 GiB by default");
        self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// Whether somebody wants to hear of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listened {
    /// Yes.
    Yes,
    /// No.
    No,
}
