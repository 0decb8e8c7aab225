//! The dialing side: a task for each link, which connects it, again and again.

use super::handshake::{self, HandshakeError, Identity, Purpose};
use super::link::{Link, Links, Pushed};
use super::{Ear, SILENCE_MAX};
use node::wire::Class;
use node::{NodeId, Peers};

use rand::Rng;
use socket2::{SockRef, TcpKeepalive};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// The first pause after a link broke, and the longest one while the node cannot be reached.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// The pause after a refusal: it will hardly be another one soon.
const PAUSE_REFUSED: Duration = Duration::from_secs(1);
/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// What the acceptor may say on a link after the welcome: nothing.
const UNWANTED_BYTES_MAX: usize = 64;

/// Where the nodes are, and a task for each link to them.
pub struct Dialers {
    identity: Identity,
    links: Arc<Links>,
    ear: Arc<dyn Ear>,
    targets: BTreeMap<NodeId, Target>,
}

/// A node that is dialed.
struct Target {
    address: String,
    links: Vec<Arc<Link>>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Target {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Dialers {
    /// Dials nobody yet.
    pub fn new(identity: Identity, links: Arc<Links>, ear: Arc<dyn Ear>) -> Self {
        Dialers {
            identity,
            links,
            ear,
            targets: BTreeMap::new(),
        }
    }

    /// From now on has links to these nodes, by their peer ports' addresses, and to no others. Must be called inside the
    /// runtime. This node itself is passed over.
    pub fn set(&mut self, peers: &Peers, nodes: &BTreeMap<NodeId, String>) {
        let me = self.identity.me.node;
        let others: Vec<NodeId> = nodes.keys().copied().filter(|node| *node != me).collect();
        peers.set_nodes(&others);
        self.targets.retain(|node, target| {
            // A node that was gone for a moment, between two looks, has another outbox.
            let has_its_outbox = |link: &Arc<Link>| {
                let present = peers.get(*node);
                present.is_some_and(|peer| Arc::ptr_eq(&peer, &link.peer))
            };
            let stays =
                nodes.get(node) == Some(&target.address) && target.links.iter().all(has_its_outbox);
            if !stays {
                target.links.iter().for_each(|link| link.retire(&*self.ear));
            }
            stays
        });
        for node in others {
            if !self.targets.contains_key(&node) {
                let target = self.dial(peers, node, nodes[&node].clone());
                self.targets.insert(node, target);
            }
        }
        let links = self
            .targets
            .values()
            .flat_map(|target| target.links.iter().cloned());
        self.links.replace(links.collect());
    }

    fn dial(&self, peers: &Peers, node: NodeId, address: String) -> Target {
        let links: Vec<Arc<Link>> = Class::ALL
            .into_iter()
            .filter_map(|class| Link::new(peers, node, class))
            .collect();
        let tasks = links.iter().map(|link| {
            let dialer = Dialer {
                identity: self.identity.clone(),
                link: link.clone(),
                ear: self.ear.clone(),
                address: address.clone(),
            };
            tokio::spawn(dialer.run()).abort_handle()
        });
        Target {
            tasks: tasks.collect(),
            address,
            links,
        }
    }
}

/// One link's task.
struct Dialer {
    identity: Identity,
    link: Arc<Link>,
    ear: Arc<dyn Ear>,
    address: String,
}

impl Dialer {
    async fn run(self) {
        let node = self.link.peer.node;
        let mut pause = PAUSE_MIN;
        let mut told: Option<String> = None;
        loop {
            let mut rest = pause;
            pause = (pause * 2).min(PAUSE_MAX);
            match self.connect().await {
                Ok(stream) => {
                    if self.link.class == Class::Fast {
                        tracing::info!(
                            node = node.0,
                            address = self.address,
                            "connected to a node"
                        );
                    }
                    told = None;
                    (rest, pause) = (PAUSE_MIN, PAUSE_MIN);
                    self.serve(stream).await;
                }
                Err(error) => {
                    if let HandshakeError::Refused(_) | HandshakeError::Secret = error {
                        rest = PAUSE_REFUSED;
                    }
                    self.tell(&error, &mut told);
                }
            }
            if self.link.is_retired() {
                // Another has its place, or nobody.
                return;
            }
            if self.link.class == Class::Fast {
                self.ear.on_down(node);
                self.ear.turn();
            }
            // Not all nodes at the same time, when one comes back.
            let part = rand::rng().random_range(0.5..1.0);
            tokio::time::sleep(rest.mul_f64(part)).await;
        }
    }

    /// Logs an error once, until there was another.
    fn tell(&self, error: &HandshakeError, told: &mut Option<String>) {
        let words = error.to_string();
        if self.link.class == Class::Fast && told.as_ref() != Some(&words) {
            tracing::warn!(
                node = self.link.peer.node.0,
                address = self.address,
                error = words,
                "no connection to a node, trying again"
            );
            *told = Some(words);
        }
    }

    async fn connect(&self) -> Result<TcpStream, HandshakeError> {
        let mut stream = connect(&self.address).await?;
        let purpose = Purpose::Link(self.link.class);
        handshake::greet(&mut stream, &self.identity, purpose, self.link.peer.node).await?;
        Ok(stream)
    }

    /// Writes what the others could not, until the connection breaks.
    async fn serve(&self, stream: TcpStream) {
        let stream = Arc::new(stream);
        // The runtime learns here that it can be written to, which `try_write` relies on.
        if stream.writable().await.is_err() {
            return;
        }
        if !self.link.connect(stream.clone(), &*self.ear) {
            return;
        }
        if self.link.class == Class::Fast {
            self.ear.on_up(self.link.peer.node);
            self.ear.turn();
        }
        let _ = self.link.push_now();
        let mut full = false;
        loop {
            tokio::select! {
                ready = stream.readable() => {
                    if ready.is_err() || has_ended(&stream) {
                        break;
                    }
                }
                ready = stream.writable(), if full => {
                    if ready.is_err() {
                        break;
                    }
                    full = match self.link.push_now() {
                        Pushed::All => false,
                        Pushed::Full => true,
                        Pushed::Broken => break,
                    };
                }
                () = self.link.stuck() => match self.link.push_now() {
                    Pushed::All => full = false,
                    Pushed::Full => full = true,
                    Pushed::Broken => break,
                },
            }
        }
        self.link.disconnect(&*self.ear);
        tracing::debug!(node = self.link.peer.node.0, class = ?self.link.class, "a link broke");
    }
}

/// Whether the acceptor closed, or said something, which it should not.
fn has_ended(stream: &TcpStream) -> bool {
    let mut unwanted = [0; UNWANTED_BYTES_MAX];
    match stream.try_read(&mut unwanted) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// A connection to a peer port, with the options of all of them.
///
/// # Errors
/// The system's.
pub async fn connect(address: &str) -> Result<TcpStream, HandshakeError> {
    let stream = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    set_options(&stream);
    Ok(stream)
}

/// What is sent leaves at once; a connection whose other end is gone breaks soon.
pub fn set_options(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(SILENCE_MAX / 2)
        .with_interval(SILENCE_MAX / 2)
        .with_retries(2);
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(SILENCE_MAX));
}
