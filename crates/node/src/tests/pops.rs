//! BLPOP and kin where there are too many keys to wait for, and where nobody leads.

use crate::awaiting::WAITS_PER_REQUEST_MAX;
use crate::testing::network::Network;
use crate::testing::{Client, node};

fn blpop(keys: impl Iterator<Item = String>) -> String {
    let keys: Vec<String> = keys.collect();
    format!("BLPOP {} 5", keys.join(" "))
}

#[test]
fn a_key_is_waited_for_once_and_keys_have_a_bound() {
    // Breaks if one request, or many, can have a node keep as many waits as they like.
    let (node, clock) = node();
    let mut client = Client::new(&node);
    let of_count = |count: usize| blpop((0..count).map(|key| format!("k{key}")));
    let refused = "-ERR too many keys are waited for by one request";
    assert_eq!(client.run(&of_count(WAITS_PER_REQUEST_MAX + 1)), refused);
    let long = "x".repeat(WAITS_PER_REQUEST_MAX << 10);
    let length = long.len();
    let long = format!("*3\r\n$5\r\nBLPOP\r\n${length}\r\n{long}\r\n$1\r\n5\r\n");
    let reply = client.feed(long.as_bytes());
    assert_eq!(reply, format!("{refused}\r\n").as_bytes());
    // What is there needs no wait.
    client.run("RPUSH k7 x");
    assert_eq!(
        client.run(&of_count(WAITS_PER_REQUEST_MAX + 1)),
        "*2 $2 k7 $1 x"
    );
    assert_eq!(client.run(&of_count(WAITS_PER_REQUEST_MAX)), "");
    let same = blpop((0..3 * WAITS_PER_REQUEST_MAX).map(|_| "k7".into()));
    let mut other = Client::new(&node);
    assert_eq!(other.run(&same), "");
    assert!(other.run("XREAD BLOCK 5000 STREAMS s s s 1 2 1").is_empty());
    let mut third = Client::new(&node);
    third.run("RPUSH k7 x y");
    assert_eq!(client.poll(), "*2 $2 k7 $1 x");
    assert_eq!(other.poll(), "*2 $2 k7 $1 y");
    // The node's room: some of it is in use.
    let mut room = 0;
    while node.waits_count.admit(1) {
        room += 1;
    }
    let refused = "-ERR too many keys are waited for at this node";
    assert_eq!(client.run("BLPOP k7 5"), refused);
    node.waits_count.release(room);
    assert_eq!(client.run("BLPOP k7 5"), "");
    drop((client, other));
    clock.advance_ms(10);
    let mut all = 0;
    while node.waits_count.admit(1) {
        all += 1;
    }
    assert_eq!(all, room, "once all are gone");
    node.waits_count.release(all);
}

/// Runs a request at a node until it is answered; the reply, and how long that took, ms.
fn run(network: &mut Network, at: u32, line: &str) -> (String, u64) {
    let node = network.node(at).clone();
    let mut client = Client::new(&node);
    let from_us = node.now().monotonic_us;
    let mut reply = client.run(line);
    for _ in 0..1500 {
        if !reply.is_empty() {
            return (reply, (node.now().monotonic_us - from_us) / 1000);
        }
        network.tick();
        reply = client.poll();
    }
    panic!("{line} at node {at} is not answered in 15 s");
}

