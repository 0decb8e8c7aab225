//! What locks may take of the memory, and LOCK.GUARD on shards with and without replicas.

use super::groups::{Asker, compare};
use super::sessions::run;
use crate::group::OpKind;
use crate::lock_memory::LockMemoryLimit;
use crate::lock_memory::LockOverflow::{self, Evict, Refuse};
use crate::testing::network::Network;
use crate::testing::{Client, node_with};
use std::sync::atomic::Ordering;

fn take(n: usize) -> String {
    format!("SET lock{n} owner NX PX 59000")
}

#[test]
fn locks_beyond_their_memory_are_refused() {
    // Breaks if clients that never release their locks, or a cache's `add`, fill the node with what is not evicted; or if
    // anything but a new lock is refused then.
    let (node, clock) = node_with(|settings| {
        settings.lock_memory = LockMemoryLimit::Bytes(64 << 10);
    });
    let mut client = Client::new(&node);
    let taken = (0..10_000).take_while(|n| client.run(&take(*n)) == "+OK");
    let taken = taken.count();
    assert!((500..2000).contains(&taken), "{taken}");
    let refused = client.run("SET one more NX EX 5");
    assert!(
        refused.starts_with("-OOM lock memory is used up"),
        "{refused}"
    );
    let aborted = client.pipeline(&["MULTI", "SET one more NX EX 5", "EXEC"]);
    assert!(aborted.contains("-EXECABORT"), "{aborted}");
    let script = "EVAL \"return redis.call('set', KEYS[1], 'x', 'NX', 'PX', '5')\" 1 one";
    assert!(client.run(script).contains("OOM lock memory"), "a script's");
    let guarded = client.run("LOCK.GUARD lock1 1 SET one more NX EX 5");
    assert!(guarded.starts_with("-OOM lock memory"), "{guarded}");
    assert_eq!(client.run("EXISTS one"), ":0");
    assert_eq!(client.run("SET one more EX 5"), "+OK", "no lock");
    assert_eq!(client.run("SETNX two more"), ":1", "no lock");
    assert_eq!(client.run("PEXPIRE lock1 900000"), ":1", "no new one");
    let info = client.run("INFO memory");
    assert!(info.contains("lock_memory_limit:65536"), "{info}");
    let used = node.budget.locks.used();
    assert!(
        info.contains(&format!("lock_memory_bytes:{used}")),
        "{info}"
    );
    assert!(used <= 64 << 10 && used > 60 << 10, "{used}");
    client.run("DEL lock1 lock2");
    assert_eq!(client.run(&take(1)), "+OK", "room again");
    assert_eq!(client.run("CONFIG SET lock-memory 1mb"), "+OK");
    assert_eq!(client.run("SET one2 more NX EX 5"), "+OK");
    clock.advance_ms(600_000);
    node.turn();
    assert_eq!(node.budget.locks.used(), 0, "all have expired");
}

#[test]
fn locks_go_for_others_where_the_operator_chose_that() {
    // Breaks if locks outgrow their memory under `evict`, or the one that was just taken goes.
    let (node, _clock) = node_with(|settings| {
        settings.lock_memory = LockMemoryLimit::Bytes(64 << 10);
        settings.lock_overflow = Evict;
    });
    let mut client = Client::new(&node);
    for n in 0..5000 {
        assert_eq!(client.run(&take(n)), "+OK");
        assert_ne!(client.run(&format!("LOCK.FENCE lock{n}")), "$-1", "{n}");
        assert!(node.budget.locks.used() <= 64 << 10);
    }
    assert_eq!(client.run("LOCK.FENCE lock0"), "$-1");
    let evicted = node.stats.evicted_keys.load(Ordering::Relaxed);
    assert!((3800..4800).contains(&evicted), "{evicted}");
}

