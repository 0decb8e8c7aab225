//! A cluster that grows, shrinks and loses nodes while clients go on: shards move, and nothing else changes.

use super::sessions::run_at;
use crate::meta::MetaCommand;
use crate::testing::Client;
use crate::testing::network::Network;
use placement::slot_of;
use serde_json::Value;
use std::collections::BTreeSet;

/// Three nodes that formed a cluster one by one, with keys.
fn three_with_keys(keys: usize) -> Network {
    let mut network = Network::new(1, 1, |settings| settings.replace_after_s = 5);
    network.run_ms(50);
    network.join(1);
    network.join(1);
    network.run_ms(6000);
    fill(&mut network, 1, keys);
    network
}

/// One client's command, run to its reply.
fn run(network: &mut Network, at: u32, line: &str) -> String {
    run_at(network, at, line, 1500)
}

fn fill(network: &mut Network, at: u32, keys: usize) {
    for key in 0..keys {
        assert_eq!(run(network, at, &format!("SET key:{key} {key}")), "+OK");
    }
}

fn check(network: &mut Network, at: u32, keys: usize) {
    for key in 0..keys {
        let reply = run(network, at, &format!("GET key:{key}"));
        let value = key.to_string();
        assert_eq!(
            reply,
            format!("${} {value}", value.len()),
            "key:{key} at node {at}"
        );
    }
}

fn voters(network: &Network, shard: usize) -> Vec<u32> {
    let leader = network.leader(shard).expect("the shard has a leader");
    let guard = network.node(leader).lock(shard);
    let config = guard.group.replica.config();
    assert!(config.learners.is_empty(), "shard {shard}: {config:?}");
    config.voters.iter().map(|id| id.node.0).collect()
}

/// Every shard has three voters of `nodes`, those that its ring wants, and only they have keys of it.
fn is_placed_on(network: &Network, nodes: &[u32]) {
    let mut holding = BTreeSet::new();
    for shard in 0..8 {
        let voters = voters(network, shard);
        assert_eq!(voters.len(), 3, "shard {shard}");
        holding.extend(voters.iter().copied());
        let view = network.node(voters[0]).view();
        let mut wanted: Vec<u32> = view.wanted[shard].iter().map(|id| id.0).collect();
        wanted.sort_unstable();
        assert_eq!(voters, wanted, "shard {shard}");
        for number in 1..=network.nodes.len() as u32 {
            let guard = network.node(number).lock(shard);
            if !voters.contains(&number) {
                assert_eq!(guard.cache.len(0), 0, "node {number} keeps shard {shard}");
            }
        }
    }
    assert_eq!(holding, nodes.iter().copied().collect(), "who holds shards");
}

fn json(text: &str) -> Value {
    let (_, json) = text.split_once(' ').expect("a length, then the text");
    serde_json::from_str(json).expect("JSON")
}

#[test]
fn a_cluster_grows_and_shrinks_under_its_clients() {
    // Breaks if adding or draining a node loses keys, leaves them where they no longer belong, or cannot end.
    let mut network = three_with_keys(300);
    is_placed_on(&network, &[1, 2, 3]);
    network.join(2);
    network.join(3);
    let mut count = 0;
    for _ in 0..40 {
        count += 1;
        let reply = run(&mut network, 1 + count % 3, "INCR counter");
        assert_eq!(reply, format!(":{count}"));
        network.run_ms(150);
    }
    is_placed_on(&network, &[1, 2, 3, 4, 5]);
    check(&mut network, 5, 300);
    // Leaders first, then replicas; the cluster's own state too.
    for gone in [1, 2] {
        assert_eq!(
            run(&mut network, 3, &format!("TORC NODE DRAIN {gone}")),
            "+OK"
        );
        network.run_ms(8000);
    }
    is_placed_on(&network, &[3, 4, 5]);
    for gone in [1, 2] {
        assert_eq!(
            run(&mut network, 4, &format!("TORC NODE REMOVE {gone}")),
            "+OK"
        );
        network.run_ms(1000);
        assert!(
            network.node(gone).is_over(),
            "node {gone} knows that it left"
        );
    }
    assert_eq!(network.node(5).view().nodes.len(), 3);
    check(&mut network, 4, 300);
    assert_eq!(run(&mut network, 5, "GET counter"), "$2 40");
}

