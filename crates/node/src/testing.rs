//! What tests of sessions stand on: a process with a clock that only the test moves, and connections that are
//! given bytes and give bytes back.

pub(crate) mod network;

use crate::host::{Host, Process};
use crate::node::Node;
use crate::session::{Manner, Session, Step};
use crate::settings::Settings;
use parking_lot::Mutex;
use resp::{Access, Batch, Limits, Output, Scan, Scanner};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The wall clock of a fresh [`Clock`]: 2023-11-14 22:13:20 UTC, in microseconds.
pub(crate) const START_WALL_US: u64 = 1_700_000_000_000_000;

/// A process whose clock the test moves, and whose draws follow from a seed. Clones share both.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    monotonic_us: AtomicU64,
    wall_us: AtomicU64,
    random: AtomicU64,
    /// Time that passes with each look at the monotonic clock, us.
    look_us: AtomicU64,
    at_look: AtLook,
}

/// What others do while somebody looks at the clock.
#[derive(Default)]
struct AtLook(Mutex<Option<Box<dyn Fn() + Send>>>);

impl std::fmt::Debug for AtLook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AtLook")
    }
}

impl Clock {
    /// At [`START_WALL_US`], drawing from `seed`.
    pub fn new(seed: u64) -> Self {
        Clock(Arc::new(Inner {
            monotonic_us: AtomicU64::new(1_000_000),
            wall_us: AtomicU64::new(START_WALL_US),
            random: AtomicU64::new(seed),
            look_us: AtomicU64::new(0),
            at_look: AtLook::default(),
        }))
    }

    /// From now on `act` is run at each look at the monotonic clock: what another thread may do in the midst of a request.
    pub fn at_each_look(&self, act: impl Fn() + Send + 'static) {
        *self.0.at_look.0.lock() = Some(Box::new(act));
    }

    /// From now on each look at the clock takes so long: whoever looks is slow.
    pub fn slow_down_us(&self, look_us: u64) {
        self.0.look_us.store(look_us, Ordering::Relaxed);
    }

    /// Lets time pass, on both clocks.
    pub fn advance_ms(&self, ms: u64) {
        self.0.monotonic_us.fetch_add(ms * 1000, Ordering::Relaxed);
        self.0.wall_us.fetch_add(ms * 1000, Ordering::Relaxed);
    }
}

impl Host for Clock {
    fn monotonic_us(&self) -> u64 {
        if let Some(act) = &*self.0.at_look.0.lock() {
            act();
        }
        let look_us = self.0.look_us.load(Ordering::Relaxed);
        self.0.monotonic_us.fetch_add(look_us, Ordering::Relaxed) + look_us
    }

    fn wall_us(&self) -> u64 {
        self.0.wall_us.load(Ordering::Relaxed)
    }

    fn random(&self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        let step = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.random.fetch_add(step, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn process(&self) -> Process {
        Process {
            pid: 7,
            os: "Test 1.0".into(),
            ..Process::default()
        }
    }
}

/// A node with 8 shards and room for 64 MiB, and its clock.
pub(crate) fn node() -> (Node, Clock) {
    node_with(|_| {})
}

/// The same, its settings changed by `change` beforehand.
pub(crate) fn node_with(change: impl FnOnce(&mut Settings)) -> (Node, Clock) {
    let mut settings = Settings {
        shards: 8,
        maxmemory_bytes: 64 << 20,
        ..Settings::default()
    };
    change(&mut settings);
    let clock = Clock::new(1);
    let node = Node::new(settings, Box::new(clock.clone())).expect("8 shards divide the slots");
    (node, clock)
}

/// A connection without a socket.
pub(crate) struct Client<'n> {
    node: &'n Node,
    /// Its session.
    pub session: Session,
    scanner: Scanner,
    buffer: Vec<u8>,
    output: Output,
    /// A batch that waits for replies, and where in it.
    held: Option<(Batch, usize, Scan)>,
    /// What the last run ended with: [`Step::Wait`] while a request waits, [`Step::Close`] once it is over.
    pub step: Step,
    /// How often a request gave way to others.
    pub yields: usize,
}

impl<'n> Client<'n> {
    /// A new connection. Its address is `127.0.0.1:` and 10000 plus its id.
    pub fn new(node: &'n Node) -> Self {
        Client::in_manner(node, Manner::Plain)
    }

