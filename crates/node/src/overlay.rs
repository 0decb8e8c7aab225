//! What a script runs on: the records of its declared keys in a cache of its own. Nothing outside changes while it runs;
//! what it changed is then taken as effects, or dropped.

use crate::effects;
use crate::entry::Stamp;
use crate::group::LOCK_BYTES;
use crate::group::locks_withheld;
use crate::group::op::{OpFlags, OpHead, OpKind, encode};
use crate::lock_memory::LockOverflow;
use crate::memory::{Budget, LOCKS_OOM, OOM};
use crate::pubsub::{Kind, PubSub};
use crate::scripts::{Scripts, Watchdog};
use crate::shard::Events;
use cache::{Cache, ChangeKind, Entry, Key, Value};
use commands::context::Touch;
use commands::{
    BlockShape, CheckError, Context, Event, EventClass, Flags, Keyspace, Row, Run,
    Session as SessionCommand,
};
use resp::{Args, OwnedArgs, Protocol, Reply};
use script::{LogLevel, Outcome, Request, Script, Stop};
use std::sync::Arc;

/// Whether a script may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    Allowed,
    Refused,
}

/// Whether there is memory for what grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    Enough,
    Full,
}

impl Memory {
    /// That for locks: what scripts take is refused where none is left, and evicts nothing itself.
    pub fn for_locks(budget: &Budget) -> Memory {
        let locks = &budget.locks;
        let is_full = locks.missing_for(LOCK_BYTES) > 0 && locks.overflow() == LockOverflow::Refuse;
        if is_full {
            Memory::Full
        } else {
            Memory::Enough
        }
    }
}

/// A script's arguments as they come behind its name.
#[derive(Clone, Debug)]
pub(crate) struct Invocation<'a> {
    pub script: &'a Script,
    pub keys: Vec<&'a [u8]>,
    pub args: Vec<&'a [u8]>,
}

impl Invocation<'_> {
    /// The same with more keys.
    pub fn with_keys<'k>(&'k self, more: &'k [Box<[u8]>]) -> Invocation<'k> {
        let given = self.keys.iter().copied();
        Invocation {
            script: self.script,
            keys: given.chain(more.iter().map(|key| &key[..])).collect(),
            args: Vec::new(),
        }
    }
}

/// How a script is to run.
pub(crate) struct Terms {
    pub db: u8,
    pub stamp: Stamp,
    pub protocol: Protocol,
    pub touch: Touch,
    pub writes: Writes,
    pub memory: Memory,
    /// The same for locks.
    pub lock_memory: Memory,
    /// For how long no lock is granted, ms; 0: they are.
    pub locks_withheld_ms: u64,
    pub event_mask: u16,
    /// Who would get what it publishes.
    pub pubsub: Arc<PubSub>,
    pub watchdog: Watchdog,
}

/// What came of a script.
pub(crate) struct Verdict {
    /// What the client is told.
    pub reply: Vec<u8>,
    /// What has become of keys.
    pub changed: Changed,
    /// The commands by which it wrote, as operations whose number is their draw, if it was given a large collection.
    pub writes: Option<Vec<Vec<u8>>>,
    /// Keyspace events, in order.
    pub events: Events,
    /// Why it was stopped, if it was: then nothing of it is left.
    pub stopped: Option<Stop>,
    /// A key that it wanted and was not given: then nothing of it is left either. Given that key it may be run anew.
    pub missing: Option<Box<[u8]>>,
}

impl Verdict {
    /// Nothing but an error.
    pub fn error(text: &str) -> Verdict {
        Verdict {
            reply: format!("-{text}\r\n").into_bytes(),
            changed: Changed::default(),
            writes: None,
            events: Events::new(),
            stopped: None,
            missing: None,
        }
    }
}

/// What a script changed: keys in order, and the cache in which each is as it left it.
#[derive(Default)]
pub(crate) struct Changed {
    keys: Vec<Box<[u8]>>,
    db: u8,
    scratch: Option<Box<Cache>>,
}

