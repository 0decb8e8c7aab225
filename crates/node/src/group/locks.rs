//! Locks with queues, where they meet the log ([`cache::Cache::settle_lock`] says what they are).
//!
//! - Whatever is applied settles the locks of its keys, before and after. So a lock that an operation frees goes to who
//!   waits for it by that very entry, and one that expired by the first entry behind that: the leader proposes one (a
//!   *settle*) when time comes for it.
//! - Who waits is named by the origin and the number of the write by which it asked. When the leader applies that it got
//!   the lock, it tells the node that asked: one hop after the release. If that gets lost, the node learns of it by its
//!   next question, which says all that it waits for, to whoever leads then.
//! - A node has the last word on its own requests through the log (a *lock word*): it withdraws one, which tells whether
//!   it was granted meanwhile; it abandons one whose client is gone; it ends a session.
//! - A leader that hears nothing of a node for long has the group forget what that node waits for, and ends what hangs on
//!   its connections.

use super::apply::{replica_bytes, replica_of};
use super::op::{Op, OpFlags, OpKind};
use super::origins::life_of;
use super::{Group, Work};
use crate::blocked::Told;
use crate::entry::{DATABASES, Stamp};
use crate::host::Now;
use crate::shard::Shard;
use crate::wire::{LockAsk, LockTold, PeerMessage};
use bytes::Bytes;
use cache::{Cache, Key, LockOrigin, LockRequest, Standing};
use paxos::{Incarnation, NodeId, ReplicaId};
use resp::{Args, OwnedArgs, Reply};
use std::collections::{BTreeMap, BTreeSet};

/// Keys of one settle.
const SETTLE_KEYS_MAX: usize = 256;
/// Time between two looks at who was heard, us.
const HEARING_US: u64 = 100_000;
/// A node that has no sessions to lose may be silent for so long, us.
const SILENCE_US: u64 = 15_000_000;
/// In a silent's delay: what hung on connections lasts as long as its time says.
const STAYS: u64 = u64::MAX;

/// What a node says of a lock that it asked for.
///
/// Its operation has four arguments: the verb, the key, number and delay (8 bytes each, little endian).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LockWord {
    pub verb: Verb,
    pub db: u8,
    pub key: Box<[u8]>,
    /// The request that it is about.
    pub number: u64,
    /// Of an end: how long until then, ms.
    pub delay_ms: u64,
}

/// What is to become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Out of the queue; answered by the fence if it was granted meanwhile, by null if not.
    Withdraw,
    /// Out of the queue, or the grant taken back: the client is gone.
    Abandon,
    /// What came of it hung on a connection that is gone.
    End,
}

impl Verb {
    fn byte(self) -> u8 {
        match self {
            Verb::Withdraw => b'w',
            Verb::Abandon => b'a',
            Verb::End => b'e',
        }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Verb> {
        [Verb::Withdraw, Verb::Abandon, Verb::End]
            .into_iter()
            .find(|verb| bytes == [verb.byte()])
    }
}

impl LockWord {
    /// The operation's arguments.
    pub fn args(&self) -> OwnedArgs {
        OwnedArgs::from_slices(&[
            &[self.verb.byte()],
            &self.key,
            &self.number.to_le_bytes(),
            &self.delay_ms.to_le_bytes(),
        ])
    }
}

/// Whether arguments are those of a lock word.
pub(super) fn is_word(args: Args<'_>) -> bool {
    args.len() == 4
        && Verb::from_bytes(args.get(0)).is_some()
        && args.get(2).len() == 8
        && args.get(3).len() == 8
}

fn long(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("8 bytes, as decoded"))
}

/// An origin as the table of locks names it.
pub(crate) fn lock_origin(origin: ReplicaId) -> LockOrigin {
    LockOrigin {
        node: origin.node.0,
        life: origin.incarnation.0,
    }
}

