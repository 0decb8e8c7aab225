//! Locks beyond what a record can say: who waits, who shares, whose connection a lock hangs on.
//!
//! A lock that somebody holds is a pinned string like any other: its record says by whom (the value), until when and
//! under which fence, and every command sees it. Beside it, for keys that need it, stands a [`Lock`] in a table: its
//! holders as far as they are more than the record says, and its queue. Both are replicated state.
//!
//! **The record is the truth about being held.** Nothing else ends a lock: not that its holder stands in the table, not
//! that somebody waits. So whatever removes, replaces or lets expire the record (DEL, a script, SET, FLUSHALL) ends it,
//! and [`Cache::settle_lock`] finds the table in line with that: it forgets holders that are none any more and, if the
//! key is free, gives it to whoever is next. It is called for the keys of everything that is applied, before and after.
//!
//! Time counts as it is logged. That a record expired changes nothing by itself: who is next gets the lock by an entry.
//!
//! Reading order: `table`, `queue` and `holders` (what is kept), this file (what is done), `withheld` (when nothing is granted),
//! `view` (what is shown), `encoding` (as bytes).

mod encoding;
mod holders;
mod queue;
mod table;
#[cfg(test)]
mod tests;
mod view;
mod withheld;

use crate::store::Cache;
use crate::{Key, OwnedEntry, OwnedValue, Pin, StringForm};
use bytes::Bytes;
use std::collections::BTreeSet;
use table::{Holder, Lock, Waiter};

pub use table::{Grant, LockMode, LockOrigin, LockRequest, Locks};
pub use view::{HolderView, LockView};

/// Longest name of an owner, bytes.
pub const OWNER_BYTES_MAX: usize = 256;
/// Waiters of one lock; more are refused.
pub const WAITERS_PER_LOCK_MAX: usize = 16_384;
/// What one shard's table may take, bytes, about; what would make it larger is refused.
pub const LOCKS_BYTES_MAX: usize = 8 << 20;
/// Latest log time at which a lock ends, ms: clients are told of times as signed numbers.
const ENDS_MS_MAX: u64 = i64::MAX as u64;
/// What the record of a lock holds that several share.
pub const SHARED: &[u8] = b"shared";

/// What somebody wants of a lock.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Who asks; none where nobody could be told later, in a transaction: then it never waits.
    pub request: Option<LockRequest>,
    /// The name to hold it under.
    pub owner: &'a [u8],
    /// How long it is held, ms.
    pub ttl_ms: u64,
    /// Alone or with others.
    pub mode: LockMode,
    /// Whether it hangs on the connection that asked.
    pub is_session: bool,
    /// Whether to wait.
    pub wait: LockWait,
}

/// How long somebody waits for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockWait {
    /// Not at all.
    No,
    /// Until this log time, ms.
    Until(u64),
    /// As long as it takes.
    Forever,
}

/// What became of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// The lock is held, under this fence.
    Granted(u64),
    /// Somebody else holds it.
    Refused,
    /// The same, and the wish stands in the queue.
    Queued,
    /// The queue is full: nothing was done.
    QueueFull,
    /// The shard's table is full: nothing was done.
    TableFull,
}

/// Where somebody stands who asked for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// He holds it, under this fence.
    Granted(u64),
    /// In the queue.
    Waiting,
    /// Nowhere, or no more.
    Gone,
}

/// Which holders.
#[derive(Clone, Copy)]
enum Whose {
    /// Who got it for this request.
    Request(LockRequest),
    /// Those who got it for requests of this origin and hang on its connections.
    SessionsOf(LockOrigin),
}

/// What the record says of a lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Nothing: the key is not there.
    Free,
    /// It is there, under this fence (0: it is no lock), until this log time.
    By { fence: u64, expires_at: Option<u64> },
}

impl Cache {
    /// The table of locks.
    pub fn locks(&self) -> &Locks {
        &self.locks
    }

    /// The grants to waiters since the last call, in order.
    pub fn take_grants(&mut self) -> Vec<Grant> {
        std::mem::take(&mut self.locks.grants)
    }

    /// The database and key of each lock that somebody held who is gone, and holds no more for that, since the last call, in
    /// order. What [`Cache::take_grants`] gives came behind that.
    pub fn take_ended_locks(&mut self) -> Vec<(u8, Box<[u8]>)> {
        std::mem::take(&mut self.locks.ended)
    }

