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
//! | `fingerprint` | key … | array of bulks: 8 bytes each, what [`fingerprint`] says |

use crate::group::apply::fingerprint;
use crate::shard::Shard;
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
        _ => refuse(reply),
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
