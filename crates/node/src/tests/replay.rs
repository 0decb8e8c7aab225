//! The determinism check: what a node's shards recorded, applied elsewhere, leads to the same state.

use super::{Hand, Lot, node_of, send};
use crate::entry::recorded;
use crate::group::{CheckpointStep, Staging};
use crate::node::Node;
use crate::shard::Shard;
use crate::testing::Client;
use cache::Policy;
use commands::{Flags, Run};
use std::collections::BTreeSet;

/// Shards that apply what a node recorded, each under its own hash seed and at its own pace.
pub(super) struct Followers {
    shards: Vec<Shard>,
    lot: Lot,
}

impl Followers {
    /// Followers of all shards of `node`, which is recorded from now on and must be empty.
    pub fn of(node: &Node, seed: u64) -> Self {
        let shards = (0..node.shards_count())
            .map(|_| Shard::alone(seed ^ 0x5eed))
            .collect();
        Followers {
            shards,
            lot: Lot(seed),
        }
    }

    /// Applies what was recorded since and holds the outcome against the node's own state.
    pub fn catch_up(&mut self, records: &[Vec<u8>]) {
        for (shard, record) in self.shards.iter_mut().zip(records) {
            for (due_ms, payload) in recorded(record) {
                let now_ms = shard.cache.now_ms();
                if due_ms > now_ms && self.lot.below(2) == 0 {
                    shard
                        .cache
                        .set_now(now_ms + self.lot.below(due_ms - now_ms + 1));
                }
                if self.lot.below(4) == 0 {
                    shard.cache.reclaim_expired(self.lot.below(40) as usize);
                }
                shard.replay(due_ms, &payload);
            }
        }
    }

    /// Holds the state against the node's own.
    pub fn compare(&mut self, node: &Node, what: &str) {
        for (at, shard) in self.shards.iter_mut().enumerate() {
            let leader = node.lock(at);
            shard.cache.set_now(leader.cache.now_ms());
            assert_eq!(
                (shard.applied, shard.cache.checksum()),
                (leader.applied, leader.cache.checksum()),
                "shard {at} differs: {what}"
            );
        }
    }
}

pub(super) fn record(node: &Node) {
    (0..node.shards_count()).for_each(|shard| node.lock(shard).record());
}

pub(super) fn take_records(node: &Node) -> Vec<Vec<u8>> {
    (0..node.shards_count())
        .map(|shard| node.lock(shard).take_record())
        .collect()
}

