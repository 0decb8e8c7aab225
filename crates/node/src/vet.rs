//! What another node may say: every message is looked at before anything follows from it.
//!
//! The bytes were right already (`wire`: checksums, lengths, ranges). Here it is asked whether they can come from this
//! sender, and are about something that there is. Whoever says something else is another build, or broken: its link is
//! closed, and what it said has changed nothing.
//!
//! Not asked is whether a node tells the truth about its own log and votes: replicas fail by silence, they do not lie.

use crate::entry::{self, DATABASES, EntryError};
use crate::group::{OpError, life_of};
use crate::meta::{META_GROUP, MetaError, MetaRequest};
use crate::node::Node;
use crate::wire::{ListensTo, PeerMessage};
use paxos::{Entry, GroupId, Kind, Message, NodeId, ReplicaId};

/// Why a node's link is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// It speaks for another, or for another life of its own.
    #[error("a {what} in the name of node {}", name.node.0)]
    Name {
        /// The message.
        what: &'static str,
        /// In whose name it is.
        name: ReplicaId,
    },
    /// It takes this node for another.
    #[error("a message for node {}", .0.0)]
    Address(NodeId),
    /// There is no such group.
    #[error("a {what} about group {}, which there is not", group.0)]
    Group {
        /// The message.
        what: &'static str,
        /// The group.
        group: GroupId,
    },
    /// A forwarded request that cannot be read.
    #[error("a forwarded request that is none: {0}")]
    Request(#[from] OpError),
    /// A log entry that could not be applied.
    #[error("an entry that cannot be applied: {0}")]
    Entry(#[from] EntryError),
    /// Bytes of the meta group that cannot be read.
    #[error("a change of the cluster that is none: {0}")]
    Meta(MetaError),
    /// Something else that its place does not have.
    #[error("a {0} with a value out of range")]
    Value(&'static str),
}

impl Node {
    /// Looks at a message of `from`.
    ///
    /// # Errors
    /// A line each of [`Misbehaviour`].
    pub(crate) fn vet(&self, from: ReplicaId, message: &PeerMessage) -> Result<(), Misbehaviour> {
        let what = message.name();
        let shard_group = |group: GroupId| match group != META_GROUP && self.has_group(group) {
            true => Ok(()),
            false => Err(Misbehaviour::Group { what, group }),
        };
        match message {
            PeerMessage::Paxos(message) => self.vet_paxos(from, message),
            PeerMessage::Forward(forward) => {
                is_own(from, what, life_of(forward.origin))?;
                shard_group(forward.group)
            }
            // To a former life of this node it may be.
            PeerMessage::ForwardReply(reply) if reply.to.node != self.cluster.me.node => {
                Err(Misbehaviour::Address(reply.to.node))
            }
            PeerMessage::ForwardReply(reply) => shard_group(reply.group),
            PeerMessage::ForwardRefused(refused) => shard_group(refused.group),
            PeerMessage::LockAsk(ask) => {
                is_own(from, what, life_of(ask.origin))?;
                let mut requests = ask.requests.iter().chain(&ask.held);
                match requests.all(|request| request.0 < DATABASES) {
                    true => shard_group(ask.group),
                    false => Err(Misbehaviour::Value(what)),
                }
            }
            PeerMessage::LockTold(told) if told.to.node != self.cluster.me.node => {
                Err(Misbehaviour::Address(told.to.node))
            }
            PeerMessage::LockTold(told) => shard_group(told.group),
            PeerMessage::Expect(expect) => {
                is_own(from, what, life_of(expect.origin))?;
                match expect.waits.iter().all(|wait| wait.db < DATABASES) {
                    true => shard_group(expect.group),
                    false => Err(Misbehaviour::Value(what)),
                }
            }
            PeerMessage::Ready(ready) if ready.to.node != self.cluster.me.node => {
                Err(Misbehaviour::Address(ready.to.node))
            }
            PeerMessage::Ready(ready) => shard_group(ready.group),
            PeerMessage::Touched(touched) => match touched.keys.iter().all(|key| key.0 < DATABASES)
            {
                true => shard_group(touched.group),
                false => Err(Misbehaviour::Value(what)),
            },
            PeerMessage::NodeBeat(beat) => {
                for (group, ballot) in &beat.leads {
                    shard_group(*group)?;
                    is_own(from, what, ballot.replica)?;
                }
                let known = ListensTo::Changes as u8 | ListensTo::Events as u8;
                match beat.listens_to & !known {
                    0 => Ok(()),
                    _ => Err(Misbehaviour::Value(what)),
                }
            }
            // Databases, counts and texts are only passed on to clients, or are answers that are looked for by number.
            PeerMessage::Publish(publish) if let Some(place) = publish.place => {
                shard_group(place.group)
            }
            PeerMessage::Publish(_) | PeerMessage::Called(_) | PeerMessage::Changed(_) => Ok(()),
            // Read where it is taken in.
            PeerMessage::Meta(_) => Ok(()),
        }
    }

    fn has_group(&self, group: GroupId) -> bool {
        group.0 as usize <= self.shards_count()
    }

    fn vet_paxos(&self, from: ReplicaId, message: &Message) -> Result<(), Misbehaviour> {
        let (what, group) = ("message between replicas", message.group);
        is_own(from, what, message.from)?;
        if message.to.node != self.cluster.me.node {
            return Err(Misbehaviour::Address(message.to.node));
        }
        if !self.has_group(group) {
            return Err(Misbehaviour::Group { what, group });
        }
        match &message.kind {
            Kind::Accept { entries, .. } | Kind::CatchUp { entries, .. } => {
                entries.iter().try_for_each(|entry| vet_entry(group, entry))
            }
            Kind::Promise { accepted, .. } => accepted
                .iter()
                .try_for_each(|accepted| vet_entry(group, &accepted.entry)),
            Kind::PreVote { .. }
            | Kind::PreVoteReply { .. }
            | Kind::Prepare { .. }
            | Kind::Beat { .. }
            | Kind::Accepted { .. }
            | Kind::Nack { .. }
            | Kind::CatchUpRequest { .. }
            | Kind::Left { .. }
            | Kind::SnapshotOffer { .. }
            | Kind::SnapshotChunk { .. }
            | Kind::SnapshotAck { .. }
            | Kind::Transfer { .. }
            | Kind::ReadProbe { .. }
            | Kind::ReadProbeReply { .. } => Ok(()),
        }
    }
}

fn is_own(from: ReplicaId, what: &'static str, name: ReplicaId) -> Result<(), Misbehaviour> {
    match name == from {
        true => Ok(()),
        false => Err(Misbehaviour::Name { what, name }),
    }
}

/// An entry that was chosen is applied whatever is in it, by every replica, and again after each restart: so nothing is
/// accepted that could not be.
fn vet_entry(group: GroupId, entry: &Entry) -> Result<(), Misbehaviour> {
    match entry {
        Entry::Noop | Entry::Config(_) => Ok(()),
        Entry::Batch { payload, .. } if group == META_GROUP => MetaRequest::decode(payload)
            .map(drop)
            .map_err(Misbehaviour::Meta),
        Entry::Batch { payload, .. } => Ok(entry::check(payload)?),
    }
}
