//! The memory budget: held after every command, shared by need, won back from the keys that matter least.

use super::{Hand, Lot, keys_in, node_of, send, used_bytes};
use crate::node::{Node, Room};
use crate::testing::Client;
use cache::Policy;
use proptest::prelude::*;
use std::sync::atomic::Ordering;

const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.";

/// The pool and the grants must add up, and no shard may use more than it was granted.
fn check_budget(node: &Node) {
    let mut granted = 0;
    for shard in 0..node.shards_count() {
        let shard = node.lock(shard);
        let used = shard.cache.used_bytes() as u64;
        assert!(
            shard.grant >= used,
            "{used} bytes used, {} granted",
            shard.grant
        );
        granted += shard.grant as i64;
    }
    assert_eq!(node.budget.pool() + granted, node.budget.total() as i64);
}

fn exists(client: &mut Client<'_>, key: &str) -> bool {
    client.run(&format!("EXISTS {key}")) == ":1"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// A node that outgrows maxmemory is killed by the system, with all that it holds.
    #[test]
    fn the_budget_holds_after_every_command(seed in any::<u64>(), policy in 0usize..2, total in 200_000u64..1_000_000) {
        let policy = [Policy::AllKeysLru, Policy::AllKeysRandom][policy];
        let hand = Hand::default();
        let node = node_of(total, policy, &hand);
        let mut client = Client::new(&node);
        let mut lot = Lot(seed);
        for _ in 0..400 {
            hand.advance_ms(lot.below(40));
            let key = format!("k{}", lot.below(200));
            let size = [10, 100, 1000, 5000, 20_000][lot.below(5) as usize];
            let value = vec![b'x'; lot.below(size) as usize];
            match lot.below(10) {
                0 => send(&mut client, &[b"DEL", key.as_bytes()]),
                1 => send(&mut client, &[b"APPEND", key.as_bytes(), &value]),
                2 => send(&mut client, &[b"MSET", key.as_bytes(), &value, b"other", &value]),
                3 => send(&mut client, &[b"SET", key.as_bytes(), &value, b"PX", b"100"]),
                4 => send(&mut client, &[b"GET", key.as_bytes()]),
                5 => send(&mut client, &[b"RENAME", key.as_bytes(), b"renamed"]),
                6 => send(&mut client, &[b"SETRANGE", key.as_bytes(), b"30000", b"x"]),
                7 => { node.turn(); Vec::new() }
                _ => send(&mut client, &[b"SET", key.as_bytes(), &value]),
            };
            check_budget(&node);
            prop_assert!(node.budget.missing() == 0);
            prop_assert!(used_bytes(&node) <= total, "{} of {total} bytes", used_bytes(&node));
        }
    }
}

/// A busy shard that evicts its own hot keys while others keep cold ones makes a small cache of a large one.
#[test]
fn eviction_is_close_to_one_order_over_all_shards() {
    let hand = Hand::default();
    let node = node_of(1 << 20, Policy::AllKeysLru, &hand);
    let mut client = Client::new(&node);
    let value = "x".repeat(200);
    let mut written = 0;
    while node.stats.evicted_keys.load(Ordering::Relaxed) == 0 {
        hand.advance_ms(16);
        client.run(&format!("SET old{written} {value}"));
        written += 1;
    }
    // Every third key that is left is used again, and so stays.
    let left: Vec<String> = (0..written)
        .map(|n| format!("old{n}"))
        .filter(|key| exists(&mut client, key))
        .collect();
    let (hot, cold): (Vec<_>, Vec<_>) = left.iter().enumerate().partition(|(n, _)| n % 3 == 0);
    hand.advance_ms(1000);
    for (_, key) in &hot {
        client.run(&format!("GET {key}"));
    }
    hand.advance_ms(1000);
    for n in 0..written / 2 {
        hand.advance_ms(16);
        client.run(&format!("SET new{n} {value}"));
    }
    let lost = |client: &mut Client<'_>, keys: &[(usize, &String)]| {
        keys.iter().filter(|(_, key)| !exists(client, key)).count()
    };
    assert_eq!(lost(&mut client, &hot), 0, "keys in use were evicted");
    let gone = lost(&mut client, &cold);
    assert!(gone * 10 > cold.len() * 6, "{gone} of {}", cold.len());
    // The cold ones went in order: hardly any of the younger half before the older half was gone.
    let (older, younger) = cold.split_at(gone);
    let early = lost(&mut client, younger);
    assert!(
        early * 10 <= older.len(),
        "{early} of {} went early",
        older.len()
    );
}

