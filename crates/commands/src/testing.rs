//! A keyspace to run commands on, for tests: `Harness::new().run("SET k v PX 100")`.

use crate::{Context, Event, EventClass, Keyspace, Run, context::Touch, lookup};
use cache::{Cache, Key, LockRequest};
use resp::{Output, OwnedArgs, Protocol, Reply};
use std::io::IoSlice;

/// Hash seed of the harness's caches.
pub(crate) const SEED: u64 = 7;

/// Log time at which a harness starts, in milliseconds.
pub(crate) const START_MS: u64 = 1_000;

/// Wall time minus log time of a harness, in milliseconds.
pub(crate) const WALL_OFFSET_MS: i64 = 1_700_000_000_000;

/// Caches, a time and a protocol that commands run with. A key lives in the cache that its last
/// byte tells, so keys of one command may be spread.
pub(crate) struct Harness {
    pub caches: Vec<Cache>,
    pub now_ms: u64,
    pub db: u8,
    pub protocol: Protocol,
    pub touch: Touch,
    pub random: u64,
    /// Number of the last request; `u64::MAX` = they have none, as in a transaction.
    pub requests: u64,
    /// Listens to all classes, so that events can be looked at.
    pub event_mask: u16,
    /// Events of the last command.
    pub events: Vec<Event>,
}

impl Harness {
    /// One cache, RESP2, database 0.
    pub fn new() -> Self {
        Harness::with_caches(1)
    }

    /// As many caches, all locked for every command.
    pub fn with_caches(count: usize) -> Self {
        Harness {
            caches: (0..count).map(|_| Cache::new(SEED)).collect(),
            now_ms: START_MS,
            db: 0,
            protocol: Protocol::Resp2,
            touch: Touch::Yes,
            random: 0,
            requests: 0,
            event_mask: u16::MAX,
            events: Vec::new(),
        }
    }

    /// Runs a line: words between spaces; a word in double quotes may hold spaces, `\"`, `\\`, `\n`,
    /// `\r` and `\xHH`. Returns the reply's bytes, those beyond ASCII escaped.
    pub fn run(&mut self, line: &str) -> String {
        let words = split(line);
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        show(&self.run_bytes(&words))
    }

    /// Runs one command given as its arguments; returns the reply's bytes.
    pub fn run_bytes(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let owned = OwnedArgs::from_slices(words);
        let args = owned.args();
        let command = lookup(args.get(0)).expect("the test names a command of the table");
        let row = words.get(1).and_then(|name| {
            let mut subcommands = command.subcommands.iter();
            subcommands.find(|sub| sub.name.as_bytes().eq_ignore_ascii_case(name))
        });
        let row = row.unwrap_or(command);
        let arity = i64::from(row.arity);
        let count = args.len() as i64;
        assert!(
            count == arity || arity < 0 && count >= -arity,
            "the caller of a command checks its arity first"
        );
        let Run::Data(execute) = row.run else {
            panic!("{} is not a data command", row.name);
        };
        let request = (self.requests < u64::MAX).then(|| {
            self.requests += 1;
            LockRequest {
                origin: Default::default(),
                number: self.requests,
            }
        });
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, self.protocol);
        let caches_count = self.caches.len();
        for cache in &mut self.caches {
            cache.set_now(self.now_ms);
        }
        let mut many: Vec<&mut Cache> = self.caches.iter_mut().collect();
        let route = |key: &[u8]| usize::from(key.last().copied().unwrap_or(0)) % caches_count;
        let keyspace = if caches_count == 1 {
            Keyspace::One(many[0])
        } else {
            Keyspace::Many {
                caches: &mut many,
                route: &route,
            }
        };
        let mut ctx = Context {
            keyspace,
            seed: SEED,
            db: self.db,
            now_ms: self.now_ms,
            wall_offset_ms: WALL_OFFSET_MS,
            random: self.random,
            first_key_hash: None,
            touch: self.touch,
            request,
            event_mask: self.event_mask,
            events: Default::default(),
        };
        execute(&mut ctx, args, &mut reply);
        self.events = ctx.events.into_vec();
        bytes_of(&output)
    }

    /// Lets log time pass.
    pub fn pass_ms(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    /// Events of the last command, as `name key` joined by commas; "new" and "keymiss" left out.
    pub fn events(&self) -> String {
        self.events_but(EventClass::New as u16 | EventClass::KeyMiss as u16)
    }

    /// Events of the last command, all classes.
    pub fn all_events(&self) -> String {
        self.events_but(0)
    }

    fn events_but(&self, hidden: u16) -> String {
        let shown: Vec<String> = self
            .events
            .iter()
            .filter(|event| event.class as u16 & hidden == 0)
            .map(|event| format!("{} {}", event.name, event.key.escape_ascii()))
            .collect();
        shown.join(", ")
    }

    /// The key as commands see it.
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        Key::new(SEED, self.db, bytes)
    }

    /// The only cache of this harness.
    pub fn cache(&mut self) -> &mut Cache {
        assert_eq!(self.caches.len(), 1, "this harness has one cache");
        &mut self.caches[0]
    }
}

