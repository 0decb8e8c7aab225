//! A lock as it is shown: counts of all, and the first ones by name.

use super::table::{Holder, LockMode};
use crate::store::Cache;
use crate::{Key, Pin};

/// A lock as it is shown. It borrows from the table: there may be very many holders and waiters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockView<'a> {
    /// How it is held.
    pub mode: LockMode,
    /// How many hold it: 0 if nobody does who is known as a holder.
    pub holders_count: usize,
    /// The first of them, in order of their grants.
    pub holders: Vec<HolderView<'a>>,
    /// How many wait.
    pub waiters_count: usize,
    /// The owners that the first of them wait for, in order.
    pub waiters: Vec<&'a [u8]>,
}

/// A holder as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderView<'a> {
    /// Its name.
    pub owner: &'a [u8],
    /// Its fence.
    pub fence: u64,
    /// Log time, ms; none = never.
    pub expires_at: Option<u64>,
    /// Whether it hangs on a connection.
    pub is_session: bool,
}

impl Cache {
    /// The lock at `key` as it is at log time, with the first `named_max` of its holders and waiters; none if it is free
    /// and nobody waits for it, or if what is there is no lock and nobody waits. O(holders), without a copy of them.
    pub fn lock_view(&self, key: Key<'_>, named_max: usize) -> Option<LockView<'_>> {
        let record = self.peek(key).filter(|entry| entry.pin == Pin::Pinned);
        let lock = self.locks.get(key);
        let now_ms = self.now_ms;
        let mut view = LockView {
            mode: LockMode::Exclusive,
            holders_count: 0,
            holders: Vec::new(),
            waiters_count: lock.map_or(0, |lock| lock.waiters.count_at(now_ms)),
            waiters: lock.map_or_else(Vec::new, |lock| {
                let in_time = lock.waiters.iter().filter(|one| one.until_ms > now_ms);
                in_time.take(named_max).map(|one| &*one.owner).collect()
            }),
        };
        let Some(record) = record else {
            return (view.waiters_count > 0).then_some(view);
        };
        let lock = lock.filter(|lock| lock.fence == record.fence && !lock.holders.is_empty());
        match lock.filter(|lock| lock.mode == LockMode::Shared) {
            Some(lock) => {
                let lives = |holder: &&Holder| holder.expires_at > now_ms;
                let living = || lock.holders.iter().filter(lives);
                view.mode = LockMode::Shared;
                view.holders_count = living().count();
                view.holders = living().take(named_max).map(HolderView::of).collect();
            }
            None => {
                view.holders_count = 1;
                view.holders = vec![HolderView {
                    owner: record.value.string().unwrap_or_default(),
                    fence: record.fence,
                    expires_at: record.expires_at,
                    is_session: lock
                        .and_then(|lock| lock.holders.first())
                        .is_some_and(|holder| holder.is_session),
                }];
            }
        }
        Some(view)
    }
}

impl<'a> HolderView<'a> {
    fn of(holder: &'a Holder) -> HolderView<'a> {
        HolderView {
            owner: &holder.owner,
            fence: holder.fence,
            expires_at: Some(holder.expires_at),
            is_session: holder.is_session,
        }
    }
}
