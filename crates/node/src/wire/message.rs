//! What nodes tell each other.

use super::answers::Answers;
use bytes::Bytes;
use cache::Sought;
use paxos::{Ballot, GroupId, NodeId, ReplicaId};

/// One thing that a node tells another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// Between the replicas of a group.
    Paxos(paxos::Message),
    /// Requests for the leader of a group.
    Forward(Forward),
    /// Their answers.
    ForwardReply(ForwardReply),
    /// The receiver of a [`Forward`] does not lead, or misses requests that came before.
    ForwardRefused(ForwardRefused),
    /// Once every 50 ms, to every node.
    NodeBeat(NodeBeat),
    /// PUBLISH, for the receiver's subscribers.
    Publish(Publish),
    /// How many subscribers a [`Publish`] reached.
    Called(Called),
    /// Keys that changed, for the receiver's tracking clients and subscribers of keyspace events.
    Changed(Changed),
    /// Keys that were used where they are led.
    Touched(Touched),
    /// Requests to the meta group and their answers, in the meta group's own encoding.
    Meta(Bytes),
    /// How locks stand that the sender waits for, and that it lives.
    LockAsk(LockAsk),
    /// What the receiver waited for and got.
    LockTold(LockTold),
    /// See [`Expect`].
    Expect(Expect),
    /// See [`Ready`].
    Ready(Ready),
}

/// Requests of one origin for one group, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The group.
    pub group: GroupId,
    /// Whose requests these are.
    pub origin: ReplicaId,
    /// Replies to writes up to here are not asked for again.
    pub done_seq: u64,
    /// The requests, one after the other, as they are queued and logged.
    pub ops: Bytes,
}

/// Answers to requests of the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardReply {
    /// The group.
    pub group: GroupId,
    /// Whose requests they were. Another life of the receiver's memory numbers its own from 1 again.
    pub to: ReplicaId,
    /// Each request's answer.
    pub items: Answers,
}

/// Whether a request goes through the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// It does.
    Write,
    /// The leader executes it.
    Read,
}

/// A [`Forward`] was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardRefused {
    /// The group.
    pub group: GroupId,
    /// Who leads, as far as the sender knows.
    pub leader: Option<NodeId>,
}

/// That the sender lives, and what the receiver should know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeBeat {
    /// When it was sent, the sender's clock, us.
    pub sent_us: u64,
    /// The epoch of the cluster's state that the sender has applied.
    pub meta_epoch: u64,
    /// The groups that the sender leads, and under which ballot.
    pub leads: Vec<(GroupId, Ballot)>,
    /// Memory that the sender is over its budget by, bytes: leaders should evict.
    pub needs_room_bytes: u64,
    /// Sum of [`ListensTo`] values.
    pub listens_to: u8,
}

/// What a node wants to be told of, because its clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ListensTo {
    /// Changed keys: it has clients with CLIENT TRACKING.
    Changes = 1,
    /// Keyspace events: they are on and it has subscribers.
    Events = 2,
}

/// A message for subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Names the call, for [`Called`]; 0 if no answer is wanted.
    pub call: u64,
    /// Whom it is for.
    pub kind: PublishKind,
    /// Where it stands in a shard's log, if it does.
    pub place: Option<Place>,
    /// The channel.
    pub channel: Bytes,
    /// The message.
    pub payload: Bytes,
}

/// Where a message of a script stands in the log of its shard. A leader's successor may tell it again; by its place it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The shard's group.
    pub group: GroupId,
    /// Its generation.
    pub generation: u32,
    /// The entry.
    pub index: u64,
    /// Which of the entry's messages, from 0.
    pub ordinal: u32,
}

/// Whom a [`Publish`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishKind {
    /// Subscribers of the channel, and of patterns that match it.
    Channel,
    /// Subscribers of the shard channel.
    Shard,
}

/// The answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called {
    /// The call.
    pub call: u64,
    /// What came of it.
    pub integer: i64,
}

