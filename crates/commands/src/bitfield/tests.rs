use super::*;
use crate::testing::Harness;
use proptest::prelude::*;

#[test]
fn fields_are_read_set_and_added_to() {
    // Breaks if a field lies elsewhere, or an operation does not see those before it.
    let mut h = Harness::new();
    assert_eq!(h.run("BITFIELD k"), "*0\r\n");
    assert_eq!(h.run("BITFIELD k GET u8 0 GET i64 5"), "*2\r\n:0\r\n:0\r\n");
    assert!(h.cache().is_empty());
    assert_eq!(
        h.run("BITFIELD k SET u8 #1 255 INCRBY i5 100 1 get u4 12 GET i4 12"),
        "*4\r\n:0\r\n:1\r\n:15\r\n:-1\r\n"
    );
    assert_eq!(h.all_events(), "new k, setbit k");
    assert_eq!(h.run("STRLEN k"), ":14\r\n");
    assert_eq!(
        h.run("BITFIELD_RO k GET u8 #1 GET i5 100"),
        "*2\r\n:255\r\n:1\r\n"
    );
    assert_eq!(h.run("BITFIELD k SET u8 #1 255"), "*1\r\n:255\r\n");
    assert_eq!(h.events(), "");
}

#[test]
fn numbers_that_do_not_fit() {
    // Breaks if a number wraps, saturates or fails otherwise than in Redis 7.0, oddities included.
    for (line, answer, after) in [
        ("SET u8 0 257", ":0", 1),
        ("SET u8 0 -1", ":0", 255),
        ("INCRBY u2 0 7", ":3", 3),
        ("SET i8 0 -129", ":0", 127),
        ("OVERFLOW SAT SET u8 0 300", ":0", 255),
        ("OVERFLOW SAT SET u8 0 -1", ":0", 255),
        ("OVERFLOW SAT INCRBY u8 0 -1", ":0", 0),
        ("OVERFLOW SAT SET i8 0 -200", ":0", -128),
        ("OVERFLOW SAT SET i8 0 200", ":0", 127),
        ("OVERFLOW SAT SET i8 0 -9223372036854775808", ":0", 127),
        (
            "OVERFLOW SAT INCRBY i8 0 -9223372036854775808",
            ":-128",
            -128,
        ),
        ("OVERFLOW FAIL SET u8 0 256", "$-1", 0),
        ("OVERFLOW fail INCRBY i8 0 -129", "$-1", 0),
    ] {
        let mut h = Harness::new();
        let got = h.run(&format!("BITFIELD k {line}"));
        assert_eq!(got, format!("*1\r\n{answer}\r\n"), "{line}");
        let kind = line.split(' ').rev().nth(2).expect("a field's kind");
        let got = h.run(&format!("BITFIELD_RO k GET {kind} 0"));
        assert_eq!(got, format!("*1\r\n:{after}\r\n"), "{line}");
    }
    let mut h = Harness::new();
    h.run("BITFIELD k SET i64 0 9223372036854775807");
    let got = h.run("BITFIELD k OVERFLOW SAT INCRBY i64 0 1 OVERFLOW WRAP INCRBY i64 0 2");
    assert_eq!(
        got,
        "*2\r\n:9223372036854775807\r\n:-9223372036854775807\r\n"
    );
}

#[test]
fn a_failed_operation_still_makes_room() {
    // Breaks if the string's length after a refused number is not Redis's.
    let mut h = Harness::new();
    assert_eq!(
        h.run("BITFIELD k OVERFLOW FAIL SET u8 100 256"),
        "*1\r\n$-1\r\n"
    );
    assert_eq!(h.run("STRLEN k"), ":14\r\n");
    assert_eq!(h.events(), "");
}

#[test]
fn mistakes_are_told_before_anything_is_done() {
    // Breaks if a part of a wrong command is run, or the words are not Redis's.
    let mut h = Harness::new();
    let kind = "ERR Invalid bitfield type. Use something like i16 u8. \
                Note that u64 is not supported but i64 is.";
    let offset = "ERR bit offset is not an integer or out of range";
    let integer = "ERR value is not an integer or out of range";
    for (line, error) in [
        ("SET u8 0 1 GET", "ERR syntax error"),
        ("SET u8 0", "ERR syntax error"),
        ("INCR u8 0 1", "ERR syntax error"),
        ("OVERFLOW", "ERR syntax error"),
        ("OVERFLOW x", "ERR Invalid OVERFLOW type specified"),
        ("GET u64 0", kind),
        ("GET i65 0", kind),
        ("GET u0 0", kind),
        ("GET U8 0", kind),
        ("GET u08 0", kind),
        ("GET 8 0", kind),
        ("GET u8 -1", offset),
        ("GET u8 #-1", offset),
        ("GET u8 4294967296", offset),
        ("GET u8 #536870912", offset),
        ("SET u8 x y", offset),
        ("SET u8 0 y", integer),
    ] {
        let line = format!("BITFIELD k SET u8 0 1 {line}");
        assert_eq!(h.run(&line), format!("-{error}\r\n"), "{line}");
    }
    assert!(h.cache().is_empty());
    assert_eq!(
        h.run("BITFIELD k GET u8 #4611686018427387904"),
        "*1\r\n:0\r\n"
    );
    let read_only = "-ERR BITFIELD_RO only supports the GET subcommand\r\n";
    assert_eq!(h.run("BITFIELD_RO k GET u8 0 SET u8 0 1"), read_only);
    assert_eq!(h.run("BITFIELD_RO k OVERFLOW SAT GET u8 0"), "*1\r\n:0\r\n");
}

proptest! {
    #[test]
    fn a_field_is_its_bits(
        string in proptest::collection::vec(any::<u8>(), 12),
        offset in 0u64..32,
        width in 1u32..=64,
        is_signed: bool,
        number: i64,
    ) {
        // Breaks if a field reads or writes bits that are not its own.
        let sign = if is_signed { Sign::Signed } else { Sign::Unsigned };
        let width = if is_signed { width } else { width.min(63) };
        let field = Field { sign, width, offset };
        let bit = |string: &[u8], place: u64| string[(place / 8) as usize] >> (7 - place % 8) & 1;
        let mut written = string.clone();
        field.write(&mut written, field.wrap(i128::from(number)));
        let mut naive = 0u64;
        for place in 0..string.len() as u64 * 8 {
            let from_top = place.wrapping_sub(offset);
            if from_top < u64::from(width) {
                let wanted = (number >> (u64::from(width) - 1 - from_top) & 1) as u8;
                prop_assert_eq!(bit(&written, place), wanted);
                naive = naive << 1 | u64::from(wanted);
            } else {
                prop_assert_eq!(bit(&written, place), bit(&string, place));
            }
        }
        let (min, max) = field.bounds();
        let mut naive = i128::from(naive);
        if naive > max {
            naive += min - max - 1;
        }
        prop_assert_eq!(field.read(&written), naive);
        prop_assert!((min..=max).contains(&naive));
    }
}
