//! Links between processes that are all here, and what a peer port makes of others.

use super::handshake::{self, HandshakeError, Purpose};
use super::*;
use node::wire::{Called, Class, Frame};
use node::{Incarnation, Peers};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Writes down what it is told.
#[derive(Default)]
struct Notes {
    messages: Mutex<Vec<(ReplicaId, PeerMessage)>>,
    ups: Mutex<Vec<NodeId>>,
    downs: Mutex<Vec<NodeId>>,
    over: Mutex<Vec<ReplicaId>>,
}

impl Ear for Notes {
    fn on_messages(
        &self,
        from: ReplicaId,
        next: &mut dyn FnMut() -> Option<PeerMessage>,
    ) -> Result<(), Misbehaviour> {
        while let Some(message) = next() {
            if let PeerMessage::Forward(forward) = &message
                && forward.origin != from
            {
                let (what, name) = ("forward", forward.origin);
                return Err(Misbehaviour::Name { what, name });
            }
            self.messages.lock().push((from, message));
        }
        Ok(())
    }

    fn ask_for_turn(&self) {}

    fn turn(&self) {}

    fn on_up(&self, node: NodeId) {
        self.ups.lock().push(node);
    }

    fn on_down(&self, node: NodeId) {
        self.downs.lock().push(node);
    }

    fn is_heard(&self, replica: ReplicaId) -> bool {
        !self.over.lock().contains(&replica)
    }

    fn join(
        &self,
        request: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send + '_>> {
        Box::pin(async move {
            match request.as_slice() {
                b"no" => Err("not you".into()),
                other => Ok(other.repeat(2)),
            }
        })
    }

    fn now_us(&self) -> u64 {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        START.elapsed().as_micros() as u64
    }
}

fn replica(node: u32, incarnation: u64) -> ReplicaId {
    ReplicaId {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
    }
}

fn identity(node: u32, incarnation: u64) -> Identity {
    Identity {
        me: replica(node, incarnation),
        cluster_id: "c1".into(),
        process: u64::from(node) << 32 | incarnation,
        secret: "s".into(),
    }
}

/// A process: its ear, its outboxes, its links, and where its peer port is.
struct Process {
    notes: Arc<Notes>,
    peers: Peers,
    links: Arc<Links>,
    dialers: Dialers,
    address: String,
}

async fn process(identity: Identity) -> Process {
    let notes = Arc::new(Notes::default());
    let links = Arc::new(Links::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(accept(listener, Door::new(identity.clone(), notes.clone())));
    Process {
        dialers: Dialers::new(identity, links.clone(), notes.clone()),
        peers: Peers::new(),
        notes,
        links,
        address,
    }
}

impl Process {
    fn dial(&mut self, others: &[(u32, &str)]) {
        let others: BTreeMap<NodeId, String> = others
            .iter()
            .map(|(node, address)| (NodeId(*node), address.to_string()))
            .collect();
        self.dialers.set(&self.peers, &others);
    }
}

fn called(call: u64) -> PeerMessage {
    PeerMessage::Called(Called { call, integer: 0 })
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(
            since.elapsed() < Duration::from_secs(20),
            "waited in vain: {what}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Nodes could not speak, or what they say would come out of order when a socket is full.
#[tokio::test]
async fn messages_arrive_in_order_over_full_sockets() {
    let mut one = process(identity(1, 1)).await;
    let two = process(identity(2, 1)).await;
    one.dial(&[(1, &one.address.clone()), (2, &two.address)]);
    until("a link", || one.peers.is_up(NodeId(2))).await;
    assert_eq!(*one.notes.ups.lock(), [NodeId(2)]);
    for call in 0..200 {
        one.peers.send(NodeId(2), &called(call));
        // 50 MB: far more than sockets hold.
        one.peers.send(
            NodeId(2),
            &PeerMessage::Meta(vec![call as u8; 250_000].into()),
        );
        one.links.push_all();
    }
    until("all of them", || two.notes.messages.lock().len() == 400).await;
    let messages = two.notes.messages.lock();
    for (call, pair) in messages.chunks(2).enumerate() {
        assert_eq!(pair[0], (replica(1, 1), called(call as u64)));
        assert_eq!(
            pair[1].1,
            PeerMessage::Meta(vec![call as u8; 250_000].into())
        );
    }
}

/// What is put into an outbox while the link's own task writes would lie there until somebody has something else to say: nobody
/// but that task knows that it waits.
#[test]
fn what_comes_while_the_task_writes_is_written() {
    const MESSAGES: u64 = 30_000;
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let _inside = runtime.enter();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let stream = runtime.block_on(async {
        let stream = TcpStream::connect(address).await.expect("it listens");
        stream.writable().await.expect("it is open");
        stream
    });
    let (mut other, _) = listener.accept().expect("it was dialed");
    let drains = std::thread::spawn(move || std::io::copy(&mut other, &mut std::io::sink()));
    let peers = Peers::new();
    peers.set_nodes(&[NodeId(2)]);
    let link = link::Link::new(&peers, NodeId(2), Class::Fast).expect("it is named");
    assert!(link.connect(Arc::new(stream), &Notes::default()));
    let (writes, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let pause = |turns: u64| (0..turns).for_each(|_| std::hint::spin_loop());
    let left = std::thread::scope(|threads| {
        threads.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                writes.store(true, Ordering::SeqCst);
                link.push_now();
                writes.store(false, Ordering::SeqCst);
                pause(100);
            }
        });
        let is_pending = || link.peer.has_pending(Class::Fast);
        let mut left = 0;
        for call in 0..MESSAGES {
            peers.send(NodeId(2), &called(call));
            link.push();
            // The task does not write at this moment, and the socket has room.
            if is_pending() && !writes.load(Ordering::SeqCst) && is_pending() {
                link.push();
                left += u64::from(!is_pending());
            }
            pause(call % 100);
        }
        over.store(true, Ordering::SeqCst);
        left
    });
    link.disconnect(&Notes::default());
    assert!(drains.join().expect("no panic").is_ok());
    assert_eq!(left, 0, "messages of {MESSAGES}");
}

/// A node that is dialed elsewhere has another link to the same outbox: the one before must neither open nor close it any more,
/// though its task may just have come to a connection, or lost it.
#[tokio::test]
async fn a_link_that_was_given_up_leaves_the_outbox_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let connected = async || Arc::new(TcpStream::connect(address).await.expect("it listens"));
    let (peers, notes) = (Peers::new(), Notes::default());
    peers.set_nodes(&[NodeId(2)]);
    let link = || link::Link::new(&peers, NodeId(2), Class::Fast).expect("it is named");
    let (old, new) = (link(), link());
    old.retire(&notes);
    assert!(!old.connect(connected().await, &notes));
    assert!(!peers.is_up(NodeId(2)));
    assert!(new.connect(connected().await, &notes));
    old.disconnect(&notes);
    assert!(peers.is_up(NodeId(2)));
    new.retire(&notes);
    assert!(!peers.is_up(NodeId(2)));
}

