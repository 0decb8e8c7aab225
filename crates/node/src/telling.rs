//! What connections on other nodes are told: messages of publish/subscribe, changed keys for client-side caching,
//! keyspace events.
//!
//! Every node publishes to its own connections. A PUBLISH goes to all nodes, and its reply is the sum of what each says
//! (a [`Call`], which a node that is gone holds up for a second at most). What changes in a shard is told by its leader,
//! to those nodes that say in their beats that somebody there listens.
//!
//! Delivery is at most once: what was on its way to or from a node that fails is lost. What a script published stands in the
//! log, so that the shard's next leader tells it if this one did not; each node knows by its place what it has heard already.
//!
//! Of a changed key more is promised: no connection keeps for good what it has cached. Where a change may not have been told (another
//! one leads, a link broke or was full, too much was held back), whoever tracks keys is told to drop all ([`Node::make_up`]); and
//! not before every read sees what changed, or it would read what is no more again, and nobody would tell it. That threads tell of
//! one key in another order than they changed it does no harm to that: each change is told after it may be read, so whatever
//! was read before it is dropped after it, whichever comes last. Keyspace events may come in another order, then.

use crate::client::ClientId;
use crate::group::Mode;
use crate::host::Now;
use crate::node::Node;
use crate::peers::{Peer, Sent};
use crate::slots::Ticket;
use crate::wire::{
    Called, Changed, KeyChange, KeyChangeKind, ListensTo, MISSED, PeerMessage, Place, Publish,
    PublishKind,
};
use bytes::Bytes;
use cache::{Change, ChangeKind};
use commands::Event;
use parking_lot::Mutex;
use paxos::{GroupId, NodeId};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// How long a PUBLISH waits for a node that says nothing.
const CALL_US_MAX: u64 = 1_000_000;
/// A node of which is heard later than so that it listens to changes may have missed those under a leader that began here before,
/// us: more than a message takes on a link that is not given up.
const HEARD_LATE_US: u64 = 5_000_000;
/// Calls that wait for answers; beyond, PUBLISH answers with what is known.
const CALLS_MAX: usize = 10_000;
/// Entries of one log whose messages are remembered. A new leader tells again at most those of the one that was on its way;
/// two threads of a leader may tell those of neighbours in the other order.
const SAID_MAX: usize = 16;

/// What is going on between this node's connections and other nodes.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    calls: Mutex<Calls>,
    /// What each other node listens to.
    listeners: Mutex<Listeners>,
    /// What any of them listens to: one load on the way of a change.
    listened_to: AtomicU8,
    /// What the other nodes were last told that this one listens to. Locked while they are told.
    pub told: Mutex<u8>,
    /// When what a leader here may have missed was last made up for, us.
    made_up_us: AtomicU64,
    /// What scripts said, of each shard's group.
    said: Mutex<BTreeMap<GroupId, Heard>>,
}

#[derive(Debug, Default)]
struct Listeners {
    masks: BTreeMap<NodeId, u8>,
    /// Those that were not told of a change, or would not have been: they listened to changes when a link to or from them broke, and
    /// have not said since that they do; or the outbox took no more. At their next word they are told to drop all.
    lost: BTreeSet<NodeId>,
}

/// The last entries (generation, index) of a log whose messages were heard of, and which of these was the last.
type Heard = BTreeMap<(u32, u64), u32>;

/// What came of what a node says that it listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listening {
    /// Whether something else is to be observed here.
    is_news: bool,
    /// Whether there may be changes that the node was not told of.
    has_missed: bool,
}

#[derive(Debug, Default)]
struct Calls {
    last: u64,
    /// In the order in which they began, and so of their ends.
    open: BTreeMap<u64, Call>,
}

/// A question to several nodes whose answers are added up.
#[derive(Debug)]
struct Call {
    ticket: Ticket,
    sum: i64,
    missing: SmallVec<[NodeId; 4]>,
    until_us: u64,
}

