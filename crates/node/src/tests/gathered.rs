//! Commands that cannot be taken apart, with keys in several shards: they answer and leave what they would on one node, though
//! others change their keys at the same time.

use super::sessions::{finish, pipeline, run};
use crate::session::Step;
use crate::testing::network::Network;
use crate::testing::{Client, node};
use crate::wire::PeerMessage;
use std::sync::atomic::Ordering::Relaxed;

/// Three keys in three shards, in the database of a network of three.
fn keys_apart(network: &Network) -> [String; 3] {
    let node = network.node(1);
    let mut found: Vec<(usize, String)> = Vec::new();
    for number in 0.. {
        let key = format!("k{number}");
        let shard = node.shard_of(key.as_bytes());
        if found.iter().all(|(other, _)| *other != shard) {
            found.push((shard, key));
        }
        if found.len() == 3 {
            break;
        }
    }
    let mut keys = found.into_iter().map(|(_, key)| key);
    [(); 3].map(|()| keys.next().expect("three"))
}

/// With x, y and z for the keys.
fn line_of(line: &str, keys: &[String; 3]) -> String {
    let words = line.split(' ').map(|word| match word {
        "x" => &keys[0],
        "y" => &keys[1],
        "z" => &keys[2],
        other => other,
    });
    words.collect::<Vec<_>>().join(" ")
}

const LINES: &[&str] = &[
    "RENAME x y",
    "SET x 1 PX 100000",
    "RENAME x y",
    "PTTL y",
    "EXISTS x y",
    "RENAMENX y x",
    "SET y 2",
    "RENAMENX y x",
    "COPY x y",
    "COPY x y REPLACE",
    "GET y",
    "COPY x y DB 3",
    "COPY x y DB 3",
    "SELECT 3",
    "GET y",
    "DEL y",
    "SELECT 0",
    "SET x foof",
    "SET y foobar",
    "BITOP AND z x y",
    "GET z",
    "LCS x y",
    "RPUSH x 1",
    "DEL x y z",
    "SADD x a b c",
    "SADD y b c d",
    "SINTER x y",
    "SINTERCARD 2 x y",
    "SDIFFSTORE z x y",
    "SMEMBERS z",
    "SUNIONSTORE z x y",
    "SCARD z",
    "SMOVE x y a",
    "SMOVE x y nothing",
    "SMOVE nothing y a",
    "SCARD x",
    "SISMEMBER y a",
    "SINTERSTORE x x nothing",
    "EXISTS x",
    "SET x text",
    "SMOVE x y a",
    "SMOVE y x a",
    "SUNION x y",
    "SDIFFSTORE z x y",
    "DEL x y z",
    "ZADD x 1 a 2 b",
    "ZADD y 3 b 4 c",
    "ZUNIONSTORE z 2 x y WEIGHTS 2 1",
    "ZRANGE z 0 -1 WITHSCORES",
    "ZINTER 2 x y WITHSCORES",
    "ZDIFF 2 x y",
    "ZRANGESTORE z x 0 0",
    "ZRANGE z 0 -1",
    "ZMPOP 2 nothing x MIN",
    "DEL x y z",
    "PFADD x a b",
    "PFADD y b c",
    "PFCOUNT x y",
    "PFMERGE z x y",
    "PFCOUNT z",
    "DEL x y z",
    "LMOVE x y LEFT RIGHT",
    "RPUSH x 1 2 3",
    "LMOVE x y LEFT RIGHT",
    "LMOVE x y RIGHT LEFT",
    "RPOPLPUSH x y",
    "RPOPLPUSH x y",
    "LRANGE y 0 -1",
    "EXISTS x",
    "LMOVE y x LEFT MIDDLE",
    "BLMOVE y x LEFT LEFT 0",
    "BRPOPLPUSH y x 0",
    "BLMOVE y x LEFT LEFT -1",
    "BLMOVE y x LEFT UP 1",
    "LRANGE x 0 -1",
    "LMPOP 2 nothing x LEFT COUNT 5",
    "SET z text",
    "LMOVE y z LEFT LEFT",
    "LMOVE z y LEFT LEFT",
    "LMOVE nothing z LEFT LEFT",
    "SORT y STORE z",
    "LRANGE z 0 -1",
    "SORT y BY nosort GET # STORE x",
    "TYPE x",
    "DEL x y z",
    "HSET x f v",
    "RENAME x y",
    "HGETALL y",
    "XADD x 1-1 f v",
    "XADD z 2-2 f v",
    "XREAD STREAMS x z 0 0",
    "RENAME x z",
    "XRANGE z - +",
    "MULTI",
    "RENAME y x",
    "HSET x g w",
    "HGETALL x",
    "SELECT 1",
    "SET y other",
    "SELECT 0",
    "EXEC",
    "HGET x g",
    "EVAL \"return{redis.call('HGET',KEYS[1],'g'),redis.call('SET',KEYS[2],ARGV[1])}\" 2 x y new",
    "GET y",
    "EVAL \"return#redis.call('SET',KEYS[2],redis.call('HGET',KEYS[1],'g'))+redis.error_reply('no')\" 2 x y",
    "GET y",
    "EVAL \"redis.call('SET',KEYS[2],'kept')redis.call('GET',KEYS[1])\" 2 x y",
    "GET y",
    "EVAL_RO \"return{redis.call('HLEN',KEYS[1]),redis.call('GET',KEYS[2])}\" 2 x y",
    "EVAL_RO \"return{redis.call('SET',KEYS[2],'bad')}\" 2 x y",
    "MULTI",
    "EVAL \"return{redis.call('INCR',KEYS[1]),redis.call('APPEND',KEYS[2],'+')}\" 2 z y",
    "GET y",
    "EXEC",
    "DEL z",
    "MULTI",
    "SET z 1",
    "EVAL \"return{redis.call('INCR',KEYS[1]),redis.call('APPEND',KEYS[2],'+')}\" 2 z y",
    "PING",
    "RENAME z x",
    "GET x",
    "EXEC",
    "MULTI",
    "EVAL \"return{redis.call('INCRBY',KEYS[1],ARGV[1])}\" 1 x 40",
    "INCR x",
    "EXEC",
    "DEL x y z",
    "DBSIZE",
];

