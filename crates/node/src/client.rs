//! A connection as the rest of the node sees it: who it is, what it last did, and the outbox through which
//! others push to it (publish/subscribe, invalidations, MONITOR). The connection's own state is its
//! [`crate::Session`]; this is the shared face of it.

use crate::settings::OutputBufferLimit;
use crate::slots::Slots;
use atomic_waker::AtomicWaker;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use resp::{Output, Protocol};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Pushed frames shorter than this are copied: a vectored write of many small pieces costs more.
const SHARED_BYTES_MIN: usize = 4096;
/// In [`Client::attention`]: the outbox holds something.
const PUSHED: u8 = 1;
/// In [`Client::attention`]: what the connection waits for has come, or it is to end.
const ROUSED: u8 = 2;

/// Id of a connection: dense from 1, never used twice.
pub type ClientId = u64;

/// What a pushed frame is, which decides whether the limits of the `pubsub` class or the `normal` one hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientClass {
    /// Requests and replies.
    Normal,
    /// Has subscriptions.
    Pubsub,
}

/// The shared face of a connection.
#[derive(Debug)]
pub struct Client {
    /// Its id.
    pub id: ClientId,
    /// `ip:port` of the other end.
    pub addr: String,
    /// `ip:port` of this end.
    pub laddr: String,
    /// When it connected, [`crate::Host::monotonic_us`].
    pub connected_us: u64,
    /// What changes seldom.
    pub facts: Mutex<Facts>,
    /// When it last sent something, [`crate::Host::monotonic_us`].
    pub active_us: AtomicU64,
    /// Row id of the command that it ran last; `u32::MAX` before the first.
    pub last_row: AtomicU32,
    /// Numbered database.
    pub db: AtomicU8,
    /// Bytes read and not yet executed.
    pub input_bytes: AtomicU64,
    /// Bytes of replies not yet written.
    pub output_bytes: AtomicU64,
    /// Commands queued by MULTI; -1 outside is kept as `u32::MAX`.
    pub queued: AtomicU32,
    /// Bits of [`ClientFlag`].
    pub flags: AtomicU32,
    /// Whether it waits for something that CLIENT UNBLOCK may end ([`WAITS`]), or how that ended it ([`Unblock`]); 0: neither.
    /// Who ends a wait takes it out of here, so that just one does.
    wait: AtomicU8,
    outbox: Mutex<Outbox>,
    /// Replies that others fill in.
    slots: Mutex<Slots>,
    /// Set while replies are missing before which nothing pushed may be written: an invalidation must not overtake the
    /// reply that it is about.
    holding: AtomicBool,
    /// What the connection's task is to look at, [`PUSHED`] and [`ROUSED`]: one load tells an idle turn.
    attention: AtomicU8,
    waker: AtomicWaker,
}

/// What `CLIENT SETNAME`, `SETINFO`, `HELLO` and subscriptions change.
#[derive(Clone, Debug)]
pub struct Facts {
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO LIB-VER.
    pub lib_ver: Vec<u8>,
    /// The user that it authenticated as.
    pub user: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Count of channels.
    pub channels: usize,
    /// Count of patterns.
    pub patterns: usize,
    /// Count of shard channels.
    pub shard_channels: usize,
    /// Count of watched keys.
    pub watched: usize,
    /// Connection that gets this one's invalidations, 0 = itself, -1 = none (tracking is off).
    pub redirect: i64,
}

/// A mark on a connection; the letters are those of `CLIENT LIST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ClientFlag {
    /// To be closed at once (CLIENT KILL, output limit).
    Killed = 1 << 0,
    /// `O`: MONITOR.
    Monitor = 1 << 1,
    /// `P`: has subscriptions.
    Pubsub = 1 << 2,
    /// `x`: inside MULTI.
    Multi = 1 << 3,
    /// `b`: waits (WAIT, CLIENT PAUSE).
    Blocked = 1 << 4,
    /// `t`: client-side caching on.
    Tracking = 1 << 5,
    /// `B`: client-side caching in broadcast mode.
    TrackingBroadcast = 1 << 6,
    /// `R`: the target of its invalidations is gone.
    TrackingBroken = 1 << 7,
    /// `e`: CLIENT NO-EVICT.
    NoEvict = 1 << 8,
    /// `T`: CLIENT NO-TOUCH.
    NoTouch = 1 << 9,
    /// `c`: closes after its reply.
    Closing = 1 << 10,
    /// `d`: a watched key changed.
    Dirty = 1 << 11,
}