/// A shard that was empty when the node first ran short was never asked again, and kept its cold keys for ever.
#[test]
fn a_shard_that_was_empty_gives_its_share() {
    let hand = Hand::default();
    let node = node_of(400_000, Policy::AllKeysLru, &hand);
    let mut client = Client::new(&node);
    let busy = keys_in(&node, 2, "busy", 400);
    let late = keys_in(&node, 5, "late", 40);
    let value = "x".repeat(2000);
    for key in &busy {
        hand.advance_ms(16);
        client.run(&format!("SET {key} {value}"));
    }
    assert!(node.stats.evicted_keys.load(Ordering::Relaxed) > 0);
    for key in &late {
        hand.advance_ms(16);
        client.run(&format!("SET {key} {value}"));
    }
    for key in busy.iter().chain(&busy).chain(&busy) {
        hand.advance_ms(16);
        client.run(&format!("SET {key} {value}"));
    }
    let left = late.iter().filter(|key| exists(&mut client, key)).count();
    assert_eq!(left, 0, "cold keys outlived hot ones");
}

/// A shard that was read through since it last told its age would be robbed of keys in use.
#[test]
fn reads_move_a_shard_out_of_the_way() {
    let hand = Hand::default();
    let node = node_of(500_000, Policy::AllKeysLru, &hand);
    let mut client = Client::new(&node);
    let value = "x".repeat(2000);
    let read = keys_in(&node, 1, "read", 60);
    let idle = keys_in(&node, 6, "idle", 2000);
    for key in read.iter().chain(&idle[..400]) {
        hand.advance_ms(16);
        client.run(&format!("SET {key} {value}"));
    }
    let kept: Vec<&String> = read.iter().filter(|key| exists(&mut client, key)).collect();
    // All that is left of shard 1 was written before the rest, and is used from here on.
    let mut refilled = keys_in(&node, 1, "again", 30);
    refilled.extend(kept.into_iter().cloned());
    for key in &refilled {
        client.run(&format!("SET {key} {value}"));
    }
    for (n, key) in idle[400..800].iter().enumerate() {
        hand.advance_ms(16);
        if n % 20 == 0 {
            refilled.iter().for_each(|key| {
                client.run(&format!("GET {key}"));
            });
        }
        client.run(&format!("SET {key} {value}"));
    }
    let left = refilled
        .iter()
        .filter(|key| exists(&mut client, key))
        .count();
    assert_eq!(left, refilled.len(), "keys in use were evicted");
}

/// Ages that were told under another policy would hide the keys that this one may take.
#[test]
fn a_change_of_policy_is_felt_at_once() {
    let hand = Hand::default();
    let node = node_of(1 << 20, Policy::VolatileLru, &hand);
    let mut client = Client::new(&node);
    let value = "x".repeat(1000);
    for n in 0..300 {
        hand.advance_ms(16);
        client.run(&format!("SET persistent{n} {value}"));
    }
    for n in 0..1000 {
        hand.advance_ms(16);
        client.run(&format!("SET volatile{n} {value} EX 1000"));
    }
    assert!((0..300).all(|n| exists(&mut client, &format!("persistent{n}"))));
    client.run("CONFIG SET maxmemory-policy allkeys-lru");
    for n in 0..200 {
        hand.advance_ms(16);
        client.run(&format!("SET new{n} {value} EX 1000"));
    }
    let left = (0..150)
        .filter(|n| exists(&mut client, &format!("persistent{n}")))
        .count();
    assert!(
        left < 15,
        "{left} of the 150 oldest keys outlived younger ones"
    );
}