#[test]
fn settings_of_lock_memory_are_read_and_told() {
    // Breaks if a share or an amount is taken for the other, or nonsense is taken at all.
    let (node, _clock) = node_with(|_| {});
    let mut client = Client::new(&node);
    assert_eq!(
        client.run("CONFIG GET lock-memory"),
        "*2 $11 lock-memory $3 25%"
    );
    assert_eq!(node.budget.locks.limit(), (64 << 20) / 100 * 25);
    for (value, limit) in [
        ("50%", (64 << 20) / 100 * 50),
        ("2mb", 2 << 20),
        ("1gb", 64 << 20),
    ] {
        assert_eq!(
            client.run(&format!("CONFIG SET lock-memory {value}")),
            "+OK"
        );
        assert_eq!(node.budget.locks.limit(), limit, "{value}");
    }
    for value in ["0%", "101%", "x", "%", "-1"] {
        let refused = client.run(&format!("CONFIG SET lock-memory {value}"));
        assert!(refused.starts_with("-ERR CONFIG SET failed"), "{refused}");
    }
    assert_eq!(client.run("CONFIG SET lock-overflow EVICT"), "+OK");
    assert_eq!(
        client.run("CONFIG GET lock-overflow"),
        "*2 $13 lock-overflow $5 evict"
    );
    let refused = client.run("CONFIG SET lock-overflow no");
    assert!(refused.contains("refuse, evict"), "{refused}");
}

/// Three nodes with little memory for locks.
fn short_of_locks(overflow: LockOverflow) -> Network {
    let mut network = Network::new(3, 3, |settings| {
        settings.lock_memory = LockMemoryLimit::Bytes(16 << 10);
        settings.lock_overflow = overflow;
    });
    network.settle();
    network
}

#[test]
fn leaders_refuse_locks_beyond_their_memory_whoever_asks() {
    // Breaks if a node that does not lead decides, or a follower's copy comes apart from the leader's.
    let mut network = short_of_locks(Refuse);
    let mut askers: Vec<Asker> = (1..=3).map(|node| Asker::new(&network, node)).collect();
    let leader = network.leader(1).expect("settled");
    // What a node asks that leads itself, its session looks at before it is queued.
    askers.remove(leader as usize - 1);
    let (mut given, mut refused) = (0, 0);
    for n in 0..600 {
        let asker = &mut askers[n % 2];
        let slot = asker.write(&network, 1, &take(n));
        network.deliver();
        let reply = asker.reply(slot).expect("answered");
        given += usize::from(reply == "+OK");
        refused += usize::from(reply.starts_with("-OOM lock memory"));
    }
    assert_eq!(given + refused, 600);
    assert!(refused > 300, "{given} given, {refused} refused");
    let mut client = Client::new(network.node(leader));
    let key = (0..).map(|n| format!("own{n}"));
    let mut key = key.filter(|key| network.node(leader).shard_of(key.as_bytes()) == 1);
    let key = key.next().expect("eight shards");
    let reply = client.run(&format!("SET {key} me NX PX 5000"));
    assert!(reply.starts_with("-OOM lock memory"), "{reply}");
    drop(client);
    network.run_ms(200);
    compare(&network, 1);
}

#[test]
fn leaders_evict_locks_by_the_log() {
    // Breaks if replicas lose different locks, or a lock that was granted anew goes by a decision about the former grant.
    let mut network = short_of_locks(Evict);
    let mut askers: Vec<Asker> = (1..=3).map(|node| Asker::new(&network, node)).collect();
    for n in 0..1500 {
        let slot = askers[n % 3].write(&network, 1, &take(n));
        network.deliver();
        assert_eq!(askers[n % 3].reply(slot).as_deref(), Some("+OK"));
    }
    network.run_ms(200);
    let leader = network.leader(1).expect("somebody leads");
    let used = network.node(leader).budget.locks.used();
    assert!(used < 32 << 10, "{used}");
    compare(&network, 1);
}

