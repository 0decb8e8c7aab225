//! Ports: sockets are opened; clients' connections accepted or refused.

use crate::connection::Connection;
use node::settings::{CLUSTER_PORT_ABOVE, PEER_PORT_ABOVE, PortChoice};
use node::{Manner, Node, Settings};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Ports that the system is asked for, where it chooses, until those that go with one are free too.
const CHOICES_MAX: u32 = 16;
/// How long the listener rests when the system has no descriptor left.
const EXHAUSTED_MS: u64 = 50;
/// Redis's probes: a third of the interval apart, three of them.
const KEEPALIVE_PROBES: u32 = 3;

const PROTECTED: &[u8] = b"-DENIED Torc is running in protected mode because protected mode is enabled and no password is set for the default user. In this mode connections are only accepted from the loopback interface. Set a password (requirepass), or disable protected mode with --protected-mode no if the network is trusted.\r\n";

/// The sockets of a node's ports, one for each address that it is bound to.
pub struct Listeners {
    /// For any client.
    pub clients: Vec<TcpListener>,
    /// For cluster-aware clients; none if that port is closed.
    pub cluster: Vec<TcpListener>,
    /// For other nodes.
    pub peers: Vec<TcpListener>,
}

impl Listeners {
    /// Opens all ports.
    ///
    /// # Errors
    /// The system's, with the address and the option ahead.
    pub fn open(settings: &Settings) -> io::Result<Listeners> {
        let mut tries_left = CHOICES_MAX;
        loop {
            tries_left -= 1;
            match Self::open_once(settings) {
                // Where the system chooses, another choice may have the ports above it free.
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse
                        && settings.port == 0
                        && tries_left > 0 => {}
                opened => return opened,
            }
        }
    }

    fn open_once(settings: &Settings) -> io::Result<Listeners> {
        let clients = listen(settings, settings.port, "--port")?;
        let client_port = port_of(&clients).unwrap_or(settings.port);
        let further = |choice: PortChoice, above, option| match choice.port(client_port, above) {
            Some(port) => listen(settings, port, option),
            None => Ok(Vec::new()),
        };
        Ok(Listeners {
            cluster: further(settings.cluster_port, CLUSTER_PORT_ABOVE, "--cluster-port")?,
            peers: further(settings.peer_port, PEER_PORT_ABOVE, "--peer-port")?,
            clients,
        })
    }
}

/// The port of listeners, if there are any.
pub fn port_of(listeners: &[TcpListener]) -> Option<u16> {
    let address = listeners.first()?.local_addr().ok()?;
    Some(address.port())
}

/// Opens a socket on every address of `bind`. With port 0 the system chooses one for the first address, and the
/// others take the same.
fn listen(settings: &Settings, mut port: u16, option: &str) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in &settings.bind {
        let address = SocketAddr::new(*address, port);
        let listener = open(address, settings.tcp_backlog).map_err(|error| {
            let words = format!("cannot listen on {address} ({option}): {error}");
            io::Error::new(error.kind(), words)
        })?;
        port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(listeners)
}

fn open(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog.min(i32::MAX as u32) as i32)?;
    TcpListener::from_std(socket.into())
}

/// Accepts clients until `stop` is set.
pub async fn accept(
    listener: TcpListener,
    node: Arc<Node>,
    manner: Manner,
    stop: watch::Sender<bool>,
) {
    let mut stopped = stop.subscribe();
    let mut exhausted = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                exhausted = false;
                admit(stream, peer, &node, manner, &stop);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // Whoever waits is accepted as soon as a descriptor is free; one line tells of the whole time.
                if !exhausted {
                    tracing::warn!(%error, "cannot accept connections for now");
                }
                exhausted = true;
                tokio::time::sleep(Duration::from_millis(EXHAUSTED_MS)).await;
            }
        }
    }
}

/// Starts a connection's task, or refuses it in words.
fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    node: &Arc<Node>,
    manner: Manner,
    stop: &watch::Sender<bool>,
) {
    let settings = node.settings.load();
    if node.clients.len() >= settings.maxclients as usize {
        node.stats.rejected.fetch_add(1, Ordering::Relaxed);
        return refuse(&stream, b"-ERR max number of clients reached\r\n");
    }
    let stranger = !peer.ip().to_canonical().is_loopback();
    if settings.protected_mode && settings.requirepass.is_empty() && stranger {
        node.stats.rejected.fetch_add(1, Ordering::Relaxed);
        return refuse(&stream, PROTECTED);
    }
    let _ = stream.set_nodelay(true);
    if settings.tcp_keepalive_s > 0 {
        let idle = Duration::from_secs(u64::from(settings.tcp_keepalive_s));
        let interval = (idle / KEEPALIVE_PROBES).max(Duration::from_secs(1));
        let keepalive = TcpKeepalive::new()
            .with_time(idle)
            .with_interval(interval)
            .with_retries(KEEPALIVE_PROBES);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    }
    tokio::spawn(Connection::new(stream, node.clone(), manner, stop.clone()).run());
}

/// Says why a connection is closed. The socket is asked directly: the runtime does not know yet that a fresh one
/// can be written to.
fn refuse(stream: &TcpStream, words: &[u8]) {
    let _ = SockRef::from(stream).send(words);
}