/// A node that others forgot and learned of again before anybody looked would be out of reach for good: its links are those of
/// an outbox that nobody puts anything into.
#[tokio::test]
async fn a_node_that_was_forgotten_for_a_moment_is_dialed_anew() {
    let mut one = process(identity(1, 1)).await;
    let two = process(identity(2, 1)).await;
    one.dial(&[(2, &two.address)]);
    until("a link", || one.peers.is_up(NodeId(2))).await;
    one.peers.set_nodes(&[]);
    one.peers.set_nodes(&[NodeId(2)]);
    assert!(!one.peers.is_up(NodeId(2)));
    one.dial(&[(2, &two.address)]);
    until("a link again", || one.peers.is_up(NodeId(2))).await;
    one.peers.send(NodeId(2), &called(7));
    one.links.push_all();
    until("a message", || two.notes.messages.lock().len() == 1).await;
}

/// A node that is killed would count as alive until its lease ends, and one that comes back would not be found.
#[tokio::test]
async fn a_lost_node_is_told_at_once_and_found_again() {
    let mut one = process(identity(1, 1)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    one.dial(&[(2, &address.to_string())]);
    {
        let (mut stream, _) = listener.accept().await.expect("it dials");
        handshake::answer(&mut stream, "s", |_| Ok(()))
            .await
            .expect("it knows the secret");
        until("a link", || !one.notes.ups.lock().is_empty()).await;
    }
    drop(listener);
    until("the loss", || !one.notes.downs.lock().is_empty()).await;
    assert!(!one.peers.is_up(NodeId(2)));
    let listener = TcpListener::bind(address)
        .await
        .expect("the port is free again");
    let notes = Arc::new(Notes::default());
    tokio::spawn(accept(listener, Door::new(identity(2, 1), notes.clone())));
    until("a link again", || one.peers.is_up(NodeId(2))).await;
    one.peers.send(NodeId(2), &called(7));
    one.links.push_all();
    until("a message", || notes.messages.lock().len() == 1).await;
}

async fn greet_as(process: &Process, identity: Identity, to: u32) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(&process.address)
        .await
        .expect("it listens");
    let purpose = Purpose::Link(Class::Fast);
    match handshake::greet(&mut stream, &identity, purpose, NodeId(to)).await {
        Ok(()) => Ok(stream),
        Err(error) => Err(error.to_string()),
    }
}

