//! Clients' connections: at the node a real session that scans bytes and runs batches; at the other end a simulated
//! client that sends a batch, waits for all of its replies, and gives up at some time.

use super::locks::Holding;
use super::requests::{Asked, Asking};
use super::world::{Event, Phase, World};
use crate::faults::Fault;
use bytes::Bytes;
use node::{ClientFlag, Node, Session, Step};
use resp::{Batch, Limits, Output, Scan, Scanner, split_reply};
use std::io::IoSlice;
use std::sync::Arc;

/// Requests of one batch at the node, as in the server.
const REQUESTS_MAX: usize = 1024;
/// Steps of one turn of a connection; more would be a loop without an end.
const STEPS_MAX: usize = 10_000;

/// Number of a connection.
pub type ConnectionId = u64;

/// A connection at the node.
pub struct Connection {
    /// The client at the other end.
    pub client: usize,
    /// The node.
    pub node: usize,
    session: Session,
    scanner: Scanner,
    batch: Batch,
    buffer: Vec<u8>,
    next: usize,
    output: Output,
    /// What was written and is not sent yet.
    flushed: Vec<u8>,
    is_running: bool,
    has_more: bool,
    waits: bool,
    /// When it goes on though nothing rouses it, by its node's clock, us.
    until_us: Option<u64>,
}

/// Whether a connection goes on.
#[derive(PartialEq, Eq)]
enum Went {
    On,
    /// It ends; what it had to say is sent.
    Closed,
    /// It ends, and says nothing more.
    Aborted,
}

impl Connection {
    fn new(client: usize, number: usize, node: &Arc<Node>) -> Connection {
        let address = format!("10.0.1.{client}:5000");
        let shared = node.connect(address, "10.0.0.1:6379".into(), node.now());
        Connection {
            client,
            node: number,
            session: Session::new(shared, node),
            scanner: Scanner::new(),
            batch: Batch::new(),
            buffer: Vec::new(),
            next: 0,
            output: Output::new(),
            flushed: Vec::new(),
            is_running: false,
            has_more: false,
            waits: false,
            until_us: None,
        }
    }

    /// Whether it was roused.
    pub fn wants_turn(&self) -> bool {
        self.session.client.wants_attention()
    }

    /// Somebody roused it: takes what was pushed to it.
    fn attend(&mut self) -> Went {
        self.session.client.begin_turn();
        self.session.client.drain_outbox(&mut self.output);
        self.waits = false;
        match self.session.client.has(ClientFlag::Killed) {
            true => Went::Aborted,
            false => Went::On,
        }
    }

    /// One turn: runs what is there as far as it goes.
    fn run(&mut self, node: &Node) -> Went {
        if self.wants_turn() && self.attend() == Went::Aborted {
            return Went::Aborted;
        }
        for _ in 0..STEPS_MAX {
            if self.waits {
                return Went::On;
            }
            if !self.is_running {
                if !self.has_more {
                    return Went::On;
                }
                self.batch.clear();
                let limits = Limits::default();
                let scan = self
                    .scanner
                    .scan(&self.buffer, &limits, REQUESTS_MAX, &mut self.batch);
                assert!(!matches!(scan, Scan::Error(_)), "clients are well-behaved");
                self.has_more = scan == Scan::BatchFull;
                (self.is_running, self.next) = (true, 0);
            }
            let (batch, next) = (&self.batch, &mut self.next);
            let step = self
                .session
                .run(node, &self.buffer, batch, next, &mut self.output);
            match step {
                Step::Done => {
                    let consumed = self.batch.consumed;
                    self.scanner.advance(consumed);
                    self.buffer.drain(..consumed);
                    self.is_running = false;
                }
                Step::Flush => self.flushed = self.written(),
                Step::Yield | Step::Long => {}
                Step::Replies | Step::Wait { .. } | Step::Blocked { .. } => {
                    self.waits = true;
                    if let Step::Wait { until_us } | Step::Blocked { until_us } = step {
                        self.until_us = until_us;
                    }
                    // As in the server: who is roused by less than what it waits for waits on.
                    if self.wants_turn() && self.attend() == Went::Aborted {
                        return Went::Aborted;
                    }
                }
                Step::Close => return Went::Closed,
                Step::Abort | Step::Shutdown => return Went::Aborted,
            }
        }
        panic!("a connection's turn without an end");
    }

    /// Whether its time has come to go on.
    fn is_due(&mut self, now_us: u64) -> bool {
        let due = self.waits && self.until_us.is_some_and(|until_us| until_us <= now_us);
        if due {
            (self.waits, self.until_us) = (false, None);
        }
        due
    }

