//! Lua scripts as a user of three nodes sees them: loaded on one, called on another.

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
