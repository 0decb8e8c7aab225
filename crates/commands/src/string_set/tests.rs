use crate::testing::{Harness, START_MS, WALL_OFFSET_MS};
use cache::Pin;

const SYNTAX: &str = "-ERR syntax error\r\n";
const INVALID: &str = "-ERR invalid expire time in 'set' command\r\n";
const NOT_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";
const NULL: &str = "$-1\r\n";
const OK: &str = "+OK\r\n";

#[test]
fn conditions_decide_whether_a_string_is_set() {
    // Breaks if NX overwrites, XX creates, or a refusal answers or tells listeners otherwise.
    let mut h = Harness::new();
    assert_eq!(h.run("SET k a XX"), NULL);
    assert_eq!(h.events(), "");
    assert_eq!(h.run("SET k a nx"), OK);
    assert_eq!(h.all_events(), "new k, set k");
    assert_eq!(h.run("SET k b NX"), NULL);
    assert_eq!(h.run("SET k b Xx"), OK);
    assert_eq!(h.run("SET k c NX GET"), "$1\r\nb\r\n");
    assert_eq!(h.run("SET k c XX GET"), "$1\r\nb\r\n");
    assert_eq!(h.run("SET n c XX GET"), NULL);
    assert_eq!(h.run("SET n c NX GET"), NULL);
    assert_eq!(h.run("MGET k n"), "*2\r\n$1\r\nc\r\n$1\r\nc\r\n");
}

#[test]
fn a_string_is_compared_before_it_is_replaced() {
    // Breaks if IFEQ writes over another string than the one named, or creates a key.
    let mut h = Harness::new();
    assert_eq!(h.run("SET k b IFEQ a"), NULL);
    assert_eq!(h.run("SET k a IFNE b"), OK);
    assert_eq!(h.run("SET k b IFNE a"), NULL);
    assert_eq!(h.run("SET k b IFEQ x GET"), "$1\r\na\r\n");
    assert_eq!(h.run("SET k b ifeq a EX 10"), OK);
    assert_eq!(h.run("GET k"), "$1\r\nb\r\n");
    for line in [
        "SET k v IFEQ",
        "SET k v IFEQ a NX",
        "SET k v XX IFEQ a",
        "SET k v IFEQ a IFEQ a",
    ] {
        assert_eq!(h.run(line), SYNTAX, "{line}");
    }
}

#[test]
fn a_time_ends_the_string() {
    // Breaks if a form of time is taken for another, or wall time is not converted to log time.
    let wall_ms = WALL_OFFSET_MS + START_MS as i64;
    for (option, alive_ms) in [
        ("PX 1500".to_owned(), 1500),
        ("EX 2".to_owned(), 2000),
        (format!("PXAT {}", wall_ms + 7), 7),
        (format!("EXAT {}", wall_ms / 1000 + 3), 3000),
    ] {
        let mut h = Harness::new();
        assert_eq!(h.run(&format!("SET k v {option}")), OK);
        assert_eq!(h.events(), "set k, expire k");
        h.pass_ms(alive_ms - 1);
        assert_eq!(h.run("GET k"), "$1\r\nv\r\n", "{option}");
        h.pass_ms(1);
        assert_eq!(h.run("GET k"), NULL, "{option}");
        assert_eq!(h.run("SET k v NX"), OK, "{option}");
    }
}

#[test]
fn a_time_of_the_past_leaves_nothing() {
    // Breaks if a string that is born expired can be read, or the one before survives.
    let mut h = Harness::new();
    h.run("SET k old");
    assert_eq!(h.run("SET k v PXAT 1"), OK);
    assert_eq!(h.run("GET k"), NULL);
}

#[test]
fn an_expiry_stays_only_when_asked() {
    // Breaks if a plain SET keeps an expiry or KEEPTTL drops it.
    let mut h = Harness::new();
    h.run("SET a 1 PX 10");
    h.run("SET b 1 PX 10");
    h.run("SET a 2");
    assert_eq!(h.run("SET b 2 KEEPTTL"), OK);
    assert_eq!(h.events(), "set b");
    h.pass_ms(10);
    assert_eq!(h.run("MGET a b"), "*2\r\n$1\r\n2\r\n$-1\r\n");
}

