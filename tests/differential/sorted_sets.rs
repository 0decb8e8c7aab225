//! Sorted sets.
//!
//! Ranges by name are specified only where all scores are the same: they have keys of their own, which nothing else
//! writes to.

use crate::compare::Compare;
use crate::generate::{Case, Words};
use crate::hashes::scan;
use crate::random::Random;
use crate::vocabulary::{amount, collection_key, count, index, member, score, wait_seconds};

const OURS: &[&str] = &["z1", "z2", "z:{7}"];
/// Sorted sets take sets as inputs too.
const INPUTS: &[&str] = &["z1", "z2", "z:{7}", "z1", "z2", "s1", "s2"];
const NAME_KEYS: &[&str] = &["names1", "names2", "names1", "names:text"];

fn key(random: &mut Random) -> Vec<u8> {
    collection_key(random, OURS)
}

/// One command on sorted sets.
pub fn case(random: &mut Random) -> Case {
    match random.below(60) {
        0..=12 => add(random),
        13 => Words::of("ZINCRBY")
            .with(key(random))
            .with(score(random))
            .with(member(random))
            .exact(),
        14..=15 => on_members(random, "ZREM"),
        16 => on_members(random, "ZMSCORE"),
        17..=19 => Words::of(random.line(&["ZSCORE", "ZRANK", "ZREVRANK"]))
            .with(key(random))
            .with(member(random))
            .exact(),
        20 => Words::of("ZCARD").with(key(random)).exact(),
        21..=26 => range(random, "ZRANGE"),
        27..=30 => old_range(random),
        31 => Words::of("ZCOUNT")
            .with(key(random))
            .with(bound(random))
            .with(bound(random))
            .exact(),
        32 => Words::of("ZREMRANGEBYRANK")
            .with(key(random))
            .with(place(random))
            .with(place(random))
            .exact(),
        33 => Words::of("ZREMRANGEBYSCORE")
            .with(key(random))
            .with(write_bound(random))
            .with(write_bound(random))
            .exact(),
        34..=35 => {
            let words = Words::of(random.line(&["ZPOPMIN", "ZPOPMAX"])).with(key(random));
            match random.below(3) {
                0 => words.exact(),
                _ => words.with(amount(random)).exact(),
            }
        }
        36..=37 => several(random, Words::of("ZMPOP")),
        38..=39 => blocking(random),
        40..=43 => {
            let into = destination(random);
            combine(random, into)
        }
        44..=46 => range(random, "ZRANGESTORE"),
        47 => intersection_size(random),
        48..=49 => draw(random),
        50..=51 => scan(random, "ZSCAN", key, 2),
        52..=54 => by_name(random),
        55..=56 => Words::of("ZRANGE")
            .with(key(random))
            .and("0 -1 WITHSCORES")
            .exact(),
        57..=58 => Words::of("OBJECT ENCODING").with(key(random)).exact(),
        _ => Words::of(random.line(&[
            "ZADD z1",
            "ZADD z1 1",
            "ZADD z1 NX 1",
            "ZADD z1 1 a 2",
            "ZADD z1 NX XX 1 a",
            "ZADD z1 INCR 1 a 2 b",
            "ZADD z1 GT LT 1 a",
            "ZRANGE z1 0",
            "ZRANGE z1 0 1 LIMIT 0 1",
            "ZRANGE z1 0 1 BYSCORE LIMIT 0",
            "ZRANGE z1 - + BYLEX WITHSCORES",
            "ZMPOP 1 z1",
            "ZMPOP 0 z1 MIN",
            "ZMPOP 1 z1 MIN COUNT 0",
            "ZUNIONSTORE z1 0 z2",
            "ZUNION 1 z1 AGGREGATE bad",
            "ZUNION 1 z1 WEIGHTS",
            "ZUNION 1 z1 WEIGHTS x",
            "ZUNION 2 z1",
            "ZUNIONSTORE z1 1 z2 WITHSCORES",
            "ZDIFF 1 z1 WEIGHTS 1",
            "ZDIFFSTORE z1 1",
            "ZRANK z1",
            "BZPOPMIN z1",
            "BZMPOP 0.01 1 z1",
            "ZPOPMIN z1 1 2",
        ]))
        .exact(),
    }
}