/// Commands as words; the words in capitals of [`fill`] are drawn.
const TEMPLATES: &[&str] = &[
    "set KEY VALUE",
    "set KEY VALUE",
    "set KEY VALUE px MS",
    "set KEY VALUE nx px MS",
    "set KEY VALUE nx ex 1",
    "set KEY VALUE xx keepttl",
    "set KEY VALUE xx px MS",
    "set KEY VALUE get",
    "set KEY VALUE pxat WALLMS",
    "set KEY VALUE exat WALLS",
    "set KEY VALUE ifeq VALUE px MS",
    "setnx KEY VALUE",
    "setex KEY 1 VALUE",
    "psetex KEY MS VALUE",
    "getset KEY VALUE",
    "getdel KEY",
    "getex KEY",
    "getex KEY px MS",
    "getex KEY persist",
    "getex KEY pxat WALLMS",
    "append KEY VALUE",
    "setrange KEY OFFSET VALUE",
    "incr KEY",
    "decr KEY",
    "incrby KEY NUMBER",
    "decrby KEY NUMBER",
    "incrbyfloat KEY FLOAT",
    "setbit KEY OFFSET 1",
    "bitfield KEY set u8 OFFSET NUMBER incrby i16 0 NUMBER",
    "bitop and KEY KEY KEY",
    "bitop xor KEY KEY KEY KEY",
    "bitop not KEY KEY",
    "mset KEY VALUE KEY VALUE KEY VALUE",
    "msetnx KEY VALUE KEY VALUE",
    "msetex 2 KEY VALUE KEY VALUE px MS",
    "del KEY KEY KEY",
    "unlink KEY KEY",
    "rename KEY KEY",
    "rename KEY KEY",
    "renamenx KEY KEY",
    "copy KEY KEY",
    "copy KEY KEY replace",
    "copy KEY KEY db DB replace",
    "copy KEY KEY db DB",
    "move KEY DB",
    "expire KEY 1",
    "pexpire KEY MS",
    "pexpire KEY MS nx",
    "pexpire KEY MS gt",
    "pexpire KEY MS lt",
    "expireat KEY WALLS",
    "pexpireat KEY WALLMS",
    "persist KEY",
    "delifeq KEY VALUE",
    "delex KEY",
    "delex KEY ifeq VALUE",
    "restore KEY MS DUMP replace",
    "restore KEY WALLMS DUMP absttl",
    "restore-asking KEY 0 DUMP",
    "sort KEY store KEY",
    "set KEY me nx px MS",
    "set KEY me nx px MS",
    "set KEY me ifeq me px MS",
    "lock.fence KEY",
    "lock.guard KEY NUMBER set KEY VALUE",
    "lock.guard KEY FENCE append KEY VALUE",
    "lock.guard KEY FENCE mset KEY VALUE KEY VALUE",
    "get KEY",
    "get KEY",
    "mget KEY KEY KEY",
    "exists KEY KEY",
    "touch KEY KEY",
    "pttl KEY",
    "strlen KEY",
    "getrange KEY 0 OFFSET",
    "lcs KEY KEY",
    "bitcount KEY",
    "bitpos KEY 1",
    "getbit KEY OFFSET",
    "bitfield_ro KEY get u8 0",
    "substr KEY 0 OFFSET",
    "type KEY",
    "ttl KEY",
    "expiretime KEY",
    "pexpiretime KEY",
    "dump KEY",
    "sort_ro KEY",
    "hset HASH FIELD VALUE FIELD VALUE",
    "hset HASH FIELD NUMBER FIELD NUMBER",
    "hmset HASH FIELD VALUE FIELD VALUE",
    "hsetnx HASH FIELD VALUE",
    "hincrby HASH FIELD NUMBER",
    "hincrbyfloat HASH FIELD FLOAT",
    "hdel HASH FIELD FIELD",
    "hget HASH FIELD",
    "hmget HASH FIELD FIELD",
    "hgetall HASH",
    "hkeys HASH",
    "hvals HASH",
    "hlen HASH",
    "hexists HASH FIELD",
    "hstrlen HASH FIELD",
    "hrandfield HASH NUMBER",
    "hscan HASH 0",
    "lpush LIST VALUE MEMBER MEMBER",
    "rpush LIST VALUE MEMBER MEMBER",
    "lpushx LIST MEMBER",
    "rpushx LIST VALUE",
    "lpop LIST",
    "lpop LIST 2",
    "rpop LIST",
    "llen LIST",
    "lindex LIST NUMBER",
    "linsert LIST before MEMBER VALUE",
    "lset LIST 1 VALUE",
    "lrange LIST 0 -1",
    "lrem LIST 1 MEMBER",
    "ltrim LIST 0 OFFSET",
    "lpos LIST MEMBER",
    "lmove LIST LIST left right",
    "rpoplpush LIST LIST",
    "lmpop 2 LIST LIST left count 2",
    "blpop LIST 0.001",
    "brpop LIST LIST 0.001",
    "blmove LIST LIST right left 0.001",
    "brpoplpush LIST LIST 0.001",
    "blmpop 0.001 2 LIST LIST right",
    "sadd SET MEMBER MEMBER MEMBER",
    "sadd SET NUMBER NUMBER NUMBER",
    "srem SET MEMBER NUMBER",
    "spop SET",
    "spop SET 2",
    "srandmember SET NUMBER",
    "smove SET SET MEMBER",
    "sismember SET MEMBER",
    "smismember SET MEMBER MEMBER",
    "smembers SET",
    "scard SET",
    "sscan SET 0",
    "sinter SET SET",
    "sintercard 2 SET SET",
    "sinterstore SET SET SET",
    "sunion SET SET",
    "sunionstore SET SET SET",
    "sdiff SET SET",
    "sdiffstore SET SET SET",
    "zadd ZSET NUMBER MEMBER NUMBER MEMBER",
    "zadd ZSET gt ch NUMBER MEMBER FLOAT MEMBER",
    "zadd ZSET incr FLOAT MEMBER",
    "zincrby ZSET FLOAT MEMBER",
    "zrem ZSET MEMBER",
    "zscore ZSET MEMBER",
    "zmscore ZSET MEMBER MEMBER",
    "zcard ZSET",
    "zcount ZSET -inf NUMBER",
    "zlexcount ZSET - +",
    "zrange ZSET 0 -1 withscores",
    "zrangestore ZSET ZSET 0 OFFSET",
    "zrevrange ZSET 0 2",
    "zrangebyscore ZSET NUMBER +inf",
    "zrevrangebyscore ZSET NUMBER -inf",
    "zrangebylex ZSET - +",
    "zrevrangebylex ZSET + -",
    "zrank ZSET MEMBER",
    "zrevrank ZSET MEMBER",
    "zpopmin ZSET",
    "zpopmax ZSET 2",
    "zmpop 2 ZSET ZSET min",
    "bzpopmin ZSET 0.001",
    "bzpopmax ZSET ZSET 0.001",
    "bzmpop 0.001 1 ZSET max",
    "zrandmember ZSET NUMBER",
    "zremrangebyrank ZSET 0 1",
    "zremrangebyscore ZSET NUMBER 5",
    "zremrangebylex ZSET [m1 [m2",
    "zunion 2 ZSET SET",
    "zinter 2 ZSET ZSET",
    "zdiff 2 ZSET ZSET",
    "zunionstore ZSET 2 ZSET SET weights 2 3",
    "zinterstore ZSET 2 ZSET ZSET aggregate max",
    "zdiffstore ZSET 2 ZSET ZSET",
    "zintercard 2 ZSET ZSET",
    "zscan ZSET 0",
    "sort LIST alpha store KEY",
    "del HASH SET",
    "pexpire HASH MS",
    "pexpire LIST MS",
    "rename SET SET",
    "copy ZSET ZSET replace",
    "copy HASH KEY replace",
    "xadd STREAM * MEMBER VALUE",
    "xadd STREAM * MEMBER VALUE MEMBER VALUE",
    "xadd STREAM maxlen OFFSET * MEMBER VALUE",
    "xadd STREAM maxlen ~ OFFSET ENTRY-* MEMBER VALUE",
    "xadd STREAM nomkstream minid ENTRY * MEMBER VALUE",
    "xtrim STREAM maxlen OFFSET",
    "xtrim STREAM minid ~ ENTRY limit 3",
    "xdel STREAM ENTRY ENTRY-0",
    "xsetid STREAM WALLMS-1",
    "xlen STREAM",
    "xrange STREAM ENTRY + count 3",
    "xrevrange STREAM + ENTRY count 3",
    "xread count 2 streams STREAM STREAM ENTRY $",
    "xread block 1 streams STREAM STREAM $ $",
    "xinfo stream STREAM full",
    "xinfo groups STREAM",
    "xinfo consumers STREAM OWNER",
    "xgroup create STREAM OWNER 0 mkstream",
    "xgroup create STREAM OWNER $",
    "xgroup setid STREAM OWNER ENTRY",
    "xgroup destroy STREAM OWNER",
    "xgroup createconsumer STREAM OWNER MEMBER",
    "xgroup delconsumer STREAM OWNER MEMBER",
    "xreadgroup group OWNER MEMBER count 3 streams STREAM >",
    "xreadgroup group OWNER MEMBER streams STREAM >",
    "xreadgroup group OWNER MEMBER noack block 1 streams STREAM >",
    "xreadgroup group OWNER MEMBER streams STREAM STREAM 0 >",
    "xack STREAM OWNER ENTRY-0 ENTRY-0 ENTRY-0",
    "xpending STREAM OWNER",
    "xpending STREAM OWNER idle 2 - + 5",
    "xclaim STREAM OWNER MEMBER MS ENTRY-0 ENTRY-0 force",
    "xclaim STREAM OWNER MEMBER 0 ENTRY-0 justid idle MS",
    "xautoclaim STREAM OWNER MEMBER MS ENTRY count 3",
    "rename STREAM STREAM",
    "copy STREAM STREAM replace",
    "pexpire STREAM MS",
    "lock.acquire LOCK OWNER MS",
    "lock.acquire LOCK OWNER MS shared",
    "lock.acquire LOCK OWNER MS wait MS",
    "lock.acquire LOCK OWNER MS shared wait MS",
    "lock.acquire LOCK OWNER MS session wait MS",
    "lock.release LOCK OWNER",
    "lock.release LOCK OWNER",
    "lock.extend LOCK OWNER MS",
    "lock.info LOCK",
    "del LOCK",
    "keys *",
    "scan 0",
    "randomkey",
    "dbsize",
    "select DB",
    "object encoding KEY",
    "memory usage KEY",
];