/// Runs a script of commands, each with what redis-server answered to it and the events that it told; panics with all that
/// differs. The script's head says how it is written.
pub(crate) fn run_marked(harness: &mut Harness, script: &str) {
    let mut differences = Vec::new();
    for line in script.lines().filter(|line| !line.starts_with('#')) {
        match line {
            "@2" => harness.protocol = Protocol::Resp2,
            "@3" => harness.protocol = Protocol::Resp3,
            _ => {
                let (command, expected) = line.split_once(" => ").expect("a command and its reply");
                let reply = harness.run(command).replace("\r\n", " ");
                let events = match harness.events() {
                    none if none.is_empty() => none,
                    events => format!(" | {events}"),
                };
                let seen = format!("{}{events}", reply.trim_end());
                if seen != expected {
                    differences.push(format!("{command}\n  Redis: {expected}\n  Torc:  {seen}"));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Runs a golden script in one cache, and again with its keys spread over three; every difference is told at once.
///
/// A line is `command => reply [events]`, the reply's line ends as spaces; behind a `3` it is that of RESP3. A line
/// with one `#` begins anew, with nothing stored.
pub(crate) fn run_golden(script: &str) {
    let mut differences = Vec::new();
    for caches_count in [1, 3] {
        let mut harness = Harness::with_caches(caches_count);
        for line in script.lines() {
            if line.starts_with('#') {
                harness = Harness::with_caches(caches_count);
                continue;
            }
            let (command, expected) = line.split_once(" => ").expect("a line tells a reply");
            let (protocol, words) = match command.strip_prefix("3 ") {
                Some(words) => (Protocol::Resp3, words),
                None => (Protocol::Resp2, command),
            };
            harness.protocol = protocol;
            let reply = harness.run(words).replace("\r\n", " ");
            let seen = format!("{reply}[{}]", harness.all_events());
            if seen != expected {
                differences.push(format!("{command}\n  seen:  {seen}\n  Redis: {expected}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// All pending bytes of an output.
fn bytes_of(output: &Output) -> Vec<u8> {
    let mut slices = vec![IoSlice::new(&[]); 64];
    let filled = output.io_slices(&mut slices);
    let bytes: Vec<u8> = slices[..filled]
        .iter()
        .flat_map(|slice| slice.iter().copied())
        .collect();
    assert_eq!(bytes.len(), output.len(), "64 slices hold a test's reply");
    bytes
}

/// Bytes as a test writes them: line ends as they are, what is not ASCII escaped.
fn show(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|&byte| match byte {
            b'\r' | b'\n' | b' '..=b'~' => char::from(byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        })
        .collect()
}

/// The words of a line.
fn split(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line.bytes().peekable();
    while let Some(byte) = rest.next() {
        let mut word = Vec::new();
        match byte {
            b' ' => continue,
            b'"' => loop {
                match rest.next().expect("the test closes its quotes") {
                    b'"' => break,
                    b'\\' => word.push(unescape(&mut rest)),
                    byte => word.push(byte),
                }
            },
            byte => {
                word.push(byte);
                while let Some(byte) = rest.next_if(|byte| *byte != b' ') {
                    word.push(byte);
                }
            }
        }
        words.push(word);
    }
    words
}

/// The byte that an escape stands for, its backslash read already.
fn unescape(rest: &mut impl Iterator<Item = u8>) -> u8 {
    let mut next = || rest.next().expect("the test finishes its escape");
    match next() {
        b'n' => b'\n',
        b'r' => b'\r',
        b'x' => {
            let hex = [next(), next()];
            let hex = std::str::from_utf8(&hex).expect("hex digits are ASCII");
            u8::from_str_radix(hex, 16).expect("two hex digits follow \\x")
        }
        byte => byte,
    }
}
