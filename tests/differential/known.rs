//! The differences that are meant to be, each with its reason. The list is short on purpose: what
//! is not on it is a mistake in Torc.
//!
//! Besides these, replies that cannot be equal are compared loosely where the command is generated
//! ([`crate::compare::Compare`]): times to live within two seconds; KEYS, CONFIG GET and PUBSUB CHANNELS
//! as sets; SCAN by full iterations; RANDOMKEY, TIME, MEMORY, INFO, LOLWUT, OBJECT IDLETIME and
//! REFCOUNT, ids and the client list, help texts and COMMAND DOCS by kind.
//!
//! Not in the stream at all: commands of later steps (hashes, lists, sets, sorted sets, functions,
//! streams, ACL, cluster), what exists only in later Redis (SET IFEQ, DELEX, MSETEX, CLIENT SETINFO
//! and NO-TOUCH), and SWAPDB, MIGRATE, SHUTDOWN, REPLICAOF, which Torc refuses in words of its own.

use torc_tests::Value;

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
    match name.as_slice() {
        b"BITCOUNT" | b"BITPOS" if matches!(torc, Value::Error(_)) && !both_errors => Some(
            "since 7.2 illegal arguments are an error for a missing key too; 7.0 answers 0 or -1",
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

/// Torc tells the form of a string from its content, and from whether it was edited in place; Redis remembers how
/// the last command made the object.
fn encoding(redis: &[u8], torc: &[u8]) -> Option<&'static str> {
    match (redis, torc) {
        (b"raw", b"int" | b"embstr") => Some(
            "SETBIT or BITFIELD SET of what is there already: Redis makes the object anew and says raw, Torc changes nothing",
        ),
        (b"embstr", b"int") => Some(
            "INCRBYFLOAT to a whole number: Redis leaves a string that only looks like one, Torc says int",
        ),
        _ => None,
    }
}