#[test]
fn they_answer_as_one_node_does() {
    // Breaks if a command with keys in several shards answers or leaves something else than one with all keys in one cache.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let keys = keys_apart(&network);
    let (alone, _) = node();
    for node in &nodes {
        let mut client = Client::new(node);
        let mut oracle = Client::new(&alone);
        for line in LINES {
            let line = line_of(line, &keys);
            let expected = oracle.run(&line);
            let found = run(&mut network, &mut client, &line);
            if line.starts_with("PTTL") {
                let ms: i64 = found[1..].parse().expect("a number");
                assert!((99_000..=100_000).contains(&ms), "{line}: {found}");
                continue;
            }
            assert_eq!(found, expected, "{line}");
        }
    }
}

#[test]
fn a_change_in_between_has_them_run_again() {
    // Breaks if what was read before somebody else's write decides what is written after it.
    for rounds in 0..12 {
        let mut network = Network::of_three();
        let nodes = network.nodes.clone();
        let [x, y, z] = keys_apart(&network);
        let mut client = Client::new(&nodes[0]);
        let mut other = Client::new(&nodes[1]);
        for (line, expected) in [(format!("SADD {x} a"), ":1"), (format!("SADD {y} b"), ":1")] {
            assert_eq!(run(&mut network, &mut client, &line), expected);
        }
        let begun = client.run(&format!("SUNIONSTORE {z} {x} {y}"));
        for _ in 0..rounds {
            network.round();
        }
        let added = run(&mut network, &mut other, &format!("SADD {x} c"));
        assert_eq!(added, ":1");
        let came = client.poll();
        let begun = format!("{begun}{came}");
        let stored = finish(&mut network, &mut client, begun);
        let is_before = run(&mut network, &mut client, &format!("SCARD {z}"));
        assert_eq!(stored, is_before, "after {rounds} rounds");
        assert!(stored == ":2" || stored == ":3", "{stored}");
    }
}

