//! Lists.

use crate::generate::{Case, Words};
use crate::random::Random;
use crate::vocabulary::{amount, collection_key, count, index, member, value, wait_seconds};

const OURS: &[&str] = &["l1", "l2", "l:{7}"];
const SIDES: &[&str] = &[
    "LEFT", "RIGHT", "LEFT", "RIGHT", "left", "rIGHT", "LEFT", "up",
];

fn key(random: &mut Random) -> Vec<u8> {
    collection_key(random, OURS)
}

/// One command on lists.
pub fn case(random: &mut Random) -> Case {
    match random.below(50) {
        0..=11 => push(random),
        12..=14 => {
            let words = Words::of(random.line(&["LPOP", "RPOP"])).with(key(random));
            match random.below(3) {
                0 => words.exact(),
                _ => words.with(amount(random)).exact(),
            }
        }
        15 => Words::of("LLEN").with(key(random)).exact(),
        16..=17 => Words::of("LINDEX")
            .with(key(random))
            .with(place(random))
            .exact(),
        18..=19 => Words::of("LSET")
            .with(key(random))
            .with(place(random))
            .with(element(random))
            .exact(),
        20..=25 => Words::of("LRANGE")
            .with(key(random))
            .with(place(random))
            .with(place(random))
            .exact(),
        26 => Words::of("LTRIM")
            .with(key(random))
            .with(place(random))
            .with(place(random))
            .exact(),
        27..=28 => Words::of("LREM")
            .with(key(random))
            .with(count(random))
            .with(element(random))
            .exact(),
        29..=30 => Words::of("LINSERT")
            .with(key(random))
            .with(random.word(&["BEFORE", "AFTER", "before", "after", "at"]))
            .with(element(random))
            .with(element(random))
            .exact(),
        31..=33 => position(random),
        34..=35 => Words::of("RPOPLPUSH")
            .with(key(random))
            .with(key(random))
            .exact(),
        36..=37 => Words::of("LMOVE")
            .with(key(random))
            .with(key(random))
            .with(random.word(SIDES))
            .with(random.word(SIDES))
            .exact(),
        38..=40 => several(random, Words::of("LMPOP")),
        41..=44 => blocking(random),
        45..=47 => Words::of("LRANGE").with(key(random)).and("0 -1").exact(),
        48 => Words::of("OBJECT ENCODING").with(key(random)).exact(),
        _ => Words::of(random.line(&[
            "LPOP l1 1 2",
            "LMPOP 0 l1 LEFT",
            "LMPOP 1 l1",
            "LMPOP 2 l1 LEFT",
            "LMPOP 1 l1 LEFT COUNT",
            "LMPOP 1 l1 LEFT COUNT 1 COUNT 1",
            "BLPOP l1",
            "BLPOP",
            "BLMOVE l1 l2 LEFT RIGHT",
            "BRPOPLPUSH l1 l2",
            "BLMPOP 0.01 1 l1",
            "LPOS l1",
            "LINSERT l1 BEFORE a",
        ]))
        .exact(),
    }
}

fn element(random: &mut Random) -> Vec<u8> {
    if random.percent(70) {
        member(random)
    } else {
        value(random)
    }
}

fn place(random: &mut Random) -> Vec<u8> {
    match random.below(4) {
        0 => index(random),
        _ => random.between(-6, 6).to_string().into_bytes(),
    }
}

fn push(random: &mut Random) -> Case {
    let name = random.line(&["LPUSH", "RPUSH", "LPUSH", "RPUSH", "LPUSHX", "RPUSHX"]);
    let words = Words::of(name).with(key(random));
    let elements: Vec<Vec<u8>> = match random.below(40) {
        0 => (0..random.between(100, 600))
            .map(|number| number.to_string().into_bytes())
            .collect(),
        1 => (0..random.between(1, 6))
            .map(|number| vec![b'0' + number as u8; 5_000])
            .collect(),
        _ => (0..=random.below(4)).map(|_| element(random)).collect(),
    };
    words.all(elements).exact()
}

fn position(random: &mut Random) -> Case {
    let mut words = Words::of("LPOS").with(key(random)).with(element(random));
    for _ in 0..random.below(4) {
        words = match random.below(8) {
            0..=2 => words.and("RANK").with(random.word(&[
                "1",
                "-1",
                "2",
                "-2",
                "0",
                "x",
                "9223372036854775807",
                "3",
            ])),
            3..=4 => words.and("COUNT").with(amount(random)),
            5..=6 => words.and("MAXLEN").with(amount(random)),
            _ => words.with(random.word(&["rank", "COUNT", "bad"])),
        };
    }
    words.exact()
}

/// Keys by number, a side, how many.
fn several(random: &mut Random, words: Words) -> Case {
    let keys: Vec<Vec<u8>> = (0..=random.below(3)).map(|_| key(random)).collect();
    let number = match random.below(12) {
        0 => random.word(&["0", "-1", "x", "99", "9223372036854775807"]),
        _ => keys.len().to_string().into_bytes(),
    };
    let words = words.with(number).all(keys).with(random.word(SIDES));
    match random.below(3) {
        0 => words.exact(),
        _ => words.and("COUNT").with(amount(random)).exact(),
    }
}

/// The forms that wait: the timeout is short, so that waiting for nothing is seen too.
fn blocking(random: &mut Random) -> Case {
    match random.below(5) {
        0..=1 => {
            let keys: Vec<Vec<u8>> = (0..=random.below(3)).map(|_| key(random)).collect();
            Words::of(random.line(&["BLPOP", "BRPOP"]))
                .all(keys)
                .with(wait_seconds(random))
                .exact()
        }
        2 => Words::of("BRPOPLPUSH")
            .with(key(random))
            .with(key(random))
            .with(wait_seconds(random))
            .exact(),
        3 => Words::of("BLMOVE")
            .with(key(random))
            .with(key(random))
            .with(random.word(SIDES))
            .with(random.word(SIDES))
            .with(wait_seconds(random))
            .exact(),
        _ => {
            let words = Words::of("BLMPOP").with(wait_seconds(random));
            several(random, words)
        }
    }
}