#[test]
fn a_pop_is_over_with_its_time_where_nobody_leads() {
    // Breaks if a client waits for a leader beyond its own timeout, or is told null and then something is taken for it.
    for line in [
        "BLPOP k 1",
        "BLMPOP 1 1 k LEFT",
        "BLMOVE k {k}2 LEFT LEFT 1",
        "XREADGROUP GROUP g c BLOCK 1000 STREAMS s >",
        "XREAD BLOCK 1000 STREAMS s 0",
    ] {
        let mut network = Network::of_three();
        run(&mut network, 1, "XGROUP CREATE s g 0 MKSTREAM");
        let shard = network.node(1).shard_of(match line.starts_with('X') {
            true => b"s",
            false => b"k",
        });
        let leader = network.leader(shard).expect("it has a leader");
        let others: Vec<u32> = (1..=3).filter(|number| *number != leader).collect();
        let waits = others[0];
        network.stop(leader);
        network.stop(others[1]);
        network.run_ms(3000);
        let (reply, took_ms) = run(&mut network, waits, line);
        let nothing =
            "-CLUSTERDOWN The shard does not answer, and the timeout is over: nothing was taken";
        assert_eq!(reply, nothing, "{line}");
        assert!((1000..=1100).contains(&took_ms), "{line}: {took_ms} ms");
        network.heal();
        network.run_ms(3000);
        assert_eq!(run(&mut network, waits, "RPUSH k x").0, ":1", "{line}");
        assert_eq!(run(&mut network, waits, "XADD s 1-1 f v").0, "$3 1-1");
        network.run_ms(3000);
        assert_eq!(run(&mut network, waits, "LLEN k").0, ":1", "{line}");
        let pending = run(&mut network, waits, "XPENDING s g").0;
        assert_eq!(pending, "*4 :0 $-1 $-1 *-1", "{line}");
        // A leader that nobody follows has taken it into its log: nobody knows what becomes of it.
        let leader = network.leader(shard).expect("it has a leader");
        (1..=3)
            .filter(|number| *number != leader)
            .for_each(|other| network.stop(other));
        run(&mut network, leader, "PING");
        let (reply, took_ms) = run(&mut network, leader, line);
        if line.starts_with("XREAD ") {
            continue;
        }
        assert!(
            reply.ends_with("whether anything was taken is not known"),
            "{line}: {reply}"
        );
        assert!((1000..=1100).contains(&took_ms), "{line}: {took_ms} ms");
    }
}

#[test]
fn a_pop_of_a_short_time_gets_what_is_there() {
    // Breaks if a timeout that is shorter than a round trip makes a pop give up what it would get.
    let mut network = Network::of_three();
    let shard = network.node(1).shard_of(b"k");
    let leader = network.leader(shard).expect("it has a leader");
    for at in [leader, leader % 3 + 1] {
        run(&mut network, at, "RPUSH k x");
        assert_eq!(run(&mut network, at, "BLPOP k 0.001").0, "*2 $1 k $1 x");
        let (reply, took_ms) = run(&mut network, at, "BLPOP k 0.001");
        assert_eq!(reply, "*-1");
        assert!(took_ms < 400, "{took_ms} ms");
    }
}

#[test]
fn who_was_told_that_a_wait_is_ended_can_rely_on_it() {
    // Breaks if CLIENT UNBLOCK says that it ended a wait, and the client gets what it waited for.
    let mut network = Network::of_three();
    let leader = network.leader(network.node(1).shard_of(b"l"));
    let at = leader.expect("settled") % 3 + 1;
    let node = network.node(at).clone();
    let [mut pusher, mut popper, mut other] = [(); 3].map(|()| Client::new(&node));
    let unblock = format!("CLIENT UNBLOCK {}", popper.session.client.id);
    pusher.run("RPUSH l one");
    network.run_ms(50);
    assert_eq!(pusher.poll(), ":1");
    // There is something, so it does not wait; only the answer is on its way.
    assert_eq!(popper.run("BLPOP l 0"), "");
    assert_eq!(other.run(&unblock), ":0");
    network.run_ms(50);
    assert_eq!(popper.poll(), "*2 $1 l $3 one");
    // It waits, and is woken to take what has come.
    assert_eq!(popper.run("BLPOP l 0"), "");
    network.run_ms(50);
    assert_eq!(popper.poll(), "");
    pusher.run("RPUSH l two");
    network.run_ms(50);
    assert_eq!(popper.poll(), "", "it tries");
    assert_eq!(other.run(&unblock), ":0");
    network.run_ms(50);
    assert_eq!(popper.poll(), "*2 $1 l $3 two");
    // It waits, and for nothing else.
    assert_eq!(popper.run("BLPOP l 0"), "");
    network.run_ms(50);
    assert_eq!(popper.poll(), "");
    assert_eq!(other.run(&unblock), ":1");
    assert_eq!(other.run(&unblock), ":0", "once");
    assert_eq!(popper.poll(), "*-1");
}