fn origin_of_lock(origin: LockOrigin) -> ReplicaId {
    ReplicaId {
        node: NodeId(origin.node),
        incarnation: Incarnation(origin.life),
    }
}

/// Tells the keys that an operation may change, those among them whose locks it may pass on.
pub(super) fn each_key(op: &Op<'_>, cache: &Cache, tell: &mut dyn FnMut(u8, &[u8])) {
    let (db, args) = (op.head.db, op.args());
    match op.head.kind {
        OpKind::Write | OpKind::Read => each_key_of(db, args, tell),
        OpKind::Multi | OpKind::Commands | OpKind::Reserve => op
            .nested()
            .for_each(|nested| each_key(&nested, cache, tell)),
        OpKind::Evict if op.head.flags.has(OpFlags::LOCKS) => (0..args.len())
            .step_by(2)
            .for_each(|at| tell(db, args.get(at))),
        OpKind::Evict | OpKind::Settle => args.iter().for_each(|key| tell(db, key)),
        OpKind::Effects => (0..args.len())
            .step_by(3)
            .for_each(|at| tell(db, args.get(at))),
        OpKind::Outcome => (op.what_at()..args.len())
            .step_by(3)
            .for_each(|at| tell(db, args.get(at))),
        OpKind::LockWord => tell(db, args.get(1)),
        OpKind::Fence => tell(db, args.get(0)),
        OpKind::Expect => each_key(&op.expected().0, cache, tell),
        OpKind::Silent => {
            for origin in args.from(1).iter() {
                let names = cache.locks().names_with(lock_origin(replica_of(origin)));
                names.iter().for_each(|(db, key)| tell(*db, key));
            }
        }
        OpKind::Flush
        | OpKind::Forget
        | OpKind::Check
        | OpKind::TakeOver
        | OpKind::Overdue
        | OpKind::Internal
        | OpKind::Refused
        | OpKind::Finish
        | OpKind::Prevent
        | OpKind::Release
        | OpKind::Script => {}
    }
}

/// The same for a client's command.
pub(crate) fn each_key_of(db: u8, args: Args<'_>, tell: &mut dyn FnMut(u8, &[u8])) {
    let mut positions = commands::KeyPositions::new();
    let row = commands::check(args).expect("a logged command has a row");
    // Arguments that do not tell their keys are refused by the command itself.
    if commands::keys_of(row, args, &mut positions).is_err() {
        return;
    }
    // These write to a database that is not their connection's: to which of them is not looked up.
    let databases = match commands::unguarded(row, args).name {
        "copy" | "move" => 0..DATABASES,
        _ => db..db + 1,
    };
    for at in positions {
        databases.clone().for_each(|db| tell(db, args.get(at)));
    }
}

/// Applying.
impl Shard {
    /// Settles the locks of an operation's keys.
    pub(super) fn settle_locks(&mut self, op: &Op<'_>) {
        let mut keys = Vec::new();
        let locks = self.cache.locks();
        each_key(op, &self.cache, &mut |db, key| {
            if locks.has(db, key) {
                keys.push((db, Box::from(key)));
            }
        });
        self.settle_keys(keys);
    }

    /// The same for a command's keys, on a shard that nobody else holds.
    pub(crate) fn settle_locks_of(&mut self, db: u8, args: Args<'_>) {
        if self.cache.locks().is_empty() {
            return;
        }
        let mut keys = Vec::new();
        let locks = self.cache.locks();
        each_key_of(db, args, &mut |db, key| {
            if locks.has(db, key) {
                keys.push((db, Box::from(key)));
            }
        });
        self.settle_keys(keys);
    }

    pub(crate) fn settle_keys(&mut self, keys: Vec<(u8, Box<[u8]>)>) {
        let seed = self.cache.seed();
        for (db, key) in keys {
            self.cache.settle_lock(Key::new(seed, db, &key));
        }
    }

