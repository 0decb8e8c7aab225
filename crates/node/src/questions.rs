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
//! | `records` | database (1 byte) and key … | array: the shard's log time, ms; then of each key head and value (`effects.rs`) and fingerprint, or an error: [`TOO_MUCH`], [`IS_LOCK`] |

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

/// What keys hold, whole. They are pairs of a database and a key.
pub(crate) const RECORDS: &[u8] = b"records";

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
        RECORDS => answer_records(cache, args.from(1), reply),
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

/// The database and the key of each pair behind [`RECORDS`]; none if that is not what they are.
pub(crate) fn pairs_of(pairs: Args<'_>) -> Option<impl Iterator<Item = (u8, &[u8])>> {
    let is_database = |at: usize| matches!(pairs.get(at), [db] if *db < DATABASES);
    let are_pairs = pairs.len().is_multiple_of(2) && (0..pairs.len()).step_by(2).all(is_database);
    let pair = move |at: usize| (pairs.get(at)[0], pairs.get(at + 1));
    are_pairs.then(|| (0..pairs.len()).step_by(2).map(pair))
}

fn answer_records(cache: &Cache, pairs: Args<'_>, reply: &mut Reply<'_>) {
    let Some(keys) = pairs_of(pairs) else {
        return refuse(reply);
    };
    let keys: Vec<(u8, &[u8])> = keys.collect();
    let bytes_of = |(db, key): &(u8, &[u8])| cache.entry_bytes(Key::new(cache.seed(), *db, key));
    let bytes = keys.iter().filter_map(bytes_of);
    if bytes.sum::<usize>() > RECORDS_BYTES_MAX {
        return reply.error(TOO_MUCH);
    }
    if keys.iter().any(|(db, key)| cache.locks().has(*db, key)) {
        return reply.error(IS_LOCK);
    }
    reply.array(1 + 3 * keys.len());
    reply.integer(cache.now_ms() as i64);
    for (db, key) in keys {
        let entry = cache.peek(Key::new(cache.seed(), db, key));
        reply.bulk(&effects::head_of(entry));
        reply.bulk(&effects::value_of(entry));
        reply.bulk(&fingerprint(cache, db, key).to_le_bytes());
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
