//! Publish/subscribe: who listens to which channels and patterns on this node.
//!
//! Order: messages of one publisher to one subscriber arrive in the order of publishing. Delivery is at most
//! once, as in Redis: a subscriber that is too slow is closed (its output limit), not waited for.

use crate::client::{Client, ClientClass, ClientId};
use crate::host::Now;
use crate::node::Node;
use bytes::Bytes;
use commands::glob;
use dashmap::DashMap;
use parking_lot::RwLock;
use resp::{Output, Protocol, Reply};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

type Subscribers = Vec<Arc<Client>>;

/// The three kinds of subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SUBSCRIBE.
    Channel,
    /// PSUBSCRIBE.
    Pattern,
    /// SSUBSCRIBE.
    ShardChannel,
}

/// All subscriptions of a node.
#[derive(Debug, Default)]
pub struct PubSub {
    channels: DashMap<Box<[u8]>, Subscribers>,
    shard_channels: DashMap<Box<[u8]>, Subscribers>,
    patterns: RwLock<BTreeMap<Box<[u8]>, Subscribers>>,
    /// Count of patterns, so that a publish without any takes no lock.
    patterns_count: AtomicUsize,
}

impl PubSub {
    /// Adds a subscription; the caller's session knows that it is new.
    pub fn subscribe(&self, kind: Kind, name: &[u8], client: &Arc<Client>) {
        match kind {
            Kind::Channel => self
                .channels
                .entry(name.into())
                .or_default()
                .push(client.clone()),
            Kind::ShardChannel => self
                .shard_channels
                .entry(name.into())
                .or_default()
                .push(client.clone()),
            Kind::Pattern => {
                let mut patterns = self.patterns.write();
                patterns
                    .entry(name.into())
                    .or_default()
                    .push(client.clone());
                self.patterns_count.store(patterns.len(), Ordering::Release);
            }
        }
    }

    /// Ends a subscription.
    pub fn unsubscribe(&self, kind: Kind, name: &[u8], client: ClientId) {
        let map = match kind {
            Kind::Channel => &self.channels,
            Kind::ShardChannel => &self.shard_channels,
            Kind::Pattern => {
                let mut patterns = self.patterns.write();
                if let Some(subscribers) = patterns.get_mut(name) {
                    subscribers.retain(|subscriber| subscriber.id != client);
                    if subscribers.is_empty() {
                        patterns.remove(name);
                    }
                }
                self.patterns_count.store(patterns.len(), Ordering::Release);
                return;
            }
        };
        map.remove_if_mut(name, |_, subscribers| {
            subscribers.retain(|subscriber| subscriber.id != client);
            subscribers.is_empty()
        });
    }

    /// Sends a message to the subscribers of `channel` and of patterns that match it; returns how many got it.
    pub fn publish(&self, node: &Node, channel: &[u8], message: &[u8], now: Now) -> usize {
        let mut receivers = 0;
        if let Some(subscribers) = self.channels.get(channel) {
            receivers += subscribers.len();
            deliver(node, &subscribers, &[b"message", channel, message], now);
        }
        if self.patterns_count.load(Ordering::Acquire) > 0 {
            let patterns = self.patterns.read();
            let matching = patterns
                .iter()
                .filter(|(pattern, _)| glob::matches(pattern, channel));
            for (pattern, subscribers) in matching {
                receivers += subscribers.len();
                deliver(
                    node,
                    subscribers,
                    &[b"pmessage", pattern, channel, message],
                    now,
                );
            }
        }
        receivers
    }

    /// How many a message on `channel` would reach here.
    pub fn receivers_count(&self, channel: &[u8]) -> usize {
        let direct = self.subscribers_count(Kind::Channel, channel);
        if self.patterns_count() == 0 {
            return direct;
        }
        let patterns = self.patterns.read();
        let matching = patterns
            .iter()
            .filter(|(pattern, _)| glob::matches(pattern, channel));
        direct
            + matching
                .map(|(_, subscribers)| subscribers.len())
                .sum::<usize>()
    }

    /// Sends a message to the subscribers of a shard channel; returns how many got it.
    pub fn publish_shard(&self, node: &Node, channel: &[u8], message: &[u8], now: Now) -> usize {
        let Some(subscribers) = self.shard_channels.get(channel) else {
            return 0;
        };
        deliver(node, &subscribers, &[b"smessage", channel, message], now);
        subscribers.len()
    }

    /// Names of channels with subscribers, sorted, those that match `pattern` if one is given.
    pub fn names(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<Box<[u8]>> {
        let wanted = |name: &[u8]| pattern.is_none_or(|pattern| glob::matches(pattern, name));
        let collect = |map: &DashMap<Box<[u8]>, Subscribers>| {
            let mut names: Vec<_> = map
                .iter()
                .map(|e| e.key().clone())
                .filter(|name| wanted(name))
                .collect();
            names.sort();
            names
        };
        match kind {
            Kind::Channel => collect(&self.channels),
            Kind::ShardChannel => collect(&self.shard_channels),
            Kind::Pattern => self
                .patterns
                .read()
                .keys()
                .filter(|name| wanted(name))
                .cloned()
                .collect(),
        }
    }

    /// Count of subscribers of a channel.
    pub fn subscribers_count(&self, kind: Kind, name: &[u8]) -> usize {
        match kind {
            Kind::Channel => self
                .channels
                .get(name)
                .map_or(0, |entry| entry.value().len()),
            Kind::ShardChannel => self
                .shard_channels
                .get(name)
                .map_or(0, |entry| entry.value().len()),
            Kind::Pattern => self.patterns.read().get(name).map_or(0, Vec::len),
        }
    }

    /// Count of distinct patterns.
    pub fn patterns_count(&self) -> usize {
        self.patterns_count.load(Ordering::Acquire)
    }

    /// Count of channels with subscribers.
    pub fn channels_count(&self) -> usize {
        self.channels.len()
    }

    /// Count of shard channels with subscribers.
    pub fn shard_channels_count(&self) -> usize {
        self.shard_channels.len()
    }
}

/// Encodes a push of bulk strings once per protocol in use and hands it to the subscribers, who are locked: once a subscription
/// has ended, no message is on its way to it any more.
fn deliver(node: &Node, subscribers: &[Arc<Client>], parts: &[&[u8]], now: Now) {
    let limit = node.output_limit(ClientClass::Pubsub);
    let mut frames: [Option<Bytes>; 2] = [None, None];
    for subscriber in subscribers {
        subscriber.push_in_protocol(limit, now.monotonic_us, |protocol| {
            let frame = frames[usize::from(protocol == Protocol::Resp3)]
                .get_or_insert_with(|| push_frame(parts, protocol));
            Some(frame.clone())
        });
    }
}

/// A push of bulk strings as bytes.
pub fn push_frame(parts: &[&[u8]], protocol: Protocol) -> Bytes {
    let mut output = Output::new();
    let mut reply = Reply::new(&mut output, protocol);
    reply.push(parts.len());
    for part in parts {
        reply.bulk(part);
    }
    Bytes::from(std::mem::take(output.tail_mut()))
}
