//! What waits to be sent to other nodes: an outbox for each of them and each class of traffic.
//!
//! Whoever has something to say puts it in (`Peers::send`); whoever owns the links takes it out, everything that
//! gathered in one frame, and writes it. Nothing here waits for anybody: to a node without a link nothing is kept, and a
//! full outbox drops, because everything that is sent is repeated by whoever needs it.

use crate::wire::{Class, Frame, PeerMessage, PushError};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use paxos::{Kind, NodeId};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Bytes that an outbox holds before it drops what carries clients' data.
pub const OUTBOX_BYTES_MAX: usize = 64 << 20;
/// Bytes beyond it for what keeps the groups going: beats, votes, acknowledgements.
const CONTROL_BYTES_MAX: usize = 8 << 20;
/// A frame with so many bytes takes no further message.
const FRAME_FULL_BYTES: usize = 1 << 20;

/// The outboxes of all other nodes.
#[derive(Debug, Default)]
pub struct Peers {
    /// Sorted by node.
    peers: ArcSwap<Vec<Arc<Peer>>>,
}

/// One other node.
#[derive(Debug)]
pub struct Peer {
    /// Which.
    pub node: NodeId,
    outboxes: [Outbox; 2],
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It waits to be written.
    Queued,
    /// There is no link to the node, or no such node.
    Down,
    /// The outbox is full, or the message larger than any may be.
    Dropped,
}

/// Messages for one node and class, in frames: all but the last are full.
///
/// Invariants: `bytes` is the sum of the frames' lengths, and 0 if and only if there is nothing to be taken;
/// nothing is in it while it is not up.
#[derive(Debug, Default)]
struct Outbox {
    frames: Mutex<VecDeque<Frame>>,
    bytes: AtomicUsize,
    up: AtomicBool,
    /// Since when it is up or down, the node's clock, us.
    since_us: AtomicU64,
    messages_count: AtomicU64,
    dropped_count: AtomicU64,
    written_bytes: AtomicU64,
}

/// A link as it is shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// To whom.
    pub node: NodeId,
    /// Of which class.
    pub class: Class,
    /// Whether it is there.
    pub up: bool,
    /// Since when, the node's clock, us.
    pub since_us: u64,
    /// Bytes that wait to be written.
    pub pending_bytes: usize,
    /// Messages put in so far.
    pub messages_count: u64,
    /// Messages dropped so far because it was full.
    pub dropped_count: u64,
    /// Bytes taken to be written so far.
    pub written_bytes: u64,
}

impl Peers {
    /// No other nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has an outbox for each of `nodes` from now on and for nobody else. Who stays keeps what waits.
    pub fn set_nodes(&self, nodes: &[NodeId]) {
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable();
        nodes.dedup();
        self.peers.rcu(|before| {
            let peer = |node: &NodeId| match position(before, *node) {
                Some(at) => before[at].clone(),
                None => Arc::new(Peer::new(*node)),
            };
            nodes.iter().map(peer).collect::<Vec<_>>()
        });
    }

    /// All other nodes, by id.
    pub fn all(&self) -> Arc<Vec<Arc<Peer>>> {
        self.peers.load_full()
    }

    /// One other node.
    pub fn get(&self, node: NodeId) -> Option<Arc<Peer>> {
        let peers = self.peers.load();
        position(&peers, node).map(|at| peers[at].clone())
    }

    /// Puts a message into the outbox that it belongs to. It is written when the node's flusher has its turn.
    pub fn send(&self, to: NodeId, message: &PeerMessage) -> Sent {
        let peers = self.peers.load();
        match position(&peers, to) {
            Some(at) => peers[at].outbox(class_of(message)).push(message),
            None => Sent::Down,
        }
    }

    /// Puts a message into the outboxes of all nodes that can be reached; returns how many those are.
    pub fn send_to_all(&self, message: &PeerMessage) -> usize {
        let peers = self.peers.load();
        let queued =
            |peer: &&Arc<Peer>| peer.outbox(class_of(message)).push(message) == Sent::Queued;
        peers.iter().filter(queued).count()
    }