/// An evicted lock is a lock that two hold.
#[test]
fn pinned_keys_are_never_evicted() {
    for policy in [
        Policy::AllKeysLru,
        Policy::AllKeysRandom,
        Policy::VolatileLru,
        Policy::VolatileRandom,
        Policy::VolatileTtl,
    ] {
        let hand = Hand::default();
        let node = node_of(400_000, policy, &hand);
        // Locks may have all of it: this is about eviction.
        node.budget
            .locks
            .set(u64::MAX, crate::lock_memory::LockOverflow::Refuse);
        let mut client = Client::new(&node);
        let value = "x".repeat(250);
        for n in 0..100 {
            client.run(&format!("SET lock{n} {value} NX PX 100000"));
        }
        for n in 0..2000 {
            hand.advance_ms(16);
            client.run(&format!("SET k{n} {value} EX 1000"));
        }
        assert!(
            node.stats.evicted_keys.load(Ordering::Relaxed) > 200,
            "{policy:?}"
        );
        for n in 0..100 {
            assert!(
                exists(&mut client, &format!("lock{n}")),
                "{policy:?}, lock{n}"
            );
        }
        // Locks alone: they fill the memory, the next is refused, and none goes.
        let mut taken = 100;
        let refused = loop {
            let reply = client.run(&format!("SET lock{taken} {value} NX PX 100000"));
            if reply != "+OK" {
                break reply;
            }
            taken += 1;
            assert!(taken < 10_000, "{policy:?} never refused");
        };
        assert_eq!(refused, OOM);
        assert!(
            (0..taken).all(|n| exists(&mut client, &format!("lock{n}"))),
            "{policy:?}"
        );
        assert!(used_bytes(&node) < 400_000 + 50_000);
        // Room comes back when they expire.
        hand.advance_ms(100_000);
        node.turn();
        node.turn();
        assert_eq!(client.run("SET k v"), "+OK", "{policy:?}");
        check_budget(&node);
    }
}

/// Clients tell a full node by Redis's own words, and a read or a delete must still go through.
#[test]
fn noeviction_refuses_in_redis_words() {
    let hand = Hand::default();
    let node = node_of(300_000, Policy::NoEviction, &hand);
    let mut client = Client::new(&node);
    let value = "x".repeat(1000);
    let mut written = 0;
    while client.run(&format!("SET k{written} {value}")) == "+OK" {
        written += 1;
        assert!(written < 1000);
        assert!(used_bytes(&node) < 300_000 + 40_000);
    }
    assert_eq!(client.run("SET k v"), OOM);
    assert_eq!(client.run("MSET k v"), OOM);
    assert_eq!(client.run("INCR n"), OOM);
    assert_eq!(client.run("APPEND k0 x"), OOM);
    assert_eq!(client.run("EXISTS k0"), ":1");
    assert_eq!(client.run("MULTI"), "+OK");
    assert_eq!(client.run("SET k v"), OOM);
    assert_eq!(client.run("GET k"), OOM); // to queue it takes memory as well
    assert_eq!(
        client.run("EXEC"),
        "-EXECABORT Transaction discarded because of previous errors."
    );
    assert_eq!(node.stats.evicted_keys.load(Ordering::Relaxed), 0);
    let mut freed = 0;
    while client.run("SET k v") == OOM {
        client.run(&format!("DEL k{freed}"));
        freed += 1;
    }
    assert!(
        freed < written / 2,
        "{freed} deletes of {written} before a write went"
    );
    check_budget(&node);
    // Queued while there was room, run when there is none.
    let mut other = Client::new(&node);
    for n in freed..freed + 20 {
        client.run(&format!("DEL k{n}"));
    }
    client.run("MULTI");
    assert_eq!(client.run("SET a b"), "+QUEUED");
    while other.run(&format!("SET k{written} {value}")) == "+OK" {
        written += 1;
    }
    assert_eq!(
        client.run("EXEC"),
        "-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'."
    );
}

/// A value that can never fit must not empty the cache on its way out.
#[test]
fn a_value_larger_than_maxmemory_evicts_nobody() {
    let hand = Hand::default();
    let node = node_of(1 << 20, Policy::AllKeysLru, &hand);
    let mut client = Client::new(&node);
    for n in 0..100 {
        client.run(&format!("SET k{n} {n}"));
    }
    let huge = vec![b'x'; 2 << 20];
    let reply = send(&mut client, &[b"SET", b"huge", &huge]);
    assert_eq!(String::from_utf8_lossy(&reply), format!("{OOM}\r\n"));
    assert_eq!(client.run("DBSIZE"), ":100");
    // One that grows in place is only seen when it is there: it goes again, and memory holds.
    client.run("SETRANGE grown 3000000 x");
    assert!(used_bytes(&node) <= 1 << 20);
    check_budget(&node);
    assert_eq!(client.run("SET k v"), "+OK");
}

