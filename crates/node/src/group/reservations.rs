//! Transactions over several shards: what one shard knows of them. The part of a shard's state that makes a write over
//! several groups happen in all of them or in none.
//!
//! A transaction is two-phase commit whose participants are groups and whose only record is their logs: it is *committed*
//! if every participant's log has its *reserve* and none refused it; it is *aborted* if one refused, or holds a *prevent*
//! ahead of the reserve. Both are facts that never change, so whoever asks all participants comes to the same outcome, and
//! no coordinator's word is needed (Aguilera et al., "Sinfonia", SOSP 2007, §4; DESIGN: participants are replicated, so
//! none blocks the others by a crash).
//!
//! ```text
//!   coordinator (any node)     ──reserve──▶ every participant's log ──▶ +RESERVED | a refusal
//!                              ──finish───▶ every participant: runs its commands, or lets the keys go
//!                              ──release──▶ the outcomes are forgotten
//! ```
//!
//! From its reserve to its finish a transaction has its keys for itself, those that it only reads too. Whatever else comes
//! to one of them in between is put off (*deferred*), by the state machine itself and so alike on all replicas: it runs
//! when the transaction is finished, in the order in which it came, and is answered then. Reads wait at the leader.
//!
//! Two transactions that want each other's keys: the one that began first waits, the other is refused at once and comes
//! again as old as it was (wait-die: Rosenkrantz, Stearns, Lewis, "System Level Concurrency Control for Distributed
//! Database Systems", TODS 1978, §4). So there is no deadlock and nobody starves.
//!
//! A coordinator that wants to see keys before it says what becomes of them *holds* them: it reserves for reads alone, asks what
//! it wants to know (`held` in `questions.rs`), and has the reserve of what it makes of the answers *take over* the keys. In
//! each shard the first transaction ends by that: having done nothing, it needs no outcome. If it was finished before, by
//! leaders that found it unfinished for long, the second is one like any other, whose checks say whether it came too late.
//!
//! Arguments of a *reserve*: the transaction's name ([`TxId`], 20 bytes), its age (8 bytes: when it first was asked for, ms
//! by the coordinator's wall clock; it decides who waits and nothing else), its participants (12 bytes each: shard, number
//! of its reserve there), then the operations: `check`s and `fence`s, which refuse it, a `take over`, writes and reads.

use super::locks::each_key;
use super::op::{Op, OpKind, split_first};
use super::origins::Stored;
use crate::entry::DATABASES;
use cache::Cache;
use paxos::{Incarnation, NodeId, ReplicaId};
use resp::Args;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use xxhash_rust::xxh3::xxh3_64;

/// Arguments of a reserve ahead of its operations.
pub(crate) const RESERVE_HEAD_ARGS: usize = 3;
/// Length of a name.
pub(crate) const TX_ID_BYTES: usize = 20;
/// Length of a participant.
const PARTICIPANT_BYTES: usize = 12;

/// A transaction's name: each try has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TxId {
    /// The process that coordinates it.
    pub origin: ReplicaId,
    /// Its number there.
    pub number: u64,
}

impl TxId {
    /// As an argument: node (u32), incarnation, number (u64), little endian.
    pub fn bytes(self) -> [u8; TX_ID_BYTES] {
        let mut bytes = [0; TX_ID_BYTES];
        bytes[..4].copy_from_slice(&self.origin.node.0.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.origin.incarnation.0.to_le_bytes());
        bytes[12..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    /// The name in an argument; none if it has another length.
    pub fn of(bytes: &[u8]) -> Option<TxId> {
        let bytes: &[u8; TX_ID_BYTES] = bytes.try_into().ok()?;
        Some(TxId {
            origin: ReplicaId {
                node: NodeId(u32_at(bytes, 0)),
                incarnation: Incarnation(u64_at(bytes, 4)),
            },
            number: u64_at(bytes, 12),
        })
    }
}

/// One of a transaction's shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Participant {
    /// The shard.
    pub shard: u32,
    /// The number of the reserve there, among the coordinator's writes.
    pub seq: u64,
}

/// Participants as an argument.
pub(crate) fn participants_bytes(participants: &[Participant]) -> Vec<u8> {
    let each = participants.iter().flat_map(|one| {
        let mut bytes = [0; PARTICIPANT_BYTES];
        bytes[..4].copy_from_slice(&one.shard.to_le_bytes());
        bytes[4..].copy_from_slice(&one.seq.to_le_bytes());
        bytes
    });
    each.collect()
}

/// The participants in an argument.
pub(super) fn participants_of(bytes: &[u8]) -> Vec<Participant> {
    let each = bytes.chunks_exact(PARTICIPANT_BYTES);
    each.map(|bytes| Participant {
        shard: u32_at(bytes, 0),
        seq: u64_at(bytes, 4),
    })
    .collect()
}

/// Whether arguments begin as those of a reserve.
pub(super) fn is_reserve_head(args: Args<'_>) -> bool {
    args.len() >= RESERVE_HEAD_ARGS
        && args.get(0).len() == TX_ID_BYTES
        && args.get(1).len() == 8
        && args.get(2).len().is_multiple_of(PARTICIPANT_BYTES)
}

/// When a transaction first was asked for, and its name: the lower, the older.
pub(crate) type Age = (u64, TxId);

/// Name and age of a reserve.
pub(super) fn age_of(reserve: &Op<'_>) -> Age {
    let args = reserve.args();
    let id = TxId::of(args.get(0)).expect("as decoded");
    (u64_at(args.get(1), 0), id)
}

/// The transaction whose keys a reserve takes over, if it names one: of the same process.
pub(super) fn taken_over_by(reserve: &Op<'_>) -> Option<TxId> {
    let (_, own) = age_of(reserve);
    let mut nested = reserve.nested();
    let named = nested.find(|nested| nested.head.kind == OpKind::TakeOver)?;
    TxId::of(named.args().get(0)).filter(|id| id.origin == own.origin && *id != own)
}

/// The keys of an operation that nobody else may have meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// These.
    Some(Vec<(u8, Box<[u8]>)>),
    /// All that there are, in one numbered database or in all.
    All,
}

