//! What clients ask: batches of requests as bytes, and what each reply will mean.

use super::judge::{Judge, OperationId, SCRIPT_STOPPED, bulk};
use super::locks::{self, Holding, LockExpected};
use super::queues::{self, QueueExpected};
use crate::history::Action;
use crate::random::Random;
use bytes::Bytes;
use resp::{split_array, split_reply};
use std::collections::VecDeque;

/// A script that counts.
const INCR: &str = "return redis.call('incr', KEYS[1])";
/// One that counts in several places.
const INCR_ALL: &str =
    "local all = {} for i, key in ipairs(KEYS) do all[i] = redis.call('incr', key) end return all";
/// A script that sets a key if it holds a certain value.
const SWAP: &str = "if redis.call('get', KEYS[1]) ~= ARGV[1] then return false end return redis.call('set', KEYS[1], ARGV[2])";

/// Length of a long value: more than a reply copies.
const LONG_BYTES: usize = 20_000;

/// More than there are keys of a kind.
const ERA_KEYS: u64 = 100;

/// What the answer to a transaction begins with of which a shard does not know any more what it came to.
const CARRIED_OUT: &[u8] = b"-ERR the transaction was carried out";

/// Requests of one batch, about.
const BATCH_MAX: u64 = 8;

/// What a reply is the answer to.
#[derive(Clone, Debug)]
pub enum Expected {
    /// A simple string that says nothing: MULTI, WATCH, QUEUED.
    Word,
    /// One operation.
    One(OperationId),
    /// MGET: an array with an answer for each.
    Each(Vec<OperationId>),
    /// MSET: one answer for all.
    All(Vec<OperationId>),
    /// EXEC, and whether all replies in it must be equal.
    Exec(Vec<Expected>, Alike),
    /// A write under LOCK.GUARD.
    Guarded(OperationId),
    /// What was written under guards of a lock.
    ReadGuarded(u64, OperationId),
    /// The EXEC behind a WATCH: carried out, or null.
    Swap(OperationId),
    /// The GET behind a WATCH of that key.
    Watched(u64, OperationId),
    /// SET of a fleeting key.
    SetFleeting(u64),
    /// GET of one.
    GetFleeting(u64),
    /// SET NX PX of a lock, and its time to live, us.
    Lock(u64, u64),
    /// LOCK.FENCE of the lock that was asked for before it.
    Fence(u64),
    /// LOCK.*.
    Locks(LockExpected),
    /// Pushes, pops and ballast.
    Queue(QueueExpected),
}

/// Whether the parts of a transaction answer the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alike {
    /// They do.
    Yes,
    /// They need not.
    No,
}

/// A batch that a client has sent.
#[derive(Debug, Default)]
pub struct Asked {
    /// When, us.
    pub call_us: u64,
    /// What is not answered yet.
    pub expected: VecDeque<Expected>,
    /// Whether the lock that was asked for last was given.
    is_granted: bool,
    /// The cluster's delay for locks that hang on connections, us.
    pub lock_delay_us: u64,
}

/// Makes requests.
#[derive(Debug)]
pub struct Asking<'a> {
    /// For what clients saw.
    pub judge: &'a mut Judge,
    /// Chance.
    pub random: &'a mut Random,
    /// Keys of each kind.
    pub keys: u64,
    /// Longest time to live, ms.
    pub ttl_ms_max: u64,
    /// Fleeting keys that were set so far; values too are numbered by it.
    pub made: &'a mut u64,
    /// The locks that the client holds.
    pub holding: &'a Holding,
    /// Whether it is a client that asks for locks with queues.
    pub wants_locks: bool,
    /// Whether it is a client that pushes and pops.
    pub wants_queues: bool,
    /// Who asks.
    pub process: u64,
    /// When, us.
    pub now_us: u64,
}