#[test]
fn guards_hold_within_one_shard_and_over_several() {
    // Breaks if a guarded write of a former holder is applied by any replica, wherever its data live.
    let mut network = Network::of_three();
    let mut asker = Asker::new(&network, 2);
    let taken = asker.write(&network, 1, "SET l me NX PX 60000");
    let (asked, _) = asker.ask(&network, 1, OpKind::Read, "LOCK.FENCE l", 1);
    network.deliver();
    assert_eq!(asker.reply(taken).as_deref(), Some("+OK"));
    let fence = asker.reply(asked).expect("answered")[1..].to_owned();
    let guarded = format!("LOCK.GUARD l {fence} SET data mine");
    let first = asker.write(&network, 1, &guarded);
    asker.write(&network, 1, "DEL l");
    asker.write(&network, 1, "SET l you NX PX 60000");
    let second = asker.write(&network, 1, &guarded);
    network.deliver();
    assert_eq!(asker.reply(first).as_deref(), Some("+OK"));
    let reply = asker.reply(second).expect("answered");
    assert!(reply.starts_with("-STALELOCK"), "{reply}");
    network.run_ms(100);
    compare(&network, 1);
    let node = network.node(1).clone();
    let mut client = Client::new(&node);
    let apart = (0..100).map(|n| format!("data{n}"));
    let apart = apart
        .into_iter()
        .find(|key| node.shard_of(key.as_bytes()) != node.shard_of(b"l"))
        .expect("eight shards");
    run(&mut network, &mut client, "SET l first NX PX 60000");
    let fence = run(&mut network, &mut client, "LOCK.FENCE l")[1..].to_owned();
    let guard = |fence: &str| format!("LOCK.GUARD l {fence} SET {apart} x");
    assert_eq!(run(&mut network, &mut client, &guard(&fence)), "+OK");
    run(&mut network, &mut client, "DEL l");
    run(&mut network, &mut client, "SET l third NX PX 60000");
    let refused = run(&mut network, &mut client, &guard(&fence));
    assert!(refused.starts_with("-STALELOCK"), "{refused}");
    let unknown = run(&mut network, &mut client, "LOCK.GUARD l x SET a b");
    assert_eq!(unknown, "-ERR value is not an integer or out of range");
}

#[test]
fn guards_hold_over_shards_of_a_node_alone_and_in_transactions() {
    // Breaks if a node alone refuses a guard that it can hold, or MULTI and EVAL let a former holder in.
    let (node, _clock) = node_with(|_| {});
    let mut client = Client::new(&node);
    client.run("SET l me NX PX 60000");
    let fence = client.run("LOCK.FENCE l")[1..].to_owned();
    for n in 0..20 {
        assert_eq!(
            client.run(&format!("LOCK.GUARD l {fence} SET data{n} x")),
            "+OK"
        );
    }
    let guarded = format!("LOCK.GUARD l {fence} INCR n");
    assert_eq!(
        client.pipeline(&["MULTI", &guarded, "EXEC"]),
        "+OK +QUEUED *1 :1"
    );
    let script = format!(
        "EVAL \"return redis.call('lock.guard', KEYS[1], '{fence}', 'incr', KEYS[2])\" 2 l n"
    );
    assert_eq!(client.run(&script), ":2");
    client.run("DEL l");
    assert!(
        client
            .pipeline(&["MULTI", &guarded, "EXEC"])
            .contains("STALELOCK")
    );
    assert!(client.run(&script).contains("STALELOCK"));
    assert_eq!(client.run("GET n"), "$1 2");
    assert_eq!(
        client.run(&format!("COMMAND GETKEYS {guarded}")),
        "*2 $1 l $1 n"
    );
}

#[test]
fn who_waits_and_who_shares_counts_as_memory_of_locks() {
    // Breaks if a few locks with very many waiters or holders take memory that no limit sees.
    let (node, _) = node_with(|_| {});
    let mut client = Client::new(&node);
    client.run("LOCK.ACQUIRE alone me 500000");
    let used = || node.budget.locks.used();
    let alone = used();
    let mut waiters: Vec<Client> = (0..50).map(|_| Client::new(&node)).collect();
    for (number, waiter) in waiters.iter_mut().enumerate() {
        waiter.run(&format!("LOCK.ACQUIRE alone waits{number} 500000 WAIT 0"));
    }
    let waiting = used();
    assert!(waiting > alone + 50 * 64, "{alone}, {waiting}");
    for number in 0..50 {
        client.run(&format!("LOCK.ACQUIRE shared owner{number} 500000 SHARED"));
    }
    let sharing = used();
    assert!(sharing > waiting + 50 * 64, "{waiting}, {sharing}");
    drop(waiters);
    client.run("FLUSHALL");
    assert_eq!(used(), 0);
}
