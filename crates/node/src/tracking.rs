//! Client-side caching: which connections are to hear that a key changed.
//!
//! In the default mode the node remembers who read a key, in one table bounded by `tracking-table-max-keys`; the
//! key that nobody read for longest makes room, and those who read it are told to drop it. In broadcast
//! mode a connection names prefixes and nothing is remembered.

use crate::client::{ClientClass, ClientFlag, ClientId};
use crate::host::Now;
use crate::node::Node;
use crate::pubsub::push_frame;
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
}

impl Tracking {
    /// An empty table for at most `keys_max` keys (0 = a million).
    pub fn new(keys_max: usize) -> Self {
        let inner = Inner {
            modes: BTreeMap::new(),
            keys: LruCache::unbounded(),
            items: 0,
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
                self.tell(node, client, Some(&[&key]), now);
            }
        }
    }

    /// Keys changed by `by`: tells whoever read them or named a prefix of them.
    pub fn invalidate(&self, node: &Node, changes: &[Change], by: Option<ClientId>, now: Now) {
        let mut messages: BTreeMap<ClientId, Vec<Box<[u8]>>> = BTreeMap::new();
        {
            let mut inner = self.inner.lock();
            for change in changes {
                let readers = inner.keys.pop(&change.key).unwrap_or_default();
                inner.items -= readers.len();
                for client in readers {
                    let wanted = inner
                        .modes
                        .get(&client)
                        .is_some_and(|mode| !(mode.noloop && by == Some(client)));
                    if wanted {
                        messages.entry(client).or_default().push(change.key.clone());
                    }
                }
                for (client, mode) in &inner.modes {
                    let matches = mode.prefixes.as_ref().is_some_and(|prefixes| {
                        prefixes.is_empty()
                            || prefixes.iter().any(|prefix| change.key.starts_with(prefix))
                    });
                    if matches && !(mode.noloop && by == Some(*client)) {
                        let keys = messages.entry(*client).or_default();
                        if !keys.contains(&change.key) {
                            keys.push(change.key.clone());
                        }
                    }
                }
            }
        }
        for (client, keys) in messages {
            let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
            self.tell(node, client, Some(&keys), now);
        }
    }

    /// A whole database went: everybody drops everything.
    pub fn flushed(&self, node: &Node, now: Now) {
        if !self.is_on() {
            return;
        }
        let clients: Vec<ClientId> = {
            let mut inner = self.inner.lock();
            inner.keys.clear();
            inner.items = 0;
            inner.modes.keys().copied().collect()
        };
        for client in clients {
            self.tell(node, client, None, now);
        }
    }

    /// Sends an invalidation to where the connection wants it; no keys = all of them.
    fn tell(&self, node: &Node, client: ClientId, keys: Option<&[&[u8]]>, now: Now) {
        let Some(redirect) = self
            .inner
            .lock()
            .modes
            .get(&client)
            .map(|mode| mode.redirect)
        else {
            return;
        };
        let target_id = if redirect == 0 { client } else { redirect };
        let target = node
            .clients
            .get(&target_id)
            .map(|entry| entry.value().clone());
        let limit = node.output_limit(ClientClass::Pubsub);
        let Some(target) = target else {
            let owner = node.clients.get(&client).map(|entry| entry.value().clone());
            if let Some(owner) = owner {
                owner.set(ClientFlag::TrackingBroken);
                if owner.facts.lock().protocol == Protocol::Resp3 {
                    let id = redirect.to_string();
                    owner.push(
                        push_frame(&[b"tracking-redir-broken", id.as_bytes()], Protocol::Resp3),
                        limit,
                        now.monotonic_us,
                    );
                }
            }
            return;
        };
        let protocol = target.facts.lock().protocol;
        if let Some(frame) = invalidation(keys, protocol, redirect != 0) {
            target.push(frame, limit, now.monotonic_us);
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

/// An invalidation as bytes: a RESP3 push, or for RESP2 (only with a redirection) a message of the channel
/// `__redis__:invalidate`.
fn invalidation(keys: Option<&[&[u8]]>, protocol: Protocol, redirected: bool) -> Option<Bytes> {
    let mut output = Output::new();
    let mut reply = Reply::new(&mut output, protocol);
    match protocol {
        Protocol::Resp3 => {
            reply.push(2);
            reply.bulk(b"invalidate");
        }
        Protocol::Resp2 if redirected => {
            reply.array(3);
            reply.bulk(b"message");
            reply.bulk(b"__redis__:invalidate");
        }
        Protocol::Resp2 => return None,
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
    Some(Bytes::from(std::mem::take(output.tail_mut())))
}