impl Asking<'_> {
    /// A batch, as bytes. `watched` is the register that this connection watches, and the value that it saw there.
    pub fn batch(&mut self, watched: Option<(u64, Option<Bytes>)>) -> (Vec<u8>, Asked) {
        let mut bytes = Vec::new();
        let mut asked = Asked {
            call_us: self.now_us,
            ..Asked::default()
        };
        if let Some((key, value)) = watched {
            self.swap(key, value, &mut bytes, &mut asked);
            return (bytes, asked);
        }
        if self.random.chance(60_000) {
            let key = self.key();
            put(&mut bytes, &["WATCH", &watched_key(key)]);
            put(&mut bytes, &["GET", &watched_key(key)]);
            let id = self.ask(&watched_key(key), Action::Read);
            asked.expected = [Expected::Word, Expected::Watched(key, id)].into();
            return (bytes, asked);
        }
        // Who waits for locks asks for little else: the others keep the nodes busy.
        if self.wants_locks && self.random.chance(800_000) {
            *self.made += 1;
            let (lines, expected) = locks::batch(
                self.random,
                self.holding,
                self.keys.min(2),
                self.ttl_ms_max,
                *self.made,
            );
            for line in lines {
                put(
                    &mut bytes,
                    &line.iter().map(String::as_str).collect::<Vec<_>>(),
                );
            }
            for one in &expected {
                // What is extended to less is not relied on for more, whenever that takes effect.
                if let LockExpected::Extend(wanted, ttl_us) = one {
                    let until_us = self.now_us + super::judge::least_us(*ttl_us);
                    self.judge.rely_until(wanted, until_us);
                }
                if let LockExpected::Release(wanted) = one {
                    self.judge.rely_until(wanted, self.now_us);
                }
            }
            asked.expected = expected.into_iter().map(Expected::Locks).collect();
            return (bytes, asked);
        }
        if self.wants_queues && self.random.chance(850_000) {
            let judge = &mut self.judge.queues;
            let lines = judge.batch(self.random, self.made, self.now_us);
            if !lines.is_empty() {
                return put_queues(lines, self.now_us);
            }
        }
        for _ in 0..self.random.between(1, BATCH_MAX) {
            self.request(&mut bytes, &mut asked.expected);
        }
        (bytes, asked)
    }

    fn request(&mut self, bytes: &mut Vec<u8>, expected: &mut VecDeque<Expected>) {
        let (lock, key) = {
            let lock = self.random.below(self.keys);
            (lock, self.of_era(lock))
        };
        if self.wants_queues && self.random.chance(400_000) {
            return expected.push_back(self.count_field(key, bytes));
        }
        match self.random.below(20) {
            0..=12 => expected.push_back(self.simple(key, bytes)),
            13 => {
                let ids: Vec<OperationId> = self
                    .all_keys()
                    .map(|key| self.ask(&register(key), Action::Read))
                    .collect();
                let keys: Vec<String> = self.all_keys().map(register).collect();
                let words = [vec!["MGET"], keys.iter().map(String::as_str).collect()].concat();
                put(bytes, &words);
                expected.push_back(Expected::Each(ids));
            }
            14 => {
                let pairs: Vec<(String, String)> = self
                    .all_keys()
                    .map(|key| (register(key), self.value()))
                    .collect();
                let ids = pairs
                    .iter()
                    .map(|(key, value)| self.ask(key, Action::Write(value.clone().into())));
                let ids = ids.collect();
                let words = pairs
                    .iter()
                    .flat_map(|(key, value)| [key.as_str(), value.as_str()]);
                put(bytes, &[vec!["MSET"], words.collect()].concat());
                expected.push_back(Expected::All(ids));
            }
            15 => self.transaction(["{m}x", "{m}y"], bytes, expected),
            16 => match self.random.below(4) {
                0 if self.random.chance(400_000) => self.count_all(bytes, expected),
                0 => self.transaction(["sa", "sb", "sc"], bytes, expected),
                1 => self.guarded(lock, bytes, expected),
                _ => self.mixed(bytes, expected),
            },
            17 => {
                *self.made += 1;
                let (key, ttl_ms) = (*self.made, self.random.between(10, self.ttl_ms_max));
                self.judge.set_fleeting(key, ttl_ms * 1_000, self.now_us);
                let words = [
                    "SET",
                    &fleeting(key),
                    &key.to_string(),
                    "PX",
                    &ttl_ms.to_string(),
                ];
                put(bytes, &words);
                expected.push_back(Expected::SetFleeting(key));
            }
            18 => {
                let key = self.made.saturating_sub(self.random.below(6));
                put(bytes, &["GET", &fleeting(key)]);
                expected.push_back(Expected::GetFleeting(key));
            }
            _ => {
                let ttl_ms = self.random.between(50, self.ttl_ms_max.max(50));
                let words = [
                    "SET",
                    &format!("l{lock}"),
                    "held",
                    "NX",
                    "PX",
                    &ttl_ms.to_string(),
                ];
                put(bytes, &words);
                expected.push_back(Expected::Lock(lock, ttl_ms * 1_000));
                put(bytes, &["LOCK.FENCE", &format!("l{lock}")]);
                expected.push_back(Expected::Fence(lock));
            }
        }
    }

    /// Since memory was lost for which shards may have fallen back, other keys are used.
    fn of_era(&self, key: u64) -> u64 {
        key + self.judge.era * ERA_KEYS
    }

    fn key(&mut self) -> u64 {
        let key = self.random.below(self.keys);
        self.of_era(key)
    }

    fn all_keys(&self) -> std::ops::Range<u64> {
        self.of_era(0)..self.of_era(self.keys)
    }

    fn named(&self, key: &str) -> String {
        match self.judge.era {
            0 => key.to_owned(),
            era => format!("{key}{era}"),
        }
    }

    /// A request of one operation.
    fn simple(&mut self, key: u64, bytes: &mut Vec<u8>) -> Expected {
        let (register, counter, list) = (register(key), format!("c{key}"), format!("a{key}"));
        let watched = watched_key(key);
        let value = self.value();
        // One that may be there.
        let before = format!("v{}.", self.made.saturating_sub(self.random.between(1, 12)));
        let (words, key, action): (Vec<&str>, &str, Action) = match self.random.below(18) {
            0..=2 => (vec!["GET", &register], &register, Action::Read),
            3 | 4 => (
                vec!["SET", &register, &value],
                &register,
                Action::Write(value.clone().into()),
            ),
            5 => (
                vec!["SET", &register, &value, "NX"],
                &register,
                Action::CompareAndSet {
                    expected: None,
                    value: value.clone().into(),
                },
            ),
            6 => (vec!["DEL", &register], &register, Action::Delete),
            7..=9 => (vec!["INCR", &counter], &counter, Action::Increment(1)),
            10 => (vec!["GET", &counter], &counter, Action::Read),
            11 => (
                vec!["APPEND", &list, &value],
                &list,
                Action::Append(value.clone().into()),
            ),
            12 if self.begins_anew() => (vec!["DEL", &list], &list, Action::Delete),
            12 => (vec!["GET", &list], &list, Action::Read),
            13 => (vec!["GET", &watched], &watched, Action::Read),
            14 | 15 => (
                vec!["EVAL", INCR, "1", &counter],
                &counter,
                Action::Increment(1),
            ),
            16 => (
                vec!["EVAL", SWAP, "1", &register, &before, &value],
                &register,
                Action::CompareAndSet {
                    expected: Some(before.clone().into()),
                    value: value.clone().into(),
                },
            ),
            _ => (
                vec!["SET", &watched, &value],
                &watched,
                Action::Write(value.clone().into()),
            ),
        };
        put(bytes, &words);
        Expected::One(self.ask(key, action))
    }

    /// Whether what is appended to is deleted now: else it grows until most of a seed's time goes into reading it.
    fn begins_anew(&self) -> bool {
        self.made.is_multiple_of(16)
    }

    /// A counter that is a field of a hash goes up, or is read.
    fn count_field(&mut self, key: u64, bytes: &mut Vec<u8>) -> Expected {
        let (hash, counter) = (format!("qh{key}"), format!("qh{key}/n"));
        if self.random.chance(300_000) {
            put(bytes, &["HGET", &hash, "n"]);
            return Expected::One(self.ask(&counter, Action::Read));
        }
        put(bytes, &["HINCRBY", &hash, "n", "1"]);
        Expected::One(self.ask(&counter, Action::Increment(1)))
    }

    /// What is there at the end.
    pub fn ask_all(judge: &mut Judge, now_us: u64) -> (Vec<u8>, Asked) {
        put_queues(judge.queues.ask_all(), now_us)
    }

    /// Registers and counters, of whatever shards, are changed and read together with what others do to them one by one.
    fn mixed(&mut self, bytes: &mut Vec<u8>, expected: &mut VecDeque<Expected>) {
        put(bytes, &["MULTI"]);
        expected.push_back(Expected::Word);
        let mut parts = Vec::new();
        for _ in 0..self.random.between(2, 4) {
            let key = self.key();
            let (register, counter, value) = (register(key), format!("c{key}"), self.value());
            let (words, key, action): (Vec<&str>, &str, Action) = match self.random.below(6) {
                0 => (vec!["GET", &register], &register, Action::Read),
                5 => (
                    vec!["EVAL", INCR, "1", &counter],
                    &counter,
                    Action::Increment(1),
                ),
                1 | 2 => {
                    let action = Action::Write(value.clone().into());
                    (vec!["SET", &register, &value], &register, action)
                }
                3 => (vec!["INCR", &counter], &counter, Action::Increment(1)),
                _ => (vec!["GET", &counter], &counter, Action::Read),
            };
            put(bytes, &words);
            expected.push_back(Expected::Word);
            parts.push(Expected::One(self.ask(key, action)));
        }
        put(bytes, &["EXEC"]);
        expected.push_back(Expected::Exec(parts, Alike::No));
    }

    /// A write that a lock of another shard guards, under some fence of it that somebody was told; or what such writes left.
    fn guarded(&mut self, key: u64, bytes: &mut Vec<u8>, expected: &mut VecDeque<Expected>) {
        let log = format!("g{}", self.of_era(key));
        let drawn = self.random.below(3) as usize;
        match self.judge.fence_seen(key, drawn) {
            Some(fence) => {
                *self.made += 1;
                let written = format!("{fence}:{},", self.made);
                let (lock, fence) = (format!("l{key}"), fence.to_string());
                put(
                    bytes,
                    &["LOCK.GUARD", &lock, &fence, "APPEND", &log, &written],
                );
                let id = self.ask(&log, Action::Append(written.into()));
                expected.push_back(Expected::Guarded(id));
            }
            None if self.begins_anew() => {
                put(bytes, &["DEL", &log]);
                expected.push_back(Expected::One(self.ask(&log, Action::Delete)));
            }
            None => {
                put(bytes, &["GET", &log]);
                let id = self.ask(&log, Action::Read);
                expected.push_back(Expected::ReadGuarded(key, id));
            }
        }
    }

    /// Counters go up together, or are read together.
    fn transaction<const N: usize>(
        &mut self,
        keys: [&str; N],
        bytes: &mut Vec<u8>,
        expected: &mut VecDeque<Expected>,
    ) {
        let keys = keys.map(|key| self.named(key));
        let reads = self.random.chance(500_000);
        put(bytes, &["MULTI"]);
        expected.push_back(Expected::Word);
        let mut parts = Vec::new();
        for key in &keys {
            let (word, action) = match reads {
                true => ("GET", Action::Read),
                false => ("INCR", Action::Increment(1)),
            };
            put(bytes, &[word, key]);
            expected.push_back(Expected::Word);
            parts.push(Expected::One(self.ask(key, action)));
        }
        put(bytes, &["EXEC"]);
        expected.push_back(Expected::Exec(parts, Alike::Yes));
    }

    /// Counters of several shards go up together, by a script.
    fn count_all(&mut self, bytes: &mut Vec<u8>, expected: &mut VecDeque<Expected>) {
        let keys = ["sa", "sb", "sc"].map(|key| self.named(key));
        let [one, two, three] = keys.each_ref();
        put(bytes, &["EVAL", INCR_ALL, "3", one, two, three]);
        let parts = keys.map(|key| Expected::One(self.ask(&key, Action::Increment(1))));
        expected.push_back(Expected::Exec(parts.into(), Alike::Yes));
    }

    fn swap(&mut self, key: u64, seen: Option<Bytes>, bytes: &mut Vec<u8>, asked: &mut Asked) {
        let value = self.value();
        put(bytes, &["MULTI"]);
        put(bytes, &["SET", &watched_key(key), &value]);
        put(bytes, &["EXEC"]);
        let action = Action::CompareAndSet {
            expected: seen,
            value: value.into(),
        };
        let id = self.ask(&watched_key(key), action);
        if key < self.of_era(0) {
            self.judge.forget(id);
        }
        asked.expected = [Expected::Word, Expected::Word, Expected::Swap(id)].into();
    }

    fn ask(&mut self, key: &str, action: Action) -> OperationId {
        self.judge.ask(self.process, key, action, self.now_us)
    }

    /// One that nobody else writes.
    ///
    /// Now and then a long one, that is handed on without a copy.
    fn value(&mut self) -> String {
        *self.made += 1;
        let mut value = format!("v{}.", self.made);
        if self.random.chance(15_000) {
            value.push_str(&"x".repeat(LONG_BYTES));
        }
        value
    }
}

