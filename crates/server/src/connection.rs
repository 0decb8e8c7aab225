//! One connection: its socket, its buffers, and the loop between them.
//!
//! A turn reads the socket once, runs every complete request in the buffer, and writes once. While a slow reader
//! leaves replies unwritten, its further requests are read (up to `client-query-buffer-limit`) but not run: neither
//! side can wait for the other for ever, and nobody else is touched.
//!
//! A connection that always has more to do gives its thread to the others after [`TURN_US_MAX`].

mod room;

use self::room::Room;
use bytes::{Buf, BytesMut};
use node::{ClientFlag, Manner, Node, Session, Settings, Step};
use resp::{Access, Batch, Limits, Output, Protocol, Reply, Scan, Scanner};
use socket2::SockRef;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// An idle connection gives memory beyond this back.
const KEPT_BYTES_MAX: usize = 128 << 10;
/// Requests of one batch.
const REQUESTS_MAX: usize = 1024;
/// Pieces of one vectored write.
const SLICES_MAX: usize = 64;
/// Time that a connection works before it lets others run, microseconds: what a PING beside it waits at worst. A
/// turn of the runtime between costs about a microsecond.
const TURN_US_MAX: u64 = 500;
/// How long a connection that we end still takes what the other end is sending, and how much of that.
const LINGER_MS: u64 = 250;
const LINGER_BYTES_MAX: usize = 16 << 20;
/// A connection that was idle for so long, microseconds, gives its buffers back when it is roused.
const REST_US_MIN: u64 = node::REST_US_MIN;
/// Buffers whose size changed by less than this are not worth telling the node.
const TOLD_BYTES_STEP: usize = 64 << 10;
/// How long the replies before SHUTDOWN may take to be written.
const LAST_WORDS_MS: u64 = 100;

/// In place of a time: the task slept, and its next work begins with a look at the clock anyway.
const UNKNOWN_US: u64 = u64::MAX;

/// A connection and all that belongs to it.
pub struct Connection {
    stream: TcpStream,
    node: Arc<Node>,
    session: Session,
    scanner: Scanner,
    batch: Batch,
    buffer: BytesMut,
    output: Output,
    /// What the next read should find.
    room: Room,
    /// Bytes came that the scanner has not seen: they may be the last, so nothing may be waited for before.
    unscanned: bool,
    /// The other end has sent all that it will.
    at_end: bool,
    /// Bytes of its buffers, as last told to the node.
    told_bytes: usize,
    /// Whether the node has forgotten it.
    has_left: bool,
    /// When the task last got its thread, [`node::Host::monotonic_us`], or [`UNKNOWN_US`].
    turn_from_us: u64,
    /// The node's settings, without the cost of sharing them.
    settings: arc_swap::Cache<SettingsOf, Arc<Settings>>,
    stop: watch::Sender<bool>,
}

/// Where a connection's [`arc_swap::Cache`] looks for changed settings.
struct SettingsOf(Arc<Node>);

impl std::ops::Deref for SettingsOf {
    type Target = arc_swap::ArcSwap<Settings>;

    fn deref(&self) -> &Self::Target {
        &self.0.settings
    }
}

/// Why a connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The other end is gone or is not to hear more.
    AtOnce,
    /// Its last reply, an error or a farewell, is on its way.
    AfterReply,
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Ended::AtOnce
    }
}

/// What a wait ended with.
enum Woken {
    /// Bytes came, or the other end closed.
    Read,
    /// Somebody pushed, or the connection is to end.
    Attention,
    /// The time is up.
    Time,
    /// The socket took so many bytes.
    Written(usize),
}

impl Connection {
    /// Takes over an accepted socket. `stop` ends the process when it is set.
    pub fn new(
        stream: TcpStream,
        node: Arc<Node>,
        manner: Manner,
        stop: watch::Sender<bool>,
    ) -> Self {
        let address = |address: io::Result<std::net::SocketAddr>| {
            address.map(|a| a.to_string()).unwrap_or_default()
        };
        let client = node.connect(
            address(stream.peer_addr()),
            address(stream.local_addr()),
            node.now(),
        );
        let session = Session::new(client, &node).in_manner(manner);
        let settings = arc_swap::Cache::new(SettingsOf(node.clone()));
        Connection {
            stream,
            node,
            session,
            scanner: Scanner::new(),
            batch: Batch::new(),
            buffer: BytesMut::new(),
            output: Output::new(),
            room: Room::new(),
            unscanned: false,
            at_end: false,
            told_bytes: 0,
            has_left: false,
            turn_from_us: UNKNOWN_US,
            settings,
            stop,
        }
    }