impl Call {
    fn answer(&self) {
        self.ticket.fill(format!(":{}\r\n", self.sum).as_bytes());
    }
}

impl Telling {
    /// Whether a message of a script was not heard of.
    fn is_new(&self, place: Place) -> bool {
        let mut said = self.said.lock();
        let heard = said.entry(place.group).or_default();
        let entry = (place.generation, place.index);
        let is_new = match heard.get(&entry) {
            Some(last) => place.ordinal > *last,
            None => heard.len() < SAID_MAX || heard.keys().next() < Some(&entry),
        };
        if is_new {
            heard.insert(entry, place.ordinal);
            if heard.len() > SAID_MAX {
                heard.pop_first();
            }
        }
        is_new
    }

    /// Whether another node wants to hear of `what`.
    #[inline]
    pub fn is_listened_to(&self, what: ListensTo) -> bool {
        self.listened_to.load(Ordering::Relaxed) & what as u8 != 0
    }

    /// A node says what it listens to.
    fn on_listens(&self, node: NodeId, listens_to: u8, now: Now) -> Listening {
        let changes = ListensTo::Changes as u8;
        let mut listeners = self.listeners.lock();
        let was_lost = listeners.lost.remove(&node);
        let before = listeners.masks.get(&node).copied().unwrap_or(0);
        let made_up_us = self.made_up_us.load(Ordering::Relaxed);
        let is_late = before & changes == 0
            && made_up_us > 0
            && now.monotonic_us < made_up_us + HEARD_LATE_US;
        Listening {
            has_missed: (was_lost || is_late) && listens_to & changes != 0,
            is_news: self.note(&mut listeners, node, listens_to),
        }
    }

    /// The link to or from a node broke; whether something else is to be observed here.
    fn lose(&self, node: NodeId) -> bool {
        let mut listeners = self.listeners.lock();
        let mask = listeners.masks.get(&node).copied().unwrap_or(0);
        if mask & ListensTo::Changes as u8 != 0 {
            listeners.lost.insert(node);
        }
        self.note(&mut listeners, node, 0)
    }

    fn note(&self, listeners: &mut Listeners, node: NodeId, listens_to: u8) -> bool {
        match listens_to {
            0 => listeners.masks.remove(&node),
            _ => listeners.masks.insert(node, listens_to),
        };
        let all = listeners.masks.values().fold(0, |all, one| all | one);
        self.listened_to.swap(all, Ordering::Relaxed) != all
    }

    /// A node was not told of a change.
    fn note_missed(&self, node: NodeId) {
        self.listeners.lock().lost.insert(node);
    }

    fn listeners_to(&self, what: ListensTo) -> Vec<NodeId> {
        let listeners = self.listeners.lock();
        let wanting = listeners
            .masks
            .iter()
            .filter(|(_, mask)| **mask & what as u8 != 0);
        wanting.map(|(node, _)| *node).collect()
    }

    /// Ends the calls that `over` says are, of those that wait; the others stay.
    fn end_calls(&self, over: impl Fn(&mut Call) -> bool) {
        let ended: Vec<Call> = {
            let mut calls = self.calls.lock();
            let ended = calls.open.extract_if(.., |_, call| over(call));
            ended.map(|(_, call)| call).collect()
        };
        ended.iter().for_each(Call::answer);
    }
}

impl Node {
    /// Whether there are other nodes.
    pub(crate) fn has_peers(&self) -> bool {
        !self.cluster.peers.all().is_empty()
    }

    /// Delivers a message to the subscribers of this node; returns how many got it.
    fn publish_here(&self, kind: PublishKind, channel: &[u8], payload: &[u8], now: Now) -> usize {
        match kind {
            PublishKind::Channel => self.pubsub.publish(self, channel, payload, now),
            PublishKind::Shard => self.pubsub.publish_shard(self, channel, payload, now),
        }
    }

