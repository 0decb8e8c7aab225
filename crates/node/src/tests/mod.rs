//! Tests of the node's core as a whole: what commands through sessions leave in the log, in memory and for others.

mod bad_peers;
mod elastic;
mod expiry;
mod fences;
mod forming;
mod forwarded_reads;
mod gathered;
mod group_faults;
mod group_memory;
mod groups;
mod hints;
mod known_scripts;
mod lock_memory;
mod locks;
mod memory;
mod pops;
mod published;
mod pushes;
mod read_mode;
mod recovery;
mod replay;
mod resets;
mod scripts;
mod sessions;
mod threads;
mod tracked;
mod transactions;
mod watch;

use crate::host::{Host, Process};
use crate::node::Node;
use crate::settings::Settings;
use crate::testing::Client;
use cache::Policy;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Wall time of a fresh [`Hand`], microseconds.
const START_WALL_US: u64 = 1_700_000_000_000_000;

/// A process whose clocks the test sets, back as well: a thread that read the clock earlier comes later. Clones share.
#[derive(Clone, Debug, Default)]
struct Hand(Arc<HandState>);

#[derive(Debug, Default)]
struct HandState {
    monotonic_us: AtomicU64,
    wall_offset_us: AtomicU64,
    draws: AtomicU64,
}

impl Hand {
    fn set_ms(&self, ms: u64) {
        self.0.monotonic_us.store(ms * 1000, Ordering::Relaxed);
    }

    fn ms(&self) -> u64 {
        self.0.monotonic_us.load(Ordering::Relaxed) / 1000
    }

    fn advance_ms(&self, ms: u64) {
        self.0.monotonic_us.fetch_add(ms * 1000, Ordering::Relaxed);
    }

    /// Moves the wall clock alone.
    fn step_wall_us(&self, us: u64) {
        self.0.wall_offset_us.fetch_add(us, Ordering::Relaxed);
    }
}

impl Host for Hand {
    fn monotonic_us(&self) -> u64 {
        self.0.monotonic_us.load(Ordering::Relaxed)
    }

    fn wall_us(&self) -> u64 {
        START_WALL_US + self.monotonic_us() + self.0.wall_offset_us.load(Ordering::Relaxed)
    }

    fn random(&self) -> u64 {
        Lot(self.0.draws.fetch_add(1, Ordering::Relaxed)).next()
    }

    fn process(&self) -> Process {
        Process::default()
    }
}

/// A seeded sequence of draws (SplitMix64).
struct Lot(u64);

impl Lot {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A node of 8 shards under a test's clock.
fn node_of(maxmemory_bytes: u64, policy: Policy, hand: &Hand) -> Node {
    let settings = Settings {
        shards: 8,
        maxmemory_bytes,
        maxmemory_policy: policy,
        ..Settings::default()
    };
    Node::new(settings, Box::new(hand.clone())).expect("8 shards divide the slots")
}

fn node(hand: &Hand) -> Node {
    node_of(64 << 20, Policy::AllKeysLru, hand)
}

/// The first `count` keys `prefix0`, `prefix1` … that live in `shard`.
fn keys_in(node: &Node, shard: usize, prefix: &str, count: usize) -> Vec<String> {
    (0..)
        .map(|n| format!("{prefix}{n}"))
        .filter(|key| node.shard_of(key.as_bytes()) == shard)
        .take(count)
        .collect()
}

fn used_bytes(node: &Node) -> u64 {
    (0..node.shards_count())
        .map(|shard| node.lock(shard).cache.used_bytes() as u64)
        .sum()
}

/// Sends one command and returns the reply's bytes.
fn send(client: &mut Client<'_>, arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    resp::encode_request(&mut bytes, arguments);
    client.feed(&bytes)
}