impl Changed {
    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|key| &**key)
    }

    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Gives a key that was changed the state that the script left it in. Collections are shared with the script's copy.
    pub fn put_into(&self, cache: &mut Cache, key: &[u8]) {
        let key = Key::new(cache.seed(), self.db, key);
        let scratch = self.scratch.as_ref();
        if scratch.is_none_or(|scratch| cache.put_copy(key, scratch).is_none()) {
            cache.remove(key);
        }
    }

    /// They are needed no more: the next script may have their memory.
    pub fn give_back(self, scripts: &Scripts) {
        if let Some(scratch) = self.scratch {
            scripts.keep_scratch(scratch);
        }
    }

    /// The triples of the keys that `is_wanted`.
    pub fn triples(&self, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let Some(scratch) = &self.scratch else {
            return Vec::new();
        };
        let triple_of = |key: &[u8]| {
            let entry = scratch.peek(Key::new(scratch.seed(), self.db, key));
            let value = effects::value_of(entry).into_owned();
            [key.to_vec(), effects::head_of(entry).to_vec(), value]
        };
        self.keys()
            .filter(|key| is_wanted(key))
            .flat_map(triple_of)
            .collect()
    }
}

/// The keys that a script may use.
struct Declared {
    keys: OwnedArgs,
    /// Their places in order, if they are many.
    sorted: Vec<u32>,
}

impl Declared {
    /// So many are looked through one by one.
    const FEW: usize = 8;

    fn new(keys: &[&[u8]]) -> Declared {
        let mut sorted = Vec::new();
        if keys.len() > Declared::FEW {
            sorted.extend(0..keys.len() as u32);
            sorted.sort_unstable_by_key(|at| keys[*at as usize]);
        }
        Declared {
            keys: OwnedArgs::from_slices(keys),
            sorted,
        }
    }

    fn has(&self, key: &[u8]) -> bool {
        let keys = self.keys.args();
        match self.sorted.is_empty() {
            true => keys.iter().any(|declared| declared == key),
            false => {
                let found = |at: &u32| keys.get(*at as usize).cmp(key);
                self.sorted.binary_search_by(found).is_ok()
            }
        }
    }
}

/// A script's keys and what may be done to them.
pub(crate) struct Overlay {
    cache: Box<Cache>,
    declared: Declared,
    terms: Terms,
    events: Events,
    /// See [`Verdict::writes`].
    writes: Option<Vec<Vec<u8>>>,
    /// See [`Verdict::missing`].
    missing: Option<Box<[u8]>>,
}