    /// Serves the connection until it ends.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn keeps its arguments twice, here 680 bytes for every idle connection"
    )]
    pub fn run(mut self) -> impl Future<Output = ()> + Send {
        async move {
            let ended = self.serve().await;
            self.leave();
            if let Err(Ended::AfterReply) = ended {
                let linger = Duration::from_millis(LINGER_MS);
                let _ = tokio::time::timeout(linger, self.linger()).await;
            }
        }
    }

    /// Leaves the node: nobody else knows of the connection then.
    fn leave(&mut self) {
        if !std::mem::replace(&mut self.has_left, true) {
            self.session.close(&self.node);
            let told_bytes = std::mem::take(&mut self.told_bytes);
            self.node.resident.add_buffers(-(told_bytes as i64));
        }
    }

    async fn serve(&mut self) -> Result<(), Ended> {
        loop {
            if self.unscanned {
                self.run_requests().await?;
            } else if self.at_end {
                return Err(Ended::AtOnce);
            } else {
                match self.wait(Wait::ForRequests, None).await? {
                    Woken::Attention => {
                        self.attend()?;
                        self.rest();
                    }
                    Woken::Read => self.run_requests().await?,
                    Woken::Time | Woken::Written(_) => unreachable!("not waited for"),
                }
            }
            self.flush().await?;
            self.trim();
            self.give_way().await;
        }
    }

    /// Waits for what `wait` says, and meanwhile for bytes, and for others' attention.
    async fn wait(&mut self, wait: Wait, until_us: Option<u64>) -> Result<Woken, Ended> {
        let limit = self.settings.load().client_query_buffer_limit_bytes as usize;
        let reading = !self.at_end && (wait == Wait::ForRequests || self.buffer.len() < limit);
        if reading && self.buffer.capacity() > 0 {
            self.room.make(&mut self.buffer);
        }
        let (client, stream, buffer) = (&self.session.client, &mut self.stream, &mut self.buffer);
        let (output, read_bytes) = (&self.output, self.room.read_bytes());
        let before = buffer.len();
        let mut suspended = false;
        let mut timer = until_us.map(|until_us| {
            let left_us = until_us.saturating_sub(self.node.host.monotonic_us());
            Box::pin(tokio::time::sleep(Duration::from_micros(left_us)))
        });
        let mut poll = |cx: &mut Context<'_>| {
            client.register(cx.waker());
            let wanted = match wait {
                // What is pushed stays in the outbox, under its limit, until the socket takes what is here.
                Wait::ToWrite => client.has(ClientFlag::Killed),
                Wait::ForRequests | Wait::ForTime => client.wants_attention(),
            };
            if wanted {
                return Poll::Ready(Ok(Woken::Attention));
            }
            if let Some(timer) = &mut timer
                && timer.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Ok(Woken::Time));
            }
            if wait == Wait::ToWrite {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let filled = output.io_slices(&mut slices);
                let stream = Pin::new(&mut *stream);
                if let Poll::Ready(written) = stream.poll_write_vectored(cx, &slices[..filled]) {
                    return Poll::Ready(written.map(Woken::Written));
                }
            }
            if !reading {
                return Poll::Pending;
            }
            if buffer.capacity() == 0 {
                // An idle connection holds no memory for what may come.
                ready!(stream.poll_read_ready(cx))?;
                buffer.reserve(read_bytes);
            }
            let read = ready!(pin!(stream.read_buf(buffer)).poll(cx));
            Poll::Ready(read.map(|_| Woken::Read))
        };
        let woken = poll_fn(|cx| {
            let woken = poll(cx);
            suspended |= woken.is_pending();
            woken
        })
        .await?;
        if suspended {
            self.turn_from_us = UNKNOWN_US;
        }
        if matches!(woken, Woken::Read) {
            self.on_read(self.buffer.len() - before, limit)?;
        }
        Ok(woken)
    }

    /// Whether the peer has closed, as the kernel knows it: the runtime may not have heard of it yet.
    fn has_hung_up(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        matches!(SockRef::from(&self.stream).peek(&mut byte), Ok(0))
    }

    /// Takes note of `read` bytes at the buffer's end.
    fn on_read(&mut self, read: usize, limit: usize) -> Result<(), Ended> {
        self.at_end = read == 0;
        self.unscanned |= read > 0;
        self.node
            .stats
            .input_bytes
            .fetch_add(read as u64, Ordering::Relaxed);
        self.room.on_read(&self.buffer);
        if self.buffer.len() > limit {
            tracing::warn!(
                client = self.session.client.id,
                addr = self.session.client.addr,
                "closed for reaching the query buffer limit"
            );
            return Err(Ended::AtOnce);
        }
        Ok(())
    }

    /// Takes what others pushed, or ends.
    fn attend(&mut self) -> Result<(), Ended> {
        self.session.client.begin_turn();
        if self.session.client.has(ClientFlag::Killed) {
            return Err(Ended::AtOnce);
        }
        if self.session.client.has_pushes() {
            self.session.client.drain_outbox(&mut self.output);
        }
        Ok(())
    }

    /// Lets the other connections run if this one has worked for long.
    async fn give_way(&mut self) {
        let worked_until_us = self.session.client.active_us.load(Ordering::Relaxed);
        if worked_until_us.saturating_sub(self.turn_from_us) > TURN_US_MAX {
            tokio::task::yield_now().await;
            self.turn_from_us = self.node.host.monotonic_us();
        }
    }

    /// Runs every complete request in the buffer.
    async fn run_requests(&mut self) -> Result<(), Ended> {
        loop {
            self.batch.clear();
            self.unscanned = false;
            let limits = limits(self.settings.load(), self.session.is_authenticated());
            let requests_max = match limits.access {
                Access::Authenticated => REQUESTS_MAX,
                Access::Unauthenticated => 1,
            };
            let scan = self
                .scanner
                .scan(&self.buffer, &limits, requests_max, &mut self.batch);
            let steps = self.run_batch().await;
            let consumed = self.batch.consumed;
            self.scanner.advance(consumed);
            self.buffer.advance(consumed);
            steps?;
            match scan {
                Scan::BatchFull => self.give_way().await,
                Scan::NeedMore { missing } => {
                    self.room.missing_bytes = missing;
                    if consumed == 0 {
                        // Part of a request is activity too, for the idle timeout.
                        let now_us = self.node.host.monotonic_us();
                        self.session
                            .client
                            .active_us
                            .store(now_us, Ordering::Relaxed);
                    }
                    return Ok(());
                }
                Scan::Error(error) => {
                    let message = error.message();
                    tracing::debug!(client = self.session.client.id, message = %String::from_utf8_lossy(&message), "protocol error");
                    let mut text = b"ERR ".to_vec();
                    text.extend_from_slice(&message);
                    Reply::new(&mut self.output, Protocol::Resp2).error_bytes(&text);
                    self.flush().await?;
                    return Err(Ended::AfterReply);
                }
            }
        }
    }

    async fn run_batch(&mut self) -> Result<(), Ended> {
        let mut next = 0;
        let mut runs_long = false;
        loop {
            let mut run = || {
                self.session.run(
                    &self.node,
                    &self.buffer,
                    &self.batch,
                    &mut next,
                    &mut self.output,
                )
            };
            let step = match std::mem::take(&mut runs_long) {
                true => tokio::task::block_in_place(run),
                false => run(),
            };
            if self.turn_from_us == UNKNOWN_US {
                self.turn_from_us = self.session.began_us();
            }
            match step {
                Step::Done => {
                    if self.session.client.wants_attention() {
                        self.attend()?;
                    }
                    return Ok(());
                }
                Step::Flush => self.flush().await?,
                Step::Long => {
                    self.flush().await?;
                    runs_long = true;
                }
                Step::Yield => {
                    tokio::task::yield_now().await;
                    self.turn_from_us = self.node.host.monotonic_us();
                    if self.session.client.has(ClientFlag::Killed) {
                        return Err(Ended::AtOnce);
                    }
                }
                // Whoever has closed waits for nothing any more.
                Step::Blocked { .. } if self.at_end => return Err(Ended::AtOnce),
                Step::Wait { .. } | Step::Blocked { .. } | Step::Replies => {
                    let (until_us, may_never_come) = match step {
                        Step::Wait { until_us } => (until_us, until_us.is_none()),
                        Step::Blocked { until_us } => (until_us, false),
                        _ => (None, false),
                    };
                    self.flush().await?;
                    let is_blocked = matches!(step, Step::Blocked { .. });
                    match self.wait(Wait::ForTime, until_us).await? {
                        // What it is called for must not go to somebody who has gone: others wait for it too.
                        Woken::Attention if is_blocked && self.has_hung_up() => {
                            return Err(Ended::AtOnce);
                        }
                        Woken::Attention => self.attend()?,
                        // Who has closed one half still gets its reply, unless that may never come, or it is called for something
                        // at this very moment.
                        Woken::Read if self.at_end && (may_never_come || is_blocked) => {
                            return Err(Ended::AtOnce);
                        }
                        Woken::Read | Woken::Time | Woken::Written(_) => {}
                    }
                }
                Step::Close => {
                    self.flush().await?;
                    return Err(Ended::AfterReply);
                }
                Step::Abort => return Err(Ended::AtOnce),
                Step::Shutdown => {
                    // A reader that does not read does not hold up the end.
                    let last_words = Duration::from_millis(LAST_WORDS_MS);
                    let _ = tokio::time::timeout(last_words, self.flush()).await;
                    self.stop.send_replace(true);
                    return Err(Ended::AtOnce);
                }
            }
        }
    }

    /// Writes the output to the end, reading on meanwhile if the socket does not take it.
    async fn flush(&mut self) -> Result<(), Ended> {
        if self.output.is_empty() {
            return Ok(());
        }
        let written = match self.output.as_one_slice() {
            Some(one) => self.stream.try_write(one),
            None => {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let filled = self.output.io_slices(&mut slices);
                self.stream.try_write_vectored(&slices[..filled])
            }
        };
        match written {
            Ok(written) => self.on_written(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Ended::AtOnce),
        }
        if !self.output.is_empty() {
            self.write_rest().await?;
        }
        Ok(())
    }

    /// Writes what the socket did not take at once.
    async fn write_rest(&mut self) -> Result<(), Ended> {
        while !self.output.is_empty() {
            self.tell_buffers();
            let client = &self.session.client;
            let pending = self.output.len() as u64;
            client.output_bytes.store(pending, Ordering::Relaxed);
            client
                .input_bytes
                .store(self.buffer.len() as u64, Ordering::Relaxed);
            let now_us = self.node.host.monotonic_us();
            if client.is_over_limit(pending, self.node.output_limit(client.class()), now_us) {
                tracing::warn!(
                    client = client.id,
                    addr = client.addr,
                    "closed for overcoming of output buffer limits"
                );
                return Err(Ended::AtOnce);
            }
            match self.wait(Wait::ToWrite, None).await? {
                Woken::Attention => return Err(Ended::AtOnce),
                Woken::Written(0) => return Err(Ended::AtOnce),
                Woken::Written(written) => {
                    self.on_written(written);
                    // Taking replies is activity, for the idle timeout.
                    let active_us = &self.session.client.active_us;
                    active_us.store(now_us, Ordering::Relaxed);
                    self.give_way().await;
                }
                Woken::Read | Woken::Time => {}
            }
        }
        self.session.client.output_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn on_written(&mut self, written: usize) {
        self.node
            .stats
            .output_bytes
            .fetch_add(written as u64, Ordering::Relaxed);
        self.output.advance(written);
    }

    /// Ends our direction and takes what the other end is still sending. A socket that is closed over unread bytes
    /// resets the connection, and the last reply may be lost with it.
    async fn linger(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        let mut left = LINGER_BYTES_MAX;
        while !self.at_end && left > 0 {
            self.buffer.clear();
            self.buffer.reserve(room::READ_BYTES_MIN);
            let read = self.stream.read_buf(&mut self.buffer).await?;
            self.at_end = read == 0;
            left = left.saturating_sub(read);
        }
        Ok(())
    }

    /// Gives all buffers back if nothing was asked for long: most of many connections are idle.
    fn rest(&mut self) {
        let active_us = self.session.client.active_us.load(Ordering::Relaxed);
        let idle_us = self.node.host.monotonic_us().saturating_sub(active_us);
        if idle_us >= REST_US_MIN && self.buffer.is_empty() && self.output.is_empty() {
            self.buffer = BytesMut::new();
            self.batch = Batch::new();
            self.output = Output::new();
            self.room.forget();
        }
    }

    /// Tells the node of large buffers: they are no part of its budget, and no reason to evict.
    fn tell_buffers(&mut self) {
        let bytes = self.buffer.capacity() + self.output.memory_bytes();
        if bytes.abs_diff(self.told_bytes) > TOLD_BYTES_STEP {
            let grown = bytes as i64 - self.told_bytes as i64;
            self.node.resident.add_buffers(grown);
            self.told_bytes = bytes;
        }
    }

    /// Gives memory back that one large request or reply made the buffers grow to.
    fn trim(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES_MAX {
            self.buffer = BytesMut::new();
            self.room.forget();
        }
        self.output.shrink();
        self.tell_buffers();
        self.session
            .client
            .input_bytes
            .store(self.buffer.len() as u64, Ordering::Relaxed);
    }
}

/// However its task ends, by a panic too, no trace of the connection may be left in the node.
impl Drop for Connection {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What a connection waits for beside bytes and attention.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    ForRequests,
    ForTime,
    ToWrite,
}

fn limits(settings: &Settings, authenticated: bool) -> Limits {
    Limits {
        bulk_bytes_max: settings.proto_max_bulk_len_bytes as usize,
        request_bytes_max: settings.client_query_buffer_limit_bytes as usize,
        access: if authenticated {
            Access::Authenticated
        } else {
            Access::Unauthenticated
        },
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests;
