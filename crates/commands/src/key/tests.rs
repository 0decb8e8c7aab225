use super::*;
use crate::testing::Harness;

const MISSING: &str = "-ERR no such key\r\n";
const SAME: &str = "-ERR source and destination objects are the same\r\n";

#[test]
fn removal_counts_what_was_there_and_reports_it() {
    // Breaks if DEL counts missing keys, counts a key twice, or is silent to listeners.
    for command in ["DEL", "UNLINK"] {
        let mut harness = Harness::with_caches(3);
        harness.run("SET a 1");
        harness.run("SET b 2");
        assert_eq!(harness.run(&format!("{command} a c a b")), ":2\r\n");
        assert_eq!(harness.events(), "del a, del b");
        assert_eq!(harness.run("EXISTS a b c"), ":0\r\n");
    }
}

#[test]
fn expired_keys_are_not_there() {
    // Breaks if a command on keys sees what has ended but was not reclaimed.
    let mut harness = Harness::new();
    harness.run("SET a 1 PX 100");
    harness.pass_ms(100);
    assert_eq!(harness.run("EXISTS a"), ":0\r\n");
    assert_eq!(harness.run("TOUCH a"), ":0\r\n");
    assert_eq!(harness.run("TYPE a"), "+none\r\n");
    assert_eq!(harness.run("RENAME a b"), MISSING);
    assert_eq!(harness.run("COPY a b"), ":0\r\n");
    assert_eq!(harness.run("DEL a"), ":0\r\n");
    assert_eq!(harness.events(), "");
}

#[test]
fn existence_counts_each_mention() {
    // Breaks if a key that is named twice counts once, or if misses are not reported.
    let mut harness = Harness::with_caches(2);
    harness.run("SET a 1");
    assert_eq!(harness.run("EXISTS a b a"), ":2\r\n");
    assert_eq!(harness.all_events(), "keymiss b");
    assert_eq!(harness.run("TYPE a"), "+string\r\n");
    assert_eq!(harness.run("TYPE b"), "+none\r\n");
    assert_eq!(harness.all_events(), "keymiss b");
}

#[test]
fn only_accesses_make_a_key_young() {
    // Breaks if EXISTS or TYPE reorder the LRU, or if TOUCH does not, under NO-TOUCH too.
    let mut harness = Harness::new();
    let idle_ms = |harness: &mut Harness| {
        let key = harness.key(b"a");
        harness.cache().peek(key).unwrap().idle_ms
    };
    harness.run("SET a 1");
    harness.pass_ms(60_000);
    harness.run("EXISTS a");
    harness.run("TYPE a");
    assert!(idle_ms(&mut harness) >= 59_000);
    harness.touch = Touch::No;
    harness.run("COPY a b");
    harness.run("DUMP a");
    assert!(idle_ms(&mut harness) >= 59_000);
    assert_eq!(harness.run("TOUCH a b c"), ":2\r\n");
    assert!(idle_ms(&mut harness) <= 1_000);
    harness.pass_ms(60_000);
    harness.touch = Touch::Yes;
    harness.run("DUMP a");
    assert!(idle_ms(&mut harness) <= 1_000);
}

#[test]
fn renaming_takes_all_along() {
    // Breaks if a renamed key loses value, expiry or pin on its way to another shard.
    let mut harness = Harness::with_caches(2);
    harness.run("SET a 1 NX PX 5000");
    harness.run("SET b other");
    assert_eq!(harness.run("RENAME a b"), "+OK\r\n");
    assert_eq!(harness.all_events(), "new b, rename_from a, rename_to b");
    assert_eq!(harness.run("EXISTS a"), ":0\r\n");
    assert_eq!(harness.run("GET b"), "$1\r\n1\r\n");
    assert_eq!(harness.run("PTTL b"), ":5000\r\n");
    assert_eq!(harness.run("OBJECT PINNED b"), ":1\r\n");
}

#[test]
fn renaming_asks_for_the_source_first() {
    // Breaks if a missing source passes for a key renamed to itself, or RENAMENX overwrites.
    let mut harness = Harness::with_caches(2);
    harness.run("SET a 1");
    harness.run("SET b 2");
    assert_eq!(harness.run("RENAME x x"), MISSING);
    assert_eq!(harness.run("RENAMENX x a"), MISSING);
    assert_eq!(harness.run("RENAME a a"), "+OK\r\n");
    assert_eq!(harness.run("RENAMENX a a"), ":0\r\n");
    assert_eq!(harness.run("RENAMENX a b"), ":0\r\n");
    assert_eq!(harness.events(), "");
    assert_eq!(harness.run("RENAMENX a c"), ":1\r\n");
    assert_eq!(
        harness.run("MGET a b c"),
        "*3\r\n$-1\r\n$1\r\n2\r\n$1\r\n1\r\n"
    );
}

