//! Bits of strings.

use crate::generate::{Case, Words};
use crate::random::Random;
use crate::vocabulary::{bit_key, bit_offset, index, integer, key};

/// One command on bits.
pub fn case(random: &mut Random) -> Case {
    match random.below(20) {
        0..=4 => Words::of("SETBIT")
            .with(bit_key(random))
            .with(bit_offset(random))
            .with(bit(random))
            .exact(),
        5..=7 => Words::of("GETBIT")
            .with(bit_key(random))
            .with(bit_offset(random))
            .exact(),
        8..=10 => bitcount(random),
        11..=12 => bitpos(random),
        13..=14 => bitop(random),
        15..=18 => bitfield(random),
        _ => {
            let length = random.below(20);
            Words::of("SET")
                .with(bit_key(random))
                .with(random.bytes(length))
                .exact()
        }
    }
}

fn bit(random: &mut Random) -> Vec<u8> {
    if random.percent(90) {
        random.word(&["0", "1"])
    } else {
        random.word(&["2", "-1", "", "01", "x", "1.0"])
    }
}

fn unit(random: &mut Random, words: Words) -> Words {
    match random.below(6) {
        0..=1 => words.and("BIT"),
        2 => words.and("byte"),
        3 => words.with(random.word(&["BITS", "x", ""])),
        _ => words,
    }
}

fn bitcount(random: &mut Random) -> Case {
    let words = Words::of("BITCOUNT").with(bit_key(random));
    match random.below(6) {
        0 => words.exact(),
        1 => words.with(index(random)).exact(),
        _ => {
            let words = words.with(index(random)).with(index(random));
            unit(random, words).exact()
        }
    }
}

fn bitpos(random: &mut Random) -> Case {
    let words = Words::of("BITPOS").with(bit_key(random)).with(bit(random));
    match random.below(6) {
        0 => words.exact(),
        1..=2 => words.with(index(random)).exact(),
        _ => {
            let words = words.with(index(random)).with(index(random));
            unit(random, words).exact()
        }
    }
}

fn bitop(random: &mut Random) -> Case {
    let operation = random.word(&["AND", "OR", "XOR", "NOT", "and", "Not", "NAND", ""]);
    let sources = if operation.eq_ignore_ascii_case(b"not") && random.percent(85) {
        1
    } else {
        1 + random.below(4)
    };
    let keys: Vec<Vec<u8>> = (0..sources)
        .map(|_| {
            if random.percent(70) {
                bit_key(random)
            } else {
                key(random)
            }
        })
        .collect();
    Words::of("BITOP")
        .with(operation)
        .with(bit_key(random))
        .all(keys)
        .exact()
}

fn bitfield(random: &mut Random) -> Case {
    let read_only = random.percent(20);
    let mut words =
        Words::of(if read_only { "BITFIELD_RO" } else { "BITFIELD" }).with(bit_key(random));
    for _ in 0..random.below(5) {
        words = match random.below(if read_only { 3 } else { 9 }) {
            0..=1 => words
                .and("GET")
                .with(field_type(random))
                .with(field_offset(random)),
            3..=4 => words
                .and("SET")
                .with(field_type(random))
                .with(field_offset(random))
                .with(field_value(random)),
            5..=6 => words
                .and("INCRBY")
                .with(field_type(random))
                .with(field_offset(random))
                .with(field_value(random)),
            7..=8 => words
                .and("OVERFLOW")
                .with(random.word(&["WRAP", "SAT", "FAIL", "wrap", "sat", "fail", "none"])),
            _ => words.with(random.word(&["GET u8 0", "SET", "OVERFLOW", "get"])),
        };
    }
    words.exact()
}

fn field_type(random: &mut Random) -> Vec<u8> {
    if random.percent(90) {
        let sign = *random.pick(&["u", "i"]);
        let bits = *random.pick(&[1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 24, 31, 32, 33, 48, 62, 63]);
        return format!("{sign}{bits}").into_bytes();
    }
    random.word(&[
        "i64", "u64", "u0", "i0", "i65", "u", "x8", "8", "", "u08", "I8", "u-1",
    ])
}

fn field_offset(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0..=5 => random.between(0, 200).to_string().into_bytes(),
        6..=8 => format!("#{}", random.between(0, 20)).into_bytes(),
        _ => random.word(&[
            "-1",
            "#-1",
            "#",
            "",
            "x",
            "#x",
            "4294967296",
            "#9223372036854775807",
            "1 ",
        ]),
    }
}

fn field_value(random: &mut Random) -> Vec<u8> {
    match random.below(4) {
        0 => integer(random),
        _ => random.between(-300, 300).to_string().into_bytes(),
    }
}
