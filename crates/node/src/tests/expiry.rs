//! Expiry by log time: exact at access, told once, reclaimed in bounded turns.

use super::{Hand, node};
use crate::testing::Client;
use std::sync::atomic::Ordering;

/// A key that lives a millisecond too long or too short breaks locks and rate limits.
#[test]
fn keys_end_at_their_millisecond() {
    let hand = Hand::default();
    hand.set_ms(1000);
    let node = node(&hand);
    let mut client = Client::new(&node);
    client.run("SET k v PX 100");
    client.run("MSETEX 2 a 1 b 2 PX 100");
    hand.advance_ms(99);
    assert_eq!(client.run("GET k"), "$1 v");
    assert_eq!(client.run("PTTL k"), ":1");
    assert_eq!(client.run("MGET a b"), "*2 $1 1 $1 2");
    hand.advance_ms(1);
    assert_eq!(client.run("EXISTS k a b"), ":0");
    assert_eq!(client.run("PTTL k"), ":-2");
    assert_eq!(client.run("SET k w NX PX 10"), "+OK");
    assert_eq!(client.run("MGET a b"), "*2 $-1 $-1");
    assert_eq!(client.run("KEYS *"), "*1 $1 k");
}

/// A thread that read the clock earlier must not bring back what another has seen expired.
#[test]
fn what_expired_stays_expired() {
    let hand = Hand::default();
    hand.set_ms(1000);
    let node = node(&hand);
    let mut client = Client::new(&node);
    client.run("SET k v PX 100");
    hand.set_ms(1100);
    assert_eq!(client.run("EXISTS k"), ":0"); // does not touch its bytes
    hand.set_ms(1050);
    assert_eq!(client.run("GET k"), "$-1");
    assert_eq!(client.run("SET k w NX"), "+OK");
}

/// A wall clock that is read a moment after the other one must not change what clients set.
#[test]
fn wall_times_are_told_back_as_they_were_given() {
    let hand = Hand::default();
    hand.set_ms(1000);
    let node = node(&hand);
    let mut client = Client::new(&node);
    let at_ms = super::START_WALL_US / 1000 + 60_000;
    client.run("SET k v");
    client.run(&format!("PEXPIREAT k {at_ms}"));
    for _ in 0..20 {
        hand.advance_ms(100);
        hand.step_wall_us(450);
        node.turn();
        assert_eq!(client.run("PEXPIRETIME k"), format!(":{at_ms}"));
    }
    // A real step counts: the key ends as many milliseconds from now as before.
    hand.step_wall_us(5_000_000);
    node.turn();
    assert_ne!(client.run("PEXPIRETIME k"), format!(":{at_ms}"));
    assert_eq!(client.run("PTTL k"), ":57000");
}

/// A listener that hears of an expiry twice, never, or after the key's new life began, acts on what is not so.
#[test]
fn expired_is_told_once_and_first() {
    let hand = Hand::default();
    let node = node(&hand);
    let mut client = Client::new(&node);
    let mut listener = Client::new(&node);
    client.run("CONFIG SET notify-keyspace-events Kx$");
    listener.run("PSUBSCRIBE __keyspace@0__:*");
    let heard = |listener: &mut Client<'_>| -> Vec<String> {
        let text = listener.poll();
        let words: Vec<&str> = text.split(' ').collect();
        words
            .chunks(9)
            .filter(|message| message.len() == 9)
            .map(|message| message[8].to_owned())
            .collect()
    };
    let begin = |client: &mut Client<'_>, listener: &mut Client<'_>| {
        client.run("SET k v PX 50");
        heard(listener);
        hand.advance_ms(60);
    };
    begin(&mut client, &mut listener);
    client.run("GET k");
    client.run("GET k");
    node.turn();
    assert_eq!(heard(&mut listener), ["expired"], "by a read");
    begin(&mut client, &mut listener);
    node.turn();
    node.turn();
    client.run("GET k");
    assert_eq!(heard(&mut listener), ["expired"], "by reclaiming");
    begin(&mut client, &mut listener);
    client.run("SET k w");
    assert_eq!(heard(&mut listener), ["expired", "set"], "by a write");
    client.run("DEL k");
    begin(&mut client, &mut listener);
    client.run("MSET k 1 j 2 i 3 h 4");
    let all = heard(&mut listener);
    assert_eq!(all[0], "expired");
    assert_eq!(all.iter().filter(|event| *event == "expired").count(), 1);
}

/// Expired keys that nobody asks for would fill the memory; a turn that reclaims all at once would hold a lock for long.
#[test]
fn turns_reclaim_all_in_bounded_work() {
    let hand = Hand::default();
    let node = node(&hand);
    let mut client = Client::new(&node);
    for n in 0..20_000 {
        client.run(&format!("SET key{n} v PX 100"));
    }
    client.run("SET stays v");
    client.run("SET later v PX 1000000");
    let stored = || -> usize {
        (0..node.shards_count())
            .map(|shard| node.lock(shard).cache.len(0))
            .sum()
    };
    hand.advance_ms(100);
    let mut turns = 0;
    while stored() > 2 {
        let before = stored();
        node.turn();
        turns += 1;
        let bound = 8 * crate::housework::RECLAIM_WORK_MAX * crate::housework::RECLAIM_STEPS_MAX;
        assert!(before - stored() <= bound);
        assert!(turns < 100, "{} keys are left", stored() - 2);
    }
    assert_eq!(client.run("DBSIZE"), ":2");
    assert_eq!(node.stats.expired_keys.load(Ordering::Relaxed), 20_000);
}