#[test]
fn a_node_that_is_dead_for_long_is_replaced_and_comes_back() {
    // Breaks if a dead node keeps its place for ever, or one that returns stays without shards.
    let mut network = three_with_keys(50);
    network.join(1);
    network.run_ms(5000);
    is_placed_on(&network, &[1, 2, 3, 4]);
    network.stop(2);
    network.run_ms(4000);
    assert!(!network.node(1).view().nodes[1].is_lost, "not yet");
    network.run_ms(10_000);
    assert!(network.node(1).view().nodes[1].is_lost);
    for shard in 0..8 {
        assert_eq!(voters(&network, shard), [1, 3, 4], "shard {shard}");
    }
    check(&mut network, 4, 50);
    network.heal();
    network.run_ms(8000);
    assert!(!network.node(1).view().nodes[1].is_lost);
    is_placed_on(&network, &[1, 2, 3, 4]);
    check(&mut network, 2, 50);
}

#[test]
fn who_has_no_copy_asks_a_new_leader_at_once() {
    // Breaks if clients of a node wait for ticks when a shard that it has no copy of gets another leader: of many requests at once
    // one is always for a shard that moves, and the others wait with it.
    let mut network = three_with_keys(0);
    network.join(1);
    network.run_ms(6000);
    let outsider = |shard: usize| (1..=4).find(|node| !voters(&network, shard).contains(node));
    let shard = (0..8).find(|shard| outsider(*shard).is_some());
    let shard = shard.expect("three of four nodes have each");
    let asker = outsider(shard).expect("it was chosen so");
    let key = (0..).find(|key| {
        let slot = slot_of(format!("key{key}").as_bytes());
        network.node(1).map.shard_of_slot(slot).index() == shard
    });
    let set = format!("SET key{} value", key.expect("every shard has slots"));
    let (mut ticks_max, mut leaders) = (0, BTreeSet::new());
    let node = network.node(asker).clone();
    let mut client = Client::new(&node);
    for _ in 0..3 {
        for to in voters(&network, shard) {
            let lead = format!("TORC SHARD LEAD {shard} {to}");
            run(&mut network, 1, &lead);
            for _ in 0..100 {
                let mut reply = client.run(&set);
                network.deliver();
                reply += &client.poll();
                let mut ticks = 0;
                while reply.is_empty() {
                    network.tick();
                    ticks += 1;
                    reply = client.poll();
                }
                assert_eq!(reply, "+OK");
                ticks_max = ticks_max.max(ticks);
                network.tick();
            }
            leaders.insert(network.leader(shard));
        }
    }
    assert_eq!(leaders.len(), 3, "leadership did not go round");
    assert_eq!(ticks_max, 0, "ticks that a client waited for");
}

#[test]
fn who_slept_while_all_members_were_replaced_drops_what_it_has() {
    // Breaks if a node keeps a shard for good that others hold now: all whom it knows of the group live, and have left it.
    let mut network = three_with_keys(50);
    network.stop(3);
    network.join(1);
    network.join(1);
    network.run_ms(1000);
    for node in [3, 2, 1] {
        let drain = MetaCommand::Weigh { node, weight: 0 };
        network.node(1).change_cluster(drain, Box::new(|_| {}));
        network.run_ms(8000);
    }
    let holds = |network: &Network, number: u32| {
        let node = network.node(number);
        (0..8).any(|shard| !node.lock(shard).group.replica.is_hollow())
    };
    assert_eq!(
        [1, 2, 3, 4, 5].map(|node| holds(&network, node)),
        [false, false, true, true, true]
    );
    network.start(3);
    network.run_ms(5000);
    assert!(!holds(&network, 3));
    check(&mut network, 3, 50);
}