    /// Applies a lock word of `origin`.
    pub(crate) fn apply_word(
        &mut self,
        origin: LockOrigin,
        db: u8,
        args: Args<'_>,
        reply: &mut Reply<'_>,
    ) {
        let number = long(args.get(2));
        let request = LockRequest { origin, number };
        let key = Key::new(self.cache.seed(), db, args.get(1));
        match Verb::from_bytes(args.get(0)).expect("as decoded") {
            Verb::Withdraw => match self.cache.withdraw(key, request) {
                Standing::Granted(fence) => reply.integer(fence as i64),
                Standing::Waiting | Standing::Gone => reply.null(),
            },
            Verb::Abandon => {
                self.cache.abandon(key, request);
                reply.ok();
            }
            Verb::End => {
                self.cache.end_session(key, request, long(args.get(3)));
                reply.ok();
            }
        }
    }

    /// Applies that nothing is heard of some origins.
    pub(crate) fn apply_silent(&mut self, args: Args<'_>) {
        let delay_ms = long(args.get(0));
        for origin in args.from(1).iter() {
            let origin = lock_origin(replica_of(origin));
            self.cache
                .end_origin(origin, (delay_ms != STAYS).then_some(delay_ms));
        }
    }

    /// Tells who waited that they got what they waited for, if it is this replica that tells.
    pub(super) fn hand_out(&mut self, work: &mut Work<'_>) {
        let grants = std::mem::take(&mut work.applied.grants);
        self.hold_if_uncovered();
        if !self.group.replica.is_leader() || !self.group.shows {
            // They ask whoever leads.
            return;
        }
        let own = lock_origin(self.group.origin);
        let mut others: BTreeMap<LockOrigin, Vec<(u64, u64)>> = BTreeMap::new();
        for grant in grants {
            let LockRequest { origin, number } = grant.request;
            if origin == own {
                self.blocked.grant(number, grant.fence);
            } else {
                others
                    .entry(origin)
                    .or_default()
                    .push((number, grant.fence));
            }
        }
        for (origin, granted) in others {
            let to = origin_of_lock(origin);
            let told = PeerMessage::LockTold(LockTold {
                group: self.group.id,
                to,
                sent_us: 0,
                granted,
                settled: Vec::new(),
                ended: Vec::new(),
            });
            work.cluster.peers.send(to.node, &told);
        }
    }
}

/// A shard that nobody else holds.
impl Shard {
    /// Has the log say that time changed something about locks, if it did; and that who waited here on connections that
    /// are gone waits no more.
    pub(crate) fn tick_solo(&mut self, work: &mut Work<'_>) {
        let now = work.now;
        let stamp = self.solo_stamp(now, work.host.random());
        if let Some(due_ms) = self.cache.locks().first_due_ms()
            && due_ms <= stamp.log_ms
        {
            self.cache.set_now(stamp.log_ms);
            let due = self.cache.locks().due(stamp.log_ms, SETTLE_KEYS_MAX);
            for of_db in due.chunk_by(|one, next| one.0 == next.0) {
                self.commit_settle(of_db[0].0, stamp, of_db);
            }
            self.hand_out_here();
        }
        // Waiters of nodes that were here before, which are gone: nobody else asks here.
        let own = lock_origin(self.group.origin);
        let gone: Vec<LockOrigin> = self.cache.locks().origins().filter(|o| *o != own).collect();
        if !gone.is_empty() {
            self.commit_silent(&gone, delay_or_stays(work.lock_delay_ms), stamp);
            self.hand_out_here();
        }
        while let Some(word) = self.blocked.next_owed(u64::MAX) {
            let said = self.say_word(&word, self.blocked.nobody(), now);
            said.expect("a shard without replicas has no queue");
        }
        if self.blocked.asks(None, now.monotonic_us, 0) {
            let bound = self.blocked.next_bound();
            self.hear_here(&[], &bound, now.monotonic_us, 0);
        }
        self.blocked.confirm_all(now.monotonic_us);
        self.tick_waits(work);
        self.tick_transactions(work);
        // Nobody else passes on what time brought about.
        let granted = self.take_lock_events(work.event_mask);
        work.applied.events.extend(granted);
        if self.is_observed() {
            work.changes.append(&mut self.take_changes());
        }
    }