    /// Whether [`Cache::take_grants`] or [`Cache::take_ended_locks`] has something.
    #[inline]
    pub fn has_lock_news(&self) -> bool {
        !self.locks.grants.is_empty() || !self.locks.ended.is_empty()
    }

    /// Puts the table of another cache in place of this one's.
    pub fn put_locks(&mut self, locks: Locks) {
        self.locks = locks;
    }

    fn held(&self, key: Key<'_>) -> Held {
        self.peek(key).map_or(Held::Free, |entry| Held::By {
            fence: entry.fence,
            expires_at: entry.expires_at,
        })
    }

    /// Acquires the lock at `key`, or says why not. O(log locks).
    pub fn acquire_lock(&mut self, key: Key<'_>, wish: Wish<'_>) -> Acquired {
        self.settle_lock(key);
        let needs_table = wish.mode == LockMode::Shared
            || wish.is_session
            || wish.request.is_some() && wish.wait != LockWait::No;
        if needs_table {
            let bytes = self.locks.bytes_for(key, wish.owner);
            if self.locks.used_bytes().saturating_add(bytes) > LOCKS_BYTES_MAX {
                return Acquired::TableFull;
            }
        }
        let lock = self.locks.get(key);
        let joins = wish.mode == LockMode::Shared
            && lock.is_some_and(|lock| lock.is_shared_by_holders() && lock.waiters.is_empty());
        if joins || self.held(key) == Held::Free {
            if !needs_table {
                let ends_ms = self.ends_ms(wish.ttl_ms);
                return Acquired::Granted(self.write_lock(key, wish.owner, ends_ms));
            }
            let mut lock = self.locks.take(key);
            let shared_ms = lock.shared_until_ms();
            let fence = self.grant(key, &mut lock, Waiter::of(wish), shared_ms);
            self.locks.put(key, lock);
            self.watch_lock(key);
            return Acquired::Granted(fence);
        }
        if wish.request.is_none() || wish.wait == LockWait::No {
            return Acquired::Refused;
        }
        if lock.is_some_and(|lock| lock.waiters.len() >= WAITERS_PER_LOCK_MAX) {
            return Acquired::QueueFull;
        }
        let mut lock = self.locks.take(key);
        self.locks.enqueue(&mut lock, Waiter::of(wish));
        self.locks.put(key, lock);
        self.watch_lock(key);
        Acquired::Queued
    }

    /// Ends what `owner` holds of the lock at `key`; whether he held it.
    pub fn release_lock(&mut self, key: Key<'_>, owner: &[u8]) -> bool {
        self.settle_lock(key);
        let is_shared = self.locks.get(key).is_some_and(Lock::is_shared_by_holders);
        let released = if is_shared {
            let lock = self.locks.get(key).expect("it is shared");
            let place = lock.holders.of_owner(owner);
            place.is_some_and(|place| self.end_holder(key, place))
        } else {
            self.is_owner(key, owner) && self.remove(key)
        };
        self.settle_lock(key);
        released
    }

    /// Lets what `owner` holds of the lock at `key` end `ttl_ms` from now; whether he held it.
    pub fn extend_lock(&mut self, key: Key<'_>, owner: &[u8], ttl_ms: u64) -> bool {
        self.settle_lock(key);
        let until_ms = self.ends_ms(ttl_ms);
        let is_shared = self.locks.get(key).is_some_and(Lock::is_shared_by_holders);
        let extended = if is_shared {
            let mut lock = self.locks.take(key);
            let place = lock.holders.of_owner(owner);
            if let Some(place) = place {
                lock.holders
                    .edit(place, |holder| holder.expires_at = until_ms);
            }
            let until_ms = lock.shared_until_ms();
            self.locks.put(key, lock);
            place.is_some() && self.set_expiry(key, Some(until_ms))
        } else {
            self.is_owner(key, owner) && self.set_expiry(key, Some(until_ms))
        };
        self.settle_lock(key);
        extended
    }

    fn is_owner(&self, key: Key<'_>, owner: &[u8]) -> bool {
        self.peek(key)
            .is_some_and(|entry| entry.pin == Pin::Pinned && entry.value.string() == Some(owner))
    }

    /// Ends one of several holders; the record with the last of them.
    fn end_holder(&mut self, key: Key<'_>, place: u64) -> bool {
        let mut lock = self.locks.take(key);
        self.locks.drop_holder(&mut lock, place);
        let until_ms = lock.shared_until_ms();
        let is_last = lock.holders.is_empty();
        self.locks.put(key, lock);
        match is_last {
            true => self.remove(key),
            false => self.set_expiry(key, Some(until_ms)),
        }
    }

