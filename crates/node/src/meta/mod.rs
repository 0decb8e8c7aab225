//! The meta group: what the cluster agrees on about itself.
//!
//! A Paxos group like any shard's (group 0), whose state is not keys but [`MetaState`]: the cluster's id and secret
//! seed, its nodes with their lives and addresses, the runtime configuration that holds on all of them, and the scripts
//! that EVALSHA finds. Its voters
//! are the first few nodes; all others are learners, so every node has the state at hand, as a
//! [`crate::ClusterView`].
//!
//! What it does not hold: who leads what and who is alive (that changes too fast, and hints do), and who the members of
//! a shard's group are (the group's own log says that).
//!
//! Reading order: `command`, `state`, `lives`, `scripts`, `group`, `reconcile`, `pace`, `message`, `drive`, `whereabouts`.

mod command;
mod drive;
mod group;
mod lives;
mod message;
mod pace;
mod presence;
mod reconcile;
mod scripts;
mod shares;
mod state;
#[cfg(test)]
pub(crate) mod testing;
mod whereabouts;

pub use command::{
    MetaAnswer, MetaCommand, MetaError, MetaRequest, NodeAddresses, RequestId, ScriptChange,
};
pub(crate) use drive::{Meta, founding_command};
pub(crate) use group::MetaGroup;
pub use group::{Completion, META_GROUP, NoAnswer};
pub(crate) use lives::{LOCK_SPAN_MS, is_lost as are_lost};
pub use lives::{ReplicaName, ShardLife, ShardTestimony, Testimony};
pub use message::{JoinRequest, MetaMessage, Welcome};
pub(crate) use scripts::{ScriptStore, StoreFacts};
pub(crate) use state::ZONE_BYTES_MAX;
pub use state::{MetaState, NodeRecord};
