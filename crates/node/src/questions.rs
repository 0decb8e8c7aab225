//! What nodes ask each other about one shard beside clients' commands: its size, steps of a walk over it, a key by lot,
//! what a watched key holds. They are reads: whoever leads the shard answers them.
//!
//! The first argument is the question, replies are RESP2:
//!
//! | question | arguments | answer |
//! |---|---|---|
//! | `len` | | integer: keys in the database |
//! | `walk` | five (`commands::walk`) | array |
//! | `random` | draw | bulk: a key; null if none was hit |
//! | `holding` | index, 0 = the last applied | array of integers: the index, and how many replicas but the leader's hold all up to it |
//! | `script` | source, count of keys, keys, arguments | what the script replies, in the client's protocol |
//! | `finish` | a transaction, number of its reserve, outcome | what its commands came to, or that it is gone (`group/transact.rs`) |
//! | `ask` | a transaction, number of its reserve | what the shard said to it |
//! | `held` | a transaction, and an operation that reads or is `records` or `fingerprint` | the same as without it, though the transaction has the keys; [`GONE`](crate::group::transact::GONE) if it has them no more |
//! | `fingerprint` | key … | array of bulks: 8 bytes each, what [`fingerprint`] says |
//! | `records` | bytes of values that may be answered (8 bytes); of each key database (1 byte), key, what is known of it | array: the shard's log time, ms; then of each key head and value (`effects.rs`; null if not wanted) and fingerprint; or an integer: the values have so many bytes; or the error [`IS_LOCK`] |
//!
//! What is known of a key is nothing, or a fingerprint: then its value is wanted only if it has another one; or
//! [`FINGERPRINT_ALONE`].

use crate::effects;
use crate::entry::DATABASES;
use crate::group::apply::fingerprint;
use crate::group::op::{Op, split_first};
use crate::group::{OpKind, is_asked_by_nodes};
use crate::shard::Shard;
use cache::{Cache, Key};
use commands::walk::{answer_step, draw_within};
use paxos::ReplicaId;
use resp::{Args, Reply, parse_u64};

/// How many keys the database has.
pub(crate) const LEN: &[u8] = b"len";
/// A step of KEYS or SCAN.
pub(crate) const WALK: &[u8] = b"walk";
/// A key by lot.
pub(crate) const RANDOM: &[u8] = b"random";
/// How many replicas hold what was written.
pub(crate) const HOLDING: &[u8] = b"holding";
/// A script that only reads. Answered in `group/scripts.rs`.
pub(crate) const SCRIPT: &[u8] = b"script";
/// Finishes a transaction here. Answered in `group/transact.rs`.
pub(crate) const FINISH: &[u8] = b"finish";
/// What became of a transaction here. Answered in `group/transact.rs`.
pub(crate) const ASK: &[u8] = b"ask";
/// What watched keys hold.
pub(crate) const FINGERPRINT: &[u8] = b"fingerprint";

/// What is asked by the transaction that has the keys. Answered in `group/lead.rs`.
pub(crate) const HELD: &[u8] = b"held";

/// What keys hold, whole.
pub(crate) const RECORDS: &[u8] = b"records";
/// In place of what is known of a key: its value is not wanted.
pub(crate) const FINGERPRINT_ALONE: &[u8] = b"-";

/// Bytes of records that one command may bring together from several shards: they are read under the shard's lock, and
/// what becomes of them has to fit into log entries.
pub(crate) const RECORDS_BYTES_MAX: usize = 64 << 20;
/// The refusal of more.
pub(crate) const TOO_MUCH: &str = "ERR the keys hold more than 64 MiB together, too much for a command over several shards (give them one {hash tag})";
/// The refusal of a key that is more than a record: a queue belongs to its shard.
pub(crate) const IS_LOCK: &str = "CROSSSLOT A lock of LOCK.ACQUIRE and keys of other shards cannot be used in one command (give them one {hash tag})";

