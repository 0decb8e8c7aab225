//! WATCH: what aborts a transaction and what does not, as in Redis.

use super::{Hand, keys_in, node, node_of};
use crate::client::ClientFlag;
use crate::node::Node;
use crate::slots::Ticket;
use crate::testing::Client;
use crate::testing::network::Network;
use cache::Policy;

/// Runs `setup`, WATCH `watched`, then `others` on a second connection; returns what EXEC of a PING answers.
fn exec_after(node: &Node, setup: &[&str], watched: &str, others: &[&str]) -> String {
    let mut one = Client::new(node);
    let mut two = Client::new(node);
    for line in setup {
        one.run(line);
    }
    assert_eq!(one.run(&format!("WATCH {watched}")), "+OK");
    for line in others {
        two.run(line);
    }
    one.run("MULTI");
    one.run("PING");
    one.run("EXEC")
}

const DONE: &str = "*1 +PONG";
const ABORTED: &str = "*-1";

/// A change that WATCH misses is a lost update; one that it makes up is a transaction that never gets through.
#[test]
fn changes_abort_and_other_things_do_not() {
    let cases: &[(&[&str], &str, &[&str], &str)] = &[
        (&["SET k 1"], "k", &[], DONE),
        (
            &["SET k 1"],
            "k",
            &["GET k", "EXISTS k", "TTL k", "TOUCH k"],
            DONE,
        ),
        (&["SET k 1"], "k", &["SET other 1"], DONE),
        (&["SET k 1"], "k", &["SET k 1"], ABORTED),
        (&["SET k 1"], "k", &["DEL k", "SET k 1"], ABORTED),
        (&["SET k 1"], "k", &["EXPIRE k 100"], ABORTED),
        (&["SET k 1 EX 100"], "k", &["PERSIST k"], ABORTED),
        (&["SET k 1"], "k", &["PERSIST k"], DONE),
        (
            &["SET k 1"],
            "k",
            &["SETNX k 2", "SET k 2 NX", "INCR none"],
            DONE,
        ),
        (&["SET k a"], "k", &["INCR k"], DONE),
        (&["SET k 1", "SET j 2"], "k", &["RENAME j k"], ABORTED),
        (&["SET k 1"], "k", &["RENAME k j"], ABORTED),
        (&["SET k 1", "SET j 2"], "k", &["COPY j k"], DONE),
        (&["SET k 1", "SET j 2"], "k", &["COPY j k REPLACE"], ABORTED),
        (
            &["SET k 1", "SET j 2"],
            "k",
            &["COPY j k DB 1 REPLACE"],
            DONE,
        ),
        (&["SET k 1"], "k", &["MOVE k 1"], ABORTED),
        (&["SET k 1"], "k", &["FLUSHALL"], ABORTED),
        (&["SET k 1"], "k", &["FLUSHDB"], ABORTED),
        (&["SET k 1"], "k", &["SELECT 1", "FLUSHDB"], DONE),
        (&["SET j 1"], "k", &["FLUSHALL"], DONE),
        (&["DEL k"], "k", &["DEL k"], DONE),
        (&["DEL k"], "k", &["SET k 1"], ABORTED),
        (&["DEL k"], "k", &["SET k 1", "DEL k"], ABORTED),
        (&["SELECT 1", "SET k 1"], "k", &["SET k 2"], DONE),
        (
            &["SELECT 1", "SET k 1"],
            "k",
            &["SELECT 1", "SET k 2"],
            ABORTED,
        ),
        (&["SELECT 1", "SET k 1"], "k", &["FLUSHALL"], ABORTED),
        (&["SET k 1"], "j k", &["MSET a 1 k 2 b 3"], ABORTED),
        (&["SET k 1", "WATCH k", "SET k 2"], "k", &[], ABORTED),
        (
            &["SET k 1", "WATCH k", "SET k 2", "UNWATCH"],
            "k",
            &[],
            DONE,
        ),
    ];
    for (setup, watched, others, outcome) in cases {
        let node = node(&Hand::default());
        assert_eq!(
            exec_after(&node, setup, watched, others),
            *outcome,
            "{setup:?}, WATCH {watched}, {others:?}"
        );
    }
}

