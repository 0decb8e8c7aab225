//! Keys of any type: their life, their expiry, and looking through them.

use crate::compare::Compare;
use crate::generate::{Case, Words};
use crate::random::Random;
use crate::vocabulary::{
    integer, junk, key, pattern, ttl_milliseconds, ttl_seconds, unix_milliseconds, unix_seconds,
    value,
};

/// How far two times to live may be apart.
const SECONDS_APART_MAX: i64 = 2;
const MILLISECONDS_APART_MAX: i64 = 2_000;

/// One command on keys.
pub fn case(random: &mut Random) -> Case {
    match random.below(60) {
        0..=3 => {
            let name = *random.pick(&["DEL", "UNLINK"]);
            let keys: Vec<Vec<u8>> = (0..=random.below(3)).map(|_| key(random)).collect();
            Words::of(name).all(keys).exact()
        }
        4..=7 => {
            let name = *random.pick(&["EXISTS", "TOUCH"]);
            let keys: Vec<Vec<u8>> = (0..=random.below(5)).map(|_| key(random)).collect();
            Words::of(name).all(keys).exact()
        }
        8..=9 => Words::of("TYPE").with(key(random)).exact(),
        10..=21 => expire(random),
        22..=24 => Words::of("TTL")
            .with(key(random))
            .compared(Compare::Near(SECONDS_APART_MAX)),
        25..=26 => Words::of("PTTL")
            .with(key(random))
            .compared(Compare::Near(MILLISECONDS_APART_MAX)),
        27 => Words::of("EXPIRETIME")
            .with(key(random))
            .compared(Compare::Near(SECONDS_APART_MAX)),
        28 => Words::of("PEXPIRETIME")
            .with(key(random))
            .compared(Compare::Near(MILLISECONDS_APART_MAX)),
        29..=31 => Words::of("PERSIST").with(key(random)).exact(),
        32..=34 => {
            let name = *random.pick(&["RENAME", "RENAMENX"]);
            Words::of(name).with(key(random)).with(key(random)).exact()
        }
        35..=37 => copy(random),
        38..=39 => Words::of("KEYS")
            .with(pattern(random))
            .compared(Compare::Unordered),
        40..=41 => scan(random),
        42 => Words::of("RANDOMKEY").compared(Compare::Kind),
        43..=45 => Words::of("DBSIZE").exact(),
        46 if random.percent(15) => {
            let line = *random.pick(&[
                "FLUSHDB",
                "FLUSHALL",
                "FLUSHDB ASYNC",
                "FLUSHALL SYNC",
                "FLUSHDB now",
                "flushall async",
            ]);
            Words::of(line).exact()
        }
        46..=49 => sort(random),
        50..=54 => object(random),
        55..=56 => memory(random),
        57 => Words::of("DUMP").with(key(random)).compared(Compare::Kind),
        58 => bad_restore(random),
        _ => Words::of("SELECT")
            .with(random.word(&[
                "0",
                "0",
                "1",
                "1",
                "15",
                "16",
                "-1",
                "x",
                "",
                "9223372036854775808",
            ]))
            .exact(),
    }
}

fn expire(random: &mut Random) -> Case {
    let mut words = match random.below(4) {
        0 => Words::of("EXPIRE")
            .with(key(random))
            .with(ttl_seconds(random)),
        1 => Words::of("PEXPIRE")
            .with(key(random))
            .with(ttl_milliseconds(random)),
        2 => Words::of("EXPIREAT")
            .with(key(random))
            .with(unix_seconds(random)),
        _ => Words::of("PEXPIREAT")
            .with(key(random))
            .with(unix_milliseconds(random)),
    };
    let options = if random.percent(50) {
        0
    } else {
        1 + random.below(2)
    };
    for _ in 0..options {
        words = words.with(random.word(&["NX", "XX", "GT", "LT", "nx", "gt", "lt", "bad"]));
    }
    words.exact()
}

fn copy(random: &mut Random) -> Case {
    let mut words = Words::of("COPY").with(key(random)).with(key(random));
    for _ in 0..random.below(3) {
        words = match random.below(4) {
            0..=1 => words.and("REPLACE"),
            2 => words
                .and("DB")
                .with(random.word(&["0", "1", "2", "15", "16", "-1", "x"])),
            _ => words.with(random.word(&["replace", "db", "bad"])),
        };
    }
    words.exact()
}

/// Only SCAN's refusals: full iterations are checked at the end of every epoch.
fn scan(random: &mut Random) -> Case {
    let line = *random.pick(&[
        "SCAN abc",
        "SCAN 1x",
        "SCAN 0 COUNT 0",
        "SCAN 0 COUNT -5",
        "SCAN 0 COUNT x",
        "SCAN 0 MATCH",
        "SCAN 0 bad a",
        "SCAN 1.5",
        "SCAN 0 COUNT",
        "SCAN",
        "SCAN 18446744073709551616",
        "SCAN 0 MATCH * COUNT abc",
    ]);
    Words::of(line).exact()
}

