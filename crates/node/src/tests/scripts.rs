//! Scripts: on a node alone, and on three nodes whose leaders come and go.

use super::groups::{Asker, are_counted_once, compare};
use crate::group::OpKind;
use crate::host::Host;
use crate::node::Node;
use crate::settings::Settings;
use crate::testing::network::Network;
use crate::testing::{Client, Clock};

const INCR: &[u8] = b"return redis.call('incr', KEYS[1])";
/// Takes all memory that it gets, after it has written.
const GREEDY: &[u8] =
    b"redis.call('set', KEYS[1], 'half') local s = 'x' while true do s = s .. s end";

fn alone() -> Node {
    let settings = Settings {
        shards: 8,
        ..Settings::default()
    };
    let host: Box<dyn Host> = Box::new(Clock::new(1));
    Node::new(settings, host).expect("8 shards divide the slots")
}

/// One argument of a command line.
fn quoted(source: &[u8]) -> String {
    format!(
        "\"{}\"",
        String::from_utf8_lossy(source).replace('"', "\\\"")
    )
}

#[test]
fn a_script_reads_and_writes_its_keys() {
    // Breaks if a script's commands do not reach the keys, or reach others than those it declared.
    let node = alone();
    let mut client = Client::new(&node);
    assert_eq!(
        client.run("EVAL \"redis.call('set', KEYS[1], ARGV[1]) return redis.call('mget', KEYS[1], KEYS[2])\" 2 a b one"),
        "*2 $3 one $-1"
    );
    assert_eq!(client.run("GET a"), "$3 one");
    let refused = client.run("EVAL \"return redis.call('get', 'c')\" 1 a");
    assert!(refused.contains("non declared key"), "{refused}");
    let refused = client.run("EVAL_RO \"return redis.call('del', KEYS[1])\" 1 a");
    assert!(refused.contains("read-only scripts"), "{refused}");
    let refused =
        client.run("EVAL \"return redis.call('xread', 'block', 0, 'streams', KEYS[1], '$')\" 1 a");
    assert!(
        refused.contains("xread command is not allowed with BLOCK"),
        "{refused}"
    );
    let refused = client.run("EVAL \"return redis.call('multi')\" 0");
    assert!(refused.contains("not allowed from script"), "{refused}");
    assert_eq!(
        client.run("EVAL \"return redis.call('ttl', KEYS[1])\" 1 a"),
        ":-1"
    );
    assert_eq!(
        client.run("EVAL \"return redis.call('set', KEYS[1], 'x', 'PX', '50')\" 1 e"),
        "+OK"
    );
    assert_eq!(client.run("PTTL e"), ":50");
}

#[test]
fn a_key_that_is_not_declared_is_found_in_the_same_shard_or_nothing_is_left() {
    // Breaks if a script that makes up its keys' names in one slot does not run (Redisson's do), or if one that wants a key
    // from elsewhere leaves half of what it did.
    let node = alone();
    let mut client = Client::new(&node);
    client.run("SET {a}1 one");
    let made_up = "EVAL \"redis.call('set', KEYS[1], 'x') redis.call('append', KEYS[1] .. '1', '+') return redis.call('get', KEYS[1] .. '1')\" 1 {a}";
    assert_eq!(client.run(made_up), "$4 one+");
    assert_eq!(client.run("MGET {a} {a}1"), "*2 $1 x $4 one+");
    let elsewhere = (0..)
        .map(|number| format!("b{number}"))
        .find(|key| node.shard_of(key.as_bytes()) != node.shard_of(b"{a}"))
        .expect("there are 8 shards");
    let half = format!(
        "EVAL \"redis.call('set', KEYS[1], 'half') pcall(redis.call, 'get', '{elsewhere}') return 1\" 1 {{a}}"
    );
    let refused = client.run(&half);
    assert!(refused.contains("non declared key"), "{refused}");
    assert_eq!(client.run("GET {a}"), "$1 x");
    // Without any, the first that it uses says where it runs.
    for key in ["{a}", &elsewhere] {
        let free =
            format!("EVAL \"redis.call('set', '{key}', 1) return redis.call('incr', '{key}')\" 0");
        assert_eq!(client.run(&free), ":2", "{key}");
        assert_eq!(client.run(&format!("GET {key}")), "$1 2");
    }
    let both =
        format!("EVAL \"redis.call('incr', '{{a}}') return redis.call('incr', '{elsewhere}')\" 0");
    let refused = client.run(&both);
    assert!(refused.contains("non declared key"), "{refused}");
    assert_eq!(client.run("GET {a}"), "$1 2");
    client.run("SET {a} x");

    let mut network = Network::of_three();
    network.run_ms(5000);
    let shard = network.node(1).shard_of(b"{a}");
    for at in 1..=3 {
        let mut asker = Asker::new(&network, at);
        let source = b"redis.call('incr', KEYS[1]) return redis.call('incr', KEYS[1] .. ':n')";
        let (ran, _) = asker.ask_args(
            &network,
            shard,
            OpKind::Script,
            &[b"w", source, b"1", b"{a}"],
            0,
        );
        network.run_ms(100);
        assert_eq!(asker.reply(ran), Some(format!(":{at}")));
    }
    network.run_ms(100);
    compare(&network, shard);
}