impl Asked {
    /// Takes in one reply at `now_us`. Returns what a GET behind WATCH saw.
    pub fn take(
        &mut self,
        reply: &[u8],
        judge: &mut Judge,
        holding: &mut Holding,
        now_us: u64,
    ) -> Option<(u64, Option<Bytes>)> {
        let Some(expected) = self.expected.pop_front() else {
            judge.accuse("a reply to nothing".to_owned());
            return None;
        };
        if let Expected::Lock(..) = expected {
            self.is_granted = reply == b"+OK\r\n";
        }
        if reply.starts_with(CARRIED_OUT) && judge.is_cut_since(self.call_us) {
            // What it came to in a shard that fell back is lost.
            return None;
        }
        if reply.starts_with(b"-") {
            refuse(&expected, reply, judge);
            return None;
        }
        if let Expected::Locks(expected) = &expected {
            let times = (self.call_us, now_us);
            judge.hear_lock(expected, reply, holding, times, self.lock_delay_us);
            return None;
        }
        if let Expected::Queue(expected) = &expected {
            judge.hear_queue(expected, reply, now_us);
            return None;
        }
        if let Expected::Fence(key) = expected {
            judge.see_fence(key, reply, self.is_granted, self.call_us, now_us);
            return None;
        }
        settle(&expected, reply, judge, self.call_us, now_us)
    }
}