/// It waits, and may be unblocked.
const WAITS: u8 = 3;

/// How CLIENT UNBLOCK ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Unblock {
    /// As if its time were over.
    Timeout = 1,
    /// With an error.
    Error = 2,
}

impl Unblock {
    fn of(byte: u8) -> Option<Unblock> {
        [Unblock::Timeout, Unblock::Error]
            .into_iter()
            .find(|how| *how as u8 == byte)
    }
}

#[derive(Debug, Default)]
struct Outbox {
    frames: Vec<Bytes>,
    bytes: usize,
    /// Since when the soft limit is exceeded, [`crate::Host::monotonic_us`].
    soft_since_us: Option<u64>,
}

impl Client {
    /// A new connection's face.
    pub fn new(id: ClientId, addr: String, laddr: String, now_us: u64) -> Self {
        Client {
            id,
            addr,
            laddr,
            connected_us: now_us,
            facts: Mutex::new(Facts {
                name: Vec::new(),
                lib_name: Vec::new(),
                lib_ver: Vec::new(),
                user: "default".into(),
                protocol: Protocol::Resp2,
                channels: 0,
                patterns: 0,
                shard_channels: 0,
                watched: 0,
                redirect: -1,
            }),
            active_us: AtomicU64::new(now_us),
            last_row: AtomicU32::new(u32::MAX),
            db: AtomicU8::new(0),
            input_bytes: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            queued: AtomicU32::new(u32::MAX),
            flags: AtomicU32::new(0),
            wait: AtomicU8::new(0),
            outbox: Mutex::new(Outbox::default()),
            slots: Mutex::new(Slots::default()),
            holding: AtomicBool::new(false),
            attention: AtomicU8::new(0),
            waker: AtomicWaker::new(),
        }
    }

    /// Whether `flag` is set.
    pub fn has(&self, flag: ClientFlag) -> bool {
        self.flags.load(Ordering::Relaxed) & flag as u32 != 0
    }

    /// Sets `flag`.
    pub fn set(&self, flag: ClientFlag) {
        self.flags.fetch_or(flag as u32, Ordering::Relaxed);
    }

    /// Clears `flag`.
    pub fn clear(&self, flag: ClientFlag) {
        self.flags.fetch_and(!(flag as u32), Ordering::Relaxed);
    }

    /// It waits from now on, and others may end that.
    pub(crate) fn begin_block(&self) {
        self.wait.store(WAITS, Ordering::Release);
    }

    /// It waits no longer: how it was unblocked, if it was. Then that is how its request ends, whatever came of it: whoever did it
    /// was told so.
    pub(crate) fn end_block(&self) -> Option<Unblock> {
        Unblock::of(self.wait.swap(0, Ordering::AcqRel))
    }

    /// How it was unblocked, if it was: then it waits no longer.
    pub(crate) fn take_unblock(&self) -> Option<Unblock> {
        match self.wait.load(Ordering::Acquire) {
            WAITS => None,
            _ => self.end_block(),
        }
    }

    /// Ends its wait, if it waits; whether it did.
    pub fn unblock(&self, how: Unblock) -> bool {
        let (present, new) = (WAITS, how as u8);
        let exchanged =
            self.wait
                .compare_exchange(present, new, Ordering::AcqRel, Ordering::Relaxed);
        if exchanged.is_ok() {
            self.rouse();
        }
        exchanged.is_ok()
    }

    /// Which output limits hold for it.
    pub fn class(&self) -> ClientClass {
        if self.has(ClientFlag::Pubsub) {
            ClientClass::Pubsub
        } else {
            ClientClass::Normal
        }
    }

    /// Pushes a frame to the connection and wakes it. Past the limit the connection is killed instead and what it
    /// had not been sent is dropped: a slow reader costs nobody else.
    pub fn push(&self, frame: Bytes, limit: OutputBufferLimit, now_us: u64) {
        if self.has(ClientFlag::Killed) {
            return;
        }
        let over = {
            let mut outbox = self.outbox.lock();
            outbox.bytes += frame.len();
            outbox.frames.push(frame);
            let pending = outbox.bytes as u64 + self.output_bytes.load(Ordering::Relaxed);
            outbox.is_over(pending, limit, now_us)
        };
        if over {
            tracing::warn!(
                client = self.id,
                addr = self.addr,
                "closed for overcoming of output buffer limits"
            );
            self.kill();
        } else {
            self.call_attention(PUSHED);
        }
    }

