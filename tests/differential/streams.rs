//! Streams and groups of consumers. Ids are given, but now and then: what the server gives is a time of its own.

use crate::compare::Compare;
use crate::generate::{Case, Words};
use crate::random::Random;
use crate::vocabulary::{collection_key, count, integer};

const OURS: &[&str] = &["x1", "x2", "x:{7}"];

fn key(random: &mut Random) -> Vec<u8> {
    collection_key(random, OURS)
}

fn group(random: &mut Random) -> Vec<u8> {
    random.word(&["g1", "g1", "g2", "g3", ""])
}

fn consumer(random: &mut Random) -> Vec<u8> {
    random.word(&["alice", "alice", "bob", "carol", ""])
}

/// An id of a small pool, so that commands meet.
fn id(random: &mut Random) -> Vec<u8> {
    match random.below(40) {
        0 => random.word(&[
            "-",
            "+",
            "$",
            ">",
            "*",
            "x",
            "",
            "(",
            "1-",
            "-1",
            "1-x",
            "1-2-3",
            "007",
            "+1",
            " 1",
            "1 ",
            "18446744073709551616",
            "1-18446744073709551616",
            "18446744073709551615-18446744073709551615",
            "18446744073709551615",
            "0-0",
            "0",
            "99999999999999999999-1",
            "1.5",
            "0x1",
            "1--1",
        ]),
        1..=3 => random.below(9).to_string().into_bytes(),
        _ => format!("{}-{}", random.below(9), random.below(12)).into_bytes(),
    }
}

/// A field or a value, short: where Redis's nodes end must not tell.
fn text(random: &mut Random) -> Vec<u8> {
    match random.below(20) {
        0 => Vec::new(),
        1 => vec![0, 255, 13, 10],
        2 => integer(random),
        _ => random.word(&["f", "g", "v", "10", "-3", "007"]),
    }
}

fn bound(random: &mut Random, end: &str) -> Vec<u8> {
    match random.below(5) {
        0 => [b"(".as_slice(), &id(random)].concat(),
        1..=2 => end.into(),
        _ => id(random),
    }
}

fn idle(random: &mut Random) -> Vec<u8> {
    random.word(&["0", "0", "0", "3600000", "-1", "x"])
}

/// One command on streams.
pub fn case(random: &mut Random) -> Case {
    match random.below(60) {
        0..=13 => add(random),
        14 => Words::of("XLEN").with(key(random)).exact(),
        15..=19 => range(random),
        20..=22 => ids(Words::of("XDEL").with(key(random)), random).exact(),
        23..=24 => trim(Words::of("XTRIM").with(key(random)), random).exact(),
        25 => set_id(random),
        26..=29 => read(random),
        30..=37 => read_group(random),
        38..=42 => change_group(random),
        43..=45 => ids(
            Words::of("XACK").with(key(random)).with(group(random)),
            random,
        )
        .exact(),
        46..=48 => pending(random),
        49..=51 => claim(random),
        52..=53 => claim_idle(random),
        54..=57 => info(random),
        58 => Words::of("OBJECT ENCODING").with(key(random)).exact(),
        _ => Words::of(random.line(&[
            "XADD x1 1-1 f",
            "XADD x1 * f",
            "XADD x1",
            "XGROUP",
            "XGROUP FOO x1 g1",
            "XGROUP CREATE x1 g1",
            "XINFO STREAM",
            "XINFO FOO x1",
            "XREAD STREAMS x1 x2 0",
            "XREAD COUNT 1 STREAMS",
            "XREADGROUP GROUP g1 alice STREAMS x1",
            "XPENDING x1 g1 - +",
            "XAUTOCLAIM x1 g1 alice 0",
        ]))
        .exact(),
    }
}

fn ids(words: Words, random: &mut Random) -> Words {
    let ids: Vec<Vec<u8>> = (0..=random.below(4)).map(|_| id(random)).collect();
    words.all(ids)
}

/// Where `~` leaves the server a choice it is given none: all goes, or nothing.
fn trim(words: Words, random: &mut Random) -> Words {
    match random.below(12) {
        0 => words.and(random.line(&[
            "MAXLEN ~ 0",
            "MAXLEN ~ 100000",
            "MINID ~ 0",
            "MINID ~ 18446744073709551615",
            "MAXLEN ~ 0 LIMIT 0",
            "MAXLEN ~ 0 LIMIT 1000",
            "MAXLEN ~ x",
            "MAXLEN ~ -1",
            "MAXLEN ~ 0 LIMIT -1",
            "MAXLEN ~ 0 LIMIT x",
            "MAXLEN 2 LIMIT 2",
            "MAXLEN = 2 LIMIT 0",
            "LIMIT 2",
            "LIMIT 0",
            "MAXLEN 2 MINID 2",
            "MAXLEN",
            "FOO",
        ])),
        1 => words.and("MINID =").with(id(random)),
        2 => words.and("MAXLEN =").with(count(random)),
        3..=5 => words.and("MINID").with(id(random)),
        _ => words.and("MAXLEN").with(count(random)),
    }
}

fn add(random: &mut Random) -> Case {
    let words = Words::of("XADD").with(key(random));
    let words = match random.below(12) {
        0 => words.and("NOMKSTREAM"),
        1..=2 => trim(words, random),
        _ => words,
    };
    // Mostly above all that is there.
    let id = match random.below(12) {
        0 => id(random),
        1..=2 => format!("{}-{}", random.below(9), random.below(12)).into_bytes(),
        _ => format!("{}-*", 3 + random.below(6)).into_bytes(),
    };
    let fields: Vec<Vec<u8>> = (0..=random.below(3))
        .flat_map(|_| [text(random), text(random)])
        .collect();
    words.with(id).all(fields).exact()
}

