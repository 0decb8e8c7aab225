use crate::testing::{Harness, run_marked};

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
const SYNTAX: &str = "-ERR syntax error\r\n";
const INTEGER: &str = "-ERR value is not an integer or out of range\r\n";

#[test]
fn options_are_checked_before_the_type() {
    // Breaks if errors come in another order than Redis's.
    let mut harness = Harness::new();
    harness.run("SET a 1");
    for (options, reply) in [
        ("", WRONG_TYPE),
        ("BY x GET # LIMIT 0 1 ASC DESC ALPHA", WRONG_TYPE),
        ("FOO", SYNTAX),
        ("BY", SYNTAX),
        ("GET", SYNTAX),
        ("STORE", SYNTAX),
        ("LIMIT x", SYNTAX),
        ("LIMIT x y", INTEGER),
        ("LIMIT 1 y FOO", INTEGER),
    ] {
        assert_eq!(
            harness.run(&format!("SORT a {options}")),
            reply,
            "{options}"
        );
    }
    assert_eq!(harness.run("SORT_RO a STORE b"), SYNTAX);
    assert_eq!(harness.run("SORT_RO a"), WRONG_TYPE);
}

#[test]
fn nothing_sorted_is_nothing() {
    // Breaks if a missing key is an error, or if STORE of nothing leaves the old value.
    let mut harness = Harness::with_caches(2);
    harness.run("SET a 1");
    assert_eq!(harness.run("SORT x"), "*0\r\n");
    assert_eq!(harness.all_events(), "keymiss x");
    assert_eq!(harness.run("SORT_RO x LIMIT -1 -1"), "*0\r\n");
    assert_eq!(harness.run("SORT x STORE b STORE a"), ":0\r\n");
    assert_eq!(harness.events(), "del a");
    assert_eq!(harness.run("SORT x STORE a"), ":0\r\n");
    assert_eq!(harness.events(), "");
}

#[test]
fn elements_are_sorted_as_in_redis() {
    // Breaks if an order, a reply, what is stored or an event is not Redis's.
    let script = include_str!("../../testdata/redis-7.0-sort.txt");
    run_marked(&mut Harness::new(), script);
}

#[test]
fn patterns_of_other_slots_are_refused() {
    // Breaks if a key is looked up that may live elsewhere: it would seem to be missing.
    let mut harness = Harness::new();
    harness.run("RPUSH {t}l 2 1");
    harness.run("RPUSH t 2 1");
    let denied = |option: &str| {
        format!(
            "-ERR {option} option of SORT denied in cluster mode when keys formed by the pattern may be in \
             different slots.\r\n"
        )
    };
    for key in ["{t}l", "t"] {
        for pattern in ["w*", "{u}w*", "{t*}w", "*{t}", "{}t*", "{t*->{t}", "w*->f"] {
            for option in ["BY", "GET"] {
                let reply = harness.run(&format!("SORT {key} {option} {pattern} STORE d"));
                assert_eq!(reply, denied(option), "{option} {pattern}");
            }
        }
        assert_eq!(
            harness.run(&format!("SORT {key} BY {{t}}w*->f")),
            "*2\r\n$1\r\n1\r\n$1\r\n2\r\n"
        );
    }
    assert_eq!(harness.run("EXISTS d"), ":0\r\n");
    // As in Redis, what comes first in the request is told of.
    assert_eq!(harness.run("SORT n BY w* FOO"), denied("BY"));
    assert_eq!(harness.run("SORT n FOO BY w*"), SYNTAX);
}

#[test]
fn what_is_stored_goes_to_the_cache_of_its_key() {
    // Breaks if STORE writes beside the sorted key.
    let mut harness = Harness::with_caches(2);
    harness.run("RPUSH a 2 1 3");
    assert_eq!(harness.run("SORT a STORE b"), ":3\r\n");
    assert_eq!(
        harness.run("LRANGE b 0 -1"),
        "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n"
    );
    let (a, b) = (harness.key(b"a"), harness.key(b"b"));
    assert!(harness.caches[1].peek(a).is_some() && harness.caches[0].peek(b).is_some());
}

#[test]
fn requests_that_look_keys_up_are_known() {
    // Breaks if a script is let sort by keys that it cannot see, or is refused what it can do.
    for (words, expected) in [
        ("SORT l", false),
        ("SORT l BY nosort GET # GET x", false),
        ("SORT {l}l BY {l}w*", true),
        ("SORT_RO {l}l GET {l}w*->f", true),
        ("SORT l FOO GET {l}w*", false),
        ("GET l", false),
        ("LOCK.GUARD l 1 SORT {l}l BY {l}w*", true),
        ("LOCK.GUARD l 1 SORT {l}l", false),
    ] {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        let args = resp::OwnedArgs::from_slices(&words);
        let row = crate::lookup(words[0]).unwrap();
        assert_eq!(super::looks_up(row, args.args()), expected, "{words:?}");
    }
}