    /// PUBLISH on all nodes. `ticket` gets the count of receivers, when it is known; without one nobody asks.
    /// Returns the count on this node.
    pub(crate) fn publish_everywhere(
        &self,
        kind: PublishKind,
        channel: &[u8],
        payload: &[u8],
        ticket: Option<Ticket>,
        now: Now,
    ) -> usize {
        let here = self.publish_here(kind, channel, payload, now);
        let peers = self.cluster.peers.all();
        // Registered before it is sent: an answer must find it.
        let call = ticket.map(|ticket| self.begin_call(ticket, here as i64, &peers, now));
        if peers.is_empty() && call.is_none() {
            return here;
        }
        let message = PeerMessage::Publish(Publish {
            call: call.unwrap_or(0),
            kind,
            place: None,
            channel: Bytes::copy_from_slice(channel),
            payload: Bytes::copy_from_slice(payload),
        });
        let sent = |node| self.cluster.peers.send(node, &message) == Sent::Queued;
        let unreached: SmallVec<[NodeId; 4]> = peers
            .iter()
            .map(|peer| peer.node)
            .filter(|node| !sent(*node))
            .collect();
        if let Some(call) = call {
            self.miss(call, &unreached);
        }
        self.request_flush();
        here
    }

    /// Registers a call to these nodes.
    fn begin_call(&self, ticket: Ticket, here: i64, peers: &[Arc<Peer>], now: Now) -> u64 {
        let mut calls = self.telling.calls.lock();
        calls.last += 1;
        let number = calls.last;
        let mut call = Call {
            ticket,
            sum: here,
            missing: peers.iter().map(|peer| peer.node).collect(),
            until_us: now.monotonic_us + CALL_US_MAX,
        };
        if calls.open.len() >= CALLS_MAX {
            call.until_us = 0; // its answer is what is known when it was sent
            call.missing.clear();
        }
        calls.open.insert(number, call);
        number
    }

    /// No answer comes from `nodes`; ends the call if none is missing.
    fn miss(&self, call: u64, nodes: &[NodeId]) {
        let ended = {
            let mut calls = self.telling.calls.lock();
            let Some(open) = calls.open.get_mut(&call) else {
                return;
            };
            open.missing.retain(|node| !nodes.contains(node));
            match open.missing.is_empty() {
                true => calls.open.remove(&call),
                false => None,
            }
        };
        ended.iter().for_each(Call::answer);
    }

    /// Tells all nodes what a script published, as the leader of its shard. A leader before this one may have told it, to all or to
    /// some.
    pub(crate) fn tell_said(&self, said: Publish, now: Now) {
        self.hear(&said, now);
        if self.has_peers() {
            self.cluster.peers.send_to_all(&PeerMessage::Publish(said));
            self.request_flush();
        }
    }

    /// Delivers a message to the subscribers of this node unless it was delivered before; returns how many got it.
    fn hear(&self, publish: &Publish, now: Now) -> usize {
        match publish.place {
            Some(place) if !self.telling.is_new(place) => 0,
            _ => self.publish_here(publish.kind, &publish.channel, &publish.payload, now),
        }
    }

    /// A message for the subscribers here.
    pub(crate) fn on_publish(&self, from: NodeId, publish: &Publish, now: Now) {
        let receivers = self.hear(publish, now);
        if publish.call != 0 {
            let called = Called {
                call: publish.call,
                integer: receivers as i64,
            };
            self.cluster.peers.send(from, &PeerMessage::Called(called));
        }
    }

    /// A node's part of a call's answer.
    pub(crate) fn on_called(&self, from: NodeId, called: Called) {
        if let Some(open) = self.telling.calls.lock().open.get_mut(&called.call)
            && open.missing.contains(&from)
        {
            open.sum = open.sum.saturating_add(called.integer.max(0));
        }
        self.miss(called.call, &[from]);
    }

