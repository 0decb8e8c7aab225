//! Where a key lives: key → slot → shard, and, with the same ring, shard → nodes.
//!
//! * A **slot** is one of 16384 positions, `CRC16(hash tag of the key) mod 16384`, exactly as in the
//!   Redis Cluster specification, so that cluster-aware clients compute the same one.
//! * A **shard** owns a range of slots. [`ShardMap`] says which: finding the shard of a key costs one checksum and a
//!   multiplication.
//! * The **[`Ring`]** spreads shards over nodes: consistent hashing with virtual nodes in proportion to weights, and a
//!   bound on every member's load. [`wanted_replicas`] walks it for the members that should hold and lead each shard, in distinct
//!   zones; [`plan`] says what moves from one such placement to another.
//!
//! Everything here is a pure function of its arguments, the same on every node, build and processor:
//! integers throughout, a hash (xxh3) whose values are fixed, and no order taken from a hash map.
//! Two nodes with equal inputs therefore agree on the placement without a word between them.
//!
//! What this crate does *not* know: nodes' addresses, who leads what, epochs of the map, keys'
//! values, or whether a wanted placement has been reached.
//!
//! Reading order: `slot`, `ring`, `shard_map`, `replicas`, `plan`.

mod slot;

mod ring;

mod shard_map;

mod replicas;

mod plan;

pub use plan::{HandOver, MemberMoves, Move, Plan, plan};
pub use replicas::{Host, Replicas, Zone, voters_count, wanted_replicas};
pub use ring::{Member, Ring, RingError, RingOptions};
pub use shard_map::{ShardCountError, ShardId, ShardMap};
pub use slot::{SLOTS_COUNT, slot_of};
