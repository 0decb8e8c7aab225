//! The table: locks by key, when time changes something about each, and what all of it takes.

use super::holders::Holders;
use super::queue::Queue;
use super::{LockWait, Wish};
use crate::Key;
use crate::store::DATABASES;
use std::collections::{BTreeMap, BTreeSet};

/// Who asks for locks: one start of a node's process. The node's own names for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockOrigin {
    /// The node.
    pub node: u32,
    /// Which life and start of it.
    pub life: u64,
}

/// A request that a lock be acquired: never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockRequest {
    /// Who asked.
    pub origin: LockOrigin,
    /// Its number there.
    pub number: u64,
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// By one.
    Exclusive,
    /// By all who want to share it.
    Shared,
}

/// Somebody who waited got the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who.
    pub request: LockRequest,
    /// Under which fence.
    pub fence: u64,
    /// The lock's numbered database.
    pub db: u8,
    /// Its key.
    pub key: Box<[u8]>,
}

/// Somebody who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub request: Option<LockRequest>,
    pub owner: Box<[u8]>,
    pub fence: u64,
    /// Log time, ms. Of one who holds it alone the record says it; this is what it was granted with.
    pub expires_at: u64,
    /// What was asked for.
    pub ttl_ms: u64,
    pub is_session: bool,
}

/// Somebody who waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub request: Option<LockRequest>,
    pub owner: Box<[u8]>,
    pub ttl_ms: u64,
    pub mode: LockMode,
    pub is_session: bool,
    /// Log time, ms; `u64::MAX` = as long as it takes.
    pub until_ms: u64,
}

impl Waiter {
    pub fn of(wish: Wish<'_>) -> Waiter {
        Waiter {
            request: wish.request,
            owner: wish.owner.into(),
            ttl_ms: wish.ttl_ms,
            mode: wish.mode,
            is_session: wish.is_session,
            until_ms: match wish.wait {
                LockWait::Until(until_ms) => until_ms,
                LockWait::No | LockWait::Forever => u64::MAX,
            },
        }
    }
}

/// One key's lock, beside its record.
///
/// Invariants:
/// - holders hold by the record that has `fence`; if it has another one they are none;
/// - of an exclusive lock there is one holder at most.
#[derive(Clone, Debug)]
pub(super) struct Lock {
    pub mode: LockMode,
    pub fence: u64,
    pub holders: Holders,
    pub waiters: Queue,
    /// When it stands in [`Locks::due`]; `u64::MAX` = it does not.
    due_ms: u64,
}

impl Lock {
    fn new() -> Lock {
        Lock {
            mode: LockMode::Exclusive,
            fence: 0,
            holders: Holders::default(),
            waiters: Queue::default(),
            due_ms: u64::MAX,
        }
    }

    /// Whether several may hold it, and somebody does.
    pub fn is_shared_by_holders(&self) -> bool {
        self.mode == LockMode::Shared && !self.holders.is_empty()
    }

    /// When time changes something about it, log time in ms; `u64::MAX` = never.
    pub fn due_ms(&self) -> u64 {
        self.due_ms
    }

    /// When the last of those ends who share it, log time in ms; 0 if nobody does.
    pub fn shared_until_ms(&self) -> u64 {
        match self.mode {
            LockMode::Shared => self.holders_until_ms(),
            LockMode::Exclusive => 0,
        }
    }

    /// When the last holder ends.
    pub fn holders_until_ms(&self) -> u64 {
        self.holders.until_ms()
    }
}

/// Bytes of a lock beside its key, holders and waiters: itself, and its places in two trees.
const LOCK_BYTES: usize = size_of::<Lock>() + 96;

type Name = (u8, Box<[u8]>);

/// One shard's locks as far as records do not tell of them.
///
/// Invariants: a lock in it has a holder or a waiter; all else follows from `tables`.
#[derive(Clone, Debug, Default)]
pub struct Locks {
    tables: [BTreeMap<Box<[u8]>, Lock>; DATABASES],
    /// How many keys are in them.
    count: usize,
    /// When time changes something about a lock.
    due: BTreeSet<(u64, Name)>,
    bytes: usize,
    /// How many waiters and session holders each origin has.
    origins: BTreeMap<LockOrigin, usize>,
    /// Grants that nobody was told of. No part of the state.
    pub(super) grants: Vec<Grant>,
    /// Keys of locks of which somebody's hold ended because he is gone, and nobody was told of that. No part of the state.
    pub(super) ended: Vec<(u8, Box<[u8]>)>,
    /// Before this log time, ms, nobody is granted a lock ([`crate::Cache::withhold_locks`]).
    pub(super) withheld_until_ms: u64,
}