fn range(random: &mut Random) -> Case {
    let words = match random.percent(60) {
        true => Words::of("XRANGE")
            .with(key(random))
            .with(bound(random, "-"))
            .with(bound(random, "+")),
        false => Words::of("XREVRANGE")
            .with(key(random))
            .with(bound(random, "+"))
            .with(bound(random, "-")),
    };
    match random.below(3) {
        0 => words.and("COUNT").with(count(random)).exact(),
        _ => words.exact(),
    }
}

fn set_id(random: &mut Random) -> Case {
    let words = Words::of("XSETID").with(key(random)).with(id(random));
    let words = match random.below(4) {
        0 => words.and("ENTRIESADDED").with(integer(random)),
        _ => words,
    };
    match random.below(4) {
        0 => words.and("MAXDELETEDID").with(id(random)).exact(),
        _ => words.exact(),
    }
}

/// Options, then keys and as many ids.
fn streams(words: Words, random: &mut Random, special: &str) -> Words {
    let words = match random.below(3) {
        0 => words.and("COUNT").with(count(random)),
        _ => words,
    };
    let words = match random.below(12) {
        0 => words
            .and("BLOCK")
            .with(random.word(&["10", "1", "-1", "x", "1.5", ""])),
        _ => words,
    };
    let count = 1 + random.below(3);
    let keys: Vec<Vec<u8>> = (0..count).map(|_| key(random)).collect();
    let ids: Vec<Vec<u8>> = (0..count)
        .map(|_| match random.below(3) {
            0 => id(random),
            _ => special.into(),
        })
        .collect();
    words.and("STREAMS").all(keys).all(ids)
}

fn read(random: &mut Random) -> Case {
    let special = random.line(&["0", "0", "$"]).to_owned();
    streams(Words::of("XREAD"), random, &special).exact()
}

fn read_group(random: &mut Random) -> Case {
    let words = Words::of("XREADGROUP GROUP")
        .with(group(random))
        .with(consumer(random));
    let words = match random.below(8) {
        0 => words.and("NOACK"),
        _ => words,
    };
    let special = random.line(&[">", ">", ">", "0"]).to_owned();
    streams(words, random, &special).exact()
}

fn change_group(random: &mut Random) -> Case {
    let at = match random.below(3) {
        0 => id(random),
        1 => b"$".to_vec(),
        _ => b"0".to_vec(),
    };
    let (key, group) = (key(random), group(random));
    let on = |name: &str| Words::of(name).with(key.clone()).with(group.clone());
    let words = match random.below(12) {
        0..=5 => {
            let words = on("XGROUP CREATE").with(at);
            match random.below(3) {
                0 => words,
                _ => words.and("MKSTREAM"),
            }
        }
        6..=7 => on("XGROUP SETID").with(at),
        8 => return on("XGROUP DESTROY").exact(),
        9 => return on("XGROUP CREATECONSUMER").with(consumer(random)).exact(),
        _ => return on("XGROUP DELCONSUMER").with(consumer(random)).exact(),
    };
    match random.below(4) {
        0 => words.and("ENTRIESREAD").with(integer(random)).exact(),
        _ => words.exact(),
    }
}

fn pending(random: &mut Random) -> Case {
    let words = Words::of("XPENDING").with(key(random)).with(group(random));
    if random.percent(50) {
        return words.exact();
    }
    let words = match random.below(3) {
        0 => words.and("IDLE").with(idle(random)),
        _ => words,
    };
    let words = words
        .with(bound(random, "-"))
        .with(bound(random, "+"))
        .with(count(random));
    match random.below(3) {
        0 => words.with(consumer(random)).compared(Compare::Moments),
        _ => words.compared(Compare::Moments),
    }
}

fn claim(random: &mut Random) -> Case {
    let words = Words::of("XCLAIM")
        .with(key(random))
        .with(group(random))
        .with(consumer(random))
        .with(idle(random));
    let words = ids(words, random);
    let words = match random.below(8) {
        0 => words.and("FORCE"),
        1 => words.and("JUSTID"),
        2 => words.and("FORCE JUSTID"),
        3 => words.and("RETRYCOUNT").with(integer(random)),
        4 => words.and("LASTID").with(id(random)),
        5 => words
            .and("IDLE")
            .with(random.word(&["0", "7200000", "x", "-1"])),
        6 => words
            .and("TIME")
            .with(random.word(&["0", "1000", "x", "-1", "99999999999999"])),
        _ => words,
    };
    words.exact()
}

fn claim_idle(random: &mut Random) -> Case {
    let words = Words::of("XAUTOCLAIM")
        .with(key(random))
        .with(group(random))
        .with(consumer(random))
        .with(idle(random))
        .with(bound(random, "0"));
    let words = match random.below(3) {
        0 => words.and("COUNT").with(count(random)),
        _ => words,
    };
    match random.below(3) {
        0 => words.and("JUSTID").exact(),
        _ => words.exact(),
    }
}

fn info(random: &mut Random) -> Case {
    match random.below(6) {
        0..=1 => Words::of("XINFO STREAM")
            .with(key(random))
            .compared(Compare::Moments),
        2 => Words::of("XINFO STREAM")
            .with(key(random))
            .and(random.line(&[
                "FULL",
                "FULL COUNT 2",
                "FULL COUNT 0",
                "FULL COUNT x",
                "FOO",
            ]))
            .compared(Compare::Moments),
        3..=4 => Words::of("XINFO GROUPS").with(key(random)).exact(),
        _ => Words::of("XINFO CONSUMERS")
            .with(key(random))
            .with(group(random))
            .compared(Compare::Moments),
    }
}
