//! The load loop: one thread, many connections, each sending a batch when the last one is answered.
//!
//! It shares two cores with the server, so it must cost little: no runtime, no task per connection,
//! one read and one write a batch, one look at the clock a batch.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::replies::ReplyCounter;
use crate::requests::RequestSource;

/// What one read takes at most: a batch of 64 values of 1 KiB with room to spare.
const READ_BYTES: usize = 256 * 1024;
/// Events taken at once; more wait in the kernel.
const EVENTS_MAX: usize = 1024;
/// A server that is silent for this long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Highest latency that the histogram tells apart.
const LATENCY_NS_MAX: u64 = 120_000_000_000;

/// When a load ends (if its source does not end first). Batches under way are always finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// This long after its start.
    Elapsed(Duration),
    /// This many requests, rounded up to whole batches.
    Requests(u64),
    /// With its source.
    SourceEnds,
}

/// What a load measured.
#[derive(Debug)]
pub struct LoadResult {
    /// Replies received, each to a request of this load.
    pub requests_count: u64,
    /// From the first request to the last reply.
    pub elapsed: Duration,
    /// Round trip of a batch, in nanoseconds.
    pub batch_latency_ns: Histogram<u64>,
}

impl LoadResult {
    /// Requests answered in a second.
    pub fn requests_per_second(&self) -> f64 {
        self.requests_count as f64 / self.elapsed.as_secs_f64()
    }
}

struct Connection {
    stream: TcpStream,
    /// Bytes of the current batch that the socket has not taken yet, from `unsent_at` on.
    unsent: Vec<u8>,
    unsent_at: usize,
    /// Replies of the current batch still to come; 0 when idle.
    replies_left: usize,
    sent_at: Instant,
    counter: Option<ReplyCounter>,
}

/// Open connections to one server, reused from load to load.
pub struct Connections {
    poll: Poll,
    connections: Vec<Connection>,
    read_buffer: Vec<u8>,
}

impl Connections {
    /// Opens `count` connections and waits until each is established.
    ///
    /// # Errors
    /// Whatever connecting gives.
    pub fn open(address: SocketAddr, count: usize) -> Result<Self> {
        ensure!(count > 0, "a load needs a connection");
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(count);
        for nth in 0..count {
            let stream = std::net::TcpStream::connect(address)
                .with_context(|| format!("connection {nth} to {address}"))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(
                &mut stream,
                Token(nth),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            connections.push(Connection {
                stream,
                unsent: Vec::new(),
                unsent_at: 0,
                replies_left: 0,
                sent_at: Instant::now(),
                counter: None,
            });
        }
        Ok(Self {
            poll,
            connections,
            read_buffer: vec![0; READ_BYTES],
        })
    }

    /// Sends what `source` gives over all connections until `until`, and waits for every reply.
    ///
    /// # Errors
    /// A reply that is not as expected, a closed connection, a server that falls silent.
    pub fn run(&mut self, source: &mut dyn RequestSource, until: Until) -> Result<LoadResult> {
        let started_at = Instant::now();
        let mut load = Load {
            source,
            until,
            started_at,
            sent_count: 0,
            requests_count: 0,
            in_flight: 0,
            batch_latency_ns: Histogram::new_with_bounds(1_000, LATENCY_NS_MAX, 3)
                .expect("the bounds are constants in order"),
        };
        for connection in &mut self.connections {
            connection.counter = Some(ReplyCounter::new(load.source.expected()));
            load.send_next(connection, Instant::now())?;
        }
        let mut events = Events::with_capacity(EVENTS_MAX);
        while load.in_flight > 0 {
            match self.poll.poll(&mut events, Some(SILENCE_MAX)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            if events.is_empty() {
                bail!(
                    "the server was silent for {} s with {} batches under way",
                    SILENCE_MAX.as_secs(),
                    load.in_flight
                );
            }
            for event in &events {
                let connection = &mut self.connections[event.token().0];
                if connection.unsent_at < connection.unsent.len() {
                    connection.send_rest()?;
                }
                if event.is_readable() {
                    load.on_readable(connection, &mut self.read_buffer)?;
                }
            }
        }
        Ok(LoadResult {
            requests_count: load.requests_count,
            elapsed: started_at.elapsed(),
            batch_latency_ns: load.batch_latency_ns,
        })
    }
}

/// One run over the connections.
///
/// - `in_flight` counts the connections whose `replies_left` is above 0.
struct Load<'a> {
    source: &'a mut dyn RequestSource,
    until: Until,
    started_at: Instant,
    sent_count: u64,
    requests_count: u64,
    in_flight: usize,
    batch_latency_ns: Histogram<u64>,
}

impl Load<'_> {
    /// Sends the next batch on an idle connection, unless the load is over.
    fn send_next(&mut self, connection: &mut Connection, now: Instant) -> Result<()> {
        assert!(connection.replies_left == 0, "one batch at a time");
        let is_over = match self.until {
            Until::Elapsed(duration) => now.duration_since(self.started_at) >= duration,
            Until::Requests(count) => self.sent_count >= count,
            Until::SourceEnds => false,
        };
        if is_over {
            return Ok(());
        }
        let Some(batch) = self.source.next_batch() else {
            return Ok(());
        };
        connection.replies_left = batch.replies_count;
        connection.sent_at = now;
        self.sent_count += batch.replies_count as u64;
        self.in_flight += 1;
        connection.send(batch.bytes)
    }

    /// Reads what came; at the batch's last reply notes its latency and sends the next.
    ///
    /// Events are edges: a read that fills less than its buffer has emptied the socket, and what
    /// comes later makes a new edge, so no read is spent on being told so.
    fn on_readable(&mut self, connection: &mut Connection, buffer: &mut [u8]) -> Result<()> {
        loop {
            let read = match connection.stream.read(buffer) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("reading replies"),
            };
            let counter = connection
                .counter
                .as_mut()
                .expect("set when the load began");
            let replies_count = counter.take(&buffer[..read])?;
            ensure!(
                replies_count <= connection.replies_left,
                "the server sent more replies than it was asked for"
            );
            connection.replies_left -= replies_count;
            self.requests_count += replies_count as u64;
            if connection.replies_left == 0 && replies_count > 0 {
                let now = Instant::now();
                let latency_ns = now.duration_since(connection.sent_at).as_nanos() as u64;
                self.batch_latency_ns.saturating_record(latency_ns);
                self.in_flight -= 1;
                self.send_next(connection, now)?;
            }
            if read < buffer.len() {
                return Ok(());
            }
        }
    }
}

impl Connection {
    /// Writes `bytes`, and keeps what the socket does not take.
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        assert!(self.unsent_at == self.unsent.len(), "the last batch is out");
        self.unsent.clear();
        self.unsent_at = 0;
        let written = write_some(&mut self.stream, bytes)?;
        self.unsent.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    fn send_rest(&mut self) -> Result<()> {
        self.unsent_at += write_some(&mut self.stream, &self.unsent[self.unsent_at..])?;
        Ok(())
    }
}

/// Writes until all is out or the socket is full; returns the bytes written.
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(0) => bail!("a socket took nothing"),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("sending requests"),
        }
    }
    Ok(written)
}

#[cfg(test)]
#[path = "load/tests.rs"]
mod tests;