impl Locks {
    /// Whether no key is in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether it is as it was made.
    pub(crate) fn is_new(&self) -> bool {
        self.is_empty()
            && self.due.is_empty()
            && self.bytes == 0
            && self.origins.is_empty()
            && self.grants.is_empty()
            && self.withheld_until_ms == 0
    }

    /// How many keys are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// How many requests wait.
    pub fn waiters_count(&self) -> usize {
        self.iter().map(|(_, _, lock)| lock.waiters.len()).sum()
    }

    /// Bytes that it takes, about.
    pub fn used_bytes(&self) -> usize {
        self.bytes
    }

    /// Origins that have waiters or holders that hang on a connection, in order.
    pub fn origins(&self) -> impl Iterator<Item = LockOrigin> {
        self.origins.keys().copied()
    }

    /// The log time, ms, at which time changes something next.
    #[inline]
    pub fn first_due_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// Keys about which time changed something by `now_ms`, at most `count_max`, in order of that time.
    pub fn due(&self, now_ms: u64, count_max: usize) -> Vec<(u8, Box<[u8]>)> {
        let due = self.due.iter().take_while(|(due_ms, _)| *due_ms <= now_ms);
        due.take(count_max).map(|(_, name)| name.clone()).collect()
    }

    /// Keys that are in it, of one database or of all.
    pub fn names_of(&self, db: Option<u8>) -> Vec<(u8, Box<[u8]>)> {
        let wanted = self.iter().filter(|(of, ..)| db.is_none_or(|db| *of == db));
        wanted.map(|(db, name, _)| (db, name.into())).collect()
    }

    /// Whether a key is in it.
    #[inline]
    pub fn has(&self, db: u8, name: &[u8]) -> bool {
        !self.is_empty() && self.tables[usize::from(db)].contains_key(name)
    }

    /// The databases in which a key of this name is in it.
    pub fn databases_of(&self, name: &[u8]) -> impl Iterator<Item = u8> {
        let is_there = move |(_, table): &(u8, &BTreeMap<_, _>)| table.contains_key(name);
        let tables = if self.is_empty() {
            &[][..]
        } else {
            &self.tables
        };
        (0..).zip(tables).filter(is_there).map(|(db, _)| db)
    }

    /// Keys that an origin waits for, or that hang on its connections.
    pub fn names_with(&self, origin: LockOrigin) -> Vec<(u8, Box<[u8]>)> {
        if !self.origins.contains_key(&origin) {
            return Vec::new();
        }
        let names = self.iter().filter(|(.., lock)| {
            lock.waiters.of(origin).next().is_some() || lock.holders.has_of(origin)
        });
        names.map(|(db, name, _)| (db, name.into())).collect()
    }

    pub(super) fn get(&self, key: Key<'_>) -> Option<&Lock> {
        self.tables[usize::from(key.db)].get(key.bytes)
    }

