//! What an entry holds, as seen by readers and as moved between keys.

use crate::collection::Collection;
use bytes::Bytes;

/// A value in place, borrowed from the cache.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A short string, inside the cache's own pages, or a long one that is being edited.
    String(&'a [u8]),
    /// A long string (over some 4 KiB with its key), shared so that a reply needs no copy.
    Shared(&'a Bytes),
    /// Any other type.
    Collection(&'a Collection),
}

impl<'a> Value<'a> {
    /// The string's bytes; none of another type.
    #[inline]
    pub fn string(&self) -> Option<&'a [u8]> {
        match self {
            Value::String(bytes) => Some(bytes),
            Value::Shared(bytes) => Some(bytes),
            Value::Collection(_) => None,
        }
    }
}

/// How a string was made: what `OBJECT ENCODING` tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StringForm {
    /// Set whole: `int`, `embstr` (up to 44 bytes) or `raw` by its content.
    Whole,
    /// Edited in place (APPEND, SETRANGE, SETBIT, BITFIELD): always `raw`.
    Edited,
}

/// Whether a key belongs to the lock path and is never evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// An ordinary key.
    Unpinned,
    /// Set by `SET … NX` with `PX`/`EX` and a value of at most [`PINNED_VALUE_BYTES_MAX`]; what is longer, or grows
    /// longer, is never pinned.
    Pinned,
}

/// Longest value of a pinned key, bytes: what belongs to a lock is short.
pub const PINNED_VALUE_BYTES_MAX: usize = 256;

/// What a write does to a key's expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Leave what is there (`KEEPTTL`; none for a new key).
    Keep,
    /// No expiry.
    Never,
    /// Log time in milliseconds from which on the key does not exist.
    At(u64),
}

/// A live entry, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The value.
    pub value: Value<'a>,
    /// Log time in milliseconds, or none.
    pub expires_at: Option<u64>,
    /// Lock path or not.
    pub pin: Pin,
    /// The number of a pinned key's grant ([`crate::Cache::fence`]), or of a collection's last change, from the same
    /// count; 0 of other keys.
    pub fence: u64,
    /// See [`StringForm`].
    pub form: StringForm,
    /// Milliseconds of log time since the last access that counted (to 16 ms).
    pub idle_ms: u64,
}

/// A value apart from any cache (RENAME, COPY, RESTORE, effects).
#[derive(Clone, Debug, PartialEq)]
pub enum OwnedValue {
    /// A string.
    String(Bytes),
    /// Any other type.
    Collection(Collection),
}

/// An entry apart from any cache.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedEntry {
    /// The value.
    pub value: OwnedValue,
    /// Log time in milliseconds, or none.
    pub expires_at: Option<u64>,
    /// Lock path or not.
    pub pin: Pin,
    /// That of [`Entry::fence`]; 0 if it is to have a new one, or needs none.
    pub fence: u64,
    /// See [`StringForm`].
    pub form: StringForm,
}

/// What happened to a key, for WATCH, client-side caching and keyspace events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Written, created, removed by a command, or its expiry changed.
    Modified,
    /// Its expiry passed and it was dropped.
    Expired,
    /// Evicted for room.
    Evicted,
}

/// One change, recorded only while somebody observes ([`crate::Cache::observe`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Numbered database.
    pub db: u8,
    /// The key.
    pub key: Box<[u8]>,
    /// What happened.
    pub kind: ChangeKind,
}

/// Which keys may be evicted, and in which order: Redis's `maxmemory-policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Refuse writes with `-OOM` instead.
    NoEviction,
    /// Least recently used of all keys (the default here).
    AllKeysLru,
    /// Least recently used of the keys with an expiry.
    VolatileLru,
    /// Any key.
    AllKeysRandom,
    /// Any key with an expiry.
    VolatileRandom,
    /// The key with an expiry that ends soonest (of a sample).
    VolatileTtl,
}

/// A key chosen for eviction, to be put into an `evict` entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Numbered database.
    pub db: u8,
    /// The key.
    pub key: Box<[u8]>,
}
