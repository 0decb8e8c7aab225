//! Lua scripts on hashes, lists, sets and sorted sets: what their nested replies become in a script and after it.

use crate::compare::Compare;
use crate::generate::{Case, Words};
use crate::random::Random;
use crate::vocabulary::{member, score};

/// What a script asks of its two keys and two arguments, by redis.call or redis.pcall.
const CALLS: &[&str] = &[
    "'hset', KEYS[1], ARGV[1], ARGV[2]",
    "'hset', KEYS[1], 'f', 1.5, 'g', ARGV[1]",
    "'hget', KEYS[1], ARGV[1]",
    "'hmget', KEYS[1], ARGV[1], 'f', 'none'",
    "'hgetall', KEYS[1]",
    "'hkeys', KEYS[1]",
    "'hincrbyfloat', KEYS[1], 'n', '1.25'",
    "'hscan', KEYS[1], '0', 'COUNT', '100000'",
    "'rpush', KEYS[1], ARGV[1], 'x', 7",
    "'lrange', KEYS[1], '0', '-1'",
    "'lpop', KEYS[1]",
    "'lpop', KEYS[1], '2'",
    "'lmpop', '2', KEYS[1], KEYS[2], 'LEFT', 'COUNT', '2'",
    "'lmove', KEYS[1], KEYS[2], 'LEFT', 'RIGHT'",
    "'lpos', KEYS[1], 'x', 'COUNT', '0'",
    "'blpop', KEYS[1], '0'",
    "'blmove', KEYS[1], KEYS[2], 'LEFT', 'LEFT', '0'",
    "'brpoplpush', KEYS[1], KEYS[2], '0'",
    "'sadd', KEYS[1], ARGV[1], 1, 2, 3",
    "'smembers', KEYS[1]",
    "'sismember', KEYS[1], ARGV[1]",
    "'smismember', KEYS[1], ARGV[1], '1'",
    "'sinter', KEYS[1], KEYS[2]",
    "'sunionstore', KEYS[1], KEYS[1], KEYS[2]",
    "'sort', KEYS[1], 'ALPHA'",
    "'sort', KEYS[1], 'BY', 'nosort'",
    "'zadd', KEYS[1], ARGV[2], ARGV[1], 1.5, 'b'",
    "'zadd', KEYS[1], 'INCR', '0.1', 'b'",
    "'zscore', KEYS[1], 'b'",
    "'zmscore', KEYS[1], 'b', 'none'",
    "'zrange', KEYS[1], '0', '-1'",
    "'zrange', KEYS[1], '0', '-1', 'WITHSCORES'",
    "'zpopmin', KEYS[1], '2'",
    "'zpopmax', KEYS[1]",
    "'zrank', KEYS[1], 'b'",
    "'zmpop', '1', KEYS[1], 'MIN', 'COUNT', '2'",
    "'bzpopmin', KEYS[1], '0'",
    "'bzmpop', '0', '1', KEYS[1], 'MAX'",
    "'zunion', '2', KEYS[1], KEYS[2], 'WITHSCORES'",
    "'zunionstore', KEYS[1], '2', KEYS[1], KEYS[2]",
    "'type', KEYS[1]",
    "'del', KEYS[1]",
];

/// One script on collections.
pub fn case(random: &mut Random) -> Case {
    let body = body(random);
    let keys = random.line(&[
        "h1 h2", "l1 l2", "l2 l1", "s1 s2", "s2 s3", "z1 z2", "z2 z1", "h1 l1", "a z1", "z1 s1",
    ]);
    Words::of(random.line(&["EVAL", "EVAL", "EVAL", "EVAL_RO"]))
        .with(body)
        .and("2")
        .and(keys)
        .with(member(random))
        .with(score(random))
        .compared(Compare::Leaves)
}

fn body(random: &mut Random) -> String {
    let (first, second) = (random.line(CALLS), random.line(CALLS));
    let protocol = random.line(&["", "", "redis.setresp(3) ", "redis.setresp(2) "]);
    match random.below(10) {
        0..=3 => format!("{protocol}return redis.call({first})"),
        4..=5 => format!("{protocol}redis.call({first}) return redis.call({second})"),
        6 => format!("{protocol}return {{redis.pcall({first}), redis.pcall({second})}}"),
        7 => format!(
            "{protocol}local r = redis.pcall({first}) if type(r) ~= 'table' then return {{type(r), tostring(r)}} end \
             local names = {{}} for name, of in pairs(r) do \
             names[#names + 1] = type(name) .. ' ' .. type(of) end table.sort(names) return {{names, #r}}"
        ),
        8 => format!(
            "redis.setresp(3) local r = redis.pcall({first}) if type(r) ~= 'table' then return r end \
             return {{type(r.map), type(r.set), type(r.double), r.err or 'none', r.double and tostring(r.double)}}"
        ),
        _ => format!(
            "local n = 0 for _, key in ipairs(KEYS) do local t = redis.call('type', key).ok \
             n = n + #t end {protocol}return {{n, redis.pcall({second})}}"
        ),
    }
}
