//! Client-side caching: which connections are to hear that a key changed.
//!
//! In the default mode the node remembers who read a key, in one table bounded by `tracking-table-max-keys`; the
//! key that nobody read for longest makes room, and those who read it are told to drop it. In broadcast
//! mode a connection names prefixes and nothing is remembered.

use crate::client::{ClientClass, ClientFlag, ClientId};
use crate::host::Now;
use crate::node::Node;
use bytes::Bytes;
use cache::Change;
use lru::LruCache;
use parking_lot::Mutex;
use resp::{Output, Protocol, Reply};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How a connection wants to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackingMode {
    /// Broadcast mode's prefixes; none = the default mode.
    pub prefixes: Option<Vec<Vec<u8>>>,
    /// Which reads count.
    pub caching: Caching,
    /// Own changes are not told.
    pub noloop: bool,
    /// Connection that gets the invalidations, 0 = itself.
    pub redirect: ClientId,
}

/// Which reads count in the default mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// All.
    All,
    /// Those after `CLIENT CACHING YES`.
    OptIn,
    /// Those not after `CLIENT CACHING NO`.
    OptOut,
}

/// Who tracks what on this node.
#[derive(Debug)]
pub struct Tracking {
    inner: Mutex<Inner>,
    /// Count of tracking connections: one load on the way of a command.
    count: AtomicUsize,
}

#[derive(Debug)]
struct Inner {
    modes: BTreeMap<ClientId, TrackingMode>,
    keys: LruCache<Box<[u8]>, SmallVec<[ClientId; 2]>>,
    items: usize,
    /// Whether anybody in the default mode read something since everybody was last told to drop all.
    has_read: bool,
}

impl Tracking {
    /// An empty table for at most `keys_max` keys (0 = a million).
    pub fn new(keys_max: usize) -> Self {
        let inner = Inner {
            modes: BTreeMap::new(),
            keys: LruCache::unbounded(),
            items: 0,
            has_read: false,
        };
        let tracking = Tracking {
            inner: Mutex::new(inner),
            count: AtomicUsize::new(0),
        };
        tracking.resize(keys_max);
        tracking
    }

    /// Holds at most `keys_max` keys from now on.
    pub fn resize(&self, keys_max: usize) {
        let keys_max =
            NonZeroUsize::new(keys_max).unwrap_or(NonZeroUsize::new(1_000_000).expect("not zero"));
        self.inner.lock().keys.resize(keys_max);
    }

    /// Whether any connection tracks.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Turns tracking on for a connection, or changes its mode. The caller then calls [`Node::listen_again`].
    pub fn add(&self, client: ClientId, mode: TrackingMode) {
        let mut inner = self.inner.lock();
        inner.modes.insert(client, mode);
        self.count.store(inner.modes.len(), Ordering::Relaxed);
    }

    /// Turns it off; what the table holds of the connection is dropped as the keys change. The caller then calls
    /// [`Node::listen_again`].
    pub fn remove(&self, client: ClientId) {
        let mut inner = self.inner.lock();
        inner.modes.remove(&client);
        if inner.modes.is_empty() {
            inner.keys.clear();
            inner.items = 0;
        }
        self.count.store(inner.modes.len(), Ordering::Relaxed);
    }

    /// How a connection tracks, if it does.
    pub fn mode(&self, client: ClientId) -> Option<TrackingMode> {
        self.inner.lock().modes.get(&client).cloned()
    }

    /// A connection in the default mode read `key`.
    pub fn remember(&self, node: &Node, client: ClientId, key: &[u8], now: Now) {
        let dropped = {
            let mut inner = self.inner.lock();
            inner.has_read = true;
            if let Some(clients) = inner.keys.get_mut(key) {
                if !clients.contains(&client) {
                    clients.push(client);
                    inner.items += 1;
                }
                None
            } else {
                inner.items += 1;
                let dropped = inner.keys.push(key.into(), SmallVec::from_elem(client, 1));
                if let Some((_, clients)) = &dropped {
                    inner.items -= clients.len();
                }
                dropped
            }
        };
        if let Some((key, clients)) = dropped {
            for client in clients {
                tell(&self.inner.lock().modes, node, client, Some(&[&key]), now);
            }
        }
    }

