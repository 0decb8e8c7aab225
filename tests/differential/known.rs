//! The differences that are meant to be, each with its reason. The list is short on purpose: what
//! is not on it is a mistake in Torc.
//!
//! Besides these, replies that cannot be equal are compared loosely where the command is generated
//! ([`crate::compare::Compare`]): times to live within two seconds; KEYS, CONFIG GET and PUBSUB CHANNELS
//! as sets, as is all that hashes and sets show of themselves; SCAN by full iterations; RANDOMKEY, TIME,
//! MEMORY, INFO, LOLWUT, OBJECT IDLETIME and REFCOUNT, members drawn by chance, ids and the client list,
//! help texts and COMMAND DOCS by kind.
//!
//! Not in the stream at all: commands of later steps (functions, ACL, cluster); what exists only in
//! later Redis (SET IFEQ, DELEX, MSETEX, CLIENT SETINFO and NO-TOUCH, HSCAN NOVALUES, ZRANK WITHSCORE);
//! hexadecimal scores that are written, LPOS with the least RANK and draws of more than 2^20 members, which
//! Torc refuses; and SWAPDB, MIGRATE, SHUTDOWN, REPLICAOF, which it refuses in words of its own.

use torc_tests::Value;

use crate::compare::Compare;

/// Why `redis` and `torc` may differ here, or `None` for a real difference.
pub fn reason(args: &[Vec<u8>], redis: &Value, torc: &Value) -> Option<&'static str> {
    let name = args
        .first()
        .map(|name| name.to_ascii_uppercase())
        .unwrap_or_default();
    let is = |at: usize, word: &[u8]| {
        args.get(at)
            .is_some_and(|arg| arg.eq_ignore_ascii_case(word))
    };
    let both_errors = matches!((redis, torc), (Value::Error(_), Value::Error(_)));
    let torc_says = |start: &[u8]| matches!(torc, Value::Error(text) if text.starts_with(start));
    match name.as_slice() {
        b"HSCAN" | b"SSCAN" | b"ZSCAN" if torc_says(b"ERR invalid cursor") => {
            Some("Redis reads a cursor like -1 as a number of its own; Torc refuses it")
        }
        b"SORT" | b"SORT_RO"
            if torc_says(b"ERR BY option of SORT denied")
                || torc_says(b"ERR GET option of SORT denied") =>
        {
            Some(
                "a pattern of SORT without the key's hash tag, which a cluster refuses, is refused on one node too",
            )
        }
        b"SORT" | b"SORT_RO" if is_no_number(redis) != is_no_number(torc) && !both_errors => Some(
            "SORT of Redis reads a number up to a NUL byte, and mistakes an earlier command's errno for its own",
        ),
        b"SORT" | b"SORT_RO"
            if up_to_nul(redis).is_some_and(|left| Some(left) == up_to_nul(torc)) =>
        {
            Some(
                "SORT ALPHA of Redis compares up to a NUL byte where nothing is stored: such members have no order",
            )
        }
        _ if args.iter().any(|arg| arg.contains(&0))
            && torc_says(b"ERR min or max is not a float") =>
        {
            Some("Redis reads a bound by score up to a NUL byte")
        }
        b"ZCOUNT" | b"ZRANGEBYSCORE" | b"ZREVRANGEBYSCORE"
            if args
                .iter()
                .any(|arg| arg.windows(2).any(|two| two == b"0x"))
                && torc_says(b"ERR min or max is not a float") =>
        {
            Some("Torc takes no hexadecimal scores")
        }
        b"BLPOP" | b"BRPOP" | b"BRPOPLPUSH" | b"BLMOVE" | b"BLMPOP" | b"BZPOPMIN" | b"BZPOPMAX"
        | b"BZMPOP"
            if torc_says(b"ERR timeout is out of range")
                && *redis == Value::error("ERR timeout is negative") =>
        {
            Some(
                "a timeout beyond 64 bits overflows to a negative one in 7.0; later Redis says that it is out of range",
            )
        }
        _ if *redis != without_minus_zero(redis)
            && Compare::Leaves.same(&without_minus_zero(redis), torc, &[]) =>
        {
            Some("a score of -0 is 0 in Torc")
        }
        b"BITCOUNT" | b"BITPOS" if matches!(torc, Value::Error(_)) && !both_errors => Some(
            "since 7.2 illegal arguments are an error for a missing key too; 7.0 answers 0 or -1",
        ),
        b"BITCOUNT" | b"BITPOS" if is_wrong_type(redis) && both_errors => {
            Some("since 7.2 BITCOUNT and BITPOS read their arguments before they look at the key")
        }
        b"ZSCAN" if same_numbers(redis, torc) => Some(
            "ZSCAN of a packed sorted set writes a great whole score with all its digits, of a skip list as 1e+17; Torc has one form",
        ),
        b"CONFIG" if args.iter().skip(2).any(Vec::is_empty) && !both_errors => {
            Some("an empty amount of memory is 0 in Redis; Torc refuses it")
        }
        b"DEBUG" if is(1, b"SLEEP") && !both_errors => {
            Some("DEBUG SLEEP inside MULTI would hold the keys of others locked, Torc refuses it")
        }
        _ if is(1, b"HELP") && matches!((redis, torc), (Value::Array(_), Value::Array(_))) => {
            Some("help texts are Torc's own")
        }
        b"EVAL" | b"EVAL_RO"
            if args
                .get(1)
                .is_some_and(|script| script.starts_with(b"setmetatable(_G"))
                && both_errors =>
        {
            Some(
                "a table of Redis's own that is given a metatable: refused by either, in other words",
            )
        }
        b"OBJECT" if is(1, b"ENCODING") => match (redis, torc) {
            (Value::Bulk(redis), Value::Bulk(torc)) => encoding(redis, torc),
            _ => None,
        },
        _ => None,
    }
}

