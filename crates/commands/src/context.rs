//! What a data command runs with: the shards it may touch, log time, a draw, and where its keyspace
//! events go.

use cache::{Cache, Key, LockRequest};
use smallvec::SmallVec;

/// The caches that a command may touch, all locked by the caller for as long as it runs.
pub enum Keyspace<'a> {
    /// Every key of the command lives in this shard.
    One(&'a mut Cache),
    /// Keys in several shards; `route` tells a key's position in `caches`.
    Many {
        /// The caches, in the caller's order.
        caches: &'a mut [&'a mut Cache],
        /// From a key's bytes to its position in `caches`; the caller locked all that the row's key positions name.
        route: &'a dyn Fn(&[u8]) -> usize,
    },
}

/// Class of a keyspace event: the letters of `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum EventClass {
    /// `g`
    Generic = 1 << 0,
    /// `$`
    String = 1 << 1,
    /// `l`
    List = 1 << 8,
    /// `s`
    Set = 1 << 9,
    /// `h`
    Hash = 1 << 10,
    /// `z`
    SortedSet = 1 << 11,
    /// `t`
    Stream = 1 << 12,
    /// `x`
    Expired = 1 << 2,
    /// `e`
    Evicted = 1 << 3,
    /// `m`
    KeyMiss = 1 << 4,
    /// `n`
    New = 1 << 5,
    /// No letter: a message that a script published.
    Message = 1 << 6,
    /// The same of a shard channel.
    ShardMessage = 1 << 7,
}

/// One keyspace event, or one message that a script published: both are told once what they are about has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its class.
    pub class: EventClass,
    /// Redis's name of it: "set", "del", "expire" …; empty for a message.
    pub name: &'static str,
    /// Numbered database.
    pub db: u8,
    /// The key, or the channel.
    pub key: Box<[u8]>,
    /// The message; empty for a keyspace event.
    pub payload: Box<[u8]>,
}

/// What a data command runs with. Arguments and reply are passed beside it.
pub struct Context<'a> {
    /// The caches it may touch.
    pub keyspace: Keyspace<'a>,
    /// The cluster's hash seed ([`Key::new`]).
    pub seed: u64,
    /// The connection's numbered database, 0..=15.
    pub db: u8,
    /// Log time in milliseconds: the only time a command knows.
    pub now_ms: u64,
    /// Wall time minus log time in milliseconds, as logged by the leader: `EXPIREAT`, `EXPIRETIME` and kin
    /// convert by it.
    pub wall_offset_ms: i64,
    /// A draw of the leader's, part of the entry (or fresh for a read).
    pub random: u64,
    /// The hash of the first key under `seed`, where the caller has it already.
    pub first_key_hash: Option<u32>,
    /// Whether reads count as accesses (`CLIENT NO-TOUCH` off).
    pub touch: Touch,
    /// Who asks, where he can be answered later; none inside a transaction or a script.
    pub request: Option<LockRequest>,
    /// Classes of events that somebody listens to, or-ed [`EventClass`] values.
    pub event_mask: u16,
    /// Events that happened, in order.
    pub events: SmallVec<[Event; 0]>,
}

/// Whether reads count as accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// They do.
    Yes,
    /// `CLIENT NO-TOUCH ON`.
    No,
}

impl<'a> Context<'a> {
    /// `bytes` as a key of the connection's database.
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        Key::new(self.seed, self.db, bytes)
    }

    /// The command's first key; its hash is not computed twice.
    pub fn first_key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        match self.first_key_hash {
            Some(hash) => Key {
                db: self.db,
                hash,
                bytes,
            },
            None => self.key(bytes),
        }
    }

    /// The cache that holds `key`.
    pub fn cache(&mut self, key: Key<'_>) -> &mut Cache {
        match &mut self.keyspace {
            Keyspace::One(cache) => cache,
            Keyspace::Many { caches, route } => caches[route(key.bytes)],
        }
    }

    /// Reports a keyspace event, if anybody listens to its class.
    pub fn notify(&mut self, class: EventClass, name: &'static str, key: Key<'_>) {
        if self.event_mask & class as u16 != 0 {
            self.events.push(Event {
                class,
                name,
                db: key.db,
                key: key.bytes.into(),
                payload: Box::default(),
            });
        }
    }
}