#[test]
fn nobody_is_given_up_whom_nobody_can_replace() {
    // Breaks if three nodes of which one is dead went on with one replica of everything.
    let mut network = three_with_keys(10);
    network.stop(3);
    network.run_ms(20_000);
    assert!(!network.node(1).view().nodes[2].is_lost);
    for shard in 0..8 {
        assert_eq!(voters(&network, shard), [1, 2, 3], "shard {shard}");
    }
}

#[test]
fn what_is_unsafe_is_refused_in_words() {
    // Breaks if an operator can take the last replicas away, or is not told why nothing happens.
    let mut network = three_with_keys(10);
    for (line, reply) in [
        (
            "TORC NODE DRAIN 2",
            "-ERR 2 nodes would be left for 3 replicas of each shard; FORCE does it all the same",
        ),
        ("TORC NODE DRAIN 9", "-ERR there is no node '9'"),
        ("TORC NODE REMOVE 2", "-ERR node 2 is to be drained first"),
        ("CLUSTER FORGET 2", "-ERR node 2 is to be drained first"),
        ("TORC NODE WEIGHT 2 17", "-ERR a weight is 0 to 16"),
        (
            "TORC NODE WEIGHT 2 0",
            "-ERR 2 nodes would be left for 3 replicas of each shard; FORCE does it all the same",
        ),
        (
            "TORC REBALANCE 2 0 1 1 3 0",
            "-ERR 1 nodes would be left for 3 replicas of each shard; FORCE does it all the same",
        ),
        (
            "TORC REBALANCE 1 0 2 0 3 0 FORCE",
            "-ERR no node would be left to hold anything",
        ),
        ("TORC REBALANCE 2 0 1 FORCE", "-ERR syntax error"),
        ("TORC NODE WEIGHT 2 0 FORC", "-ERR syntax error"),
        ("TORC NODE WEIGHT 2", "-ERR syntax error"),
        (
            "TORC NODE WEIGHT 2 x",
            "-ERR value is not an integer or out of range",
        ),
        (
            "TORC NODE ZONE 2 a/b",
            "-ERR a zone's name has at most 64 letters, digits, dots, dashes and underscores",
        ),
        (
            "TORC NODE ZONE 2 01234567890123456789012345678901234567890123456789012345678901234",
            "-ERR a zone's name has at most 64 letters, digits, dots, dashes and underscores",
        ),
        ("TORC NODE ZONE 9 a", "-ERR there is no node '9'"),
        ("TORC SHARD MOVE 8 1 2", "-ERR shards are 0 to 7"),
        ("TORC SHARD MOVE 1 1 2", "-ERR node 2 holds shard 1 already"),
        ("TORC SHARD LEAD 1 7", "-ERR there is no node '7'"),
        ("TORC REBALANCE 1", "-ERR syntax error"),
        ("TORC REBALANCE 9 1", "-ERR there is no node '9'"),
        ("TORC PLAN 9 1", "-ERR there is no node '9'"),
    ] {
        assert_eq!(run(&mut network, 1, line), reply, "{line}");
    }
    network.join(1);
    network.run_ms(5000);
    network.stop(3);
    network.run_ms(2000);
    assert_eq!(
        run(&mut network, 1, "TORC NODE DRAIN 2"),
        "-ERR node 3 is not alive, and without it 2 nodes would be left for 3 replicas of each shard; FORCE does it all \
         the same"
    );
    network.heal();
    network.run_ms(2000);
    assert_eq!(run(&mut network, 1, "TORC NODE DRAIN 4"), "+OK");
    let refused = run(&mut network, 1, "TORC NODE REMOVE 4");
    assert!(refused.starts_with("-ERR "), "{refused}");
    network.run_ms(5000);
    assert_eq!(run(&mut network, 1, "TORC NODE REMOVE 4"), "+OK");
}

