use crate::testing::Harness;
use cache::{INTEGERS_LEN_MAX, PACKED_BYTES_MAX, PACKED_LEN_MAX};

#[test]
fn encodings_are_those_that_redis_would_choose() {
    // Breaks if OBJECT ENCODING tells another form than Redis for the same way of making a value.
    let mut harness = Harness::new();
    let x44 = "x".repeat(44);
    let x45 = "x".repeat(45);
    for (value, encoding) in [
        ("1", "int"),
        ("-9223372036854775808", "int"),
        ("9223372036854775808", "embstr"),
        ("01", "embstr"),
        ("\"\"", "embstr"),
        (&x44, "embstr"),
        (&x45, "raw"),
    ] {
        harness.run(&format!("SET a {value}"));
        let reply = format!("${}\r\n{encoding}\r\n", encoding.len());
        assert_eq!(harness.run("OBJECT ENCODING a"), reply, "{value}");
    }
    harness.run("SET a 1");
    harness.run("APPEND a 1");
    assert_eq!(harness.run("OBJECT ENCODING a"), "$3\r\nraw\r\n");
    harness.run("SET a 11");
    assert_eq!(harness.run("OBJECT ENCODING a"), "$3\r\nint\r\n");
    let long = "x".repeat(100_000);
    harness.run_bytes(&[b"SET", b"a", long.as_bytes()]);
    assert_eq!(harness.run("OBJECT ENCODING a"), "$3\r\nraw\r\n");
}

#[test]
fn looking_is_no_access() {
    // Breaks if OBJECT makes a key young, or reports a miss.
    let mut harness = Harness::new();
    harness.run("SET a 1");
    harness.pass_ms(90_000);
    assert_eq!(harness.run("OBJECT IDLETIME a"), ":90\r\n");
    assert_eq!(harness.run("OBJECT REFCOUNT a"), ":1\r\n");
    assert_eq!(harness.run("OBJECT IDLETIME a"), ":90\r\n");
    assert_eq!(harness.run("OBJECT IDLETIME x"), "$-1\r\n");
    assert_eq!(harness.all_events(), "");
    harness.run("GET a");
    assert_eq!(harness.run("OBJECT IDLETIME a"), ":0\r\n");
}

#[test]
fn frequencies_need_a_policy_that_does_not_exist() {
    // Breaks if OBJECT FREQ gives a number that means nothing.
    let mut harness = Harness::new();
    assert_eq!(harness.run("OBJECT FREQ a"), "$-1\r\n");
    harness.run("SET a 1");
    assert_eq!(
        harness.run("OBJECT FREQ a"),
        "-ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note \
         that when switching between policies at runtime LRU and LFU data will take some time to \
         adjust.\r\n"
    );
}

#[test]
fn locks_are_told_from_other_keys() {
    // Breaks if a user cannot see which keys eviction spares.
    let mut harness = Harness::new();
    harness.run("SET a 1 PX 5000");
    harness.run("SET b 1 NX PX 5000");
    assert_eq!(harness.run("OBJECT PINNED a"), ":0\r\n");
    assert_eq!(harness.run("OBJECT PINNED b"), ":1\r\n");
    assert_eq!(harness.run("OBJECT PINNED x"), "$-1\r\n");
    harness.run("PEXPIRE b 9000");
    assert_eq!(harness.run("OBJECT PINNED b"), ":1\r\n");
    // Without an end it would be spared for ever.
    harness.run("PERSIST b");
    assert_eq!(harness.run("OBJECT PINNED b"), ":0\r\n");
}

fn encoding_of(harness: &mut Harness, key: &str) -> String {
    let reply = harness.run(&format!("OBJECT ENCODING {key}"));
    let name = reply.split("\r\n").nth(1);
    name.expect("the key is there").to_owned()
}

#[test]
fn small_collections_are_told_from_large_ones() {
    // Breaks if a collection is told to be of another form than Redis's at the bounds where it changes.
    let mut harness = Harness::new();
    harness.run("RPUSH list a");
    assert_eq!(encoding_of(&mut harness, "list"), "quicklist");
    for (count, integers, hash, sorted_set) in [
        (1, "intset", "listpack", "listpack"),
        (PACKED_LEN_MAX, "intset", "listpack", "listpack"),
        (PACKED_LEN_MAX + 1, "intset", "hashtable", "skiplist"),
        (INTEGERS_LEN_MAX, "intset", "hashtable", "skiplist"),
        (INTEGERS_LEN_MAX + 1, "hashtable", "hashtable", "skiplist"),
    ] {
        let mut harness = Harness::new();
        for number in 0..count {
            harness.run(&format!("SADD set {number}"));
            harness.run(&format!("HSET hash {number} x"));
            harness.run(&format!("ZADD zset {number} {number}"));
        }
        assert_eq!(encoding_of(&mut harness, "set"), integers, "{count}");
        assert_eq!(encoding_of(&mut harness, "hash"), hash, "{count}");
        assert_eq!(encoding_of(&mut harness, "zset"), sorted_set, "{count}");
    }
}

#[test]
fn a_long_item_makes_a_collection_large() {
    // Breaks if one long item is overlooked, or a short one taken for it.
    for (len, hash, sorted_set) in [
        (PACKED_BYTES_MAX, "listpack", "listpack"),
        (PACKED_BYTES_MAX + 1, "hashtable", "skiplist"),
    ] {
        let text = "x".repeat(len);
        let mut harness = Harness::new();
        harness.run(&format!("HSET field {text} x"));
        harness.run(&format!("HSET value f {text}"));
        harness.run(&format!("ZADD zset 1 {text}"));
        harness.run(&format!("SADD set {text}"));
        assert_eq!(encoding_of(&mut harness, "field"), hash);
        assert_eq!(encoding_of(&mut harness, "value"), hash);
        assert_eq!(encoding_of(&mut harness, "zset"), sorted_set);
        assert_eq!(encoding_of(&mut harness, "set"), "hashtable");
    }
}
