//! The stream of one epoch: independent of every other epoch, so that any can be replayed alone.

use crate::compare::Compare;
use crate::random::Random;
use crate::{
    bits, collection_scripts, hashes, keys, lists, scripts, server, sets, sorted_sets, streams,
    strings, vocabulary,
};

/// One command and how its replies are compared.
#[derive(Clone, Debug)]
pub struct Case {
    /// The command's name and arguments.
    pub args: Vec<Vec<u8>>,
    /// How the two replies are compared.
    pub compare: Compare,
    /// Both servers are left alone for this long after the command, for what expires.
    pub pause_ms: u64,
}

/// How commands are written down in the generators: words split at spaces, then binary arguments.
pub struct Words(Vec<Vec<u8>>);

impl Words {
    /// The words of `line`.
    pub fn of(line: &str) -> Words {
        Words(
            line.split(' ')
                .map(|word| word.as_bytes().to_vec())
                .collect(),
        )
    }

    /// A command without arguments yet.
    pub fn named(name: impl Into<Vec<u8>>) -> Words {
        Words(vec![name.into()])
    }

    /// Another argument.
    pub fn with(mut self, arg: impl Into<Vec<u8>>) -> Words {
        self.0.push(arg.into());
        self
    }

    /// The words of `line` as further arguments.
    pub fn and(mut self, line: &str) -> Words {
        self.0
            .extend(line.split(' ').map(|word| word.as_bytes().to_vec()));
        self
    }

    /// Further arguments.
    pub fn all(mut self, args: impl IntoIterator<Item = Vec<u8>>) -> Words {
        self.0.extend(args);
        self
    }

    /// The command, compared byte for byte.
    pub fn exact(self) -> Case {
        self.compared(Compare::Exact)
    }

    /// The command, compared as `compare` says.
    pub fn compared(self, compare: Compare) -> Case {
        Case {
            args: self.0,
            compare,
            pause_ms: 0,
        }
    }
}

/// The first commands of every epoch: the same state on both sides, whatever an epoch before did.
pub fn prologue(epoch: u64) -> Vec<Case> {
    let mut cases = vec![
        Words::of("FLUSHALL").exact(),
        Words::of("SCRIPT FLUSH").exact(),
        Words::of("CLIENT UNPAUSE").compared(Compare::Nothing),
    ];
    for (name, value) in server::CONFIG_DEFAULTS {
        cases.push(
            Words::of("CONFIG SET")
                .with(*name)
                .with(*value)
                .compared(Compare::Nothing),
        );
    }
    if epoch % 2 == 1 {
        cases.push(Words::of("HELLO 3").compared(Compare::Fields));
    }
    cases
}

/// The commands of an epoch under a seed: `length` of them, or a few more; of a hundred, `scripts` are on Lua scripts.
pub fn epoch((seed, epoch): (u64, u64), length: usize, scripts: usize) -> Vec<Case> {
    let mut random = Random::of_epoch(seed, epoch);
    let mut cases = Vec::with_capacity(length + 16);
    while cases.len() < length {
        match random.below(100) {
            0..=5 => transaction(&mut random, &mut cases, scripts),
            6 => expiring(&mut random, &mut cases),
            _ => one(&mut random, &mut cases, scripts),
        }
    }
    // Whatever state of the connection the stream left behind, the checks after it need a plain one.
    cases.push(Words::of("DISCARD").compared(Compare::Exact));
    cases.push(Words::of("SELECT 0").compared(Compare::Exact));
    cases
}

/// One command of any family, now and then bent into a wrong shape.
fn one(random: &mut Random, cases: &mut Vec<Case>, scripts: usize) {
    if random.percent(scripts) {
        cases.push(if random.percent(25) {
            collection_scripts::case(random)
        } else {
            scripts::case(random)
        });
        return;
    }
    let mut case = match random.below(100) {
        0..=17 => strings::case(random),
        18..=24 => bits::case(random),
        25..=40 => keys::case(random),
        41..=43 => {
            keys::dump_and_restore(random, cases);
            return;
        }
        44..=49 => server::case(random),
        50..=58 => hashes::case(random),
        59..=68 => lists::case(random),
        69..=70 => {
            sets::pop(random, cases);
            return;
        }
        71..=77 => sets::case(random),
        78..=89 => streams::case(random),
        _ => sorted_sets::case(random),
    };
    let bendable = case
        .args
        .first()
        .is_some_and(|name| server::is_bendable(name));
    if bendable && random.percent(4) {
        bend(random, &mut case);
    }
    if random.percent(6)
        && let Some(name) = case.args.first_mut()
    {
        for byte in name.iter_mut() {
            *byte = if random.percent(50) {
                byte.to_ascii_lowercase()
            } else {
                byte.to_ascii_uppercase()
            };
        }
    }
    cases.push(case);
}

