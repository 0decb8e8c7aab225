//! Recency over a failover: what is read at a leader is known to its followers when they have to evict.

use super::groups::{Asker, compare};
use super::keys_in;
use crate::group::OpKind;
use crate::testing::network::{Network, replica};
use crate::wire::{PeerMessage, Touched};
use bytes::Bytes;
use cache::{Key, Policy};
use paxos::GroupId;

const HOT_COUNT: usize = 200;

/// Writes keys through node `at`, some at a time; all are to be taken.
fn write(network: &mut Network, at: u32, shard: usize, keys: &[String]) {
    let mut asker = Asker::new(network, at);
    let value = "v".repeat(1000);
    let mut slots = Vec::new();
    for keys in keys.chunks(50) {
        slots.extend(
            keys.iter()
                .map(|key| asker.write(network, shard, &format!("SET {key} {value}"))),
        );
        network.tick();
    }
    network.run_ms(1500);
    for slot in slots {
        assert_eq!(asker.reply(slot).as_deref(), Some("+OK"));
    }
}

fn held(network: &Network, at: u32, shard: usize, keys: &[String]) -> usize {
    let guard = network.node(at).lock(shard);
    let seed = guard.cache.seed();
    let is_held = |key: &&String| {
        guard
            .cache
            .peek(Key::new(seed, 0, key.as_bytes()))
            .is_some()
    };
    keys.iter().filter(is_held).count()
}

#[test]
fn the_heir_of_a_leader_evicts_what_nobody_read() {
    // Breaks if a failover makes the new leader evict by the order of writes: the keys that all clients read go first,
    // because they were written first.
    let mut network = Network::new(3, 3, |settings| {
        settings.maxmemory_bytes = 4 << 20;
        settings.maxmemory_policy = Policy::AllKeysLru;
    });
    network.settle();
    let shard = 0;
    let leader = network.leader(shard).expect("settled");
    let node = network.node(leader).clone();
    let hot = keys_in(&node, shard, "hot", HOT_COUNT);
    let cold = keys_in(&node, shard, "cold", 2500);
    write(&mut network, leader, shard, &hot);
    write(&mut network, leader, shard, &cold);
    assert_eq!(held(&network, leader, shard, &hot), HOT_COUNT);

    let mut reader = Asker::new(&network, leader);
    for round in 0..60 {
        for key in hot.iter().skip(round % 4).step_by(4) {
            reader.ask(&network, shard, OpKind::Read, &format!("GET {key}"), 0);
        }
        network.tick();
    }
    network.run_ms(300);
    compare(&network, shard);

    network.stop(leader);
    network.run_ms(2000);
    let heir = network.leader(shard).expect("two of three are left");
    assert_ne!(heir, leader);
    let new = keys_in(&node, shard, "new", 2500);
    write(&mut network, heir, shard, &new);
    let (hot_left, cold_left) = (
        held(&network, heir, shard, &hot),
        held(&network, heir, shard, &cold),
    );
    assert!(
        cold_left < 1500,
        "nothing much was evicted: {cold_left} cold ones are left"
    );
    assert!(
        hot_left >= HOT_COUNT * 9 / 10,
        "{hot_left} hot ones are left, {cold_left} cold ones"
    );
    let other = (1..=3).find(|n| *n != heir && *n != leader).expect("one");
    assert_eq!(held(&network, other, shard, &hot), hot_left);
}

#[test]
fn only_a_shards_leader_is_heard_about_its_recency() {
    // Breaks if a node that was deposed, or one without a part in it, puts a shard's order of eviction out of joint.
    let network = Network::of_three();
    let leader = network.leader(0).expect("settled");
    let follower = leader % 3 + 1;
    let stranger = follower % 3 + 1;
    let node = network.node(follower);
    let used_ms = || node.lock(0).cache.used_ms();
    let tell = |from: u32, ahead_ms: u64| {
        let touched = Touched {
            group: GroupId(1),
            log_ms: used_ms() + ahead_ms,
            keys: vec![(0, Bytes::from_static(b"k"))],
        };
        let message = PeerMessage::Touched(touched);
        let taken = node.on_peer_message(replica(from), message, node.now());
        assert_eq!(taken, Ok(()));
    };
    let before_ms = used_ms();
    tell(stranger, 100);
    assert_eq!(used_ms(), before_ms);
    tell(leader, 100);
    assert_eq!(used_ms(), before_ms + 100);
    tell(leader, 1 << 40);
    let known_ms = network.node(leader).now().log_ms;
    assert!(
        used_ms() < known_ms + 10_000,
        "a clock far ahead is not followed"
    );
}
