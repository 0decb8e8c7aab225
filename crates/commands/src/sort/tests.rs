use crate::testing::Harness;

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