#[test]
fn an_operator_places_shards_and_leaders_and_the_ring_takes_them_back() {
    // Breaks if a move by hand goes elsewhere, does not last, or cannot be undone; or if a plan says what does not come.
    let mut network = three_with_keys(40);
    network.join(1);
    network.run_ms(5000);
    let before = network.node(1).view().wanted.clone();
    let from = before[3][1].0;
    let to = (1..=4).find(|id| before[3].iter().all(|holder| holder.0 != *id));
    let to = to.expect("one of four nodes does not hold it");
    let moved = run(&mut network, 2, &format!("TORC SHARD MOVE 3 {from} {to}"));
    assert_eq!(moved, "+OK");
    let plan = json(&run(&mut network, 2, "TORC PLAN"));
    assert_eq!(plan["replicas"], 1, "{plan}");
    assert_eq!(plan["moves"][0]["to"], to, "{plan}");
    network.run_ms(3000);
    let now = voters(&network, 3);
    assert!(now.contains(&to) && !now.contains(&from), "{now:?}");
    let heir = now
        .iter()
        .copied()
        .find(|id| network.leader(3) != Some(*id));
    let heir = heir.expect("three vote");
    assert_eq!(
        run(&mut network, 2, &format!("TORC SHARD LEAD 3 {heir}")),
        "+OK"
    );
    network.run_ms(5000);
    assert_eq!(network.leader(3), Some(heir));
    assert_eq!(json(&run(&mut network, 2, "TORC PLAN"))["replicas"], 0);
    let heavier = json(&run(&mut network, 2, "TORC PLAN 4 3"));
    assert!(heavier["replicas"].as_u64() > Some(1), "{heavier}");
    assert_eq!(run(&mut network, 2, "TORC REBALANCE"), "+OK");
    network.run_ms(6000);
    assert_eq!(network.node(1).view().wanted, before);
    is_placed_on(&network, &[1, 2, 3, 4]);
    check(&mut network, 3, 40);
}

#[test]
fn a_node_leads_all_that_it_holds_if_it_is_told_to() {
    // Breaks if CLUSTER FAILOVER, which tools send, does not bring the lead to the node that gets it.
    let mut network = three_with_keys(0);
    assert_eq!(run(&mut network, 2, "CLUSTER FAILOVER"), "+OK");
    network.run_ms(6000);
    for shard in 0..8 {
        assert_eq!(network.leader(shard), Some(2), "shard {shard}");
    }
}

#[test]
fn a_node_without_weight_joins_and_holds_nothing() {
    // Breaks if a node that is to wait for its share gets one at once.
    let mut network = three_with_keys(0);
    network.join(1);
    assert_eq!(run(&mut network, 1, "TORC NODE WEIGHT 4 0"), "+OK");
    network.run_ms(5000);
    is_placed_on(&network, &[1, 2, 3]);
    assert_eq!(run(&mut network, 1, "TORC NODE WEIGHT 4 1"), "+OK");
    network.run_ms(5000);
    is_placed_on(&network, &[1, 2, 3, 4]);
}

#[test]
fn a_cluster_of_which_most_is_drained_by_force_survives_the_node_that_is_left() {
    // Breaks if the cluster's own state is left to the one node that keeps a share, and is lost with it; or if a drained
    // node that votes on it for want of others cannot leave.
    let mut network = three_with_keys(10);
    for node in [2, 3] {
        let line = format!("TORC NODE WEIGHT {node} 0 FORCE");
        assert_eq!(run(&mut network, 1, &line), "+OK");
        network.run_ms(3000);
    }
    let meta_voters = |network: &Network, at| {
        let voters = |group: &crate::meta::MetaGroup| group.replica().config().voters.len();
        network.node(at).with_meta(voters)
    };
    assert_eq!(meta_voters(&network, 1), 3);
    assert_eq!(voters(&network, 0), [1]);
    network.stop(1);
    network.run_ms(3000);
    assert_eq!(run(&mut network, 2, "TORC NODE WEIGHT 2 1"), "+OK");
    network.heal();
    network.run_ms(3000);
    check(&mut network, 2, 10);
    assert_eq!(run(&mut network, 1, "TORC NODE REMOVE 3"), "+OK");
    network.run_ms(5000);
    assert!(network.node(3).has_left());
    assert_eq!(meta_voters(&network, 1), 1);
    check(&mut network, 2, 10);
}
