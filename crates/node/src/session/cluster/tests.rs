use crate::session::Manner;
use crate::testing::network::Network;
use crate::testing::{Client, node};

/// Three nodes that lead something each. Their ports are 1, 2, 3, their hosts 127.0.0.1.
fn three() -> Network {
    let mut network = Network::new(1, 1, |_| {});
    network.run_ms(50);
    network.join(1);
    network.join(1);
    network.run_ms(6000);
    network
}

/// `CLUSTER NODES` of a node, a line each, without the flag of the node asked.
fn nodes(network: &Network, at: u32) -> Vec<String> {
    let text = Client::new(network.node(at)).run("CLUSTER NODES");
    let (_, text) = text.split_once(' ').expect("a length comes first");
    let lines = text
        .trim()
        .split('\n')
        .map(|line| line.replace("myself,", ""));
    lines.map(|line| line.trim().to_owned()).collect()
}

#[test]
fn every_node_tells_the_same() {
    // Breaks if `redis-cli --cluster check` finds that nodes disagree.
    let network = three();
    let first = nodes(&network, 1);
    assert_eq!(first.len(), 3);
    // The founder of a test has no address of its own, so each sees it where it was asked itself.
    assert_eq!(nodes(&network, 2), first);
    assert_eq!(nodes(&network, 3), first);
    for line in &first[1..] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[0].len(), 40);
        assert!(
            words[1].starts_with("127.0.0.1:") && words[1].contains('@'),
            "{line}"
        );
        assert_eq!((words[2], words[3], words[7]), ("master", "-", "connected"));
        assert!(words[8].contains('-'), "it leads slots: {line}");
    }
}

#[test]
fn all_slots_are_somebodys() {
    // Breaks if a cluster-aware client finds a slot that nobody serves, or two do.
    let network = three();
    let mut slots: Vec<u16> = nodes(&network, 2)
        .iter()
        .flat_map(|line| {
            line.split(' ')
                .skip(8)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .flat_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((&range, &range));
            first.parse().unwrap()..=last.parse::<u16>().unwrap()
        })
        .collect();
    slots.sort_unstable();
    assert_eq!(slots, (0..16384).collect::<Vec<u16>>());
}

#[test]
fn slots_name_leader_and_followers() {
    // Breaks if clients that read from replicas, or fail over by themselves, do not know them.
    let network = three();
    let mut client = Client::new(network.node(3));
    let slots = client.run("CLUSTER SLOTS");
    // First each leader by itself, so that a client that reads on takes none of them for a follower.
    let words: Vec<&str> = slots.split(' ').collect();
    let sizes: Vec<&&str> = words.iter().filter(|w| ["*3", "*5"].contains(*w)).collect();
    assert_eq!(sizes[..4], [&"*3", &"*3", &"*3", &"*5"], "{slots:.600}");
    let shards = client.run("CLUSTER SHARDS");
    assert!(shards.starts_with("*3 *4 $5 slots *"), "{shards:.200}");
    assert_eq!(shards.matches("$6 master").count(), 3);
    assert_eq!(shards.matches("$7 replica").count(), 6);
    assert_eq!(shards.matches("$6 online").count(), 9);
    client.run("HELLO 3");
    assert!(client.run("CLUSTER SHARDS").starts_with("*3 %2 $5 slots *"));
}

#[test]
fn a_dead_node_is_told() {
    // Breaks if clients go on asking a node that is gone for slots that have a new leader.
    let mut network = three();
    network.stop(2);
    network.run_ms(3000);
    let lines = nodes(&network, 1);
    let words: Vec<&str> = lines[1].split(' ').collect();
    assert_eq!((words[2], words[7]), ("master,fail", "disconnected"));
    assert_eq!(words.len(), 8, "it leads nothing: {}", lines[1]);
    let info = Client::new(network.node(1)).run("CLUSTER INFO");
    assert!(info.contains("cluster_state:ok cluster_slots_assigned:16384 cluster_slots_ok:16384"));
    assert!(
        info.contains("cluster_known_nodes:3 cluster_size:2 "),
        "{info}"
    );
}

/// Who leads how many slots by a node's word, and how it calls them.
fn led(network: &Network, at: u32) -> Vec<(String, usize)> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        usize::from(last.parse::<u16>().unwrap() - first.parse::<u16>().unwrap()) + 1
    };
    let lines = nodes(network, at);
    let told = lines.iter().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        (
            words[2].to_owned(),
            words[8..].iter().map(|r| count(r)).sum(),
        )
    });
    told.collect()
}

#[test]
fn the_slots_of_who_just_died_are_told_at_once_and_all() {
    // Breaks if a cluster-aware client is told of a dead leader until its successor is known, or of slot after slot:
    // Redisson 3.45 tries to connect to it, takes its slots for nobody's, and then never wakes who subscribes meanwhile.
    let mut network = three();
    let key = (0..1000)
        .map(|at| at.to_string())
        .find(|key| {
            let slot = placement::slot_of(key.as_bytes());
            let shard = network.node(1).map.shard_of_slot(slot).index();
            network.leader(shard) == Some(2)
        })
        .expect("node 2 leads something");
    network.stop(2);
    for number in [1, 3] {
        let node = network.node(number);
        node.peer_down(paxos::NodeId(2), node.now());
    }
    for number in [1, 3] {
        let told = led(&network, number);
        assert_eq!(told[1], ("master,fail".into(), 0), "node {number}");
        assert_eq!(told[0].1 + told[2].1, 16384);
    }
    // Whoever is asked so has the request until there is a leader.
    let node = network.node(1).clone();
    let mut client = Client::in_manner(&node, Manner::Cluster);
    assert_eq!(client.run(&format!("INCR {key}")), "");
    network.run_ms(3000);
    assert_eq!(client.poll(), ":1");
}

