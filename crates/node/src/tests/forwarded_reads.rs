//! Reads that another node leads, many of them in one message.

use crate::testing::Client;
use crate::testing::network::Network;
use crate::wire::{Forward, PeerMessage};
use std::cell::Cell;
use std::rc::Rc;

/// The replies to some commands that are sent at once, however many nodes they come from.
fn pipeline(network: &mut Network, client: &mut Client<'_>, lines: &[String]) -> Vec<u8> {
    let mut replies = client.feed(format!("{}\r\n", lines.join("\r\n")).as_bytes());
    for _ in 0..50 {
        network.tick();
        replies.extend(client.feed(b""));
    }
    replies
}

/// Keys of all types and sizes: short and long values, none, a list.
fn fill(network: &mut Network, node: u32) {
    let node = network.node(node).clone();
    let mut client = Client::new(&node);
    let mut lines: Vec<String> = (0..200).map(|n| format!("SET key{n} value{n}")).collect();
    lines.push("RPUSH list a b c".into());
    for n in 0..10 {
        lines.push(format!("SETRANGE long{n} {} x", 3000 + 700 * n));
    }
    let replies = pipeline(network, &mut client, &lines);
    assert_eq!(replies.iter().filter(|byte| **byte == b'\n').count(), 211);
}

/// Reads of many kinds, all of which answer something else.
fn reads(count: usize) -> Vec<String> {
    let read = |n: usize| match n % 11 {
        7 => format!("GET long{}", n % 10),
        8 => format!("STRLEN key{}", n % 200),
        9 => "LRANGE list 0 -1".to_owned(),
        10 => "get list".to_owned(),
        3 => format!("GET none{n}"),
        4 => format!("MGET key{} key{}", n % 200, (n + 1) % 200),
        _ => format!("GET key{}", n % 200),
    };
    (0..count).map(read).collect()
}

#[test]
fn every_forwarded_read_has_its_own_answer() {
    // Breaks if one of hundreds of reads in a message got the value of another: by the hash of another's key, or by an
    // answer's place among long ones.
    let mut network = Network::of_three();
    let leader = network.leader(0).expect("settled");
    fill(&mut network, leader);
    let node = network.node(leader).clone();
    let mut local = Client::new(&node);
    let other = network.node(leader % 3 + 1).clone();
    let mut forwarded = Client::new(&other);
    for count in [1, 3, 9, 40, 64, 400] {
        let lines = reads(count);
        let wanted = pipeline(&mut network, &mut local, &lines);
        let replies = pipeline(&mut network, &mut forwarded, &lines);
        assert_eq!(
            String::from_utf8_lossy(&replies),
            String::from_utf8_lossy(&wanted),
            "{count}"
        );
    }
}

#[test]
fn reads_behind_writes_of_their_batch_see_them() {
    // Breaks if a read that must wait for a write took the answer, or the hash, of one of its message that need not.
    let mut network = Network::of_three();
    let leader = network.leader(0).expect("settled");
    fill(&mut network, leader);
    let messages = Rc::new(Cell::new(0));
    let seen = messages.clone();
    network.lose(move |_, _, message| {
        if let PeerMessage::Forward(Forward { .. }) = message {
            seen.set(seen.get() + 1);
        }
        false
    });
    let other = network.node(leader % 3 + 1).clone();
    let mut client = Client::new(&other);
    let mut lines = Vec::new();
    let mut wanted = String::new();
    for n in 0..60 {
        lines.push(format!("GET key{n}"));
        wanted += &format!("${}\r\nvalue{n}\r\n", 5 + n.to_string().len());
        if n % 7 == 0 {
            lines.push(format!("SET key{} new", n + 1));
            lines.push(format!("GET key{}", n + 1));
            lines.push(format!("SET key{} value{}", n + 1, n + 1));
            wanted += "+OK\r\n$3\r\nnew\r\n+OK\r\n";
        }
    }
    let replies = pipeline(&mut network, &mut client, &lines);
    assert_eq!(String::from_utf8_lossy(&replies), wanted);
    assert!(messages.get() > 0, "nothing was forwarded");
}
