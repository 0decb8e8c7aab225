//! The accepting side: handshakes, then a reader for each link.

use super::handshake::{self, HandshakeError, Hello, Identity, Purpose};
use super::{Ear, SILENCE_MAX, dial};
use bytes::BytesMut;
use node::NodeId;
use node::wire::{Class, FrameReader};
use parking_lot::Mutex;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Handshakes and joins at once; who comes beyond that is closed.
const GREETING_MAX: usize = 64;
/// Room that a read finds, and what a buffer is given back to.
const READ_BYTES: usize = 64 << 10;
/// Time that a reader works before it lets others run.
const TURN_MAX: Duration = Duration::from_millis(1);
/// Time between two looks at who is silent.
const WATCH: Duration = Duration::from_millis(250);
/// How long the listener rests when the system has no descriptor left.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// How long a join may wait for the cluster to agree.
const JOIN_MAX: Duration = Duration::from_secs(10);
/// Refusals that are logged in a minute.
const REFUSALS_LOGGED_MAX: usize = 20;
const WATCHES_PER_MINUTE: u32 = 240;

/// What the peer port's connections share.
pub struct Door {
    identity: Identity,
    ear: Arc<dyn Ear>,
    readers: Mutex<BTreeMap<(NodeId, Class), Arc<Reader>>>,
    greeting: AtomicUsize,
    refusals_logged: AtomicUsize,
}

/// A link that is read.
struct Reader {
    hello: Hello,
    address: SocketAddr,
    /// When it last said something, the ear's clock, us.
    heard_us: AtomicU64,
    /// It is to end: another took its place, or it was silent for too long.
    end: Notify,
}

impl Door {
    /// Nobody has come yet.
    pub fn new(identity: Identity, ear: Arc<dyn Ear>) -> Arc<Door> {
        Arc::new(Door {
            identity,
            ear,
            readers: Mutex::default(),
            greeting: AtomicUsize::new(0),
            refusals_logged: AtomicUsize::new(0),
        })
    }

    /// Ends links that were silent for too long. Fast ones only: on a bulk link there may be nothing to say.
    fn watch(&self) {
        let now_us = self.ear.now_us();
        for ((node, class), reader) in &*self.readers.lock() {
            let silent_us = now_us.saturating_sub(reader.heard_us.load(Ordering::Relaxed));
            if *class == Class::Fast && u128::from(silent_us) > SILENCE_MAX.as_micros() {
                tracing::warn!(node = node.0, "a node is silent, its links are closed");
                reader.end.notify_one();
            }
        }
    }

    /// Whether this dialer may have what it wants; the refusal is for people.
    fn admit(&self, hello: &Hello) -> Result<(), String> {
        let me = &self.identity;
        if hello.purpose == Purpose::Join {
            return match hello.process == me.process {
                true => Err("this is the node itself".into()),
                false => Ok(()),
            };
        }
        if hello.cluster_id != me.cluster_id {
            return Err(format!(
                "this node belongs to cluster {}, yours to {}",
                me.cluster_id, hello.cluster_id
            ));
        }
        if hello.to != me.me.node {
            return Err(format!("this is node {}, not {}", me.me.node.0, hello.to.0));
        }
        if hello.from.node == me.me.node {
            return Err(format!("node {} is this one, already", me.me.node.0));
        }
        if !self.ear.is_heard(hello.from) {
            return Err(format!(
                "node {} has begun another life than its {}th, or has left",
                hello.from.node.0, hello.from.incarnation.0
            ));
        }
        for ((node, _), reader) in &*self.readers.lock() {
            if *node != hello.from.node {
                continue;
            }
            let is_live = self
                .ear
                .now_us()
                .saturating_sub(reader.heard_us.load(Ordering::Relaxed))
                < SILENCE_MAX.as_micros() as u64;
            let (theirs, known) = (hello.from.incarnation, reader.hello.from.incarnation);
            if theirs < known {
                return Err(format!("node {} has begun its {}th life", node.0, known.0));
            }
            if theirs == known && hello.process != reader.hello.process && is_live {
                return Err(format!(
                    "another process is node {} already, at {}",
                    node.0, reader.address
                ));
            }
        }
        Ok(())
    }

    /// Registers a link's reader. An older one of the same link, and all of the node's earlier lives, end.
    fn enter(&self, hello: Hello, class: Class, address: SocketAddr) -> Arc<Reader> {
        let node = hello.from.node;
        let reader = Arc::new(Reader {
            heard_us: AtomicU64::new(self.ear.now_us()),
            hello,
            address,
            end: Notify::new(),
        });
        let mut readers = self.readers.lock();
        if let Some(before) = readers.insert((node, class), reader.clone()) {
            before.end.notify_one();
        }
        for class in Class::ALL {
            if let Some(other) = readers.get(&(node, class))
                && other.hello.from.incarnation < reader.hello.from.incarnation
            {
                other.end.notify_one();
            }
        }
        reader
    }

