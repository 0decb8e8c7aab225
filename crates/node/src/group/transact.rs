//! Transactions over several shards, where they meet a shard's log ([`super::reservations`] says what they are).
//!
//! A coordinator asks by two kinds of questions, which are reads: whoever leads answers them, any number of times. What
//! they ask for is brought about if it is not so yet, by a decision of the leader's, and answered when that is applied:
//!
//! - *finish*: with an outcome; the answer is what the commands came to here, or [`GONE`].
//! - *ask*: what this shard said to a transaction's reserve. If that has not come it is prevented, so there is an answer.
//!
//! Neither waits behind writes of its node, so that what those wait for can come about.
//!
//! A leader under whom a transaction stays unfinished has its node find out and bring about what has become of it
//! ([`crate::transactions`]): the coordinator may be gone.

use super::Work;
use super::apply::{Applied, Applying, replica_of, stored_since};
use super::locks::{each_key, each_key_of, lock_origin};
use super::op::{Op, OpKind, split_first};
use super::origins::Stored;
use super::reservations::{
    Committed, Deferred, Keys, Participant, TxId, age_of, keys_of, participants_of, taken_over_by,
};
use crate::entry::Stamp;
use crate::questions;
use crate::shard::{Call, Shard};
use crate::transactions::{Goal, Unresolved};
use cache::{Key, LockRequest};
use commands::Run;
use commands::context::Touch;
use paxos::ReplicaId;
use resp::{Args, Output, Reply};
use std::collections::{BTreeMap, BTreeSet};

/// A vote for a transaction.
pub(crate) const RESERVED: &[u8] = b"+RESERVED\r\n";
/// A vote against it: another one has its keys, and is older.
pub(crate) const BUSY: &[u8] = b"+BUSY\r\n";
/// It was prevented.
pub(crate) const ABORTED: &[u8] = b"+ABORTED\r\n";
/// It was committed here.
pub(crate) const COMMITTED: &[u8] = b"+COMMITTED\r\n";
/// It is finished, and no more is known of it.
pub(crate) const GONE: &[u8] = b"+GONE\r\n";
/// It is none that a sound node asks for.
const MALFORMED: &[u8] = b"-ERR malformed transaction\r\n";
/// The outcomes in a finish.
pub(crate) const COMMIT: &[u8] = b"c";
pub(crate) const ABORT: &[u8] = b"a";

/// A transaction unfinished for so long is looked into, us: some times what a busy cluster needs for one.
const RESOLVE_US: u64 = 250_000;
/// A committed one that nobody released for so long is looked into, us: its coordinator is gone.
const RELEASE_US: u64 = 20_000_000;
/// Time between two looks at committed ones, us.
const LOOK_US: u64 = 1_000_000;

/// What a leader remembers of transactions, which is no part of the state.
#[derive(Debug, Default)]
pub(super) struct Resolving {
    /// Decided on, and not applied yet.
    decided: BTreeSet<TxId>,
    /// Since when it knows of them, us.
    noticed: BTreeMap<TxId, u64>,
    /// Since when it knows of operations that wait for them, us.
    pub(super) waiting: BTreeMap<super::overdue::Name, u64>,
    /// When to look at committed ones, and at what waits, next, us.
    look_us: u64,
}

impl Resolving {
    /// Leadership came or went.
    pub fn clear(&mut self) {
        *self = Resolving::default();
    }
}

fn keys_in(shard: &Shard, op: &Op<'_>) -> Keys {
    keys_of(op, &shard.cache)
}

/// Applying.
impl Shard {
    /// Puts an operation off that is about to run, if a transaction has one of its keys; whether it did.
    #[inline]
    pub(super) fn defers(&mut self, op: &Op<'_>, origin: ReplicaId) -> bool {
        !self.reservations.is_idle() && self.defers_beside_others(op, origin)
    }

