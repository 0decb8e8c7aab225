//! One connection: its socket, its buffers, and the loop between them.
//!
//! A turn reads the socket once, runs every complete request in the buffer, and writes once. While a slow reader
//! leaves replies unwritten, its further requests are read (up to `client-query-buffer-limit`) but not run: neither
//! side can wait for the other for ever, and nobody else is touched.

use bytes::{Buf, BytesMut};
use node::{ClientClass, ClientFlag, Node, Session, Settings, Step};
use resp::{Access, Batch, Limits, Output, Protocol, Reply, Scan, Scanner};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Room that a read finds at first; grows with what arrives.
const READ_BYTES_MIN: usize = 1 << 10;
/// Room that a read finds at most, unless a long argument is arriving.
const READ_BYTES_MAX: usize = 64 << 10;
/// An idle connection gives memory beyond this back.
const KEPT_BYTES_MAX: usize = 128 << 10;
/// Requests of one batch; the next batch waits for a turn of the other connections.
const REQUESTS_MAX: usize = 1024;
/// Pieces of one vectored write.
const SLICES_MAX: usize = 64;

/// A connection and all that belongs to it.
pub struct Connection {
    stream: TcpStream,
    node: Arc<Node>,
    session: Session,
    scanner: Scanner,
    batch: Batch,
    buffer: BytesMut,
    output: Output,
    /// Room that the next read should find.
    read_bytes: usize,
    /// The other end has sent all that it will.
    at_end: bool,
    stop: watch::Sender<bool>,
}

/// Why a connection ends; nobody is told.
struct Ended;

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Ended
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
    /// The socket takes bytes again.
    Writable,
}

impl Connection {
    /// Takes over an accepted socket. `stop` ends the process when it is set.
    pub fn new(stream: TcpStream, node: Arc<Node>, stop: watch::Sender<bool>) -> Self {
        let address = |address: io::Result<std::net::SocketAddr>| {
            address.map(|a| a.to_string()).unwrap_or_default()
        };
        let client = node.connect(
            address(stream.peer_addr()),
            address(stream.local_addr()),
            node.now(),
        );
        let session = Session::new(client, &node);
        Connection {
            stream,
            node,
            session,
            scanner: Scanner::new(),
            batch: Batch::new(),
            buffer: BytesMut::new(),
            output: Output::new(),
            read_bytes: READ_BYTES_MIN,
            at_end: false,
            stop,
        }
    }

