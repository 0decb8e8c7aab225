use crate::testing::Harness;

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
