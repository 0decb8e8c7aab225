use super::*;
use crate::host::SystemHost;
use crate::listener;
use node::{Client, Host, Manner, Process};
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::time::Instant;
use tokio::task::JoinHandle;

/// Longer than anything here takes; a test that waits for it fails.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// The system's clock, which a test may put forward.
#[derive(Debug)]
struct TestHost {
    system: SystemHost,
    ahead_us: Arc<AtomicU64>,
}

impl Host for TestHost {
    fn monotonic_us(&self) -> u64 {
        self.system.monotonic_us() + self.ahead_us.load(Ordering::Relaxed)
    }
    fn wall_us(&self) -> u64 {
        self.system.wall_us()
    }
    fn random(&self) -> u64 {
        self.system.random()
    }
    fn process(&self) -> Process {
        self.system.process()
    }
}

/// A node that listens on a port that the system chose.
struct Served {
    node: Arc<Node>,
    address: SocketAddr,
    ahead_us: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Served {
    fn start(change: impl FnOnce(&mut Settings)) -> Served {
        let mut settings = Settings {
            port: 0,
            shards: 4,
            ..Settings::default()
        };
        change(&mut settings);
        let mut listeners = listener::Listeners::open(&settings).unwrap();
        let listener = listeners.clients.remove(0);
        let address = listener.local_addr().unwrap();
        let ahead_us = Arc::new(AtomicU64::new(0));
        let host = TestHost {
            system: SystemHost::new(None),
            ahead_us: ahead_us.clone(),
        };
        let node = Arc::new(Node::new(settings, Box::new(host)).unwrap());
        let stop = watch::channel(false).0;
        let accepting = tokio::spawn(listener::accept(
            listener,
            node.clone(),
            Manner::Plain,
            stop.clone(),
        ));
        Served {
            node,
            address,
            ahead_us,
            stop,
            accepting,
        }
    }

    async fn connect(&self) -> Peer {
        Peer(TcpStream::connect(self.address).await.unwrap())
    }

    /// A peer whose socket holds little that it has not read.
    async fn connect_narrow(&self) -> Peer {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        Peer(socket.connect(self.address).await.unwrap())
    }

    /// Polls until the only client that is connected satisfies `holds`.
    async fn until_client(&self, what: &str, holds: impl Fn(&Client) -> bool) {
        until(what, || {
            let clients = self.node.clients_by_id();
            clients.len() == 1 && holds(&clients[0])
        })
        .await;
    }

    async fn until_nobody(&self, what: &str) {
        until(what, || self.node.clients.is_empty()).await;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The other end of a connection.
struct Peer(TcpStream);

impl Peer {
    async fn send(&mut self, bytes: &[u8]) {
        let sent = tokio::time::timeout(WAIT_MAX, self.0.write_all(bytes)).await;
        sent.expect("the server reads").unwrap();
    }

    /// The next `count` bytes.
    async fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let read = tokio::time::timeout(WAIT_MAX, self.0.read_exact(&mut bytes)).await;
        read.expect("the server answers").unwrap();
        bytes
    }

    async fn expect(&mut self, wanted: &str) {
        let got = self.take(wanted.len()).await;
        assert_eq!(String::from_utf8_lossy(&got), wanted);
    }

    async fn ask(&mut self, request: &str, wanted: &str) {
        self.send(request.as_bytes()).await;
        self.expect(wanted).await;
    }

    /// All that comes up to an end that is in good order.
    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(WAIT_MAX, self.0.read_to_end(&mut bytes)).await;
        read.expect("the server closes")
            .expect("closed in good order");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + WAIT_MAX;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn set_big(peer: &mut Peer, bytes: usize) {
    let value = "v".repeat(bytes);
    let request = format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${bytes}\r\n{value}\r\n");
    peer.ask(&request, "+OK\r\n").await;
}

#[tokio::test]
async fn a_closed_half_still_gets_all_replies() {
    // Breaks if an end of file overtakes requests that were sent before it.
    let served = Served::start(|_| {});
    let mut peer = served.connect().await;
    peer.send(b"PING\r\nDEBUG SLEEP 0.05\r\nECHO last\r\n*1\r\n$4\r\nPI")
        .await;
    peer.0.shutdown().await.unwrap();
    assert_eq!(peer.rest().await, "+PONG\r\n+OK\r\n$4\r\nlast\r\n");
    served.until_nobody("the connection is forgotten").await;
}

#[tokio::test]
async fn a_closed_half_ends_a_wait_without_end() {
    // Breaks if a client that is gone is kept because it waits for what never comes.
    let served = Served::start(|_| {});
    let mut peer = served.connect().await;
    peer.send(b"PING\r\nWAIT 1 0\r\n").await;
    peer.0.shutdown().await.unwrap();
    assert_eq!(peer.rest().await, "+PONG\r\n");
    served.until_nobody("the connection is forgotten").await;
}

#[tokio::test]
async fn requests_that_come_during_a_blocked_write_are_run() {
    // Breaks if they lie in the buffer until more bytes come, while the client waits for their replies.
    const VALUE_BYTES: usize = 1 << 20;
    let served = Served::start(|_| {});
    let mut peer = served.connect_narrow().await;
    set_big(&mut peer, VALUE_BYTES).await;
    peer.send(&b"GET big\r\n".repeat(40)).await;
    served
        .until_client("the server cannot write", |client| {
            client.output_bytes.load(Ordering::Relaxed) > 0
        })
        .await;
    let before = served.node.stats.input_bytes.load(Ordering::Relaxed);
    peer.send(b"ECHO tail\r\n").await;
    until("the server has read on", || {
        served.node.stats.input_bytes.load(Ordering::Relaxed) > before
    })
    .await;
    let value_header = format!("${VALUE_BYTES}\r\n");
    for _ in 0..40 {
        peer.expect(&value_header).await;
        peer.take(VALUE_BYTES + 2).await;
    }
    peer.expect("$4\r\ntail\r\n").await;
}

#[tokio::test]
async fn words_before_a_protocol_error_and_the_error_arrive() {
    // Breaks if closing over the bytes that follow the error takes the replies back.
    let served = Served::start(|_| {});
    let mut peer = served.connect().await;
    let mut bytes = b"PING\r\n*1\r\n:1\r\n".to_vec();
    bytes.extend(std::iter::repeat_n(b'x', 3 << 20));
    peer.send(&bytes).await;
    assert_eq!(
        peer.rest().await,
        "+PONG\r\n-ERR Protocol error: expected '$', got ':'\r\n"
    );
    let mut peer = served.connect().await;
    peer.send(&b"QUIT\r\n".repeat(100_000)).await;
    assert_eq!(peer.rest().await, "+OK\r\n");
}

#[tokio::test]
async fn a_refused_connection_is_told_why() {
    // Breaks if the words are left to a runtime that does not yet know the socket.
    let served = Served::start(|settings| settings.maxclients = 1);
    let mut inside = served.connect().await;
    inside.ask("PING\r\n", "+PONG\r\n").await;
    for _ in 0..20 {
        let refused = served.connect().await.rest().await;
        assert_eq!(refused, "-ERR max number of clients reached\r\n");
    }
    inside.ask("PING\r\n", "+PONG\r\n").await;
}

#[tokio::test]
async fn killed_connections_end_whatever_they_wait_for() {
    // Breaks if a connection is deaf while it writes, sleeps, waits for replicas or is paused.
    let served = Served::start(|_| {});
    let mut admin = served.connect().await;
    set_big(&mut admin, 8 << 20).await;
    let admin_id = served.node.clients_by_id()[0].id;
    let requests = [
        b"GET big\r\n".repeat(10),
        b"DEBUG SLEEP 1000\r\n".to_vec(),
        b"WAIT 1 0\r\n".to_vec(),
        b"CLIENT PAUSE 1000000\r\nSET a 1\r\n".to_vec(),
    ];
    for request in requests {
        let mut peer = served.connect_narrow().await;
        peer.send(&request).await;
        let is_busy = |client: &Client| {
            client.has(ClientFlag::Blocked) || client.output_bytes.load(Ordering::Relaxed) > 0
        };
        until("the connection is busy", || {
            let clients = served.node.clients_by_id();
            clients.iter().any(|client| is_busy(client))
        })
        .await;
        admin.ask("CLIENT KILL SKIPME YES\r\n", ":1\r\n").await;
        until("the killed connection is gone", || {
            let clients = served.node.clients_by_id();
            clients.iter().all(|client| client.id == admin_id)
        })
        .await;
    }
    admin
        .ask("CLIENT UNPAUSE\r\nPING\r\n", "+OK\r\n+PONG\r\n")
        .await;
    let kill_me = format!("CLIENT KILL ID {admin_id} SKIPME NO\r\nPING\r\n");
    admin.send(kill_me.as_bytes()).await;
    assert_eq!(admin.rest().await, ":1\r\n");
    served.until_nobody("who killed itself is gone").await;
}

#[tokio::test]
async fn the_soft_limit_fires_though_nothing_more_is_sent() {
    // Breaks if the time over the soft limit is only looked at when something is written.
    let served = Served::start(|settings| {
        let limits = "normal 0 1mb 60";
        settings
            .set("client-output-buffer-limit", limits)
            .expect("a valid limit");
    });
    let mut peer = served.connect_narrow().await;
    set_big(&mut peer, 16 << 20).await;
    peer.send(b"GET big\r\n").await;
    served
        .until_client("the server cannot write", |client| {
            client.output_bytes.load(Ordering::Relaxed) > 1 << 20
        })
        .await;
    served.node.tend_clients();
    tokio::task::yield_now().await;
    assert_eq!(served.node.clients.len(), 1, "the time is not up");
    served.ahead_us.store(61_000_000, Ordering::Relaxed);
    until("the slow reader is closed", || {
        served.node.tend_clients();
        served.node.clients.is_empty()
    })
    .await;
}

#[tokio::test]
async fn idle_clients_end_and_waiting_ones_stay() {
    // Breaks if `timeout` is not kept, or closes who is silent because it waits.
    let served = Served::start(|settings| settings.timeout_s = 10);
    let mut idle = served.connect().await;
    let mut subscriber = served.connect().await;
    let mut waiter = served.connect().await;
    let mut writer = served.connect().await;
    idle.ask("PING\r\n", "+PONG\r\n").await;
    let subscribed = "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n";
    subscriber.ask("SUBSCRIBE a\r\n", subscribed).await;
    waiter.send(b"WAIT 1 0\r\n").await;
    until("the waiter waits", || {
        let clients = served.node.clients_by_id();
        clients.iter().any(|client| client.has(ClientFlag::Blocked))
    })
    .await;
    served.ahead_us.store(8_000_000, Ordering::Relaxed);
    writer.send(b"*2\r\n$4\r\nECHO\r\n$100\r\nhalf").await;
    until("half a request came", || {
        let clients = served.node.clients_by_id();
        let active_us = clients
            .last()
            .map_or(0, |c| c.active_us.load(Ordering::Relaxed));
        active_us > 8_000_000
    })
    .await;
    served.node.tend_clients();
    assert_eq!(served.node.clients.len(), 4, "nobody was idle for long");
    served.ahead_us.store(12_000_000, Ordering::Relaxed);
    served.node.tend_clients();
    assert_eq!(idle.rest().await, "");
    until("only the idle one is gone", || {
        served.node.clients.len() == 3
    })
    .await;
}

#[tokio::test]
async fn more_than_the_query_buffer_ends_the_client_alone() {
    // Breaks if one request without end takes all memory.
    let served = Served::start(|settings| settings.client_query_buffer_limit_bytes = 1 << 20);
    let mut peer = served.connect().await;
    peer.send(b"*2\r\n$4\r\nECHO\r\n$4000000\r\n").await;
    // The server may close before all is sent.
    let _ = peer.0.write_all(&vec![b'x'; 4_000_000]).await;
    served.until_nobody("the client is closed").await;
    served.connect().await.ask("PING\r\n", "+PONG\r\n").await;
}

#[tokio::test]
async fn memory_follows_what_arrived_and_not_what_was_announced() {
    // Breaks if a header makes the server reserve, or if a long argument is moved for every piece of it.
    const VALUE_BYTES: usize = 20_000_000;
    let served = Served::start(|_| {});
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = Peer(
        TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap(),
    );
    let (stream, _) = listener.accept().await.unwrap();
    let mut connection = Connection::new(
        stream,
        served.node.clone(),
        Manner::Plain,
        served.stop.clone(),
    );
    let header = format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${VALUE_BYTES}\r\n");
    let request_bytes = header.len() + VALUE_BYTES + 2;
    peer.send(header.as_bytes()).await;
    let sender = tokio::spawn(async move {
        peer.send(&vec![b'x'; VALUE_BYTES]).await;
        peer.send(b"\r\n").await;
        peer
    });
    let mut arrived = 0;
    let mut moves = 0;
    while arrived < request_bytes {
        let capacity = connection.buffer.capacity();
        let woken = connection.wait(Wait::ForRequests, None).await;
        assert!(matches!(woken, Ok(Woken::Read)));
        arrived = connection.buffer.len();
        let bound = (room::BELIEVED_FACTOR + 1) * arrived.max(room::READ_BYTES_MAX);
        assert!(
            connection.buffer.capacity()
                <= bound.min((request_bytes + room::READ_BYTES_MAX).max(4 * arrived)),
            "{} bytes reserved for {arrived}",
            connection.buffer.capacity()
        );
        moves += usize::from(connection.buffer.capacity() != capacity);
        assert!(connection.run_requests().await.is_ok());
    }
    assert!(moves <= 16, "moved {moves} times");
    assert!(connection.flush().await.is_ok());
    sender.await.unwrap().expect("+OK\r\n").await;
}

#[tokio::test]
async fn an_idle_connection_holds_no_buffers() {
    // Breaks if ten thousand idle connections each keep what their last request needed.
    let served = Served::start(|_| {});
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = Peer(
        TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap(),
    );
    let (stream, _) = listener.accept().await.unwrap();
    let mut connection = Connection::new(
        stream,
        served.node.clone(),
        Manner::Plain,
        served.stop.clone(),
    );
    peer.send(b"PING\r\n").await;
    let woken = connection.wait(Wait::ForRequests, None).await;
    assert!(matches!(woken, Ok(Woken::Read)));
    assert!(connection.run_requests().await.is_ok());
    assert!(connection.flush().await.is_ok());
    peer.expect("+PONG\r\n").await;
    assert!(connection.buffer.capacity() > 0);
    served.ahead_us.store(REST_US_MIN, Ordering::Relaxed);
    served.node.tend_clients();
    let woken = connection.wait(Wait::ForRequests, None).await;
    assert!(matches!(woken, Ok(Woken::Attention)));
    assert!(connection.attend().is_ok());
    connection.rest();
    assert_eq!(connection.buffer.capacity(), 0);
    assert_eq!(connection.output.memory_bytes(), 0);
    assert_eq!(connection.batch.spans.capacity(), 0);
}

#[tokio::test]
async fn a_task_holds_its_connection_once() {
    // Breaks if the connection's state is kept twice in the task of each of many idle connections.
    let served = Served::start(|_| {});
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _other = TcpStream::connect(listener.local_addr().unwrap()).await;
    let (stream, _) = listener.accept().await.unwrap();
    let connection = Connection::new(
        stream,
        served.node.clone(),
        Manner::Plain,
        served.stop.clone(),
    );
    let task_bytes = size_of_val(&connection.run());
    assert!(task_bytes < 1500, "{task_bytes} bytes");
}
