//! Sets.

use crate::compare::Compare;
use crate::generate::{Case, Words};
use crate::hashes::scan;
use crate::random::Random;
use crate::vocabulary::{amount, collection_key, count, member};

const OURS: &[&str] = &["s1", "s2", "s3", "s:{7}"];

fn key(random: &mut Random) -> Vec<u8> {
    collection_key(random, OURS)
}

fn keys(random: &mut Random) -> Vec<Vec<u8>> {
    (0..=random.below(4)).map(|_| key(random)).collect()
}

/// One command on sets.
pub fn case(random: &mut Random) -> Case {
    match random.below(40) {
        0..=9 => add(random),
        10..=11 => on_members(random, "SREM"),
        12..=13 => Words::of("SISMEMBER")
            .with(key(random))
            .with(member(random))
            .exact(),
        14 => on_members(random, "SMISMEMBER"),
        15 => Words::of("SCARD").with(key(random)).exact(),
        16..=18 => Words::of("SMEMBERS")
            .with(key(random))
            .compared(Compare::Unordered),
        19..=20 => Words::of("SMOVE")
            .with(key(random))
            .with(key(random))
            .with(member(random))
            .exact(),
        21..=22 => draw(random),
        23..=26 => Words::of(random.line(&["SINTER", "SUNION", "SDIFF"]))
            .all(keys(random))
            .compared(Compare::Unordered),
        27..=30 => Words::of(random.line(&["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"]))
            .with(key(random))
            .all(keys(random))
            .exact(),
        31..=33 => intersection_size(random),
        34..=36 => scan(random, "SSCAN", key, 1),
        37..=38 => Words::of("OBJECT ENCODING").with(key(random)).exact(),
        _ => Words::of(random.line(&[
            "SADD s1",
            "SPOP s1 1 2",
            "SPOP",
            "SRANDMEMBER s1 1 2",
            "SRANDMEMBER",
            "SINTERCARD 1",
            "SINTERCARD 0 s1",
            "SINTERCARD 1 s1 LIMIT",
            "SINTERCARD 1 s1 LIMIT 1 LIMIT 1",
            "SINTERCARD 2 s1",
            "SDIFFSTORE s1",
            "SMOVE s1 s2",
        ]))
        .exact(),
    }
}

/// What is popped is chance: the rest of the set goes too, so that both servers hold the same.
pub fn pop(random: &mut Random, cases: &mut Vec<Case>) {
    let key = key(random);
    let words = Words::of("SPOP").with(key.clone());
    cases.push(if random.percent(50) {
        words.compared(Compare::Kind)
    } else {
        let many = if random.percent(50) {
            count(random)
        } else {
            amount(random)
        };
        words.with(many).compared(Compare::Length)
    });
    cases.push(Words::of("SCARD").with(key.clone()).exact());
    cases.push(Words::of("DEL").with(key).exact());
}

fn on_members(random: &mut Random, name: &str) -> Case {
    let members: Vec<Vec<u8>> = (0..=random.below(5)).map(|_| member(random)).collect();
    Words::of(name).with(key(random)).all(members).exact()
}

fn add(random: &mut Random) -> Case {
    let words = Words::of("SADD").with(key(random));
    let members: Vec<Vec<u8>> = match random.below(24) {
        0 => {
            // Around the border between the form for integers and the table.
            (0..random.between(505, 520))
                .map(|number| number.to_string().into_bytes())
                .collect()
        }
        1 => (0..random.between(120, 140))
            .map(|number| format!("m{number}").into_bytes())
            .collect(),
        2..=8 => (0..=random.below(6))
            .map(|_| random.between(-40_000, 40_000).to_string().into_bytes())
            .collect(),
        _ => (0..=random.below(6)).map(|_| member(random)).collect(),
    };
    words.all(members).exact()
}

fn draw(random: &mut Random) -> Case {
    let words = Words::of("SRANDMEMBER").with(key(random));
    match random.below(3) {
        0 => words.compared(Compare::Kind),
        _ => words.with(count(random)).compared(Compare::Length),
    }
}

fn intersection_size(random: &mut Random) -> Case {
    let keys = keys(random);
    let number = match random.below(12) {
        0 => random.word(&["0", "-1", "x", "99"]),
        _ => keys.len().to_string().into_bytes(),
    };
    let words = Words::of("SINTERCARD").with(number).all(keys);
    match random.below(3) {
        0 => words.exact(),
        1 => words.and("LIMIT").with(amount(random)).exact(),
        _ => words.and("limit").with(count(random)).exact(),
    }
}