    /// Ends calls whose time is up, or that wait for nodes alone which are no more or to which there is no link: a node that was
    /// removed has no link that could break. To be called every few milliseconds.
    pub(crate) fn tick_calls(&self, now: Now) {
        if !self.telling.calls.lock().open.is_empty() {
            let peers = &self.cluster.peers;
            self.telling.end_calls(|call| {
                call.missing.retain(|node| peers.is_up(*node));
                call.missing.is_empty() || call.until_us <= now.monotonic_us
            });
        }
    }

    /// The link to a node is gone: nothing comes from it.
    pub(crate) fn forget_listener(&self, node: NodeId) {
        if self.telling.lose(node) {
            self.listen_again();
        }
        self.telling.end_calls(|call| {
            call.missing.retain(|missing| *missing != node);
            call.missing.is_empty()
        });
    }

    /// What a node listens to, as it says itself.
    pub(crate) fn on_listens(&self, node: NodeId, listens_to: u8, now: Now) {
        let heard = self.telling.on_listens(node, listens_to, now);
        if heard.is_news {
            self.listen_again();
        }
        if heard.has_missed {
            // Nor can it know from when on it is told again, but by this.
            let changed = Changed {
                by: (NodeId(0), 0),
                items: vec![flush_of(MISSED)],
            };
            self.tell_changed(node, &PeerMessage::Changed(changed));
            self.request_flush();
        }
    }

    /// Tells the other nodes at once if somebody here listens to what nobody did before, or no more. They know it before
    /// they hear of anything that is asked after this: whatever is read from now on, its change will be told.
    pub(crate) fn announce_listening(&self) {
        if self.has_peers() && *self.telling.told.lock() != self.listens_to() {
            self.send_beat(self.now());
            self.request_flush();
        }
    }

    /// What this node wants to hear from others: the sum of [`ListensTo`] values.
    pub(crate) fn listens_to(&self) -> u8 {
        let subscribed = self.pubsub.channels_count() > 0 || self.pubsub.patterns_count() > 0;
        let events = self.event_mask() != 0 && subscribed;
        (if self.tracking.is_on() {
            ListensTo::Changes as u8
        } else {
            0
        }) | (if events { ListensTo::Events as u8 } else { 0 })
    }

    /// Tells other nodes of keys that changed in a shard that is led here; `by` is the connection here that did it.
    pub(crate) fn tell_changes(&self, changes: &[Change], by: Option<ClientId>) {
        if !self.telling.is_listened_to(ListensTo::Changes) || changes.is_empty() {
            return;
        }
        let items = changes.iter().map(|change| KeyChange {
            db: change.db,
            kind: match change.kind {
                ChangeKind::Modified => KeyChangeKind::Modified,
                ChangeKind::Expired => KeyChangeKind::Expired,
                ChangeKind::Evicted => KeyChangeKind::Evicted,
            },
            key: Bytes::copy_from_slice(&change.key),
        });
        self.tell(ListensTo::Changes, by, items.collect());
    }

    /// Tells other nodes of a keyspace event in a shard that is led here.
    pub(crate) fn tell_event(&self, event: &Event) {
        if !self.telling.is_listened_to(ListensTo::Events) {
            return;
        }
        let kind = KeyChangeKind::Event {
            class: event.class as u16,
            name: Bytes::copy_from_slice(event.name.as_bytes()),
        };
        let item = KeyChange {
            db: event.db,
            kind,
            key: Bytes::copy_from_slice(&event.key),
        };
        self.tell(ListensTo::Events, None, vec![item]);
    }

    /// A database was emptied by a connection of this node: everybody who tracks keys drops everything.
    pub(crate) fn flushed(&self, db: u8, now: Now) {
        self.tracking.flushed(self, now);
        if self.telling.is_listened_to(ListensTo::Changes) {
            self.tell(ListensTo::Changes, None, vec![flush_of(db)]);
        }
    }

    /// Changes of a shard that is led here since a moment ago may not have been told, and every read sees them by now.
    pub(crate) fn make_up(&self, now: Now) {
        // Before it is looked at, under the lock, who listens: whoever says so behind that is told then.
        let made_up_us = &self.telling.made_up_us;
        made_up_us.fetch_max(now.monotonic_us, Ordering::Relaxed);
        self.tell_missed(now);
    }