/// Runs `line` at node 1 while `writes` are written again and again, by a connection each; returns how many transactions it
/// took, and the reply.
fn run_among_writes(network: &mut Network, line: &str, writes: &[String]) -> (u64, String) {
    let nodes = network.nodes.clone();
    let mut writers: Vec<Client> = (0..writes.len())
        .map(|at| Client::new(&nodes[at % 3]))
        .collect();
    let mut client = Client::new(&nodes[0]);
    let is_under_way = |client: &Client| !matches!(client.step, Step::Done);
    let before = nodes[0].name_transaction().number;
    let mut reply = client.run(line);
    for _ in 0..12_000 {
        // A hop takes a quarter of a millisecond.
        for _ in 0..4 {
            for (writer, write) in writers.iter_mut().zip(writes) {
                writer.poll();
                if !is_under_way(writer) {
                    let refused = writer.run(write);
                    assert!(!refused.starts_with('-'), "{refused}");
                }
            }
            network.round();
            reply.push_str(&client.poll());
            if !is_under_way(&client) {
                return (nodes[0].name_transaction().number - before - 1, reply);
            }
        }
        network.clock.advance_ms(1);
        nodes.iter().for_each(|node| node.tick(node.now()));
    }
    panic!("no answer after 12 s");
}

#[test]
fn single_writes_do_not_starve_them() {
    // Breaks if whoever writes to one of their keys all the time has them run again until they are refused.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let [x, y, _] = keys_apart(&network);
    let mut client = Client::new(&nodes[1]);
    let append = "redis.call('SET',KEYS[2],#redis.call('LRANGE',KEYS[1],0,9))";
    let undeclared = format!("redis.call('SET','{{{y}}}',#redis.call('LRANGE',KEYS[1],0,9))");
    for (line, write) in [
        (format!("RENAME {x} {y}"), format!("LPUSH {x} new")),
        (format!("COPY {x} {y} REPLACE"), format!("LPUSH {x} new")),
        (
            format!("EVAL \"{append}\" 2 {x} {y}"),
            format!("LPUSH {x} new"),
        ),
        (
            format!("EVAL \"{undeclared}\" 2 {x} {y}"),
            format!("LPUSH {x} new"),
        ),
        (
            format!("SORT {x} ALPHA STORE {y}"),
            format!("LPUSH {x} new"),
        ),
        (format!("LMOVE {x} {y} LEFT LEFT"), format!("LPUSH {x} new")),
    ] {
        run(&mut network, &mut client, &format!("DEL {y}"));
        let writes = [write.clone(), write.clone(), write];
        let (tries, reply) = run_among_writes(&mut network, &line, &writes);
        assert!(!reply.starts_with('-'), "{line}: {reply} after {tries}");
        assert!(tries <= 6, "{line}: {tries} transactions");
    }
}

/// Has node 1 count the bytes of answers that come to it from elsewhere.
fn count_answers(network: &mut Network) -> std::sync::Arc<std::sync::atomic::AtomicUsize> {
    let counted = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = counted.clone();
    network.lose(move |_, to, message| {
        if let (1, PeerMessage::ForwardReply(reply)) = (to, message) {
            let answers = reply.items.clone().joined();
            let bytes = answers.iter().map(|answer| answer.reply.len());
            count.fetch_add(bytes.sum::<usize>(), Relaxed);
        }
        false
    });
    counted
}