    #[cold]
    fn defers_beside_others(&mut self, op: &Op<'_>, origin: ReplicaId) -> bool {
        match op.head.kind {
            OpKind::Write
            | OpKind::Flush
            | OpKind::Multi
            | OpKind::Evict
            | OpKind::Settle
            | OpKind::Silent
            | OpKind::LockWord => {}
            // Questions among them; a reserve says itself whether it waits; a leader proposes no script's outcome on keys that
            // a transaction has, and nothing comes in between.
            OpKind::Read
            | OpKind::Internal
            | OpKind::Forget
            | OpKind::Check
            | OpKind::Expect
            | OpKind::Fence
            | OpKind::TakeOver
            | OpKind::Overdue
            | OpKind::Effects
            | OpKind::Refused
            | OpKind::Script
            | OpKind::Outcome
            | OpKind::Commands
            | OpKind::Reserve
            | OpKind::Finish
            | OpKind::Prevent
            | OpKind::Release => return false,
        }
        if op.head.kind == OpKind::Silent {
            return self.is_too_early(op);
        }
        let keys = keys_in(self, op);
        let waits = self.reservations.has_any(&keys);
        if waits {
            self.put_off(op, origin, keys);
        }
        waits
    }

    /// Whether a silent would pass on a lock that a transaction has. Then it is dropped, and decided on again: it may be about
    /// many locks, for all of which everything else would wait.
    fn is_too_early(&mut self, silent: &Op<'_>) -> bool {
        let mut is_early = false;
        each_key(silent, &self.cache, &mut |db, key| {
            is_early |= self.reservations.has(db, key);
        });
        if is_early {
            for origin in silent.args().from(1).iter().map(replica_of) {
                self.group.heard.insert(lock_origin(origin), 0);
            }
        }
        is_early
    }

    fn put_off(&mut self, op: &Op<'_>, origin: ReplicaId, keys: Keys) {
        self.reservations.defer(Deferred {
            origin,
            seq: op.head.seq,
            op: op.bytes().into(),
            keys,
        });
    }

    /// Applies a reserve. Without an answer it waits.
    pub(super) fn apply_reserve(
        &mut self,
        op: &Op<'_>,
        origin: ReplicaId,
        (stamp, applying): (Stamp, Applying),
        out: &mut Applied,
    ) {
        let age = age_of(op);
        let own = Participant {
            shard: self.index() as u32,
            seq: op.head.seq,
        };
        if !participants_of(op.args().get(2)).contains(&own) || self.reservations.knows(age.1) {
            return out.scratch.tail_mut().extend_from_slice(MALFORMED);
        }
        if self.reservations.take_prevented(age.1) {
            return out.scratch.tail_mut().extend_from_slice(ABORTED);
        }
        let keys = keys_in(self, op);
        // What others wait for behind those keys stays behind them.
        let held = taken_over_by(op).filter(|held| self.reservations.has_just(*held, &keys));
        if held.is_none() && self.reservations.has_any(&keys) {
            match self.reservations.may_wait(age) {
                true => self.put_off(op, origin, keys),
                false => out.scratch.tail_mut().extend_from_slice(BUSY),
            }
            return;
        }
        if !self.cache.locks().is_empty() {
            // Time may have passed a lock on.
            self.settle_locks(op);
            self.collect_grants(applying.event_mask, out);
        }
        let protocol = op.head.flags.protocol();
        let mut reply = Reply::new(&mut out.scratch, protocol);
        if self.withholds(op, stamp.log_ms) {
            return self.refuse_lock(&mut reply);
        }
        for nested in op.nested() {
            match nested.head.kind {
                OpKind::Check if !self.holds(&nested) => return reply.null_array(),
                OpKind::Expect if !self.is_as_expected(&nested, stamp) => {
                    return reply.null_array();
                }
                OpKind::Fence => {
                    let args = nested.args();
                    let lock = Key::new(self.cache.seed(), nested.head.db, args.get(0));
                    let token = args.get(1).try_into().expect("8 bytes, as decoded");
                    let token = i64::from_le_bytes(token);
                    if let Err(text) = commands::is_current(&self.cache, lock, token) {
                        return reply.error(&text);
                    }
                }
                _ => {}
            }
        }
        if let Some(held) = held {
            self.reservations.take_out(held);
            self.group.resolving.noticed.remove(&held);
        }
        self.reservations.reserve(op, keys);
        out.scratch.tail_mut().extend_from_slice(RESERVED);
    }

