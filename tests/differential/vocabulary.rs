//! The words of which commands are made: keys from a small pool, so that commands meet each other's
//! keys; values and numbers at and beyond every border.
//!
//! Two rules keep the stream meaningful. No number that can stand as a time to live lies between 1
//! and 49: nothing may expire between the two servers' turns. And no offset lies where a string of
//! more than a few kilobytes but less than the limit would be made.

use crate::random::Random;

const KEYS: &[&str] = &[
    "a",
    "b",
    "c",
    "d",
    "key:1",
    "key:2",
    "key:3",
    "user:{7}:name",
    "user:{7}:mail",
    "{}x",
    "{",
    "user:1000",
];
const NUMBER_KEYS: &[&str] = &["n1", "n2", "n3", "counter:{7}"];
const BIT_KEYS: &[&str] = &["bits1", "bits2", "bits:{7}"];
const COLLECTION_KEYS: &[&str] = &[
    "h1", "h2", "h:{7}", "l1", "l2", "l:{7}", "s1", "s2", "s3", "s:{7}", "z1", "z2", "z:{7}", "x1",
    "x2", "x:{7}",
];

/// Integers that are valid and interesting.
const INTEGERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "5",
    "10",
    "-7",
    "100",
    "12345",
    "-12345",
    "2147483647",
    "-2147483648",
    "2147483648",
    "4294967295",
    "9007199254740993",
    "9223372036854775806",
    "9223372036854775807",
    "-9223372036854775807",
    "-9223372036854775808",
];

/// Texts that look like integers and are none, or are beyond 64 bits.
const NO_INTEGERS: &[&str] = &[
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "+1",
    " 1",
    "1 ",
    "007",
    "-0",
    "1.0",
    "1e3",
    "0x10",
    "",
    "abc",
    "--1",
    "-",
    "1_000",
    "99999999999999999999999999",
    "\u{661}",
    "nan",
    "inf",
];

/// Floating-point texts, valid and not.
const FLOATS: &[&str] = &[
    "0",
    "1",
    "-1",
    "0.1",
    "0.2",
    "1.5",
    "-2.25",
    "3.0e3",
    "1e-5",
    "5e-324",
    "1e17",
    "123456789.123456789",
    "100000000000000000000",
    "0.30000000000000004",
    "-0.0",
    "1e308",
    ".5",
    "5.",
    "0x1p3",
    "inf",
    "-inf",
    "+inf",
    "infinity",
    "nan",
    "NaN",
    "1e400",
    "1e-400",
    " 1",
    "1 ",
    "+1.5",
    "",
    "abc",
    "1.2.3",
    "1e",
    "--1.0",
    "1,5",
];

/// Words that fit nowhere, for arguments in the wrong place.
const JUNK: &[&str] = &[
    "",
    "x",
    "NX",
    "-1",
    "abc",
    "9223372036854775808",
    "1.5",
    "*",
    "\u{0}",
    "foo bar",
    "\r\n",
    "ASYNC",
    "GET",
    "-100",
];

/// A key that most commands use.
pub fn key(random: &mut Random) -> Vec<u8> {
    match random.below(40) {
        0 => Vec::new(),
        1 => vec![0, 255, 13, 10, 32],
        2 => vec![b'k'; 300],
        3..=6 => random.word(NUMBER_KEYS),
        7..=9 => random.word(BIT_KEYS),
        10 => b"missing".to_vec(),
        11 => format!("key:{}", random.below(200)).into_bytes(),
        12..=17 => random.word(COLLECTION_KEYS),
        _ => random.word(KEYS),
    }
}

/// A key that holds a number, mostly.
pub fn number_key(random: &mut Random) -> Vec<u8> {
    if random.percent(85) {
        random.word(NUMBER_KEYS)
    } else {
        key(random)
    }
}

/// A key that holds bits, mostly.
pub fn bit_key(random: &mut Random) -> Vec<u8> {
    if random.percent(80) {
        random.word(BIT_KEYS)
    } else {
        key(random)
    }
}