    /// The same with what `frame_in` makes of it in the connection's protocol, if anything. Until it is pushed neither the
    /// protocol changes nor whether the connection has subscriptions: nothing comes behind the reply that ends either.
    pub fn push_in_protocol(
        &self,
        limit: OutputBufferLimit,
        now_us: u64,
        frame_in: impl FnOnce(Protocol) -> Option<Bytes>,
    ) {
        let facts = self.facts.lock();
        if let Some(frame) = frame_in(facts.protocol) {
            self.push(frame, limit, now_us);
        }
    }

    /// Tells whether `output_bytes` of unwritten replies break the limit of its class.
    pub fn is_over_limit(&self, output_bytes: u64, limit: OutputBufferLimit, now_us: u64) -> bool {
        let mut outbox = self.outbox.lock();
        let pending = outbox.bytes as u64 + output_bytes;
        outbox.is_over(pending, limit, now_us)
    }

    /// Keeps back what is pushed, until [`Client::release_pushes`].
    pub(crate) fn hold_pushes(&self) {
        self.holding.store(true, Ordering::Relaxed);
    }

    /// Whether what is pushed is kept back.
    pub(crate) fn holds_pushes(&self) -> bool {
        self.holding.load(Ordering::Relaxed)
    }

    /// Lets go of what was kept back.
    pub(crate) fn release_pushes(&self, output: &mut Output) {
        self.holding.store(false, Ordering::Relaxed);
        self.drain_outbox(output);
    }

    /// Moves what was pushed into the connection's own output, unless it is kept back. That the task was roused stays: whoever
    /// drains in the middle of a request has not looked for the reply that it waits for.
    pub fn drain_outbox(&self, output: &mut Output) {
        let frames = {
            let mut outbox = self.outbox.lock();
            self.attention.fetch_and(!PUSHED, Ordering::AcqRel);
            if self.holding.load(Ordering::Relaxed) {
                return;
            }
            outbox.bytes = 0;
            std::mem::take(&mut outbox.frames)
        };
        for frame in frames {
            if frame.len() < SHARED_BYTES_MIN {
                output.tail_mut().extend_from_slice(&frame);
            } else {
                output.push_shared(frame);
            }
        }
    }

    /// The replies that others fill in, locked: shortly, and with nothing else locked below it.
    #[inline]
    pub fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock()
    }

    /// Bytes pushed and not yet taken by the connection.
    pub fn outbox_bytes(&self) -> usize {
        self.outbox.lock().bytes
    }

    /// Ends the connection: its task sees it at its next turn.
    pub fn kill(&self) {
        self.set(ClientFlag::Killed);
        let mut outbox = self.outbox.lock();
        outbox.frames.clear();
        outbox.bytes = 0;
        drop(outbox);
        self.rouse();
    }

    /// Makes the connection's task take a turn.
    pub fn rouse(&self) {
        self.call_attention(ROUSED);
    }

    fn call_attention(&self, to: u8) {
        self.attention.fetch_or(to, Ordering::AcqRel);
        self.waker.wake();
    }

    /// Whether the connection's task should drain its outbox, go on or end.
    pub fn wants_attention(&self) -> bool {
        self.attention.load(Ordering::Acquire) != 0
    }

    /// Whether the outbox holds something that was not drained.
    pub fn has_pushes(&self) -> bool {
        self.attention.load(Ordering::Acquire) & PUSHED != 0
    }

    /// The task takes the turn for which it was roused: after this it looks at whatever it may have been roused for.
    pub fn begin_turn(&self) {
        self.attention.fetch_and(!ROUSED, Ordering::AcqRel);
    }

    /// Registers the task to be woken by [`Client::rouse`]; the caller then looks at [`Client::wants_attention`] again.
    pub fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }
}

impl Outbox {
    fn is_over(&mut self, pending: u64, limit: OutputBufferLimit, now_us: u64) -> bool {
        if limit.hard_bytes != 0 && pending > limit.hard_bytes {
            return true;
        }
        if limit.soft_bytes == 0 || pending <= limit.soft_bytes {
            self.soft_since_us = None;
            return false;
        }
        let since_us = *self.soft_since_us.get_or_insert(now_us);
        // Callers read the clock before they come here, so another may be ahead of them.
        now_us.saturating_sub(since_us) >= limit.soft_seconds.saturating_mul(1_000_000)
    }
}