fn settle(
    expected: &Expected,
    reply: &[u8],
    judge: &mut Judge,
    call_us: u64,
    now_us: u64,
) -> Option<(u64, Option<Bytes>)> {
    let said = || String::from_utf8_lossy(reply).into_owned();
    match expected {
        Expected::Word => {
            if !reply.starts_with(b"+") {
                judge.accuse(format!("{:?} in place of a word", said()));
            }
        }
        Expected::One(id) => judge.answer(*id, reply, now_us),
        Expected::Each(ids) => {
            let mut rest = split_array(reply).unwrap_or_default();
            for id in ids {
                let Some((one, others)) = split_reply(rest) else {
                    judge.accuse(format!("{:?} answers MGET of {}", said(), ids.len()));
                    return None;
                };
                judge.answer(*id, one, now_us);
                rest = others;
            }
        }
        Expected::All(ids) => ids.iter().for_each(|id| judge.answer(*id, reply, now_us)),
        Expected::Exec(parts, alike) => {
            let mut rest = split_array(reply).unwrap_or_default();
            let mut replies = Vec::new();
            for part in parts {
                let Some((one, others)) = split_reply(rest) else {
                    judge.accuse(format!("{:?} answers EXEC of {}", said(), parts.len()));
                    return None;
                };
                // A node that stands still in the middle of a script stops it when it goes on.
                match one.starts_with(SCRIPT_STOPPED) {
                    true => refuse(part, one, judge),
                    false => _ = settle(part, one, judge, call_us, now_us),
                }
                replies.push(one);
                rest = others;
            }
            let is_whole = replies.windows(2).all(|pair| pair[0] == pair[1]);
            if *alike == Alike::Yes && !is_whole && !judge.is_cut_since(call_us) {
                judge.accuse(format!("a transaction saw half of another: {:?}", said()));
            }
        }
        Expected::Guarded(id) => judge.answer(*id, reply, now_us),
        Expected::ReadGuarded(key, id) => {
            judge.answer(*id, reply, now_us);
            judge.see_guarded(*key, reply);
        }
        Expected::Swap(id) => match split_array(reply) {
            Some(rest) => {
                let done: &[u8] = if rest == b"+OK\r\n" { rest } else { reply };
                judge.answer(*id, done, now_us);
            }
            None => judge.forget(*id),
        },
        Expected::Watched(key, id) => {
            judge.answer(*id, reply, now_us);
            return Some((*key, bulk(reply)?));
        }
        Expected::SetFleeting(key) => {
            // The answer says that it was there at some time before now; it may have gone since.
            if reply != b"+OK\r\n" {
                judge.accuse(format!("SET of f{key} was answered by {:?}", said()));
            }
            judge.see_fleeting(*key, call_us, now_us);
        }
        Expected::GetFleeting(key) => match bulk(reply) {
            Some(Some(value)) if *value == *key.to_string().as_bytes() => {
                judge.see_fleeting(*key, call_us, now_us);
            }
            Some(None) => judge.miss_fleeting(*key, call_us, now_us),
            _ => judge.accuse(format!("GET of f{key} was answered by {:?}", said())),
        },
        Expected::Lock(key, ttl_us) => match reply {
            b"+OK\r\n" => judge.grant(*key, *ttl_us, call_us, now_us),
            b"$-1\r\n" => {}
            _ => judge.accuse(format!("lock l{key} was answered by {:?}", said())),
        },
        Expected::Fence(_) | Expected::Locks(_) | Expected::Queue(_) => {
            unreachable!("looked at before, and no part of another")
        }
    }
    None
}