    /// The same in a listener's manner.
    pub fn in_manner(node: &'n Node, manner: Manner) -> Self {
        let next = 10_000 + node.clients_by_id().last().map_or(0, |last| last.id) + 1;
        let client = node.connect(
            format!("127.0.0.1:{next}"),
            "127.0.0.1:6379".into(),
            node.now(),
        );
        Client {
            node,
            session: Session::new(client, node).in_manner(manner),
            scanner: Scanner::new(),
            buffer: Vec::new(),
            output: Output::new(),
            held: None,
            step: Step::Done,
            yields: 0,
        }
    }

    /// Sends one command as words, quoted where need be as in redis-cli; returns all that the connection was sent,
    /// lines parted by blanks: `*2 $1 a :1`.
    pub fn run(&mut self, line: &str) -> String {
        let bytes = self.feed(format!("{line}\r\n").as_bytes());
        readable(&bytes)
    }

    /// Sends several commands in one go.
    pub fn pipeline(&mut self, lines: &[&str]) -> String {
        let bytes = self.feed(format!("{}\r\n", lines.join("\r\n")).as_bytes());
        readable(&bytes)
    }

    /// What others pushed since, and what a request that waited has to say now.
    pub fn poll(&mut self) -> String {
        readable(&self.feed(b""))
    }

    /// Takes bytes in as they come from a socket, and returns those to be written to it.
    ///
    /// # Panics
    /// On a protocol error: what tests send here is meant well.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.session.client.begin_turn();
        self.buffer.extend_from_slice(bytes);
        loop {
            let (batch, mut next, scan) = self.held.take().unwrap_or_else(|| self.scan());
            self.run_batch(&batch, &mut next);
            if matches!(
                self.step,
                Step::Replies | Step::Blocked { .. } | Step::Wait { .. }
            ) {
                self.held = Some((batch, next, scan));
                break;
            }
            let consumed = batch.consumed;
            self.scanner.advance(consumed);
            self.buffer.drain(..consumed);
            match scan {
                Scan::BatchFull if self.step == Step::Done => {}
                Scan::BatchFull | Scan::NeedMore { .. } => break,
                Scan::Error(error) => panic!("a test sent a broken frame: {error:?}"),
            }
        }
        if self.session.client.wants_attention() {
            self.session.client.drain_outbox(&mut self.output);
        }
        std::mem::take(&mut self.output).into_bytes().to_vec()
    }

    /// Finds the requests in the buffer.
    fn scan(&mut self) -> (Batch, usize, Scan) {
        let mut batch = Batch::new();
        let authenticated = self.session.is_authenticated();
        let limits = Limits {
            access: match authenticated {
                true => Access::Authenticated,
                false => Access::Unauthenticated,
            },
            ..Limits::default()
        };
        let requests_max = if authenticated { 64 } else { 1 };
        let scan = self
            .scanner
            .scan(&self.buffer, &limits, requests_max, &mut batch);
        (batch, 0, scan)
    }

    /// Runs a batch to its end or to the first wait.
    fn run_batch(&mut self, batch: &Batch, next: &mut usize) {
        loop {
            self.step = self
                .session
                .run(self.node, &self.buffer, batch, next, &mut self.output);
            match self.step {
                Step::Flush | Step::Long => {}
                Step::Yield => self.yields += 1,
                Step::Done
                | Step::Wait { .. }
                | Step::Blocked { .. }
                | Step::Replies
                | Step::Close
                | Step::Abort
                | Step::Shutdown => return,
            }
        }
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        self.session.close(self.node);
    }
}

/// Bytes of replies as a line of text.
fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim_end_matches("\r\n").replace("\r\n", " ")
}
