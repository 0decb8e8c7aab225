//! Memory and durability of shards with replicas: evictions are agreed on, every node's budget holds, nothing is said
//! before it is durable.

use super::groups::{Asker, compare};
use crate::journal::{
    Checkpoint, Generation, GroupId, Journal, JournalBatch, JournalError, JournalUsage,
};
use crate::testing::network::Network;
use cache::Policy;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Writes `count` keys of `bytes` each through node 1, some at a time; returns how many were refused.
fn fill(network: &mut Network, count: usize, bytes: usize) -> usize {
    let mut asker = Asker::new(network, 1);
    let value = "v".repeat(bytes);
    let mut slots = Vec::new();
    for n in 0..count {
        let key = format!("key{n}");
        let shard = network.node(1).shard_of(key.as_bytes());
        slots.push(asker.write(network, shard, &format!("SET {key} {value}")));
        if n % 50 == 49 {
            network.tick();
        }
    }
    network.run_ms(300);
    let refused = |slot: &&u32| {
        let reply = asker.reply(**slot).expect("every write is answered");
        reply.starts_with("-OOM")
    };
    slots.iter().filter(refused).count()
}

fn used_bytes(network: &Network, node: u32) -> u64 {
    let node = network.node(node);
    (0..node.shards_count())
        .map(|shard| node.lock(shard).cache.used_bytes() as u64)
        .sum()
}

#[test]
fn replicas_evict_the_same_keys() {
    // Breaks if a replica evicts by its own recency, or a leader lets memory grow past maxmemory.
    let mut network = Network::new(3, 3, |settings| {
        settings.maxmemory_bytes = 4 << 20;
        settings.maxmemory_policy = Policy::AllKeysLru;
    });
    network.settle();
    assert_eq!(fill(&mut network, 10_000, 1000), 0);
    for shard in 0..8 {
        compare(&network, shard);
    }
    for node in 1..=3 {
        let used = used_bytes(&network, node);
        assert!(used <= (4 << 20) + (4 << 20) / 16, "node {node}: {used}");
        assert!(used >= 3 << 20, "node {node} evicted far too much: {used}");
    }
}

#[test]
fn a_follower_with_less_memory_is_heeded() {
    // Breaks if a node's maxmemory does not hold for what others lead.
    let mut network = Network::with_journals(
        3,
        3,
        |number, settings| {
            settings.maxmemory_bytes = if number == 3 { 3 << 20 } else { 16 << 20 };
            settings.maxmemory_policy = Policy::AllKeysLru;
        },
        |_| None,
    );
    network.settle();
    fill(&mut network, 8_000, 1000);
    network.run_ms(2000);
    let used = used_bytes(&network, 3);
    assert!(used <= (3 << 20) + (3 << 20) / 8, "{used}");
    assert!(used >= 1 << 20, "evicted far too much: {used}");
    for shard in 0..8 {
        compare(&network, shard);
    }
}

#[test]
fn a_full_leader_refuses_what_others_forward() {
    // Breaks if writes by way of another node get around maxmemory, or a refused one holds up those behind it.
    let mut network = Network::new(3, 3, |settings| {
        settings.maxmemory_bytes = 2 << 20;
        settings.maxmemory_policy = Policy::NoEviction;
    });
    network.settle();
    let shard = (0..8).find(|shard| network.leader(*shard) != Some(1));
    let shard = shard.expect("node 1 does not lead all");
    let mut asker = Asker::new(&network, 1);
    let value = "v".repeat(1000);
    let mut slots = Vec::new();
    for n in 0..4000 {
        slots.push(asker.write(&network, shard, &format!("SET key{n} {value}")));
        if n % 50 == 49 {
            network.tick();
        }
    }
    network.run_ms(300);
    let is_refused = |slot: &&u32| {
        let reply = asker.reply(**slot).expect("every write is answered");
        reply.starts_with("-OOM")
    };
    let refused = slots.iter().filter(is_refused).count();
    assert!((1900..2300).contains(&refused), "{refused}");
    assert!(is_refused(&slots.last().expect("some")));
    let slot = asker.write(&network, shard, "DEL key1");
    network.run_ms(100);
    assert_eq!(asker.reply(slot), Some(":1".into()));
    compare(&network, shard);
}

/// A disk that counts, and fails when it is told to.
#[derive(Debug, Default)]
struct Disk {
    appends: AtomicUsize,
    fails: AtomicBool,
}

impl Journal for Disk {
    fn append(&self, _: &JournalBatch) -> Result<(), JournalError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(JournalError("no space left".into()));
        }
        self.appends.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn begin_checkpoint(
        &self,
        _: GroupId,
        _: Generation,
    ) -> Result<Box<dyn Checkpoint>, JournalError> {
        Err(JournalError("no checkpoints here".into()))
    }

    fn groups_to_checkpoint(&self) -> Vec<GroupId> {
        Vec::new()
    }

    fn usage(&self) -> JournalUsage {
        JournalUsage::default()
    }
}

#[test]
fn a_node_whose_disk_fails_says_nothing_more_and_the_others_go_on() {
    // Breaks if an acknowledgement leaves whose record is on no disk.
    let disks: Vec<Arc<Disk>> = (0..3).map(|_| Arc::default()).collect();
    let mut network = Network::with_journals(
        3,
        3,
        |_, _| {},
        |number| Some(disks[number as usize - 1].clone() as Arc<dyn Journal>),
    );
    network.settle();
    let mut asker = Asker::new(&network, 1);
    let slot = asker.write(&network, 0, "INCR k");
    network.deliver();
    assert_eq!(asker.reply(slot), Some(":1".into()));
    assert!(
        disks
            .iter()
            .all(|disk| disk.appends.load(Ordering::Relaxed) > 0)
    );
    let leader = network.leader(0).expect("settled");
    disks[leader as usize - 1]
        .fails
        .store(true, Ordering::Relaxed);
    let slot = asker.write(&network, 0, "INCR k");
    network.run_ms(3000);
    assert!(network.node(leader).cluster.failure().is_some());
    assert_ne!(network.leader(0), Some(leader));
    if leader != 1 {
        assert_eq!(asker.reply(slot), Some(":2".into()));
    }
    let other = (1..=3).find(|node| *node != leader).expect("two others");
    let mut asker = Asker::new(&network, other);
    let slot = asker.write(&network, 0, "INCR k");
    network.run_ms(1000);
    assert_eq!(asker.reply(slot), Some(":3".into()));
}