    /// Serves the connection until it ends.
    pub async fn run(mut self) {
        let mut stopped = self.stop.subscribe();
        tokio::select! {
            biased;
            _ = self.serve() => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        self.session.close(&self.node);
    }

    async fn serve(&mut self) -> Result<(), Ended> {
        loop {
            match self.wait(Wait::ForRequests, None).await? {
                Woken::Attention => self.attend()?,
                Woken::Read => self.run_requests().await?,
                Woken::Time | Woken::Writable => unreachable!("not waited for"),
            }
            self.flush().await?;
            if self.at_end {
                return Err(Ended);
            }
            self.trim();
        }
    }

    /// Waits for what `wait` says, and meanwhile for bytes, and for others' attention.
    async fn wait(&mut self, wait: Wait, until_us: Option<u64>) -> Result<Woken, Ended> {
        let limit = self.node.settings.load().client_query_buffer_limit_bytes as usize;
        let reading = !self.at_end && (wait == Wait::ForRequests || self.buffer.len() < limit);
        if reading {
            let room = self.buffer.capacity() - self.buffer.len();
            if room < self.read_bytes / 2 || room < READ_BYTES_MIN / 2 {
                self.buffer.reserve(self.read_bytes);
            }
        }
        let (client, stream, buffer) = (&self.session.client, &mut self.stream, &mut self.buffer);
        let before = buffer.len();
        let now_us = self.node.host.monotonic_us();
        let mut timer = until_us.map(|until_us| {
            Box::pin(tokio::time::sleep(Duration::from_micros(
                until_us.saturating_sub(now_us),
            )))
        });
        let woken = poll_fn(|cx| {
            client.register(cx.waker());
            if client.wants_attention() {
                return Poll::Ready(Ok(Woken::Attention));
            }
            if let Some(timer) = &mut timer
                && timer.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Ok(Woken::Time));
            }
            if wait == Wait::ToWrite
                && let Poll::Ready(ready) = stream.poll_write_ready(cx)
            {
                return Poll::Ready(ready.map(|()| Woken::Writable));
            }
            if !reading {
                return Poll::Pending;
            }
            pin!(stream.read_buf(buffer))
                .poll(cx)
                .map_ok(|_| Woken::Read)
        })
        .await?;
        if matches!(woken, Woken::Read) {
            let read = self.buffer.len() - before;
            self.at_end = read == 0;
            self.node
                .stats
                .input_bytes
                .fetch_add(read as u64, Ordering::Relaxed);
            if read >= self.read_bytes {
                self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
            }
            if self.buffer.len() > limit {
                tracing::warn!(
                    client = self.session.client.id,
                    "closed for reaching the query buffer limit"
                );
                return Err(Ended);
            }
        }
        Ok(woken)
    }

    /// Takes what others pushed, or ends.
    fn attend(&mut self) -> Result<(), Ended> {
        if self.session.client.has(ClientFlag::Killed) {
            return Err(Ended);
        }
        self.session.client.drain_outbox(&mut self.output);
        Ok(())
    }

    /// Runs every complete request in the buffer.
    async fn run_requests(&mut self) -> Result<(), Ended> {
        loop {
            self.batch.clear();
            let limits = limits(&self.node.settings.load(), self.session.is_authenticated());
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
                Scan::BatchFull => tokio::task::consume_budget().await,
                Scan::NeedMore { missing } => {
                    // A long argument is arriving: room for it, but never for more than came already.
                    self.buffer.reserve(missing.min(self.buffer.len()));
                    return Ok(());
                }
                Scan::Error(error) => {
                    let message = error.message();
                    tracing::debug!(client = self.session.client.id, message = %String::from_utf8_lossy(&message), "protocol error");
                    let mut text = b"ERR ".to_vec();
                    text.extend_from_slice(&message);
                    Reply::new(&mut self.output, Protocol::Resp2).error_bytes(&text);
                    self.flush().await?;
                    return Err(Ended);
                }
            }
        }
    }

    async fn run_batch(&mut self) -> Result<(), Ended> {
        let mut next = 0;
        loop {
            let step = self.session.run(
                &self.node,
                &self.buffer,
                &self.batch,
                &mut next,
                &mut self.output,
            );
            match step {
                Step::Done => {
                    if self.session.client.wants_attention() {
                        self.attend()?;
                    }
                    return Ok(());
                }
                Step::Flush => self.flush().await?,
                Step::Yield => tokio::task::yield_now().await,
                Step::Wait { until_us } => {
                    self.flush().await?;
                    match self.wait(Wait::ForTime, until_us).await? {
                        Woken::Attention => self.attend()?,
                        Woken::Read if self.at_end => return Err(Ended),
                        Woken::Read | Woken::Time | Woken::Writable => {}
                    }
                }
                Step::Close => {
                    self.flush().await?;
                    return Err(Ended);
                }
                Step::Abort => return Err(Ended),
                Step::Shutdown => {
                    self.flush().await?;
                    self.stop.send_replace(true);
                    return Err(Ended);
                }
            }
        }
    }

    /// Writes the output to the end, reading on meanwhile if the socket does not take it.
    async fn flush(&mut self) -> Result<(), Ended> {
        while !self.output.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = self.output.io_slices(&mut slices);
            let written = match &slices[..filled] {
                [one] => self.stream.try_write(one),
                many => self.stream.try_write_vectored(many),
            };
            match written {
                Ok(written) => {
                    self.node
                        .stats
                        .output_bytes
                        .fetch_add(written as u64, Ordering::Relaxed);
                    self.output.advance(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait_to_write().await?
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Ended),
            }
        }
        self.session.client.output_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }

    async fn wait_to_write(&mut self) -> Result<(), Ended> {
        let client = &self.session.client;
        let pending = self.output.len() as u64;
        client.output_bytes.store(pending, Ordering::Relaxed);
        client
            .input_bytes
            .store(self.buffer.len() as u64, Ordering::Relaxed);
        let class = client.class();
        let limit = self.node.output_limit(class);
        if client.is_over_limit(pending, limit, self.node.host.monotonic_us()) {
            tracing::warn!(
                client = client.id,
                addr = client.addr,
                "closed for overcoming of output buffer limits"
            );
            return Err(Ended);
        }
        // What is pushed waits in the outbox, under its limit, until the socket takes what is here.
        match self.wait(Wait::ToWrite, None).await? {
            Woken::Attention if self.session.client.has(ClientFlag::Killed) => Err(Ended),
            Woken::Attention if class == ClientClass::Pubsub || !self.output.is_empty() => {
                self.attend()
            }
            Woken::Attention | Woken::Read | Woken::Time | Woken::Writable => Ok(()),
        }
    }

    /// Gives memory back that one large request or reply made the buffers grow to.
    fn trim(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES_MAX {
            self.buffer = BytesMut::new();
            self.read_bytes = READ_BYTES_MIN;
        }
        self.output.shrink();
        self.session
            .client
            .input_bytes
            .store(self.buffer.len() as u64, Ordering::Relaxed);
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