#[test]
fn who_alone_cannot_reach_a_leader_does_not_name_heirs() {
    // Breaks if nodes contradict each other for as long as one link is cut, and clients go to and fro.
    let mut network = three();
    let before = led(&network, 1);
    network.cut(1, 2);
    let node = network.node(1).clone();
    node.peer_down(paxos::NodeId(2), node.now());
    network.run_ms(4000);
    let (one, three) = (led(&network, 1), led(&network, 3));
    assert_eq!(three, before);
    assert_eq!(one[1], ("master,fail?".into(), before[1].1));
    assert_eq!((one[0].1, one[2].1), (before[0].1, before[2].1));
}

#[test]
fn a_dead_node_whose_slots_have_no_heir_is_suspected() {
    // Breaks if Redisson gives all that a failed node still has to one heir, and loses its way as there come to be several.
    let mut network = three();
    network.stop(2);
    network.stop(3);
    network.run_ms(3000);
    let lines = nodes(&network, 1);
    for line in &lines[1..] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!((words[2], words[7]), ("master,fail?", "disconnected"));
        assert!(words.len() > 8, "it has its slots: {line}");
    }
}

#[test]
fn one_node_is_a_cluster_of_itself() {
    // Breaks if a cluster client cannot use a single node.
    let (node, _) = node();
    let mut client = Client::new(&node);
    let id = node.id.clone();
    assert_eq!(client.run("CLUSTER MYID"), format!("$40 {id}"));
    let slots = client.run("CLUSTER SLOTS");
    assert_eq!(
        slots,
        format!("*1 *3 :0 :16383 *4 $9 127.0.0.1 :0 $40 {id} *0")
    );
    assert!(
        client
            .run("CLUSTER NODES")
            .contains("myself,master - 0 0 1 connected 0-16383")
    );
    assert!(client.run("CLUSTER INFO").contains("cluster_state:ok"));
    assert_eq!(client.run("CLUSTER LINKS"), "*0");
}

#[test]
fn keys_of_a_slot_are_found() {
    // Breaks if tools that look into slots see none, other slots' keys, or fail otherwise than Redis.
    let (node, _) = node();
    let mut client = Client::new(&node);
    client.run("MSET {a}1 x {a}2 x b x");
    assert_eq!(client.run("CLUSTER KEYSLOT {a}1"), ":15495");
    assert_eq!(client.run("CLUSTER COUNTKEYSINSLOT 15495"), ":2");
    assert_eq!(
        client
            .run("CLUSTER GETKEYSINSLOT 15495 1")
            .split(' ')
            .next(),
        Some("*1")
    );
    assert_eq!(client.run("CLUSTER GETKEYSINSLOT 15495 0"), "*0");
    assert_eq!(
        client.run("CLUSTER COUNTKEYSINSLOT 16384"),
        "-ERR Invalid slot"
    );
    let text = "-ERR value is not an integer or out of range";
    assert_eq!(client.run("CLUSTER COUNTKEYSINSLOT x"), text);
    let text = "-ERR Invalid slot or number of keys";
    assert_eq!(client.run("CLUSTER GETKEYSINSLOT 5 -1"), text);
    assert_eq!(client.run("CLUSTER REPLICAS abc"), "-ERR Unknown node abc");
}

#[test]
fn what_is_done_otherwise_says_how() {
    // Breaks if an operator used to Redis Cluster is left without a way.
    let (node, _) = node();
    let mut client = Client::new(&node);
    let meet = client.run("CLUSTER MEET 127.0.0.1 7000");
    assert_eq!(
        meet,
        "-ERR CLUSTER MEET is not supported by Torc: start the other node with 'torc serve --join HOST:PORT'"
    );
    for line in ["ADDSLOTS 1", "SETSLOT 1 STABLE", "RESET", "REPLICATE x"] {
        let answer = client.run(&format!("CLUSTER {line}"));
        assert!(
            answer.contains("is not supported by Torc: ") && answer.contains("torc"),
            "{answer}"
        );
    }
}

#[test]
fn a_transaction_may_ask_for_the_cluster() {
    // Breaks if looking into a slot inside MULTI panics, or a status locks shards that EXEC holds.
    let (node, _) = node();
    let mut client = Client::new(&node);
    client.run("MSET {a}1 x {a}2 x");
    client.run("MULTI");
    assert!(
        client
            .run("TORC STATUS")
            .starts_with("-ERR Command not allowed inside a transaction")
    );
    client.run("DISCARD");
    client.run("MULTI");
    client.run("CLUSTER COUNTKEYSINSLOT 15495");
    client.run("CLUSTER KEYSLOT a");
    assert_eq!(client.run("EXEC"), "*2 :2 :15495");
}
