//! What nodes, and processes that want to be nodes, tell each other about the cluster's state; bytes as in `command`.

use super::command::{MetaError, MetaRequest, NodeAddresses, RequestId, decode, encode};
use super::lives::ShardTestimony;
use super::state::MetaState;
use crate::report::NodeReport;
use paxos::{Incarnation, NodeId, ReplicaId};
use serde::{Deserialize, Serialize};

/// Between nodes (`PeerMessage::Meta`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaMessage {
    /// For the leader: to be agreed on. Whoever asks learns from its own copy of the log what came of it.
    Ask(MetaRequest),
    /// The leader does not propose it.
    Refused {
        /// The request.
        id: RequestId,
        /// A sentence for people.
        reason: String,
    },
    /// What the sender tells everybody of itself. Not for the group.
    Report(NodeReport),
    /// For the leader: what the sender has of shards that nobody leads. A hint, by which it has them looked into.
    Stranded(Vec<ShardTestimony>),
    /// Where the sender is: it has a link to the receiver and does not hear it. Not for the group.
    Here(NodeAddresses),
}

/// What a process that wants to join says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// Drawn once a process: it may ask again, of other nodes too, and joins once.
    pub id: RequestId,
    /// 40 hex digits that it drew, or had before if it remembers that.
    pub name: String,
    /// Where other nodes and clients reach it. The host must be one that means something to others.
    pub addresses: NodeAddresses,
    /// Its share of replicas relative to others'; 0: none before it is given one.
    pub weight: u32,
    /// Where it stands; empty: nowhere in particular.
    pub zone: String,
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Its number.
    pub node: u32,
    /// Its life.
    pub incarnation: u64,
    /// The cluster as it is now, with this node.
    pub state: MetaState,
}

/// Behind all else: a state without `lives`, which earlier builds do not have.
const NO_LIVES: u8 = 0;

impl Welcome {
    /// Who the process is from now on.
    pub fn replica(&self) -> ReplicaId {
        ReplicaId {
            node: NodeId(self.node),
            incarnation: Incarnation(self.incarnation),
        }
    }

    /// As it goes over the wire.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = encode(self);
        if self.state.lives.is_empty() {
            bytes.pop();
        }
        bytes
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`MetaError`].
    pub fn decode(bytes: &[u8]) -> Result<Welcome, MetaError> {
        decode(bytes).or_else(|_| decode(&[bytes, &[NO_LIVES]].concat()))
    }
}

impl JoinRequest {
    /// As it goes over the wire.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`MetaError`].
    pub fn decode(bytes: &[u8]) -> Result<JoinRequest, MetaError> {
        decode(bytes)
    }
}

impl MetaMessage {
    /// As it goes over the wire.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`MetaError`].
    pub fn decode(bytes: &[u8]) -> Result<MetaMessage, MetaError> {
        decode(bytes)
    }
}