    /// Brings the table in line with the record of `key`, and gives the lock to who is next if it is free. To be called
    /// before and after anything is applied that names the key; changes nothing if the key is not in the table.
    pub fn settle_lock(&mut self, key: Key<'_>) {
        if self.locks.is_empty() || self.locks.get(key).is_none() {
            return;
        }
        let mut lock = self.locks.take(key);
        self.forget_holders(key, &mut lock);
        self.locks.drop_late_waiters(&mut lock, self.now_ms);
        let mut shared_ms = lock.shared_until_ms();
        while self.locks.withheld_until_ms <= self.now_ms
            && let Some(next) = lock.waiters.first()
        {
            let joins = next.mode == LockMode::Shared && lock.is_shared_by_holders();
            if !joins && self.held(key) != Held::Free {
                break;
            }
            let next = self.locks.dequeue(&mut lock).expect("it is the first");
            let request = next.request.expect("who waits has one");
            let until_ms = self.ends_ms(next.ttl_ms);
            let fence = self.grant(key, &mut lock, next, shared_ms);
            shared_ms = shared_ms.max(until_ms);
            self.locks.grants.push(Grant {
                request,
                fence,
                db: key.db,
                key: key.bytes.into(),
            });
        }
        self.locks.put(key, lock);
        self.watch_lock(key);
    }

    /// The same for many keys of all databases: those in the table whose database is `db`, all if it is none.
    pub fn settle_locks_of(&mut self, db: Option<u8>) {
        for (db, name) in self.locks.names_of(db) {
            self.settle_lock(Key::new(self.seed(), db, &name));
        }
    }

    /// Drops the holders that hold no more, and the record of a lock whose last holders were some of them.
    fn forget_holders(&mut self, key: Key<'_>, lock: &mut Lock) {
        if lock.holders.is_empty() {
            return;
        }
        let held = self.held(key);
        let is_theirs = matches!(held, Held::By { fence, .. } if fence != 0 && fence == lock.fence);
        let now_ms = self.now_ms;
        if !is_theirs {
            self.locks.drop_holders(lock);
        } else if lock.mode == LockMode::Shared {
            self.locks.drop_late_holders(lock, now_ms);
        }
        if is_theirs && lock.holders.is_empty() {
            self.remove(key);
        }
    }

    /// Gives the lock, which is free or shared with others until `shared_ms`, to somebody; returns the fence.
    fn grant(&mut self, key: Key<'_>, lock: &mut Lock, next: Waiter, shared_ms: u64) -> u64 {
        let expires_at = self.ends_ms(next.ttl_ms);
        let fence = match next.mode {
            LockMode::Exclusive => self.write_lock(key, &next.owner, expires_at),
            LockMode::Shared => self.write_lock(key, SHARED, shared_ms.max(expires_at)),
        };
        lock.mode = next.mode;
        lock.fence = fence;
        self.locks.add_holder(
            lock,
            Holder {
                request: next.request,
                owner: next.owner,
                fence,
                expires_at,
                ttl_ms: next.ttl_ms,
                is_session: next.is_session,
            },
        );
        fence
    }

    /// When something ends that lasts so long from now, log time in ms. It was in bounds when it was asked for, but time
    /// goes on while one waits.
    fn ends_ms(&self, ttl_ms: u64) -> u64 {
        self.now_ms.saturating_add(ttl_ms).min(ENDS_MS_MAX)
    }

    /// Writes the record of a new grant, which lasts until log time `ends_ms`; returns its fence.
    fn write_lock(&mut self, key: Key<'_>, value: &[u8], ends_ms: u64) -> u64 {
        let entry = OwnedEntry {
            value: OwnedValue::String(Bytes::copy_from_slice(value)),
            expires_at: Some(ends_ms),
            pin: Pin::Pinned,
            fence: 0,
            form: StringForm::Whole,
        };
        self.put_entry(key, entry);
        self.fence(key).expect("granted for some time")
    }