/// Answers a question about database `db` of a shard, whose cache stands at the log time of the answer.
pub(crate) fn answer(shard: &Shard, db: u8, args: Args<'_>, reply: &mut Reply<'_>) {
    let cache = &shard.cache;
    match args.get(0) {
        LEN => reply.integer(cache.len(db) as i64),
        WALK => answer_step(cache, db, args.from(1), reply),
        RANDOM if args.len() == 2 => match parse_u64(args.get(1)) {
            Some(draw) => reply.bulk_or_null(cache.random(db, draw_within(draw))),
            None => refuse(reply),
        },
        HOLDING if args.len() == 2 => match parse_u64(args.get(1)) {
            Some(index) => {
                let index = if index == 0 { shard.applied } else { index };
                reply.array(2);
                reply.integer(index as i64);
                reply.integer(holders_count(shard, index) as i64);
            }
            None => refuse(reply),
        },
        FINGERPRINT => {
            reply.array(args.len() - 1);
            for key in args.from(1).iter() {
                reply.bulk(&fingerprint(cache, db, key).to_le_bytes());
            }
        }
        RECORDS => answer_records(cache, args, reply),
        // A shard that nobody else holds any more: it is asked without.
        HELD => reply.simple("GONE"),
        _ => refuse(reply),
    }
}

/// Whether an operation is a question of the transaction that has the keys, such as nodes of this version ask.
pub(crate) fn is_held(op: &Op<'_>) -> bool {
    let args = op.args();
    if op.head.kind != OpKind::Internal || args.len() != 3 || args.get(0) != HELD {
        return false;
    }
    split_first(args.get(2)).is_ok_and(|(question, rest)| {
        rest.is_empty()
            && match question.head.kind {
                OpKind::Read => is_asked_by_nodes(&question),
                OpKind::Internal => matches!(question.args().get(0), RECORDS | FINGERPRINT),
                _ => false,
            }
    })
}

/// Database, key and what is known of it, of each key behind [`RECORDS`]; none if that is not what they are.
pub(crate) fn keys_of_records(
    records: Args<'_>,
) -> Option<impl Iterator<Item = (u8, &[u8], &[u8])>> {
    let places = (2..records.len()).step_by(3);
    let is_database = |at: usize| matches!(records.get(at), [db] if *db < DATABASES);
    let are_keys = records.len() >= 2
        && records.get(1).len() == 8
        && (records.len() - 2).is_multiple_of(3)
        && places.clone().all(is_database);
    let key = move |at: usize| (records.get(at)[0], records.get(at + 1), records.get(at + 2));
    are_keys.then(|| places.map(key))
}

fn answer_records(cache: &Cache, records: Args<'_>, reply: &mut Reply<'_>) {
    let Some(keys) = keys_of_records(records) else {
        return refuse(reply);
    };
    let bytes_max = u64::from_le_bytes(records.get(1).try_into().expect("looked at"));
    let mut is_lock = false;
    let keys: Vec<(Key<'_>, u64, bool)> = keys
        .map(|(db, key, known)| {
            let print = fingerprint(cache, db, key);
            let is_wanted = known != FINGERPRINT_ALONE && known != print.to_le_bytes();
            // Somebody may have come to wait for what was a record before.
            is_lock |= known != FINGERPRINT_ALONE && cache.locks().has(db, key);
            (Key::new(cache.seed(), db, key), print, is_wanted)
        })
        .collect();
    if is_lock {
        return reply.error(IS_LOCK);
    }
    let wanted = || keys.iter().filter(|(_, _, is_wanted)| *is_wanted);
    let bytes = wanted().filter_map(|(key, ..)| cache.entry_bytes(*key));
    let bytes = bytes.sum::<usize>();
    if bytes as u64 > bytes_max {
        return reply.integer(bytes as i64);
    }
    reply.array(1 + 3 * keys.len());
    reply.integer(cache.now_ms() as i64);
    for (key, print, is_wanted) in keys {
        let entry = cache.peek(key);
        reply.bulk(&effects::head_of(entry));
        match is_wanted {
            true => reply.bulk(&effects::value_of(entry)),
            false => reply.null(),
        }
        reply.bulk(&print.to_le_bytes());
    }
}

/// How many replicas but this one, the leader's, hold all entries up to `index`.
fn holders_count(shard: &Shard, index: u64) -> usize {
    let replica = &shard.group.replica;
    let config = replica.config();
    let others = config.voters.iter().chain(&config.learners);
    let holds = |id: &&ReplicaId| **id != replica.me() && replica.acked(**id).0 >= index;
    others.filter(holds).count()
}

fn refuse(reply: &mut Reply<'_>) {
    reply.error("ERR no question about a shard");
}