    /// Whether there is a link for everything but bulk.
    pub fn is_up(&self, node: NodeId) -> bool {
        let peers = self.peers.load();
        position(&peers, node).is_some_and(|at| peers[at].is_up(Class::Fast))
    }

    /// All links, by node and class.
    pub fn links(&self) -> Vec<LinkStatus> {
        let peers = self.peers.load();
        let links = peers
            .iter()
            .flat_map(|peer| Class::ALL.map(|class| peer.outbox(class).status(peer.node, class)));
        links.collect()
    }
}

fn position(peers: &[Arc<Peer>], node: NodeId) -> Option<usize> {
    peers.binary_search_by_key(&node, |peer| peer.node).ok()
}

impl Peer {
    fn new(node: NodeId) -> Self {
        Peer {
            node,
            outboxes: [Outbox::default(), Outbox::default()],
        }
    }

    fn outbox(&self, class: Class) -> &Outbox {
        &self.outboxes[class as usize]
    }

    /// There is a link of this class from now on.
    pub fn set_up(&self, class: Class, now_us: u64) {
        let outbox = self.outbox(class);
        outbox.since_us.store(now_us, Ordering::Relaxed);
        outbox.up.store(true, Ordering::Release);
    }

    /// There is none any more: what waits is dropped.
    pub fn set_down(&self, class: Class, now_us: u64) {
        let outbox = self.outbox(class);
        let mut frames = outbox.frames.lock();
        // Under the lock, so that nothing comes in behind.
        outbox.up.store(false, Ordering::Release);
        outbox.since_us.store(now_us, Ordering::Relaxed);
        outbox.bytes.store(0, Ordering::Release);
        frames.clear();
    }

    /// Whether there is a link of this class.
    pub fn is_up(&self, class: Class) -> bool {
        self.outbox(class).up.load(Ordering::Acquire)
    }

    /// Whether something waits.
    pub fn has_pending(&self, class: Class) -> bool {
        self.outbox(class).bytes.load(Ordering::Acquire) > 0
    }

    /// Takes the next frame in exchange for an empty one, whose memory is used again. Returns whether there was one; it
    /// is yet to be sealed.
    pub fn take(&self, class: Class, frame: &mut Frame) -> bool {
        assert!(frame.is_empty(), "a frame is written before the next");
        let outbox = self.outbox(class);
        let mut frames = outbox.frames.lock();
        let Some(first) = frames.pop_front() else {
            return false;
        };
        let spare = std::mem::replace(frame, first);
        let taken = frame.len();
        if frames.is_empty() {
            frames.push_back(spare);
        }
        outbox.bytes.fetch_sub(taken, Ordering::Release);
        outbox
            .written_bytes
            .fetch_add(taken as u64, Ordering::Relaxed);
        taken > 0
    }
}

impl Outbox {
    fn push(&self, message: &PeerMessage) -> Sent {
        let bytes_max = if carries_data(message) {
            OUTBOX_BYTES_MAX
        } else {
            OUTBOX_BYTES_MAX + CONTROL_BYTES_MAX
        };
        let mut frames = self.frames.lock();
        if !self.up.load(Ordering::Relaxed) {
            return Sent::Down;
        }
        if self.bytes.load(Ordering::Relaxed) >= bytes_max {
            return self.drop_message();
        }
        if frames
            .back()
            .is_none_or(|frame| frame.len() >= FRAME_FULL_BYTES)
        {
            frames.push_back(Frame::new());
        }
        let mut before = frames.back().map_or(0, Frame::len);
        let mut pushed = frames.back_mut().expect("there is one now").push(message);
        if pushed == Err(PushError::Full) {
            frames.push_back(Frame::new());
            before = 0;
            pushed = frames.back_mut().expect("pushed just now").push(message);
        }
        let Ok(_) = pushed else {
            tracing::error!(
                message = message.name(),
                "a message too long for any link is dropped"
            );
            return self.drop_message();
        };
        self.bytes.fetch_add(
            frames.back().map_or(0, Frame::len) - before,
            Ordering::Release,
        );
        self.messages_count.fetch_add(1, Ordering::Relaxed);
        Sent::Queued
    }

