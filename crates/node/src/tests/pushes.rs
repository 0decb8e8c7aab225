//! What is pushed to a connection by other threads while its own commands say whether it is to be: subscriptions, MONITOR,
//! client-side caching.

use super::threads::{leaked, leaked_flag, together};
use super::{Hand, keys_in, node};
use crate::session::Step;
use crate::testing::Client;
use crate::testing::network::Network;
use cache::{Change, ChangeKind};
use paxos::NodeId;
use std::sync::atomic::Ordering;

/// Ends of what others push, tried so often while they do.
const ROUNDS: usize = 10_000;

/// Runs `begin` and `end` on a RESP2 connection again and again while another thread runs `pushes`: behind the reply to
/// `end` nothing may come, as the client takes what comes then for its next reply.
fn nothing_comes_behind(
    name: &'static str,
    begin: &'static str,
    end: &'static str,
    pushes: &'static str,
) {
    let node = leaked(node(&Hand::default()));
    let over = leaked_flag();
    let pusher = move || {
        let mut client = Client::new(node);
        while !over.load(Ordering::Relaxed) {
            client.run(pushes);
        }
    };
    let listener = move || {
        let mut client = Client::new(node);
        for _ in 0..ROUNDS {
            client.run(begin);
            let ended = client.run(end);
            let last = ended.rsplit(' ').next().map(str::to_owned);
            let behind = (0..20).map(|_| client.poll()).collect::<String>();
            let is_last = matches!(last.as_deref(), Some(":0" | "+RESET"));
            if !is_last || !behind.is_empty() {
                over.store(true, Ordering::Relaxed);
                let from = ended.len().saturating_sub(100);
                panic!("… {:?}, then {behind:?}", &ended[from..]);
            }
        }
        over.store(true, Ordering::Relaxed);
    };
    together(name, vec![Box::new(pusher), Box::new(listener)]);
}

/// A message behind the confirmation would be taken for the reply to the next command.
#[test]
fn no_message_comes_behind_the_end_of_a_subscription() {
    nothing_comes_behind("UNSUBSCRIBE", "SUBSCRIBE c", "UNSUBSCRIBE c", "PUBLISH c m");
    nothing_comes_behind(
        "SUNSUBSCRIBE",
        "SSUBSCRIBE c",
        "SUNSUBSCRIBE c",
        "SPUBLISH c m",
    );
    nothing_comes_behind(
        "PUNSUBSCRIBE",
        "PSUBSCRIBE c*",
        "PUNSUBSCRIBE c*",
        "PUBLISH c m",
    );
}

/// The same of what was being listened to when the connection began anew.
#[test]
fn nothing_comes_behind_a_reset() {
    nothing_comes_behind("SUBSCRIBE", "SUBSCRIBE c", "RESET", "PUBLISH c m");
    nothing_comes_behind("MONITOR", "MONITOR", "RESET", "GET k");
}

/// What is there already is told ahead of the reply, as that ends it.
#[test]
fn what_came_before_a_reset_goes_ahead_of_its_reply() {
    let node = node(&Hand::default());
    let (mut client, mut other) = (Client::new(&node), Client::new(&node));
    client.run("SUBSCRIBE c");
    other.run("PUBLISH c m");
    assert_eq!(client.run("RESET"), "*3 $7 message $1 c $1 m +RESET");
    client.pipeline(&["HELLO 3", "SUBSCRIBE c"]);
    other.run("PUBLISH c m");
    let reply = client.run("HELLO 2");
    assert!(reply.starts_with(">3 $7 message $1 c $1 m *14"), "{reply}");
}

/// One connection that stops to track while another begins must not leave the shards silent: what the other has cached
/// would stay for good.
#[test]
fn who_begins_to_track_is_told_whoever_stops_meanwhile() {
    let node = leaked(node(&Hand::default()));
    let key = &keys_in(node, 6, "k", 1)[0];
    let (mut first, mut writer) = (Client::new(node), Client::new(node));
    for round in 0..200 {
        let mut second = Client::new(node);
        second.pipeline(&["HELLO 3", "CLIENT TRACKING ON"]);
        let busy = node.lock(3);
        let stops = std::thread::spawn(move || second.run("CLIENT TRACKING OFF"));
        // It has told the shards before this one, and stands here.
        while node.lock(2).is_observed() {
            std::thread::yield_now();
        }
        (0..100).for_each(|_| std::thread::yield_now());
        drop(busy);
        first.pipeline(&["HELLO 3", "CLIENT TRACKING ON"]);
        assert_eq!(stops.join().expect("no panic"), "+OK");
        first.run(&format!("GET {key}"));
        writer.run(&format!("SET {key} v"));
        let told = format!(">2 $10 invalidate *1 ${} {key}", key.len());
        assert_eq!(first.poll(), told, "round {round}");
        first.run("CLIENT TRACKING OFF");
    }
}

