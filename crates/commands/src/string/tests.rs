use crate::testing::Harness;
use resp::Protocol;

#[test]
fn a_string_is_read_as_it_was_set() {
    // Breaks if GET answers other bytes than SET was given, or null in the wrong form.
    let mut h = Harness::new();
    assert_eq!(h.run("GET k"), "$-1\r\n");
    assert_eq!(h.all_events(), "keymiss k");
    assert_eq!(h.run(r#"SET k "\x00\xff \r\n""#), "+OK\r\n");
    assert_eq!(h.run("GET k"), "$5\r\n\\x00\\xff \r\n\r\n");
    assert_eq!(h.all_events(), "");
    assert_eq!(h.run("SET k 12"), "+OK\r\n");
    assert_eq!(h.run("GET k"), "$2\r\n12\r\n");
    h.protocol = Protocol::Resp3;
    assert_eq!(h.run("GET none"), "_\r\n");
}

#[test]
fn getdel_and_getset_answer_the_old_string() {
    // Breaks if the old string is lost before it is answered, or an expiry outlives GETSET.
    let mut h = Harness::new();
    h.run("SET k old PX 50");
    assert_eq!(h.run("GETSET k new"), "$3\r\nold\r\n");
    assert_eq!(h.events(), "set k");
    h.pass_ms(100);
    assert_eq!(h.run("GETDEL k"), "$3\r\nnew\r\n");
    assert_eq!(h.events(), "del k");
    assert_eq!(h.run("GETDEL k"), "$-1\r\n");
    assert_eq!(h.events(), "");
    assert_eq!(h.run("GETSET k x"), "$-1\r\n");
    assert_eq!(h.all_events(), "keymiss k, new k, set k");
    assert_eq!(h.run("GET k"), "$1\r\nx\r\n");
}

#[test]
fn several_keys_at_once_whatever_caches_they_live_in() {
    // Breaks if a key is sought in another cache than its own, or elements change places.
    for caches in [1, 3] {
        let mut h = Harness::with_caches(caches);
        assert_eq!(h.run("MSET a 1 b 2 c 3 a 4"), "+OK\r\n");
        assert_eq!(h.events(), "set a, set b, set c, set a");
        assert_eq!(
            h.run("MGET c x a a"),
            "*4\r\n$1\r\n3\r\n$-1\r\n$1\r\n4\r\n$1\r\n4\r\n"
        );
        assert_eq!(h.run("MSETNX y 1 b 2"), ":0\r\n");
        assert_eq!(h.events(), "");
        assert_eq!(h.run("MGET y"), "*1\r\n$-1\r\n");
        assert_eq!(h.run("MSETNX y 1 z 2 y 3"), ":1\r\n");
        assert_eq!(h.run("MGET y z"), "*2\r\n$1\r\n3\r\n$1\r\n2\r\n");
    }
}

#[test]
fn a_key_without_its_value_is_refused() {
    // Breaks if MSET reads beyond its arguments or writes a part of them.
    let mut h = Harness::new();
    let error = |name| format!("-ERR wrong number of arguments for '{name}' command\r\n");
    assert_eq!(h.run("MSET a 1 b"), error("mset"));
    assert_eq!(h.run("MSETNX a 1 b"), error("msetnx"));
    assert!(h.cache().is_empty());
}

#[test]
fn databases_are_apart() {
    // Breaks if a key of one database is seen in another.
    let mut h = Harness::new();
    h.run("SET k zero");
    h.db = 5;
    assert_eq!(h.run("GET k"), "$-1\r\n");
    h.run("SET k five");
    h.db = 0;
    assert_eq!(h.run("GET k"), "$4\r\nzero\r\n");
}

#[test]
fn several_keys_share_a_condition_and_an_expiry() {
    // Breaks if MSETEX sets a part of its keys, or leaves one of them without the expiry.
    let mut h = Harness::with_caches(2);
    assert_eq!(h.run("MSETEX 2 a 1 b 2 NX PX 10"), ":1\r\n");
    assert_eq!(h.events(), "set a, expire a, set b, expire b");
    assert_eq!(h.run("MSETEX 2 c 1 b 2 NX"), ":0\r\n");
    assert_eq!(h.run("MSETEX 2 c 1 b 2 XX"), ":0\r\n");
    assert_eq!(h.run("MSETEX 1 a 7 KEEPTTL XX"), ":1\r\n");
    assert_eq!(h.run("MGET a b c"), "*3\r\n$1\r\n7\r\n$1\r\n2\r\n$-1\r\n");
    h.pass_ms(10);
    assert_eq!(h.run("MGET a b"), "*2\r\n$-1\r\n$-1\r\n");
    for (line, error) in [
        ("MSETEX x a 1", "invalid numkeys value"),
        ("MSETEX 0 a 1", "invalid numkeys value"),
        ("MSETEX 2147483648 a 1", "invalid numkeys value"),
        ("MSETEX 2147483647 a 1", "wrong number of key-value pairs"),
        ("MSETEX 2 a 1 b", "wrong number of key-value pairs"),
        ("MSETEX 1 a 1 b 2", "syntax error"),
        ("MSETEX 1 a 1 GET", "syntax error"),
        ("MSETEX 1 a 1 IFEQ 1", "syntax error"),
        ("MSETEX 1 a 1 EX 1 KEEPTTL", "syntax error"),
        (
            "MSETEX 1 a 1 EX 0",
            "invalid expire time in 'msetex' command",
        ),
    ] {
        assert_eq!(h.run(line), format!("-ERR {error}\r\n"), "{line}");
    }
}