    fn drop_message(&self) -> Sent {
        let before = self.dropped_count.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            tracing::warn!(
                "an outbox is full: what the other node cannot take is dropped and sent again later"
            );
        }
        Sent::Dropped
    }

    fn status(&self, node: NodeId, class: Class) -> LinkStatus {
        LinkStatus {
            node,
            class,
            up: self.up.load(Ordering::Acquire),
            since_us: self.since_us.load(Ordering::Relaxed),
            pending_bytes: self.bytes.load(Ordering::Relaxed),
            messages_count: self.messages_count.load(Ordering::Relaxed),
            dropped_count: self.dropped_count.load(Ordering::Relaxed),
            written_bytes: self.written_bytes.load(Ordering::Relaxed),
        }
    }
}

/// Where a message belongs: snapshots and what lags must not hold up the rest.
fn class_of(message: &PeerMessage) -> Class {
    match message {
        PeerMessage::Paxos(message) => match message.kind {
            Kind::CatchUp { .. } | Kind::SnapshotChunk { .. } => Class::Bulk,
            Kind::PreVote { .. }
            | Kind::PreVoteReply { .. }
            | Kind::Prepare { .. }
            | Kind::Promise { .. }
            | Kind::Accept { .. }
            | Kind::Beat { .. }
            | Kind::Accepted { .. }
            | Kind::Nack { .. }
            | Kind::CatchUpRequest { .. }
            | Kind::Left { .. }
            | Kind::SnapshotOffer { .. }
            | Kind::SnapshotAck { .. }
            | Kind::Transfer { .. }
            | Kind::ReadProbe { .. }
            | Kind::ReadProbeReply { .. } => Class::Fast,
        },
        PeerMessage::Forward(_)
        | PeerMessage::ForwardReply(_)
        | PeerMessage::ForwardRefused(_)
        | PeerMessage::NodeBeat(_)
        | PeerMessage::Publish(_)
        | PeerMessage::Called(_)
        | PeerMessage::Changed(_)
        | PeerMessage::Touched(_)
        | PeerMessage::LockAsk(_)
        | PeerMessage::LockTold(_)
        | PeerMessage::Expect(_)
        | PeerMessage::Ready(_)
        | PeerMessage::Meta(_) => Class::Fast,
    }
}

