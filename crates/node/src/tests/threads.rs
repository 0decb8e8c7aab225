//! Several threads on one node: nothing is lost, nothing is seen by half, nobody waits for ever.

use super::replay::{Followers, record, take_records};
use super::{Hand, Lot, keys_in, node, node_of};
use crate::entry::recorded;
use crate::host::{Host, Process};
use crate::node::Node;
use crate::scripts::Place;
use crate::testing::Client;
use cache::Policy;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const THREADS: u64 = 4;
/// Far beyond what any of these tests takes: who needs longer is stuck.
const STUCK: Duration = Duration::from_secs(120);

/// Runs `work` on threads of their own and ends the test if they do not end.
pub(super) fn together(name: &'static str, work: Vec<Box<dyn FnOnce() + Send>>) {
    let (done, all_done) = std::sync::mpsc::channel();
    let count = work.len();
    for work in work {
        let done = done.clone();
        std::thread::spawn(move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            done.send(outcome.is_ok()).expect("the test waits");
        });
    }
    for _ in 0..count {
        match all_done.recv_timeout(STUCK) {
            Ok(true) => {}
            Ok(false) => panic!("{name}: a thread panicked"),
            Err(_) => panic!("{name}: stuck, threads wait for each other"),
        }
    }
}

/// A node that threads may outlive the test with, should they be stuck.
pub(super) fn leaked(node: Node) -> &'static Node {
    Box::leak(Box::new(node))
}

/// A lost update under WATCH is money that two have spent.
#[test]
fn watched_increments_are_exact() {
    let node = leaked(node(&Hand::default()));
    let keys: Vec<String> = (0..3)
        .map(|shard| keys_in(node, shard, "counter", 1).remove(0))
        .collect();
    const EACH: u64 = 300;
    let work = (0..THREADS).map(|thread| {
        let keys = keys.clone();
        Box::new(move || {
            let mut client = Client::new(node);
            let mut lot = Lot(thread);
            let mut done = 0;
            while done < EACH {
                let key = &keys[lot.below(3) as usize];
                let other = &keys[lot.below(3) as usize];
                client.run(&format!("WATCH {key}"));
                let reply = client.run(&format!("GET {key}"));
                let value: u64 = reply.split(' ').nth(1).map_or(0, |n| n.parse().expect("n"));
                client.run("MULTI");
                client.run(&format!("SET {key} {}", value + 1));
                client.run(&format!("GET {other}"));
                client.run("INCR total");
                if client.run("EXEC") != "*-1" {
                    done += 1;
                }
            }
        }) as Box<dyn FnOnce() + Send>
    });
    together("WATCH", work.collect());
    let mut client = Client::new(node);
    let mut sum = 0;
    for key in &keys {
        let reply = client.run(&format!("GET {key}"));
        sum += reply
            .split(' ')
            .nth(1)
            .expect("set")
            .parse::<u64>()
            .expect("a number");
    }
    assert_eq!(sum, THREADS * EACH);
    assert_eq!(client.run("GET total"), format!("$4 {sum}"));
    assert_eq!(
        (0..8)
            .map(|shard| node.lock(shard).watched_count())
            .sum::<usize>(),
        0
    );
}

/// A reader that sees half of an MSET, of a transaction or of a flush sees a state that never was.
#[test]
fn writes_over_shards_are_seen_whole() {
    let node = leaked(node(&Hand::default()));
    let keys: Vec<String> = (0..8)
        .map(|shard| keys_in(node, shard, "part", 1).remove(0))
        .collect();
    let over = leaked_flag();
    let mut work: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    for thread in 0..2 {
        let keys = keys.clone();
        work.push(Box::new(move || {
            let mut client = Client::new(node);
            for n in 0..1500 {
                let value = format!("{thread}:{n}");
                let pairs: Vec<String> = keys.iter().map(|key| format!("{key} {value}")).collect();
                match n % 3 {
                    0 => {
                        client.run("MULTI");
                        pairs.iter().rev().for_each(|pair| {
                            client.run(&format!("SET {pair}"));
                        });
                        client.run("EXEC");
                    }
                    _ => assert_eq!(client.run(&format!("MSET {}", pairs.join(" "))), "+OK"),
                }
            }
            over.store(true, Ordering::Relaxed);
        }));
    }
    work.push(Box::new(move || {
        let mut client = Client::new(node);
        while !over.load(Ordering::Relaxed) {
            assert_eq!(client.run("FLUSHALL"), "+OK");
            client.run("MULTI");
            client.run("FLUSHDB");
            client.run("EXEC");
        }
    }));
    work.push(Box::new(move || {
        let mut client = Client::new(node);
        let mget = format!("MGET {}", keys.join(" "));
        while !over.load(Ordering::Relaxed) {
            let reply = client.run(&mget);
            let values: Vec<&str> = reply
                .split(' ')
                .skip(1)
                .filter(|word| !word.starts_with('$') || *word == "$-1")
                .collect();
            assert_eq!(values.len(), 8, "{reply}");
            assert!(values.iter().all(|value| *value == values[0]), "{reply}");
        }
    }));
    together("MSET and MGET", work);
}