    /// This replica says itself how its node's requests stand, and what hangs on its connections.
    fn hear_here(
        &mut self,
        queued: &[(u8, Bytes, u64)],
        bound: &[(u8, Bytes, u64)],
        now_us: u64,
        lock_delay_ms: u64,
    ) {
        let own = lock_origin(self.group.origin);
        let told = Told {
            settled: self.settled(own, queued),
            ended: self.ended(own, bound),
        };
        self.blocked.hear(&told, now_us, now_us, lock_delay_ms);
    }

    /// The earliest time at which a tick does something here, us.
    pub(super) fn solo_wake_us(&self, now: Now) -> u64 {
        let locks = self.cache.locks();
        if locks.is_empty() && self.blocked.is_idle() {
            return u64::MAX;
        }
        let left_ms = locks.first_due_ms().map_or(u64::MAX, |due_ms| {
            due_ms.saturating_sub(self.group.clock_ms(now))
        });
        // Commands may bring that time nearer without a word to whoever ticks.
        let left_us = left_ms.saturating_mul(1000).min(HEARING_US);
        now.monotonic_us + left_us
    }

    fn solo_stamp(&self, now: Now, random: u64) -> Stamp {
        Stamp {
            log_ms: self.group.clock_ms(now),
            wall_offset_ms: self.group.wall_offset_ms(now),
            random,
        }
    }

    /// Has a lock word take its way; its answer goes to `ticket`.
    ///
    /// # Errors
    /// There is no room in the queue: nothing was done.
    pub(crate) fn say_word(
        &mut self,
        word: &LockWord,
        ticket: crate::slots::Ticket,
        now: Now,
    ) -> Result<(), super::QueueFull> {
        let args = word.args();
        match self.mode {
            super::Mode::Solo => {
                let stamp = self.solo_stamp(now, 0);
                let mut output = resp::Output::new();
                let mut reply = Reply::new(&mut output, resp::Protocol::Resp2);
                self.commit_word(word.db, stamp, args.args(), &mut reply);
                ticket.fill_shared(output.into_bytes());
                Ok(())
            }
            super::Mode::Grouped => {
                let request = super::Request {
                    kind: OpKind::LockWord,
                    db: word.db,
                    flags: super::OpFlags::NONE,
                    args: args.args(),
                    after: 0,
                };
                self.enqueue(request, ticket, now).map(drop)
            }
        }
    }
}

/// What time brings.
impl Shard {
    /// The earliest time at which a tick does something about locks, us.
    pub(super) fn locks_wake_us(&self, now: Now) -> u64 {
        let group = &self.group;
        let blocked_us = self.blocked.wake_us();
        let locks = self.cache.locks();
        if locks.is_empty() || !group.replica.is_leader() {
            return blocked_us;
        }
        let due_us = match locks.first_due_ms().filter(|_| !group.is_settling) {
            Some(due_ms) => {
                let left_ms = due_ms.saturating_sub(group.clock_ms(now));
                now.monotonic_us
                    .saturating_add(left_ms.saturating_mul(1000))
            }
            None => u64::MAX,
        };
        blocked_us.min(due_us).min(now.monotonic_us + HEARING_US)
    }

    /// Time went by.
    pub(super) fn tick_locks(&mut self, work: &mut Work<'_>) {
        self.tick_blocked(work);
        if self.cache.locks().is_empty() || !self.group.replica.is_leader() {
            return;
        }
        self.decide_settle(work.now);
        if self.group.shows && work.now_us() >= self.group.hearing_us {
            self.group.hearing_us = work.now_us() + HEARING_US;
            self.decide_silence(work);
        }
    }

