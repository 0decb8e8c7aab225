//! Multi-Paxos for one group, without I/O: a replica is a state machine that is stepped by its owner.
//!
//! ```text
//!   Input (message, tick, proposal, read …) ──▶ Replica::step ──▶ Output (persist, send, apply, serve, role)
//! ```
//!
//! One decision per log index, each a Paxos of its own (Lamport, "Paxos Made Simple", 2001): ballots of (round, replica);
//! phase 1 (Prepare, Promise) once for the whole tail of the log; phase 2 (Accept, Accepted) pipelined and batched, a
//! round trip per batch. A group of three sends two Accepts for a batch and goes on with the first answer.
//!
//! **For those who know Raft.** Ballot = term, chosen = committed, and in calm weather the messages are the same. What
//! differs is what happens when a leader falls:
//!
//! - *Anybody with a quorum may lead.* Promises bring the tail with them, per index the value of the highest ballot, and
//!   the new leader proposes that again under its own ballot. No vote depends on whose log is longer, so no replica is
//!   kept from leading by what it lacks, nobody's log is rolled back, and a former leader's entries need no empty entry
//!   of the new term to be chosen behind them. What it lacks of the chosen prefix it fetches from whoever promised (R9).
//! - *An accepted entry means nothing by itself.* It carries its own ballot; a commit index counts only for what was
//!   accepted under the very ballot of the leader that says so (R7). There is no check of the entry before: a follower's
//!   log has no holes because it accepts only what follows on its own, and `upto` in its answers says where that is.
//! - *A configuration rules from the index behind it, once it is chosen*, and phase 1 is done again among its voters
//!   (R4, R6). So any replacement of members is one entry, without joint consensus.
//! - *Names are lives.* A replica that lost its memory has another name and no vote (incarnations), so nothing needs a
//!   disk to be safe.
//! - *Leases do not delay elections.* A leader is replaced at once; its successor only shows nothing until former leases
//!   are over, and its log time has then passed all by which they may have answered reads.
//!
//! What this crate does *not* know: sockets, threads, clocks (`now_us` is an argument), random sources (a seed is an
//! argument), keys, shards, commands. An entry's payload is bytes.
//!
//! Reading order: `types`, `message`, `door`, `replica`, `start`, `log`, `acceptor`, `election`, `leader`, `proposals`,
//! `follower`, `lease`, `reads`, `transfer`, `catchup`, `membership`, `snapshot`, `retire`, `renew`; `mutation` for simulations.

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
mod proposals;
mod reads;
mod renew;
mod replica;
mod retire;
mod snapshot;
mod start;
mod transfer;
mod types;

pub use door::{Input, Output, Record, RoleChange, Settings, SnapshotBase, SnapshotStep};
pub use message::{AcceptedEntry, HeardTime, Kind, Message};
#[cfg(feature = "mutations")]
pub use mutation::{MUTATIONS, Mutation};
pub use replica::Replica;
pub use start::Start;
pub use types::{
    Ballot, Config, Entry, Generation, GroupId, Incarnation, Index, NodeId, ReplicaId,
};