    /// Takes note of when time changes something about a lock.
    fn watch_lock(&mut self, key: Key<'_>) {
        let Some(lock) = self.locks.get(key) else {
            return;
        };
        let record_ms = match self.held(key) {
            Held::By { expires_at, .. } => expires_at.unwrap_or(u64::MAX),
            // Somebody waits for it, and may not have it yet.
            Held::Free => match self.locks.withheld_until_ms {
                0 => u64::MAX,
                until_ms => until_ms,
            },
        };
        let holders_ms = match lock.is_shared_by_holders() {
            true => lock.shared_until_ms(),
            false => u64::MAX,
        };
        let due_ms = record_ms.min(holders_ms).min(lock.waiters.first_end_ms());
        self.locks.set_due(key, due_ms);
    }

    /// Whether somebody holds the lock at `key` under `fence`: of those who share it anyone.
    pub fn is_lock_held_under(&self, key: Key<'_>, fence: u64) -> bool {
        let Some(last) = self.fence(key) else {
            return false;
        };
        let shared = self.locks.get(key).filter(|lock| lock.fence == last);
        match shared.filter(|lock| lock.is_shared_by_holders()) {
            Some(lock) => lock
                .holders
                .of_fence(fence)
                .is_some_and(|holder| holder.expires_at > self.now_ms),
            None => last == fence,
        }
    }

    /// Takes over what another cache knows of the lock at `key` beside its record, which was copied before, with what is
    /// due by now: so a lock that expired is seen as that of who is next.
    pub fn copy_lock(&mut self, from: &Cache, key: Key<'_>) {
        let Some(lock) = from.locks.get(key) else {
            return;
        };
        let mut copy = self.locks.take(key);
        self.locks.copy_holders(&mut copy, lock);
        self.locks.put(key, copy);
        self.settle_lock(key);
        if self.held(key) == Held::Free {
            let mut copy = self.locks.take(key);
            for waiter in lock.waiters.iter() {
                self.locks.enqueue(&mut copy, waiter.clone());
            }
            self.locks.put(key, copy);
            self.settle_lock(key);
            self.locks.grants.clear();
        }
    }

    /// Where a request for the lock at `key` stands.
    pub fn standing(&self, key: Key<'_>, request: LockRequest) -> Standing {
        let Some(lock) = self.locks.get(key) else {
            return Standing::Gone;
        };
        let place = lock.holders.of_request(request);
        if let Some(holder) = place.and_then(|place| lock.holders.get(place)) {
            return Standing::Granted(holder.fence);
        }
        match lock.waiters.has(request) {
            true => Standing::Waiting,
            false => Standing::Gone,
        }
    }

    /// Whether time changed something about the lock at `key` by `now_ms`.
    pub fn is_lock_due(&self, key: Key<'_>, now_ms: u64) -> bool {
        let lock = self.locks.get(key);
        lock.is_some_and(|lock| lock.due_ms() <= now_ms)
    }

    /// The requests of `origin` in the queue of the lock at `key`, by number.
    pub fn waiting_numbers(&self, key: Key<'_>, origin: LockOrigin) -> BTreeSet<u64> {
        let lock = self.locks.get(key).into_iter();
        let requests = lock.flat_map(|lock| lock.waiters.of(origin));
        requests.map(|request| request.number).collect()
    }

    /// The requests of `origin` by which the lock at `key` hangs on its connections, by number.
    pub fn session_numbers(&self, key: Key<'_>, origin: LockOrigin) -> BTreeSet<u64> {
        let Some(lock) = self.locks.get(key) else {
            return BTreeSet::new();
        };
        let its = lock.holders.of_origin(origin).into_iter();
        its.filter_map(|place| lock.holders.get(place))
            .filter(|holder| holder.is_session)
            .filter_map(|holder| Some(holder.request?.number))
            .collect()
    }

    /// Takes a request out of the queue of the lock at `key`. If it was granted before, its time begins anew, as whoever
    /// asked learns of it now; and it is said.
    pub fn withdraw(&mut self, key: Key<'_>, request: LockRequest) -> Standing {
        self.settle_lock(key);
        let standing = self.standing(key, request);
        match standing {
            Standing::Waiting => self.leave_queue(key, request),
            Standing::Granted(_) => {
                let mut lock = self.locks.take(key);
                let place = lock.holders.of_request(request).expect("granted");
                let (now_ms, ends_ms_max) = (self.now_ms, ENDS_MS_MAX);
                lock.holders.edit(place, |holder| {
                    let until_ms = now_ms.saturating_add(holder.ttl_ms).min(ends_ms_max);
                    holder.expires_at = holder.expires_at.max(until_ms);
                });
                let until_ms = lock.holders_until_ms();
                self.locks.put(key, lock);
                self.expire_not_before(key, until_ms);
            }
            Standing::Gone => {}
        }
        self.settle_lock(key);
        match standing {
            Standing::Granted(fence) => Standing::Granted(fence),
            Standing::Waiting | Standing::Gone => Standing::Gone,
        }
    }

