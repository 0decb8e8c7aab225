//! The scripts that all nodes know: loaded on one, called on another.

use crate::meta::META_GROUP;
use crate::node::Node;
use crate::testing::Client;
use crate::testing::network::Network;
use crate::wire::PeerMessage;
use std::sync::Arc;

const LOAD: &str = "SCRIPT LOAD \"return 1\"";
const SHA: &str = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"; // of: return 1
const NOSCRIPT: &str = "-NOSCRIPT No matching script. Please use EVAL.";

/// What a client of node `at` is told within a second; nothing else happens meanwhile.
fn ask(network: &mut Network, at: u32, line: &str) -> String {
    let node = network.node(at).clone();
    let mut client = Client::new(&node);
    let told = client.run(line);
    if !told.is_empty() {
        return told;
    }
    for _ in 0..100 {
        network.tick();
        let told = client.poll();
        if !told.is_empty() {
            return told;
        }
    }
    panic!("no answer to {line}");
}

fn evalsha() -> String {
    format!("EVALSHA {SHA} 0")
}

/// Who leads the meta group, as all know.
fn meta_leader(network: &Network) -> u32 {
    let leader = network.node(1).cluster.leader(META_GROUP);
    leader.expect("it has one").0
}

/// Entries of the meta group's log that a node has applied.
fn meta_applied(node: &Arc<Node>) -> u64 {
    node.with_meta(|group| group.applied().0)
}

#[test]
fn what_one_node_loaded_all_know_even_one_that_lags() {
    // Breaks if EVALSHA answers NOSCRIPT for what SCRIPT LOAD on another node had acknowledged before.
    let mut network = Network::of_three();
    let leader = meta_leader(&network);
    let (loader, late) = match leader {
        1 => (2, 3),
        2 => (1, 3),
        _ => (1, 2),
    };
    // The one that lags hears nothing of the meta group's log.
    network.lose(move |_, to, message| {
        to == late && matches!(message, PeerMessage::Paxos(message) if message.group == META_GROUP)
    });
    assert_eq!(ask(&mut network, loader, LOAD), format!("$40 {SHA}"));
    assert_eq!(ask(&mut network, loader, &evalsha()), ":1");
    assert_eq!(ask(&mut network, leader, &evalsha()), ":1");
    let node = network.node(late).clone();
    let mut client = Client::new(&node);
    assert_eq!(client.run(&evalsha()), "");
    network.run_ms(200);
    assert_eq!(client.poll(), "", "it waits for what it may have missed");
    network.heal();
    network.run_ms(2000);
    assert_eq!(client.poll(), ":1");
}

#[test]
fn a_loader_that_dies_and_a_node_that_joins_change_nothing() {
    // Breaks if scripts are kept by the node that loaded them, or a joining node is not told of them.
    let mut network = Network::of_three();
    assert_eq!(ask(&mut network, 1, LOAD), format!("$40 {SHA}"));
    network.stop(1);
    network.run_ms(3000);
    assert_eq!(ask(&mut network, 2, &evalsha()), ":1");
    network.join(2);
    assert_eq!(ask(&mut network, 4, &evalsha()), ":1");
    network.heal();
    network.run_ms(1000);
    let exists = format!("SCRIPT EXISTS {SHA} {}", "0".repeat(40));
    for at in 1..=4 {
        assert_eq!(ask(&mut network, at, &exists), "*2 :1 :0");
    }
}

#[test]
fn a_script_that_was_run_is_known_everywhere() {
    // Breaks if EVAL waits for the cluster, or tells nobody of its script.
    let mut network = Network::of_three();
    let node = network.node(3).clone();
    let mut client = Client::new(&node);
    assert_eq!(client.run("EVAL \"return 1\" 0"), ":1", "at once");
    for at in 1..=2 {
        assert_eq!(ask(&mut network, at, &evalsha()), ":1");
    }
}