    /// Keys changed by `by`: tells whoever read them, key by key, and then whoever named a prefix of them, all keys
    /// of a prefix together.
    pub fn invalidate(&self, node: &Node, changes: &[Change], by: Option<ClientId>, now: Now) {
        let mut read: Vec<(ClientId, &[u8])> = Vec::new();
        let mut named: BTreeMap<(ClientId, &[u8]), Vec<&[u8]>> = BTreeMap::new();
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        for change in changes {
            let readers = inner.keys.pop(&change.key).unwrap_or_default();
            inner.items -= readers.len();
            for client in readers {
                let wanted = inner
                    .modes
                    .get(&client)
                    .is_some_and(|mode| !(mode.noloop && by == Some(client)));
                if wanted {
                    read.push((client, &change.key));
                }
            }
            for (client, mode) in &inner.modes {
                if mode.noloop && by == Some(*client) {
                    continue;
                }
                let prefixes = mode.prefixes.iter().flatten();
                for prefix in prefixes.filter(|prefix| change.key.starts_with(prefix)) {
                    let keys = named.entry((*client, prefix)).or_default();
                    if !keys.contains(&&*change.key) {
                        keys.push(&change.key);
                    }
                }
            }
        }
        for (client, key) in read {
            tell(&inner.modes, node, client, Some(&[key]), now);
        }
        for ((client, _), mut keys) in named {
            keys.sort();
            tell(&inner.modes, node, client, Some(&keys), now);
        }
    }

    /// A whole database went: everybody drops everything.
    pub fn flushed(&self, node: &Node, now: Now) {
        self.drop_all(node, |_, _| true, now);
    }

    /// There may be changes that were not told here: everybody who may have cached something drops everything. Of those in the
    /// default mode that is nobody if nobody has read anything.
    pub fn missed(&self, node: &Node, now: Now) {
        let has_cached = |mode: &TrackingMode, has_read| has_read || mode.prefixes.is_some();
        self.drop_all(node, has_cached, now);
    }

    fn drop_all(&self, node: &Node, is_told: impl Fn(&TrackingMode, bool) -> bool, now: Now) {
        if !self.is_on() {
            return;
        }
        let mut inner = self.inner.lock();
        inner.keys.clear();
        inner.items = 0;
        let has_read = std::mem::take(&mut inner.has_read);
        let told = inner.modes.iter();
        for (client, _) in told.filter(|(_, mode)| is_told(mode, has_read)) {
            tell(&inner.modes, node, *client, None, now);
        }
    }

    /// Keys in the table, items (pairs of key and connection) in it, prefixes named: for INFO.
    pub fn sizes(&self) -> (usize, usize, usize) {
        let inner = self.inner.lock();
        let prefixes = inner
            .modes
            .values()
            .filter_map(|mode| mode.prefixes.as_ref())
            .map(Vec::len)
            .sum();
        (inner.keys.len(), inner.items, prefixes)
    }

    /// Count of tracking connections.
    pub fn clients_count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// Sends an invalidation to where the connection wants it; no keys = all of them.
fn tell(
    modes: &BTreeMap<ClientId, TrackingMode>,
    node: &Node,
    client: ClientId,
    keys: Option<&[&[u8]]>,
    now: Now,
) {
    let Some(mode) = modes.get(&client) else {
        return;
    };
    let find = |id: ClientId| node.clients.get(&id).map(|entry| entry.value().clone());
    let limit = node.output_limit(ClientClass::Pubsub);
    let redirected = mode.redirect != 0;
    let target = find(if redirected { mode.redirect } else { client });
    let Some(target) = target else {
        if let Some(owner) = find(client) {
            owner.set(ClientFlag::TrackingBroken);
            owner.push_in_protocol(limit, now.monotonic_us, |protocol| {
                (protocol == Protocol::Resp3).then(|| broken(mode.redirect))
            });
        }
        return;
    };
    target.push_in_protocol(limit, now.monotonic_us, |protocol| {
        // Else it could not tell a message from a reply.
        let can_tell = protocol == Protocol::Resp3 || redirected && target.has(ClientFlag::Pubsub);
        can_tell.then(|| invalidation(keys, protocol))
    });
}

/// A RESP3 push: the connection that was to get the invalidations is gone.
fn broken(redirect: ClientId) -> Bytes {
    let mut output = Output::new();
    let mut reply = Reply::new(&mut output, Protocol::Resp3);
    reply.push(2);
    reply.bulk(b"tracking-redir-broken");
    reply.integer(redirect as i64);
    Bytes::from(std::mem::take(output.tail_mut()))
}

/// An invalidation as bytes: a RESP3 push, or for RESP2 a message of the channel `__redis__:invalidate`.
fn invalidation(keys: Option<&[&[u8]]>, protocol: Protocol) -> Bytes {
    let mut output = Output::new();
    let mut reply = Reply::new(&mut output, protocol);
    match protocol {
        Protocol::Resp3 => {
            reply.push(2);
            reply.bulk(b"invalidate");
        }
        Protocol::Resp2 => {
            reply.array(3);
            reply.bulk(b"message");
            reply.bulk(b"__redis__:invalidate");
        }
    }
    match keys {
        None => reply.null(),
        Some(keys) => {
            reply.array(keys.len());
            for key in keys {
                reply.bulk(key);
            }
        }
    }
    Bytes::from(std::mem::take(output.tail_mut()))
}
