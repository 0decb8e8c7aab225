//! Where the other nodes are: as this node's view says, or as they say themselves, where it does not know better.
//!
//! Who was away while nodes came, or came back elsewhere, dials those that are gone. The others still dial it, but it has
//! no link by which to ask them for what it missed, and they feed nobody who does not answer. So whoever has a link to a
//! node that it does not hear says by it where to dial.

use super::command::NodeAddresses;
use super::message::MetaMessage;
use crate::host::Now;
use crate::node::Node;
use crate::view::{Addresses, ClusterView};
use crate::wire::PeerMessage;
use bytes::Bytes;
use parking_lot::Mutex;
use paxos::{NodeId, ReplicaId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Nodes whose word is kept; what others say then is dropped. They say it again.
const TOLD_MAX: usize = 1024;

/// What nodes said of themselves that the view does not say.
#[derive(Debug)]
pub(crate) struct Whereabouts {
    /// Where others reach this process.
    own: NodeAddresses,
    told: Mutex<BTreeMap<NodeId, (ReplicaId, NodeAddresses)>>,
    /// Rises with whatever changes here or in the view.
    version: AtomicU64,
}

impl Whereabouts {
    /// Nobody has said anything.
    pub fn new(own: NodeAddresses) -> Self {
        Whereabouts {
            own,
            told: Mutex::default(),
            version: AtomicU64::new(0),
        }
    }

    /// The view may be another: what it says itself need not be kept, nor lives that are over. Calls `set` with all whom
    /// this node speaks to, one call at a time, each with a view that was asked for since the one before.
    fn take_view(&self, view: impl FnOnce() -> Arc<ClusterView>, set: impl FnOnce(Vec<NodeId>)) {
        let mut told = self.told.lock();
        let view = &view();
        told.retain(|_, (life, addresses)| is_news(view, *life, addresses));
        let known = view.reachable().map(|node| node.id);
        set(known.chain(told.keys().copied()).collect());
        self.version.fetch_add(1, Ordering::Release);
    }

    /// A node says where it is; whether that is news.
    fn note(&self, life: ReplicaId, addresses: NodeAddresses, view: &ClusterView) -> bool {
        let mut told = self.told.lock();
        let known = told.get(&life.node);
        if known.is_some_and(|(known, before)| (*known, before) == (life, &addresses)) {
            return false;
        }
        if !is_news(view, life, &addresses) {
            return !view.is_over(life) && told.remove(&life.node).is_some();
        }
        let late = known.is_some_and(|(known, _)| *known > life);
        if late || known.is_none() && told.len() >= TOLD_MAX {
            return false;
        }
        told.insert(life.node, (life, addresses));
        true
    }
}

/// Whether the view does not say that a life of a node is there, though it may be.
fn is_news(view: &ClusterView, life: ReplicaId, addresses: &NodeAddresses) -> bool {
    let known = view.node(life.node).filter(|node| node.replica() == life);
    let differs =
        known.is_none_or(|node| NodeAddresses::from(node.addresses.clone()) != *addresses);
    differs && !view.is_over(life)
}

impl Node {
    /// All whom this node speaks to, itself among them, and where they are.
    pub fn whereabouts(&self) -> BTreeMap<NodeId, Addresses> {
        let view = self.view();
        let known = view.reachable();
        let mut nodes: BTreeMap<NodeId, Addresses> = known
            .map(|node| (node.id, node.addresses.clone()))
            .collect();
        for (node, (_, addresses)) in &*self.meta.whereabouts.told.lock() {
            nodes.insert(*node, addresses.clone().into());
        }
        nodes
    }

    /// Rises before [`Node::whereabouts`] gives something else.
    pub fn whereabouts_version(&self) -> u64 {
        self.meta.whereabouts.version.load(Ordering::Acquire)
    }

    /// Says where this node is to all that it reaches and does not hear.
    pub(crate) fn tell_where(&self, now: Now) {
        let own = &self.meta.whereabouts.own;
        if Addresses::from(own.clone()).is_wildcard() {
            return;
        }
        let peers = self.cluster.peers.all();
        let deaf = peers.iter().map(|peer| peer.node).filter(|node| {
            self.cluster.peers.is_up(*node) && self.alive_since(*node, now).is_none()
        });
        for node in deaf {
            let message = MetaMessage::Here(own.clone());
            let bytes = Bytes::from(message.encode());
            self.cluster.peers.send(node, &PeerMessage::Meta(bytes));
        }
    }

    /// Another node says where it is, since it does not hear this one.
    pub(crate) fn on_here(&self, from: ReplicaId, addresses: NodeAddresses) {
        if from.node == self.cluster.me.node || Addresses::from(addresses.clone()).is_wildcard() {
            return;
        }
        let view = self.view();
        if self.meta.whereabouts.note(from, addresses, &view) {
            self.speak_to_known();
        }
    }

    /// Has an outbox for each node that is known of.
    pub(super) fn speak_to_known(&self) {
        let me = self.cluster.me.node;
        let set = |mut others: Vec<NodeId>| {
            others.retain(|node| *node != me);
            self.cluster.peers.set_nodes(&others);
        };
        self.meta.whereabouts.take_view(|| self.view(), set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::MetaCommand;
    use crate::meta::testing::state_of;
    use crate::testing::network::{Network, replica};
    use paxos::Incarnation;

    fn at(port: u16) -> NodeAddresses {
        NodeAddresses {
            host: "10.0.0.1".into(),
            ports: [port; 4],
        }
    }

    #[test]
    fn what_the_view_does_not_know_is_kept_until_it_does() {
        // Breaks if a node that was away forgets where to dial while it still catches up, or believes a life that is over,
        // or an address that was true once against the view for good.
        let mut state = state_of(2);
        let view = ClusterView::of(&state);
        let whereabouts = Whereabouts::new(NodeAddresses::default());
        let told = || whereabouts.told.lock().keys().copied().collect::<Vec<_>>();
        assert!(whereabouts.note(replica(3), at(3), &view));
        assert!(!whereabouts.note(replica(3), at(3), &view), "said again");
        assert!(whereabouts.note(replica(2), at(2), &view), "it moved");
        let gone = ReplicaId {
            node: NodeId(1),
            incarnation: Incarnation(0),
        };
        assert!(!whereabouts.note(gone, at(1), &view));
        assert_eq!(told(), [NodeId(2), NodeId(3)]);

        state.nodes.get_mut(&2).unwrap().addresses = at(2);
        let view = Arc::new(ClusterView::of(&state));
        let is_all = |nodes: Vec<NodeId>| assert_eq!(nodes, [1, 2, 3].map(NodeId));
        whereabouts.take_view(|| view, is_all);
        assert_eq!(told(), [NodeId(3)]);

        let mut state = state_of(3);
        state.nodes.get_mut(&3).unwrap().addresses = at(3);
        let view = Arc::new(ClusterView::of(&state));
        whereabouts.take_view(|| view, |nodes| assert_eq!(nodes.len(), 3));
        assert_eq!(told(), []);
    }

    #[test]
    fn who_was_away_while_all_it_knew_were_replaced_is_told_where_to_dial() {
        // Breaks if a node that knows only addresses at which nobody is any more stays outside for good, though all others
        // dial it.
        let mut network = Network::new(1, 1, |settings| settings.replicas = 1);
        network.run_ms(50);
        network.join(1);
        network.run_ms(500);
        network.stop(2);
        network.join(1);
        for node in [2, 1] {
            let drain = MetaCommand::Weigh { node, weight: 0 };
            network.node(1).change_cluster(drain, Box::new(|_| {}));
        }
        network.run_ms(5000);
        let leads = |node: u32| network.node(node).meta_copy().leads.is_some();
        assert!(leads(3) && !leads(1));
        assert!(network.node(2).view().node(NodeId(3)).is_none());
        network.stop(1);
        network.start(2);
        let says_where = |message: &PeerMessage| match message {
            PeerMessage::Meta(bytes) => {
                matches!(MetaMessage::decode(bytes), Ok(MetaMessage::Here(_)))
            }
            _ => false,
        };
        network.lose(move |_, _, message| says_where(message));
        network.run_ms(2000);
        assert!(network.node(2).view().node(NodeId(3)).is_none(), "not told");
        network.lose(|_, _, _| false);
        network.run_ms(2000);
        let (one, other) = (network.node(2).view(), network.node(3).view());
        assert_eq!(one, other, "it was fed by node 3");
        assert_eq!(network.node(2).whereabouts()[&NodeId(3)].peer_port, 3);
    }
}
