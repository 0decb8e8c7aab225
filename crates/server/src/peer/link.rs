//! The writing side of links: each is an outbox and, while it is connected, a socket.

use super::Ear;
use arc_swap::ArcSwap;
use node::peers::Peer;
use node::wire::{Class, Frame};
use node::{NodeId, Peers};
use parking_lot::{Mutex, MutexGuard};

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Pieces of one vectored write.
const SLICES_MAX: usize = 64;

/// The links to all other nodes.
#[derive(Debug, Default)]
pub struct Links {
    links: ArcSwap<Vec<Arc<Link>>>,
}

/// A link to one node, of one class.
#[derive(Debug)]
pub struct Link {
    /// The outboxes of the node that it leads to.
    pub peer: Arc<Peer>,
    /// What it carries.
    pub class: Class,
    /// Held for a write at most.
    plug: Mutex<Plug>,
    /// Tells the link's task that the socket is full or broken.
    stuck: Notify,
}

#[derive(Debug)]
enum Plug {
    /// There is none. The outbox is not up.
    Disconnected,
    /// The socket, and what of a frame it has not taken yet.
    Connected(Socket),
    /// There never will be one: the outbox is another link's, or nobody's.
    Retired,
}

impl Plug {
    fn is_retired(&self) -> bool {
        matches!(self, Plug::Retired)
    }
}

#[derive(Debug)]
struct Socket {
    stream: Arc<TcpStream>,
    frame: Frame,
    /// Of the next frame.
    sequence: u64,
    /// Nothing more can be written.
    broken: bool,
}

/// How far writing went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Nothing is left.
    All,
    /// The socket takes no more for now.
    Full,
    /// There is no socket, or it broke.
    Broken,
}

impl Links {
    /// Has exactly these links from now on.
    pub fn replace(&self, links: Vec<Arc<Link>>) {
        self.links.store(Arc::new(links));
    }

    /// Writes what waits, to all nodes, as far as the sockets take it.
    pub fn push_all(&self) {
        for link in self.links.load().iter() {
            if link.peer.has_pending(link.class) {
                link.push();
            }
        }
    }
}

impl Link {
    /// A link that is not connected, to one of `peers`.
    pub fn new(peers: &Peers, node: NodeId, class: Class) -> Option<Arc<Link>> {
        let link = Link {
            peer: peers.get(node)?,
            class,
            plug: Mutex::new(Plug::Disconnected),
            stuck: Notify::new(),
        };
        Some(Arc::new(link))
    }

    /// Has a socket from now on: the outbox opens. Not if it was retired: then false.
    pub fn connect(&self, stream: Arc<TcpStream>, ear: &dyn Ear) -> bool {
        let mut plug = self.plug.lock();
        if plug.is_retired() {
            return false;
        }
        *plug = Plug::Connected(Socket {
            stream,
            frame: Frame::new(),
            sequence: 0,
            broken: false,
        });
        // Under the lock, as in what follows: whether the outbox is up is what the lock says.
        self.peer.set_up(self.class, ear.now_us());
        true
    }

    /// Has none any more: what waits is dropped.
    pub fn disconnect(&self, ear: &dyn Ear) {
        self.unplug(Plug::Disconnected, ear);
    }

    /// The same for good: its task, which may be about to connect or to disconnect, leaves the outbox to others.
    pub fn retire(&self, ear: &dyn Ear) {
        self.unplug(Plug::Retired, ear);
    }

    fn unplug(&self, into: Plug, ear: &dyn Ear) {
        let mut plug = self.plug.lock();
        if !plug.is_retired() {
            self.peer.set_down(self.class, ear.now_us());
            *plug = into;
        }
    }

    /// Whether it was given up.
    pub fn is_retired(&self) -> bool {
        self.plug.lock().is_retired()
    }

    /// Waits until somebody found the socket full or broken.
    pub async fn stuck(&self) {
        self.stuck.notified().await;
    }

    /// Writes what waits, as far as the socket takes it. Called by whoever put something into the outbox, from any thread; if
    /// another is at it, that one writes this as well.
    pub fn push(&self) {
        // What was put in is seen by whoever holds the lock now, once it is free (`Link::push_locked`).
        fence(Ordering::SeqCst);
        while let Some(plug) = self.plug.try_lock() {
            match self.push_locked(plug) {
                None => {}
                Some(Pushed::All) => return,
                Some(Pushed::Full | Pushed::Broken) => return self.stuck.notify_one(),
            }
        }
    }

    /// As [`Link::push`], for the link's own task: says how far it came.
    pub fn push_now(&self) -> Pushed {
        loop {
            if let Some(pushed) = self.push_locked(self.plug.lock()) {
                return pushed;
            }
        }
    }

    /// Writes and unlocks. None: somebody came while the lock was held, and left what he brought to whoever held it.
    fn push_locked(&self, mut plug: MutexGuard<'_, Plug>) -> Option<Pushed> {
        let pushed = match &mut *plug {
            Plug::Connected(socket) => socket.push(&self.peer, self.class),
            Plug::Disconnected | Plug::Retired => Pushed::Broken,
        };
        drop(plug);
        fence(Ordering::SeqCst);
        (pushed != Pushed::All || !self.peer.has_pending(self.class)).then_some(pushed)
    }
}

impl Socket {
    fn push(&mut self, peer: &Peer, class: Class) -> Pushed {
        if self.broken {
            return Pushed::Broken;
        }
        loop {
            if !self.frame.is_sealed() {
                if !peer.take(class, &mut self.frame) {
                    return Pushed::All;
                }
                self.frame.seal(class, self.sequence);
                self.sequence += 1;
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = self.frame.io_slices(&mut slices);
            match self.stream.try_write_vectored(&slices[..filled]) {
                Ok(written) => self.frame.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Pushed::Full,
                Err(error) => {
                    tracing::debug!(node = peer.node.0, ?class, %error, "cannot write to a node");
                    self.broken = true;
                    return Pushed::Broken;
                }
            }
        }
    }
}