/// A volatile policy that takes other keys loses data that was meant to stay.
#[test]
fn volatile_policies_take_volatile_keys_only() {
    for policy in [
        Policy::VolatileLru,
        Policy::VolatileRandom,
        Policy::VolatileTtl,
    ] {
        let hand = Hand::default();
        let node = node_of(500_000, policy, &hand);
        let mut client = Client::new(&node);
        let value = "x".repeat(500);
        for n in 0..200 {
            client.run(&format!("SET stays{n} {value}"));
        }
        for n in 0..2000 {
            hand.advance_ms(16);
            let life_s = 1000 + (n * 7919) % 2000;
            client.run(&format!("SET k{n} {value} EX {life_s}"));
        }
        assert!(
            node.stats.evicted_keys.load(Ordering::Relaxed) > 1000,
            "{policy:?}"
        );
        assert!(
            (0..200).all(|n| exists(&mut client, &format!("stays{n}"))),
            "{policy:?}"
        );
        if policy == Policy::VolatileTtl {
            let lives: Vec<u64> = (0..2000u64)
                .filter(|n| exists(&mut client, &format!("k{n}")))
                .map(|n| 1000 + (n * 7919) % 2000)
                .collect();
            let mean = lives.iter().sum::<u64>() / lives.len() as u64;
            assert!(mean > 2400, "those that live on have a mean of {mean} s");
        }
        // When only keys that must stay are left, a write is refused.
        let mut refused = false;
        for n in 0..2000 {
            refused |= client.run(&format!("SET more{n} {value}")) == OOM;
        }
        assert!(refused, "{policy:?}");
        assert!(
            (0..200).all(|n| exists(&mut client, &format!("stays{n}"))),
            "{policy:?}"
        );
    }
}

/// A random policy that empties one shard first is no random policy.
#[test]
fn random_policies_take_from_all_shards() {
    let hand = Hand::default();
    let node = node_of(1 << 20, Policy::AllKeysRandom, &hand);
    let mut client = Client::new(&node);
    let value = "x".repeat(300);
    for n in 0..6000 {
        hand.advance_ms(16);
        client.run(&format!("SET k{n} {value}"));
    }
    let lens: Vec<usize> = (0..8).map(|shard| node.lock(shard).cache.len(0)).collect();
    let (least, most) = (
        *lens.iter().min().expect("8"),
        *lens.iter().max().expect("8"),
    );
    assert!(least * 2 > most, "keys by shard: {lens:?}");
}

/// maxmemory that is lowered must be felt without a write, and raised must be usable at once.
#[test]
fn maxmemory_moves_both_ways() {
    let hand = Hand::default();
    let node = node_of(4 << 20, Policy::AllKeysLru, &hand);
    let mut client = Client::new(&node);
    let value = "x".repeat(1000);
    let fill = |client: &mut Client<'_>, from: usize| {
        for n in from..from + 5000 {
            hand.advance_ms(1);
            assert_eq!(client.run(&format!("SET k{n} {value}")), "+OK");
        }
    };
    fill(&mut client, 0);
    assert!(used_bytes(&node) > 3 << 20);
    assert_eq!(client.run("CONFIG SET maxmemory 2mb"), "+OK");
    node.turn();
    assert!(used_bytes(&node) <= 2 << 20);
    check_budget(&node);
    assert!(exists(&mut client, "k4999"));
    assert!(!exists(&mut client, "k2500"));
    client.run("CONFIG SET maxmemory 4mb");
    fill(&mut client, 5000);
    assert!(used_bytes(&node) > 3 << 20 && used_bytes(&node) <= 4 << 20);
    client.run("FLUSHALL");
    check_budget(&node);
    fill(&mut client, 0);
    check_budget(&node);
    // The least that may be configured still works as a cache.
    client.run("CONFIG SET maxmemory 1mb");
    fill(&mut client, 0);
    assert!(used_bytes(&node) <= 1 << 20);
    assert!(exists(&mut client, "k4999"));
}

/// An eviction that never ends holds up the client that asked for room, and then all.
#[test]
fn relieving_ends_whatever_others_do() {
    let hand = Hand::default();
    let node = node_of(300_000, Policy::AllKeysLru, &hand);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let node = &node;
            scope.spawn(move || {
                let mut client = Client::new(node);
                let value = "x".repeat(3000);
                for n in 0..2000 {
                    client.run(&format!("SET k{thread}:{} {value}", n % 300));
                    if n % 50 == 0 {
                        node.relieve(node.now());
                    }
                }
            });
        }
    });
    assert_eq!(node.relieve(node.now()), Room::Enough);
    assert!(used_bytes(&node) <= 300_000);
    check_budget(&node);
}