/// The dump of the string "dumped".
fn dump(client: &mut Client<'_>) -> Vec<u8> {
    send(client, &[b"SET", b"dumped", b"dumped"]);
    let reply = send(client, &[b"DUMP", b"dumped"]);
    let start = reply
        .windows(2)
        .position(|two| two == b"\r\n")
        .expect("a bulk")
        + 2;
    reply[start..reply.len() - 2].to_vec()
}

fn fill(template: &str, lot: &mut Lot, wall_ms: u64, dump: &[u8]) -> Vec<Vec<u8>> {
    template
        .split(' ')
        .map(|word| match word {
            "KEY" => match lot.below(4) {
                0 => format!("{{tag}}{}", lot.below(6)).into_bytes(),
                _ => format!("k{}", lot.below(20)).into_bytes(),
            },
            "HASH" | "LIST" | "SET" | "ZSET" | "STREAM" => {
                format!("{}{}", word.to_lowercase(), lot.below(3)).into_bytes()
            }
            "FIELD" | "MEMBER" => format!("m{}", lot.below(12)).into_bytes(),
            "LOCK" => format!("k{}", lot.below(3)).into_bytes(),
            "OWNER" => format!("o{}", lot.below(3)).into_bytes(),
            "VALUE" => match lot.below(8) {
                0 | 1 => lot.below(1000).to_string().into_bytes(),
                2 => format!("{}.5", lot.below(100)).into_bytes(),
                3 => Vec::new(),
                4 => vec![lot.next() as u8; lot.below(9000) as usize],
                _ => vec![lot.next() as u8; lot.below(60) as usize],
            },
            "NUMBER" => (lot.below(2000) as i64 - 1000).to_string().into_bytes(),
            "FENCE" => (1 + lot.below(20)).to_string().into_bytes(),
            "FLOAT" => format!("-{}.25", lot.below(9)).into_bytes(),
            "OFFSET" => lot.below(100).to_string().into_bytes(),
            "MS" => (1 + lot.below(250)).to_string().into_bytes(),
            "WALLMS" => (wall_ms + lot.below(300) - 50).to_string().into_bytes(),
            "WALLS" => (wall_ms / 1000 + lot.below(2)).to_string().into_bytes(),
            // Entries are of all times of the run.
            "ENTRY" | "ENTRY-0" | "ENTRY-*" | "WALLMS-1" => {
                let ago_ms = lot.below(1000);
                let end = word.find('-').map_or("", |at| &word[at..]);
                format!("{}{end}", wall_ms - ago_ms).into_bytes()
            }
            "DB" => lot.below(3).to_string().into_bytes(),
            "DUMP" => dump.to_vec(),
            word => word.as_bytes().to_vec(),
        })
        .collect()
}