/// A key of the collections that `ours` names, mostly; else one that may hold anything.
pub fn collection_key(random: &mut Random, ours: &[&str]) -> Vec<u8> {
    if random.percent(93) {
        random.word(ours)
    } else {
        key(random)
    }
}

/// A hash's field or a member of a set: from a small pool, so that commands meet; seldom long, binary or empty.
pub fn member(random: &mut Random) -> Vec<u8> {
    match random.below(30) {
        0 => Vec::new(),
        1 => vec![0, 255, 13, 10, 32],
        2 => {
            // Around the border of the packed forms (64 bytes).
            let length = *random.pick(&[63, 64, 65, 300]);
            vec![b'm'; length]
        }
        3..=5 => random.word(INTEGERS),
        6 => random.word(NO_INTEGERS),
        7..=14 => random.between(-3, 12).to_string().into_bytes(),
        _ => format!("m{}", random.below(12)).into_bytes(),
    }
}

/// How many to draw or to take: small, negative, at a border, or none. Between there is nothing: a great negative
/// count asks for a reply of that many members.
pub fn count(random: &mut Random) -> Vec<u8> {
    match random.below(14) {
        0 => random.word(NO_INTEGERS),
        1 => random.word(&["9223372036854775807", "-9223372036854775808", "2147483648"]),
        _ => random.between(-6, 12).to_string().into_bytes(),
    }
}

/// How many of something to take where a negative count is refused: mostly good.
pub fn amount(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0 => count(random),
        _ => random.between(0, 6).to_string().into_bytes(),
    }
}

/// A short time to wait in seconds, or one that is refused. Never 0, which waits for good.
pub fn wait_seconds(random: &mut Random) -> Vec<u8> {
    random.word(&[
        "0.01",
        "0.01",
        "0.01",
        "0.002",
        "1e-3",
        "-1",
        "x",
        "",
        "-0.5",
        "nan",
        "inf",
        "1e300",
        "99999999999999999999",
    ])
}

/// A score: small and often met twice, of any kind, or none at all. No hexadecimal one: Torc refuses it where
/// Redis adds a member.
pub fn score(random: &mut Random) -> Vec<u8> {
    match random.below(14) {
        0..=1 => loop {
            let word = random.word(FLOATS);
            if !word.starts_with(b"0x") {
                return word;
            }
        },
        2 => random.word(INTEGERS),
        3..=5 => format!("{}.{}", random.between(-9, 9), random.below(100)).into_bytes(),
        6 => random.word(&["inf", "-inf", "+inf", "1e300", "-1e300", "0.1", "0.2"]),
        _ => random.between(-5, 9).to_string().into_bytes(),
    }
}

/// A value: number, text, binary, empty, seldom of some kilobytes.
pub fn value(random: &mut Random) -> Vec<u8> {
    match random.below(20) {
        0 => Vec::new(),
        1..=4 => random.word(INTEGERS),
        5 => random.word(NO_INTEGERS),
        6 => random.word(FLOATS),
        7..=9 => {
            let length = random.below(64);
            random.bytes(length)
        }
        10 => {
            // Around the borders of embstr (44 bytes) and of small length headers.
            let length = *random.pick(&[43, 44, 45, 63, 64, 99, 100, 101, 255, 256, 257]);
            vec![b'v'; length]
        }
        11 if random.percent(10) => {
            let length = random.below(40_000);
            random.bytes(length)
        }
        _ => format!("value-{}", random.below(1000)).into_bytes(),
    }
}

/// An integer argument: small, at a border, or none at all.
pub fn integer(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0 => random.word(NO_INTEGERS),
        1..=3 => random.word(INTEGERS),
        _ => random.between(-5, 30).to_string().into_bytes(),
    }
}

/// A float argument.
pub fn float(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0..=4 => random.word(FLOATS),
        5 => random.word(NO_INTEGERS),
        6..=7 => format!("{}.{}", random.between(-99, 99), random.below(1000)).into_bytes(),
        _ => random.word(INTEGERS),
    }
}