    fn expire_not_before(&mut self, key: Key<'_>, until_ms: u64) {
        let expires_at = self.peek(key).and_then(|entry| entry.expires_at);
        if expires_at.is_some_and(|at| at < until_ms) {
            self.set_expiry(key, Some(until_ms));
        }
    }

    fn leave_queue(&mut self, key: Key<'_>, request: LockRequest) {
        let mut lock = self.locks.take(key);
        self.locks.drop_waiter(&mut lock, request);
        self.locks.put(key, lock);
    }

    /// Who asked is gone: takes the request out of the queue, or ends what it was granted.
    pub fn abandon(&mut self, key: Key<'_>, request: LockRequest) {
        self.end_within(key, Whose::Request(request), 0);
        self.leave_if_waiting(key, request);
        self.settle_lock(key);
    }

    fn leave_if_waiting(&mut self, key: Key<'_>, request: LockRequest) {
        if self.standing(key, request) == Standing::Waiting {
            self.leave_queue(key, request);
        }
    }

    /// The connection on which a holder hangs is gone: it ends `delay_ms` from now, if not before.
    pub fn end_session(&mut self, key: Key<'_>, request: LockRequest, delay_ms: u64) {
        self.end_within(key, Whose::Request(request), delay_ms);
        self.settle_lock(key);
    }

    /// Holders end `delay_ms` from now, if not before, and hang on nothing any more. O(log holders) each.
    fn end_within(&mut self, key: Key<'_>, whose: Whose, delay_ms: u64) {
        self.settle_lock(key);
        let Some(lock) = self.locks.get(key) else {
            return;
        };
        let places: Vec<u64> = match whose {
            Whose::Request(request) => lock.holders.of_request(request).into_iter().collect(),
            Whose::SessionsOf(origin) => {
                let is_session = |place: &u64| {
                    let holder = lock.holders.get(*place);
                    holder.is_some_and(|holder| holder.is_session)
                };
                let its = lock.holders.of_origin(origin).into_iter();
                its.filter(is_session).collect()
            }
        };
        if places.is_empty() {
            return;
        }
        let until_ms = self.now_ms.saturating_add(delay_ms);
        let is_shared = lock.is_shared_by_holders();
        if delay_ms == 0 {
            self.locks.ended.push((key.db, key.bytes.into()));
        }
        let mut lock = self.locks.take(key);
        for place in places {
            if delay_ms == 0 && is_shared {
                self.locks.drop_holder(&mut lock, place);
                continue;
            }
            self.locks.unbind(&mut lock, place);
            lock.holders.edit(place, |holder| {
                holder.expires_at = holder.expires_at.min(until_ms);
            });
        }
        let shared_ms = lock.shared_until_ms();
        let is_left = !lock.holders.is_empty();
        self.locks.put(key, lock);
        if is_shared {
            match is_left {
                true => self.set_expiry(key, Some(shared_ms)),
                false => self.remove(key),
            };
            return;
        }
        let expires_at = self.peek(key).and_then(|entry| entry.expires_at);
        if delay_ms < u64::MAX && expires_at.is_none_or(|at| at > until_ms) {
            match delay_ms {
                0 => self.remove(key),
                _ => self.set_expiry(key, Some(until_ms)),
            };
        }
    }

    /// Nothing is heard of an origin any more: its requests leave all queues, and what hangs on its connections ends
    /// `delay_ms` from now. If that is none it hangs on nothing any more, and lasts as long as its time says.
    pub fn end_origin(&mut self, origin: LockOrigin, delay_ms: Option<u64>) {
        for (db, name) in self.locks.names_with(origin) {
            let key = Key::new(self.seed(), db, &name);
            let mut lock = self.locks.take(key);
            self.locks.drop_waiters_of(&mut lock, origin);
            self.locks.put(key, lock);
            let delay_ms = delay_ms.unwrap_or(u64::MAX);
            self.end_within(key, Whose::SessionsOf(origin), delay_ms);
            self.settle_lock(key);
        }
    }
}