#[test]
fn options_that_contradict_are_refused() {
    // Breaks if a wrong combination is taken, or a repetition that Redis takes is refused.
    let mut h = Harness::new();
    for line in [
        "SET k v FOO",
        "SET k v EX",
        "SET k v NX XX",
        "SET k v EX 1 PX 1",
        "SET k v EX 1 KEEPTTL",
        "SET k v KEEPTTL PXAT 1",
        "SET k v PERSIST",
        "SET k v EX 0 FOO",
    ] {
        assert_eq!(h.run(line), SYNTAX, "{line}");
    }
    assert_eq!(h.run("SET k v EX 0 EX 100 KEEPTTL"), SYNTAX);
    assert_eq!(h.run("SET k v EX 0 EX 100"), OK);
    assert_eq!(h.run("SET k v NX NX"), NULL);
    assert_eq!(h.run("SET k v KEEPTTL KEEPTTL"), OK);
}

#[test]
fn times_that_are_none_are_refused() {
    // Breaks if a time wraps around or the error is not Redis's.
    let mut h = Harness::new();
    for (line, error) in [
        ("SET k v EX 0", INVALID),
        ("SET k v PX -1", INVALID),
        ("SET k v EXAT -1", INVALID),
        ("SET k v EX 9223372036854775807", INVALID),
        ("SET k v EX 9223372036854775", INVALID),
        ("SET k v PX 9223372036854775807", INVALID),
        ("SET k v EX 1.5", NOT_INTEGER),
        ("SET k v PXAT 9223372036854775808", NOT_INTEGER),
        ("SETEX k x v", NOT_INTEGER),
        (
            "SETEX k 0 v",
            "-ERR invalid expire time in 'setex' command\r\n",
        ),
        (
            "PSETEX k 0 v",
            "-ERR invalid expire time in 'psetex' command\r\n",
        ),
    ] {
        assert_eq!(h.run(line), error, "{line}");
    }
    assert_eq!(h.run("GET k"), NULL);
    assert_eq!(h.run("SET k v PXAT 9223372036854775807"), OK);
    assert_eq!(h.run("SET k v EXAT 9223372036854775"), OK);
    assert_eq!(h.run("GET k"), "$1\r\nv\r\n");
}

#[test]
fn the_older_commands_do_their_part() {
    // Breaks if SETNX, SETEX or PSETEX differ from the SET that they abbreviate.
    let mut h = Harness::new();
    assert_eq!(h.run("SETNX k a"), ":1\r\n");
    assert_eq!(h.events(), "set k");
    assert_eq!(h.run("SETNX k b"), ":0\r\n");
    assert_eq!(h.run("SETEX k 1 c"), OK);
    assert_eq!(h.events(), "set k, expire k");
    h.pass_ms(999);
    assert_eq!(h.run("GET k"), "$1\r\nc\r\n");
    assert_eq!(h.run("PSETEX k 1 d"), OK);
    assert_eq!(h.run("GET k"), "$1\r\nd\r\n");
    h.pass_ms(1);
    assert_eq!(h.run("GET k"), NULL);
}

#[test]
fn the_lock_path_pins_its_keys() {
    // Breaks if a lock could be evicted, or a cache's entry could not.
    let long = "x".repeat(257);
    let fits = &long[1..];
    let mut h = Harness::new();
    for (line, pin) in [
        ("SET k v NX PX 100".to_owned(), Pin::Pinned),
        ("SET k v EX 100 NX GET".to_owned(), Pin::Pinned),
        (
            format!("SET k v NX PXAT {}", WALL_OFFSET_MS * 2),
            Pin::Pinned,
        ),
        (format!("SET k {fits} NX PX 100"), Pin::Pinned),
        (format!("SET k {long} NX PX 100"), Pin::Unpinned),
        ("SET k v NX".to_owned(), Pin::Unpinned),
        ("SETNX k v".to_owned(), Pin::Unpinned),
        ("SET k v PX 100".to_owned(), Pin::Unpinned),
        ("SET k v NX KEEPTTL".to_owned(), Pin::Unpinned),
    ] {
        let key = h.key(b"k");
        h.cache().remove(key);
        h.run(&line);
        let entry = h.cache().peek(key).expect("the key was set");
        assert_eq!(entry.pin, pin, "{line}");
    }
}