/// A key that expires while it is watched is gone though nobody wrote: the transaction was built on what is no more.
#[test]
fn expiry_aborts_if_the_key_was_there() {
    let hand = Hand::default();
    let node = node(&hand);
    let mut one = Client::new(&node);
    let exec = |one: &mut Client<'_>| {
        one.run("MULTI");
        one.run("PING");
        one.run("EXEC")
    };
    for dropped_by in ["nobody", "a read", "reclaiming"] {
        one.run("SET k 1 PX 50");
        one.run("WATCH k");
        hand.advance_ms(50);
        match dropped_by {
            "a read" => assert_eq!(Client::new(&node).run("GET k"), "$-1"),
            "reclaiming" => node.turn(),
            _ => {}
        }
        assert_eq!(exec(&mut one), ABORTED, "dropped by {dropped_by}");

        one.run("SET k 1 PX 50");
        hand.advance_ms(50);
        one.run("WATCH k"); // it expired before
        match dropped_by {
            "a read" => assert_eq!(Client::new(&node).run("GET k"), "$-1"),
            "reclaiming" => node.turn(),
            _ => {}
        }
        assert_eq!(exec(&mut one), DONE, "dropped by {dropped_by} after WATCH");
    }
    one.run("SET k 1 PX 50");
    one.run("WATCH k");
    hand.advance_ms(49);
    assert_eq!(exec(&mut one), DONE, "one millisecond is left");
    one.run("SET k 1 PX 50");
    one.run("WATCH k");
    hand.advance_ms(50);
    Client::new(&node).run("SET k 1");
    assert_eq!(exec(&mut one), ABORTED, "expired and made anew");
}

/// A watched key that is evicted is gone: what was read of it holds no longer.
#[test]
fn eviction_aborts() {
    let hand = Hand::default();
    let node = node_of(400_000, Policy::AllKeysLru, &hand);
    let mut one = Client::new(&node);
    one.run("SET k 1");
    one.run("WATCH k");
    for n in 0..200 {
        hand.advance_ms(20);
        Client::new(&node).run(&format!("SET filler{n} {}", "x".repeat(4000)));
    }
    assert_eq!(Client::new(&node).run("EXISTS k"), ":0");
    one.run("MULTI");
    one.run("PING");
    assert_eq!(one.run("EXEC"), ABORTED);
}

fn watched_count(node: &Node) -> usize {
    (0..node.shards_count())
        .map(|shard| node.lock(shard).watched_count())
        .sum()
}

/// A watch that outlives its connection is memory lost for ever, and slows every write of its shard.
#[test]
fn watches_end_with_what_they_were_for() {
    let node = node(&Hand::default());
    let mut keys = keys_in(&node, 0, "a", 2);
    keys.extend(keys_in(&node, 3, "b", 2));
    let watch = format!("WATCH {}", keys.join(" "));
    let endings: &[&[&str]] = &[
        &["UNWATCH"],
        &["MULTI", "DISCARD"],
        &["MULTI", "EXEC"],
        &["MULTI", "NOSUCH", "EXEC"],
        &["MULTI", "UNWATCH", "EXEC"],
        &["RESET"],
        &["MULTI", "RESET"],
        &[],
    ];
    for ending in endings {
        let mut client = Client::new(&node);
        let mut another = Client::new(&node);
        client.run(&watch);
        client.run(&watch); // twice is once
        another.run(&watch);
        assert_eq!(watched_count(&node), 4);
        for line in *ending {
            client.run(line);
        }
        drop(client);
        assert_eq!(
            watched_count(&node),
            4,
            "the other's watch went by {ending:?}"
        );
        drop(another);
        assert_eq!(watched_count(&node), 0, "{ending:?}");
    }
}

/// Another thread may answer before the request that asks has come to its end. Its connection must not sleep then: nobody
/// would wake it again.
#[test]
fn an_answer_that_comes_at_once_wakes_the_connection() {
    let network = Network::of_three();
    let mut client = Client::new(network.node(1));
    let waits = client.session.client.clone();
    network.clock.at_each_look(move || {
        if waits.has(ClientFlag::Blocked) {
            let batch = waits.slots().batch();
            Ticket::new(waits.clone(), batch, 0).fill(b"*1\r\n$8\r\ncontents\r\n");
        }
    });
    assert_eq!(client.run("WATCH k"), "");
    assert!(client.session.client.wants_attention(), "it was answered");
    assert_eq!(client.poll(), "+OK");
    assert!(!client.session.client.wants_attention());
}
