use super::*;
use proptest::prelude::*;

/// What INCRBYFLOAT answers.
fn sum(stored: &[u8], delta: &[u8]) -> Vec<u8> {
    match (Extended::parse(stored), Extended::parse(delta)) {
        (Some(stored), Some(delta)) => delta.add(stored).map_or_else(
            || b"-ERR increment would produce NaN or Infinity".to_vec(),
            Extended::to_text,
        ),
        _ => b"-ERR value is not a valid float".to_vec(),
    }
}

#[test]
fn sums_are_those_of_redis() {
    // Breaks if a text is read, a sum rounded or a number printed otherwise than by redis-server.
    let golden = include_bytes!("../../testdata/sums.txt");
    let mut compared = 0;
    for line in golden.split(|byte| *byte == b'\n') {
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b'|').collect();
        let [stored, delta, wanted] = fields[..] else {
            panic!("three fields a line: {}", line.escape_ascii());
        };
        let got = sum(stored, delta);
        assert_eq!(
            got.escape_ascii().to_string(),
            wanted.escape_ascii().to_string(),
            "{}",
            line.escape_ascii()
        );
        compared += 1;
    }
    assert!(compared > 300);
}

#[test]
fn numbers_end_where_the_x87_ends_them() {
    // Breaks if a number beyond the range is taken as infinite, or one that vanishes as zero.
    let largest = Extended::parse(b"1.18973149535723176502126385303097021e4932");
    assert!(largest.is_some_and(|n| n.add(n).is_none()));
    assert_eq!(
        largest.map(|n| n.magnitude),
        Some(Magnitude::Finite {
            mantissa: u64::MAX,
            exponent: EXPONENT_MAX
        })
    );
    assert_eq!(
        Extended::parse(b"1.18973149535723176508575932662800702e4932"),
        None
    );
    assert_eq!(Extended::parse(b"0x1p16384"), None);
    let smallest = Magnitude::Finite {
        mantissa: 1,
        exponent: EXPONENT_MIN,
    };
    for text in [&b"0x1p-16445"[..], b"3.6e-4951", b"1.9e-4951"] {
        assert_eq!(Extended::parse(text).map(|n| n.magnitude), Some(smallest));
    }
    for text in [&b"0x1p-16446"[..], b"1.8e-4951", b"1e-99999999999999999999"] {
        assert_eq!(Extended::parse(text), None, "{}", text.escape_ascii());
    }
    assert_eq!(
        Extended::parse(b"0e99999999999999999999"),
        Some(Extended::ZERO)
    );
}

#[test]
fn long_texts_are_bounded() {
    // Breaks if a text of any length is worked on, or one that Redis takes is refused.
    let mut text = vec![b'9'; TEXT_BYTES_MAX + 1];
    assert_eq!(Extended::parse(&text), None);
    text[1] = b'.';
    assert!(Extended::parse(&text[..TEXT_BYTES_MAX]).is_some());
}

proptest! {
    #[test]
    fn whole_numbers_add_exactly(a in -(1i64 << 62)..1 << 62, b in -(1i64 << 62)..1 << 62) {
        // Breaks if alignment, sign or carry of a sum is wrong.
        let got = sum(a.to_string().as_bytes(), b.to_string().as_bytes());
        prop_assert_eq!(String::from_utf8(got).unwrap(), (a + b).to_string());
    }

    #[test]
    fn any_text_is_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..40)) {
        // Breaks if some bytes of a client's make the reader panic.
        let _ = Extended::parse(&text);
    }

    #[test]
    fn any_spelled_number_is_read(
        text in "[+-]?(0x)?[0-9a-f]{0,30}\\.?[0-9]{0,30}([ep][+-]?[0-9]{1,5})?",
    ) {
        // Breaks if a number's digits or exponent make the reader or the printer panic.
        if let Some(number) = Extended::parse(text.as_bytes())
            && let Some(sum) = number.add(Extended::ZERO)
        {
            prop_assert_eq!(Extended { is_negative: number.is_negative, ..sum }, number);
            sum.to_text();
        }
    }

    #[test]
    fn addition_commutes(a in "-?[0-9]{1,20}\\.[0-9]{1,20}e-?[0-9]{1,2}", b in "-?[0-9]{1,20}e-?[0-9]{1,2}") {
        // Breaks if rounding depends on which summand is the larger.
        prop_assert_eq!(sum(a.as_bytes(), b.as_bytes()), sum(b.as_bytes(), a.as_bytes()));
    }
}