/// One run of `commands_count` commands on three connections of a node, followed by two followers.
fn run(seed: u64, commands_count: usize) -> (u64, u64) {
    let mut lot = Lot(seed);
    let hand = Hand::default();
    hand.set_ms(1000);
    let policies = [
        Policy::AllKeysLru,
        Policy::AllKeysRandom,
        Policy::VolatileLru,
        Policy::VolatileTtl,
        Policy::VolatileRandom,
        Policy::NoEviction,
    ];
    let policy = policies[lot.below(6) as usize];
    let node = node_of(10_000_000, policy, &hand);
    record(&node);
    let empty_bytes = super::used_bytes(&node);
    let mut followers = [Followers::of(&node, 1), Followers::of(&node, seed)];
    let mut clients = [(); 3].map(|()| Client::new(&node));
    let dump = dump(&mut clients[0]);
    let room_bytes = [40_000, 100_000, 10_000_000][lot.below(3) as usize];
    node.budget.resize(empty_bytes + room_bytes);
    if lot.below(4) == 0 {
        send(&mut clients[2], &[b"HELLO", b"3"]);
        send(&mut clients[2], &[b"CLIENT", b"TRACKING", b"ON"]);
    }
    let mut latest_ms = 1000;
    for step in 0..commands_count {
        // Mostly on, at times to an earlier time: another thread's clock.
        latest_ms += [0, 0, 1, 3, 20, 90][lot.below(6) as usize];
        hand.set_ms(latest_ms - lot.below(4).min(lot.below(40)));
        let client = &mut clients[lot.below(3) as usize];
        let wall_ms = super::START_WALL_US / 1000 + hand.ms();
        match lot.below(60) {
            0 => {
                send(client, &[b"FLUSHDB"]);
            }
            1 if lot.below(3) == 0 => {
                send(client, &[b"FLUSHALL"]);
            }
            2..=6 => {
                if lot.below(2) == 0 {
                    send(client, &[b"WATCH", b"k1", b"k2"]);
                }
                send(client, &[b"MULTI"]);
            }
            7..=11 => {
                send(client, &[b"EXEC"]);
            }
            12 => {
                node.turn();
                node.tick(node.now());
            }
            13 => hand.step_wall_us(lot.below(100_000)),
            14 => node
                .budget
                .resize(empty_bytes + 20_000 + lot.below(200_000)),
            _ => {
                let template = TEMPLATES[lot.below(TEMPLATES.len() as u64) as usize];
                let words = fill(template, &mut lot, wall_ms, &dump);
                let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
                send(client, &words);
            }
        }
        if lot.below(30) == 0 || step + 1 == commands_count {
            let records = take_records(&node);
            for follower in &mut followers {
                follower.catch_up(&records);
                follower.compare(&node, &format!("seed {seed}, step {step}, {policy:?}"));
            }
        }
    }
    let keys: usize = (0..node.shards_count())
        .map(|shard| {
            (0..16)
                .map(|db| node.lock(shard).cache.len(db))
                .sum::<usize>()
        })
        .sum();
    let evicted = node
        .stats
        .evicted_keys
        .load(std::sync::atomic::Ordering::Relaxed);
    (keys as u64, evicted)
}