/// A flush that empties one shard before it holds the next lets half of an MSET live on.
#[test]
fn a_flush_holds_all_shards_before_it_empties_one() {
    let node = leaked(node(&Hand::default()));
    let key = &keys_in(node, 2, "k", 1)[0];
    Client::new(node).run(&format!("SET {key} v"));
    let busy = node.lock(7);
    let flush = std::thread::spawn(move || Client::new(node).run("FLUSHALL"));
    let mut held = 0;
    while held < 1000 {
        match node.try_lock(2) {
            Some(shard) => {
                assert_eq!(shard.cache.len(0), 1, "emptied while another was not held");
                held = 0;
            }
            None => held += 1,
        }
        std::thread::yield_now();
    }
    drop(busy);
    assert_eq!(flush.join().expect("no panic"), "+OK");
    assert_eq!(node.lock(2).cache.len(0), 0);
}

pub(super) fn leaked_flag() -> &'static AtomicBool {
    Box::leak(Box::new(AtomicBool::new(false)))
}

/// A command that locks a shard which its own transaction holds stops the node, and so do two that lock in
/// different orders.
#[test]
fn nothing_waits_for_itself_or_in_a_ring() {
    let node = leaked(node_of(600_000, Policy::AllKeysLru, &Hand::default()));
    const LINES: &[&str] = &[
        "SET a 1 PX 5",
        "MSET a 1 b 2 c 3 d 4 e 5 f 6 g 7",
        "MSET g 1 f 2 e 3 d 4 c 5 b 6 a 7",
        "MGET g f e d c b a",
        "RENAME a b",
        "RENAME b a",
        "COPY c d REPLACE",
        "BITOP OR a b c d e f",
        "DEL f a e",
        "APPEND a xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "SETRANGE big 90000 x",
        "SETRANGE bigger 150000 x",
        "CONFIG SET notify-keyspace-events KEA",
        "CONFIG SET notify-keyspace-events Kx",
        "CONFIG SET maxmemory 2mb",
        "CONFIG SET maxmemory 1mb maxmemory-policy allkeys-lru",
        "CONFIG SET maxmemory-policy volatile-ttl",
        "CONFIG GET *",
        "CONFIG RESETSTAT",
        "CLIENT TRACKING ON",
        "CLIENT TRACKING OFF",
        "CLIENT LIST",
        "CLIENT INFO",
        "FLUSHALL",
        "FLUSHDB",
        "INFO",
        "INFO everything",
        "MEMORY STATS",
        "MEMORY DOCTOR",
        "MEMORY USAGE a",
        "DEBUG CHECKSUM",
        "DEBUG OBJECT a",
        "PUBLISH channel message",
        "SUBSCRIBE channel",
        "PSUBSCRIBE __key*",
        "UNSUBSCRIBE",
        "PUNSUBSCRIBE",
        "KEYS *",
        "SCAN 0 COUNT 100",
        "DBSIZE",
        "RANDOMKEY",
        "SLOWLOG GET",
        "LATENCY LATEST",
        "COMMAND COUNT",
        "OBJECT ENCODING a",
        "SELECT 1",
        "SELECT 0",
        "WAIT 0 0",
        "UNWATCH",
        "SORT a STORE b",
        "COPY a b DB 1",
        "RESET",
        "HELLO 3",
        "WATCH a b c",
        "DISCARD",
    ];
    let work = (0..THREADS).map(|thread| {
        Box::new(move || {
            let mut lot = Lot(thread + 100);
            for _ in 0..40 {
                let mut client = Client::new(node);
                client.run("HELLO 3");
                for _ in 0..60 {
                    match lot.below(12) {
                        0 | 1 => client.run("MULTI"),
                        2 => client.run("EXEC"),
                        3 => {
                            node.turn();
                            String::new()
                        }
                        _ => client.run(LINES[lot.below(LINES.len() as u64) as usize]),
                    };
                }
            }
        }) as Box<dyn FnOnce() + Send>
    });
    together("mixed commands", work.collect());
    let mut client = Client::new(node);
    assert_eq!(client.run("SET a 1"), "+OK");
}

/// A clock that moves on with every look, so that threads come to a shard in another order than they looked.
#[derive(Debug, Default)]
struct Ticking {
    looks: AtomicU64,
}

impl Host for Ticking {
    fn monotonic_us(&self) -> u64 {
        1_000_000 + self.looks.fetch_add(1, Ordering::Relaxed) * 400
    }

    fn wall_us(&self) -> u64 {
        super::START_WALL_US
    }

