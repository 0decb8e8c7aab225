use super::*;
use crate::testing::Harness;
use proptest::prelude::*;

#[test]
fn bits_are_set_and_read() {
    // Breaks if a bit lands elsewhere, or a bit that stays what it is counts as a change.
    let mut h = Harness::new();
    assert_eq!(h.run("SETBIT k 7 1"), ":0\r\n");
    assert_eq!(h.all_events(), "new k, setbit k");
    assert_eq!(h.run("SETBIT k 7 1"), ":1\r\n");
    assert_eq!(h.events(), "");
    assert_eq!(h.run("SETBIT k 6 0"), ":0\r\n");
    assert_eq!(h.events(), "");
    assert_eq!(h.run("SETBIT k 17 0"), ":0\r\n");
    assert_eq!(h.events(), "setbit k");
    assert_eq!(h.run("GET k"), "$3\r\n\\x01\\x00\\x00\r\n");
    assert_eq!(h.run("SETBIT k 7 0"), ":1\r\n");
    assert_eq!(h.run("GET k"), "$3\r\n\\x00\\x00\\x00\r\n");
    assert_eq!(h.run("GETBIT k 1000"), ":0\r\n");
    assert_eq!(h.run("GETBIT none 0"), ":0\r\n");
}

#[test]
fn places_beyond_the_longest_string_are_refused() {
    // Breaks if a bit can make a string of more than 512 MiB.
    let mut h = Harness::new();
    let offset = "-ERR bit offset is not an integer or out of range\r\n";
    let bit = "-ERR bit is not an integer or out of range\r\n";
    for place in ["-1", "x", "4294967296", "9223372036854775808", "#1"] {
        assert_eq!(h.run(&format!("SETBIT k {place} 1")), offset, "{place}");
        assert_eq!(h.run(&format!("GETBIT k {place}")), offset, "{place}");
    }
    assert_eq!(h.run("GETBIT k 4294967295"), ":0\r\n");
    for value in ["2", "-1", "x", "01"] {
        assert_eq!(h.run(&format!("SETBIT k 0 {value}")), bit, "{value}");
    }
    assert!(h.cache().is_empty());
}

#[test]
fn arguments_are_looked_at_before_the_key() {
    // Breaks if a missing key hides a mistake, as it did in Redis before 7.4, or the order differs.
    let mut h = Harness::new();
    let syntax = "-ERR syntax error\r\n";
    let integer = "-ERR value is not an integer or out of range\r\n";
    for (line, error) in [
        ("BITCOUNT k 0", syntax),
        ("BITCOUNT k 0 1 x", syntax),
        ("BITCOUNT k 0 1 BIT x", syntax),
        ("BITCOUNT k 0 a x", integer),
        ("BITPOS k 0 0 a x", syntax),
        ("BITPOS k 0 0 a BIT", integer),
        ("BITPOS k 0 a 1 x", integer),
        ("BITPOS k 0 0 0 BIT x", syntax),
        ("BITPOS k x", integer),
        ("BITPOS k 2", "-ERR The bit argument must be 1 or 0.\r\n"),
    ] {
        assert_eq!(h.run(line), error, "{line}");
    }
}

#[test]
fn bits_of_missing_and_empty_strings() {
    // Breaks if a missing key is not taken as zeros without end, or an empty one is.
    let mut h = Harness::new();
    h.run("SET e \"\"");
    assert_eq!(h.run("BITCOUNT k"), ":0\r\n");
    assert_eq!(h.run("BITPOS k 0"), ":0\r\n");
    assert_eq!(h.run("BITPOS k 0 5 9"), ":0\r\n");
    assert_eq!(h.run("BITPOS k 1"), ":-1\r\n");
    assert_eq!(h.run("BITCOUNT e"), ":0\r\n");
    assert_eq!(h.run("BITPOS e 0"), ":-1\r\n");
    assert_eq!(h.run("BITPOS e 1"), ":-1\r\n");
}

#[test]
fn parts_are_counted_and_searched() {
    // Breaks if a part's ends are off, or the zeros that follow a string are seen within a part.
    let mut h = Harness::new();
    h.run("SET k foobar");
    h.run(r#"SET f "\xff\xff""#);
    for (line, wanted) in [
        ("BITCOUNT k", 26),
        ("BITCOUNT k 0 0", 4),
        ("BITCOUNT k 1 1 byte", 6),
        ("BITCOUNT k 5 30 BIT", 17),
        ("BITCOUNT k -1 -2", 0),
        ("BITCOUNT k -100 -200", 0),
        ("BITPOS k 1", 1),
        ("BITPOS k 0 3", 24),
        ("BITPOS k 1 10 20 bit", 10),
        ("BITPOS k 0 -160 -191 BIT", 0),
        ("BITPOS f 0", 16),
        ("BITPOS f 0 1", 16),
        ("BITPOS f 0 0 -1", -1),
        ("BITPOS f 0 5", -1),
        ("BITPOS f 1 9 9 BIT", 9),
    ] {
        assert_eq!(h.run(line), format!(":{wanted}\r\n"), "{line}");
    }
}

/// The string's bits, one by one.
fn naive(bytes: &[u8]) -> Vec<u8> {
    (0..bytes.len() as u64 * 8)
        .map(|place| bit_at(bytes, place))
        .collect()
}

proptest! {
    #[test]
    fn counting_and_finding_are_what_a_look_at_each_bit_says(
        bytes in proptest::collection::vec(prop_oneof![Just(0), Just(0xff), any::<u8>()], 0..40),
        a in 0usize..320,
        b in 0usize..320,
    ) {
        // Breaks if whole words and the broken bytes at both ends do not meet.
        let bits = naive(&bytes);
        let (start, end) = (a.min(bits.len()), b.min(bits.len()));
        prop_assume!(start <= end);
        let part = &bits[start..end];
        let ones = part.iter().filter(|bit| **bit == 1).count() as u64;
        prop_assert_eq!(count_ones(&bytes, start..end), ones);
        for bit in [0, 1] {
            let place = part.iter().position(|b| *b == bit).map(|place| start + place);
            prop_assert_eq!(find_bit(&bytes, start..end, bit), place);
        }
    }
}