/// Whether a message grows with clients' data, rather than being one of the few that keep groups going.
fn carries_data(message: &PeerMessage) -> bool {
    match message {
        PeerMessage::Paxos(message) => matches!(
            message.kind,
            Kind::Accept { .. } | Kind::CatchUp { .. } | Kind::SnapshotChunk { .. }
        ),
        PeerMessage::Forward(_)
        | PeerMessage::ForwardReply(_)
        | PeerMessage::Publish(_)
        | PeerMessage::Touched(_)
        | PeerMessage::LockAsk(_)
        | PeerMessage::LockTold(_)
        | PeerMessage::Expect(_)
        | PeerMessage::Ready(_)
        | PeerMessage::Changed(_) => true,
        PeerMessage::ForwardRefused(_)
        | PeerMessage::NodeBeat(_)
        | PeerMessage::Called(_)
        | PeerMessage::Meta(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Called, FrameReader};
    use bytes::{Bytes, BytesMut};

    fn called(call: u64) -> PeerMessage {
        PeerMessage::Called(crate::wire::Called { call, integer: 0 })
    }

    fn pair() -> (Peers, Arc<Peer>) {
        let peers = Peers::new();
        peers.set_nodes(&[NodeId(2), NodeId(1), NodeId(2)]);
        let peer = peers.get(NodeId(2)).expect("named");
        (peers, peer)
    }

    /// Takes all frames and reads them back.
    fn drain(peer: &Peer, class: Class) -> Vec<PeerMessage> {
        let (mut frame, mut sequence) = (Frame::new(), 0);
        let (mut reader, mut buffer) = (FrameReader::new(class), BytesMut::new());
        let mut messages = Vec::new();
        while peer.take(class, &mut frame) {
            buffer.extend_from_slice(&frame.take_bytes(class, sequence));
            sequence += 1;
            while let Some(message) = reader.next(&mut buffer).expect("just sealed") {
                messages.push(message);
            }
        }
        messages
    }

    /// Messages would overtake each other, get lost, or be kept for a node that is not there.
    #[test]
    fn what_is_sent_is_taken_in_order_while_there_is_a_link() {
        let (peers, peer) = pair();
        assert_eq!(peers.send(NodeId(2), &called(1)), Sent::Down);
        peer.set_up(Class::Fast, 5);
        for call in 2..5 {
            assert_eq!(peers.send(NodeId(2), &called(call)), Sent::Queued);
        }
        assert_eq!(peers.send(NodeId(3), &called(9)), Sent::Down);
        assert_eq!(peers.send_to_all(&called(5)), 1);
        assert!(peer.has_pending(Class::Fast) && !peer.has_pending(Class::Bulk));
        assert_eq!(drain(&peer, Class::Fast), [2, 3, 4, 5].map(called));
        assert!(!peer.has_pending(Class::Fast));
        assert_eq!(peers.links().len(), 4);
        peers.send(NodeId(2), &called(6));
        peer.set_down(Class::Fast, 6);
        peer.set_up(Class::Fast, 7);
        assert_eq!(drain(&peer, Class::Fast), []);
    }

    /// A node that takes nothing would make this one grow without bound, or hear no more of votes.
    #[test]
    fn a_full_outbox_drops_data_first_and_then_all() {
        let (peers, peer) = pair();
        peer.set_up(Class::Fast, 0);
        let publish = PeerMessage::Publish(crate::wire::Publish {
            call: 0,
            kind: crate::wire::PublishKind::Channel,
            place: None,
            channel: Bytes::new(),
            payload: vec![0; 1 << 20].into(),
        });
        let queued = (0..80)
            .filter(|_| peers.send(NodeId(2), &publish) == Sent::Queued)
            .count();
        assert_eq!(queued, 64);
        assert_eq!(peers.send(NodeId(2), &called(1)), Sent::Queued);
        let meta = PeerMessage::Meta(vec![0; 1 << 20].into());
        let queued = (0..80)
            .filter(|_| peers.send(NodeId(2), &meta) == Sent::Queued)
            .count();
        assert!(queued <= 8, "{queued}");
        assert_eq!(peers.send(NodeId(2), &called(1)), Sent::Dropped);
        let pending = peers.links()[2].pending_bytes;
        assert!(
            pending < OUTBOX_BYTES_MAX + CONTROL_BYTES_MAX + (2 << 20),
            "{pending}"
        );
        assert_eq!(drain(&peer, Class::Fast).len(), 64 + 1 + 8);
    }

    /// A value of 40 MiB would be in a frame that the other end refuses.
    #[test]
    fn a_large_message_goes_alone() {
        let (peers, peer) = pair();
        peer.set_up(Class::Fast, 0);
        let large = PeerMessage::Meta(vec![7; 40 << 20].into());
        let sent = [called(1), large, called(2)];
        sent.iter().for_each(|message| {
            peers.send(NodeId(2), message);
        });
        assert_eq!(drain(&peer, Class::Fast), sent);
    }

    /// Nodes that stay would lose what waits for them when another joins.
    #[test]
    fn nodes_that_stay_keep_their_outboxes() {
        let (peers, peer) = pair();
        peer.set_up(Class::Fast, 0);
        peers.send(NodeId(2), &called(1));
        peers.set_nodes(&[NodeId(2), NodeId(5)]);
        assert!(peers.get(NodeId(1)).is_none());
        assert_eq!(
            drain(&peers.get(NodeId(2)).expect("stays"), Class::Fast),
            [called(1)]
        );
        assert!(matches!(called(1), PeerMessage::Called(Called { .. })));
    }
}
