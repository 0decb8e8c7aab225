//! A cluster that forms: one node, then two, then more; nodes that come back.

use crate::testing::Client;
use crate::testing::network::Network;
use paxos::{GroupId, NodeId};

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
    // Breaks if a password set on one node leaves the others open, or one that joins later.
    let mut network = Network::of_three();
    let node = network.node(2).clone();
    let mut client = Client::new(&node);
    client.run("CONFIG SET requirepass secret maxmemory 32mb");
    network.run_ms(1000);
    assert_eq!(client.poll(), "+OK");
    network.join(1);
    network.run_ms(500);
    for number in 1..=4 {
        let settings = network.node(number).settings.load();
        assert_eq!(settings.requirepass, "secret", "node {number}");
        let own = settings.maxmemory_bytes == 32 << 20;
        assert_eq!(own, number == 2, "maxmemory is a node's own");
    }
}

#[test]
fn a_setting_of_a_cut_off_node_says_so() {
    // Breaks if an operator believes that all nodes have a password that only one has.
    let mut network = Network::of_three();
    for other in [1, 2] {
        network.cut(3, other);
    }
    let node = network.node(3).clone();
    let mut client = Client::new(&node);
    client.run("CONFIG SET requirepass secret");
    network.run_ms(10_500);
    assert_eq!(
        client.poll(),
        "-ERR CONFIG SET took effect on this node alone: the cluster could not agree on it in time, as no majority answers"
    );
}

#[test]
fn a_setting_in_a_transaction_reaches_the_cluster() {
    // Breaks if CONFIG SET inside MULTI stays on one node, or locks shards that EXEC holds.
    let mut network = Network::of_three();
    let node = network.node(1).clone();
    let mut client = Client::new(&node);
    client.run("MULTI");
    client.run("CONFIG SET timeout 77");
    client.run("EXEC");
    network.run_ms(500);
    client.poll();
    network.run_ms(500);
    for number in 1..=3 {
        assert_eq!(network.node(number).settings.load().timeout_s, 77);
    }
}
