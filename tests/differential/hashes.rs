//! Hashes.

use crate::compare::Compare;
use crate::generate::{Case, Words};
use crate::random::Random;
use crate::vocabulary::{collection_key, count, float, integer, member, value};

const OURS: &[&str] = &["h1", "h2", "h:{7}"];

fn key(random: &mut Random) -> Vec<u8> {
    collection_key(random, OURS)
}

/// One command on hashes.
pub fn case(random: &mut Random) -> Case {
    match random.below(40) {
        0..=8 => set(random),
        9 => Words::of("HSETNX")
            .with(key(random))
            .with(member(random))
            .with(value(random))
            .exact(),
        10..=12 => on_field(random, "HGET"),
        13 => on_field(random, "HEXISTS"),
        14 => on_field(random, "HSTRLEN"),
        15..=16 => on_fields(random, "HMGET"),
        17..=19 => on_fields(random, "HDEL"),
        20 => Words::of("HLEN").with(key(random)).exact(),
        21..=23 => Words::of("HINCRBY")
            .with(key(random))
            .with(member(random))
            .with(integer(random))
            .exact(),
        24..=25 => Words::of("HINCRBYFLOAT")
            .with(key(random))
            .with(member(random))
            .with(float(random))
            .exact(),
        26..=28 => Words::of("HGETALL")
            .with(key(random))
            .compared(Compare::Pairs),
        29..=30 => Words::of(random.line(&["HKEYS", "HVALS"]))
            .with(key(random))
            .compared(Compare::Unordered),
        31..=33 => draw(random),
        34..=36 => scan(random, "HSCAN", key, 2),
        37..=38 => Words::of("OBJECT ENCODING").with(key(random)).exact(),
        _ => Words::of(random.line(&[
            "HSET h1 a",
            "HSET h1",
            "HSET h1 a 1 b",
            "HMSET h1 a 1 b",
            "HMSET h1",
            "HRANDFIELD h1 1 WITHVALUES x",
            "HRANDFIELD h1 1 bad",
            "HRANDFIELD",
            "hincrby h1 a",
        ]))
        .exact(),
    }
}

fn on_field(random: &mut Random, name: &str) -> Case {
    Words::of(name)
        .with(key(random))
        .with(member(random))
        .exact()
}

fn on_fields(random: &mut Random, name: &str) -> Case {
    let fields: Vec<Vec<u8>> = (0..=random.below(5)).map(|_| member(random)).collect();
    Words::of(name).with(key(random)).all(fields).exact()
}

fn set(random: &mut Random) -> Case {
    let words = Words::of(random.line(&["HSET", "HSET", "HSET", "HMSET"])).with(key(random));
    if random.percent(4) {
        // Around Redis's border between the packed form and the table.
        let fields = random.between(120, 140);
        return words
            .all((0..fields).flat_map(|field| [format!("f{field}").into_bytes(), b"v".to_vec()]))
            .exact();
    }
    let pairs: Vec<Vec<u8>> = (0..=random.below(4))
        .flat_map(|_| [member(random), value(random)])
        .collect();
    words.all(pairs).exact()
}

fn draw(random: &mut Random) -> Case {
    let words = Words::of("HRANDFIELD").with(key(random));
    match random.below(4) {
        0 => words.compared(Compare::Kind),
        1..=2 => words.with(count(random)).compared(Compare::Length),
        _ => words
            .with(count(random))
            .and("WITHVALUES")
            .compared(Compare::Length),
    }
}

/// One page that holds everything, or a refusal: iterations by small pages are checked at the end of an epoch.
pub fn scan(
    random: &mut Random,
    name: &str,
    key: fn(&mut Random) -> Vec<u8>,
    words_per_member: usize,
) -> Case {
    let key = key(random);
    let words = Words::of(name).with(key);
    if random.percent(15) {
        return words
            .and(random.line(&[
                "abc",
                "0 COUNT 0",
                "0 COUNT -5",
                "0 COUNT x",
                "0 MATCH",
                "0 bad a",
                "0 COUNT",
                "18446744073709551616",
                "0 TYPE hash",
                "1x",
                "-1",
            ]))
            .compared(Compare::Page(words_per_member));
    }
    let words = words.and("0 COUNT 100000");
    let words = if random.percent(50) {
        words
            .and("MATCH")
            .with(random.word(&["*", "m*", "[0-9]", "?", "m1", "", "*1", "f1?", "\\*"]))
    } else {
        words
    };
    words.compared(Compare::Page(words_per_member))
}
