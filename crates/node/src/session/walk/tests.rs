//! SCAN, KEYS, DBSIZE, RANDOMKEY, FLUSHALL through sessions.

use crate::session::Step;
use crate::testing::{Client, node};

fn fill(client: &mut Client<'_>, keys: usize) {
    for first in (0..keys).step_by(1000) {
        let pairs: String = (first..keys.min(first + 1000))
            .map(|n| format!(" key:{n} 1"))
            .collect();
        assert_eq!(client.run(&format!("MSET{pairs}")), "+OK");
    }
}

#[test]
fn a_scan_sees_every_key_once_whatever_its_count() {
    // Breaks if a cursor loses its place, or a long step that gave way loses what it found.
    let (node, _) = node();
    let mut client = Client::new(&node);
    fill(&mut client, 5000);
    for count in [10, 1024, 1025, 100_000] {
        let mut cursor = "0".to_string();
        let mut seen = Vec::new();
        loop {
            let reply = client.run(&format!("SCAN {cursor} COUNT {count} MATCH key:*"));
            let words: Vec<&str> = reply.split(' ').collect();
            cursor = words[2].into();
            seen.extend(words[4..].chunks(2).map(|pair| pair[1].to_string()));
            if cursor == "0" {
                break;
            }
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 5000, "COUNT {count}");
    }
}

#[test]
fn a_long_walk_gives_way_and_keeps_the_order_of_replies() {
    // Breaks if KEYS on a large keyspace stops all others, or overtakes or loses a neighbour's reply.
    let (node, _) = node();
    let mut client = Client::new(&node);
    fill(&mut client, 20_000);
    let yields_before = client.yields;
    let reply = client.pipeline(&["PING a", "KEYS *", "PING b"]);
    assert!(reply.starts_with("$1 a *20000 "));
    assert!(reply.ends_with(" $1 b"));
    assert!(client.yields > yields_before);
    let yields_before = client.yields;
    client.run("SCAN 0 COUNT 20000");
    assert!(client.yields > yields_before);
    let skipped = client.pipeline(&["CLIENT REPLY SKIP", "KEYS *", "PING b"]);
    assert_eq!(skipped, "$1 b");
    assert_eq!(client.step, Step::Done);
}

#[test]
fn flushing_empties_what_it_says() {
    // Breaks if FLUSHDB takes another database's keys, or an option that Redis refuses is taken.
    let (node, _) = node();
    let mut client = Client::new(&node);
    client.pipeline(&["SET a 1", "SELECT 1", "SET b 1"]);
    assert_eq!(client.run("FLUSHDB maybe"), "-ERR syntax error");
    assert_eq!(client.run("FLUSHDB ASYNC"), "+OK");
    assert_eq!(client.pipeline(&["DBSIZE", "RANDOMKEY"]), ":0 $-1");
    assert_eq!(
        client.pipeline(&["SELECT 0", "DBSIZE", "RANDOMKEY"]),
        "+OK :1 $1 a"
    );
    assert_eq!(client.pipeline(&["FLUSHALL", "DBSIZE"]), "+OK :0");
}