/// An invalidation ahead of the reply that it is about leaves the client with what is no longer true, for good: its reading was
/// noted once, and is no more.
#[test]
fn no_invalidation_overtakes_a_reply_that_others_make() {
    for lines in [
        &["SINTER a b"][..],
        &["MULTI", "GET a", "EXEC"],
        &["MULTI", "GET a", "SINTER a b", "EXEC"],
    ] {
        let change = |key: &str| Change {
            db: 0,
            key: key.as_bytes().into(),
            kind: ChangeKind::Modified,
        };
        let mut network = Network::of_three();
        let nodes = network.nodes.clone();
        let mut client = Client::new(&nodes[0]);
        let shards = [b"a", b"b"].map(|key| nodes[0].shard_of(key));
        assert_ne!(shards[0], shards[1], "they live apart");
        client.pipeline(&["HELLO 3", "CLIENT TRACKING ON"]);
        let asked = client.pipeline(lines);
        let was_told = |text: &str| text.contains("invalidate");
        assert!(!was_told(&asked));
        nodes[0]
            .tracking
            .invalidate(&nodes[0], &[change("a")], None, nodes[0].now());
        assert_eq!(client.poll(), "", "{lines:?}");
        let mut reply = String::new();
        for _ in 0..20 {
            network.tick();
            reply.push_str(&client.poll());
        }
        let told = reply.find(">2 $10 invalidate *1 $1 a");
        assert!(told > Some(0), "{lines:?}: {reply}");
    }
}

/// Who listens is forgotten when a link breaks, and told anew by the next beat: what changes in between nobody tells.
#[test]
fn what_changed_while_a_listener_was_forgotten_is_made_up_for() {
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let mut client = Client::new(&nodes[1]);
    client.pipeline(&["HELLO 3", "CLIENT TRACKING ON"]);
    network.run_ms(100);
    let shard = (0..8).find(|shard| network.leader(*shard) == Some(1));
    let key = &keys_in(&nodes[0], shard.expect("node 1 leads one"), "k", 1)[0];
    client.poll();
    // The link from node 1 to node 2 breaks and is there again, of which node 2 knows nothing yet.
    nodes[0].peer_down(NodeId(2), nodes[0].now());
    let mut read = client.run(&format!("GET {key}"));
    let mut writer = Client::new(&nodes[0]);
    network.deliver();
    read.push_str(&client.poll());
    assert_eq!(read, "_");
    writer.run(&format!("SET {key} v"));
    network.deliver();
    assert_eq!(client.poll(), "", "nobody knew that it listens");
    let mut told = String::new();
    for _ in 0..20 {
        network.tick();
        told.push_str(&client.poll());
    }
    assert_eq!(told, ">2 $10 invalidate _");
}

/// Replies before a request that CLIENT PAUSE holds back must not wait for the pause's end.
#[test]
fn a_pause_holds_nothing_back_that_was_asked_before() {
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let leader = network.leader(nodes[0].shard_of(b"k")).expect("settled");
    let mut client = Client::new(&nodes[leader as usize % 3]);
    let lines = ["CLIENT PAUSE 5000 WRITE", "GET k", "SET k v"];
    assert_eq!(client.pipeline(&lines), "+OK");
    network.deliver();
    assert!(
        client.session.client.wants_attention(),
        "the reply is there"
    );
    assert_eq!(client.poll(), "$-1");
}

/// Reads by a lease that a pause cuts from what follows them were in time: the connection must not be dropped after the pause
/// because the lease is over by then.
#[test]
fn reads_that_a_pause_cuts_off_are_looked_at_before_it() {
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let leader = network.leader(nodes[0].shard_of(b"s")).expect("settled");
    let mut client = Client::new(&nodes[leader as usize - 1]);
    assert_eq!(client.run("CLIENT PAUSE 5000 WRITE"), "+OK");
    let lines = ["GET s", "MGET s s", "SET s v"];
    assert_eq!(client.pipeline(&lines), "$-1 *2 $-1 $-1");
    assert!(
        matches!(client.step, Step::Wait { .. }),
        "{:?}",
        client.step
    );
    network.run_ms(6000);
    let mut reply = client.poll();
    assert_ne!(client.step, Step::Abort);
    network.run_ms(50);
    reply.push_str(&client.poll());
    assert_eq!(reply, "+OK");
}

/// A client that waits without a time-out for more replicas than there are must be given up once it has gone.
#[test]
fn an_endless_wait_may_be_given_up() {
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let mut client = Client::new(&nodes[0]);
    assert_eq!(client.run("WAIT 7 0"), "");
    network.deliver();
    assert_eq!(client.poll(), "");
    assert!(
        matches!(client.step, Step::Blocked { .. }),
        "{:?}",
        client.step
    );
    let mut patient = Client::new(&nodes[0]);
    assert_eq!(patient.run("WAIT 7 60000"), "");
    network.deliver();
    patient.poll();
    assert!(
        matches!(patient.step, Step::Wait { .. }),
        "{:?}",
        patient.step
    );
}
