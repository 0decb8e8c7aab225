//! The differences that are meant to be, each with its reason. The list is short on purpose: what
//! is not on it is a mistake in Torc.
//!
//! Besides these, replies that cannot be equal are compared loosely where the command is generated
//! ([`crate::compare::Compare`]): times to live within two seconds; KEYS, CONFIG GET and PUBSUB CHANNELS
//! as sets; SCAN by full iterations; RANDOMKEY, TIME, MEMORY, INFO, LOLWUT, OBJECT IDLETIME and
//! REFCOUNT, ids and the client list, help texts and COMMAND DOCS by kind.
//!
//! Not in the stream at all: commands of later steps (hashes, lists, sets, sorted sets, scripts,
//! streams, ACL, cluster), what exists only in later Redis (SET IFEQ, DELEX, MSETEX, CLIENT SETINFO
//! and NO-TOUCH), and SWAPDB, MIGRATE, SHUTDOWN, REPLICAOF, which Torc refuses in words of its own.

use torc_tests::Value;

/// Why `redis` and `torc` may differ here, or `None` for a real difference.
pub fn reason(args: &[Vec<u8>], redis: &Value, torc: &Value) -> Option<&'static str> {
    let name = args
        .first()
        .map(|name| name.to_ascii_uppercase())
        .unwrap_or_default();
    let both_errors = matches!((redis, torc), (Value::Error(_), Value::Error(_)));
    match name.as_slice() {
        b"BITCOUNT" | b"BITPOS" if matches!(torc, Value::Error(_)) && !both_errors => Some(
            "since 7.2 illegal arguments are an error for a missing key too; 7.0 answers 0 or -1",
        ),
        b"OBJECT"
            if args
                .get(1)
                .is_some_and(|sub| sub.eq_ignore_ascii_case(b"FREQ")) =>
        {
            Some("OBJECT FREQ shows Torc's own state of a key (pinned or not)")
        }
        _ => None,
    }
}