/// An error is the answer.
fn refuse(expected: &Expected, reply: &[u8], judge: &mut Judge) {
    if let Expected::Queue(QueueExpected::Any) = expected {
        return;
    }
    if let Expected::Guarded(id) = expected
        && (reply.starts_with(b"-STALELOCK") || reply.starts_with(b"-ERR unknown token"))
    {
        return judge.forget(*id);
    }
    let known: [&[u8]; 6] = [
        b"-LOCKWAIT",
        b"-TRYAGAIN",
        b"-CLUSTERDOWN",
        b"-EXECABORT",
        b"-UNBLOCKED the shard heard nothing",
        SCRIPT_STOPPED,
    ];
    if !known.iter().any(|known| reply.starts_with(known)) {
        let said = String::from_utf8_lossy(reply);
        judge.accuse(format!("{said:?} answers {expected:?}"));
    }
    match expected {
        Expected::One(id)
        | Expected::Swap(id)
        | Expected::Watched(_, id)
        | Expected::Guarded(id)
        | Expected::ReadGuarded(_, id) => judge.refuse(*id, reply),
        // The first error of several parts is told: another part may have taken effect.
        Expected::Each(ids) => ids.iter().for_each(|id| judge.forget(*id)),
        Expected::Exec(parts, _) => parts.iter().for_each(|part| refuse(part, reply, judge)),
        Expected::Queue(expected) => judge.refuse_queue(expected, reply),
        Expected::All(_)
        | Expected::Word
        | Expected::SetFleeting(_)
        | Expected::GetFleeting(_)
        | Expected::Lock(_, _)
        | Expected::Locks(_)
        | Expected::Fence(_) => {}
    }
}

/// The bytes of requests about queues.
fn put_queues(lines: Vec<queues::Line>, call_us: u64) -> (Vec<u8>, Asked) {
    let mut bytes = Vec::new();
    let mut asked = Asked {
        call_us,
        ..Asked::default()
    };
    for (line, expected) in lines {
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        put(&mut bytes, &words);
        asked.expected.push_back(Expected::Queue(expected));
    }
    (bytes, asked)
}

fn register(key: u64) -> String {
    format!("r{key}")
}

/// A register that is used with WATCH, and never deleted: WATCH compares what a key holds, so one that came and went
/// in between counts as unchanged.
fn watched_key(key: u64) -> String {
    format!("w{key}")
}

fn fleeting(key: u64) -> String {
    format!("f{key}")
}

fn put(bytes: &mut Vec<u8>, words: &[&str]) {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    resp::encode_request(bytes, &words);
}