#[test]
fn copies_are_whole_but_no_locks() {
    // Breaks if a copy lacks value, expiry or form, or holds a lock that nobody took.
    let mut harness = Harness::with_caches(2);
    harness.run("SET a 1 NX PX 5000");
    assert_eq!(harness.run("COPY a b"), ":1\r\n");
    assert_eq!(harness.all_events(), "new b, copy_to b");
    assert_eq!(harness.run("GET b"), "$1\r\n1\r\n");
    assert_eq!(harness.run("PTTL b"), ":5000\r\n");
    assert_eq!(harness.run("OBJECT PINNED a"), ":1\r\n");
    assert_eq!(harness.run("OBJECT PINNED b"), ":0\r\n");
    harness.run("APPEND a 2");
    assert_eq!(harness.run("COPY a b"), ":0\r\n");
    assert_eq!(harness.run("COPY a b replace"), ":1\r\n");
    assert_eq!(harness.run("OBJECT ENCODING b"), "$3\r\nraw\r\n");
}

#[test]
fn copies_go_to_other_databases() {
    // Breaks if DB is ignored, or if the same key of another database counts as the same key.
    let mut harness = Harness::new();
    harness.run("SET a 1");
    assert_eq!(harness.run("COPY a a"), SAME);
    assert_eq!(harness.run("COPY a a DB 0"), SAME);
    assert_eq!(harness.run("COPY a a DB 0 DB 3"), ":1\r\n");
    assert_eq!(harness.events[0].db, 3);
    harness.db = 3;
    assert_eq!(harness.run("GET a"), "$1\r\n1\r\n");
    assert_eq!(harness.run("COPY x x DB 0"), ":0\r\n");
}

#[test]
fn copy_reads_its_options_before_its_keys() {
    // Breaks if options are checked in another order than Redis's, or with other words.
    let mut harness = Harness::new();
    let syntax = "-ERR syntax error\r\n";
    for (options, reply) in [
        ("FOO", syntax),
        ("DB", syntax),
        ("REPLACE DB 1 FOO", syntax),
        ("DB x", "-ERR value is not an integer or out of range\r\n"),
        ("DB 16", "-ERR DB index is out of range\r\n"),
        ("DB -1 FOO", "-ERR DB index is out of range\r\n"),
        (
            "DB 2147483648",
            "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n",
        ),
        ("REPLACE", SAME),
    ] {
        assert_eq!(
            harness.run(&format!("COPY x x {options}")),
            reply,
            "{options}"
        );
    }
}

#[test]
fn keys_move_between_databases() {
    // Breaks if MOVE overwrites, loses the expiry, or leaves the key where it was.
    let mut harness = Harness::new();
    harness.run("SET a 1 NX PX 5000");
    for (line, reply) in [
        ("MOVE a 0", SAME),
        ("MOVE x 0", SAME),
        ("MOVE x 1", ":0\r\n"),
        ("MOVE a 16", "-ERR DB index is out of range\r\n"),
        (
            "MOVE a x",
            "-ERR value is not an integer or out of range\r\n",
        ),
        ("MOVE a 2", ":1\r\n"),
    ] {
        assert_eq!(harness.run(line), reply, "{line}");
    }
    assert_eq!(harness.all_events(), "new a, move_from a, move_to a");
    let dbs: Vec<u8> = harness.events.iter().map(|event| event.db).collect();
    assert_eq!(dbs, [2, 0, 2]);
    assert_eq!(harness.run("EXISTS a"), ":0\r\n");
    harness.run("SET a 2");
    assert_eq!(harness.run("MOVE a 2"), ":0\r\n");
    assert_eq!(harness.run("GET a"), "$1\r\n2\r\n");
    harness.db = 2;
    assert_eq!(harness.run("GET a"), "$1\r\n1\r\n");
    assert_eq!(harness.run("PTTL a"), ":5000\r\n");
    assert_eq!(harness.run("OBJECT PINNED a"), ":1\r\n");
}

#[test]
fn long_values_travel_whole() {
    // Breaks if a value that is kept apart from its key is lost or cut when the key is renamed, copied,
    // moved or dumped.
    let mut harness = Harness::with_caches(2);
    let long: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    harness.run_bytes(&[b"SET", b"a", &long]);
    harness.run_bytes(&[b"APPEND", b"a", b"end"]);
    let expected = harness.run_bytes(&[b"GET", b"a"]);
    assert_eq!(harness.run("RENAME a b"), "+OK\r\n");
    assert_eq!(harness.run("COPY b c"), ":1\r\n");
    harness.run("APPEND b more");
    assert_eq!(harness.run_bytes(&[b"GET", b"c"]), expected);
    let payload = harness.run_bytes(&[b"DUMP", b"c"]);
    let start = payload.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let payload = &payload[start..payload.len() - 2];
    assert_eq!(
        harness.run_bytes(&[b"RESTORE", b"d", b"0", payload]),
        b"+OK\r\n"
    );
    assert_eq!(harness.run_bytes(&[b"GET", b"d"]), expected);
    assert_eq!(harness.run("MOVE d 1"), ":1\r\n");
    harness.db = 1;
    assert_eq!(harness.run_bytes(&[b"GET", b"d"]), expected);
}
