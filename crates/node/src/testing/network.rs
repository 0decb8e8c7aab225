//! Several nodes in one process, on one clock, with links that the test cuts: every message passes the real outboxes
//! and the real bytes of frames.

use super::Clock;
use crate::cluster::Membership;
use crate::journal::Journal;
use crate::meta::{JoinRequest, NodeAddresses, RequestId, Welcome};
use crate::node::Node;
use crate::settings::{OnQuorumLoss, Settings};
use crate::wire::{Class, Frame, FrameReader, PeerMessage};
use parking_lot::Mutex;
use paxos::{Config, GroupId, Incarnation, NodeId, ReplicaId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Rounds of delivery until nothing is said any more; more would be a conversation without an end.
const ROUNDS_MAX: usize = 2000;

/// The replica that node `number` is in its first life.
pub(crate) fn replica(number: u32) -> ReplicaId {
    ReplicaId {
        node: NodeId(number),
        incarnation: Incarnation(1),
    }
}

/// Nodes 1, 2, 3 … that vote in every group from the beginning.
pub(crate) struct Network {
    /// By number, from 1: node `n` is at `n - 1`.
    pub nodes: Vec<Arc<Node>>,
    /// Everybody's clock.
    pub clock: Clock,
    /// Who does not hear whom: from, to.
    cut: BTreeSet<(u32, u32)>,
    /// Who stands still.
    stopped: BTreeSet<u32>,
    /// Messages delivered so far.
    pub delivered: usize,
    /// Which message gets lost: from, to, what.
    loses: Option<Loses>,
    /// How often somebody asked to join.
    asked: u32,
}

/// Says of a message whether it gets lost.
type Loses = Box<dyn FnMut(u32, u32, &PeerMessage) -> bool>;

impl Network {
    /// `count` nodes, `voters` of which found all groups; their settings changed by `change`.
    pub fn new(count: u32, voters: u32, change: impl Fn(&mut Settings)) -> Self {
        Network::with_journals(count, voters, |_, settings| change(settings), |_| None)
    }

    /// The same, with settings by number, and journals.
    pub fn with_journals(
        count: u32,
        voters: u32,
        change: impl Fn(u32, &mut Settings),
        journal: impl Fn(u32) -> Option<Arc<dyn Journal>>,
    ) -> Self {
        let clock = Clock::new(u64::from(count));
        let founders: Vec<ReplicaId> = (1..=voters).map(replica).collect();
        let node = |number| {
            let mut settings = Settings {
                shards: 8,
                maxmemory_bytes: 64 << 20,
                ..Settings::default()
            };
            change(number, &mut settings);
            let membership = Membership {
                me: replica(number),
                seed: 77,
                journal: journal(number),
                founders: (number <= voters).then(|| founders.clone()),
                ..Membership::founder()
            };
            let node = Node::member(settings, Box::new(clock.clone()), membership);
            Arc::new(node.expect("8 shards divide the slots"))
        };
        let network = Network {
            nodes: (1..=count).map(node).collect(),
            clock,
            cut: BTreeSet::new(),
            stopped: BTreeSet::new(),
            delivered: 0,
            loses: None,
            asked: 0,
        };
        for number in 1..=count {
            let others: Vec<NodeId> = (1..=count).filter(|n| *n != number).map(NodeId).collect();
            let peers = &network.node(number).cluster.peers;
            peers.set_nodes(&others);
            for peer in peers.all().iter() {
                Class::ALL.iter().for_each(|class| peer.set_up(*class, 0));
            }
        }
        network
    }

    /// Three voters that have elected leaders.
    pub fn of_three() -> Self {
        let mut network = Network::new(3, 3, |_| {});
        network.settle();
        network
    }

    /// The same, and a shard of which a majority lost its memory begins anew: a lock for longer than was agreed on is not shown
    /// before that is ([`Network::disagree`]).
    pub fn of_three_that_reset() -> Self {
        let mut network = Network::new(3, 3, |settings| {
            settings.on_quorum_loss = OnQuorumLoss::Reset
        });
        network.settle();
        network
    }

    /// The nodes agree on nothing about the cluster from now on.
    pub fn disagree(&mut self) {
        self.lose(|_, _, message| match message {
            PeerMessage::Meta(_) => true,
            PeerMessage::Paxos(message) => message.group == GroupId(0),
            _ => false,
        });
    }

    /// A process asks node `at` to join, and becomes the next node with what it is told. The links to it are there at once.
    ///
    /// # Panics
    /// If it is refused, or nobody answers within 5 s.
    pub fn join(&mut self, at: u32) {
        let number = self.nodes.len() as u32 + 1;
        let welcome = self.ask_to_join(number, at).expect("it may join");
        self.begin(number as usize - 1, welcome);
        self.link_all();
    }

    fn ask_to_join(&mut self, number: u32, at: u32) -> Result<Welcome, String> {
        self.asked += 1;
        let request = JoinRequest {
            id: RequestId(u128::from(self.asked) << 64),
            name: format!("{number:040x}"),
            addresses: NodeAddresses {
                host: "127.0.0.1".into(),
                ports: [number as u16; 4],
            },
            weight: 1,
            zone: String::new(),
        };
        let told = Arc::new(Mutex::new(None));
        let slot = told.clone();
        let done = Box::new(move |answer| *slot.lock() = Some(answer));
        self.node(at).join_request(request, done);
        let mut waited_ms = 0;
        while told.lock().is_none() {
            assert!(waited_ms < 5000, "nobody answers");
            self.tick();
            waited_ms += 10;
        }
        let answer = told.lock().take().expect("waited for it");
        self.node(at).welcome(answer)
    }

    fn begin(&mut self, place: usize, welcome: Welcome) {
        let settings = Settings {
            shards: 1, // the cluster's count is taken
            maxmemory_bytes: 64 << 20,
            ..Settings::default()
        };
        let node = Node::member(
            settings,
            Box::new(self.clock.clone()),
            Membership::joined(welcome),
        );
        let node = Arc::new(node.expect("the cluster's count of shards"));
        match place == self.nodes.len() {
            true => self.nodes.push(node),
            false => self.nodes[place] = node,
        }
    }

    /// Nodes that joined die together, and come back without their memory, by way of node `at`. What time passes is theirs to
    /// be missed in.
    ///
    /// # Panics
    /// If one is refused for 20 s.
    pub fn lose_memory(&mut self, numbers: &[u32], at: u32) {
        for &number in numbers {
            self.stop(number);
            for node in &self.nodes {
                node.peer_down(NodeId(number), node.now());
            }
        }
        for &number in numbers {
            let welcome = (0..20)
                .find_map(|_| {
                    self.run_ms(1000);
                    self.ask_to_join(number, at).ok()
                })
                .expect("its former life is over");
            self.begin(number as usize - 1, welcome);
            self.stopped.remove(&number);
        }
        self.link_all();
    }

    /// Lets every node speak to all that it knows.
    pub fn link_all(&self) {
        for node in &self.nodes {
            for peer in node.cluster.peers.all().iter() {
                for class in Class::ALL {
                    let is_there = peer.node.0 as usize <= self.nodes.len();
                    if is_there && !peer.is_up(class) {
                        peer.set_up(class, node.now().monotonic_us);
                    }
                }
            }
        }
    }

    /// Node `number`.
    pub fn node(&self, number: u32) -> &Arc<Node> {
        &self.nodes[number as usize - 1]
    }

    /// The node that leads a shard and may show it.
    pub fn leader(&self, shard: usize) -> Option<u32> {
        (1..=self.nodes.len() as u32).find(|number| {
            let guard = self.node(*number).lock(shard);
            !self.stopped.contains(number)
                && guard.group.replica.is_leader()
                && guard.group.replica.lease_until() > self.node(*number).now().monotonic_us
        })
    }

    /// The configuration of a shard's group, as this node knows it.
    pub fn config(&self, number: u32, shard: usize) -> Config {
        let guard = self.node(number).lock(shard);
        guard.group.replica.config().clone()
    }

    /// Nothing passes between the two nodes from now on.
    pub fn cut(&mut self, one: u32, other: u32) {
        self.cut.extend([(one, other), (other, one)]);
    }

    /// Loses the messages that `loses` says, from now on.
    pub fn lose(&mut self, loses: impl FnMut(u32, u32, &PeerMessage) -> bool + 'static) {
        self.loses = Some(Box::new(loses));
    }

    /// Everything passes again, and nobody stands still.
    pub fn heal(&mut self) {
        self.loses = None;
        self.cut.clear();
        self.stopped.clear();
    }

    /// The node stands still: what is for it is lost, and it says nothing.
    pub fn stop(&mut self, number: u32) {
        self.stopped.insert(number);
    }

    /// It goes on.
    pub fn start(&mut self, number: u32) {
        self.stopped.remove(&number);
    }

    /// Lets 10 ms pass for everybody, then delivers.
    pub fn tick(&mut self) {
        self.link_all();
        self.clock.advance_ms(10);
        for number in 1..=self.nodes.len() as u32 {
            if !self.stopped.contains(&number) {
                let node = self.node(number);
                node.tick(node.now());
            }
        }
        self.deliver();
    }

    /// Lets time pass.
    pub fn run_ms(&mut self, ms: u64) {
        (0..ms.div_ceil(10)).for_each(|_| self.tick());
    }

    /// Lets time pass until every shard has a leader that serves reads.
    ///
    /// # Panics
    /// If that takes more than 10 s.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            self.tick();
            let shards = self.nodes[0].shards_count();
            if (0..shards).all(|shard| self.leader(shard).is_some()) {
                return;
            }
        }
        panic!("some shard has no leader after 10 s");
    }

    /// Delivers until nothing is said any more. No time passes.
    pub fn deliver(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if self.round() == 0 {
                return;
            }
        }
        panic!("a conversation without an end");
    }

    /// Delivers what waits now, as many messages as are returned; their answers wait for the next round.
    pub fn round(&mut self) -> usize {
        let mut sent = Vec::new();
        for from in 1..=self.nodes.len() as u32 {
            if self.stopped.contains(&from) {
                continue;
            }
            let node = self.node(from);
            node.flush(node.now());
            for peer in node.cluster.peers.all().iter() {
                for class in Class::ALL {
                    let mut frame = Frame::new();
                    while peer.take(class, &mut frame) {
                        sent.push((from, peer.node.0, messages(class, &mut frame)));
                    }
                }
            }
        }
        let mut count = 0;
        for (from, to, messages) in sent {
            if self.cut.contains(&(from, to)) || self.stopped.contains(&to) {
                continue;
            }
            let node = self.nodes[to as usize - 1].clone();
            let sender = self.node(from).cluster.me;
            let loses = &mut self.loses;
            let mut arriving = messages.into_iter().filter(|message| {
                let lost = loses.as_mut().is_some_and(|l| l(from, to, message));
                count += usize::from(!lost);
                !lost
            });
            let taken = node.on_peer_messages(sender, || arriving.next(), node.now());
            assert_eq!(taken, Ok(()), "a sound node's word is taken");
        }
        self.delivered += count;
        count
    }
}

/// What a frame holds, read back from its bytes; the frame is empty then.
fn messages(class: Class, frame: &mut Frame) -> Vec<PeerMessage> {
    let mut bytes = frame.take_bytes(class, 0);
    *frame = Frame::new();
    let mut reader = FrameReader::new(class);
    std::iter::from_fn(|| reader.next(&mut bytes).expect("a frame of our own")).collect()
}