    fn random(&self) -> u64 {
        Lot(self.looks.fetch_add(1, Ordering::Relaxed)).next()
    }

    fn process(&self) -> Process {
        Process::default()
    }
}

/// A command whose outcome depends on when it runs.
fn timed_write(lot: &mut Lot) -> String {
    let (a, b) = (lot.below(30), lot.below(30));
    let (size, life_ms) = (lot.below(8000) as usize, 1 + lot.below(30));
    let value = "x".repeat(size);
    match lot.below(10) {
        0 => format!("SET k{a} {value}"),
        1 => format!("SET k{a} v PX {life_ms}"),
        2 => format!("RENAME k{a} k{b}"),
        3 => format!("COPY k{a} k{b} REPLACE"),
        4 => format!("MSET k{a} {value} k{b} {value}"),
        5 => format!("MSETEX 2 k{a} 1 k{b} 2 PX {life_ms}"),
        6 => format!("PEXPIRE k{a} {life_ms}"),
        7 => format!("GET k{a}"),
        8 => format!("SET k{a} v NX PX {life_ms}"),
        _ => format!("APPEND k{a} {b}"),
    }
}

/// Entries of several threads whose times do not rise, or that say another time than they ran at, part the replicas.
#[test]
fn the_log_of_many_threads_replays() {
    let settings = crate::settings::Settings {
        shards: 8,
        maxmemory_bytes: 500_000,
        ..Default::default()
    };
    let node = leaked(Node::new(settings, Box::new(Ticking::default())).expect("8 shards"));
    record(node);
    let work = (0..THREADS).map(|thread| {
        Box::new(move || {
            let mut client = Client::new(node);
            let mut lot = Lot(thread);
            for _ in 0..500 {
                // One batch, one look at the clock: the others' are ahead by its end.
                let lines: Vec<String> = (0..6).map(|_| timed_write(&mut lot)).collect();
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                client.pipeline(&lines);
            }
        }) as Box<dyn FnOnce() + Send>
    });
    together("recorded commands", work.collect());
    let records = take_records(node);
    for record in &records {
        let mut before_ms = 0;
        for (log_ms, _) in recorded(record) {
            assert!(log_ms >= before_ms, "log time went back");
            before_ms = log_ms;
        }
        assert!(before_ms > 0);
    }
    let mut follower = Followers::of(node, 9);
    follower.catch_up(&records);
    follower.compare(node, "four threads");
}

/// A source that two threads meet at once is known by its name if one of them named it.
#[test]
fn a_script_that_was_named_stays_so() {
    const SOURCES: u64 = 10_000;
    let node = leaked(node(&Hand::default()));
    let scripts = &node.cluster.scripts;
    let source = |n: u64| format!("return {n}");
    let at = leaked_counter();
    // Whatever the other is at: of those before it all too many would leave no room for it.
    let checks = move || {
        let mut n = 0;
        while n < SOURCES - 1 {
            n = at.load(Ordering::Acquire);
            scripts.check(source(n).as_bytes()).expect("a script");
        }
    };
    let names = move || {
        let mut forgotten = 0;
        for n in 0..SOURCES {
            at.store(n, Ordering::Release);
            let script = scripts.learn(source(n).as_bytes()).expect("a script");
            (0..50).for_each(|_| std::hint::spin_loop());
            forgotten += usize::from(scripts.named(script.sha()).is_none());
        }
        assert_eq!(forgotten, 0, "of {SOURCES}");
    };
    together("EVAL", vec![Box::new(checks), Box::new(names)]);
}

/// SCRIPT KILL says that it stopped a script: then that has to end.
#[test]
fn who_is_told_that_a_script_was_killed_can_rely_on_it() {
    const KILLS: u64 = 20_000;
    let node = leaked(node(&Hand::default()));
    let scripts = &node.cluster.scripts;
    let (begun, killed) = (leaked_counter(), leaked_counter());
    let kills = move || {
        for n in 1..=KILLS {
            while begun.load(Ordering::Acquire) < n {
                std::hint::spin_loop();
            }
            while !scripts.kill() {
                std::hint::spin_loop();
            }
            killed.store(n, Ordering::Release);
        }
    };
    let runs = move || {
        let mut ran_on = 0;
        for n in 1..=KILLS {
            begun.store(n, Ordering::Release);
            (0..n % 128).for_each(|_| std::hint::spin_loop());
            let watchdog = scripts.begin(Place::Briefly);
            while killed.load(Ordering::Acquire) < n {
                std::hint::spin_loop();
            }
            ran_on += u64::from(watchdog.stop() != Some(script::Stop::Killed));
        }
        assert_eq!(ran_on, 0, "of {KILLS}");
    };
    together("SCRIPT KILL", vec![Box::new(kills), Box::new(runs)]);
}

fn leaked_counter() -> &'static AtomicU64 {
    Box::leak(Box::default())
}