    /// What is to be written.
    fn written(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.flushed);
        while !self.output.is_empty() {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = self.output.io_slices(&mut slices);
            let before = bytes.len();
            slices[..filled]
                .iter()
                .for_each(|slice| bytes.extend_from_slice(slice));
            self.output.advance(bytes.len() - before);
        }
        bytes
    }
}

/// A client.
#[derive(Debug, Default)]
pub struct Client {
    connection: Option<ConnectionId>,
    input: Vec<u8>,
    asked: Asked,
    holding: Holding,
    watched: Option<(u64, Option<Bytes>)>,
}

impl Client {
    /// Whether it waits for a reply.
    pub fn waits(&self) -> bool {
        !self.asked.expected.is_empty()
    }
}

impl World {
    /// A client sends its next batch, over a new connection if it has none.
    pub(super) fn on_client_wakes(&mut self, number: usize) {
        if self.phase == Phase::Settling || self.clients[number].waits() {
            return;
        }
        let Some(id) = self.clients[number]
            .connection
            .or_else(|| self.connect(number))
        else {
            let rest_us = self.random.between(1_000, 30_000);
            self.after(rest_us, Event::ClientWakes(number));
            return;
        };
        let watched = self.clients[number].watched.take();
        let mut asking = Asking {
            judge: &mut self.judge,
            random: &mut self.random,
            keys: self.plan.keys,
            ttl_ms_max: self.plan.ttl_ms_max,
            made: &mut self.made,
            holding: &self.clients[number].holding,
            wants_locks: (self.plan.clients..self.plan.clients_total()).contains(&number),
            wants_queues: number >= self.plan.clients_total(),
            process: number as u64,
            now_us: self.now_us,
        };
        let (bytes, asked) = asking.batch(watched);
        self.ask(number, id, bytes, asked);
    }

    /// A client asks what is there at the end.
    pub(super) fn ask_all(&mut self, number: usize) {
        let id = self.clients[number].connection;
        if let Some(id) = id.or_else(|| self.connect(number)) {
            let (bytes, asked) = Asking::ask_all(&mut self.judge, self.now_us);
            self.ask(number, id, bytes, asked);
        }
    }

    fn ask(&mut self, number: usize, id: ConnectionId, bytes: Vec<u8>, asked: Asked) {
        self.clients[number].asked = asked;
        self.clients[number].asked.lock_delay_us = self.plan.lock_delay_ms() * 1000;
        self.note(|| format!("client {number} asks {}", shown(&bytes)));
        let delay_us = self.random.between(20, 300);
        self.after(delay_us, Event::ToNode(id, bytes));
        self.after(self.plan.patience_us, Event::ClientGivesUp(id, self.now_us));
    }

    fn connect(&mut self, number: usize) -> Option<ConnectionId> {
        let at = match self.focus {
            Some((node, until_us)) if until_us > self.now_us && self.random.chance(700_000) => node,
            _ => self.random.below(self.machines.len() as u64) as usize,
        };
        let node = self.begin_turn(at)?;
        self.connection_last += 1;
        let id = self.connection_last;
        self.connections
            .insert(id, Connection::new(number, at, &node));
        self.clients[number].connection = Some(id);
        self.note(|| format!("client {number} connects to n{at}"));
        Some(id)
    }

