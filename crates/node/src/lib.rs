//! One member of the cluster: shards behind their own short locks, routing of commands to them, connections'
//! sessions, and what they share (publish/subscribe, client-side caching, statistics, the memory budget).
//!
//! ```text
//!   server: socket ──bytes──▶ resp::Scanner ──batch──▶ Session::run ──▶ Output ──▶ socket
//!                                                        │  row, keys → slot → shard
//!                                                        ▼
//!                               Shard (lock): log entry → apply → cache
//! ```
//!
//! Everything runs on the task that read the bytes; no thread or channel stands between a connection and a
//! shard. Locks are held for one command or a bounded step of a walk, several only in ascending order of shards.
//!
//! What this crate does *not* know: sockets, files, threads, the clock (it asks its [`Host`]), configuration
//! files and flags. Nothing here is async.
//!
//! Reading order: `host`, `entry`, `shard`, `memory`, `node`, `housework`, `session`, then what they use.

mod awaiting;
mod balance;
mod bandwidth;
mod blocked;
mod checkpoints;
mod client;
mod cluster;
mod copies;
mod drive;
mod effects;
mod entry;
#[allow(dead_code, reason = "snapshots and eviction use the rest of it next")]
mod group;
mod hints;
mod host;
mod hot;
mod housework;
pub mod journal;
mod latency;
mod lock_memory;
mod memory;
pub mod meta;
mod monitor;
mod node;
pub mod operate;
mod overlay;
mod overview;
mod pause;
pub mod peers;
mod progress;
mod pubsub;
mod questions;
mod recovery;
mod relief;
mod report;
mod resets;
mod resident;
mod scripts;
mod session;
pub mod settings;
mod shard;
mod slots;
mod slowlog;
mod stats;
mod status;
mod telling;
mod tend;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tracking;
mod transactions;
mod vet;
mod view;
pub mod wire;

pub use checkpoints::CheckpointWork;
pub use client::{Client, ClientClass, ClientFlag, ClientId, Unblock};
pub use cluster::{Cluster, Flusher, Membership};
pub use copies::ShardCopy;
pub use entry::{ALL_DATABASES, EntryError, Stamp};
pub use group::{Mode, NotHere, OpError, OpFlags, OpHead, OpKind, QueueFull, Request};
pub use host::{Host, Now, Process};
pub use hot::HotKey;
pub use housework::Housework;
pub use lock_memory::{LockMemory, LockMemoryLimit, LockOverflow};
pub use memory::Budget;
pub use node::{Node, Room, ShardGuard};
pub use paxos::{GroupId, Incarnation, NodeId, ReplicaId};
pub use peers::Peers;
pub use progress::{Lease, Progress};
pub use recovery::{Remembered, StartError};
pub use report::{LedShard, NodeReport};
pub use resident::Resident;
pub use session::{Manner, Session, Step};
pub use settings::Settings;
pub use shard::{Call, Shard};
pub use slots::{Slots, Ticket};
pub use status::{NodeStatus, ShardStatus, Status};
pub use tend::REST_US_MIN;
pub use vet::Misbehaviour;
pub use view::{Addresses, ClusterView, NodeView};
pub use wire::PeerMessage;