/// A transaction that has its keys here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reserved {
    age: Age,
    pub participants: Vec<Participant>,
    /// Its reserve, whole.
    pub op: Box<[u8]>,
    keys: Keys,
}

/// A transaction that was committed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub participants: Vec<Participant>,
    /// What its commands here answered, as an array.
    pub reply: Stored,
}

/// An operation that waits for transactions to finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deferred {
    /// Whose; the default is the leader's own decision.
    pub origin: ReplicaId,
    pub seq: u64,
    pub op: Box<[u8]>,
    pub keys: Keys,
}

impl Deferred {
    /// Whether it is a transaction's part.
    pub fn is_reserve(&self) -> bool {
        self.op[0] == OpKind::Reserve as u8
    }

    /// Whether somebody waits for its answer who can do without it. Decisions of leaders and words about locks must come true.
    fn is_refusable(&self) -> bool {
        [OpKind::Write, OpKind::Multi, OpKind::Flush, OpKind::Reserve]
            .map(|kind| kind as u8)
            .contains(&self.op[0])
    }

    fn age(&self) -> Option<Age> {
        let (op, _) = split_first(&self.op).expect("decoded before");
        (op.head.kind == OpKind::Reserve).then(|| age_of(&op))
    }
}

/// What a shard knows of transactions.
///
/// Invariants: `taken` counts, for each key, the transactions and deferred operations that have it or wait for it; `takers_of_all`
/// those that want all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reservations {
    reserved: BTreeMap<TxId, Reserved>,
    deferred: VecDeque<Deferred>,
    committed: BTreeMap<TxId, Committed>,
    /// Transactions whose reserve has not come, and will be refused.
    prevented: BTreeSet<TxId>,
    taken: HashMap<(u8, Box<[u8]>), u32>,
    takers_of_all: u32,
}

