//! Lua scripts as a user of three nodes sees them: loaded on one, called on another.

use std::time::{Duration, Instant};

use torc_tests::{Client, Cluster, Server, Value};

const GET: &str = "return redis.call('get', KEYS[1])";

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

/// Loads a script; its SHA1.
fn load(client: &mut Client, source: &str) -> String {
    match client.ask_args(&["SCRIPT", "LOAD", source]) {
        Value::Bulk(sha) => String::from_utf8(sha).expect("hexadecimal digits"),
        other => panic!("SCRIPT LOAD answered {other:?}"),
    }
}

#[test]
fn what_was_loaded_on_one_node_runs_on_all_at_once_and_for_good() {
    // Breaks if EVALSHA misses on another node, after the loader was killed, or on a node that joined later.
    if Server::tests_redis() {
        return;
    }
    let mut cluster = Cluster::start(3);
    let (mut one, mut two, mut three) = (cluster.client(1), cluster.client(2), cluster.client(3));
    one.ask("SET k v");
    let mut last = String::new();
    for number in 0..200 {
        // Each is asked for elsewhere the moment that it is acknowledged.
        let source = format!("local n = {number} {GET}");
        last = load(&mut one, &source);
        for other in [&mut two, &mut three] {
            assert_eq!(other.ask(&format!("EVALSHA {last} 1 k")), bulk("v"));
        }
    }
    // And one that was only run.
    let ran = "return 'ran'";
    assert_eq!(three.ask_args(&["EVAL", ran, "0"]), bulk("ran"));
    let sha = load(&mut one, "return 'unloaded'");
    assert_eq!(one.ask("SCRIPT FLUSH"), Value::Simple(b"OK".to_vec()));
    let again = load(&mut one, &format!("local n = 199 {GET}"));
    assert_eq!(again, last);
    cluster.kill(1);
    for number in [2, 3] {
        let mut client = cluster.client(number);
        assert_eq!(client.ask(&format!("EVALSHA {last} 1 k")), bulk("v"));
        let exists = client.ask(&format!("SCRIPT EXISTS {last} {sha}"));
        assert_eq!(
            exists,
            Value::Array(vec![Value::Integer(1), Value::Integer(0)])
        );
    }
    cluster.add(&[]);
    let mut four = cluster.client(4);
    assert_eq!(four.ask(&format!("EVALSHA {last} 1 k")), bulk("v"));
}

#[test]
fn loaded_scripts_outlive_a_restart_of_all_nodes() {
    // Breaks if --appendonly keeps the keys and forgets the scripts that work on them.
    if Server::tests_redis() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let directory = directory.path().to_str().expect("a path in UTF-8");
    let flags = ["--appendonly", "yes", "--dir", directory];
    let mut cluster = Cluster::start_with(1, &flags);
    let mut client = cluster.client(1);
    client.ask("SET k v");
    let loaded = load(&mut client, GET);
    client.ask_args(&["EVAL", "return 'ran'", "0"]);
    let sha = client.ask_args(&["EVAL", "return redis.sha1hex(ARGV[1])", "0", "return 'ran'"]);
    let Value::Bulk(ran) = sha else {
        panic!("sha1hex answered {sha:?}");
    };
    let ran = String::from_utf8(ran).expect("hexadecimal digits");
    cluster.kill(1);
    cluster.restart(1, &flags);
    let mut client = cluster.client(1);
    assert_eq!(client.ask(&format!("EVALSHA {loaded} 1 k")), bulk("v"));
    assert_eq!(client.ask(&format!("EVALSHA {ran} 0")), bulk("ran"));
}

/// Never ends, after a write.
const ENDLESS: &str = "redis.call('set', KEYS[1], 'half') while true do end";
/// Takes a second or so, then adds one to its key.
const SLOW: &str = "local n = tonumber(redis.call('get', KEYS[1])) for i = 1, 3e7 do end redis.call('set', KEYS[1], n + 1) return 'done'";
/// What a client waits at most for an answer that no script holds up, a busy machine allowed for.
const PROMPT: Duration = Duration::from_secs(2);

/// Asks, and holds the answer to its time.
fn promptly(client: &mut Client, line: &str) -> Value {
    let asked = Instant::now();
    let answer = client.ask(line);
    assert!(asked.elapsed() < PROMPT, "{line}: {:?}", asked.elapsed());
    answer
}

#[test]
fn a_script_that_never_ends_hurts_nobody_and_is_killed() {
    // Breaks if other clients, or SCRIPT KILL, wait for a script that holds its keys' shards; or if half of it is left.
    if Server::tests_redis() {
        return;
    }
    let server = Server::start();
    let (mut runs, mut other) = (server.client(), server.client());
    // Longer than anybody would wait.
    other.ask("CONFIG SET lua-time-limit 60000");
    runs.send_args(&["EVAL", ENDLESS, "1", "k"])
        .expect("it is taken");
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        assert_eq!(promptly(&mut other, "GET k"), Value::NullBulk);
        assert_eq!(
            promptly(&mut other, "SET other v"),
            Value::Simple(b"OK".to_vec())
        );
        // It runs long once the brief run is over: then it can be killed at any time.
        std::thread::sleep(Duration::from_millis(200));
        if promptly(&mut other, "SCRIPT KILL") == Value::Simple(b"OK".to_vec()) {
            break;
        }
        assert!(Instant::now() < end, "it never runs");
    }
    let told = runs.receive().expect("an answer").text();
    assert!(
        told.contains("Script killed by user with SCRIPT KILL"),
        "{told}"
    );
    assert_eq!(other.ask("GET k"), Value::NullBulk);
    other.ask("CONFIG SET lua-time-limit 300");
    let told = runs.ask_args(&["EVAL", ENDLESS, "1", "k"]).text();
    assert!(told.contains("it ran for too long"), "{told}");
    assert_eq!(other.ask("GET k"), Value::NullBulk);
}

#[test]
fn a_slow_script_takes_effect_on_what_its_keys_hold_at_its_end() {
    // Breaks if a script that runs with nothing locked overwrites what others wrote meanwhile.
    if Server::tests_redis() {
        return;
    }
    let server = Server::start();
    let (mut runs, mut other) = (server.client(), server.client());
    other.ask("CONFIG SET lua-time-limit 60000");
    other.ask("SET n 0");
    runs.send_args(&["EVAL", SLOW, "1", "n"])
        .expect("it is taken");
    std::thread::sleep(Duration::from_millis(300));
    promptly(&mut other, "INCRBY n 10");
    let told = runs.receive().expect("an answer");
    assert_eq!(told, bulk("done"));
    assert_eq!(other.ask("GET n"), bulk("11"));
}

#[test]
fn scripts_that_never_end_cost_a_cluster_no_leader() {
    // Breaks if a leader that runs a script without an end is held up for longer than a lease, or several in a row are.
    if Server::tests_redis() {
        return;
    }
    let cluster = Cluster::start(3);
    let mut runs: Vec<Client> = (0..9).map(|n| cluster.client(1 + n % 3)).collect();
    for (n, client) in runs.iter_mut().enumerate() {
        let key = format!("k{n}");
        client
            .send_args(&["EVAL", ENDLESS, "1", &key])
            .expect("it is taken");
    }
    let mut other = cluster.client(1);
    for n in 0..20 {
        promptly(&mut other, &format!("SET other:{n} v"));
    }
    for client in &mut runs {
        let told = client.receive().expect("an answer").text();
        assert!(told.contains("it ran for too long"), "{told}");
    }
    for n in 0..9 {
        assert_eq!(other.ask(&format!("GET k{n}")), Value::NullBulk);
    }
}
