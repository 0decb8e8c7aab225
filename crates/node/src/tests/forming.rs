//! A cluster that forms: one node, then two, then more; nodes that come back.

use crate::meta::MetaCommand;
use crate::testing::network::Network;
use parking_lot::Mutex;
use paxos::{GroupId, NodeId};
use std::sync::Arc;

/// Who votes in a shard's group, as its leader knows.
fn voters(network: &Network, shard: usize) -> Vec<u32> {
    let leader = network.leader(shard).expect("the shard has a leader");
    let guard = network.node(leader).lock(shard);
    let config = guard.group.replica.config();
    config.voters.iter().map(|id| id.node.0).collect()
}

/// How many shards each node leads.
fn leaders(network: &Network) -> Vec<usize> {
    let led = |node: u32| (0..8).filter(move |shard| network.leader(*shard) == Some(node));
    (1..=network.nodes.len() as u32)
        .map(|node| led(node).count())
        .collect()
}

#[test]
fn three_nodes_share_everything() {
    // Breaks if joined nodes do not get replicas of the shards, or the founder goes on leading them all.
    let mut network = Network::new(1, 1, |_| {});
    network.run_ms(50);
    network.join(1);
    network.run_ms(500);
    for shard in 0..8 {
        assert_eq!(voters(&network, shard), [1], "two nodes: one votes");
    }
    network.join(2);
    network.run_ms(6000);
    for shard in 0..8 {
        assert_eq!(voters(&network, shard), [1, 2, 3]);
    }
    let leaders = leaders(&network);
    assert!(
        leaders.iter().all(|led| (2..=3).contains(led)),
        "{leaders:?}"
    );
    for number in 1..=3 {
        let node = network.node(number);
        assert_eq!(node.shards_count(), 8);
        assert_eq!(node.view(), network.node(1).view());
        for group in 1..=8 {
            let leader = node.cluster.leader(GroupId(group));
            let known = network.leader(group as usize - 1).map(NodeId);
            assert_eq!(leader, known, "node {number} knows who leads group {group}");
        }
    }
}

#[test]
fn a_setting_reaches_every_node() {
    // Breaks if a password set on one node leaves the others open.
    let mut network = Network::of_three();
    let pairs = vec![("requirepass".to_owned(), "secret".to_owned())];
    let told = Arc::new(Mutex::new(None));
    let slot = told.clone();
    let done = Box::new(move |answer| *slot.lock() = Some(answer));
    network
        .node(2)
        .change_cluster(MetaCommand::Configure { pairs }, done);
    network.run_ms(1000);
    assert!(told.lock().is_some());
    for number in 1..=3 {
        assert_eq!(network.node(number).settings.load().requirepass, "secret");
    }
}