    /// Whoever tracks keys drops all that was read. Who has read of a leader that stays is known to it as a listener.
    pub(crate) fn tell_missed(&self, now: Now) {
        self.tracking.missed(self, now);
        self.tell(ListensTo::Changes, None, vec![flush_of(MISSED)]);
    }

    fn tell(&self, what: ListensTo, by: Option<ClientId>, items: Vec<KeyChange>) {
        let by = by.map_or((NodeId(0), 0), |client| (self.cluster.me.node, client));
        let message = PeerMessage::Changed(Changed { by, items });
        for node in self.telling.listeners_to(what) {
            match what {
                ListensTo::Changes => self.tell_changed(node, &message),
                // At most once.
                ListensTo::Events => drop(self.cluster.peers.send(node, &message)),
            }
        }
        self.request_flush();
    }

    fn tell_changed(&self, node: NodeId, message: &PeerMessage) {
        if self.cluster.peers.send(node, message) != Sent::Queued {
            self.telling.note_missed(node);
        }
    }

    /// Another node tells what changed in a shard that it leads.
    pub(crate) fn on_changed(&self, changed: &Changed, now: Now) {
        let (node, client) = changed.by;
        let by = (node == self.cluster.me.node).then_some(client);
        let mut changes = Vec::new();
        for item in &changed.items {
            let kind = match &item.kind {
                KeyChangeKind::Modified => ChangeKind::Modified,
                KeyChangeKind::Expired => ChangeKind::Expired,
                KeyChangeKind::Evicted => ChangeKind::Evicted,
                KeyChangeKind::Flushed => {
                    match item.db {
                        MISSED => self.tracking.missed(self, now),
                        _ => self.tracking.flushed(self, now),
                    }
                    continue;
                }
                KeyChangeKind::Event { name, .. } => {
                    self.publish_event_here(item.db, &item.key, name, now);
                    continue;
                }
            };
            changes.push(Change {
                db: item.db,
                key: Box::from(&item.key[..]),
                kind,
            });
        }
        if self.tracking.is_on() && !changes.is_empty() {
            self.tracking.invalidate(self, &changes, by, now);
        }
    }
}

/// Whatever anybody read is to be dropped.
fn flush_of(db: u8) -> KeyChange {
    KeyChange {
        db,
        kind: KeyChangeKind::Flushed,
        key: Bytes::new(),
    }
}

/// How a node with groups differs from one that is alone.
impl Node {
    /// Whether any shard has replicas, as far as is known without its lock.
    pub(crate) fn has_groups(&self) -> bool {
        (0..self.shards_count()).any(|shard| self.mode(shard) == Mode::Grouped)
    }

    /// Whether this node's memory decides over writes to a shard: it does where the node leads.
    #[inline]
    pub(crate) fn judges_room(&self, shard: usize) -> bool {
        self.mode(shard) == Mode::Solo
            || self.cluster.leader(GroupId(shard as u32 + 1)) == Some(self.cluster.me.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_new_once_though_neighbours_come_in_the_other_order() {
        // Breaks if what a second thread tells a moment too late is taken for what was heard, or is heard twice.
        let telling = Telling::default();
        let is_new = |generation, index, ordinal| {
            telling.is_new(Place {
                group: GroupId(1),
                generation,
                index,
                ordinal,
            })
        };
        assert!(is_new(0, 8, 0) && is_new(0, 8, 1));
        assert!(is_new(0, 7, 0), "later, and not heard of");
        assert!(!is_new(0, 7, 0) && !is_new(0, 8, 0) && !is_new(0, 8, 1));
        for index in 9..9 + SAID_MAX as u64 {
            assert!(is_new(0, index, 0));
        }
        assert!(!is_new(0, 8, 1), "of long ago");
        assert!(is_new(1, 1, 0), "a group that began again");
    }
}