#[test]
fn an_error_keeps_what_was_written_and_a_stop_does_not() {
    // Breaks if a script that was stopped leaves half of what it did.
    let node = alone();
    let mut client = Client::new(&node);
    let error = client.run("EVAL \"redis.call('set', KEYS[1], 'x') error('y')\" 1 a");
    assert!(
        error.starts_with("-ERR user_script:1: y script: "),
        "{error}"
    );
    assert_eq!(client.run("GET a"), "$1 x");
    let stopped = client.run(&format!("EVAL {} 1 a", quoted(GREEDY)));
    assert!(stopped.contains("too much memory"), "{stopped}");
    assert_eq!(client.run("GET a"), "$1 x");
    assert_eq!(
        client.run("SCRIPT KILL"),
        "-NOTBUSY No scripts in execution right now."
    );
}

#[test]
fn scripts_are_known_by_their_sha1() {
    // Breaks if register_script of any client does not find what it loaded.
    let node = alone();
    let mut client = Client::new(&node);
    let sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"; // of: return 1
    assert_eq!(
        client.run(&format!("EVALSHA {sha} 0")),
        "-NOSCRIPT No matching script. Please use EVAL."
    );
    assert_eq!(
        client.run("EVALSHA short 0"),
        "-NOSCRIPT No matching script. Please use EVAL."
    );
    assert_eq!(client.run("SCRIPT LOAD \"return 1\""), format!("$40 {sha}"));
    assert_eq!(
        client.run(&format!("EVALSHA {} 0", sha.to_uppercase())),
        ":1"
    );
    assert_eq!(client.run(&format!("SCRIPT EXISTS {sha} x")), "*2 :1 :0");
    assert_eq!(client.run("SCRIPT FLUSH"), "+OK");
    assert_eq!(client.run(&format!("SCRIPT EXISTS {sha}")), "*1 :0");
    let broken = client.run("SCRIPT LOAD \"return return\"");
    assert!(
        broken.starts_with("-ERR Error compiling script (new function): user_script:1:"),
        "{broken}"
    );
}

#[test]
fn a_script_is_part_of_a_transaction() {
    // Breaks if EXEC does not lock a script's shards, or a watched key that a script changed does not stop it.
    let node = alone();
    let mut client = Client::new(&node);
    let incr = quoted(INCR);
    client.run("MULTI");
    client.run("SET n 1");
    client.run(&format!("EVAL {incr} 1 n"));
    client.run("GET other");
    assert_eq!(client.run("EXEC"), "*3 +OK :2 $-1");
    client.run("WATCH n");
    let mut other = Client::new(&node);
    assert_eq!(other.run(&format!("EVAL {incr} 1 n")), ":3");
    client.run("MULTI");
    client.run("GET n");
    assert_eq!(client.run("EXEC"), "*-1");
}

#[test]
fn a_script_counts_once_while_leaders_come_and_go() {
    // Breaks if a script whose leader died is lost or takes effect twice, or sees a state that others have changed since.
    let mut network = Network::of_three();
    let mut askers: Vec<Asker> = (1..=3).map(|node| Asker::new(&network, node)).collect();
    let mut slots: Vec<Vec<u32>> = vec![Vec::new(); 3];
    for round in 0..30 {
        for (asker, slots) in askers.iter_mut().zip(&mut slots) {
            slots.push(asker.write(&network, 1, "INCR k"));
            let args = [b"w", INCR, b"1", b"k"];
            slots.push(asker.ask_args(&network, 1, OpKind::Script, &args, 0).0);
            slots.push(asker.write(&network, 1, "INCR k"));
        }
        if round % 10 == 3 {
            network.round();
            network.round();
            if let Some(leader) = network.leader(1) {
                let others = (1..=3).filter(|other| *other != leader);
                others.for_each(|other| network.cut(leader, other));
            }
        }
        if round % 10 == 9 {
            network.heal();
        }
        network.run_ms(80);
    }
    network.heal();
    network.run_ms(3000);
    are_counted_once(&askers, &slots, 270);
    compare(&network, 1);
}