/// An index into a string: inside, just outside, negative, huge or no number.
pub fn index(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0 => random.word(NO_INTEGERS),
        1 => random.word(INTEGERS),
        _ => random.between(-60, 60).to_string().into_bytes(),
    }
}

/// Where SETRANGE writes: near the start, or beyond the greatest string.
pub fn write_offset(random: &mut Random) -> Vec<u8> {
    match random.below(14) {
        0 => random.word(NO_INTEGERS),
        1 => random.word(&[
            "-1",
            "536870912",
            "4294967296",
            "9223372036854775807",
            "-9223372036854775808",
            "2147483647",
        ]),
        _ => random.between(0, 300).to_string().into_bytes(),
    }
}

/// A bit's offset: near the start, or beyond the greatest string.
pub fn bit_offset(random: &mut Random) -> Vec<u8> {
    match random.below(14) {
        0 => random.word(NO_INTEGERS),
        1 => random.word(&[
            "-1",
            "4294967296",
            "9223372036854775807",
            "-9223372036854775808",
            "34359738368",
        ]),
        _ => random.between(0, 900).to_string().into_bytes(),
    }
}

/// Seconds to live that are far enough away, past, zero, negative, overflowing or none.
pub fn ttl_seconds(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0 => random.word(NO_INTEGERS),
        1 => random.word(&[
            "0",
            "-1",
            "-100",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775",
            "9223372036854776",
            "9223370000000000",
        ]),
        _ => random.between(50, 100_000).to_string().into_bytes(),
    }
}

/// Milliseconds to live, likewise.
pub fn ttl_milliseconds(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0 => random.word(NO_INTEGERS),
        1 => random.word(&[
            "0",
            "-1",
            "-100",
            "9223372036854775807",
            "-9223372036854775808",
            "9223370000000000000",
        ]),
        _ => random.between(50_000, 100_000_000).to_string().into_bytes(),
    }
}

/// Unix seconds: far ahead, long past, or out of range.
pub fn unix_seconds(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0 => random.word(NO_INTEGERS),
        1..=2 => random.word(&[
            "0",
            "-1",
            "1",
            "1000000000",
            "9223372036854775807",
            "9223372036854776",
            "-9223372036854775808",
        ]),
        _ => random
            .between(4_000_000_000, 4_100_000_000)
            .to_string()
            .into_bytes(),
    }
}

/// Unix milliseconds, likewise.
pub fn unix_milliseconds(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0 => random.word(NO_INTEGERS),
        1..=2 => random.word(&[
            "0",
            "-1",
            "1",
            "1000000000000",
            "9223372036854775807",
            "-9223372036854775808",
        ]),
        _ => random
            .between(4_000_000_000_000, 4_100_000_000_000)
            .to_string()
            .into_bytes(),
    }
}

/// Unix times that are ahead or refused: `digits` is 10 for seconds and 13 for milliseconds. SET takes a time
/// long past too and then holds an expired key, which DBSIZE may or may not count: such times come
/// only where the key is read right after.
pub fn unix_ahead(random: &mut Random, digits: usize) -> Vec<u8> {
    match random.below(8) {
        0 => random.word(NO_INTEGERS),
        1 => random.word(&["0", "-1", "-9223372036854775808"]),
        _ => {
            let mut text = random
                .between(4_000_000_000_000, 4_100_000_000_000)
                .to_string();
            text.truncate(digits);
            text.into_bytes()
        }
    }
}

/// A glob pattern of Redis's kind.
pub fn pattern(random: &mut Random) -> Vec<u8> {
    random.word(&[
        "*",
        "?",
        "key:*",
        "user:{*",
        "[a-c]",
        "[^a]",
        "[a",
        "n?",
        "*1",
        "k*y:[0-9]*",
        "\\*",
        "\\",
        "",
        "[]",
        "[^]",
        "a*b*c*d",
        "***",
        "[c-a]",
        "key:\\1",
        "*{7}*",
    ])
}

/// A word that fits nowhere.
pub fn junk(random: &mut Random) -> Vec<u8> {
    random.word(JUNK)
}
