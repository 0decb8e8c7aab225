//! The table as bytes: for snapshots and checksums.

use super::table::{Holder, LockMode, LockOrigin, LockRequest, Locks, Waiter};
use super::{OWNER_BYTES_MAX, WAITERS_PER_LOCK_MAX};
use crate::Key;
use crate::store::DATABASES;
use xxhash_rust::xxh3::xxh3_64;

/// Flag of a holder or waiter: it hangs on a connection.
const SESSION: u8 = 1;
/// It holds or wants to hold with others.
const SHARES: u8 = 2;
/// It has a request.
const ASKED: u8 = 4;

impl Locks {
    /// A checksum of all of it, 0 if it is empty.
    pub fn checksum(&self) -> u64 {
        if self.is_empty() {
            return 0;
        }
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        xxh3_64(&bytes)
    }

    /// Appends the table to `out`, integers little endian: count of locks (u32), then each, by database and key: database
    /// (u8), flags (u8: 2 shared), length of the key (u32), key, fence (u64), due (u64), count of holders (u32), count of
    /// waiters (u32), then the one and the other: flags (u8: 1 session, 2 shared, 4 has a request), request (node u32,
    /// life u64, number u64), ttl (u64), of a holder expiry and fence (u64 each), of a waiter its end (u64), length of
    /// the owner (u16), owner.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.len() as u32).to_le_bytes());
        for (db, name, lock) in self.iter() {
            let shares = match lock.mode {
                LockMode::Exclusive => 0,
                LockMode::Shared => SHARES,
            };
            out.extend_from_slice(&[db, shares]);
            out.extend_from_slice(&(name.len() as u32).to_le_bytes());
            out.extend_from_slice(name);
            out.extend_from_slice(&lock.fence.to_le_bytes());
            out.extend_from_slice(&lock.due_ms().to_le_bytes());
            out.extend_from_slice(&(lock.holders.len() as u32).to_le_bytes());
            out.extend_from_slice(&(lock.waiters.len() as u32).to_le_bytes());
            for one in lock.holders.iter() {
                head(out, one.request, one.is_session, lock.mode, one.ttl_ms);
                out.extend_from_slice(&one.expires_at.to_le_bytes());
                out.extend_from_slice(&one.fence.to_le_bytes());
                owner(out, &one.owner);
            }
            for one in lock.waiters.iter() {
                head(out, one.request, one.is_session, one.mode, one.ttl_ms);
                out.extend_from_slice(&one.until_ms.to_le_bytes());
                owner(out, &one.owner);
            }
        }
    }

    /// Reads what [`Locks::encode`] made from the front of `bytes`; returns it and what follows. None if the bytes are
    /// no such table.
    pub fn decode(bytes: &[u8]) -> Option<(Locks, &[u8])> {
        let mut from = From(bytes);
        let mut locks = Locks::default();
        for _ in 0..from.word()? {
            let [db, flags] = from.array()?;
            let length = from.word()? as usize;
            let name = from.slice(length)?;
            if usize::from(db) >= DATABASES || flags & !SHARES != 0 {
                return None;
            }
            let key = Key {
                db,
                hash: 0,
                bytes: name,
            };
            if locks.get(key).is_some() {
                return None;
            }
            let mut lock = locks.take(key);
            lock.mode = mode_of(flags);
            lock.fence = from.long()?;
            let due_ms = from.long()?;
            let (holders, waiters) = (from.word()?, from.word()?);
            if holders == 0 && waiters == 0 || waiters as usize > WAITERS_PER_LOCK_MAX {
                return None;
            }
            for _ in 0..holders {
                let holder = from.holder()?;
                locks.add_holder(&mut lock, holder);
            }
            for _ in 0..waiters {
                let waiter = from.waiter()?;
                locks.enqueue(&mut lock, waiter);
            }
            // Each has a request of its own.
            if lock.waiters.len() != waiters as usize {
                return None;
            }
            locks.put(key, lock);
            locks.set_due(key, due_ms);
        }
        Some((locks, from.0))
    }
}

fn mode_of(flags: u8) -> LockMode {
    match flags & SHARES {
        0 => LockMode::Exclusive,
        _ => LockMode::Shared,
    }
}

fn head(
    out: &mut Vec<u8>,
    request: Option<LockRequest>,
    is_session: bool,
    mode: LockMode,
    ttl_ms: u64,
) {
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    out.push(
        flag(is_session, SESSION)
            | flag(mode == LockMode::Shared, SHARES)
            | flag(request.is_some(), ASKED),
    );
    let (origin, number) = request.map_or((LockOrigin::default(), 0), |r| (r.origin, r.number));
    out.extend_from_slice(&origin.node.to_le_bytes());
    out.extend_from_slice(&origin.life.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&ttl_ms.to_le_bytes());
}

fn owner(out: &mut Vec<u8>, owner: &[u8]) {
    out.extend_from_slice(&(owner.len() as u16).to_le_bytes());
    out.extend_from_slice(owner);
}

/// Bytes that are read from the front.
struct From<'a>(&'a [u8]);

impl<'a> From<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn word(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn long(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (slice, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(slice)
    }

    fn owner(&mut self) -> Option<Box<[u8]>> {
        let length = usize::from(self.array().map(u16::from_le_bytes)?);
        let owner = self.slice(length)?;
        (length <= OWNER_BYTES_MAX).then(|| owner.into())
    }

    fn head(&mut self) -> Option<(u8, Option<LockRequest>, u64)> {
        let [flags] = self.array()?;
        let origin = LockOrigin {
            node: self.word()?,
            life: self.long()?,
        };
        let number = self.long()?;
        let request = (flags & ASKED != 0).then_some(LockRequest { origin, number });
        let ttl_ms = self.long()?;
        (flags & !(SESSION | SHARES | ASKED) == 0 && ttl_ms > 0).then_some((flags, request, ttl_ms))
    }

    fn holder(&mut self) -> Option<Holder> {
        let (flags, request, ttl_ms) = self.head()?;
        Some(Holder {
            request,
            ttl_ms,
            is_session: flags & SESSION != 0,
            expires_at: self.long()?,
            fence: self.long()?,
            owner: self.owner()?,
        })
    }

    fn waiter(&mut self) -> Option<Waiter> {
        let (flags, request, ttl_ms) = self.head()?;
        Some(Waiter {
            request,
            ttl_ms,
            is_session: flags & SESSION != 0,
            mode: mode_of(flags),
            until_ms: self.long()?,
            owner: self.owner()?,
        })
    }
}
