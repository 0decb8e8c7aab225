//! The node as the links' ear, and the tasks that give it its turns: one that flushes when somebody queued something,
//! one for time, one that follows the cluster's view.

use super::{Dialers, Ear, Links};
use node::meta::JoinRequest;
use node::settings::host_and_port;
use node::{Misbehaviour, Node, NodeId, PeerMessage, ReplicaId};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

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
    fn on_message(&self, from: ReplicaId, message: PeerMessage) -> Result<(), Misbehaviour> {
        self.node.on_peer_message(from, message, self.node.now())
    }

    fn turn(&self) {
        self.node.flush(self.node.now());
        self.links.push_all();
    }

    fn on_up(&self, node: NodeId) {
        self.node.peer_up(node, self.node.now());
    }

    fn on_down(&self, node: NodeId) {
        self.node.peer_down(node, self.node.now());
    }

    fn is_over(&self, replica: ReplicaId) -> bool {
        self.node.view().is_over(replica)
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

/// Sends what sessions queued, as soon as the task that queued it has had its turn: everything that it and others queued
/// meanwhile goes together.
pub async fn flush(member: Arc<Member>) {
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
        // Behind all that is ready: other connections' requests go with these.
        tokio::task::yield_now().await;
        member.turn();
    }
}

/// Lets time go by for the node, and dials whoever belongs to the cluster. After a pause there is one tick, not all that
/// were missed.
pub async fn tick(member: Arc<Member>, mut dialers: Dialers) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut epoch = None;
    for turn in 0u64.. {
        ticks.tick().await;
        if turn % TICKS_PER_VIEW == 0 {
            let view = member.node.view();
            if epoch != Some(view.epoch) {
                epoch = Some(view.epoch);
                let nodes: BTreeMap<NodeId, String> = view
                    .nodes
                    .iter()
                    .map(|node| {
                        let addresses = &node.addresses;
                        (node.id, host_and_port(&addresses.host, addresses.peer_port))
                    })
                    .collect();
                dialers.set(&member.node.cluster.peers, &nodes);
            }
        }
        member.node.tick(member.node.now());
        member.links.push_all();
    }
}
