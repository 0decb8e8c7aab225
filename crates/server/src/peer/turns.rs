//! The node as the links' ear, and the tasks that give it its turns: one that flushes when somebody queued something,
//! one for time, one that follows the cluster's view.

use super::{Dialers, Ear, Links};
use node::meta::JoinRequest;
use node::settings::host_and_port;
use node::{Addresses, Misbehaviour, Node, NodeId, PeerMessage, ReplicaId};
use rustix::event::{EventfdFlags, eventfd};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

/// Looks at what is ready before a flush, at most, while each brings something to flush: what is sent together costs one
/// write here, and one read there.
const ROUNDS_MAX: usize = 4;
/// Time between two ticks of the node.
const TICK: Duration = Duration::from_millis(10);
/// Ticks between two looks at who belongs to the cluster.
const TICKS_PER_VIEW: u64 = 5;

/// A node with its links.
pub struct Member {
    /// The node.
    pub node: Arc<Node>,
    /// Its links.
    pub links: Arc<Links>,
}

impl Ear for Member {
    fn on_messages(
        &self,
        from: ReplicaId,
        next: &mut dyn FnMut() -> Option<PeerMessage>,
    ) -> Result<(), Misbehaviour> {
        self.node.on_peer_messages(from, next, self.node.now())
    }

    fn turn(&self) {
        self.node.flush(self.node.now());
        self.links.push_all();
    }

    fn ask_for_turn(&self) {
        self.node.request_flush();
    }

    fn on_up(&self, node: NodeId) {
        self.node.peer_up(node, self.node.now());
    }

    fn on_down(&self, node: NodeId) {
        self.node.peer_down(node, self.node.now());
    }

    fn is_heard(&self, replica: ReplicaId) -> bool {
        self.node.view().is_heard(replica)
    }

    fn join(
        &self,
        request: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send + '_>> {
        Box::pin(async move {
            let request = JoinRequest::decode(&request).map_err(|error| error.to_string())?;
            let (done, answer) = oneshot::channel();
            let done = Box::new(move |answer| {
                // Whoever asked may have given up.
                let _ = done.send(answer);
            });
            self.node.join_request(request, done);
            self.turn();
            let answer = answer.await.map_err(|_| "the node is stopping")?;
            Ok(self.node.welcome(answer)?.encode())
        })
    }

    fn now_us(&self) -> u64 {
        self.node.host.monotonic_us()
    }
}

/// Comes back after the runtime has looked once more at what is ready: a counter that is only ever raised, and watched
/// for changes. Giving way is not enough: a thread beside the one that waits for sockets would go on at once, and flush
/// for each request that it took over.
struct Round(Option<AsyncFd<OwnedFd>>);

impl Round {
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe, for descriptors that change; an OwnedFd does not"
    )]
    fn new() -> Self {
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        let counter = eventfd(0, flags).map_err(io::Error::from);
        let watched = counter.and_then(|fd| AsyncFd::with_interest(fd, Interest::READABLE));
        let watched = watched.inspect_err(|error| {
            tracing::warn!(%error, "no counter to gather by: more is sent in smaller pieces");
        });
        Round(watched.ok())
    }

    async fn pass(&self) {
        if let Some(counter) = &self.0
            && rustix::io::write(counter.get_ref(), &1u64.to_ne_bytes()).is_ok()
            && let Ok(mut ready) = counter.readable().await
        {
            ready.clear_ready();
            behind_what_is_ready().await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// Gives way once to the tasks that are ready, without a look at the sockets.
async fn behind_what_is_ready() {
    let mut came_back = false;
    poll_fn(|cx| {
        if came_back {
            return Poll::Ready(());
        }
        came_back = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Sends what sessions queued and what follows from other nodes' messages, once all that was ready has had its turn:
/// everything that was queued meanwhile goes together.
pub async fn flush(member: Arc<Member>) {
    let round = Round::new();
    let flusher = &member.node.cluster.flusher;
    loop {
        poll_fn(|cx| {
            flusher.register(cx.waker());
            match flusher.take() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        for _ in 0..ROUNDS_MAX {
            round.pass().await;
            if !flusher.take() {
                break;
            }
        }
        member.turn();
    }
}

/// Lets time go by for the node, and dials whoever belongs to the cluster. After a pause there is one tick, not all that
/// were missed.
pub async fn tick(member: Arc<Member>, mut dialers: Dialers) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut version = None;
    for turn in 0u64.. {
        ticks.tick().await;
        if turn % TICKS_PER_VIEW == 0 {
            let latest = member.node.whereabouts_version();
            if version != Some(latest) {
                version = Some(latest);
                let at = |at: Addresses| host_and_port(&at.host, at.peer_port);
                let nodes = member.node.whereabouts().into_iter();
                let nodes: BTreeMap<NodeId, String> = nodes
                    .map(|(node, addresses)| (node, at(addresses)))
                    .collect();
                dialers.set(&member.node.cluster.peers, &nodes);
            }
        }
        member.node.tick(member.node.now());
        member.links.push_all();
    }
}