impl Overlay {
    /// A copy of `keys`; `of` tells in which cache a key is.
    pub fn new<'c>(
        seed: u64,
        keys: &[&[u8]],
        terms: Terms,
        of: impl Fn(&[u8]) -> Option<&'c Cache>,
    ) -> Overlay {
        let mut cache = terms.watchdog.scratch(seed);
        cache.set_now(terms.stamp.log_ms);
        // A lock that the script takes is granted, and numbered, when the effects are applied.
        cache.leave_unnumbered();
        let mut is_large = false;
        for key in keys {
            let key = Key::new(seed, terms.db, key);
            let Some(source) = of(key.bytes) else {
                continue;
            };
            if let Some(entry) = cache.put_copy(key, source) {
                is_large |= is_large_collection(entry);
            }
            cache.copy_lock(source, key);
        }
        // What is copied is no change.
        cache.observe(true);
        Overlay {
            cache,
            declared: Declared::new(keys),
            terms,
            events: Events::new(),
            writes: is_large.then(Vec::new),
            missing: None,
        }
    }

    /// Runs the script.
    pub fn run(self, engine: &script::Engine, invocation: &Invocation<'_>) -> Verdict {
        let request = Request {
            script: invocation.script,
            keys: &invocation.keys,
            args: &invocation.args,
            protocol: self.terms.protocol,
        };
        let (outcome, overlay) = engine.run(&request, self);
        if overlay.missing.is_some() {
            return Verdict {
                missing: overlay.missing,
                ..Verdict::error(UNDECLARED)
            };
        }
        let stop = match outcome {
            Outcome::Replied(reply) | Outcome::Failed(reply) => return overlay.into_verdict(reply),
            Outcome::Stopped(stop) => stop,
        };
        let text = match stop {
            Stop::Lacking => UNDECLARED,
            Stop::Killed => "ERR Error running script: Script killed by user with SCRIPT KILL...",
            Stop::Timeout => {
                "ERR Error running script: it ran for too long and was stopped, nothing of what it did is left"
            }
            Stop::Memory => {
                "ERR Error running script: it wanted too much memory and was stopped, nothing of what it did is left"
            }
        };
        Verdict {
            stopped: Some(stop),
            ..Verdict::error(text)
        }
    }

    fn into_verdict(mut self, reply: Vec<u8>) -> Verdict {
        let db = self.terms.db;
        let changes = self.cache.take_changes();
        let modified = changes
            .into_iter()
            .filter(|change| change.kind == ChangeKind::Modified && change.db == db);
        let mut keys: Vec<Box<[u8]>> = modified.map(|change| change.key).collect();
        keys.sort_unstable();
        keys.dedup();
        Verdict {
            reply,
            changed: Changed {
                keys,
                db,
                scratch: Some(self.cache),
            },
            writes: self.writes,
            events: self.events,
            stopped: None,
            missing: None,
        }
    }

    /// Runs a command, or says why it does not run.
    fn execute(&mut self, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), String> {
        let row = commands::check(args).map_err(|error| match error {
            CheckError::WrongArity(_) => {
                "ERR Wrong number of args calling Redis command from script".to_owned()
            }
            _ => "ERR Unknown Redis command called from script".to_owned(),
        })?;
        let runs = commands::unguarded(row, args);
        if row.flags.has(Flags::NOSCRIPT) || runs.flags.has(Flags::NOSCRIPT) {
            return Err("ERR This Redis command is not allowed from script".into());
        }
        let streams = row
            .blocks
            .filter(|blocks| blocks.shape == BlockShape::Streams);
        if streams.is_some_and(|blocks| blocks.waits(args)) {
            let name = String::from_utf8_lossy(args.get(0));
            return Err(format!(
                "ERR {name} command is not allowed with BLOCK option from scripts"
            ));
        }
        if looks_beyond_keys(row, args) {
            return Err(BEYOND_KEYS.into());
        }
        let execute = match row.run {
            Run::Data(execute) => execute,
            Run::Session(command) => return self.answer(command, args, reply),
            Run::Later => return Err(commands::later_error(row)),
        };
        let is_write = row.flags.has(Flags::WRITE);
        if is_write && self.terms.writes == Writes::Refused {
            return Err("ERR Write commands are not allowed from read-only scripts.".into());
        }
        if row.flags.has(Flags::DENYOOM) && self.terms.memory == Memory::Full {
            return Err(OOM.into());
        }
        if self.terms.lock_memory == Memory::Full && commands::takes_lock(args) {
            return Err(LOCKS_OOM.into());
        }
        if self.terms.locks_withheld_ms > 0 && commands::takes_lock(args) {
            return Err(locks_withheld(self.terms.locks_withheld_ms));
        }
        let mut positions = commands::KeyPositions::new();
        // Arguments that do not tell their keys are refused by the command itself.
        if commands::keys_of(row, args, &mut positions).is_ok() {
            let mut keys = positions.iter().map(|at| args.get(*at));
            if let Some(key) = keys.find(|key| !self.declared.has(key)) {
                self.missing = Some(key.into());
                return Err(UNDECLARED.into());
            }
        }
        let seed = self.cache.seed();
        let mut context = Context {
            now_ms: self.cache.now_ms(),
            keyspace: Keyspace::One(&mut self.cache),
            seed,
            db: self.terms.db,
            wall_offset_ms: self.terms.stamp.wall_offset_ms,
            random: self.terms.stamp.random,
            first_key_hash: None,
            touch: self.terms.touch,
            request: None,
            event_mask: self.terms.event_mask,
            events: Events::new(),
        };
        execute(&mut context, args, reply);
        self.events.extend(context.events);
        if is_write && let Some(writes) = &mut self.writes {
            let mut write = Vec::new();
            let head = OpHead {
                kind: OpKind::Write,
                db: self.terms.db,
                flags: OpFlags::NONE,
                seq: self.terms.stamp.random,
                after: 0,
            };
            encode(&mut write, head, args.iter());
            writes.push(write);
        }
        // Each command has a draw of its own.
        self.terms.stamp = self.terms.stamp.of_op(1);
        Ok(())
    }

    /// The few commands of a connection that a script may want.
    fn answer(
        &mut self,
        command: SessionCommand,
        args: Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), String> {
        match command {
            SessionCommand::Ping if args.len() == 1 => reply.simple("PONG"),
            SessionCommand::Ping | SessionCommand::Echo => reply.bulk(args.get(1)),
            SessionCommand::Publish | SessionCommand::Spublish => {
                if self.terms.writes == Writes::Refused {
                    return Err("ERR Write commands are not allowed from read-only scripts.".into());
                }
                self.publish(command, args, reply);
            }
            SessionCommand::Time => {
                // The time of the entry, so that what a script makes of it is the same for its commands.
                let wall_ms = self.cache.now_ms() as i64 + self.terms.stamp.wall_offset_ms;
                reply.array(2);
                reply.bulk_integer(wall_ms / 1000);
                reply.bulk_integer(wall_ms % 1000 * 1000);
            }
            _ => {
                return Err(format!(
                    "ERR {} looks at more than the script's keys and cannot run in a script",
                    String::from_utf8_lossy(args.get(0)).to_uppercase()
                ));
            }
        }
        Ok(())
    }
}

