//! Fences of locks: that they rise whatever becomes of the nodes that count them.

use super::groups::{Asker, compare, grow};
use crate::group::OpKind;
use crate::testing::network::Network;
use crate::testing::{Client, node};

/// Takes a lock by a script.
const TAKE: &[u8] = b"return redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', '50000')";

/// Asks for a lock's fence in the order of the writes, which a read does not keep.
const ASK: &[u8] = b"return redis.call('lock.fence', KEYS[1])";

/// A reply as a fence.
fn number(reply: &str) -> u64 {
    let digits = reply.strip_prefix(':');
    let number = digits.and_then(|digits| digits.trim_end().parse().ok());
    number.unwrap_or_else(|| panic!("{reply} is no fence"))
}

#[test]
fn fences_rise_from_grant_to_grant_through_new_leaders() {
    // Breaks if grants of one batch, which have one log time, get one number, if replicas count apart, or if a leader begins
    // anew: all of them must hold the same last fence, and every lock a higher one than the one before.
    let mut network = Network::of_three();
    let mut asker = Asker::new(&network, 1);
    let mut last = 0;
    for round in 0..12 {
        let mut told = Vec::new();
        for n in 0..4 {
            let taken = match (round + n) % 2 {
                0 => asker.write(&network, 1, &format!("SET k owner{n} NX PX 50000")),
                _ => {
                    let args = [b"w", TAKE, b"1", b"k", b"me"];
                    asker.ask_args(&network, 1, OpKind::Script, &args, 0).0
                }
            };
            let ask = [b"w", ASK, b"1", b"k"];
            let (fence, _) = asker.ask_args(&network, 1, OpKind::Script, &ask, 0);
            asker.write(&network, 1, "PEXPIRE k 60000");
            let (renewed, _) = asker.ask_args(&network, 1, OpKind::Script, &ask, 0);
            asker.write(&network, 1, "DEL k");
            told.push((taken, fence, renewed));
        }
        if round % 4 == 1 {
            network.round();
            network.round();
            if let Some(leader) = network.leader(1) {
                let others = (1..=3).filter(|other| *other != leader);
                others.for_each(|other| network.cut(leader, other));
            }
        }
        network.run_ms(1500);
        network.heal();
        network.run_ms(1500);
        for (taken, fence, renewed) in told {
            assert_eq!(asker.reply(taken).as_deref(), Some("+OK"));
            let fence = number(&asker.reply(fence).expect("answered"));
            assert_eq!(number(&asker.reply(renewed).expect("answered")), fence);
            assert!(fence > last, "{fence} after {last}");
            last = fence;
        }
    }
    compare(&network, 1);
    for node in &network.nodes {
        assert_eq!(node.lock(1).cache.last_fence(), last);
    }
}

#[test]
fn a_snapshot_brings_the_last_fence() {
    // Breaks if a replica that got its state from another gives a number again that was given before: the lock itself
    // is gone, and log time stands still.
    let mut network = Network::new(2, 1, |settings| settings.shards = 1);
    let mut client = Client::new(network.node(1));
    for n in 0..300 {
        client.run(&format!("SET k{n} owner NX PX 50000"));
    }
    let held = number(&client.run("LOCK.FENCE k7"));
    for _ in 0..50_000 {
        client.pipeline(&["SET gone owner NX PX 50000", "DEL gone"]);
    }
    client.run("FLUSHDB");
    client.run("SET held owner NX PX 50000");
    let last = number(&client.run("LOCK.FENCE held"));
    assert!(last > held + 50_000);
    drop(client);
    grow(&mut network, 0);
    for node in &network.nodes {
        let copy = node.lock(0);
        assert_eq!(copy.cache.last_fence(), last);
        let key = cache::Key::new(copy.cache.seed(), 0, b"held");
        assert_eq!(copy.cache.fence(key), Some(last));
    }
    compare(&network, 0);
}

#[test]
fn a_script_asks_for_no_fence_of_its_own() {
    // Breaks if a script is told a number that the lock will not have, or cannot ask for that of a lock that it renews.
    let (node, _) = node();
    let mut client = Client::new(&node);
    let refused = client.run(
        "EVAL \"redis.call('set', KEYS[1], 'me', 'NX', 'PX', '5000') return redis.call('lock.fence', KEYS[1])\" 1 k",
    );
    assert!(
        refused.contains("no fence before the script is done"),
        "{refused}"
    );
    let fence = number(&client.run("LOCK.FENCE k"));
    let asked = client.run(
        "EVAL \"redis.call('pexpire', KEYS[1], '9000') return redis.call('lock.fence', KEYS[1])\" 1 k",
    );
    assert_eq!(number(&asked), fence);
    assert_eq!(number(&client.run("LOCK.FENCE k")), fence);
}
