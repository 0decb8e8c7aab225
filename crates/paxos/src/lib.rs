//! Multi-Paxos for one group, without I/O: a replica is a state machine that is stepped by its owner.
//!
//! ```text
//!   Input (message, tick, proposal, read …) ──▶ Replica::step ──▶ Output (persist, send, apply, serve, role)
//! ```
//!
//! One decision per log index, ballots of (round, replica), phase 1 once for the whole tail, phase 2 pipelined, with
//! contiguous cumulative acknowledgements (Lamport, "Paxos Made Simple", 2001, §2 and §3). An entry's payload is bytes.
//!
//! What this crate does *not* know: sockets, threads, clocks (`now_us` is an argument), random sources (a seed is an
//! argument), keys, shards, commands.
//!
//! Reading order: `types`, `message`, `door`, `replica`, `log`, `acceptor`, `election`, `leader`, `follower`, `lease`, `reads`,
//! `transfer`, `catchup`, `membership`, `snapshot`; `mutation` for simulations.

mod acceptor;
mod catchup;
mod door;
mod election;
mod follower;
mod leader;
mod lease;
mod log;
mod membership;
mod message;
mod mutation;
mod reads;
mod replica;
mod snapshot;
mod transfer;
mod types;

pub use door::{Input, Output, Record, RoleChange, Settings, SnapshotBase, SnapshotStep};
pub use message::{AcceptedEntry, Kind, Message};
#[cfg(feature = "mutations")]
pub use mutation::{MUTATIONS, Mutation};
pub use replica::{Replica, Start};
pub use types::{
    Ballot, Config, Entry, Generation, GroupId, Incarnation, Index, NodeId, ReplicaId,
};