fn destination(random: &mut Random) -> Option<Vec<u8>> {
    random.percent(50).then(|| key(random))
}

fn on_members(random: &mut Random, name: &str) -> Case {
    let members: Vec<Vec<u8>> = (0..=random.below(4)).map(|_| member(random)).collect();
    Words::of(name).with(key(random)).all(members).exact()
}

fn add(random: &mut Random) -> Case {
    let mut words = Words::of("ZADD").with(key(random));
    if random.percent(4) {
        // Around the border between the packed form and the skip list.
        let members = random.between(120, 140);
        return words
            .all((0..members).flat_map(|number| {
                [
                    (number % 17).to_string().into_bytes(),
                    format!("m{number}").into_bytes(),
                ]
            }))
            .exact();
    }
    let mut incremented = false;
    for _ in 0..random.below(7).saturating_sub(3) {
        let option = random.line(&["NX", "XX", "GT", "LT", "CH", "INCR", "gt", "ch", "nx"]);
        incremented |= option == "INCR";
        words = words.and(option);
    }
    let pairs = if incremented { 1 } else { 1 + random.below(5) };
    words
        .all((0..pairs).flat_map(|_| [score(random), member(random)]))
        .exact()
}

fn place(random: &mut Random) -> Vec<u8> {
    match random.below(4) {
        0 => index(random),
        _ => random.between(-8, 8).to_string().into_bytes(),
    }
}

/// A bound by score where nothing is written.
fn bound(random: &mut Random) -> Vec<u8> {
    if random.percent(3) {
        random.word(&["0x10", "(0x1p2"])
    } else {
        write_bound(random)
    }
}

fn write_bound(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0..=1 => random.word(&["-inf", "+inf", "(-inf", "(inf", "(", "nan", "((1", "x", ""]),
        2..=4 => {
            let mut open = b"(".to_vec();
            open.extend(random.between(-5, 9).to_string().into_bytes());
            open
        }
        5 => score(random),
        _ => random.between(-5, 9).to_string().into_bytes(),
    }
}

fn range(random: &mut Random, name: &str) -> Case {
    let mut words = Words::of(name).with(key(random));
    if name == "ZRANGESTORE" {
        words = words.with(key(random));
    }
    let by_score = random.percent(50);
    words = if by_score {
        words
            .with(write_bound(random))
            .with(write_bound(random))
            .and("BYSCORE")
    } else {
        words.with(place(random)).with(place(random))
    };
    for _ in 0..random.below(4) {
        words = match random.below(8) {
            0..=2 => words.and("REV"),
            3..=4 if name == "ZRANGE" => words.and("WITHSCORES"),
            5..=6 if by_score => words.and("LIMIT").with(count(random)).with(count(random)),
            _ if random.percent(15) => words.with(random.word(&["rev", "LIMIT", "bad", "BYSCORE"])),
            _ => words,
        };
    }
    words.exact()
}

fn old_range(random: &mut Random) -> Case {
    let mut words = match random.below(4) {
        0 => Words::of("ZREVRANGE")
            .with(key(random))
            .with(place(random))
            .with(place(random)),
        by => Words::of(if by == 1 {
            "ZRANGEBYSCORE"
        } else {
            "ZREVRANGEBYSCORE"
        })
        .with(key(random))
        .with(bound(random))
        .with(bound(random)),
    };
    for _ in 0..random.below(3) {
        words = match random.below(5) {
            0..=1 => words.and("WITHSCORES"),
            2..=3 => words.and("LIMIT").with(count(random)).with(count(random)),
            _ => words.with(random.word(&["withscores", "LIMIT", "bad"])),
        };
    }
    words.exact()
}

fn end(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0..=1 => random.word(&["-", "+"]),
        2 => random.word(&["", "m", "[", "(", "++", "-1"]),
        _ => {
            let mut end = random.word(&["[", "("]);
            end.extend(member(random));
            end
        }
    }
}