#[test]
fn what_is_flushed_is_gone_everywhere() {
    // Breaks if a node keeps a script that was flushed, be it in its own cache or in that of a script's leader.
    let mut network = Network::of_three();
    ask(&mut network, 1, LOAD);
    let with_key = "EVAL \"return redis.call('get', KEYS[1])\" 1 k";
    for at in 1..=3 {
        assert_eq!(ask(&mut network, at, &evalsha()), ":1");
        assert_eq!(ask(&mut network, at, with_key), "$-1");
    }
    assert_eq!(ask(&mut network, 2, "SCRIPT FLUSH ASYNC"), "+OK");
    network.run_ms(200);
    let other = script::sha_of(b"return redis.call('get', KEYS[1])");
    let exists = format!("SCRIPT EXISTS {SHA} {}", String::from_utf8_lossy(&other));
    for at in 1..=3 {
        assert_eq!(ask(&mut network, at, &evalsha()), NOSCRIPT);
        assert_eq!(ask(&mut network, at, &exists), "*2 :0 :0");
    }
    assert_eq!(ask(&mut network, 3, LOAD), format!("$40 {SHA}"));
    assert_eq!(ask(&mut network, 1, &evalsha()), ":1");
}

#[test]
fn many_who_ask_at_once_cost_a_few_entries() {
    // Breaks if a thousand clients that miss a script fill the meta group's log, or are refused.
    let mut network = Network::of_three();
    let node = network.node(3).clone();
    let before = meta_applied(&node);
    let mut clients: Vec<Client> = (0..500).map(|_| Client::new(&node)).collect();
    let unknown = format!("EVALSHA {} 0", "0".repeat(40));
    for (n, client) in clients.iter_mut().enumerate() {
        let line = if n % 2 == 0 { &unknown } else { LOAD };
        assert_eq!(client.run(line), "");
    }
    network.run_ms(20);
    for (n, client) in clients.iter_mut().enumerate() {
        let told = client.poll();
        match n % 2 {
            0 => assert_eq!(told, NOSCRIPT),
            _ => assert_eq!(told, format!("$40 {SHA}")),
        }
    }
    let entries = meta_applied(&node) - before;
    assert!((2..=4).contains(&entries), "{entries}");
}

#[test]
fn sources_made_for_one_call_do_not_fill_the_log() {
    // Breaks if a client that writes its arguments into the source has each of its calls agreed on by the cluster.
    let mut network = Network::of_three();
    let node = network.node(2).clone();
    let before = meta_applied(&node);
    let mut client = Client::new(&node);
    for n in 0..5000 {
        client.run(&format!("EVAL \"return {n}\" 0"));
        if n % 50 == 0 {
            network.deliver();
        }
    }
    network.run_ms(100);
    assert!(meta_applied(&node) - before <= 210);
    // And what is run later is shared all the same.
    network.run_ms(100);
    client.run("EVAL \"return 'later'\" 0");
    let sha = script::sha_of(b"return 'later'");
    let call = format!("EVALSHA {} 0", String::from_utf8_lossy(&sha));
    assert_eq!(ask(&mut network, 1, &call), "$5 later");
}

#[test]
fn a_script_in_use_stays_though_many_others_come() {
    // Breaks if the store drops a script that somebody calls all the time because it was loaded long ago.
    let mut network = Network::of_three();
    ask(&mut network, 1, LOAD);
    let node = network.node(1).clone();
    let mut client = Client::new(&node);
    for n in 0..1500 {
        ask(
            &mut network,
            1,
            &format!("SCRIPT LOAD \"return 'other {n}'\""),
        );
        if n % 100 == 0 {
            assert_eq!(client.run(&evalsha()), ":1");
        }
    }
    network.run_ms(10);
    assert_eq!(ask(&mut network, 3, &evalsha()), ":1");
    let (count, bytes) = node.cluster.scripts.counts();
    assert!((900..=1000).contains(&count), "{count}");
    assert!(bytes <= 4 << 20, "{bytes}");
}

#[test]
fn a_node_that_is_cut_off_says_that_it_does_not_know() {
    // Breaks if a node that cannot ask anybody lets a client believe that a script is nowhere.
    let mut network = Network::of_three();
    for other in [1, 2] {
        network.cut(3, other);
    }
    let node = network.node(3).clone();
    let (mut caller, mut loader) = (Client::new(&node), Client::new(&node));
    assert_eq!(caller.run(&evalsha()), "");
    assert_eq!(loader.run(LOAD), "");
    network.run_ms(21_000);
    let told = caller.poll();
    assert!(
        told.starts_with("-CLUSTERDOWN it is not known whether another node has the script"),
        "{told}"
    );
    let told = loader.poll();
    assert!(
        told.starts_with("-ERR only this node has the script: the cluster could not agree"),
        "{told}"
    );
}