fn is_no_number(reply: &Value) -> bool {
    *reply == Value::error("ERR One or more scores can't be converted into double")
}

/// A list's texts, each cut at its first NUL byte.
fn up_to_nul(reply: &Value) -> Option<Vec<Vec<u8>>> {
    let Value::Array(items) = reply else {
        return None;
    };
    let cut = |item: &Value| match item {
        Value::Bulk(text) => text.split(|byte| *byte == 0).next().map(<[u8]>::to_vec),
        _ => None,
    };
    items.iter().map(cut).collect()
}

fn is_wrong_type(reply: &Value) -> bool {
    matches!(reply, Value::Error(text) if text.starts_with(b"WRONGTYPE"))
}

/// Two pages of ZSCAN whose members are the same, and whose scores are the same numbers.
fn same_numbers(redis: &Value, torc: &Value) -> bool {
    let (Value::Array(left), Value::Array(right)) = (redis, torc) else {
        return false;
    };
    let pairs = |page: Option<&Value>| -> Vec<(String, Option<u64>)> {
        let items = page.map(Value::items).unwrap_or_default();
        let mut pairs: Vec<_> = items
            .chunks(2)
            .map(|pair| {
                let score: Option<f64> = pair.get(1).and_then(|score| score.text().parse().ok());
                (format!("{:?}", pair[0]), score.map(f64::to_bits))
            })
            .collect();
        pairs.sort();
        pairs
    };
    left.first() == right.first() && pairs(left.get(1)) == pairs(right.get(1))
}

/// `reply` with every score of -0 as 0, however nested.
pub fn without_minus_zero(reply: &Value) -> Value {
    let all = |items: &[Value]| items.iter().map(without_minus_zero).collect();
    match reply {
        Value::Bulk(text) if text == b"-0" => Value::bulk("0"),
        Value::Double(text) if text == b"-0" => Value::Double(b"0".to_vec()),
        Value::Array(items) => Value::Array(all(items)),
        Value::Set(items) => Value::Set(all(items)),
        Value::Map(pairs) => Value::Map(
            pairs
                .iter()
                .map(|(left, right)| (without_minus_zero(left), without_minus_zero(right)))
                .collect(),
        ),
        _ => reply.clone(),
    }
}

/// Torc tells the form of a string from its content, and from whether it was edited in place; Redis remembers how
/// the last command made the object.
fn encoding(redis: &[u8], torc: &[u8]) -> Option<&'static str> {
    match (redis, torc) {
        (b"raw", b"int" | b"embstr") => Some(
            "SETBIT or BITFIELD SET of what is there already: Redis makes the object anew and says raw, Torc changes nothing",
        ),
        (b"skiplist", b"listpack") => Some(
            "SORT of a packed sorted set turns it into a skip list in Redis; Torc changes nothing",
        ),
        (b"embstr", b"int") => Some(
            "INCRBYFLOAT to a whole number: Redis leaves a string that only looks like one, Torc says int",
        ),
        (b"listpack", b"hashtable") => {
            Some("a hash of 129 to 512 fields: 7.0 packs up to 512, later Redis and Torc up to 128")
        }
        _ => None,
    }
}
