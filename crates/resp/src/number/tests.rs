use super::*;

#[test]
fn integers_are_read_as_strictly_as_redis_does() {
    // Breaks if two spellings of one integer are both taken for it: INCR would rewrite a value.
    for (text, value) in [
        ("0", 0),
        ("7", 7),
        ("-1", -1),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
    ] {
        assert_eq!(parse_i64(text.as_bytes()), Some(value), "{text}");
    }
    for text in [
        "",
        "-",
        "+",
        "+5",
        "007",
        "00",
        "-0",
        "-01",
        " 1",
        "1 ",
        "1a",
        "a",
        "1.0",
        "1e3",
        "0x1",
        "9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999",
        "--1",
        "18446744073709551616",
        "100000000000000000000000",
        "\0",
        "1\0",
    ] {
        assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
    assert_eq!(parse_u64(b"18446744073709551616"), None);
    assert_eq!(parse_u64(b"-1"), None);
}

#[test]
fn doubles_are_read_as_strtod_reads_them() {
    // Breaks if INCRBYFLOAT takes what Redis refuses, or the other way round.
    for (text, value) in [
        ("3.25", 3.25),
        ("+1", 1.0),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("1E-2", 0.01),
        ("inf", f64::INFINITY),
        ("-Inf", f64::NEG_INFINITY),
        ("+INFINITY", f64::INFINITY),
        ("0e-999", 0.0),
        ("00012", 12.0),
        ("4e-320", 4e-320),
        ("1.7976931348623157e308", f64::MAX),
    ] {
        assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
    }
    assert!(parse_f64(b"nan").is_some_and(f64::is_nan));
    for text in [
        "", " 1", "1 ", ".", "e5", "1e", "1e+", "abc", "1,5", "1e400", "-1e400", "1e-400", "0x10",
        "1_0", "infx", "1\0", "--1", "+-1",
    ] {
        assert_eq!(parse_f64(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(parse_f64(b"\xff"), None);
}

#[test]
fn doubles_are_printed_with_17_digits() {
    // Breaks if a double's text differs from C's `%.17g`, which clients compare as text.
    for (value, text) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (0.1, "0.10000000000000001"),
        (-3.5, "-3.5"),
        (3.3, "3.2999999999999998"),
        (1e16, "10000000000000000"),
        (1e17, "1e+17"),
        (0.0001, "0.0001"),
        (0.00001, "1.0000000000000001e-05"),
        (1e22, "1e+22"),
        (1e100, "1e+100"),
        (120.0, "120"),
        (f64::MAX, "1.7976931348623157e+308"),
        (5e-324, "4.9406564584124654e-324"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (f64::NAN, "nan"),
        (123456789.125, "123456789.125"),
        (100.0, "100"),
    ] {
        assert_eq!(
            DoubleText::with_17_digits(value).escape_ascii().to_string(),
            text
        );
    }
}

#[test]
fn doubles_are_printed_in_their_shortest_form() {
    // Breaks if a double's text differs from that of Redis 7.4's scores.
    for (value, text) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (0.1, "0.1"),
        (3.3, "3.3"),
        (-3.5, "-3.5"),
        (1e17, "100000000000000000"),
        (1152921504606846976.0, "1152921504606846976"),
        (1e19, "1e+19"),
        (1e21, "1e+21"),
        (1.5e-7, "1.5e-7"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.25e-5, "1.25e-5"),
        (f64::MAX, "1.7976931348623157e+308"),
        (5e-324, "5e-324"),
        (f64::INFINITY, "inf"),
        (123456789.125, "123456789.125"),
        (1e100, "1e+100"),
    ] {
        let printed = DoubleText::shortest(value);
        assert_eq!(printed.escape_ascii().to_string(), text);
        assert_eq!(parse_f64(&printed), Some(value));
    }
}