impl Overlay {
    /// A message goes out once the script's effects are there. Counted are the receivers on the node that runs the script, as
    /// in a Redis Cluster.
    fn publish(&mut self, command: SessionCommand, args: Args<'_>, reply: &mut Reply<'_>) {
        let (channel, payload) = (args.get(1), args.get(2));
        let pubsub = &self.terms.pubsub;
        let (class, receivers) = match command {
            SessionCommand::Spublish => (
                EventClass::ShardMessage,
                pubsub.subscribers_count(Kind::ShardChannel, channel),
            ),
            _ => (EventClass::Message, pubsub.receivers_count(channel)),
        };
        self.events.push(Event {
            class,
            name: "",
            db: self.terms.db,
            key: channel.into(),
            payload: payload.into(),
        });
        reply.integer(receivers as i64);
    }
}

impl script::Host for Overlay {
    fn call(&mut self, args: Args<'_>, reply: &mut Reply<'_>) {
        if let Err(refusal) = self.execute(args, reply) {
            reply.error(&refusal);
        }
    }

    fn knows(&self, name: &[u8]) -> bool {
        commands::lookup(name).is_some()
    }

    fn stop(&mut self) -> Option<Stop> {
        if self.missing.is_some() {
            // Whatever it makes of the error, nothing of it is left.
            return Some(Stop::Lacking);
        }
        self.terms.watchdog.stop()
    }

    fn clock_s(&self) -> f64 {
        self.terms.watchdog.now_us() as f64 / 1e6
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        let message = String::from_utf8_lossy(message);
        match level {
            LogLevel::Debug => tracing::debug!(%message, "script"),
            LogLevel::Verbose | LogLevel::Notice => tracing::info!(%message, "script"),
            LogLevel::Warning => tracing::warn!(%message, "script"),
        }
    }
}

/// Whether a command looks at, or writes to, keys that are not told by its row: another database's, or those that SORT's
/// patterns come to. Copies of its keys do not have them.
pub(crate) fn looks_beyond_keys(row: &Row, args: Args<'_>) -> bool {
    let options = || args.from(2).iter();
    match row.name {
        "move" => true,
        "copy" => {
            args.len() > 3
                && args
                    .from(3)
                    .iter()
                    .any(|word| word.eq_ignore_ascii_case(b"db"))
        }
        "sort" | "sort_ro" => options().zip(options().skip(1)).any(|(option, pattern)| {
            let is_lookup =
                option.eq_ignore_ascii_case(b"by") || option.eq_ignore_ascii_case(b"get");
            is_lookup && pattern.contains(&b'*')
        }),
        _ => false,
    }
}

/// What a script is told of such a command.
const BEYOND_KEYS: &str = "ERR MOVE, COPY with DB and SORT with a pattern look at more than their keys and cannot run in a script";

/// Keys that a script may use beside those that it was given, in the same shards.
pub(crate) const UNDECLARED_MAX: usize = 64;

const UNDECLARED: &str = "ERR Script attempted to access a non declared key: all keys that live elsewhere than the first ones are to be given to EVAL as KEYS. Nothing of what it did is left";

/// A collection of at least so many bytes is not written into the log whole because a script changed something of it.
const LARGE_BYTES_MIN: usize = 4 << 10;

fn is_large_collection(entry: Entry<'_>) -> bool {
    match entry.value {
        Value::Collection(collection) => collection.bytes() >= LARGE_BYTES_MIN,
        Value::String(_) | Value::Shared(_) => false,
    }
}