    /// Whether a read of this shard has the reply that it must have.
    fn is_as_expected(&mut self, expect: &Op<'_>, stamp: Stamp) -> bool {
        let (read, wanted) = expect.expected();
        let row = commands::check(read.args()).expect("a logged command has a row");
        let Run::Data(execute) = row.run else {
            panic!("{} is logged but is no data command", row.name)
        };
        let call = Call {
            execute,
            db: read.head.db,
            args: read.args(),
            stamp,
            first_key_hash: None,
            touch: Touch::No,
            request: None,
            event_mask: 0,
        };
        let mut output = Output::new();
        self.run(
            call,
            &mut Reply::new(&mut output, read.head.flags.protocol()),
        );
        output.into_bytes()[..] == *wanted
    }

    /// Applies what has become of a transaction.
    pub(super) fn apply_finish(
        &mut self,
        op: &Op<'_>,
        stamp: Stamp,
        applying: Applying,
        out: &mut Applied,
    ) {
        let id = TxId::of(op.args().get(0)).expect("as decoded");
        self.group.resolving.decided.remove(&id);
        let Some(reserved) = self.reservations.take_out(id) else {
            return;
        };
        self.group.resolving.noticed.remove(&id);
        let (reserve, _) = split_first(&reserved.op).expect("decoded before");
        if self.group.streams.is_producing() {
            // Its locks may be passed on, whatever the outcome.
            self.save_for_streams(&reserve);
        }
        // Replies of its own: those around it keep their places.
        let outer = std::mem::take(&mut out.scratch);
        if op.args().get(1) == COMMIT {
            let mark = out.scratch.mark();
            self.run_nested(&reserve, stamp, applying, out);
            let reply = stored_since(&mut out.scratch, mark);
            let participants = reserved.participants;
            self.reservations.commit(
                id,
                Committed {
                    participants,
                    reply,
                },
            );
        }
        self.settle_locks(&reserve);
        self.run_deferred(stamp, applying, out);
        out.scratch = outer;
    }

    /// Applies that a transaction's reserve is refused unless it has come.
    pub(super) fn apply_prevent(
        &mut self,
        op: &Op<'_>,
        stamp: Stamp,
        applying: Applying,
        out: &mut Applied,
    ) {
        let id = TxId::of(op.args().get(0)).expect("as decoded");
        let seq = u64::from_le_bytes(op.args().get(1).try_into().expect("as decoded"));
        self.group.resolving.decided.remove(&id);
        if let Some(waited) = self.reservations.take_deferred_reserve(id) {
            self.answer_deferred(&waited, Stored::of(ABORTED), applying.now_us);
            // Others may have waited for this one alone.
            let outer = std::mem::take(&mut out.scratch);
            self.run_deferred(stamp, applying, out);
            out.scratch = outer;
        } else if self.origins.applied(id.origin) < seq {
            self.reservations.prevent(id);
        }
    }

    /// Runs what waited and need not any more, in its order.
    pub(super) fn run_deferred(&mut self, stamp: Stamp, applying: Applying, out: &mut Applied) {
        for (ordinal, deferred) in self.reservations.take_deferred().into_iter().enumerate() {
            if self.reservations.has_any(&deferred.keys) {
                self.reservations.defer(deferred);
                continue;
            }
            let (op, _) = split_first(&deferred.op).expect("decoded before");
            // Far from those of a transaction's commands.
            let stamp = stamp.of_op((1 << 32) + ordinal as u64);
            if self.group.streams.is_producing() {
                self.save_for_streams(&op);
            }
            let mark = out.scratch.mark();
            let is_own = deferred.origin == ReplicaId::default();
            if op.head.kind == OpKind::Reserve {
                self.apply_reserve(&op, deferred.origin, (stamp, applying), out);
            } else {
                let request = (!is_own).then(|| LockRequest {
                    origin: lock_origin(deferred.origin),
                    number: deferred.seq,
                });
                self.run_op(&op, stamp, request, applying, out);
            }
            let reply = stored_since(&mut out.scratch, mark);
            if !is_own {
                self.answer_deferred(&deferred, reply, applying.now_us);
            }
        }
    }