/// Without an order of its own a set has none: the members are compared then, or only the reply's length where
/// LIMIT takes some of them. Patterns outside the key's tag, which Torc refuses, come without STORE.
fn sort(random: &mut Random) -> Case {
    let name = random.line(&["SORT", "SORT", "SORT", "SORT_RO"]);
    let mut words = Words::of(name);
    let tagged = random.percent(40);
    words = if tagged {
        words.with(random.word(&["l:{7}", "s:{7}", "z:{7}"]))
    } else {
        words.with(key(random))
    };
    let (mut by_pattern, mut unsorted, mut limited, mut outside) = (false, false, false, false);
    for _ in 0..random.below(5) {
        words = match random.below(9) {
            0 => {
                let by = random.line(&["nosort", "x", "user:{7}:*", "weight_*"]);
                unsorted = !by.contains('*');
                by_pattern |= by.contains('*');
                outside |= by == "weight_*" || (by.contains('*') && !tagged);
                words.and("BY").with(by)
            }
            1 => {
                limited = true;
                words
                    .and("LIMIT")
                    .with(integer(random))
                    .with(integer(random))
            }
            2 => {
                let get = random.line(&["#", "user:{7}:*", "h:{7}->*", "object_*"]);
                outside |= get == "object_*" || (get != "#" && !tagged);
                words.and("GET").with(get)
            }
            3 => words.and("ASC"),
            4 => words.and("DESC"),
            5 | 6 => words.and("ALPHA"),
            7 => words.with(random.word(&["alpha", "LIMIT", "bad"])),
            _ => words,
        };
    }
    if !by_pattern && !outside && random.percent(20) {
        // By name: whether Redis takes a member for a number hangs on what a command before it left in errno.
        return words.and("ALPHA STORE").with(key(random)).exact();
    }
    match (by_pattern || unsorted, limited) {
        (true, true) => words.compared(Compare::Length),
        (true, false) => words.compared(Compare::Unordered),
        (false, _) => words.exact(),
    }
}

fn object(random: &mut Random) -> Case {
    let key = key(random);
    match random.below(9) {
        0..=4 => Words::of("OBJECT ENCODING").with(key).exact(),
        5 => Words::of("OBJECT REFCOUNT")
            .with(key)
            .compared(Compare::Kind),
        6 => Words::of("OBJECT IDLETIME")
            .with(key)
            .compared(Compare::Kind),
        7 => Words::of("OBJECT FREQ").with(key).exact(),
        _ => {
            let line = *random.pick(&[
                "OBJECT",
                "OBJECT ENCODING",
                "OBJECT bad a",
                "OBJECT ENCODING a b",
                "object",
            ]);
            Words::of(line).exact()
        }
    }
}

fn memory(random: &mut Random) -> Case {
    let key = key(random);
    match random.below(8) {
        0..=2 => Words::of("MEMORY USAGE").with(key).compared(Compare::Kind),
        3 => {
            let samples = random.word(&["0", "5", "-1", "x"]);
            Words::of("MEMORY USAGE")
                .with(key)
                .and("SAMPLES")
                .with(samples)
                .compared(Compare::Kind)
        }
        4 => Words::of("MEMORY USAGE").with(key).and("bad").exact(),
        5 => Words::of("MEMORY STATS").compared(Compare::Kind),
        6 => Words::of("MEMORY DOCTOR").compared(Compare::Kind),
        _ => Words::of(random.line(&["MEMORY", "MEMORY bad", "MEMORY USAGE", "MEMORY DOCTOR x"]))
            .exact(),
    }
}

fn bad_restore(random: &mut Random) -> Case {
    let payload = match random.below(3) {
        0 => Vec::new(),
        1 => random.bytes(30),
        _ => b"\x00\x03abc\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x01".to_vec(),
    };
    let ttl = random.word(&["0", "0", "-1", "x", "1000000"]);
    let words = Words::of("RESTORE")
        .with(key(random))
        .with(ttl)
        .with(payload);
    match random.below(4) {
        0 => words.and("REPLACE").exact(),
        1 => words.with(junk(random)).exact(),
        _ => words.exact(),
    }
}

/// A payload that this program makes is read by both servers, with every option of RESTORE.
pub fn dump_and_restore(random: &mut Random, cases: &mut Vec<Case>) {
    let payload = match random.below(4) {
        0 => vec![0x00, 0xC0, random.next() as u8],
        1 => {
            let number = random.next() as u16;
            let [low, high] = number.to_le_bytes();
            vec![0x00, 0xC1, low, high]
        }
        2 => {
            let number = random.next() as u32;
            let mut payload = vec![0x00, 0xC2];
            payload.extend_from_slice(&number.to_le_bytes());
            payload
        }
        _ => {
            let mut text = value(random);
            text.truncate(63);
            let mut payload = vec![0x00, text.len() as u8];
            payload.extend_from_slice(&text);
            payload
        }
    };
    let payload = seal(payload, 9);
    let key = key(random);
    let mut words = Words::of("RESTORE")
        .with(key.clone())
        .with(ttl_or_none(random))
        .with(payload);
    for _ in 0..random.below(3) {
        words = match random.below(7) {
            0..=2 => words.and("REPLACE"),
            3 => words.and("ABSTTL"),
            4 => words
                .and("IDLETIME")
                .with(random.word(&["0", "100", "-1", "x"])),
            5 => words
                .and("FREQ")
                .with(random.word(&["0", "255", "256", "-1", "x"])),
            _ => words.with(random.word(&["replace", "bad", "IDLETIME"])),
        };
    }
    cases.push(words.exact());
    cases.push(Words::of("GET").with(key.clone()).exact());
    cases.push(Words::of("OBJECT ENCODING").with(key).exact());
}

fn ttl_or_none(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0..=6 => b"0".to_vec(),
        7 => random.word(&["-1", "x", ""]),
        _ => random.between(50_000, 100_000_000).to_string().into_bytes(),
    }
}

/// Appends the version and the CRC-64 (Jones, reflected) that end a DUMP payload.
fn seal(mut payload: Vec<u8>, version: u16) -> Vec<u8> {
    payload.extend_from_slice(&version.to_le_bytes());
    let mut crc = 0u64;
    for byte in &payload {
        crc ^= u64::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x95AC_9329_AC4B_C9B5
            } else {
                crc >> 1
            };
        }
    }
    payload.extend_from_slice(&crc.to_le_bytes());
    payload
}