/// Wrong arity and misplaced words. Never a small number: it could become a time to live.
fn bend(random: &mut Random, case: &mut Case) {
    let args = &mut case.args;
    match random.below(5) {
        0 if args.len() > 1 => {
            args.pop();
        }
        1 => args.push(vocabulary::junk(random)),
        2 => args.truncate(1),
        3 if args.len() > 1 => {
            let at = 1 + random.below(args.len() - 1);
            args[at] = vocabulary::junk(random);
        }
        _ => {
            let repeated = args.last().cloned().unwrap_or_default();
            args.push(repeated);
        }
    }
}

/// WATCH, MULTI, some commands, EXEC: with every mistake that can be made in between.
fn transaction(random: &mut Random, cases: &mut Vec<Case>, scripts: usize) {
    if random.percent(5) {
        cases.push(
            Words::of(random.line(&["EXEC", "DISCARD", "UNWATCH", "MULTI x", "EXEC x", "WATCH"]))
                .exact(),
        );
        return;
    }
    if random.percent(40) {
        let watched: Vec<Vec<u8>> = (0..=random.below(3))
            .map(|_| vocabulary::key(random))
            .collect();
        cases.push(Words::of("WATCH").all(watched).exact());
        if random.percent(30) {
            one(random, cases, scripts);
        }
        if random.percent(10) {
            cases.push(Words::of("UNWATCH").exact());
        }
    }
    cases.push(Words::of("MULTI").exact());
    for _ in 0..random.below(8) {
        match random.below(60) {
            0 => cases.push(
                Words::of(random.line(&[
                    "MULTI",
                    "WATCH a",
                    "nosuchcommand a b",
                    "GET",
                    "UNWATCH",
                    "SELECT 99",
                ]))
                .exact(),
            ),
            _ => one(random, cases, scripts),
        }
    }
    cases.push(
        Words::of(random.line(&["EXEC", "EXEC", "EXEC", "EXEC", "DISCARD", "RESET"])).exact(),
    );
    if random.percent(50) {
        cases.push(Words::of("GET").with(vocabulary::key(random)).exact());
    }
}

/// A key that expires now. It is read right after the pause, so that neither server still counts it
/// in DBSIZE while the other has dropped it.
fn expiring(random: &mut Random, cases: &mut Vec<Case>) {
    if random.percent(80) {
        cases.push(
            Words::of("PTTL")
                .with(vocabulary::key(random))
                .compared(Compare::Near(2_000)),
        );
        return;
    }
    let key = vocabulary::key(random);
    cases.push(Words::of("DISCARD").exact());
    if random.percent(40) {
        let line = random.line(&["HSET f v", "RPUSH v", "SADD v", "ZADD 1 v", "XADD 1-1 f v"]);
        let (name, rest) = line.split_once(' ').expect("each has arguments");
        cases.push(Words::of(name).with(key.clone()).and(rest).exact());
    }
    let mut case = match random.below(7) {
        0 => Words::of("SET").with(key.clone()).and("soon PX 1").exact(),
        1 => Words::of("SET")
            .with(key.clone())
            .and("past PXAT 1000")
            .exact(),
        2 => Words::of("PSETEX").with(key.clone()).and("1 soon").exact(),
        3 => Words::of("SET")
            .with(key.clone())
            .and("lock NX PX 1")
            .exact(),
        _ => Words::of("PEXPIRE").with(key.clone()).and("1").exact(),
    };
    case.pause_ms = 6;
    cases.push(case);
    cases.push(Words::of("EXISTS").with(key.clone()).exact());
    for _ in 0..1 + random.below(3) {
        let line = *random.pick(&[
            "GET",
            "TTL",
            "TYPE",
            "PERSIST",
            "STRLEN",
            "INCR",
            "OBJECT ENCODING",
            "GETDEL",
            "SETNX",
            "APPEND",
            "HGETALL",
            "LPOP",
            "SMEMBERS",
            "ZPOPMIN",
            "RPUSH",
            "SADD",
            "HLEN",
            "LPUSHX",
            "ZCARD",
            "XLEN",
        ]);
        let case = Words::of(line).with(key.clone());
        cases.push(match line {
            "SETNX" | "APPEND" | "RPUSH" | "SADD" | "LPUSHX" => case.with("new").exact(),
            "HGETALL" => case.compared(Compare::Pairs),
            "SMEMBERS" => case.compared(Compare::Unordered),
            _ => case.exact(),
        });
    }
}