    /// Has the group agree that time changed something about locks.
    fn decide_settle(&mut self, now: Now) {
        let now_ms = self.group.clock_ms(now);
        if self.group.is_settling {
            return;
        }
        let mut due = self.cache.locks().due(now_ms, SETTLE_KEYS_MAX);
        due.sort_unstable();
        for of_db in due.chunk_by(|one, next| one.0 == next.0) {
            let keys: Vec<&[u8]> = of_db.iter().map(|(_, key)| &key[..]).collect();
            self.group.is_settling |= self.decide(OpKind::Settle, of_db[0].0, &keys);
        }
    }

    /// Has the group forget what nodes wait for of which nothing was heard for long.
    fn decide_silence(&mut self, work: &Work<'_>) {
        let (now_us, delay_ms) = (work.now_us(), work.lock_delay_ms);
        let own = lock_origin(self.group.origin);
        let origins: Vec<LockOrigin> = self.cache.locks().origins().collect();
        let heard = &mut self.group.heard;
        heard.retain(|origin, _| origins.binary_search(origin).is_ok());
        let (silence_us, then_ms) = match delay_ms {
            0 => (SILENCE_US, STAYS),
            _ => (delay_ms * 1000, 0),
        };
        let mut silent = Vec::new();
        for origin in origins.into_iter().filter(|origin| *origin != own) {
            let heard_us = heard.entry(origin).or_insert(now_us);
            if now_us.saturating_sub(*heard_us) > silence_us {
                *heard_us = now_us;
                silent.push(origin);
            }
        }
        if !silent.is_empty() {
            tracing::info!(
                group = self.group.id.0,
                ?silent,
                "nothing is heard of them: their locks' requests end"
            );
            self.decide_silent(&silent, then_ms);
        }
    }

    /// Has the group forget what origins wait for whose lives are over.
    pub(super) fn forget_lock_origins(
        &mut self,
        is_over: &dyn Fn(ReplicaId) -> bool,
        lock_delay_ms: u64,
    ) -> bool {
        let is_gone = |origin: &LockOrigin| {
            let origin = origin_of_lock(*origin);
            is_over(life_of(origin)) || self.origins.is_over(origin)
        };
        let gone: Vec<LockOrigin> = self.cache.locks().origins().filter(is_gone).collect();
        !gone.is_empty() && self.decide_silent(&gone, delay_or_stays(lock_delay_ms))
    }

    fn decide_silent(&mut self, origins: &[LockOrigin], delay_ms: u64) -> bool {
        let args = silent_args(origins, delay_ms);
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        self.decide(OpKind::Silent, 0, &args)
    }

    /// Says what could not be said before, and asks how what is waited for here stands.
    fn tick_blocked(&mut self, work: &mut Work<'_>) {
        if self.blocked.is_idle() {
            return;
        }
        let now_us = work.now_us();
        while let Some(word) = self.blocked.next_owed(now_us) {
            let nobody = self.blocked.nobody();
            if self.say_word(&word, nobody, work.now).is_err() {
                self.blocked.owe_again(word, now_us);
            }
        }
        let leads = self.group.replica.is_leader();
        let leader = match leads {
            true => Some(self.group.me.node),
            false => self.leader_elsewhere(work),
        };
        if !self.blocked.asks(leader, now_us, work.lock_delay_ms) {
            return;
        }
        if leads {
            if self.may_answer(now_us) {
                let (queued, bound) = (self.blocked.queued(), self.blocked.next_bound());
                self.hear_here(&queued, &bound, now_us, work.lock_delay_ms);
            }
        } else if let Some(leader) = leader {
            let (group, origin) = (self.group.id, self.group.origin);
            let mut held = self.blocked.next_bound();
            for requests in self.blocked.queued_in_parts() {
                let ask = PeerMessage::LockAsk(LockAsk {
                    group,
                    origin,
                    sent_us: now_us.max(1),
                    requests,
                    held: std::mem::take(&mut held),
                });
                work.cluster.peers.send(leader, &ask);
            }
        }
        self.blocked.end_unconfirmed(now_us, work.lock_delay_ms);
    }