    /// All of it, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, &[u8], &Lock)> {
        (0..)
            .zip(&self.tables)
            .flat_map(|(db, table)| table.iter().map(move |(name, lock)| (db, &name[..], lock)))
    }

    /// Takes a key's lock out, an empty one if there is none, to be given back by [`Locks::put`].
    pub(super) fn take(&mut self, key: Key<'_>) -> Lock {
        let table = &mut self.tables[usize::from(key.db)];
        let Some((name, mut lock)) = table.remove_entry(key.bytes) else {
            return Lock::new();
        };
        self.count -= 1;
        self.bytes -= LOCK_BYTES + 2 * key.bytes.len();
        if lock.due_ms != u64::MAX {
            self.due.remove(&(lock.due_ms, (key.db, name)));
            lock.due_ms = u64::MAX;
        }
        lock
    }

    /// Gives a lock back; one without holders and waiters is forgotten.
    pub(super) fn put(&mut self, key: Key<'_>, lock: Lock) {
        if lock.holders.is_empty() && lock.waiters.is_empty() {
            return;
        }
        self.bytes += LOCK_BYTES + 2 * key.bytes.len();
        self.count += 1;
        let before = self.tables[usize::from(key.db)].insert(key.bytes.into(), lock);
        assert!(before.is_none(), "a lock is put where it was taken");
    }

    /// Takes note of when time changes something about a lock; `u64::MAX` = never.
    pub(super) fn set_due(&mut self, key: Key<'_>, due_ms: u64) {
        let lock = self.tables[usize::from(key.db)].get_mut(key.bytes);
        let lock = lock.expect("the caller saw it");
        assert_eq!(lock.due_ms, u64::MAX, "it was taken before");
        lock.due_ms = due_ms;
        if due_ms != u64::MAX {
            self.due.insert((due_ms, (key.db, key.bytes.into())));
        }
    }

    /// What the table grows by if somebody of this owner comes to hold the lock at `key`, or to wait for it.
    pub(super) fn bytes_for(&self, key: Key<'_>, owner: &[u8]) -> usize {
        let lock_bytes = match self.get(key) {
            Some(_) => 0,
            None => LOCK_BYTES + 2 * key.bytes.len(),
        };
        lock_bytes + Queue::bytes_for(owner).max(Holders::bytes_for(owner))
    }

    /// Puts a waiter at the end of the queue. One whose request stands there already stays where it is.
    pub(super) fn enqueue(&mut self, lock: &mut Lock, waiter: Waiter) {
        let (bytes, request) = (Queue::bytes_for(&waiter.owner), waiter.request);
        if lock.waiters.push(waiter) {
            self.bytes += bytes;
            self.count(request);
        }
    }

    /// Takes the first waiter out.
    pub(super) fn dequeue(&mut self, lock: &mut Lock) -> Option<Waiter> {
        let waiter = lock.waiters.pop()?;
        self.let_go(&waiter);
        Some(waiter)
    }

    fn let_go(&mut self, waiter: &Waiter) {
        self.bytes -= Queue::bytes_for(&waiter.owner);
        self.uncount(waiter.request);
    }

    /// Takes a request out of the queue.
    pub(super) fn drop_waiter(&mut self, lock: &mut Lock, request: LockRequest) {
        if let Some(waiter) = lock.waiters.remove(request) {
            self.let_go(&waiter);
        }
    }

    /// Takes the requests of an origin out of the queue.
    pub(super) fn drop_waiters_of(&mut self, lock: &mut Lock, origin: LockOrigin) {
        let requests: Vec<LockRequest> = lock.waiters.of(origin).collect();
        for request in requests {
            self.drop_waiter(lock, request);
        }
    }

    /// Drops the waiters that waited as long as they wanted to.
    pub(super) fn drop_late_waiters(&mut self, lock: &mut Lock, now_ms: u64) {
        while let Some(waiter) = lock.waiters.pop_late(now_ms) {
            self.let_go(&waiter);
        }
    }

    pub(super) fn add_holder(&mut self, lock: &mut Lock, holder: Holder) {
        self.bytes += Holders::bytes_for(&holder.owner);
        if holder.is_session {
            self.count(holder.request);
        }
        lock.holders.push(holder);
    }

    /// Gives `lock` the holders of another table's.
    pub(super) fn copy_holders(&mut self, lock: &mut Lock, from: &Lock) {
        (lock.mode, lock.fence) = (from.mode, from.fence);
        for holder in from.holders.iter() {
            self.add_holder(lock, holder.clone());
        }
    }

    /// Takes a holder out.
    pub(super) fn drop_holder(&mut self, lock: &mut Lock, place: u64) {
        if let Some(holder) = lock.holders.remove(place) {
            self.forget_holder(&holder);
        }
    }

    /// Drops the holders that have ended.
    pub(super) fn drop_late_holders(&mut self, lock: &mut Lock, now_ms: u64) {
        while let Some(holder) = lock.holders.pop_late(now_ms) {
            self.forget_holder(&holder);
        }
    }

    /// Drops all holders.
    pub(super) fn drop_holders(&mut self, lock: &mut Lock) {
        for holder in std::mem::take(&mut lock.holders).iter() {
            self.forget_holder(holder);
        }
    }

    fn forget_holder(&mut self, holder: &Holder) {
        self.bytes -= Holders::bytes_for(&holder.owner);
        if holder.is_session {
            self.uncount(holder.request);
        }
    }

    /// A holder hangs on no connection any more.
    pub(super) fn unbind(&mut self, lock: &mut Lock, place: u64) {
        let mut unbound = None;
        lock.holders.edit(place, |holder| {
            if std::mem::take(&mut holder.is_session) {
                unbound = holder.request;
            }
        });
        self.uncount(unbound);
    }

    fn count(&mut self, request: Option<LockRequest>) {
        if let Some(request) = request {
            *self.origins.entry(request.origin).or_default() += 1;
        }
    }

    fn uncount(&mut self, request: Option<LockRequest>) {
        let Some(LockRequest { origin, .. }) = request else {
            return;
        };
        let count = self.origins.get_mut(&origin).expect("it was counted");
        *count -= 1;
        if *count == 0 {
            self.origins.remove(&origin);
        }
    }
}