/// A change that is not in the log, or that depends on a hash seed, on reclaiming or on a clock that is not the
/// entry's, would make replicas drift apart unseen.
#[test]
fn followers_reach_the_same_state() {
    let (mut keys, mut evicted) = (0, 0);
    for seed in 0..400 {
        let (k, e) = run(seed, 300);
        keys += k;
        evicted += e;
    }
    assert!(keys > 2000, "only {keys} keys were left to compare");
    assert!(evicted > 200, "only {evicted} keys were evicted");
}

/// A data command that the check above never runs could change state without a log entry.
#[test]
fn every_data_command_is_run() {
    let run: BTreeSet<&str> = TEMPLATES
        .iter()
        .map(|template| template.split(' ').next().expect("a name"))
        .collect();
    for row in commands::commands() {
        if matches!(row.run, Run::Data(_)) {
            assert!(run.contains(row.name), "{} is in no template", row.name);
        }
        let writes = row.flags.has(Flags::WRITE);
        assert!(
            !writes
                || !matches!(row.run, Run::Session(_))
                || row.name.starts_with("flush")
                || ["migrate", "swapdb"].contains(&row.name),
            "{} writes beside the log",
            row.name
        );
    }
}

/// COPY into another database over two shards was logged as a change of the same database.
#[test]
fn copies_between_databases_are_logged() {
    let hand = Hand::default();
    let node = super::node(&hand);
    record(&node);
    let mut follower = Followers::of(&node, 3);
    let mut client = Client::new(&node);
    let from = &super::keys_in(&node, 0, "a", 1)[0];
    let to = &super::keys_in(&node, 1, "b", 1)[0];
    client.run(&format!("SET {from} v"));
    assert_eq!(client.run(&format!("COPY {from} {to} DB 5")), ":1");
    follower.catch_up(&take_records(&node));
    follower.compare(&node, "COPY to database 5");
}