    /// Whether what this replica knows of locks holds: it leads, may show it, and nobody else does.
    fn may_answer(&self, now_us: u64) -> bool {
        self.group.replica.is_leader() && self.group.shows && now_us < self.lease_until_us()
    }

    /// Those of an origin's requests that do not wait any more.
    fn settled(&self, origin: LockOrigin, requests: &[(u8, Bytes, u64)]) -> Vec<u64> {
        self.missing(requests, |cache, key| cache.waiting_numbers(key, origin))
    }

    /// Those of the locks that hung on an origin's connections that do so no more.
    fn ended(&self, origin: LockOrigin, held: &[(u8, Bytes, u64)]) -> Vec<u64> {
        self.missing(held, |cache, key| cache.session_numbers(key, origin))
    }

    /// The numbers of requests that are not among those `there` of their keys.
    fn missing(
        &self,
        requests: &[(u8, Bytes, u64)],
        there: impl Fn(&Cache, Key<'_>) -> BTreeSet<u64>,
    ) -> Vec<u64> {
        // A lock is looked through once for all of them: thousands may wait for one, or share it.
        let mut of_keys: BTreeMap<(u8, &[u8]), BTreeSet<u64>> = BTreeMap::new();
        let mut is_there = |db: u8, key, number: &u64| {
            let numbers = of_keys.entry((db, key)).or_insert_with(|| {
                let key = Key::new(self.cache.seed(), db, key);
                there(&self.cache, key)
            });
            numbers.contains(number)
        };
        requests
            .iter()
            .filter(|(db, key, number)| !is_there(*db, &key[..], number))
            .map(|(.., number)| *number)
            .collect()
    }

    /// Another node asks how what it waits for stands.
    pub(crate) fn on_lock_ask(&mut self, ask: LockAsk, work: &mut Work<'_>) {
        if !self.may_answer(work.now_us()) {
            return;
        }
        let origin = lock_origin(ask.origin);
        self.group.heard.insert(origin, work.now_us());
        let told = PeerMessage::LockTold(LockTold {
            group: self.group.id,
            to: ask.origin,
            sent_us: ask.sent_us,
            granted: Vec::new(),
            settled: self.settled(origin, &ask.requests),
            ended: self.ended(origin, &ask.held),
        });
        work.cluster.peers.send(ask.origin.node, &told);
    }

    /// The leader tells how what is waited for here stands.
    pub(crate) fn on_lock_told(&mut self, told: LockTold, work: &mut Work<'_>) {
        for (number, fence) in told.granted {
            self.blocked.grant(number, fence);
        }
        if told.sent_us > 0 {
            let (sent_us, now_us) = (told.sent_us, work.now_us());
            let told = Told {
                settled: told.settled,
                ended: told.ended,
            };
            self.blocked
                .hear(&told, sent_us, now_us, work.lock_delay_ms);
        }
    }
}

/// How long sessions outlive a node that is gone, ms. Without a delay nobody's silence ends them.
fn delay_or_stays(lock_delay_ms: u64) -> u64 {
    match lock_delay_ms {
        0 => STAYS,
        ms => ms,
    }
}

/// The arguments of a silent.
pub(crate) fn silent_args(origins: &[LockOrigin], delay_ms: u64) -> Vec<Vec<u8>> {
    let delay = delay_ms.to_le_bytes().to_vec();
    let replicas = origins
        .iter()
        .map(|origin| replica_bytes(origin_of_lock(*origin)).to_vec());
    std::iter::once(delay).chain(replicas).collect()
}

impl Group {
    /// What a leader knew of others is not known to be so any more.
    pub(super) fn forget_heard(&mut self) {
        self.heard.clear();
        self.is_settling = false;
    }
}