    /// Forgets a link's reader, unless another has its place; returns whether it was still its own.
    fn leave(&self, reader: &Arc<Reader>, class: Class) -> bool {
        let key = (reader.hello.from.node, class);
        let mut readers = self.readers.lock();
        let own = readers
            .get(&key)
            .is_some_and(|present| Arc::ptr_eq(present, reader));
        if own {
            readers.remove(&key);
        }
        own
    }

    /// Serves one connection from its first byte on.
    async fn serve(self: Arc<Self>, mut stream: TcpStream, address: SocketAddr) {
        dial::set_options(&stream);
        let greeted = handshake::answer(&mut stream, &self.identity.secret, |hello| {
            self.admit(hello)
        });
        let done = match greeted.await {
            Ok(hello) => match hello.purpose {
                Purpose::Join => self.join(&mut stream).await,
                Purpose::Link(class) => {
                    self.greeting.fetch_sub(1, Ordering::Relaxed);
                    self.read_link(stream, hello, class, address).await;
                    return;
                }
            },
            Err(error) => Err(error),
        };
        self.greeting.fetch_sub(1, Ordering::Relaxed);
        match done {
            // Whoever only knocks, or was stopped in mid-air, tells nothing.
            Ok(()) | Err(HandshakeError::Socket(_)) => {}
            Err(error) => {
                if self.refusals_logged.fetch_add(1, Ordering::Relaxed) < REFUSALS_LOGGED_MAX {
                    tracing::warn!(%address, %error, "a connection to the peer port is refused");
                }
            }
        }
    }

    async fn join(&self, stream: &mut TcpStream) -> Result<(), HandshakeError> {
        let request = handshake::take_join(stream).await?;
        let answer = tokio::time::timeout(JOIN_MAX, self.ear.join(request)).await;
        let answer = answer.unwrap_or_else(|_| {
            Err("the cluster could not agree on it in time, as no majority answers".into())
        });
        handshake::answer_join(stream, answer).await
    }

    /// Reads a link until it ends.
    async fn read_link(&self, stream: TcpStream, hello: Hello, class: Class, address: SocketAddr) {
        let node = hello.from.node;
        let reader = self.enter(hello, class, address);
        let ended = tokio::select! {
            ended = self.read(stream, &reader, class) => ended,
            () = reader.end.notified() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::warn!(node = node.0, %address, %error, "a link is closed");
        }
        if self.leave(&reader, class) && class == Class::Fast {
            self.ear.on_down(node);
            self.ear.turn();
        }
    }

    async fn read(&self, mut stream: TcpStream, reader: &Reader, class: Class) -> io::Result<()> {
        let mut frames = FrameReader::new(class);
        // A chunk of a state takes long enough to take in; what is urgent comes between two of them.
        let heard_max = match class {
            Class::Fast => MESSAGES_PER_LOOK,
            Class::Bulk => 1,
        };
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        loop {
            match stream.read_buf(&mut buffer).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // A process that was killed leaves like this; there is nothing to tell.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error),
            }
            reader.heard_us.store(self.ear.now_us(), Ordering::Relaxed);
            let mut since = Instant::now();
            loop {
                let (mut heard, mut bad) = (0, None);
                let mut next = || {
                    if heard == heard_max {
                        return None;
                    }
                    let message = frames.next(&mut buffer).unwrap_or_else(|error| {
                        bad = Some(error);
                        None
                    })?;
                    heard += 1;
                    Some(message)
                };
                let taken = self.ear.on_messages(reader.hello.from, &mut next);
                taken.map_err(io::Error::other)?;
                if let Some(error) = bad {
                    return Err(io::Error::other(error));
                }
                if heard > 0 {
                    self.ear.ask_for_turn();
                }
                if heard < heard_max {
                    break;
                }
                if since.elapsed() > TURN_MAX {
                    tokio::task::yield_now().await;
                    since = Instant::now();
                }
            }
            let missing = frames.missing_bytes(&buffer);
            // Twice of what has come at most, so a length alone takes no memory.
            buffer.reserve(missing.min(buffer.len()).max(READ_BYTES / 4));
        }
    }
}

/// Messages that are taken in as one turn.
const MESSAGES_PER_LOOK: usize = 64;

/// Accepts on the peer port for as long as the process lives.
pub async fn accept(listener: TcpListener, door: Arc<Door>) {
    let mut watch = tokio::time::interval(WATCH);
    watch.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut watches, mut watched_us) = (0u32, door.ear.now_us());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = watch.tick() => {
                let now_us = door.ear.now_us();
                // If this process was paused, what the others said meanwhile is still to be read.
                if now_us.saturating_sub(watched_us) < WATCH.as_micros() as u64 * 3 {
                    door.watch();
                }
                watched_us = now_us;
                watches += 1;
                if watches.is_multiple_of(WATCHES_PER_MINUTE) {
                    door.refusals_logged.store(0, Ordering::Relaxed);
                }
                continue;
            }
        };
        match accepted {
            Ok((stream, address)) => {
                if door.greeting.fetch_add(1, Ordering::Relaxed) >= GREETING_MAX {
                    door.greeting.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                tokio::spawn(door.clone().serve(stream, address));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => tokio::time::sleep(EXHAUSTED).await,
        }
    }
}