fn by_name(random: &mut Random) -> Case {
    let key = random.word(NAME_KEYS);
    match random.below(12) {
        0..=4 => Words::of("ZADD")
            .with(if key == b"names:text" {
                b"names2".to_vec()
            } else {
                key
            })
            .all((0..=random.below(6)).flat_map(|_| [b"0".to_vec(), member(random)]))
            .exact(),
        5 => Words::of("SET names:text text").exact(),
        6 => Words::of("ZLEXCOUNT")
            .with(key)
            .with(end(random))
            .with(end(random))
            .exact(),
        7 => Words::of("ZREMRANGEBYLEX")
            .with(key)
            .with(end(random))
            .with(end(random))
            .exact(),
        at => {
            let name = match at {
                8 => "ZRANGEBYLEX",
                9 => "ZREVRANGEBYLEX",
                _ => "ZRANGE",
            };
            let mut words = Words::of(name)
                .with(key)
                .with(end(random))
                .with(end(random));
            if name == "ZRANGE" {
                words = words.and(random.line(&["BYLEX", "BYLEX REV", "REV BYLEX", "bylex"]));
            }
            if random.percent(40) {
                words = words.and("LIMIT").with(count(random)).with(count(random));
            }
            words.exact()
        }
    }
}

/// Inputs by number.
fn inputs(random: &mut Random, words: Words) -> (Words, usize) {
    let keys: Vec<Vec<u8>> = (0..=random.below(3))
        .map(|_| collection_key(random, INPUTS))
        .collect();
    let number = match random.below(16) {
        0 => random.word(&["0", "-1", "x", "99"]),
        _ => keys.len().to_string().into_bytes(),
    };
    let length = keys.len();
    (words.with(number).all(keys), length)
}

fn combine(random: &mut Random, destination: Option<Vec<u8>>) -> Case {
    let operation = random.line(&["ZUNION", "ZINTER", "ZDIFF", "ZUNION"]);
    let words = match &destination {
        Some(key) => Words::named(format!("{operation}STORE")).with(key.clone()),
        None => Words::of(operation),
    };
    let (mut words, inputs) = inputs(random, words);
    if operation != "ZDIFF" && random.percent(40) {
        words = words.and("WEIGHTS").all((0..inputs).map(|_| score(random)));
    }
    if operation != "ZDIFF" && random.percent(40) {
        words = words
            .and("AGGREGATE")
            .with(random.word(&["SUM", "MIN", "MAX", "min"]));
    }
    if destination.is_none() && random.percent(60) {
        words = words.and("WITHSCORES");
    }
    words.exact()
}

fn intersection_size(random: &mut Random) -> Case {
    let (words, _) = inputs(random, Words::of("ZINTERCARD"));
    match random.below(2) {
        0 => words.exact(),
        _ => words.and("LIMIT").with(amount(random)).exact(),
    }
}

fn several(random: &mut Random, words: Words) -> Case {
    let keys: Vec<Vec<u8>> = (0..=random.below(3)).map(|_| key(random)).collect();
    let number = match random.below(12) {
        0 => random.word(&["0", "-1", "x", "99"]),
        _ => keys.len().to_string().into_bytes(),
    };
    let words = words
        .with(number)
        .all(keys)
        .with(random.word(&["MIN", "MAX", "min", "MAX", "mid"]));
    match random.below(3) {
        0 => words.exact(),
        _ => words.and("COUNT").with(amount(random)).exact(),
    }
}

fn blocking(random: &mut Random) -> Case {
    if random.percent(30) {
        let words = Words::of("BZMPOP").with(wait_seconds(random));
        return several(random, words);
    }
    let keys: Vec<Vec<u8>> = (0..=random.below(3)).map(|_| key(random)).collect();
    Words::of(random.line(&["BZPOPMIN", "BZPOPMAX"]))
        .all(keys)
        .with(wait_seconds(random))
        .exact()
}

fn draw(random: &mut Random) -> Case {
    let words = Words::of("ZRANDMEMBER").with(key(random));
    match random.below(3) {
        0 => words.compared(Compare::Kind),
        1 => words.with(count(random)).compared(Compare::Length),
        _ => words
            .with(count(random))
            .and("WITHSCORES")
            .compared(Compare::Length),
    }
}