#[test]
fn a_lock_is_renewed_by_its_holder_and_ended_by_others() {
    // Breaks if a renewed lock could be evicted, or an ordinary key stays pinned for good.
    for (line, pin) in [
        ("SET k t IFEQ t PX 100", Pin::Pinned),
        ("SET k t XX KEEPTTL", Pin::Pinned),
        ("SET k t XX", Pin::Unpinned),
        ("SET k t PX 100", Pin::Pinned),
        ("SET k t", Pin::Unpinned),
        ("SET k other PX 100", Pin::Unpinned),
        ("SET k t IFEQ other PX 100", Pin::Pinned),
        ("GETSET k t", Pin::Unpinned),
    ] {
        let mut h = Harness::new();
        h.run("SET k t NX PX 50");
        h.run(line);
        let key = h.key(b"k");
        let entry = h.cache().peek(key).expect("the key is there");
        assert_eq!(entry.pin, pin, "{line}");
    }
}

#[test]
fn a_string_is_read_and_its_expiry_changed() {
    // Breaks if GETEX sets another expiry than asked, or tells listeners otherwise.
    let mut h = Harness::new();
    h.run("SET k v PX 10");
    assert_eq!(h.run("GETEX k"), "$1\r\nv\r\n");
    assert_eq!(h.events(), "");
    assert_eq!(h.run("GETEX k persist"), "$1\r\nv\r\n");
    assert_eq!(h.events(), "persist k");
    assert_eq!(h.run("GETEX k PERSIST"), "$1\r\nv\r\n");
    assert_eq!(h.events(), "");
    h.pass_ms(20);
    assert_eq!(h.run("GETEX k EX 1"), "$1\r\nv\r\n");
    assert_eq!(h.events(), "expire k");
    h.pass_ms(999);
    assert_eq!(h.run("GETEX k PX 5"), "$1\r\nv\r\n");
    h.pass_ms(5);
    assert_eq!(h.run("GETEX k PX 5"), NULL);
    h.run("SET k v");
    assert_eq!(h.run("GETEX k PXAT 1"), "$1\r\nv\r\n");
    assert_eq!(h.events(), "del k");
    assert_eq!(h.run("GET k"), NULL);
}

#[test]
fn getex_looks_at_syntax_then_key_then_time() {
    // Breaks if the order of checks is not Redis's.
    let mut h = Harness::new();
    assert_eq!(h.run("GETEX k NX"), SYNTAX);
    assert_eq!(h.run("GETEX k KEEPTTL"), SYNTAX);
    assert_eq!(h.run("GETEX k EX 1 PERSIST"), SYNTAX);
    assert_eq!(h.run("GETEX k EX 0"), NULL);
    h.run("SET k v");
    assert_eq!(
        h.run("GETEX k EX 0"),
        "-ERR invalid expire time in 'getex' command\r\n"
    );
    assert_eq!(h.run("GETEX k EX x"), NOT_INTEGER);
}

#[test]
fn a_plain_set_of_what_is_there_renews_a_lock() {
    // Breaks if a script that extends its lock by SET key owner PX ttl makes it evictable, or gives it another fence.
    let mut h = Harness::new();
    h.run("SET l me NX PX 1000");
    let fence = h.run("LOCK.FENCE l");
    assert_eq!(h.run("SET l me PX 5000"), "+OK\r\n");
    assert_eq!(h.run("OBJECT PINNED l"), ":1\r\n");
    assert_eq!(h.run("LOCK.FENCE l"), fence);
    assert_eq!(h.run("SET l you PX 5000"), "+OK\r\n");
    assert_eq!(h.run("OBJECT PINNED l"), ":0\r\n");
    h.run("SET m me NX PX 1000");
    assert_eq!(h.run("SET m me"), "+OK\r\n");
    assert_eq!(h.run("OBJECT PINNED m"), ":0\r\n");
    h.run("SET plain me PX 1000");
    h.run("SET plain me PX 1000");
    assert_eq!(h.run("OBJECT PINNED plain"), ":0\r\n");
}