    /// Bytes arrive at a node.
    pub(super) fn on_bytes(&mut self, id: ConnectionId, bytes: &[u8]) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.buffer.extend_from_slice(bytes);
            connection.has_more = true;
            self.serve(id);
        }
    }

    /// Time went by at a node: connections that waited for it go on.
    pub(super) fn wake_late(&mut self, number: usize, now_us: u64) {
        let mut due = Vec::new();
        for (id, connection) in &mut self.connections {
            if connection.node == number && connection.is_due(now_us) {
                due.push(*id);
            }
        }
        for id in due {
            self.serve_alone(id);
        }
    }

    /// A connection has its turn, and its node after it.
    fn serve(&mut self, id: ConnectionId) {
        if let Some(number) = self.serve_alone(id) {
            self.end_turn(number);
        }
    }

    /// A connection has its turn; returns the node.
    pub(super) fn serve_alone(&mut self, id: ConnectionId) -> Option<usize> {
        let number = self.connections.get(&id)?.node;
        let node = self.begin_turn(number)?;
        let mut connection = self.connections.remove(&id)?;
        match connection.run(&node) {
            Went::On => {
                self.connections.insert(id, connection);
            }
            Went::Closed => {
                let bytes = connection.written();
                self.send_to_client(id, bytes);
                self.close(id, connection);
            }
            Went::Aborted => self.close(id, connection),
        }
        Some(number)
    }

    /// Sends what the connections of a node have to say.
    pub(super) fn write_all(&mut self, number: usize) {
        let mut all = Vec::new();
        for (id, connection) in &mut self.connections {
            if connection.node == number {
                all.push((*id, connection.written()));
            }
        }
        for (id, bytes) in all {
            self.send_to_client(id, bytes);
        }
    }

    fn send_to_client(&mut self, id: ConnectionId, bytes: Vec<u8>) {
        let delay_us = 40 + self.connections.get(&id).map_or(0, |one| one.client as u64);
        if !bytes.is_empty() {
            self.after(delay_us, Event::ToClient(id, bytes));
        }
    }

    /// The node's end of a connection is closed, so the client's is, soon.
    fn close(&mut self, id: ConnectionId, mut connection: Connection) {
        if let Some(node) = self.begin_turn(connection.node) {
            connection.session.close(&node);
        }
        self.after(100, Event::ClientLoses(id));
    }

    /// Bytes arrive at a client.
    pub(super) fn on_replies(&mut self, id: ConnectionId, bytes: &[u8]) {
        let now_us = self.now_us;
        let Some(number) = self.client_of(id) else {
            return;
        };
        self.note(|| format!("client {number} hears {}", shown(bytes)));
        let client = &mut self.clients[number];
        client.input.extend_from_slice(bytes);
        while let Some((reply, _)) = split_reply(&client.input) {
            let length = reply.len();
            let holding = &mut client.holding;
            let watched = client.asked.take(reply, &mut self.judge, holding, now_us);
            client.watched = watched.or(client.watched.take());
            client.input.drain(..length);
        }
        if client.asked.expected.is_empty() {
            if self.phase != Phase::Trouble {
                self.answered_since_healing += 1;
            }
            if self.random.chance(100_000) {
                self.leave(number);
            }
            self.rest(number);
        }
    }

    fn rest(&mut self, number: usize) {
        let rest_us = self.random.below(self.plan.rest_us_max + 1);
        self.after(rest_us, Event::ClientWakes(number));
    }

    fn client_of(&self, id: ConnectionId) -> Option<usize> {
        let is_its = |client: &Client| client.connection == Some(id);
        self.clients.iter().position(is_its)
    }

    /// A client's connection is gone. What was not answered has an outcome that nobody knows.
    pub(super) fn on_client_loses(&mut self, id: ConnectionId) {
        if let Some(number) = self.client_of(id) {
            self.note(|| format!("client {number} loses its connection"));
            let was_waiting = self.clients[number].waits();
            let mut client = std::mem::take(&mut self.clients[number]);
            self.judge.let_go_of_all(&mut client.holding, self.now_us);
            if was_waiting {
                self.rest(number);
            }
        }
    }

    /// A client that still waits for what it asked at `call_us` turns to another node. While nothing troubles the
    /// cluster none gives up: then each must be answered.
    pub(super) fn on_client_gives_up(&mut self, id: ConnectionId, call_us: u64) {
        let Some(number) = self.client_of(id) else {
            return;
        };
        let client = &self.clients[number];
        if client.waits() && client.asked.call_us == call_us && self.phase == Phase::Trouble {
            self.tally.count(Fault::ClientLoss);
            self.note(|| format!("client {number} gives up"));
            self.leave(number);
            self.rest(number);
        }
    }

    /// A client closes its connection.
    fn leave(&mut self, number: usize) {
        let mut client = std::mem::take(&mut self.clients[number]);
        self.judge.let_go_of_all(&mut client.holding, self.now_us);
        if let Some(id) = client.connection {
            self.after(50, Event::NodeLoses(id));
        }
    }

    /// The other end of a connection is closed.
    pub(super) fn on_node_loses(&mut self, id: ConnectionId) {
        if let Some(mut connection) = self.connections.remove(&id)
            && let Some(node) = self.begin_turn(connection.node)
        {
            connection.session.close(&node);
            self.end_turn(connection.node);
        }
    }

    /// All connections of a node break: it is gone.
    pub(super) fn break_connections(&mut self, number: usize) {
        let ids: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.node == number)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.connections.remove(&id);
            self.after(100, Event::ClientLoses(id));
        }
    }
}

/// Bytes of the protocol on one line.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim_end().replace("\r\n", " ")
}