/// A snapshot under way must save what a MOVE or COPY overwrites in another database: whoever begins from it finds the key
/// there already, does not move it, and keeps both.
#[test]
fn a_snapshot_holds_what_other_databases_had() {
    for command in [
        "MOVE a 5",
        "COPY a b DB 5",
        "COPY a b DB 5 REPLACE",
        "LOCK.GUARD b FENCE MOVE a 5",
    ] {
        let hand = Hand::default();
        let node = super::node(&hand);
        record(&node);
        let mut client = Client::new(&node);
        let keys = super::keys_in(&node, 0, "k", 2);
        let mut command = command.replace('a', &keys[0]).replace('b', &keys[1]);
        client.run(&format!("SET {} first", keys[0]));
        if command.contains("FENCE") {
            client.run(&format!("SET {} me NX PX 60000", keys[1]));
            let fence = client.run(&format!("LOCK.FENCE {}", keys[1]));
            command = command.replace("FENCE", &fence[1..]);
        }
        let mut source = Shard::alone(3);
        let apply = |shard: &mut Shard, records: &[Vec<u8>]| {
            for (due_ms, payload) in recorded(&records[0]) {
                shard.replay(due_ms, &payload);
            }
        };
        apply(&mut source, &take_records(&node));
        source.begin_checkpoint();
        assert_eq!(client.run(&command), ":1");
        let later = take_records(&node);
        apply(&mut source, &later);
        let mut staging = Staging::new(0, source.cache.seed());
        loop {
            match source.checkpoint_step() {
                CheckpointStep::Chunk(chunk) => staging.add(&chunk).unwrap(),
                CheckpointStep::Last(chunk) => break staging.add(&chunk).unwrap(),
                CheckpointStep::Outrun => panic!("so few keys"),
            }
        }
        let mut copy = Shard::alone(3);
        copy.put_state(staging.finish().unwrap_or_else(|error| panic!("{error}")));
        apply(&mut copy, &later);
        assert_eq!(copy.cache.checksum(), source.cache.checksum(), "{command}");
    }
}

/// An expiry that counts from the clock of a thread that was late would end earlier on a follower than on the leader.
#[test]
fn entries_carry_the_time_they_ran_at() {
    let hand = Hand::default();
    hand.set_ms(5000);
    let node = super::node(&hand);
    record(&node);
    let mut follower = Followers::of(&node, 3);
    let mut client = Client::new(&node);
    client.run("GET k"); // a read moves the shard's time on and is not logged
    hand.set_ms(4000);
    client.run("SET k v PX 100");
    follower.catch_up(&take_records(&node));
    follower.compare(&node, "SET by an earlier clock");
}