#[test]
fn a_script_that_is_stopped_leaves_nothing_on_any_replica() {
    // Breaks if a leader proposes what a stopped script had done so far, or never answers it.
    let mut network = Network::of_three();
    for node in 1..=3 {
        let mut asker = Asker::new(&network, node);
        asker.write(&network, 0, "SET k whole");
        let args = [b"w", GREEDY, b"1", b"k"];
        let (stopped, _) = asker.ask_args(&network, 0, OpKind::Script, &args, 0);
        let after = asker.write(&network, 0, "APPEND k +");
        network.run_ms(100);
        let reply = asker.reply(stopped).expect("answered");
        assert!(reply.contains("too much memory"), "{reply}");
        assert_eq!(asker.reply(after).as_deref(), Some(":6"));
    }
    network.run_ms(100);
    compare(&network, 0);
}

#[test]
fn a_script_on_a_large_collection_is_logged_by_its_commands() {
    // Breaks if replicas draw otherwise than the leader's script did, or if what it left on them is not what it saw.
    const MOVES: &[u8] = b"local t = {} for i = 1, 5 do t[i] = redis.call('spop', KEYS[1]) end \
        redis.call('rpush', KEYS[2], unpack(t)) redis.call('set', KEYS[3], 'x', 'PX', '100000', 'NX') \
        return redis.call('spop', KEYS[1], 2)";
    let mut network = Network::of_three();
    network.run_ms(5000);
    let keys: [&[u8]; 3] = [b"{k}set", b"{k}list", b"{k}lock"];
    let shard = network.node(1).shard_of(keys[0]);
    for node in [1, 2, 3, 2, 1] {
        let mut asker = Asker::new(&network, node);
        for part in 0..10 {
            let members: Vec<String> = (0..100).map(|n| format!("m{part}-{n}")).collect();
            let line = format!("SADD {{k}}set {}", members.join(" "));
            asker.write(&network, shard, &line);
        }
        let args = [b"w", MOVES, b"3", keys[0], keys[1], keys[2]];
        let (moved, _) = asker.ask_args(&network, shard, OpKind::Script, &args, 0);
        network.run_ms(100);
        let reply = asker.reply(moved).expect("answered");
        assert!(reply.starts_with("*2 $"), "{reply}");
    }
    network.run_ms(100);
    compare(&network, shard);
    let guard = network.node(2).lock(shard);
    let len = |key: &[u8], of| {
        let key = cache::Key::new(guard.cache.seed(), 0, key);
        guard.cache.collection_len(key, of)
    };
    assert_eq!(len(keys[1], cache::CollectionType::List), 25);
    // What was popped came back with the next SADD, but what the last one took.
    assert_eq!(len(keys[0], cache::CollectionType::Set), 1000 - 7);
}

#[test]
fn a_script_that_only_reads_is_a_read() {
    // Breaks if EVAL_RO, or a script that says no-writes, takes an entry of the log; or may write for that.
    let mut network = Network::of_three();
    network.run_ms(5000); // until nobody hands over any more
    for (mode, at) in [("lease", 1), ("lease", 2), ("quorum", 3), ("quorum", 1)] {
        let node = network.node(at).clone();
        let mut client = Client::new(&node);
        client.run(&format!("CONFIG SET read-mode {mode}"));
        network.run_ms(200);
        client.poll();
        client.run(&format!("SET k {mode}{at}"));
        network.run_ms(200);
        client.poll();
        let shard = node.shard_of(b"k");
        let leader = network.leader(shard).expect("somebody leads");
        let applied = |network: &Network| network.node(leader).lock(shard).applied;
        let before = applied(&network);
        let told: Vec<String> = [
            "EVAL_RO \"return redis.call('get', KEYS[1])\" 1 k",
            "EVAL \"#!lua flags=no-writes\nreturn redis.call('get', KEYS[1])\" 1 k",
            "EVAL_RO \"return redis.call('del', KEYS[1])\" 1 k",
        ]
        .iter()
        .map(|line| {
            // The second has a line break, which an inline command cannot.
            let parts = resp_of(line);
            let mut told = client.feed(&parts);
            for _ in 0..20 {
                network.tick();
                told.extend(client.feed(b""));
            }
            String::from_utf8_lossy(&told).into_owned()
        })
        .collect();
        let value = format!("{mode}{at}");
        let bulk = format!("${}\r\n{value}\r\n", value.len());
        assert_eq!(told[0], bulk);
        assert_eq!(told[1], bulk);
        assert!(
            told[2].starts_with("-ERR Write commands are not allowed from read-only scripts."),
            "{told:?}"
        );
        assert_eq!(applied(&network), before, "{mode} {at}");
        assert_eq!(client.run("PING"), "+PONG");
    }
}

/// A command line whose quotes stand at its words' ends alone, as an array.
fn resp_of(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (before, rest) = line.split_once('"').expect("a source");
    let (source, after) = rest.split_once('"').expect("its end");
    let mut parts: Vec<&[u8]> = before.split_whitespace().map(str::as_bytes).collect();
    parts.push(source.as_bytes());
    parts.extend(after.split_whitespace().map(str::as_bytes));
    resp::encode_request(&mut bytes, &parts);
    bytes
}