/// A node of another cluster, without the secret, under a name that is taken, or of a life that is over would be heard.
#[tokio::test]
async fn who_does_not_belong_is_refused_in_words() {
    let one = process(identity(1, 1)).await;
    let of_another = Identity {
        cluster_id: "c2".into(),
        ..identity(2, 1)
    };
    let words = greet_as(&one, of_another, 1)
        .await
        .expect_err("another cluster");
    assert_eq!(
        words,
        "refused: this node belongs to cluster c1, yours to c2"
    );
    let guessing = Identity {
        secret: "t".into(),
        ..identity(2, 1)
    };
    let words = greet_as(&one, guessing, 1)
        .await
        .expect_err("another secret");
    assert!(
        words.starts_with("the other node has another cluster secret"),
        "{words}"
    );
    let words = greet_as(&one, identity(2, 1), 3)
        .await
        .expect_err("another node");
    assert_eq!(words, "refused: this is node 1, not 3");
    let words = greet_as(&one, identity(1, 1), 1)
        .await
        .expect_err("the same node");
    assert_eq!(words, "refused: node 1 is this one, already");
    let _present = greet_as(&one, identity(2, 3), 1).await.expect("it belongs");
    let twin = Identity {
        process: 99,
        ..identity(2, 3)
    };
    let words = greet_as(&one, twin, 1).await.expect_err("a twin");
    assert!(
        words.starts_with("refused: another process is node 2 already"),
        "{words}"
    );
    let words = greet_as(&one, identity(2, 2), 1)
        .await
        .expect_err("an earlier life");
    assert_eq!(words, "refused: node 2 has begun its 3th life");
    one.notes.over.lock().push(replica(3, 1));
    let words = greet_as(&one, identity(3, 1), 1)
        .await
        .expect_err("an earlier life");
    assert!(words.contains("another life"), "{words}");
    assert!(one.notes.messages.lock().is_empty());
}

/// What a node's earlier life had left on the way would be heard after its new one began.
#[tokio::test]
async fn a_newer_life_ends_the_links_of_the_older() {
    let one = process(identity(1, 1)).await;
    let mut old = greet_as(&one, identity(2, 1), 1).await.expect("it belongs");
    let _new = greet_as(&one, identity(2, 2), 1).await.expect("it belongs");
    let read = tokio::time::timeout(Duration::from_secs(5), old.read(&mut [0; 8])).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
}

/// A stranger's bytes, or a broken node's, would stop a node or take its memory.
#[tokio::test]
async fn garbage_ends_its_connection_and_nothing_else() {
    let one = process(identity(1, 1)).await;
    let closed = async |bytes: &[u8]| {
        let mut stream = TcpStream::connect(&one.address).await.expect("it listens");
        stream.write_all(bytes).await.expect("the socket takes it");
        let mut rest = Vec::new();
        let read =
            tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "{bytes:?} is not answered by closing");
        rest
    };
    closed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    closed(&[0xff; 64]).await;
    closed(b"\x08\0\0\0\x01TORCPEE").await;
    // Half a handshake and then nothing: closed after a while.
    closed(b"\x50\0\0\0").await;
    // A newer version is told what this one speaks, before anything else is compared.
    let mut hello = b"\x0d\0\0\0\x01TORCPEER".to_vec();
    for later in [1, 2] {
        hello.extend((node::wire::VERSION + later).to_le_bytes());
    }
    let words = closed(&hello).await;
    let told = format!("yours version {}", node::wire::VERSION + 2);
    assert!(String::from_utf8_lossy(&words).contains(&told));

    let mut frame = Frame::new();
    frame.push(&called(1)).expect("short");
    frame.seal(Class::Fast, 0);
    let mut slices = [IoSlice::new(&[]); 4];
    let filled = frame.io_slices(&mut slices);
    let good: Vec<u8> = slices[..filled]
        .iter()
        .flat_map(|slice| slice.to_vec())
        .collect();
    let mut flipped = good.clone();
    flipped[30] ^= 1;
    let mut huge = good.clone();
    huge[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    for bad in [flipped, huge, [&good[..], &good[..]].concat()] {
        let mut stream = greet_as(&one, identity(2, 1), 1).await.expect("it belongs");
        stream.write_all(&bad).await.expect("the socket takes it");
        let mut rest = Vec::new();
        let read =
            tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "a broken frame is answered by closing");
    }
    // The one good frame ahead of its repetition was heard.
    assert_eq!(*one.notes.messages.lock(), [(replica(2, 1), called(1))]);
}

/// A node that joins would get no answer, or no reason.
#[tokio::test]
async fn a_join_is_answered() {
    let one = process(identity(1, 1)).await;
    let joining = Identity {
        cluster_id: String::new(),
        ..identity(0, 0)
    };
    let ask = async |identity: &Identity, request: &[u8]| {
        let mut stream = TcpStream::connect(&one.address).await.expect("it listens");
        handshake::greet(&mut stream, identity, Purpose::Join, NodeId(0)).await?;
        handshake::ask_to_join(&mut stream, request).await
    };
    assert_eq!(ask(&joining, b"ab").await.expect("it is let in"), b"abab");
    assert!(
        matches!(ask(&joining, b"no").await, Err(HandshakeError::Refused(words)) if words == "not you")
    );
    let itself = Identity {
        process: identity(1, 1).process,
        ..joining.clone()
    };
    assert!(
        matches!(ask(&itself, b"ab").await, Err(HandshakeError::Refused(words)) if words.contains("itself"))
    );
}
