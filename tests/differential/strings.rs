//! Strings.

use crate::compare::Compare;
use crate::generate::{Case, Words};
use crate::random::Random;
use crate::vocabulary::{
    float, index, integer, key, number_key, ttl_milliseconds, ttl_seconds, unix_ahead,
    unix_milliseconds, unix_seconds, value, write_offset,
};

/// One command on strings.
pub fn case(random: &mut Random) -> Case {
    match random.below(40) {
        0..=7 => set(random),
        8..=12 => Words::of("GET").with(key(random)).exact(),
        13 => getex(random),
        14 => Words::of("GETDEL").with(key(random)).exact(),
        15 => Words::of("GETSET")
            .with(key(random))
            .with(value(random))
            .exact(),
        16..=17 => {
            let name = random.word(&["GETRANGE", "SUBSTR"]);
            Words::named(name)
                .with(key(random))
                .with(index(random))
                .with(index(random))
                .exact()
        }
        18 => Words::of("SETRANGE")
            .with(key(random))
            .with(write_offset(random))
            .with(short(random))
            .exact(),
        19 => Words::of("STRLEN").with(key(random)).exact(),
        20..=21 => Words::of("APPEND")
            .with(key(random))
            .with(short(random))
            .exact(),
        22..=24 => {
            let name = *random.pick(&["INCR", "DECR"]);
            Words::of(name).with(number_key(random)).exact()
        }
        25..=27 => {
            let name = *random.pick(&["INCRBY", "DECRBY"]);
            Words::of(name)
                .with(number_key(random))
                .with(integer(random))
                .exact()
        }
        28..=29 => Words::of("INCRBYFLOAT")
            .with(number_key(random))
            .with(float(random))
            .exact(),
        30..=31 => {
            let keys: Vec<Vec<u8>> = (0..=random.below(6)).map(|_| key(random)).collect();
            Words::of("MGET").all(keys).exact()
        }
        32..=33 => {
            let name = *random.pick(&["MSET", "MSET", "MSETNX"]);
            let pairs: Vec<Vec<u8>> = (0..=random.below(4))
                .flat_map(|_| [key(random), value(random)])
                .collect();
            Words::of(name).all(pairs).exact()
        }
        34 => Words::of("SETNX")
            .with(key(random))
            .with(value(random))
            .exact(),
        35 => Words::of("SETEX")
            .with(key(random))
            .with(ttl_seconds(random))
            .with(value(random))
            .exact(),
        36 => Words::of("PSETEX")
            .with(key(random))
            .with(ttl_milliseconds(random))
            .with(value(random))
            .exact(),
        37 => Words::of("SET")
            .with(number_key(random))
            .with(integer(random))
            .exact(),
        _ => lcs(random),
    }
}

fn short(random: &mut Random) -> Vec<u8> {
    let length = random.below(24);
    match random.below(4) {
        0 => Vec::new(),
        1 => random.bytes(length),
        2 => integer(random),
        _ => b"tail".to_vec(),
    }
}

fn set(random: &mut Random) -> Case {
    let mut words = Words::of("SET").with(key(random)).with(value(random));
    let options = if random.percent(55) {
        0
    } else {
        1 + random.below(3)
    };
    for _ in 0..options {
        words = match random.below(12) {
            0..=1 => words.and("NX"),
            2 => words.and("XX"),
            3..=4 => words.and("GET"),
            5 => words.and("KEEPTTL"),
            6 => words.and("EX").with(ttl_seconds(random)),
            7 => words.and("px").with(ttl_milliseconds(random)),
            8 => words.and("EXAT").with(unix_ahead(random, 10)),
            9 => words.and("PXAT").with(unix_ahead(random, 13)),
            10 => words.and("PERSIST"),
            _ => words.with(random.word(&["nx", "xX", "get", "EX", "keepttl", "bad"])),
        };
    }
    words.exact()
}

fn getex(random: &mut Random) -> Case {
    let words = Words::of("GETEX").with(key(random));
    let words = match random.below(8) {
        0 => words,
        1 => words.and("PERSIST"),
        2 => words.and("EX").with(ttl_seconds(random)),
        3 => words.and("PX").with(ttl_milliseconds(random)),
        4 => words.and("EXAT").with(unix_seconds(random)),
        5 => words.and("PXAT").with(unix_milliseconds(random)),
        6 => words.and("PERSIST EX").with(ttl_seconds(random)),
        _ => words.with(random.word(&["NX", "KEEPTTL", "persist", "EX", "GET"])),
    };
    words.exact()
}

/// LCS costs the product of two lengths: its keys hold short texts, set here and nowhere else.
fn lcs(random: &mut Random) -> Case {
    let ours = ["lcs1", "lcs2", "lcs3"];
    if random.percent(50) {
        let length = random.below(60);
        let text: Vec<u8> = (0..length).map(|_| *random.pick(b"abcd")).collect();
        return Words::of("SET").with(random.word(&ours)).with(text).exact();
    }
    let mut words = Words::of("LCS")
        .with(random.word(&ours))
        .with(random.word(&ours));
    for _ in 0..random.below(4) {
        words = match random.below(6) {
            0 => words.and("LEN"),
            1..=2 => words.and("IDX"),
            3 => words.and("WITHMATCHLEN"),
            4 => words.and("MINMATCHLEN").with(integer(random)),
            _ => words.with(random.word(&["len", "idx", "bad", "MINMATCHLEN"])),
        };
    }
    words.compared(Compare::Exact)
}
