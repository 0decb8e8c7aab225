use crate::testing::Harness;
use cache::Pin;

const NOT_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";
const OVERFLOW: &str = "-ERR increment or decrement would overflow\r\n";

#[test]
fn integers_are_counted_up_and_down() {
    // Breaks if a counter is off, starts elsewhere than at 0, or tells listeners another event.
    let mut h = Harness::new();
    assert_eq!(h.run("INCR k"), ":1\r\n");
    assert_eq!(h.all_events(), "new k, incrby k");
    assert_eq!(h.run("INCRBY k 41"), ":42\r\n");
    assert_eq!(h.run("DECR k"), ":41\r\n");
    assert_eq!(h.events(), "incrby k");
    assert_eq!(h.run("DECRBY k -9"), ":50\r\n");
    assert_eq!(h.run("DECRBY k 150"), ":-100\r\n");
    assert_eq!(h.run("GET k"), "$4\r\n-100\r\n");
}

#[test]
fn counters_end_where_64_bits_do() {
    // Breaks if a counter wraps around.
    let mut h = Harness::new();
    h.run("SET k 9223372036854775807");
    assert_eq!(h.run("INCR k"), OVERFLOW);
    assert_eq!(h.run("DECRBY k -1"), OVERFLOW);
    assert_eq!(h.events(), "");
    h.run("SET k -9223372036854775808");
    assert_eq!(h.run("DECR k"), OVERFLOW);
    assert_eq!(
        h.run("DECRBY k -9223372036854775808"),
        "-ERR decrement would overflow\r\n"
    );
    assert_eq!(h.run("INCRBY k 9223372036854775807"), ":-1\r\n");
}

#[test]
fn what_is_no_integer_is_not_counted() {
    // Breaks if a counter takes text that Redis refuses.
    let mut h = Harness::new();
    for text in [
        "x",
        "1.0",
        "+1",
        "01",
        "-0",
        "9223372036854775808",
        "\"\"",
        "\" 1\"",
    ] {
        h.run(&format!("SET k {text}"));
        assert_eq!(h.run("INCR k"), NOT_INTEGER, "{text}");
        assert_eq!(h.run(&format!("INCRBY n {text}")), NOT_INTEGER, "{text}");
        assert_eq!(h.run(&format!("DECRBY n {text}")), NOT_INTEGER, "{text}");
    }
}

#[test]
fn counting_keeps_expiry_and_pin() {
    // Breaks if a counted key lives for ever, or a counted lock could be evicted.
    let mut h = Harness::new();
    h.run("SET k 1 NX PX 10");
    assert_eq!(h.run("INCR k"), ":2\r\n");
    let key = h.key(b"k");
    let entry = h.cache().peek(key).expect("the key is there");
    assert_eq!(entry.pin, Pin::Pinned);
    h.pass_ms(10);
    assert_eq!(h.run("INCR k"), ":1\r\n");
}

#[test]
fn numbers_are_added_with_80_bits() {
    // Breaks if 0.1 + 0.2 is not 0.3, or the stored text is looked at after the argument.
    let mut h = Harness::new();
    assert_eq!(h.run("INCRBYFLOAT k 0.1"), "$3\r\n0.1\r\n");
    assert_eq!(h.run("INCRBYFLOAT k 0.2"), "$3\r\n0.3\r\n");
    assert_eq!(h.events(), "incrbyfloat k");
    assert_eq!(h.run("INCRBYFLOAT k 2.7e0"), "$1\r\n3\r\n");
    assert_eq!(h.run("INCR k"), ":4\r\n");
    let not_float = "-ERR value is not a valid float\r\n";
    assert_eq!(h.run("INCRBYFLOAT k x"), not_float);
    assert_eq!(h.run("INCRBYFLOAT k nan"), not_float);
    assert_eq!(
        h.run("INCRBYFLOAT k inf"),
        "-ERR increment would produce NaN or Infinity\r\n"
    );
    h.run("SET k x PX 5");
    assert_eq!(h.run("INCRBYFLOAT k inf"), not_float);
    h.run("SET k 1 PX 5");
    h.run("INCRBYFLOAT k 1");
    h.pass_ms(5);
    assert_eq!(h.run("INCRBYFLOAT k 1"), "$1\r\n1\r\n");
}