/// Keys that changed where they are led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The connection that changed them, as its node and its id there; node 0: nobody.
    pub by: (NodeId, u64),
    /// The changes, in order.
    pub items: Vec<KeyChange>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// Numbered database. With [`KeyChangeKind::Flushed`] also 255: all; and 254 ([`MISSED`]).
    pub db: u8,
    /// What happened.
    pub kind: KeyChangeKind,
    /// The key; empty with [`KeyChangeKind::Flushed`].
    pub key: Bytes,
}

/// In place of a database, with [`KeyChangeKind::Flushed`]: none was emptied, but there may be changes that were not told.
pub const MISSED: u8 = 254;

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChangeKind {
    /// A command changed it.
    Modified,
    /// Its expiry passed.
    Expired,
    /// It was evicted.
    Evicted,
    /// A whole database was emptied.
    Flushed,
    /// A keyspace event.
    Event {
        /// Its class (`commands::EventClass`).
        class: u16,
        /// Redis's name of it.
        name: Bytes,
    },
}

/// Keys of one shard that its leader's clients used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The shard's group.
    pub group: GroupId,
    /// The leader's log time, ms.
    pub log_ms: u64,
    /// Numbered database and key, in the order of their last uses.
    pub keys: Vec<(u8, Bytes)>,
}

/// A node asks the leader of a group how what it waits for there stands. Sent as long as it waits for something, or as
/// something hangs on its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockAsk {
    /// The group.
    pub group: GroupId,
    /// Who asks.
    pub origin: ReplicaId,
    /// When, the sender's clock, us; never 0.
    pub sent_us: u64,
    /// What it waits for: numbered database, key, number of the write that asked for it.
    pub requests: Vec<(u8, Bytes, u64)>,
    /// The same of locks that hang on its connections: some of them, others are asked about by other questions.
    pub held: Vec<(u8, Bytes, u64)>,
}

/// What has become of locks that the receiver waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockTold {
    /// The group.
    pub group: GroupId,
    /// Who waits.
    pub to: ReplicaId,
    /// That of the [`LockAsk`] which this answers; 0: nobody asked.
    pub sent_us: u64,
    /// Requests that were granted this moment, and under which fences.
    pub granted: Vec<(u64, u64)>,
    /// Requests that were asked about and do not wait, whatever became of them.
    pub settled: Vec<u64>,
    /// Locks that were asked about and hang on no connection any more: they ended, or are others'.
    pub ended: Vec<u64>,
}

/// A node tells the leader of a group at which keys its connections wait for a collection to have something in it. Said
/// when they begin, and again each second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The group.
    pub group: GroupId,
    /// Who waits.
    pub origin: ReplicaId,
    /// What it waits for.
    pub waits: Vec<Expected>,
    /// Numbers of waits that are over.
    pub ended: Vec<u64>,
}

/// One connection's wait at one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its number, the origin's own: the same as long as it waits.
    pub number: u64,
    /// Numbered database.
    pub db: u8,
    /// What is waited for.
    pub sought: Sought,
    /// The key.
    pub key: Bytes,
}

/// There is something for these waits: those who wait should try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The group.
    pub group: GroupId,
    /// Who waits.
    pub to: ReplicaId,
    /// Numbers of its waits.
    pub numbers: Vec<u64>,
}

impl PeerMessage {
    /// A word for logs.
    pub fn name(&self) -> &'static str {
        match self {
            PeerMessage::Paxos(_) => "paxos",
            PeerMessage::Forward(_) => "forward",
            PeerMessage::ForwardReply(_) => "forward reply",
            PeerMessage::ForwardRefused(_) => "forward refused",
            PeerMessage::NodeBeat(_) => "node beat",
            PeerMessage::Publish(_) => "publish",
            PeerMessage::Called(_) => "called",
            PeerMessage::Changed(_) => "changed",
            PeerMessage::Touched(_) => "touched",
            PeerMessage::Meta(_) => "meta",
            PeerMessage::LockAsk(_) => "lock ask",
            PeerMessage::LockTold(_) => "lock told",
            PeerMessage::Expect(_) => "expect",
            PeerMessage::Ready(_) => "ready",
        }
    }
}