#[test]
fn values_are_sent_once_and_only_if_they_are_wanted() {
    // Breaks if each try, or each key that a script turns out to want, has all values sent again; if watched keys are sent; or
    // if much is sent that is refused at the end.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    // Led elsewhere than where the client is.
    let mut keys = (0..).map(|number| format!("k{number}")).filter(|key| {
        let shard = nodes[0].shard_of(key.as_bytes());
        network.leader(shard) != Some(1)
    });
    let first = keys.next().expect("endless");
    let apart = |key: &String| {
        let shard_of = |key: &str| nodes[0].shard_of(key.as_bytes());
        shard_of(key) != shard_of(&first)
    };
    let other = keys.find(apart).expect("endless");
    let mut client = Client::new(&nodes[0]);
    let mib = 1 << 20;
    let length = format!(":{}", 3 * mib);
    let set = format!("SETRANGE {first} {} v", 3 * mib - 1);
    assert_eq!(run(&mut network, &mut client, &set), length);
    let counted = count_answers(&mut network);
    // Long values are asked for once their lengths are known; other keys of a script are asked for alone.
    let script = format!(
        "redis.call('GET','{{{other}}}1')redis.call('GET','{{{other}}}2')return redis.call('STRLEN',KEYS[1])"
    );
    let line = format!("EVAL \"{script}\" 2 {first} {other}");
    assert_eq!(run(&mut network, &mut client, &line), length);
    let sent = counted.swap(0, Relaxed);
    assert!((3 * mib..4 * mib).contains(&sent), "{sent} bytes");
    // A key that is written to has none but itself sent again.
    let writes = [(); 3].map(|()| format!("APPEND {other} v"));
    let script = "return redis.call('STRLEN',KEYS[1])+redis.call('STRLEN',KEYS[2])*0";
    let line = format!("EVAL \"{script}\" 2 {first} {other}");
    let (tries, reply) = run_among_writes(&mut network, &line, &writes);
    assert!(tries > 1, "nobody was in between");
    assert_eq!(reply, length);
    let sent = counted.swap(0, Relaxed);
    assert!((3 * mib..4 * mib).contains(&sent), "{sent} bytes");
    // What is watched and used by no command is not sent at all.
    let third = format!("{{{other}}}3");
    let lines = [
        format!("WATCH {first}"),
        "MULTI".into(),
        format!("EVAL \"return redis.call('SET',KEYS[1],1)\" 1 {third}"),
        "EXEC".into(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let done = pipeline(&mut network, &mut client, &lines);
    assert_eq!(done, "+OK +OK +QUEUED *1 +OK");
    assert_eq!(
        pipeline(&mut network, &mut client, &lines[..3]),
        "+OK +OK +QUEUED"
    );
    let mut changer = Client::new(&nodes[1]);
    let line = format!("SETRANGE {first} 0 w");
    assert_eq!(run(&mut network, &mut changer, &line), length);
    assert_eq!(run(&mut network, &mut client, "EXEC"), "*-1");
    let sent = counted.swap(0, Relaxed);
    assert!(sent < mib, "{sent} bytes");
}

#[test]
fn too_much_is_refused_before_it_is_sent() {
    // Breaks if all shards send what is too much together.
    let mut network = Network::new(3, 3, |settings| settings.maxmemory_bytes = 512 << 20);
    network.settle();
    let nodes = network.nodes.clone();
    let keys = keys_apart(&network);
    let mut client = Client::new(&nodes[0]);
    for key in &keys {
        let set = format!("SETRANGE {key} {} v", 22 << 20);
        let length = format!(":{}", (22 << 20) + 1);
        assert_eq!(run(&mut network, &mut client, &set), length);
    }
    let counted = count_answers(&mut network);
    let line = line_of("BITOP AND z x y", &keys);
    let refused = run(&mut network, &mut client, &line);
    assert!(refused.starts_with("-ERR the keys hold more"), "{refused}");
    let sent = counted.load(Relaxed);
    assert!(sent < 1 << 20, "{sent} bytes");
}

#[test]
fn they_do_not_starve_each_other() {
    // Breaks if two that hold a key each wait for the other's, or let each other begin again until they are refused.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let keys = keys_apart(&network);
    let lines = [
        "SUNIONSTORE x y z",
        "SUNIONSTORE y z x",
        "SUNIONSTORE z x y",
        "SMOVE x y 1",
        "SADD x 1",
        "SADD y 2",
        "EVAL \"redis.call('SADD',KEYS[1],redis.call('SCARD',KEYS[2]))\" 2 x z",
        "EVAL \"redis.call('SADD',KEYS[1],redis.call('SCARD',KEYS[2]))\" 2 z x",
    ];
    let lines = lines.map(|line| line_of(line, &keys));
    let mut clients: Vec<Client> = (0..lines.len())
        .map(|at| Client::new(&nodes[at % 3]))
        .collect();
    let mut answered = vec![0; lines.len()];
    for _ in 0..2_000 {
        for _ in 0..4 {
            for ((client, line), answered) in clients.iter_mut().zip(&lines).zip(&mut answered) {
                let mut came = client.poll();
                if matches!(client.step, Step::Done) {
                    came.push_str(&client.run(line));
                }
                assert!(!came.starts_with('-'), "{line}: {came}");
                *answered += usize::from(!came.is_empty());
            }
            network.round();
        }
        network.clock.advance_ms(1);
        nodes.iter().for_each(|node| node.tick(node.now()));
    }
    assert!(
        answered.iter().all(|count| *count >= 20),
        "in 2 s: {answered:?}"
    );
}

#[test]
fn a_hold_ends_though_nobody_lets_go() {
    // Breaks if a connection that goes away while it holds keys keeps others from them, or from a shard's log.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let [x, y, _] = keys_apart(&network);
    let line = format!("RENAME {x} {y}");
    let mut writer = Client::new(&nodes[1]);
    let has_keys = |nodes: &[std::sync::Arc<crate::Node>], key: &str| {
        let shard = nodes[0].shard_of(key.as_bytes());
        nodes
            .iter()
            .all(|node| node.lock(shard).reservations.has(0, key.as_bytes()))
    };
    let mut held = 0;
    for rounds in 0..40 {
        run(&mut network, &mut writer, &format!("SET {x} 1"));
        let mut client = Client::new(&nodes[0]);
        client.run(&line);
        for round in 0..rounds {
            network.round();
            client.poll();
            if round < 12 {
                writer.poll();
                writer.run(&format!("APPEND {x} 1"));
            }
            if round % 8 == 0 {
                network.clock.advance_ms(2);
            }
        }
        drop(client);
        network.deliver();
        held += usize::from(has_keys(&nodes, &x));
        let text = writer.poll();
        finish(&mut network, &mut writer, text);
        network.run_ms(600);
        assert!(!has_keys(&nodes, &x) && !has_keys(&nodes, &y), "{rounds}");
        let appended = run(&mut network, &mut writer, &format!("APPEND {x} 1"));
        assert!(appended.starts_with(':'), "{appended}");
    }
    assert!(held > 0, "none was caught while it held keys");
}

#[test]
fn a_waiting_move_gets_what_is_pushed() {
    // Breaks if BLMOVE between shards answers before there is something, loses it, or sleeps through it.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let [x, y, _] = keys_apart(&network);
    let mut waiters: Vec<Client> = nodes.iter().map(|node| Client::new(node)).collect();
    let mut pusher = Client::new(&nodes[2]);
    for waiter in &mut waiters {
        let line = format!("BLMOVE {x} {y} LEFT RIGHT 0");
        assert_eq!(run(&mut network, waiter, &line), "");
        assert!(
            matches!(waiter.step, Step::Blocked { .. }),
            "{:?}",
            waiter.step
        );
        // The leader hears of it.
        network.tick();
    }
    for (number, waiter) in waiters.iter_mut().enumerate() {
        let line = format!("RPUSH {x} job{number}");
        assert_eq!(run(&mut network, &mut pusher, &line), ":1");
        let got = (0..50).find_map(|_| {
            network.tick();
            let came = waiter.poll();
            network.deliver();
            (!came.is_empty()).then_some(came)
        });
        let got = got.unwrap_or_default();
        assert_eq!(
            got,
            format!("$4 job{number}"),
            "in the order in which they came"
        );
    }
    let moved = run(&mut network, &mut pusher, &format!("LRANGE {y} 0 -1"));
    assert_eq!(moved, "*3 $4 job0 $4 job1 $4 job2");
    assert_eq!(run(&mut network, &mut pusher, &format!("EXISTS {x}")), ":0");
    // Its time may be over, too.
    let line = format!("BLMOVE {x} {y} LEFT RIGHT 0.05");
    assert_eq!(run(&mut network, &mut waiters[0], &line), "");
    network.run_ms(100);
    assert_eq!(waiters[0].poll(), "*-1");
}

#[test]
fn a_guard_holds_for_them() {
    // Breaks if a command over several shards is carried out under a former holder's fence.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let [x, y, z] = keys_apart(&network);
    let mut client = Client::new(&nodes[1]);
    let fence = run(
        &mut network,
        &mut client,
        &format!("LOCK.ACQUIRE {z} me 100000"),
    );
    let fence: u64 = fence[1..].parse().expect("a number");
    assert_eq!(run(&mut network, &mut client, &format!("SET {x} v")), "+OK");
    let stale = format!("LOCK.GUARD {z} {} RENAME {x} {y}", fence - 1);
    let refused = run(&mut network, &mut client, &stale);
    assert!(refused.starts_with("-STALELOCK"), "{refused}");
    let line = format!("LOCK.GUARD {z} {fence} RENAME {x} {y}");
    assert_eq!(run(&mut network, &mut client, &line), "+OK");
    assert_eq!(run(&mut network, &mut client, &format!("GET {y}")), "$1 v");
    // A lock that somebody waits for is more than a record.
    let mut waiter = Client::new(&nodes[0]);
    let line = format!("LOCK.ACQUIRE {z} other 100000 WAIT 100000");
    assert_eq!(run(&mut network, &mut waiter, &line), "");
    let refused = run(&mut network, &mut client, &format!("RENAME {z} {y}"));
    assert!(refused.starts_with("-CROSSSLOT A lock"), "{refused}");
    // One that was taken by SET is not: elsewhere it is another grant.
    let line = format!("SET {x} me NX PX 100000");
    assert_eq!(run(&mut network, &mut client, &line), "+OK");
    let before = run(&mut network, &mut client, &format!("LOCK.FENCE {x}"));
    let lines = [
        format!("RENAME {x} {y}"),
        format!("LOCK.FENCE {y}"),
        format!("PTTL {y}"),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let after = pipeline(&mut network, &mut client, &lines);
    assert!(after.starts_with("+OK :"), "{after}");
    assert!(before.starts_with(':'), "{before}");
}

#[test]
fn what_copies_cannot_show_is_refused() {
    // Breaks if a script or a transaction runs on less than what its commands look at: a key would be lost, a lock taken that
    // nobody holds, or a connection would wait for answers that nobody was asked for.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let [x, y, z] = keys_apart(&network);
    let (alone, _) = node();
    let mut one = Client::new(&alone);
    let mut client = Client::new(&nodes[0]);
    for line in [
        format!("SET {x} 1"),
        format!("EVAL \"return redis.call('MOVE',KEYS[1],3)\" 1 {x}"),
        format!("EVAL \"return redis.call('COPY',KEYS[1],KEYS[2],'DB','3')\" 2 {x} {y}"),
        format!("EVAL \"return redis.call('SORT',KEYS[1],'BY','w*')\" 1 {z}"),
    ] {
        let found = run(&mut network, &mut client, &line);
        assert_eq!(found, one.run(&line), "{line}");
        assert!(
            found == "+OK" || found.starts_with("-ERR"),
            "{line}: {found}"
        );
    }
    assert_eq!(run(&mut network, &mut client, &format!("GET {x}")), "$1 1");
    let line = format!("SORT {x} BY {{{x}}}w_* STORE {y}");
    let refused = run(&mut network, &mut client, &line);
    assert!(refused.starts_with("-CROSSSLOT SORT"), "{refused}");
    let rename = format!("RENAME {x} {y}");
    let acquire = format!("LOCK.ACQUIRE {z} a 100000 SHARED");
    let lines = ["MULTI", &rename, &acquire, "EXEC"];
    let refused = pipeline(&mut network, &mut client, &lines);
    assert!(refused.contains("-CROSSSLOT LOCK"), "{refused}");
    assert_eq!(
        run(&mut network, &mut client, &format!("EXISTS {x} {z}")),
        ":1"
    );
    let mut fresh = Client::new(&nodes[1]);
    let lines = ["MULTI", "EVAL \"return 1\" 0", "ZUNION 0 k", "EXEC"];
    let nothing = pipeline(&mut network, &mut fresh, &lines);
    assert!(nothing.contains("*2 :1 -"), "{nothing}");
}

#[test]
fn they_are_refused_where_there_is_no_memory() {
    // Breaks if a copy that another node made is taken by a shard that is full.
    let mut network = Network::new(3, 3, |settings| {
        settings.maxmemory_bytes = 8 << 20;
        settings.maxmemory_policy = cache::Policy::NoEviction;
    });
    network.settle();
    let nodes = network.nodes.clone();
    let [x, y, _] = keys_apart(&network);
    let leader = network
        .leader(nodes[0].shard_of(y.as_bytes()))
        .expect("settled");
    let mut client = Client::new(&nodes[leader as usize % 3]);
    let value = "v".repeat(50_000);
    let set = run(&mut network, &mut client, &format!("SET {x} {value}"));
    assert_eq!(set, "+OK");
    for number in 0.. {
        let copied = run(&mut network, &mut client, &format!("COPY {x} {y}{number}"));
        if copied.starts_with("-OOM") {
            break;
        }
        assert_eq!(copied, ":1");
        assert!(number < 400, "20 MB went into 8 MiB");
    }
}