    pub(super) fn answer_deferred(&mut self, deferred: &Deferred, reply: Stored, now_us: u64) {
        self.hold_if_uncovered();
        self.group
            .answer(deferred.origin, deferred.seq, &reply, now_us);
        self.origins.put_reply(deferred.origin, deferred.seq, reply);
    }

    /// Applies that origins were forgotten: what they have not sent will never come. (One that is only not known here may
    /// be about to send its first.)
    pub(super) fn forget_prevented(&mut self, forgotten: Args<'_>) {
        let origins = &self.origins;
        self.reservations.forget_prevented(|origin| {
            let mut forgotten = forgotten.iter().map(replica_of);
            origins.is_over(origin) || forgotten.any(|other| other == origin)
        });
    }
}

/// A leader's side.
impl Shard {
    /// Whether a transaction has a key of a command, so that it cannot be read now.
    #[inline]
    pub(super) fn is_held_back(&self, call: &Call<'_>) -> bool {
        !self.reservations.is_idle() && self.has_key_of(call)
    }

    #[cold]
    fn has_key_of(&self, call: &Call<'_>) -> bool {
        let mut has = false;
        each_key_of(call.db, call.args, &mut |db, key| {
            has |= self.reservations.has(db, key);
        });
        has
    }

    /// Whether a read cannot be answered yet: a transaction has one of its keys, or it asks about a transaction of which
    /// there is no answer yet. Then that is brought about.
    pub(super) fn must_wait(&mut self, op: &Op<'_>) -> bool {
        let args = op.args();
        if let Some(question) = question_of(op) {
            return self.must_bring_about(question);
        }
        if self.reservations.is_idle() {
            return false;
        }
        match op.head.kind {
            OpKind::Read => self.reservations.has_any(&keys_in(self, op)),
            OpKind::Internal => match args.get(0) {
                questions::FINGERPRINT => {
                    let mut keys = args.from(1).iter();
                    keys.any(|key| self.reservations.has(op.head.db, key))
                }
                questions::SCRIPT => self.has_script_keys(op),
                questions::RECORDS => questions::keys_of_records(args).is_some_and(|mut keys| {
                    keys.any(|(db, key, _)| self.reservations.has(db, key))
                }),
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether there is no answer to a question about a transaction yet. Then it is decided on, once.
    fn must_bring_about(&mut self, question: Question) -> bool {
        let Question { id, seq, outcome } = question;
        let is_reserved = self.reservations.reserved(id).is_some();
        match outcome {
            Some(outcome) if is_reserved => {
                self.decide_once(id, OpKind::Finish, &[&id.bytes(), outcome]);
                true
            }
            // It is finished, or was released long ago.
            Some(COMMIT) => false,
            Some(_) | None => {
                let is_open = self.is_open(id, seq);
                if is_open {
                    self.decide_once(id, OpKind::Prevent, &[&id.bytes(), &seq.to_le_bytes()]);
                }
                is_open
            }
        }
    }

    /// Whether a transaction has one of a script's declared keys.
    pub(super) fn has_script_keys(&self, op: &Op<'_>) -> bool {
        let mut keys = super::scripts::script_keys(op.args());
        // Scripts may write to other databases.
        !self.reservations.is_idle() && keys.any(|key| self.reservations.has_anywhere(key))
    }

    /// Whether it is open what this shard says to a transaction's reserve.
    fn is_open(&self, id: TxId, seq: u64) -> bool {
        let known = &self.reservations;
        known.reserved(id).is_none()
            && known.committed(id).is_none()
            && !known.is_prevented(id)
            && (known.is_deferred(id) || self.origins.applied(id.origin) < seq)
    }

    fn decide_once(&mut self, id: TxId, kind: OpKind, args: &[&[u8]]) {
        if !self.group.resolving.decided.contains(&id) && self.decide(kind, 0, args) {
            self.group.resolving.decided.insert(id);
        }
    }

    /// The answer to a question about a transaction; none if it is no such question.
    pub(super) fn answer_about(&self, op: &Op<'_>) -> Option<&[u8]> {
        let Question { id, outcome, .. } = question_of(op)?;
        let known = &self.reservations;
        Some(match (known.committed(id), outcome.is_some()) {
            (Some(committed), true) => committed.reply.as_bytes(),
            (None, true) => GONE,
            (Some(_), false) => COMMITTED,
            (None, false) if known.reserved(id).is_some() => RESERVED,
            (None, false) => ABORTED,
        })
    }

    /// The question of a transaction that has its keys here about one of them, without its name; none if it is no such
    /// question, or the transaction has them no more.
    pub(super) fn held_question<'a>(&self, op: &'a Op<'_>) -> Option<Op<'a>> {
        let id = TxId::of(op.args().get(1))?;
        let (question, _) = split_first(op.args().get(2)).ok()?;
        self.reservations.reserved(id).is_some().then_some(question)
    }

    /// When a tick looks at transactions, us.
    pub(super) fn transactions_wake_us(&self) -> u64 {
        let group = &self.group;
        if !group.replica.is_leader() {
            return u64::MAX;
        }
        let unfinished = self.reservations.all_reserved().map(|(id, _)| {
            let noticed = group.resolving.noticed.get(&id);
            noticed.map_or(0, |noticed_us| noticed_us + RESOLVE_US)
        });
        let unfinished_us = unfinished.min().unwrap_or(u64::MAX);
        match self.reservations.all_committed().next() {
            Some(_) => unfinished_us.min(group.resolving.look_us),
            None => unfinished_us,
        }
    }

    /// Time went by: has the node look into transactions that stay unfinished.
    pub(super) fn tick_transactions(&mut self, work: &mut Work<'_>) {
        let resolving = &mut self.group.resolving;
        if !self.group.replica.is_leader() {
            return;
        }
        let now_us = work.now_us();
        let noticed = &mut resolving.noticed;
        let mut look_into = |(id, participants): (TxId, &[Participant]), goal, after_us| {
            let noticed_us = noticed.entry(id).or_insert(now_us);
            if *noticed_us + after_us <= now_us {
                *noticed_us = now_us;
                work.unresolved.push(Unresolved {
                    id,
                    participants: participants.to_vec(),
                    goal,
                });
            }
        };
        for one in self.reservations.all_reserved() {
            look_into(one, Goal::Outcome, RESOLVE_US);
        }
        if now_us < resolving.look_us {
            return;
        }
        resolving.look_us = now_us + LOOK_US;
        for one in self.reservations.all_committed() {
            look_into(one, Goal::Release, RELEASE_US);
        }
        let known = &self.reservations;
        let resolving = &mut self.group.resolving;
        resolving
            .noticed
            .retain(|id, _| known.reserved(*id).is_some() || known.committed(*id).is_some());
        self.refuse_overdue(now_us);
    }
}

/// Whether a question is about a transaction.
pub(super) fn is_about_transaction(question: Args<'_>) -> bool {
    matches!(question.get(0), questions::FINISH | questions::ASK)
}

/// A question about a transaction.
#[derive(Clone, Copy)]
struct Question {
    id: TxId,
    /// The number of its reserve here.
    seq: u64,
    /// With which it is to be finished, where it is.
    outcome: Option<&'static [u8]>,
}

/// The question about a transaction that a read is; none if it is none.
fn question_of(op: &Op<'_>) -> Option<Question> {
    let args = op.args();
    if op.head.kind != OpKind::Internal {
        return None;
    }
    let outcome = match (args.get(0), args.len()) {
        (questions::ASK, 3) => None,
        (questions::FINISH, 4) if args.get(3) == COMMIT => Some(COMMIT),
        (questions::FINISH, 4) if args.get(3) == ABORT => Some(ABORT),
        _ => return None,
    };
    let seq = args.get(2).try_into().ok()?;
    Some(Question {
        id: TxId::of(args.get(1))?,
        seq: u64::from_le_bytes(seq),
        outcome,
    })
}