impl Reservations {
    /// Whether nothing waits for a transaction, and none has keys here.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.reserved.is_empty() && self.deferred.is_empty()
    }

    /// Whether somebody has a key, or waits for it.
    pub fn has(&self, db: u8, key: &[u8]) -> bool {
        // No lookup by parts without a copy of the key; this is asked only while a transaction is under way.
        self.takers_of_all > 0 || self.taken.contains_key(&(db, Box::from(key)))
    }

    /// The same in whatever database.
    pub fn has_anywhere(&self, key: &[u8]) -> bool {
        (0..DATABASES).any(|db| self.has(db, key))
    }

    /// Whether a transaction's reserve has been here.
    pub fn knows(&self, id: TxId) -> bool {
        self.reserved.contains_key(&id) || self.committed.contains_key(&id) || self.is_deferred(id)
    }

    /// Whether somebody has one of these keys, or waits for it.
    pub fn has_any(&self, keys: &Keys) -> bool {
        match keys {
            Keys::All => !self.is_idle(),
            Keys::Some(keys) => {
                !keys.is_empty()
                    && (self.takers_of_all > 0
                        || keys.iter().any(|key| self.taken.contains_key(key)))
            }
        }
    }

    fn take(&mut self, keys: &Keys) {
        match keys {
            Keys::All => self.takers_of_all += 1,
            Keys::Some(keys) => {
                for key in keys {
                    *self.taken.entry(key.clone()).or_default() += 1;
                }
            }
        }
    }

    fn leave(&mut self, keys: &Keys) {
        match keys {
            Keys::All => self.takers_of_all -= 1,
            Keys::Some(keys) => {
                for key in keys {
                    let count = self.taken.get_mut(key).expect("taken before");
                    *count -= 1;
                    if *count == 0 {
                        self.taken.remove(key);
                    }
                }
            }
        }
    }

    /// Whether a transaction is older than all others here, and so may wait for them.
    pub fn may_wait(&self, age: Age) -> bool {
        self.reserved.values().all(|other| age < other.age)
            && self
                .deferred
                .iter()
                .all(|other| other.age().is_none_or(|other| age < other))
    }

    /// Whether a transaction has these keys here, and no others.
    pub fn has_just(&self, id: TxId, keys: &Keys) -> bool {
        let reserved = self.reserved.get(&id);
        reserved.is_some_and(|reserved| reserved.keys == *keys)
    }

    /// A transaction has its keys from now on.
    pub fn reserve(&mut self, op: &Op<'_>, keys: Keys) {
        let age = age_of(op);
        self.take(&keys);
        let reserved = Reserved {
            age,
            participants: participants_of(op.args().get(2)),
            op: op.bytes().into(),
            keys,
        };
        self.reserved.insert(age.1, reserved);
    }

    /// A transaction has its keys no longer.
    pub fn take_out(&mut self, id: TxId) -> Option<Reserved> {
        let reserved = self.reserved.remove(&id)?;
        self.leave(&reserved.keys);
        Some(reserved)
    }

    /// An operation waits.
    pub fn defer(&mut self, deferred: Deferred) {
        self.take(&deferred.keys);
        self.deferred.push_back(deferred);
    }

    /// The deferred operations, out of the queue, to be looked at anew in their order.
    pub fn take_deferred(&mut self) -> VecDeque<Deferred> {
        let deferred = std::mem::take(&mut self.deferred);
        for one in &deferred {
            self.leave(&one.keys);
        }
        deferred
    }

    /// The operations that wait and may be refused: whose they are, and their numbers.
    pub fn refusable(&self) -> impl Iterator<Item = (ReplicaId, u64)> {
        let refusable = self.deferred.iter().filter(|one| one.is_refusable());
        refusable.map(|one| (one.origin, one.seq))
    }

    /// Takes out those of `names` that wait and may be refused.
    pub fn take_refused(&mut self, names: &BTreeSet<(ReplicaId, u64)>) -> Vec<Deferred> {
        let is_named =
            |one: &Deferred| one.is_refusable() && names.contains(&(one.origin, one.seq));
        let all = std::mem::take(&mut self.deferred).into_iter();
        let (refused, left): (Vec<Deferred>, Vec<Deferred>) = all.partition(is_named);
        self.deferred = left.into();
        refused.iter().for_each(|one| self.leave(&one.keys));
        refused
    }

    /// A reserve that waits waits no more.
    pub fn take_deferred_reserve(&mut self, id: TxId) -> Option<Deferred> {
        let is_its = |one: &Deferred| one.age().is_some_and(|(_, its)| its == id);
        let at = self.deferred.iter().position(is_its)?;
        let deferred = self.deferred.remove(at).expect("found there");
        self.leave(&deferred.keys);
        Some(deferred)
    }

    /// Whether a reserve waits.
    pub fn is_deferred(&self, id: TxId) -> bool {
        let mut ages = self.deferred.iter().filter_map(Deferred::age);
        ages.any(|(_, its)| its == id)
    }

    /// A transaction that has its keys here.
    pub fn reserved(&self, id: TxId) -> Option<&Reserved> {
        self.reserved.get(&id)
    }

    /// Transactions that have keys here, and how they are to be asked about.
    pub fn all_reserved(&self) -> impl Iterator<Item = (TxId, &[Participant])> {
        let each = self.reserved.iter();
        each.map(|(id, reserved)| (*id, &reserved.participants[..]))
    }

    /// The transactions that were committed and not released.
    pub fn all_committed(&self) -> impl Iterator<Item = (TxId, &[Participant])> {
        let each = self.committed.iter();
        each.map(|(id, committed)| (*id, &committed.participants[..]))
    }

    /// What a committed transaction came to.
    pub fn committed(&self, id: TxId) -> Option<&Committed> {
        self.committed.get(&id)
    }

    /// A transaction was committed.
    pub fn commit(&mut self, id: TxId, committed: Committed) {
        self.committed.insert(id, committed);
    }

    /// Nobody asks about a transaction any more.
    pub fn release(&mut self, id: TxId) {
        self.committed.remove(&id);
    }

    /// A reserve that has not come will be refused.
    pub fn prevent(&mut self, id: TxId) {
        self.prevented.insert(id);
    }

    /// Whether a reserve that has come was to be refused.
    pub fn take_prevented(&mut self, id: TxId) -> bool {
        self.prevented.remove(&id)
    }

    /// Whether a reserve that has not come will be refused.
    pub fn is_prevented(&self, id: TxId) -> bool {
        self.prevented.contains(&id)
    }

    /// Drops what is known of reserves that can never come: those of processes of which `is_over` is true.
    pub fn forget_prevented(&mut self, is_over: impl Fn(ReplicaId) -> bool) {
        self.prevented.retain(|id| !is_over(id.origin));
    }

    /// A checksum of all of it.
    pub fn checksum(&self) -> u64 {
        if self.is_idle() && self.committed.is_empty() && self.prevented.is_empty() {
            return 0;
        }
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        xxh3_64(&bytes)
    }

    /// Appends all of it to `out`, integers little endian: counts (u32) of transactions, deferred operations, committed
    /// ones and prevented ones; then the reserves; origin (12 bytes), number (u64) and operation of each deferred one;
    /// name, participants and reply of each committed one; names. What has no fixed length follows its length (u32).
    pub fn encode(&self, out: &mut Vec<u8>) {
        let counts = [
            self.reserved.len(),
            self.deferred.len(),
            self.committed.len(),
            self.prevented.len(),
        ];
        for count in counts {
            out.extend_from_slice(&(count as u32).to_le_bytes());
        }
        for reserved in self.reserved.values() {
            put_bytes(out, &reserved.op);
        }
        for deferred in &self.deferred {
            out.extend_from_slice(&super::apply::replica_bytes(deferred.origin));
            out.extend_from_slice(&deferred.seq.to_le_bytes());
            put_bytes(out, &deferred.op);
        }
        for (id, committed) in &self.committed {
            out.extend_from_slice(&id.bytes());
            put_bytes(out, &participants_bytes(&committed.participants));
            put_bytes(out, committed.reply.as_bytes());
        }
        for id in &self.prevented {
            out.extend_from_slice(&id.bytes());
        }
    }

    /// Reads what [`Reservations::encode`] made of a shard with the locks of `cache` from the front of `bytes`; returns it
    /// and what follows. None if the bytes are no such thing.
    pub fn decode<'a>(mut bytes: &'a [u8], cache: &Cache) -> Option<(Reservations, &'a [u8])> {
        let bytes = &mut bytes;
        let mut counts = [0; 4];
        for count in &mut counts {
            *count = u32::from_le_bytes(fixed(bytes)?);
        }
        let mut all = Reservations::default();
        for _ in 0..counts[0] {
            let op = operation(take_bytes(bytes)?)?;
            if op.head.kind != OpKind::Reserve {
                return None;
            }
            all.reserve(&op, keys_of(&op, cache));
        }
        for _ in 0..counts[1] {
            let origin = super::apply::replica_of(&fixed::<12>(bytes)?);
            let seq = u64::from_le_bytes(fixed(bytes)?);
            let op = operation(take_bytes(bytes)?)?;
            all.defer(Deferred {
                origin,
                seq,
                op: op.bytes().into(),
                keys: keys_of(&op, cache),
            });
        }
        for _ in 0..counts[2] {
            let id = TxId::of(&fixed::<TX_ID_BYTES>(bytes)?)?;
            let participants = participants_of(take_bytes(bytes)?);
            let reply = Stored::of(take_bytes(bytes)?);
            all.commit(
                id,
                Committed {
                    participants,
                    reply,
                },
            );
        }
        for _ in 0..counts[3] {
            all.prevent(TxId::of(&fixed::<TX_ID_BYTES>(bytes)?)?);
        }
        Some((all, bytes))
    }
}

/// The keys of an operation, on a shard with these.
pub(super) fn keys_of(op: &Op<'_>, cache: &Cache) -> Keys {
    if op.head.kind == OpKind::Flush {
        return Keys::All;
    }
    let mut keys = Vec::new();
    let mut all = false;
    each_key(op, cache, &mut |db, key| keys.push((db, Box::from(key))));
    if matches!(op.head.kind, OpKind::Multi | OpKind::Reserve) {
        for nested in op.nested() {
            debug_assert!(nested.head.db < DATABASES || nested.head.kind == OpKind::Flush);
            match nested.head.kind {
                OpKind::Check => keys.push((nested.head.db, nested.args().get(0).into())),
                OpKind::Flush => all = true,
                _ => {}
            }
        }
    }
    match all {
        true => Keys::All,
        false => {
            keys.sort_unstable();
            keys.dedup();
            Keys::Some(keys)
        }
    }
}

fn operation(bytes: &[u8]) -> Option<Op<'_>> {
    match split_first(bytes) {
        Ok((op, [])) if super::op::is_applicable(&op) => Some(op),
        _ => None,
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("operations and replies are below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(fixed(bytes)?) as usize;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn fixed<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (field, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*field)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}
